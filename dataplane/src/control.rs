//! The ropes between a worker and the rest of the daemon: bounded queues, made together by [`link`].
//!
//! A worker never waits on them. It serves at most [`MESSAGES_PER_TURN`] messages a turn; what it cannot hand up (a
//! full queue) it drops and counts, or keeps for its next turn where losing it would matter.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::Thread;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, bounded};
use crossbeam::queue::ArrayQueue;
use packet::PortIndex;
use ruleset::ids::WorkerId;
use ruleset::program::Program;

use crate::flows::Recipes;
use crate::ha::ClusterLink;
use crate::notes::Note;
use crate::owners::Peers;
use crate::rib::IfIndex;
use crate::stats::WorkerStats;
use crate::tables::Tables;

/// How many control messages a worker serves between two bursts.
pub const MESSAGES_PER_TURN: usize = 4;

/// Frames that wait between a worker and the twin thread, each way.
pub const TWIN_QUEUE: usize = 512;

/// Notes of a worker (`log`, `meta nftrace`) that wait to be told.
const NOTES: usize = 1024;

/// What the control side tells a worker.
#[derive(Debug)]
pub enum ToWorker {
    /// Use these tables from now on.
    Adopt(Arc<Tables>),
    /// Run these rules from now on.
    Program(Arc<Program>, Arrival),
    /// Send at most this many ICMP errors per second.
    IcmpRate(u32),
    /// Do this to your flows. What it holds and has found it hands on itself; it is bounded, since packets wait meanwhile.
    Flows(FlowJob),
    /// Remember what rules say of flows, or ask them for each packet.
    Cache(bool),
    /// By port: the address of the node that took over, to pass on to it what still comes here after a planned switchover.
    PassOn(Vec<Option<[u8; 6]>>),
}

/// What the control side wants done to, or to know of, a worker's flows.
pub struct FlowJob(pub conntrack::netlink::Job);

impl std::fmt::Debug for FlowJob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FlowJob")
    }
}

/// What a worker tells the control side.
#[derive(Debug)]
pub enum FromWorker {
    /// Packets wait for, or use the stale entry of, this neighbour: have the kernel resolve it.
    Resolve {
        /// The interface it is on.
        iface: IfIndex,
        /// Its address.
        addr: IpAddr,
    },
    /// Tables that the worker used until now. The control side drops them, so that no worker ever frees a large table.
    Retired(Arc<Tables>),
    /// Addresses that it knew until now, likewise.
    RetiredPassOn(Vec<Option<[u8; 6]>>),
    /// Rules that it ran until now, and what it remembered of flows under them, likewise.
    RetiredProgram(Option<Arc<Program>>, Recipes),
}

/// Who waits until all workers have taken something up, and how many have not yet.
#[derive(Debug)]
struct Gate {
    missing: AtomicUsize,
    waits: Thread,
}

/// Dropped when one worker has taken something up, or never will: it is gone, and its messages with it.
#[derive(Debug)]
pub struct Arrival(Arc<Gate>);

impl Drop for Arrival {
    fn drop(&mut self) {
        if self.0.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.waits.unpark();
        }
    }
}

/// Waits for [`Arrival`]s. Made and used by one thread.
#[derive(Debug)]
pub struct Arrivals(Arc<Gate>);

impl Arrivals {
    /// The calling thread waits for `n` arrivals.
    pub fn new(n: usize) -> (Self, impl Iterator<Item = Arrival>) {
        let missing = AtomicUsize::new(n);
        let gate = Arc::new(Gate { missing, waits: std::thread::current() });
        let arrivals = (0..n).map({
            let gate = gate.clone();
            move |_| Arrival(gate.clone())
        });
        (Self(gate), arrivals)
    }

    /// Waits until all have arrived; false when `patience` ends before.
    pub fn wait(&self, patience: Duration) -> bool {
        let start = Instant::now();
        while self.0.missing.load(Ordering::Acquire) > 0 {
            let Some(left) = patience.checked_sub(start.elapsed()) else { return false };
            std::thread::park_timeout(left);
        }
        true
    }
}

/// Wakes the twin thread. Called at most once a turn, after frames were queued for it.
pub trait Wake: Send + Sync {
    /// Makes the twin thread look at its queues if it sleeps.
    fn wake(&self);
}

/// A queue of frames with the port that they came by or leave by.
pub type FrameQueue<F> = Arc<ArrayQueue<(PortIndex, F)>>;

/// Nanoseconds since 1970 at the tick 0; the control side keeps it true, workers read it.
pub type WallClock = Arc<AtomicU64>;

/// The worker's ends.
pub struct WorkerLink<F> {
    /// Its number.
    pub worker: WorkerId,
    /// Messages from the control side.
    pub control: Receiver<ToWorker>,
    /// Messages to the control side.
    pub up: Sender<FromWorker>,
    /// Frames to the kernel twins. The worker pushes, the twin thread pops.
    pub to_twin: FrameQueue<F>,
    /// Frames that the kernel sent. The twin thread pushes, the worker pops.
    pub from_twin: FrameQueue<F>,
    /// The other workers.
    pub peers: Peers<F>,
    /// What rules have to tell of packets.
    pub notes: Sender<Note>,
    /// The time of day.
    pub wall: WallClock,
    /// Its part in a cluster, where there is one.
    pub cluster: Option<ClusterLink>,
    /// Wakes the twin thread.
    pub twin: Arc<dyn Wake>,
    /// The worker's counters.
    pub stats: Arc<WorkerStats>,
}

/// The control side's ends of one worker.
pub struct WorkerHandle<F> {
    /// Messages to the worker.
    pub control: Sender<ToWorker>,
    /// Messages from the worker.
    pub up: Receiver<FromWorker>,
    /// Frames to the kernel twins.
    pub to_twin: FrameQueue<F>,
    /// Frames that the kernel sent.
    pub from_twin: FrameQueue<F>,
    /// What rules have to tell of packets.
    pub notes: Receiver<Note>,
    /// The time of day, to set.
    pub wall: WallClock,
    /// The worker's counters.
    pub stats: Arc<WorkerStats>,
}

/// Makes the two ends for one worker over `ports` ports. It has no peers before [`WorkerLink::peers`] is set, and is alone before
/// [`WorkerLink::cluster`] is.
pub fn link<F>(
    worker: WorkerId,
    ports: usize,
    twin: Arc<dyn Wake>,
) -> (WorkerLink<F>, WorkerHandle<F>) {
    let (control_tx, control_rx) = bounded(64);
    let (up_tx, up_rx) = bounded(1024);
    let (notes_tx, notes_rx) = bounded(NOTES);
    let to_twin = Arc::new(ArrayQueue::new(TWIN_QUEUE));
    let from_twin = Arc::new(ArrayQueue::new(TWIN_QUEUE));
    let stats = Arc::new(WorkerStats::new(ports));
    let wall = WallClock::default();
    (
        WorkerLink {
            worker,
            control: control_rx,
            up: up_tx,
            to_twin: to_twin.clone(),
            from_twin: from_twin.clone(),
            peers: Peers::alone(worker),
            notes: notes_tx,
            wall: wall.clone(),
            cluster: None,
            twin,
            stats: stats.clone(),
        },
        WorkerHandle {
            control: control_tx,
            up: up_rx,
            to_twin,
            from_twin,
            notes: notes_rx,
            wall,
            stats,
        },
    )
}
