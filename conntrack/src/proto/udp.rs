//! UDP and UDP-Lite: unanswered, answered, and a stream, which is what is still alive two seconds after it began.

use packet::Tick;
use packet::wire::ip;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Context, Outcome};
use crate::flow::Status;

/// A flow's words.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Udp {
    /// From when on it is a stream, in nanoseconds as [`Tick`]: low half, high half.
    stream_from: [u32; 2],
    unused: [u32; 12],
}

const _: () = assert!(size_of::<Udp>() == 56);

/// How long a flow must live to be a stream, in nanoseconds.
const STREAM_AFTER: u64 = 2_000_000_000;
/// Index of the timeout of what is not a stream.
const UNREPLIED: usize = 0;
/// Index of the timeout of a stream.
const REPLIED: usize = 1;

impl Udp {
    /// Of a flow that is a stream from a moment on.
    pub const fn new(stream_from: Tick) -> Self {
        Self { stream_from: [stream_from.0 as u32, (stream_from.0 >> 32) as u32], unused: [0; 12] }
    }

    /// From when on it is a stream.
    pub const fn stream_from(&self) -> Tick {
        let [low, high] = self.stream_from;
        Tick((high as u64) << 32 | low as u64)
    }

    fn is_stream(&self, now: Tick) -> bool {
        now > self.stream_from()
    }
}

/// A datagram of a flow of `protocol` (`nf_conntrack_udp_packet`, `nf_conntrack_udplite_packet`).
#[inline]
pub fn packet(udp: &mut Udp, protocol: u8, context: &Context<'_>) -> Outcome {
    if context.begins() {
        *udp = Udp::new(Tick(context.now.0.saturating_add(STREAM_AFTER)));
    }
    if !context.answered() {
        return Outcome::renew(context.timeout(UNREPLIED));
    }
    // UDP-Lite does without the two seconds.
    let stream = protocol == ip::UDP_LITE || udp.is_stream(context.now);
    let seconds = context.timeout(if stream { REPLIED } else { UNREPLIED });
    // What a clash left over is to go soon.
    let assured = stream && !context.status.has(Status::ASSURED | Status::NAT_CLASH);
    Outcome::Accept { renew: Some(seconds), assured, changed: false }
}
