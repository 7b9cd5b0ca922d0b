//! What a packet is: frames of one or more segments, one checked parse, wire headers, flow keys, checksums, drop reasons.
//!
//! This crate knows nobody: no DPDK, no clock, no socket. `dataplane` decides with it, `capsule` brings the frames.

#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

pub mod checksum;
pub mod crc32c;
pub mod drop;
pub mod frame;
pub mod io;
pub mod key;
pub mod layers;
pub mod pcap;
pub mod prefetch;
pub mod time;
pub mod toeplitz;
pub mod vec_frame;
pub mod vec_io;
pub mod wire;

pub use drop::DropReason;
pub use frame::{ChecksumStatus, Frame, FramePool, RxMeta};
pub use io::{BURST, Burst, PacketIo, PortIndex, Unsendable};
pub use key::FlowKey;
pub use layers::{FragmentPart, L2Kind, L3, L4, Layers, LinkLayer};
pub use time::Tick;
pub use toeplitz::{SymmetricToeplitz, Toeplitz};
pub use vec_frame::{VecFrame, VecPool};
pub use vec_io::VecIo;
