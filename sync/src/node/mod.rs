//! A node of a cluster: what the sync thread decides.

mod config;
mod status;

pub use config::{Command, Config, Ports, Refused, Takeover};
pub use status::{Bulk, Peer, Status, Verify};
