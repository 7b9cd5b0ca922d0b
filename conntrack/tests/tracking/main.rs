//! Tracking by scripts, a line a packet, and by chance; with Linux as oracle.
//!
//! `tests/scripts/*.txt` say what becomes of each packet, as Linux 6.18 had it. [`scripts::ours`] holds us to them; where there
//! is root, [`scripts::kernel`] holds the running kernel to them, and [`random`] compares both on what no script says. [`events`]
//! compares what is told of each packet.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on panics"
)]
#![allow(clippy::indexing_slicing, reason = "bytes that these tests made themselves")]

mod alone;
mod events;
mod kernel;
mod ours;
mod packets;
mod random;
mod scripts;
