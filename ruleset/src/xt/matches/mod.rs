//! Matches of iptables and ip6tables.

use super::*;

mod comment;
mod tcp;
mod udp;

/// Every match, by file.
pub(super) static REGISTRY: &[&[Extension]] = &[comment::ALL, tcp::ALL, udp::ALL];
