//! `counter`: counts the packets and bytes that reach it.

use nfnetlink::{Attr, Result, Writer};

use super::{Decode, Encode, Expr, Kind};
use crate::counters::{Counter, Totals};
use crate::packet::{Constancy, Cx};
use crate::schema::Field as _;
use crate::verdict::Verdict;

crate::attributes! {
    /// Counts the packets and bytes that reach it.
    pub(crate) struct Attributes("counter") {
        /// Bytes counted.
        1 => bytes: Option<u64>,
        /// Packets counted.
        2 => packets: Option<u64>,
    }
}

/// Registered in `REGISTRY`.
pub(crate) static KIND: Kind = Kind { schema: Attributes::SCHEMA, decode, stateful: true };

#[derive(Debug)]
struct Count(Counter);

fn decode(data: &Attr<'_>, cx: &mut Decode<'_>) -> Result<Box<dyn Expr>> {
    let Attributes { bytes, packets } = Attributes::decode(data)?;
    let start = Totals { packets: packets.unwrap_or(0), bytes: bytes.unwrap_or(0) };
    Ok(Box::new(Count(cx.counters.take(start))))
}

impl Expr for Count {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn eval(&self, cx: &mut Cx<'_>) -> Verdict {
        cx.count(&self.0);
        Verdict::Continue
    }

    fn constancy(&self, _cx: &Cx<'_>) -> Constancy {
        Constancy::Flow
    }

    fn encode(&self, out: &mut Writer, cx: &Encode<'_>) {
        let Totals { packets, bytes } = if cx.reset { self.0.reset() } else { self.0.read() };
        bytes.give(1, out);
        packets.give(2, out);
    }

    fn fresh(&self) -> Option<Box<dyn Expr>> {
        Some(Box::new(Self(self.0.fresh())))
    }
}
