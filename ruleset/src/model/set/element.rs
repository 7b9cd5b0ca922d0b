//! Elements: a key and what is kept for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::data::Data;
use crate::expr::{Expr, Ref};
use crate::ids::{ChainId, ObjectId};
use crate::packet::Cx;
use crate::verdict::Verdict;

use super::super::Userdata;
use super::Key;
use super::shared::Talk;

/// What is kept for a key; nothing for most elements of plain sets.
pub type Rest = Option<Arc<Extra>>;

/// What is kept for a key beside the key. Immutable but for its times and the state of its expressions, since the control
/// side and the workers share it.
#[derive(Debug, Default)]
pub struct Extra {
    /// What a map says.
    pub data: Option<Data>,
    /// What an object map says.
    pub object: Option<ObjectId>,
    /// How long it lives.
    pub lifetime: Lifetime,
    /// Run for each packet that finds it.
    pub exprs: Box<[Box<dyn Expr>]>,
    /// The program's own, comments for example.
    pub userdata: Option<Userdata>,
}

/// How long an element lives, in nanoseconds since the daemon's start. Written by the control side and, where a rule
/// refreshes or deletes the element, by workers; each value stands for itself, so the order of writes does not matter.
#[derive(Debug, Default)]
pub struct Lifetime {
    timeout: AtomicU64,
    expires: AtomicU64,
    /// What nodes of a cluster said to each other of it.
    pub(super) talk: Talk,
}

/// When an element was over that was deleted.
pub(super) const ENDED: u64 = 1;

impl Lifetime {
    /// `timeout` nanoseconds (0: for ever), `left` of which are left.
    pub fn new(timeout: u64, left: u64, now: u64) -> Self {
        let lifetime = Self { timeout: timeout.into(), expires: 0.into(), talk: Talk::default() };
        if timeout != 0 {
            lifetime.refresh(left, now);
        }
        lifetime
    }

    /// Nanoseconds that it lives for without a refresh; 0: for ever.
    pub fn timeout(&self) -> u64 {
        self.timeout.load(Ordering::Relaxed)
    }

    /// Nanoseconds until it expires; 0 where it never does or has expired.
    pub fn left(&self, now: u64) -> u64 {
        self.expires.load(Ordering::Relaxed).saturating_sub(now)
    }

    /// When it expires; 0: never.
    pub fn expires(&self) -> u64 {
        self.expires.load(Ordering::Relaxed)
    }

    /// Whether it is over.
    #[inline]
    pub fn is_over(&self, now: u64) -> bool {
        let expires = self.expires.load(Ordering::Relaxed);
        expires != 0 && expires <= now
    }

    /// Gives it another timeout.
    pub fn set_timeout(&self, timeout: u64) {
        self.timeout.store(timeout, Ordering::Relaxed);
        if timeout == 0 {
            self.expires.store(0, Ordering::Relaxed);
        }
    }

    /// It has `left` nanoseconds from now on.
    #[inline]
    pub fn refresh(&self, left: u64, now: u64) {
        self.expires.store(now.saturating_add(left).max(ENDED), Ordering::Relaxed);
    }

    /// It is over at once: the element is deleted.
    pub fn end(&self) {
        self.expires.store(ENDED, Ordering::Relaxed);
    }
}

/// Whether what is kept says that the element is over.
#[inline]
pub(super) fn is_over(rest: &Rest, now: u64) -> bool {
    rest.as_ref().is_some_and(|extra| extra.lifetime.is_over(now))
}

/// An element as netlink has it.
#[derive(Clone, Debug)]
pub struct Element {
    /// Its key, or the first of its keys; `None` for the one that stands for all others (`*`).
    pub key: Option<Key>,
    /// The last of its keys, where fields are ranges.
    pub end: Option<Key>,
    /// It is no element but where the range before it ends.
    pub closes: bool,
    /// What is kept for it.
    pub rest: Rest,
}

impl Element {
    /// What it points at.
    pub fn refs(&self, each: &mut dyn FnMut(Ref)) {
        let Some(extra) = &self.rest else { return };
        if let Some(chain) = extra.target() {
            each(Ref::Chain(chain));
        }
        if let Some(object) = extra.object {
            each(Ref::Object(object));
        }
    }
}

impl Extra {
    /// The chain that its verdict leads to.
    pub fn target(&self) -> Option<ChainId> {
        match self.data {
            Some(Data::Verdict(Verdict::Jump(chain) | Verdict::Goto(chain))) => Some(chain),
            _ => None,
        }
    }
}

/// What a packet found.
#[derive(Debug)]
pub enum Match<'a> {
    /// A key, and that is all.
    Plain,
    /// An element that the control side put in.
    Kept(&'a Extra),
    /// An element that a packet put in.
    Shared(Arc<Extra>),
}

impl<'a> Match<'a> {
    pub(super) fn of(rest: &'a Rest) -> Self {
        rest.as_deref().map_or(Self::Plain, Self::Kept)
    }

    fn extra(&self) -> Option<&Extra> {
        match self {
            Self::Plain => None,
            Self::Kept(extra) => Some(extra),
            Self::Shared(extra) => Some(extra),
        }
    }

    /// What a map says.
    pub fn data(&self) -> Option<&Data> {
        self.extra()?.data.as_ref()
    }

    /// What an object map says.
    pub fn object(&self) -> Option<ObjectId> {
        self.extra()?.object
    }

    /// Runs the element's expressions: [`Verdict::Break`] where one of them says that the rule does not match, else
    /// [`Verdict::Continue`].
    #[inline]
    pub fn run(&self, cx: &mut Cx<'_>) -> Verdict {
        let Some(extra) = self.extra() else { return Verdict::Continue };
        for expr in &extra.exprs {
            cx.record(expr.as_ref());
            if expr.eval(cx) == Verdict::Break {
                return Verdict::Break;
            }
        }
        Verdict::Continue
    }

    /// Gives the element, where it has a timeout at all, `left` nanoseconds. True where other nodes should hear of it.
    pub(super) fn refresh(&self, left: u64, now: u64) -> bool {
        let Some(extra) = self.extra() else { return false };
        if extra.lifetime.timeout() == 0 {
            return false;
        }
        extra.lifetime.refresh(left, now);
        matches!(self, Self::Shared(_)) && extra.lifetime.has_moved()
    }
}
