//! `lookup`: a register's value in a set, and what the set maps it to.

use nfnetlink::{Attr, Errno, Result, Writer};

use super::{Decode, Encode, Expr, Kind, Ref};
use crate::data::Data;
use crate::ids::SetId;
use crate::model::{Set, SetFlags, Values};
use crate::packet::{Constancy, Cx};
use crate::regs::{AnyReg, Reg};
use crate::schema::{Text, Value as _};
use crate::verdict::Verdict;

crate::attributes! {
    /// Looks a value up in a set; where it is not there, the rule does not match.
    struct Attributes("lookup") {
        /// The set's name.
        1 => set: Text<255>,
        /// What is looked up: as many bytes as the set's keys have.
        2 => sreg: Reg,
        /// Where a map's value goes; the verdict register for a verdict map.
        3 => dreg: Option<AnyReg>,
        /// The set's number in its batch.
        4 => set_id: Option<u32>,
        /// 1: the rule matches where the value is not there.
        5 => flags: Option<u32>,
    }
}

/// Registered in `REGISTRY`.
pub(super) static KIND: Kind = Kind { schema: Attributes::SCHEMA, decode, stateful: false };

/// `NFT_LOOKUP_F_INV`.
const INVERTED: u32 = 1;

#[derive(Debug)]
struct Lookup {
    set: SetId,
    sreg: Reg,
    key_len: u8,
    dreg: Option<AnyReg>,
    inverted: bool,
}

/// Whether another rule may use a set.
///
/// # Errors
///
/// `EBUSY` for an anonymous set that a rule uses already.
pub(super) fn may_bind(set: &Set) -> Result<()> {
    if set.is_anonymous() && set.uses > 0 { Err(Errno::EBUSY.into()) } else { Ok(()) }
}

fn decode(data: &Attr<'_>, cx: &mut Decode<'_>) -> Result<Box<dyn Expr>> {
    let Attributes { set, sreg, dreg, set_id, flags } = Attributes::decode(data)?;
    let set = cx.set(&set.0, set_id)?;
    let spec = &set.spec;
    cx.load(sreg, usize::from(spec.key_len))?;
    let flags = flags.unwrap_or(0);
    if flags & !INVERTED != 0 {
        return Err(Errno::EINVAL.into());
    }
    let inverted = flags & INVERTED != 0;
    match (dreg, spec.values) {
        (Some(_), _) if inverted => return Err(Errno::EINVAL.into()),
        (Some(AnyReg::Verdict), Values::Verdicts) => {}
        (Some(AnyReg::Data(reg)), Values::Bytes { len, .. }) => cx.store(reg, usize::from(len))?,
        (Some(_), _) => return Err(Errno::EINVAL.into()),
        (None, _) if spec.is_map() && spec.flags.has(SetFlags::ANONYMOUS) => {
            return Err(Errno::EINVAL.into());
        }
        (None, _) => {}
    }
    may_bind(set)?;
    Ok(Box::new(Lookup { set: set.id, sreg, key_len: spec.key_len, dreg, inverted }))
}

impl Expr for Lookup {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn eval(&self, cx: &mut Cx<'_>) -> Verdict {
        let Some(set) = cx.program.set(self.set) else { return Verdict::Break };
        let key = cx.regs.get(self.sreg, usize::from(self.key_len));
        let found = set.find(key, cx.place.now);
        let Some(found) = found else {
            return if self.inverted { Verdict::Continue } else { Verdict::Break };
        };
        if self.inverted {
            return Verdict::Break;
        }
        let verdict = match (self.dreg, found.data()) {
            (Some(AnyReg::Data(reg)), Some(Data::Value(value))) => {
                cx.regs.set(reg, value);
                Verdict::Continue
            }
            (Some(AnyReg::Verdict), Some(Data::Verdict(verdict))) => *verdict,
            _ => Verdict::Continue,
        };
        match found.run(cx) {
            Verdict::Break => Verdict::Break,
            _ => verdict,
        }
    }

    fn constancy(&self, cx: &Cx<'_>) -> Constancy {
        match cx.program.set(self.set) {
            Some(set) if !set.is_constant() => Constancy::Packet,
            _ => Constancy::Flow,
        }
    }

    fn encode(&self, out: &mut Writer, cx: &Encode<'_>) {
        if let Some(set) = cx.state.set(self.set) {
            out.str(1, &set.name);
        }
        self.sreg.put(2, out);
        if let Some(dreg) = self.dreg {
            dreg.put(3, out);
        }
        out.u32(5, if self.inverted { INVERTED } else { 0 });
    }

    fn refs(&self, each: &mut dyn FnMut(Ref)) {
        each(Ref::Set(self.set));
    }
}
