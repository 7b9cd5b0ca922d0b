//! `tcpmss`: the largest segment that a connection's start says.

use packet::wire::ip;

use super::*;
use crate::xt::header::{tcp_options, transport_anyway};

pub(super) static ALL: &[Extension] = &[Extension {
    name: "tcpmss",
    help: "Matches by the largest segment that a TCP header says.",
    protocol: ip::TCP,
    size: 6,
    make: |of| {
        let (range, not) = (of.info.range16(0), of.info.is_set(4));
        Ok(judges(move |cx| {
            let options = tcp_options(cx, transport_anyway(cx))?;
            if options.start > options.end || options.end > cx.end() {
                return None;
            }
            let found = mss(cx, options).map(|(_, mss)| range.contains(&mss));
            Some(found == Some(!not) || found.is_none() && not)
        }))
    },
    ..Extension::MATCH
}];

/// The option's value and where it stands.
pub(in crate::xt) fn mss(cx: &Cx<'_>, options: std::ops::Range<usize>) -> Option<(usize, u16)> {
    const MSS: u8 = 2;
    let mut at = options.start;
    while at < options.end {
        let [kind] = cx.peek(at)?;
        let len = match kind {
            0 | 1 => 1,
            _ => cx.peek(at + 1).map_or(1, |[len]: [u8; 1]| usize::from(len)),
        };
        if kind == MSS && len == 4 && at + 4 <= options.end {
            return Some((at + 2, u16::from_be_bytes(cx.peek(at + 2)?)));
        }
        at += len.max(1);
    }
    None
}
