//! `fib`: what routing says of a packet's addresses.

use nfnetlink::{Attr, Errno, Result, Writer};
use packet::L3;
use packet::wire::ip;

use super::{Decode, Encode, Expr, Kind, Requires};
use crate::family::{Family, Hook, Hooks};
use crate::packet::{Cx, FibQuery, Iface};
use crate::regs::Reg;
use crate::verdict::Verdict;

crate::attributes! {
    /// Asks routing about one of a packet's addresses.
    struct Attributes("fib") {
        /// Where to.
        1 => dreg: Reg,
        /// What is asked.
        2 => result: Answer,
        /// Of what (`saddr` or `daddr`), and what counts: `mark`, `iif` or `oif`; `present`: 1 if there is an interface.
        3 => flags: u32,
    }
}

crate::choice! {
    /// What is asked (`enum nft_fib_result`).
    enum Answer: u32, else EOPNOTSUPP {
        /// Index of the interface that the way leaves by.
        Oif = 1 => "oif",
        /// Its name.
        OifName = 2 => "oifname",
        /// What kind of address it is (`RTN_…`).
        AddrType = 3 => "type",
    }
}

/// `NFTA_FIB_F_…`.
const SADDR: u32 = 1;
const DADDR: u32 = 2;
const MARK: u32 = 4;
const IIF: u32 = 8;
const OIF: u32 = 16;
const PRESENT: u32 = 32;
const ALL: u32 = 63;
/// `RTN_UNSPEC`, `RTN_LOCAL`.
const NOWHERE: u32 = 0;
const LOCAL: u32 = 2;
const IFNAMSIZ: usize = 16;

/// Registered in `REGISTRY`.
pub(super) static KIND: Kind = Kind { schema: Attributes::SCHEMA, decode, stateful: false };

#[derive(Debug)]
struct Fib {
    attrs: Attributes,
    requires: Requires,
}

fn decode(data: &Attr<'_>, cx: &mut Decode<'_>) -> Result<Box<dyn Expr>> {
    if matches!(cx.family(), Family::Arp | Family::Bridge) {
        return Err(Errno::ENOENT.into());
    }
    let attrs = Attributes::decode(data)?;
    let flags = attrs.flags;
    let both = |a, b| flags & a != 0 && flags & b != 0;
    let about_interface = attrs.result != Answer::AddrType;
    if flags & !ALL != 0
        || flags & (SADDR | DADDR) == 0
        || both(SADDR, DADDR)
        || both(IIF, OIF)
        || about_interface && flags & OIF != 0
    {
        return Err(Errno::EINVAL.into());
    }
    cx.store(attrs.dreg, if attrs.result == Answer::OifName { IFNAMSIZ } else { 4 })?;
    let requires = Requires::hooks(hooks(&attrs, cx.family()));
    Ok(Box::new(Fib { attrs, requires }))
}

/// Where it may be asked: routing is known to whom comes in or goes out.
fn hooks(attrs: &Attributes, family: Family) -> Hooks {
    let [iif, oif] = [IIF, OIF].map(|flag| attrs.flags & flag != 0);
    let hooks = match attrs.result {
        Answer::Oif | Answer::OifName if iif => {
            Hooks::of([Hook::Prerouting, Hook::Input, Hook::Forward])
        }
        Answer::Oif | Answer::OifName => Hooks::of([Hook::Prerouting]),
        Answer::AddrType if iif => Hooks::of([Hook::Prerouting, Hook::Input, Hook::Forward]),
        Answer::AddrType if oif => Hooks::of([Hook::Forward, Hook::Output, Hook::Postrouting]),
        Answer::AddrType => Hooks::of([
            Hook::Prerouting,
            Hook::Input,
            Hook::Forward,
            Hook::Output,
            Hook::Postrouting,
        ]),
    };
    if family != Family::Netdev {
        return hooks;
    }
    // Linux means the hooks by number, and a device's first two are ingress and egress.
    let mut device = Hooks(0);
    for (ip, hook) in [(Hook::Prerouting, Hook::Ingress), (Hook::Input, Hook::Egress)] {
        if hooks.has(ip) {
            device = Hooks(device.0 | Hooks::of([hook]).0);
        }
    }
    device
}

impl Fib {
    fn has(&self, flag: u32) -> bool {
        self.attrs.flags & flag != 0
    }

    /// Asks; `None` where the packet has no address to ask of.
    fn ask(&self, cx: &mut Cx<'_>) -> Option<()> {
        let family = match cx.l3() {
            L3::Ipv4 => Family::Ipv4,
            L3::Ipv6 => Family::Ipv6,
            L3::Arp | L3::Other => return None,
        };
        let key = &cx.layers.key;
        let addr = if self.has(DADDR) { key.dst } else { key.src };
        let iface = if self.has(IIF) {
            cx.place.iif
        } else if self.has(OIF) {
            cx.place.oif
        } else {
            None
        };
        let mark = if self.has(MARK) { cx.meta.mark } else { 0 };
        let Attributes { dreg, result, .. } = self.attrs;
        if result == Answer::AddrType {
            // An address of a link is asked for on the link that the packet is on.
            let on_link = family == Family::Ipv6 && matches!(addr, [0xfe, 0x80..=0xbf, ..]);
            let iface = iface.or_else(|| device(cx).filter(|_| on_link));
            let kind = cx.address_kind(family, addr, iface.map(|iface| iface.index), mark);
            cx.regs.set_u32(dreg, kind);
            return Some(());
        }
        let iface = iface.map(|iface| iface.index);
        let answer = cx.env.fib(&FibQuery { family, addr, iface, mark });
        let iface = if speaks_on_link(cx) {
            cx.place.iif
        } else if matches!(answer.kind, NOWHERE | LOCAL) {
            None
        } else {
            answer.iface
        };
        let (word, name) = match result {
            _ if self.has(PRESENT) => (iface.is_some().into(), None),
            Answer::OifName => (0, Some(name(iface))),
            _ => (iface.map_or(0, |iface| iface.index), None),
        };
        match name {
            Some(name) => cx.regs.set(dreg, &name),
            None => cx.regs.set_u32(dreg, word),
        }
        Some(())
    }
}

/// The device that holds the packet (`skb->dev`).
fn device<'a>(cx: &Cx<'a>) -> Option<Iface<'a>> {
    match cx.place.hook {
        Hook::Output | Hook::Postrouting => cx.place.oif,
        _ => cx.place.iif,
    }
}

fn name(iface: Option<Iface<'_>>) -> [u8; IFNAMSIZ] {
    let mut name = [0; IFNAMSIZ];
    for (to, from) in name.iter_mut().zip(iface.map_or("", |iface| iface.name).as_bytes()) {
        *to = *from;
    }
    name
}

/// Whether a host without an address speaks to its link: then the way back is where it came from.
fn speaks_on_link(cx: &Cx<'_>) -> bool {
    let key = &cx.layers.key;
    match cx.l3() {
        L3::Ipv4 => {
            let to_link = matches!(key.dst, [255, 255, 255, 255, ..] | [224, 0, 0, ..]);
            key.src[0] == 0 && to_link
        }
        L3::Ipv6 => {
            let icmp6 = cx.transport.is_some_and(|found| found.protocol == ip::ICMP6);
            let [first, second, ..] = key.dst;
            let link = match first {
                0xff => second & 0xf == 2,
                _ => first == 0xfe && second & 0xc0 == 0x80,
            };
            icmp6 && key.src == [0; 16] && link
        }
        L3::Arp | L3::Other => false,
    }
}

impl Expr for Fib {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn eval(&self, cx: &mut Cx<'_>) -> Verdict {
        match self.ask(cx) {
            Some(()) => Verdict::Continue,
            None => Verdict::Break,
        }
    }

    fn encode(&self, out: &mut Writer, _cx: &Encode<'_>) {
        self.attrs.encode(out);
    }

    fn requires(&self) -> Requires {
        self.requires
    }
}
