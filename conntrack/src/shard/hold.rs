//! Flows of which another node is the owner do not age here; and how soon the wheel looks at those that others hear of.
//!
//! # Overview
//!
//! A standby hears of flows that live on when their owner finds time, or not at all when that died. So while it
//! [holds](Shard::hold) them, their deadlines end nothing; and from the moment when it owns them, none is over for another
//! [`GRACE`]. That is one number for all of them (a *floor*) and costs the same for one flow and for ten million.
//!
//! On the owner, the wheel looks at a flow when a quarter of what it has left is over, but not under a second: has a packet put
//! its end off by then, others are told. At an established TCP connection it looks every [`LOOK`], and every second at one that
//! moves, because they must know about where its windows are.

use packet::Tick;

use super::replicate::Mark;
use super::{Shard, beat_after};
use crate::flow::{BEAT, Flow, Slot, Status};
use crate::proto::tcp::{self, sent};

const SECOND: u32 = (1_000_000_000 / BEAT) as u32 + 1;
/// What every flow has left at least when its owner changes, in beats: ten seconds.
const GRACE: u32 = 10 * SECOND;
/// How often a TCP connection that does not move is looked at, in beats: 16 s.
const LOOK: u32 = 16 * SECOND;
/// A connection has moved when it sent so many bytes, or half a window if that is more.
const MOVED: u32 = 32 << 10;

impl Shard {
    /// Another node owns the flows from now on: they do not age. Those that are this node's own do, and what is made from now
    /// on is such.
    pub fn hold(&mut self) {
        self.replicas.named = true;
        self.replicas.held = true;
        self.replicas.floor = None;
    }

    /// This node owns the flows from now on: they age, but none is over for ten seconds.
    pub fn release(&mut self, now: Tick) {
        self.replicas.named = true;
        if std::mem::take(&mut self.replicas.held) {
            self.replicas.floor = Some(beat_after(now).wrapping_add(GRACE));
        }
    }

    /// Whether another node owns the flows.
    pub fn is_held(&self) -> bool {
        self.replicas.held
    }

    /// The beat before which a flow of more than one node is not over; `None`: it is over when its time is.
    pub(super) fn spared_until(&self, beat: u32) -> Option<u32> {
        if self.replicas.held {
            return Some(beat.wrapping_add(GRACE));
        }
        self.replicas.floor.filter(|floor| (floor.wrapping_sub(beat) as i32) > 0)
    }

    /// Whether flows of more than one node may be over.
    #[inline]
    pub(crate) fn spares(&self, now: Tick) -> bool {
        (self.replicas.held || self.replicas.floor.is_some())
            && self.spared_until((now.0 / BEAT) as u32).is_some()
    }

    /// What is to be done with a flow whose time is over: true, it is put off.
    pub(super) fn put_off(&mut self, slot: Slot, beat: u32) -> bool {
        if !self.replicas.held && self.replicas.floor.is_none() {
            return false;
        }
        let Some(until) = self.spared_until(beat) else {
            self.replicas.floor = None;
            return false;
        };
        if !self.flow(slot).is_some_and(Flow::is_shared) {
            return false;
        }
        self.wheel.file_at(&mut self.flows, slot, until);
        true
    }

    /// The wheel came by a flow whose time is not over, and took it out.
    pub(super) fn look(&mut self, slot: Slot, beat: u32) {
        if !self.replicas.on {
            return self.wheel.file(&mut self.flows, slot);
        }
        let mark = self.replicas.mark(slot);
        let Some(flow) = self.flow(slot) else { return };
        let moves = has_moved(flow, &mark);
        let due = if moves { beat.wrapping_add(SECOND) } else { self.look_at(flow, beat) };
        let due = earlier(due, flow.shared.deadline);
        if flow.is_shared() && (moves || is_put_off(flow, &mark, beat)) {
            self.replicas.lazy.add(slot);
        }
        self.wheel.file_at(&mut self.flows, slot, due);
    }

    /// When the wheel is to look at a flow next.
    pub(super) fn look_at(&self, flow: &Flow, beat: u32) -> u32 {
        let deadline = flow.shared.deadline;
        let left = deadline.wrapping_sub(beat);
        if !self.replicas.on || flow.is_local() || left > i32::MAX as u32 {
            return deadline;
        }
        let mut wait = (left / 4).max(SECOND);
        if tcp::is_established(flow) {
            wait = wait.min(LOOK);
        }
        beat.wrapping_add(wait.min(left))
    }
}

impl Flow {
    /// Whether it is over, unless flows of more than one node are spared.
    #[inline(always)]
    pub(crate) fn is_over_unless(&self, spared: bool, now: Tick) -> bool {
        self.is_over(now) && !(spared && self.is_shared())
    }

    /// Whether it is in the table, lives, and is not this node's alone.
    #[inline(always)]
    pub(crate) fn is_shared(&self) -> bool {
        self.status().0 & (Status::CONFIRMED | Status::DYING) == Status::CONFIRMED
            && !self.is_local()
    }
}

/// Whether a TCP connection sent so much since others heard of it that they must know.
fn has_moved(flow: &Flow, mark: &Mark) -> bool {
    tcp::is_established(flow)
        && sent(flow).wrapping_sub(mark.sent) >= MOVED.max(tcp::largest_window(flow) / 2)
}

/// Whether others believe that a flow has less than seven eighths of what it has left.
fn is_put_off(flow: &Flow, mark: &Mark, beat: u32) -> bool {
    let left = i64::from(flow.shared.deadline.wrapping_sub(beat) as i32);
    let told = i64::from(mark.deadline.wrapping_sub(beat) as i32);
    8 * told < 7 * left
}

/// The earlier of two beats less than 2³¹ apart.
fn earlier(this: u32, that: u32) -> u32 {
    if (this.wrapping_sub(that) as i32) < 0 { this } else { that }
}
