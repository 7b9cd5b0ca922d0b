//! `range`: a register against two constants.

use nfnetlink::{Attr, Errno, Result, Writer};

use super::{Decode, Encode, Expr, Kind};
use crate::data::{Data, RawData};
use crate::packet::{Constancy, Cx};
use crate::regs::Reg;
use crate::schema::Value as _;
use crate::verdict::Verdict;

crate::attributes! {
    /// Compares a register with the ends of a range; where that is not so, the rule does not match.
    struct Attributes("range") {
        /// What is compared.
        1 => sreg: Reg,
        /// Within or without.
        2 => op: Op,
        /// The least, as packets have numbers.
        3 => from: RawData,
        /// The most, as long as the least.
        4 => to: RawData,
    }
}

crate::choice! {
    /// Within or without (`enum nft_range_ops`).
    enum Op: u32 {
        /// Within, the ends included.
        Eq = 0 => "==",
        /// Without.
        Neq = 1 => "!=",
    }
}

/// Registered in `REGISTRY`.
pub(super) static KIND: Kind = Kind { schema: Attributes::SCHEMA, decode, stateful: false };

#[derive(Debug)]
struct Range {
    sreg: Reg,
    op: Op,
    from: Box<[u8]>,
    to: Box<[u8]>,
}

fn decode(data: &Attr<'_>, cx: &mut Decode<'_>) -> Result<Box<dyn Expr>> {
    let Attributes { sreg, op, from, to } = Attributes::decode(data)?;
    let (from, to) = (from.value(cx)?, to.value(cx)?);
    if from.len() != to.len() {
        return Err(Errno::EINVAL.into());
    }
    cx.load(sreg, from.len())?;
    Ok(Box::new(Range { sreg, op, from, to }))
}

impl Expr for Range {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn eval(&self, cx: &mut Cx<'_>) -> Verdict {
        let value = cx.regs.get(self.sreg, self.from.len());
        let within = *self.from <= *value && *value <= *self.to;
        if within == (self.op == Op::Eq) { Verdict::Continue } else { Verdict::Break }
    }

    fn constancy(&self, _cx: &Cx<'_>) -> Constancy {
        Constancy::Flow
    }

    fn encode(&self, out: &mut Writer, cx: &Encode<'_>) {
        self.sreg.put(1, out);
        self.op.put(2, out);
        Data::Value(self.from.clone()).encode(3, out, cx.state);
        Data::Value(self.to.clone()).encode(4, out, cx.state);
    }
}
