//! Packets that wait for a next hop, and what the kernel is asked meanwhile.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::time::Duration;

use common::*;
use dataplane::neigh::{PACKETS, PATIENCE};
use dataplane::rib::{Change, NeighbourState, RouteKind};
use packet::DropReason;

#[test]
fn packets_wait_for_their_neighbour_and_then_go_in_order() {
    let mut node = Node::new();
    for n in 0..3u8 {
        node.receive(LAN, &udp4("10.0.2.77", 64, &[n]));
    }
    assert_eq!(node.messages(), [(WAN_IF, ip("10.0.2.77"))], "asked once");
    assert!(node.sent(WAN).is_empty());
    assert_eq!(node.handle.stats.waiting.get(), 3);
    node.neighbour(WAN_IF, "10.0.2.77", NeighbourState::Reachable(SERVER_MAC));
    node.publish();
    let out = node.sent(WAN);
    assert_eq!(out.iter().map(|bytes| bytes[42]).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(out.iter().all(|bytes| bytes[..6] == SERVER_MAC && bytes[22] == 63));
    assert_eq!(node.handle.stats.waiting.get(), 0);
    assert_eq!(node.handle.stats.port(LAN).unwrap().rx_packets.get(), 3, "counted once");
    node.end();
}

#[test]
fn a_gateway_is_resolved_like_a_station() {
    let mut node = Node::new();
    node.rib.apply(Change::Route(route(
        "172.16.0.0/12",
        RouteKind::Unicast,
        &[(WAN_IF, Some("10.0.2.99"))],
    )));
    node.publish();
    node.receive(LAN, &udp4("172.16.1.1", 64, b""));
    assert_eq!(node.messages(), [(WAN_IF, ip("10.0.2.99"))]);
    node.neighbour(WAN_IF, "10.0.2.99", NeighbourState::Reachable(SERVER_MAC));
    node.publish();
    assert_eq!(node.sent(WAN).len(), 1);
    node.end();
}

#[test]
fn queues_are_bounded_per_neighbour() {
    let mut node = Node::new();
    for _ in 0..PACKETS + 5 {
        node.receive(LAN, &udp4("10.0.2.77", 64, b""));
    }
    assert_eq!(node.drops(LAN, DropReason::NeighbourQueueFull), 5);
    node.receive(LAN, &udp4("10.0.2.78", 64, b""));
    assert_eq!(node.drops(LAN, DropReason::NeighbourQueueFull), 5, "others still wait");
    node.end();
}

#[test]
fn a_failed_neighbour_is_answered_with_host_unreachable() {
    let mut node = Node::new();
    node.receive(LAN, &udp4("10.0.2.77", 64, b"lost"));
    node.receive(LAN, &udp6("fd00:2::77", 64, b"lost"));
    node.neighbour(WAN_IF, "10.0.2.77", NeighbourState::Failed);
    node.neighbour(WAN_IF, "fd00:2::77", NeighbourState::Failed);
    node.publish();
    assert_eq!(node.drops(LAN, DropReason::NeighbourFailed), 2);
    let mut codes: Vec<_> = node
        .sent(LAN)
        .iter()
        .map(
            |bytes| {
                if bytes[12] == 8 { [4, bytes[34], bytes[35]] } else { [6, bytes[54], bytes[55]] }
            },
        )
        .collect();
    codes.sort();
    assert_eq!(codes, [[4, 3, 1], [6, 1, 3]]);
    // The next packet makes the kernel try again.
    node.messages();
    node.after(Duration::from_secs(2)).receive(LAN, &udp4("10.0.2.77", 64, b""));
    assert_eq!(node.messages(), [(WAN_IF, ip("10.0.2.77"))]);
    node.end();
}

#[test]
fn patience_ends_without_any_word() {
    let mut node = Node::new();
    node.receive(LAN, &udp4("10.0.2.77", 64, b""));
    node.after(PATIENCE).turn();
    assert_eq!(node.drops(LAN, DropReason::NeighbourFailed), 1);
    assert_eq!(node.sent(LAN).len(), 1);
    node.end();
}

#[test]
fn a_stale_neighbour_is_used_and_mentioned_once_a_second() {
    let mut node = Node::new();
    node.neighbour(WAN_IF, "10.0.2.2", NeighbourState::Stale(SERVER_MAC));
    node.publish();
    for _ in 0..25 {
        node.after(Duration::from_millis(100)).receive(LAN, &udp4("10.0.2.2", 64, b""));
    }
    assert_eq!(node.sent(WAN).len(), 25);
    assert_eq!(node.messages(), vec![(WAN_IF, ip("10.0.2.2")); 3]);
    node.end();
}

#[test]
fn errors_wait_for_their_receiver_too() {
    let mut node = Node::new();
    let mut frame = udp4("10.0.2.2", 1, b"");
    frame[26..30].copy_from_slice(&[10, 0, 1, 55]);
    fix_checksum(&mut frame);
    node.receive(LAN, &frame);
    assert_eq!(node.messages(), [(LAN_IF, ip("10.0.1.55"))]);
    node.neighbour(LAN_IF, "10.0.1.55", NeighbourState::Reachable(HOST_MAC));
    node.publish();
    assert_eq!(node.sent(LAN).len(), 1);
    node.end();
}

#[test]
fn icmp_errors_are_limited_and_never_answer_errors() {
    let mut node = Node::new();
    for _ in 0..200 {
        node.receive(LAN, &udp4("10.0.2.2", 1, b""));
    }
    assert_eq!(node.sent(LAN).len(), 50, "the burst");
    assert_eq!(node.handle.stats.icmp_limited.get(), 150);
    node.after(Duration::from_secs(1));

    // An error, a later fragment and a nobody get no answer; an echo does.
    let icmp = |kind: u8| {
        let mut bytes = udp4("10.0.2.2", 1, &[0; 20]);
        bytes[23] = 1;
        bytes[34] = kind;
        fix_checksum(&mut bytes);
        bytes
    };
    for kind in [3, 4, 5, 11, 12] {
        node.receive(LAN, &icmp(kind));
    }
    let mut later = udp4("10.0.2.2", 1, &[0; 20]);
    later[21] = 9;
    fix_checksum(&mut later);
    node.receive(LAN, &later);
    assert!(node.sent(LAN).is_empty());
    node.receive(LAN, &icmp(8));
    assert_eq!(node.sent(LAN).len(), 1);
    node.end();
}
