//! `cmp`: a register against a constant.

use nfnetlink::{Attr, Result, Writer};

use super::{Decode, Encode, Expr, Kind};
use crate::data::{Data, RawData};
use crate::packet::{Constancy, Cx};
use crate::regs::Reg;
use crate::schema::Value as _;
use crate::verdict::Verdict;

crate::attributes! {
    /// Compares a register with a value; where that is not so, the rule does not match.
    struct Attributes("cmp") {
        /// What is compared.
        1 => sreg: Reg,
        /// How; the greater the earlier byte, as packets have numbers.
        2 => op: Op,
        /// With what: as many bytes as are compared.
        3 => data: RawData,
    }
}

crate::choice! {
    /// How to compare (`enum nft_cmp_ops`).
    enum Op: u32 {
        /// The same bytes.
        Eq = 0 => "==",
        /// Other bytes.
        Neq = 1 => "!=",
        /// Less.
        Lt = 2 => "<",
        /// Less or the same.
        Lte = 3 => "<=",
        /// More.
        Gt = 4 => ">",
        /// More or the same.
        Gte = 5 => ">=",
    }
}

/// Registered in `REGISTRY`.
pub(super) static KIND: Kind = Kind { schema: Attributes::SCHEMA, decode, stateful: false };

#[derive(Debug)]
struct Cmp {
    sreg: Reg,
    op: Op,
    value: Box<[u8]>,
}

fn decode(data: &Attr<'_>, cx: &mut Decode<'_>) -> Result<Box<dyn Expr>> {
    let Attributes { sreg, op, data } = Attributes::decode(data)?;
    let value = data.value(cx)?;
    cx.load(sreg, value.len())?;
    Ok(Box::new(Cmp { sreg, op, value }))
}

impl Expr for Cmp {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn eval(&self, cx: &mut Cx<'_>) -> Verdict {
        let order = cx.regs.get(self.sreg, self.value.len()).cmp(&self.value);
        let so = match self.op {
            Op::Eq => order.is_eq(),
            Op::Neq => order.is_ne(),
            Op::Lt => order.is_lt(),
            Op::Lte => order.is_le(),
            Op::Gt => order.is_gt(),
            Op::Gte => order.is_ge(),
        };
        if so { Verdict::Continue } else { Verdict::Break }
    }

    fn constancy(&self, _cx: &Cx<'_>) -> Constancy {
        Constancy::Flow
    }

    fn encode(&self, out: &mut Writer, cx: &Encode<'_>) {
        self.sreg.put(1, out);
        self.op.put(2, out);
        Data::Value(self.value.clone()).encode(3, out, cx.state);
    }
}
