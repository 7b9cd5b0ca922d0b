//! IPv6: the header's own consistency, its chain of extension headers, its addresses.

use super::source::Source;
use super::transport::transport;
use super::{FragmentPart, L3, Layers};
use crate::drop::DropReason;
use crate::frame::RxMeta;
use crate::wire::ip;
use crate::wire::ipv4;
use crate::wire::ipv6::{self, Ipv6ExtHeader, Ipv6FragmentHeader, Ipv6Header};

/// How many extension headers are followed. RFC 8200, 4.1 has use for seven in a packet.
pub const MAX_EXTENSIONS: usize = 8;

/// Checks the packet at `found.l3_offset`; `found` begins with layer 2 filled in, `len` is the frame's.
#[inline(always)]
pub(super) fn ipv6(
    source: &impl Source,
    len: usize,
    meta: RxMeta,
    mut found: Layers,
) -> Result<Layers, DropReason> {
    let at = usize::from(found.l3_offset);
    let header: Ipv6Header = source.get(at).ok_or(DropReason::Ip6Truncated)?;
    if header.version() != 6 {
        return Err(DropReason::Ip6BadVersion);
    }
    let end = at + ipv6::LEN + usize::from(header.payload_length.get());
    if end > len {
        return Err(DropReason::Ip6BadPayloadLength);
    }
    check_addresses(&header)?;

    found.l3 = L3::Ipv6;
    found.l4_offset = (at + ipv6::LEN) as u16;
    found.end = end as u32;
    found.protocol = header.next_header;
    found.ttl = header.hop_limit;
    found.tos = header.traffic_class();
    found.key.src = header.src;
    found.key.dst = header.dst;
    found.key.family = 6;
    if ipv6::is_extension(header.next_header) {
        extensions(source, &mut found)?;
    }
    found.key.protocol = found.protocol;
    transport(source, meta, found)
}

/// Follows the chain from `found.protocol` at `found.l4_offset`, leaving both behind it.
#[inline(never)]
fn extensions(source: &impl Source, found: &mut Layers) -> Result<(), DropReason> {
    let first = usize::from(found.l4_offset);
    let end = found.end as usize;
    let mut at = first;
    let mut fragmented = false;
    found.options = true;
    for count in 0.. {
        let number = found.protocol;
        if !ipv6::is_extension(number) {
            break;
        }
        if number == ip::HOP_BY_HOP && at != first {
            return Err(DropReason::Ip6ExtOrder);
        }
        if count == MAX_EXTENSIONS {
            return Err(DropReason::Ip6ExtTooMany);
        }
        if end - at < ipv6::EXT_LEN {
            return Err(DropReason::Ip6ExtTruncated);
        }
        let header: Ipv6ExtHeader = source.get(at).ok_or(DropReason::Ip6ExtTruncated)?;
        let size = header.size(number);
        if end - at < size {
            return Err(DropReason::Ip6ExtTruncated);
        }
        if number == ip::ROUTING && header.routing_type() == ipv6::ROUTING_TYPE_0 {
            return Err(DropReason::Ip6RoutingHeader);
        }
        at += size;
        found.protocol = header.next_header;
        if number == ip::FRAGMENT {
            // A fragment of a fragment cannot be told from an attempt to hide.
            if fragmented {
                return Err(DropReason::Ip6BadFragment);
            }
            fragmented = true;
            found.fragment = fragment(zerocopy::transmute!(header), at - first, end - at)?;
            if found.fragment == FragmentPart::Later {
                break;
            }
        }
    }
    found.l4_offset = at as u16;
    Ok(())
}

/// Where a fragment of `payload` bytes stands, with `headers` bytes between the fixed header and the payload. A packet that
/// is all of itself (RFC 6946) is whole.
fn fragment(
    header: Ipv6FragmentHeader,
    headers: usize,
    payload: usize,
) -> Result<FragmentPart, DropReason> {
    let (offset, more) = (header.offset(), header.more_fragments());
    if offset == 0 && !more {
        return Ok(FragmentPart::Whole);
    }
    // The packet put together has no fragment header (RFC 8200, 4.5).
    let end = headers - ipv6::EXT_LEN + offset + payload;
    let ragged = more && !payload.is_multiple_of(8);
    if payload == 0 || ragged || end > ipv4::MAX_PACKET {
        return Err(DropReason::Ip6BadFragment);
    }
    Ok(if offset == 0 { FragmentPart::First } else { FragmentPart::Later })
}

/// Refuses addresses that cannot be on a wire (RFC 4291, 2.5 to 2.7). Addresses of another scope than the link's are the
/// router's business, not the parser's.
#[inline(always)]
fn check_addresses(header: &Ipv6Header) -> Result<(), DropReason> {
    let (src, dst) = (u128::from_be_bytes(header.src), u128::from_be_bytes(header.dst));
    if src >> 120 == 0xff || src >> 64 == 0 {
        odd_source(src, dst)?;
    }
    if dst >> 120 == 0xff {
        // Scope 0 is reserved, scope 1 stays inside the node.
        if (dst >> 112) & 0xf <= 1 {
            return Err(DropReason::Ip6BadDestination);
        }
    } else if dst <= 1 {
        return Err(DropReason::Ip6BadDestination);
    }
    Ok(())
}

#[inline(never)]
fn odd_source(src: u128, dst: u128) -> Result<(), DropReason> {
    // A host without an address yet may speak to groups of its link: duplicate address detection, router solicitation,
    // multicast listener reports (RFC 4861, RFC 3810).
    let on_link = dst >> 112 == 0xff02;
    let mapped = src >> 32 == 0xffff; // ::ffff:0:0/96 is for sockets, not for wires (RFC 4942, 2.2)
    let bad = src >> 120 == 0xff || src == 1 || mapped || (src == 0 && !on_link);
    if bad { Err(DropReason::Ip6BadSource) } else { Ok(()) }
}
