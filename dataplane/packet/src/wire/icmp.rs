//! ICMP for IPv4 (RFC 792).

use zerocopy::byteorder::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Length in bytes of a header.
pub const LEN: usize = 8;
/// Where the checksum stands in the header.
pub const CHECKSUM_OFFSET: usize = 2;

/// Type: echo reply.
pub const ECHO_REPLY: u8 = 0;
/// Type: destination unreachable.
pub const UNREACHABLE: u8 = 3;
/// Type: source quench (deprecated, RFC 6633).
pub const SOURCE_QUENCH: u8 = 4;
/// Type: redirect.
pub const REDIRECT: u8 = 5;
/// Type: echo.
pub const ECHO: u8 = 8;
/// Type: time exceeded.
pub const TIME_EXCEEDED: u8 = 11;
/// Type: parameter problem.
pub const PARAMETER_PROBLEM: u8 = 12;
/// Type: timestamp.
pub const TIMESTAMP: u8 = 13;
/// Type: timestamp reply.
pub const TIMESTAMP_REPLY: u8 = 14;
/// Type: information request (deprecated, RFC 6918).
pub const INFO_REQUEST: u8 = 15;
/// Type: information reply.
pub const INFO_REPLY: u8 = 16;
/// Type: address mask request (RFC 950; deprecated, RFC 6918).
pub const MASK_REQUEST: u8 = 17;
/// Type: address mask reply.
pub const MASK_REPLY: u8 = 18;

/// Code of [`UNREACHABLE`]: network.
pub const NET_UNREACHABLE: u8 = 0;
/// Code of [`UNREACHABLE`]: host.
pub const HOST_UNREACHABLE: u8 = 1;
/// Code of [`UNREACHABLE`]: protocol.
pub const PROTOCOL_UNREACHABLE: u8 = 2;
/// Code of [`UNREACHABLE`]: port.
pub const PORT_UNREACHABLE: u8 = 3;
/// Code of [`UNREACHABLE`]: must be fragmented, may not be (RFC 1191).
pub const FRAGMENTATION_NEEDED: u8 = 4;
/// Code of [`UNREACHABLE`]: prohibited by the administrator (RFC 1812, 5.2.7.1).
pub const ADMIN_PROHIBITED: u8 = 13;
/// Code of [`TIME_EXCEEDED`]: in transit.
pub const TTL_EXCEEDED: u8 = 0;

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
pub struct IcmpHeader {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Internet checksum of the whole message.
    pub checksum: U16,
    /// By type; of a query its identifier and sequence number, of [`FRAGMENTATION_NEEDED`] zero and the MTU.
    pub rest: [U16; 2],
}

const _: () = assert!(size_of::<IcmpHeader>() == LEN);

/// True for queries and their replies: they have an identifier.
#[inline]
pub const fn has_id(kind: u8) -> bool {
    matches!(kind, ECHO_REPLY | ECHO | TIMESTAMP..=MASK_REPLY)
}

/// True for errors: they carry the start of the packet that caused them, and no error may answer them (RFC 1122, 3.2.2).
#[inline]
pub const fn is_error(kind: u8) -> bool {
    matches!(kind, UNREACHABLE..=REDIRECT | TIME_EXCEEDED | PARAMETER_PROBLEM)
}
