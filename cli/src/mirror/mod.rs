//! The mirror: what the kernel holds of interfaces, addresses, routes and neighbours, told as [`Change`]s.
//!
//! # Overview
//!
//! ```text
//! rtnetlink ──notifications──▶ translate ─▶ Event ─▶ Model ─▶ Vec<Change> ─▶ sink (Rib::apply, publish)
//!     ▲  └───────dumps───────▶ translate ─▶ Snapshot ──┘
//!     └── Resolver: "resolve this neighbour" (RTM_NEWNEIGH with NTF_USE)
//! ```
//!
//! `translate` is a pure function; the model holds what is known beside what was told and says
//! the difference; `follow` is the thread that reads, waits for the end of a burst, and dumps again when there is doubt:
//! after an overrun of the socket, and where the kernel changes routes without saying so (a link that goes down or comes
//! up, an IPv4 address that comes or goes, a nexthop object that goes). A dump is compared with what was told, so tables do not flap.
//!
//! # Life cycle
//!
//! [`Mirror::spawn`] subscribes, dumps, and starts the thread, which calls the sink first with everything there is and
//! then with each burst of changes. Dropping the [`Mirror`] stops and joins the thread. Sockets belong to the network
//! namespace of the thread that calls `spawn`.
//!
//! # Who may touch what
//!
//! The mirror's thread owns the model and both sockets. Others see [`MirrorStats`] only.

mod follow;
mod model;
mod nexthop;
mod resolver;
mod routes;
pub(crate) mod socket;
mod translate;

#[cfg(test)]
mod tests;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use dataplane::rib::{Change, IfIndex};
use packet::PortIndex;
use rustix::event::{EventfdFlags, eventfd};

pub use resolver::{Resolver, ResolverStats};
pub use socket::NetlinkError;

/// What [`Mirror::spawn`] needs to know.
#[derive(Clone, Debug)]
pub struct MirrorConfig {
    /// The interface index of each port's twin.
    pub twins: Vec<(IfIndex, PortIndex)>,
    /// Bytes that the kernel may queue for the mirror before it drops notifications (and a full dump is due).
    pub receive_buffer: usize,
}

impl MirrorConfig {
    /// These twins, and a receive buffer that holds some 30,000 notifications.
    pub fn new(twins: Vec<(IfIndex, PortIndex)>) -> Self {
        Self { twins, receive_buffer: 32 << 20 }
    }
}

/// Why a batch came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It is the first: everything there is.
    Start,
    /// The kernel notified.
    Notified,
    /// A dump differed from what was known.
    Resync,
}

/// Changes that belong together: apply them all, then publish once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Why it came.
    pub cause: Cause,
    /// In an order in which each may be applied: an interface before what is on it. Never empty, except at the start.
    pub changes: Vec<Change>,
}

/// What the mirror counted. Its thread writes, anybody reads.
#[derive(Debug, Default)]
pub struct MirrorStats {
    messages: AtomicU64,
    changes: AtomicU64,
    batches: AtomicU64,
    resyncs: AtomicU64,
    overruns: AtomicU64,
    not_understood: AtomicU64,
    routes: AtomicU64,
}

impl MirrorStats {
    /// Notifications read.
    pub fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    /// Changes told.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// Batches told.
    pub fn batches(&self) -> u64 {
        self.batches.load(Ordering::Relaxed)
    }

    /// Dumps taken after the first.
    pub fn resyncs(&self) -> u64 {
        self.resyncs.load(Ordering::Relaxed)
    }

    /// How often the kernel dropped notifications because the socket was full.
    pub fn overruns(&self) -> u64 {
        self.overruns.load(Ordering::Relaxed)
    }

    /// Messages that could not be understood, and so are not mirrored.
    pub fn not_understood(&self) -> u64 {
        self.not_understood.load(Ordering::Relaxed)
    }

    /// Routes known now, by table, prefix and metric.
    pub fn routes(&self) -> u64 {
        self.routes.load(Ordering::Relaxed)
    }
}

/// The running mirror. Dropping it stops it.
#[derive(Debug)]
pub struct Mirror {
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
    stats: Arc<MirrorStats>,
}

impl Mirror {
    /// Subscribes to the kernel's notifications in the calling thread's network namespace, takes a first dump, and starts
    /// the thread that calls `sink` with each [`Batch`]. While the sink runs, the kernel queues for the mirror; the
    /// longer it takes, the longer bursts are collected, so that at most about half the time goes into publishing.
    pub fn spawn(
        config: MirrorConfig,
        sink: impl FnMut(Batch) + Send + 'static,
    ) -> Result<Self, NetlinkError> {
        let stats = Arc::new(MirrorStats::default());
        let stop =
            Arc::new(eventfd(0, EventfdFlags::CLOEXEC).map_err(|e| NetlinkError::Socket {
                doing: "make an eventfd",
                source: e.into(),
            })?);
        let follower = follow::Follower::start(config, stop.clone(), stats.clone(), sink)?;
        let thread = std::thread::Builder::new()
            .name("mirror".to_owned())
            .spawn(move || follower.run())
            .map_err(|source| NetlinkError::Socket {
                doing: "start the mirror's thread",
                source,
            })?;
        Ok(Self { stop, thread: Some(thread), stats })
    }

    /// What it counted.
    pub fn stats(&self) -> &Arc<MirrorStats> {
        &self.stats
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        // An eventfd that holds a small count cannot refuse another.
        let _ = rustix::io::write(&*self.stop, &1u64.to_ne_bytes());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the mirror's thread panicked");
        }
    }
}
