//! `ah`: IPsec's authentication header.

use packet::wire::ip;

use super::*;
use crate::xt::header::judge;

const HELP: &str = "Matches authentication headers by their security parameter index.";

pub(super) static ALL: &[Extension] = &[
    Extension {
        name: "ah",
        help: HELP,
        families: IPV4,
        protocol: ip::AH,
        size: 12,
        make: |of| {
            let (range, inverted) = (of.info.range32(0), of.info.u8(8));
            refuse_if(inverted & !1 != 0)?;
            Ok(judges(move |cx| {
                judge(cx, |_, [_, _, _, _, a, b, c, d, _, _, _, _]: [u8; 12]| {
                    Some(range.contains(&u32::from_be_bytes([a, b, c, d])) != (inverted != 0))
                })
            }))
        },
        ..Extension::MATCH
    },
    Extension { name: "ah", help: HELP, families: IPV6, size: 16, make, ..Extension::MATCH },
];

const NOT_INDEX: u8 = 1;
const NOT_LENGTH: u8 = 2;

fn make(of: &mut Use<'_>) -> Result<Act> {
    let (range, length) = (of.info.range32(0), of.info.u32(8));
    let (reserved, inverted) = (of.info.is_set(12), of.info.u8(13));
    refuse_if(inverted & !3 != 0)?;
    Ok(matches(move |cx| {
        let header = cx.ext_header(Some(ip::AH)).filter(|found| !found.later);
        let header: Option<[u8; 8]> = header.and_then(|found| cx.peek(found.offset));
        let Some([_, words, r0, r1, a, b, c, d]) = header else { return false };
        let index = range.contains(&u32::from_be_bytes([a, b, c, d]));
        let long = (u32::from(words) + 2) * 4;
        index != (inverted & NOT_INDEX != 0)
            && (length == 0 || (length == long) != (inverted & NOT_LENGTH != 0))
            && !(reserved && [r0, r1] != [0, 0])
    }))
}
