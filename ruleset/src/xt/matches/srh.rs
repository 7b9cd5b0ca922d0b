//! `srh`: IPv6's segment routing header (RFC 8754).

use packet::wire::ip;

use super::*;

const BASE: Extension = Extension {
    name: "srh",
    help: "Matches by IPv6's segment routing header.",
    families: IPV6,
    ..Extension::MATCH
};

pub(super) static ALL: &[Extension] = &[
    Extension { size: 10, make: |of| make(of, FIRST_FLAGS), ..BASE },
    Extension { revision: 1, size: 108, make: |of| make(of, 104), ..BASE },
];

/// Where the flags stand in the first revision.
const FIRST_FLAGS: usize = 6;
const ALL_BITS: u16 = 0x3fff;
const SEGMENT_BITS: u16 = 0x3800;
const SEGMENT_ROUTING: u8 = 4;
const NEXT_HEADER: u16 = 1;
const LENGTH: u16 = 2;
const LEFT: u16 = 0x10;
const LAST: u16 = 0x80;
const TAG: u16 = 0x400;
/// Segments before, next and last of all, each with where its address and mask stand.
const SEGMENTS: [(u16, usize, usize); 3] = [(0x800, 8, 56), (0x1000, 24, 72), (0x2000, 40, 88)];

fn make(of: &mut Use<'_>, flags: usize) -> Result<Act> {
    let info = of.info;
    let ([next, len, left, last], tag) = (info.bytes(0), info.bytes::<2>(4));
    let (asked, inverted) = (info.u16(flags), info.u16(flags + 2));
    refuse_if((asked | inverted) & !ALL_BITS != 0)?;
    // The first revision has no segments; it takes their bits, and asks nothing by them.
    let first = flags == FIRST_FLAGS;
    let asked = if first { asked & !SEGMENT_BITS } else { asked };
    let segment = |(_, addr, mask): (u16, usize, usize)| match first {
        true => ([0; 16], [0; 16]),
        false => (info.bytes(addr), info.bytes(mask)),
    };
    let segments = SEGMENTS.map(segment);
    Ok(matches(move |cx| {
        let found = cx.ext_header(Some(ip::ROUTING)).filter(|found| !found.later);
        let header: Option<(usize, [u8; 8])> =
            found.and_then(|found| Some((found.offset, cx.peek(found.offset)?)));
        let Some((at, [f_next, f_len, kind, f_left, f_last, _, t0, t1])) = header else {
            return false;
        };
        let end = at + (usize::from(f_len) + 1) * 8;
        if end > cx.end() || kind != SEGMENT_ROUTING || f_left > f_last {
            return false;
        }
        let is = |so: bool, bit: u16| asked & bit == 0 || so != (inverted & bit != 0);
        // Equal, greater, less: three bits in a row.
        let compare = |found: u8, with: u8, bit: u16| {
            is(found == with, bit) && is(found > with, bit << 1) && is(found < with, bit << 2)
        };
        let plain = is(f_next == next, NEXT_HEADER)
            && compare(f_len, len, LENGTH)
            && compare(f_left, left, LEFT)
            && compare(f_last, last, LAST)
            && is([t0, t1] == tag, TAG);
        let places = [
            (f_left < f_last).then(|| usize::from(f_left) + 1),
            usize::from(f_left).checked_sub(1),
            Some(0),
        ];
        plain
            && SEGMENTS.iter().zip(places).zip(&segments).all(|(((bit, _, _), n), (addr, mask))| {
                if asked & bit == 0 {
                    return true;
                }
                let segment: Option<[u8; 16]> = n.and_then(|n| cx.peek(at + 8 + 16 * n));
                let Some(segment) = segment.map(u128::from_be_bytes) else { return false };
                let (addr, mask) = (u128::from_be_bytes(*addr), u128::from_be_bytes(*mask));
                is((segment ^ addr) & mask == 0, *bit)
            })
    }))
}
