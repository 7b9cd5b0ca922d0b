//! `frag`: IPv6's fragment header.

use packet::wire::ip;

use super::*;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "frag",
    help: "Matches by IPv6's fragment header.",
    families: IPV6,
    size: 16,
    make,
    ..Extension::MATCH
}];

const RESERVED: u8 = 4;
const FIRST: u8 = 8;
const MORE: u8 = 0x10;
const LAST: u8 = 0x20;

fn make(of: &mut Use<'_>) -> Result<Act> {
    let (ids, asked, inverted) = (of.info.range32(0), of.info.u8(12), of.info.u8(13));
    refuse_if(inverted & !3 != 0)?;
    Ok(matches(move |cx| {
        let header = cx.ext_header(Some(ip::FRAGMENT));
        let header: Option<[u8; 8]> = header.and_then(|found| cx.peek(found.offset));
        let Some([_, reserved, o0, o1, a, b, c, d]) = header else { return false };
        let offset = u16::from_be_bytes([o0, o1]);
        let is_not = |bit, wrong: bool| asked & bit != 0 && wrong;
        ids.contains(&u32::from_be_bytes([a, b, c, d])) != (inverted & 1 != 0)
            && !is_not(RESERVED, reserved != 0 || offset & 6 != 0)
            && !is_not(FIRST, offset & !7 != 0)
            && !is_not(MORE, offset & 1 == 0)
            && !is_not(LAST, offset & 1 == 1)
    }))
}
