//! What a router does to a packet, as seen on its wires: the pipeline over plain memory.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::collections::BTreeMap;

use common::*;
use dataplane::rib::{Change, NeighbourState, NextHop, RouteKind};
use dataplane::tables::PortState;
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use packet::{DropReason, Frame, RxMeta};

#[test]
fn ipv4_goes_on_with_new_header_and_lower_ttl() {
    let mut node = Node::new();
    let sent = udp4("192.0.2.1", 64, b"hello");
    node.receive(LAN, &sent);
    let out = node.sent(WAN);
    assert_eq!(out.len(), 1, "{:?}", node.all_drops());
    assert_eq!(out[0][..6], GATEWAY_MAC);
    assert_eq!(out[0][6..12], WAN_MAC);
    let mut expected = sent.clone();
    expected[..6].copy_from_slice(&GATEWAY_MAC);
    expected[6..12].copy_from_slice(&WAN_MAC);
    expected[22] -= 1;
    fix_checksum(&mut expected);
    assert_eq!(out[0], expected);
    node.end();
}

#[test]
fn the_incremental_checksum_is_right_for_every_header() {
    let mut node = Node::new();
    for id in 0..=u16::MAX {
        let mut sent = udp4("10.0.2.2", (id % 200) as u8 + 2, b"");
        sent[18..20].copy_from_slice(&id.to_be_bytes());
        fix_checksum(&mut sent);
        node.receive(LAN, &sent);
        let out = node.sent(WAN).remove(0);
        let mut expected = out.clone();
        fix_checksum(&mut expected);
        assert_eq!(out[24..26], expected[24..26], "id {id}");
    }
    node.end();
}

#[test]
fn ipv6_goes_on() {
    let mut node = Node::new();
    let sent = udp6("2001:db8::1", 9, b"hello");
    node.receive(LAN, &sent);
    let out = node.sent(WAN);
    assert_eq!(out.len(), 1, "{:?}", node.all_drops());
    assert_eq!(out[0][..6], GATEWAY_MAC);
    assert_eq!(out[0][21], 8);
    assert_eq!(out[0][22..], sent[22..]);
    node.end();
}

#[test]
fn padding_does_not_travel() {
    let mut node = Node::new();
    let mut sent = udp4("10.0.2.2", 64, b"x");
    let len = sent.len();
    sent.resize(60, 0xee);
    node.receive(LAN, &sent);
    assert_eq!(node.sent(WAN)[0].len(), len);
    node.end();
}

#[test]
fn what_is_for_this_node_or_its_links_goes_to_the_twin_untouched() {
    let mut node = Node::new();
    let mut broadcast = udp4("10.0.2.2", 64, b"");
    broadcast[..6].fill(0xff);
    let mut frames = vec![
        udp4("10.0.1.1", 1, b"to us"),
        udp4("10.0.2.1", 1, b"to our other side"),
        udp4("224.0.0.18", 255, b"VRRP"),
        udp4("255.255.255.255", 64, b"broadcast"),
        udp6("fd00:1::1", 1, b"to us"),
        udp6("ff02::5", 1, b"OSPF"),
        udp6("fe80::1", 1, b"link"),
    ];
    let mut arp = udp4("10.0.1.1", 1, b"")[..14].to_vec();
    arp[12..14].copy_from_slice(&0x0806u16.to_be_bytes());
    arp.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    arp.extend([[0; 10], [0; 10]].concat());
    frames.push(arp);
    let mut lldp = vec![1, 0x80, 0xc2, 0, 0, 0x0e];
    lldp.extend(HOST_MAC);
    lldp.extend([0x88, 0xcc, 2, 7, 4]);
    frames.push(lldp);
    for frame in &frames {
        node.receive(LAN, frame);
    }
    let punted = node.punted();
    assert_eq!(punted.len(), frames.len(), "{:?}", node.all_drops());
    for ((port, bytes), sent) in punted.iter().zip(&frames) {
        assert_eq!((port, bytes), (&LAN, sent));
    }
    assert_eq!(node.wakes.0.load(std::sync::atomic::Ordering::Relaxed), frames.len());
    node.end();
}

#[test]
fn what_the_kernel_sends_leaves_by_its_port() {
    let mut node = Node::new();
    let frame = node.pool.frame(b"from the kernel").unwrap();
    assert!(node.handle.from_twin.push((DMZ, frame)).is_ok());
    assert_eq!(node.turn(), 1);
    assert_eq!(node.sent(DMZ), [b"from the kernel"]);
    node.end();
}

#[test]
fn a_flood_to_this_node_leaves_room_for_the_control_plane() {
    use dataplane::control::TWIN_QUEUE;
    use dataplane::worker::DELIVERIES;
    let mut node = Node::new();
    for _ in 0..DELIVERIES + 3 {
        node.receive(LAN, &udp4("10.0.1.1", 1, b"flood"));
    }
    assert_eq!(node.drops(LAN, DropReason::TwinQueueFull), 3);
    for _ in DELIVERIES..TWIN_QUEUE + 1 {
        node.receive(LAN, &udp4("224.0.0.18", 255, b"VRRP"));
    }
    assert_eq!(node.drops(LAN, DropReason::TwinQueueFull), 4);
    assert_eq!(node.punted().len(), TWIN_QUEUE);
    node.end();
}

#[test]
fn an_mtu_beyond_the_ports_is_the_ports() {
    let mut node = Node::new();
    node.rib.set_port(WAN, PortState { max_frame: 1014, ..UP });
    node.publish();
    node.receive(LAN, &udp4("10.0.2.2", 64, &[0; 1400]));
    let out = node.sent(WAN);
    assert_eq!(out.len(), 2, "{:?}", node.all_drops());
    assert!(out.iter().all(|part| part.len() <= 1014));
    let long = node.pool.frame(&[0; 1015]).unwrap();
    assert!(node.handle.from_twin.push((WAN, long)).is_ok());
    node.turn();
    assert_eq!(node.drops(WAN, DropReason::TxTooLong), 1);
    node.end();
}

#[test]
fn each_reason_of_forwarding_is_counted_as_itself() {
    let mut node = Node::new();
    for (to, kind) in [
        ("198.18.1.0/24", RouteKind::Blackhole),
        ("198.18.2.0/24", RouteKind::Unreachable),
        ("198.18.3.0/24", RouteKind::Prohibit),
    ] {
        node.rib.apply(Change::Route(route(to, kind, &[])));
    }
    node.rib.apply(Change::RouteGone {
        table: dataplane::rib::RouteTable::Main,
        prefix: prefix("::/0"),
        metric: 0,
    });
    let mut down = iface(DMZ_IF, "dmz", Some(DMZ), DMZ_MAC);
    down.up = false;
    node.rib.apply(Change::Iface(down));
    node.publish();

    let mut to_other = udp4("10.0.2.2", 64, b"");
    to_other[5] = 99;
    let mut in_group = udp4("10.0.2.2", 64, b"");
    in_group[..6].copy_from_slice(&[1, 0, 0x5e, 0, 0, 1]);
    let mut link_source = udp6("fd00:2::2", 64, b"");
    link_source[22..30].copy_from_slice(&[0xfe, 0x80, 0, 0, 0, 0, 0, 0]);
    let mut strange = udp4("10.0.2.2", 64, b"");
    strange[12..14].copy_from_slice(&0x8847u16.to_be_bytes());
    let mut too_big = udp4("10.0.2.2", 64, &[0; 2000]);
    too_big[20] = 0x40;
    fix_checksum(&mut too_big);
    for (port, frame, reason) in [
        (LAN, udp4("198.18.1.1", 64, b""), DropReason::Blackhole),
        (LAN, udp4("198.18.2.1", 64, b""), DropReason::Unreachable),
        (LAN, udp4("198.18.3.1", 64, b""), DropReason::Prohibited),
        (LAN, udp6("2001:db8::1", 64, b""), DropReason::NoRoute),
        (LAN, udp4("10.0.2.2", 1, b""), DropReason::TtlExpired),
        (LAN, udp6("fd00:2::fe", 1, b""), DropReason::TtlExpired),
        (LAN, to_other, DropReason::NotOurMac),
        (LAN, in_group, DropReason::L2Broadcast),
        (LAN, link_source, DropReason::Ip6Scope),
        (LAN, strange, DropReason::EtherTypeUnknown),
        (LAN, too_big, DropReason::TooBig),
        (LAN, udp6("fd00:2::fe", 64, &[0; 2000]), DropReason::TooBig),
        (LAN, tagged(&udp4("10.0.2.2", 64, b""), &[(0x8100, 7)]), DropReason::VlanUnknown),
        (LAN, udp4("10.0.3.9", 64, b""), DropReason::InterfaceDown),
        (DMZ, udp4("10.0.2.2", 64, b""), DropReason::InterfaceDown),
        (LAN, udp4("10.0.2.2", 64, b"")[..20].to_vec(), DropReason::Ip4Truncated),
    ] {
        let before = node.drops(port, reason);
        node.receive(port, &frame);
        assert_eq!(node.drops(port, reason), before + 1, "{reason:?}: {:?}", node.all_drops());
        node.sent(LAN);
        assert!(node.sent(WAN).is_empty(), "{reason:?}");
    }
    node.end();
}

#[test]
fn a_full_or_dead_port_drops_after_one_retry() {
    let mut node = Node::new();
    node.worker.io().set_tx_capacity(WAN, 0);
    node.receive(LAN, &udp4("10.0.2.2", 64, b""));
    assert_eq!(node.drops(WAN, DropReason::TxFull), 1);
    assert_eq!(node.worker.io().counts(WAN).tx_calls, 2);
    node.rib.set_port(WAN, PortState { up: false, ..UP });
    node.publish();
    node.receive(LAN, &udp4("10.0.2.2", 64, b""));
    assert_eq!(node.drops(WAN, DropReason::PortDown), 1);
    assert_eq!(node.worker.io().counts(WAN).tx_calls, 2);
    node.end();
}

#[test]
fn what_the_device_cannot_send_is_counted_as_that() {
    let mut node = Node::new();
    node.worker.io().set_tx_longest(WAN, 200);
    node.receive(LAN, &udp4("10.0.2.2", 64, &[0; 300]));
    node.receive(LAN, &udp4("10.0.2.2", 64, b"short"));
    assert_eq!(node.drops(WAN, DropReason::TxTooLong), 1, "{:?}", node.all_drops());
    let stats = node.handle.stats.clone();
    let wan = stats.port(WAN).unwrap();
    assert_eq!((wan.tx_packets.get(), wan.tx_bytes.get()), (1, 42 + 5));
    node.end();
}

#[test]
fn a_pool_without_frames_loses_answers_not_the_worker() {
    let mut node = Node::new();
    let frame = node.pool.frame(&udp4("10.0.2.2", 64, &[7; 3000])).unwrap();
    let expired = node.pool.frame(&udp4("10.0.2.2", 1, b"")).unwrap();
    let all: Vec<_> = std::iter::from_fn(|| node.worker.io().alloc()).collect();
    node.worker.io().push_rx(LAN, frame);
    node.receive_frame(LAN, expired);
    assert_eq!(node.drops(LAN, DropReason::FragmentFailed), 1);
    assert_eq!(node.drops(LAN, DropReason::TtlExpired), 1);
    assert!(node.sent(LAN).is_empty());
    drop(all);
    node.end();
}

#[test]
fn vlans_are_taken_off_put_on_and_swapped() {
    let sent = |node: &mut Node, port| -> Vec<_> {
        node.worker.io().drain_sent(port).map(|frame| (frame.to_vec(), frame.tx_vlan())).collect()
    };
    for (insert, stripped) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut node = Node::new();
        node.rib.set_port(LAN, PortState { vlan_insert: insert, ..UP });
        node.rib.apply(Change::Iface(vlan_iface(VLAN_IF, LAN, LAN_MAC, &[(0x8100, 100)])));
        let double = dataplane::rib::IfIndex(14);
        node.rib.apply(Change::Iface(vlan_iface(
            double,
            LAN,
            LAN_MAC,
            &[(0x88a8, 5), (0x8100, 6)],
        )));
        node.rib.apply(Change::Route(route("10.7.0.0/16", RouteKind::Unicast, &[(VLAN_IF, None)])));
        node.rib.apply(Change::Route(route("10.8.0.0/16", RouteKind::Unicast, &[(double, None)])));
        node.neighbour(VLAN_IF, "10.7.0.7", NeighbourState::Reachable(SERVER_MAC));
        node.neighbour(double, "10.8.0.8", NeighbourState::Reachable(SERVER_MAC));
        node.publish();

        // Tagged in, untagged out.
        let plain = udp4("10.0.2.2", 64, b"off");
        let frame = if stripped {
            node.pool
                .frame(&plain)
                .unwrap()
                .with_rx_meta(RxMeta { vlan_tci: Some(100), ..Default::default() })
        } else {
            node.pool.frame(&tagged(&plain, &[(0x8100, 0x6000 | 100)])).unwrap()
        };
        node.receive_frame(LAN, frame);
        let out = sent(&mut node, WAN);
        assert_eq!((out.len(), out[0].1), (1, None), "{:?}", node.all_drops());
        assert_eq!(out[0].0[12..14], [8, 0]);
        assert_eq!(out[0].0[34..], plain[34..]);

        // Untagged in, tagged out: by the device where it can.
        let mut from_wan = udp4("10.7.0.7", 64, b"on");
        from_wan[..6].copy_from_slice(&WAN_MAC);
        node.receive(WAN, &from_wan);
        let out = sent(&mut node, LAN);
        let bytes = &out[0].0;
        if insert {
            assert_eq!((out[0].1, &bytes[12..14]), (Some(100), &[8, 0][..]));
        } else {
            assert_eq!((out[0].1, &bytes[12..18]), (None, &[0x81, 0, 0, 100, 8, 0][..]));
        }
        assert_eq!(&bytes[bytes.len() - 2..], b"on");

        // Tagged in, two tags out on the same port.
        node.receive(LAN, &tagged(&udp4("10.8.0.8", 64, b"two"), &[(0x8100, 100)]));
        let out = sent(&mut node, LAN);
        assert_eq!(out[0].0[12..22], [0x88, 0xa8, 0, 5, 0x81, 0, 0, 6, 8, 0]);
        node.end();
    }
}

#[test]
fn equal_cost_hops_share_by_weight_and_flows_stay() {
    let mut node = Node::new();
    let mut ecmp = route("172.16.0.0/12", RouteKind::Unicast, &[]);
    ecmp.next_hops = vec![
        NextHop { iface: WAN_IF, via: Some(ip("10.0.2.254")), weight: 3 },
        NextHop { iface: WAN_IF, via: Some(ip("10.0.2.2")), weight: 1 },
    ];
    node.rib.apply(Change::Route(ecmp));
    node.publish();
    let mut taken = BTreeMap::<u16, Vec<u8>>::new();
    for round in 0..2 {
        for flow in 0..2000u16 {
            let mut frame = udp4("172.16.5.5", 64, b"");
            frame[34..36].copy_from_slice(&(1024 + flow).to_be_bytes());
            node.receive(LAN, &frame);
            let mac = node.sent(WAN)[0][..6].to_vec();
            if round == 0 {
                taken.insert(flow, mac);
            } else {
                assert_eq!(taken[&flow], mac);
            }
        }
    }
    let heavy = taken.values().filter(|mac| **mac == GATEWAY_MAC).count();
    assert!((1350..1650).contains(&heavy), "{heavy} of 2000 by the hop of weight 3 of 4");
    node.end();
}

#[test]
fn routes_by_interfaces_of_the_kernel_alone_go_to_the_kernel() {
    let mut node = Node::new();
    let tunnel = dataplane::rib::IfIndex(50);
    node.rib.apply(Change::Iface(iface(tunnel, "wg0", None, [0; 6])));
    node.rib.apply(Change::Route(route("10.99.0.0/16", RouteKind::Unicast, &[(tunnel, None)])));
    node.publish();
    node.receive(LAN, &udp4("10.99.1.1", 64, b""));
    assert_eq!(node.punted().len(), 1);
    node.end();
}

#[test]
fn segmented_jumbo_frames_pass_without_moving_a_payload_byte() {
    let mut node = Node::new();
    for index in [LAN_IF, WAN_IF] {
        let (name, port, mac) =
            if index == LAN_IF { ("lan", LAN, LAN_MAC) } else { ("wan", WAN, WAN_MAC) };
        let mut jumbo = iface(index, name, Some(port), mac);
        jumbo.mtu = 9000;
        node.rib.apply(Change::Iface(jumbo));
    }
    node.publish();
    let payload: Vec<u8> = (0..8000u32).map(|n| (n * 7) as u8).collect();
    let bytes = udp4("192.0.2.1", 64, &payload);
    for cut in 1..60 {
        let frame =
            node.pool.frame_split(&bytes, &[cut, cut + 1, cut + 5, 2000, 4001, 6000]).unwrap();
        let places: Vec<_> = frame.segments().map(|segment| segment.as_ptr_range()).collect();
        node.receive_frame(LAN, frame);
        let out = node.worker.io().drain_sent(WAN).next().unwrap();
        let after: Vec<_> = out.segments().map(|segment| segment.as_ptr_range()).collect();
        assert_eq!(places, after, "cut at {cut}");
        let mut expected = bytes.clone();
        expected[..6].copy_from_slice(&GATEWAY_MAC);
        expected[6..12].copy_from_slice(&WAN_MAC);
        expected[22] -= 1;
        fix_checksum(&mut expected);
        assert_eq!(out.to_vec(), expected, "cut at {cut}");
    }
    node.end();
}

#[test]
fn a_pair_forwards_whatever_comes() {
    use dataplane::tables::PortMode;
    let pair = |peer| PortState { mode: PortMode::Pair(peer), ..UP };
    let mut node = Node::with_ports(&[
        pair(WAN),
        pair(LAN),
        PortState { mode: PortMode::Pair(packet::PortIndex(9)), ..UP },
    ]);
    for frame in [&b"no ethernet at all"[..], &[0xff; 64], &udp4("10.0.2.2", 0, b"dead"), &[1]] {
        node.receive(LAN, frame);
        assert_eq!(node.sent(WAN), [frame]);
        node.receive(WAN, frame);
        assert_eq!(node.sent(LAN), [frame]);
    }
    let stripped = node.pool.frame(&udp4("10.0.2.2", 9, b"")).unwrap();
    node.receive_frame(
        LAN,
        stripped.with_rx_meta(RxMeta { vlan_tci: Some(9), ..Default::default() }),
    );
    assert_eq!(node.worker.io().drain_sent(WAN).next().unwrap().tx_vlan(), Some(9));

    node.receive(DMZ, b"nobody");
    assert_eq!(node.drops(DMZ, DropReason::NoPeer), 1);
    node.rib.set_port(WAN, PortState { max_frame: 100, ..pair(LAN) });
    node.publish();
    node.receive(LAN, &[0; 101]);
    assert_eq!(node.drops(WAN, DropReason::TxTooLong), 1);
    node.rib.set_port(WAN, PortState { up: false, ..pair(LAN) });
    node.publish();
    node.receive(LAN, &[0; 60]);
    assert_eq!(node.drops(WAN, DropReason::PortDown), 1);
    node.end();
}

#[test]
fn a_worker_drops_no_tables_and_serves_a_bounded_number_of_messages() {
    let mut node = Node::new();
    for round in 0..10 {
        node.rib.set_port(WAN, PortState { max_frame: 2000 + round, ..UP });
        let tables = node.rib.publish().unwrap();
        node.handle.control.send(dataplane::control::ToWorker::Adopt(tables)).unwrap();
    }
    let first = node.handle.stats.generation.get();
    node.turn();
    assert_eq!(
        node.handle.stats.generation.get(),
        first + dataplane::control::MESSAGES_PER_TURN as u64
    );
    node.turn();
    node.turn();
    assert_eq!(node.handle.stats.generation.get(), first + 10);
    assert_eq!(node.handle.up.len(), 10);
    node.end();
}

#[test]
fn icmp_errors_quote_the_packet_and_come_from_the_right_address() {
    let mut node = Node::new();
    node.receive(LAN, &udp4("192.0.2.1", 1, b"traceroute"));
    let out = node.sent(LAN);
    let parsed = SlicedPacket::from_ethernet(&out[0]).unwrap();
    let Some(NetSlice::Ipv4(ip4)) = &parsed.net else { panic!("{parsed:?}") };
    assert_eq!(ip4.header().source(), [10, 0, 1, 1]);
    assert_eq!(ip4.header().destination(), [10, 0, 1, 2]);
    assert_eq!(ip4.header().header_checksum(), ip4.header().to_header().calc_header_checksum());
    let Some(TransportSlice::Icmpv4(icmp)) = &parsed.transport else { panic!("{parsed:?}") };
    assert_eq!((icmp.type_u8(), icmp.code_u8()), (11, 0));
    assert_eq!(packet::checksum::of(icmp.slice()), 0);
    assert_eq!(icmp.payload(), &udp4("192.0.2.1", 1, b"traceroute")[14..]);

    node.receive(LAN, &udp6("2001:db8::1", 1, b"traceroute"));
    let out = node.sent(LAN);
    let parsed = SlicedPacket::from_ethernet(&out[0]).unwrap();
    let Some(NetSlice::Ipv6(ip6)) = &parsed.net else { panic!("{parsed:?}") };
    assert_eq!(std::net::IpAddr::from(ip6.header().source()), ip("fd00:1::1"));
    let Some(TransportSlice::Icmpv6(icmp)) = &parsed.transport else { panic!("{parsed:?}") };
    assert_eq!((icmp.type_u8(), icmp.code_u8()), (3, 0));
    assert!(icmp.is_checksum_valid(ip6.header().source(), ip6.header().destination()));
    assert_eq!(icmp.payload(), &udp6("2001:db8::1", 1, b"traceroute")[14..]);
    assert_eq!(node.handle.stats.icmp_sent.get(), 2);
    node.end();
}
