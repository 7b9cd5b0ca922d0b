//! `rt`: what is known of a packet's route.

use nfnetlink::{Attr, Errno, Result, Writer};

use super::{Decode, Encode, Expr, Kind, Requires};
use crate::family::{Family, Hook, Hooks};
use crate::packet::{Cx, FibAnswer, FibQuery};
use crate::regs::Reg;
use crate::verdict::Verdict;

crate::attributes! {
    /// Reads what is known of a packet's route.
    struct Attributes("rt") {
        /// What.
        2 => key: Key,
        /// Where to.
        1 => dreg: Reg,
    }
}

crate::choice! {
    /// What is known of a route (`enum nft_rt_keys`).
    enum Key: u32, else EOPNOTSUPP {
        /// Its realm.
        ClassId = 0 => "classid",
        /// The next hop's IPv4 address.
        NextHop4 = 1 => "nexthop4",
        /// The next hop's IPv6 address.
        NextHop6 = 2 => "nexthop6",
        /// The largest TCP segment that fits there and back.
        TcpMss = 3 => "tcpmss",
        /// Whether it leads into IPsec.
        Xfrm = 4 => "ipsec",
    }
}

/// Registered in `REGISTRY`.
pub(super) static KIND: Kind = Kind { schema: Attributes::SCHEMA, decode, stateful: false };

/// What a TCP that was told nothing sends (RFC 9293, 3.7.1).
const DEFAULT_MSS: u16 = 536;

#[derive(Debug)]
struct Rt(Attributes);

fn decode(data: &Attr<'_>, cx: &mut Decode<'_>) -> Result<Box<dyn Expr>> {
    let attrs = Attributes::decode(data)?;
    cx.store(
        attrs.dreg,
        match attrs.key {
            Key::ClassId | Key::NextHop4 => 4,
            Key::NextHop6 => 16,
            Key::TcpMss => 2,
            Key::Xfrm => 1,
        },
    )?;
    match cx.family() {
        Family::Ipv4 | Family::Ipv6 | Family::Inet => Ok(Box::new(Rt(attrs))),
        _ => Err(Errno::EOPNOTSUPP.into()),
    }
}

/// The way to an address.
fn route<'a>(cx: &'a Cx<'_>, addr: [u8; 16]) -> FibAnswer<'a> {
    let family = if cx.place.family == Family::Ipv4 { Family::Ipv4 } else { Family::Ipv6 };
    cx.env.fib(&FibQuery { family, addr, iface: None, mark: cx.meta.mark })
}

/// The largest segment that fits on the way to the packet's destination and on the way to its source.
fn mss(cx: &Cx<'_>) -> u16 {
    let headers = if cx.place.family == Family::Ipv4 { 40 } else { 60 };
    let there = route(cx, cx.layers.key.dst).mtu;
    let back = route(cx, cx.layers.key.src);
    let mtu = if back.kind == 0 { there } else { there.min(back.mtu) };
    let mss = mtu.checked_sub(headers).filter(|mss| *mss > 0 && mtu <= 0xffff);
    mss.map_or(DEFAULT_MSS, |mss| mss as u16)
}

impl Expr for Rt {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn eval(&self, cx: &mut Cx<'_>) -> Verdict {
        let Rt(Attributes { dreg, key }) = *self;
        if !cx.is_past_routing() {
            return Verdict::Break;
        }
        let family = match key {
            Key::NextHop4 => Family::Ipv4,
            Key::NextHop6 => Family::Ipv6,
            Key::ClassId | Key::TcpMss | Key::Xfrm => cx.place.family,
        };
        if family != cx.place.family {
            return Verdict::Break;
        }
        let dst = cx.layers.key.dst;
        match key {
            // Routes have no realm here, and none leads into IPsec.
            Key::ClassId => cx.regs.set_u32(dreg, 0),
            Key::Xfrm => cx.regs.set(dreg, &[0]),
            Key::TcpMss => {
                let mss = mss(cx).to_ne_bytes();
                cx.regs.set(dreg, &mss);
            }
            Key::NextHop4 | Key::NextHop6 => {
                let hop = route(cx, dst).gateway.unwrap_or(dst);
                let len = if key == Key::NextHop4 { 4 } else { 16 };
                cx.regs.set(dreg, hop.get(..len).unwrap_or_default());
            }
        }
        Verdict::Continue
    }

    fn encode(&self, out: &mut Writer, _cx: &Encode<'_>) {
        self.0.encode(out);
    }

    fn requires(&self) -> Requires {
        match self.0.key {
            Key::TcpMss => {
                Requires::hooks(Hooks::of([Hook::Forward, Hook::Output, Hook::Postrouting]))
            }
            _ => Requires::ANYTHING,
        }
    }
}
