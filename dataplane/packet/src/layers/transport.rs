//! Layer 4: each transport header is checked to be whole and consistent; payload is not touched.

use super::source::{NOT_PLAIN, Source};
use super::{FragmentPart, L3, L4, Layers, LinkLayer, Network, layers};
use crate::drop::DropReason;
use crate::frame::ChecksumStatus;
use crate::wire::gre::{self, GreHeader, PptpHeader};
use crate::wire::icmp::{self, IcmpHeader};
use crate::wire::icmp6::{self, Icmp6Header};
use crate::wire::ip;
use crate::wire::sctp::{self, SctpHeader};
use crate::wire::tcp::{self, TcpHeader};
use crate::wire::udp::{self, UdpHeader};

/// A transport header that was found.
pub(super) struct Transport {
    pub(super) l4: L4,
    /// Ports as in [`FlowKey`](crate::FlowKey), read little-endian.
    pub(super) sport: u16,
    pub(super) dport: u16,
}

/// Nothing that has ports.
pub(super) const NONE: Transport = Transport { l4: L4::Other, sport: 0, dport: 0 };

#[inline(always)]
fn ports(l4: L4, sport: [u8; 2], dport: [u8; 2]) -> Transport {
    Transport { l4, sport: u16::from_le_bytes(sport), dport: u16::from_le_bytes(dport) }
}

/// The protocols that the plain parser takes.
#[inline(always)]
pub(super) fn is_plain(protocol: u8) -> bool {
    matches!(protocol, ip::TCP | ip::UDP)
}

/// Checks what begins at `network.l4_offset`, and puts the result together. A later fragment has no header.
#[inline(always)]
pub(super) fn transport<S: Source>(
    source: S,
    l2: LinkLayer,
    network: Network,
    checksum: ChecksumStatus,
) -> Result<Layers, DropReason> {
    let at = network.l4_offset;
    let size = network.end - at;
    if network.fragment == FragmentPart::Later {
        return Ok(layers(l2, &network, NONE));
    }
    let found = match network.protocol {
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
            ports(L4::Tcp, header.sport, header.dport)
        }
        ip::UDP => {
            if size < udp::LEN {
                return Err(DropReason::UdpTruncated);
            }
            let header: UdpHeader = source.get(at).ok_or(DropReason::UdpTruncated)?;
            // A first fragment's length is that of the datagram put together.
            let length = usize::from(header.length.get());
            if length < udp::LEN || (length > size && network.fragment == FragmentPart::Whole) {
                return Err(DropReason::UdpBadLength);
            }
            ports(L4::Udp, header.sport, header.dport)
        }
        _ if S::PLAIN => return Err(NOT_PLAIN),
        _ => rare(source, &network)?,
    };
    if checksum == ChecksumStatus::Bad
        && network.fragment == FragmentPart::Whole
        && matches!(found.l4, L4::Tcp | L4::Udp | L4::Sctp)
    {
        return Err(DropReason::L4BadChecksum);
    }
    Ok(layers(l2, &network, found))
}

/// The transports that are neither TCP nor UDP.
fn rare(source: impl Source, network: &Network) -> Result<Transport, DropReason> {
    let at = network.l4_offset;
    let size = network.end - at;
    let whole = network.fragment == FragmentPart::Whole;
    let found = match (network.protocol, network.l3) {
        (ip::ICMP, L3::Ipv4) => {
            if size < icmp::LEN {
                return Err(DropReason::IcmpTruncated);
            }
            let header: IcmpHeader = source.get(at).ok_or(DropReason::IcmpTruncated)?;
            let id = if icmp::has_id(header.kind) { header.rest[0].to_bytes() } else { [0; 2] };
            ports(L4::Icmp, id, [header.kind, header.code])
        }
        (ip::ICMP6, L3::Ipv6) => {
            if size < icmp6::LEN {
                return Err(DropReason::Icmp6Truncated);
            }
            let header: Icmp6Header = source.get(at).ok_or(DropReason::Icmp6Truncated)?;
            let id = if icmp6::has_id(header.kind) { header.rest[0].to_bytes() } else { [0; 2] };
            ports(L4::Icmp6, id, [header.kind, header.code])
        }
        (ip::UDP_LITE, _) => {
            if size < udp::LEN {
                return Err(DropReason::UdpTruncated);
            }
            let header: UdpHeader = source.get(at).ok_or(DropReason::UdpTruncated)?;
            // The coverage: 0 is all, 1 to 7 would leave out the header (RFC 3828, 3.1).
            let coverage = usize::from(header.length.get());
            if (1..udp::LEN).contains(&coverage) || (coverage > size && whole) {
                return Err(DropReason::UdpBadLength);
            }
            ports(L4::Udp, header.sport, header.dport)
        }
        (ip::SCTP, _) => {
            if size < sctp::LEN {
                return Err(DropReason::SctpTruncated);
            }
            let header: SctpHeader = source.get(at).ok_or(DropReason::SctpTruncated)?;
            ports(L4::Sctp, header.sport, header.dport)
        }
        (ip::GRE, _) => gre(source, at, size)?,
        _ => NONE,
    };
    Ok(found)
}

fn gre(source: impl Source, at: usize, size: usize) -> Result<Transport, DropReason> {
    if size < gre::LEN {
        return Err(DropReason::GreTruncated);
    }
    let header: GreHeader = source.get(at).ok_or(DropReason::GreTruncated)?;
    let flags = header.flags.get();
    let good = match header.version() {
        0 => flags & gre::V0_REFUSED == 0,
        1 => {
            flags & gre::V1_ZERO == 0 && flags & gre::KEY != 0 && header.protocol.get() == gre::PPP
        }
        _ => false,
    };
    if !good {
        return Err(DropReason::GreMalformed);
    }
    if size < header.header_len() {
        return Err(DropReason::GreTruncated);
    }
    let mut call = [0; 2];
    if header.version() == 1 {
        let header: PptpHeader = source.get(at).ok_or(DropReason::GreTruncated)?;
        call = header.call_id;
    }
    Ok(ports(L4::Gre, call, [0; 2]))
}
