//! A planned switchover, as the owner does it.
//!
//! # Overview
//!
//! ```text
//! Flush:   workers hold packets back, say all that changed, and mark                -> all marked
//! Barrier: what was sent last of each lane is asked for, again and again            -> the heir has it, in its tables
//! Grant:   the next term is the heir's, said again and again                        -> its ROLE as the owner is heard
//! ```
//! Until the grant it can be abandoned, and is after [`PATIENCE`] or when the heir is gone. After it the heir may be the owner at any
//! moment: this node takes over again, outbidding it, only when the heir is silent, or lives and does not act for [`STUBBORN`].
//!
//! # Life cycle, who may touch what
//!
//! One at a time, made by [`super::Node`] as it becomes Held and gone when it is anything else.

use packet::Tick;

use crate::hands::{Hands, Inbound};
use crate::ids::{Epoch, Lane, NodeId, Seq, Term};
use crate::{Mutation, mutated};

use super::config::{MS, after};
use super::member::Member;

/// For how long packets may be held back in vain.
pub(super) const PATIENCE: u64 = 200 * MS;
/// How long an heir that lives may take over a grant.
const STUBBORN: u64 = 2_000 * MS;
/// Between questions.
const AGAIN: u64 = MS;
/// Between grants.
const GRANTS: u64 = 5 * MS;
/// For how long packets that still come here are passed on.
pub(super) const REDIRECT: u64 = 5_000 * MS;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// Workers that are to be told, and those that are to mark, a bit each.
    Flush { untold: u64, unmarked: u64 },
    /// Up to where the heir must have each lane.
    Barrier { seqs: Vec<Seq>, again: Tick },
    /// The heir's term.
    Grant { term: Term, again: Tick },
}

/// One that is going on.
#[derive(Debug)]
pub(super) struct Switch {
    pub(super) to: NodeId,
    /// The heir's incarnation: one that starts anew has none of what this one had.
    epoch: Epoch,
    since: Tick,
    token: u64,
    lanes: u8,
    phase: Phase,
}

/// What has to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing yet.
    Wait,
    /// All workers have said all: send what waits, and tell [`Switch::flushed`] what was sent last.
    Flushed,
    /// Ask the heir for its watermarks.
    Ask,
    /// The heir is there: get it a term, and tell [`Switch::granted`].
    Arrived,
    /// Say the grant.
    Grant(Term),
    /// It cannot be done: go on as the owner.
    Abandon,
    /// The heir is gone, or does nothing: take over again.
    Outbid,
}

impl Switch {
    /// `token`: none of another's.
    pub(super) fn new((to, epoch): (NodeId, Epoch), token: u64, lanes: u8, now: Tick) -> Self {
        let all = u64::MAX >> (64 - u32::from(lanes.clamp(1, 64)));
        let phase = Phase::Flush { untold: all, unmarked: all };
        Self { to, epoch, since: now, token, lanes, phase }
    }

    /// A worker marked.
    pub(super) fn marked(&mut self, lane: Lane, token: u64) {
        if let Phase::Flush { unmarked, .. } = &mut self.phase
            && token == self.token
        {
            *unmarked &= !(1 << lane.get());
        }
    }

    /// These were sent last.
    pub(super) fn flushed(&mut self, seqs: Vec<Seq>) {
        self.phase = Phase::Barrier { seqs, again: Tick(0) };
    }

    /// The heir's term.
    pub(super) fn granted(&mut self, term: Term) {
        self.phase = Phase::Grant { term, again: Tick(0) };
    }

    /// `heir`: the node that it is, if it is there.
    pub(super) fn step(&mut self, heir: Option<&Member>, now: Tick, hands: &mut dyn Hands) -> Step {
        let late = after(self.since, PATIENCE) <= now;
        let Some(heir) = heir.filter(|heir| heir.alive && heir.epoch == self.epoch) else {
            return if matches!(self.phase, Phase::Grant { .. }) {
                Step::Outbid
            } else {
                Step::Abandon
            };
        };
        match &mut self.phase {
            Phase::Flush { .. } | Phase::Barrier { .. } if late => Step::Abandon,
            Phase::Flush { untold, unmarked } => {
                for number in 0..self.lanes {
                    let Some(worker) = Lane::new(number) else { continue };
                    let flush = Inbound::Flush { token: self.token };
                    if *untold & 1 << number != 0 && hands.tell(worker, &flush).is_ok() {
                        *untold &= !(1 << number);
                    }
                }
                if *untold | *unmarked == 0 { Step::Flushed } else { Step::Wait }
            }
            Phase::Barrier { seqs, again } => {
                let there = heir.lanes.iter().zip(&*seqs);
                let mut there =
                    there.map(|(has, seq)| has.seq >= *seq && (has.applied || seq.0 == 0));
                if there.all(|there| there) || mutated(Mutation::SkipBarrier) {
                    Step::Arrived
                } else if *again <= now {
                    *again = after(now, AGAIN);
                    Step::Ask
                } else {
                    Step::Wait
                }
            }
            Phase::Grant { .. } if after(self.since, STUBBORN) <= now => Step::Outbid,
            Phase::Grant { term, again } if *again <= now => {
                *again = after(now, GRANTS);
                Step::Grant(*term)
            }
            Phase::Grant { .. } => Step::Wait,
        }
    }

    /// When to step again.
    pub(super) fn next(&self, now: Tick) -> Tick {
        match self.phase {
            Phase::Flush { .. } => after(now, MS / 4),
            Phase::Barrier { again, .. } | Phase::Grant { again, .. } => again.max(now),
        }
    }
}
