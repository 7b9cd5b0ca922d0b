//! Lanes against a model: workers that are plain vectors, a network that loses, doubles and reorders, standbys that restart, and at each
//! step what must hold.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use packet::{FlowKey, Tick};

use super::digest::mix;
use super::{DigestOutcome, Pace, ReceiveLane, SendLane, Table};
use crate::hands::{Cause, Inbound, Outbound};
use crate::ids::{FlowId, Generation, Group, Lane, NodeId, Seq, Term, Version};
use crate::records::{FlowFull, FlowState, Proto, Record, Role, Timeouts};
use crate::wire;

const MS: u64 = 1_000_000;
const WORKERS: u8 = 4;

fn node(id: u8) -> NodeId {
    NodeId::new(id).unwrap()
}

fn lane() -> Lane {
    Lane::new(3).unwrap()
}

pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0) % n
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// The key that a flow of this slot and generation has. Slots' flows have other owners by generation.
fn key(slot: u32, generation: u32) -> FlowKey {
    let [a, b, c, d] = slot.to_be_bytes();
    let mut src = [0; 16];
    src[..4].copy_from_slice(&[a | 10, b, c, d]);
    FlowKey {
        src,
        dst: src,
        sport: (generation as u16).to_be_bytes(),
        dport: [0, 80],
        protocol: 17,
        family: 4,
        zone: [0; 2],
    }
}

/// A flow as this model has it: of the state, only the mark matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Flow {
    generation: u32,
    version: u32,
    value: u32,
    alive: bool,
}

impl Flow {
    fn order(&self, than: &Self) -> std::cmp::Ordering {
        Generation::new(self.generation)
            .order(Generation::new(than.generation))
            .then((self.version.wrapping_sub(than.version) as i32).cmp(&0))
    }
}

/// The owner's worker.
struct Worker {
    flows: Vec<Flow>,
    dirty: Vec<bool>,
    announced: Vec<bool>,
    /// A flow of this slot, maybe an older one, was told to live.
    told: Vec<bool>,
    /// Its next urgent export is to be in full: it was exported in full into the lazy ring.
    full: Vec<bool>,
    urgent: VecDeque<(Cause, u32, Vec<u8>)>,
    lazy: VecDeque<Message>,
    inbound: VecDeque<Inbound<'static>>,
    /// Where the bulk is that is being served.
    serving: Option<(u64, u32, u32)>,
    room: usize,
    considerate: bool,
}

enum Message {
    Record(Cause, u32, Vec<u8>),
    Mark(u64, u32),
}

impl Worker {
    fn new(slots: u32, start: u32, room: usize, considerate: bool) -> Self {
        let slots = slots as usize;
        let flow = Flow { generation: start & 0x3f_ffff, version: start, value: 0, alive: false };
        Self {
            flows: vec![flow; slots],
            dirty: vec![false; slots],
            announced: vec![false; slots],
            told: vec![false; slots],
            full: vec![false; slots],
            urgent: VecDeque::new(),
            lazy: VecDeque::new(),
            inbound: VecDeque::new(),
            serving: None,
            room,
            considerate,
        }
    }

    /// Something happens to a flow.
    fn happen(&mut self, slot: usize, rng: &mut Rng) {
        let flow = &mut self.flows[slot];
        if !flow.alive {
            flow.alive = true;
            flow.generation = Generation::new(flow.generation).next().get();
            self.announced[slot] = false;
            self.full[slot] = false;
        } else if rng.chance(30) {
            flow.alive = false;
        }
        flow.value = rng.below(1 << 30) as u32 + 1;
        self.dirty[slot] = true;
    }

    fn export(&mut self, slot: u32, full: bool, node: NodeId) -> Option<Vec<u8>> {
        let n = slot as usize;
        let flow = &mut self.flows[n];
        self.dirty[n] = false;
        if !flow.alive && !self.told[n] && !full {
            return None;
        }
        self.told[n] = flow.alive;
        flow.version = flow.version.wrapping_add(1);
        let id = FlowId::new(node, lane(), slot, Generation::new(flow.generation));
        let version = Version(flow.version);
        let state = FlowState {
            status: 0,
            mark: flow.value,
            remaining: 1,
            proto: Proto::None,
            labels: None,
        };
        let keys = [key(slot, flow.generation); 2];
        let record = if !flow.alive {
            Record::Delete { id, version }
        } else if full || !self.announced[n] {
            self.announced[n] = true;
            Record::Full(FlowFull {
                id,
                version,
                group: Group(0),
                keys,
                state,
                rules: 0,
                behind: 0,
                timeouts: Timeouts::new(),
            })
        } else {
            Record::Update { id, version, state }
        };
        let mut bytes = vec![0; 256];
        let length = wire::encode(&record, &mut bytes).unwrap();
        bytes.truncate(length);
        Some(bytes)
    }

    /// Serves a bounded part of what it was told, then exports what is dirty.
    fn turn(&mut self, rng: &mut Rng, node: NodeId) {
        for _ in 0..rng.below(4) {
            if self.serving.is_some() || self.lazy.len() + 70 > self.room {
                break;
            }
            match self.inbound.pop_front() {
                Some(Inbound::Export { token, slots }) => {
                    for slot in slots {
                        let bytes = self.export(slot, true, node).unwrap();
                        self.full[slot as usize] = self.flows[slot as usize].alive;
                        self.lazy.push_back(Message::Record(Cause::Repair, slot, bytes));
                    }
                    self.lazy.push_back(Message::Mark(token, 0));
                }
                Some(Inbound::Bulk { token, from, count }) => {
                    self.serving = Some((token, from, from + count));
                }
                Some(other) => panic!("{other:?}"),
                None => break,
            }
        }
        while let Some((token, next, end)) = self.serving {
            if self.lazy.len() + 2 > self.room || rng.chance(1) {
                break;
            }
            if next >= end || next as usize >= self.flows.len() {
                let next = if next as usize >= self.flows.len() { u32::MAX } else { next };
                self.lazy.push_back(Message::Mark(token, next));
                self.serving = None;
                break;
            }
            self.serving = Some((token, next + 1, end));
            if self.flows[next as usize].alive {
                let bytes = self.export(next, true, node).unwrap();
                self.full[next as usize] = true;
                self.lazy.push_back(Message::Record(Cause::Bulk, next, bytes));
            }
        }
        for slot in 0..self.flows.len() {
            if !self.dirty[slot] {
                continue;
            }
            let refresh = rng.chance(10) && self.announced[slot] && self.flows[slot].alive;
            let ring_is_full =
                if refresh { self.lazy.len() >= self.room } else { self.urgent.len() >= self.room };
            if ring_is_full {
                break;
            }
            let full = !refresh && self.considerate && std::mem::take(&mut self.full[slot]);
            let full = full && self.flows[slot].alive;
            let cause = if !self.flows[slot].alive {
                Cause::End
            } else if !self.announced[slot] {
                Cause::New
            } else {
                Cause::Change
            };
            if let Some(bytes) = self.export(slot as u32, full, node) {
                if refresh {
                    self.lazy.push_back(Message::Record(Cause::Refresh, slot as u32, bytes));
                } else {
                    self.urgent.push_back((cause, slot as u32, bytes));
                }
            }
        }
    }
}

/// A standby's table, and what was done to it.
#[derive(Default)]
struct Copies {
    flows: BTreeMap<u32, (Flow, u32, Lane)>,
    /// The latest generation that was ended, by slot.
    ended: BTreeMap<u32, u32>,
    /// Slots of flows that are from before this lane: an old epoch's, an old owner's.
    old: BTreeSet<u32>,
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
    fn sweep(&mut self, stamp: u32) {
        self.flows.retain(|_, (_, is, _)| *is == stamp);
        self.old.clear();
    }
}

/// The latest that was said of a slot, and where.
fn history(said: &[Vec<(u32, Flow)>], slot: u32) -> Vec<(usize, Flow)> {
    let all = said.iter().enumerate().flat_map(|(seq, flows)| flows.iter().map(move |f| (seq, f)));
    let mut of_slot: Vec<_> = all.filter(|(_, f)| f.0 == slot).map(|(seq, f)| (seq, f.1)).collect();
    of_slot.split_off(of_slot.len().saturating_sub(8))
}

fn flows_of(payload: &[u8]) -> Vec<(u32, Flow)> {
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

/// Of a datagram that travels.
#[derive(Clone)]
enum Packet {
    Data { seq: Seq, want_ack: bool, payload: Vec<u8> },
    Beat(Seq),
    Digest { seq: Seq, from: u16, buckets: Vec<u64> },
    Nack { from: u8, ranges: Vec<(Seq, Seq)> },
    Watermark { from: u8, seq: Seq },
    Ask,
}

struct Standby {
    id: u8,
    lane: ReceiveLane,
    copies: Copies,
    stamp: u32,
    /// What must be there by its watermark, and up to which datagram that is.
    due: BTreeMap<u32, Flow>,
    due_at: u64,
    /// The newest that any datagram which was taken said of a slot.
    seen: BTreeMap<u32, Flow>,
    next_watermark: u64,
}

impl Standby {
    fn restart(&mut self, slots: u32, seed: u64, keep: bool) {
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

    /// I4 and I13: the table is at least what was said up to the watermark, and nothing that was ended is in it.
    fn check(&mut self, said: &[Vec<(u32, Flow)>], now: u64) {
        let watermark = self.lane.watermark().0;
        assert!(watermark >= self.due_at, "the watermark went back");
        while self.due_at < watermark {
            self.due_at += 1;
            for &(slot, flow) in &said[self.due_at as usize] {
                self.due.insert(slot, flow);
            }
        }
        for (slot, due) in &self.due {
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

/// What a run is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    loss: u64,
    double: u64,
    /// Microseconds that a datagram takes at most; at least, 30.
    reorder: u64,
    slots: u32,
    window: usize,
    rate: u64,
    standbys: usize,
    restarts: bool,
    considerate: bool,
    load: u64,
    start: u32,
    /// A datagram to one standby is lost for a while, in milliseconds.
    partition: u64,
}

impl Plan {
    pub(super) fn of(seed: u64) -> Self {
        let mut rng = Rng(seed);
        let mut pick = |of: &[u64]| of[rng.below(of.len() as u64) as usize];
        Self {
            seed,
            loss: pick(&[0, 1, 5, 20, 40]),
            double: pick(&[0, 0, 10, 50]),
            reorder: pick(&[30, 60, 300, 2_000, 20_000]),
            slots: pick(&[8, 100, 1_500, 2_500]) as u32,
            window: pick(&[40, 500, 65_536]) as usize,
            rate: pick(&[0, 1_000_000, 125_000_000]),
            standbys: pick(&[1, 1, 2, 3]) as usize,
            restarts: pick(&[0, 1]) == 1,
            considerate: pick(&[0, 1]) == 1,
            load: pick(&[1, 5, 30]),
            start: pick(&[0, 0x3f_fff0, 0xffff_fff0, 0x7fff_fff8]) as u32,
            partition: pick(&[0, 0, 50, 1_500]),
        }
    }
}

struct World {
    plan: Plan,
    rng: Rng,
    now: u64,
    worker: Worker,
    sender: SendLane,
    standbys: Vec<Standby>,
    /// By time and a running number: to whom (0: the sender), what.
    flying: BTreeMap<(u64, u64), (u8, Packet)>,
    sent: u64,
    /// What was said, by datagram.
    said: Vec<Vec<(u32, Flow)>>,
    faults: bool,
    cut: Option<(u8, u64)>,
    digests: [u64; 3],
    bytes: u64,
}

impl World {
    fn new(plan: Plan) -> Self {
        let mut rng = Rng(plan.seed ^ 0x5eed);
        let pace = Pace { flush: 100_000, bytes_per_second: plan.rate, window: plan.window };
        let mut sender = SendLane::new(lane(), plan.slots, pace);
        sender.set_role(Group(0), Role::Active, Term(1), Some(node(1)));
        let standbys = (0..plan.standbys)
            .map(|n| Standby {
                id: n as u8 + 2,
                lane: ReceiveLane::new(node(1), lane(), plan.slots, rng.below(u64::MAX)),
                copies: Copies::default(),
                stamp: 0,
                due: BTreeMap::new(),
                due_at: 0,
                seen: BTreeMap::new(),
                next_watermark: 0,
            })
            .collect();
        let room = [80, 300, 5_000][rng.below(3) as usize];
        Self {
            worker: Worker::new(plan.slots, plan.start, room, plan.considerate),
            plan,
            rng,
            now: 0,
            sender,
            standbys,
            flying: BTreeMap::new(),
            sent: 0,
            said: vec![Vec::new()],
            faults: true,
            cut: None,
            digests: [0; 3],
            bytes: 0,
        }
    }

    fn send(&mut self, to: u8, packet: &Packet) {
        let copies = 1 + u64::from(self.faults && self.rng.chance(self.plan.double));
        for _ in 0..copies {
            if self.faults && self.rng.chance(self.plan.loss) {
                continue;
            }
            let most = if self.faults { self.plan.reorder } else { 60 };
            let delay = 30_000 + self.rng.below(most * 1_000);
            self.sent += 1;
            self.flying.insert((self.now + delay, self.sent), (to, packet.clone()));
        }
    }

    fn send_all(&mut self, packet: &Packet) {
        for n in 0..self.standbys.len() {
            self.send(self.standbys[n].id, packet);
        }
    }

    /// Remembers what a datagram says, and sends it.
    fn sent_data(&mut self, packets: Vec<Packet>) {
        for packet in packets {
            if let Packet::Data { seq, payload, .. } = &packet {
                assert_eq!(seq.0, self.said.len() as u64);
                assert!(payload.len() <= wire::PAYLOAD);
                self.bytes += payload.len() as u64;
                self.said.push(flows_of(payload));
            }
            self.send_all(&packet);
        }
    }

    fn step(&mut self) {
        self.now += 20_000 + self.rng.below(80_000);
        let now = Tick(self.now);
        if self.faults {
            for _ in 0..self.rng.below(self.plan.load + 1) {
                // Few slots are used most.
                let some = 1 + self.rng.below(u64::from(self.plan.slots));
                let slot = self.rng.below(some) as usize;
                self.worker.happen(slot, &mut self.rng);
            }
            self.misfortune();
        }
        if self.rng.chance(80) {
            self.worker.turn(&mut self.rng, node(1));
        }
        self.drain(now);
        while let Some(entry) = self.flying.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let (to, packet) = entry.remove();
            if self.cut.is_some_and(|(whom, _)| whom == to) && self.faults {
                continue;
            }
            if to == 0 {
                self.at_sender(packet, now);
            } else {
                self.at_standby(to, packet, now);
            }
        }
        self.timers(now);
        for standby in &mut self.standbys {
            if let Some(stamp) = standby.lane.sweep_due() {
                standby.copies.sweep(stamp);
            }
            standby.check(&self.said, self.now);
        }
    }

    fn misfortune(&mut self) {
        if self.plan.restarts && self.rng.below(2_000) == 0 {
            let n = self.rng.below(self.standbys.len() as u64) as usize;
            let (seed, keep) = (self.rng.below(u64::MAX), self.rng.chance(50));
            self.standbys[n].restart(self.plan.slots, seed, keep);
            self.sender.forget(node(self.standbys[n].id));
        }
        if self.plan.partition > 0 {
            match self.cut {
                Some((_, until)) if self.now > until => self.cut = None,
                None if self.rng.below(3_000) == 0 => {
                    let whom = self.rng.below(self.standbys.len() as u64) as u8 + 2;
                    self.cut = Some((whom, self.now + self.plan.partition * MS));
                    if self.rng.chance(50) {
                        self.sender.forget(node(whom));
                    }
                }
                _ => {}
            }
        }
    }

    /// As a node is to do it.
    fn drain(&mut self, now: Tick) {
        let mut out = Vec::new();
        let mut emit = |datagram: super::Datagram<'_>| {
            out.push(Packet::Data {
                seq: datagram.seq,
                want_ack: datagram.want_ack,
                payload: datagram.payload.to_vec(),
            });
        };
        let mut lazy = self.worker.lazy.len();
        while self.sender.budget(now).urgent && !self.rng.chance(2) {
            let Some((cause, slot, bytes)) = self.worker.urgent.pop_front() else { break };
            self.sender.take(&Outbound::Record { cause, slot, bytes: &bytes }, now, &mut emit);
        }
        while self.worker.urgent.is_empty() && lazy > 0 && self.sender.budget(now).lazy {
            lazy -= 1;
            match self.worker.lazy.pop_front().unwrap() {
                Message::Record(cause, slot, bytes) => {
                    let record = Outbound::Record { cause, slot, bytes: &bytes };
                    self.sender.take(&record, now, &mut emit);
                }
                Message::Mark(token, next) => {
                    self.sender.take(&Outbound::Mark { token, next }, now, &mut emit);
                }
            }
        }
        let beat = self.sender.poll(now, &mut emit);
        while let Some(request) = self.sender.request() {
            if self.worker.inbound.len() >= 4 || self.rng.chance(5) {
                self.sender.refused(request);
                break;
            }
            self.worker.inbound.push_back(request);
        }
        self.sent_data(out);
        if beat {
            self.send_all(&Packet::Beat(self.sender.highest()));
        }
        if self.rng.below(1_000) == 0 {
            let mut out = Vec::new();
            let from = 128 * self.rng.below(8) as u16;
            let record = self.sender.digest(from, 128, now, &mut |datagram| {
                out.push(Packet::Data {
                    seq: datagram.seq,
                    want_ack: datagram.want_ack,
                    payload: datagram.payload.to_vec(),
                });
            });
            self.sent_data(out);
            let Record::Digest { from, buckets } = record else { panic!() };
            assert_eq!(buckets.len(), 128);
            let buckets = buckets.to_vec();
            self.send_all(&Packet::Digest { seq: self.sender.highest(), from, buckets });
        }
    }

    fn at_sender(&mut self, packet: Packet, now: Tick) {
        match packet {
            Packet::Nack { from, ranges } => self.sender.missing(node(from), &ranges, now),
            Packet::Watermark { from, seq } => self.sender.watermark(node(from), seq, now),
            Packet::Ask => self.sender.begin_bulk(now),
            _ => panic!("not for a sender"),
        }
    }

    fn at_standby(&mut self, to: u8, packet: Packet, now: Tick) {
        let standby = &mut self.standbys[to as usize - 2];
        match packet {
            Packet::Data { seq, want_ack, payload } => {
                let copies = &mut standby.copies;
                if standby.lane.data(seq, want_ack, &payload, now, copies).fresh {
                    for (slot, flow) in flows_of(&payload) {
                        let seen = standby.seen.entry(slot).or_insert(flow);
                        if flow.order(seen).is_gt() {
                            *seen = flow;
                        }
                    }
                }
            }
            Packet::Beat(seq) => standby.lane.highest(seq, now),
            Packet::Digest { seq, from, buckets } => {
                let outcome = standby.lane.digest(seq, from, &buckets, now);
                match outcome {
                    DigestOutcome::NotComparable => self.digests[0] += 1,
                    DigestOutcome::Same => self.digests[1] += 1,
                    // Nothing in this model can make tables differ while all is there.
                    other => panic!("{other:?} at {}", self.now),
                }
            }
            Packet::Nack { ranges, .. } => standby.lane.heard_missing(&ranges, now),
            Packet::Watermark { .. } | Packet::Ask => panic!("not for a standby"),
        }
    }

    fn timers(&mut self, now: Tick) {
        for n in 0..self.standbys.len() {
            let standby = &mut self.standbys[n];
            let id = standby.id;
            let mut out = Vec::new();
            if let Some(ranges) = standby.lane.poll(now) {
                out.push(Packet::Nack { from: id, ranges: ranges.to_vec() });
            }
            if standby.lane.wants_bulk() {
                standby.stamp += 1;
                standby.lane.begin(standby.stamp);
                out.push(Packet::Ask);
            }
            if self.now >= standby.next_watermark {
                standby.next_watermark = self.now + 5 * MS;
                out.push(Packet::Watermark { from: id, seq: standby.lane.watermark() });
            }
            if self.faults && self.cut.is_some_and(|(whom, _)| whom == id) {
                continue;
            }
            for packet in out {
                self.send(0, &packet);
                if matches!(packet, Packet::Nack { .. }) {
                    for other in 0..self.standbys.len() {
                        if other != n {
                            self.send(self.standbys[other].id, &packet);
                        }
                    }
                }
            }
        }
    }

    /// I1: what the standby has is what the worker has.
    fn equal(&self) -> Result<(), String> {
        for standby in &self.standbys {
            if !standby.lane.is_whole() || standby.lane.gaps() > 0 {
                let gaps = standby.lane.gaps();
                return Err(format!("{} is not whole, or has {gaps} gaps", standby.id));
            }
            if !standby.copies.old.is_empty() {
                return Err(format!("{} has old flows", standby.id));
            }
            for (slot, flow) in self.worker.flows.iter().enumerate() {
                let copy = standby.copies.flows.get(&(slot as u32)).map(|(copy, ..)| copy);
                let same = match copy {
                    Some(copy) => {
                        flow.alive && (copy.generation, copy.value) == (flow.generation, flow.value)
                    }
                    None => !flow.alive,
                };
                if !same {
                    return Err(format!("{} {slot}: {copy:?}, not {flow:?}", standby.id));
                }
            }
        }
        Ok(())
    }
}

pub(super) fn run(plan: Plan, milliseconds: u64) {
    let mut world = World::new(plan);
    while world.now < milliseconds * MS {
        world.step();
    }
    world.faults = false;
    let stopped = world.now;
    let mut equal_since = None;
    while world.now < stopped + 2_000 * MS {
        world.step();
        match (world.equal(), equal_since) {
            (Ok(()), None) => equal_since = Some(world.now),
            (Err(_), Some(_)) => equal_since = None,
            _ => {}
        }
        if equal_since.is_some_and(|since| world.now > since + 50 * MS) {
            break;
        }
    }
    if let Err(difference) = world.equal() {
        panic!(
            "I1: {difference}\n{:#?}\n{:#?}",
            world.sender.counters(),
            world.standbys.iter().map(|standby| standby.lane.counters()).collect::<Vec<_>>()
        );
    }
}

#[test]
fn one() {
    if let Some(seed) = std::env::var("LANES_SEED").ok().and_then(|seed| seed.parse().ok()) {
        run(Plan::of(seed), 1_000);
    }
}

fn seeds(from: u64, count: u64, milliseconds: u64) {
    for seed in from..from + count {
        let plan = Plan::of(seed);
        let outcome = std::panic::catch_unwind(|| run(plan, milliseconds));
        if let Err(panic) = outcome {
            eprintln!("{plan:#?}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn standbys_agree_after_faults_1() {
    seeds(0, 100, 150);
}

#[test]
fn standbys_agree_after_faults_2() {
    seeds(1_000, 100, 150);
}

#[test]
fn standbys_agree_after_long_faults() {
    seeds(2_000, 6, 2_000);
}

/// `LANES_SEEDS=10000 cargo test -p sync lane::model::soak`: as many as there is patience for.
#[test]
fn soak() {
    let count = std::env::var("LANES_SEEDS").ok().and_then(|count| count.parse().ok());
    seeds(10_000, count.unwrap_or(5), 500);
}
