//! Both sides of a lane with a worker, a table, and a link between them that can be cut.

use std::collections::BTreeMap;

use packet::{FlowKey, Tick};

use super::{MS, delete, full, lane, node, update};
use crate::hands::{Cause, Inbound, Outbound};
use crate::ids::{FlowId, Group, Lane, Term};
use crate::lane::{DigestOutcome, Pace, ReceiveLane, SendLane, Table};
use crate::records::{Record, Role};
use crate::wire::{self, Kind};

/// Generation and version, by slot.
pub(super) type Flows = BTreeMap<u32, (u32, u32)>;

/// The standby's table.
#[derive(Default)]
pub(super) struct Copies(pub(super) Flows);

impl Table for Copies {
    fn owner_of(&self, _: &FlowKey) -> Lane {
        Lane::new(0).unwrap()
    }

    fn apply(&mut self, _: Lane, _: u32, _: bool, record: &[u8]) {
        let (id, version) = (wire::flow_id(record).unwrap(), wire::version(record).unwrap());
        self.0.insert(id.slot(), (id.generation().get(), version.0));
    }

    fn delete(&mut self, _: Lane, id: FlowId) {
        if self
            .0
            .get(&id.slot())
            .is_some_and(|(generation, _)| *generation == id.generation().get())
        {
            self.0.remove(&id.slot());
        }
    }

    fn elsewhere(&mut self, _: &[u8]) {}
}

pub(super) struct Pair {
    pub(super) now: u64,
    pub(super) sender: SendLane,
    pub(super) receiver: ReceiveLane,
    pub(super) worker: Flows,
    pub(super) copies: Copies,
    /// Nothing arrives.
    pub(super) cut: bool,
    pub(super) request: u32,
    /// Records of flows that were sent.
    pub(super) said: usize,
}

impl Pair {
    /// So many slots, all with a flow that was said long ago: the window has a few datagrams.
    pub(super) fn new(slots: u32) -> Self {
        Self::with(slots, slots)
    }

    /// Likewise, but only the first half of the slots was ever used.
    pub(super) fn half(slots: u32) -> Self {
        Self::with(slots, slots / 2)
    }

    fn with(slots: u32, used: u32) -> Self {
        let pace = Pace { flush: 100_000, bytes_per_second: 0, window: 16 };
        let mut sender = SendLane::new(lane(), slots, pace);
        sender.set_role(Group(0), Role::Active, Term(1), Some(node(1)));
        let mut pair = Self {
            now: MS,
            sender,
            receiver: ReceiveLane::new(node(1), lane(), slots, 7),
            worker: (0..used).map(|slot| (slot, (1, 1))).collect(),
            copies: Copies::default(),
            cut: true,
            request: 0,
            said: 0,
        };
        for slot in 0..used {
            pair.says(Cause::New, &full(slot, 1, 1));
        }
        pair.step();
        (pair.cut, pair.said) = (false, 0);
        pair
    }

    pub(super) fn hand<T>(
        &mut self,
        f: impl FnOnce(&mut SendLane, Tick, super::super::send::Emit<'_, '_>) -> T,
    ) -> T {
        let Self { now, sender, receiver, copies, cut, said, .. } = self;
        f(sender, Tick(*now), &mut |datagram| {
            let is_flow = |kind| matches!(kind, Kind::FULL | Kind::UPDATE | Kind::DELETE);
            *said += wire::records(datagram.payload)
                .filter(|record| wire::kind(record.as_ref().unwrap().1).is_some_and(is_flow))
                .count();
            if !*cut {
                receiver.data(datagram.seq, false, datagram.payload, Tick(*now), copies);
            }
        })
    }

    pub(super) fn says(&mut self, cause: Cause, bytes: &[u8]) {
        let record = Outbound::Record { cause, slot: 0, bytes };
        self.hand(|lane, now, emit| lane.take(&record, now, emit));
    }

    /// The worker says a slot's flow, or that it is gone.
    pub(super) fn export(&mut self, slot: u32, cause: Cause) {
        match self.worker.get_mut(&slot) {
            Some((generation, version)) => {
                *version += 1;
                let bytes = full(slot, *generation, *version);
                self.says(cause, &bytes);
            }
            None if cause == Cause::Repair => self.says(cause, &delete(slot, 1, 1_000)),
            None => {}
        }
    }

    pub(super) fn change(&mut self, slot: u32) {
        let (generation, version) = self.worker.get_mut(&slot).unwrap();
        *version += 1;
        let bytes = update(slot, *generation, *version);
        self.says(Cause::Change, &bytes);
    }

    pub(super) fn end(&mut self, slot: u32) {
        let (generation, version) = self.worker.remove(&slot).unwrap();
        self.says(Cause::End, &delete(slot, generation, version + 1));
    }

    pub(super) fn begin(&mut self, slot: u32, generation: u32) {
        self.worker.insert(slot, (generation, 1));
        self.says(Cause::New, &full(slot, generation, 1));
    }

    /// A millisecond passes.
    pub(super) fn step(&mut self) {
        self.now += MS;
        self.hand(|lane, now, emit| lane.poll(now, emit));
        if let Some(request) = self.sender.request() {
            match request {
                Inbound::Export { token, slots } => {
                    slots.iter().for_each(|slot| self.export(*slot, Cause::Repair));
                    self.mark(token, u32::MAX);
                }
                Inbound::Bulk { token, from, count } => {
                    (from..from + count).for_each(|slot| self.export(slot, Cause::Bulk));
                    self.mark(token, from + count);
                }
                other => panic!("{other:?}"),
            }
        }
        if self.cut {
            return;
        }
        let now = Tick(self.now);
        self.receiver.highest(self.sender.highest(), now);
        if let Some(ranges) = self.receiver.poll(now) {
            self.sender.missing(node(2), &ranges, now);
        }
        self.receiver.end_doubted(&mut self.copies);
        if self.receiver.wants_bulk() {
            self.ask();
        }
    }

    pub(super) fn mark(&mut self, token: u64, next: u32) {
        self.hand(|lane, now, emit| lane.take(&Outbound::Mark { token, next }, now, emit));
    }

    pub(super) fn ask(&mut self) {
        self.request += 1;
        let whose = (node(2), self.request);
        if self.receiver.can_resume() {
            self.receiver.resume(whose);
        } else {
            self.receiver.begin(self.request, whose);
        }
        self.sender.begin_bulk_for(node(2), self.request, self.receiver.wanted());
    }

    /// Until the standby is whole; records of flows that were sent meanwhile.
    pub(super) fn said_until_whole(&mut self) -> usize {
        self.said = 0;
        for _ in 0..5_000 {
            self.step();
            if self.receiver.is_whole() && self.receiver.gaps() == 0 {
                if let Some(stamp) = self.receiver.sweep_due() {
                    assert_eq!(stamp, self.receiver.stamp);
                }
                return self.said;
            }
        }
        panic!("it is never whole: {:?}", self.receiver.awaited);
    }

    /// While the link is cut, flows of each kind of slot change, end, and begin, and so many datagrams are sent that they are lost.
    pub(super) fn cut_off(&mut self, of: &[u32]) {
        self.cut = true;
        for slot in of {
            self.change(*slot);
            self.end(slot + 1);
            self.end(slot + 2);
            self.begin(slot + 2, 2);
            // And a flow that nobody else ever hears of.
            self.end(slot + 3);
            self.begin(slot + 3, 2);
            self.end(slot + 3);
            self.step();
        }
        for _ in 0..40 {
            self.change(of[0]);
            self.step();
        }
        self.cut = false;
    }

    pub(super) fn agree(&self) -> bool {
        self.copies.0 == self.worker
    }

    /// The sender says digests of all buckets, and the standby compares; what differed.
    pub(super) fn compare(&mut self) -> Vec<DigestOutcome> {
        self.step();
        let mut outcomes = Vec::new();
        for from in (0..1024).step_by(128) {
            let digest = self.hand(|lane, now, emit| lane.digest(from, 128, now, emit));
            let Record::Digest { buckets, .. } = digest else { panic!() };
            let (seq, now) = (self.sender.highest(), Tick(self.now));
            let outcome = self.receiver.digest(seq, from, &buckets, now);
            // After an alarm nothing can be said until it is repaired.
            if !matches!(outcome, DigestOutcome::Same | DigestOutcome::NotComparable) {
                outcomes.push(outcome);
            }
        }
        outcomes
    }
}
