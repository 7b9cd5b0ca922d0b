//! IPv4: the header's own consistency, its options, its place in a fragmented datagram, its addresses.

use super::source::{NOT_PLAIN, Source};
use super::transport::{is_plain, transport};
use super::{FragmentPart, L3, Layers, LinkLayer, Network};
use crate::checksum;
use crate::drop::DropReason;
use crate::frame::{ChecksumStatus, RxMeta};
use crate::wire::ip;
use crate::wire::ipv4::{self, Ipv4Header};

/// Version 4, header of 20 bytes.
const PLAIN_VERSION_IHL: u8 = 0x45;

/// Checks the packet behind `l2` in a frame of `len` bytes.
#[inline(always)]
pub(super) fn ipv4<S: Source>(
    source: S,
    l2: LinkLayer,
    len: usize,
    meta: RxMeta,
) -> Result<Layers, DropReason> {
    let at = usize::from(l2.l3_offset);
    let header: Ipv4Header = source.get(at).ok_or(DropReason::Ip4Truncated)?;
    if S::PLAIN && (header.version_ihl != PLAIN_VERSION_IHL || !is_plain(header.protocol)) {
        return Err(NOT_PLAIN);
    }
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
    let options = header_len > ipv4::LEN;
    if options {
        check_options(source, at, header_len - ipv4::LEN, meta.ip_checksum)?;
    } else if !verify(&header, &[], meta.ip_checksum) {
        return Err(DropReason::Ip4BadChecksum);
    }
    if !(ordinary_source(header.src) && ordinary_destination(header.dst)) {
        if S::PLAIN {
            return Err(NOT_PLAIN);
        }
        check_odd_addresses(header.src, header.dst, header.protocol)?;
    }
    let fragment = if header.fragment.get() & (ipv4::MORE_FRAGMENTS | ipv4::OFFSET_MASK) == 0 {
        FragmentPart::Whole
    } else if S::PLAIN {
        return Err(NOT_PLAIN);
    } else {
        check_fragment(header.fragment_offset(), header.more_fragments(), header_len, total)?
    };
    let network = Network {
        l3: L3::Ipv4,
        src: u32::from_le_bytes(header.src).into(),
        dst: u32::from_le_bytes(header.dst).into(),
        protocol: header.protocol,
        ttl: header.ttl,
        tos: header.tos,
        dont_fragment: header.dont_fragment(),
        options,
        fragment,
        l4_offset: at + header_len,
        end: at + total,
    };
    transport(source, l2, network, meta.l4_checksum)
}

/// Whether the header's checksum is right; software looks unless the device knows.
#[inline(always)]
fn verify(header: &Ipv4Header, options: &[u8], status: ChecksumStatus) -> bool {
    match status {
        ChecksumStatus::Good => true,
        ChecksumStatus::Bad => false,
        ChecksumStatus::Unknown => checksum::ipv4_header_is_valid(header, options),
    }
}

/// Walks `len` bytes of options (RFC 791, 3.1; what is refused: RFC 7126, 4), once the checksum is known to be right.
fn check_options(
    source: impl Source,
    at: usize,
    len: usize,
    status: ChecksumStatus,
) -> Result<(), DropReason> {
    let mut buffer = [0; ipv4::MAX_LEN - ipv4::LEN];
    let options = buffer.get_mut(..len).unwrap_or_default();
    let header: Ipv4Header = source.get(at).ok_or(DropReason::Ip4Truncated)?;
    if !source.copy(at + ipv4::LEN, options) {
        return Err(DropReason::Ip4Truncated);
    }
    if !verify(&header, options, status) {
        return Err(DropReason::Ip4BadChecksum);
    }
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

/// Where a fragment stands whose payload stands at `offset` (RFC 791, 3.2: all but the last end on a multiple of 8).
fn check_fragment(
    offset: usize,
    more: bool,
    header_len: usize,
    total: usize,
) -> Result<FragmentPart, DropReason> {
    let payload = total - header_len;
    let ragged = more && !payload.is_multiple_of(8);
    if payload == 0 || ragged || offset + total > ipv4::MAX_PACKET {
        return Err(DropReason::Ip4BadFragment);
    }
    Ok(if offset == 0 { FragmentPart::First } else { FragmentPart::Later })
}

/// Not of 0/8, 127/8, or 224/4 and above.
#[inline(always)]
pub(super) const fn ordinary_source(src: [u8; 4]) -> bool {
    src[0].wrapping_sub(1) < 126 || src[0] ^ 0x80 < 96
}

/// Not of 0/8, 127/8, or 240/4.
#[inline(always)]
pub(super) const fn ordinary_destination(dst: [u8; 4]) -> bool {
    dst[0].wrapping_sub(1) < 126 || dst[0] ^ 0x80 < 112
}

/// The addresses that look odd: which of them are bad (RFC 1812, 5.3.7; RFC 6890).
fn check_odd_addresses(src: [u8; 4], dst: [u8; 4], protocol: u8) -> Result<(), DropReason> {
    // A host without an address yet may speak on its link: DHCP to everyone (RFC 2131, 4.1), IGMP (RFC 3376, 4.2.13), and
    // what else goes to a group of the link.
    let to_group = (224..240).contains(&dst[0]);
    let on_link = dst == [255; 4] || dst[..3] == [224, 0, 0] || (to_group && protocol == ip::IGMP);
    // Class E was never given a use, and Linux forwards from it; its last address is no sender.
    let class_e = src[0] >= 240 && src != [255; 4];
    if !(ordinary_source(src) || class_e || (src == [0; 4] && on_link)) {
        return Err(DropReason::Ip4BadSource);
    }
    if !(ordinary_destination(dst) || dst == [255; 4]) {
        return Err(DropReason::Ip4BadDestination);
    }
    Ok(())
}
