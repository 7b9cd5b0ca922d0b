//! GRE: unanswered, and a stream, as it was agreed when the flow began.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Context, Outcome};
use crate::flow::Status;

/// A flow's words. A helper may know better how long a call lasts, so each flow has its own.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Gre {
    /// Timeout while it is unanswered, in seconds.
    pub timeout: u32,
    /// Timeout from then on, in seconds.
    pub stream_timeout: u32,
    unused: [u32; 12],
}

const _: () = assert!(size_of::<Gre>() == 56);

impl Gre {
    /// With these timeouts.
    pub const fn new(timeout: u32, stream_timeout: u32) -> Self {
        Self { timeout, stream_timeout, unused: [0; 12] }
    }
}

/// A packet of a flow (`nf_conntrack_gre_packet`).
#[inline]
pub fn packet(gre: &mut Gre, context: &Context<'_>) -> Outcome {
    if context.begins() {
        (gre.timeout, gre.stream_timeout) = (context.timeout(0), context.timeout(1));
    }
    if !context.answered() {
        return Outcome::renew(gre.timeout);
    }
    let assured = !context.status.has(Status::ASSURED);
    Outcome::Accept { renew: Some(gre.stream_timeout), assured, changed: false }
}
