//! What the node asks of a worker.
//!
//! # Overview
//!
//! Short things are done when they are read. What gives out records (export, bulk) waits in a bounded queue and is gone on with
//! as the lazy ring has room; while the queue is full, nothing more is read. A flush has a queue of its own, since it does not
//! wait for repairs. Answers go into the urgent ring; while that is full, nothing is read either, so none is lost.

use arrayvec::ArrayVec;
use conntrack::Slot;
use conntrack::shard::{Haste, Import, Shard, Taken};
use packet::Tick;

use super::flow::import_of;
use super::message::{read_inbound, write_outbound};
use super::{Beside, RELEASED, Replica};
use crate::hands::{Cause, Inbound, Outbound, SLOTS};
use crate::ids::{FlowId, Version};
use crate::records::{Record, Role};
use crate::wire;

/// Exports and bulks that wait, at most.
pub(super) const REQUESTS: usize = 64;
/// Flushes that wait, at most.
pub(super) const FLUSHES: usize = 8;
/// Messages that a turn serves while packets wait, and while none do.
const MESSAGES: [usize; 2] = [64, 1024];
/// Records that a turn gives out for requests while packets wait, and while none do.
const RECORDS: [usize; 2] = [32, 512];
/// Slots that a turn sweeps.
const SWEPT: u32 = 1024;
/// Slots that a bulk looks at for one record that it may give out.
const WALKED: u32 = 16;
/// Words of a ring that the longest answer needs.
const ANSWER: usize = 3;

/// What is given out record by record.
#[expect(clippy::large_enum_variant, reason = "they wait in a queue that was made at the start")]
pub(super) enum Request {
    Export { token: u64, slots: ArrayVec<u32, SLOTS>, at: usize },
    Bulk { token: u64, at: u32, end: u32 },
}

/// What became of a record.
enum Took {
    /// It is in the table, or its flow is gone as it says.
    In(FlowId, Version),
    /// There is no room.
    Refused(FlowId),
    /// Another flow with one of its keys has taken its flow's place, whose end is on its way. (Or its flow was refused before,
    /// and that was said.)
    Nothing,
    /// It is none that a worker applies.
    Malformed,
}

/// A sweep on its way.
pub(super) struct Sweep {
    stamp: u32,
    at: Slot,
}

impl Replica {
    /// Reads what the node says.
    pub(super) fn serve_inbound(
        &mut self,
        shard: &mut Shard,
        beside: &mut dyn Beside,
        now: Tick,
        idle: bool,
    ) -> usize {
        let [busy, most] = MESSAGES;
        let budget = if idle { most } else { busy };
        for done in 0..budget {
            // A sweep is waited for, too: whoever asked for it sees by the ring that it is done.
            let full = self.sweep.is_some()
                || self.requests.len() >= REQUESTS
                || self.flushes.len() >= FLUSHES
                || self.released.len() >= RELEASED;
            if full || self.inbound.is_empty() || !self.urgent.has_room(ANSWER) {
                return done;
            }
            // It is not ours while it is read.
            let Some(mut heard) = self.heard.take() else { return done };
            if let Some(words) = self.inbound.pop(&mut heard) {
                match read_inbound(words) {
                    Some(message) => self.serve(message, shard, beside, now),
                    None => self.counters.malformed += 1,
                }
            }
            self.heard = Some(heard);
        }
        budget
    }

    /// As [`heed`](Self::heed); and whoever has just become the owner takes in what the old one said last before its own packets
    /// make flows of what is only a moment away.
    pub fn catch_up(&mut self, shard: &mut Shard, beside: &mut dyn Beside, now: Tick) {
        self.heed(shard, now);
        while self.is_behind {
            let done = self.serve_inbound(shard, beside, now, true);
            if self.sweep.is_none() && (done == 0 || self.inbound.is_empty()) {
                // Nothing is left, or it takes answers that the ring has no room for.
                self.is_behind = false;
            }
            self.go_on_with_sweep(shard, now);
        }
    }

    fn serve(
        &mut self,
        message: Inbound<'_>,
        shard: &mut Shard,
        beside: &mut dyn Beside,
        now: Tick,
    ) {
        match message {
            Inbound::Apply { stamp, order, acknowledge, bytes } => {
                let applied = self.apply(bytes, (stamp, order), shard, beside, now);
                self.say_whether(applied, acknowledge);
            }
            Inbound::Delete(id) => {
                shard.remove(id.to_bits(), now);
            }
            Inbound::Export { token, slots } => {
                self.requests.push_back(Request::Export { token, slots, at: 0 });
            }
            Inbound::Bulk { token, from, count } => {
                let end = from.saturating_add(count);
                self.requests.push_back(Request::Bulk { token, at: from, end });
            }
            Inbound::Flush { token } => self.flushes.push_back(token),
            Inbound::Sweep { stamp } => {
                // It does what one that is not done yet would do, too.
                self.sweep = Some(Sweep { stamp, at: Slot(0) });
            }
            Inbound::Release { id } => {
                let slot = Slot(id.slot());
                if self.id_of(shard, slot) == id {
                    self.released.push_back(slot);
                }
            }
        }
    }

    /// Applies a record.
    fn apply(
        &mut self,
        bytes: &[u8],
        (stamp, order): (u32, u32),
        shard: &mut Shard,
        beside: &mut dyn Beside,
        now: Tick,
    ) -> Took {
        match wire::decode(bytes) {
            Ok(Record::Full(full)) => {
                let import = Import {
                    origin: full.id.to_bits(),
                    stamp,
                    order,
                    keys: full.keys,
                    state: import_of(&full.state, now),
                    timeouts: &full.timeouts,
                };
                let imported = shard.import(&import, now);
                if let Ok(Some(slot)) = imported {
                    beside.arrived(shard, slot, full.behind);
                }
                match imported {
                    Ok(_) => Took::In(full.id, full.version),
                    Err(_) => Took::Refused(full.id),
                }
            }
            Ok(Record::Update { id, version, state }) => {
                let state = import_of(&state, now);
                match shard.update(id.to_bits(), stamp, &state, now) {
                    Some(_) => Took::In(id, version),
                    None => Took::Nothing,
                }
            }
            Ok(Record::Delete { id, version }) => {
                shard.remove(id.to_bits(), now);
                Took::In(id, version)
            }
            _ => Took::Malformed,
        }
    }

    fn say_whether(&mut self, took: Took, acknowledge: bool) {
        match took {
            Took::In(id, version) => {
                self.counters.applied += 1;
                if acknowledge {
                    self.answer(&Outbound::Applied { id, version: version.0 });
                }
            }
            Took::Refused(id) => {
                self.counters.refused += 1;
                self.answer(&Outbound::Refused { id });
            }
            Took::Nothing => {}
            Took::Malformed => self.counters.malformed += 1,
        }
    }

    /// Puts a short message into the urgent ring, which has room.
    fn answer(&mut self, message: &Outbound<'_>) {
        if let Some(many) = write_outbound(message, &mut self.words)
            && let Some(words) = self.words.get(..many)
            && self.urgent.push(words).is_ok()
        {
            self.pushed = true;
        }
    }

    /// True where the mark went out.
    fn mark_lazily(&mut self, token: u64, next: u32) -> bool {
        let mark = Outbound::Mark { token, next };
        let pushed = write_outbound(&mark, &mut self.words)
            .and_then(|many| self.words.get(..many))
            .is_some_and(|words| self.lazy.push(words).is_ok());
        self.pushed |= pushed;
        pushed
    }

    fn is_owner(&self) -> bool {
        matches!(self.role, Some(Role::Active | Role::Held))
    }

    /// Says all that changed, then that it did, in the urgent ring.
    pub(super) fn flush(&mut self, shard: &mut Shard, beside: &mut dyn Beside, now: Tick) -> usize {
        let Some(&token) = self.flushes.front() else { return 0 };
        let mut done = 0;
        for (haste, cause) in [(Haste::Urgent, None), (Haste::Lazy, Some(Cause::Refresh))] {
            let mut budget = u32::MAX;
            while self.is_owner() {
                if !self.has_room(Haste::Urgent) {
                    return done;
                }
                let Taken::Slot(slot) = shard.take_dirty(haste, &mut budget) else { break };
                self.export(shard, beside, slot, Haste::Urgent, cause, now);
                done += 1;
            }
        }
        if self.urgent.has_room(ANSWER) {
            self.answer(&Outbound::Mark { token, next: u32::MAX });
            self.flushes.pop_front();
            done += 1;
        }
        done
    }

    /// Goes on with what was asked for.
    pub(super) fn serve_requests(
        &mut self,
        shard: &mut Shard,
        beside: &mut dyn Beside,
        now: Tick,
        idle: bool,
    ) -> usize {
        let [busy, most] = RECORDS;
        let budget = if idle { most } else { busy };
        let mut done = 0;
        while done < budget
            && let Some(request) = self.requests.pop_front()
        {
            let (rest, records) = self.go_on_with(request, shard, beside, budget - done, now);
            done += records;
            if let Some(rest) = rest {
                self.requests.push_front(rest);
                return done;
            }
            done += 1;
        }
        done
    }

    /// What is left of a request, and how many records were given out.
    fn go_on_with(
        &mut self,
        request: Request,
        shard: &mut Shard,
        beside: &mut dyn Beside,
        budget: usize,
        now: Tick,
    ) -> (Option<Request>, usize) {
        let owner = self.is_owner();
        let mut done = 0;
        match request {
            Request::Export { token, slots, mut at } => {
                while owner && let Some(slot) = slots.get(at) {
                    if done >= budget || !self.has_room(Haste::Lazy) {
                        return (Some(Request::Export { token, slots, at }), done);
                    }
                    self.export(shard, beside, Slot(*slot), Haste::Lazy, Some(Cause::Repair), now);
                    (at, done) = (at + 1, done + 1);
                }
                let marked = self.mark_lazily(token, u32::MAX);
                ((!marked).then_some(Request::Export { token, slots, at }), done)
            }
            Request::Bulk { token, mut at, end } => {
                let used = shard.used();
                let last = at.saturating_add(budget as u32 * WALKED);
                while owner && at < end.min(used) {
                    let is_there = shard.is_shared(Slot(at));
                    if at >= last || done >= budget || is_there && !self.has_room(Haste::Lazy) {
                        return (Some(Request::Bulk { token, at, end }), done.max(1));
                    }
                    if is_there {
                        self.export(shard, beside, Slot(at), Haste::Lazy, Some(Cause::Bulk), now);
                        done += 1;
                    }
                    at += 1;
                }
                let next = if owner && end < used { end } else { u32::MAX };
                let marked = self.mark_lazily(token, next);
                ((!marked).then_some(Request::Bulk { token, at, end }), done)
            }
        }
    }

    /// Ends some more of the flows that a sweep ends.
    pub(super) fn go_on_with_sweep(&mut self, shard: &mut Shard, now: Tick) -> usize {
        let Some(Sweep { stamp, at }) = self.sweep.take() else { return 0 };
        if let Some(at) = shard.sweep(at, SWEPT, stamp, now) {
            self.sweep = Some(Sweep { stamp, at });
        }
        1
    }

    /// Whether all that the node asked for was done, but for what still lies in the ring.
    pub fn is_served(&self) -> bool {
        self.requests.is_empty() && self.flushes.is_empty() && self.sweep.is_none()
    }
}
