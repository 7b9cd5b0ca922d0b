//! Layer 4: each transport header is checked to be whole and consistent; payload is not touched.

use super::source::Source;
use super::{FragmentPart, L3, L4, Layers};
use crate::drop::DropReason;
use crate::frame::{ChecksumStatus, RxMeta};
use crate::wire::gre::{self, GreHeader, PptpHeader};
use crate::wire::icmp::{self, IcmpHeader};
use crate::wire::icmp6::{self, Icmp6Header};
use crate::wire::ip;
use crate::wire::sctp::{self, SctpHeader};
use crate::wire::tcp::{self, TcpHeader};
use crate::wire::udp::{self, UdpHeader};

/// Checks what begins at `found.l4_offset`; `found` begins with the network layer filled in. A later fragment has no header.
#[inline(always)]
pub(super) fn transport(
    source: &impl Source,
    meta: RxMeta,
    mut found: Layers,
) -> Result<Layers, DropReason> {
    if found.fragment == FragmentPart::Later {
        return Ok(found);
    }
    let at = usize::from(found.l4_offset);
    let size = found.end as usize - at;
    match found.protocol {
        ip::TCP => {
            if size < tcp::LEN {
                return Err(DropReason::TcpTruncated);
            }
            let header: TcpHeader = source.get(at).ok_or(DropReason::TcpTruncated)?;
            if header.header_len() < tcp::LEN {
                return Err(DropReason::TcpBadOffset);
            }
            if header.header_len() > size {
                return Err(DropReason::TcpTruncated);
            }
            found.l4 = L4::Tcp;
            found.key.sport = header.sport;
            found.key.dport = header.dport;
        }
        ip::UDP => {
            if size < udp::LEN {
                return Err(DropReason::UdpTruncated);
            }
            let header: UdpHeader = source.get(at).ok_or(DropReason::UdpTruncated)?;
            // A first fragment's length is that of the datagram put together.
            let length = usize::from(header.length.get());
            if length < udp::LEN || (length > size && found.fragment == FragmentPart::Whole) {
                return Err(DropReason::UdpBadLength);
            }
            found.l4 = L4::Udp;
            found.key.sport = header.sport;
            found.key.dport = header.dport;
        }
        _ => {
            rare(source, at, size, &mut found)?;
        }
    }
    if meta.l4_checksum == ChecksumStatus::Bad
        && found.fragment == FragmentPart::Whole
        && matches!(found.l4, L4::Tcp | L4::Udp | L4::Sctp)
    {
        return Err(DropReason::L4BadChecksum);
    }
    Ok(found)
}

#[inline(never)]
fn rare(
    source: &impl Source,
    at: usize,
    size: usize,
    found: &mut Layers,
) -> Result<(), DropReason> {
    match (found.protocol, found.l3) {
        (ip::ICMP, L3::Ipv4) => {
            if size < icmp::LEN {
                return Err(DropReason::IcmpTruncated);
            }
            let header: IcmpHeader = source.get(at).ok_or(DropReason::IcmpTruncated)?;
            found.l4 = L4::Icmp;
            found.key.dport = [header.kind, header.code];
            if icmp::has_id(header.kind) {
                found.key.sport = header.rest[0].to_bytes();
            }
        }
        (ip::ICMP6, L3::Ipv6) => {
            if size < icmp6::LEN {
                return Err(DropReason::Icmp6Truncated);
            }
            let header: Icmp6Header = source.get(at).ok_or(DropReason::Icmp6Truncated)?;
            found.l4 = L4::Icmp6;
            found.key.dport = [header.kind, header.code];
            if icmp6::has_id(header.kind) {
                found.key.sport = header.rest[0].to_bytes();
            }
        }
        (ip::UDP_LITE, _) => {
            if size < udp::LEN {
                return Err(DropReason::UdpTruncated);
            }
            let header: UdpHeader = source.get(at).ok_or(DropReason::UdpTruncated)?;
            // The coverage: 0 is all, 1 to 7 would leave out the header (RFC 3828, 3.1).
            let coverage = usize::from(header.length.get());
            let too_much = coverage > size && found.fragment == FragmentPart::Whole;
            if (1..udp::LEN).contains(&coverage) || too_much {
                return Err(DropReason::UdpBadLength);
            }
            found.l4 = L4::Udp;
            found.key.sport = header.sport;
            found.key.dport = header.dport;
        }
        (ip::SCTP, _) => {
            if size < sctp::LEN {
                return Err(DropReason::SctpTruncated);
            }
            let header: SctpHeader = source.get(at).ok_or(DropReason::SctpTruncated)?;
            found.l4 = L4::Sctp;
            found.key.sport = header.sport;
            found.key.dport = header.dport;
        }
        (ip::GRE, _) => {
            if size < gre::LEN {
                return Err(DropReason::GreTruncated);
            }
            let header: GreHeader = source.get(at).ok_or(DropReason::GreTruncated)?;
            let flags = header.flags.get();
            let good = match header.version() {
                0 => flags & gre::V0_REFUSED == 0,
                1 => {
                    flags & gre::V1_ZERO == 0
                        && flags & gre::KEY != 0
                        && header.protocol.get() == gre::PPP
                }
                _ => false,
            };
            if !good {
                return Err(DropReason::GreMalformed);
            }
            if size < header.header_len() {
                return Err(DropReason::GreTruncated);
            }
            if header.version() == 1 {
                let header: PptpHeader = source.get(at).ok_or(DropReason::GreTruncated)?;
                found.key.sport = header.call_id;
            }
            found.l4 = L4::Gre;
        }
        _ => {}
    }
    Ok(())
}
