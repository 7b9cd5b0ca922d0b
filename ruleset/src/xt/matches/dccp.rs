//! `dccp`: ports, types and options.

use super::*;
use crate::xt::header::judge;

/// `IPPROTO_DCCP`.
const DCCP: u8 = 33;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "dccp",
    help: "Matches DCCP packets by ports, type and an option.",
    protocol: DCCP,
    size: 16,
    make,
    ..Extension::MATCH
}];

const SOURCE: u16 = 1;
const DESTINATION: u16 = 2;
const TYPE: u16 = 4;
const OPTION: u16 = 8;

fn make(of: &mut Use<'_>) -> Result<Act> {
    let (destination, source) = (of.info.range16(0), of.info.range16(4));
    let (asked, inverted) = (of.info.u16(8), of.info.u16(10));
    let (types, option) = (of.info.u16(12), of.info.u8(14));
    refuse_if((asked | inverted) & !0xf != 0 || inverted & !asked != 0)?;
    Ok(judges(move |cx| {
        let is = |found: bool, what| asked & what == 0 || found != (inverted & what != 0);
        judge(cx, |at, header: [u8; 12]| {
            let [s0, s1, d0, d1, words, _, _, _, kind, _, _, _] = header;
            let so = is(source.contains(&u16::from_be_bytes([s0, s1])), SOURCE)
                && is(destination.contains(&u16::from_be_bytes([d0, d1])), DESTINATION)
                && is(types >> (kind >> 1 & 0xf) & 1 == 1, TYPE);
            if !so || asked & OPTION == 0 {
                return Some(so);
            }
            let options = at + header_len(kind)..at + usize::from(words) * 4;
            has_option(cx, options, option).map(|found| is(found, OPTION))
        })
    }))
}

/// Bytes in front of the options, by type and by whether sequence numbers are long (RFC 4340, 5.1).
const fn header_len(kind: u8) -> usize {
    let basic = if kind & 1 == 1 { 16 } else { 12 };
    basic
        + match kind >> 1 & 0xf {
            0 => 4,
            1 | 7 => 12,
            3..=6 | 8 | 9 => 8,
            _ => 0,
        }
}

fn has_option(cx: &Cx<'_>, options: std::ops::Range<usize>, wanted: u8) -> Option<bool> {
    if options.start > options.end || options.end > cx.end() {
        return None;
    }
    let mut at = options.start;
    while at < options.end {
        let [kind] = cx.peek(at)?;
        if kind == wanted {
            return Some(true);
        }
        at += match kind {
            0 | 1 => 1,
            _ => cx.peek(at + 1).map_or(1, |[len]: [u8; 1]| usize::from(len.max(1))),
        };
    }
    Some(false)
}
