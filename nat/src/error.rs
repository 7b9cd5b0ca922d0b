//! ICMP errors about translated packets: the error's own addresses, and the packet that it quotes.
//!
//! As in Linux (nf_nat_icmp_reply_translation, nf_nat_icmpv6_reply_translation): an error travels against the packets that
//! it quotes, so where its source changes, the quoted destination does, and to the same address. Whoever sent the error,
//! its source becomes the translated end: nodes behind the translation stay hidden.
//!
//! The quoted packet may be cut anywhere. As much of its transport header as is there is changed, and the error's own
//! checksum by as much.

use conntrack::{Direction, Flow, Status};
use packet::checksum::Delta;
use packet::wire::{
    self, Icmp6Header, IcmpHeader, Ipv4Header, Ipv6ExtHeader, Ipv6FragmentHeader, Ipv6Header,
    SctpHeader, TcpHeader, UdpHeader, icmp, icmp6, ip, ipv4, ipv6, sctp, tcp,
};
use packet::{DropReason, Frame, L3, L4, Layers};
use zerocopy::byteorder::network_endian::U16;

use crate::rewrite::{Ends, Sides};

const SHORT: DropReason = DropReason::NatTruncated;
/// As much of a transport header as every error quotes (RFC 792).
const LEAST: usize = 8;

/// Whether a parsed packet is an ICMP message that quotes another packet: it is translated by [`rewrite_error`].
pub fn is_error<F: Frame>(frame: &F, layers: &Layers) -> bool {
    match layers.l4 {
        L4::Icmp => icmp::is_error(layers.icmp(frame).kind),
        L4::Icmp6 => {
            let kind = layers.icmp6(frame).kind;
            icmp6::is_error(kind) || kind == icmp6::REDIRECT
        }
        _ => false,
    }
}

/// Changes an ICMP error that relates to a flow and travels in this direction, and what it quotes.
///
/// # Errors
///
/// [`DropReason::NatRedirect`]: a redirect, unless it is decided that the flow is not translated.
/// [`DropReason::NatTruncated`]: too little is quoted.
pub fn rewrite_error<F: Frame>(
    frame: &mut F,
    layers: &mut Layers,
    flow: &Flow,
    direction: Direction,
    sides: Sides,
) -> Result<(), DropReason> {
    const DONE: u32 = Status::SRC_NAT_DONE | Status::DST_NAT_DONE;
    const NAT: u32 = Status::SRC_NAT | Status::DST_NAT;
    let at = usize::from(layers.l4_offset);
    let redirect = match layers.l4 {
        L4::Icmp => layers.icmp(frame).kind == icmp::REDIRECT,
        _ => layers.icmp6(frame).kind == icmp6::REDIRECT,
    };
    let status = flow.status();
    if redirect && (status.0 & DONE != DONE || status.has(NAT)) {
        return Err(DropReason::NatRedirect);
    }
    let Some(sides) = sides.translated(status, direction) else { return Ok(()) };
    let there = flow.key(direction.other());
    let quoted = Ends {
        src: sides.destination().then_some((&there.src, there.sport)),
        dst: sides.source().then_some((&there.dst, there.dport)),
        id: there.sport,
    };
    let outer = Ends {
        src: sides.source().then_some((&there.dst, [0; 2])),
        dst: sides.destination().then_some((&there.src, [0; 2])),
        id: [0; 2],
    };
    let l3 = usize::from(layers.l3_offset);
    let mut quote = Quote { frame, end: layers.end as usize, ends: &quoted, sum: Delta::NONE };
    match layers.l3 {
        L3::Ipv4 => {
            quote.ipv4(at + icmp::LEN)?;
            let inside = quote.sum;
            wire::edit(frame, l3, |ip| outer.ipv4(ip)).ok_or(SHORT)?;
            wire::edit(frame, at, |icmp: &mut IcmpHeader| {
                icmp.checksum = inside.apply(icmp.checksum);
            })
        }
        _ => {
            quote.ipv6(at + icmp6::LEN)?;
            let inside = quote.sum;
            let delta = wire::edit(frame, l3, |ip| outer.ipv6(ip)).ok_or(SHORT)?;
            wire::edit(frame, at, |icmp: &mut Icmp6Header| {
                icmp.checksum = inside.and(delta).apply(icmp.checksum);
            })
        }
    }
    .ok_or(SHORT)?;
    outer.key(&mut layers.key, false);
    Ok(())
}

/// The packet that an error quotes.
struct Quote<'a, F> {
    frame: &'a mut F,
    /// Where the error ends, and the quoted packet at the latest.
    end: usize,
    ends: &'a Ends<'a>,
    /// What the changes add to a checksum over them.
    sum: Delta,
}

impl<F: Frame> Quote<'_, F> {
    fn has(&self, at: usize, len: usize) -> bool {
        at + len <= self.end
    }

    /// Changes a header that is there.
    fn edit<T: wire::Header, R>(
        &mut self,
        at: usize,
        change: impl FnOnce(&mut T) -> R,
    ) -> Result<R, DropReason> {
        if !self.has(at, size_of::<T>()) {
            return Err(SHORT);
        }
        wire::edit(self.frame, at, change).ok_or(SHORT)
    }

    fn ipv4(&mut self, at: usize) -> Result<(), DropReason> {
        let ends = self.ends;
        let (header, delta, sum) = self.edit(at, |header: &mut Ipv4Header| {
            let old = *header;
            let delta = ends.ipv4(header);
            (old, delta, delta.u16(old.checksum.to_bytes(), header.checksum.to_bytes()))
        })?;
        self.sum = self.sum.and(sum);
        let header_len = header.header_len().max(ipv4::LEN);
        if header.fragment_offset() != 0 {
            return Ok(());
        }
        let len = usize::from(header.total_length.get()).saturating_sub(header_len);
        self.transport(at + header_len, header.protocol, delta, len)
    }

    fn ipv6(&mut self, at: usize) -> Result<(), DropReason> {
        let ends = self.ends;
        let (header, delta) =
            self.edit(at, |header: &mut Ipv6Header| (*header, ends.ipv6(header)))?;
        self.sum = self.sum.and(delta);
        let mut next = header.next_header;
        let mut l4 = at + ipv6::LEN;
        // As ipv6_skip_exthdr. Each is 8 bytes at least, so this ends.
        while matches!(
            next,
            ip::HOP_BY_HOP | ip::ROUTING | ip::FRAGMENT | ip::AH | ip::DEST_OPTIONS
        ) {
            if !self.has(l4, ipv6::EXT_LEN) {
                return Ok(());
            }
            let Some(ext) = wire::read::<Ipv6ExtHeader, F>(self.frame, l4) else { return Ok(()) };
            if next == ip::FRAGMENT {
                let fragment: Option<Ipv6FragmentHeader> = wire::read(self.frame, l4);
                if fragment.is_none_or(|fragment| fragment.offset() != 0) {
                    return Ok(());
                }
            }
            l4 += ext.size(next);
            next = ext.next_header;
        }
        let quoted_end = at + ipv6::LEN + usize::from(header.payload_length.get());
        self.transport(l4, next, delta, quoted_end.saturating_sub(l4))
    }

    /// The transport header, of a packet whose transport header and payload have `len` bytes, not all of them quoted.
    fn transport(
        &mut self,
        at: usize,
        protocol: u8,
        delta: Delta,
        len: usize,
    ) -> Result<(), DropReason> {
        let ends = self.ends;
        match protocol {
            ip::TCP if self.has(at, tcp::LEN) => self.edit(at, |header: &mut TcpHeader| {
                let ports = ends.ports(&mut header.sport, &mut header.dport);
                let new = delta.and(ports).apply(header.checksum);
                ports.and(replace(&mut header.checksum, new))
            }),
            ip::SCTP if self.has(at, sctp::LEN) => self.edit(at, |header: &mut SctpHeader| {
                let (ports, crc) = ([header.sport, header.dport], header.checksum);
                ends.sctp(header, len);
                let [sport, dport] = ports;
                Delta::NONE
                    .u16(sport, header.sport)
                    .u16(dport, header.dport)
                    .u32(crc.to_bytes(), header.checksum.to_bytes())
            }),
            // Their checksums are behind what is quoted.
            ip::TCP | ip::SCTP => self
                .edit(at, |[sport, dport, _, _]: &mut [[u8; 2]; LEAST / 2]| {
                    ends.ports(sport, dport)
                }),
            ip::UDP | ip::UDP_LITE => self.edit(at, |header: &mut UdpHeader| {
                let ports = ends.ports(&mut header.sport, &mut header.dport);
                let new = delta.and(ports).apply_udp(header.checksum);
                ports.and(replace(&mut header.checksum, new))
            }),
            ip::ICMP => self.edit(at, |header: &mut IcmpHeader| {
                if !icmp::has_id(header.kind) {
                    return Delta::NONE;
                }
                let [id, _] = &mut header.rest;
                let change = replace(id, ends.id.into());
                let new = change.apply(header.checksum);
                change.and(replace(&mut header.checksum, new))
            }),
            ip::ICMP6 => self.edit(at, |header: &mut Icmp6Header| {
                let mut change = Delta::NONE;
                if icmp6::has_id(header.kind) {
                    let [id, _] = &mut header.rest;
                    change = replace(id, ends.id.into());
                }
                let new = delta.and(change).apply(header.checksum);
                change.and(replace(&mut header.checksum, new))
            }),
            _ => Ok(Delta::NONE),
        }
        .map(|change| self.sum = self.sum.and(change))
    }
}

/// Puts a word in the place of another, and says what that adds to a checksum.
fn replace(place: &mut U16, new: U16) -> Delta {
    let old = std::mem::replace(place, new);
    Delta::NONE.u16(old.to_bytes(), new.to_bytes())
}
