//! `fwd`: sends the packet elsewhere.

use nfnetlink::{Attr, Errno, Result, Writer};
use packet::L3;

use super::dup::address;
use super::{Decode, Encode, Expr, Kind, Requires, SendTo};
use crate::family::{Family, Hook, Hooks};
use crate::packet::Cx;
use crate::regs::Reg;
use crate::schema::Field as _;
use crate::sums::Change;
use crate::verdict::Verdict;

crate::attributes! {
    /// Sends the packet elsewhere.
    struct Attributes("fwd") {
        /// Register with the interface's index.
        1 => dev: Option<Reg>,
        /// Register with the next hop's address.
        2 => addr: Option<Reg>,
        /// The address's family.
        3 => family: Option<u32>,
    }
}

/// Registered in `REGISTRY`.
pub(super) static KIND: Kind = Kind { schema: Attributes::SCHEMA, decode, stateful: false };

#[derive(Debug)]
struct Fwd {
    dev: Reg,
    addr: Option<(Family, Reg)>,
}

fn decode(data: &Attr<'_>, cx: &mut Decode<'_>) -> Result<Box<dyn Expr>> {
    if cx.family() != Family::Netdev {
        return Err(Errno::ENOENT.into());
    }
    let Attributes { dev, addr, family } = Attributes::decode(data)?;
    let (dev, addr) = match (dev, addr, family) {
        (Some(dev), Some(addr), Some(family)) => {
            let (family, len) = match family {
                2 => (Family::Ipv4, 4),
                10 => (Family::Ipv6, 16),
                _ => return Err(Errno::EOPNOTSUPP.into()),
            };
            cx.load(addr, len)?;
            (dev, Some((family, addr)))
        }
        (_, Some(_), _) => return Err(Errno::EINVAL.into()),
        (Some(dev), None, _) => (dev, None),
        (None, None, _) => return Err(Errno::EOPNOTSUPP.into()),
    };
    cx.load(dev, 4)?;
    Ok(Box::new(Fwd { dev, addr }))
}

/// One hop less, as a router does; [`Verdict::Drop`] for the last, [`Verdict::Break`] for another family's packet.
fn hop(cx: &mut Cx<'_>, family: Family) -> Result<(), Verdict> {
    let at = cx.network();
    let ttl_at = match (family, cx.l3()) {
        (Family::Ipv4, L3::Ipv4) => at + 8,
        (Family::Ipv6, L3::Ipv6) => at + 7,
        _ => return Err(Verdict::Break),
    };
    let word_at = ttl_at & !1 | (at & 1);
    let old: [u8; 2] = cx.peek(word_at).ok_or(Verdict::Break)?;
    let mut new = old;
    let ttl = new.get_mut(ttl_at - word_at).ok_or(Verdict::Break)?;
    *ttl = ttl.checked_sub(1).filter(|ttl| *ttl > 0).ok_or(Verdict::Drop)?;
    cx.store(word_at, &new);
    if family == Family::Ipv4 {
        Change::of(&old, &new).apply(cx, at + 10);
    }
    Ok(())
}

impl Expr for Fwd {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn eval(&self, cx: &mut Cx<'_>) -> Verdict {
        if let Some((family, _)) = self.addr
            && let Err(verdict) = hop(cx, family)
        {
            return verdict;
        }
        cx.effects.forward = Some(SendTo {
            iface: Some(cx.regs.u32(self.dev)),
            addr: self.addr.map(|(family, reg)| (family, address(cx, family, reg))),
        });
        Verdict::Stolen
    }

    fn encode(&self, out: &mut Writer, _cx: &Encode<'_>) {
        self.dev.give(1, out);
        if let Some((family, addr)) = self.addr {
            addr.give(2, out);
            (family as u32).give(3, out);
        }
    }

    fn requires(&self) -> Requires {
        Requires::hooks(Hooks::of([Hook::Ingress, Hook::Egress]))
    }
}
