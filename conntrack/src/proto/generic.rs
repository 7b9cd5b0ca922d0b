//! Protocols that we know nothing of: addresses and a timeout.

use super::{Context, Outcome};

/// Any packet will do (`generic_packet`).
#[inline]
pub fn packet(context: &Context<'_>) -> Outcome {
    Outcome::renew(context.timeout(0))
}
