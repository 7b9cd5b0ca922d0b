//! The tuple that names a packet's flow, 40 bytes, in wire order.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Addresses, ports, protocol, family and zone of a packet; IPv4 addresses stand in the first four bytes, the rest zero.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct FlowKey {
    /// Source address.
    pub src: [u8; 16],
    /// Destination address.
    pub dst: [u8; 16],
    /// Source port, or ICMP identifier; zero where there is none.
    pub sport: [u8; 2],
    /// Destination port, or ICMP type and code; zero where there is none.
    pub dport: [u8; 2],
    /// IP protocol number.
    pub protocol: u8,
    /// 4, 6, or 0 for what is not IP.
    pub family: u8,
    /// Conntrack zone.
    pub zone: [u8; 2],
}

const _: () = assert!(size_of::<FlowKey>() == 40);
