//! One parse per packet: [`parse`] checks every header once and keeps offsets; what follows reads without failing.
//!
//! # Overview
//!
//! The parser reads headers and nothing else: no payload byte is touched. It is written once over a small private trait and
//! compiled twice: for plain packets whose headers lie in the head segment, and for everything, across segments.
//!
//! Routed ports drop what [`parse`] refuses, with the reason it gives. Transparent ports forward even what is malformed
//! beyond layer 2, and ask only [`parse_l2`].

use arrayvec::ArrayVec;

use crate::drop::DropReason;
use crate::frame::{Frame, RxMeta};
use crate::key::FlowKey;
use crate::wire::{self, ethernet, vlan};

mod ip4;
mod ip6;
mod lenient;
mod link;
mod plain;
mod source;
mod transport;

pub use ip6::MAX_EXTENSIONS;
pub use link::{LinkLayer, padded};

use source::{NOT_PLAIN, Plain, Source, Whole};
use transport::Transport;

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
    /// The destination MAC address and two zeros: eight bytes are compared as one number.
    pub dst_mac: [u8; 8],
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

/// Reads the Ethernet header and up to two VLAN tags, and nothing behind them.
///
/// # Errors
///
/// The frame ends inside its Ethernet header or a tag.
#[inline]
pub fn parse_l2<F: Frame>(frame: &F) -> Result<LinkLayer, DropReason> {
    link::link(Whole(frame), frame.rx_meta().vlan_tci)
}

/// Checks every header of a frame once.
///
/// Bytes behind the network packet's own length are padding, which [`Layers::end`] excludes. An EtherType that is not known
/// is no error: [`L3::Other`].
///
/// # Errors
///
/// Why the packet must be dropped by a router: a header that is cut off, inconsistent or forbidden, an address that cannot be
/// on a wire, a checksum that the device found wrong, or an IPv4 header checksum that is.
#[inline(always)]
pub fn parse<F: Frame>(frame: &F) -> Result<Layers, DropReason> {
    let mut layers = Layers::default();
    parse_into(frame, &mut layers)?;
    Ok(layers)
}

/// As [`parse`], into a place that the caller has ready, so that nothing is copied; unspecified after an error.
///
/// # Errors
///
/// As [`parse`].
#[inline(always)]
pub fn parse_into<F: Frame>(frame: &F, layers: &mut Layers) -> Result<(), DropReason> {
    if plain::plain4(frame.head(), frame.len(), frame.rx_meta(), layers) {
        return Ok(());
    }
    parse_rest(frame, layers)
}

/// IPv6 has its plain way too; whatever is left takes the whole.
#[inline(never)]
fn parse_rest<F: Frame>(frame: &F, layers: &mut Layers) -> Result<(), DropReason> {
    *layers = match parse_from(Plain(frame.head()), frame.len(), frame.rx_meta()) {
        Ok(found) => found,
        Err(_) => parse_whole(frame)?,
    };
    Ok(())
}

#[inline(never)]
fn parse_whole<F: Frame>(frame: &F) -> Result<Layers, DropReason> {
    parse_from(Whole(frame), frame.len(), frame.rx_meta())
}

/// What a network header says; the parts of [`Layers`] that both families fill.
struct Network {
    l3: L3,
    /// Addresses as in [`FlowKey`], read little-endian: one number is kept in registers, sixteen bytes are not.
    src: u128,
    dst: u128,
    protocol: u8,
    ttl: u8,
    tos: u8,
    dont_fragment: bool,
    options: bool,
    fragment: FragmentPart,
    l4_offset: usize,
    end: usize,
}

#[inline(always)]
fn parse_from<S: Source>(source: S, len: usize, meta: RxMeta) -> Result<Layers, DropReason> {
    if S::PLAIN {
        let header: wire::EthernetHeader = source.get(0).ok_or(NOT_PLAIN)?;
        let l2 = link::untagged(&header);
        return match l2.ethertype {
            _ if meta.vlan_tci.is_some() => Err(NOT_PLAIN),
            ethernet::IPV6 => ip6::ipv6(source, l2, len, meta),
            _ => Err(NOT_PLAIN),
        };
    }
    let l2 = link::link(source, meta.vlan_tci)?;
    let at = usize::from(l2.l3_offset);
    match l2.ethertype {
        ethernet::IPV4 => ip4::ipv4(source, l2, len, meta),
        ethernet::IPV6 => ip6::ipv6(source, l2, len, meta),
        ethernet::ARP => {
            link::arp(source, at, len)?;
            Ok(Layers { l3: L3::Arp, ..not_ip(l2, at + wire::arp::LEN) })
        }
        other if ethernet::is_vlan(other) => Err(DropReason::VlanTooDeep),
        _ => Ok(not_ip(l2, len)),
    }
}

/// Puts together what the three layers said.
#[inline(always)]
fn layers(l2: LinkLayer, network: &Network, transport: Transport) -> Layers {
    Layers {
        key: FlowKey {
            src: network.src.to_le_bytes(),
            dst: network.dst.to_le_bytes(),
            sport: transport.sport.to_le_bytes(),
            dport: transport.dport.to_le_bytes(),
            protocol: network.protocol,
            family: if network.l3 == L3::Ipv4 { 4 } else { 6 },
            zone: [0; 2],
        },
        ethertype: l2.ethertype,
        vlan: l2.vlan,
        vlan_count: l2.vlan_count,
        l2_kind: l2.kind,
        dst_mac: l2.dst_mac,
        l3: network.l3,
        l4: transport.l4,
        l3_offset: l2.l3_offset,
        l4_offset: network.l4_offset as u16,
        end: network.end as u32,
        protocol: network.protocol,
        ttl: network.ttl,
        tos: network.tos,
        fragment: network.fragment,
        dont_fragment: network.dont_fragment,
        options: network.options,
    }
}

fn not_ip(l2: LinkLayer, end: usize) -> Layers {
    Layers {
        ethertype: l2.ethertype,
        vlan: l2.vlan,
        vlan_count: l2.vlan_count,
        l2_kind: l2.kind,
        dst_mac: l2.dst_mac,
        l3_offset: l2.l3_offset,
        l4_offset: l2.l3_offset,
        end: end as u32,
        ..Layers::default()
    }
}

impl Layers {
    /// Nothing found yet, as [`Default`] has it.
    pub const NONE: Self = Self {
        key: FlowKey {
            src: [0; 16],
            dst: [0; 16],
            sport: [0; 2],
            dport: [0; 2],
            protocol: 0,
            family: 0,
            zone: [0; 2],
        },
        ethertype: 0,
        vlan: [0; 2],
        vlan_count: 0,
        l2_kind: L2Kind::Unicast,
        dst_mac: [0; 8],
        l3: L3::Other,
        l4: L4::Other,
        l3_offset: 0,
        l4_offset: 0,
        end: 0,
        protocol: 0,
        ttl: 0,
        tos: 0,
        fragment: FragmentPart::Whole,
        dont_fragment: false,
        options: false,
    };

    /// The same of a frame that lost `n` bytes in front, or none where the headers begin within those.
    pub fn without_front(mut self, n: u16) -> Option<Self> {
        self.l3_offset = self.l3_offset.checked_sub(n)?;
        self.l4_offset = self.l4_offset.checked_sub(n)?;
        self.end = self.end.checked_sub(u32::from(n))?;
        Some(self)
    }

    /// The same of a frame that got `n` bytes in front.
    #[must_use]
    pub fn with_front(mut self, n: u16) -> Self {
        self.l3_offset = self.l3_offset.saturating_add(n);
        self.l4_offset = self.l4_offset.saturating_add(n);
        self.end = self.end.saturating_add(u32::from(n));
        self
    }

    /// What is known of a frame whatever is in it: all that the parse finds, or as much of the
    /// link and network layers as holds together.
    pub fn of<F: Frame>(frame: &F) -> Self {
        let mut layers = Self::default();
        if parse_into(frame, &mut layers).is_ok() {
            return layers;
        }
        match parse_l2(frame) {
            Ok(l2) => lenient::lenient(frame, l2),
            Err(_) => Self { end: frame.len() as u32, ..Self::default() },
        }
    }
}

/// Headers of a frame that was parsed. None fails: of a frame that was not, or was cut since, the bytes that are not there
/// read as zeros.
impl Layers {
    /// The VLANs' ids, outermost first; tags that carry only a priority (id 0) are none.
    pub fn vlan_ids(&self) -> ArrayVec<u16, 2> {
        let tags = self.vlan.iter().take(usize::from(self.vlan_count));
        tags.map(|tci| vlan::vid(*tci)).filter(|id| *id != 0).collect()
    }

    /// The Ethernet header.
    pub fn ethernet<F: Frame>(&self, frame: &F) -> wire::EthernetHeader {
        header(frame, 0)
    }

    /// The ARP message, where `l3` is [`L3::Arp`].
    pub fn arp<F: Frame>(&self, frame: &F) -> wire::ArpPacket {
        header(frame, self.l3_offset)
    }

    /// The IPv4 header, where `l3` is [`L3::Ipv4`].
    #[inline]
    pub fn ipv4<F: Frame>(&self, frame: &F) -> wire::Ipv4Header {
        header(frame, self.l3_offset)
    }

    /// The IPv6 header, where `l3` is [`L3::Ipv6`].
    #[inline]
    pub fn ipv6<F: Frame>(&self, frame: &F) -> wire::Ipv6Header {
        header(frame, self.l3_offset)
    }

    /// The TCP header, where `l4` is [`L4::Tcp`].
    #[inline]
    pub fn tcp<F: Frame>(&self, frame: &F) -> wire::TcpHeader {
        header(frame, self.l4_offset)
    }

    /// The UDP header, where `l4` is [`L4::Udp`].
    #[inline]
    pub fn udp<F: Frame>(&self, frame: &F) -> wire::UdpHeader {
        header(frame, self.l4_offset)
    }

    /// The ICMP header, where `l4` is [`L4::Icmp`].
    #[inline]
    pub fn icmp<F: Frame>(&self, frame: &F) -> wire::IcmpHeader {
        header(frame, self.l4_offset)
    }

    /// The ICMPv6 header, where `l4` is [`L4::Icmp6`].
    #[inline]
    pub fn icmp6<F: Frame>(&self, frame: &F) -> wire::Icmp6Header {
        header(frame, self.l4_offset)
    }

    /// The SCTP common header, where `l4` is [`L4::Sctp`].
    #[inline]
    pub fn sctp<F: Frame>(&self, frame: &F) -> wire::SctpHeader {
        header(frame, self.l4_offset)
    }

    /// The GRE header, where `l4` is [`L4::Gre`].
    #[inline]
    pub fn gre<F: Frame>(&self, frame: &F) -> wire::GreHeader {
        header(frame, self.l4_offset)
    }
}

#[inline(always)]
fn header<T: wire::Header, F: Frame>(frame: &F, offset: u16) -> T {
    wire::read(frame, usize::from(offset)).unwrap_or_else(T::new_zeroed)
}
