//! `nat`: gives a connection another source or destination (Linux: `nft_nat.c`). What that comes to decides the dataplane, by
//! [`Env::translate`](crate::packet::Env::translate); chains of type nat see the first packet of a connection only.

use nfnetlink::{Attr, Errno, Result, Writer};

use super::{Decode, Encode, Expr, Kind, Ref, Requires};
use crate::family::{ChainType, Family, Hook, Hooks};
use crate::packet::{Constancy, Cx, Side, To, Translate};
use crate::regs::Reg;
use crate::schema::{Field as _, Value as _};
use crate::verdict::Verdict;

crate::attributes! {
    /// Gives a connection another source or destination.
    struct Attributes("nat") {
        /// Which.
        1 => side: Which,
        /// The address's family.
        2 => family: Option<u32>,
        /// Register with the first address.
        3 => addr_min: Option<Reg>,
        /// Register with the last address.
        4 => addr_max: Option<Reg>,
        /// Register with the first port.
        5 => port_min: Option<Reg>,
        /// Register with the last port.
        6 => port_max: Option<Reg>,
        /// `NF_NAT_RANGE_…`: 4 random, 8 persistent, 16 fully random, 64 addresses one to one.
        7 => flags: Option<u32>,
    }
}

crate::choice! {
    /// Which side is changed (`enum nft_nat_types`).
    enum Which: u32 {
        /// The source.
        Source = 0 => "snat",
        /// The destination.
        Destination = 1 => "dnat",
    }
}

/// `NF_NAT_RANGE_…`.
const MAP_IPS: u32 = 1;
pub(super) const PORTS: u32 = 2;
const NETMAP: u32 = 64;
/// `NF_NAT_RANGE_MASK`.
pub(super) const FLAGS: u32 = 0x7f;

/// Registered in `REGISTRY`.
pub(super) static KIND: Kind = Kind { schema: Attributes::SCHEMA, decode, stateful: false };

#[derive(Debug)]
struct Nat {
    side: Which,
    family: u32,
    addrs: Option<(Reg, Reg)>,
    ports: Option<(Reg, Reg)>,
    flags: u32,
    possible: bool,
}

/// A range in registers; where the last is not named it is the first.
pub(super) fn range(
    cx: &Decode<'_>,
    min: Option<Reg>,
    max: Option<Reg>,
    len: usize,
) -> Result<Option<(Reg, Reg)>> {
    let Some(min) = min else { return Ok(None) };
    let max = max.unwrap_or(min);
    cx.load(min, len)?;
    cx.load(max, len)?;
    Ok(Some((min, max)))
}

/// Ports in registers, in host order.
pub(super) fn ports(cx: &Cx<'_>, regs: Option<(Reg, Reg)>) -> Option<(u16, u16)> {
    let port = |reg| cx.regs.get(reg, 2).first_chunk().copied().map_or(0, u16::from_be_bytes);
    regs.map(|(min, max)| (port(min), port(max)))
}

/// An address in a register, as the packet's family has it.
fn addr(cx: &Cx<'_>, reg: Reg) -> [u8; 16] {
    let mut addr = [0; 16];
    let len = if cx.place.family == Family::Ipv4 { 4 } else { 16 };
    addr.iter_mut().zip(cx.regs.get(reg, len)).for_each(|(to, from)| *to = *from);
    addr
}

fn decode(data: &Attr<'_>, cx: &mut Decode<'_>) -> Result<Box<dyn Expr>> {
    let attrs = Attributes::decode(data)?;
    if attrs.addr_min.is_none() && attrs.port_min.is_none() {
        return Err(Errno::EINVAL.into());
    }
    let family = attrs.family.ok_or(Errno::EINVAL)?;
    let own = cx.family();
    if own != Family::Inet && own as u32 != family {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let len = match u8::try_from(family).map(Family::from_number) {
        Ok(Ok(Family::Ipv4)) => 4,
        Ok(Ok(Family::Ipv6)) => 16,
        _ if attrs.addr_min.is_some() => return Err(Errno::EAFNOSUPPORT.into()),
        _ => 0,
    };
    let addrs = range(cx, attrs.addr_min, attrs.addr_max, len)?;
    let ports = range(cx, attrs.port_min, attrs.port_max, 2)?;
    let mut flags = attrs.flags.unwrap_or(0);
    flags |= addrs.map_or(0, |_| MAP_IPS) | ports.map_or(0, |_| PORTS);
    if flags & !FLAGS != 0 {
        return Err(Errno::EINVAL.into());
    }
    let possible = matches!(own, Family::Ipv4 | Family::Ipv6 | Family::Inet);
    Ok(Box::new(Nat { side: attrs.side, family, addrs, ports, flags, possible }))
}

impl Expr for Nat {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn eval(&self, cx: &mut Cx<'_>) -> Verdict {
        // In tables of both families it is for the packets of its own.
        if self.family != cx.place.family as u32 && self.family != Family::Inet as u32 {
            return Verdict::Continue;
        }
        let side = match self.side {
            Which::Source => Side::Source,
            Which::Destination => Side::Destination,
        };
        let mut how = Translate::new(side, cx.place.family, self.flags);
        if let Some((min, max)) = self.addrs {
            let (min, max) = (addr(cx, min), addr(cx, max));
            how.to = if self.flags & NETMAP != 0 {
                how.mapped(&cx.layers.key, min, max)
            } else {
                To::Range(min, max)
            };
        }
        how.ports = ports(cx, self.ports);
        cx.env.translate(&how)
    }

    fn constancy(&self, _cx: &Cx<'_>) -> Constancy {
        Constancy::Flow
    }

    fn encode(&self, out: &mut Writer, _cx: &Encode<'_>) {
        self.side.put(1, out);
        self.family.put(2, out);
        if let Some((min, max)) = self.addrs {
            min.put(3, out);
            max.put(4, out);
        }
        if let Some((min, max)) = self.ports {
            min.put(5, out);
            max.put(6, out);
        }
        Some(self.flags).filter(|flags| *flags != 0).give(7, out);
    }

    fn refs(&self, each: &mut dyn FnMut(Ref)) {
        if let Ok(Ok(family)) = u8::try_from(self.family).map(Family::from_number) {
            each(Ref::Tracking(family));
        }
    }

    fn requires(&self) -> Requires {
        let hooks = match self.side {
            _ if !self.possible => Hooks::default(),
            Which::Source => Hooks::of([Hook::Input, Hook::Postrouting]),
            Which::Destination => Hooks::of([Hook::Prerouting, Hook::Output]),
        };
        Requires::chain(ChainType::Nat, hooks)
    }
}
