//! A node that only watches: what it tracks of what a mirror shows it, and that it sees what the owner has.

use dataplane::rib::{Change, IfIndex, NeighbourState, RouteKind};

use super::*;

/// A node that watches.
fn watching() -> Member {
    let mut passive = Member::new(3, None);
    passive.stand(Role::Passive, false);
    passive.node.turn();
    passive
}

/// The same frame as a mirror shows it: between other stations.
fn mirrored(mut frame: Vec<u8>) -> Vec<u8> {
    frame[..12].copy_from_slice(&[2, 0, 0, 0, 7, 7, 2, 0, 0, 0, 7, 8]);
    frame
}

#[test]
fn who_watches_tracks_and_sends_nothing() {
    let mut passive = watching();
    passive.receive(LAN, &mirrored(udp4("192.0.2.9", 64, b"")));
    assert_eq!(passive.flows().len(), 1);
    assert_eq!(passive.node.sent(WAN), Vec::<Vec<u8>>::new());
    assert_eq!(passive.node.drops(WAN, DropReason::Passive), 1);
    passive.node.end();
}

/// What it sees in front of the owner's NAT is one flow in both directions: it translates nothing itself, though its rules would.
#[test]
fn who_watches_translates_nothing() {
    let mut passive = watching();
    for _ in 0..3 {
        passive.receive(LAN, &mirrored(out(SYN, 1000, 0)));
        let (client, server) = (([10, 0, 1, 2], 4000), (SERVER, 80));
        let answer = segment((LAN_MAC, HOST_MAC), server, client, SYN | ACK, 5000, 1001);
        passive.receive(LAN, &mirrored(answer));
        passive.receive(LAN, &mirrored(out(ACK, 1001, 5001)));
    }
    let flows = passive.flows();
    let [[original, reply]] = flows[..] else { panic!("{flows:?}") };
    assert_eq!((original.src, original.dst), (first([10, 0, 1, 2]), first(SERVER)));
    assert_eq!((reply.src, reply.dst), (original.dst, original.src));
    assert_eq!((reply.sport, reply.dport), (original.dport, original.sport));
    assert_eq!((passive.node.sent(LAN), passive.node.sent(WAN)), (vec![], vec![]));
    passive.node.end();
}

/// It cannot ask for stations, and may lack routes: flows are tracked all the same, and nothing waits for what will not come.
#[test]
fn who_watches_needs_no_ways() {
    let mut passive = watching();
    let mut flows = 0;
    let mut sees = |passive: &mut Member, to: &str, what: &str| {
        passive.receive(LAN, &mirrored(udp4(to, 64, b"")));
        flows += 1;
        assert_eq!(passive.flows().len(), flows, "{what}");
    };
    sees(&mut passive, "10.0.1.77", "a station that is not known");
    passive.node.neighbour(WAN_IF, "10.0.2.254", NeighbourState::Failed);
    sees(&mut passive, "192.0.2.10", "a gateway that is not known");
    passive.node.rib.apply(Change::Iface(iface(IfIndex(1), "mgmt", None, [2, 0, 0, 0, 0, 9])));
    let default = route("0.0.0.0/0", RouteKind::Unicast, &[(IfIndex(1), None)]);
    let (table, metric) = (default.table, default.metric);
    passive.node.rib.apply(Change::Route(default));
    passive.node.publish();
    sees(&mut passive, "192.0.2.11", "a way that only the kernel has");
    assert_eq!(passive.node.punted(), vec![], "which does not get what is another's");
    let gone = Change::RouteGone { table, prefix: prefix("0.0.0.0/0"), metric };
    passive.node.rib.apply(gone);
    passive.node.publish();
    sees(&mut passive, "192.0.2.12", "no way at all");
    assert_eq!(passive.node.messages(), vec![], "nobody is asked for");
    // What the owner refuses is not forwarded, whoever looks.
    passive.receive(LAN, &mirrored(udp4("192.0.2.13", 1, b"")));
    assert_eq!(passive.flows().len(), flows);
    assert_eq!(passive.node.drops(LAN, DropReason::TtlExpired), 1);
    let refused =
        passive.node.drops(LAN, DropReason::Passive) + passive.node.drops(WAN, DropReason::Passive);
    assert_eq!(refused, flows as u64);
    assert_eq!((passive.node.sent(LAN), passive.node.sent(WAN)), (vec![], vec![]));
    passive.node.end();
}

/// The owner translates, who watches does not; both see the same.
#[test]
fn who_watches_sees_what_the_owner_sees() {
    let (mut active, _standby) = pair();
    let mut passive = watching();
    open(&mut active);
    for (from, frame) in [
        (([10, 0, 1, 2], 4000), out(SYN, 1000, 0)),
        (
            (SERVER, 80),
            segment(
                (LAN_MAC, HOST_MAC),
                (SERVER, 80),
                ([10, 0, 1, 2], 4000),
                SYN | ACK,
                5000,
                1001,
            ),
        ),
        (([10, 0, 1, 2], 4000), out(ACK, 1001, 5001)),
    ] {
        assert_ne!(passive.seen(), active.seen(), "before {from:?} has spoken");
        passive.receive(LAN, &mirrored(frame));
    }
    assert_ne!(passive.flows(), active.flows(), "one of them translates");
    assert_eq!(passive.seen(), active.seen());
    // What is the owner's own is not to be seen there.
    active.receive(LAN, &udp4("10.0.1.1", 64, b""));
    assert_eq!((active.flows().len(), passive.seen()), (2, active.seen()));
    active.receive(LAN, &udp4("192.0.2.9", 64, b""));
    assert_ne!(passive.seen(), active.seen());
    active.node.end();
    passive.node.end();
}
