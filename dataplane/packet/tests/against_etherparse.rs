//! Packets built with etherparse are parsed as etherparse parses them, wherever they are split; cut off anywhere, they are
//! dropped.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use etherparse::{
    IpAuthHeader, IpHeaders, IpNumber, Ipv4Extensions, Ipv4Header, Ipv4Options, Ipv6Extensions,
    Ipv6FragmentHeader, Ipv6Header, Ipv6RawExtHeader, Ipv6RoutingExtensions, LinkExtSlice,
    NetSlice, PacketBuilder, SingleVlanHeader, SlicedPacket, TcpHeader, TransportSlice, VlanHeader,
};
use packet::layers::parse;
use packet::{FragmentPart, Frame, L3, L4, VecFrame, checksum};
use proptest::prelude::*;
use proptest::sample::Index;

#[derive(Clone, Debug)]
enum Transport {
    Udp(u16, u16),
    Tcp { header: TcpHeader, options: Vec<u8> },
    Icmp { kind: u8, code: u8, rest: [u8; 4] },
    Other(u8),
}

fn transport() -> impl Strategy<Value = Transport> {
    let tcp = (any::<[u16; 3]>(), any::<[u32; 2]>(), any::<[bool; 3]>(), 0..=10usize);
    prop_oneof![
        any::<(u16, u16)>().prop_map(|(sport, dport)| Transport::Udp(sport, dport)),
        tcp.prop_map(|([sport, dport, window], [seq, ack], [syn, fin, psh], options)| {
            let mut header = TcpHeader::new(sport, dport, seq, window);
            (header.acknowledgment_number, header.syn, header.fin, header.psh) =
                (ack, syn, fin, psh);
            Transport::Tcp { header, options: vec![1; 4 * options] }
        }),
        any::<(u8, u8, [u8; 4])>().prop_map(|(kind, code, rest)| Transport::Icmp {
            kind,
            code,
            rest
        }),
        // Protocols that nobody here looks into.
        (143u8..=250).prop_map(Transport::Other),
    ]
}

fn ipv4() -> impl Strategy<Value = IpHeaders> {
    let host = || (1u8..=126, any::<[u8; 3]>()).prop_map(|(a, [b, c, d])| [a, b, c, d]);
    (host(), host(), any::<(u8, u8, u16, bool)>(), 0..=10usize).prop_map(
        |(src, dst, (ttl, tos, id, df), options)| {
            let mut header = Ipv4Header::new(0, ttl, IpNumber::UDP, src, dst).unwrap();
            header.dscp = (tos >> 2).try_into().unwrap();
            header.ecn = (tos & 3).try_into().unwrap();
            (header.identification, header.dont_fragment) = (id, df);
            header.options = Ipv4Options::try_from(&vec![1; 4 * options][..]).unwrap();
            IpHeaders::Ipv4(header, Ipv4Extensions::default())
        },
    )
}

fn raw_ext() -> impl Strategy<Value = Ipv6RawExtHeader> {
    (0..=4usize, any::<u8>()).prop_map(|(units, fill)| {
        let mut payload = vec![fill; 6 + 8 * units];
        payload[0] = 4; // as a routing header: segment routing
        Ipv6RawExtHeader::new_raw(IpNumber::UDP, &payload).unwrap()
    })
}

fn ipv6() -> impl Strategy<Value = IpHeaders> {
    let host =
        || any::<[u8; 15]>().prop_map(|rest| [&[0x20], &rest[..]].concat().try_into().unwrap());
    let routing = prop::option::of((raw_ext(), prop::option::of(raw_ext())));
    let auth = prop::option::of((any::<(u32, u32)>(), 0..=4usize));
    let exts = (
        prop::option::of(raw_ext()),
        prop::option::of(raw_ext()),
        routing,
        prop::option::of(any::<u32>()),
        auth,
    );
    (host(), host(), any::<(u8, u8, u32)>(), exts).prop_map(
        |(source, destination, (hop_limit, class, flow), exts)| {
            let (hop_by_hop_options, destination_options, routing, fragment, auth) = exts;
            let header = Ipv6Header {
                traffic_class: class,
                flow_label: (flow & 0xf_ffff).try_into().unwrap(),
                hop_limit,
                source,
                destination,
                ..Ipv6Header::default()
            };
            let extensions = Ipv6Extensions {
                hop_by_hop_options,
                destination_options,
                routing: routing.map(|(routing, final_destination_options)| {
                    Ipv6RoutingExtensions { routing, final_destination_options }
                }),
                // A fragment that is all of its packet.
                fragment: fragment.map(|id| {
                    Ipv6FragmentHeader::new(IpNumber::UDP, 0.try_into().unwrap(), false, id)
                }),
                auth: auth.map(|((spi, seq), words)| {
                    IpAuthHeader::new(IpNumber::UDP, spi, seq, &vec![7; 4 * words]).unwrap()
                }),
            };
            IpHeaders::Ipv6(header, extensions)
        },
    )
}

fn vlan() -> impl Strategy<Value = Option<VlanHeader>> {
    let tag = || {
        any::<(u8, bool, u16)>().prop_map(|(pcp, drop_eligible_indicator, id)| SingleVlanHeader {
            pcp: (pcp & 7).try_into().unwrap(),
            drop_eligible_indicator,
            vlan_id: (id & 0xfff).try_into().unwrap(),
            ether_type: Default::default(),
        })
    };
    prop_oneof![
        2 => Just(None),
        1 => tag().prop_map(|tag| Some(VlanHeader::Single(tag))),
        1 => (tag(), tag()).prop_map(|(outer, inner)| {
            Some(VlanHeader::Double(etherparse::DoubleVlanHeader { outer, inner }))
        }),
    ]
}

fn build(
    vlan: Option<VlanHeader>,
    ip: IpHeaders,
    transport: &Transport,
    payload: &[u8],
) -> Vec<u8> {
    let is_v4 = matches!(ip, IpHeaders::Ipv4(..));
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let builder = match vlan {
        Some(vlan) => builder.vlan(vlan).ip(ip),
        None => builder.ip(ip),
    };
    let mut bytes = vec![];
    match transport.clone() {
        Transport::Udp(sport, dport) => builder.udp(sport, dport).write(&mut bytes, payload),
        Transport::Tcp { header, options } => {
            builder.tcp_header(header).options_raw(&options).unwrap().write(&mut bytes, payload)
        }
        Transport::Icmp { kind, code, rest } if is_v4 => {
            builder.icmpv4_raw(kind, code, rest).write(&mut bytes, payload)
        }
        Transport::Icmp { kind, code, rest } => {
            builder.icmpv6_raw(kind, code, rest).write(&mut bytes, payload)
        }
        Transport::Other(protocol) => builder.write(&mut bytes, IpNumber(protocol), payload),
    }
    .unwrap();
    bytes
}

fn tci(tag: &LinkExtSlice) -> u16 {
    let LinkExtSlice::Vlan(tag) = tag else { panic!("not a VLAN tag") };
    u16::from(tag.priority_code_point().value()) << 13
        | u16::from(tag.drop_eligible_indicator()) << 12
        | tag.vlan_identifier().value()
}

/// Compares field by field with what etherparse sees.
fn compare(bytes: &[u8]) {
    let frame = VecFrame::from_bytes(bytes);
    let ours = parse(&frame).unwrap();
    let theirs = SlicedPacket::from_ethernet(bytes).unwrap();

    assert_eq!(usize::from(ours.vlan_count), theirs.link_exts.len());
    for (ours, theirs) in ours.vlan.iter().zip(&theirs.link_exts) {
        assert_eq!(*ours, tci(theirs));
    }
    let (src, dst, payload) = match theirs.net.as_ref().unwrap() {
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            assert_eq!((ours.l3, ours.ttl, ours.key.family), (L3::Ipv4, header.ttl(), 4));
            assert_eq!(ours.tos, header.dcp().value() << 2 | header.ecn().value());
            assert_eq!(ours.dont_fragment, header.dont_fragment());
            assert_eq!(ours.options, !header.options().is_empty());
            assert_eq!(ours.ipv4(&frame).id.get(), header.identification());
            (header.source().to_vec(), header.destination().to_vec(), ip.payload())
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header();
            assert_eq!((ours.l3, ours.ttl, ours.key.family), (L3::Ipv6, header.hop_limit(), 6));
            assert_eq!(ours.tos, header.traffic_class());
            assert_eq!(ours.options, !ip.extensions().is_empty());
            assert_eq!(ours.ipv6(&frame).flow_label(), header.flow_label().value());
            (header.source().to_vec(), header.destination().to_vec(), ip.payload())
        }
        NetSlice::Arp(_) => panic!("not IP"),
    };
    let width = src.len();
    assert_eq!((&ours.key.src[..width], &ours.key.dst[..width]), (&src[..], &dst[..]));
    assert!(ours.key.src[width..].iter().chain(&ours.key.dst[width..]).all(|byte| *byte == 0));
    assert_eq!(ours.fragment, FragmentPart::Whole);
    assert_eq!((ours.protocol, ours.key.protocol), (payload.ip_number.0, payload.ip_number.0));
    let at = payload.payload.as_ptr() as usize - bytes.as_ptr() as usize;
    assert_eq!((usize::from(ours.l4_offset), ours.end as usize), (at, at + payload.payload.len()));

    let ports = (u16::from_be_bytes(ours.key.sport), u16::from_be_bytes(ours.key.dport));
    let has_id = |kind: u8| {
        if width == 4 {
            matches!(kind, 0 | 8 | 13..=18)
        } else {
            matches!(kind, 128 | 129 | 139 | 140)
        }
    };
    let icmp = |kind: u8, code: u8, rest: [u8; 4]| {
        let id = if has_id(kind) { u16::from_be_bytes([rest[0], rest[1]]) } else { 0 };
        (id, u16::from_be_bytes([kind, code]))
    };
    let checksum = match &theirs.transport {
        Some(TransportSlice::Udp(udp)) => {
            assert_eq!((ours.l4, ports), (L4::Udp, (udp.source_port(), udp.destination_port())));
            Some(udp.checksum())
        }
        Some(TransportSlice::Tcp(tcp)) => {
            assert_eq!((ours.l4, ports), (L4::Tcp, (tcp.source_port(), tcp.destination_port())));
            let header = ours.tcp(&frame);
            assert_eq!(
                (header.seq.get(), header.window.get()),
                (tcp.sequence_number(), tcp.window_size())
            );
            assert_eq!(header.header_len(), tcp.header_len());
            Some(tcp.checksum())
        }
        Some(TransportSlice::Icmpv4(icmp4)) => {
            let expected = icmp(icmp4.type_u8(), icmp4.code_u8(), icmp4.bytes5to8());
            assert_eq!((ours.l4, ports), (L4::Icmp, expected));
            Some(icmp4.checksum())
        }
        Some(TransportSlice::Icmpv6(icmp6)) => {
            let expected = icmp(icmp6.type_u8(), icmp6.code_u8(), icmp6.bytes5to8());
            assert_eq!((ours.l4, ports), (L4::Icmp6, expected));
            Some(icmp6.checksum())
        }
        Some(TransportSlice::Igmp(_)) | None => {
            assert_eq!((ours.l4, ports), (L4::Other, (0, 0)));
            None
        }
    };
    // etherparse computed the checksums.
    assert_eq!(checksum::transport_checksum(&frame, &ours), checksum);
    assert_eq!(
        checksum::transport_sum(&frame, &ours).map(|sum| sum.is_valid()),
        checksum.map(|_| true)
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn packets(
        vlan in vlan(),
        ip in prop_oneof![ipv4(), ipv6()],
        transport in transport(),
        payload in prop::collection::vec(any::<u8>(), 1..40),
        splits in prop::collection::vec(any::<Index>(), 0..12),
    ) {
        let bytes = build(vlan, ip, &transport, &payload);
        compare(&bytes);

        let whole = parse(&VecFrame::from_bytes(&bytes));
        for at in 0..=bytes.len() {
            prop_assert_eq!(&parse(&VecFrame::from_split(&bytes, &[at])), &whole, "split at {}", at);
        }
        let mut offsets: Vec<_> = splits.iter().map(|split| split.index(bytes.len())).collect();
        offsets.sort_unstable();
        let split = VecFrame::from_split(&bytes, &offsets);
        prop_assert_eq!(split.len(), bytes.len());
        prop_assert_eq!(&parse(&split), &whole, "split at {:?}", offsets);

        for len in 0..bytes.len() {
            prop_assert!(parse(&VecFrame::from_bytes(&bytes[..len])).is_err(), "cut to {}", len);
            let cut: Vec<_> = offsets.iter().copied().filter(|offset| *offset < len).collect();
            prop_assert!(parse(&VecFrame::from_split(&bytes[..len], &cut)).is_err(), "cut to {}", len);
        }
    }
}
