//! The ropes between a worker and the rest of the daemon: bounded queues, made together by [`link`].
//!
//! A worker never waits on them. It serves at most [`MESSAGES_PER_TURN`] messages a turn; what it cannot hand up (a
//! full queue) it drops and counts, or keeps for its next turn where losing it would matter.

use std::net::IpAddr;
use std::sync::Arc;

use crossbeam::channel::{Receiver, Sender, bounded};
use crossbeam::queue::ArrayQueue;
use packet::PortIndex;

use crate::rib::IfIndex;
use crate::stats::WorkerStats;
use crate::tables::Tables;

/// How many control messages a worker serves between two bursts.
pub const MESSAGES_PER_TURN: usize = 4;

/// Frames that wait between a worker and the twin thread, each way.
pub const TWIN_QUEUE: usize = 512;

/// What the control side tells a worker.
#[derive(Debug)]
pub enum ToWorker {
    /// Use these tables from now on.
    Adopt(Arc<Tables>),
    /// Send at most this many ICMP errors per second.
    IcmpRate(u32),
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
}

/// Wakes the twin thread. Called at most once a turn, after frames were queued for it.
pub trait Wake: Send + Sync {
    /// Makes the twin thread look at its queues if it sleeps.
    fn wake(&self);
}

/// A queue of frames with the port that they came by or leave by.
pub type FrameQueue<F> = Arc<ArrayQueue<(PortIndex, F)>>;

/// The worker's ends.
pub struct WorkerLink<F> {
    /// Messages from the control side.
    pub control: Receiver<ToWorker>,
    /// Messages to the control side.
    pub up: Sender<FromWorker>,
    /// Frames to the kernel twins. The worker pushes, the twin thread pops.
    pub to_twin: FrameQueue<F>,
    /// Frames that the kernel sent. The twin thread pushes, the worker pops.
    pub from_twin: FrameQueue<F>,
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
    /// The worker's counters.
    pub stats: Arc<WorkerStats>,
}

/// Makes the two ends for one worker over `ports` ports.
pub fn link<F>(ports: usize, twin: Arc<dyn Wake>) -> (WorkerLink<F>, WorkerHandle<F>) {
    let (control_tx, control_rx) = bounded(64);
    let (up_tx, up_rx) = bounded(1024);
    let to_twin = Arc::new(ArrayQueue::new(TWIN_QUEUE));
    let from_twin = Arc::new(ArrayQueue::new(TWIN_QUEUE));
    let stats = Arc::new(WorkerStats::new(ports));
    (
        WorkerLink {
            control: control_rx,
            up: up_tx,
            to_twin: to_twin.clone(),
            from_twin: from_twin.clone(),
            twin,
            stats: stats.clone(),
        },
        WorkerHandle { control: control_tx, up: up_rx, to_twin, from_twin, stats },
    )
}
