//! Lanes against a model: workers that are plain vectors, a network that loses, doubles and reorders, standbys that restart, and at each
//! step what must hold.

mod standby;
mod worker;

use std::collections::BTreeMap;

use packet::Tick;

use standby::{Copies, Standby, flows_of};
use worker::{Flow, Message, Rng, Worker};

use super::{Datagram, DigestOutcome, Pace, ReceiveLane, SendLane};
use crate::hands::Outbound;
use crate::ids::{Group, Lane, NodeId, Seq, Term};
use crate::mutation::{self, Mutation};
use crate::records::{Part, Record, Role};
use crate::wire;

const MS: u64 = 1_000_000;

fn node(id: u8) -> NodeId {
    NodeId::new(id).unwrap()
}

fn lane() -> Lane {
    Lane::new(3).unwrap()
}

/// Of a datagram that travels.
#[derive(Clone)]
enum Packet {
    Data { seq: Seq, want_ack: bool, payload: Vec<u8> },
    Beat(Seq),
    Digest { seq: Seq, from: u16, buckets: Vec<u64> },
    Nack { from: u8, ranges: Vec<(Seq, Seq)> },
    Watermark { from: u8, seq: Seq },
    Ask { from: u8, request: u32, part: Option<Part> },
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
    /// By standby: the last request for a bulk.
    asked: BTreeMap<u8, u32>,
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
                request: 0,
                resumed: 0,
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
            asked: BTreeMap::new(),
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
        let mut emit = |datagram: Datagram<'_>| {
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
        if self.faults && self.rng.below(1_000) == 0 {
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
            Packet::Ask { from, request, part } => {
                // As a node does: one that others have passed is none.
                let last = self.asked.entry(from).or_default();
                if request > *last {
                    *last = request;
                    self.sender.begin_bulk_for(node(from), request, part);
                }
            }
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
            Packet::Watermark { .. } | Packet::Ask { .. } => panic!("not for a standby"),
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
                let request = standby.ask();
                out.push(Packet::Ask { from: id, request, part: standby.lane.wanted() });
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
    let mut equal = 0;
    // It has to become equal, and to stay so.
    while world.now < stopped + 2_000 * MS && equal < 5 {
        let next = world.now + 10 * MS;
        while world.now < next {
            world.step();
        }
        equal = if world.equal().is_ok() { equal + 1 } else { 0 };
    }
    if let Err(difference) = world.equal() {
        panic!(
            "I1: {difference}\n{:#?}\n{:?}\n{:#?}\n{:?}",
            world.sender.counters(),
            world.sender.bulk,
            world.standbys.iter().map(|standby| standby.lane.counters()).collect::<Vec<_>>(),
            world.standbys.iter().map(|standby| &standby.lane.awaited).collect::<Vec<_>>(),
        );
    }
    // A digest would send what waits for company, and says nothing to whoever does not have it yet.
    let mut highest = None;
    while world.sender.has_open() || highest != Some(world.sender.highest()) {
        highest = Some(world.sender.highest());
        let next = world.now + 5 * MS;
        while world.now < next {
            world.step();
        }
    }
    let now = Tick(world.now);
    let Record::Digest { buckets, .. } =
        world.sender.digest(0, 128, now, &mut |_| panic!("nothing is to be said"))
    else {
        panic!()
    };
    for standby in &mut world.standbys {
        let outcome = standby.lane.digest(world.sender.highest(), 0, &buckets, now);
        assert_eq!(outcome, DigestOutcome::Same);
        standby.copies.touched.extend(standby.due.keys());
        standby.check(&world.said, world.now);
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
    seeds(0, 150, 200);
}

#[test]
fn standbys_agree_after_faults_2() {
    seeds(1_000, 150, 200);
}

#[test]
fn standbys_agree_after_long_faults() {
    seeds(2_000, 10, 2_500);
}

/// `LANES_SEEDS=10000 cargo test -p sync lane::model::soak`: as many as there is patience for.
#[test]
fn soak() {
    let count = std::env::var("LANES_SEEDS").ok().and_then(|count| count.parse().ok());
    let from = std::env::var("LANES_FROM").ok().and_then(|from| from.parse().ok());
    seeds(from.unwrap_or(10_000), count.unwrap_or(5), 500);
}

/// What would be noticed if it were wrong. How many seeds it takes says how sharp the model is.
#[test]
fn a_broken_lane_is_noticed() {
    for (mutation, most) in [
        (Mutation::NoHeartbeat, 100),
        (Mutation::NoTombstones, 40),
        (Mutation::NoVersionCheck, 40),
        (Mutation::IgnoreLost, 100),
        (Mutation::SweepEarly, 40),
        (Mutation::ReuseSeq, 40),
        (Mutation::ResolveWithoutChain, 40),
        (Mutation::ResolveWithoutExport, 40),
        (Mutation::ResumeTooFar, 100),
        (Mutation::ForgetEnds, 200),
    ] {
        let noticed = (0..most).find(|&seed| {
            let run = || mutation::with(Some(mutation), || run(Plan::of(seed), 200));
            std::panic::catch_unwind(run).is_err()
        });
        eprintln!("{mutation:?}: noticed with seed {noticed:?}");
        assert!(noticed.is_some(), "{mutation:?} is not noticed");
    }
}
