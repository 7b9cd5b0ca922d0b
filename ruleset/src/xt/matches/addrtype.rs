//! `addrtype`: what kind of address source and destination are.

use super::*;
use crate::packet::FibQuery;
use crate::xt::header::{addresses, is_ipv6};

const HELP: &str = "Matches by what an address is: this host's, broadcast, multicast and so on.";

pub(super) static ALL: &[Extension] = &[
    Extension {
        name: "addrtype",
        help: HELP,
        families: IPV4,
        size: 12,
        make: |of| {
            let (source, destination) = (of.info.u16(0), of.info.u16(2));
            let (not_source, not_destination) = (of.info.u32(4) != 0, of.info.u32(8) != 0);
            Ok(test(source, destination, not_source, not_destination, None))
        },
        ..Extension::MATCH
    },
    Extension { name: "addrtype", revision: 1, help: HELP, size: 8, make, ..Extension::MATCH },
];

const NOT_SOURCE: u32 = 1;
const NOT_DESTINATION: u32 = 2;
const LIMIT_IN: u32 = 4;
const LIMIT_OUT: u32 = 8;

const UNSPEC: u16 = 1;
const UNICAST: u16 = 1 << 1;
const LOCAL: u16 = 1 << 2;
const BROADCAST: u16 = 1 << 3;
const ANYCAST: u16 = 1 << 4;
const MULTICAST: u16 = 1 << 5;
const BLACKHOLE: u16 = 1 << 6;
const UNREACHABLE: u16 = 1 << 7;
const PROHIBIT: u16 = 1 << 8;
/// Kinds of IPv6 addresses that only routes know.
const ROUTED: u16 = LOCAL | ANYCAST | UNREACHABLE;

/// By which interface the address is looked up.
#[derive(Clone, Copy)]
enum By {
    In,
    Out,
}

fn make(of: &mut Use<'_>) -> Result<Act> {
    let (source, destination, flags) = (of.info.u16(0), of.info.u16(2), of.info.u32(4));
    let by = match (flags & LIMIT_IN != 0, flags & LIMIT_OUT != 0) {
        (true, true) => return Err(Errno::EINVAL.into()),
        (true, false) => Some(By::In),
        (false, true) => Some(By::Out),
        (false, false) => None,
    };
    let leaving = Hooks::of([Hook::Postrouting, Hook::Output]);
    let coming = Hooks::of([Hook::Prerouting, Hook::Input]);
    refuse_if(of.hook.0 & coming.0 != 0 && matches!(by, Some(By::Out)))?;
    refuse_if(of.hook.0 & leaving.0 != 0 && matches!(by, Some(By::In)))?;
    let both = source | destination;
    refuse_if(
        of.family == Family::Ipv6 && (both & (BLACKHOLE | BROADCAST) != 0 || both >= PROHIBIT),
    )?;
    Ok(test(source, destination, flags & NOT_SOURCE != 0, flags & NOT_DESTINATION != 0, by))
}

fn test(
    source: u16,
    destination: u16,
    not_source: bool,
    not_destination: bool,
    by: Option<By>,
) -> Act {
    matches(move |cx| {
        let Some((src, dst)) = addresses(cx) else { return false };
        let iface = match by {
            Some(By::In) => cx.place.iif,
            Some(By::Out) => cx.place.oif,
            None => None,
        };
        let iface = iface.map(|iface| iface.index);
        let is = |kinds, addr, not| kinds == 0 || is_one_of(cx, kinds, addr, iface) != not;
        is(source, src, not_source) && is(destination, dst, not_destination)
    })
}

fn is_one_of(cx: &Cx<'_>, kinds: u16, addr: [u8; 16], iface: Option<u32>) -> bool {
    if !is_ipv6(cx) {
        let kind = cx.address_kind(Family::Ipv4, addr, iface, 0);
        return kinds & 1u16.checked_shl(kind).unwrap_or(0) != 0;
    }
    let is_multicast = matches!(addr, [0xff, ..]);
    let is_unspecified = addr == [0; 16];
    let wrong = kinds & MULTICAST != 0 && !is_multicast
        || kinds & UNICAST != 0 && (is_multicast || is_unspecified)
        || kinds & UNSPEC != 0 && !is_unspecified;
    if wrong || kinds & ROUTED == 0 {
        return !wrong;
    }
    let way = cx.env.fib(&FibQuery { family: Family::Ipv6, addr, iface, mark: 0 });
    let is_on_link = matches!(addr, [0xfe, 0x80..=0xbf, ..]);
    // Routes alone count now: `UNICAST` beside a kind that they know says nothing more.
    let kind = match 1u16.checked_shl(way.kind).unwrap_or(0) {
        own @ (LOCAL | ANYCAST) => own,
        UNICAST if way.iface.is_some() => 0,
        _ if is_multicast || is_on_link => 0,
        _ => UNREACHABLE,
    };
    kinds & kind != 0
}
