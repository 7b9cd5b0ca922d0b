//! What forwarding changes in a packet: TTL and checksum, and the layer-2 header in front.

use packet::{Frame, L3, Layers};

use crate::tables::L2Header;

/// Makes a packet ready to leave with this header, in place of the one that it came with. False when there is no headroom.
#[inline(always)]
pub fn forward<F: Frame>(frame: &mut F, layers: &Layers, header: &L2Header) -> bool {
    // By far the most packets come and go without tags and have their headers in one piece: one check for all of it.
    if layers.l3_offset == 14
        && layers.vlan_count == 0
        && let Some(macs) = header.untagged()
        && let Some(bytes) = frame.head_mut().first_chunk_mut::<26>()
    {
        let [m @ .., _, _, _, _, _, _, _, _, _, hops6, ttl4, _, hi, lo] = bytes;
        if layers.l3 == L3::Ipv4 {
            [*hi, *lo] = sum_after_hop([*hi, *lo]);
            *ttl4 = layers.ttl.saturating_sub(1);
        } else {
            *hops6 = layers.ttl.saturating_sub(1);
        }
        *m = *macs;
        let end = layers.end as usize;
        if frame.len() != end {
            frame.truncate(end);
        }
        return true;
    }
    hop(frame, layers);
    l2(frame, layers, header)
}

/// The IPv4 header checksum after the TTL went down by one (RFC 1624): the word {TTL, protocol} goes down by 0x0100, so the
/// complement sum goes up by it.
#[inline(always)]
fn sum_after_hop(sum: [u8; 2]) -> [u8; 2] {
    let (sum, carry) = u16::from_be_bytes(sum).overflowing_add(0x0100);
    sum.wrapping_add(u16::from(carry || sum == 0xffff)).to_be_bytes()
}

/// Takes one off the TTL (with the checksum of RFC 1624) or the hop limit.
#[inline(always)]
pub fn hop<F: Frame>(frame: &mut F, layers: &Layers) {
    let l3 = usize::from(layers.l3_offset);
    match layers.l3 {
        L3::Ipv4 => {
            if let Some([ttl, protocol, hi, lo]) = frame.read::<4>(l3 + 8) {
                let [hi, lo] = sum_after_hop([hi, lo]);
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
