//! Why the daemon did not start, or ended.

use crate::api::SocketError;
use crate::config::Report;
use crate::mirror::NetlinkError;
use crate::twin::TwinError;

use super::rules::LoadError;

/// Why the daemon did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The configuration is wrong; the report says where.
    #[error("{} error(s) in {}", .0.errors(), .0.source.path)]
    Config(Box<Report>),
    /// The API cannot listen.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The netlink server cannot listen.
    #[error("{0} (`socket` in [nfnetlink])")]
    Nfnetlink(nfnetlink::server::BindError),
    /// The ruleset of the configuration was not loaded.
    #[error("the ruleset was not loaded, and nothing is forwarded without it: {0}")]
    Ruleset(#[from] LoadError),
    /// The ruleset that was kept cannot be had again.
    #[error(
        "the ruleset kept in {path} cannot be restored, and nothing is forwarded without it: {why}; move the file away to begin without rules"
    )]
    Restore {
        /// The file.
        path: std::path::PathBuf,
        /// Why not.
        why: String,
    },
    /// What this node must not forget cannot be had, or kept.
    #[error(
        "the state of [ha] in {path} is of no use, and without it this node could take a term that was taken: {error}"
    )]
    HaState {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        error: super::ha::SavedError,
    },
    /// DPDK, a pool or a worker.
    #[error(transparent)]
    Dpdk(#[from] capsule::Error),
    /// A kernel twin.
    #[error("twin {0}")]
    Twin(#[from] TwinError),
    /// The kernel's tables.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The operating system.
    #[error("cannot {doing}: {error}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// Why not.
        error: std::io::Error,
    },
    /// The control thread's own machinery.
    #[error("cannot set up signals and timers: {0}")]
    Runtime(std::io::Error),
    /// A worker ended while it should run.
    #[error("a worker ended by itself; stopping, for its part of the traffic would be lost")]
    WorkerEnded,
}

impl From<Report> for DaemonError {
    fn from(report: Report) -> Self {
        Self::Config(Box::new(report))
    }
}
