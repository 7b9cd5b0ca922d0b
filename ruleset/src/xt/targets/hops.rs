//! `TTL`, `HL`: changes how many hops a packet may still take.

use super::*;
use crate::xt::header::{is_ipv6, rewrite};

pub(super) static ALL: &[Extension] = &[
    Extension {
        name: "HL",
        help: "Changes IPv6's hop limit.",
        families: IPV6,
        table: Some("mangle"),
        size: 2,
        make,
        ..Extension::TARGET
    },
    Extension {
        name: "TTL",
        help: "Changes IPv4's time to live.",
        families: IPV4,
        table: Some("mangle"),
        size: 2,
        make,
        ..Extension::TARGET
    },
];

const SET: u8 = 0;
const UP: u8 = 1;
const DOWN: u8 = 2;

fn make(of: &mut Use<'_>) -> Result<Act> {
    let [mode, by] = of.info.bytes(0);
    refuse_if(mode > DOWN || mode != SET && by == 0)?;
    Ok(does(move |cx| {
        let network = cx.network();
        let at = network + if is_ipv6(cx) { 7 } else { 8 };
        let Some([old]) = cx.peek(at) else { return };
        let new = match mode {
            SET => by,
            UP => old.saturating_add(by),
            _ => old.saturating_sub(by),
        };
        if is_ipv6(cx) {
            cx.store(at, &[new]);
        } else {
            rewrite(cx, network, at, &[new], network + 10);
        }
    }))
}
