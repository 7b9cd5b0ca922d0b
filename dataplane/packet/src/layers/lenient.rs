//! What rules of a device or a pair of ports see of a packet that a router would not take: the network header, as far as it
//! holds together, as in Linux (`nft_set_pktinfo_ipv4_validate`), which forgives addresses, checksums and transport headers.

use super::transport::NONE;
use super::{FragmentPart, L3, L4, Layers, LinkLayer, Network, layers, not_ip};
use crate::frame::Frame;
use crate::wire::ipv4::{self, Ipv4Header};
use crate::wire::ipv6::{self, Ipv6Header};
use crate::wire::{self, ethernet, ip, tcp, udp};

/// What there is of a frame behind `l2`.
pub(super) fn lenient<F: Frame>(frame: &F, l2: LinkLayer) -> Layers {
    let at = usize::from(l2.l3_offset);
    let network = match l2.ethertype {
        ethernet::IPV4 => wire::read(frame, at).and_then(|header| v4(&header, at, frame.len())),
        ethernet::IPV6 => wire::read(frame, at).and_then(|header| v6(&header, at, frame.len())),
        _ => None,
    };
    let Some(network) = network else { return not_ip(l2, frame.len()) };
    let mut found = layers(l2, &network, NONE);
    let size = network.end - network.l4_offset;
    found.l4 = match network.protocol {
        _ if network.fragment == FragmentPart::Later => L4::Other,
        ip::TCP if size >= tcp::LEN => L4::Tcp,
        ip::UDP if size >= udp::LEN => L4::Udp,
        _ => L4::Other,
    };
    if found.l4 != L4::Other
        && let Some([s0, s1, d0, d1]) = frame.read::<4>(network.l4_offset)
    {
        (found.key.sport, found.key.dport) = ([s0, s1], [d0, d1]);
    }
    found
}

fn v4(header: &Ipv4Header, at: usize, len: usize) -> Option<Network> {
    let (total, header_len) = (usize::from(header.total_length.get()), header.header_len());
    let whole = header.version() == 4 && header_len >= ipv4::LEN && header_len <= total;
    let fragment = match (header.fragment_offset(), header.more_fragments()) {
        (0, false) => FragmentPart::Whole,
        (0, true) => FragmentPart::First,
        _ => FragmentPart::Later,
    };
    (whole && at + total <= len).then(|| Network {
        l3: L3::Ipv4,
        src: u32::from_le_bytes(header.src).into(),
        dst: u32::from_le_bytes(header.dst).into(),
        protocol: header.protocol,
        ttl: header.ttl,
        tos: header.tos,
        dont_fragment: header.dont_fragment(),
        options: header_len > ipv4::LEN,
        fragment,
        l4_offset: at + header_len,
        end: at + total,
    })
}

fn v6(header: &Ipv6Header, at: usize, len: usize) -> Option<Network> {
    let end = at + ipv6::LEN + usize::from(header.payload_length.get());
    // Whoever wants to know what follows extension headers follows them.
    let options = matches!(
        header.next_header,
        ip::HOP_BY_HOP | ip::ROUTING | ip::FRAGMENT | ip::AH | ip::DEST_OPTIONS
    );
    (header.version() == 6 && end <= len).then(|| Network {
        l3: L3::Ipv6,
        src: u128::from_le_bytes(header.src),
        dst: u128::from_le_bytes(header.dst),
        protocol: header.next_header,
        ttl: header.hop_limit,
        tos: header.traffic_class(),
        dont_fragment: true,
        options,
        fragment: FragmentPart::Whole,
        l4_offset: at + ipv6::LEN,
        end,
    })
}
