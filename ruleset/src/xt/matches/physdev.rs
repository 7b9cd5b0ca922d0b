//! `physdev`: ports of a bridge that IP packets pass. Here bridged packets do not pass IP's hooks, as on Linux without
//! `br_netfilter`.

use super::*;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "physdev",
    constancy: Constancy::Flow,
    help: "Matches by the ports of the bridge that the packet passes.",
    size: 66,
    make,
    ..Extension::MATCH
}];

const OUT: u8 = 2;
const BRIDGED: u8 = 4;
const IS_OUT: u8 = 0x10;
const ALL_BITS: u8 = 0x1f;

fn make(of: &mut Use<'_>) -> Result<Act> {
    let info = of.info;
    let (inverted, asked) = (info.u8(64), info.u8(65));
    refuse_if(asked & ALL_BITS == 0 || asked & !ALL_BITS != 0)?;
    let bridged = asked & BRIDGED != 0 && inverted & BRIDGED == 0;
    let output = Hooks::of([Hook::Output]);
    refuse_if(asked & (OUT | IS_OUT) != 0 && !bridged && of.hook.0 & output.0 != 0)?;
    Ok(matches(move |_| asked & !inverted == 0))
}
