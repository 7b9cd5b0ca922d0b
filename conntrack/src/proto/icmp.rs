//! ICMP queries: what asks begins a flow, what answers is of it. Errors are [`error`](crate::error)'s.

use packet::wire::icmp;

use super::{Context, Outcome};

/// Whether a message of this type may begin a flow (`nf_conntrack_icmp_packet`).
#[inline]
pub const fn is_query(kind: u8) -> bool {
    matches!(kind, icmp::ECHO | icmp::TIMESTAMP | icmp::INFO_REQUEST | icmp::MASK_REQUEST)
}

/// The largest type that was ever assigned a meaning that Linux knows (`NR_ICMP_TYPES`); larger ones are invalid.
pub const LAST_TYPE: u8 = icmp::MASK_REPLY;

/// A message of type `kind` that is no error. The flow stays after its answer: answers may come twice.
#[inline]
pub fn packet(kind: u8, context: &Context<'_>) -> Outcome {
    if context.begins() && !is_query(kind) {
        return Outcome::Invalid;
    }
    Outcome::renew(context.timeout(0))
}
