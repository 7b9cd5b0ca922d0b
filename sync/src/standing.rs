//! What this node is to its flows: written by the sync thread, read by workers at each turn.
//!
//! # Overview
//!
//! Two words: the role with its term and owner, and the moment until which workers may forward (the *lease*). A sync thread that was
//! stopped for longer than a lease cannot tell workers that the node lost its role; so they stop by themselves.
//!
//! # Who may touch what
//!
//! [`Standing::set`], [`renew`](Standing::renew) and the sleeping half of the bell are the sync thread's alone. Workers read, and ring.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use packet::Tick;

use crate::bell::Bell;
use crate::ids::{NodeId, Term};
use crate::records::Role;

/// Shared between the sync thread and all workers.
#[derive(Debug)]
pub struct Standing {
    /// Role, owner plus one, term: 8, 8, 32 bits from the lowest on. Written by the sync thread.
    role: AtomicU64,
    /// A [`Tick`]. Written by the sync thread.
    lease: AtomicU64,
    /// The old owner has handed over. Written by the sync thread, before the role that it stands for.
    handed_over: AtomicBool,
    /// Written by both sides.
    bell: Bell,
}

impl Standing {
    /// Of a node that is this until somebody says otherwise. It may not forward before its lease is renewed.
    pub fn new(role: Role) -> Self {
        let standing = Self {
            role: AtomicU64::new(0),
            lease: AtomicU64::new(0),
            handed_over: AtomicBool::new(false),
            bell: Bell::new(),
        };
        standing.set(role, Term::default(), None);
        standing
    }

    /// The old owner has handed over: this node is active next.
    pub fn hand_over(&self) {
        self.handed_over.store(true, Ordering::Relaxed);
    }

    /// Whether this node is active because the old owner has handed over.
    pub fn was_handed_over(&self) -> bool {
        self.handed_over.load(Ordering::Relaxed)
    }

    /// What this node is from now on.
    pub fn set(&self, role: Role, term: Term, owner: Option<NodeId>) {
        if role != Role::Active {
            self.handed_over.store(false, Ordering::Relaxed);
        }
        let owner = owner.map_or(0, |owner| u64::from(owner.get()) + 1);
        let word = u64::from(term.0) << 16 | owner << 8 | role as u64;
        self.role.store(word, Ordering::Release);
    }

    /// Workers may forward until then.
    pub fn renew(&self, until: Tick) {
        self.lease.store(until.0, Ordering::Release);
    }

    /// What this node is.
    #[inline]
    pub fn role(&self) -> Role {
        match self.role.load(Ordering::Acquire) & 0xff {
            1 => Role::Active,
            2 => Role::Passive,
            3 => Role::Held,
            4 => Role::Redirecting,
            _ => Role::Standby,
        }
    }

    /// The term, and whose it is.
    pub fn term(&self) -> (Term, Option<NodeId>) {
        let word = self.role.load(Ordering::Acquire);
        let owner = ((word >> 8) as u8).checked_sub(1).and_then(NodeId::new);
        (Term((word >> 16) as u32), owner)
    }

    /// Until when workers may forward.
    pub fn lease(&self) -> Tick {
        Tick(self.lease.load(Ordering::Acquire))
    }

    /// Whether a worker may forward now.
    #[inline]
    pub fn may_forward(&self, now: Tick) -> bool {
        self.role() == Role::Active && now < self.lease()
    }

    /// A worker said something: whether the sync thread has to be woken.
    #[inline]
    pub fn must_ring(&self) -> bool {
        self.bell.must_ring()
    }

    /// The sync thread is about to sleep: whether it may, if `idle` still finds nothing to do.
    pub fn may_sleep(&self, idle: impl FnOnce() -> bool) -> bool {
        self.bell.may_sleep(idle)
    }

    /// The sync thread is awake.
    pub fn awake(&self) {
        self.bell.awake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_read() {
        let standing = Standing::new(Role::Standby);
        assert_eq!(standing.role(), Role::Standby);
        assert_eq!(standing.term(), (Term(0), None));
        let roles = [Role::Standby, Role::Active, Role::Passive, Role::Held, Role::Redirecting];
        for (n, role) in roles.into_iter().enumerate() {
            let owner = NodeId::new(n as u8 * 3);
            standing.set(role, Term(u32::MAX - n as u32), owner);
            assert_eq!(standing.role(), role);
            assert_eq!(standing.term(), (Term(u32::MAX - n as u32), owner));
        }
    }

    #[test]
    fn nothing_is_forwarded_without_role_and_lease() {
        let standing = Standing::new(Role::Active);
        assert!(!standing.may_forward(Tick(0)));
        standing.renew(Tick(10));
        assert!(standing.may_forward(Tick(9)));
        assert!(!standing.may_forward(Tick(10)));
        standing.set(Role::Held, Term(1), None);
        assert!(!standing.may_forward(Tick(9)));
    }
}
