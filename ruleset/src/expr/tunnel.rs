//! `tunnel`: what a tunnel device noted of the packet that it took out. There are no such devices here, so nothing is noted.

use nfnetlink::{Attr, Errno, Result, Writer};

use super::{Decode, Encode, Expr, Kind};
use crate::family::Family;
use crate::packet::Cx;
use crate::regs::Reg;
use crate::verdict::Verdict;

crate::attributes! {
    /// Reads what a tunnel device noted of a packet.
    struct Attributes("tunnel") {
        /// What.
        1 => key: Key,
        /// Where to.
        2 => dreg: Reg,
        /// Which way; both if it is not said.
        3 => mode: Option<Mode>,
    }
}

crate::choice! {
    /// What is noted (`enum nft_tunnel_keys`).
    enum Key: u32, else EOPNOTSUPP {
        /// Whether it came by a tunnel.
        Path = 0 => "path",
        /// The tunnel's id.
        Id = 1 => "id",
    }
}

crate::choice! {
    /// Which way (`enum nft_tunnel_mode`).
    enum Mode: u32, else EOPNOTSUPP {
        /// Both.
        None = 0 => "none",
        /// It came out of it.
        Rx = 1 => "rx",
        /// It goes into it.
        Tx = 2 => "tx",
    }
}

/// Registered in `REGISTRY`.
pub(super) static KIND: Kind = Kind { schema: Attributes::SCHEMA, decode, stateful: false };

#[derive(Debug)]
struct Tunnel(Attributes);

fn decode(data: &Attr<'_>, cx: &mut Decode<'_>) -> Result<Box<dyn Expr>> {
    // Linux knows it for devices only.
    if cx.family() != Family::Netdev {
        return Err(Errno::ENOENT.into());
    }
    let attrs = Attributes::decode(data)?;
    cx.store(attrs.dreg, if attrs.key == Key::Path { 1 } else { 4 })?;
    Ok(Box::new(Tunnel(Attributes { mode: Some(attrs.mode.unwrap_or(Mode::None)), ..attrs })))
}

impl Expr for Tunnel {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn eval(&self, cx: &mut Cx<'_>) -> Verdict {
        match self.0.key {
            Key::Path => {
                cx.regs.set(self.0.dreg, &[0]);
                Verdict::Continue
            }
            Key::Id => Verdict::Break,
        }
    }

    fn encode(&self, out: &mut Writer, _cx: &Encode<'_>) {
        self.0.encode(out);
    }
}
