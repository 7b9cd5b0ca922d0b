//! The laboratory of the system tests and of `make demo`: network namespaces, devices, the daemon, its peers.
//!
//! A test reads like a script: it makes a [`Lab`], namespaces and links in it, starts a [`Daemon`], gives its twins addresses
//! with `ip`, and runs ping, iperf3 or curl in the namespaces. Whatever was started or made is stopped and deleted when the
//! value that stands for it is dropped, also by a panic; what a killed run left behind is swept by the next one.
//!
//! Everything needs root, and nothing touches the root namespace but `ip netns`, files under a folder of the lab's own, and
//! processes that the lab started.

mod daemon;
pub mod demo;
mod endpoint;
mod error;
pub mod flows;
mod frames;
mod lab;
pub mod pair;
mod process;
pub mod rules;
pub mod traffic;
mod trio;
mod vm;
mod wire;

pub use daemon::{Daemon, Settings};
pub use endpoint::{OpenVswitch, Testpmd};
pub use error::{LabError, Result};
pub use frames::{Sniffer, send_frames};
pub use lab::{Lab, Netns, sweep};
pub use pair::{Pair, Setup};
pub use process::{Output, Process, wait_until};
pub use trio::{Trio, addresses};
pub use vm::{kernel_has_vlan_devices, run_in_vm};
pub use wire::{Ends, PortKind, Wire};
