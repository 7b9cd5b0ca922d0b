//! In which order a packet meets hooks, and by which interfaces.

use dataplane::notes::Note;
use dataplane::rib::NeighbourState;
use packet::DropReason;
use ruleset::family::Family;

use super::common::rules::*;
use super::common::*;
use super::{FILTER, arp, from_kernel, from_twin, pair};

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
