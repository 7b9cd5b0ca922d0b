//! State replication between nodes: versions of state, repaired by re-sending the latest (docs/architecture.md).
//!
//! # Overview
//!
//! ```text
//! a worker's dirty flows -> worker::Replica -> ring -> node::Node (lane, member, owner) -> hands::Hands -> datagrams
//! datagrams -> Node -> ring -> worker::Replica -> the peer's flow table
//! ```
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

pub mod bell;
pub mod hands;
pub mod ids;
pub mod lane;
pub mod link;
#[allow(dead_code, reason = "the places that it breaks come one by one")]
mod mutation;
pub mod node;
pub mod records;
pub mod ring;
pub mod seal;
#[cfg(test)]
mod sim;
pub mod standing;
pub mod wire;
pub mod worker;

#[allow(unused_imports, reason = "likewise")]
pub(crate) use mutation::{Mutation, mutated};
