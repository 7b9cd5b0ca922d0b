//! SCTP (RFC 9260).

use zerocopy::byteorder::network_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Length in bytes of the common header.
pub const LEN: usize = 12;

/// The common header.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(C)]
pub struct SctpHeader {
    /// Source port.
    pub sport: [u8; 2],
    /// Destination port.
    pub dport: [u8; 2],
    /// Verification tag.
    pub tag: U32,
    /// CRC32c of the packet (RFC 9260, appendix A).
    pub checksum: U32,
}

const _: () = assert!(size_of::<SctpHeader>() == LEN);
