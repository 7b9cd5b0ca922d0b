//! The table engine: tables, chains, sets and expressions, transactions over them, and the program that
//! workers run for each packet (docs/architecture.md).
//!
//! # Overview
//!
//! Netlink messages → a batch over a copy of the [`State`](model::State) → commit → a [`Program`](program::Program) for
//! the workers, which [`reference::run`] runs for each packet at each hook. Expressions live in [`expr`], one in a file.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

#[cfg(test)]
extern crate self as ruleset;

pub use nfnetlink;

pub mod counters;
pub mod data;
pub mod expr;
pub mod family;
pub mod ids;
pub mod model;
pub mod nft;
pub mod object;
pub mod packet;
pub mod program;
pub mod reference;
pub mod regs;
pub mod schema;
mod sums;
pub mod tally;
pub mod trace;
pub mod verdict;
pub mod xt;
