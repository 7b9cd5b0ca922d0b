//! `connlimit`: how many connections an address has.

use super::*;

const INVERT: u32 = 1;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "connlimit",
    revision: 1,
    help: "Matches by how many connections an address, or a network, has.",
    standing: Standing::Stored("takes each packet for the only connection there is"),
    size: 32,
    told: 24,
    make: |of| {
        let (limit, flags) = (of.info.u32(16), of.info.u32(20));
        of.tracked()?;
        Ok(matches(move |_| (1 > limit) != (flags & INVERT != 0)))
    },
    ..Extension::MATCH
}];
