//! `socket`: what is known of the local socket that a packet is for.
//!
//! Sockets are the kernel's, behind the twins; none of them is known here. Every packet is answered as Linux answers for one
//! that is for no local socket, which is right for all that is forwarded.

use nfnetlink::{Attr, Errno, Result, Writer};

use super::{Decode, Encode, Expr, Kind, Requires};
use crate::family::{Family, Hook, Hooks};
use crate::packet::Cx;
use crate::regs::Reg;
use crate::schema::{Small, Value as _};
use crate::verdict::Verdict;

crate::attributes! {
    /// Reads what is known of the local socket that a packet is for.
    struct Attributes("socket") {
        /// What.
        1 => key: Key,
        /// Where to.
        2 => dreg: Reg,
        /// With `cgroupv2`: of which level of the hierarchy.
        3 => level: Option<u32>,
    }
}

crate::choice! {
    /// What is known of a socket (`enum nft_socket_keys`).
    enum Key: u32, else EOPNOTSUPP {
        /// Whether it takes packets for others' addresses.
        Transparent = 0 => "transparent",
        /// Its mark.
        Mark = 1 => "mark",
        /// Whether it is bound to no address.
        Wildcard = 2 => "wildcard",
        /// The control group it belongs to.
        CGroupV2 = 3 => "cgroupv2",
    }
}

/// Registered in `REGISTRY`.
pub(super) static KIND: Kind = Kind { schema: Attributes::SCHEMA, decode, stateful: false };

#[derive(Debug)]
struct Socket {
    key: Key,
    dreg: Reg,
    level: u8,
}

fn decode(data: &Attr<'_>, cx: &mut Decode<'_>) -> Result<Box<dyn Expr>> {
    let Attributes { key, dreg, level } = Attributes::decode(data)?;
    if !matches!(cx.family(), Family::Ipv4 | Family::Ipv6 | Family::Inet) {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let (len, level) = match key {
        Key::Transparent | Key::Wildcard => (1, 0),
        Key::Mark => (4, 0),
        Key::CGroupV2 => {
            let level = level.ok_or(Errno::EINVAL)?;
            (8, u8::try_from(level).map_err(|_| Errno::EOPNOTSUPP)?)
        }
    };
    cx.store(dreg, len)?;
    Ok(Box::new(Socket { key, dreg, level }))
}

impl Expr for Socket {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn eval(&self, _cx: &mut Cx<'_>) -> Verdict {
        Verdict::Break
    }

    fn encode(&self, out: &mut Writer, _cx: &Encode<'_>) {
        self.key.put(1, out);
        self.dreg.put(2, out);
        if self.key == Key::CGroupV2 {
            Small(self.level).put(3, out);
        }
    }

    fn requires(&self) -> Requires {
        Requires::hooks(Hooks::of([Hook::Prerouting, Hook::Input, Hook::Output]))
    }
}
