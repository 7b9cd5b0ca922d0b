//! `immediate`: a constant into a register, or a verdict.

use nfnetlink::{Attr, Errno, Result, Writer};

use super::{Decode, Encode, Expr, Kind, Ref};
use crate::data::{Data, RawData};
use crate::packet::{Constancy, Cx};
use crate::regs::{AnyReg, Reg};
use crate::schema::Value as _;
use crate::verdict::Verdict;

crate::attributes! {
    /// Puts a value into a register, or says a verdict.
    struct Attributes("immediate") {
        /// Where to; the verdict register for a verdict.
        1 => dreg: AnyReg,
        /// The value or the verdict.
        2 => data: RawData,
    }
}

/// Registered in `REGISTRY`.
pub(super) static KIND: Kind = Kind { schema: Attributes::SCHEMA, decode, stateful: false };

#[derive(Debug)]
enum Immediate {
    Value(Reg, Data),
    Verdict(Verdict),
}

fn decode(data: &Attr<'_>, cx: &mut Decode<'_>) -> Result<Box<dyn Expr>> {
    let Attributes { dreg, data } = Attributes::decode(data)?;
    Ok(Box::new(match (dreg, data.decode(cx)?) {
        (AnyReg::Data(reg), value @ Data::Value(_)) => {
            cx.store(reg, value.bytes().len())?;
            Immediate::Value(reg, value)
        }
        (AnyReg::Verdict, Data::Verdict(verdict)) => Immediate::Verdict(verdict),
        _ => return Err(Errno::EINVAL.into()),
    }))
}

impl Expr for Immediate {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn eval(&self, cx: &mut Cx<'_>) -> Verdict {
        match self {
            Self::Value(reg, value) => {
                cx.regs.set(*reg, value.bytes());
                Verdict::Continue
            }
            Self::Verdict(verdict) => *verdict,
        }
    }

    fn constancy(&self, _cx: &Cx<'_>) -> Constancy {
        Constancy::Flow
    }

    fn encode(&self, out: &mut Writer, cx: &Encode<'_>) {
        match self {
            Self::Value(reg, value) => {
                reg.put(1, out);
                value.encode(2, out, cx.state);
            }
            Self::Verdict(verdict) => {
                AnyReg::Verdict.put(1, out);
                Data::Verdict(*verdict).encode(2, out, cx.state);
            }
        }
    }

    fn refs(&self, each: &mut dyn FnMut(Ref)) {
        if let Self::Verdict(Verdict::Jump(chain) | Verdict::Goto(chain)) = self {
            each(Ref::Chain(*chain));
        }
    }
}
