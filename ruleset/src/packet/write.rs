//! Changes of headers, which leave [`Layers`] true: what changed is read again.

use std::ops::Range;

use packet::layers::padded;
use packet::wire::{ip, ipv4};
use packet::{FragmentPart, L2Kind, L3, L4, Layers};

use super::Cx;
use crate::family::Hook;

const MAC: Range<usize> = 0..12;
const IPV4: usize = 20;
const IPV6: usize = 40;

fn meet(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
}

impl Cx<'_> {
    /// Overwrites bytes of the frame; false, with nothing written, beyond the packet's end. Checksums are the caller's.
    pub fn store(&mut self, offset: usize, bytes: &[u8]) -> bool {
        let written = offset..offset + bytes.len();
        if written.end > self.end() {
            return false;
        }
        // A rule that changes addresses does not change whom the frame came for.
        if meet(&written, &MAC) {
            self.meta.pkttype = Some(self.pkttype());
        }
        if !self.bytes.write_at(offset, bytes) {
            return false;
        }
        let network = usize::from(self.layers.l3_offset);
        if meet(&written, &(0..network)) {
            self.link_changed();
        }
        let header = match self.layers.l3 {
            L3::Ipv4 => network..network + IPV4,
            L3::Ipv6 => network..network + IPV6,
            L3::Arp | L3::Other => return true,
        };
        if meet(&written, &header) {
            self.effects.rewritten = true;
            self.network_changed();
        } else if written.start < usize::from(self.layers.l4_offset) {
            self.transport_moved();
        }
        if written.end > self.layers.l4_offset.into() {
            self.transport_changed();
        }
        true
    }

    fn link_changed(&mut self) {
        if let Some(dst) = self.read::<6>(0) {
            self.layers.dst_mac = padded(dst);
            self.layers.l2_kind = match dst {
                [0xff, 0xff, 0xff, 0xff, 0xff, 0xff] => L2Kind::Broadcast,
                [first, ..] if first & 1 == 1 => L2Kind::Multicast,
                _ => L2Kind::Unicast,
            };
        }
        let stripped = usize::from(self.stripped_tag().is_some());
        for tag in 0..self.tags_in_bytes() {
            let tci = self.read(14 + 4 * tag);
            if let (Some(place), Some(tci)) = (self.layers.vlan.get_mut(stripped + tag), tci) {
                *place = u16::from_be_bytes(tci);
            }
        }
    }

    fn network_changed(&mut self) {
        let network = usize::from(self.layers.l3_offset);
        if self.layers.l3 == L3::Ipv4 {
            let Some(header) = self.read::<IPV4>(network) else { return };
            let [version_ihl, tos, _, _, _, _, flags, fragment, ttl, protocol, ..] = header;
            let fragment = u16::from_be_bytes([flags, fragment]);
            let size = usize::from(version_ihl & 0xf) * 4;
            let layers = &mut *self.layers;
            (layers.tos, layers.ttl) = (tos, ttl);
            (layers.protocol, layers.key.protocol) = (protocol, protocol);
            layers.dont_fragment = fragment & ipv4::DONT_FRAGMENT != 0;
            layers.fragment = match (fragment & ipv4::OFFSET_MASK, fragment & ipv4::MORE_FRAGMENTS)
            {
                (0, 0) => FragmentPart::Whole,
                (0, _) => FragmentPart::First,
                _ => FragmentPart::Later,
            };
            let [.., s0, s1, s2, s3, d0, d1, d2, d3] = header;
            layers.key.src = u128::from(u32::from_le_bytes([s0, s1, s2, s3])).to_le_bytes();
            layers.key.dst = u128::from(u32::from_le_bytes([d0, d1, d2, d3])).to_le_bytes();
            if size >= IPV4 && network + size <= layers.end as usize {
                layers.options = size > IPV4;
                layers.l4_offset = (network + size) as u16;
            }
            self.transport_changed();
        } else {
            let (Some([first, second]), Some([next, ttl]), Some(src), Some(dst)) = (
                self.read(network),
                self.read(network + 6),
                self.read(network + 8),
                self.read(network + 24),
            ) else {
                return;
            };
            let layers = &mut *self.layers;
            (layers.tos, layers.ttl) = (first << 4 | second >> 4, ttl);
            (layers.key.src, layers.key.dst) = (src, dst);
            layers.options = packet::wire::ipv6::is_extension(next);
            self.transport_moved();
        }
    }

    /// IPv6's chain may lead elsewhere.
    fn transport_moved(&mut self) {
        if self.layers.l3 == L3::Ipv6
            && let Some(found) = self.ext_header(None)
        {
            self.layers.protocol = found.number;
            self.layers.key.protocol = found.number;
            if found.later {
                self.layers.fragment = FragmentPart::Later;
            } else if let Ok(offset) = u16::try_from(found.offset) {
                self.layers.l4_offset = offset;
            }
        }
        self.transport_changed();
    }

    /// Ports, or what stands for them in the tuple, and whether there is a header at all.
    fn transport_changed(&mut self) {
        let at = usize::from(self.layers.l4_offset);
        let head: Option<[u8; 4]> = self.peek(at);
        let end = self.layers.end as usize;
        let fits = |len| at + len <= end;
        let tcp = self.peek(at + 12).is_some_and(|[offset]: [u8; 1]| {
            let len = usize::from(offset >> 4) * 4;
            len >= 20 && fits(len)
        });
        let layers = &mut *self.layers;
        let l4 = match (layers.protocol, layers.l3) {
            _ if layers.fragment == FragmentPart::Later => L4::Other,
            (ip::TCP, _) if tcp => L4::Tcp,
            (ip::UDP | ip::UDP_LITE, _) if fits(8) => L4::Udp,
            (ip::SCTP, _) if fits(12) => L4::Sctp,
            (ip::ICMP, L3::Ipv4) if fits(8) => L4::Icmp,
            (ip::ICMP6, L3::Ipv6) if fits(8) => L4::Icmp6,
            (ip::GRE, _) if layers.l4 == L4::Gre => L4::Gre,
            _ => L4::Other,
        };
        layers.l4 = l4;
        match (l4, head) {
            (L4::Tcp | L4::Udp | L4::Sctp, Some([s0, s1, d0, d1])) => {
                (layers.key.sport, layers.key.dport) = ([s0, s1], [d0, d1]);
            }
            (L4::Icmp | L4::Icmp6, Some([kind, code, _, _])) => {
                let id = if l4 == L4::Icmp {
                    packet::wire::icmp::has_id(kind)
                } else {
                    packet::wire::icmp6::has_id(kind)
                };
                let found = self.read(at + 4).filter(|_| id).unwrap_or_default();
                (self.layers.key.sport, self.layers.key.dport) = (found, [kind, code]);
            }
            (L4::Gre, _) => {}
            _ => (layers.key.sport, layers.key.dport) = ([0; 2], [0; 2]),
        }
    }

    /// `skb->pkt_type`: whom the frame came for (`PACKET_…`).
    pub fn pkttype(&self) -> u8 {
        if let Some(kind) = self.meta.pkttype {
            return kind;
        }
        match (self.place.hook, self.place.iif) {
            // What is forwarded came for this host, and what it sends is told nowhere.
            (Hook::Ingress | Hook::Prerouting | Hook::Input | Hook::Forward, Some(iif)) => {
                arrival(self.layers, iif.mac)
            }
            _ => HOST,
        }
    }
}

const HOST: u8 = 0;
const BROADCAST: u8 = 1;
const MULTICAST: u8 = 2;
const OTHERHOST: u8 = 3;

/// Whom a frame that came in by the interface with this MAC address is for (`PACKET_…`, linux/if_packet.h).
pub fn arrival(layers: &Layers, mac: [u8; 6]) -> u8 {
    match layers.l2_kind {
        L2Kind::Broadcast => BROADCAST,
        L2Kind::Multicast => MULTICAST,
        L2Kind::Unicast if layers.dst_mac == padded(mac) => HOST,
        L2Kind::Unicast => OTHERHOST,
    }
}
