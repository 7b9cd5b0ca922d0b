//! IPv4: the header's own consistency, its options, its place in a fragmented datagram, its addresses.

use super::source::Source;
use super::transport::transport;
use super::{FragmentPart, L3, Layers};
use crate::checksum;
use crate::drop::DropReason;
use crate::frame::{ChecksumStatus, RxMeta};
use crate::wire::ip;
use crate::wire::ipv4::{self, Ipv4Header};

/// Checks the packet at `found.l3_offset`; `found` begins with layer 2 filled in, `len` is the frame's.
#[inline(always)]
pub(super) fn ipv4(
    source: &impl Source,
    len: usize,
    meta: RxMeta,
    mut found: Layers,
) -> Result<Layers, DropReason> {
    let at = usize::from(found.l3_offset);
    let header: Ipv4Header = source.get(at).ok_or(DropReason::Ip4Truncated)?;
    let total = usize::from(header.total_length.get());
    let header_len = header.header_len();
    if header.version() != 4 {
        return Err(DropReason::Ip4BadVersion);
    }
    if header_len < ipv4::LEN || header_len > total {
        return Err(DropReason::Ip4BadHeaderLength);
    }
    if at + total > len {
        return Err(DropReason::Ip4BadTotalLength);
    }
    if header_len > ipv4::LEN {
        options(source, at, &header, meta)?;
        found.options = true;
    } else {
        verify(&header, &[], meta)?;
    }
    if !(ordinary_source(header.src) && ordinary_destination(header.dst)) {
        odd_addresses(&header)?;
    }

    found.l3 = L3::Ipv4;
    found.l4_offset = (at + header_len) as u16;
    found.end = (at + total) as u32;
    found.protocol = header.protocol;
    found.ttl = header.ttl;
    found.tos = header.tos;
    found.dont_fragment = header.dont_fragment();
    if header.fragment.get() & (ipv4::MORE_FRAGMENTS | ipv4::OFFSET_MASK) != 0 {
        found.fragment = fragment(&header, total - header_len)?;
    }
    found.key.src = widen(header.src);
    found.key.dst = widen(header.dst);
    found.key.protocol = header.protocol;
    found.key.family = 4;
    transport(source, meta, found)
}

#[inline(always)]
fn widen(address: [u8; 4]) -> [u8; 16] {
    let [a, b, c, d] = address;
    [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}

/// The header's checksum, unless the device knows.
#[inline(always)]
fn verify(header: &Ipv4Header, options: &[u8], meta: RxMeta) -> Result<(), DropReason> {
    let good = match meta.ip_checksum {
        ChecksumStatus::Good => true,
        ChecksumStatus::Bad => false,
        ChecksumStatus::Unknown => checksum::ipv4_header_is_valid(header, options),
    };
    if good { Ok(()) } else { Err(DropReason::Ip4BadChecksum) }
}

/// Walks the options (RFC 791, 3.1; what is refused: RFC 7126, 4).
#[inline(never)]
fn options(
    source: &impl Source,
    at: usize,
    header: &Ipv4Header,
    meta: RxMeta,
) -> Result<(), DropReason> {
    let mut buffer = [0; ipv4::MAX_LEN - ipv4::LEN];
    let options = buffer.get_mut(..header.header_len() - ipv4::LEN).unwrap_or_default();
    if !source.copy(at + ipv4::LEN, options) {
        return Err(DropReason::Ip4Truncated);
    }
    verify(header, options, meta)?;
    let mut rest: &[u8] = options;
    while let [kind, tail @ ..] = rest {
        rest = match *kind {
            ipv4::OPTION_END => break,
            ipv4::OPTION_NOP => tail,
            ipv4::OPTION_LSRR | ipv4::OPTION_SSRR => return Err(DropReason::Ip4SourceRoute),
            kind => {
                let len = usize::from(*tail.first().ok_or(DropReason::Ip4BadOptions)?);
                let least = match kind {
                    ipv4::OPTION_RECORD_ROUTE => 3,
                    ipv4::OPTION_TIMESTAMP | ipv4::OPTION_ROUTER_ALERT => 4,
                    _ => 2,
                };
                if len < least {
                    return Err(DropReason::Ip4BadOptions);
                }
                rest.get(len..).ok_or(DropReason::Ip4BadOptions)?
            }
        };
    }
    Ok(())
}

/// Where a fragment of `payload` bytes stands (RFC 791, 3.2: all but the last end on a multiple of 8).
#[inline(never)]
fn fragment(header: &Ipv4Header, payload: usize) -> Result<FragmentPart, DropReason> {
    let end = header.fragment_offset() + header.header_len() + payload;
    let ragged = header.more_fragments() && !payload.is_multiple_of(8);
    if payload == 0 || ragged || end > ipv4::MAX_PACKET {
        return Err(DropReason::Ip4BadFragment);
    }
    Ok(if header.fragment_offset() == 0 { FragmentPart::First } else { FragmentPart::Later })
}

/// Not of 0/8, 127/8, or 224/4 and above.
#[inline(always)]
fn ordinary_source(src: [u8; 4]) -> bool {
    src[0].wrapping_sub(1) < 126 || src[0] ^ 0x80 < 96
}

/// Not of 0/8, 127/8, or 240/4.
#[inline(always)]
fn ordinary_destination(dst: [u8; 4]) -> bool {
    dst[0].wrapping_sub(1) < 126 || dst[0] ^ 0x80 < 112
}

/// The addresses that look odd: which of them are bad (RFC 1812, 5.3.7; RFC 6890).
#[inline(never)]
fn odd_addresses(header: &Ipv4Header) -> Result<(), DropReason> {
    let (src, dst) = (header.src, header.dst);
    // A host without an address yet may speak on its link: DHCP to everyone (RFC 2131, 4.1), IGMP (RFC 3376, 4.2.13), and
    // what else goes to a group of the link.
    let on_link = dst == [255; 4]
        || dst[..3] == [224, 0, 0]
        || ((224..240).contains(&dst[0]) && header.protocol == ip::IGMP);
    // Class E was never given a use, and Linux forwards from it; its last address is no sender.
    let source_is_good =
        ordinary_source(src) || (src == [0; 4] && on_link) || (src[0] >= 240 && src != [255; 4]);
    if !source_is_good {
        return Err(DropReason::Ip4BadSource);
    }
    if !(ordinary_destination(dst) || dst == [255; 4]) {
        return Err(DropReason::Ip4BadDestination);
    }
    Ok(())
}
