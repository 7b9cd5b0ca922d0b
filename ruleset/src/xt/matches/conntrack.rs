//! `conntrack`: the packet's connection.

use super::*;

const HELP: &str =
    "Matches by the packet's connection: its state, addresses, ports, status and age.";
const BASE: Extension = Extension {
    name: "conntrack",
    help: HELP,
    standing: Standing::Stored(NO_CONNECTION),
    families: ANY,
    ..Extension::MATCH
};

pub(super) static ALL: &[Extension] = &[
    Extension { revision: 1, size: 152, make: |of| make(of, u8::MAX.into()), ..BASE },
    Extension { revision: 2, size: 156, make: |of| make(of, u16::MAX), ..BASE },
    Extension { revision: 3, size: 164, make: |of| make(of, u16::MAX), ..BASE },
];

/// `XT_CONNTRACK_STATE`: the state is asked for, or, among what is inverted, must not be.
const STATE: u16 = 1;
/// `XT_CONNTRACK_STATE_INVALID`.
const INVALID: u16 = 1;
/// `XT_CONNTRACK_STATE_UNTRACKED`.
const UNTRACKED: u16 = 1 << 8;

fn make(of: &mut Use<'_>, width: u16) -> Result<Act> {
    let (asked, inverted) = (of.info.u16(146), of.info.u16(148));
    let states = of.info.u16(150) & width;
    of.tracked()?;
    Ok(matches(move |cx| {
        let state = if cx.meta.untracked { UNTRACKED } else { INVALID };
        asked & STATE != 0 && (states & state != 0) != (inverted & STATE != 0)
    }))
}
