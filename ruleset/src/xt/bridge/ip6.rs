//! `ip6`: IPv6 in a frame.

use packet::wire::ip;

use super::*;
use crate::xt::header::has_ports;

pub(super) static ALL: &[Extension] =
    &[Extension { name: "ip6", help: "Matches by what IPv6 says.", size: 76, make, ..MATCH }];

const SOURCE: u8 = 1;
const DESTINATION: u8 = 2;
const CLASS: u8 = 4;
const PROTOCOL: u8 = 8;
const SOURCE_PORT: u8 = 0x10;
const DESTINATION_PORT: u8 = 0x20;
const ICMP6: u8 = 0x40;
const IPV6: u16 = 0x86dd;

fn make(of: &mut Use<'_>) -> Result<Act> {
    let info = of.info;
    let [src, dst, src_mask, dst_mask]: [[u8; 16]; 4] = [0, 16, 32, 48].map(|at| info.bytes(at));
    let [class, protocol, asked, inverted] = info.bytes(64);
    let (source, destination) = (info.range16(68), info.range16(72));
    let ([kind_min, kind_max], [code_min, code_max]) = (info.bytes(68), info.bytes(72));
    let bits = Bits { asked, inverted };
    refuse_if(!is_ethertype(of, IPV6) || (asked | inverted) & 0x80 != 0)?;
    let not_protocol = inverted & PROTOCOL != 0;
    if asked & (SOURCE_PORT | DESTINATION_PORT) != 0 {
        refuse_if(not_protocol || !has_ports(protocol))?;
    }
    refuse_if(asked & SOURCE_PORT != 0 && source.is_empty())?;
    refuse_if(asked & DESTINATION_PORT != 0 && destination.is_empty())?;
    if asked & ICMP6 != 0 {
        refuse_if(not_protocol || protocol != ip::ICMP6)?;
        refuse_if(kind_min > kind_max || code_min > code_max)?;
    }
    Ok(matches(move |cx| {
        let network = cx.data();
        let (Some([first, second]), Some(from), Some(to)) =
            (cx.peek(network), cx.peek(network + 8), cx.peek(network + 24))
        else {
            return false;
        };
        let so = bits.is(class == (first << 4 | second >> 4), CLASS)
            && bits.is(masked(from, src_mask) == src, SOURCE)
            && bits.is(masked(to, dst_mask) == dst, DESTINATION);
        if !so || asked & PROTOCOL == 0 {
            return so;
        }
        let Some((found, at)) = payload(cx, network) else { return false };
        if !bits.is(protocol == found, PROTOCOL) {
            return false;
        }
        if asked & (SOURCE_PORT | DESTINATION_PORT | ICMP6) == 0 {
            return true;
        }
        let Some([a, b, c, d]) = cx.peek(at) else { return false };
        let message = (kind_min..=kind_max).contains(&a) && (code_min..=code_max).contains(&b);
        bits.is(destination.contains(&u16::from_be_bytes([c, d])), DESTINATION_PORT)
            && bits.is(source.contains(&u16::from_be_bytes([a, b])), SOURCE_PORT)
            && bits.is(message, ICMP6)
    }))
}

/// What stands behind the extension headers, and where (`ipv6_skip_exthdr`): in a fragment behind the first, its header.
fn payload(cx: &Cx<'_>, network: usize) -> Option<(u8, usize)> {
    let ([mut header], mut at): ([u8; 1], _) = (cx.peek(network + 6)?, network + 40);
    loop {
        let size = match header {
            ip::HOP_BY_HOP | ip::ROUTING | ip::DEST_OPTIONS | ip::AH | ip::FRAGMENT => {
                let [_, len]: [u8; 2] = cx.peek(at)?;
                match header {
                    ip::FRAGMENT if u16::from_be_bytes(cx.peek(at + 2)?) & !7 != 0 => break,
                    ip::FRAGMENT => 8,
                    ip::AH => (usize::from(len) + 2) * 4,
                    _ => (usize::from(len) + 1) * 8,
                }
            }
            ip::NO_NEXT => return None,
            _ => break,
        };
        [header] = cx.peek(at)?;
        at += size;
    }
    Some((header, at))
}
