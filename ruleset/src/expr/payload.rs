//! `payload`: bytes of the packet into a register, and back.

use nfnetlink::{Attr, Errno, Result, Writer};
use packet::L3;
use packet::wire::{ip, tcp};

use super::{Decode, Encode, Expr, Kind};
use crate::family::Hook;
use crate::packet::{Constancy, Cx};
use crate::regs::{MAX_DATA, Reg};
use crate::schema::{Small, Value as _};
use crate::sums;
use crate::verdict::Verdict;

crate::attributes! {
    /// Reads bytes of a header into a register, or writes them.
    pub(super) struct Attributes("payload") {
        /// Where to; to read.
        1 => dreg: Option<Reg>,
        /// What the offset counts from.
        2 => base: Base,
        /// Bytes from there.
        3 => offset: Small,
        /// How many bytes.
        4 => len: Small,
        /// Where from; to write.
        5 => sreg: Option<Reg>,
        /// The checksum to keep true; none if it is not said.
        6 => csum_type: Option<Checksum>,
        /// Where it stands, in bytes from the same base.
        7 => csum_offset: Option<Small>,
        /// The transport's checksum, too.
        8 => csum_flags: Option<u32>,
    }
}

crate::choice! {
    /// What an offset counts from (`enum nft_payload_bases`).
    pub(super) enum Base: u32, else EOPNOTSUPP {
        /// The Ethernet header.
        Link = 0 => "link",
        /// The network header.
        Network = 1 => "network",
        /// The transport header.
        Transport = 2 => "transport",
        /// What the transport header carries.
        Inner = 3 => "inner",
        /// The tunnel's header; inside `inner` only.
        Tunnel = 4 => "tunnel",
    }
}

crate::choice! {
    /// A kind of checksum (`enum nft_payload_csum_types`).
    pub(super) enum Checksum: u32, else EOPNOTSUPP {
        /// None.
        None = 0 => "none",
        /// Of the internet protocols (RFC 1071).
        Inet = 1 => "inet",
        /// SCTP's CRC32c.
        Sctp = 2 => "sctp",
    }
}

/// `NFT_PAYLOAD_L4CSUM_PSEUDOHDR`: the bytes are part of the transport's pseudo-header.
const PSEUDO_HEADER: u32 = 1;
/// Where SCTP has its checksum.
const SCTP_CHECKSUM: u8 = 8;
/// Where the ether type, or the first tag, stands.
const ETHER_TYPE: usize = 12;
const VLAN: usize = 4;
/// In GRE's first byte: a list of routes follows (RFC 1701).
const GRE_ROUTING: u8 = 0x40;

/// Registered in `REGISTRY`.
pub(super) static KIND: Kind = Kind { schema: Attributes::SCHEMA, decode, stateful: false };

/// Bytes of a header.
#[derive(Clone, Copy, Debug)]
struct Field {
    base: Base,
    offset: u8,
    len: u8,
}

#[derive(Debug)]
struct Load {
    dreg: Reg,
    field: Field,
}

#[derive(Debug)]
struct Store {
    sreg: Reg,
    field: Field,
    checksum: Checksum,
    checksum_offset: u8,
    pseudo_header: bool,
}

fn decode(data: &Attr<'_>, cx: &mut Decode<'_>) -> Result<Box<dyn Expr>> {
    let attrs = Attributes::decode(data)?;
    let field = Field { base: attrs.base, offset: attrs.offset.0, len: attrs.len.0 };
    if field.base == Base::Tunnel {
        return Err(Errno::EOPNOTSUPP.into());
    }
    match (attrs.dreg, attrs.sreg) {
        (Some(dreg), None) => {
            cx.store(dreg, field.len.into())?;
            Ok(Box::new(Load { dreg, field }))
        }
        (None, Some(sreg)) => {
            let checksum = attrs.csum_type.unwrap_or(Checksum::None);
            let checksum_offset = attrs.csum_offset.unwrap_or_default().0;
            let flags = attrs.csum_flags.unwrap_or_default();
            let misplaced = field.base != Base::Transport || checksum_offset != SCTP_CHECKSUM;
            if flags & !PSEUDO_HEADER != 0 || checksum == Checksum::Sctp && misplaced {
                return Err(Errno::EINVAL.into());
            }
            cx.load(sreg, field.len.into())?;
            let pseudo_header = flags != 0;
            Ok(Box::new(Store { sreg, field, checksum, checksum_offset, pseudo_header }))
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

impl Field {
    /// Where the base begins; `None` where the packet has no such header.
    fn base(&self, cx: &Cx<'_>) -> Option<usize> {
        match self.base {
            Base::Link => has_link(cx).then_some(0),
            Base::Network => Some(cx.network()),
            Base::Transport => {
                // Linux's short way for small fields does not ask whether a fragment has the header.
                let found = cx.transport.filter(|found| !found.later || self.is_small());
                found.map(|transport| transport.offset.into())
            }
            Base::Inner => inner(cx),
            Base::Tunnel => None,
        }
    }

    /// Whether it is read as one number (`nft_payload_fast_ops`).
    fn is_small(&self) -> bool {
        matches!(self.len, 1 | 2 | 4) && self.offset.is_multiple_of(self.len)
    }

    /// Whether it is the same in all packets of a flow: addresses, protocol, ports, ICMP's type and code.
    fn is_of_flow(&self, cx: &Cx<'_>) -> bool {
        let same: &[(usize, usize)] = match (self.base, cx.l3()) {
            (Base::Network, _) if cx.network() != usize::from(cx.layers.l3_offset) => &[],
            (Base::Network, L3::Ipv4) => &[(9, 10), (12, 20)],
            (Base::Network, L3::Ipv6) => &[(6, 7), (8, 40)],
            (Base::Transport, _) => match cx.transport().map(|found| found.protocol) {
                Some(ip::TCP | ip::UDP | ip::UDP_LITE | ip::SCTP) => &[(0, 4)],
                Some(ip::ICMP | ip::ICMP6) => &[(0, 2)],
                _ => &[],
            },
            _ => &[],
        };
        let end = self.offset() + self.len();
        same.iter().any(|(first, behind)| *first <= self.offset() && end <= *behind)
    }

    fn offset(&self) -> usize {
        self.offset.into()
    }

    fn len(&self) -> usize {
        self.len.into()
    }

    /// Reads the bytes; false where the packet ends before.
    fn read(&self, cx: &Cx<'_>, into: &mut [u8]) -> bool {
        let Some(base) = self.base(cx) else { return false };
        if self.base == Base::Link {
            return read_link(cx, self.offset(), into);
        }
        let start = base + self.offset();
        start + into.len() <= cx.end() && cx.bytes.read_at(start, into)
    }
}

/// What this node sends has no Ethernet header yet, or none that Linux knows of, where the IP families and ARP see it.
fn has_link(cx: &Cx<'_>) -> bool {
    let local = cx.place.iif.is_none() && cx.place.hook == Hook::Postrouting;
    cx.place.hook != Hook::Output && !(cx.is_routed() && local)
}

/// Reads the Ethernet header as rules see it: the tag that the device stripped is there again; a routed packet's tags are
/// gone, since they belong to the interface.
fn read_link(cx: &Cx<'_>, offset: usize, into: &mut [u8]) -> bool {
    let tag = cx.stripped_tag().filter(|_| !cx.is_routed());
    let removed =
        if cx.is_routed() { usize::from(cx.layers.l3_offset).saturating_sub(14) } else { 0 };
    let end = cx.end();
    into.iter_mut().zip(offset..).all(|(to, at)| {
        let inserted = tag.map(|tci| {
            let [a, b] = tci.to_be_bytes();
            [0x81, 0, a, b]
        });
        let at = match inserted {
            Some(bytes) if (ETHER_TYPE..ETHER_TYPE + VLAN).contains(&at) => {
                *to = bytes.get(at - ETHER_TYPE).copied().unwrap_or_default();
                return true;
            }
            Some(_) if at >= ETHER_TYPE => at - VLAN,
            _ if at >= ETHER_TYPE => at + removed,
            _ => at,
        };
        at < end && cx.bytes.read_at(at, std::slice::from_mut(to))
    })
}

/// Where the payload of TCP or UDP begins.
pub(super) fn inner(cx: &Cx<'_>) -> Option<usize> {
    let transport = cx.transport()?;
    let start = usize::from(transport.offset);
    match transport.protocol {
        ip::UDP => Some(start + 8),
        ip::TCP => {
            let header: [u8; tcp::LEN] = cx.peek(start)?;
            Some(start + usize::from(header[12] >> 4) * 4)
        }
        ip::GRE => gre(cx, start),
        ip::IPIP => Some(start),
        _ => None,
    }
}

/// What GRE of version 0 carries.
fn gre(cx: &Cx<'_>, start: usize) -> Option<usize> {
    let [flags, version]: [u8; 2] = cx.peek(start)?;
    let optional = [0x80, 0x20, 0x10].into_iter().filter(|bit| flags & bit != 0).count();
    let plain = version & 7 == 0 && flags & GRE_ROUTING == 0;
    plain.then_some(start + 4 + 4 * optional)
}

impl Expr for Load {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn eval(&self, cx: &mut Cx<'_>) -> Verdict {
        let mut bytes = [0; MAX_DATA];
        let Some(into) = bytes.get_mut(..self.field.len()) else { return Verdict::Break };
        if !self.field.read(cx, into) {
            return Verdict::Break;
        }
        cx.regs.set(self.dreg, into);
        Verdict::Continue
    }

    fn constancy(&self, cx: &Cx<'_>) -> Constancy {
        if self.field.is_of_flow(cx) { Constancy::Flow } else { Constancy::Packet }
    }

    fn encode(&self, out: &mut Writer, _cx: &Encode<'_>) {
        self.dreg.put(1, out);
        self.field.encode(out);
    }
}

impl Field {
    fn encode(&self, out: &mut Writer) {
        self.base.put(2, out);
        Small(self.offset).put(3, out);
        Small(self.len).put(4, out);
    }
}

impl Store {
    /// Writes, with checksums first, as the kernel does; `None` where the packet has no such bytes.
    fn write(&self, cx: &mut Cx<'_>) -> Option<()> {
        if self.field.base == Base::Transport {
            cx.transport()?;
        }
        let base = self.field.base(cx)?;
        let start = base + self.field.offset();
        let len = self.field.len();
        let mut new = [0; MAX_DATA];
        let new = new.get_mut(..len)?;
        new.copy_from_slice(cx.regs.get(self.sreg, len));
        if self.field.base == Base::Link {
            return write_link(cx, self.field.offset(), new);
        }
        let inet = self.checksum == Checksum::Inet;
        if inet || self.pseudo_header {
            let mut old = [0; MAX_DATA];
            let old = old.get_mut(..len)?;
            let there = start + len <= cx.end() && cx.bytes.read_at(start, old);
            if !there {
                return None;
            }
            let change = sums::Change::of(old, new);
            if inet {
                change.apply(cx, base + usize::from(self.checksum_offset))?;
            }
            if self.pseudo_header
                && let Some(at) = transport_checksum(cx)
            {
                change.apply(cx, at)?;
            }
        }
        cx.store(start, new).then_some(())?;
        if self.checksum == Checksum::Sctp
            && let Some(transport) = cx.transport().filter(|found| found.protocol == ip::SCTP)
        {
            sums::sctp(cx, transport.offset.into())?;
        }
        Some(())
    }
}

/// Where the transport's checksum stands, if it has one that covers the pseudo-header.
fn transport_checksum(cx: &Cx<'_>) -> Option<usize> {
    let transport = cx.transport()?;
    let start = usize::from(transport.offset);
    match transport.protocol {
        ip::TCP => Some(start + tcp::CHECKSUM_OFFSET),
        // A datagram without checksum stays without.
        ip::UDP if cx.peek(start + 6)? == [0; 2] => None,
        ip::UDP | ip::UDP_LITE => Some(start + 6),
        ip::ICMP6 => Some(start + 2),
        _ => None,
    }
}

/// Writes into the Ethernet header. Where there is a tag it is written whole or by its halves, as the kernel, which keeps it
/// beside the packet, has it.
fn write_link(cx: &mut Cx<'_>, offset: usize, new: &[u8]) -> Option<()> {
    let end = offset + new.len();
    let at = if cx.layers.vlan_count == 0 || end <= ETHER_TYPE {
        offset
    } else if cx.is_routed() {
        if offset < ETHER_TYPE {
            return None;
        }
        offset + usize::from(cx.layers.l3_offset).saturating_sub(14)
    } else if cx.stripped_tag().is_some() {
        offset.checked_sub(VLAN).filter(|at| *at >= ETHER_TYPE)?
    } else {
        let whole = matches!((offset, new.len()), (12, 2 | 4) | (14, 2)) || offset >= 16;
        whole.then_some(offset)?
    };
    cx.store(at, new).then_some(())
}

impl Expr for Store {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn eval(&self, cx: &mut Cx<'_>) -> Verdict {
        match self.write(cx) {
            Some(()) => Verdict::Continue,
            None => Verdict::Break,
        }
    }

    fn encode(&self, out: &mut Writer, _cx: &Encode<'_>) {
        self.sreg.put(5, out);
        self.field.encode(out);
        self.checksum.put(6, out);
        Small(self.checksum_offset).put(7, out);
        u32::from(self.pseudo_header).put(8, out);
    }
}
