//! Who owns a group: terms, and what this node is to it, as a table.
//!
//! # Overview
//!
//! A claim is a (term, node): whoever has the greatest owns the group, and all who hear of a greater one than their own step down.
//! [`TABLE`] says for each role what an event makes of it; [`Owner`] keeps the claim, and the term that is reserved on disk so
//! that a takeover writes nothing before it forwards.
//!
//! # Life cycle, who may touch what
//!
//! [`Owner::event`] decides, [`super::Node`] acts: it tells the workers, the lanes and the peers.

use crate::ids::{Group, NodeId, Term};
use crate::records::Role;
use crate::{Mutation, mutated};

/// A claim to a group. Greater ones win: a higher term, or at the same term the higher node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Claim {
    pub(super) term: Term,
    pub(super) owner: Option<NodeId>,
}

/// What happens to a node's role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Event {
    /// It is to be the owner; whether it may was decided.
    Promote = 0,
    /// The owner granted it the group.
    Granted = 1,
    /// It is to hand over; there is someone to hand over to.
    HandOver = 2,
    /// Nobody took it.
    Abandon = 3,
    /// A greater claim of another node was heard.
    Higher = 4,
    /// It no longer has to pass on packets.
    Settled = 5,
    /// It stops.
    Leave = 6,
}

const EVENTS: usize = 7;
const ROLES: usize = 5;

/// What comes of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Nothing.
    Nothing,
    /// It becomes the owner, by a claim that is greater than all it knows.
    Take,
    /// It holds packets back, and begins to hand over.
    Hold,
    /// It goes on as the owner under its old claim.
    Resume,
    /// Another owns the group.
    Follow,
    /// It is a standby like others.
    Settle,
    /// Nobody owns the group any more, as far as it is concerned.
    Vacate,
}

/// What a role becomes by an event, and what is done.
pub(super) const TABLE: [[(Role, Act); EVENTS]; ROLES] = {
    use Act::{Follow, Hold, Nothing, Resume, Settle, Take, Vacate};
    use Role::{Active, Held, Passive, Redirecting, Standby};
    //  Promote              Granted                 HandOver                Abandon                 Higher                 Settled                 Leave
    [
        // Standby. Only an owner has something to hand over.
        [
            (Active, Take),
            (Active, Take),
            (Standby, Nothing),
            (Standby, Nothing),
            (Standby, Follow),
            (Standby, Nothing),
            (Standby, Nothing),
        ],
        // Active. Promoted again: it is what it is to be. A grant to the owner is an old one. A greater claim: packets that still
        // come here are not passed on, since nobody waited for what this node sent last.
        [
            (Active, Nothing),
            (Active, Nothing),
            (Held, Hold),
            (Active, Nothing),
            (Standby, Follow),
            (Active, Nothing),
            (Standby, Vacate),
        ],
        // Passive. It learns who owns, and takes part in nothing.
        [
            (Passive, Nothing),
            (Passive, Nothing),
            (Passive, Nothing),
            (Passive, Nothing),
            (Passive, Follow),
            (Passive, Nothing),
            (Passive, Nothing),
        ],
        // Held. Promoted: the hand-over is off, and a grant that may be under way is outbid. A greater claim is that of the next
        // owner, which has all this node sent: packets go there. It is not asked to stop twice.
        [
            (Active, Take),
            (Held, Nothing),
            (Held, Nothing),
            (Active, Resume),
            (Redirecting, Follow),
            (Held, Nothing),
            (Standby, Vacate),
        ],
        // Redirecting. A standby in all else.
        [
            (Active, Take),
            (Active, Take),
            (Redirecting, Nothing),
            (Redirecting, Nothing),
            (Redirecting, Follow),
            (Standby, Settle),
            (Standby, Settle),
        ],
    ]
};

/// A group's owner as this node knows it.
#[derive(Debug)]
pub(super) struct Owner {
    node: NodeId,
    pub(super) group: Group,
    pub(super) role: Role,
    /// The greatest claim that this node knows of.
    pub(super) claim: Claim,
    /// Nobody holds it any more: the owner left, or was started again. (An owner that is silent is not known to be gone.)
    pub(super) vacant: bool,
    /// A term that this node granted away and so must not take.
    granted: Term,
    /// What a promotion may take, and is on disk.
    reserved: Term,
}

impl Owner {
    pub(super) const fn new(node: NodeId, group: Group, passive: bool, reserved: Term) -> Self {
        let role = if passive { Role::Passive } else { Role::Standby };
        let claim = Claim { term: Term(0), owner: None };
        Self { node, group, role, claim, vacant: true, granted: Term(0), reserved }
    }

    /// True: this node is the owner, though it may hold packets back.
    pub(super) const fn is_owner(&self) -> bool {
        matches!(self.role, Role::Active | Role::Held)
    }

    /// The other node that owns the group, as far as is known.
    pub(super) fn other(&self) -> Option<NodeId> {
        self.claim.owner.filter(|owner| *owner != self.node && !self.vacant)
    }

    /// What the table says, done to the role and the claim.
    pub(super) fn event(&mut self, event: Event) -> Act {
        let (role, act) = TABLE
            .get(self.role as usize)
            .and_then(|row| row.get(event as usize))
            .copied()
            .unwrap_or((self.role, Act::Nothing));
        self.role = role;
        match act {
            Act::Take => self.take(),
            Act::Vacate => self.vacant = true,
            Act::Nothing | Act::Hold | Act::Resume | Act::Follow | Act::Settle => {}
        }
        act
    }

    /// A claim was heard. `Some`: it is greater than what was known, and this came of it.
    pub(super) fn heard(&mut self, heard: Claim) -> Option<Act> {
        let old = mutated(Mutation::OldTermAccepted) && heard != self.claim;
        if heard <= self.claim && !old {
            return None;
        }
        let mine = heard.owner == Some(self.node);
        if self.is_owner() && (mine || heard.owner.is_none()) {
            // Of that term there is no owner: whoever says so remembers an earlier incarnation of this node, or one that left.
            self.claim.term = self.claim.term.max(heard.term);
            self.role = Role::Active;
            self.take();
            return Some(Act::Take);
        }
        self.claim = heard;
        self.vacant = mine || heard.owner.is_none();
        Some(self.event(Event::Higher))
    }

    /// Whether the owner of the claim is there: it says that it is, or that it is not (any more), or it is gone.
    pub(super) fn is_there(&mut self, there: bool) {
        if !self.is_owner() {
            self.vacant = !there;
        }
    }

    fn take(&mut self) {
        self.claim = Claim { term: self.next_term(), owner: Some(self.node) };
        self.vacant = false;
    }

    /// The term of the next promotion.
    pub(super) fn next_term(&self) -> Term {
        if mutated(Mutation::ReuseTerm) {
            return Term(self.claim.term.0.max(1));
        }
        let seen = self.claim.term.max(self.granted);
        Term(seen.0.saturating_add(1)).max(self.reserved)
    }

    /// The next promotion's term is on disk.
    pub(super) fn is_reserved(&self) -> bool {
        self.next_term() <= self.reserved
    }

    /// What has to be on disk: `None` if it is. An owner leaves a term free, so that granting writes nothing either.
    pub(super) fn to_reserve(&self) -> Option<Term> {
        let ahead = if self.is_owner() { 2 } else { 1 };
        let wanted = Term(self.claim.term.max(self.granted).0.saturating_add(ahead));
        (wanted > self.reserved).then_some(wanted)
    }

    /// This is on disk.
    pub(super) fn reserve(&mut self, term: Term) {
        self.reserved = self.reserved.max(term);
    }

    /// The term that the next owner gets, which is no longer this node's to take.
    pub(super) fn grant(&mut self) -> Term {
        if self.granted <= self.claim.term {
            self.granted = Term(self.claim.term.0.saturating_add(1));
        }
        self.granted
    }
}
