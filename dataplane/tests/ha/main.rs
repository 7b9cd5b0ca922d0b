//! What the workers of two nodes do in a cluster: who forwards what, and connections that go on at the other.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

#[path = "../common/mod.rs"]
mod common;
mod watching;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::rules::*;
use common::*;
use conntrack::shard::Seen;
use conntrack::{Direction, Slot};
use dataplane::control::{FlowJob, ToWorker};
use dataplane::ha::{Clock, ClusterLink, Defer, Exempt, Share};
use etherparse::PacketBuilder;
use packet::{DropReason, PortIndex, Tick};
use ruleset::family::Family;
use sync::hands::{Inbound, Outbound};
use sync::ids::{Group, Lane, NodeId, Term};
use sync::records::Role;
use sync::standing::Standing;
use sync::worker::{self, Heard, NodeEnds, WorkerConfig};

const SERVER: [u8; 4] = [192, 0, 2, 9];
const ADDRESS: [u8; 4] = [10, 0, 2, 1];
const FORWARD: u32 = 2;
const POSTROUTING: u32 = 4;
const SYN: u8 = 2;
const ACK: u8 = 16;
const LABEL: u8 = 100;
const LEASE: Duration = Duration::from_millis(80);

/// What a worker says, and how much of it was there at each look.
type Looks = (Heard, Vec<usize>);

/// A clock that a test sets. A worker looks at it before it sends.
#[derive(Clone)]
struct Watch {
    at: Arc<AtomicU64>,
    /// Where a test wants to know.
    said: Arc<Mutex<Option<Looks>>>,
    /// What begins a switchover at the next look, so within a turn.
    holds: Arc<Mutex<Option<Arc<Standing>>>>,
}

impl Clock for Watch {
    fn now(&self) -> Tick {
        if let Some((heard, looks)) = &mut *self.said.lock().unwrap() {
            let before = looks.last().copied().unwrap_or(0);
            looks.push(before + std::iter::from_fn(|| heard.next().map(drop)).count());
        }
        if let Some(standing) = self.holds.lock().unwrap().take() {
            standing.set(Role::Held, Term(1), None);
        }
        Tick(self.at.load(Ordering::Relaxed))
    }
}

/// One node of a pair, with what its sync thread would hold.
struct Member {
    node: Node,
    ends: NodeEnds,
    standing: Arc<Standing>,
    watch: Watch,
    id: NodeId,
}

impl Member {
    fn new(id: u8, defer: Option<Defer>) -> Self {
        let id = NodeId::new(id).unwrap();
        let standing = Arc::new(Standing::new(Role::Standby));
        let config = WorkerConfig::new(id, Lane::new(0).unwrap(), Group(0));
        let (replica, ends) = worker::link(config, standing.clone());
        let watch = Watch {
            at: Arc::new(AtomicU64::new(1_000_000_000)),
            said: Arc::default(),
            holds: Arc::default(),
        };
        let link = ClusterLink {
            replica,
            clock: Box::new(watch.clone()),
            bell: Arc::new(Wakes::default()),
            share: Share::new(id.get(), 2),
            exempt: vec![Exempt { family: 4, addr: first(SERVER), port: 7701 }],
            defer,
        };
        let mut node = Node::in_cluster(&[UP; 3], Some(link));
        know(&mut node.rib);
        node.publish();
        let mut member = Self { node, ends, standing, watch, id };
        member.masquerade(ACCEPT);
        member
    }

    /// Masquerades what leaves, forwards established connections, and new ones as `policy` says.
    fn masquerade(&mut self, policy: i32) {
        let mut rules = Ruleset::new();
        rules.base(Family::Inet, "post", ("nat", POSTROUTING), ACCEPT, &[]);
        rules.rule(Family::Inet, "post", &[expr("masq", |_| {})]);
        rules.base(Family::Inet, "forward", ("filter", FORWARD), policy, &[]);
        let state = expr("ct", |out| {
            out.u32(1, 1);
            out.u32(2, 0);
        });
        let established = expr("bitwise", |out| {
            out.u32(1, 1);
            out.u32(2, 1);
            out.u32(3, 4);
            out.nest(4, |out| out.put(1, &2u32.to_ne_bytes()));
            out.nest(5, |out| out.put(1, &[0; 4]));
        });
        let is_any = expr("cmp", |out| {
            out.u32(1, 1);
            out.u32(2, 1);
            out.nest(3, |out| out.put(1, &[0; 4]));
        });
        rules.rule(Family::Inet, "forward", &[state, established, is_any, verdict(ACCEPT)]);
        self.node.run(&mut rules);
    }

    fn stand(&mut self, role: Role, handed: bool) {
        if handed {
            self.standing.hand_over();
        }
        self.standing.set(role, Term(1), Some(self.id));
        self.renew();
    }

    fn renew(&mut self) {
        self.standing.renew(Tick(self.node.now.0 + LEASE.as_nanos() as u64));
    }

    fn after(&mut self, time: Duration) {
        self.node.after(time);
        self.watch.at.store(self.node.now.0, Ordering::Relaxed);
    }

    fn receive(&mut self, port: PortIndex, frame: &[u8]) {
        self.node.receive(port, frame);
    }

    /// What the worker has exported.
    fn exports(&mut self) -> Vec<Vec<u8>> {
        self.node.turn();
        let mut all = Vec::new();
        for ring in [&mut self.ends.urgent, &mut self.ends.lazy] {
            while let Some(message) = ring.next() {
                if let Outbound::Record { bytes, .. } = message {
                    all.push(bytes.to_vec());
                }
            }
        }
        all
    }

    /// Applies what another node exported.
    fn apply(&mut self, records: &[Vec<u8>]) {
        for bytes in records {
            let message = Inbound::Apply { stamp: 1, order: 0, acknowledge: false, bytes };
            self.ends.inbound.tell(&message).unwrap();
        }
        self.node.turn();
    }

    /// What a bystander sees of its flows.
    fn seen(&mut self) -> Seen {
        let (tell, told) = std::sync::mpsc::channel();
        let job = FlowJob(Box::new(move |shard, now| {
            let mut seen = Seen::default();
            shard.seen(Slot(0), 1 << 16, now, &|_| false, &mut seen);
            tell.send(seen).unwrap();
        }));
        self.node.handle.control.send(ToWorker::Flows(job)).unwrap();
        self.node.turn();
        told.try_recv().unwrap()
    }

    fn flows(&mut self) -> Vec<[packet::FlowKey; 2]> {
        let (tell, told) = std::sync::mpsc::channel();
        let job = FlowJob(Box::new(move |shard, _| {
            let mut all = vec![];
            shard.walk(Slot(0), 1 << 16, &mut |_, flow| {
                all.push([*flow.key(Direction::Original), *flow.key(Direction::Reply)]);
            });
            tell.send(all).unwrap();
        }));
        self.node.handle.control.send(ToWorker::Flows(job)).unwrap();
        self.node.turn();
        told.try_recv().unwrap()
    }
}

fn first(addr: [u8; 4]) -> [u8; 16] {
    let mut all = [0; 16];
    all[..4].copy_from_slice(&addr);
    all
}

/// A segment from the LAN's host to the server.
fn out(flags: u8, seq: u32, ack: u32) -> Vec<u8> {
    segment((HOST_MAC, LAN_MAC), ([10, 0, 1, 2], 4000), (SERVER, 80), flags, seq, ack)
}

/// The server's, to what it saw.
fn back(port: u16, flags: u8, seq: u32, ack: u32) -> Vec<u8> {
    segment((GATEWAY_MAC, WAN_MAC), (SERVER, 80), (ADDRESS, port), flags, seq, ack)
}

fn segment(
    (from, to): ([u8; 6], [u8; 6]),
    (src, sport): ([u8; 4], u16),
    (dst, dport): ([u8; 4], u16),
    flags: u8,
    seq: u32,
    ack: u32,
) -> Vec<u8> {
    let tcp = PacketBuilder::ethernet2(from, to).ipv4(src, dst, 64).tcp(sport, dport, seq, 65_000);
    let tcp = if flags & SYN != 0 { tcp.syn() } else { tcp };
    let tcp = if flags & ACK != 0 { tcp.ack(ack) } else { tcp };
    let mut bytes = Vec::new();
    tcp.write(&mut bytes, b"").unwrap();
    bytes
}

fn source_port(frame: &[u8]) -> u16 {
    u16::from_be_bytes([frame[34], frame[35]])
}

/// Opens a connection through a node; the port that it has outside.
fn open(member: &mut Member) -> u16 {
    member.receive(LAN, &out(SYN, 1000, 0));
    let sent = member.node.sent(WAN).pop().expect("the SYN left");
    let port = source_port(&sent);
    member.receive(WAN, &back(port, SYN | ACK, 5000, 1001));
    assert_eq!(member.node.sent(LAN).len(), 1);
    member.receive(LAN, &out(ACK, 1001, 5001));
    assert_eq!(member.node.sent(WAN).len(), 1);
    port
}

fn pair() -> (Member, Member) {
    let (mut active, mut standby) = (Member::new(1, None), Member::new(2, None));
    active.stand(Role::Active, false);
    standby.stand(Role::Standby, false);
    active.node.turn();
    standby.node.turn();
    (active, standby)
}

#[test]
fn a_standby_serves_itself_and_forwards_nothing() {
    let (mut active, mut standby) = pair();
    standby.receive(LAN, &out(SYN, 1, 0));
    standby.receive(LAN, &udp4("192.0.2.9", 64, b""));
    assert_eq!((standby.node.sent(WAN), standby.node.punted()), (vec![], vec![]));
    assert_eq!(standby.node.drops(LAN, DropReason::Standby), 2);
    // To its own address, as ssh or keepalived's peer would.
    standby.receive(LAN, &udp4("10.0.1.1", 64, b""));
    assert_eq!(standby.node.punted().len(), 1);
    assert_eq!(standby.node.drops(LAN, DropReason::Standby), 2);
    // An answer that is another host's although it is addressed to this node.
    let port = open(&mut active);
    standby.apply(&active.exports());
    standby.receive(WAN, &back(port, ACK, 5001, 1001));
    assert_eq!((standby.node.sent(LAN), standby.node.punted()), (vec![], vec![]));
    assert_eq!(standby.node.drops(WAN, DropReason::Standby), 1);
    active.node.end();
    standby.node.end();
}

#[test]
fn connections_go_on_at_the_other_node() {
    let (mut active, mut standby) = pair();
    let port = open(&mut active);
    standby.apply(&active.exports());
    assert_eq!(standby.flows(), active.flows());
    // The first one dies. No record of what was imported leaves the second before that, all of it may afterwards.
    assert!(standby.exports().is_empty());
    standby.stand(Role::Active, false);
    standby.node.turn();
    standby.receive(LAN, &out(ACK, 1001, 5001));
    let sent = standby.node.sent(WAN).pop().expect("it goes on");
    assert_eq!(source_port(&sent), port, "with the same translation");
    standby.receive(WAN, &back(port, ACK, 5001, 1001));
    assert_eq!(standby.node.sent(LAN).len(), 1);
    active.node.end();
    standby.node.end();
}

/// I14.
#[test]
fn rules_of_the_new_owner_speak_first() {
    let (mut active, mut standby) = pair();
    let port = open(&mut active);
    standby.apply(&active.exports());
    let mut closed = Ruleset::new();
    closed.base(Family::Inet, "post", ("nat", POSTROUTING), ACCEPT, &[]);
    closed.rule(Family::Inet, "post", &[expr("masq", |_| {})]);
    closed.base(Family::Inet, "forward", ("filter", FORWARD), DROP, &[]);
    standby.node.run(&mut closed);
    standby.stand(Role::Active, false);
    standby.node.turn();
    standby.receive(WAN, &back(port, ACK, 5001, 1001));
    assert_eq!(standby.node.sent(LAN), Vec::<Vec<u8>>::new());
    assert_eq!(standby.node.all_drops(), vec![(1, "rule_forward", 1)]);
    active.node.end();
    standby.node.end();
}

/// I15.
#[test]
fn what_came_before_a_takeover_is_discarded() {
    let (mut active, mut standby) = pair();
    open(&mut active);
    standby.apply(&active.exports());
    for _ in 0..100 {
        let frame = standby.node.pool.frame(&out(ACK, 1001, 5001)).unwrap();
        standby.node.worker.io().push_rx(LAN, frame);
    }
    standby.stand(Role::Active, false);
    standby.node.turn();
    assert_eq!(standby.node.sent(WAN), Vec::<Vec<u8>>::new());
    assert_eq!(standby.node.drops(LAN, DropReason::Standby), 100);
    // But not where the old owner has handed over: it passes packets on already.
    standby.stand(Role::Standby, false);
    standby.node.turn();
    let frame = standby.node.pool.frame(&out(ACK, 1001, 5001)).unwrap();
    standby.node.worker.io().push_rx(LAN, frame);
    standby.stand(Role::Active, true);
    standby.node.turn();
    assert_eq!(standby.node.sent(WAN).len(), 1);
    active.node.end();
    standby.node.end();
}

#[test]
fn a_worker_that_stood_still_sends_nothing() {
    let (mut active, mut standby) = pair();
    open(&mut active);
    let frame = active.node.pool.frame(&out(ACK, 1001, 5001)).unwrap();
    active.node.worker.io().push_rx(LAN, frame);
    // The turn begins in time; the machine stands still in the middle of it.
    let late = active.node.now.0 + LEASE.as_nanos() as u64 + 1;
    active.watch.at.store(late, Ordering::Relaxed);
    active.node.turn();
    assert_eq!(active.node.sent(WAN), Vec::<Vec<u8>>::new());
    assert_eq!(active.node.drops(WAN, DropReason::LeaseOver), 1);
    active.after(LEASE * 2);
    active.renew();
    active.receive(LAN, &out(ACK, 1001, 5001));
    assert_eq!(active.node.sent(WAN).len(), 1);
    standby.node.turn();
    active.node.end();
    standby.node.end();
}

/// Else a node that dies while its worker stands still has forwarded packets of flows of which nobody knows.
#[test]
fn a_flow_is_said_before_its_packet_leaves() {
    let (mut active, standby) = pair();
    let config = WorkerConfig::new(active.id, Lane::new(0).unwrap(), Group(0));
    let (_, unused) = worker::link(config, active.standing.clone());
    let heard = std::mem::replace(&mut active.ends, unused).urgent;
    *active.watch.said.lock().unwrap() = Some((heard, vec![]));
    // More than a burst each, by two ports, all to one.
    for port in 0..80 {
        for (came, mac) in [(LAN, LAN_MAC), (DMZ, DMZ_MAC)] {
            let from = ([10, 0, 1, 2], 5000 + port + 1000 * came.0);
            let frame = segment((HOST_MAC, mac), from, (SERVER, 80), SYN, 1, 0);
            let frame = active.node.pool.frame(&frame).unwrap();
            active.node.worker.io().push_rx(came, frame);
        }
    }
    let mut sent = 0;
    while active.node.worker.io().rx_waiting(LAN) > 0 {
        active.node.turn();
        sent += active.node.sent(WAN).len();
    }
    assert_eq!(sent, 160);
    let (_, looks) = active.watch.said.lock().unwrap().take().unwrap();
    // Each look comes before at most a burst.
    for (n, said) in looks.iter().enumerate() {
        assert!(*said >= (32 * (n + 1)).min(160), "{looks:?}");
    }
    active.node.end();
    standby.node.end();
}

#[test]
fn a_planned_switchover_loses_nothing() {
    let (mut active, mut standby) = pair();
    let port = open(&mut active);
    active.stand(Role::Held, false);
    active.node.turn();
    let frame = active.node.pool.frame(&out(ACK, 1001, 5001)).unwrap();
    active.node.worker.io().push_rx(LAN, frame);
    active.node.turn();
    assert_eq!(active.node.all_drops(), vec![]);
    standby.apply(&active.exports());
    standby.stand(Role::Active, true);
    standby.node.turn();
    // What waited, and what still comes, goes to the new owner in the same link.
    let onward = vec![Some([2, 0, 0, 0, 9, 1]), Some([2, 0, 0, 0, 9, 2]), None];
    active.node.handle.control.send(ToWorker::PassOn(onward)).unwrap();
    active.stand(Role::Redirecting, false);
    active.node.turn();
    active.receive(WAN, &back(port, ACK, 5001, 1001));
    let (lan, wan) = (active.node.sent(LAN), active.node.sent(WAN));
    assert_eq!((lan.len(), wan.len()), (1, 1));
    assert_eq!(lan[0][..12], [2, 0, 0, 0, 9, 1, 2, 0, 0, 0, 0, 1]);
    assert_eq!(wan[0][..12], [2, 0, 0, 0, 9, 2, 2, 0, 0, 0, 0, 2]);
    assert_eq!(lan[0][12..], out(ACK, 1001, 5001)[12..], "and nothing else of it is changed");
    assert_eq!(active.node.handle.stats.passed_on.get(), 2);
    // The third port's address is not known there.
    active.receive(DMZ, &[&DMZ_MAC[..], &out(ACK, 1, 1)[6..]].concat());
    assert_eq!(active.node.drops(DMZ, DropReason::Standby), 1);
    active.node.end();
    standby.node.end();
}

/// A node is still the owner while it holds packets back: those that it had in hand at that moment leave.
#[test]
fn a_switchover_that_begins_within_a_turn_loses_nothing() {
    let (mut active, standby) = pair();
    open(&mut active);
    *active.watch.holds.lock().unwrap() = Some(active.standing.clone());
    active.receive(LAN, &out(ACK, 1001, 5001));
    assert_eq!(active.standing.role(), Role::Held);
    assert_eq!((active.node.sent(WAN).len(), active.node.all_drops()), (1, vec![]));
    active.node.end();
    standby.node.end();
}

/// Between a node's handing over and its hearing where the new owner's ports are, packets wait: the second time as well.
#[test]
fn a_second_switchover_waits_for_the_new_owners_addresses_too() {
    let (mut active, standby) = pair();
    open(&mut active);
    for last in [1, 2] {
        active.stand(Role::Held, false);
        active.node.turn();
        active.stand(Role::Redirecting, false);
        let frame = active.node.pool.frame(&out(ACK, 1001, 5001)).unwrap();
        active.node.worker.io().push_rx(LAN, frame);
        active.node.turn();
        assert_eq!((active.node.sent(LAN), active.node.all_drops()), (vec![], vec![]));
        let onward = vec![Some([2, 0, 0, 0, 9, last]), None, None];
        active.node.handle.control.send(ToWorker::PassOn(onward)).unwrap();
        active.node.turn();
        let sent = active.node.sent(LAN);
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0][..6], [2, 0, 0, 0, 9, last]);
        // Then the new owner hands over to this node.
        active.stand(Role::Active, true);
        active.node.turn();
    }
    // But not for ever: this node's own traffic waits behind them.
    active.stand(Role::Redirecting, false);
    active.node.turn();
    active.after(Duration::from_millis(20));
    active.receive(LAN, &out(ACK, 1001, 5001));
    assert_eq!(active.node.drops(LAN, DropReason::Standby), 1);
    active.node.end();
    standby.node.end();
}

/// I16.
#[test]
fn what_nodes_say_to_each_other_is_not_tracked() {
    let (mut active, standby) = pair();
    for (port, flows) in [(7701, 0), (7702, 1)] {
        let builder = PacketBuilder::ethernet2(HOST_MAC, LAN_MAC)
            .ipv4([10, 0, 1, 2], SERVER, 64)
            .udp(7701, port);
        let mut frame = Vec::new();
        builder.write(&mut frame, b"").unwrap();
        active.receive(LAN, &frame);
        assert_eq!(active.node.sent(WAN).len(), 1);
        assert_eq!(active.flows().len(), flows);
    }
    active.node.end();
    standby.node.end();
}

/// Has the flows' first packets wait.
fn deferring(id: u8, strict: bool) -> Member {
    let mut member = Member::new(id, Some(Defer { label: LABEL, strict }));
    let mut rules = Ruleset::new();
    rules.base(Family::Inet, "label", ("filter", FORWARD), ACCEPT, &[]);
    let set = expr("ct", |out| {
        out.u32(2, 13);
        out.u32(4, 1);
    });
    let label = (1u128 << LABEL).to_le_bytes();
    rules.rule(Family::Inet, "label", &[value(1, &label), set]);
    member.node.run(&mut rules);
    member.stand(Role::Active, false);
    member.node.turn();
    member
}

/// I7, the worker's part.
#[test]
fn a_first_packet_waits_until_a_standby_has_its_flow() {
    let mut active = deferring(1, true);
    active.receive(LAN, &out(SYN, 1000, 0));
    active.receive(LAN, &out(SYN, 1000, 0));
    assert_eq!(active.node.sent(WAN), Vec::<Vec<u8>>::new());
    let records = active.exports();
    let id = sync::wire::flow_id(&records[0]).unwrap();
    active.ends.inbound.tell(&Inbound::Release { id }).unwrap();
    active.node.turn();
    assert_eq!(active.node.sent(WAN).len(), 2, "both leave");
    active.receive(LAN, &out(SYN, 1000, 0));
    assert_eq!(active.node.sent(WAN).len(), 1, "and no other waits");
    active.node.end();
}

/// The old owner let its packets go, and there may be nobody left to wait for.
#[test]
fn a_flow_that_another_node_had_does_not_wait() {
    let (mut active, mut heir) = (deferring(1, true), deferring(2, true));
    heir.stand(Role::Standby, false);
    heir.node.turn();
    active.receive(LAN, &out(SYN, 1000, 0));
    heir.apply(&active.exports());
    heir.stand(Role::Active, false);
    heir.node.turn();
    heir.receive(LAN, &out(SYN, 1000, 0));
    assert_eq!(heir.node.sent(WAN).len(), 1);
    active.node.end();
    heir.node.end();
}

#[test]
fn a_first_packet_waits_for_five_milliseconds() {
    for strict in [false, true] {
        let mut active = deferring(1, strict);
        active.receive(LAN, &out(SYN, 1000, 0));
        active.after(Duration::from_millis(4));
        active.node.turn();
        assert_eq!(active.node.sent(WAN), Vec::<Vec<u8>>::new());
        active.after(Duration::from_millis(1));
        active.renew();
        active.node.turn();
        assert_eq!(active.node.sent(WAN).len(), usize::from(!strict));
        assert_eq!(active.node.drops(LAN, DropReason::DeferTimeout), u64::from(strict));
        assert_eq!(active.node.handle.stats.defer_overdue.get(), 1);
        active.receive(LAN, &out(SYN, 1000, 0));
        assert_eq!(active.node.sent(WAN).len(), usize::from(!strict), "what is strict waits again");
        active.node.end();
    }
}

#[test]
fn few_first_packets_wait() {
    let mut active = deferring(1, true);
    for _ in 0..6 {
        active.receive(LAN, &out(SYN, 1000, 0));
    }
    assert_eq!(active.node.drops(LAN, DropReason::DeferFull), 2);
    active.node.end();
}
