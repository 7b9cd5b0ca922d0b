//! Where packets meet rules, in which order, and what comes of it.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use common::rules::*;
use common::*;
use dataplane::notes::Note;
use dataplane::rib::{Change, NeighbourState, RouteKind};
use dataplane::tables::{PortMode, PortState};
use packet::DropReason;
use ruleset::family::{Family, Hook};
use ruleset::trace::TraceKind;

const FILTER: &str = "filter";

fn arp(target: [u8; 4]) -> Vec<u8> {
    let mut arp = udp4("10.0.1.1", 1, b"")[..14].to_vec();
    arp[12..14].copy_from_slice(&0x0806u16.to_be_bytes());
    arp.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    arp.extend(HOST_MAC);
    arp.extend([10, 0, 1, 2]);
    arp.extend([0; 6]);
    arp.extend(target);
    arp
}

/// A UDP packet as the kernel would send it on the WAN's twin.
fn from_kernel() -> Vec<u8> {
    let mut frame = udp4("10.0.2.2", 64, b"own");
    frame[..6].copy_from_slice(&SERVER_MAC);
    frame[6..12].copy_from_slice(&WAN_MAC);
    frame[26..30].copy_from_slice(&[10, 0, 2, 1]);
    fix_checksum(&mut frame);
    fix_transport(&mut frame);
    frame
}

/// Rewrites the UDP or TCP checksum of an untagged IPv4 frame.
fn fix_transport(frame: &mut [u8]) {
    let at = if frame[23] == 6 { 50 } else { 40 };
    let vec = packet::VecFrame::from_bytes(frame);
    let layers = packet::layers::parse(&vec).unwrap();
    let sum = packet::checksum::transport_checksum(&vec, &layers).unwrap();
    frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

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

fn from_twin(node: &mut Node, port: packet::PortIndex, bytes: &[u8]) {
    let frame = node.pool.frame(bytes).unwrap();
    assert!(node.handle.from_twin.push((port, frame)).is_ok());
    node.turn();
}

fn pair() -> Node {
    let [a, b] = [LAN, WAN].map(|peer| PortState { mode: PortMode::Pair(peer), ..UP });
    Node::with_ports(&[b, a])
}

/// What the kernel, or a station, sends in the next test.
enum From<'a> {
    Station(Vec<u8>),
    Kernel(Vec<u8>),
    Bridge(&'a [u8]),
}

#[test]
fn each_hook_drops_as_itself() {
    use From::{Bridge, Kernel, Station};
    let forward = udp4("10.0.2.2", 64, b"through");
    let forward6 = udp6("2001:db8::1", 64, b"through");
    let local = udp4("10.0.1.1", 64, b"to us");
    let group = udp4("224.0.0.5", 1, b"ospf");
    for (family, hook, devices, from, port, reason) in [
        (Family::Netdev, 0, &["lan"][..], Station(forward.clone()), LAN, DropReason::RuleIngress),
        (
            Family::Netdev,
            0,
            &["dmz", "lan"],
            Station(arp([10, 0, 1, 1])),
            LAN,
            DropReason::RuleIngress,
        ),
        (Family::Inet, 5, &["lan"], Station(forward6.clone()), LAN, DropReason::RuleIngress),
        (Family::Ipv4, 0, &[], Station(forward.clone()), LAN, DropReason::RulePrerouting),
        (Family::Ipv4, 0, &[], Station(group.clone()), LAN, DropReason::RulePrerouting),
        (Family::Inet, 0, &[], Station(forward6.clone()), LAN, DropReason::RulePrerouting),
        (Family::Ipv4, 1, &[], Station(local), LAN, DropReason::RuleInput),
        (Family::Ipv4, 1, &[], Station(group), LAN, DropReason::RuleInput),
        (Family::Ipv4, 2, &[], Station(forward.clone()), LAN, DropReason::RuleForward),
        (Family::Ipv6, 2, &[], Station(forward6), LAN, DropReason::RuleForward),
        (Family::Ipv4, 4, &[], Station(forward.clone()), LAN, DropReason::RulePostrouting),
        (Family::Ipv4, 3, &[], Kernel(from_kernel()), WAN, DropReason::RuleOutput),
        (Family::Inet, 4, &[], Kernel(from_kernel()), WAN, DropReason::RulePostrouting),
        (Family::Netdev, 1, &["wan"], Station(forward.clone()), WAN, DropReason::RuleEgress),
        (Family::Netdev, 1, &["wan"], Kernel(from_kernel()), WAN, DropReason::RuleEgress),
        (Family::Arp, 0, &[], Station(arp([10, 0, 1, 1])), LAN, DropReason::RuleArp),
        (Family::Arp, 1, &[], Kernel(arp([10, 0, 2, 2])), WAN, DropReason::RuleArp),
        (Family::Bridge, 0, &[], Bridge(&forward), LAN, DropReason::RuleBridge),
        (Family::Bridge, 2, &[], Bridge(&forward), LAN, DropReason::RuleBridge),
        (Family::Bridge, 4, &[], Bridge(&forward), LAN, DropReason::RuleBridge),
        (Family::Netdev, 0, &["port0"], Bridge(&forward), LAN, DropReason::RuleIngress),
        (Family::Netdev, 1, &["port1"], Bridge(&forward), WAN, DropReason::RuleEgress),
    ] {
        let mut node = if matches!(from, Bridge(_)) { pair() } else { Node::new() };
        let mut ruleset = Ruleset::new();
        node.run(ruleset.base(family, "c", (FILTER, hook), DROP, devices));
        match from {
            Station(bytes) => node.receive(LAN, &bytes),
            Bridge(bytes) => node.receive(LAN, bytes),
            Kernel(bytes) => from_twin(&mut node, WAN, &bytes),
        }
        let met = node.all_drops();
        assert_eq!(met, [(port.0, reason.name(), 1)], "{family:?} {hook}");
        assert!(node.sent(WAN).is_empty() && node.punted().is_empty());
        node.end();
    }
}

#[test]
fn devices_that_are_not_named_are_not_concerned() {
    let mut node = Node::new();
    let mut ruleset = Ruleset::new();
    ruleset.base(Family::Netdev, "in", (FILTER, 0), DROP, &["dmz"]);
    node.run(ruleset.base(Family::Netdev, "out", (FILTER, 1), DROP, &["dmz"]));
    node.receive(LAN, &udp4("10.0.2.2", 64, b""));
    assert_eq!(node.sent(WAN).len(), 1, "{:?}", node.all_drops());
    node.end();
}

/// Hooks with a base chain in each, in every family that has one there; the first traces what comes.
fn traced() -> Ruleset {
    let mut ruleset = Ruleset::new();
    let devices = &["lan", "wan", "port0", "port1"];
    ruleset.base(Family::Netdev, "ingress", (FILTER, 0), ACCEPT, devices);
    ruleset.base(Family::Netdev, "egress", (FILTER, 1), ACCEPT, devices);
    let hooks = ["prerouting", "input", "forward", "output", "postrouting"];
    for (name, n) in hooks.iter().zip(0..) {
        ruleset.base(Family::Inet, name, (FILTER, n), ACCEPT, &[]);
        ruleset.base(Family::Bridge, name, (FILTER, n), ACCEPT, &[]);
        ruleset.rule(Family::Inet, name, &set(NFTRACE, 1));
    }
    ruleset.base(Family::Arp, "arp-input", (FILTER, 0), ACCEPT, &[]);
    ruleset.base(Family::Arp, "arp-output", (FILTER, 1), ACCEPT, &[]);
    for chain in ["ingress", "egress"] {
        ruleset.rule(Family::Netdev, chain, &set(NFTRACE, 1));
    }
    ruleset
}

/// The base chains that packets went through, with their interfaces, since the last look.
fn way(node: &Node) -> Vec<String> {
    let names = |index: u32| match index {
        10 => "lan",
        11 => "wan",
        12 => "dmz",
        0x8000_0000 => "port0",
        0x8000_0001 => "port1",
        other => panic!("interface {other}"),
    };
    node.handle
        .notes
        .try_iter()
        .filter_map(|note| match note {
            Note::Trace(note) => {
                let sight = note.sight?;
                let [iif, oif] =
                    [sight.iif, sight.oif].map(|device| device.map(|d| names(d.index)));
                let name = |side: Option<&str>| side.unwrap_or("-").to_owned();
                Some(format!("{} {} {}", note.chain, name(iif), name(oif)))
            }
            Note::Log(_) => None,
        })
        .collect()
}

#[test]
fn hooks_come_in_linux_order() {
    let mut node = Node::new();
    node.run(&mut traced());
    node.receive(LAN, &udp4("10.0.2.2", 64, b"through"));
    let through = [
        "ingress lan -",
        "prerouting lan -",
        "forward lan wan",
        "postrouting lan wan",
        "egress - wan",
    ];
    assert_eq!(way(&node), through);
    node.receive(LAN, &udp6("2001:db8::1", 64, b"through"));
    assert_eq!(way(&node), through);
    node.receive(LAN, &udp4("10.0.1.1", 64, b"to us"));
    assert_eq!(way(&node), ["ingress lan -", "prerouting lan -", "input lan -"]);
    from_twin(&mut node, WAN, &from_kernel());
    assert_eq!(way(&node), ["output - wan", "postrouting - wan", "egress - wan"]);
    node.receive(LAN, &arp([10, 0, 1, 1]));
    assert_eq!(way(&node), ["ingress lan -", "arp-input lan -"]);
    from_twin(&mut node, WAN, &arp([10, 0, 2, 2]));
    assert_eq!(way(&node), ["egress - wan"], "traced from there on");
    // The packet ends after prerouting; its error is this node's own.
    node.receive(LAN, &udp4("10.0.2.2", 1, b"expired"));
    assert_eq!(
        way(&node),
        ["ingress lan -", "prerouting lan -", "output - lan", "postrouting - lan", "egress - lan"]
    );
    assert_eq!(node.sent(LAN).len(), 1);
    assert_eq!(node.sent(WAN).len(), 4);
    assert_eq!(node.punted().len(), 2);
    node.end();

    let mut node = pair();
    node.run(&mut traced());
    node.receive(LAN, &udp4("10.9.9.9", 1, b"any"));
    assert_eq!(
        way(&node),
        [
            "ingress port0 -",
            "prerouting port0 -",
            "forward port0 port1",
            "postrouting - port1",
            "egress - port1"
        ]
    );
    node.end();
}

#[test]
fn a_packet_that_waits_passes_each_hook_once() {
    let mut node = Node::new();
    node.run(&mut traced());
    let waits = udp4("10.0.2.77", 64, b"waits");
    node.receive(LAN, &waits);
    let before = way(&node);
    assert_eq!(before.last().unwrap(), "postrouting lan wan");
    assert_eq!(before.len(), 4);
    node.messages();
    node.neighbour(WAN_IF, "10.0.2.77", NeighbourState::Reachable(SERVER_MAC));
    node.publish();
    assert_eq!(way(&node), ["egress - wan"]);
    assert_eq!(node.sent(WAN)[0][22], 63);
    // So does one that comes to nothing, whose sender is told.
    node.receive(LAN, &udp4("10.0.2.78", 64, b"waits in vain"));
    way(&node);
    node.neighbour(WAN_IF, "10.0.2.78", NeighbourState::Failed);
    node.publish();
    assert_eq!(way(&node), ["output - lan", "postrouting - lan", "egress - lan"]);
    assert_eq!(node.drops(LAN, DropReason::NeighbourFailed), 1);
    // The sender sees its packet as Linux quotes it: one hop older.
    assert_eq!(node.sent(LAN)[0][14 + 28 + 8], 63);
    node.end();
}

#[test]
fn a_packet_is_cut_after_its_hooks_and_each_part_leaves_by_the_device() {
    let mut node = Node::new();
    node.run(&mut traced());
    node.receive(LAN, &udp4("10.0.2.2", 64, &[7; 3000]));
    let way = way(&node);
    assert_eq!(way.iter().filter(|step| *step == "forward lan wan").count(), 1);
    assert_eq!(way.iter().filter(|step| *step == "egress - wan").count(), 3);
    assert_eq!(node.sent(WAN).len(), 3);
    node.end();
}

#[test]
fn marks_travel_and_the_hop_is_taken_before_forward() {
    let mut node = Node::new();
    let mut ruleset = Ruleset::new();
    ruleset.base(Family::Inet, "pre", (FILTER, 0), ACCEPT, &[]);
    ruleset.rule(Family::Inet, "pre", &set(MARK, 0x77));
    ruleset.base(Family::Inet, "fwd", (FILTER, 2), ACCEPT, &[]);
    ruleset.rule(Family::Inet, "fwd", &[load(NETWORK, 8, 1), is(&[9]), verdict(DROP)]);
    ruleset.base(Family::Netdev, "out", (FILTER, 1), ACCEPT, &["wan"]);
    let marked = [meta(MARK), is(&0x77u32.to_ne_bytes()), verdict(DROP)];
    node.run(ruleset.rule(Family::Netdev, "out", &marked));
    node.receive(LAN, &udp4("10.0.2.2", 10, b""));
    assert_eq!(node.drops(LAN, DropReason::RuleForward), 1);
    node.receive(LAN, &udp4("10.0.2.2", 11, b""));
    assert_eq!(node.drops(WAN, DropReason::RuleEgress), 1);
    node.end();
}

#[test]
fn what_prerouting_changed_is_routed_as_it_is_now() {
    let mut node = Node::new();
    let mut ruleset = Ruleset::new();
    ruleset.base(Family::Ipv4, "pre", (FILTER, 0), ACCEPT, &[]);
    let to = |old: [u8; 4], new: [u8; 4]| {
        [load(NETWORK, 16, 4), is(&old), value(1, &new), store(NETWORK, 16, 4, Some(10))]
    };
    ruleset.rule(Family::Ipv4, "pre", &to([10, 0, 3, 9], [10, 0, 2, 2]));
    node.run(ruleset.rule(Family::Ipv4, "pre", &to([192, 0, 2, 1], [10, 0, 1, 1])));
    node.receive(LAN, &udp4("10.0.3.9", 64, b"elsewhere"));
    let out = node.sent(WAN);
    assert_eq!(out.len(), 1, "{:?}", node.all_drops());
    assert_eq!((out[0][30..34].to_vec(), &out[0][..6]), (vec![10, 0, 2, 2], &SERVER_MAC[..]));
    let mut fixed = out[0].clone();
    fix_checksum(&mut fixed);
    fix_transport(&mut fixed);
    assert_eq!(out[0], fixed, "both checksums are right");
    node.receive(LAN, &udp4("192.0.2.1", 64, b"for us, now"));
    assert_eq!(node.punted().len(), 1);
    node.end();
}

#[test]
fn whom_a_frame_is_for_is_what_a_rule_says() {
    let mut node = Node::new();
    let mut ruleset = Ruleset::new();
    ruleset.base(Family::Netdev, "in", (FILTER, 0), ACCEPT, &["lan"]);
    let mut for_us = vec![load(LINK, 0, 6), is(&[2, 0, 0, 0, 0, 99])];
    for_us.extend(set(PKTTYPE, 0));
    ruleset.rule(Family::Netdev, "in", &for_us);
    let mut not_for_us = vec![load(NETWORK, 16, 4), is(&[10, 0, 2, 3])];
    not_for_us.extend(set(PKTTYPE, 3));
    node.run(ruleset.rule(Family::Netdev, "in", &not_for_us));
    let mut other = udp4("10.0.2.2", 64, b"");
    other[5] = 99;
    node.receive(LAN, &other);
    assert_eq!(node.sent(WAN).len(), 1, "{:?}", node.all_drops());
    node.receive(LAN, &udp4("10.0.2.3", 64, b""));
    assert_eq!(node.drops(LAN, DropReason::NotOurMac), 1);
    other[5] = 98;
    node.receive(LAN, &other);
    assert_eq!(node.drops(LAN, DropReason::NotOurMac), 2);
    node.end();
}

#[test]
fn a_route_chain_sends_what_the_kernel_sends_another_way() {
    let mut node = Node::new();
    node.neighbour(LAN_IF, "10.0.1.2", NeighbourState::Reachable(HOST_MAC));
    node.publish();
    let mut ruleset = Ruleset::new();
    ruleset.base(Family::Ipv4, "out", ("route", 3), ACCEPT, &[]);
    let elsewhere = [value(1, &[10, 0, 1, 2]), store(NETWORK, 16, 4, Some(10))];
    node.run(ruleset.rule(Family::Ipv4, "out", &elsewhere));
    from_twin(&mut node, WAN, &from_kernel());
    assert!(node.sent(WAN).is_empty());
    let out = node.sent(LAN);
    assert_eq!(out.len(), 1, "{:?}", node.all_drops());
    assert_eq!((&out[0][..6], out[0][22]), (&HOST_MAC[..], 64));
    node.end();
}

#[test]
fn queues_without_listeners_drop_or_let_pass() {
    let mut node = Node::new();
    let mut ruleset = Ruleset::new();
    ruleset.base(Family::Ipv4, "fwd", (FILTER, 2), ACCEPT, &[]);
    ruleset.rule(Family::Ipv4, "fwd", &[load(NETWORK, 8, 1), is(&[8]), queue(0)]);
    node.run(ruleset.rule(Family::Ipv4, "fwd", &[queue(1)]));
    node.receive(LAN, &udp4("10.0.2.2", 9, b""));
    assert_eq!(node.drops(LAN, DropReason::QueueNobody), 1);
    node.receive(LAN, &udp4("10.0.2.2", 10, b""));
    assert_eq!(node.sent(WAN).len(), 1, "{:?}", node.all_drops());
    // To go past a queue is not to go past the next base chain.
    node.run(ruleset.base(Family::Ipv4, "fwd2", (FILTER, 2), DROP, &[]));
    node.receive(LAN, &udp4("10.0.2.2", 10, b""));
    assert_eq!(node.drops(LAN, DropReason::RuleForward), 1);
    node.end();
}

#[test]
fn logs_are_notes_and_a_flood_is_counted() {
    let mut node = Node::new();
    let mut ruleset = Ruleset::new();
    ruleset.base(Family::Ipv4, "fwd", (FILTER, 2), ACCEPT, &[]);
    node.run(ruleset.rule(Family::Ipv4, "fwd", &[log("through: ")]));
    node.receive(LAN, &udp4("10.0.2.2", 64, b"x"));
    let Some(Note::Log(note)) = node.handle.notes.try_iter().next() else { panic!("no note") };
    assert_eq!((note.prefix.as_str(), note.sight.hook), ("through: ", Hook::Forward));
    assert_eq!((note.sight.len, note.sight.network.len()), (29, 20));
    assert_eq!(note.sight.iif.unwrap().index, LAN_IF.0);
    for _ in 0..200 {
        node.receive(LAN, &udp4("10.0.2.2", 64, b"flood"));
    }
    let told = node.handle.notes.try_iter().count() as u64;
    let suppressed = node.handle.stats.logs_suppressed.get();
    assert_eq!((told + suppressed, suppressed >= 150), (200, true));
    node.end();
}

#[test]
fn the_steps_of_a_traced_packet_are_linux_steps() {
    let mut node = Node::new();
    let mut ruleset = Ruleset::new();
    ruleset.base(Family::Inet, "pre", (FILTER, 0), ACCEPT, &[]);
    ruleset.rule(Family::Inet, "pre", &set(NFTRACE, 1));
    ruleset.base(Family::Inet, "fwd", (FILTER, 2), DROP, &[]);
    node.run(ruleset.rule(Family::Inet, "fwd", &[load(NETWORK, 9, 1), is(&[6]), verdict(ACCEPT)]));
    node.receive(LAN, &udp4("10.0.2.2", 64, b"x"));
    let steps: Vec<_> = node
        .handle
        .notes
        .try_iter()
        .map(|note| match note {
            Note::Trace(note) => {
                let kind = match note.kind {
                    TraceKind::Policy(_) => "policy",
                    TraceKind::Return(_) => "return",
                    TraceKind::Rule(..) => "rule",
                };
                (note.chain.to_string(), kind, note.rule.is_some(), note.sight.is_some())
            }
            Note::Log(_) => panic!("a log"),
        })
        .collect();
    let step = |chain: &str, kind, rule, sight| (chain.to_owned(), kind, rule, sight);
    assert_eq!(
        steps,
        [
            step("pre", "rule", true, true),
            step("pre", "return", false, false),
            step("pre", "policy", false, false),
            step("fwd", "return", false, true),
            step("fwd", "policy", false, false),
        ]
    );
    node.end();
}

#[test]
fn another_program_takes_over_between_bursts_and_the_old_one_goes_up() {
    use dataplane::control::{Arrivals, FromWorker, ToWorker};
    let mut node = Node::new();
    let mut ruleset = Ruleset::new();
    node.run(ruleset.base(Family::Ipv4, "fwd", (FILTER, 2), DROP, &[]));
    node.receive(LAN, &udp4("10.0.2.2", 64, b""));
    assert_eq!(node.drops(LAN, DropReason::RuleForward), 1);
    let old = ruleset.flush().commit();
    let retired = |node: &Node| {
        node.handle
            .up
            .try_iter()
            .filter(|m| matches!(m, FromWorker::RetiredProgram(Some(_), _)))
            .count()
    };
    retired(&node);
    let (arrivals, each) = Arrivals::new(1);
    for arrival in each {
        node.handle.control.send(ToWorker::Program(old.clone(), arrival)).unwrap();
    }
    assert!(!arrivals.wait(std::time::Duration::from_millis(1)), "nobody has taken it up");
    node.receive(LAN, &udp4("10.0.2.2", 64, b""));
    assert!(arrivals.wait(std::time::Duration::ZERO));
    assert_eq!((node.sent(WAN).len(), retired(&node)), (1, 1));
    // A worker that is gone keeps nobody waiting, nor does its queue.
    let (arrivals, mut each) = Arrivals::new(2);
    let [first, second] = [each.next().unwrap(), each.next().unwrap()];
    node.handle.control.send(ToWorker::Program(old, first)).unwrap();
    let control = node.handle.control.clone();
    node.end();
    assert!(control.send(ToWorker::Program(Default::default(), second)).is_err());
    assert!(arrivals.wait(std::time::Duration::ZERO));
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

#[test]
fn copies_and_detours() {
    // fwd: out of a device as it is, or to a station, with a hop less.
    let to_dmz = value(1, &DMZ_IF.0.to_ne_bytes());
    let mut node = Node::new();
    let mut ruleset = Ruleset::new();
    ruleset.base(Family::Netdev, "in", (FILTER, 0), ACCEPT, &["lan"]);
    node.run(ruleset.rule(
        Family::Netdev,
        "in",
        &[to_dmz.clone(), expr("fwd", |out| out.u32(1, 1))],
    ));
    let sent = udp4("10.0.2.2", 64, b"detour");
    node.receive(LAN, &sent);
    assert_eq!((node.sent(DMZ), node.sent(WAN).len()), (vec![sent.clone()], 0));
    // To where nothing is.
    ruleset.flush();
    ruleset.base(Family::Netdev, "in", (FILTER, 0), ACCEPT, &["lan"]);
    let nowhere = [value(1, &99u32.to_ne_bytes()), expr("fwd", |out| out.u32(1, 1))];
    node.run(ruleset.rule(Family::Netdev, "in", &nowhere));
    node.receive(LAN, &sent);
    assert_eq!(node.drops(LAN, DropReason::RuleNowhere), 1);
    // Round and round ends.
    ruleset.flush();
    ruleset.base(Family::Netdev, "out", (FILTER, 1), ACCEPT, &["wan"]);
    let again = [value(1, &WAN_IF.0.to_ne_bytes()), expr("fwd", |out| out.u32(1, 1))];
    node.run(ruleset.rule(Family::Netdev, "out", &again));
    node.receive(LAN, &sent);
    assert_eq!(node.drops(WAN, DropReason::RuleNowhere), 1, "{:?}", node.all_drops());

    // dup: a copy by address, which passes output, and the packet itself.
    ruleset.flush();
    ruleset.base(Family::Ipv4, "pre", (FILTER, 0), ACCEPT, &[]);
    let copy = [value(1, &[10, 0, 2, 254]), expr("dup", |out| out.u32(1, 1))];
    node.run(ruleset.rule(Family::Ipv4, "pre", &copy));
    node.receive(LAN, &sent);
    let out = node.sent(WAN);
    assert_eq!(out.len(), 2, "{:?}", node.all_drops());
    assert_eq!((&out[0][..6], &out[1][..6]), (&GATEWAY_MAC[..], &SERVER_MAC[..]));
    assert_eq!((out[0][22], out[0][20], out[1][22], out[1][20]), (63, 0x40, 63, 0));
    let mut fixed = out[0].clone();
    fix_checksum(&mut fixed);
    assert_eq!(out[0], fixed);
    // By device, of whatever is there.
    ruleset.flush();
    ruleset.base(Family::Netdev, "in", (FILTER, 0), ACCEPT, &["lan"]);
    node.run(ruleset.rule(Family::Netdev, "in", &[to_dmz, expr("dup", |out| out.u32(2, 1))]));
    node.receive(LAN, &arp([10, 0, 1, 1]));
    assert_eq!((node.sent(DMZ), node.punted().len()), (vec![arp([10, 0, 1, 1])], 1));
    node.end();
}

#[test]
fn rules_ask_the_routes() {
    let mut node = Node::new();
    node.rib.apply(Change::Route(route("192.0.2.0/24", RouteKind::Blackhole, &[])));
    node.publish();
    let mut ruleset = Ruleset::new();
    ruleset.base(Family::Ipv4, "pre", (FILTER, 0), ACCEPT, &[]);
    // `fib daddr type KIND` and `fib saddr . iif oif missing`.
    let kind = |kind: u32| {
        let fib = expr("fib", |out| {
            out.u32(1, 1);
            out.u32(2, 3);
            out.u32(3, 2);
        });
        [fib, is(&kind.to_ne_bytes()), verdict(DROP)]
    };
    let spoofed = expr("fib", |out| {
        out.u32(1, 1);
        out.u32(2, 1);
        out.u32(3, 1 | 8);
    });
    ruleset.rule(Family::Ipv4, "pre", &kind(2));
    ruleset.rule(Family::Ipv4, "pre", &kind(5));
    ruleset.rule(Family::Ipv4, "pre", &kind(6));
    node.run(ruleset.rule(Family::Ipv4, "pre", &[spoofed, is(&[0; 4]), verdict(DROP)]));
    let mut forged = udp4("10.0.2.2", 64, b"");
    forged[26..30].copy_from_slice(&[10, 0, 3, 7]);
    fix_checksum(&mut forged);
    for (frame, dropped) in [
        (udp4("10.0.2.1", 64, b""), true),
        (udp4("224.0.0.9", 64, b""), true),
        // Linux asks the local table alone: a route that refuses is a stranger's address.
        (udp4("192.0.2.9", 64, b""), false),
        (forged, true),
        (udp4("10.0.2.2", 64, b""), false),
    ] {
        let before = node.drops(LAN, DropReason::RulePrerouting);
        node.receive(LAN, &frame);
        let now = node.drops(LAN, DropReason::RulePrerouting) - before;
        assert_eq!(now == 1, dropped, "{:?}", &frame[26..34]);
    }
    node.end();
}

#[test]
fn rules_of_a_pair_see_what_a_router_would_not_take() {
    let mut node = pair();
    let mut ruleset = Ruleset::new();
    ruleset.base(Family::Bridge, "fwd", (FILTER, 2), ACCEPT, &[]);
    let from = |addr: &[u8]| [load(NETWORK, 12, 4), is(addr), verdict(DROP)];
    ruleset.rule(Family::Bridge, "fwd", &from(&[127, 0, 0, 1]));
    let port = [load(TRANSPORT, 2, 2), is(&53u16.to_be_bytes()), verdict(DROP)];
    node.run(ruleset.rule(Family::Bridge, "fwd", &port));
    let mut spoofed = udp4("10.0.2.2", 64, b"");
    spoofed[26..30].copy_from_slice(&[127, 0, 0, 1]);
    let mut wrong_sum = udp4("10.0.2.2", 64, b"");
    wrong_sum[24] ^= 1;
    let mut looped = udp6("2001:db8::1", 64, b"");
    looped[22..38].fill(0);
    for frame in [spoofed, wrong_sum, looped] {
        node.receive(LAN, &frame);
    }
    assert_eq!(node.drops(LAN, DropReason::RuleBridge), 3);
    let mut short = udp4("10.0.2.2", 64, b"");
    short[17] = 200;
    node.receive(LAN, &short);
    assert_eq!(node.sent(WAN).len(), 1, "no IP packet, then");
    node.end();
}
