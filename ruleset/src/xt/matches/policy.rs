//! `policy`: IPsec. There is none here, as on Linux without policies.

use super::*;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "policy",
    help: "Matches by the IPsec policy that the packet came, or goes, by.",
    size: 308,
    make,
    ..Extension::MATCH
}];

const IN: u16 = 1;
const OUT: u16 = 2;
const NONE: u16 = 4;
/// Elements of a policy (`XT_POLICY_MAX_ELEM`).
const ELEMENTS: u16 = 4;

fn make(of: &mut Use<'_>) -> Result<Act> {
    let (flags, len) = (of.info.u16(304), of.info.u16(306));
    let coming = Hooks::of([Hook::Prerouting, Hook::Input]);
    let leaving = Hooks::of([Hook::Postrouting, Hook::Output]);
    refuse_if(flags & (IN | OUT) == 0 || len > ELEMENTS)?;
    refuse_if(of.hook.0 & coming.0 != 0 && flags & OUT != 0)?;
    refuse_if(of.hook.0 & leaving.0 != 0 && flags & IN != 0)?;
    Ok(matches(move |_| flags & NONE != 0))
}
