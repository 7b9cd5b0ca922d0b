//! Packets that rules refuse, and what the sender hears.

use packet::DropReason;
use ruleset::family::Family;

use super::common::rules::*;
use super::common::*;
use super::{FILTER, fix_transport, from_kernel, from_twin, pair};

fn tcp4(dst: &str, flags: u8, seq: u32, ack: u32, payload: &[u8]) -> Vec<u8> {
    let dst: std::net::Ipv4Addr = dst.parse().unwrap();
    let builder = etherparse::PacketBuilder::ethernet2(HOST_MAC, LAN_MAC)
        .ipv4([10, 0, 1, 2], dst.octets(), 64)
        .tcp(4000, 80, seq, 1000);
    let mut bytes = Vec::new();
    builder.write(&mut bytes, payload).unwrap();
    bytes[47] = flags;
    bytes[42..46].copy_from_slice(&ack.to_be_bytes());
    bytes[20] = 0;
    fix_checksum(&mut bytes);
    fix_transport(&mut bytes);
    bytes
}

/// `reject` in a chain of this family and hook.
fn rejecting(family: Family, hook: u32, devices: &[&str], kind: u32, code: u8) -> (Node, Ruleset) {
    let mut node = if family == Family::Bridge { pair() } else { Node::new() };
    let mut ruleset = Ruleset::new();
    ruleset.base(family, "c", (FILTER, hook), ACCEPT, devices);
    node.run(ruleset.rule(family, "c", &[reject(kind, code)]));
    (node, ruleset)
}

#[test]
fn refused_packets_are_answered_with_icmp() {
    for (hook, dst) in [(0, "10.0.2.2"), (1, "10.0.2.1"), (2, "10.0.2.2")] {
        let (mut node, _ruleset) = rejecting(Family::Ipv4, hook, &[], 0, 13);
        let sent = udp4(dst, 64, b"refused");
        node.receive(LAN, &sent);
        assert_eq!(node.drops(LAN, DropReason::RuleRejected), 1, "{:?}", node.all_drops());
        let out = node.sent(LAN);
        assert_eq!(out.len(), 1);
        assert_eq!((&out[0][34..36], out[0][23]), (&[3, 13][..], 1));
        // From where the packet went, where that is one of ours; else from the interface to the sender.
        let from = if hook == 1 { [10, 0, 2, 1] } else { [10, 0, 1, 1] };
        assert_eq!(out[0][26..30], from);
        // Quoted as it was at the hook: forward has taken its hop.
        assert_eq!(out[0][42 + 8], if hook == 2 { 63 } else { 64 });
        assert_eq!(node.handle.stats.icmp_sent.get(), 1);
        node.end();
    }
    let (mut node, _ruleset) = rejecting(Family::Ipv6, 2, &[], 0, 4);
    node.receive(LAN, &udp6("2001:db8::1", 64, b"refused"));
    let out = node.sent(LAN);
    assert_eq!((out.len(), &out[0][54..56]), (1, &[1, 4][..]));
    node.end();
}

#[test]
fn refused_packets_that_must_not_be_answered_are_not() {
    let (mut node, _ruleset) = rejecting(Family::Ipv4, 2, &[], 0, 3);
    let mut garbled = udp4("10.0.2.2", 64, b"garbled");
    *garbled.last_mut().unwrap() ^= 1;
    let mut later = udp4("10.0.2.2", 64, &[0; 24]);
    later[21] = 9;
    fix_checksum(&mut later);
    let mut error = udp4("10.0.2.2", 64, &[0; 24]);
    (error[23], error[34]) = (1, 3);
    fix_checksum(&mut error);
    for frame in [garbled, later, error] {
        node.receive(LAN, &frame);
    }
    assert_eq!(node.drops(LAN, DropReason::RuleRejected), 3, "{:?}", node.all_drops());
    assert!(node.sent(LAN).is_empty());
    // The limit of all ICMP errors holds.
    for _ in 0..80 {
        node.receive(LAN, &udp4("10.0.2.2", 64, b"many"));
    }
    assert_eq!(node.sent(LAN).len(), 50);
    node.end();
}

#[test]
fn connections_are_reset() {
    const SYN: u8 = 2;
    const RST: u8 = 4;
    const ACK: u8 = 16;
    let (mut node, _ruleset) = rejecting(Family::Ipv4, 2, &[], 1, 0);
    // To a SYN: an acknowledgement of it. To what acknowledges: what it expects.
    for (flags, ack, payload, seq_out, ack_out, flags_out) in [
        (SYN, 0, &b""[..], 0, 1001, RST | ACK),
        (ACK, 777, b"data", 777, 0, RST),
        (0, 0, b"data", 0, 1004, RST | ACK),
    ] {
        node.receive(LAN, &tcp4("10.0.2.2", flags, 1000, ack, payload));
        let out = node.sent(LAN);
        assert_eq!(out.len(), 1, "{:?}", node.all_drops());
        let out = &out[0];
        assert_eq!((&out[..6], out.len(), out[23]), (&HOST_MAC[..], 54, 6));
        assert_eq!((&out[26..30], &out[30..34]), (&[10, 0, 2, 2][..], &[10, 0, 1, 2][..]));
        assert_eq!((&out[34..36], &out[36..38]), (&[0, 80][..], &4000u16.to_be_bytes()[..]));
        let word = |at: usize| u32::from_be_bytes(out[at..at + 4].try_into().unwrap());
        assert_eq!((word(38), word(42), out[47]), (seq_out, ack_out, flags_out));
        let mut fixed = out.clone();
        fix_checksum(&mut fixed);
        fix_transport(&mut fixed);
        assert_eq!(*out, fixed);
    }
    // A reset is not answered, nor a segment with a wrong checksum, nor UDP.
    let mut garbled = tcp4("10.0.2.2", SYN, 1, 0, b"");
    garbled[50] ^= 1;
    for frame in [tcp4("10.0.2.2", RST, 1, 0, b""), garbled, udp4("10.0.2.2", 64, b"")] {
        node.receive(LAN, &frame);
    }
    assert!(node.sent(LAN).is_empty());
    assert_eq!(node.drops(LAN, DropReason::RuleRejected), 6);
    node.end();
}

#[test]
fn answers_meet_rules_themselves() {
    let (mut node, mut ruleset) = rejecting(Family::Ipv4, 2, &[], 0, 3);
    node.run(ruleset.base(Family::Ipv4, "out", (FILTER, 3), DROP, &[]));
    node.receive(LAN, &udp4("10.0.2.2", 64, b""));
    assert!(node.sent(LAN).is_empty());
    assert_eq!(node.drops(LAN, DropReason::RuleOutput), 1);
    node.end();
}

#[test]
fn the_kernel_hears_that_its_packet_was_refused() {
    let (mut node, _ruleset) = rejecting(Family::Ipv4, 3, &[], 0, 1);
    from_twin(&mut node, WAN, &from_kernel());
    assert!(node.sent(WAN).is_empty());
    assert_eq!(node.drops(WAN, DropReason::RuleRejected), 1);
    let told = node.punted();
    let [(port, frame)] = &told[..] else { panic!("{told:?}") };
    assert_eq!((*port, &frame[..6], &frame[6..12]), (WAN, &WAN_MAC[..], &SERVER_MAC[..]));
    assert_eq!((&frame[26..30], &frame[34..36]), (&[10, 0, 2, 2][..], &[3, 1][..]));
    node.end();
}

#[test]
fn refusals_beneath_the_routing_go_straight_back() {
    for (family, devices) in [(Family::Bridge, &[][..]), (Family::Netdev, &["lan"])] {
        let (mut node, _ruleset) = rejecting(family, 0, devices, 0, 13);
        node.receive(LAN, &udp4("10.0.2.2", 64, b"refused"));
        let out = node.sent(LAN);
        assert_eq!(out.len(), 1, "{:?}", node.all_drops());
        assert_eq!((&out[0][..6], &out[0][6..12]), (&HOST_MAC[..], &LAN_MAC[..]));
        assert_eq!((&out[0][26..30], &out[0][34..36]), (&[10, 0, 2, 2][..], &[3, 13][..]));
        assert_eq!(node.handle.stats.icmp_sent.get(), 0, "beside the limit");
        node.end();
    }
}
