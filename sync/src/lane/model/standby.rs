//! A standby: its table, and what must be in it.

use std::collections::{BTreeMap, BTreeSet};

use packet::FlowKey;

use super::worker::Flow;
use super::{lane, node};
use crate::ids::{FlowId, Generation, Lane};
use crate::lane::{ReceiveLane, Table};
use crate::records::Record;
use crate::wire;

/// Workers of a standby.
const WORKERS: u8 = 4;

/// A standby's table, and what was done to it.
#[derive(Default)]
pub(super) struct Copies {
    pub(super) flows: BTreeMap<u32, (Flow, u32, Lane)>,
    /// The latest generation that was ended, by slot.
    pub(super) ended: BTreeMap<u32, u32>,
    /// Slots of flows that are from before this lane: an old epoch's, an old owner's.
    pub(super) old: BTreeSet<u32>,
    /// Slots to look at.
    pub(super) touched: Vec<u32>,
}

impl Table for Copies {
    fn owner_of(&self, original: &FlowKey) -> Lane {
        Lane::new(original.sport[1] % WORKERS).unwrap()
    }

    fn apply(&mut self, worker: Lane, stamp: u32, _: bool, record: &[u8]) {
        let (id, version, value) = match wire::decode(record).unwrap() {
            Record::Full(full) => {
                assert_eq!(worker, self.owner_of(&full.keys[0]));
                (full.id, full.version, full.state.mark)
            }
            Record::Update { id, version, state } => (id, version, state.mark),
            other => panic!("{other:?}"),
        };
        let generation = id.generation().get();
        let flow = Flow { generation, version: version.0, value, alive: true };
        self.touched.push(id.slot());
        // It is adopted.
        self.old.remove(&id.slot());
        if let Some(&ended) = self.ended.get(&id.slot()) {
            let order = id.generation().order(Generation::new(ended));
            assert!(order.is_gt(), "I2: {id:?} reappears after {ended}");
        }
        if let Some((before, _, at)) = self.flows.get(&id.slot()) {
            assert_eq!(before.generation, generation, "the older flow was not ended");
            assert!(!flow.order(before).is_lt(), "I3: {id:?} {before:?} {flow:?}");
            assert_eq!(*at, worker);
        } else {
            assert_eq!(wire::kind(record), Some(wire::Kind::FULL), "there is no such flow");
        }
        self.flows.insert(id.slot(), (flow, stamp, worker));
    }

    fn delete(&mut self, worker: Lane, id: FlowId) {
        self.touched.push(id.slot());
        let generation = id.generation().get();
        if let Some((flow, _, at)) = self.flows.get(&id.slot())
            && flow.generation == generation
        {
            assert_eq!(*at, worker);
            self.flows.remove(&id.slot());
        }
        self.ended.insert(id.slot(), generation);
    }

    fn elsewhere(&mut self, _: &[u8]) {}
}

impl Copies {
    pub(super) fn sweep(&mut self, stamp: u32) {
        self.touched.extend(self.flows.keys());
        self.flows.retain(|_, (_, is, _)| *is == stamp);
        self.old.clear();
    }
}

/// The latest that was said of a slot, and where.
pub(super) fn history(said: &[Vec<(u32, Flow)>], slot: u32) -> Vec<(usize, Flow)> {
    let all = said.iter().enumerate().flat_map(|(seq, flows)| flows.iter().map(move |f| (seq, f)));
    let mut of_slot: Vec<_> = all.filter(|(_, f)| f.0 == slot).map(|(seq, f)| (seq, f.1)).collect();
    of_slot.split_off(of_slot.len().saturating_sub(8))
}

pub(super) fn flows_of(payload: &[u8]) -> Vec<(u32, Flow)> {
    let mut flows = Vec::new();
    for (n, record) in wire::records(payload).enumerate() {
        let (record, _) = record.unwrap();
        assert_eq!(n == 0, matches!(record, Record::Role { .. }));
        let (id, version, value, alive) = match record {
            Record::Full(full) => (full.id, full.version, full.state.mark, true),
            Record::Update { id, version, state } => (id, version, state.mark, true),
            Record::Delete { id, version } => (id, version, 0, false),
            _ => continue,
        };
        let generation = id.generation().get();
        flows.push((id.slot(), Flow { generation, version: version.0, value, alive }));
    }
    flows
}

pub(super) struct Standby {
    pub(super) id: u8,
    pub(super) lane: ReceiveLane,
    pub(super) copies: Copies,
    pub(super) stamp: u32,
    pub(super) request: u32,
    /// How often it asked for a part.
    pub(super) resumed: u32,
    /// What must be there by its watermark, and up to which datagram that is.
    pub(super) due: BTreeMap<u32, Flow>,
    pub(super) due_at: u64,
    /// The newest that any datagram which was taken said of a slot.
    pub(super) seen: BTreeMap<u32, Flow>,
    pub(super) next_watermark: u64,
}

impl Standby {
    pub(super) fn restart(&mut self, slots: u32, seed: u64, keep: bool) {
        self.lane = ReceiveLane::new(node(1), lane(), slots, seed);
        self.due.clear();
        self.due_at = 0;
        self.seen.clear();
        let flows = std::mem::take(&mut self.copies.flows);
        self.copies = Copies::default();
        if keep {
            self.copies.old.extend(flows.keys());
        }
    }

    /// It asks for what it wants, as this request.
    pub(super) fn ask(&mut self) -> u32 {
        self.request += 1;
        let whose = (node(self.id), self.request);
        if self.lane.can_resume() {
            self.lane.resume(whose);
            self.resumed += u32::from(self.lane.wanted().is_some());
        } else {
            self.stamp += 1;
            self.lane.begin(self.stamp, whose);
        }
        self.request
    }

    /// I4 and I13: the table is at least what was said up to the watermark, and nothing that was ended is in it.
    pub(super) fn check(&mut self, said: &[Vec<(u32, Flow)>], now: u64) {
        let watermark = self.lane.watermark().0;
        assert!(watermark >= self.due_at, "the watermark went back");
        while self.due_at < watermark {
            self.due_at += 1;
            for &(slot, flow) in &said[self.due_at as usize] {
                self.due.insert(slot, flow);
                self.copies.touched.push(slot);
            }
        }
        for slot in &std::mem::take(&mut self.copies.touched) {
            let Some(due) = self.due.get(slot) else { continue };
            match self.copies.flows.get(slot) {
                Some((flow, ..)) => {
                    let order = flow.order(due);
                    assert!(order.is_ge(), "I4 at {now}: {slot}: {flow:?} is older than {due:?}");
                    assert!(order.is_gt() || due.alive, "I2 at {now}: {slot}: {flow:?}");
                    assert!(order.is_gt() || flow.value == due.value);
                }
                None if due.alive => {
                    // Only the end of that flow, or a newer one's beginning, can be why.
                    let newer = self.seen.get(slot).is_some_and(|seen| {
                        seen.order(due).is_gt()
                            && (!seen.alive || seen.generation != due.generation)
                    });
                    assert!(
                        newer,
                        "I4 at {now} of {}: {slot} lacks {due:?} by {watermark}; seen {:?}; {:?}",
                        self.id,
                        self.seen.get(slot),
                        history(said, *slot)
                    );
                }
                None => {}
            }
        }
    }
}
