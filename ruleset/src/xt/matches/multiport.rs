//! `multiport`: up to 15 ports.

use std::ops::RangeInclusive;

use super::*;
use crate::xt::header::{has_ports, judge};

pub(super) static ALL: &[Extension] = &[Extension {
    name: "multiport",
    revision: 1,
    constancy: Constancy::Flow,
    help: "Matches by up to 15 ports and ranges of ports.",
    size: 48,
    make,
    ..Extension::MATCH
}];

/// `XT_MULTI_PORTS`.
const PORTS: usize = 15;
const SOURCE: u8 = 0;
const DESTINATION: u8 = 1;
const EITHER: u8 = 2;

fn make(of: &mut Use<'_>) -> Result<Act> {
    let info = of.info;
    let (which, count, not) = (info.u8(0), usize::from(info.u8(1)), info.is_set(47));
    let ported = u8::try_from(of.protocol).is_ok_and(has_ports) && !of.inverted;
    refuse_if(!ported || which > EITHER || count > PORTS)?;
    let ranges = ranges(info, count);
    Ok(judges(move |cx| {
        let among = |port| ranges.iter().any(|range| range.contains(&port));
        judge(cx, |_, [s0, s1, d0, d1]: [u8; 4]| {
            let (source, destination) =
                (u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1]));
            let so = which != DESTINATION && among(source) || which != SOURCE && among(destination);
            Some(so != not)
        })
    }))
}

/// A port that is marked begins a range, which the next ends.
fn ranges(info: Info<'_>, count: usize) -> Box<[RangeInclusive<u16>]> {
    let mut ranges = Vec::new();
    let mut n = 0;
    while n < count {
        let first = info.u16(2 + 2 * n);
        if info.is_set(32 + n) {
            n += 1;
            ranges.push(first..=info.u16(2 + 2 * n));
        } else {
            ranges.push(first..=first);
        }
        n += 1;
    }
    ranges.into()
}
