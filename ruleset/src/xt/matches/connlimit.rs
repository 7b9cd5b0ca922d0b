//! `connlimit`: how many connections an address has.

use super::*;
use crate::tally::By;
use crate::xt::header::addresses;

const INVERT: u32 = 1;
const DESTINATION: u32 = 2;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "connlimit",
    revision: 1,
    help: "Matches by how many connections an address, or a network, has.",
    size: 32,
    told: 24,
    make: |of| {
        let (mask, limit, flags) = (of.info.bytes::<16>(0), of.info.u32(16), of.info.u32(20));
        of.tracked()?;
        let tally = of.counters.tally();
        Ok(judges(move |cx| {
            let (source, destination) = addresses(cx)?;
            let addr = if flags & DESTINATION != 0 { destination } else { source };
            let zone = cx.connection_or_template().map_or(0, |connection| connection.zone(0));
            let mut by = By::default();
            let masked = addr.iter().zip(mask).map(|(addr, mask)| addr & mask);
            by.iter_mut().zip(masked.chain(zone.to_be_bytes())).for_each(|(to, from)| *to = from);
            let count = tally.count(cx, by, limit)?;
            Some((count > limit) != (flags & INVERT != 0))
        }))
    },
    ..Extension::MATCH
}];
