//! VLAN tags (IEEE 802.1Q, 802.1ad).

use zerocopy::byteorder::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Length in bytes that a tag adds to a frame.
pub const LEN: usize = 4;
/// The bits of a TCI that are the VLAN's id.
pub const VID_MASK: u16 = 0x0fff;

/// What follows the EtherType that announces a tag: the tag's control information, and the next EtherType.
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
pub struct VlanTag {
    /// Priority (3 bits), drop eligible (1), VLAN id (12).
    pub tci: U16,
    /// Type of what follows the tag.
    pub ethertype: U16,
}

const _: () = assert!(size_of::<VlanTag>() == LEN);

/// The VLAN's id in a TCI; 0 is a tag that carries a priority only.
#[inline(always)]
pub const fn vid(tci: u16) -> u16 {
    tci & VID_MASK
}

/// The priority code point in a TCI.
#[inline(always)]
pub const fn pcp(tci: u16) -> u8 {
    (tci >> 13) as u8
}
