//! `payload`: bytes of the packet into a register.

use nfnetlink::{Attr, Errno, Result, Writer};
use packet::{FragmentPart, L3};

use super::{Decode, Encode, Expr, Kind};
use crate::packet::Cx;
use crate::regs::Reg;
use crate::schema::Value as _;
use crate::verdict::Verdict;

crate::attributes! {
    /// Reads bytes of a header.
    struct Attributes("payload") {
        /// Where to.
        1 => dreg: Option<Reg>,
        /// What the offset counts from.
        2 => base: Base,
        /// Bytes from there.
        3 => offset: u32,
        /// How many bytes.
        4 => len: u32,
    }
}

crate::choice! {
    /// What an offset counts from (`enum nft_payload_bases`).
    enum Base: u32 {
        /// The Ethernet header.
        Link = 0 => "link",
        /// The network header.
        Network = 1 => "network",
        /// The transport header.
        Transport = 2 => "transport",
    }
}

/// Registered in `REGISTRY`.
pub(super) static KIND: Kind = Kind { schema: Attributes::SCHEMA, decode, stateful: false };

#[derive(Debug)]
struct Load {
    dreg: Reg,
    base: Base,
    offset: u16,
    len: u8,
}

fn decode(data: &Attr<'_>, cx: &mut Decode<'_>) -> Result<Box<dyn Expr>> {
    let Attributes { dreg, base, offset, len } = Attributes::decode(data)?;
    let dreg = dreg.ok_or(Errno::EINVAL)?;
    let len = u8::try_from(len).map_err(|_| Errno::ERANGE)?;
    cx.store(dreg, usize::from(len))?;
    let offset = u16::try_from(offset).map_err(|_| Errno::ERANGE)?;
    Ok(Box::new(Load { dreg, base, offset, len }))
}

impl Expr for Load {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn eval(&self, cx: &mut Cx<'_>) -> Verdict {
        let start = match self.base {
            Base::Link => 0,
            Base::Network => usize::from(cx.layers.l3_offset),
            Base::Transport
                if matches!(cx.layers.l3, L3::Ipv4 | L3::Ipv6)
                    && cx.layers.fragment != FragmentPart::Later =>
            {
                usize::from(cx.layers.l4_offset)
            }
            Base::Transport => return Verdict::Break,
        };
        let mut bytes = [0; crate::regs::MAX_DATA];
        let Some(into) = bytes.get_mut(..usize::from(self.len)) else { return Verdict::Break };
        if !cx.bytes.read_at(start + usize::from(self.offset), into) {
            return Verdict::Break;
        }
        cx.regs.set(self.dreg, into);
        Verdict::Continue
    }

    fn encode(&self, out: &mut Writer, _cx: &Encode<'_>) {
        self.dreg.put(1, out);
        self.base.put(2, out);
        out.u32(3, u32::from(self.offset));
        out.u32(4, u32::from(self.len));
    }
}
