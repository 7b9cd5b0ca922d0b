//! Fragments of tracked packets: later ones follow their first one through rules and NAT, whichever comes first.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

mod common;

use std::time::Duration;

use common::rules::*;
use common::*;
use etherparse::PacketBuilder;
use packet::{DropReason, PortIndex};
use ruleset::family::Family;

/// A node that lets new UDP to port 53 and what belongs to flows through, and masquerades.
fn node() -> Node {
    let mut node = Node::new();
    let mut ruleset = Ruleset::new();
    ruleset.base(Family::Inet, "fwd", ("filter", 2), DROP, &[]);
    let established = expr("bitwise", |out| {
        out.u32(1, 1);
        out.u32(2, 1);
        out.u32(3, 4);
        out.nest(4, |out| out.put(1, &2u32.to_ne_bytes()));
        out.nest(5, |out| out.put(1, &[0; 4]));
    });
    let ct_state = expr("ct", |out| {
        out.u32(1, 1);
        out.u32(2, 0);
    });
    let some = expr("cmp", |out| {
        out.u32(1, 1);
        out.u32(2, 1);
        out.nest(3, |out| out.put(1, &[0; 4]));
    });
    ruleset.rule(Family::Inet, "fwd", &[ct_state, established, some, verdict(ACCEPT)]);
    let dns = [meta(16), is(&[17]), load(TRANSPORT, 2, 2), is(&53u16.to_be_bytes())];
    ruleset.rule(Family::Inet, "fwd", &[&dns[..], &[verdict(ACCEPT)]].concat());
    ruleset.base(Family::Inet, "leave", ("nat", 4), ACCEPT, &[]);
    let to_wan = is(&WAN_IF.0.to_ne_bytes());
    ruleset.rule(Family::Inet, "leave", &[meta(5), to_wan, expr("masq", |_| {})]);
    node.run(&mut ruleset);
    node.messages();
    node
}

const HOST: [u8; 4] = [10, 0, 1, 2];
const SERVER: [u8; 4] = [8, 8, 8, 8];
const OURS: [u8; 4] = [10, 0, 2, 1];

/// A datagram of 72 bytes of payload in fragments of 32, 32 and 16 bytes, with this identification.
fn fragments(
    from: ([u8; 4], u16),
    to: ([u8; 4], u16),
    macs: ([u8; 6], [u8; 6]),
    id: u16,
) -> Vec<Vec<u8>> {
    let mut whole = Vec::new();
    let builder = PacketBuilder::ethernet2(macs.0, macs.1).ipv4(from.0, to.0, 64);
    builder.udp(from.1, to.1).write(&mut whole, &[0x5a; 72]).unwrap();
    let (header, payload) = (&whole[..34], &whole[34..]);
    let cuts = [(0, 32, true), (32, 64, true), (64, 80, false)];
    cuts.map(|(start, end, more)| {
        let mut frame = header.to_vec();
        frame.extend(&payload[start..end]);
        frame[16..18].copy_from_slice(&(20 + (end - start) as u16).to_be_bytes());
        frame[18..20].copy_from_slice(&id.to_be_bytes());
        let offset = (start / 8) as u16 | if more { 0x2000 } else { 0 };
        frame[20..22].copy_from_slice(&offset.to_be_bytes());
        fix_checksum(&mut frame);
        frame
    })
    .to_vec()
}

fn out(port: u16, id: u16) -> Vec<Vec<u8>> {
    fragments((HOST, 4000), (SERVER, port), (HOST_MAC, LAN_MAC), id)
}

/// Receives fragments in this order; returns what leaves by a port.
fn pass(
    node: &mut Node,
    from: PortIndex,
    frames: &[Vec<u8>],
    order: &[usize],
    to: PortIndex,
) -> Vec<Vec<u8>> {
    for n in order {
        node.receive(from, &frames[*n]);
    }
    node.sent(to)
}

/// The datagram that fragments make, and who it is from and to; its UDP checksum must be right.
fn assemble(frames: &[Vec<u8>]) -> ([u8; 4], [u8; 4], Vec<u8>) {
    let mut payload = vec![0; 80];
    let (src, dst): ([u8; 4], [u8; 4]) =
        (frames[0][26..30].try_into().unwrap(), frames[0][30..34].try_into().unwrap());
    for frame in frames {
        assert_eq!((&frame[26..30], &frame[30..34]), (&src[..], &dst[..]));
        let start = usize::from(u16::from_be_bytes([frame[20], frame[21]]) & 0x1fff) * 8;
        payload[start..start + frame.len() - 34].copy_from_slice(&frame[34..]);
    }
    let sum = packet::checksum::pseudo_ipv4(src, dst, 17, 80).bytes(&payload);
    assert!(sum.is_valid(), "{payload:x?}");
    (src, dst, payload)
}

const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

#[test]
fn fragments_in_any_order_are_translated_alike_there_and_back() {
    for (n, order) in ORDERS.iter().enumerate() {
        let mut node = node();
        let sent = pass(&mut node, LAN, &out(53, n as u16), order, WAN);
        assert_eq!(sent.len(), 3, "{order:?} {:?}", node.all_drops());
        let (src, dst, payload) = assemble(&sent);
        assert_eq!((src, dst), (OURS, SERVER));
        let port = u16::from_be_bytes([payload[0], payload[1]]);
        let back = fragments((SERVER, 53), (OURS, port), (GATEWAY_MAC, WAN_MAC), 7);
        let sent = pass(&mut node, WAN, &back, order, LAN);
        assert_eq!(sent.len(), 3, "{order:?} {:?}", node.all_drops());
        let (src, dst, payload) = assemble(&sent);
        assert_eq!((src, dst, &payload[2..4]), (SERVER, HOST, &4000u16.to_be_bytes()[..]));
        // One flow, and all six fragments are its.
        assert_eq!(node.worker.flows().stats().count, 1);
        assert_eq!(node.worker.flows().stats().invalid, 0);
        assert_eq!(node.all_drops(), []);
        node.end();
    }
}

#[test]
fn what_follows_a_first_fragment_that_rules_dropped_is_dropped() {
    for order in ORDERS {
        let mut node = node();
        assert!(pass(&mut node, LAN, &out(54, 1), &order, WAN).is_empty());
        assert_eq!(node.drops(LAN, DropReason::RuleForward), 1, "{order:?}");
        assert_eq!(node.drops(LAN, DropReason::FragmentRefused), 2, "{order:?}");
        assert_eq!(node.worker.flows().stats().count, 0);
        node.end();
    }
}

#[test]
fn fragments_without_a_first_one_end_with_their_time() {
    let mut node = node();
    assert!(pass(&mut node, LAN, &out(53, 1), &[1, 2], WAN).is_empty());
    node.after(Duration::from_secs(29)).turn();
    assert_eq!(node.all_drops(), []);
    node.after(Duration::from_secs(2)).turn();
    assert_eq!(node.drops(LAN, DropReason::FragmentTimeout), 2);
    node.end();
}

#[test]
fn fragments_that_overlap_or_hide_a_header_are_dropped() {
    let mut node = node();
    let mut frames = out(53, 1);
    // The second begins eight bytes early.
    frames[1][21] -= 1;
    fix_checksum(&mut frames[1]);
    assert_eq!(pass(&mut node, LAN, &frames, &[0, 1, 2, 0], WAN).len(), 1);
    assert_eq!(node.drops(LAN, DropReason::FragmentOverlap), 3);
    let frames = out(53, 2);
    assert_eq!(pass(&mut node, LAN, &frames, &[0, 0, 1, 2], WAN).len(), 3);
    assert_eq!(node.drops(LAN, DropReason::FragmentTwice), 1);
    let mut frames = out(53, 3);
    frames[1][23] = 6;
    frames[1][21] = 1;
    fix_checksum(&mut frames[1]);
    assert!(pass(&mut node, LAN, &frames, &[1], WAN).is_empty());
    assert_eq!(node.drops(LAN, DropReason::FragmentTiny), 1);
    node.end();
}
