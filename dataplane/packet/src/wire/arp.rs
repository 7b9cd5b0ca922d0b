//! ARP for IPv4 over Ethernet (RFC 826).

use zerocopy::byteorder::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Hardware type of Ethernet (IANA, arp-parameters).
pub const HTYPE_ETHERNET: u16 = 1;
/// Operation: who has the target address?
pub const REQUEST: u16 = 1;
/// Operation: the sender has it.
pub const REPLY: u16 = 2;
/// Length in bytes of a message for IPv4 over Ethernet.
pub const LEN: usize = 28;

/// The part of a message that says what kinds of addresses it is for.
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
pub struct ArpHead {
    /// Hardware type: [`HTYPE_ETHERNET`].
    pub htype: U16,
    /// Protocol type: an EtherType.
    pub ptype: U16,
    /// Bytes in a hardware address.
    pub hlen: u8,
    /// Bytes in a protocol address.
    pub plen: u8,
    /// Operation.
    pub operation: U16,
}

const _: () = assert!(size_of::<ArpHead>() == 8);

impl ArpHead {
    /// True when the addresses are those of IPv4 over Ethernet.
    pub fn is_ipv4_over_ethernet(&self) -> bool {
        self.htype.get() == HTYPE_ETHERNET
            && self.ptype.get() == super::ethernet::IPV4
            && self.hlen == 6
            && self.plen == 4
    }
}

/// A message for IPv4 over Ethernet.
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
pub struct ArpPacket {
    /// Kinds of addresses, and operation.
    pub head: ArpHead,
    /// Sender's hardware address.
    pub sender_mac: [u8; 6],
    /// Sender's protocol address.
    pub sender_ip: [u8; 4],
    /// Target's hardware address.
    pub target_mac: [u8; 6],
    /// Target's protocol address.
    pub target_ip: [u8; 4],
}

const _: () = assert!(size_of::<ArpPacket>() == LEN);
