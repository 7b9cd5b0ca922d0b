//! `exthdr`: headers that stand in chains and lists: IPv6 extension headers, options of IPv4, TCP and DCCP, chunks of SCTP.

use nfnetlink::{Attr, Errno, Result, Writer};

use super::{Decode, Encode, Expr, Kind};
use crate::family::Family;
use crate::packet::Cx;
use crate::regs::{MAX_DATA, Reg};
use crate::schema::{Small, Value as _};
use crate::verdict::Verdict;

mod find;
mod tcp;

crate::attributes! {
    /// Reads bytes of an extension header, an option or a chunk, or whether it is there; changes or removes a TCP option.
    struct Attributes("exthdr") {
        /// Where to; to read.
        1 => dreg: Option<Reg>,
        /// Its number.
        2 => kind: Option<u8>,
        /// Bytes from its beginning.
        3 => offset: Option<Small>,
        /// How many bytes.
        4 => len: Option<Small>,
        /// `present`: reads 1 where it is there, 0 where not.
        5 => flags: Option<Small>,
        /// Of what it is a part; IPv6 if it is not said.
        6 => op: Option<Op>,
        /// Where from; to change a TCP option.
        7 => sreg: Option<Reg>,
    }
}

crate::choice! {
    /// Of what it is a part (`enum nft_exthdr_op`).
    enum Op: u32, else EOPNOTSUPP {
        /// IPv6's chain of headers.
        Ipv6 = 0 => "ipv6",
        /// TCP's options.
        Tcp = 1 => "tcp",
        /// IPv4's options.
        Ipv4 = 2 => "ipv4",
        /// SCTP's chunks.
        Sctp = 3 => "sctp",
        /// DCCP's options.
        Dccp = 4 => "dccp",
    }
}

/// `NFT_EXTHDR_F_PRESENT`.
const PRESENT: u8 = 1;

/// Registered in `REGISTRY`.
pub(super) static KIND: Kind = Kind { schema: Attributes::SCHEMA, decode, stateful: false };

/// Bytes of a part.
#[derive(Clone, Copy, Debug)]
struct Field {
    op: Op,
    kind: u8,
    offset: u8,
    len: u8,
}

#[derive(Debug)]
struct Get {
    dreg: Reg,
    field: Field,
    present: bool,
}

fn decode(data: &Attr<'_>, cx: &mut Decode<'_>) -> Result<Box<dyn Expr>> {
    let attrs = Attributes::decode(data)?;
    let op = attrs.op.unwrap_or(Op::Ipv6);
    let field = |attrs: &Attributes| -> Result<Field> {
        let (Some(kind), Some(offset), Some(len)) = (attrs.kind, attrs.offset, attrs.len) else {
            return Err(Errno::EINVAL.into());
        };
        Ok(Field { op, kind, offset: offset.0, len: len.0 })
    };
    match (attrs.dreg, attrs.sreg) {
        (Some(_), Some(_)) => Err(Errno::EINVAL.into()),
        (Some(dreg), None) => {
            let field = field(&attrs)?;
            let flags = attrs.flags.unwrap_or_default().0;
            if flags & !PRESENT != 0 {
                return Err(Errno::EINVAL.into());
            }
            let present = flags & PRESENT != 0;
            if op == Op::Ipv4 && cx.family() == Family::Ipv6 {
                return Err(Errno::EOPNOTSUPP.into());
            }
            cx.store(dreg, field.len.into())?;
            let unknown = match op {
                Op::Ipv4 => !find::is_known_option(field.kind),
                Op::Dccp => !present,
                Op::Ipv6 | Op::Tcp | Op::Sctp => false,
            };
            if unknown {
                return Err(Errno::EOPNOTSUPP.into());
            }
            Ok(Box::new(Get { dreg, field, present }))
        }
        (None, _) if op != Op::Tcp => match attrs.op {
            Some(_) => Err(Errno::EOPNOTSUPP.into()),
            None => Err(Errno::EINVAL.into()),
        },
        (None, Some(sreg)) => {
            let field = field(&attrs)?;
            if attrs.flags.is_some() && !cx.listed {
                return Err(Errno::EINVAL.into());
            }
            if !matches!(field.len, 2 | 4) {
                return Err(Errno::EOPNOTSUPP.into());
            }
            cx.load(sreg, field.len.into())?;
            Ok(Box::new(tcp::Set { sreg, field }))
        }
        (None, None) => {
            let more = attrs.flags.is_some() || attrs.offset.is_some() || attrs.len.is_some();
            let kind = attrs.kind.filter(|_| !more || cx.listed).ok_or(Errno::EINVAL)?;
            Ok(Box::new(tcp::Strip { field: Field { op, kind, offset: 0, len: 0 } }))
        }
    }
}

impl Field {
    fn offset(self) -> usize {
        self.offset.into()
    }

    fn len(self) -> usize {
        self.len.into()
    }

    fn encode(self, flags: u8, out: &mut Writer) {
        self.kind.put(2, out);
        Small(self.offset).put(3, out);
        Small(self.len).put(4, out);
        Small(flags).put(5, out);
        self.op.put(6, out);
    }
}

impl Get {
    /// Where the bytes begin; `None` where the part is not there, or, for TCP, too short.
    fn find(&self, cx: &Cx<'_>) -> Option<usize> {
        let Field { op, kind, .. } = self.field;
        match op {
            Op::Ipv6 => find::ipv6(cx, kind),
            Op::Ipv4 => find::ipv4(cx, kind),
            Op::Sctp => find::sctp(cx, kind, self.field, self.present),
            Op::Dccp => find::dccp(cx, kind),
            Op::Tcp => tcp::option(cx, self.field).map(|(start, _)| start),
        }
    }
}

impl Expr for Get {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn eval(&self, cx: &mut Cx<'_>) -> Verdict {
        let found = self.find(cx);
        if self.present {
            cx.regs.set(self.dreg, &[found.is_some().into()]);
            return Verdict::Continue;
        }
        let Some(start) = found.map(|start| start + self.field.offset()) else {
            return Verdict::Break;
        };
        let mut bytes = [0; MAX_DATA];
        let Some(into) = bytes.get_mut(..self.field.len()) else { return Verdict::Break };
        if start + into.len() > cx.end() || !cx.bytes.read_at(start, into) {
            return Verdict::Break;
        }
        cx.regs.set(self.dreg, into);
        Verdict::Continue
    }

    fn encode(&self, out: &mut Writer, _cx: &Encode<'_>) {
        self.dreg.put(1, out);
        self.field.encode(if self.present { PRESENT } else { 0 }, out);
    }
}
