//! The simulator: whole nodes in virtual time, on a network that loses, doubles, delays, reorders, cuts and forges.
//!
//! # Overview
//!
//! ```text
//! seed -> schedule::Schedule -> world::World::run -> Outcome -> minimise (if it failed)
//!           (shape, faults)      machine::Machine: Node, and per worker Shard + Replica + rings
//!                                network, workload, wiretap; invariants looks after every step
//! ```
//!
//! All is deterministic: the same seed gives the same run, datagram by datagram, so a failing seed is all that a bug report needs.
//! Tests run ranges of seeds; `make soak` runs as many as wanted (CONTRIBUTING.md).

mod invariants;
mod machine;
mod minimise;
mod network;
mod schedule;
mod tests;
mod view;
mod wiretap;
mod workload;
mod world;
