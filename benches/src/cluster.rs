//! A worker's part in a cluster, for benches: it is the owner, and what it says of its flows is drained, framed and encrypted by
//! a thread of its own, and then thrown away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use dataplane::control::Wake;
use dataplane::ha::{Clock, ClusterLink, Share};
use packet::{FlowKey, Tick};
use sync::hands::{Hands, Inbound, RingFull, Saved, To};
use sync::ids::{Epoch, Group, Lane, NodeId, Term};
use sync::node::{Command, Config, Node, Takeover};
use sync::records::Role;
use sync::seal::Keyring;
use sync::standing::Standing;
use sync::worker::{self, NodeEnds, Told, WorkerConfig};

/// How long the thread rests, as the daemon's does while flows come.
const REST: Duration = Duration::from_micros(50);

/// Its only lane.
const LANE: Lane = match Lane::new(0) {
    Some(lane) => lane,
    None => unreachable!(),
};

/// The running thread. Dropping it ends it.
pub struct Cluster {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<u64>>,
}

/// How a node of one worker is made that sends as fast as it can.
pub fn config(node: NodeId, slots: u32) -> Config {
    Config {
        node,
        cluster: 1,
        nodes: 2,
        group: Group(0),
        lanes: 1,
        slots,
        passive: false,
        takeover: Takeover::External,
        lease: u64::MAX / 2,
        flush: 100_000,
        bytes_per_second: 0,
        unsynchronised_after: 0,
        acks: 1,
        ports: Vec::new(),
        window: 65_536,
    }
}

/// Joins a worker with `slots` flows to a cluster of one.
///
/// # Errors
/// The thread cannot be started.
pub fn join(slots: u32) -> Result<(ClusterLink, Cluster)> {
    let node = NodeId::new(1).context("there is such a node")?;
    let standing = Arc::new(Standing::new(Role::Standby));
    let (replica, ends) = worker::link(WorkerConfig::new(node, LANE, Group(0)), standing.clone());
    let keys = Keyring::parse(&format!("1 {}", "5a".repeat(32)))?;
    let saved = Saved { epoch: Epoch(1), reserved: Term(0) };
    let start = Instant::now();
    let mut node = Node::new(config(node, slots), keys, saved, 7, Tick(0));
    let mut sink = Sink { standing: standing.clone(), inbound: None, datagrams: 0 };
    node.command(Command::Promote { force: true }, Tick(0), &mut sink)?;
    standing.renew(Tick(u64::MAX));
    let stop = Arc::new(AtomicBool::new(false));
    let until = stop.clone();
    let thread = std::thread::Builder::new()
        .name("sync".into())
        .spawn(move || serve(node, ends, sink, start, &until))?;
    let link = ClusterLink {
        replica,
        clock: Box::new(Began(start)),
        bell: Arc::new(Awake),
        share: Share::new(1, 2),
        exempt: Vec::new(),
        defer: None,
    };
    Ok((link, Cluster { stop, thread: Some(thread) }))
}

fn serve(mut node: Node, ends: NodeEnds, mut sink: Sink, start: Instant, stop: &AtomicBool) -> u64 {
    let NodeEnds { mut urgent, mut lazy, inbound } = ends;
    sink.inbound = Some(inbound);
    while !stop.load(Ordering::Relaxed) {
        let now = Tick::at(start.elapsed());
        let mut drained = 0;
        for ring in [&mut urgent, &mut lazy] {
            while let Some(message) = ring.next() {
                node.outbound(LANE, &message, now, &mut sink);
                drained += 1;
            }
        }
        node.poll(now, &mut sink);
        if drained == 0 {
            std::thread::sleep(REST);
        }
    }
    sink.datagrams
}

impl Cluster {
    /// Ends the thread; how many datagrams it made.
    pub fn stop(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or(0)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Counts datagrams, and keeps none.
struct Sink {
    standing: Arc<Standing>,
    inbound: Option<Told>,
    datagrams: u64,
}

impl Hands for Sink {
    fn send(&mut self, _: To, _: &[u8]) {
        self.datagrams += 1;
    }

    fn owner_of(&self, _: &FlowKey) -> Lane {
        LANE
    }

    fn room(&self, _: Lane) -> usize {
        0
    }

    fn tell(&mut self, _: Lane, message: &Inbound<'_>) -> Result<(), RingFull> {
        self.inbound.as_mut().ok_or(RingFull)?.tell(message)
    }

    fn applied(&self) -> bool {
        true
    }

    fn apply_elsewhere(&mut self, _: &[u8]) {}

    fn become_role(&mut self, _: Group, role: Role, term: Term, owner: Option<NodeId>) {
        self.standing.set(role, term, owner);
    }

    fn lease(&mut self, _: Tick) {}

    fn save(&mut self, _: Group, _: Saved) -> bool {
        true
    }

    fn alarm(&mut self, what: std::fmt::Arguments<'_>) {
        eprintln!("alarm: {what}");
    }
}

struct Began(Instant);

impl Clock for Began {
    fn now(&self) -> Tick {
        Tick::at(self.0.elapsed())
    }
}

/// The thread looks by itself.
struct Awake;

impl Wake for Awake {
    fn wake(&self) {}
}
