//! One node that runs: its workers with their tables, its sync thread's state machine, and the hands between them.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use conntrack::{Shard, Slot};
use packet::{FlowKey, Tick};

use super::schedule::{MILLI, Shape};
use super::view::{self, Number, View};
use super::workload::owner;
use crate::hands::{Hands, Inbound, RingFull, Saved, To};
use crate::ids::{Group, Lane, NodeId, Term};
use crate::node::{Command, Config, Node, Refused, Status, Takeover};
use crate::records::Role;
use crate::ring::LONGEST as LONGEST_MESSAGE;
use crate::seal::{Keyring, Opener};
use crate::standing::Standing;
use crate::worker::{self, Heard, NodeEnds, Replica, Told, WorkerConfig};

/// Datagrams that a node remembers having had: what a forger may replay.
const HEARD: usize = 64;
/// Which cluster it is.
const CLUSTER: u16 = 7;
/// Bytes of the longest datagram.
const LONGEST: usize = 2048;

/// A datagram that a node sent.
pub(super) struct Sent {
    pub(super) to: Option<usize>,
    pub(super) bytes: Vec<u8>,
}

struct Worker {
    shard: Shard,
    replica: Replica,
    urgent: Heard,
    lazy: Heard,
    inbound: RefCell<Told>,
    /// The era of what it is told: behind the node's while older messages are in the ring.
    era: u32,
}

/// A running node.
pub(super) struct Machine {
    node: Node,
    workers: Vec<Worker>,
    standing: Arc<Standing>,
    secret: u64,
    /// Its workers have nothing else to do.
    idle: bool,
    pub(super) inbox: VecDeque<Rc<[u8]>>,
    pub(super) heard: VecDeque<Rc<[u8]>>,
    pub(super) sent: Vec<Sent>,
    pub(super) saved: Saved,
    pub(super) disk_full: bool,
    pub(super) role: Role,
    pub(super) term: Term,
    pub(super) owner: Option<usize>,
    /// Counts changes of the owner, as this node knows it.
    pub(super) era: u32,
    pub(super) seen_era: u32,
    between: u32,
    /// True time of its start.
    pub(super) born: u64,
    /// An invariant that did not hold, and how.
    pub(super) broken: Option<(&'static str, String)>,
}

impl Machine {
    pub(super) fn new(shape: &Shape, index: usize, saved: Saved, seed: u64, now: Tick) -> Self {
        let mine = &shape.nodes[index];
        let standing = Arc::new(Standing::new(Role::Standby));
        let node = NodeId::new(index as u8).unwrap();
        let workers = (0..mine.workers)
            .map(|lane| {
                let config = WorkerConfig {
                    node,
                    lane: Lane::new(lane).unwrap(),
                    group: Group(0),
                    urgent: mine.ring,
                    lazy: mine.ring,
                    inbound: mine.inbound,
                };
                let (replica, NodeEnds { urgent, lazy, inbound }) =
                    worker::link(config, standing.clone());
                let inbound = RefCell::new(inbound);
                let config = conntrack::Config { max: mine.slots, worker: lane.into() };
                Worker {
                    shard: Shard::new(config).unwrap(),
                    replica,
                    urgent,
                    lazy,
                    inbound,
                    era: 0,
                }
            })
            .collect();
        let config = Config {
            node,
            cluster: CLUSTER,
            nodes: shape.nodes.len() as u8,
            group: Group(0),
            lanes: mine.workers,
            slots: mine.slots,
            passive: false,
            takeover: shape.silence.map_or(Takeover::External, Takeover::Silence),
            lease: 80 * MILLI,
            flush: shape.flush,
            bytes_per_second: shape.bytes_per_second,
            unsynchronised_after: 200 * MILLI,
            acks: shape.acks,
            ports: Vec::new(),
            window: shape.window,
        };
        let node = Node::new(config, keys(shape), saved, seed, now);
        Self {
            node,
            workers,
            standing,
            secret: mine.secret,
            idle: seed.is_multiple_of(2),
            inbox: VecDeque::new(),
            heard: VecDeque::new(),
            sent: Vec::new(),
            saved,
            disk_full: false,
            role: Role::Standby,
            term: Term(0),
            owner: None,
            era: 0,
            seen_era: 0,
            between: u32::MAX,
            born: 0,
            broken: None,
        }
    }

    /// The node, and its hands.
    fn split(&mut self) -> (&mut Node, Reach<'_>) {
        let reach = Reach {
            workers: &mut self.workers,
            standing: &self.standing,
            secret: self.secret,
            sent: &mut self.sent,
            saved: &mut self.saved,
            disk_full: self.disk_full,
            role: &mut self.role,
            term: &mut self.term,
            owner: &mut self.owner,
            era: &mut self.era,
            did: 0,
        };
        (&mut self.node, reach)
    }

    /// What the sync thread does each time it wakes: sockets, rings, timers. Returns when it is due again at the latest.
    pub(super) fn pass(&mut self, now: Tick, slow: bool) -> Tick {
        let most = if slow { 1 } else { usize::MAX };
        let mut buffer = [0; LONGEST];
        for _ in 0..self.inbox.len().min(most) {
            let Some(bytes) = self.inbox.pop_front() else { break };
            let datagram = &mut buffer[..bytes.len()];
            datagram.copy_from_slice(&bytes);
            self.heard.push_back(bytes);
            if self.heard.len() > HEARD {
                self.heard.pop_front();
            }
            let (node, mut hands) = self.split();
            node.received(datagram, now, &mut hands);
        }
        for lane in 0..self.workers.len() {
            self.drain(lane, now);
        }
        let (node, mut hands) = self.split();
        node.poll(now, &mut hands)
    }

    /// Takes from a worker's rings what the node has a mind to hear. No record of the lazy ring may overtake one of the urgent
    /// ring: so only what was there before that one was empty.
    fn drain(&mut self, lane: usize, now: Tick) {
        let id = Lane::new(lane as u8).unwrap();
        let mut lazy = self.workers[lane].lazy.waiting();
        while self.node.budget(id, now).urgent {
            if !self.pass_on(lane, now, |worker| &mut worker.urgent) {
                break;
            }
        }
        if !self.workers[lane].urgent.is_empty() {
            return;
        }
        while lazy > 0 && self.node.budget(id, now).lazy {
            if !self.pass_on(lane, now, |worker| &mut worker.lazy) {
                break;
            }
            lazy -= 1;
        }
    }

    /// Passes a ring's next message on to the node, if there is one.
    fn pass_on(
        &mut self,
        lane: usize,
        now: Tick,
        ring: impl FnOnce(&mut Worker) -> &mut Heard,
    ) -> bool {
        // The node's hands reach into all rings: the message is copied out of its own first.
        let mut words = [0; LONGEST_MESSAGE];
        let Some(message) = ring(&mut self.workers[lane]).next() else { return false };
        let Some(many) = worker::write_outbound(&message, &mut words) else { return true };
        let Some(message) = worker::read_outbound(&words[..many]) else { return true };
        let (node, mut hands) = self.split();
        node.outbound(Lane::new(lane as u8).unwrap(), &message, now, &mut hands);
        true
    }

    /// Tells the node something; what it refuses is its business.
    pub(super) fn command(&mut self, command: Command, now: Tick) -> Result<(), Refused> {
        let (node, mut hands) = self.split();
        node.command(command, now, &mut hands)
    }

    pub(super) fn status(&self, now: Tick) -> Status {
        self.node.status(now)
    }

    /// It is the owner because the old one granted it, not because it took the term.
    pub(super) fn was_granted(&self) -> bool {
        self.role == Role::Active && self.standing.was_handed_over()
    }

    /// It is handing its flows over to this node.
    pub(super) fn grants(&self, to: usize) -> bool {
        self.role == Role::Held
            && self.status(Tick(0)).handing_over.is_some_and(|heir| heir.index() == to)
    }

    /// No worker has anything left to apply.
    pub(super) fn applied(&self) -> bool {
        self.workers.iter().all(|worker| worker.inbound.borrow().is_drained())
    }

    /// There is something for the sync thread in a ring.
    pub(super) fn rings(&mut self) -> bool {
        let any = |worker: &mut Worker| !worker.urgent.is_empty() || !worker.lazy.is_empty();
        self.workers.iter_mut().any(any)
    }

    /// A datagram that changes nothing but counters: I10.
    pub(super) fn ignores(&mut self, mut datagram: Vec<u8>, now: Tick, what: &str) {
        let before = (self.role, self.term, self.owner, self.sent.len(), self.saved);
        let (node, mut hands) = self.split();
        node.received(&mut datagram, now, &mut hands);
        let did = hands.did;
        if did > 0 || before != (self.role, self.term, self.owner, self.sent.len(), self.saved) {
            self.broken = Some(("I10", format!("{what} had the node do {did} things")));
        }
    }

    /// One of the owner's flows goes, and the node believes that it ended: of which worker it was, and which it was. `None`: there is
    /// none, or workers are behind.
    pub(super) fn tear(&mut self, which: u32, now: Tick) -> Option<(usize, Number)> {
        if self.role != Role::Standby || !self.applied() {
            return None;
        }
        let id = self.node.tear(which)?.to_bits();
        self.workers.iter_mut().enumerate().find_map(|(worker, Worker { shard, .. })| {
            let slot = shard.slot_of(id)?;
            let number = View::of(shard, slot, shard.flow(slot)?).number();
            shard.remove(id, now);
            Some((worker, number))
        })
    }

    pub(super) fn counter(&self, name: &str) -> u64 {
        let counters = self.status(Tick(0)).counters;
        counters.iter().find(|(known, _)| *known == name).map_or(0, |(_, count)| *count)
    }

    /// A worker's turn: what has ended by itself, and whether anything happened.
    pub(super) fn turn(&mut self, worker: usize, now: Tick) -> (Vec<Number>, usize) {
        let Worker { shard, replica, .. } = &mut self.workers[worker];
        let before = shard.stats().count;
        let mut due = Vec::new();
        if before > 0 {
            due = view::views(shard);
        }
        let ended = shard.expire(now, 64);
        let mut gone = Vec::new();
        if ended > 0 {
            let left: Vec<Number> = view::views(shard).iter().map(View::number).collect();
            gone = due.iter().map(View::number).filter(|number| !left.contains(number)).collect();
        }
        let did = replica.turn(shard, &mut (), now, self.idle);
        (gone, ended + did)
    }

    /// After a look at a worker's table: is it told of the present era from now on?
    pub(super) fn settle(&mut self, worker: usize) {
        let worker = &mut self.workers[worker];
        if worker.inbound.borrow().is_drained() {
            worker.era = self.era;
        }
    }

    /// The era that a worker's table is of: one of its own while what two owners said is in the ring.
    pub(super) fn era_of(&mut self, worker: usize) -> u32 {
        if self.workers[worker].era == self.era {
            return self.era;
        }
        self.between -= 1;
        self.between
    }

    /// Deferred flows of a worker whose packets may go.
    pub(super) fn released(&mut self, worker: usize) -> Vec<Slot> {
        std::iter::from_fn(|| self.workers[worker].replica.released()).collect()
    }

    /// A new flow's first packet waits for standbys to have it.
    pub(super) fn defer(&mut self, worker: usize, slot: Slot, now: Tick) {
        let Worker { shard, replica, .. } = &mut self.workers[worker];
        // A full ring: it is said later, and its packet is dropped or let go when its time is over.
        let _ = replica.export_now(shard, &(), slot, now);
    }

    /// Whether a packet may go; as at the beginning of a turn, the worker heeds the role and catches up first.
    pub(super) fn may_forward(&mut self, worker: usize, now: Tick) -> bool {
        let Worker { shard, replica, .. } = &mut self.workers[worker];
        replica.catch_up(shard, &mut (), now);
        replica.may(now).forward
    }

    pub(super) fn shard(&mut self, worker: usize) -> &mut Shard {
        &mut self.workers[worker].shard
    }

    pub(super) fn views(&self, worker: usize) -> Vec<View> {
        view::views(&self.workers[worker].shard)
    }
}

/// What all nodes seal with.
pub(super) fn keys(shape: &Shape) -> Keyring {
    if shape.authenticated {
        Keyring::parse(&format!("1 {}\n", "07".repeat(32))).unwrap()
    } else {
        Keyring::unauthenticated()
    }
}

/// For whoever listens: one that opens all datagrams but its own node's, as node 0 and as node 1.
pub(super) fn openers(shape: &Shape) -> Vec<Opener> {
    [0, 1].map(|node| Opener::new(keys(shape), CLUSTER, NodeId::new(node).unwrap())).into()
}

/// A node's hands.
struct Reach<'a> {
    workers: &'a mut [Worker],
    standing: &'a Standing,
    secret: u64,
    sent: &'a mut Vec<Sent>,
    saved: &'a mut Saved,
    disk_full: bool,
    role: &'a mut Role,
    term: &'a mut Term,
    owner: &'a mut Option<usize>,
    era: &'a mut u32,
    /// How often they were used.
    did: usize,
}

impl Hands for Reach<'_> {
    fn send(&mut self, to: To, datagram: &[u8]) {
        self.did += 1;
        let to = match to {
            To::All => None,
            To::Node(node) => Some(node.index()),
        };
        self.sent.push(Sent { to, bytes: datagram.to_vec() });
    }

    fn owner_of(&self, original: &FlowKey) -> Lane {
        Lane::new(owner(original, self.secret, self.workers.len()) as u8).unwrap()
    }

    fn room(&self, worker: Lane) -> usize {
        self.workers.get(worker.index()).map_or(0, |worker| worker.inbound.borrow_mut().room())
    }

    fn tell(&mut self, worker: Lane, message: &Inbound<'_>) -> Result<(), RingFull> {
        self.did += 1;
        let Some(worker) = self.workers.get_mut(worker.index()) else { return Err(RingFull) };
        worker.inbound.get_mut().tell(message)
    }

    fn applied(&self) -> bool {
        self.workers.iter().all(|worker| worker.inbound.borrow().is_drained())
    }

    fn apply_elsewhere(&mut self, _record: &[u8]) {
        self.did += 1;
    }

    fn become_role(&mut self, _group: Group, role: Role, term: Term, owner: Option<NodeId>) {
        self.did += 1;
        self.standing.set(role, term, owner);
        let owner = owner.map(NodeId::index);
        if *self.term != term || *self.owner != owner {
            *self.era += 1;
        }
        (*self.role, *self.term, *self.owner) = (role, term, owner);
    }

    fn handed_over(&mut self) {
        self.standing.hand_over();
    }

    fn lease(&mut self, until: Tick) {
        self.standing.renew(until);
    }

    fn save(&mut self, _group: Group, saved: Saved) -> bool {
        self.did += 1;
        if !self.disk_full {
            *self.saved = saved;
        }
        !self.disk_full
    }

    fn alarm(&mut self, _what: fmt::Arguments<'_>) {}
}

#[cfg(test)]
mod tests {
    use super::super::schedule::Schedule;
    use super::*;

    #[test]
    fn a_node_that_heeds_what_it_should_not_is_noticed() {
        let shape = Schedule::new(0).shape;
        let now = Tick(1_000_000_000);
        let mut nodes = [0, 1].map(|index| Machine::new(&shape, index, Saved::default(), 1, now));
        let [one, other] = &mut nodes;
        one.command(Command::Promote { force: true }, now).unwrap();
        let genuine = one.sent.remove(0).bytes;
        let mut forged = genuine.clone();
        forged[40] ^= 1;
        other.ignores(forged, now, "a forgery");
        assert_eq!(other.broken, None);
        other.ignores(genuine.clone(), now, "a genuine one");
        assert!(other.broken.take().is_some_and(|(invariant, _)| invariant == "I10"));
        other.ignores(genuine, now, "a replay");
        assert_eq!(other.broken, None);
    }
}
