//! `vlan`: the tag of a frame.

use super::*;

pub(super) static ALL: &[Extension] =
    &[Extension { name: "vlan", help: "Matches by the tag of a frame.", size: 8, make, ..MATCH }];

const ID: u8 = 1;
const PRIORITY: u8 = 2;
const ENCAPSULATED: u8 = 4;
const TAGGED: u16 = 0x8100;
/// `VLAN_N_VID`, and the shortest frame, which no EtherType is below.
const IDS: u16 = 4096;
const SHORTEST: u16 = 60;

fn make(of: &mut Use<'_>) -> Result<Act> {
    let info = of.info;
    let (id, priority) = (info.u16(0), info.u8(2));
    let inside = u16::from_be_bytes(info.bytes(4));
    let mut bits = Bits { asked: info.u8(6), inverted: info.u8(7) };
    refuse_if(!is_ethertype(of, TAGGED))?;
    refuse_if((bits.asked | bits.inverted) & !7 != 0)?;
    if bits.asked & ID != 0 && id != 0 {
        refuse_if(id > IDS)?;
        // A VLAN has no priority of its own.
        bits.asked &= !PRIORITY;
        if let Some(asked) = of.told.get_mut(6) {
            *asked = bits.asked;
        }
    }
    refuse_if(bits.asked & PRIORITY != 0 && priority > 7)?;
    refuse_if(bits.asked & ENCAPSULATED != 0 && inside < SHORTEST)?;
    Ok(matches(move |cx| {
        if cx.layers.vlan_count == 0 {
            return false;
        }
        let [tag, _] = cx.layers.vlan;
        bits.is(id == tag & 0xfff, ID)
            && bits.is(u16::from(priority) == tag >> 13, PRIORITY)
            && bits.is(inside == cx.protocol(), ENCAPSULATED)
    }))
}
