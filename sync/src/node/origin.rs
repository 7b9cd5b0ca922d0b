//! The owner's lanes, as this standby receives them: bulks, sweeps, and when it is synchronised.
//!
//! # Overview
//!
//! A *round* asks for a bulk of all lanes under one stamp, since a sweep ends whatever does not carry the stamp, of whichever lane.
//! When each lane's bulk came to its end without gaps, every worker is told to sweep; once that is done and nothing was refused,
//! this node has all flows. A lane that wants something again (lost datagrams, a digest that differed) asks for that alone, under the
//! same stamp: what others have stays, and what was swept need not be swept again.
//!
//! # Life cycle, who may touch what
//!
//! Made when a node is known as the owner and has said HELLO; made anew, with nothing, for another owner or epoch, and gone when this
//! node becomes the owner. [`super::Node`]'s alone. Its size is that of the owner's table, at most [`SLOTS`].

use packet::{FlowKey, Tick};

use crate::hands::{Hands, Inbound};
use crate::ids::{Epoch, FlowId, LANES, Lane, NodeId, Seq};
use crate::lane::{ROOM, ReceiveLane, Received, Table};
use crate::records::{Hello, Part, Record};
use crate::{Mutation, mutated};

use super::config::{MS, after, earlier};
use super::counters::Counters;
use super::frame::Records;

/// Slots of an owner's lanes that are followed at most, all together.
const SLOTS: u64 = 1 << 28;
/// A watermark follows news after so long, or after so many datagrams.
const WATERMARK: u64 = 5 * MS;
const DATAGRAMS: u32 = 64;
/// After the last of a burst: not more often than this.
const PROMPT: u64 = MS;
/// Without news.
const IDLE: u64 = 100 * MS;
/// Between rounds, doubled up to the last.
const ROUNDS: [u64; 2] = [20 * MS, 1_000 * MS];
/// The token of a message that only has to be behind another: nobody waits for its mark.
const FENCE: u64 = 0;
/// After a round in which flows did not fit.
const REFUSED: u64 = 10_000 * MS;

/// What is told of a lane to its owner.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    seq: Seq,
    at: Tick,
    /// New datagrams since.
    fresh: u32,
    prompt: bool,
}

/// Where a synchronisation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Bulks run.
    Bulk,
    /// They ended; these workers are still to be told to sweep.
    Sweep(u64),
    /// They were told; they may yet have to apply and to refuse.
    Settle,
    /// Done.
    Done,
}

/// What a poll wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Nothing.
    Nothing,
    /// A bulk of all lanes: a new round.
    Round,
    /// What these lanes lack, a bit each.
    Parts(u64),
}

/// The lanes of the owner.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) node: NodeId,
    pub(super) epoch: Epoch,
    lanes: Vec<ReceiveLane>,
    told: Vec<Told>,
    /// What is vouched for of a lane whose bulk stands for datagrams that were lost: until the sweep, flows whose end was lost are
    /// in the tables.
    held: Vec<Option<Seq>>,
    stamp: u32,
    /// Lanes whose bulk is complete, a bit each.
    complete: u64,
    phase: Phase,
    /// There was no sweep of this round yet.
    unswept: bool,
    refused: bool,
    /// The next round is not before.
    round: Tick,
    pause: u64,
}

impl Origin {
    /// `None`: there is no such node, or it is larger than can be followed.
    pub(super) fn new(
        node: NodeId,
        epoch: Epoch,
        hello: &Hello,
        seed: u64,
        now: Tick,
    ) -> Option<Self> {
        let count = u64::from(hello.lanes);
        let slots = u64::from(hello.capacity).checked_div(count)?;
        if usize::from(hello.lanes) > LANES || slots * count > SLOTS {
            return None;
        }
        let lane = |number| {
            let slots = u32::try_from(slots).ok()?;
            Some(ReceiveLane::new(node, Lane::new(number)?, slots, seed ^ u64::from(number)))
        };
        Some(Self {
            node,
            epoch,
            lanes: (0..hello.lanes).filter_map(lane).collect(),
            told: vec![Told::default(); usize::from(hello.lanes)],
            held: vec![Some(Seq(0)); usize::from(hello.lanes)],
            stamp: 0,
            complete: 0,
            phase: Phase::Bulk,
            unswept: true,
            refused: false,
            round: now,
            pause: ROUNDS[0],
        })
    }

    /// Of a DATA datagram, whose sender is the owner. `None`: there is no such lane.
    pub(super) fn data(
        &mut self,
        (lane, seq): (Lane, Seq),
        (want_ack, last): (bool, bool),
        payload: &[u8],
        now: Tick,
        table: &mut dyn Table,
    ) -> Option<Received> {
        let received = self.lanes.get_mut(lane.index())?.data(seq, want_ack, payload, now, table);
        if let Some(told) = self.told.get_mut(lane.index()) {
            told.fresh += u32::from(received.fresh);
            told.prompt |= last;
        }
        Some(received)
    }

    /// Another datagram of the owner's says the highest of this lane.
    pub(super) fn highest(&mut self, lane: Lane, seq: Seq, now: Tick) {
        if let Some(lane) = self.lanes.get_mut(lane.index()) {
            lane.highest(seq, now);
        }
    }

    pub(super) fn lane(&mut self, lane: Lane) -> Option<&mut ReceiveLane> {
        self.lanes.get_mut(lane.index())
    }

    pub(super) fn lanes(&self) -> impl Iterator<Item = &ReceiveLane> {
        self.lanes.iter()
    }

    /// All flows are asked for under this stamp, as somebody's request.
    pub(super) fn begin(&mut self, stamp: u32, whose: (NodeId, u32), now: Tick) {
        for (lane, held) in self.lanes.iter_mut().zip(&mut self.held) {
            lane.begin(stamp, whose);
            if !lane.is_whole() {
                held.get_or_insert(lane.watermark());
            }
        }
        self.stamp = stamp;
        self.complete = 0;
        self.unswept = true;
        self.refused = false;
        self.asked(now);
    }

    /// What these lanes lack is asked for; of which lanes. If this node was synchronised, that is all: before it is so again, nothing
    /// that was sent until then may be missing in any. (In the others that are complete, nothing is that was sent before it was not.)
    pub(super) fn resume(&mut self, lanes: u64, whose: (NodeId, u32), now: Tick) -> u64 {
        let lanes = if self.phase == Phase::Done { u64::MAX } else { lanes };
        for (index, (lane, held)) in self.lanes.iter_mut().zip(&mut self.held).enumerate() {
            if lanes >> index & 1 != 0 {
                lane.resume(whose);
                held.get_or_insert(lane.watermark());
            }
        }
        self.complete &= !lanes;
        self.asked(now);
        lanes
    }

    fn asked(&mut self, now: Tick) {
        self.phase = Phase::Bulk;
        self.round = after(now, self.pause);
        self.pause = (self.pause * 2).min(ROUNDS[1]);
    }

    /// What is wanted of a lane: see [`ReceiveLane::wanted`].
    pub(super) fn wanted(&self, lane: Lane) -> Option<Part> {
        self.lanes.get(lane.index())?.wanted()
    }

    /// A flow did not fit.
    pub(super) fn refused(&mut self, now: Tick) {
        if !self.refused {
            self.refused = true;
            self.round = after(now, REFUSED);
        }
    }

    /// All flows are here: a round was completed, and no lane gave up on anything since.
    pub(super) fn is_whole(&self) -> bool {
        if mutated(Mutation::SynchronisedEarly) {
            return true;
        }
        self.phase == Phase::Done && !self.refused && self.lanes.iter().all(ReceiveLane::is_whole)
    }

    /// Something could not be understood, or has no room in what is kept of the owner.
    pub(super) fn is_partial(&self) -> bool {
        self.lanes.iter().any(ReceiveLane::is_partial)
    }

    /// How many lanes are complete, of how many.
    pub(super) fn progress(&self) -> (u32, usize) {
        (self.complete.count_ones(), self.lanes.len())
    }

    /// Sweeps, and looks whether there has to be a round.
    pub(super) fn poll(
        &mut self,
        workers: u8,
        now: Tick,
        counters: &mut Counters,
        hands: &mut dyn Hands,
    ) -> Wanted {
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            if lane.is_closing() && Workers::have_room(workers, hands) {
                let mut table = Workers { hands, order: 0, full: 0 };
                lane.end_doubted(&mut table);
                counters.ring_full += table.full;
            }
            if lane.sweep_due() == Some(self.stamp) {
                self.complete |= 1 << index;
            }
        }
        let wanted = self.wants();
        if wanted != Wanted::Nothing && self.round <= now {
            return wanted;
        }
        if self.phase == Phase::Bulk && self.complete.count_ones() as usize == self.lanes.len() {
            self.phase = if self.unswept {
                counters.sweeps += 1;
                Phase::Sweep(u64::MAX >> (64 - u32::from(workers.clamp(1, 64))))
            } else {
                Phase::Settle
            };
        }
        if let Phase::Sweep(left) = &mut self.phase {
            for number in 0..workers {
                let Some(worker) = Lane::new(number) else { continue };
                let bit = 1 << number;
                let sweep = Inbound::Sweep { stamp: self.stamp };
                // What is behind a sweep in the ring is not read before it is done: so the ring is not empty while it goes on.
                let fence = Inbound::Flush { token: FENCE };
                if *left & bit != 0
                    && hands.room(worker) >= 2
                    && hands.tell(worker, &sweep).is_ok()
                    && hands.tell(worker, &fence).is_ok()
                {
                    *left &= !bit;
                }
            }
            if *left == 0 {
                self.phase = Phase::Settle;
                self.unswept = false;
            }
        } else if self.phase == Phase::Settle && hands.applied() {
            self.phase = Phase::Done;
            self.pause = ROUNDS[0];
            self.held.fill(None);
        }
        Wanted::Nothing
    }

    /// What is to be asked for.
    fn wants(&self) -> Wanted {
        let mut parts = 0;
        for (index, lane) in self.lanes.iter().enumerate() {
            if lane.wants_bulk() {
                if !lane.can_resume() {
                    return Wanted::Round;
                }
                parts |= 1 << index;
            }
        }
        match parts {
            _ if self.refused => Wanted::Round,
            0 => Wanted::Nothing,
            parts => Wanted::Parts(parts),
        }
    }

    /// NACKs that are due: for each, the lane, and the ranges as a record.
    pub(super) fn missing(&mut self, now: Tick, mut say: impl FnMut(Lane, Record<'static>)) {
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            let Some(number) = Lane::new(number as u8) else { continue };
            if let Some(ranges) = lane.poll(now) {
                say(number, Record::Missing(ranges));
            }
        }
    }

    fn vouched(&self, lane: Lane) -> Option<Seq> {
        let held = self.held.get(lane.index()).copied().flatten();
        held.or_else(|| Some(self.lanes.get(lane.index())?.watermark()))
    }

    /// A lane's watermark.
    pub(super) fn watermark(&self, lane: Lane, applied: bool) -> Option<Record<'static>> {
        Some(Record::Watermark {
            node: self.node,
            lane: lane.get(),
            epoch: self.epoch,
            seq: self.vouched(lane)?,
            applied,
        })
    }

    /// Watermarks that are due, or all; each full datagram of them is given to `send`.
    pub(super) fn watermarks(
        &mut self,
        all: bool,
        applied: bool,
        now: Tick,
        mut send: impl FnMut(&Records),
    ) {
        let mut records = Records::new();
        for number in 0..self.lanes.len() {
            let Some(lane) = Lane::new(number as u8) else { continue };
            let Some(record) = self.watermark(lane, applied) else { continue };
            let Record::Watermark { seq, .. } = record else { continue };
            let Some(told) = self.told.get_mut(number) else { continue };
            if !all && told.due(seq) > now {
                continue;
            }
            *told = Told { seq, at: now, fresh: 0, prompt: false };
            if !records.push(&record) {
                send(&records);
                records.clear();
                records.push(&record);
            }
        }
        if !records.is_empty() {
            send(&records);
        }
    }

    /// When there is something to do.
    pub(super) fn next(&self, now: Tick) -> Tick {
        let mut next = after(now, IDLE);
        if matches!(self.phase, Phase::Sweep(_) | Phase::Settle) {
            next = after(now, MS);
        }
        for ((lane, told), held) in self.lanes.iter().zip(&self.told).zip(&self.held) {
            let vouched = held.unwrap_or_else(|| lane.watermark());
            next = earlier(next.min(told.due(vouched)), lane.next(now));
            if lane.wants_bulk() || self.refused {
                next = next.min(self.round);
            }
        }
        next
    }
}

impl Told {
    fn due(&self, seq: Seq) -> Tick {
        if self.fresh >= DATAGRAMS {
            Tick(0)
        } else if self.prompt {
            after(self.at, PROMPT)
        } else if self.fresh > 0 || seq != self.seq {
            after(self.at, WATERMARK)
        } else {
            after(self.at, IDLE)
        }
    }
}

/// The workers' tables, for a receiving lane. Room in their rings was looked for before.
pub(super) struct Workers<'a> {
    pub(super) hands: &'a mut dyn Hands,
    /// See [`Inbound::Apply`].
    pub(super) order: u32,
    /// Messages for which there was none all the same.
    pub(super) full: u64,
}

impl Workers<'_> {
    /// Every worker's ring has room for what one datagram causes.
    pub(super) fn have_room(workers: u8, hands: &dyn Hands) -> bool {
        (0..workers).filter_map(Lane::new).all(|worker| hands.room(worker) >= ROOM)
    }
}

impl Table for Workers<'_> {
    fn owner_of(&self, original: &FlowKey) -> Lane {
        self.hands.owner_of(original)
    }

    fn apply(&mut self, worker: Lane, stamp: u32, acknowledge: bool, bytes: &[u8]) {
        let message = Inbound::Apply { stamp, order: self.order, acknowledge, bytes };
        let told = self.hands.tell(worker, &message);
        self.full += u64::from(told.is_err());
    }

    fn delete(&mut self, worker: Lane, id: FlowId) {
        let told = self.hands.tell(worker, &Inbound::Delete(id));
        self.full += u64::from(told.is_err());
    }

    fn elsewhere(&mut self, record: &[u8]) {
        self.hands.apply_elsewhere(record);
    }
}
