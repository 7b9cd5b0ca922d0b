//! What a flow's translation changes in a packet's headers, checksums included.
//!
//! A packet leaves looking like the inverse of what the other direction's packets look like when they arrive. Checksums are
//! updated by what changed (RFC 1624), so no payload is read, a wrong checksum stays wrong, and fragments need not be put
//! together.

use conntrack::{Direction, Flow, Status};
use packet::checksum::Delta;
use packet::wire::{
    self, Icmp6Header, IcmpHeader, Ipv4Header, Ipv6Header, SctpHeader, TcpHeader, UdpHeader, icmp,
    icmp6, ipv4, tcp,
};
use packet::{DropReason, FlowKey, FragmentPart, Frame, L3, L4, Layers, crc32c};
use zerocopy::byteorder::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Which ends of a packet are to change: Linux changes the destination before it routes a packet, the source after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Sides {
    /// Source address and port.
    Source = 1,
    /// Destination address and port.
    Destination = 2,
    /// Both, of a packet of which it is known that it will pass both places.
    Both = 3,
}

impl Sides {
    /// Whether the source is among them.
    #[inline(always)]
    pub const fn source(self) -> bool {
        self as u8 & 1 != 0
    }

    /// Whether the destination is.
    #[inline(always)]
    pub const fn destination(self) -> bool {
        self as u8 & 2 != 0
    }

    /// Those that a flow with this status has translated of packets of this direction: what is the source of one direction is
    /// the destination of the other (nf_nat_packet).
    #[inline(always)]
    pub(crate) const fn translated(self, status: Status, direction: Direction) -> Option<Self> {
        let (source, destination) = match direction {
            Direction::Original => (Status::SRC_NAT, Status::DST_NAT),
            Direction::Reply => (Status::DST_NAT, Status::SRC_NAT),
        };
        let source = self.source() && status.has(source);
        let destination = self.destination() && status.has(destination);
        match (source, destination) {
            (true, true) => Some(Self::Both),
            (true, false) => Some(Self::Source),
            (false, true) => Some(Self::Destination),
            (false, false) => None,
        }
    }
}

/// An IPv4 address as it stands in a key.
#[inline(always)]
pub(crate) fn v4(address: &[u8; 16]) -> [u8; 4] {
    address.first_chunk().copied().unwrap_or_default()
}

/// What a packet's ends become.
pub(crate) struct Ends<'a> {
    pub(crate) src: Option<(&'a [u8; 16], [u8; 2])>,
    pub(crate) dst: Option<(&'a [u8; 16], [u8; 2])>,
    /// Of an ICMP query, whichever end changes.
    pub(crate) id: [u8; 2],
}

impl<'a> Ends<'a> {
    /// The inverse of what packets of the other direction look like (`nf_ct_invert_tuple`).
    #[inline(always)]
    fn back_from(there: &'a FlowKey, sides: Sides) -> Self {
        Self {
            src: sides.source().then_some((&there.dst, there.dport)),
            dst: sides.destination().then_some((&there.src, there.sport)),
            id: there.sport,
        }
    }

    /// Changes addresses, and says what that adds to the checksums over them.
    #[inline(always)]
    pub(crate) fn ipv4(&self, header: &mut Ipv4Header) -> Delta {
        let mut delta = Delta::NONE;
        if let Some((new, _)) = self.src {
            delta = delta.u32(header.src, v4(new));
            header.src = v4(new);
        }
        if let Some((new, _)) = self.dst {
            delta = delta.u32(header.dst, v4(new));
            header.dst = v4(new);
        }
        header.checksum = delta.apply(header.checksum);
        delta
    }

    /// As [`ipv4`](Self::ipv4).
    #[inline(always)]
    pub(crate) fn ipv6(&self, header: &mut Ipv6Header) -> Delta {
        let mut delta = Delta::NONE;
        if let Some((new, _)) = self.src {
            delta = delta.u128(header.src, *new);
            header.src = *new;
        }
        if let Some((new, _)) = self.dst {
            delta = delta.u128(header.dst, *new);
            header.dst = *new;
        }
        delta
    }

    /// Changes ports, and says what that adds to checksums over them.
    #[inline(always)]
    pub(crate) fn ports(&self, sport: &mut [u8; 2], dport: &mut [u8; 2]) -> Delta {
        let mut delta = Delta::NONE;
        if let Some((_, new)) = self.src {
            delta = delta.u16(*sport, new);
            *sport = new;
        }
        if let Some((_, new)) = self.dst {
            delta = delta.u16(*dport, new);
            *dport = new;
        }
        delta
    }

    /// What else the key of the packet becomes.
    #[inline(always)]
    pub(crate) fn key(&self, key: &mut FlowKey, ports: bool) {
        if let Some((address, port)) = self.src {
            key.src = *address;
            if ports {
                key.sport = port;
            }
        }
        if let Some((address, port)) = self.dst {
            key.dst = *address;
            if ports {
                key.dport = port;
            }
        }
    }
}

/// Changes a packet of a flow, of this direction, as the flow is translated; nothing where it is not. `layers.key` stays what
/// the packet has.
///
/// # Errors
///
/// [`DropReason::NatFragment`]: a fragment of an SCTP packet whose port changes. The frame is not the one that was parsed:
/// [`DropReason::NatTruncated`].
#[inline(always)]
pub fn rewrite<F: Frame>(
    frame: &mut F,
    layers: &mut Layers,
    flow: &Flow,
    direction: Direction,
    sides: Sides,
) -> Result<(), DropReason> {
    let Some(translated) = sides.translated(flow.status(), direction) else { return Ok(()) };
    let there = flow.key(direction.other());
    // An end that is not translated stays what it is, so both can be written without a look.
    if sides == Sides::Both && plain(frame, layers, there).is_some() {
        return Ok(());
    }
    any(frame, layers, &Ends::back_from(there, translated))
}

/// IPv4 without options, and of TCP and UDP what NAT changes: nearly all packets, in as few steps as there can be.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct Plain {
    before: [u8; 10],
    checksum: U16,
    src: [u8; 4],
    dst: [u8; 4],
    sport: [u8; 2],
    dport: [u8; 2],
    length: [u8; 2],
    udp_checksum: U16,
    middle: [u8; 8],
    tcp_checksum: U16,
    after: [u8; 2],
}

const _: () = assert!(size_of::<Plain>() == ipv4::LEN + tcp::LEN);

#[inline(always)]
fn plain<F: Frame>(frame: &mut F, layers: &mut Layers, there: &FlowKey) -> Option<()> {
    let is_tcp = layers.l4 == L4::Tcp;
    if layers.l3 != L3::Ipv4
        || !(is_tcp || layers.l4 == L4::Udp)
        || usize::from(layers.l4_offset) != usize::from(layers.l3_offset) + ipv4::LEN
    {
        return None;
    }
    let (src, dst) = (v4(&there.dst), v4(&there.src));
    let bytes = frame.head_mut().get_mut(layers.l3_offset.into()..)?;
    let (plain, _) = Plain::mut_from_prefix(bytes).ok()?;
    let addresses = Delta::NONE.u32(plain.src, src).u32(plain.dst, dst);
    let all = addresses.u16(plain.sport, there.dport).u16(plain.dport, there.sport);
    plain.src = src;
    plain.dst = dst;
    plain.sport = there.dport;
    plain.dport = there.sport;
    plain.checksum = addresses.apply(plain.checksum);
    if is_tcp {
        plain.tcp_checksum = all.apply(plain.tcp_checksum);
    } else {
        plain.udp_checksum = all.apply_udp(plain.udp_checksum);
    }
    let key = &mut layers.key;
    key.src = there.dst;
    key.dst = there.src;
    key.sport = there.dport;
    key.dport = there.sport;
    Some(())
}

impl Ends<'_> {
    #[inline(always)]
    fn tcp(&self, header: &mut TcpHeader, delta: Delta) {
        let delta = delta.and(self.ports(&mut header.sport, &mut header.dport));
        header.checksum = delta.apply(header.checksum);
    }

    /// UDP-Lite too: its coverage has at least header and pseudo-header.
    #[inline(always)]
    fn udp(&self, header: &mut UdpHeader, delta: Delta) {
        let delta = delta.and(self.ports(&mut header.sport, &mut header.dport));
        header.checksum = delta.apply_udp(header.checksum);
    }

    /// Its checksum has no pseudo-header.
    fn icmp(&self, header: &mut IcmpHeader, key: &mut FlowKey) {
        if icmp::has_id(header.kind) {
            let [id, _] = &mut header.rest;
            let delta = Delta::NONE.u16(id.to_bytes(), self.id);
            *id = self.id.into();
            header.checksum = delta.apply(header.checksum);
            key.sport = self.id;
        }
    }

    fn icmp6(&self, header: &mut Icmp6Header, delta: Delta, key: &mut FlowKey) {
        let mut delta = delta;
        if icmp6::has_id(header.kind) {
            let [id, _] = &mut header.rest;
            delta = delta.u16(id.to_bytes(), self.id);
            *id = self.id.into();
            key.sport = self.id;
        }
        header.checksum = delta.apply(header.checksum);
    }

    /// The ports of a packet of `len` bytes; addresses are not in its CRC.
    pub(crate) fn sctp(&self, header: &mut SctpHeader, len: usize) {
        let ports = |header: &SctpHeader| {
            let ([a, b], [c, d]) = (header.sport, header.dport);
            [a, b, c, d]
        };
        let old = ports(header);
        self.ports(&mut header.sport, &mut header.dport);
        let new = ports(header);
        if new != old {
            let crc = crc32c::from_wire(header.checksum);
            let behind = len.saturating_sub(old.len());
            header.checksum = crc32c::to_wire(crc32c::update(crc, old, new, behind));
        }
    }

    /// Whether an SCTP header's ports change.
    fn moves(&self, key: &FlowKey) -> bool {
        self.src.is_some_and(|(_, port)| port != key.sport)
            || self.dst.is_some_and(|(_, port)| port != key.dport)
    }
}

/// Any protocol.
#[inline(never)]
fn any<F: Frame>(frame: &mut F, layers: &mut Layers, ends: &Ends<'_>) -> Result<(), DropReason> {
    const SHORT: DropReason = DropReason::NatTruncated;
    let l4 = usize::from(layers.l4_offset);
    let is_part = layers.fragment != FragmentPart::Whole;
    if layers.l4 == L4::Sctp && is_part && ends.moves(&layers.key) {
        return Err(DropReason::NatFragment);
    }
    let l3 = layers.l3_offset.into();
    let delta = match layers.l3 {
        L3::Ipv4 => wire::edit(frame, l3, |ip| ends.ipv4(ip)),
        L3::Ipv6 => wire::edit(frame, l3, |ip| ends.ipv6(ip)),
        L3::Arp | L3::Other => return Ok(()),
    }
    .ok_or(SHORT)?;
    let key = &mut layers.key;
    let ports = matches!(layers.l4, L4::Tcp | L4::Udp | L4::Sctp);
    match layers.l4 {
        L4::Tcp => wire::edit(frame, l4, |tcp| ends.tcp(tcp, delta)),
        L4::Udp => wire::edit(frame, l4, |udp| ends.udp(udp, delta)),
        L4::Icmp => wire::edit(frame, l4, |icmp| ends.icmp(icmp, key)),
        L4::Icmp6 => wire::edit(frame, l4, |icmp| ends.icmp6(icmp, delta, key)),
        L4::Sctp => {
            let len = (layers.end as usize).saturating_sub(l4);
            wire::edit(frame, l4, |sctp| ends.sctp(sctp, len))
        }
        // As in Linux without the helper for PPTP: by address only.
        L4::Gre | L4::Other => Some(()),
    }
    .ok_or(SHORT)?;
    ends.key(key, ports);
    Ok(())
}
