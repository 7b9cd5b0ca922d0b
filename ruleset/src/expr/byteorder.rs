//! `byteorder`: turns numbers from the packet's order into the machine's, and back.

use nfnetlink::{Attr, Errno, Result, Writer};

use super::{Decode, Encode, Expr, Kind};
use crate::packet::{Constancy, Cx};
use crate::regs::{MAX_DATA, Reg};
use crate::schema::Small;
use crate::verdict::Verdict;

crate::attributes! {
    /// Turns numbers from the packet's order into the machine's, and back.
    struct Attributes("byteorder") {
        /// What is turned.
        1 => sreg: Reg,
        /// Where to.
        2 => dreg: Reg,
        /// Which way.
        3 => op: Op,
        /// How many bytes in all.
        4 => len: Small,
        /// Bytes of one number: 2, 4 or 8.
        5 => size: Small,
    }
}

crate::choice! {
    /// Which way (`enum nft_byteorder_ops`).
    enum Op: u32 {
        /// From the packet's order into the machine's.
        Ntoh = 0 => "ntoh",
        /// From the machine's order into the packet's.
        Hton = 1 => "hton",
    }
}

/// Registered in `REGISTRY`.
pub(super) static KIND: Kind = Kind { schema: Attributes::SCHEMA, decode, stateful: false };

#[derive(Debug)]
struct Byteorder(Attributes);

fn decode(data: &Attr<'_>, cx: &mut Decode<'_>) -> Result<Box<dyn Expr>> {
    let attrs = Attributes::decode(data)?;
    if !matches!(attrs.size.0, 2 | 4 | 8) {
        return Err(Errno::EINVAL.into());
    }
    cx.load(attrs.sreg, attrs.len.0.into())?;
    cx.store(attrs.dreg, attrs.len.0.into())?;
    Ok(Box::new(Byteorder(attrs)))
}

impl Expr for Byteorder {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn eval(&self, cx: &mut Cx<'_>) -> Verdict {
        let size = usize::from(self.0.size.0);
        // Whole numbers only; what is left over stays as it is.
        let len = usize::from(self.0.len.0) / size * size;
        let mut bytes = [0; MAX_DATA];
        let Some(bytes) = bytes.get_mut(..len) else { return Verdict::Continue };
        bytes.copy_from_slice(cx.regs.get(self.0.sreg, len));
        if cfg!(target_endian = "little") {
            bytes.chunks_exact_mut(size).for_each(<[u8]>::reverse);
        }
        cx.regs.get_mut(self.0.dreg, len).copy_from_slice(bytes);
        Verdict::Continue
    }

    fn constancy(&self, _cx: &Cx<'_>) -> Constancy {
        Constancy::Flow
    }

    fn encode(&self, out: &mut Writer, _cx: &Encode<'_>) {
        self.0.encode(out);
    }
}
