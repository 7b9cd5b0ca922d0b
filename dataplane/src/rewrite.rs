//! What forwarding changes in a packet: TTL and checksum, and the layer-2 header in front.

use packet::{Frame, L3, Layers};

use crate::tables::L2Header;

/// Takes one off the TTL (with the checksum of RFC 1624) or the hop limit.
#[inline(always)]
pub fn hop<F: Frame>(frame: &mut F, layers: &Layers) {
    let l3 = usize::from(layers.l3_offset);
    match layers.l3 {
        L3::Ipv4 => {
            if let Some([ttl, protocol, hi, lo]) = frame.read::<4>(l3 + 8) {
                // The word {TTL, protocol} goes down by 0x0100, so the complement sum goes up by it.
                let (sum, carry) = u16::from_be_bytes([hi, lo]).overflowing_add(0x0100);
                let sum = sum.wrapping_add(u16::from(carry || sum == 0xffff));
                let [hi, lo] = sum.to_be_bytes();
                frame.write(l3 + 8, [ttl.saturating_sub(1), protocol, hi, lo]);
            }
        }
        L3::Ipv6 => {
            frame.write(l3 + 7, [layers.ttl.saturating_sub(1)]);
        }
        L3::Arp | L3::Other => {}
    }
}

/// Replaces the layer-2 header by `header` and cuts the padding behind the packet. False when there is no headroom.
#[inline(always)]
pub fn l2<F: Frame>(frame: &mut F, layers: &Layers, header: &L2Header) -> bool {
    let l3 = usize::from(layers.l3_offset);
    let end = layers.end as usize;
    if frame.len() != end {
        frame.truncate(end);
    }
    let stripped = 14 + 4 * usize::from(layers.vlan_count) != l3;
    if stripped || header.tx_vlan.is_some() {
        frame.set_tx_vlan(header.tx_vlan);
    }
    if l3 == 14
        && let Some(macs) = header.untagged()
    {
        // The EtherType stays as it is.
        return frame.write(0, *macs);
    }
    let fits = match header.len() {
        new if new > l3 => frame.prepend(new - l3),
        new => frame.trim_front(l3 - new),
    };
    fits && frame.copy_in(0, &header.with_ethertype(layers.ethertype))
}

/// Puts `header` in front of a frame that begins with its IP header. False when there is no headroom.
pub fn prepend<F: Frame>(frame: &mut F, header: &L2Header, ethertype: u16) -> bool {
    frame.set_tx_vlan(header.tx_vlan);
    frame.prepend(header.len()) && frame.copy_in(0, &header.with_ethertype(ethertype))
}
