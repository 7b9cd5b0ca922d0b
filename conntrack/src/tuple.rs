//! Tuples: what the index is asked for a packet, and what answers carry.

use packet::wire::{icmp, icmp6, ip};
use packet::{FlowKey, L4, Layers};

/// The key that the index is asked. `zone` is by direction, as a rule said before the packet was tracked; the packet is taken
/// for one of the original direction, see [`packet`](crate::track::packet) for the other.
#[inline(always)]
pub fn lookup_key(layers: &Layers, zone: [u16; 2]) -> FlowKey {
    let mut key = layers.key;
    key.zone = zone[0].to_be_bytes();
    if layers.l4 == L4::Gre {
        // A call's id names the receiver's end; of the sender's we know nothing (gre_pkt_to_tuple, no helper asked).
        (key.sport, key.dport) = ([0; 2], key.sport);
    }
    key
}

/// The tuple of the answers, in the same zone; `None` where nothing answers it (`nf_ct_invert_tuple`).
#[inline]
pub fn invert(key: &FlowKey) -> Option<FlowKey> {
    let mut back = FlowKey { src: key.dst, dst: key.src, ..*key };
    let [kind, code] = key.dport;
    match key.protocol {
        ip::ICMP => back.dport = [answer(kind)?, code],
        ip::ICMP6 => back.dport = [answer6(kind)?, code],
        _ => (back.sport, back.dport) = (key.dport, key.sport),
    }
    Some(back)
}

/// The ICMP type that answers one, or that it answers.
const fn answer(kind: u8) -> Option<u8> {
    Some(match kind {
        icmp::ECHO => icmp::ECHO_REPLY,
        icmp::ECHO_REPLY => icmp::ECHO,
        icmp::TIMESTAMP => icmp::TIMESTAMP_REPLY,
        icmp::TIMESTAMP_REPLY => icmp::TIMESTAMP,
        icmp::INFO_REQUEST => icmp::INFO_REPLY,
        icmp::INFO_REPLY => icmp::INFO_REQUEST,
        icmp::MASK_REQUEST => icmp::MASK_REPLY,
        icmp::MASK_REPLY => icmp::MASK_REQUEST,
        _ => return None,
    })
}

/// The same for ICMPv6.
const fn answer6(kind: u8) -> Option<u8> {
    Some(match kind {
        icmp6::ECHO_REQUEST => icmp6::ECHO_REPLY,
        icmp6::ECHO_REPLY => icmp6::ECHO_REQUEST,
        icmp6::NODE_QUERY => icmp6::NODE_REPLY,
        icmp6::NODE_REPLY => icmp6::NODE_QUERY,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(protocol: u8, sport: [u8; 2], dport: [u8; 2]) -> FlowKey {
        FlowKey { src: [1; 16], dst: [2; 16], sport, dport, protocol, family: 4, zone: [0, 9] }
    }

    #[test]
    fn the_inverse_of_the_inverse_is_the_tuple() {
        for protocol in 0..=255 {
            for kind in 0..=255 {
                let tuple = key(protocol, [7, 8], [kind, 3]);
                let Some(back) = invert(&tuple) else { continue };
                assert_ne!(back, tuple);
                assert_eq!(back.zone, tuple.zone);
                assert_eq!(invert(&back), Some(tuple));
            }
        }
    }

    #[test]
    fn errors_have_no_inverse() {
        let inverse = |protocol, kind| invert(&key(protocol, [0; 2], [kind, 0])).is_some();
        let has = |protocol| (0..=255).filter(|kind| inverse(protocol, *kind)).collect::<Vec<u8>>();
        assert_eq!(has(ip::ICMP), [0, 8, 13, 14, 15, 16, 17, 18]);
        assert_eq!(has(ip::ICMP6), [128, 129, 139, 140]);
    }
}
