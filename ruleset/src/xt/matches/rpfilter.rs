//! `rpfilter`: whether the way back leaves by where the packet came in.

use super::*;
use crate::packet::FibQuery;
use crate::xt::header::{addresses, is_ipv6};

pub(super) static ALL: &[Extension] = &[Extension {
    name: "rpfilter",
    help: "Matches where the way back to the source leaves by the interface that the packet came in by.",
    hooks: Hooks::of([Hook::Prerouting]),
    size: 1,
    make,
    ..Extension::MATCH
}];

const LOOSE: u8 = 1;
const BY_MARK: u8 = 2;
const LOCAL_TOO: u8 = 4;
const INVERT: u8 = 8;
/// `RTN_UNICAST`, `RTN_LOCAL`.
const UNICAST: u32 = 1;
const LOCAL: u32 = 2;

fn make(of: &mut Use<'_>) -> Result<Act> {
    let flags = of.info.u8(0);
    refuse_if(flags & !0xf != 0 || !matches!(of.table, "mangle" | "raw"))?;
    Ok(matches(move |cx| is_right(cx, flags) != (flags & INVERT != 0)))
}

fn is_right(cx: &Cx<'_>, flags: u8) -> bool {
    let Some((addr, dst)) = addresses(cx) else { return false };
    let family = if is_ipv6(cx) { Family::Ipv6 } else { Family::Ipv4 };
    // Hosts without an address speak so.
    let speaks = match family {
        Family::Ipv6 => addr == [0; 16],
        _ => addr[0] == 0 && matches!(dst, [255, 255, 255, 255, ..] | [224, 0, 0, ..]),
    };
    if speaks {
        return true;
    }
    let mark = if flags & BY_MARK != 0 { cx.meta.mark } else { 0 };
    let answer = cx.env.fib(&FibQuery { family, addr, iface: None, mark });
    let wanted = answer.kind == UNICAST || answer.kind == LOCAL && flags & LOCAL_TOO != 0;
    let same = answer.iface.map(|iface| iface.index) == cx.place.iif.map(|iif| iif.index);
    wanted && (same || flags & LOOSE != 0)
}
