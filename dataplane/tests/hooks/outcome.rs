//! What rules make of a packet: where it goes, what is told of it, what goes besides.

use dataplane::notes::Note;
use dataplane::rib::{Change, NeighbourState, RouteKind};
use packet::DropReason;
use ruleset::family::{Family, Hook};
use ruleset::trace::TraceKind;

use super::common::rules::*;
use super::common::*;
use super::{FILTER, arp, fix_transport, from_kernel, from_twin, pair};

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
