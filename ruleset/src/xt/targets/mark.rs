//! `MARK`: changes the packet's mark.

use super::*;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "MARK",
    revision: 2,
    constancy: Constancy::Flow,
    help: "Changes bits of the packet's mark: clears those of the mask, then toggles those of the value.",
    families: &[Family::Ipv4, Family::Ipv6, Family::Arp],
    size: 8,
    make,
    ..Extension::TARGET
}];

fn make(of: &mut Use<'_>) -> Result<Act> {
    let (mark, mask) = (of.info.u32(0), of.info.u32(4));
    Ok(does(move |cx| {
        let new = cx.meta.mark & !mask ^ mark;
        cx.effects.rewritten |= new != cx.meta.mark;
        cx.meta.mark = new;
    }))
}
