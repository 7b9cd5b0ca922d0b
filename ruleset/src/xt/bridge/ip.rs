//! `ip`: IPv4 in a frame.

use packet::wire::ip;
use packet::wire::ipv4::OFFSET_MASK;

use super::*;
use crate::xt::header::has_ports;

pub(super) static ALL: &[Extension] =
    &[Extension { name: "ip", help: "Matches by what IPv4 says.", size: 28, make, ..MATCH }];

const SOURCE: u8 = 1;
const DESTINATION: u8 = 2;
const TOS: u8 = 4;
const PROTOCOL: u8 = 8;
const SOURCE_PORT: u8 = 0x10;
const DESTINATION_PORT: u8 = 0x20;
const ICMP: u8 = 0x40;
const IGMP: u8 = 0x80;
const IPV4: u16 = 0x0800;

fn make(of: &mut Use<'_>) -> Result<Act> {
    let info = of.info;
    let [src, dst, src_mask, dst_mask]: [[u8; 4]; 4] = [0, 4, 8, 12].map(|at| info.bytes(at));
    let [tos, protocol, asked, inverted] = info.bytes(16);
    let (source, destination) = (info.range16(20), info.range16(24));
    let ([kind_min, kind_max], [code_min, code_max]) = (info.bytes(20), info.bytes(24));
    let bits = Bits { asked, inverted };
    refuse_if(!is_ethertype(of, IPV4))?;
    let not_protocol = inverted & PROTOCOL != 0;
    if asked & (SOURCE_PORT | DESTINATION_PORT) != 0 {
        refuse_if(not_protocol || !has_ports(protocol))?;
    }
    refuse_if(asked & SOURCE_PORT != 0 && source.is_empty())?;
    refuse_if(asked & DESTINATION_PORT != 0 && destination.is_empty())?;
    if asked & ICMP != 0 {
        refuse_if(
            not_protocol || protocol != ip::ICMP || kind_min > kind_max || code_min > code_max,
        )?;
    }
    if asked & IGMP != 0 {
        refuse_if(not_protocol || protocol != ip::IGMP || kind_min > kind_max)?;
    }
    Ok(matches(move |cx| {
        let header: Option<[u8; 20]> = cx.peek(cx.data());
        let Some([first, f_tos, _, _, _, _, o0, o1, _, f_protocol, _, _, addresses @ ..]) = header
        else {
            return false;
        };
        let [s0, s1, s2, s3, d0, d1, d2, d3] = addresses;
        let so = bits.is(tos == f_tos, TOS)
            && bits.is(masked([s0, s1, s2, s3], src_mask) == src, SOURCE)
            && bits.is(masked([d0, d1, d2, d3], dst_mask) == dst, DESTINATION);
        if !so || asked & PROTOCOL == 0 {
            return so;
        }
        if !bits.is(protocol == f_protocol, PROTOCOL) {
            return false;
        }
        if asked & (SOURCE_PORT | DESTINATION_PORT | ICMP | IGMP) == 0 {
            return true;
        }
        if u16::from_be_bytes([o0, o1]) & OFFSET_MASK != 0 {
            return false;
        }
        let at = cx.data() + usize::from(first & 0xf) * 4;
        let Some([a, b, c, d]) = cx.peek(at) else { return false };
        let codes = (code_min..=code_max).contains(&b);
        let kinds = (kind_min..=kind_max).contains(&a);
        bits.is(destination.contains(&u16::from_be_bytes([c, d])), DESTINATION_PORT)
            && bits.is(source.contains(&u16::from_be_bytes([a, b])), SOURCE_PORT)
            && bits.is(kinds && codes, ICMP)
            && bits.is(kinds, IGMP)
    }))
}
