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
    /// A term that this node granted away, or may have taken before it was started, and so must not take.
    granted: Term,
    /// What a promotion may take, and is on disk.
    reserved: Term,
}

impl Owner {
    pub(super) const fn new(node: NodeId, group: Group, passive: bool, reserved: Term) -> Self {
        let role = if passive { Role::Passive } else { Role::Standby };
        let claim = Claim { term: Term(0), owner: None };
        Self { node, group, role, claim, vacant: true, granted: reserved, reserved }
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
        let next = self.claim.term.max(self.granted).0.saturating_add(1);
        let free = if self.is_owner() { self.claim.term.0.saturating_add(2) } else { next };
        let wanted = Term(next.max(free));
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

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS_ALL: [Event; EVENTS] = [
        Event::Promote,
        Event::Granted,
        Event::HandOver,
        Event::Abandon,
        Event::Higher,
        Event::Settled,
        Event::Leave,
    ];
    const ROLES_ALL: [Role; ROLES] =
        [Role::Standby, Role::Active, Role::Passive, Role::Held, Role::Redirecting];

    fn node(number: u8) -> NodeId {
        NodeId::new(number).unwrap()
    }

    fn claim(term: u32, owner: u8) -> Claim {
        Claim { term: Term(term), owner: Some(node(owner)) }
    }

    /// A node 1 that has this role, under term 5, of which the terms up to 6 are reserved.
    fn owner(role: Role) -> Owner {
        let mut owner = Owner::new(node(1), Group(0), false, Term(0));
        // It has heard of term 5 since it was started.
        owner.reserve(Term(6));
        let whose = if matches!(role, Role::Active | Role::Held) { 1 } else { 2 };
        (owner.role, owner.claim, owner.vacant) = (role, claim(5, whose), false);
        owner
    }

    /// Each cell by its consequences, written down a second time, as sentences of the protocol rather than as a table.
    #[test]
    fn every_role_and_event() {
        for role in ROLES_ALL {
            for event in EVENTS_ALL {
                let mut now = owner(role);
                let act = now.event(event);
                let was_owner = matches!(role, Role::Active | Role::Held);
                let expected = match (role, event) {
                    // Passive nodes learn, and do nothing else.
                    (Role::Passive, Event::Higher) => (Role::Passive, Act::Follow),
                    (Role::Passive, _) => (Role::Passive, Act::Nothing),
                    // Whoever is promoted and is not forwarding does, under a new term.
                    (Role::Active, Event::Promote) => (Role::Active, Act::Nothing),
                    (_, Event::Promote) => (Role::Active, Act::Take),
                    // A grant makes an owner of a node that is none.
                    (_, Event::Granted) if was_owner => (role, Act::Nothing),
                    (_, Event::Granted) => (Role::Active, Act::Take),
                    // Only the owner hands over, and only once.
                    (Role::Active, Event::HandOver) => (Role::Held, Act::Hold),
                    (_, Event::HandOver) => (role, Act::Nothing),
                    (Role::Held, Event::Abandon) => (Role::Active, Act::Resume),
                    (_, Event::Abandon) => (role, Act::Nothing),
                    // A greater claim ends ownership; after a switchover what comes here is passed on.
                    (Role::Held | Role::Redirecting, Event::Higher) => {
                        (Role::Redirecting, Act::Follow)
                    }
                    (_, Event::Higher) => (Role::Standby, Act::Follow),
                    (Role::Redirecting, Event::Settled) => (Role::Standby, Act::Settle),
                    (_, Event::Settled) => (role, Act::Nothing),
                    // Whoever leaves owns nothing.
                    (Role::Redirecting, Event::Leave) => (Role::Standby, Act::Settle),
                    (_, Event::Leave) if was_owner => (Role::Standby, Act::Vacate),
                    (_, Event::Leave) => (role, Act::Nothing),
                };
                assert_eq!((now.role, act), expected, "{role:?} {event:?}");
                match act {
                    Act::Take => assert_eq!((now.claim, now.vacant), (claim(6, 1), false)),
                    Act::Vacate => assert!(now.vacant),
                    _ => assert_eq!((now.claim, now.vacant), (owner(role).claim, false)),
                }
            }
        }
    }

    #[test]
    fn only_a_greater_claim_counts() {
        for role in ROLES_ALL {
            let known = owner(role).claim;
            for lower in [claim(5, 0), claim(4, 15), claim(0, 2), Claim::default(), known] {
                let mut now = owner(role);
                assert_eq!(now.heard(lower), None, "{role:?} {lower:?}");
                assert_eq!((now.role, now.claim), (role, known));
            }
            for greater in [claim(5, 3), claim(6, 0)] {
                let mut now = owner(role);
                assert_eq!(now.heard(greater), Some(Act::Follow), "{role:?} {greater:?}");
                assert!(!now.is_owner() && !now.vacant);
                assert_eq!((now.claim, now.other()), (greater, greater.owner));
            }
        }
    }

    #[test]
    fn what_an_earlier_incarnation_owned_is_nobodys() {
        let mut now = Owner::new(node(1), Group(0), false, Term(6));
        assert_eq!(now.heard(claim(5, 1)), Some(Act::Follow));
        assert_eq!((now.role, now.other(), now.vacant), (Role::Standby, None, true));
        // Term 6 may have been its own, too, though nobody heard of it.
        assert!(!now.is_reserved());
        assert_eq!(now.event(Event::Promote), Act::Take);
        assert_eq!(now.claim, claim(7, 1));
        // An owner is not deposed by what it was, but outbids it.
        assert_eq!(now.heard(claim(9, 1)), Some(Act::Take));
        assert_eq!((now.role, now.claim), (Role::Active, claim(10, 1)));
        assert_eq!(now.heard(Claim { term: Term(12), owner: None }), Some(Act::Take));
        assert_eq!(now.claim, claim(13, 1));
    }

    #[test]
    fn a_granted_term_is_not_taken_back() {
        let mut now = owner(Role::Active);
        now.reserve(Term(7));
        assert_eq!(now.event(Event::HandOver), Act::Hold);
        assert_eq!((now.grant(), now.grant()), (Term(6), Term(6)));
        assert_eq!(now.next_term(), Term(7));
        assert_eq!(now.event(Event::Promote), Act::Take);
        assert_eq!(now.claim, claim(7, 1));
        assert_eq!(now.event(Event::HandOver), Act::Hold);
        assert_eq!(now.grant(), Term(8));
    }

    #[test]
    fn terms_are_reserved_ahead() {
        let mut now = Owner::new(node(1), Group(0), false, Term(0));
        assert!(!now.is_reserved());
        assert_eq!(now.to_reserve(), Some(Term(1)));
        now.reserve(Term(1));
        assert_eq!((now.is_reserved(), now.to_reserve()), (true, None));
        now.event(Event::Promote);
        assert_eq!((now.claim, now.to_reserve()), (claim(1, 1), Some(Term(3))));
        now.reserve(Term(3));
        now.heard(claim(2, 2));
        assert_eq!((now.to_reserve(), now.is_reserved()), (None, true));
        now.heard(claim(8, 2));
        assert_eq!((now.to_reserve(), now.is_reserved()), (Some(Term(9)), false));
    }
}
