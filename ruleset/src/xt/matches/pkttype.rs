//! `pkttype`: whom a frame came for.

use super::*;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "pkttype",
    help: "Matches by whom the frame came for: this host, everyone, a group.",
    families: ANY,
    size: 8,
    make: |of| {
        let (wanted, not) = (of.info.u32(0), of.info.u32(4) != 0);
        Ok(matches(move |cx| (u32::from(cx.pkttype()) == wanted) != not))
    },
    ..Extension::MATCH
}];
