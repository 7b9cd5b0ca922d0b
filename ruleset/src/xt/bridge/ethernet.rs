//! `802_3`: the header of frames with a length instead of an EtherType.

use super::*;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "802_3",
    help: "Matches by access points and protocols of 802.3 frames.",
    size: 6,
    make,
    ..MATCH
}];

const ACCESS_POINT: u8 = 1;
const TYPE: u8 = 2;
/// What stands for a type behind it.
const SNAP: u8 = 0xaa;
/// The control field has one byte.
const UNNUMBERED: u8 = 3;

fn make(of: &mut Use<'_>) -> Result<Act> {
    let info = of.info;
    let (point, kind) = (info.u8(0), info.bytes::<2>(2));
    let bits = Bits { asked: info.u8(4), inverted: info.u8(5) };
    refuse_if((bits.asked | bits.inverted) & !7 != 0)?;
    Ok(matches(move |cx| {
        let Some([to, from, control]) = cx.peek(cx.data()) else { return false };
        if !bits.is(point == from, ACCESS_POINT) || !bits.is(point == to, ACCESS_POINT) {
            return false;
        }
        if bits.asked & TYPE == 0 {
            return true;
        }
        let at = cx.data() + if control & UNNUMBERED != 0 { 6 } else { 7 };
        let found: Option<[u8; 2]> = cx.peek(at);
        [to, from] == [SNAP; 2] && found.is_some_and(|found| bits.is(found == kind, TYPE))
    }))
}
