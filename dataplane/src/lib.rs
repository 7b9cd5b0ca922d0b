//! The packet path: frames in, one pipeline, frames out; safe Rust that knows no device (docs/architecture.md).
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

pub mod fib;
pub mod rib;
pub mod stats;
pub mod time;
