//! `rt`: IPv6's routing header.

use packet::wire::ip;

use super::*;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "rt",
    help: "Matches by IPv6's routing header.",
    families: IPV6,
    size: 280,
    make,
    ..Extension::MATCH
}];

const TYPE: u8 = 1;
const SEGMENTS: u8 = 2;
const LENGTH: u8 = 4;
const RESERVED: u8 = 8;
const ADDRESSES: u8 = 0x10;
const LOOSE: u8 = 0x20;
/// What only a header of type 0 has.
const TYPE_0: u8 = RESERVED | ADDRESSES | LOOSE;
/// Addresses that may be listed (`IP6T_RT_HOPS`).
const HOPS: usize = 16;

fn make(of: &mut Use<'_>) -> Result<Act> {
    let info = of.info;
    let (kind, segments, length) = (info.u32(0), info.range32(4), info.u32(12));
    let ([asked, inverted], count) = (info.bytes(16), usize::from(info.u8(276)));
    refuse_if(inverted & !7 != 0)?;
    let of_type_0 = asked & TYPE != 0 && kind == 0 && inverted & TYPE == 0;
    refuse_if(asked & TYPE_0 != 0 && !of_type_0)?;
    refuse_if(count > HOPS)?;
    let wanted: Box<[[u8; 16]]> = (0..count).map(|n| info.bytes(20 + 16 * n)).collect();
    Ok(matches(move |cx| {
        let found = cx.ext_header(Some(ip::ROUTING)).filter(|found| !found.later);
        let header: Option<(usize, [u8; 4])> =
            found.and_then(|found| Some((found.offset, cx.peek(found.offset)?)));
        let Some((at, [_, len, found, left])) = header else { return false };
        let size = (usize::from(len) + 1) * 8;
        if at + size > cx.end() {
            return false;
        }
        let is = |so: bool, bit: u8| so != (inverted & bit != 0);
        let so = is(segments.contains(&left.into()), SEGMENTS)
            && (asked & LENGTH == 0 || is(length as usize == size, LENGTH))
            && (asked & TYPE == 0 || is(kind == found.into(), TYPE))
            && (asked & RESERVED == 0 || cx.peek(at + 4) == Some([0; 4]));
        so && (asked & ADDRESSES == 0
            || has(cx, at + 8, (size - 8) / 16, &wanted, asked & LOOSE != 0))
    }))
}

/// Whether the header's addresses are these, or, loosely, have these in this order.
fn has(cx: &Cx<'_>, at: usize, count: usize, wanted: &[[u8; 16]], loose: bool) -> bool {
    if wanted.len() > count || !loose && wanted.len() != count {
        return false;
    }
    let mut wanted = wanted.iter().peekable();
    for n in 0..count {
        let found = cx.peek(at + 16 * n);
        if wanted.next_if(|next| found == Some(**next)).is_none() && !loose {
            return false;
        }
    }
    wanted.peek().is_none()
}
