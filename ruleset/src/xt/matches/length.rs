//! `length`: bytes of the IP packet.

use super::*;
use crate::xt::header::is_ipv6;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "length",
    help: "Matches by the length of the IP packet in bytes.",
    size: 6,
    make: |of| {
        let (range, not) = (of.info.range16(0), of.info.is_set(4));
        let range = u32::from(*range.start())..=u32::from(*range.end());
        Ok(matches(move |cx| {
            let (at, more) = if is_ipv6(cx) { (4, 40) } else { (2, 0) };
            let found: Option<[u8; 2]> = cx.peek(cx.network() + at);
            let len = found.map(|bytes| u32::from(u16::from_be_bytes(bytes)) + more);
            len.is_some_and(|len| range.contains(&len) != not)
        }))
    },
    ..Extension::MATCH
}];
