//! `numgen`: numbers in turn, or random ones.

use std::sync::atomic::{AtomicU32, Ordering};

use nfnetlink::{Attr, Errno, Result, Writer};

use super::{Decode, Encode, Expr, Kind};
use crate::packet::Cx;
use crate::regs::Reg;
use crate::schema::Value as _;
use crate::verdict::Verdict;

crate::attributes! {
    /// Makes a number for each packet: in turn, or random.
    struct Attributes("numgen") {
        /// Where to.
        1 => dreg: Reg,
        /// How many numbers there are.
        2 => modulus: u32,
        /// In turn or random.
        3 => how: How,
        /// The first number; 0 if it is not said.
        4 => offset: Option<u32>,
    }
}

crate::choice! {
    /// How numbers are made (`enum nft_ng_types`).
    enum How: u32 {
        /// In turn, all workers together.
        Inc = 0 => "inc",
        /// Random.
        Random = 1 => "random",
    }
}

/// Registered in `REGISTRY`.
pub(super) static KIND: Kind = Kind { schema: Attributes::SCHEMA, decode, stateful: false };

#[derive(Debug)]
struct Numgen {
    dreg: Reg,
    modulus: u32,
    how: How,
    offset: u32,
    /// The number that was given last. Written by every worker.
    last: AtomicU32,
}

fn decode(data: &Attr<'_>, cx: &mut Decode<'_>) -> Result<Box<dyn Expr>> {
    let Attributes { dreg, modulus, how, offset } = Attributes::decode(data)?;
    let offset = offset.unwrap_or(0);
    let most = modulus.checked_sub(1).ok_or(Errno::ERANGE)?;
    offset.checked_add(most).ok_or(Errno::EOVERFLOW)?;
    cx.store(dreg, 4)?;
    Ok(Box::new(Numgen { dreg, modulus, how, offset, last: AtomicU32::new(most) }))
}

/// A 32-bit number scaled to below `modulus`.
pub(crate) const fn scale(number: u32, modulus: u32) -> u32 {
    ((number as u64 * modulus as u64) >> 32) as u32
}

impl Expr for Numgen {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn eval(&self, cx: &mut Cx<'_>) -> Verdict {
        let next = |last: u32| if last + 1 < self.modulus { last + 1 } else { 0 };
        let number = match self.how {
            How::Random => scale(cx.env.random(), self.modulus),
            How::Inc => {
                let step = |last| Some(next(last));
                let last = self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
                next(last.unwrap_or_else(|last| last))
            }
        };
        cx.regs.set_u32(self.dreg, self.offset + number);
        Verdict::Continue
    }

    fn encode(&self, out: &mut Writer, _cx: &Encode<'_>) {
        self.dreg.put(1, out);
        self.modulus.put(2, out);
        self.how.put(3, out);
        self.offset.put(4, out);
    }
}
