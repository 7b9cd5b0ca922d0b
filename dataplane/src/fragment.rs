//! IPv4 fragmentation (RFC 791, 3.2): a packet too long for its way leaves as several, sharing its payload bytes.

use packet::{Frame, FramePool, Layers, checksum};

use crate::tables::L2Header;

/// Don't look further: an IPv4 header has at most this many bytes.
const LONGEST_HEADER: usize = 60;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x1fff;

/// Cuts the IPv4 packet in `frame`, whose TTL is already rewritten, into parts of at most `mtu` bytes behind `header`, and
/// gives each to `emit`. False when it cannot be cut, or memory ran out; what was emitted by then is lost on its
/// way like any lone fragment.
pub fn cut<P: FramePool>(
    pool: &P,
    frame: &P::Frame,
    layers: &Layers,
    header: &L2Header,
    mtu: u32,
    mut emit: impl FnMut(P::Frame),
) -> bool {
    let l3 = usize::from(layers.l3_offset);
    let Some(header_len) = frame.read::<1>(l3).map(|[first]| usize::from(first & 0x0f) * 4) else {
        return false;
    };
    let mut bytes = [0; LONGEST_HEADER];
    let Some(ip) = bytes.get_mut(..header_len) else {
        return false;
    };
    let payload = (layers.end as usize).saturating_sub(l3 + header_len);
    let room = (mtu as usize).saturating_sub(header_len) & !7;
    if header_len < 20 || room == 0 || !frame.copy_out(l3, ip) {
        return false;
    }
    let Some(old) = word(ip, 6) else {
        return false;
    };
    let (flags, first_offset) = (old & !OFFSET_MASK, usize::from(old & OFFSET_MASK));
    let mut done = 0;
    while done < payload {
        let len = room.min(payload - done);
        let last = done + len == payload;
        let more = if last { flags & MORE_FRAGMENTS } else { MORE_FRAGMENTS };
        let offset = (first_offset + done / 8) as u16 & OFFSET_MASK;
        put(ip, 2, (header_len + len) as u16);
        put(ip, 6, (flags & !MORE_FRAGMENTS) | more | offset);
        put(ip, 10, 0);
        let sum = checksum::of(ip);
        put(ip, 10, sum);
        let Some(mut part) = pool.alloc() else {
            return false;
        };
        part.set_tx_vlan(header.tx_vlan);
        if !(part.append(&header.with_ethertype(layers.ethertype))
            && part.append(ip)
            && pool.append_shared(&mut part, frame, l3 + header_len + done, len))
        {
            return false;
        }
        emit(part);
        if done == 0 {
            blank_uncopied_options(ip);
        }
        done += len;
    }
    true
}

/// Options without the copied flag belong to the first fragment only; the others carry no-operations in their place.
fn blank_uncopied_options(ip: &mut [u8]) {
    let mut at = 20;
    while let Some(&kind) = ip.get(at) {
        let len = match kind {
            0 => return,
            1 => 1,
            _ => ip.get(at + 1).map_or(0, |len| usize::from(*len)),
        };
        let Some(option) = ip.get_mut(at..at + len).filter(|option| !option.is_empty()) else {
            return;
        };
        if kind & 0x80 == 0 {
            option.fill(1);
        }
        at += len;
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_be_bytes)
}

fn put(bytes: &mut [u8], at: usize, word: u16) {
    if let Some(place) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<2>()) {
        *place = word.to_be_bytes();
    }
}
