//! IPv6: the header's own consistency, its chain of extension headers, its addresses.

use super::source::{NOT_PLAIN, Source};
use super::transport::{is_plain, transport};
use super::{FragmentPart, L3, Layers, LinkLayer, Network};
use crate::drop::DropReason;
use crate::frame::RxMeta;
use crate::wire::ip;
use crate::wire::ipv4;
use crate::wire::ipv6::{self, Ipv6ExtHeader, Ipv6FragmentHeader, Ipv6Header};

/// How many extension headers are followed. RFC 8200, 4.1 has use for seven in a packet.
pub const MAX_EXTENSIONS: usize = 8;

/// Checks the packet behind `l2` in a frame of `len` bytes.
#[inline(always)]
pub(super) fn ipv6<S: Source>(
    source: S,
    l2: LinkLayer,
    len: usize,
    meta: RxMeta,
) -> Result<Layers, DropReason> {
    let at = usize::from(l2.l3_offset);
    let header: Ipv6Header = source.get(at).ok_or(DropReason::Ip6Truncated)?;
    if S::PLAIN && !is_plain(header.next_header) {
        return Err(NOT_PLAIN);
    }
    if header.version() != 6 {
        return Err(DropReason::Ip6BadVersion);
    }
    let l4_offset = at + ipv6::LEN;
    let end = l4_offset + usize::from(header.payload_length.get());
    if end > len {
        return Err(DropReason::Ip6BadPayloadLength);
    }
    check_addresses::<S>(&header)?;
    let mut last = Last { protocol: header.next_header, fragment: FragmentPart::Whole, l4_offset };
    let options = ipv6::is_extension(header.next_header);
    if options {
        last = follow(source, l4_offset, end, header.next_header)?;
    }
    let network = Network {
        l3: L3::Ipv6,
        src: u128::from_le_bytes(header.src),
        dst: u128::from_le_bytes(header.dst),
        protocol: last.protocol,
        ttl: header.hop_limit,
        tos: header.traffic_class(),
        dont_fragment: false,
        options,
        fragment: last.fragment,
        l4_offset: last.l4_offset,
        end,
    };
    transport(source, l2, network, meta.l4_checksum)
}

/// What stands behind the extension headers.
struct Last {
    protocol: u8,
    fragment: FragmentPart,
    l4_offset: usize,
}

/// Follows the chain that `number` announced at `first`, in a packet that ends at `end`.
fn follow(
    source: impl Source,
    first: usize,
    end: usize,
    mut number: u8,
) -> Result<Last, DropReason> {
    let mut at = first;
    let mut fragment = None;
    for count in 0.. {
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
        if number == ip::FRAGMENT {
            // A fragment of a fragment cannot be told from an attempt to hide.
            if fragment.is_some() {
                return Err(DropReason::Ip6BadFragment);
            }
            let part = check_fragment(zerocopy::transmute!(header), at - first, end - at)?;
            fragment = Some(part);
            if part == FragmentPart::Later {
                number = header.next_header;
                break;
            }
        }
        number = header.next_header;
    }
    Ok(Last { protocol: number, fragment: fragment.unwrap_or_default(), l4_offset: at })
}

/// Where a fragment of `payload` bytes stands, with `headers` bytes between the fixed header and the payload. A packet that
/// is all of itself (RFC 6946) is whole.
fn check_fragment(
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
fn check_addresses<S: Source>(header: &Ipv6Header) -> Result<(), DropReason> {
    let (src, dst) = (u128::from_be_bytes(header.src), u128::from_be_bytes(header.dst));
    if src >> 120 == 0xff || src >> 64 == 0 {
        if S::PLAIN {
            return Err(NOT_PLAIN);
        }
        check_odd_source(src, dst)?;
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

fn check_odd_source(src: u128, dst: u128) -> Result<(), DropReason> {
    // A host without an address yet may speak to groups of its link: duplicate address detection, router solicitation,
    // multicast listener reports (RFC 4861, RFC 3810).
    let on_link = dst >> 112 == 0xff02;
    let mapped = src >> 32 == 0xffff; // ::ffff:0:0/96 is for sockets, not for wires (RFC 4942, 2.2)
    let bad = src >> 120 == 0xff || src == 1 || mapped || (src == 0 && !on_link);
    if bad { Err(DropReason::Ip6BadSource) } else { Ok(()) }
}
