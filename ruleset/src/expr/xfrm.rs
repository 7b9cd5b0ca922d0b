//! `xfrm`: what is known of the IPsec states that a packet came or goes by. There is no IPsec here, so none is.

use nfnetlink::{Attr, Errno, Result, Writer};

use super::{Decode, Encode, Expr, Kind, Requires};
use crate::family::{Family, Hook, Hooks};
use crate::packet::Cx;
use crate::regs::Reg;
use crate::verdict::Verdict;

crate::attributes! {
    /// Reads what is known of the IPsec state that a packet came or goes by.
    struct Attributes("xfrm") {
        /// Where to.
        1 => dreg: Reg,
        /// What.
        2 => key: Key,
        /// By which it came, or by which it goes.
        3 => direction: Direction,
        /// Which of several; 0 if it is not said.
        4 => number: Option<u32>,
    }
}

crate::choice! {
    /// What is known of a state (`enum nft_xfrm_keys`).
    enum Key: u32 {
        /// IPv4 destination address.
        Daddr4 = 1 => "ip-daddr",
        /// IPv6 destination address.
        Daddr6 = 2 => "ip6-daddr",
        /// IPv4 source address.
        Saddr4 = 3 => "ip-saddr",
        /// IPv6 source address.
        Saddr6 = 4 => "ip6-saddr",
        /// Its request id.
        Reqid = 5 => "reqid",
        /// Its security parameters index.
        Spi = 6 => "spi",
    }
}

crate::choice! {
    /// Which way (`XFRM_POLICY_…`).
    enum Direction: u8 {
        /// It came by it.
        In = 0 => "in",
        /// It goes by it.
        Out = 1 => "out",
    }
}

/// Registered in `REGISTRY`.
pub(super) static KIND: Kind = Kind { schema: Attributes::SCHEMA, decode, stateful: false };

/// `XFRM_MAX_DEPTH`.
const MAX_STATES: u32 = 6;

#[derive(Debug)]
struct Xfrm(Attributes);

fn decode(data: &Attr<'_>, cx: &mut Decode<'_>) -> Result<Box<dyn Expr>> {
    let attrs = Attributes::decode(data)?;
    if !matches!(cx.family(), Family::Ipv4 | Family::Ipv6 | Family::Inet) {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let number = attrs.number.unwrap_or(0);
    if number >= MAX_STATES {
        return Err(Errno::ERANGE.into());
    }
    let len = if matches!(attrs.key, Key::Daddr6 | Key::Saddr6) { 16 } else { 4 };
    cx.store(attrs.dreg, len)?;
    Ok(Box::new(Xfrm(Attributes { number: Some(number), ..attrs })))
}

impl Expr for Xfrm {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn eval(&self, _cx: &mut Cx<'_>) -> Verdict {
        Verdict::Break
    }

    fn encode(&self, out: &mut Writer, _cx: &Encode<'_>) {
        self.0.encode(out);
    }

    fn requires(&self) -> Requires {
        Requires::hooks(match self.0.direction {
            Direction::In => Hooks::of([Hook::Prerouting, Hook::Input, Hook::Forward]),
            Direction::Out => Hooks::of([Hook::Forward, Hook::Output, Hook::Postrouting]),
        })
    }
}
