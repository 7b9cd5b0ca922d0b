//! Network address translation over `conntrack`'s flows: binding and rewriting (docs/nat.md).
//!
//! # Overview
//!
//! ```text
//! a flow's first packet    bind: which reply tuple; it is not in the table yet, so that can be chosen
//! every packet             rewrite: headers become what the inverse of the other direction's key says
//! an ICMP error            rewrite_error: its own addresses, and the packet that it quotes
//! an address is gone       Sweep: the flows that were masqueraded behind it end
//! ```
//!
//! A translation is nothing but the difference between a flow's two keys, as in Linux (nf_nat_core.c, nf_nat_proto.c): there is
//! no other state, and nothing to give back when a flow ends. A port is free where no flow of this worker's shard has the
//! reply tuple.
//!
//! # Who may touch what
//!
//! All runs on the worker that owns the shard.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod address;
mod bind;
mod error;
mod masquerade;
mod numbers;
mod range;
mod reuse;
mod rewrite;
mod sources;

pub use bind::{Bound, Exhausted, Pick, bind, is_done};
pub use error::{is_error, rewrite_error};
pub use masquerade::{Masquerades, Sweep};
pub use numbers::Numbers;
pub use range::{Flags, Manip, Range};
pub use rewrite::{Sides, rewrite};
pub use sources::Sources;
