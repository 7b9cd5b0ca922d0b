//! `tcp`: ports, flags and options.

use packet::wire::ip;

use super::*;
use crate::xt::header::{judge, tcp_options};

pub(super) static ALL: &[Extension] = &[Extension {
    name: "tcp",
    constancy: Constancy::Flow,
    help: "Matches TCP packets by ports, flags and an option.",
    protocol: ip::TCP,
    size: 12,
    make,
    ..Extension::MATCH
}];

const NOT_SOURCE: u8 = 1;
const NOT_DESTINATION: u8 = 2;
const NOT_FLAGS: u8 = 4;
const NOT_OPTION: u8 = 8;

fn make(of: &mut Use<'_>) -> Result<Act> {
    let info = of.info;
    let (source, destination) = (info.range16(0), info.range16(4));
    let [option, mask, compared, inverted] = info.bytes(8);
    refuse_if(inverted & !0xf != 0)?;
    of.looks_if(mask != 0 || compared != 0 || inverted & NOT_FLAGS != 0 || option != 0);
    Ok(judges(move |cx| {
        let is = |found: bool, not: u8| found != (inverted & not != 0);
        judge(cx, |at, header: [u8; 20]| {
            let [s0, s1, d0, d1, .., flags, _, _, _, _, _, _] = header;
            let ports = is(source.contains(&u16::from_be_bytes([s0, s1])), NOT_SOURCE)
                && is(destination.contains(&u16::from_be_bytes([d0, d1])), NOT_DESTINATION);
            if !ports || !is(flags & mask == compared, NOT_FLAGS) {
                return Some(false);
            }
            if option == 0 {
                return Some(true);
            }
            has_option(cx, at, option).map(|found| is(found, NOT_OPTION))
        })
    }))
}

/// Whether an option is there; `None` where the header is shorter than it may be, or cut off.
pub(super) fn has_option(cx: &Cx<'_>, header: usize, wanted: u8) -> Option<bool> {
    let options = tcp_options(cx, header)?;
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
            _ if at + 1 == options.end => 1,
            _ => cx.peek(at + 1).map_or(1, |[len]: [u8; 1]| usize::from(len.max(1))),
        };
    }
    Some(false)
}
