//! How a sending lane says all of its flows.
//!
//! A cursor goes round over the slots, a chunk at a time: the worker is asked for a chunk, says its living flows and then the token. A bulk
//! begins wherever the cursor is and ends when it is there again, so whoever asks while one runs joins it at the last mark, and
//! those who began before lose nothing. BULK_* are kept by the window as they are.
//!
//! A bulk's number is the low half of that of the datagram which first carried its BULK_BEGIN. So a receiver can tell whether it began
//! after it began to listen, even if the record came late by way of a repair.
//!
//! # What a chunk does not say
//!
//! A flow that was said to live, and that the worker did not say when asked for its slot, is gone (this node was not active when it
//! ended): the lane says so itself.

use arrayvec::ArrayVec;
use packet::Tick;

use super::Progress;
use super::open::Keep;
use super::repair::{BULK, OURS};
use super::said::Said;
use super::send::{Emit, SendLane};
use crate::hands::Inbound;
use crate::records::Record;

/// Slots that the worker is asked for at a time.
const CHUNK: u32 = 1024;
/// Bulks that run at the same time at most. Who asks beyond that has to wait for the end of one.
const RUNNING: usize = 4;

#[derive(Clone, Copy, Debug)]
struct Running {
    number: u32,
    /// Slots that are not yet said.
    left: u32,
    flows: u32,
    /// The chunk that is under way was asked for after it began.
    in_chunk: bool,
}

#[derive(Clone, Copy, Debug)]
struct Chunk {
    token: u64,
    from: u32,
    /// What was open when the worker was told.
    asked: u64,
}

/// The bulks of a lane.
#[derive(Debug, Default)]
pub(super) struct Bulk {
    asked: bool,
    running: ArrayVec<Running, RUNNING>,
    cursor: u32,
    chunk: Option<Chunk>,
    /// Slots of the chunk that are to be asked for once more: see `repair`.
    again: Vec<u32>,
    tokens: u64,
}

impl Bulk {
    pub(super) fn ask(&mut self) {
        self.asked = true;
    }

    /// Something is to be done that could not be done yet.
    pub(super) fn is_waiting(&self) -> bool {
        self.asked || !self.running.is_empty() && self.chunk.is_none()
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
}

impl SendLane {
    /// The next chunk, if one is to be asked for.
    pub(super) fn request_bulk(&mut self) -> Option<Inbound<'static>> {
        let due = self.bulk.chunk.is_none()
            && self.bulk.running.iter().any(|running| running.left > 0)
            && self.repairs.of_bulk() == 0
            && self.may_bulk();
        if !due {
            return None;
        }
        self.bulk.tokens += 1;
        let token = OURS | BULK | self.bulk.tokens;
        let from = self.bulk.cursor;
        self.bulk.chunk = Some(Chunk { token, from, asked: self.open_seq() });
        for running in &mut self.bulk.running {
            running.in_chunk = true;
        }
        Some(Inbound::Bulk { token, from, count: CHUNK.min(self.said.slots() - from) })
    }

    /// The worker has said a chunk.
    pub(super) fn bulk_marked(&mut self, token: u64, next: u32, now: Tick, emit: Emit<'_, '_>) {
        let Some(chunk) = self.bulk.chunk.take_if(|chunk| chunk.token == token) else { return };
        let slots = self.said.slots();
        let mut to = next.clamp(chunk.from, slots.max(chunk.from));
        // The worker has no more, but more was said once: it is ended chunk by chunk, too.
        if to >= slots && self.said.used() > chunk.from.saturating_add(CHUNK) {
            to = chunk.from + CHUNK;
        }
        self.end_unsaid(chunk, to, now, emit);
        let again = std::mem::take(&mut self.bulk.again);
        if !self.repairs.ask_again(&again, true) {
            self.bulk.ask();
        }
        self.bulk.again = again;
        self.bulk.again.clear();
        self.bulk.cursor = if to >= slots { 0 } else { to };
        for n in 0..self.bulk.running.len() {
            let Some(running) = self.bulk.running.get_mut(n) else { break };
            if running.in_chunk {
                running.left = running.left.saturating_sub(to - chunk.from);
                let mark = Record::BulkMark { bulk: running.number, slot: to };
                self.append_record(&mark, Keep::Verbatim, now, emit);
            }
        }
        self.end_bulks(now, emit);
    }

    /// What was said to live in these slots before the worker was asked, and was not said since, is gone.
    fn end_unsaid(&mut self, chunk: Chunk, to: u32, now: Tick, emit: Emit<'_, '_>) {
        // A worker that is not active exports nothing, and that means nothing.
        if !self.is_active {
            return;
        }
        for slot in chunk.from..to.min(self.said.used()) {
            let said = self.said.get(slot);
            if said.is_alive() && said.seq() < chunk.asked {
                self.say_gone(slot, said, now, emit);
            }
        }
    }

    fn end_bulks(&mut self, now: Tick, emit: Emit<'_, '_>) {
        if self.repairs.of_bulk() > 0 {
            return;
        }
        while let Some(n) = self.bulk.running.iter().position(|running| running.left == 0) {
            let ended = self.bulk.running.remove(n);
            let end = Record::BulkEnd { bulk: ended.number, flows: ended.flows };
            self.append_record(&end, Keep::Verbatim, now, emit);
        }
    }

    /// Begins a bulk that was asked for, ends those that had to wait.
    pub(super) fn poll_bulk(&mut self, now: Tick, emit: Emit<'_, '_>) {
        if !self.bulk.running.is_empty() {
            self.end_bulks(now, emit);
        }
        if !self.bulk.asked || self.bulk.running.is_full() {
            return;
        }
        self.bulk.asked = false;
        self.make_room(super::send::CONTROL_RECORD, now, emit);
        let number = self.open_seq() as u32;
        let slots = self.said.slots();
        if self.bulk.running.iter().any(|running| running.number == number) {
            // Two asked within one datagram.
            return;
        }
        self.counters.bulks += 1;
        self.append_record(&Record::BulkBegin { bulk: number, slots }, Keep::Verbatim, now, emit);
        self.bulk.running.push(Running { number, left: slots, flows: 0, in_chunk: false });
        self.end_bulks(now, emit);
    }
}
