//! `TCPMSS`: lowers the largest segment that a connection's start says.

use packet::wire::ip;

use super::*;
use crate::packet::FibQuery;
use crate::xt::header::{Transport, addresses, is_ipv6, rewrite, tcp_options, transport};
use crate::xt::matches::mss;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "TCPMSS",
    help: "Lowers the largest segment that a TCP header says. It is not added where it is missing.",
    protocol: ip::TCP,
    size: 2,
    make,
    ..Extension::TARGET
}];

/// `XT_TCPMSS_CLAMP_PMTU`: as much as the way takes.
const BY_ROUTE: u16 = 0xffff;

fn make(of: &mut Use<'_>) -> Result<Act> {
    let wanted = of.info.u16(0);
    refuse_if(wanted == BY_ROUTE && of.is_outside(OUTBOUND))?;
    Ok(Box::new(move |cx| match lower(cx, wanted) {
        Some(()) => Verdict::Continue,
        None => Verdict::Drop,
    }))
}

/// `None` where the packet cannot be right.
fn lower(cx: &mut Cx<'_>, wanted: u16) -> Option<()> {
    let Transport::At(at) = transport(cx) else { return Some(()) };
    let options = tcp_options(cx, at)?;
    if options.start > options.end || options.end > cx.end() {
        return None;
    }
    let most = if wanted == BY_ROUTE { by_route(cx)? } else { wanted };
    if let Some((place, found)) = mss(cx, options)
        && found > most
    {
        rewrite(cx, at, place, &most.to_be_bytes(), at + 16);
    }
    Some(())
}

/// What fits into the largest packet that both ways take.
fn by_route(cx: &Cx<'_>) -> Option<u16> {
    let (family, headers) = if is_ipv6(cx) { (Family::Ipv6, 60) } else { (Family::Ipv4, 40) };
    let (src, dst) = addresses(cx)?;
    let mtu = |addr| {
        let answer = cx.env.fib(&FibQuery { family, addr, iface: None, mark: cx.meta.mark });
        if answer.mtu == 0 { u32::MAX } else { answer.mtu }
    };
    let most = mtu(src).min(mtu(dst)).checked_sub(headers).filter(|most| *most > 0)?;
    Some(most.min(u16::MAX.into()) as u16)
}
