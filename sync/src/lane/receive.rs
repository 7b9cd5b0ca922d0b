//! The receiving side. See the module's overview.

use arrayvec::ArrayVec;
use packet::Tick;

use super::Table;
use super::pages::Pages;
use crate::ids::{FlowId, Generation, Lane, NodeId, Seq, Version};
use crate::wire::{self, Kind};

/// What a receiving lane counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiveCounters {
    /// Datagrams that were taken.
    pub datagrams: u64,
    /// Datagrams that were taken before, or are from before the bulk was asked for.
    pub duplicates: u64,
    /// Datagrams that could not be read.
    pub malformed: u64,
    /// Records that were applied.
    pub applied: u64,
    /// Records that were no newer than what was there.
    pub stale: u64,
    /// Records of slots for which there is no room.
    pub beyond: u64,
    /// Updates of flows that were not there: their datagrams are asked for again.
    pub unknown: u64,
    /// Records that must be understood and are not.
    pub not_understood: u64,
    /// Datagrams that were missed.
    pub gaps: u64,
    /// NACKs.
    pub nacks: u64,
    /// Times that there were too many gaps, or one too old, or one was lost: a bulk instead.
    pub abandoned: u64,
    /// Bulks that came to their end.
    pub bulks: u64,
    /// Digests that differed.
    pub mismatches: u64,
    /// Times that a bulk was wanted because one did twice.
    pub alarms: u64,
}

/// What became of a datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// It was new. False: taken before, or before there was a bulk that it belongs to, or not readable.
    pub fresh: bool,
    /// Records that were applied.
    pub applied: u32,
}

/// What came of comparing digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DigestOutcome {
    /// This lane is at another datagram than the digest, or not whole: it says nothing.
    NotComparable,
    /// All the same.
    Same,
    /// A bucket differed.
    Differs,
    /// A bucket differed twice in a row: a bulk is wanted.
    Alarm,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    known: bool,
    alive: bool,
    worker: u8,
    generation: u32,
    version: u32,
}

/// The receiving side of a lane: of one node, one of its epochs, and one of its lanes.
#[derive(Debug)]
pub struct ReceiveLane {
    node: NodeId,
    lane: Lane,
    entries: Pages<Entry>,
    stamp: u32,
    highest: u64,
    counters: ReceiveCounters,
}

impl ReceiveLane {
    /// Of a lane with at most so many slots. `seed`: of its random delays.
    pub fn new(node: NodeId, lane: Lane, slots: u32, _seed: u64) -> Self {
        Self {
            node,
            lane,
            entries: Pages::new(slots),
            stamp: 0,
            highest: 0,
            counters: ReceiveCounters::default(),
        }
    }

    /// A DATA datagram came. The node has seen to it that workers have room for [`super::ROOM`] messages.
    pub fn data(
        &mut self,
        seq: Seq,
        want_ack: bool,
        payload: &[u8],
        _now: Tick,
        table: &mut dyn Table,
    ) -> Received {
        let mut received = Received { fresh: true, applied: 0 };
        self.highest = self.highest.max(seq.0);
        for record in wire::records(payload) {
            let Ok((_, bytes)) = record else { continue };
            let (Some(kind), Some(id), Some(version)) =
                (wire::kind(bytes), wire::flow_id(bytes), wire::version(bytes))
            else {
                continue;
            };
            received.applied += u32::from(self.flow(kind, id, version, bytes, want_ack, table));
        }
        self.counters.datagrams += 1;
        received
    }

    fn flow(
        &mut self,
        kind: Kind,
        id: FlowId,
        version: Version,
        bytes: &[u8],
        acknowledge: bool,
        table: &mut dyn Table,
    ) -> bool {
        let stamp = self.stamp;
        let (node, lane) = (self.node, self.lane);
        let Some(entry) = self.entries.get_mut(id.slot()) else {
            self.counters.beyond += 1;
            return false;
        };
        let order = id.generation().order(Generation::new(entry.generation));
        if entry.known && (order.is_lt() || order.is_eq() && version.0 <= entry.version) {
            self.counters.stale += 1;
            return false;
        }
        let Some(worker) = (match kind {
            Kind::FULL => wire::original_key(bytes).map(|key| table.owner_of(&key)),
            _ => Lane::new(entry.worker),
        }) else {
            return false;
        };
        if kind == Kind::UPDATE && !(entry.alive && order.is_eq()) {
            self.counters.unknown += 1;
            return false;
        }
        if entry.alive && (kind == Kind::DELETE || order.is_gt()) {
            let old = FlowId::new(node, lane, id.slot(), Generation::new(entry.generation));
            table.delete(Lane::new(entry.worker).unwrap_or(worker), old);
        }
        if kind != Kind::DELETE {
            table.apply(worker, stamp, acknowledge, bytes);
        }
        *entry = Entry {
            known: true,
            alive: kind != Kind::DELETE,
            worker: worker.get(),
            generation: id.generation().get(),
            version: version.0,
        };
        self.counters.applied += 1;
        true
    }

    /// Any other datagram of the sender's says the highest number that it sent.
    pub fn highest(&mut self, seq: Seq, _now: Tick) {
        self.highest = self.highest.max(seq.0);
    }

    /// Ranges of a NACK that is due. The last may end at `Seq(u64::MAX)`: from there on nothing is here.
    pub fn poll(&mut self, _now: Tick) -> Option<ArrayVec<(Seq, Seq), 32>> {
        None
    }

    /// Another standby asked for these.
    pub fn heard_missing(&mut self, _ranges: &[(Seq, Seq)], _now: Tick) {}

    /// All that was sent up to here is in the table.
    pub fn watermark(&self) -> Seq {
        Seq(self.highest)
    }

    /// All flows have to be said to it, and nobody does.
    pub fn wants_bulk(&self) -> bool {
        false
    }

    /// A bulk has come to its end, and since then no datagram was given up: this lane's part of being synchronised. Datagrams
    /// that are missing and are being repaired ([`Self::gaps`]) do not change it: if the sender dies, they are all that is lost.
    pub fn is_whole(&self) -> bool {
        true
    }

    /// Something must be understood that is not, or there was no room for a slot.
    pub fn is_partial(&self) -> bool {
        false
    }

    /// How many datagrams are missing.
    pub fn gaps(&self) -> usize {
        0
    }

    /// A bulk is asked for: all that is applied from now on gets this stamp.
    pub fn begin(&mut self, stamp: u32) {
        self.stamp = stamp;
    }

    /// Once after each bulk: what has another stamp is to be swept.
    pub fn sweep_due(&mut self) -> Option<u32> {
        None
    }

    /// Digests of the sender's from bucket `from` on, as of `seq`.
    pub fn digest(&mut self, _seq: Seq, _from: u16, _buckets: &[u64], _now: Tick) -> DigestOutcome {
        DigestOutcome::NotComparable
    }

    /// When [`Self::poll`] has something to do.
    pub fn next(&self, _now: Tick) -> Option<Tick> {
        None
    }

    /// What it counted.
    pub fn counters(&self) -> &ReceiveCounters {
        &self.counters
    }
}
