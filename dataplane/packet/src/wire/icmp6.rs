//! ICMPv6 (RFC 4443), and the types of neighbour discovery (RFC 4861) and multicast listeners (RFC 3810).

use zerocopy::byteorder::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Length in bytes of a header with the four bytes that every defined message has behind it.
pub const LEN: usize = 8;
/// Where the checksum stands in the header.
pub const CHECKSUM_OFFSET: usize = 2;

/// Type: destination unreachable.
pub const UNREACHABLE: u8 = 1;
/// Type: packet too big.
pub const PACKET_TOO_BIG: u8 = 2;
/// Type: time exceeded.
pub const TIME_EXCEEDED: u8 = 3;
/// Type: parameter problem.
pub const PARAMETER_PROBLEM: u8 = 4;
/// Types under this are errors.
pub const FIRST_INFORMATIONAL: u8 = 128;
/// Type: echo request.
pub const ECHO_REQUEST: u8 = 128;
/// Type: echo reply.
pub const ECHO_REPLY: u8 = 129;
/// Type: multicast listener query.
pub const MLD_QUERY: u8 = 130;
/// Type: multicast listener report, version 1.
pub const MLD_REPORT: u8 = 131;
/// Type: multicast listener done.
pub const MLD_DONE: u8 = 132;
/// Type: router solicitation.
pub const ROUTER_SOLICITATION: u8 = 133;
/// Type: router advertisement.
pub const ROUTER_ADVERTISEMENT: u8 = 134;
/// Type: neighbour solicitation.
pub const NEIGHBOUR_SOLICITATION: u8 = 135;
/// Type: neighbour advertisement.
pub const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// Type: redirect.
pub const REDIRECT: u8 = 137;
/// Type: node information query (RFC 4620).
pub const NODE_QUERY: u8 = 139;
/// Type: node information reply.
pub const NODE_REPLY: u8 = 140;
/// Type: multicast listener report, version 2.
pub const MLD2_REPORT: u8 = 143;
/// Type: multicast router advertisement (RFC 4286).
pub const ROUTER_DISCOVERY_ADVERTISEMENT: u8 = 151;
/// Type: multicast router solicitation.
pub const ROUTER_DISCOVERY_SOLICITATION: u8 = 152;

/// Code of [`UNREACHABLE`]: no route.
pub const NO_ROUTE: u8 = 0;
/// Code of [`UNREACHABLE`]: prohibited by the administrator.
pub const ADMIN_PROHIBITED: u8 = 1;
/// Code of [`UNREACHABLE`]: the address would leave its scope.
pub const BEYOND_SCOPE: u8 = 2;
/// Code of [`UNREACHABLE`]: address.
pub const ADDRESS_UNREACHABLE: u8 = 3;
/// Code of [`UNREACHABLE`]: port.
pub const PORT_UNREACHABLE: u8 = 4;
/// Code of [`UNREACHABLE`]: the route rejects it.
pub const REJECT_ROUTE: u8 = 6;
/// Code of [`TIME_EXCEEDED`]: in transit.
pub const HOP_LIMIT_EXCEEDED: u8 = 0;

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
pub struct Icmp6Header {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Internet checksum of the whole message with pseudo-header.
    pub checksum: U16,
    /// By type; of an echo its identifier and sequence number, of [`PACKET_TOO_BIG`] the MTU in 32 bits.
    pub rest: [U16; 2],
}

const _: () = assert!(size_of::<Icmp6Header>() == LEN);

/// True for echoes and node queries, and their replies: they have an identifier, or a number that is the same in both.
#[inline]
pub const fn has_id(kind: u8) -> bool {
    matches!(kind, ECHO_REQUEST | ECHO_REPLY | NODE_QUERY | NODE_REPLY)
}

/// True for errors: no error may answer them (RFC 4443, 2.4).
#[inline]
pub const fn is_error(kind: u8) -> bool {
    kind < FIRST_INFORMATIONAL
}
