//! UDP (RFC 768) and UDP-Lite (RFC 3828), which differ in what `length` means.

use zerocopy::byteorder::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Length in bytes of a header.
pub const LEN: usize = 8;
/// Where the checksum stands in the header.
pub const CHECKSUM_OFFSET: usize = 6;

/// A header.
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
pub struct UdpHeader {
    /// Source port.
    pub sport: [u8; 2],
    /// Destination port.
    pub dport: [u8; 2],
    /// UDP: length in bytes of header and payload. UDP-Lite: how many bytes the checksum covers, 0 for all.
    pub length: U16,
    /// Internet checksum with pseudo-header; 0 for none, which only UDP over IPv4 allows freely.
    pub checksum: U16,
}

const _: () = assert!(size_of::<UdpHeader>() == LEN);
