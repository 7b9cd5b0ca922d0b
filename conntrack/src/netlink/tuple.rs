//! Tuples: `CTA_TUPLE_…` to and from [`FlowKey`]s.

use nfnetlink::{Attr, Errno, Result, Table, Writer};
use packet::FlowKey;
use packet::wire::ip;

use super::cta::{address, proto, tuple};
use super::nest;

/// `NFPROTO_IPV4`, `NFPROTO_IPV6`.
pub(super) const IPV4: u8 = 2;
pub(super) const IPV6: u8 = 10;

/// Which parts of a tuple a filter looks at: the kernel's `CTA_FILTER_F_…`.
pub(super) mod part {
    pub(in crate::netlink) const IP_SRC: u32 = 1;
    pub(in crate::netlink) const IP_DST: u32 = 1 << 1;
    pub(in crate::netlink) const ZONE: u32 = 1 << 2;
    pub(in crate::netlink) const PROTO_NUM: u32 = 1 << 3;
    pub(in crate::netlink) const SRC_PORT: u32 = 1 << 4;
    pub(in crate::netlink) const DST_PORT: u32 = 1 << 5;
    pub(in crate::netlink) const ICMP_TYPE: u32 = 1 << 6;
    pub(in crate::netlink) const ICMP_CODE: u32 = 1 << 7;
    pub(in crate::netlink) const ICMP_ID: u32 = 1 << 8;
    pub(in crate::netlink) const ICMPV6_TYPE: u32 = 1 << 9;
    pub(in crate::netlink) const ICMPV6_CODE: u32 = 1 << 10;
    pub(in crate::netlink) const ICMPV6_ID: u32 = 1 << 11;
    pub(in crate::netlink) const ALL: u32 = (1 << 12) - 1;
    /// Those that mean nothing without a protocol.
    pub(in crate::netlink) const PROTO: u32 = ALL & !(IP_SRC | IP_DST | ZONE | PROTO_NUM);
}

/// How a protocol's two port fields are told.
enum Shape {
    /// Two ports, or the keys of GRE.
    Ports,
    /// Id, type and code: attributes, and the filter's bits for them.
    Icmp { id: u16, kind: u16, code: u16, bits: [u32; 3] },
    /// Not at all.
    None,
}

const fn shape(protocol: u8) -> Shape {
    match protocol {
        ip::TCP | ip::UDP | ip::UDP_LITE | ip::SCTP | ip::GRE => Shape::Ports,
        ip::ICMP => Shape::Icmp {
            id: proto::ICMP_ID,
            kind: proto::ICMP_TYPE,
            code: proto::ICMP_CODE,
            bits: [part::ICMP_ID, part::ICMP_TYPE, part::ICMP_CODE],
        },
        ip::ICMP6 => Shape::Icmp {
            id: proto::ICMPV6_ID,
            kind: proto::ICMPV6_TYPE,
            code: proto::ICMPV6_CODE,
            bits: [part::ICMPV6_ID, part::ICMPV6_TYPE, part::ICMPV6_CODE],
        },
        _ => Shape::None,
    }
}

/// Whether ICMP messages of this type begin a flow (the kernel's `invmap`): others are refused in tuples.
const fn has_reply(protocol: u8, kind: u8) -> bool {
    match protocol {
        // Echo, timestamp, information, address mask, and their replies.
        ip::ICMP => matches!(kind, 0 | 8 | 13..=18),
        // Echo, node information, and their replies.
        _ => matches!(kind, 128 | 129 | 139 | 140),
    }
}

/// `NFPROTO_…` of a key.
pub(super) const fn family(key: &FlowKey) -> u8 {
    match key.family {
        4 => IPV4,
        6 => IPV6,
        _ => 0,
    }
}

/// Writes a tuple as `kind`, with its zone where that is told of this direction alone.
pub(super) fn put(out: &mut Writer, kind: u16, key: &FlowKey, zone: Option<u16>) {
    out.nest_marked(kind, |out| {
        out.nest_marked(tuple::IP, |out| {
            if key.family == 6 {
                out.put(address::V6_SRC, &key.src);
                out.put(address::V6_DST, &key.dst);
            } else {
                out.put(address::V4_SRC, key.src.first_chunk::<4>().unwrap_or(&[0; 4]));
                out.put(address::V4_DST, key.dst.first_chunk::<4>().unwrap_or(&[0; 4]));
            }
        });
        out.nest_marked(tuple::PROTO, |out| {
            out.u8(proto::NUM, key.protocol);
            match shape(key.protocol) {
                Shape::Ports => {
                    out.put(proto::SRC_PORT, &key.sport);
                    out.put(proto::DST_PORT, &key.dport);
                }
                Shape::Icmp { id, kind, code, .. } => {
                    let [icmp_kind, icmp_code] = key.dport;
                    out.put(id, &key.sport);
                    out.u8(kind, icmp_kind);
                    out.u8(code, icmp_code);
                }
                Shape::None => {}
            }
        });
        if let Some(zone) = zone {
            out.u16(tuple::ZONE, zone);
        }
    });
}

/// A tuple that a message names, and the zone that stands in it.
pub(super) struct Parsed {
    pub key: FlowKey,
    pub zone: Option<u16>,
}

/// Reads a whole tuple. The key's zone is left zero.
///
/// # Errors
///
/// As the kernel's `ctnetlink_parse_tuple`: `EOPNOTSUPP` for families other than IPv4 and IPv6, `EINVAL` where something is
/// missing or an ICMP type has no reply, `ERANGE` where an attribute is short.
pub(super) fn parse(attr: &Attr<'_>, family: u8) -> Result<Parsed> {
    parse_parts(attr, family, part::ALL)
}

/// Reads the parts of a tuple that a filter looks at.
///
/// # Errors
///
/// As [`parse`].
pub(super) fn parse_parts(attr: &Attr<'_>, family: u8, parts: u32) -> Result<Parsed> {
    let [_, ip, proto, zone]: Table<'_, 4> = attr.table();
    for attr in [ip, proto].iter().flatten() {
        if attr.data.len() < nest(attr) {
            return Err(attr.error(Errno::ERANGE));
        }
    }
    let of_key = match family {
        IPV4 => 4,
        IPV6 => 6,
        _ => return Err(Errno::EOPNOTSUPP.into()),
    };
    let mut key = FlowKey { family: of_key, ..FlowKey::default() };
    let zone = zone.map(|zone| zone.u16()).transpose()?;
    if parts & (part::IP_SRC | part::IP_DST) != 0 {
        let ip = ip.ok_or(Errno::EINVAL)?;
        addresses(&ip, parts, &mut key)?;
    }
    if parts & part::PROTO_NUM != 0 {
        let proto = proto.ok_or(Errno::EINVAL)?;
        ports(&proto, parts, &mut key)?;
    } else if parts & part::PROTO != 0 {
        return Err(Errno::EINVAL.into());
    }
    Ok(Parsed { key, zone: if parts & part::ZONE != 0 { zone } else { None } })
}

fn addresses(attr: &Attr<'_>, parts: u32, key: &mut FlowKey) -> Result<()> {
    let [_, v4_src, v4_dst, v6_src, v6_dst]: Table<'_, 5> = attr.table();
    let read = |part, v4: Option<Attr<'_>>, v6: Option<Attr<'_>>| -> Result<[u8; 16]> {
        let mut address = [0; 16];
        if parts & part == 0 {
            return Ok(address);
        }
        if key.family == 6 {
            return v6.ok_or(Errno::EINVAL)?.bytes();
        }
        if let Some(place) = address.first_chunk_mut::<4>() {
            *place = v4.ok_or(Errno::EINVAL)?.bytes()?;
        }
        Ok(address)
    };
    let src = read(part::IP_SRC, v4_src, v6_src)?;
    let dst = read(part::IP_DST, v4_dst, v6_dst)?;
    (key.src, key.dst) = (src, dst);
    Ok(())
}

fn ports(attr: &Attr<'_>, parts: u32, key: &mut FlowKey) -> Result<()> {
    let table: Table<'_, 10> = attr.table();
    let get = |kind: u16| table.get(usize::from(kind)).copied().flatten();
    let need = |kind: u16| get(kind).ok_or(Errno::EINVAL);
    key.protocol = need(proto::NUM)?.u8()?;
    match shape(key.protocol) {
        Shape::Ports => {
            if parts & part::SRC_PORT != 0 {
                key.sport = need(proto::SRC_PORT)?.bytes()?;
            }
            if parts & part::DST_PORT != 0 {
                key.dport = need(proto::DST_PORT)?.bytes()?;
            }
        }
        Shape::Icmp { id, kind, code, bits: [id_bit, kind_bit, code_bit] } => {
            let [icmp_kind, icmp_code] = &mut key.dport;
            if parts & kind_bit != 0 {
                *icmp_kind = need(kind)?.u8()?;
                if !has_reply(key.protocol, *icmp_kind) {
                    return Err(Errno::EINVAL.into());
                }
            }
            if parts & code_bit != 0 {
                *icmp_code = need(code)?.u8()?;
            }
            if parts & id_bit != 0 {
                key.sport = need(id)?.bytes()?;
            }
        }
        Shape::None => {}
    }
    Ok(())
}

/// Whether `key` is what a filter's `wanted` has in `parts`.
pub(super) fn matches(wanted: &FlowKey, key: &FlowKey, parts: u32) -> bool {
    let same = |part, equal: bool| parts & part == 0 || equal;
    // The kernel compares ports of TCP and UDP only.
    let ports = match key.protocol {
        ip::TCP | ip::UDP => {
            same(part::SRC_PORT, wanted.sport == key.sport)
                && same(part::DST_PORT, wanted.dport == key.dport)
        }
        ip::ICMP | ip::ICMP6 => match shape(key.protocol) {
            Shape::Icmp { bits: [id, kind, code], .. } => {
                let ([kind_1, code_1], [kind_2, code_2]) = (wanted.dport, key.dport);
                same(id, wanted.sport == key.sport)
                    && same(kind, kind_1 == kind_2)
                    && same(code, code_1 == code_2)
            }
            _ => true,
        },
        _ => true,
    };
    ports
        && same(part::IP_SRC, wanted.src == key.src)
        && same(part::IP_DST, wanted.dst == key.dst)
        && same(part::PROTO_NUM, wanted.protocol == key.protocol)
}
