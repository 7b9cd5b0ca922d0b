//! Ethernet II (IEEE 802.3, RFC 894).

use zerocopy::byteorder::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// EtherType of IPv4 (IANA, ieee-802-numbers).
pub const IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ARP: u16 = 0x0806;
/// EtherType of an 802.1Q tag.
pub const VLAN: u16 = 0x8100;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;
/// EtherType of an 802.1ad service tag.
pub const QINQ: u16 = 0x88a8;
/// EtherType that older equipment gives the outer of two tags.
pub const QINQ_OLD: u16 = 0x9100;
/// Values under this are not types but lengths (IEEE 802.3, 3.2.6).
pub const FIRST_TYPE: u16 = 0x0600;

/// Length in bytes of a header.
pub const LEN: usize = 14;
/// The address of everyone.
pub const BROADCAST: [u8; 6] = [0xff; 6];

/// An Ethernet header, without FCS.
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
pub struct EthernetHeader {
    /// Destination address.
    pub dst: [u8; 6],
    /// Source address.
    pub src: [u8; 6],
    /// Type of what follows, or its length.
    pub ethertype: U16,
}

const _: () = assert!(size_of::<EthernetHeader>() == LEN);

/// True for the address of a group, everyone included.
#[inline(always)]
pub const fn is_group(mac: [u8; 6]) -> bool {
    mac[0] & 1 != 0
}

/// True for EtherTypes that announce a VLAN tag.
#[inline(always)]
pub const fn is_vlan(ethertype: u16) -> bool {
    matches!(ethertype, VLAN | QINQ | QINQ_OLD)
}
