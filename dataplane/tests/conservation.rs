//! Every received frame has exactly one fate, whatever its bytes, and none is ever lost from the pool.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::rules::*;
use common::*;
use dataplane::control::ToWorker;
use dataplane::rib::{Change, RouteKind};
use packet::{DropReason, RxMeta};
use proptest::prelude::*;
use ruleset::family::Family;

/// A frame that is nearly right: valid ones with a few bytes changed, cut short, or tagged; and plain noise.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let addresses = prop::sample::select(vec![
        "10.0.2.2",
        "10.0.2.77",
        "10.0.1.1",
        "192.0.2.1",
        "224.0.0.5",
        "255.255.255.255",
        "198.18.0.1",
        "127.0.0.1",
        "fd00:2::fe",
        "fd00:2::77",
        "fd00:1::1",
        "2001:db8::1",
        "ff02::1",
        "fe80::1",
        "::1",
    ]);
    let valid = (addresses, 0u8..4, prop::collection::vec(any::<u8>(), 0..200)).prop_map(
        |(dst, ttl, payload)| {
            if dst.contains(':') { udp6(dst, ttl, &payload) } else { udp4(dst, ttl, &payload) }
        },
    );
    let changes = prop::collection::vec((0usize..80, any::<u8>()), 0..4);
    let near = (valid, changes, prop::option::of(0usize..120), 0u8..4).prop_map(
        |(mut bytes, changes, cut, tags)| {
            for (at, byte) in changes {
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
            }
            bytes.truncate(cut.unwrap_or(usize::MAX));
            if tags > 0 && bytes.len() > 14 {
                bytes =
                    tagged(&bytes, &[(0x8100, 100), (0x88a8, 5), (0x8100, 1)][..usize::from(tags)]);
            }
            bytes
        },
    );
    prop_oneof![4 => near, 1 => prop::collection::vec(any::<u8>(), 0..300)]
}

/// Rules that drop some packets in each hook, by a bit of their length or of an address; others that refuse or take them.
fn rules(node: &mut Node) {
    let mut ruleset = Ruleset::new();
    let devices = &["lan", "wan", "dmz", "vlan"];
    ruleset.base(Family::Netdev, "ingress", ("filter", 0), ACCEPT, devices);
    ruleset.base(Family::Netdev, "egress", ("filter", 1), ACCEPT, devices);
    ruleset.base(Family::Arp, "arp", ("filter", 0), ACCEPT, &[]);
    let somewhere = |offset, byte| [load(NETWORK, offset, 1), is(&[byte])];
    for (chain, byte) in [("ingress", 33), ("egress", 40)] {
        let [load, is] = somewhere(3, byte);
        ruleset.rule(Family::Netdev, chain, &[load, is, verdict(DROP)]);
    }
    for (name, n) in [("prerouting", 0), ("input", 1), ("forward", 2), ("postrouting", 4)] {
        ruleset.base(Family::Inet, name, ("filter", n), ACCEPT, &[]);
        for (byte, act) in [(50, verdict(DROP)), (60, queue(0)), (70, reject(1, 0))] {
            if n != 4 || byte < 70 {
                let [load, is] = somewhere(3, byte + n as u8);
                ruleset.rule(Family::Inet, name, &[load, is, act]);
            }
        }
    }
    node.run(&mut ruleset);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_frame_has_one_fate(
        ruled: bool,
        frames in prop::collection::vec((frame(), prop::collection::vec(1usize..80, 0..3), prop::option::of(0u16..4096)), 1..80),
    ) {
        let mut node = Node::new();
        node.rib.apply(Change::Route(route("198.18.0.0/16", RouteKind::Blackhole, &[])));
        node.rib.apply(Change::Iface(vlan_iface(VLAN_IF, LAN, LAN_MAC, &[(0x8100, 100)])));
        node.publish();
        // No answers, so that what is sent is what came.
        node.handle.control.send(ToWorker::IcmpRate(0)).unwrap();
        node.turn();
        if ruled {
            rules(&mut node);
        }
        let total = frames.len() as u64;
        for (bytes, mut cuts, stripped) in frames {
            cuts.sort_unstable();
            let frame = node.pool.frame_split(&bytes, &cuts).unwrap();
            let frame = frame.with_rx_meta(RxMeta { vlan_tci: stripped, ..Default::default() });
            node.worker.io().push_rx(LAN, frame);
        }
        while node.turn() > 0 {}
        let stats = node.handle.stats.clone();
        let lan = stats.port(LAN).unwrap();
        // A device's rules drop what is to leave by it there.
        let dropped: u64 = DropReason::ALL.iter().map(|reason| lan.drops(*reason)).sum::<u64>()
            + [WAN, DMZ].iter().map(|port| node.drops(*port, DropReason::RuleEgress)).sum::<u64>();
        let sent: u64 = [LAN, WAN, DMZ].iter().map(|port| stats.port(*port).unwrap().tx_packets.get()).sum();
        prop_assert_eq!(lan.rx_packets.get(), total);
        prop_assert_eq!(dropped + lan.to_twin.get() + sent + stats.waiting.get(), total, "{:?}", node.all_drops());
        node.end();
    }
}

#[test]
fn what_waits_at_the_end_is_counted() {
    let mut node = Node::new();
    node.receive(LAN, &udp4("10.0.2.77", 64, b"waits"));
    let frame = node.pool.frame(b"late").unwrap();
    assert!(node.handle.from_twin.push((WAN, frame)).is_ok());
    node.worker.drain();
    assert_eq!(
        (node.drops(LAN, DropReason::Shutdown), node.drops(WAN, DropReason::Shutdown)),
        (1, 1)
    );
    node.end();
}

#[test]
fn no_room_for_a_longer_header_is_counted() {
    let mut node = Node::new();
    node.rib.apply(Change::Iface(vlan_iface(VLAN_IF, DMZ, DMZ_MAC, &[(0x8100, 100)])));
    node.rib.apply(Change::Route(route("10.7.0.0/16", RouteKind::Unicast, &[(VLAN_IF, None)])));
    node.neighbour(VLAN_IF, "10.7.0.7", dataplane::rib::NeighbourState::Reachable(SERVER_MAC));
    node.publish();
    let mut frame = node.pool.frame(&udp4("10.7.0.7", 64, b"")).unwrap();
    while packet::Frame::prepend(&mut frame, 1) {}
    let front = packet::Frame::len(&frame) - udp4("10.7.0.7", 64, b"").len();
    // Headroom that is used up: the frame starts at its memory's first byte.
    let bytes = udp4("10.7.0.7", 64, &vec![0; front]);
    assert!(packet::Frame::copy_in(&mut frame, 0, &bytes));
    node.receive_frame(LAN, frame);
    assert_eq!(node.drops(LAN, DropReason::NoMemory), 1, "{:?}", node.all_drops());
    node.end();
}
