//! `tproxy`: hands the packet to a local socket. No socket listens on this dataplane, so it never matches.

use nfnetlink::{Attr, Errno, Result, Writer};

use super::{Decode, Encode, Expr, Kind, Requires};
use crate::family::{Family, Hook, Hooks};
use crate::packet::Cx;
use crate::regs::Reg;
use crate::verdict::Verdict;

crate::attributes! {
    /// Hands the packet to a local socket.
    struct Attributes("tproxy") {
        /// The socket's family; 0 for both.
        1 => family: u32,
        /// Register with its address.
        2 => addr: Option<Reg>,
        /// Register with its port.
        3 => port: Option<Reg>,
    }
}

/// Registered in `REGISTRY`.
pub(super) static KIND: Kind = Kind { schema: Attributes::SCHEMA, decode, stateful: false };

#[derive(Debug)]
struct TProxy(Attributes);

fn decode(data: &Attr<'_>, cx: &mut Decode<'_>) -> Result<Box<dyn Expr>> {
    let attrs = Attributes::decode(data)?;
    if attrs.addr.is_none() && attrs.port.is_none() {
        return Err(Errno::EINVAL.into());
    }
    match cx.family() {
        own @ (Family::Ipv4 | Family::Ipv6) if attrs.family != own as u32 => {
            return Err(Errno::EINVAL.into());
        }
        Family::Ipv4 | Family::Ipv6 | Family::Inet => {}
        Family::Arp | Family::Bridge | Family::Netdev => return Err(Errno::EOPNOTSUPP.into()),
    }
    let len = match attrs.family {
        0 if attrs.addr.is_some() => return Err(Errno::EINVAL.into()),
        0 => 0,
        2 => 4,
        10 => 16,
        _ => return Err(Errno::EOPNOTSUPP.into()),
    };
    attrs.addr.map_or(Ok(()), |addr| cx.load(addr, len))?;
    attrs.port.map_or(Ok(()), |port| cx.load(port, 2))?;
    Ok(Box::new(TProxy(attrs)))
}

impl Expr for TProxy {
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
        Requires::hooks(Hooks::of([Hook::Prerouting]))
    }
}
