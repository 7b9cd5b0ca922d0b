//! Masqueraded flows through a whole node: what leaves, what comes back, and what ends them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

mod common;

use std::sync::mpsc;

use common::rules::*;
use common::*;
use conntrack::Slot;
use dataplane::control::{FlowJob, ToWorker};
use dataplane::rib::{Change, NeighbourState, RouteKind};
use packet::{DropReason, PortIndex};
use ruleset::family::Family;

const SERVER: &str = "192.0.2.9";
const POSTROUTING: u32 = 4;

/// A node that masquerades all that it sends.
fn node() -> Node {
    let mut node = Node::new();
    let mut rules = Ruleset::new();
    rules.base(Family::Inet, "post", ("nat", POSTROUTING), ACCEPT, &[]);
    rules.rule(Family::Inet, "post", &[expr("masq", |_| {})]);
    node.run(&mut rules);
    node.neighbour(DMZ_IF, "10.0.3.254", NeighbourState::Reachable(SERVER_MAC));
    node.publish();
    node
}

/// Source and destination of an IPv4 packet.
fn ends(frame: &[u8]) -> [[u8; 4]; 2] {
    [frame[26..30].try_into().unwrap(), frame[30..34].try_into().unwrap()]
}

/// The answer to a packet that left.
fn answer(frame: &[u8], mac: [u8; 6]) -> Vec<u8> {
    let mut back = frame.to_vec();
    back[..6].copy_from_slice(&mac);
    back[22] = 64;
    back[26..30].copy_from_slice(&frame[30..34]);
    back[30..34].copy_from_slice(&frame[26..30]);
    back[34..36].copy_from_slice(&frame[36..38]);
    back[36..38].copy_from_slice(&frame[34..36]);
    fix_checksum(&mut back);
    back
}

fn flow_count(node: &mut Node) -> u32 {
    let (tell, told) = mpsc::channel();
    let job = FlowJob(Box::new(move |shard, _| {
        let mut n = 0;
        shard.walk(Slot(0), 1 << 16, &mut |_, _| n += 1);
        tell.send(n).unwrap();
    }));
    node.handle.control.send(ToWorker::Flows(job)).unwrap();
    node.turn();
    told.try_recv().unwrap()
}

fn drops(node: &Node, port: PortIndex) -> u64 {
    node.drops(port, DropReason::NatMoved)
}

#[test]
fn out_and_back() {
    let mut node = node();
    for _ in 0..3 {
        node.receive(LAN, &udp4(SERVER, 64, b"ask"));
        let sent = node.sent(WAN).pop().expect("it was forwarded");
        assert_eq!(ends(&sent), [[10, 0, 2, 1], [192, 0, 2, 9]]);
        node.receive(WAN, &answer(&sent, WAN_MAC));
        let back = node.sent(LAN).pop().expect("the answer came back");
        assert_eq!(ends(&back), [[192, 0, 2, 9], [10, 0, 1, 2]]);
    }
    assert_eq!(flow_count(&mut node), 1);
    node.end();
}

#[test]
fn the_address_that_the_next_hop_can_answer() {
    let mut node = node();
    node.rib.apply(Change::Address { iface: WAN_IF, prefix: prefix("10.9.0.1/24") });
    let other = route("192.0.3.0/24", RouteKind::Unicast, &[(WAN_IF, Some("10.9.0.254"))]);
    node.rib.apply(Change::Route(other));
    node.neighbour(WAN_IF, "10.9.0.254", NeighbourState::Reachable(SERVER_MAC));
    node.publish();
    for (dst, source) in [(SERVER, [10, 0, 2, 1]), ("192.0.3.9", [10, 9, 0, 1])] {
        node.receive(LAN, &udp4(dst, 64, b"ask"));
        assert_eq!(ends(&node.sent(WAN).pop().unwrap())[0], source, "{dst}");
    }
    node.end();
}

#[test]
fn another_way_out_ends_it() {
    let mut node = node();
    node.receive(LAN, &udp4(SERVER, 64, b"ask"));
    let sent = node.sent(WAN).pop().unwrap();
    node.receive(WAN, &answer(&sent, WAN_MAC));
    node.sent(LAN);
    let other = route("192.0.2.0/24", RouteKind::Unicast, &[(DMZ_IF, Some("10.0.3.254"))]);
    node.rib.apply(Change::Route(other));
    node.publish();
    // The first packet ends the flow, the next begins another, behind the other address.
    node.receive(LAN, &udp4(SERVER, 64, b"ask"));
    assert_eq!((node.sent(WAN), node.sent(DMZ)), (vec![], vec![]));
    assert_eq!(drops(&node, LAN), 1);
    assert_eq!(flow_count(&mut node), 0);
    node.receive(LAN, &udp4(SERVER, 64, b"ask"));
    let sent = node.sent(DMZ).pop().expect("it was forwarded");
    assert_eq!(ends(&sent), [[10, 0, 3, 1], [192, 0, 2, 9]]);
    assert_eq!((drops(&node, LAN), flow_count(&mut node)), (1, 1));
    node.end();
}

#[test]
fn the_address_goes() {
    let gone = |iface, address: &str| Change::AddressGone { iface, prefix: prefix(address) };
    for (change, left) in [
        (gone(LAN_IF, "10.0.1.1/24"), 1),
        (gone(WAN_IF, "fd00:2::1/64"), 1),
        (gone(WAN_IF, "10.0.2.1/24"), 0),
        (Change::IfaceGone(DMZ_IF), 1),
        (Change::IfaceGone(WAN_IF), 0),
    ] {
        let mut node = node();
        node.receive(LAN, &udp4(SERVER, 64, b"ask"));
        assert_eq!(ends(&node.sent(WAN).pop().unwrap())[0], [10, 0, 2, 1]);
        assert_eq!(flow_count(&mut node), 1);
        node.rib.apply(change.clone());
        node.publish();
        assert_eq!(flow_count(&mut node), left, "{change:?}");
        node.end();
    }
}
