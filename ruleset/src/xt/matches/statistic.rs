//! `statistic`: a share of packets, by chance or each so-and-so-many.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "statistic",
    help: "Matches a share of packets, by chance or each so-and-so-many.",
    families: ANY,
    size: 24,
    told: 16,
    make,
    ..Extension::MATCH
}];

const RANDOM: u16 = 0;
const NTH: u16 = 1;
const INVERT: u16 = 1;

fn make(of: &mut Use<'_>) -> Result<Act> {
    let (mode, flags) = (of.info.u16(0), of.info.u16(2));
    // A share of 2^31, or the packets between two.
    let (share, start) = (of.info.u32(4), of.info.u32(12));
    refuse_if(mode > NTH || flags & !INVERT != 0)?;
    let not = flags & INVERT != 0;
    if mode == RANDOM {
        return Ok(matches(move |cx| (cx.env.random() & (u32::MAX >> 1) < share) != not));
    }
    let count = AtomicU32::new(start);
    Ok(matches(move |_| {
        let after = |count: u32| if count == share { 0 } else { count.wrapping_add(1) };
        let step = |count| Some(after(count));
        let before = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
        (before.map(after) == Ok(0)) != not
    }))
}
