//! `NFQUEUE`: a program decides.

use ahash::RandomState;

use super::*;
use crate::expr::queue::by_connection;
use crate::verdict::Queue;

const BASE: Extension = Extension {
    name: "NFQUEUE",
    help: "Gives the packet to a program, which decides.",
    families: ANY,
    ..Extension::TARGET
};

pub(super) static ALL: &[Extension] = &[
    Extension { size: 2, make: |of| make(of, 1, 0, 0), ..BASE },
    Extension { revision: 1, size: 4, make: |of| make(of, of.info.u16(2), 0, 0), ..BASE },
    Extension {
        revision: 2,
        size: 6,
        make: |of| make(of, of.info.u16(2), of.info.u16(4), BYPASS),
        ..BASE
    },
    Extension {
        revision: 3,
        size: 6,
        make: |of| make(of, of.info.u16(2), of.info.u16(4), BYPASS | BY_WORKER),
        ..BASE
    },
];

const BYPASS: u16 = 1;
const BY_WORKER: u16 = 2;

fn make(of: &mut Use<'_>, count: u16, flags: u16, known: u16) -> Result<Act> {
    let first = of.info.u16(0);
    refuse_if(count == 0)?;
    if u32::from(first) + u32::from(count) - 1 > u16::MAX.into() {
        return Err(Errno::ERANGE.into());
    }
    refuse_if(flags & !known != 0)?;
    // Linux does not queue frames, which it finds out in base chains only.
    if of.family == Family::Bridge && of.hook != Hooks(0) {
        return Err(Errno::ENOENT.into());
    }
    let (bypass, hasher) = (flags & BYPASS != 0, RandomState::new());
    Ok(Box::new(move |cx| {
        let more = match count {
            1 => 0,
            _ if flags & BY_WORKER != 0 => cx.place.worker.0 % count,
            _ => by_connection(cx, count, &hasher),
        };
        Verdict::Queue(Queue { number: first + more, bypass })
    }))
}
