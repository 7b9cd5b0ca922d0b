//! `masq`: gives a connection the address of the interface that it leaves by as its source.
//! (Linux: `nft_masq.c`), see `nat`.

use nfnetlink::{Attr, Errno, Result, Writer};

use super::nat::{FLAGS, PORTS, ports, range};
use super::{Decode, Encode, Expr, Kind, Ref, Requires};
use crate::family::{ChainType, Family, Hook, Hooks};
use crate::packet::{Constancy, Cx, Side, To, Translate};
use crate::regs::Reg;
use crate::schema::{Field as _, Value as _};
use crate::verdict::Verdict;

crate::attributes! {
    /// Gives a connection the address of the interface that it leaves by as its source.
    struct Attributes("masq") {
        /// `NF_NAT_RANGE_…`: 4 random, 8 persistent, 16 fully random.
        1 => flags: Option<u32>,
        /// Register with the first port.
        2 => port_min: Option<Reg>,
        /// Register with the last port.
        3 => port_max: Option<Reg>,
    }
}

/// Registered in `REGISTRY`.
pub(super) static KIND: Kind = Kind { schema: Attributes::SCHEMA, decode, stateful: false };

#[derive(Debug)]
struct Masq {
    family: Family,
    flags: u32,
    ports: Option<(Reg, Reg)>,
}

fn decode(data: &Attr<'_>, cx: &mut Decode<'_>) -> Result<Box<dyn Expr>> {
    if !matches!(cx.family(), Family::Ipv4 | Family::Ipv6 | Family::Inet) {
        return Err(Errno::ENOENT.into());
    }
    let attrs = Attributes::decode(data)?;
    let flags = attrs.flags.unwrap_or(0);
    if flags & !FLAGS != 0 {
        return Err(Errno::EINVAL.into());
    }
    let ports = range(cx, attrs.port_min, attrs.port_max, 2)?;
    Ok(Box::new(Masq { family: cx.family(), flags, ports }))
}

impl Expr for Masq {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn eval(&self, cx: &mut Cx<'_>) -> Verdict {
        let mut how = Translate::new(Side::Source, cx.place.family, self.flags);
        how.to = To::Leaving;
        how.ports = ports(cx, self.ports.filter(|_| self.flags & PORTS != 0));
        cx.env.translate(&how)
    }

    fn constancy(&self, _cx: &Cx<'_>) -> Constancy {
        Constancy::Flow
    }

    fn encode(&self, out: &mut Writer, _cx: &Encode<'_>) {
        Some(self.flags).filter(|flags| *flags != 0).give(1, out);
        if let Some((min, max)) = self.ports {
            min.put(2, out);
            max.put(3, out);
        }
    }

    fn refs(&self, each: &mut dyn FnMut(Ref)) {
        each(Ref::Tracking(self.family));
    }

    fn requires(&self) -> Requires {
        Requires::chain(ChainType::Nat, Hooks::of([Hook::Postrouting]))
    }
}
