//! `inner`: the packet inside a tunnel's packet.

use nfnetlink::{Attr, Errno, Result, Writer};
use packet::wire::{ethernet, ip, ipv4};

use super::payload::{self, Base};
use super::{Decode, EXPR_DATA, EXPR_NAME, Encode, Expr, Kind, meta};
use crate::packet::Cx;
use crate::regs::{MAX_DATA, Reg};
use crate::schema::{Kind as Shape, Small, Value};
use crate::verdict::Verdict;

crate::attributes! {
    /// Reads the packet inside a tunnel's packet, by a `payload` or `meta` expression.
    struct Attributes("inner") {
        /// How deep: 0.
        1 => number: u32,
        /// Which tunnel.
        2 => tunnel: u32,
        /// What it has: 1 a header of `hdrsize` bytes, 2 an Ethernet header inside, 4 a network header, 8 a transport header.
        3 => flags: u32,
        /// Bytes of the tunnel's header.
        4 => hdrsize: u32,
        /// What is read: `payload` (with the base `tunnel`, too), or `meta` with `protocol` or `l4proto`.
        5 => expr: Nested,
    }
}

/// An expression inside, not yet looked at.
#[derive(Clone, Debug)]
struct Nested(Box<[u8]>, u32);

impl Value for Nested {
    const KIND: Shape = Shape::Expressions;

    fn get(attr: &Attr<'_>) -> Result<Self> {
        Ok(Self(attr.data.into(), attr.offset))
    }

    fn put(&self, kind: u16, out: &mut Writer) {
        out.put(kind, &self.0);
    }
}

/// Registered in `REGISTRY`.
pub(super) static KIND: Kind = Kind { schema: Attributes::SCHEMA, decode, stateful: false };

const HDRSIZE: u32 = 1;
const LINK: u32 = 2;
const NETWORK: u32 = 4;
const TRANSPORT: u32 = 8;
const MAX_HDRSIZE: u32 = 64;
/// `NFT_INNER_GENEVE`: its header says how many options follow.
const GENEVE: u8 = 2;

#[derive(Debug)]
struct Inner {
    tunnel: u8,
    flags: u32,
    hdrsize: u32,
    dreg: Reg,
    what: What,
}

#[derive(Debug)]
enum What {
    Payload { base: Base, offset: u8, len: u8 },
    Protocol,
    L4Proto,
}

fn decode(data: &Attr<'_>, cx: &mut Decode<'_>) -> Result<Box<dyn Expr>> {
    let Attributes { number, tunnel, flags, hdrsize, expr } = Attributes::decode(data)?;
    if number != 0 || flags & !(HDRSIZE | LINK | NETWORK | TRANSPORT) != 0 {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let tunnel = u8::try_from(tunnel).map_err(|_| Errno::EINVAL)?;
    if flags & HDRSIZE != 0 && !(1..=MAX_HDRSIZE).contains(&hdrsize) {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let [_, name, data] = Attr { kind: 0, data: &expr.0, offset: expr.1 }.table::<3>();
    let name = name.ok_or(Errno::EINVAL)?;
    let data = data.unwrap_or(Attr { kind: EXPR_DATA, data: &[], offset: expr.1 });
    let (dreg, what, len) = match name.str(31)? {
        "payload" => {
            let field = payload::Attributes::decode(&data)?;
            let dreg = field.dreg.ok_or(Errno::EINVAL)?;
            if field.base == Base::Inner {
                return Err(Errno::EOPNOTSUPP.into());
            }
            let (offset, len) = (field.offset.0, field.len.0);
            (dreg, What::Payload { base: field.base, offset, len }, len.into())
        }
        "meta" => {
            let meta::Attributes { dreg, key, .. } = meta::Attributes::decode(&data)?;
            let dreg = dreg.ok_or(Errno::EINVAL)?;
            match key {
                meta::Key::Protocol => (dreg, What::Protocol, 2),
                meta::Key::L4Proto => (dreg, What::L4Proto, 1),
                _ => return Err(Errno::EOPNOTSUPP.into()),
            }
        }
        other if super::REGISTRY.iter().any(|kind| kind.schema.name == other) => {
            return Err(Errno::EOPNOTSUPP.into());
        }
        _ => return Err(name.error(Errno::ENOENT)),
    };
    cx.store(dreg, len)?;
    Ok(Box::new(Inner { tunnel, flags, hdrsize, dreg, what }))
}

/// Where the headers are, in the frame.
#[derive(Default)]
struct Found {
    tunnel: Option<usize>,
    link: Option<usize>,
    network: Option<usize>,
    transport: Option<usize>,
    protocol: u16,
    l4proto: u8,
}

impl Inner {
    const fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    fn find(&self, cx: &Cx<'_>) -> Option<Found> {
        let mut found = Found::default();
        let start = payload::inner(cx)?;
        let mut at = start;
        if self.has(HDRSIZE) {
            let transport = cx.transport()?;
            match transport.protocol {
                ip::GRE => found.tunnel = Some(transport.offset.into()),
                ip::UDP => {
                    found.tunnel = Some(at);
                    at += self.hdrsize as usize;
                    if self.tunnel == GENEVE {
                        let header: [u8; 8] = cx.peek(start)?;
                        at += usize::from(header[0] & 0x3f) * 4;
                    }
                }
                _ => return None,
            }
        }
        if self.has(LINK) || self.has(NETWORK) {
            self.network(cx, at, &mut found)?;
        } else if self.has(TRANSPORT) {
            found.transport = Some(at);
        }
        Some(found)
    }

    /// Reads the Ethernet header, if there is one, and the network header at `at`.
    fn network(&self, cx: &Cx<'_>, mut at: usize, found: &mut Found) -> Option<()> {
        found.protocol = if self.has(LINK) {
            let ethertype = |at| cx.peek(at + ethernet::LEN - 2).map(u16::from_be_bytes);
            found.link = Some(at);
            let mut protocol = ethertype(at)?;
            at += ethernet::LEN;
            if protocol == ethernet::VLAN {
                protocol = ethertype(at + 4 - ethernet::LEN)?;
                at += 4;
            }
            protocol
        } else {
            match cx.peek(at)?.map(|byte: u8| byte >> 4) {
                [4] => ethernet::IPV4,
                [6] => ethernet::IPV6,
                _ => return None,
            }
        };
        match found.protocol {
            ethernet::IPV4 => {
                let header: [u8; ipv4::LEN] = cx.peek(at)?;
                let [version_ihl, _, _, _, _, _, f0, f1, _, protocol, ..] = header;
                if version_ihl >> 4 != 4 || version_ihl & 0xf < 5 {
                    return None;
                }
                found.network = Some(at);
                if u16::from_be_bytes([f0, f1]) & ipv4::OFFSET_MASK == 0 {
                    found.transport = Some(at + usize::from(version_ihl & 0xf) * 4);
                    found.l4proto = protocol;
                }
            }
            ethernet::IPV6 => {
                let [version] = cx.peek(at)?;
                if version >> 4 != 6 {
                    return None;
                }
                found.network = Some(at);
                let last = cx.ext_header_at(at, None)?;
                if !last.later {
                    found.transport = Some(last.offset);
                    found.l4proto = last.number;
                }
            }
            _ => return None,
        }
        Some(())
    }

    fn answer(&self, cx: &mut Cx<'_>) -> Option<()> {
        let found = self.find(cx)?;
        match self.what {
            What::Protocol => cx.regs.set(self.dreg, &found.protocol.to_be_bytes()),
            What::L4Proto => {
                found.transport?;
                cx.regs.set(self.dreg, &[found.l4proto]);
            }
            What::Payload { base, offset, len } => {
                let start = match base {
                    Base::Tunnel => found.tunnel,
                    Base::Link => found.link,
                    Base::Network => found.network,
                    Base::Transport => found.transport,
                    Base::Inner => None,
                }?;
                let mut bytes = [0; MAX_DATA];
                let into = bytes.get_mut(..len.into())?;
                let start = start + usize::from(offset);
                let there = start + into.len() <= cx.end() && cx.bytes.read_at(start, into);
                there.then(|| cx.regs.set(self.dreg, into))?;
            }
        }
        Some(())
    }
}

impl Expr for Inner {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn eval(&self, cx: &mut Cx<'_>) -> Verdict {
        match self.answer(cx) {
            Some(()) => Verdict::Continue,
            None => Verdict::Break,
        }
    }

    fn encode(&self, out: &mut Writer, _cx: &Encode<'_>) {
        0u32.put(1, out);
        u32::from(self.tunnel).put(2, out);
        self.flags.put(3, out);
        self.hdrsize.put(4, out);
        out.nest(5, |out| {
            let payload = matches!(self.what, What::Payload { .. });
            out.str(EXPR_NAME, if payload { "payload" } else { "meta" });
            out.nest(EXPR_DATA, |out| {
                // In the order in which these expressions alone are written.
                match self.what {
                    What::Payload { base, offset, len } => {
                        self.dreg.put(1, out);
                        base.put(2, out);
                        Small(offset).put(3, out);
                        Small(len).put(4, out);
                    }
                    What::Protocol => meta::Key::Protocol.put(2, out),
                    What::L4Proto => meta::Key::L4Proto.put(2, out),
                }
                if !payload {
                    self.dreg.put(1, out);
                }
            });
        });
    }
}
