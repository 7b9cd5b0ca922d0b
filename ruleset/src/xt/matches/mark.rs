//! `mark`: the packet's mark.

use super::*;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "mark",
    revision: 1,
    constancy: Constancy::Flow,
    help: "Matches by the packet's mark.",
    families: ANY,
    size: 12,
    make: |of| {
        let (mark, mask, not) = (of.info.u32(0), of.info.u32(4), of.info.is_set(8));
        Ok(matches(move |cx| (cx.meta.mark & mask == mark) != not))
    },
    ..Extension::MATCH
}];
