//! The packet path takes no memory: a counting allocator watches a million packets of every kind and every fate.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

mod common;

use std::time::Duration;

use common::*;
use dataplane::control::FromWorker;
use dataplane::rib::{Change, RouteKind};
use packet::{BURST, DropReason, Frame};

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
    for message in node.handle.up.try_iter() {
        assert!(matches!(message, FromWorker::Resolve { .. }));
    }
}

#[test]
fn no_packet_takes_memory() {
    let counted = allocation_counter::measure(|| drop(std::hint::black_box(Box::new(7))));
    assert_eq!(counted.count_total, 1, "the counter counts");

    let mut node = Node::new();
    node.rib.apply(Change::Route(route("192.0.2.0/24", RouteKind::Blackhole, &[])));
    node.rib.apply(Change::Route(route("198.51.100.0/24", RouteKind::Unreachable, &[])));
    node.publish();
    let kinds = kinds();
    // Long enough for packets to have waited in vain for their neighbour.
    let warm = 5_000;
    for n in 0..warm {
        turn(&mut node, &kinds, n);
    }
    let stats = node.handle.stats.clone();
    let before = (stats.icmp_sent.get(), stats.icmp_limited.get(), stats.fragmented.get());
    let rx_before = stats.port(LAN).unwrap().rx_packets.get();

    let counted = allocation_counter::measure(|| {
        for n in warm..warm + PACKETS / BURST {
            turn(&mut node, &kinds, n);
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
    node.end();
}
