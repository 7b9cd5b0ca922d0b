//! What a receiving lane awaits of bulks: when it wants one, how far that is, and what is swept at its end.
//!
//! # States
//!
//! ```text
//! none  --begin, resume--> asked --BULK_END--> ended --nothing before it is missing--> (closing, if a bucket was doubted) --> none
//!    ^------- LOST, too many gaps, one too old: a bulk is wanted --------'
//! ```
//!
//! # Whose bulk
//!
//! One of all flows will do for whoever asked for all flows, if it began afterwards. Who asked for a part takes nothing else for the
//! answer: a bulk of all flows does not say which flows ended that this lane, under the same stamp, may still have.

use packet::Tick;

use super::kept::{Kept, Walk};
use super::pages::PAGE;
use super::receive::ReceiveLane;
use crate::ids::NodeId;
use crate::records::{BulkId, Part};
use crate::{Mutation, mutated};

/// A bulk that was asked for and has not begun after so long, in nanoseconds, has to be asked for again, …
const ASK_AGAIN: u64 = 250_000_000;
/// … and one that does not go on.
const STALLED: u64 = 5_000_000_000;
/// A part that was asked for so often in vain is not to be had. (The sender may be of a version that does not know parts.)
const IN_VAIN: u8 = 4;
/// Pages of entries that are swept in one go.
const SWEEP: u32 = 16;

/// Where the bulk is that was asked for last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bulk {
    /// None is awaited.
    None,
    /// One that begins after `base` will do. `begun`: it has.
    Asked {
        base: u64,
        begun: bool,
        /// When it was asked for, or went on.
        at: Option<Tick>,
    },
    /// Its end came in datagram `end`.
    Ended { end: u64 },
    /// All of it is here; what is left of a doubted bucket is yet to be ended.
    Closing,
}

/// What is awaited.
#[derive(Debug)]
pub(super) struct Awaited {
    bulk: Bulk,
    wanted: bool,
    /// A bulk was asked for once: what comes is taken.
    pub(super) begun: bool,
    /// As whom, and as which request.
    whose: Option<(NodeId, u32)>,
    /// What was asked for is a part.
    is_part: bool,
    kept: Kept,
    walk: Walk,
    /// How often nothing began.
    vain: u8,
    sweep: Option<u32>,
    /// The slot up to which entries were swept.
    swept: Option<u32>,
}

impl Awaited {
    pub(super) fn new() -> Self {
        Self {
            bulk: Bulk::None,
            wanted: true,
            begun: false,
            whose: None,
            is_part: false,
            kept: Kept::NOTHING,
            walk: Walk::default(),
            vain: 0,
            sweep: None,
            swept: None,
        }
    }

    /// One that began by `seq` will not do.
    pub(super) fn begins_after(&mut self, seq: u64) {
        if let Bulk::Asked { base, .. } = &mut self.bulk {
            *base = (*base).max(seq);
        }
    }

    /// Whether a bulk is what was asked for.
    fn serves(&self, id: BulkId, seq: u64) -> bool {
        let Bulk::Asked { base, .. } = self.bulk else { return false };
        let whose = if self.is_part { self.whose } else { None };
        id.whose == whose && begin_of(id.number, seq) > base
    }

    pub(super) fn poll(&mut self, is_silent: bool, now: Tick) {
        let Bulk::Asked { begun, at, .. } = &mut self.bulk else { return };
        let at = at.get_or_insert(now);
        let patience = if *begun { STALLED } else { ASK_AGAIN };
        if !is_silent && !self.wanted && now.0 >= at.0.saturating_add(patience) {
            self.wanted = true;
            self.vain = if *begun { 0 } else { self.vain.saturating_add(1) };
        }
    }

    pub(super) fn next(&self, now: Tick) -> Option<Tick> {
        match self.bulk {
            Bulk::Asked { at: None, .. } => Some(now),
            Bulk::Asked { begun, at: Some(at), .. } if !self.wanted => {
                Some(Tick(at.0.saturating_add(if begun { STALLED } else { ASK_AGAIN })))
            }
            _ => None,
        }
    }
}

impl ReceiveLane {
    /// It does not have all flows, and nobody says them to it. Whoever sees this asks the sender for [`Self::wanted`], and calls
    /// [`Self::resume`] as it does if it [can](Self::can_resume), else [`Self::begin`].
    pub fn wants_bulk(&self) -> bool {
        self.awaited.wanted
    }

    /// What it has need not be said again.
    pub fn can_resume(&self) -> bool {
        self.awaited.begun && self.awaited.vain < IN_VAIN
    }

    /// What is to be asked for, after [`Self::begin`] or [`Self::resume`]; `None`: all flows.
    pub fn wanted(&self) -> Option<Part> {
        self.awaited.kept.part(self.doubts.current(), self.entries.slots())
    }

    /// A bulk of all flows is asked for, as somebody's request: all that is sent from now on gets this stamp. What was sent before and
    /// comes late is not taken. A lane that is whole and misses nothing stays so.
    pub fn begin(&mut self, stamp: u32, whose: (NodeId, u32)) {
        self.stamp = stamp;
        self.partial = false;
        self.awaited.kept = Kept::NOTHING;
        self.awaited.vain = 0;
        // Their turn comes after it.
        self.doubts.put_off();
        self.ask(whose);
    }

    /// What it lacks is asked for, under the stamp that it has.
    pub fn resume(&mut self, whose: (NodeId, u32)) {
        self.lose();
        self.doubt_next();
        self.ask(whose);
    }

    fn ask(&mut self, whose: (NodeId, u32)) {
        if self.gaps.open() > 0 || !self.whole {
            self.vouched = self.watermark().0;
            self.whole = false;
        }
        let base = self.gaps.highest();
        self.gaps.reset(base);
        let is_part = self.wanted().is_some();
        let awaited = &mut self.awaited;
        awaited.begun = true;
        awaited.whose = Some(whose);
        awaited.is_part = is_part;
        awaited.bulk = Bulk::Asked { base, begun: false, at: None };
        awaited.walk = Walk::default();
        awaited.wanted = false;
        awaited.sweep = None;
        awaited.swept = None;
    }

    /// All that is missing now will not come any more.
    fn lose(&mut self) {
        let mut has = self.gaps.contiguous();
        if mutated(Mutation::ResumeTooFar) {
            has = self.gaps.highest();
        }
        let awaited = &mut self.awaited;
        let walked = std::mem::take(&mut awaited.walk).settle(has);
        if self.gaps.open() > 0 || walked.count > 0 {
            awaited.kept.lose(has, walked, self.entries.slots());
        }
    }

    /// What is missing cannot be had any more, or not so: all up to `seq` is to be had from a bulk.
    pub(super) fn abandon(&mut self, seq: u64) {
        self.lose();
        self.vouched = self.watermark().0;
        self.gaps.reset(seq);
        self.whole = false;
        self.awaited.bulk = Bulk::None;
        self.awaited.wanted = true;
        self.counters.abandoned += 1;
    }

    /// A bulk has begun, or all slots up to this one were said.
    pub(super) fn bulk_is_at(&mut self, id: BulkId, slot: Option<u32>, seq: u64, now: Tick) {
        let (has, slots) = (self.gaps.contiguous(), self.entries.slots());
        let awaited = &mut self.awaited;
        if !awaited.serves(id, seq) {
            return;
        }
        if let Bulk::Asked { begun, at, .. } = &mut awaited.bulk {
            (*begun, *at) = (true, Some(now));
            awaited.vain = 0;
        }
        if let Some(slot) = slot {
            awaited.walk.comes_to(id.first, slot, slots, seq, has);
        }
    }

    /// All was said.
    pub(super) fn bulk_ends(&mut self, id: BulkId, seq: u64) {
        if self.awaited.serves(id, seq) {
            self.awaited.bulk = Bulk::Ended { end: seq };
        }
    }

    /// Whether the bulk's end is here and all before it.
    pub(super) fn end_bulk(&mut self) {
        if let Bulk::Ended { end } = self.awaited.bulk
            && (self.gaps.contiguous() >= end || mutated(Mutation::SweepEarly))
        {
            self.awaited.bulk = Bulk::Closing;
            if self.doubts.current().is_none() {
                self.complete();
            }
        }
    }

    /// What the bulk said is all that there is.
    pub(super) fn complete(&mut self) {
        self.doubts.settle(self.awaited.is_part);
        self.awaited.bulk = Bulk::None;
        self.awaited.kept = Kept::WHOLE;
        self.awaited.wanted = self.doubts.are_left();
        self.whole = !self.awaited.wanted;
        self.awaited.sweep = self.whole.then_some(self.stamp);
        self.awaited.swept = Some(0);
        self.counters.bulks += 1;
    }

    /// What is left of a doubted bucket is to be ended: [`Self::end_doubted`].
    pub fn is_closing(&self) -> bool {
        self.awaited.bulk == Bulk::Closing
    }

    /// None is awaited, and what the last one did not say is swept.
    pub(super) fn is_settled(&self) -> bool {
        self.awaited.bulk == Bulk::None && self.awaited.swept.is_none()
    }

    /// There is something to be done at once.
    pub(super) fn is_sweeping(&self) -> bool {
        self.awaited.swept.is_some() || self.is_closing()
    }

    /// Flows that the bulk did not say are not there any more; workers end them by their stamp.
    pub(super) fn sweep_entries(&mut self) {
        let Some(from) = self.awaited.swept else { return };
        let (stamp, used) = (self.stamp, self.entries.used());
        let mut slot = from;
        for _ in 0..SWEEP {
            if slot >= used {
                self.awaited.swept = None;
                return;
            }
            let digest = &mut self.digest;
            self.entries.each_of_page(slot, |slot, entry| {
                if entry.is_alive() && entry.stamp != stamp {
                    digest.toggle(slot, entry.generation(), entry.version());
                    *entry = entry.dead();
                }
            });
            slot = slot.saturating_add(PAGE as u32);
        }
        self.awaited.swept = Some(slot);
    }

    /// Once after each bulk, when nothing else is wanted: what has another stamp is to be swept.
    pub fn sweep_due(&mut self) -> Option<u32> {
        self.awaited.sweep.take()
    }

    /// A digest differed twice: what it has is not all right.
    pub(super) fn want_repair(&mut self) {
        self.vouched = self.watermark().0;
        self.whole = false;
        self.awaited.wanted = true;
    }
}

/// The number of the datagram in which a bulk began, of which a record came in `seq`: see the module `bulk`.
fn begin_of(bulk: u32, seq: u64) -> u64 {
    seq.saturating_sub((seq as u32).wrapping_sub(bulk).into())
}
