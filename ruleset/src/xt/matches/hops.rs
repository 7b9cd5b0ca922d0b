//! `ttl`, `hl`: how many hops a packet may still take.

use super::*;
use crate::xt::header::is_ipv6;

pub(super) static ALL: &[Extension] = &[
    Extension {
        name: "hl",
        help: "Matches by IPv6's hop limit.",
        families: IPV6,
        size: 2,
        make,
        ..Extension::MATCH
    },
    Extension {
        name: "ttl",
        help: "Matches by IPv4's time to live.",
        families: IPV4,
        size: 2,
        make,
        ..Extension::MATCH
    },
];

fn make(of: &mut Use<'_>) -> Result<Act> {
    let [mode, wanted] = of.info.bytes(0);
    Ok(matches(move |cx| {
        let at = cx.network() + if is_ipv6(cx) { 7 } else { 8 };
        let Some([hops]) = cx.peek(at) else { return false };
        match mode {
            0 => hops == wanted,
            1 => hops != wanted,
            2 => hops < wanted,
            3 => hops > wanted,
            _ => false,
        }
    }))
}
