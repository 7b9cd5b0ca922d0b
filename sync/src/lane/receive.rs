//! The receiving side: versions and stamps. Which datagrams are missing is `gaps`' to know; what is awaited of bulks is in `awaited`,
//! what is done about digests that differ in `doubt`.
//!
//! # FLOW_UPD of a flow that is not there
//!
//! Its FLOW_FULL was lost or is late, or a bulk has not come by yet. The slot remembers the version (*pending*); what brings the flow
//! is newer, and all is well. If the FLOW_FULL comes in an older version after all (the two were reordered), it is applied, but
//! its datagram counts as missing (*behind*): the repair brings what FLOW_UPD said. If there is nothing that could still
//! bring the flow, the datagram of FLOW_UPD itself counts as missing.

use arrayvec::ArrayVec;
use packet::Tick;

use super::awaited::Awaited;
use super::digest::Digest;
use super::doubt::Doubts;
use super::entry::Entry;
use super::gaps::{Gaps, RANGES};
use super::pages::Pages;
use super::{ReceiveCounters, Table};
use crate::ids::{FlowId, Lane, NodeId, Seq};
use crate::records::Record;
use crate::wire::{self, Kind, Malformed};
use crate::{Mutation, mutated};

/// All in nanoseconds. A gap that is older is given up.
const TOO_OLD: u64 = 1_000_000_000;
/// A sender that said nothing for so long is silent: gaps do not grow older by that.
const SILENCE: u64 = 100_000_000;

/// What became of a datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// It was new. False: taken before, or before there was a bulk that it belongs to, or not readable.
    pub fresh: bool,
    /// Records that were applied.
    pub applied: u32,
}

/// What is to be done with a flow's record.
enum Step {
    Drop,
    /// FLOW_UPD of a flow that is to come.
    Pend,
    Apply {
        /// It is older than what FLOW_UPD had.
        behind: bool,
    },
}

/// The receiving side of a lane: of one node, one of its epochs, and one of its lanes.
#[derive(Debug)]
pub struct ReceiveLane {
    pub(super) node: NodeId,
    pub(super) lane: Lane,
    pub(super) entries: Pages<Entry>,
    pub(super) digest: Digest,
    pub(super) doubts: Doubts,
    pub(super) gaps: Gaps,
    /// It is known what was sent.
    started: bool,
    heard: Option<Tick>,
    pub(super) stamp: u32,
    pub(super) awaited: Awaited,
    pub(super) whole: bool,
    /// What it vouched for when it was whole last.
    pub(super) vouched: u64,
    pub(super) partial: bool,
    pub(super) counters: ReceiveCounters,
}

impl ReceiveLane {
    /// Of a lane with at most so many slots. `seed`: of its random delays.
    pub fn new(node: NodeId, lane: Lane, slots: u32, seed: u64) -> Self {
        Self {
            node,
            lane,
            entries: Pages::new(slots),
            digest: Digest::new(),
            doubts: Doubts::default(),
            gaps: Gaps::new(seed),
            started: false,
            heard: None,
            stamp: 0,
            awaited: Awaited::new(),
            whole: false,
            vouched: 0,
            partial: false,
            counters: ReceiveCounters::default(),
        }
    }

    /// A DATA datagram came. The node has seen to it that workers have room for [`super::ROOM`] messages.
    pub fn data(
        &mut self,
        seq: Seq,
        want_ack: bool,
        payload: &[u8],
        now: Tick,
        table: &mut dyn Table,
    ) -> Received {
        self.hear(now);
        let Seq(seq @ 1..) = seq else { return Received::default() };
        if !self.awaited.begun {
            self.start(seq);
            self.counters.duplicates += 1;
            return Received::default();
        }
        if !self.started {
            self.start(seq - 1);
        }
        if seq > self.gaps.highest() {
            self.counters.gaps += seq - self.gaps.highest() - 1;
            if self.gaps.advance(seq, now).is_err() {
                self.abandon(seq - 1);
                // One more is not too many now.
                let _ = self.gaps.advance(seq, now);
            }
        } else if !self.gaps.is_open(seq) && !mutated(Mutation::NoReplayWindow) {
            self.counters.duplicates += 1;
            return Received::default();
        }
        // All of it is looked at before any of it is applied; and the memory that it needs comes meanwhile.
        for record in wire::records(payload) {
            match record {
                Ok((_, bytes)) => {
                    if let Some(id) = wire::flow_id(bytes) {
                        self.entries.prefetch(id.slot());
                    }
                }
                Err(Malformed::NotUnderstood(_)) => {
                    self.partial = true;
                    self.counters.not_understood += 1;
                }
                Err(Malformed::Length | Malformed::Body(_)) => {
                    self.counters.malformed += 1;
                    return Received::default();
                }
            }
        }
        let (mut applied, mut refused) = (0, false);
        let mut rest = payload;
        while let Some((record, behind)) = wire::split(rest) {
            rest = behind;
            match wire::kind(record) {
                Some(kind @ (Kind::FULL | Kind::UPDATE | Kind::DELETE)) => {
                    let (done, refuses) = self.flow(kind, record, seq, want_ack, table);
                    applied += u32::from(done);
                    refused |= refuses;
                }
                Some(Kind::SET | Kind::NEIGHBOUR) => table.elsewhere(record),
                _ => self.control(record, seq, now),
            }
        }
        self.counters.datagrams += 1;
        self.counters.applied += u64::from(applied);
        if refused {
            self.counters.refused += 1;
        } else {
            self.gaps.close(seq);
        }
        self.gaps.settle();
        self.end_bulk();
        Received { fresh: true, applied }
    }

    /// A flow's record: whether it was applied, and whether its datagram counts as missing for it.
    #[inline]
    fn flow(
        &mut self,
        kind: Kind,
        record: &[u8],
        seq: u64,
        acknowledge: bool,
        table: &mut dyn Table,
    ) -> (bool, bool) {
        let (Some(id), Some(version)) = (wire::flow_id(record), wire::version(record)) else {
            return (false, false);
        };
        if (id.node(), id.lane()) != (self.node, self.lane) {
            self.counters.malformed += 1;
            return (false, false);
        }
        let slot = id.slot();
        if !self.entries.has(slot) {
            self.counters.beyond += 1;
            self.partial = true;
            return (false, false);
        }
        let entry = self.entries.get(slot);
        if entry.is_doubted() && kind == Kind::UPDATE {
            // Who knows of what. All of the flow is asked for.
            return (false, true);
        }
        let (generation, order) = entry.order(id.generation(), version);
        let same = generation.is_eq();
        let step = if generation.is_lt() {
            Step::Drop
        } else if kind == Kind::UPDATE && !(same && entry.is_alive()) {
            if same && order.is_le() { Step::Drop } else { Step::Pend }
        } else if kind == Kind::FULL && same && entry.is_pending() && order.is_lt() {
            // It is not there yet, or comes once more: whoever sends it must not think that this is enough.
            if entry.is_alive() {
                return (false, true);
            }
            Step::Apply { behind: true }
        } else if same && order.is_lt() || same && order.is_eq() && !self.says_anew(entry) {
            Step::Drop
        } else {
            Step::Apply { behind: false }
        };
        let step = match step {
            Step::Drop if mutated(Mutation::NoVersionCheck) && kind != Kind::UPDATE => {
                Step::Apply { behind: false }
            }
            step => step,
        };
        match step {
            Step::Drop => {
                self.counters.stale += 1;
                (false, false)
            }
            Step::Pend => {
                self.counters.unknown += 1;
                // Of a newer flow, so the older is gone.
                self.end(slot, entry, table);
                let pending = Entry::new(id.generation(), version, 0, false, true, self.stamp);
                self.set(slot, pending);
                // All before it is here, and the flow is not: nothing else will bring it.
                (false, self.whole && self.gaps.contiguous() + 1 >= seq)
            }
            Step::Apply { behind } => {
                if entry.is_alive() && (kind == Kind::DELETE || !same) {
                    self.end(slot, entry, table);
                }
                if kind == Kind::DELETE {
                    let dead = Entry::new(id.generation(), version, 0, false, false, self.stamp);
                    self.set(slot, dead);
                    if mutated(Mutation::NoTombstones) {
                        self.set(slot, Entry::default());
                    }
                    return (true, false);
                }
                let worker = if same && entry.is_alive() && !entry.is_doubted() {
                    Lane::new(entry.worker())
                } else {
                    wire::original_key(record).map(|key| table.owner_of(&key))
                };
                let Some(worker) = worker else { return (false, false) };
                if same && entry.is_alive() && entry.worker() != worker.get() {
                    self.end(slot, entry, table);
                }
                table.apply(worker, self.stamp, acknowledge, record);
                let version = if behind { entry.version() } else { version };
                let now =
                    Entry::new(id.generation(), version, worker.get(), true, behind, self.stamp);
                self.set(slot, now);
                (true, behind)
            }
        }
    }

    /// Whether the same version once more tells something: the flow itself, or that it lives after another bulk began.
    fn says_anew(&self, entry: Entry) -> bool {
        entry.is_pending() || entry.is_alive() && entry.stamp != self.stamp
    }

    pub(super) fn end(&self, slot: u32, entry: Entry, table: &mut dyn Table) {
        if entry.is_alive()
            && let Some(worker) = Lane::new(entry.worker())
        {
            table.delete(worker, FlowId::new(self.node, self.lane, slot, entry.generation()));
        }
    }

    #[inline]
    pub(super) fn set(&mut self, slot: u32, after: Entry) {
        let Some(entry) = self.entries.get_mut(slot) else { return };
        if entry.is_alive() {
            self.digest.toggle(slot, entry.generation(), entry.version());
        }
        if after.is_alive() {
            self.digest.toggle(slot, after.generation(), after.version());
        }
        *entry = after;
    }

    fn control(&mut self, record: &[u8], seq: u64, now: Tick) {
        match wire::decode(record) {
            Ok(Record::Resolve { seq: gap, since }) => {
                self.gaps.promise(gap.0, seq.saturating_sub(since.into()), seq);
            }
            Ok(Record::Lost { from, to })
                if self.gaps.lost(from.0, to.0.min(seq.saturating_sub(1))) =>
            {
                self.abandon(self.gaps.highest());
            }
            Ok(Record::BulkBegin { bulk, .. }) => self.bulk_is_at(bulk, None, seq, now),
            Ok(Record::BulkMark { bulk, slot }) => self.bulk_is_at(bulk, Some(slot), seq, now),
            Ok(Record::BulkEnd { bulk, .. }) => self.bulk_ends(bulk, seq),
            _ => {}
        }
    }

    fn hear(&mut self, now: Tick) {
        if self.heard.is_some_and(|heard| now.0 >= heard.0.saturating_add(SILENCE)) {
            self.gaps.excuse(now);
        }
        self.heard = self.heard.max(Some(now));
        self.gaps.hear();
    }

    /// The first is heard: what was sent up to `seq`, before this one listened, the bulk says; and one that began by then will not do.
    fn start(&mut self, seq: u64) {
        self.started = true;
        self.gaps.reset(self.gaps.highest().max(seq));
        self.awaited.begins_after(seq);
    }

    /// Any other datagram of the sender's says the highest number that it sent.
    pub fn highest(&mut self, seq: Seq, now: Tick) {
        self.hear(now);
        let seq = seq.0;
        if !self.awaited.begun || !self.started {
            self.start(seq);
        } else if seq > self.gaps.highest() {
            self.counters.gaps += seq - self.gaps.highest();
            if self.gaps.advance(seq, now).is_err() {
                self.abandon(seq);
            }
        }
    }

    /// Ranges of a NACK that is due.
    pub fn poll(&mut self, now: Tick) -> Option<Box<[(Seq, Seq)]>> {
        self.sweep_entries();
        let is_silent = self.is_silent(now);
        self.awaited.poll(is_silent, now);
        if is_silent {
            return None;
        }
        if self.gaps.oldest().is_some_and(|oldest| now.0 > oldest.0.saturating_add(TOO_OLD)) {
            self.abandon(self.gaps.highest());
        }
        let ranges = self.gaps.ask(now)?;
        self.counters.nacks += 1;
        Some(ranges.iter().map(|&(from, to)| (Seq(from), Seq(to))).collect())
    }

    /// Nothing is asked of a sender that may be dead, and nothing is held against it.
    fn is_silent(&self, now: Tick) -> bool {
        self.heard.is_none_or(|heard| now.0 >= heard.0.saturating_add(SILENCE))
    }

    /// Another standby asked for these.
    pub fn heard_missing(&mut self, ranges: &[(Seq, Seq)], now: Tick) {
        let ranges: ArrayVec<(u64, u64), RANGES> =
            ranges.iter().take(RANGES).map(|(from, to)| (from.0, to.0)).collect();
        self.gaps.heard_asked(&ranges, now);
    }

    /// All that was sent up to here is in the table. It stands still while this lane is not whole.
    pub fn watermark(&self) -> Seq {
        Seq(if self.whole { self.gaps.contiguous() } else { self.vouched })
    }

    /// A bulk has come to its end, and since then no datagram was given up: this lane's part of being synchronised. Datagrams
    /// that are missing and are being repaired ([`Self::gaps`]) do not change it: if the sender dies, they are all that is lost.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// Something must be understood that is not, or there was no room for a slot.
    pub fn is_partial(&self) -> bool {
        self.partial
    }

    /// How many datagrams are missing.
    pub fn gaps(&self) -> usize {
        self.gaps.open()
    }

    /// When [`Self::poll`] has something to do.
    pub fn next(&self, now: Tick) -> Option<Tick> {
        if self.is_sweeping() {
            return Some(now);
        }
        if self.is_silent(now) {
            return None;
        }
        let asked = self.awaited.next(now);
        let gaps = (self.gaps.open() > 0).then(|| self.gaps.due());
        [asked, gaps].into_iter().flatten().min()
    }

    /// What it counted.
    pub fn counters(&self) -> &ReceiveCounters {
        &self.counters
    }
}
