//! ICMPv6 queries, and what of ICMPv6 is not tracked. Errors are [`error`](crate::error)'s.

use packet::wire::icmp6;

use super::{Context, Outcome};

/// Whether a message of this type may begin a flow (`nf_conntrack_icmpv6_packet`).
#[inline]
pub const fn is_query(kind: u8) -> bool {
    matches!(kind, icmp6::ECHO_REQUEST | icmp6::NODE_QUERY)
}

/// Whether messages of this type are not tracked: neighbour discovery, multicast listeners, multicast routers; they are of the
/// link (`noct_valid_new`). Redirects are not among them: they are invalid.
#[inline]
pub const fn is_untracked(kind: u8) -> bool {
    matches!(
        kind,
        icmp6::MLD_QUERY
            ..=icmp6::NEIGHBOUR_ADVERTISEMENT
                | icmp6::MLD2_REPORT
                | icmp6::ROUTER_DISCOVERY_ADVERTISEMENT
                | icmp6::ROUTER_DISCOVERY_SOLICITATION
    )
}

/// A message of type `kind` that is tracked and is no error.
#[inline]
pub fn packet(kind: u8, context: &Context<'_>) -> Outcome {
    if context.begins() && !is_query(kind) {
        return Outcome::Invalid;
    }
    Outcome::renew(context.timeout(0))
}
