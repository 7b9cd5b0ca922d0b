//! IPv4 (RFC 791; fields as of RFC 2474, RFC 3168, RFC 6864).

use zerocopy::byteorder::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Length in bytes of a header without options.
pub const LEN: usize = 20;
/// Length in bytes of the longest header.
pub const MAX_LEN: usize = 60;
/// The longest packet, header included.
pub const MAX_PACKET: usize = 65_535;
/// Bit of `fragment`: do not fragment.
pub const DONT_FRAGMENT: u16 = 0x4000;
/// Bit of `fragment`: more fragments follow.
pub const MORE_FRAGMENTS: u16 = 0x2000;
/// Bits of `fragment`: offset in units of 8 bytes.
pub const OFFSET_MASK: u16 = 0x1fff;

/// Option: end of the list (RFC 791, 3.1).
pub const OPTION_END: u8 = 0;
/// Option: nothing, one byte.
pub const OPTION_NOP: u8 = 1;
/// Option: record route.
pub const OPTION_RECORD_ROUTE: u8 = 7;
/// Option: timestamp.
pub const OPTION_TIMESTAMP: u8 = 68;
/// Option: loose source route.
pub const OPTION_LSRR: u8 = 131;
/// Option: strict source route.
pub const OPTION_SSRR: u8 = 137;
/// Option: router alert (RFC 2113).
pub const OPTION_ROUTER_ALERT: u8 = 148;
/// Bit of an option's type: it goes into every fragment.
pub const OPTION_COPIED: u8 = 0x80;

/// A header without its options.
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
pub struct Ipv4Header {
    /// Version (4 bits), header length in units of 4 bytes (4 bits).
    pub version_ihl: u8,
    /// Differentiated services (6 bits), ECN (2 bits).
    pub tos: u8,
    /// Length in bytes of header and payload.
    pub total_length: U16,
    /// Names the datagram that fragments belong to.
    pub id: U16,
    /// Flags and offset.
    pub fragment: U16,
    /// Hops left.
    pub ttl: u8,
    /// What follows.
    pub protocol: u8,
    /// Internet checksum of the header with its options.
    pub checksum: U16,
    /// Source address.
    pub src: [u8; 4],
    /// Destination address.
    pub dst: [u8; 4],
}

const _: () = assert!(size_of::<Ipv4Header>() == LEN);

impl Ipv4Header {
    /// The version: 4 in a checked packet.
    #[inline(always)]
    pub const fn version(&self) -> u8 {
        self.version_ihl >> 4
    }

    /// Length in bytes of the header, options included: 0 to 60.
    #[inline(always)]
    pub const fn header_len(&self) -> usize {
        ((self.version_ihl & 0x0f) as usize) * 4
    }

    /// True when more fragments follow.
    #[inline(always)]
    pub fn more_fragments(&self) -> bool {
        self.fragment.get() & MORE_FRAGMENTS != 0
    }

    /// True when routers must not fragment it.
    #[inline(always)]
    pub fn dont_fragment(&self) -> bool {
        self.fragment.get() & DONT_FRAGMENT != 0
    }

    /// Where the fragment's payload stands in the datagram's, in bytes.
    #[inline(always)]
    pub fn fragment_offset(&self) -> usize {
        usize::from(self.fragment.get() & OFFSET_MASK) * 8
    }
}
