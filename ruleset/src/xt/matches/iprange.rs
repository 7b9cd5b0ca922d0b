//! `iprange`: ranges of addresses.

use super::*;
use crate::xt::header::{addresses, is_ipv6};

pub(super) static ALL: &[Extension] = &[Extension {
    name: "iprange",
    revision: 1,
    constancy: Constancy::Flow,
    help: "Matches by ranges of addresses.",
    size: 68,
    make,
    ..Extension::MATCH
}];

const SOURCE: u8 = 1;
const DESTINATION: u8 = 2;
const NOT_SOURCE: u8 = 0x10;
const NOT_DESTINATION: u8 = 0x20;

fn make(of: &mut Use<'_>) -> Result<Act> {
    let limits: [[u8; 16]; 4] = [0, 16, 32, 48].map(|at| of.info.bytes(at));
    let flags = of.info.u8(64);
    Ok(matches(move |cx| {
        let Some((src, dst)) = addresses(cx) else { return false };
        // IPv4's stand in the first four bytes.
        let bits = if is_ipv6(cx) { 0 } else { 96 };
        let number = |addr: &[u8; 16]| u128::from_be_bytes(*addr) >> bits;
        let [src_min, src_max, dst_min, dst_max] = limits.each_ref().map(number);
        let is = |addr, min, max, asked, not| {
            let within = (min..=max).contains(&number(addr));
            flags & asked == 0 || within != (flags & not != 0)
        };
        is(&src, src_min, src_max, SOURCE, NOT_SOURCE)
            && is(&dst, dst_min, dst_max, DESTINATION, NOT_DESTINATION)
    }))
}
