//! `devgroup`: groups of interfaces.

use super::*;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "devgroup",
    constancy: Constancy::Flow,
    help: "Matches by the groups of the interfaces.",
    families: ANY,
    size: 20,
    make,
    ..Extension::MATCH
}];

const SOURCE: u32 = 1;
const NOT_SOURCE: u32 = 2;
const DESTINATION: u32 = 4;
const NOT_DESTINATION: u32 = 8;

fn make(of: &mut Use<'_>) -> Result<Act> {
    let [flags, source, source_mask, destination, destination_mask] =
        [0, 4, 8, 12, 16].map(|at| of.info.u32(at));
    refuse_if(flags & !0xf != 0)?;
    refuse_if(flags & SOURCE != 0 && of.is_outside(INBOUND))?;
    refuse_if(flags & DESTINATION != 0 && of.is_outside(OUTBOUND))?;
    Ok(matches(move |cx| {
        let is = |iface: Option<crate::packet::Iface<'_>>, group, mask, asked, not| {
            let found = iface.map_or(0, |iface| iface.group);
            flags & asked == 0 || ((group ^ found) & mask == 0) != (flags & not != 0)
        };
        is(cx.place.iif, source, source_mask, SOURCE, NOT_SOURCE)
            && is(cx.place.oif, destination, destination_mask, DESTINATION, NOT_DESTINATION)
    }))
}
