//! Virtual time: what happens next, to whom, and whether all still holds.
//!
//! # Life cycle
//!
//! [`World::run`] goes through a schedule's faults and traffic; then faults stop, and the cluster has [`HEALING`] to agree.
//! Everything is one queue of moments; of two at the same time the one that was put there first comes first, so that a seed's
//! run is always the same.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::rc::Rc;

use fastrand::Rng;
use packet::Tick;

use super::invariants::{Invariants, Violation};
use super::machine::{self, Machine, Sent};
use super::network::Network;
use super::schedule::{Fault, Forgery, MICRO, MILLI, Quality, SECOND, Schedule};
use super::view::{Number, View};
use super::wiretap::Wiretap;
use super::workload::{Connection, Workload, owner};
use crate::hands::Saved;
use crate::ids::Epoch;
use crate::node::Command;
use crate::records::Role;

/// How long the cluster has to agree after the last fault: I1.
pub(super) const HEALING: u64 = 2_000 * MILLI;
/// For how long it must then stay so.
const STAYS: u64 = 20 * MILLI;
/// How often the arbiter looks, and whether all agree is looked at.
const LOOK: u64 = 5 * MILLI;
/// How long the arbiter waits before it promotes.
const PATIENCE: u64 = 25 * MILLI;
/// For how long a node may not know of a claim that reaches it: some heartbeats.
const HEARD: u64 = 60 * MILLI;
/// What happens in a run, at most. The longest of thousands had a tenth of it.
const MOST_STEPS: u64 = 1_000_000;
/// Old datagrams that a forger has at hand.
const RECORDED: usize = 256;

#[derive(Clone, Debug)]
enum What {
    Arrives { node: usize, bytes: Rc<[u8]> },
    Turn { node: usize, worker: usize, life: u32 },
    Pass { node: usize, ticket: u64 },
    Packet,
    Fault(usize),
    Over(Undo),
    Look,
}

/// What ends a fault.
#[derive(Clone, Debug)]
enum Undo {
    Weather { link: u8, quality: Quality },
    Cut { from: usize, to: usize, link: Option<u8> },
    Isolate { node: usize },
    Crash { node: usize },
    Stop { node: usize },
    StopSync { node: usize },
    StopWorker { node: usize, worker: usize },
    Slow { node: usize },
    Disk { node: usize },
}

struct Moment(u64, u64, What);

impl PartialEq for Moment {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Moment {}
impl PartialOrd for Moment {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Moment {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// A node's place in the cluster: it outlives the node's crashes.
struct Place {
    machine: Option<Machine>,
    saved: Saved,
    /// Its incarnations.
    life: u32,
    /// How many faults hold each of its threads.
    stopped: u32,
    sync_stopped: u32,
    workers_stopped: Vec<u32>,
    slow: u32,
    disk_full: u32,
    /// When its process last stood still, and when it went on.
    stood: u64,
    resumed: u64,
    rules: u64,
    /// Of the pass that is due.
    ticket: u64,
    due: u64,
    /// Since when it has been hearing all flows.
    hears_since: u64,
    was_synchronised: bool,
    /// Packets that came while it stood still.
    waiting: Vec<Connection>,
    /// Deferred flows whose packet waits, by worker and number.
    parked: BTreeMap<(usize, u32), Number>,
}

/// What a run came to.
#[derive(Debug, Default, Clone)]
pub(super) struct Outcome {
    pub(super) violation: Option<Violation>,
    pub(super) steps: u64,
    pub(super) datagrams: u64,
    pub(super) forwarded: u64,
    pub(super) promotions: u64,
    /// Planned switchovers.
    pub(super) handovers: u64,
    /// Promotions beside an owner that lives, which was asked to hand over.
    pub(super) asked: u64,
    /// A digest of all that happened: equal for equal runs.
    pub(super) digest: u64,
    /// How long after the last fault all agreed.
    pub(super) healed: u64,
    /// Flows that a standby lost without noticing.
    pub(super) torn: u64,
    /// Digests that differed twice.
    pub(super) alarms: u64,
}

/// The cluster, its network, clients and arbiter.
pub(super) struct World {
    schedule: Schedule,
    now: u64,
    queue: BinaryHeap<Reverse<Moment>>,
    order: u64,
    rng: Rng,
    network: Network,
    workload: Workload,
    places: Vec<Place>,
    invariants: Invariants,
    wiretap: Option<Wiretap>,
    recorded: Vec<Rc<[u8]>>,
    /// When each claim was first forwarded by, or taken.
    claims: BTreeMap<(u32, u8), u64>,
    leaderless: u64,
    /// When faults stopped.
    healing: Option<u64>,
    agreed: Option<u64>,
    outcome: Outcome,
}

impl World {
    /// Runs a schedule.
    pub(super) fn run(schedule: &Schedule) -> Outcome {
        let mut world = Self::new(schedule.clone());
        world.go();
        world.outcome.violation = world.invariants.violation.take();
        world.outcome.datagrams = world.network.sent;
        world.outcome
    }

    fn new(schedule: Schedule) -> Self {
        let shape = &schedule.shape;
        let seed = shape.seed;
        let workers: Vec<usize> = shape.nodes.iter().map(|n| usize::from(n.workers)).collect();
        let places = shape.nodes.iter().map(|node| Place {
            machine: None,
            saved: Saved::default(),
            life: 0,
            stopped: 0,
            sync_stopped: 0,
            workers_stopped: vec![0; usize::from(node.workers)],
            slow: 0,
            disk_full: 0,
            stood: 0,
            resumed: 0,
            rules: node.rules,
            ticket: 0,
            due: u64::MAX,
            hears_since: 0,
            was_synchronised: false,
            waiting: Vec::new(),
            parked: BTreeMap::new(),
        });
        let mut world = Self {
            now: 0,
            queue: BinaryHeap::new(),
            order: 0,
            rng: Rng::with_seed(seed ^ 0x0077_6f72_6c64),
            network: Network::new(seed, shape.links.clone(), shape.nodes.len()),
            workload: Workload::new(shape),
            places: places.collect(),
            invariants: Invariants::new(&workers, schedule.has_small_table()),
            wiretap: ((shape.wiretap || std::env::var_os("TWINWALL_TRACE").is_some())
                && !schedule.has_small_table())
            .then(|| Wiretap::new(machine::openers(shape))),
            recorded: Vec::new(),
            claims: BTreeMap::new(),
            leaderless: 0,
            healing: None,
            agreed: None,
            outcome: Outcome::default(),
            schedule,
        };
        for node in 0..world.places.len() {
            world.start(node);
        }
        for number in 0..world.schedule.events.len() {
            let at = world.schedule.events[number].at;
            world.put(at, What::Fault(number));
        }
        world.put(MILLI, What::Packet);
        world.put(LOOK, What::Look);
        world
    }

    fn put(&mut self, at: u64, what: What) {
        self.order += 1;
        self.queue.push(Reverse(Moment(at.max(self.now), self.order, what)));
    }

    fn go(&mut self) {
        while let Some(Reverse(Moment(at, _, what))) = self.queue.pop() {
            self.now = at;
            self.outcome.steps += 1;
            if self.outcome.steps > MOST_STEPS {
                return self
                    .invariants
                    .fail("I9", self.now, || "the cluster does not come to rest".into());
            }
            match what {
                What::Arrives { node, bytes } => self.arrives(node, bytes),
                What::Turn { node, worker, life } => self.turn(node, worker, life),
                What::Pass { node, ticket } => {
                    if self.places[node].ticket == ticket {
                        self.pass(node);
                    }
                }
                What::Packet => self.packet(),
                What::Fault(number) => self.fault(number),
                What::Over(undo) => self.undo(undo),
                What::Look => {
                    if self.look() {
                        return;
                    }
                }
            }
            if self.invariants.violation.is_some() {
                return;
            }
        }
    }

    fn digest(&mut self, of: &[u64]) {
        for word in of {
            self.outcome.digest =
                (self.outcome.digest ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        }
    }

    /// What a node's clock shows.
    fn local(&self, node: usize) -> Tick {
        let shape = &self.schedule.shape.nodes[node];
        let drift = (self.now as i64 / 1000) * shape.drift / 1000;
        Tick(self.now.saturating_add_signed(drift) + shape.offset)
    }

    /// True time from now until a node's clock shows this.
    fn until(&self, node: usize, tick: Tick) -> u64 {
        let local = self.local(node);
        if tick == Tick(u64::MAX) {
            return u64::MAX;
        }
        let ahead = tick.0.saturating_sub(local.0);
        let drift = self.schedule.shape.nodes[node].drift;
        ahead.saturating_add_signed(-((ahead / 1_000_000) as i64 * drift))
    }

    fn start(&mut self, node: usize) {
        let now = self.local(node);
        let place = &mut self.places[node];
        place.life += 1;
        place.saved.epoch = Epoch(place.saved.epoch.0 + 1);
        let seed = self.schedule.shape.seed ^ u64::from(place.life) << 32 ^ node as u64;
        let mut machine = Machine::new(&self.schedule.shape, node, place.saved, seed, now);
        let _ = machine.command(Command::Ruleset(place.rules), now);
        machine.born = self.now;
        place.machine = Some(machine);
        place.hears_since = self.now;
        place.was_synchronised = false;
        let (life, turn) = (place.life, self.schedule.shape.nodes[node].turn);
        for worker in 0..self.places[node].workers_stopped.len() {
            let at = self.now + self.rng.u64(..turn);
            self.put(at, What::Turn { node, worker, life });
        }
        self.wake(node, self.now);
    }

    fn crash(&mut self, node: usize) {
        let place = &mut self.places[node];
        place.machine = None;
        place.parked.clear();
        place.waiting.clear();
        place.ticket += 1;
        place.due = u64::MAX;
        self.invariants.forget(node);
        if let Some(tap) = &mut self.wiretap {
            tap.forget(node);
        }
    }

    /// Has the sync thread of a node woken at `at` at the latest.
    fn wake(&mut self, node: usize, at: u64) {
        let at = at.max(self.now).saturating_add(self.schedule.shape.nodes[node].wake);
        let place = &mut self.places[node];
        if place.machine.is_none() || at >= place.due {
            return;
        }
        place.due = at;
        place.ticket += 1;
        let ticket = place.ticket;
        self.put(at, What::Pass { node, ticket });
    }

    fn arrives(&mut self, node: usize, bytes: Rc<[u8]>) {
        let room = self.schedule.shape.nodes[node].socket;
        if let Some(machine) = &mut self.places[node].machine
            && machine.inbox.len() < room
        {
            machine.inbox.push_back(bytes);
            self.wake(node, self.now);
        }
    }

    /// Sends what a node wants sent.
    fn send(&mut self, node: usize, sent: Vec<Sent>) {
        for Sent { to, bytes } in sent {
            if let Some(tap) = &mut self.wiretap {
                tap.sent(node, &bytes, self.now);
            }
            if self.recorded.len() < RECORDED {
                self.recorded.push(bytes[..].into());
            } else {
                let at = self.rng.usize(..RECORDED);
                self.recorded[at] = bytes[..].into();
            }
            self.digest(&[node as u64, bytes.len() as u64, self.now]);
            let mut flights = Vec::new();
            self.network.send(node, to, &bytes, &mut |flight| flights.push(flight));
            for flight in flights {
                let at = self.now + flight.takes;
                self.put(at, What::Arrives { node: flight.to, bytes: flight.bytes });
            }
        }
    }

    /// A pass of a node's sync thread.
    fn pass(&mut self, node: usize) {
        let now = self.local(node);
        let place = &mut self.places[node];
        place.due = u64::MAX;
        if place.stopped > 0 || place.sync_stopped > 0 {
            return;
        }
        let Some(machine) = &mut place.machine else { return };
        machine.disk_full = place.disk_full > 0;
        let due = machine.pass(now, place.slow > 0);
        if let Some(what) = machine.broken.take() {
            self.invariants.fail(what.0, self.now, || format!("node {node}: {}", what.1));
        }
        place.saved = machine.saved;
        let sent = std::mem::take(&mut machine.sent);
        let more = !machine.inbox.is_empty();
        self.send(node, sent);
        if let Some(tap) = &mut self.wiretap {
            tap.look(&mut self.invariants, self.now);
        }
        let due = self.until(node, due);
        let at = if more { self.now } else { self.now.saturating_add(due) };
        self.wake(node, at);
        self.claimed(node);
    }

    /// Notes when a claim was taken.
    fn claimed(&mut self, node: usize) {
        let Some(machine) = &self.places[node].machine else { return };
        if machine.role == Role::Active && machine.owner == Some(node) {
            let claim = (machine.term.0, node as u8);
            if !self.claims.contains_key(&claim) {
                self.claims.insert(claim, self.now);
                self.outcome.promotions += 1;
                if machine.was_granted() {
                    self.handed_over(node);
                }
            }
        }
    }

    /// A node owns the flows because the old owner, which held packets back for that, granted it: it has all of them, as they are.
    fn handed_over(&mut self, node: usize) {
        let old = (0..self.places.len()).find(|old| {
            let machine = self.places[*old].machine.as_ref();
            *old != node && machine.is_some_and(|machine| machine.grants(node))
        });
        let Some(old) = old.filter(|_| !self.schedule.has_small_table()) else { return };
        self.outcome.handovers += 1;
        let (mine, theirs) = (self.invariants.flows(node), self.invariants.flows(old));
        if mine != theirs {
            let what = format!(
                "node {node} has {} flows of {} that node {old} hands over",
                mine.len(),
                theirs.len()
            );
            self.invariants.fail("handover", self.now, || what);
        }
    }

    /// A worker's turn.
    fn turn(&mut self, node: usize, worker: usize, life: u32) {
        let now = self.local(node);
        let place = &mut self.places[node];
        if place.life != life || place.machine.is_none() {
            return;
        }
        let turn = self.schedule.shape.nodes[node].turn;
        let at = self.now + turn / 2 + self.rng.u64(..=turn);
        self.put(at, What::Turn { node, worker, life });
        let place = &mut self.places[node];
        if place.stopped > 0 || place.workers_stopped[worker] > 0 {
            return;
        }
        let waiting = std::mem::take(&mut place.waiting);
        for connection in waiting {
            self.arrived(node, connection);
        }
        let Some(machine) = &mut self.places[node].machine else { return };
        let (ended, did) = machine.turn(worker, now);
        let era = machine.era_of(worker);
        machine.settle(worker);
        let released = machine.released(worker);
        // What is let go is dropped where nothing may be forwarded any more.
        let forwards = machine.may_forward(worker, now);
        let rings = machine.rings();
        for number in ended {
            self.invariants.ended(number, self.now);
        }
        if did > 0 {
            let views = machine.views(worker);
            self.invariants.look((node, worker), era, views, self.now);
        }
        for slot in released {
            let acks = u32::from(self.schedule.shape.acks);
            let strict = self.schedule.shape.strict;
            if let Some(number) = self.places[node].parked.remove(&(worker, slot.0)) {
                let had = self.invariants.had(number);
                if strict && forwards && had <= acks && !self.invariants.has_ended(number) {
                    self.invariants.fail("I7", self.now, || {
                        format!("node {node} lets {number:?} go; {had} nodes have had it")
                    });
                }
            }
        }
        if rings {
            self.wake(node, self.now);
        }
    }

    /// A client sends something.
    fn packet(&mut self) {
        if self.healing.is_some() {
            return;
        }
        let gap = self.schedule.shape.gap;
        let at = self.now + self.workload.rng().u64(1..gap * 2);
        self.put(at, What::Packet);
        let connection = self.workload.next();
        // The network sends it to whoever has the address; now and then to another.
        let active = |place: &Place| place.machine.as_ref().is_some_and(|m| m.role == Role::Active);
        let mut nodes: Vec<usize> =
            (0..self.places.len()).filter(|node| active(&self.places[*node])).collect();
        if nodes.is_empty() || self.workload.rng().u8(..20) == 0 {
            nodes = (0..self.places.len()).collect();
        }
        let node = nodes[self.workload.rng().usize(..nodes.len())];
        let place = &mut self.places[node];
        if place.stopped > 0 {
            if place.waiting.len() < 4 {
                place.waiting.push(connection);
            }
            return;
        }
        self.arrived(node, connection);
    }

    fn arrived(&mut self, node: usize, connection: Connection) {
        let now = self.local(node);
        let shape = &self.schedule.shape.nodes[node];
        let workers = usize::from(shape.workers);
        let worker = owner(&connection.key, shape.secret, workers);
        let place = &mut self.places[node];
        let (life, secret, resumed) = (place.life, shape.secret, place.resumed);
        if place.workers_stopped[worker] > 0 {
            return;
        }
        let Some(machine) = &mut place.machine else { return };
        if !machine.may_forward(worker, now) {
            return;
        }
        let claim = (machine.term.0, node as u8);
        let shard = machine.shard(worker);
        let done = self.workload.packet(shard, connection, (node, worker, secret, workers), now);
        if let Some(slot) = done.deferred {
            machine.defer(worker, slot, now);
        }
        let era = machine.era_of(worker);
        let views = machine.views(worker);
        if let (Some(slot), Some(view)) = (done.deferred, &done.view) {
            self.places[node].parked.insert((worker, slot.0), view.number());
        }
        self.outcome.forwarded += 1;
        for number in done.ended {
            self.invariants.ended(number, self.now);
        }
        if let Some(view) = done.view {
            self.wrote(node, view);
        }
        self.invariants.look((node, worker), era, views, self.now);
        self.invariants.forwarded(claim, node, life, self.now);
        self.outbid(node, claim, resumed);
    }

    fn wrote(&mut self, node: usize, view: View) {
        self.digest(&[u64::from(view.mark)]);
        self.invariants.wrote(node, view, self.now);
    }

    /// A node forwards by a claim although another's has reached it for long, or had when it went on after standing still: I6.
    fn outbid(&mut self, node: usize, claim: (u32, u8), resumed: u64) {
        let later = self.claims.range((claim.0 + 1, 0)..).next_back().map(|(c, at)| (*c, *at));
        let Some((higher, at)) = later else { return };
        let other = usize::from(higher.1);
        let runs = |node: usize, since: u64| {
            let place: &Place = &self.places[node];
            place.stopped == 0
                && place.sync_stopped == 0
                && place.slow == 0
                && place.resumed <= since
                && place.machine.as_ref().is_some_and(|machine| machine.born <= since)
        };
        let since = at.max(self.network.perfect_since).max(resumed);
        let told = self.now.saturating_sub(since) > HEARD;
        // It stood still for longer than its lease, and was outbid meanwhile: it has to hear that before it forwards.
        let place = &self.places[node];
        let asleep = resumed.saturating_sub(place.stood) > 100 * MILLI
            && at > place.stood
            && self.network.perfect_since <= at
            && at + HEARD < resumed;
        let told = told || asleep;
        if other != node
            && told
            && runs(other, at)
            && runs(node, self.now)
            && self.network.is_perfect(other, node)
            && self.places[other].machine.as_ref().is_some_and(|m| m.role == Role::Active)
        {
            self.invariants.fail("I6", self.now, || {
                format!("node {node} forwards by {claim:?} though {higher:?} was taken at {at}")
            });
        }
    }
}

mod faults;

/// Virtual time in which nothing but a look is due.
const _: () = assert!(LOOK > MICRO);
