//! Targets of iptables, ip6tables and arptables.

use super::*;

mod mark;

/// Every target, by file.
pub(super) static REGISTRY: &[&[Extension]] = &[mark::ALL];
