//! `mark_m` and `mark`: matches the frame's mark, and changes it.

use super::*;

pub(super) static ALL: &[Extension] = &[
    Extension {
        name: "mark_m",
        help: "Matches by the frame's mark.",
        size: 24,
        make: |of| {
            let (mark, mask) = (of.info.u64(0), of.info.u64(8));
            let [inverted, ways] = of.info.bytes(16);
            refuse_if(ways & !3 != 0 || inverted > 1 || ways == 0)?;
            Ok(matches(move |cx| {
                let found = u64::from(cx.meta.mark) & mask;
                let so = if ways & ANY_BIT != 0 { found != 0 } else { found == mark };
                so != (inverted != 0)
            }))
        },
        ..MATCH
    },
    Extension { name: "mark", help: "Changes the frame's mark.", size: 16, make: set, ..TARGET },
];

const ANY_BIT: u8 = 2;
/// What is done, beside the verdict, in one number.
const SET: i32 = -16;
const OR: i32 = -32;
const AND: i32 = -48;
const XOR: i32 = -64;

fn set(of: &mut Use<'_>) -> Result<Act> {
    let (mark, target) = (of.info.u32(0), of.info.u32(8) as i32);
    let then = verdict(target | !VERDICT)?;
    let way = target & !VERDICT;
    refuse_if(!matches!(way, SET | OR | AND | XOR))?;
    Ok(Box::new(move |cx| {
        let old = cx.meta.mark;
        cx.meta.mark = match way {
            SET => mark,
            OR => old | mark,
            AND => old & mark,
            _ => old ^ mark,
        };
        then
    }))
}
