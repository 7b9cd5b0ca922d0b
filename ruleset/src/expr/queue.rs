//! `queue`: hands the packet to a program.

use ahash::RandomState;
use nfnetlink::{Attr, Errno, Result, Writer};

use super::{Decode, Encode, Expr, Kind, Requires};
use crate::family::{Family, Hook, Hooks};
use crate::packet::Cx;
use crate::regs::Reg;
use crate::schema::{Field as _, Value as _};
use crate::verdict::{self, Verdict};

crate::attributes! {
    /// Hands the packet to a program.
    struct Attributes("queue") {
        /// The first queue.
        1 => number: Option<u16>,
        /// Queues that packets are spread over.
        2 => total: Option<u16>,
        /// 1: accept where nobody listens; 2: spread by worker, not by connection.
        3 => flags: Option<u16>,
        /// Register with the queue's number.
        4 => sreg: Option<Reg>,
    }
}

/// `NFT_QUEUE_FLAG_…`.
const BYPASS: u16 = 1;
const FANOUT: u16 = 2;
const FLAGS: u16 = 3;

/// Registered in `REGISTRY`.
pub(super) static KIND: Kind = Kind { schema: Attributes::SCHEMA, decode, stateful: false };

#[derive(Debug)]
enum Which {
    Numbers { first: u16, total: u16, hasher: RandomState },
    Register(Reg),
}

#[derive(Debug)]
struct Queue {
    which: Which,
    flags: u16,
    family: Family,
}

fn decode(data: &Attr<'_>, cx: &mut Decode<'_>) -> Result<Box<dyn Expr>> {
    let Attributes { number, total, flags, sreg } = Attributes::decode(data)?;
    let flags = flags.unwrap_or(0);
    let which = match (number, sreg) {
        (Some(first), None) => {
            let total = total.unwrap_or(1);
            let further = total.checked_sub(1).ok_or(Errno::EINVAL)?;
            first.checked_add(further).ok_or(Errno::ERANGE)?;
            Which::Numbers { first, total, hasher: RandomState::new() }
        }
        (None, Some(sreg)) => {
            cx.load(sreg, 4)?;
            if flags & !FLAGS == 0 && flags & FANOUT != 0 {
                return Err(Errno::EOPNOTSUPP.into());
            }
            Which::Register(sreg)
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    if flags & !FLAGS != 0 {
        return Err(Errno::EINVAL.into());
    }
    Ok(Box::new(Queue { which, flags, family: cx.family() }))
}

/// The one of `total` queues that a packet's connection has; both of its directions have the same.
pub(crate) fn by_connection(cx: &Cx<'_>, total: u16, hasher: &RandomState) -> u16 {
    let key = &cx.layers.key;
    let ends = (key.src.min(key.dst), key.src.max(key.dst), key.protocol);
    (hasher.hash_one(ends) % u64::from(total.max(1))) as u16
}

impl Expr for Queue {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn eval(&self, cx: &mut Cx<'_>) -> Verdict {
        let number = match &self.which {
            Which::Numbers { first, total: 0 | 1, .. } => *first,
            Which::Numbers { first, total, .. } if self.flags & FANOUT != 0 => {
                first + cx.place.worker.0 % total
            }
            Which::Numbers { first, total, hasher } => first + by_connection(cx, *total, hasher),
            Which::Register(reg) => cx.regs.u32(*reg) as u16,
        };
        Verdict::Queue(verdict::Queue { number, bypass: self.flags & BYPASS != 0 })
    }

    fn encode(&self, out: &mut Writer, _cx: &Encode<'_>) {
        match &self.which {
            Which::Numbers { first, total, .. } => {
                first.give(1, out);
                total.give(2, out);
            }
            Which::Register(reg) => reg.put(4, out),
        }
        self.flags.give(3, out);
    }

    fn requires(&self) -> Requires {
        use Hook::{Forward, Input, Output, Postrouting, Prerouting};
        Requires::hooks(match self.family {
            Family::Arp | Family::Netdev => Hooks::default(),
            _ => Hooks::of([Prerouting, Input, Forward, Output, Postrouting]),
        })
    }
}
