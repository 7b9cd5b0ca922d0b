//! `arp`: what ARP says.

use super::*;

pub(super) static ALL: &[Extension] =
    &[Extension { name: "arp", help: "Matches by what ARP says.", size: 52, make, ..MATCH }];

const OPERATION: u8 = 1;
const HARDWARE: u8 = 2;
const PROTOCOL: u8 = 4;
const SOURCE: u8 = 8;
const DESTINATION: u8 = 0x10;
const SOURCE_MAC: u8 = 0x20;
const DESTINATION_MAC: u8 = 0x40;
const GRATUITOUS: u8 = 0x80;
const ARP: u16 = 0x0806;
const RARP: u16 = 0x8035;
const IP: [u8; 2] = [8, 0];
const ETHERNET: [u8; 2] = [0, 1];

fn make(of: &mut Use<'_>) -> Result<Act> {
    let info = of.info;
    refuse_if(!is_ethertype(of, ARP) && !is_ethertype(of, RARP))?;
    let bits = Bits { asked: info.u8(48), inverted: info.u8(49) };
    let [hardware, protocol, operation]: [[u8; 2]; 3] = [0, 2, 4].map(|at| info.bytes(at));
    let [src, src_mask, dst, dst_mask]: [[u8; 4]; 4] = [8, 12, 16, 20].map(|at| info.bytes(at));
    let macs: [[u8; 6]; 4] = [24, 30, 36, 42].map(|at| info.bytes(at));
    Ok(matches(move |cx| {
        let header = cx.data();
        let Some([h0, h1, p0, p1, h_len, p_len, o0, o1]) = cx.peek(header) else { return false };
        let so = bits.is(operation == [o0, o1], OPERATION)
            && bits.is(hardware == [h0, h1], HARDWARE)
            && bits.is(protocol == [p0, p1], PROTOCOL);
        if !so {
            return false;
        }
        let sender = header + 8;
        let sender_ip = sender + usize::from(h_len);
        let target = sender_ip + usize::from(p_len);
        if bits.asked & (SOURCE | DESTINATION | GRATUITOUS) != 0 {
            let target_ip = target + usize::from(h_len);
            let (Some(from), Some(to)) = (cx.peek::<4>(sender_ip), cx.peek::<4>(target_ip)) else {
                return false;
            };
            let so = p_len == 4
                && [p0, p1] == IP
                && bits.is(masked(from, src_mask) == src, SOURCE)
                && bits.is(masked(to, dst_mask) == dst, DESTINATION)
                && bits.is(from == to, GRATUITOUS);
            if !so {
                return false;
            }
        }
        if bits.asked & (SOURCE_MAC | DESTINATION_MAC) == 0 {
            return true;
        }
        let [src, src_mask, dst, dst_mask] = macs;
        let is = |at, mac, mask, bit| {
            let found: Option<[u8; 6]> = cx.peek(at);
            found.is_some_and(|found| bits.is(masked(found, mask) == masked(mac, mask), bit))
        };
        h_len == 6
            && [h0, h1] == ETHERNET
            && (bits.asked & SOURCE_MAC == 0 || is(sender, src, src_mask, SOURCE_MAC))
            && (bits.asked & DESTINATION_MAC == 0 || is(target, dst, dst_mask, DESTINATION_MAC))
    }))
}
