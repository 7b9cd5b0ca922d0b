//! One parse per packet: `parse` checks every header once and keeps offsets; what follows reads without failing.

use crate::key::FlowKey;

/// What kind of frame the destination MAC address makes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum L2Kind {
    /// One station.
    #[default]
    Unicast,
    /// A group.
    Multicast,
    /// Everyone.
    Broadcast,
}

/// The network layer that was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum L3 {
    /// Not parsed further: [`Layers::ethertype`] says what it is.
    #[default]
    Other,
    /// ARP for IPv4 over Ethernet.
    Arp,
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// The transport layer that was found and checked; [`Layers::protocol`] has its number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum L4 {
    /// No header to look at: another protocol, or a fragment that is not the first.
    #[default]
    Other,
    /// TCP.
    Tcp,
    /// UDP or UDP-Lite.
    Udp,
    /// ICMP for IPv4.
    Icmp,
    /// ICMPv6.
    Icmp6,
    /// SCTP.
    Sctp,
    /// GRE.
    Gre,
}

/// Where the packet stands in a fragmented datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FragmentPart {
    /// Not fragmented.
    #[default]
    Whole,
    /// Offset 0, more to come: it has the transport header.
    First,
    /// A later part, without transport header.
    Later,
}

/// What the parse found. Offsets count from the frame's first byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layers {
    /// The packet's tuple; for ARP and others it is all zeros.
    pub key: FlowKey,
    /// The innermost EtherType, host order.
    pub ethertype: u16,
    /// TCIs (host order) of the VLAN tags, outermost first, the one that the device stripped included.
    pub vlan: [u16; 2],
    /// How many of `vlan` are there.
    pub vlan_count: u8,
    /// Station, group or everyone.
    pub l2_kind: L2Kind,
    /// The network layer.
    pub l3: L3,
    /// The transport layer.
    pub l4: L4,
    /// Where the network header begins.
    pub l3_offset: u16,
    /// Where the transport header begins; for IPv6 after the extension headers.
    pub l4_offset: u16,
    /// Where the packet ends by its own length field; bytes behind it are padding.
    pub end: u32,
    /// The transport protocol's number (IPv6: of the last header reached).
    pub protocol: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// TOS or traffic class.
    pub tos: u8,
    /// Where the packet stands in a fragmented datagram.
    pub fragment: FragmentPart,
    /// IPv4: don't fragment.
    pub dont_fragment: bool,
    /// IPv4: options are present. IPv6: extension headers are.
    pub options: bool,
}
