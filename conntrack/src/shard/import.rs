//! Flows of other nodes come into the table.
//!
//! # Overview
//!
//! [`Shard::import`] takes all of a flow, [`Shard::update`] what changed in one, [`Shard::remove`] ends one. Flows go by the name
//! that their owner gave them (`origin`, of which the low 22 bits are a generation); the caller has seen to it that what is older
//! does not come after what is newer. A flow that is there already under another name, or as our own, is *adopted*: it gets the
//! new name, and nobody sees it go. One that has one of the keys only is in the way, and ends.
//!
//! What is imported can be used at once: it is in the index and in the wheel, and listeners hear of it.

use packet::wire::ip;
use packet::{FlowKey, Tick};
use zerocopy::transmute;

use super::replicate::{Counts, REPLICATED};
use super::{Entry, Full, Hash, Shard};
use crate::event;
use crate::flow::{BEAT, Direction, Flow, HAS_LABELS, Slot};
use crate::proto::sctp::Sctp;
use crate::proto::tcp;

/// The low bits of a name that tell a slot's flows apart.
const GENERATION: u64 = (1 << 22) - 1;
/// A name's bits from here on are a node and its worker.
const LANE: u32 = 54;

/// What changes in a flow while it lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportState {
    /// Of it, the [`REPLICATED`] bits count.
    pub status: u32,
    /// Its mark.
    pub mark: u32,
    /// Milliseconds that it has left.
    pub remaining: u32,
    /// The protocol's words; `proto` has a view for each protocol.
    pub proto: [u32; 14],
    /// Its labels, if it has any.
    pub labels: Option<[u8; 16]>,
}

/// A flow as its owner says it.
#[derive(Clone, Copy, Debug)]
pub struct Import<'a> {
    /// Its owner's name for it.
    pub origin: u64,
    /// What a [sweep](Shard::sweep) goes by.
    pub stamp: u32,
    /// Of two flows with a common key that one worker of a node says under one stamp, the one with the greater number was said
    /// later, and counts; 32 bits that wrap.
    pub order: u32,
    /// By direction.
    pub keys: [FlowKey; 2],
    /// The rest.
    pub state: ImportState,
    /// Timeouts of its own in seconds; empty: it has none.
    pub timeouts: &'a [u32],
}

impl Shard {
    /// Takes a flow in, or all that is new of it. `None`: it is over, because another one that has one of its keys was said later.
    ///
    /// # Errors
    /// The table is full of flows that are not to be given up.
    pub fn import(&mut self, import: &Import<'_>, now: Tick) -> Result<Option<Slot>, Full> {
        let hashes = import.keys.each_ref().map(|key| self.hash(key));
        hashes.iter().for_each(|hash| self.prefetch_bucket(*hash));
        if let Some(slot) = self.slot_of_name(import.origin) {
            let same = self.replicas.mark(slot).origin == import.origin
                && self.flow(slot).is_some_and(|flow| flow.has_keys(&import.keys));
            if same {
                if self.replicas.mark(slot).stamp != import.stamp {
                    // It may have been this node's own since.
                    self.begin_anew(slot, import);
                }
                self.restate(slot, &import.state, import.stamp, now);
                self.order(slot, import.order);
                return Ok(Some(slot));
            }
            if self.replicas.mark(slot).stamp == import.stamp {
                // The slot has another flow there.
                self.kill(slot, now);
            } else {
                // It may be a name that its owner gave before it was started again. A sweep ends it if nobody speaks of it.
                self.forget_name(slot);
            }
        }
        let [original, reply] = &import.keys;
        let [hash, back] = hashes;
        let found = [self.find(original, hash), self.find(reply, back)];
        if found.iter().flatten().any(|(slot, _)| self.was_said_later(*slot, import)) {
            self.replicas.counts.late += 1;
            return Ok(None);
        }
        if let [Some((slot, Direction::Original)), Some((other, Direction::Reply))] = found
            && slot == other
        {
            self.rename(slot, import.origin);
            self.replicas.counts.adopted += 1;
            self.begin_anew(slot, import);
            self.restate(slot, &import.state, import.stamp, now);
            self.order(slot, import.order);
            return Ok(Some(slot));
        }
        for (slot, _) in found.into_iter().flatten() {
            if self.flow(slot).is_some() {
                self.replicas.counts.clashed += 1;
                self.kill(slot, now);
            }
        }
        let inserted = self.insert_import(import, now);
        inserted.map(Some).inspect_err(|_| self.replicas.counts.refused += 1)
    }

    /// Whether the flow in a slot was said later than an import, by the same worker of the same node.
    fn was_said_later(&self, slot: Slot, import: &Import<'_>) -> bool {
        let mark = self.replicas.mark(slot);
        let is_later = |this: u32, that: u32| (this.wrapping_sub(that) as i32) > 0;
        self.flow(slot).is_some_and(Flow::is_imported)
            && mark.origin >> LANE == import.origin >> LANE
            && (is_later(mark.stamp, import.stamp)
                || mark.stamp == import.stamp && is_later(mark.order, import.order))
    }

    fn order(&mut self, slot: Slot, order: u32) {
        if let Some(mark) = self.replicas.marks.get_mut(slot.0) {
            mark.order = order;
        }
    }
}

impl Shard {
    /// Takes in what is new of a flow. `None`: it is not there.
    pub fn update(
        &mut self,
        origin: u64,
        stamp: u32,
        state: &ImportState,
        now: Tick,
    ) -> Option<Slot> {
        let slot = self.slot_of(origin);
        match slot {
            Some(slot) => self.restate(slot, state, stamp, now),
            None => self.replicas.counts.unknown += 1,
        }
        slot
    }

    /// A flow of another node's is gone. False: it was not there.
    pub fn remove(&mut self, origin: u64, now: Tick) -> bool {
        let slot = self.slot_of(origin);
        if let Some(slot) = slot {
            self.kill(slot, now);
        }
        slot.is_some()
    }

    /// Where the flow of this name is.
    pub fn slot_of(&self, origin: u64) -> Option<Slot> {
        self.slot_of_name(origin).filter(|slot| self.replicas.mark(*slot).origin == origin)
    }

    /// Ends the flows in `slots` slots from `from` on that no import with `stamp` or a later one spoke of; not those that are this
    /// node's alone. Nothing while flows are not [held](Self::hold). Returns where to go on, if there is more.
    pub fn sweep(&mut self, from: Slot, slots: u32, stamp: u32, now: Tick) -> Option<Slot> {
        if !self.replicas.held {
            return None;
        }
        let end = from.0.saturating_add(slots).min(self.used);
        for slot in (from.0..end).map(Slot) {
            let Some(flow) = self.flow(slot).filter(|flow| flow.is_shared()) else { continue };
            let mark = self.replicas.mark(slot);
            let spared = flow.is_imported() && (mark.stamp.wrapping_sub(stamp) as i32) >= 0;
            if !spared {
                self.replicas.counts.swept += 1;
                self.kill(slot, now);
            }
        }
        (end < self.used).then_some(Slot(end))
    }

    /// What was counted of imports.
    pub fn import_counts(&self) -> Counts {
        self.replicas.counts
    }

    /// Asks for what an import of these keys will read.
    pub fn prefetch_import(&self, keys: &[FlowKey; 2]) {
        keys.iter().for_each(|key| self.prefetch_bucket(self.hash(key)));
    }

    /// The hash of a name, without the generation.
    fn hash_name(&self, origin: u64) -> Hash {
        Hash(self.random.hash_one(origin & !GENERATION))
    }

    /// Where a flow of this name is, whatever its generation.
    fn slot_of_name(&self, origin: u64) -> Option<Slot> {
        let found = self.replicas.origins.find(self.hash_name(origin), |entry| {
            (self.replicas.mark(entry.slot()).origin ^ origin) & !GENERATION == 0
        });
        found.map(Entry::slot)
    }

    fn name(&mut self, slot: Slot, origin: u64) {
        if let Some(mark) = self.replicas.marks.get_mut(slot.0) {
            mark.origin = origin;
        }
        let hash = self.hash_name(origin);
        self.replicas.origins.insert(hash, Entry::new(slot, Direction::Original));
        self.replicas.counts.imported += 1;
        if let Some(flow) = self.flow_mut(slot) {
            flow.set_imported(true);
        }
    }

    /// Another node's flow loses its name, or ends.
    pub(super) fn forget_name(&mut self, slot: Slot) {
        if !self.flow(slot).is_some_and(Flow::is_imported) {
            return;
        }
        let hash = self.hash_name(self.replicas.mark(slot).origin);
        self.replicas.origins.remove(hash, Entry::new(slot, Direction::Original));
        self.replicas.counts.imported -= 1;
        if let Some(flow) = self.flow_mut(slot) {
            flow.set_imported(false);
        }
    }

    fn rename(&mut self, slot: Slot, origin: u64) {
        self.forget_name(slot);
        self.name(slot, origin);
        if let Some(flow) = self.flow_mut(slot) {
            flow.set_local(false);
        }
    }

    /// What is known of a flow is of another owner's time, or of an older flow of the same tuple: what [`restate`](Self::restate) keeps or
    /// merges is not its.
    fn begin_anew(&mut self, slot: Slot, import: &Import<'_>) {
        let protocol = import.keys[0].protocol;
        let policy = match import.timeouts {
            [] => 0,
            timeouts => self.policies.intern(protocol, timeouts, &self.settings),
        };
        let Some(flow) = self.flow_mut(slot) else { return };
        flow.set_policy(policy);
        flow.shared.proto = import.state.proto;
        if import.state.labels.is_none() {
            flow.shared.noted &= !HAS_LABELS;
        }
    }

    fn insert_import(&mut self, import: &Import<'_>, now: Tick) -> Result<Slot, Full> {
        let [original, reply] = import.keys;
        let slot = self.create(original, reply, now)?;
        let status = import.state.status & REPLICATED;
        if !import.timeouts.is_empty() {
            self.set_policy(slot, original.protocol, import.timeouts, now);
        }
        if let Some(flow) = self.flow_mut(slot) {
            flow.shared.status = status as u16;
            flow.shared.proto = import.state.proto;
            flow.set_mark(import.state.mark);
            flow.shared.deadline = beats(import.state.remaining);
        }
        if let Some(labels) = import.state.labels {
            self.beside.set_labels(slot, labels);
            if let Some(flow) = self.flow_mut(slot) {
                flow.shared.noted |= HAS_LABELS;
            }
        }
        self.name(slot, import.origin);
        if self.confirm(slot, now).is_err() {
            // It cannot be: what had its keys has ended.
            self.forget_name(slot);
            self.discard(slot);
            return Err(Full);
        }
        if let Some(mark) = self.replicas.marks.get_mut(slot.0) {
            (mark.stamp, mark.order) = (import.stamp, import.order);
        }
        self.deliver(slot, now);
        Ok(slot)
    }

    /// A flow that is there becomes what another node says of it.
    fn restate(&mut self, slot: Slot, state: &ImportState, stamp: u32, now: Tick) {
        if let Some(mark) = self.replicas.marks.get_mut(slot.0) {
            mark.stamp = stamp;
        }
        let Some(flow) = self.flow(slot) else { return };
        let before = flow.status().0 & REPLICATED;
        let wanted = state.status & REPLICATED;
        self.set_status(slot, wanted & !before);
        if before & !wanted != 0 {
            self.clear_status(slot, before & !wanted);
        }
        self.set_mark(slot, state.mark);
        if let Some(labels) = state.labels.or(self.labels(slot).map(|_| [0; 16])) {
            self.set_labels(slot, labels, [u8::MAX; 16]);
        }
        let Some(flow) = self.flow_mut(slot) else { return };
        let mut proto = state.proto;
        let changed = match flow.key(Direction::Original).protocol {
            ip::TCP => tcp::restate(&mut proto, &flow.shared.proto),
            ip::SCTP => {
                let (is, was): (Sctp, Sctp) = (transmute!(proto), transmute!(flow.shared.proto));
                is.state != was.state
            }
            _ => false,
        };
        flow.shared.proto = proto;
        flow.shared.deadline = ((now.0 / BEAT) as u32).wrapping_add(beats(state.remaining));
        let late = (flow.filed().wrapping_sub(flow.shared.deadline) as i32) > 0;
        if changed {
            self.note(slot, event::PROTOINFO);
        }
        if late {
            self.file_again(slot);
        }
        // What was on its way when this node became the owner is its own to say.
        self.soil(slot);
        self.deliver(slot, now);
    }
}

/// Beats of so many milliseconds, rounded up.
fn beats(milliseconds: u32) -> u32 {
    (u64::from(milliseconds) * 1_000_000).div_ceil(BEAT).min(i32::MAX as u64) as u32
}
