//! Layer 2: the Ethernet header, VLAN tags, and ARP.

use super::L2Kind;
use super::source::Source;
use crate::drop::DropReason;
use crate::wire::arp::{self, ArpHead};
use crate::wire::ethernet::{self, EthernetHeader};
use crate::wire::vlan::{self, VlanTag};

/// What layer 2 says of a frame: all that a transparent port looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkLayer {
    /// Station, group or everyone.
    pub kind: L2Kind,
    /// The destination MAC address and two zeros.
    pub dst_mac: [u8; 8],
    /// The EtherType behind the tags (host order): under 0x600 it is a length (IEEE 802.3). Behind two tags it may announce
    /// a third.
    pub ethertype: u16,
    /// TCIs (host order), outermost first, the one that the device stripped included.
    pub vlan: [u16; 2],
    /// How many of `vlan` are there.
    pub vlan_count: u8,
    /// Where the network header begins.
    pub l3_offset: u16,
}

/// A MAC address and two zeros, made in a register.
#[inline(always)]
pub fn padded(mac: [u8; 6]) -> [u8; 8] {
    let [a, b, c, d, e, f] = mac;
    u64::from_le_bytes([a, b, c, d, e, f, 0, 0]).to_le_bytes()
}

/// What the Ethernet header alone says.
#[inline(always)]
pub(super) fn untagged(header: &EthernetHeader) -> LinkLayer {
    let kind = if !ethernet::is_group(header.dst) {
        L2Kind::Unicast
    } else if header.dst == ethernet::BROADCAST {
        L2Kind::Broadcast
    } else {
        L2Kind::Multicast
    };
    let (ethertype, l3_offset) = (header.ethertype.get(), ethernet::LEN as u16);
    LinkLayer {
        kind,
        dst_mac: padded(header.dst),
        ethertype,
        vlan: [0; 2],
        vlan_count: 0,
        l3_offset,
    }
}

/// Reads the Ethernet header and up to two tags; `stripped` is the outermost, which the device took out of the bytes.
#[inline]
pub(super) fn link(source: impl Source, stripped: Option<u16>) -> Result<LinkLayer, DropReason> {
    let header = source.get(0).ok_or(DropReason::EthTruncated)?;
    let mut found = untagged(&header);
    for (i, place) in found.vlan.iter_mut().enumerate() {
        match stripped {
            Some(tci) if i == 0 => *place = tci,
            _ if ethernet::is_vlan(found.ethertype) => {
                let tag: VlanTag =
                    source.get(usize::from(found.l3_offset)).ok_or(DropReason::VlanTruncated)?;
                *place = tag.tci.get();
                found.ethertype = tag.ethertype.get();
                found.l3_offset += vlan::LEN as u16;
            }
            _ => break,
        }
        found.vlan_count += 1;
    }
    Ok(found)
}

/// Checks the ARP message at `at` in a frame of `len` bytes.
pub(super) fn arp(source: impl Source, at: usize, len: usize) -> Result<(), DropReason> {
    let head: ArpHead = source.get(at).ok_or(DropReason::ArpTruncated)?;
    if !head.is_ipv4_over_ethernet() {
        return Err(DropReason::ArpMalformed);
    }
    if len < at + arp::LEN { Err(DropReason::ArpTruncated) } else { Ok(()) }
}
