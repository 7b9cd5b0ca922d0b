//! The real `conntrack` and `nfct`, unmodified, against the kernel in a namespace and against shards behind our server.
//!
//! The same commands run on both sides; what they print and how they end must be the same, but for ids and times. Needs root and
//! the tools (`make setup`); says loudly what it skips.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on panics")]

mod corpora;
mod events;
mod masked;
mod messages;
mod million;
mod mutated;
mod rig;
mod tools;
mod workers;
