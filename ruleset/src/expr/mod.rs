//! Expressions: what rules are made of. **One expression, one file**; a new one is a new file and one line in [`REGISTRY`].
//!
//! # Life cycle
//!
//! Netlink attributes → [`decode_list`] → a boxed [`Expr`] in a rule → [`Expr::eval`] for each packet, on any worker →
//! [`Expr::encode`] for each listing. An expression is immutable but for state in atomics and counters, since the control
//! side and all workers share it.

use std::fmt::Debug;

use nfnetlink::{Attr, Errno, Error, Result, Writer};

use crate::counters::CounterPool;
use crate::family::{ChainType, Family, Hooks};
use crate::ids::{ChainId, FlowtableId, ObjectId, SetId};
use crate::model::{BatchIds, Chain, Compat, Set, State, Table};
use crate::packet::{Constancy, Cx};
use crate::regs::{AnyReg, Reg};
use crate::schema::Schema;
use crate::verdict::Verdict;

mod bitwise;
mod byteorder;
mod cmp;
pub(crate) mod connlimit;
pub(crate) mod counter;
mod ct;
mod dup;
mod dynset;
mod exthdr;
mod fib;
mod flow_offload;
mod fwd;
mod hash;
mod immediate;
mod inner;
mod last;
pub(crate) mod limit;
mod log;
mod lookup;
mod masq;
mod meta;
mod nat;
mod notrack;
mod numgen;
mod objref;
mod osf;
mod payload;
#[cfg(test)]
mod probe;
pub(crate) mod queue;
pub(crate) mod quota;
mod range;
mod redir;
mod reject;
mod rt;
mod socket;
pub(crate) mod synproxy;
mod tproxy;
mod tunnel;
mod xfrm;
mod xt_match;
mod xt_target;

pub(crate) use hash::jhash;
pub(crate) use numgen::scale;

/// Every expression, by name. The one place that knows them all.
pub static REGISTRY: &[&Kind] = &[
    &bitwise::KIND,
    &byteorder::KIND,
    &cmp::KIND,
    &connlimit::KIND,
    &counter::KIND,
    &ct::KIND,
    &dup::KIND,
    &dynset::KIND,
    &exthdr::KIND,
    &fib::KIND,
    &flow_offload::KIND,
    &fwd::KIND,
    &hash::KIND,
    &immediate::KIND,
    &inner::KIND,
    &last::KIND,
    &limit::KIND,
    &log::KIND,
    &lookup::KIND,
    &masq::KIND,
    &meta::KIND,
    &nat::KIND,
    &notrack::KIND,
    &numgen::KIND,
    &objref::KIND,
    &osf::KIND,
    &payload::KIND,
    #[cfg(test)]
    &probe::KIND,
    &queue::KIND,
    &quota::KIND,
    &range::KIND,
    &redir::KIND,
    &reject::KIND,
    &rt::KIND,
    &socket::KIND,
    &synproxy::KIND,
    &tproxy::KIND,
    &tunnel::KIND,
    &xfrm::KIND,
    &xt_match::KIND,
    &xt_target::KIND,
];

/// What is known of an expression before there is one.
#[derive(Debug)]
pub struct Kind {
    /// Its attributes, for decoding and for `twinwall describe`.
    pub schema: &'static Schema,
    /// Reads one from the attributes inside `NFTA_EXPR_DATA`. Where a message has none, `data` is empty.
    pub decode: fn(data: &Attr<'_>, cx: &mut Decode<'_>) -> Result<Box<dyn Expr>>,
    /// It has state of its own, so it may stand in set elements and dynamic sets (`NFT_EXPR_STATEFUL`).
    pub stateful: bool,
}

/// An expression in a rule, a set or a set element.
pub trait Expr: Debug + Send + Sync {
    /// Its entry in the registry.
    fn kind(&self) -> &'static Kind;

    /// Does to the packet and the registers what it does. [`Verdict::Continue`]: on to the next expression;
    /// [`Verdict::Break`]: the rule does not match; anything else ends the rule. No allocation, no lock, no panic.
    fn eval(&self, cx: &mut Cx<'_>) -> Verdict;

    /// Whether what it is about to do to this packet is the same for all packets of the flow, as far as what went before it is.
    /// Asked for packets whose flow is to be remembered.
    fn constancy(&self, _cx: &Cx<'_>) -> Constancy {
        Constancy::Packet
    }

    /// Writes its attributes, as the kernel dumps them, inside `NFTA_EXPR_DATA`.
    fn encode(&self, out: &mut Writer, cx: &Encode<'_>);

    /// In a set's element, Linux must look after it from time to time (`NFT_EXPR_GC`), for which not every set is made.
    fn is_visited(&self) -> bool {
        false
    }

    /// In a set's element that a packet put in: it knows of nothing any more, and the element may go.
    fn is_idle(&self) -> bool {
        false
    }

    /// What it points at: each is counted as used while the expression is there.
    fn refs(&self, _each: &mut dyn FnMut(Ref)) {}

    /// Which chains it may be reached from.
    fn requires(&self) -> Requires {
        Requires::ANYTHING
    }

    /// The same with its state as it was configured, for a new set element. `None` for those without state.
    fn fresh(&self) -> Option<Box<dyn Expr>> {
        None
    }
}

/// What an expression points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ref {
    /// A jump or goto.
    Chain(ChainId),
    /// A set that is looked up or changed.
    Set(SetId),
    /// A stateful object.
    Object(ObjectId),
    /// A flowtable.
    Flowtable(FlowtableId),
    /// Connection tracking of this family, or of both IP families.
    Tracking(Family),
}

/// Base chains that an expression may be reached from: of one of these types, in one of these hooks. Another chain is refused
/// with `EOPNOTSUPP` when the batch is committed, as `nft_chain_validate_hooks` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requires {
    /// Bit by [`ChainType`].
    pub types: u8,
    /// The hooks.
    pub hooks: Hooks,
    /// What extensions of iptables ask beside that.
    pub compat: Allowed,
}

/// Types and hooks of base chains that extensions of iptables may be reached from. Another is refused with `EINVAL`, as
/// `nft_match_validate` and `nft_target_validate` do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// Bit by [`ChainType`].
    pub types: u8,
    /// The hooks.
    pub hooks: Hooks,
}

impl Requires {
    /// Any.
    pub const ANYTHING: Self =
        Self { types: 0xff, hooks: Hooks::ALL, compat: Allowed { types: 0xff, hooks: Hooks::ALL } };

    /// Only in these hooks.
    pub const fn hooks(hooks: Hooks) -> Self {
        Self { hooks, ..Self::ANYTHING }
    }

    /// Only in chains of this type, in these hooks.
    pub const fn chain(kind: ChainType, hooks: Hooks) -> Self {
        Self { types: 1 << kind as u8, hooks, ..Self::ANYTHING }
    }

    /// What both allow.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        let compat = Allowed {
            types: self.compat.types & other.compat.types,
            hooks: self.compat.hooks.and(other.compat.hooks),
        };
        Self { types: self.types & other.types, hooks: self.hooks.and(other.hooks), compat }
    }
}

/// What an expression is decoded against: the state as the batch has made it so far.
pub struct Decode<'a> {
    /// The state.
    pub state: &'a State,
    /// The table that the rule or set belongs to.
    pub table: &'a Table,
    /// The rule's chain; `None` for expressions of sets and their elements.
    pub chain: Option<&'a Chain>,
    /// What this batch named by numbers.
    pub ids: &'a BatchIds,
    /// Where counters come from.
    pub counters: &'a CounterPool,
    /// What iptables-nft says of the rule's protocol (`NFTA_RULE_COMPAT`).
    pub compat: Option<Compat>,
    /// Nanoseconds since the daemon's start.
    pub now: u64,
    /// It was written by [`Expr::encode`]: a few expressions list attributes that requests must not have.
    pub listed: bool,
    /// The registers, a bit for each four bytes, that an expression before this one has written.
    written: u32,
}

impl<'a> Decode<'a> {
    /// For the first expression of a list.
    pub fn new(
        state: &'a State,
        table: &'a Table,
        chain: Option<&'a Chain>,
        ids: &'a BatchIds,
        counters: &'a CounterPool,
    ) -> Self {
        Self { state, table, chain, ids, counters, compat: None, now: 0, listed: false, written: 0 }
    }

    /// The table's family.
    pub fn family(&self) -> Family {
        self.table.family()
    }

    /// Checks that `len` bytes can be read from a register, and that something wrote them.
    ///
    /// # Errors
    ///
    /// `EINVAL` for no bytes, `ERANGE` beyond the last register, `ENODATA` where nothing was written.
    pub fn load(&self, reg: Reg, len: usize) -> Result<()> {
        let mask = Self::mask(reg, len)?;
        if self.written & mask == mask { Ok(()) } else { Err(Errno::ENODATA.into()) }
    }

    /// Checks that `len` bytes can be written to a register, and notes it.
    ///
    /// # Errors
    ///
    /// `EINVAL` for no bytes, `ERANGE` beyond the last register.
    pub fn store(&mut self, reg: Reg, len: usize) -> Result<()> {
        self.written |= Self::mask(reg, len)?;
        Ok(())
    }

    fn mask(reg: Reg, len: usize) -> Result<u32> {
        if len == 0 {
            return Err(Errno::EINVAL.into());
        }
        if !reg.fits(len) {
            return Err(Errno::ERANGE.into());
        }
        let words = len.div_ceil(4) as u32;
        let bits = u32::MAX.checked_shr(32 - words).unwrap_or(0);
        Ok(bits << (reg.offset() / 4))
    }

    /// A register that a value, not a verdict, goes to or comes from.
    ///
    /// # Errors
    ///
    /// `EINVAL` for the verdict register.
    pub fn data_reg(reg: AnyReg) -> Result<Reg> {
        match reg {
            AnyReg::Data(reg) => Ok(reg),
            AnyReg::Verdict => Err(Errno::EINVAL.into()),
        }
    }

    /// The chain of this name in the table.
    ///
    /// # Errors
    ///
    /// `ENOENT`.
    pub fn chain_named(&self, name: &Attr<'_>) -> Result<ChainId> {
        let found = self.table.chains.named(name.str(256)?);
        found.ok_or_else(|| name.error(Errno::ENOENT))
    }

    /// The chain that this batch gave this number.
    ///
    /// # Errors
    ///
    /// `ENOENT`.
    pub fn chain_of_batch(&self, id: &Attr<'_>) -> Result<ChainId> {
        let found = self.ids.chains.get(&(self.table.handle, id.u32()?)).copied();
        found.ok_or_else(|| id.error(Errno::ENOENT))
    }

    /// The set of this name in the table, or the one that this batch gave this number.
    ///
    /// # Errors
    ///
    /// `ENOENT`.
    pub fn set(&self, name: &str, id: Option<u32>) -> Result<&'a Set> {
        let named = self.table.sets.named(name);
        let numbered = || self.ids.sets.get(&(self.table.handle, id?)).copied();
        let id = named.or_else(numbered).ok_or(Errno::ENOENT)?;
        Ok(self.state.set(id).ok_or(Errno::ENOENT)?)
    }
}

/// What a listing asks for.
pub struct Encode<'a> {
    /// Names of chains, sets and objects.
    pub state: &'a State,
    /// Counters and quotas go back to zero once told.
    pub reset: bool,
    /// Nanoseconds since the daemon's start, for what is left of a timeout.
    pub now: u64,
}

const EXPR_NAME: u16 = 1;
const EXPR_DATA: u16 = 2;
/// `NFTA_LIST_ELEM`.
pub const LIST_ELEM: u16 = 1;
/// Expressions that a rule may have (`NFT_RULE_MAXEXPRS`).
pub const MAX_EXPRS: usize = 128;

/// Reads one expression (`NFTA_EXPR_…`).
///
/// # Errors
///
/// `EINVAL` without a name, `ENOENT` for an unknown one, else what the expression says.
pub fn decode_one(attr: &Attr<'_>, cx: &mut Decode<'_>) -> Result<Box<dyn Expr>> {
    let [_, name, data] = attr.table::<3>();
    let name = name.ok_or_else(|| attr.error(Errno::EINVAL))?;
    let wanted = name.str(31)?;
    let kind = REGISTRY
        .iter()
        .find(|kind| kind.schema.name == wanted)
        .ok_or_else(|| name.error(Errno::ENOENT))?;
    let none = Attr { kind: EXPR_DATA, data: &[], offset: attr.offset };
    (kind.decode)(&data.unwrap_or(none), cx).map_err(|error| match error.offset {
        Some(_) => error,
        None => error.at(attr),
    })
}

/// Reads a list of expressions (`NFTA_LIST_ELEM`), at most `most`.
///
/// # Errors
///
/// `EINVAL` for another attribute in the list or too many, else as [`decode_one`].
pub fn decode_list(
    list: &Attr<'_>,
    most: usize,
    cx: &mut Decode<'_>,
) -> Result<Box<[Box<dyn Expr>]>> {
    let mut exprs = Vec::new();
    for attr in list.nested() {
        if attr.kind != LIST_ELEM || exprs.len() == most {
            return Err(Errno::EINVAL.into());
        }
        exprs.push(decode_one(&attr, cx).map_err(|error| error.all_at(&attr))?);
    }
    Ok(exprs.into())
}

/// Writes one expression's name and attributes inside an attribute `kind`.
pub fn encode_one(expr: &dyn Expr, kind: u16, out: &mut Writer, cx: &Encode<'_>) {
    out.nest(kind, |out| {
        out.str(EXPR_NAME, expr.kind().schema.name);
        // As the kernel: what has no attributes has nothing to hold them.
        if !expr.kind().schema.attributes.is_empty() {
            out.nest(EXPR_DATA, |out| expr.encode(out, cx));
        }
    });
}

/// Writes a list of expressions inside an attribute `kind`.
pub fn encode_list(exprs: &[Box<dyn Expr>], kind: u16, out: &mut Writer, cx: &Encode<'_>) {
    out.nest(kind, |out| {
        exprs.iter().for_each(|expr| encode_one(expr.as_ref(), LIST_ELEM, out, cx));
    });
}

/// A refusal that says why this dataplane cannot do it.
pub fn refused(why: &'static str) -> Error {
    Error::new(Errno::EOPNOTSUPP).because(why)
}

/// How `reject` answers (`NFT_REJECT_…`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectWith {
    /// An ICMP or ICMPv6 destination-unreachable message with this code, of the packet's own family.
    Unreachable(u8),
    /// A TCP reset.
    TcpReset,
}

/// Where `dup` and `fwd` send a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendTo {
    /// By this interface, where one is named.
    pub iface: Option<u32>,
    /// To this address, where one is named: family and address.
    pub addr: Option<(Family, [u8; 16])>,
}

/// What `log` says of a packet.
#[derive(Clone, Copy, Debug)]
pub struct LogRecord<'a> {
    /// The text in front.
    pub prefix: &'a str,
    /// syslog's level, 0 to 7.
    pub level: u8,
    /// What to tell beside: 1 TCP sequence numbers, 2 TCP options, 4 IP options, 8 user, 32 MAC addresses (`NF_LOG_…`).
    pub flags: u32,
}
