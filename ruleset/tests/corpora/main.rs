//! The engine against rules that others wrote: everything is done twice with the same unmodified tools, once on the kernel's
//! nf_tables in a network namespace and once on the engine through the preload library, and must come out the same.
//!
//! It needs root (for the namespaces), `nft`, the iptables tools, and the corpora, whose folder `TWINWALL_CORPORA` names
//! (default: `../shared/corpora` beside the workspace). Where something is missing the tests say so and pass. Each prints its
//! figures and what differs, grouped by reason; `TWINWALL_CORPORA_ALL=1` prints each difference.
//! `TWINWALL_NFT` names another nft than the installed one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on panics"
)]

mod batch;
mod bogons;
mod corpus;
mod dumps;
mod extensions;
mod features;
mod ipt;
mod kept;
mod lab;
mod messages;
mod monitor;
mod real;
mod rules;
mod tally;
