//! The packet path: frames in, one pipeline, frames out; safe Rust that knows no device (docs/architecture.md).
//!
//! Start reading at [`worker::Worker::turn`], then [`pipeline::run`].
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

pub mod control;
pub mod fib;
pub mod flows;
pub mod fragment;
pub mod ha;
mod hooks;
pub mod icmp;
pub mod neigh;
pub mod notes;
mod own;
pub mod owners;
pub mod pipeline;
pub mod rewrite;
pub mod rib;
mod source;
pub mod stats;
pub mod tables;
pub mod worker;
