//! A flood of first packets with a full table: flows that are established live, and go on as before.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

mod common;

use common::rules::*;
use common::*;
use dataplane::rib::NeighbourState;
use etherparse::PacketBuilder;
use packet::PortIndex;
use ruleset::family::Family;

/// Connections that were there before, and first packets of the flood: the table has room for 65,536 flows.
const ESTABLISHED: u16 = 10_000;
const FLOOD: u32 = 300_000;

fn tcp(n: u16, back: bool, flags: &str) -> Vec<u8> {
    let (host, server) = ([10, 0, 1, 2], [10, 0, 2, 2]);
    let (macs, from, to, ports) = if back {
        ([SERVER_MAC, WAN_MAC], server, host, [80, 2000 + n])
    } else {
        ([HOST_MAC, LAN_MAC], host, server, [2000 + n, 80])
    };
    let builder = PacketBuilder::ethernet2(macs[0], macs[1]).ipv4(from, to, 64);
    let (sequence, acknowledged) = if back { (5000, 1001) } else { (1000, 5001) };
    let mut segment = builder.tcp(ports[0], ports[1], sequence, 2000);
    match flags {
        "S" => segment = segment.syn(),
        "SA" => segment = segment.syn().ack(acknowledged),
        _ => {
            segment = PacketBuilder::ethernet2(macs[0], macs[1])
                .ipv4(from, to, 64)
                .tcp(ports[0], ports[1], sequence + 1, 2000)
                .ack(acknowledged);
        }
    }
    let mut bytes = Vec::new();
    segment.write(&mut bytes, &[]).unwrap();
    bytes
}

/// A first packet from anywhere.
fn stray(random: &mut fastrand::Rng) -> Vec<u8> {
    let from = [random.u8(1..126), random.u8(..), random.u8(..), random.u8(1..255)];
    let from = if from[0] == 10 { [11, from[1], from[2], from[3]] } else { from };
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ethernet2(GATEWAY_MAC, WAN_MAC).ipv4(from, [10, 0, 1, 2], 64);
    builder.tcp(random.u16(1024..), 443, 1, 100).syn().write(&mut bytes, &[]).unwrap();
    bytes
}

/// Receives frames in bursts; how many left by `to`.
fn pass(node: &mut Node, from: PortIndex, to: PortIndex, frames: &[Vec<u8>]) -> usize {
    let mut passed = 0;
    for burst in frames.chunks(256) {
        for bytes in burst {
            let frame = node.pool.frame(bytes).unwrap();
            node.worker.io().push_rx(from, frame);
        }
        while node.turn() > 0 {}
        passed += node.sent(to).len();
    }
    passed
}

#[test]
fn established_flows_do_not_notice_a_flood_with_a_full_table() {
    let mut node = Node::new();
    node.neighbour(WAN_IF, "10.0.2.2", NeighbourState::Reachable(SERVER_MAC));
    node.publish();
    let mut ruleset = Ruleset::new();
    ruleset.base(Family::Inet, "fwd", ("filter", 2), ACCEPT, &[]);
    let state = expr("ct", |out| {
        out.u32(1, 1);
        out.u32(2, 0);
    });
    ruleset.rule(Family::Inet, "fwd", &[state, is(&1u32.to_ne_bytes()), verdict(DROP)]);
    node.run(&mut ruleset);
    let all = |back, flags| (0..ESTABLISHED).map(|n| tcp(n, back, flags)).collect::<Vec<_>>();
    let wanted = usize::from(ESTABLISHED);
    assert_eq!(pass(&mut node, LAN, WAN, &all(false, "S")), wanted);
    assert_eq!(pass(&mut node, WAN, LAN, &all(true, "SA")), wanted);
    assert_eq!(pass(&mut node, LAN, WAN, &all(false, "A")), wanted);

    let mut random = fastrand::Rng::with_seed(3);
    let segments = all(false, "A");
    let (mut stray_passed, mut passed) = (0, 0);
    for round in 0..FLOOD / 1000 {
        let flood: Vec<_> = (0..1000).map(|_| stray(&mut random)).collect();
        stray_passed += pass(&mut node, WAN, LAN, &flood);
        let from = round as usize % 10 * 1000;
        passed += pass(&mut node, LAN, WAN, &segments[from..from + 1000]);
    }
    let stats = node.worker.flows().stats().clone();
    assert_eq!(passed, FLOOD as usize, "segments of established flows were lost: {stats:?}");
    assert_eq!(stats.count, 65_536, "the table is full");
    assert!(stats.early_drop > 200_000, "{stats:?}");
    // What began a flow got one: others, which had no answer, made room.
    assert!(stray_passed > FLOOD as usize * 95 / 100, "{stray_passed} of {FLOOD}");
    let invalid = node.drops(LAN, packet::DropReason::RuleForward);
    assert_eq!(invalid, 0, "{:?}", node.all_drops());
    node.end();
}
