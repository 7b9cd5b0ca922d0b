//! The packet path takes no memory: a counting allocator watches a million packets of every kind and every fate.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

mod common;

use std::time::Duration;

use common::rules::*;
use common::*;
use dataplane::control::FromWorker;
use dataplane::rib::{Change, RouteKind};
use packet::{BURST, DropReason, Frame};
use ruleset::family::Family;

const PACKETS: usize = 1 << 20;

/// One frame of each kind, and how the test knows that it took the way meant for it.
fn kinds() -> Vec<Vec<u8>> {
    let mut bad_checksum = udp4("8.8.8.8", 64, b"bad");
    bad_checksum[24] ^= 1;
    let mut not_ours = udp4("8.8.8.8", 64, b"x");
    not_ours[5] ^= 1;
    let mut group = udp4("224.0.0.18", 255, b"vrrp");
    group[..6].copy_from_slice(&[1, 0, 0x5e, 0, 0, 18]);
    vec![
        udp4("8.8.8.8", 64, &[0; 18]),
        udp6("2001:db8::1", 64, &[0; 18]),
        udp4("10.0.2.2", 64, &[0; 1200]),
        udp4("8.8.8.8", 1, b"expired"),
        udp6("2001:db8::1", 1, b"expired"),
        udp4("8.8.8.8", 64, &[0; 1600]),     // in fragments
        udp6("2001:db8::1", 64, &[0; 1600]), // too big
        udp4("10.0.1.1", 64, b"for us"),
        group,
        udp4("10.0.2.77", 64, b"nobody answers"),
        udp4("192.0.2.1", 64, b"blackhole"),
        udp4("198.51.100.1", 64, b"unreachable"),
        udp4("8.8.8.8", 64, b"cut off")[..30].to_vec(),
        bad_checksum,
        not_ours,
        tagged(&udp4("8.8.8.8", 64, b"no such VLAN"), &[(0x8100, 99)]),
    ]
}

fn turn(node: &mut Node, kinds: &[Vec<u8>], n: usize) {
    for k in 0..BURST {
        let kind = &kinds[(n * BURST + k) % kinds.len()];
        let mut frame = node.pool.frame(&[]).expect("frames come back");
        // Split headers take the slower way through the parser.
        if n.is_multiple_of(4) && kind.len() > 40 {
            frame = node.pool.frame_split(kind, &[17, 38]).expect("frames come back");
        } else {
            assert!(frame.append(kind));
        }
        node.worker.io().push_rx(LAN, frame);
    }
    node.now.0 += Duration::from_millis(1).as_nanos() as u64;
    node.worker.turn(node.now);
    for port in [LAN, WAN, DMZ] {
        node.worker.io().drain_sent(port).for_each(drop);
    }
    while node.handle.to_twin.pop().is_some() {}
    node.handle.notes.try_iter().for_each(drop);
    for message in node.handle.up.try_iter() {
        assert!(matches!(message, FromWorker::Resolve { .. } | FromWorker::RetiredProgram(..)));
    }
}

/// Rules in every hook that packets of [`kinds`] meet: counting, marking, changing, logging, tracing, refusing, copying.
fn rules(node: &mut Node) {
    let mut ruleset = Ruleset::new();
    let devices = &["lan", "wan", "dmz"];
    ruleset.base(Family::Netdev, "in", ("filter", 0), ACCEPT, devices);
    ruleset.base(Family::Netdev, "out", ("filter", 1), ACCEPT, devices);
    for (name, n) in [("pre", 0), ("in", 1), ("fwd", 2), ("out", 3), ("post", 4)] {
        ruleset.base(Family::Inet, name, ("filter", n), ACCEPT, &[]);
        ruleset.rule(Family::Inet, name, &[expr("counter", |_| {})]);
        ruleset.rule(Family::Inet, name, &set(MARK, n + 1));
    }
    let protocol = |n: u8| [load(NETWORK, 8, 1), is(&[n])];
    let mut traced = protocol(99).to_vec();
    traced.extend(set(NFTRACE, 1));
    ruleset.rule(Family::Netdev, "in", &traced);
    for (ttl, act) in [(98, log("seen ")), (97, reject(0, 3)), (96, verdict(DROP)), (95, queue(0))]
    {
        let mut rule = protocol(ttl).to_vec();
        rule.push(act);
        ruleset.rule(Family::Inet, "fwd", &rule);
    }
    let mut copied = protocol(94).to_vec();
    copied.extend([value(1, &[10, 0, 2, 254]), expr("dup", |out| out.u32(1, 1))]);
    ruleset.base(Family::Ipv4, "dup", ("filter", 0), ACCEPT, &[]);
    ruleset.rule(Family::Ipv4, "dup", &copied);
    let mut changed = protocol(93).to_vec();
    changed.extend([value(1, &[10, 0, 2, 2]), store(NETWORK, 16, 4, Some(10))]);
    ruleset.rule(Family::Ipv4, "dup", &changed);
    node.run(&mut ruleset);
}

#[test]
fn no_packet_takes_memory() {
    let counted = allocation_counter::measure(|| drop(std::hint::black_box(Box::new(7))));
    assert_eq!(counted.count_total, 1, "the counter counts");

    let mut node = Node::new();
    node.rib.apply(Change::Route(route("192.0.2.0/24", RouteKind::Blackhole, &[])));
    node.rib.apply(Change::Route(route("198.51.100.0/24", RouteKind::Unreachable, &[])));
    node.publish();
    for (ruled, mut kinds) in [(false, kinds()), (true, kinds())] {
        if ruled {
            rules(&mut node);
            // What each rule is for, by its TTL: forward sees one less.
            kinds.extend([94, 93].map(|ttl| udp4("8.8.8.8", ttl, b"ruled")));
            kinds.extend((96..=99).map(|ttl| udp4("8.8.8.8", ttl, b"ruled")));
        }
        watch(&mut node, &kinds);
    }
    let lan = node.handle.stats.port(LAN).unwrap();
    for reason in [DropReason::RuleRejected, DropReason::RuleForward, DropReason::QueueNobody] {
        assert!(lan.drops(reason) > 0, "{} was never met", reason.name());
    }
    assert!(node.handle.stats.logs_suppressed.get() > 0, "the log has a limit");
    node.end();
}

/// Packets of these kinds take no memory.
fn watch(node: &mut Node, kinds: &[Vec<u8>]) {
    // Long enough for packets to have waited in vain for their neighbour.
    let warm = 5_000;
    for n in 0..warm {
        turn(node, kinds, n);
    }
    let stats = node.handle.stats.clone();
    let before = (stats.icmp_sent.get(), stats.icmp_limited.get(), stats.fragmented.get());
    let rx_before = stats.port(LAN).unwrap().rx_packets.get();

    let counted = allocation_counter::measure(|| {
        for n in warm..warm + PACKETS / BURST {
            turn(node, kinds, n);
        }
    });

    assert_eq!(counted.count_total, 0, "allocations over {PACKETS} packets");
    // Every fate was met while the counter looked.
    let lan = stats.port(LAN).unwrap();
    assert_eq!(lan.rx_packets.get() - rx_before, PACKETS as u64);
    assert!(stats.icmp_sent.get() > before.0, "errors were sent");
    assert!(stats.icmp_limited.get() > before.1, "errors were held back");
    assert!(stats.fragmented.get() > before.2, "packets were cut");
    assert!(lan.to_twin.get() > 0, "packets went to the kernel");
    for reason in [
        DropReason::TtlExpired,
        DropReason::TooBig,
        DropReason::NeighbourFailed,
        DropReason::NeighbourQueueFull,
        DropReason::Blackhole,
        DropReason::Unreachable,
        DropReason::Ip4Truncated,
        DropReason::Ip4BadChecksum,
        DropReason::NotOurMac,
        DropReason::VlanUnknown,
    ] {
        assert!(lan.drops(reason) > 0, "{} was never met: {:?}", reason.name(), node.all_drops());
    }
}
