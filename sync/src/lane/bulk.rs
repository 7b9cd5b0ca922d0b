//! How a sending lane says all of its flows, or those that somebody still wants.
//!
//! A cursor goes round over the slots, a chunk at a time. A bulk begins wherever the cursor is and ends when it is there again, so
//! whoever asks while one runs joins it at the next chunk, and those who began before lose nothing. BULK_BEGIN and BULK_END are kept by
//! the window as they are.
//!
//! A bulk's number is the low half of that of the datagram which first carried its BULK_BEGIN. So a receiver can tell whether it began
//! after it began to listen, even if the record came late by way of a repair.
//!
//! # Chunks
//!
//! ```text
//!                     | whole: somebody wants all of it      | else
//! asked of the worker | all living flows, as one request     | the slots that are wanted, as repairs
//! then                | what was overtaken, as repairs       | -
//! then                | BULK_MARK, the next chunk            | likewise
//! ```
//!
//! # What a worker does not say
//!
//! A flow that was said to live, and that the worker did not say when asked for its slot, is gone (this node was not active when it
//! ended): the lane says so itself. It also says again which flows are gone, where a bulk goes on for somebody who may have missed that
//! (see `kept`).

use arrayvec::ArrayVec;
use packet::Tick;

use super::Progress;
use super::digest::BUCKETS;
use super::open::Keep;
use super::repair::{BULK, OURS};
use super::said::Said;
use super::send::{Emit, SendLane};
use crate::hands::Inbound;
use crate::ids::{NODES, NodeId};
use crate::records::{BulkId, Part, Record};
use crate::{Mutation, mutated};

/// Slots that the worker is asked for at a time.
const CHUNK: u32 = 1024;
/// Bulks of all flows that run at the same time at most. Who asks beyond that has to wait for the end of one.
const RUNNING: usize = 4;
/// Slots of a chunk that is not whole at most: what the worker is asked for at the same time.
const SOME: usize = 960;
/// Slots that a poll looks at to find those that are wanted.
const LOOKS: u32 = 16 * CHUNK;

/// It is wanted that a slot was spoken of after no datagram: not at all.
const NEVER: u64 = u64::MAX;

#[derive(Clone, Copy, Debug)]
struct Running {
    id: BulkId,
    /// `None`: all flows.
    part: Option<Part>,
    /// Slots that it has not come by.
    left: u32,
    flows: u32,
    /// The chunk that is under way was asked for after it began.
    in_chunk: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Under {
    /// The worker says all of it, and then this token.
    Token(u64),
    /// Single slots of it are asked for: those of [`Bulk::again`], and those that `repair` has.
    Repair,
}

#[derive(Clone, Copy, Debug)]
struct Chunk {
    under: Under,
    from: u32,
    /// The slot behind it.
    to: u32,
    /// What was open when the worker was told.
    asked: u64,
    /// Something was wanted of it.
    counts: bool,
}

/// The bulks of a lane.
#[derive(Debug, Default)]
pub(super) struct Bulk {
    asked: bool,
    /// What is wanted by whom: one of each node.
    parts: ArrayVec<(NodeId, u32, Part), NODES>,
    running: ArrayVec<Running, { RUNNING + NODES }>,
    cursor: u32,
    chunk: Option<Chunk>,
    /// Slots of the chunk that are to be asked for one by one: see `repair`.
    again: Vec<u32>,
    tokens: u64,
}

impl Part {
    /// Slots of a lane that has so many.
    fn of(self, slots: u32) -> Self {
        if self.first < slots && self.next < slots {
            self
        } else {
            Self { first: 0, next: 0, ..self }
        }
    }

    fn is_inside(&self, slot: u32) -> bool {
        let (from, to) = (slot >= self.first, slot < self.next);
        if self.first <= self.next { from && to } else { from || to }
    }

    /// After which datagram a slot must have been spoken of to be wanted.
    fn since(&self, slot: u32) -> u64 {
        if self.is_inside(slot) { self.inside.0 } else { self.outside.0 }
    }
}

impl Running {
    /// All living flows from this slot up to the next border are wanted.
    fn wants_all(&self, slot: u32) -> bool {
        self.part.is_none_or(|part| part.all && !part.is_inside(slot))
    }
}

impl Bulk {
    pub(super) fn ask(&mut self) {
        self.asked = true;
    }

    /// A node wants something, and nothing else that it wanted before.
    pub(super) fn ask_for(&mut self, node: NodeId, request: u32, part: Option<Part>) {
        self.parts.retain(|(who, ..)| *who != node);
        self.running.retain(|running| running.id.whose.is_none_or(|(who, _)| who != node));
        match part {
            Some(part) => {
                let _ = self.parts.try_push((node, request, part));
            }
            None => self.asked = true,
        }
    }

    /// Something is to be done that could not be done yet.
    pub(super) fn is_waiting(&self) -> bool {
        self.asked
            || !self.parts.is_empty()
            || match self.chunk {
                Some(chunk) => chunk.under == Under::Repair && !self.again.is_empty(),
                None => !self.running.is_empty(),
            }
    }

    pub(super) fn progress(&self, of: u32) -> Option<Progress> {
        self.running.last().map(|running| Progress { done: of.saturating_sub(running.left), of })
    }

    /// A record of a bulk was said.
    pub(super) fn said(&mut self) {
        for running in &mut self.running {
            running.flows = running.flows.wrapping_add(1);
        }
    }

    /// A record of a bulk was dropped: something newer of its slot went before it.
    pub(super) fn overtaken(&mut self, slot: u32, said: Said) {
        if self.chunk.is_some_and(|chunk| said.whole_since() < chunk.asked)
            && self.again.len() < CHUNK as usize
        {
            self.again.push(slot);
        }
    }

    /// The worker was not told.
    pub(super) fn refused(&mut self) {
        self.chunk = None;
    }

    /// Up to where all slots from the cursor on are the same to everybody.
    fn border(&self, slots: u32) -> u32 {
        let parts = self.running.iter().filter_map(|running| running.part);
        let borders = parts.flat_map(|part| [part.first, part.next]);
        borders.filter(|slot| *slot > self.cursor).min().unwrap_or(slots).min(slots)
    }

    fn wants_all(&self) -> bool {
        self.running.iter().any(|running| running.wants_all(self.cursor))
    }

    /// The slots from here on that were spoken of after this are wanted by somebody.
    fn since(&self, slot: u32) -> u64 {
        let parts = self.running.iter().filter_map(|running| running.part);
        parts.map(|part| part.since(slot)).min().unwrap_or(NEVER)
    }

    /// How far it is from a slot to the next one that is in a wanted bucket.
    fn to_bucket(&self, slot: u32) -> Option<u32> {
        let parts = self.running.iter().filter_map(|running| running.part);
        let buckets = parts.filter_map(|part| part.bucket.filter(|b| usize::from(*b) < BUCKETS));
        let of = BUCKETS as u32;
        buckets.map(|bucket| u32::from(bucket).wrapping_sub(slot) % of).min()
    }

    fn begin_chunk(&mut self, chunk: Chunk) {
        self.chunk = Some(chunk);
        for running in &mut self.running {
            running.in_chunk = true;
        }
    }
}

impl SendLane {
    /// Of the next chunk, if one is to be asked for: all living flows.
    pub(super) fn request_bulk(&mut self) -> Option<Inbound<'static>> {
        let due = self.bulk.chunk.is_none()
            && self.bulk.running.iter().any(|running| running.left > 0)
            && self.bulk.wants_all()
            && self.repairs.of_bulk() == 0
            && self.may_bulk();
        if !due {
            return None;
        }
        self.bulk.tokens += 1;
        let token = OURS | BULK | self.bulk.tokens;
        let from = self.bulk.cursor;
        let to = self.bulk.border(self.said.slots()).min(from.saturating_add(CHUNK));
        let asked = self.open_seq();
        let under = Under::Token(token);
        self.bulk.begin_chunk(Chunk { under, from, to, asked, counts: true });
        Some(Inbound::Bulk { token, from, count: to - from })
    }

    /// The worker has said a chunk.
    pub(super) fn bulk_marked(&mut self, token: u64, next: u32, now: Tick, emit: Emit<'_, '_>) {
        let Some(mut chunk) = self.bulk.chunk.filter(|chunk| chunk.under == Under::Token(token))
        else {
            return;
        };
        let slots = self.said.slots();
        // The worker has no more. If more was said once, that is ended chunk by chunk, too.
        if next >= slots && self.said.used() <= chunk.to {
            chunk.to = slots;
        }
        self.end_unsaid(chunk, now, emit);
        chunk.under = Under::Repair;
        self.bulk.chunk = Some(chunk);
        self.poll_chunk(now, emit);
    }

    /// What was said to live in these slots before the worker was asked, and was not said since, is gone. And it is said again what is
    /// gone, where that may have been missed.
    fn end_unsaid(&mut self, chunk: Chunk, now: Tick, emit: Emit<'_, '_>) {
        let since = self.bulk.since(chunk.from);
        for slot in chunk.from..chunk.to.min(self.said.used()) {
            let said = self.said.get(slot);
            if said.seq() >= chunk.asked {
                continue;
            }
            // A worker that is not active exports nothing, and that means nothing.
            if said.is_alive() && self.is_active {
                self.say_gone(slot, said, now, emit);
            } else if said.is_known()
                && !said.is_alive()
                && said.seq() > since
                && !mutated(Mutation::ForgetEnds)
            {
                self.say_end(slot, said.generation(), said.version(), now, emit);
            }
        }
    }

    /// A chunk of which only some slots are wanted; how many slots were looked at.
    fn begin_some(&mut self, looks: u32) -> u32 {
        let (from, border) = (self.bulk.cursor, self.bulk.border(self.said.slots()));
        let end = border.min(self.said.used());
        let since = self.bulk.since(from);
        let mut some = std::mem::take(&mut self.bulk.again);
        let (mut at, mut looked) = (from, 0);
        while at < end && looked < looks && some.len() < SOME {
            let to_bucket = self.bulk.to_bucket(at);
            if to_bucket == Some(0) || self.said.get(at).seq() > since {
                some.push(at);
            }
            looked += 1;
            at = if since == NEVER {
                let step = self.bulk.to_bucket(at + 1).map_or(u32::MAX, |more| more + 1);
                at.saturating_add(step)
            } else {
                at + 1
            };
        }
        let to = if at >= end { border } else { at };
        let (asked, counts) = (self.open_seq(), !some.is_empty());
        self.bulk.again = some;
        self.bulk.begin_chunk(Chunk { under: Under::Repair, from, to, asked, counts });
        looked.max(1)
    }

    /// Asks for single slots of the chunk, and ends it when they were said.
    fn poll_chunk(&mut self, now: Tick, emit: Emit<'_, '_>) {
        let Some(chunk) = self.bulk.chunk.filter(|chunk| chunk.under == Under::Repair) else {
            return;
        };
        if !self.repairs.ask_again(&self.bulk.again, true) {
            return;
        }
        self.bulk.again.clear();
        if self.repairs.of_bulk() > 0 {
            return;
        }
        self.bulk.chunk = None;
        self.bulk.cursor = if chunk.to >= self.said.slots() { 0 } else { chunk.to };
        for n in 0..self.bulk.running.len() {
            let Some(running) = self.bulk.running.get_mut(n) else { break };
            if std::mem::take(&mut running.in_chunk) {
                running.left = running.left.saturating_sub(chunk.to - chunk.from);
                let mark = Record::BulkMark { bulk: running.id, slot: chunk.to };
                if chunk.counts {
                    // If it is lost, the next will do.
                    self.append_record(&mark, Keep::Nothing, now, emit);
                }
            }
        }
        self.end_bulks(now, emit);
    }

    fn end_bulks(&mut self, now: Tick, emit: Emit<'_, '_>) {
        if self.repairs.of_bulk() > 0 {
            return;
        }
        while let Some(n) = self.bulk.running.iter().position(|running| running.left == 0) {
            let ended = self.bulk.running.remove(n);
            let end = Record::BulkEnd { bulk: ended.id, flows: ended.flows };
            self.append_record(&end, Keep::Verbatim, now, emit);
        }
    }

    /// Begins bulks that were asked for, goes on with those that run, ends those that had to wait.
    pub(super) fn poll_bulk(&mut self, now: Tick, emit: Emit<'_, '_>) {
        self.poll_chunk(now, emit);
        self.end_bulks(now, emit);
        let all = self.bulk.running.iter().filter(|running| running.part.is_none()).count();
        if self.bulk.asked && all < RUNNING {
            self.bulk.asked = false;
            self.counters.bulks += 1;
            self.begin_running(None, None, now, emit);
        }
        while let Some((node, request, part)) = self.bulk.parts.pop() {
            let part = part.of(self.said.slots());
            if self.bulk.running.is_empty() && part.first != part.next {
                // It goes on there, if nobody else needs the cursor.
                self.bulk.cursor = part.first;
            }
            self.counters.parts += 1;
            self.begin_running(Some((node, request)), Some(part), now, emit);
        }
        let mut looks = LOOKS;
        while looks > 0
            && self.bulk.chunk.is_none()
            && self.bulk.running.iter().any(|running| running.left > 0)
            && !self.bulk.wants_all()
            && self.repairs.of_bulk() == 0
        {
            looks = looks.saturating_sub(self.begin_some(looks));
            self.poll_chunk(now, emit);
        }
    }

    fn begin_running(
        &mut self,
        whose: Option<(NodeId, u32)>,
        part: Option<Part>,
        now: Tick,
        emit: Emit<'_, '_>,
    ) {
        self.make_room(super::send::CONTROL_RECORD, now, emit);
        let slots = self.said.slots();
        let next = self.bulk.chunk.map_or(self.bulk.cursor, |chunk| chunk.to);
        let first = if next >= slots { 0 } else { next };
        let id = BulkId { number: self.open_seq() as u32, first, whose };
        let is_same = |other: &BulkId| (other.number, other.whose) == (id.number, id.whose);
        if self.bulk.running.iter().any(|running| is_same(&running.id)) {
            // Two asked within one datagram.
            return;
        }
        self.append_record(&Record::BulkBegin { bulk: id, slots }, Keep::Verbatim, now, emit);
        let running = Running { id, part, left: slots, flows: 0, in_chunk: false };
        let _ = self.bulk.running.try_push(running);
        self.end_bulks(now, emit);
    }
}
