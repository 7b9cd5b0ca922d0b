//! Where the parts of a packet are, seen as the kernel's rules see it at each hook (`struct nft_pktinfo`, `skb->data`,
//! `skb->len`, `skb->protocol`).
//!
//! The IP families see a packet from its network header to the end that the header names; the bridge and devices at ingress
//! see what follows the Ethernet header and one tag, padding included; devices at egress see the whole frame.

use packet::wire::ip::{AH, DEST_OPTIONS, FRAGMENT, HOP_BY_HOP, NO_NEXT, ROUTING};
use packet::{FragmentPart, L3};

use super::Cx;
use crate::family::{Family, Hook};

/// The transport header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transport {
    /// Its protocol's number.
    pub protocol: u8,
    /// Where it begins in the frame.
    pub offset: u16,
    /// The packet is a fragment that does not have it.
    pub later: bool,
}

/// A header in IPv6's chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtHeader {
    /// Its number.
    pub number: u8,
    /// Where it begins in the frame.
    pub offset: usize,
    /// It lies in a fragment that is not the first.
    pub later: bool,
}

const ETH: usize = 14;
const VLAN: usize = 4;
const IPV6: usize = 40;
/// `ETH_P_8021Q`, `ETH_P_802_3`, `ETH_P_802_2`.
const TPID: u16 = 0x8100;
const RAW_802_3: u16 = 1;
const LLC: u16 = 4;

/// What the kernel calls an extension header (`ipv6_ext_hdr`).
const fn is_extension(number: u8) -> bool {
    matches!(number, HOP_BY_HOP | ROUTING | FRAGMENT | AH | NO_NEXT | DEST_OPTIONS)
}

impl Cx<'_> {
    /// Whether an IP family handles the packet here, not a device or the bridge.
    pub fn is_routed(&self) -> bool {
        matches!(self.place.family, Family::Ipv4 | Family::Ipv6 | Family::Inet)
            && !matches!(self.place.hook, Hook::Ingress | Hook::Egress)
    }

    /// Whether the packet has a route here (`skb_dst`).
    pub fn is_past_routing(&self) -> bool {
        match self.place.hook {
            Hook::Ingress | Hook::Prerouting => false,
            Hook::Egress => self.meta.routed,
            Hook::Input | Hook::Forward | Hook::Output | Hook::Postrouting => self.is_routed(),
        }
    }

    /// VLAN tags in the frame's bytes; one more may have been stripped by the device.
    pub(super) fn tags_in_bytes(&self) -> usize {
        usize::from(self.layers.l3_offset).saturating_sub(ETH) / VLAN
    }

    /// The outermost tag (TCI), where the device took it out of the bytes.
    pub fn stripped_tag(&self) -> Option<u16> {
        let count = usize::from(self.layers.vlan_count);
        (count > self.tags_in_bytes()).then_some(self.layers.vlan[0])
    }

    /// Where `skb->data` would point to.
    pub fn data(&self) -> usize {
        match (self.place.hook, self.place.family) {
            // ARP's own messages have their Ethernet header in front when rules see them.
            (Hook::Egress, _) | (Hook::Output, Family::Arp) => 0,
            (Hook::Ingress, _) | (_, Family::Bridge | Family::Netdev) => {
                // One tag is taken off; a second is payload.
                let inside = usize::from(self.layers.vlan_count).saturating_sub(1);
                let inside = inside.min(self.tags_in_bytes());
                usize::from(self.layers.l3_offset) - VLAN * inside
            }
            _ => self.layers.l3_offset.into(),
        }
    }

    /// Where the packet ends here, in the frame.
    pub fn end(&self) -> usize {
        match self.layers.l3 {
            L3::Ipv4 | L3::Ipv6 if self.is_routed() => self.layers.end as usize,
            _ => self.bytes.size(),
        }
    }

    /// Where the network header begins, in the kernel's eyes: behind one tag at most.
    pub fn network(&self) -> usize {
        match self.place.hook {
            Hook::Egress | Hook::Output => {
                let inside = self.tags_in_bytes().saturating_sub(1);
                usize::from(self.layers.l3_offset) - VLAN * inside
            }
            _ => self.data(),
        }
    }

    /// `skb->protocol`, in host order: what stands behind one tag.
    pub fn protocol(&self) -> u16 {
        if self.layers.vlan_count > 1 {
            return TPID;
        }
        match self.layers.ethertype {
            length if length < 0x600 => match self.read::<2>(self.layers.l3_offset.into()) {
                Some([0xff, 0xff]) => RAW_802_3,
                _ => LLC,
            },
            ethertype => ethertype,
        }
    }

    /// The network layer in the kernel's eyes, which do not look through two tags.
    pub fn l3(&self) -> L3 {
        if self.layers.vlan_count > 1 && !self.is_routed() { L3::Other } else { self.layers.l3 }
    }

    /// Reads `N` bytes of what rules may see.
    pub fn peek<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        if offset + N > self.end() {
            return None;
        }
        self.read(offset)
    }

    /// Finds the transport header anew, at the beginning of a base chain: what a rule then writes into the headers moves it
    /// for the next base chain only.
    pub fn look(&mut self) {
        self.transport = match (self.place.family, self.l3()) {
            (Family::Arp, _) | (_, L3::Arp | L3::Other) => None,
            (_, L3::Ipv6) if self.layers.options => {
                let found = self.ext_header(None);
                found.and_then(|found| {
                    // Where a later fragment has none, Linux looks at the packet's beginning.
                    let offset = if found.later { self.data() } else { found.offset };
                    let offset = u16::try_from(offset).ok()?;
                    Some(Transport { protocol: found.number, offset, later: found.later })
                })
            }
            _ => Some(Transport {
                protocol: self.layers.protocol,
                offset: self.layers.l4_offset,
                later: self.layers.fragment == FragmentPart::Later,
            }),
        };
    }

    /// The transport header, where the packet has it.
    pub fn transport(&self) -> Option<Transport> {
        self.transport.filter(|transport| !transport.later)
    }

    /// Follows IPv6's chain (`ipv6_find_hdr`) to the header of this number, or, without one, to the first that is no extension
    /// header or an authentication header.
    pub fn ext_header(&self, wanted: Option<u8>) -> Option<ExtHeader> {
        self.ext_header_at(self.network(), wanted)
    }

    /// The same for an IPv6 header that begins at `first`.
    pub fn ext_header_at(&self, first: usize, wanted: Option<u8>) -> Option<ExtHeader> {
        let [mut number] = self.peek(first + 6)?;
        let mut offset = first + IPV6;
        loop {
            let found = wanted == Some(number);
            if !is_extension(number) || number == NO_NEXT {
                let end = found || wanted.is_none();
                return end.then_some(ExtHeader { number, offset, later: false });
            }
            let [next, len]: [u8; 2] = self.peek(offset)?;
            let size = match number {
                FRAGMENT => {
                    let later = u16::from_be_bytes(self.peek(offset + 2)?) & !7 != 0;
                    if later && wanted.is_none() && (!is_extension(next) || next == NO_NEXT) {
                        return Some(ExtHeader { number: next, offset: 0, later });
                    }
                    if later {
                        return found.then_some(ExtHeader { number, offset, later });
                    }
                    8
                }
                AH if wanted.is_none() => {
                    return Some(ExtHeader { number, offset, later: false });
                }
                AH => (usize::from(len) + 2) * 4,
                ROUTING => {
                    self.peek::<4>(offset)?;
                    (usize::from(len) + 1) * 8
                }
                _ => (usize::from(len) + 1) * 8,
            };
            if found {
                return Some(ExtHeader { number, offset, later: false });
            }
            (number, offset) = (next, offset + size);
        }
    }
}
