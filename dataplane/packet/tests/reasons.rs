//! Every reason that the parser can give is provoked here, and what must not be dropped is shown beside it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::*;
use packet::DropReason::*;
use packet::layers::{MAX_EXTENSIONS, parse, parse_l2};
use packet::{
    ChecksumStatus, DropReason, FragmentPart, Frame, L2Kind, L3, L4, Layers, RxMeta, VecFrame,
};

/// Parses with a device that says `meta`, whole and split at every byte, and demands one answer.
fn parsed_with(bytes: &[u8], meta: RxMeta) -> Result<Layers, DropReason> {
    let whole = parse(&VecFrame::from_bytes(bytes).with_rx_meta(meta));
    for at in 0..=bytes.len() {
        let split = VecFrame::from_split(bytes, &[at]).with_rx_meta(meta);
        assert_eq!(parse(&split), whole, "split at {at}");
    }
    let single: Vec<usize> = (1..bytes.len()).collect();
    assert_eq!(
        parse(&VecFrame::from_split(bytes, &single).with_rx_meta(meta)),
        whole,
        "one byte per segment"
    );
    whole
}

fn parsed(bytes: &[u8]) -> Result<Layers, DropReason> {
    parsed_with(bytes, RxMeta::default())
}

#[track_caller]
fn dropped(bytes: &[u8], reason: DropReason) {
    assert_eq!(parsed(bytes), Err(reason));
}

#[track_caller]
fn accepted(bytes: &[u8]) -> Layers {
    parsed(bytes).unwrap()
}

/// A packet with one byte changed and the header checksum put right.
fn spoiled4(at: usize, value: u8) -> Vec<u8> {
    let mut packet = Ip4::new(17, &udp(b"hello")).packet();
    packet[at] = value;
    fix_ip4(&mut packet);
    eth(0x0800, &packet)
}

fn from4(src: [u8; 4], dst: [u8; 4]) -> Vec<u8> {
    Ip4 { src, dst, ..Ip4::new(17, &udp(b"hello")) }.frame()
}

fn options4(options: &[u8]) -> Vec<u8> {
    Ip4 { options: options.to_vec(), ..Ip4::new(17, &udp(b"hello")) }.frame()
}

fn fragment4(fragment: u16, payload: &[u8]) -> Vec<u8> {
    Ip4 { fragment, ..Ip4::new(17, payload) }.frame()
}

fn from6(src: [u8; 16], dst: [u8; 16]) -> Vec<u8> {
    Ip6 { src, dst, ..Ip6::new(58, &echo6()) }.frame()
}

/// An IPv6 address of a first word and a last byte.
fn ip6(first: u16, last: u8) -> [u8; 16] {
    let mut address = [0; 16];
    address[..2].copy_from_slice(&first.to_be_bytes());
    address[15] = last;
    address
}

#[test]
fn every_kind_of_good_frame_is_accepted() {
    for (name, bytes) in good_frames() {
        assert!(parsed(&bytes).is_ok(), "{name}: {:?}", parsed(&bytes));
    }
}

#[test]
fn every_truncation_is_a_drop() {
    for (name, bytes) in good_frames() {
        if name == "lldp" {
            continue; // nothing behind its Ethernet header is looked at
        }
        for len in 0..bytes.len() {
            assert!(parsed(&bytes[..len]).is_err(), "{name} cut to {len} bytes");
        }
    }
}

#[test]
fn padding_is_not_part_of_the_packet() {
    for (name, bytes) in good_frames() {
        let mut padded = bytes.clone();
        padded.extend([0xee; 40]);
        let (plain, padded) = (accepted(&bytes), accepted(&padded));
        if plain.l3 != L3::Other {
            assert_eq!(plain, padded, "{name}");
            assert_eq!(plain.end as usize, bytes.len(), "{name}");
        }
    }
}

#[test]
fn eth_truncated() {
    dropped(&[], EthTruncated);
    dropped(&eth(0x0800, &[])[..13], EthTruncated);
    assert_eq!(accepted(&eth(0x88cc, &[])).l3, L3::Other);
}

#[test]
fn vlan_truncated_and_too_deep() {
    dropped(&eth(0x8100, &[0, 1, 8]), VlanTruncated);
    let ip = Ip4::new(17, &udp(b"v")).packet();
    let two = tag(1, 0x8100, &tag(2, 0x0800, &ip));
    let layers = accepted(&eth(0x88a8, &two));
    assert_eq!((layers.vlan, layers.vlan_count, layers.l3_offset), ([1, 2], 2, 22));
    dropped(&eth(0x88a8, &tag(9, 0x8100, &two)), VlanTooDeep);
    // A transparent port forwards it all the same.
    let found = parse_l2(&VecFrame::from_bytes(&eth(0x88a8, &tag(9, 0x8100, &two)))).unwrap();
    assert_eq!((found.vlan, found.vlan_count, found.ethertype), ([9, 1], 2, 0x8100));
}

#[test]
fn a_stripped_tag_is_the_outermost() {
    let ip = Ip4::new(17, &udp(b"v")).packet();
    let meta = RxMeta { vlan_tci: Some(0x6064), ..RxMeta::default() };
    let layers = parsed_with(&eth(0x0800, &ip), meta).unwrap();
    assert_eq!((layers.vlan, layers.vlan_count, layers.l3_offset), ([0x6064, 0], 1, 14));
    let layers = parsed_with(&eth(0x8100, &tag(5, 0x0800, &ip)), meta).unwrap();
    assert_eq!((layers.vlan, layers.vlan_count, layers.l3_offset), ([0x6064, 5], 2, 18));
    assert_eq!(layers.vlan_ids().as_slice(), [100, 5]);
    let deep = eth(0x8100, &tag(5, 0x8100, &tag(6, 0x0800, &ip)));
    assert_eq!(parsed_with(&deep, meta), Err(VlanTooDeep));
    // A tag of VLAN 0 carries a priority and names no VLAN.
    assert_eq!(accepted(&eth(0x8100, &tag(0xe000, 0x0800, &ip))).vlan_ids().as_slice(), [0u16; 0]);
}

#[test]
fn l2_kinds() {
    assert_eq!(accepted(&eth(0x88cc, &[])).l2_kind, L2Kind::Unicast);
    assert_eq!(accepted(&eth_to(BROADCAST, 0x88cc, &[])).l2_kind, L2Kind::Broadcast);
    assert_eq!(accepted(&eth_to([0x33, 0x33, 0, 0, 0, 1], 0x88cc, &[])).l2_kind, L2Kind::Multicast);
    assert_eq!(
        accepted(&eth_to([0xff, 0xff, 0xff, 0xff, 0xff, 0xfe], 0x88cc, &[])).l2_kind,
        L2Kind::Multicast
    );
}

#[test]
fn arp_truncated_and_malformed() {
    dropped(&eth(0x0806, &arp()[..7]), ArpTruncated);
    dropped(&eth(0x0806, &arp()[..27]), ArpTruncated);
    for (at, value) in [(0, 1), (1, 2), (2, 0x86), (3, 1), (4, 8), (5, 16)] {
        let mut bytes = arp();
        bytes[at] = value;
        dropped(&eth(0x0806, &bytes), ArpMalformed);
    }
    let bytes = eth(0x0806, &arp());
    let layers = accepted(&bytes);
    assert_eq!((layers.l3, layers.key), (L3::Arp, Default::default()));
    let message = layers.arp(&VecFrame::from_split(&bytes, &[20]));
    assert_eq!((message.sender_ip, message.target_ip, message.head.operation.get()), (A4, B4, 1));
}

#[test]
fn ip4_header() {
    let good = Ip4::new(17, &udp(b"hello")).frame();
    for len in 14..34 {
        dropped(&good[..len], Ip4Truncated);
    }
    dropped(&spoiled4(0, 0x65), Ip4BadVersion);
    dropped(&spoiled4(0, 0x55), Ip4BadVersion);
    dropped(&spoiled4(0, 0x44), Ip4BadHeaderLength);
    dropped(&spoiled4(3, 19), Ip4BadHeaderLength);
    let mut long = Ip4 { options: vec![1; 40], ..Ip4::new(17, &[]) }.packet();
    long[3] = 59;
    fix_ip4(&mut long);
    dropped(&eth(0x0800, &long), Ip4BadHeaderLength);
    dropped(&spoiled4(3, 34), Ip4BadTotalLength);
    dropped(&spoiled4(2, 1), Ip4BadTotalLength);
    dropped(&good[..good.len() - 1], Ip4BadTotalLength);
}

#[test]
fn ip4_checksum() {
    let mut wrong = Ip4::new(17, &udp(b"hello")).frame();
    wrong[24] ^= 1;
    dropped(&wrong, Ip4BadChecksum);
    assert!(parsed_with(&wrong, GOOD_IP).is_ok(), "the device knows better");
    let right = Ip4::new(17, &udp(b"hello")).frame();
    assert_eq!(parsed_with(&right, BAD_IP), Err(Ip4BadChecksum));
    let mut wrong_option = options4(&[7, 4, 4, 0]);
    wrong_option[37] = 1;
    dropped(&wrong_option, Ip4BadChecksum);
    assert!(parsed_with(&wrong_option, GOOD_IP).is_ok());
}

#[test]
fn ip4_options() {
    assert!(accepted(&options4(&[148, 4, 0, 0])).options);
    accepted(&options4(&[1, 1, 1, 0]));
    accepted(&options4(&[0, 131, 3, 4])); // behind the end of the list nothing counts
    accepted(&options4(&[130, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
    for bad in [
        [130, 0, 0, 0],
        [130, 1, 0, 0],
        [1, 130, 4, 0],
        [1, 1, 1, 130],
        [7, 2, 1, 1],
        [68, 3, 5, 1],
        [148, 3, 0, 0],
    ] {
        dropped(&options4(&bad), Ip4BadOptions);
    }
    dropped(&options4(&[131, 3, 4, 0]), Ip4SourceRoute);
    dropped(&options4(&[1, 137, 3, 4]), Ip4SourceRoute);
}

#[test]
fn ip4_fragments() {
    let first = accepted(&fragment4(0x2000, &udp_len(5000, &[0; 8])));
    assert_eq!(
        (first.fragment, first.l4, first.key.dport),
        (FragmentPart::First, L4::Udp, [0, 53])
    );
    let later = accepted(&fragment4(0x2002, &[0; 8]));
    assert_eq!(
        (later.fragment, later.l4, later.key.dport, later.protocol),
        (FragmentPart::Later, L4::Other, [0, 0], 17)
    );
    assert_eq!(accepted(&fragment4(0x0002, &[0; 3])).fragment, FragmentPart::Later);
    assert!(accepted(&fragment4(0x4000, &udp(b""))).dont_fragment);
    dropped(&fragment4(0x2000, &udp_len(99, b"odd")), Ip4BadFragment);
    dropped(&fragment4(0x2002, &[]), Ip4BadFragment);
    dropped(&fragment4(0x0002, &[]), Ip4BadFragment);
    // 8191 * 8 + 20 + 7 = 65,555
    dropped(&fragment4(0x1fff, &[0; 7]), Ip4BadFragment);
    dropped(&fragment4(0x1ffc, &[0; 12]), Ip4BadFragment);
    accepted(&fragment4(0x1ffc, &[0; 11])); // the last byte that there is: 8188 * 8 + 20 + 11 = 65,535
}

#[test]
fn ip4_addresses() {
    for src in [
        [224, 0, 0, 1],
        [239, 255, 255, 255],
        [255; 4],
        [127, 0, 0, 1],
        [127, 255, 0, 1],
        [0, 0, 0, 1],
        [0; 4],
    ] {
        dropped(&from4(src, B4), Ip4BadSource);
    }
    for dst in [[127, 0, 0, 1], [0; 4], [0, 1, 2, 3], [240, 0, 0, 1], [255, 255, 255, 254]] {
        dropped(&from4(A4, dst), Ip4BadDestination);
    }
    for src in [[1, 0, 0, 1], [126, 0, 0, 1], [128, 0, 0, 1], [223, 255, 255, 254], [240, 0, 0, 1]]
    {
        accepted(&from4(src, B4));
    }
    for dst in
        [[1, 0, 0, 1], [126, 1, 1, 1], [128, 0, 0, 1], [224, 0, 0, 5], [239, 1, 1, 1], [255; 4]]
    {
        accepted(&from4(A4, dst));
    }
    accepted(&from4([0; 4], [255; 4])); // DHCP
    accepted(&from4([0; 4], [224, 0, 0, 22]));
    dropped(&from4([0; 4], [239, 1, 1, 1]), Ip4BadSource);
    accepted(&Ip4 { src: [0; 4], dst: [239, 1, 1, 1], ..Ip4::new(2, &[0x16, 0, 0, 0]) }.frame()); // IGMP
    dropped(&from4([0, 0, 0, 1], [255; 4]), Ip4BadSource);
}

#[test]
fn ip6_header() {
    let good = Ip6::new(17, &udp(b"hello")).frame();
    for len in 14..54 {
        dropped(&good[..len], Ip6Truncated);
    }
    dropped(&good[..good.len() - 1], Ip6BadPayloadLength);
    let mut bytes = good.clone();
    bytes[14] = 0x45;
    dropped(&bytes, Ip6BadVersion);
    let layers = accepted(&good);
    assert_eq!((layers.tos, layers.ttl, layers.end as usize), (0xab, 63, good.len()));
    assert_eq!(layers.ipv6(&VecFrame::from_bytes(&good)).flow_label(), 7);
}

#[test]
fn ip6_addresses() {
    for src in [ip6(0xff02, 1), ip6(0xff0e, 1), ip6(0, 1), ip6(0, 0)] {
        dropped(&from6(src, B6), Ip6BadSource);
    }
    let mut mapped = ip6(0, 1);
    mapped[10..12].fill(0xff);
    dropped(&from6(mapped, B6), Ip6BadSource);
    for dst in [ip6(0, 0), ip6(0, 1), ip6(0xff00, 1), ip6(0xff01, 1), ip6(0xff11, 1)] {
        dropped(&from6(A6, dst), Ip6BadDestination);
    }
    for (src, dst) in [
        (ip6(0, 0), ip6(0xff02, 1)),
        (A6, ip6(0xff02, 1)),
        (A6, ip6(0xff0e, 1)),
        (ip6(0xfe80, 1), B6),
    ] {
        accepted(&from6(src, dst));
    }
    dropped(&from6(ip6(0, 0), ip6(0xff05, 1)), Ip6BadSource);
    accepted(&from6(ip6(0, 2), B6)); // ::2 is odd but not forbidden
}

#[test]
fn ip6_extensions() {
    let bytes =
        Ip6::new(0, &[ext(60, 0, &[]), ext(43, 0, &[]), ext(6, 1, &tcp(b"x"))].concat()).frame();
    let layers = accepted(&bytes);
    assert_eq!(
        (layers.l4, layers.l4_offset, layers.protocol, layers.options),
        (L4::Tcp, 54 + 8 + 8 + 16, 6, true)
    );
    assert_eq!((layers.key.protocol, layers.key.dport), (6, [0, 80]));

    dropped(&Ip6::new(60, &[17, 0, 1, 4, 0, 0, 0]).frame(), Ip6ExtTruncated);
    dropped(&Ip6::new(60, &ext(17, 1, &[])[..15]).frame(), Ip6ExtTruncated);
    dropped(&Ip6::new(44, &frag6(17, 0, true, &[])[..7]).frame(), Ip6ExtTruncated);
    dropped(&Ip6::new(60, &ext(0, 0, &ext(17, 0, &udp(b"")))).frame(), Ip6ExtOrder);
    dropped(&Ip6::new(0, &ext(0, 0, &ext(17, 0, &udp(b"")))).frame(), Ip6ExtOrder);

    let chain = |n: usize| {
        let mut payload = ext(17, 0, &udp(b""));
        for _ in 1..n {
            payload = ext(60, 0, &payload);
        }
        Ip6::new(60, &payload).frame()
    };
    assert_eq!(accepted(&chain(MAX_EXTENSIONS)).l4, L4::Udp);
    dropped(&chain(MAX_EXTENSIONS + 1), Ip6ExtTooMany);

    let mut routing = ext(17, 0, &udp(b""));
    routing[2] = 0;
    dropped(&Ip6::new(43, &routing).frame(), Ip6RoutingHeader);
    routing[2] = 2;
    accepted(&Ip6::new(43, &routing).frame());

    // AH counts in units of 4 bytes, less two.
    let ah = [&[17, 4][..], &[0; 22], &udp(b"")].concat();
    let layers = accepted(&Ip6::new(51, &ah).frame());
    assert_eq!((layers.l4, layers.l4_offset), (L4::Udp, 54 + 24));
    for generic in [135, 139, 140] {
        assert_eq!(accepted(&Ip6::new(generic, &ext(17, 1, &udp(b""))).frame()).l4_offset, 54 + 16);
    }
    // ESP and "no next header" end the chain.
    for (last, payload) in [(50, &[1; 8][..]), (59, &[]), (59, &[1, 2, 3])] {
        let layers = accepted(&Ip6::new(60, &ext(last, 0, payload)).frame());
        assert_eq!((layers.l4, layers.protocol, layers.l4_offset), (L4::Other, last, 62));
    }
}

#[test]
fn ip6_fragments() {
    let fragment =
        |offset, more, payload: &[u8]| Ip6::new(44, &frag6(17, offset, more, payload)).frame();
    let first = accepted(&fragment(0, true, &udp_len(5000, &[0; 8])));
    assert_eq!(
        (first.fragment, first.l4, first.key.dport),
        (FragmentPart::First, L4::Udp, [0, 53])
    );
    let later = accepted(&fragment(16, true, &[0; 8]));
    assert_eq!(
        (later.fragment, later.l4, later.key.dport, later.key.protocol),
        (FragmentPart::Later, L4::Other, [0; 2], 17)
    );
    let atomic = accepted(&fragment(0, false, &udp(b"x")));
    assert_eq!((atomic.fragment, atomic.l4, atomic.options), (FragmentPart::Whole, L4::Udp, true));
    // A later fragment's bytes are not headers, whatever number announced them.
    let hidden = accepted(&Ip6::new(44, &frag6(60, 64, true, &[0xff; 8])).frame());
    assert_eq!((hidden.fragment, hidden.protocol, hidden.l4_offset), (FragmentPart::Later, 60, 62));

    dropped(&fragment(0, true, &udp_len(99, b"odd")), Ip6BadFragment);
    dropped(&fragment(16, true, &[]), Ip6BadFragment);
    dropped(&fragment(16, false, &[]), Ip6BadFragment);
    dropped(&fragment(0xfff8, false, &[0; 8]), Ip6BadFragment);
    accepted(&fragment(0xfff8, false, &[0; 7]));
    let unfragmentable =
        |n: usize| Ip6::new(60, &ext(44, 0, &frag6(17, 0xfff0, false, &vec![0; n]))).frame();
    dropped(&unfragmentable(8), Ip6BadFragment);
    accepted(&unfragmentable(7));
    dropped(
        &Ip6::new(44, &frag6(44, 0, true, &frag6(17, 0, true, &udp(&[])))).frame(),
        Ip6BadFragment,
    );
}

#[test]
fn tcp_header() {
    dropped(&Ip4::new(6, &tcp(b"")[..19]).frame(), TcpTruncated);
    dropped(&Ip6::new(6, &tcp(b"")[..0]).frame(), TcpTruncated);
    let mut bytes = tcp(b"");
    bytes[12] = 0x60;
    dropped(&Ip4::new(6, &bytes).frame(), TcpTruncated);
    bytes[12] = 0x40;
    dropped(&Ip4::new(6, &bytes).frame(), TcpBadOffset);
    // Padding must not serve as the rest of a header.
    let mut padded = Ip4::new(6, &tcp(b"")[..12]).frame();
    padded.extend([0; 40]);
    dropped(&padded, TcpTruncated);
}

#[test]
fn udp_header() {
    dropped(&Ip4::new(17, &udp(b"")[..7]).frame(), UdpTruncated);
    dropped(&Ip6::new(136, &udp(b"")[..7]).frame(), UdpTruncated);
    dropped(&Ip4::new(17, &udp_len(7, b"")).frame(), UdpBadLength);
    dropped(&Ip4::new(17, &udp_len(0, b"")).frame(), UdpBadLength);
    dropped(&Ip4::new(17, &udp_len(9, b"")).frame(), UdpBadLength);
    accepted(&Ip4::new(17, &udp_len(8, b"more")).frame());
    // UDP-Lite's field is a coverage.
    for (coverage, good) in [(0, true), (7, false), (8, true), (11, true), (12, false)] {
        let parsed = parsed(&Ip4::new(136, &udp_len(coverage, b"abc")).frame());
        assert_eq!(
            parsed.map(|layers| layers.l4),
            if good { Ok(L4::Udp) } else { Err(UdpBadLength) },
            "{coverage}"
        );
    }
}

#[test]
fn icmp_headers() {
    dropped(&Ip4::new(1, &echo()[..7]).frame(), IcmpTruncated);
    dropped(&Ip6::new(58, &echo6()[..7]).frame(), Icmp6Truncated);
    let layers = accepted(&Ip4::new(1, &echo()).frame());
    assert_eq!((layers.l4, layers.key.sport, layers.key.dport), (L4::Icmp, [0xab, 0xcd], [8, 0]));
    let layers = accepted(&Ip6::new(58, &echo6()).frame());
    assert_eq!(
        (layers.l4, layers.key.sport, layers.key.dport),
        (L4::Icmp6, [0xab, 0xcd], [128, 0])
    );
    // An error has no identifier.
    let layers = accepted(&Ip4::new(1, &[3, 4, 0, 0, 1, 2, 3, 4]).frame());
    assert_eq!((layers.key.sport, layers.key.dport), ([0, 0], [3, 4]));
    let layers = accepted(&Ip6::new(58, &[2, 0, 0, 0, 1, 2, 3, 4]).frame());
    assert_eq!((layers.key.sport, layers.key.dport), ([0, 0], [2, 0]));
    // One family's ICMP in the other is just a protocol.
    assert_eq!(accepted(&Ip4::new(58, &[1]).frame()).l4, L4::Other);
    assert_eq!(accepted(&Ip6::new(1, &[1]).frame()).l4, L4::Other);
}

#[test]
fn sctp_header() {
    dropped(&Ip4::new(132, &sctp()[..11]).frame(), SctpTruncated);
    let layers = accepted(&Ip6::new(132, &sctp()).frame());
    assert_eq!(
        (layers.l4, layers.key.sport, layers.key.dport),
        (L4::Sctp, [0x0b, 0x59], [0x0b, 0x5a])
    );
}

#[test]
fn gre_header() {
    dropped(&Ip4::new(47, &gre()[..3]).frame(), GreTruncated);
    for len in 4..16 {
        dropped(&Ip4::new(47, &gre()[..len]).frame(), GreTruncated);
        dropped(&Ip4::new(47, &pptp()[..len]).frame(), GreTruncated);
    }
    assert_eq!(accepted(&Ip4::new(47, &gre()).frame()).key.sport, [0, 0]);
    let layers = accepted(&Ip4::new(47, &pptp()).frame());
    assert_eq!((layers.l4, layers.key.sport, layers.key.dport), (L4::Gre, [0x77, 0x88], [0, 0]));
    let flags = |first: u8, second: u8| {
        let mut bytes = gre();
        bytes[..2].copy_from_slice(&[first, second]);
        Ip4::new(47, &bytes).frame()
    };
    for (first, second) in [(0x40, 0), (0x08, 0), (0x04, 0), (0, 2), (0, 7)] {
        dropped(&flags(first, second), GreMalformed);
    }
    accepted(&flags(0x03, 0xf8)); // reserved bits that a receiver ignores (RFC 2784, 2.1)
    let pptp_with = |at: usize, value: u8| {
        let mut bytes = pptp();
        bytes[at] = value;
        Ip4::new(47, &bytes).frame()
    };
    // No key; a checksum; a reserved bit; not PPP.
    for (at, value) in [(0, 0x10), (0, 0xb0), (1, 0xc1), (3, 0)] {
        dropped(&pptp_with(at, value), GreMalformed);
    }
}

#[test]
fn l4_checksum_is_the_devices_word() {
    let is_bad = |bytes: &[u8]| parsed_with(bytes, BAD_L4) == Err(L4BadChecksum);
    assert!(is_bad(&Ip4::new(17, &udp(b"x")).frame()));
    assert!(is_bad(&Ip6::new(6, &tcp(b"x")).frame()));
    assert!(is_bad(&Ip4::new(132, &sctp()).frame()));
    assert!(!is_bad(&Ip4::new(1, &echo()).frame()), "devices do not check ICMP");
    assert!(!is_bad(&fragment4(0x2000, &udp_len(99, &[0; 8]))), "nor fragments");
    let good = RxMeta { l4_checksum: ChecksumStatus::Good, ..RxMeta::default() };
    assert!(parsed_with(&Ip4::new(17, &udp(b"x")).frame(), good).is_ok());
}

#[test]
fn headers_of_another_frame_read_as_zeros() {
    let layers = accepted(&Ip4::new(6, &tcp(b"")).frame());
    let empty = VecFrame::from_bytes(&[]);
    assert!(empty.is_empty());
    assert_eq!(layers.tcp(&empty), Default::default());
    assert_eq!(layers.ipv4(&empty), Default::default());
}
