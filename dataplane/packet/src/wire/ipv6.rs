//! IPv6 and its extension headers (RFC 8200).

use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::ip;

/// Length in bytes of the fixed header.
pub const LEN: usize = 40;
/// Length in bytes of a fragment header, and the least of any extension header.
pub const EXT_LEN: usize = 8;
/// The smallest MTU that links have (RFC 8200, 5).
pub const MIN_MTU: usize = 1280;
/// Routing header type 0, forbidden (RFC 5095).
pub const ROUTING_TYPE_0: u8 = 0;

/// The fixed header.
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
pub struct Ipv6Header {
    /// Version (4 bits), traffic class (8), flow label (20).
    pub version_class_flow: U32,
    /// Length in bytes of what follows this header.
    pub payload_length: U16,
    /// What follows.
    pub next_header: u8,
    /// Hops left.
    pub hop_limit: u8,
    /// Source address.
    pub src: [u8; 16],
    /// Destination address.
    pub dst: [u8; 16],
}

const _: () = assert!(size_of::<Ipv6Header>() == LEN);

impl Ipv6Header {
    /// The version: 6 in a checked packet.
    #[inline(always)]
    pub fn version(&self) -> u8 {
        (self.version_class_flow.get() >> 28) as u8
    }

    /// The traffic class: differentiated services (6 bits), ECN (2 bits).
    #[inline(always)]
    pub fn traffic_class(&self) -> u8 {
        (self.version_class_flow.get() >> 20) as u8
    }

    /// The flow label (RFC 6437).
    #[inline(always)]
    pub fn flow_label(&self) -> u32 {
        self.version_class_flow.get() & 0x000f_ffff
    }
}

/// The first bytes of an extension header; its meaning hangs on the number that announced it.
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
pub struct Ipv6ExtHeader {
    /// What follows.
    pub next_header: u8,
    /// Length in units of 8 bytes, less one; of AH in units of 4 bytes, less two; of the fragment header nothing.
    pub length: u8,
    /// The rest; of a routing header the first byte is its type, the second the segments left.
    pub data: [u8; 6],
}

const _: () = assert!(size_of::<Ipv6ExtHeader>() == EXT_LEN);

impl Ipv6ExtHeader {
    /// Length in bytes of the header when `number` announced it.
    pub const fn size(&self, number: u8) -> usize {
        match number {
            ip::FRAGMENT => EXT_LEN,
            ip::AH => (self.length as usize + 2) * 4,
            _ => (self.length as usize + 1) * 8,
        }
    }

    /// The type of a routing header.
    pub const fn routing_type(&self) -> u8 {
        self.data[0]
    }
}

/// The fragment header (RFC 8200, 4.5).
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
pub struct Ipv6FragmentHeader {
    /// What the fragmentable part begins with.
    pub next_header: u8,
    /// Zero.
    pub reserved: u8,
    /// Offset in units of 8 bytes (13 bits), reserved (2), more fragments (1).
    pub offset_flags: U16,
    /// Names the packet that fragments belong to.
    pub id: U32,
}

const _: () = assert!(size_of::<Ipv6FragmentHeader>() == EXT_LEN);

impl Ipv6FragmentHeader {
    /// Where the fragment stands in the fragmentable part, in bytes.
    pub fn offset(&self) -> usize {
        usize::from(self.offset_flags.get() & 0xfff8)
    }

    /// True when more fragments follow.
    pub fn more_fragments(&self) -> bool {
        self.offset_flags.get() & 1 != 0
    }
}

/// True for the numbers of extension headers that have a length of their own and are followed by another header.
#[inline(always)]
pub const fn is_extension(number: u8) -> bool {
    matches!(
        number,
        ip::HOP_BY_HOP
            | ip::ROUTING
            | ip::FRAGMENT
            | ip::AH
            | ip::DEST_OPTIONS
            | ip::MOBILITY
            | ip::HIP
            | ip::SHIM6
    )
}
