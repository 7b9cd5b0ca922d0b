//! DPDK ports, queues, mbufs and pinned workers, for a pipeline that knows only `packet`'s traits.
//!
//! # Overview
//!
//! [`Eal`] starts DPDK once per process; [`MbufPools`] hold one mempool per socket; [`Port`] opens a device by its string;
//! [`PortIo`] is one worker's queues on every port and implements [`packet::PacketIo`]; [`Runtime`] runs the workers.
//! The words (Mbuf, PortQueue, PacketRx, PacketTx, Runtime, Disposition) are those of the capsule framework; the code is ours.
//!
//! # Life cycle
//!
//! `Eal::start` → `MbufPools::new` → `Port::open` → `Port::start` → `PortIo::for_workers` → `Runtime::spawn`; and back:
//! `Runtime::stop` → drop the `PortIo`s → `Port::stop` → drop. What is dropped too early stays alive behind an `Arc` until
//! the last user is gone: EAL is cleaned up last.
//!
//! # Who may touch what
//!
//! A `PortIo` and its frames belong to one worker. Ports, pools' counters and link state may be read by any thread.
//! A process that uses this crate must ignore SIGPIPE ([`Eal::start`] does it): a peer's death on a vhost-user socket would
//! end it otherwise.

#![allow(unsafe_code)]
#![deny(unsafe_op_in_unsafe_fn)]
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod affinity;
mod eal;
mod error;
mod hugepages;
mod io;
mod log;
mod mbuf;
mod pool;
mod port;
mod queue;
mod runtime;
mod thread;

pub use eal::{Eal, EalConfig, Hugepages, LogLevel};
pub use error::{Error, Result};
pub use hugepages::HugepageSize;
pub use io::PortIo;
pub use mbuf::{Mbuf, Segments};
pub use pool::{MbufPool, MbufPools};
pub use port::{
    Capabilities, Device, Link, Offload, Port, PortConfig, PortStats, RssKey, SoftwareTx,
};
pub use queue::{Disposition, PacketRx, PacketTx, PortQueue, forward_burst};
pub use runtime::{IdlePolicy, Runtime, WorkerStats};
pub use thread::RegisteredThread;
