//! What replication costs: two nodes in one thread, whose parts are timed one by one.
//!
//! `cargo run --release -p benches --bin sync -- [--flows N] [--plain] [--v6]` makes N flows at one node and has the other know them,
//! then asks for all of them again (a bulk). Both nodes are whole: flow tables, rings, protocol, encryption. Only the
//! sockets are missing: a datagram goes from one to the other by hand. So what is printed is the CPU time of
//! each part, without system calls (docs/ha.md has the daemon's, with them).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};
use benches::cluster;
use benches::random::Random;
use clap::Parser;
use conntrack::{Config as Table, Shard};
use packet::{FlowKey, Tick};
use sync::hands::{Hands, Inbound, RingFull, Saved, To};
use sync::ids::{Epoch, Group, Lane, NodeId, Term};
use sync::node::{Command, Config, Node};
use sync::records::Role;
use sync::seal::Keyring;
use sync::standing::Standing;
use sync::worker::{self, NodeEnds, Replica, Told, WorkerConfig};

/// Flows that are made between two turns.
const BURST: usize = 32;
/// Bursts that the sync threads find together: what comes in 100 µs at a million flows a second, and a third of it.
const BURSTS: usize = 4;

/// Replicates flows between two nodes in one thread and prints what each part takes.
#[derive(Debug, Parser)]
struct Args {
    /// Flows
    #[arg(long, default_value_t = 1_000_000)]
    flows: u32,
    /// Without encryption
    #[arg(long)]
    plain: bool,
    /// IPv6
    #[arg(long)]
    v6: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let core = std::thread::available_parallelism()?.get() - 1;
    if !benches::pin(core) {
        eprintln!("not pinned");
    }
    let mut pair = Pair::new(&args)?;
    pair.meet()?;
    pair.replicate(&args)?;
    pair.bulk(&args)
}

/// Nanoseconds of each part.
#[derive(Default)]
struct Parts {
    create: f64,
    export: f64,
    send: f64,
    receive: f64,
    apply: f64,
    datagrams: usize,
    bytes: usize,
}

struct Pair {
    nodes: [Machine; 2],
    start: Instant,
}

/// A node with one worker.
struct Machine {
    shard: Shard,
    replica: Replica,
    ends: NodeEnds,
    node: Node,
    hands: Done,
}

/// What a node wants done.
struct Done {
    standing: Arc<Standing>,
    inbound: Option<RefCell<Told>>,
    out: Vec<Vec<u8>>,
    spare: Vec<Vec<u8>>,
}

impl Hands for Done {
    fn send(&mut self, _: To, datagram: &[u8]) {
        let mut copy = self.spare.pop().unwrap_or_default();
        copy.clear();
        copy.extend_from_slice(datagram);
        self.out.push(copy);
    }

    fn owner_of(&self, _: &FlowKey) -> Lane {
        Lane::new(0).unwrap()
    }

    fn room(&self, _: Lane) -> usize {
        self.inbound.as_ref().map_or(0, |told| told.borrow_mut().room())
    }

    fn tell(&mut self, _: Lane, message: &Inbound<'_>) -> Result<(), RingFull> {
        self.inbound.as_ref().ok_or(RingFull)?.borrow_mut().tell(message)
    }

    fn applied(&self) -> bool {
        self.inbound.as_ref().is_none_or(|told| told.borrow().is_drained())
    }

    fn apply_elsewhere(&mut self, _: &[u8]) {}

    fn become_role(&mut self, _: Group, role: Role, term: Term, owner: Option<NodeId>) {
        self.standing.set(role, term, owner);
    }

    fn lease(&mut self, until: Tick) {
        self.standing.renew(until);
    }

    fn save(&mut self, _: Group, _: Saved) -> bool {
        true
    }

    fn alarm(&mut self, what: std::fmt::Arguments<'_>) {
        eprintln!("alarm: {what}");
    }
}

impl Machine {
    fn new(id: u8, args: &Args) -> Result<Self> {
        let (node, lane) = (NodeId::new(id).unwrap(), Lane::new(0).unwrap());
        let standing = Arc::new(Standing::new(Role::Standby));
        let (replica, ends) =
            worker::link(WorkerConfig::new(node, lane, Group(0)), standing.clone());
        let slots = args.flows + 1024;
        let config = Config { lease: 10_000_000_000, ..cluster::config(node, slots) };
        let keys = if args.plain {
            Keyring::unauthenticated()
        } else {
            Keyring::parse(&format!("1 {}", "5a".repeat(32)))?
        };
        let saved = Saved { epoch: Epoch(1), reserved: Term(0) };
        Ok(Self {
            shard: Shard::new(Table { max: slots, worker: 0 })?,
            replica,
            ends,
            node: Node::new(config, keys, saved, 7, Tick(0)),
            hands: Done { standing, inbound: None, out: Vec::new(), spare: Vec::new() },
        })
    }

    /// The sync thread drains the rings and does what is due.
    fn serve(&mut self, now: Tick) {
        let lane = Lane::new(0).unwrap();
        let budget = self.node.budget(lane, now);
        while budget.urgent
            && let Some(message) = self.ends.urgent.next()
        {
            self.node.outbound(lane, &message, now, &mut self.hands);
        }
        while budget.lazy
            && let Some(message) = self.ends.lazy.next()
        {
            self.node.outbound(lane, &message, now, &mut self.hands);
        }
        self.node.poll(now, &mut self.hands);
    }

    fn turn(&mut self, now: Tick) {
        while self.replica.turn(&mut self.shard, &mut (), now, true) > 0 {}
    }
}

impl Pair {
    fn new(args: &Args) -> Result<Self> {
        Ok(Self { nodes: [Machine::new(1, args)?, Machine::new(2, args)?], start: Instant::now() })
    }

    fn now(&self) -> Tick {
        Tick::at(self.start.elapsed())
    }

    /// Carries what the first node sent to the second, and back.
    fn carry(&mut self, from: usize, now: Tick) -> (usize, usize) {
        let [first, second] = &mut self.nodes;
        let (from, to) = if from == 0 { (first, second) } else { (second, first) };
        let (mut datagrams, mut bytes) = (0, 0);
        for mut datagram in from.hands.out.drain(..) {
            datagrams += 1;
            bytes += datagram.len();
            to.node.received(&mut datagram, now, &mut to.hands);
            from.hands.spare.push(datagram);
        }
        (datagrams, bytes)
    }

    /// A pass of everything that is not timed.
    fn pass(&mut self) {
        let now = self.now();
        for n in 0..2 {
            self.nodes[n].turn(now);
            self.nodes[n].serve(now);
            self.carry(n, now);
        }
        let now = self.now();
        self.nodes.iter_mut().for_each(|machine| machine.turn(now));
    }

    /// One becomes the owner, the other its standby.
    fn meet(&mut self) -> Result<()> {
        for machine in &mut self.nodes {
            let told = std::mem::replace(&mut machine.ends.inbound, dummy());
            machine.hands.inbound = Some(RefCell::new(told));
        }
        let now = self.now();
        let first = &mut self.nodes[0];
        first.node.command(Command::Promote { force: true }, now, &mut first.hands)?;
        self.until_synchronised()
    }

    fn until_synchronised(&mut self) -> Result<()> {
        let begun = Instant::now();
        loop {
            self.pass();
            let status = self.nodes[1].node.status(self.now());
            if status.synchronised {
                return Ok(());
            }
            ensure!(begun.elapsed().as_secs() < 60, "not synchronised: {status:?}");
        }
    }

    fn replicate(&mut self, args: &Args) -> Result<()> {
        let mut random = Random::new(1);
        let mut parts = Parts::default();
        let mut made = 0;
        while made < args.flows {
            for _ in 0..BURSTS {
                let begun = Instant::now();
                let now = self.now();
                let owner = &mut self.nodes[0];
                for _ in 0..BURST {
                    let key = key(&mut random, args.v6);
                    let reply = back(&key);
                    let slot = owner.shard.create(key, reply, now)?;
                    owner.shard.refresh(slot, 60, now);
                    if owner.shard.confirm(slot, now).is_err() {
                        owner.shard.discard(slot);
                        continue;
                    }
                    made += 1;
                }
                parts.create += since(begun);
                let begun = Instant::now();
                owner.replica.turn(&mut owner.shard, &mut (), now, false);
                parts.export += since(begun);
            }
            let now = self.now();
            let begun = Instant::now();
            self.nodes[0].serve(now);
            parts.send += since(begun);
            let begun = Instant::now();
            let (datagrams, bytes) = self.carry(0, now);
            self.nodes[1].serve(now);
            parts.receive += since(begun);
            parts.datagrams += datagrams;
            parts.bytes += bytes;
            let begun = Instant::now();
            self.nodes[1].turn(now);
            parts.apply += since(begun);
            self.carry(1, now);
        }
        for _ in 0..100 {
            self.pass();
        }
        self.check()?;
        let each = |ns: f64| ns / f64::from(made);
        println!(
            "{made} flows, ns each: in the owner's worker {:.0} (made) + {:.0} (said);",
            each(parts.create),
            each(parts.export)
        );
        println!(
            "  owner's sync thread {:.0}, {:.2} M flows/s; standby's {:.0}, {:.2} M/s; standby's worker {:.0}",
            each(parts.send),
            1e3 / each(parts.send),
            each(parts.receive),
            1e3 / each(parts.receive),
            each(parts.apply)
        );
        println!(
            "  {:.1} flows in a datagram, {:.0} bytes each",
            f64::from(made) / parts.datagrams as f64,
            parts.bytes as f64 / f64::from(made)
        );
        Ok(())
    }

    /// All flows again, on one core for both.
    fn bulk(&mut self, args: &Args) -> Result<()> {
        let now = self.now();
        let second = &mut self.nodes[1];
        second.node.command(Command::Resync, now, &mut second.hands)?;
        let begun = Instant::now();
        while self.nodes[1].node.status(self.now()).synchronised {
            self.pass();
            ensure!(begun.elapsed().as_secs() < 5, "no bulk began");
        }
        self.until_synchronised()?;
        let took = begun.elapsed();
        self.check()?;
        println!(
            "bulk of {} flows: {:.2} s, both nodes on this core",
            args.flows,
            took.as_secs_f64()
        );
        Ok(())
    }

    fn check(&self) -> Result<()> {
        let [first, second] = &self.nodes;
        let (here, there) = (first.shard.stats().count, second.shard.stats().count);
        ensure!(here == there, "{here} flows at the owner, {there} at the standby");
        Ok(())
    }
}

/// Rings that nobody uses, in place of what was taken out.
fn dummy() -> Told {
    let config = WorkerConfig::new(NodeId::new(0).unwrap(), Lane::new(0).unwrap(), Group(0));
    worker::link(config, Arc::new(Standing::new(Role::Standby))).1.inbound
}

fn since(begun: Instant) -> f64 {
    begun.elapsed().as_nanos() as f64
}

fn key(random: &mut Random, v6: bool) -> FlowKey {
    let mut key = FlowKey { family: if v6 { 6 } else { 4 }, protocol: 17, ..FlowKey::default() };
    let len = if v6 { 16 } else { 4 };
    for side in [&mut key.src, &mut key.dst] {
        let bits = [random.bits(), random.bits()];
        let bytes: Vec<u8> = bits.iter().flat_map(|word| word.to_le_bytes()).collect();
        side[..len].copy_from_slice(&bytes[..len]);
    }
    let [a, b, c, d, ..] = random.bits().to_le_bytes();
    (key.sport, key.dport) = ([a, b], [c, d]);
    key
}

fn back(key: &FlowKey) -> FlowKey {
    FlowKey { src: key.dst, dst: key.src, sport: key.dport, dport: key.sport, ..*key }
}
