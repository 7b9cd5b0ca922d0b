//! `redir`: gives a connection this node as its destination.
//! (Linux: `nft_redir.c`), see `nat`.

use nfnetlink::{Attr, Errno, Result, Writer};

use super::nat::{FLAGS, ports, range};
use super::{Decode, Encode, Expr, Kind, Ref, Requires};
use crate::family::{ChainType, Family, Hook, Hooks};
use crate::packet::{Constancy, Cx, Side, To, Translate};
use crate::regs::Reg;
use crate::schema::{Field as _, Value as _};
use crate::verdict::Verdict;

crate::attributes! {
    /// Gives a connection this node as its destination.
    struct Attributes("redir") {
        /// Register with the first port.
        1 => port_min: Option<Reg>,
        /// Register with the last port.
        2 => port_max: Option<Reg>,
        /// `NF_NAT_RANGE_…`: 4 random, 8 persistent, 16 fully random.
        3 => flags: Option<u32>,
    }
}

/// Registered in `REGISTRY`.
pub(super) static KIND: Kind = Kind { schema: Attributes::SCHEMA, decode, stateful: false };

#[derive(Debug)]
struct Redir {
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
    Ok(Box::new(Redir { family: cx.family(), flags, ports }))
}

impl Expr for Redir {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn eval(&self, cx: &mut Cx<'_>) -> Verdict {
        let mut how = Translate::new(Side::Destination, cx.place.family, self.flags);
        how.to = To::Here;
        how.ports = ports(cx, self.ports);
        cx.env.translate(&how)
    }

    fn constancy(&self, _cx: &Cx<'_>) -> Constancy {
        Constancy::Flow
    }

    fn encode(&self, out: &mut Writer, _cx: &Encode<'_>) {
        if let Some((min, max)) = self.ports {
            min.put(1, out);
            max.put(2, out);
        }
        Some(self.flags).filter(|flags| *flags != 0).give(3, out);
    }

    fn refs(&self, each: &mut dyn FnMut(Ref)) {
        each(Ref::Tracking(self.family));
    }

    fn requires(&self) -> Requires {
        Requires::chain(ChainType::Nat, Hooks::of([Hook::Prerouting, Hook::Output]))
    }
}
