//! `dynset`: puts the packet's key into a set, refreshes it there or deletes it.

use nfnetlink::{Attr, Errno, Result, Writer};

use super::{Decode, Encode, Expr, Kind, Ref, decode_one, encode_list, encode_one, lookup};
use crate::data::Data;
use crate::ids::SetId;
use crate::model::{Extra, Layout, Lifetime, Set, SetFlags, Values};
use crate::packet::Cx;
use crate::regs::Reg;
use crate::schema::{Text, Value as _};
use crate::verdict::Verdict;

crate::attributes! {
    /// Adds an element to a set, refreshes or deletes it; where the set is full, the rule does not match.
    struct Attributes("dynset") {
        /// The set's name.
        1 => set: Text<255>,
        /// The set's number in its batch.
        2 => set_id: Option<u32>,
        /// What to do.
        3 => op: u32,
        /// The key.
        4 => key: Reg,
        /// What a map maps it to.
        5 => data: Option<Reg>,
        /// Milliseconds that the element lives for; the set's own where there are none.
        6 => timeout: Option<u64>,
        /// An expression with state for a new element.
        7 => expr: Option<Nest>,
        /// 1: the rule matches where the set is full; 2: there is a list of expressions.
        9 => flags: Option<u32>,
        /// Expressions with state for a new element.
        10 => exprs: Option<Nest>,
    }
}

/// Expressions, not yet looked at.
#[derive(Clone, Debug)]
struct Nest {
    bytes: Box<[u8]>,
    offset: u32,
}

impl crate::schema::Value for Nest {
    const KIND: crate::schema::Kind = crate::schema::Kind::Expressions;

    fn get(attr: &Attr<'_>) -> Result<Self> {
        Ok(Self { bytes: attr.data.into(), offset: attr.offset })
    }

    fn put(&self, kind: u16, out: &mut Writer) {
        out.put(kind, &self.bytes);
    }
}

impl Nest {
    fn attr(&self) -> Attr<'_> {
        Attr { kind: 0, data: &self.bytes, offset: self.offset }
    }
}

crate::choice! {
    /// What to do (`enum nft_dynset_ops`).
    enum Op: u32 {
        /// Put it in where it is not there.
        Add = 0 => "add",
        /// The same, and give it its full time where it is.
        Update = 1 => "update",
        /// Take it out.
        Delete = 2 => "delete",
    }
}

/// Registered in `REGISTRY`.
pub(super) static KIND: Kind = Kind { schema: Attributes::SCHEMA, decode, stateful: false };

/// `NFT_DYNSET_F_INV`.
const INVERTED: u32 = 1;
/// `NFT_DYNSET_F_EXPR`.
const LIST: u32 = 2;
/// Expressions that an element may have (`NFT_SET_EXPR_MAX`).
const MAX_EXPRS: usize = 2;
const NANOS_PER_MILLI: u64 = 1_000_000;

#[derive(Debug)]
struct Dynset {
    set: SetId,
    op: Op,
    key: Reg,
    key_len: u8,
    data: Option<(Reg, u8)>,
    /// Nanoseconds; 0: the set's own.
    timeout: u64,
    inverted: bool,
    exprs: Box<[Box<dyn Expr>]>,
}

fn decode(attr: &Attr<'_>, cx: &mut Decode<'_>) -> Result<Box<dyn Expr>> {
    let wanted = Attributes::decode(attr)?;
    let flags = wanted.flags.unwrap_or(0);
    if flags & !(INVERTED | LIST) != 0 {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let set = cx.set(&wanted.set.0, wanted.set_id)?;
    let spec = &set.spec;
    if spec.flags.has(SetFlags::OBJECT) || spec.layout != Layout::Growing {
        return Err(Errno::EOPNOTSUPP.into());
    }
    if spec.flags.has(SetFlags::CONSTANT) {
        return Err(Errno::EBUSY.into());
    }
    let op = Op::from_number(wanted.op).ok_or(Errno::EOPNOTSUPP)?;
    let timeout = match wanted.timeout {
        Some(_) if !spec.flags.has(SetFlags::TIMEOUT) => return Err(Errno::EOPNOTSUPP.into()),
        Some(millis) => millis.checked_mul(NANOS_PER_MILLI).ok_or(Errno::ERANGE)?,
        None => 0,
    };
    cx.load(wanted.key, usize::from(spec.key_len))?;
    let data = match (wanted.data, spec.values) {
        (Some(reg), Values::Bytes { len, .. }) => {
            cx.load(reg, usize::from(len))?;
            Some((reg, len))
        }
        (Some(_), _) => return Err(Errno::EOPNOTSUPP.into()),
        (None, _) if spec.is_map() => return Err(Errno::EINVAL.into()),
        (None, _) => None,
    };
    let exprs = exprs(&wanted, flags, set, cx)?;
    lookup::may_bind(set)?;
    set.expect_packets();
    Ok(Box::new(Dynset {
        set: set.id,
        op,
        key: wanted.key,
        key_len: spec.key_len,
        data,
        timeout,
        inverted: flags & INVERTED != 0,
        exprs,
    }))
}

/// The expressions of new elements: the rule's, of the kinds that the set has, or the set's.
fn exprs(
    wanted: &Attributes,
    flags: u32,
    set: &Set,
    cx: &mut Decode<'_>,
) -> Result<Box<[Box<dyn Expr>]>> {
    let spec = &set.spec;
    let of_set = &spec.exprs;
    if (wanted.expr.is_some() || wanted.exprs.is_some()) && !spec.flags.has(SetFlags::EVAL) {
        return Err(Errno::EINVAL.into());
    }
    let mut one = |attr: &Attr<'_>| -> Result<Box<dyn Expr>> {
        let expr = decode_one(attr, cx)?;
        if expr.kind().stateful { Ok(expr) } else { Err(Errno::EOPNOTSUPP.into()) }
    };
    let exprs = match (&wanted.expr, &wanted.exprs) {
        (Some(expr), _) => vec![one(&expr.attr())?],
        (None, Some(_)) if flags & LIST == 0 => return Err(Errno::EINVAL.into()),
        (None, Some(list)) => {
            let mut exprs = Vec::new();
            for attr in list.attr().nested() {
                if exprs.len() == MAX_EXPRS {
                    return Err(Errno::E2BIG.into());
                }
                if attr.kind != super::LIST_ELEM
                    || (!of_set.is_empty() && exprs.len() == of_set.len())
                {
                    return Err(Errno::EINVAL.into());
                }
                exprs.push(one(&attr)?);
            }
            exprs
        }
        (None, None) => return Ok(spec.fresh_exprs()),
    };
    if !spec.allows(&exprs) {
        return Err(Errno::EOPNOTSUPP.into());
    }
    Ok(exprs.into())
}

impl Dynset {
    /// The element that this packet makes.
    fn element(&self, timeout: u64, cx: &Cx<'_>) -> Extra {
        let data = self.data.map(|(reg, len)| cx.regs.get(reg, usize::from(len)));
        Extra {
            data: data.map(|data| Data::Value(data.into())),
            object: None,
            lifetime: Lifetime::new(timeout, timeout, cx.place.now),
            exprs: self.exprs.iter().filter_map(|expr| expr.fresh()).collect(),
            userdata: None,
        }
    }
}

impl Expr for Dynset {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    /// A new element is the one thing that a packet allocates; a set's size bounds it.
    fn eval(&self, cx: &mut Cx<'_>) -> Verdict {
        let Some(set) = cx.program.set(self.set) else { return Verdict::Break };
        let (now, key) = (cx.place.now, cx.regs.get(self.key, usize::from(self.key_len)));
        if self.op == Op::Delete {
            set.end(key, now);
            return Verdict::Continue;
        }
        let timeout = if self.timeout == 0 { set.tuning.timeout } else { self.timeout };
        let Some(found) = set.find_or_insert(key, now, || self.element(timeout, cx)) else {
            return if self.inverted { Verdict::Continue } else { Verdict::Break };
        };
        if self.op == Op::Update {
            set.refresh(key, &found, timeout, now);
        }
        match found.run(cx) {
            Verdict::Continue if !self.inverted => Verdict::Continue,
            _ => Verdict::Break,
        }
    }

    fn encode(&self, out: &mut Writer, cx: &Encode<'_>) {
        let set = cx.state.set(self.set);
        self.key.put(4, out);
        if let Some((reg, _)) = self.data {
            reg.put(5, out);
        }
        self.op.put(3, out);
        if let Some(set) = set {
            out.str(1, &set.name);
        }
        out.u64(6, self.timeout / NANOS_PER_MILLI);
        if set.is_none_or(|set| set.spec.exprs.is_empty()) {
            match &*self.exprs {
                [] => {}
                [one] => encode_one(one.as_ref(), 7, out, cx),
                many => encode_list(many, 10, out, cx),
            }
        }
        out.u32(9, if self.inverted { INVERTED } else { 0 });
    }

    fn refs(&self, each: &mut dyn FnMut(Ref)) {
        each(Ref::Set(self.set));
        self.exprs.iter().for_each(|expr| expr.refs(each));
    }
}
