//! Connection tracking: one shard per worker, owned by it alone, with time as an argument (docs/conntrack.md).
//!
//! # Overview
//!
//! ```text
//! Shard::find ------> track::packet ----> the pipeline (rules, NAT) ----> Shard::confirm
//!   index, slab         proto::*, one file a protocol                       index, timing wheel
//! ```
//!
//! A flow is one record ([`flow::Flow`]) with two keys; which key matched is the packet's direction, and NAT is the
//! difference between the two. Whatever changes in a record that others may want to know of goes through
//! [`Shard`]'s methods, which note an event.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

pub mod error;
pub mod event;
pub mod flow;
pub mod fragments;
pub mod netlink;
pub mod proto;
pub mod settings;
pub mod shard;
pub mod snapshot;
pub mod track;
pub mod tuple;

pub use event::Event;
pub use flow::{Direction, Flow, Info, Slot, Status};
pub use settings::Settings;
pub use shard::{Clash, Config, Full, Guess, Hash, Shard, Stats};
pub use snapshot::Snapshot;
