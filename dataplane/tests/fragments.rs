//! IPv4 fragmentation: the parts are what RFC 791 asks for, and together they are the packet.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::*;
use dataplane::rib::{Change, RouteKind};
use packet::{DropReason, Frame};

/// Offset in bytes, more-fragments, payload; checks each header on the way.
fn parts(frames: &[Vec<u8>], mtu: usize) -> Vec<(usize, bool, Vec<u8>)> {
    let mut parts: Vec<_> = frames
        .iter()
        .map(|bytes| {
            let header = usize::from(bytes[14] & 15) * 4;
            let total = usize::from(u16::from_be_bytes([bytes[16], bytes[17]]));
            assert!(total <= mtu, "{total} > {mtu}");
            assert_eq!(bytes.len(), 14 + total);
            assert_eq!(packet::checksum::of(&bytes[14..14 + header]), 0);
            let word = u16::from_be_bytes([bytes[20], bytes[21]]);
            (usize::from(word & 0x1fff) * 8, word & 0x2000 != 0, bytes[14 + header..].to_vec())
        })
        .collect();
    parts.sort();
    parts
}

/// The packet's payload from its parts.
fn whole(parts: &[(usize, bool, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (i, (offset, more, payload)) in parts.iter().enumerate() {
        assert_eq!(*offset, bytes.len());
        assert_eq!(*more, i + 1 < parts.len());
        assert!(!more || payload.len() % 8 == 0);
        bytes.extend(payload);
    }
    bytes
}

fn node_with_mtu(mtu: u32) -> Node {
    let mut node = Node::new();
    let mut narrow = iface(WAN_IF, "wan", Some(WAN), WAN_MAC);
    narrow.mtu = mtu;
    node.rib.apply(Change::Iface(narrow));
    node.publish();
    node
}

#[test]
fn parts_fit_and_make_the_whole() {
    for mtu in [68, 69, 100, 576, 1000, 1499, 1500] {
        for len in [mtu as usize - 27, 1480, 1492, 4000] {
            let mut node = node_with_mtu(mtu);
            let payload: Vec<u8> = (0..len).map(|n| (n * 31) as u8).collect();
            let bytes = udp4("10.0.2.2", 64, &payload);
            // The packet itself comes in pieces of memory.
            let frame = node.pool.frame_split(&bytes, &[30, 50, 900]).unwrap();
            node.receive_frame(LAN, frame);
            let out = node.sent(WAN);
            assert!(out.len() > 1, "mtu {mtu}, {len}: {:?}", node.all_drops());
            assert!(out.iter().all(|part| part[22] == 63 && part[..6] == SERVER_MAC));
            assert_eq!(whole(&parts(&out, mtu as usize)), bytes[34..], "mtu {mtu}, {len}");
            assert_eq!(node.handle.stats.fragmented.get(), 1);
            node.end();
        }
    }
}

#[test]
fn a_fragment_is_cut_further_and_keeps_its_place() {
    let mut node = node_with_mtu(576);
    let mut bytes = udp4("10.0.2.2", 64, &[9; 1400]);
    let word = 0x2000 | 185u16; // offset 1480, more to come
    bytes[20..22].copy_from_slice(&word.to_be_bytes());
    fix_checksum(&mut bytes);
    node.receive(LAN, &bytes);
    let parts = parts(&node.sent(WAN), 576);
    assert_eq!(parts[0].0, 1480);
    assert!(parts.iter().all(|(_, more, _)| *more), "the datagram's last part is elsewhere");
    assert_eq!(parts.iter().map(|(.., payload)| payload.len()).sum::<usize>(), 1408);
    node.end();
}

#[test]
fn options_that_are_not_copied_stay_in_the_first_part() {
    let mut node = node_with_mtu(576);
    let plain = udp4("10.0.2.2", 64, &[1; 1000]);
    // Record route (not copied), then a router alert (copied).
    let options = [7, 7, 4, 0, 0, 0, 0, 1, 148, 4, 0, 0];
    let mut bytes = plain[..34].to_vec();
    bytes.extend(options);
    bytes.extend(&plain[34..]);
    bytes[14] = 0x48;
    let total = (bytes.len() as u16 - 14).to_be_bytes();
    bytes[16..18].copy_from_slice(&total);
    fix_checksum(&mut bytes);
    node.receive(LAN, &bytes);
    let out = node.sent(WAN);
    assert_eq!(out.len(), 2, "{:?}", node.all_drops());
    assert_eq!(out[0][34..46], options);
    assert_eq!(out[1][34..46], [1, 1, 1, 1, 1, 1, 1, 1, 148, 4, 0, 0]);
    assert_eq!(whole(&parts(&out, 576)), plain[34..]);
    node.end();
}

#[test]
fn a_packet_that_may_not_be_cut_is_answered_with_the_mtu() {
    let mut node = node_with_mtu(1400);
    let mut bytes = udp4("10.0.2.2", 64, &[0; 1400]);
    bytes[20] = 0x40;
    fix_checksum(&mut bytes);
    node.receive(LAN, &bytes);
    let answer = node.sent(LAN).remove(0);
    assert_eq!(answer[34..36], [3, 4]);
    assert_eq!(answer[40..42], 1400u16.to_be_bytes());
    assert_eq!(answer.len(), 14 + 576);

    node.receive(LAN, &udp6("fd00:2::fe", 64, &[0; 1400]));
    let answer = node.sent(LAN).remove(0);
    assert_eq!(answer[54..56], [2, 0]);
    assert_eq!(answer[58..62], 1400u32.to_be_bytes());
    assert_eq!(answer.len(), 14 + 1280);
    assert_eq!(node.drops(LAN, DropReason::TooBig), 2);
    node.end();
}

#[test]
fn a_path_mtu_on_the_route_counts_as_the_links() {
    let mut node = Node::new();
    let mut narrow = route("203.0.113.0/24", RouteKind::Unicast, &[(WAN_IF, Some("10.0.2.254"))]);
    narrow.mtu = Some(1300);
    node.rib.apply(Change::Route(narrow));
    node.publish();
    node.receive(LAN, &udp4("203.0.113.5", 64, &[0; 1400]));
    assert_eq!(parts(&node.sent(WAN), 1300).len(), 2);
    node.receive(LAN, &udp4("198.51.100.5", 64, &[0; 1400]));
    assert_eq!(node.sent(WAN).len(), 1);
    node.end();
}

#[test]
fn no_payload_byte_is_copied_where_memory_can_be_shared() {
    // Plain memory can't share, DPDK can (capsule's tests); here: no part holds more than headers and its own slice.
    let mut node = node_with_mtu(576);
    node.receive(LAN, &udp4("10.0.2.2", 64, &[3; 1200]));
    for part in node.worker.io().drain_sent(WAN) {
        assert!(part.len() <= 14 + 576);
    }
    node.end();
}
