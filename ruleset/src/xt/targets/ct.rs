//! `CT`, `NOTRACK`: how a packet's connection is to be tracked.

use super::*;
use crate::object::ct_helper;

const BASE: Extension = Extension {
    name: "CT",
    help: "Says how the packet's connection is to be tracked: not at all, in a zone, with a helper.",
    standing: Standing::Stored(
        "says zones, and what is not to be tracked; connections have no helpers, and tell all events",
    ),
    table: Some("raw"),
    constancy: Constancy::Flow,
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
        constancy: Constancy::Flow,
        make: |_| Ok(untracked()),
        ..Extension::TARGET
    },
];

const NOTRACK: u16 = 1;
/// The zone is for one direction, or both of these; the packet's mark says it.
const ORIGINAL: u16 = 4;
const REPLY: u16 = 8;
const MARK: u16 = 16;
const NAME: usize = 16;
const TIMEOUT: usize = 28;
const TIMEOUT_NAME: usize = 32;

fn untracked() -> Act {
    does(|cx| cx.do_not_track())
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
    let zone = of.info.u16(2);
    let direction = match flags & (ORIGINAL | REPLY) {
        ORIGINAL => Some(0),
        REPLY => Some(1),
        _ => None,
    };
    Ok(does(move |cx| {
        let zone = if flags & MARK != 0 { cx.meta.mark as u16 } else { zone };
        if !cx.meta.untracked {
            cx.track_in(zone, direction);
        }
    }))
}
