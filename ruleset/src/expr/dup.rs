//! `dup`: sends a copy of the packet elsewhere.

use nfnetlink::{Attr, Errno, Result, Writer};

use super::{Decode, Encode, Expr, Kind, SendTo};
use crate::family::Family;
use crate::packet::Cx;
use crate::regs::Reg;
use crate::schema::Field as _;
use crate::verdict::Verdict;

crate::attributes! {
    /// Sends a copy of the packet elsewhere.
    struct Attributes("dup") {
        /// Register with the address.
        1 => addr: Option<Reg>,
        /// Register with the interface's index.
        2 => dev: Option<Reg>,
    }
}

/// Registered in `REGISTRY`.
pub(super) static KIND: Kind = Kind { schema: Attributes::SCHEMA, decode, stateful: false };

#[derive(Debug)]
struct Dup {
    addr: Option<(Family, Reg)>,
    dev: Option<Reg>,
}

/// An address that a register holds.
pub(super) fn address(cx: &Cx<'_>, family: Family, reg: Reg) -> [u8; 16] {
    let len = if family == Family::Ipv4 { 4 } else { 16 };
    let mut addr = [0; 16];
    addr.iter_mut().zip(cx.regs.get(reg, len)).for_each(|(to, from)| *to = *from);
    addr
}

fn decode(data: &Attr<'_>, cx: &mut Decode<'_>) -> Result<Box<dyn Expr>> {
    let Attributes { addr, dev } = Attributes::decode(data)?;
    let family = cx.family();
    let addr = match family {
        Family::Ipv4 | Family::Ipv6 => {
            let addr = addr.ok_or(Errno::EINVAL)?;
            cx.load(addr, if family == Family::Ipv4 { 4 } else { 16 })?;
            Some((family, addr))
        }
        Family::Netdev if dev.is_none() => return Err(Errno::EINVAL.into()),
        Family::Netdev => None,
        Family::Inet | Family::Arp | Family::Bridge => return Err(Errno::ENOENT.into()),
    };
    if let Some(dev) = dev {
        cx.load(dev, 4)?;
    }
    Ok(Box::new(Dup { addr, dev }))
}

impl Expr for Dup {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn eval(&self, cx: &mut Cx<'_>) -> Verdict {
        let copy = SendTo {
            iface: self.dev.map(|reg| cx.regs.u32(reg)),
            addr: self.addr.map(|(family, reg)| (family, address(cx, family, reg))),
        };
        // More copies than there is room for are not made.
        let _ = cx.effects.dups.try_push(copy);
        Verdict::Continue
    }

    fn encode(&self, out: &mut Writer, _cx: &Encode<'_>) {
        self.addr.map(|(_, reg)| reg).give(1, out);
        self.dev.give(2, out);
    }
}
