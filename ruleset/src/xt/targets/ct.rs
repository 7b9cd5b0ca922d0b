//! `CT`, `NOTRACK`: how a packet's connection is to be tracked.

use super::*;
use crate::object::ct_helper;

const BASE: Extension = Extension {
    name: "CT",
    help: "Says how the packet's connection is to be tracked: not at all, in a zone, with a helper.",
    standing: Standing::Stored(
        "acts on what is not to be tracked; the rest is for connection tracking",
    ),
    table: Some("raw"),
    ..Extension::TARGET
};

pub(super) static ALL: &[Extension] = &[
    Extension { size: 40, told: 32, make: |of| make(of, NOTRACK, false), ..BASE },
    Extension { revision: 1, size: 72, told: 32, make: |of| make(of, NOTRACK, true), ..BASE },
    Extension { revision: 2, size: 72, told: 32, make: |of| make(of, 0x1f, true), ..BASE },
    Extension {
        name: "NOTRACK",
        help: "Has the packet not tracked.",
        table: Some("raw"),
        make: |_| Ok(untracked()),
        ..Extension::TARGET
    },
];

const NOTRACK: u16 = 1;
const NAME: usize = 16;
const TIMEOUT: usize = 28;
const TIMEOUT_NAME: usize = 32;

fn untracked() -> Act {
    does(|cx| cx.meta.untracked = true)
}

fn make(of: &mut Use<'_>, known: u16, has_timeout: bool) -> Result<Act> {
    let flags = of.info.u16(0);
    refuse_if(flags & !known != 0)?;
    if flags & NOTRACK != 0 {
        return Ok(untracked());
    }
    of.tracked()?;
    if of.info.is_set(12) {
        of.info.name(12, NAME).ok_or(Errno::ENAMETOOLONG)?;
        let name = of.info.text(12, NAME);
        let protocol = u8::try_from(of.protocol).ok().filter(|_| !of.inverted);
        let known =
            protocol.is_some_and(|protocol| ct_helper::is_known(&name, protocol, of.family));
        if !known {
            return Err(Errno::ENOENT.into());
        }
    }
    if has_timeout && of.info.is_set(TIMEOUT) {
        // Those are made by nfct, which has no server here.
        of.info.name(TIMEOUT, TIMEOUT_NAME).ok_or(Errno::ENAMETOOLONG)?;
        return Err(Errno::ENOENT.into());
    }
    Ok(always(Verdict::Continue))
}
