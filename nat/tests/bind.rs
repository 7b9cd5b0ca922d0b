//! Binding, as scripts: a line per flow, under the rule that it meets.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::collections::HashSet;

use common::*;
use conntrack::Direction::{Original, Reply};
use conntrack::proto::tcp::{State, Tcp};
use conntrack::{Shard, Slot, Status};
use nat::{Bound, Exhausted, Manip, Pick, Range, Sources, bind, is_done};
use packet::toeplitz::{Input, Inverse};
use packet::{FlowKey, SymmetricToeplitz, Tick};
use proptest::prelude::*;

/// Numbers that come in order, for whom the test says.
struct Worker {
    next: u32,
    sources: Sources,
    /// Of how many workers this is the first; with one, everything is its.
    workers: u32,
    toeplitz: SymmetricToeplitz,
    inverse: Inverse,
    /// Which of two nodes' blocks of 16 ports may be chosen; `None`: all.
    half: Option<u16>,
}

impl Worker {
    fn new(workers: u32) -> Self {
        let toeplitz = SymmetricToeplitz::new(0x6d5a);
        let inverse = toeplitz.inverse().unwrap();
        Self { next: 0, sources: Sources::new(), workers, toeplitz, inverse, half: None }
    }
}

impl Pick for Worker {
    fn random(&mut self) -> u32 {
        self.next = self.next.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.next >> 16
    }

    fn is_mine(&self, reply: &FlowKey) -> bool {
        (self.toeplitz.hash(reply, Input::Ports) % 128).is_multiple_of(self.workers)
    }

    fn is_ours(&self, port: u16) -> bool {
        self.half.is_none_or(|half| port / 16 % 2 == half)
    }

    fn nearest(&self, reply: &FlowKey, _: Manip, port: u16) -> u16 {
        let hash = self.toeplitz.hash(reply, Input::Ports);
        self.inverse.port(port, hash, hash - hash % 128 % self.workers)
    }

    fn now(&self) -> Option<Tick> {
        Some(NOW)
    }

    fn sources(&mut self) -> Option<&mut Sources> {
        Some(&mut self.sources)
    }
}

/// A flow through both places where NAT is decided: what its packets leave with.
fn flow(
    shard: &mut Shard,
    worker: &mut Worker,
    came: FlowKey,
    rules: &[(Manip, Range)],
) -> Result<(FlowKey, Bound), Exhausted> {
    let slot = shard.create(came, inverse(&came), NOW).unwrap();
    let mut bound = Bound { alien: false };
    for (manip, bit) in [(Manip::Destination, Status::DST_NAT), (Manip::Source, Status::SRC_NAT)] {
        let rule = rules.iter().find(|rule| rule.0 == manip).map(|rule| rule.1);
        let before = *shard.flow(slot).unwrap().key(Reply);
        match bind(shard, slot, manip, &rule.unwrap_or_default(), worker) {
            Ok(now) => bound = now,
            Err(exhausted) => {
                shard.discard(slot);
                return Err(exhausted);
            }
        }
        let flow = shard.flow(slot).unwrap();
        let (now, status) = (*flow.key(Reply), flow.status());
        assert!(is_done(flow, manip));
        assert_eq!(status.has(bit), now != before);
        // A second time nothing changes.
        assert_eq!(bind(shard, slot, manip, &rules[0].1, worker), Ok(Bound { alien: false }));
        let flow = shard.flow(slot).unwrap();
        assert_eq!((*flow.key(Reply), flow.status()), (now, status));
    }
    let flow = shard.flow(slot).unwrap();
    let left = inverse(flow.key(Reply));
    assert_eq!(flow.key(Original), &came);
    shard.confirm(slot, NOW).unwrap();
    Ok((left, bound))
}

/// Runs a script. A line is a rule (it ends in `:`), or a flow as it comes and, behind `=`, as it leaves; a port `?` is any.
#[track_caller]
fn script(text: &str) {
    let mut shard = shard();
    let mut worker = Worker::new(1);
    let mut rules = rule("dnat");
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(text) = line.strip_suffix(':') {
            rules = rule(text);
            continue;
        }
        let (came, left) = line.split_once(" = ").unwrap();
        let result = flow(&mut shard, &mut worker, key(came), &rules);
        if left == "exhausted" {
            assert_eq!(result, Err(Exhausted), "{line}");
            continue;
        }
        let (now, _) = result.unwrap_or_else(|_| panic!("exhausted: {line}"));
        let mut expected = key(&left.replace('?', "0"));
        let (src, dst) = left.split_once(" > ").unwrap();
        if src.ends_with('?') {
            expected.sport = now.sport;
        }
        if dst.ends_with('?') {
            expected.dport = now.dport;
        }
        assert_eq!(now, expected, "{line}");
    }
}

#[test]
fn source_to_one_address() {
    script(
        "
        snat 203.0.113.1:
        tcp 10.0.0.1:1000 > 192.0.2.1:80 = tcp 203.0.113.1:1000 > 192.0.2.1:80
        tcp 10.0.0.1:1000 > 192.0.2.2:80 = tcp 203.0.113.1:1000 > 192.0.2.2:80
        tcp 10.0.0.2:1001 > 192.0.2.1:80 = tcp 203.0.113.1:1001 > 192.0.2.1:80
        udp 10.0.0.2:1000 > 192.0.2.1:80 = udp 203.0.113.1:1000 > 192.0.2.1:80
        sctp 10.0.0.2:1000 > 192.0.2.1:80 = sctp 203.0.113.1:1000 > 192.0.2.1:80
        lite 10.0.0.2:1000 > 192.0.2.1:80 = lite 203.0.113.1:1000 > 192.0.2.1:80
        icmp 10.0.0.2:7 > 192.0.2.1:2048 = icmp 203.0.113.1:7 > 192.0.2.1:2048
        gre 10.0.0.2:0 > 192.0.2.1:0 = gre 203.0.113.1:0 > 192.0.2.1:0
        89 10.0.0.2:0 > 192.0.2.1:0 = 89 203.0.113.1:0 > 192.0.2.1:0
        89 10.0.0.3:0 > 192.0.2.1:0 = exhausted
        gre 10.0.0.3:0 > 192.0.2.1:0 = exhausted
        snat [fd00::1]:
        tcp [fd01::1]:1000 > [fd02::1]:80 = tcp [fd00::1]:1000 > [fd02::1]:80
        icmp [fd01::1]:7 > [fd02::1]:32768 = icmp [fd00::1]:7 > [fd02::1]:32768
        ",
    );
}

#[test]
fn a_taken_port_gives_way_in_its_class() {
    let mut shard = shard();
    let mut worker = Worker::new(1);
    let rules = rule("snat 203.0.113.1");
    for (port, low, high) in [(53, 1, 511), (511, 1, 511), (512, 600, 1023), (1024, 1024, 65535)] {
        let mut seen = HashSet::new();
        for host in 1..=200u8 {
            let came = key(&format!("udp 10.0.0.{host}:{port} > 192.0.2.1:53"));
            let (left, _) = flow(&mut shard, &mut worker, came, &rules).unwrap();
            let now = u16::from_be_bytes(left.sport);
            assert!(now == port || (low..=high).contains(&now), "{port} became {now}");
            assert!(seen.insert(now), "{now} twice");
        }
    }
}

#[test]
fn a_taken_identifier_gives_way() {
    let mut shard = shard();
    let mut worker = Worker::new(1);
    let rules = rule("snat 203.0.113.1");
    let mut seen = HashSet::new();
    for host in 1..=200 {
        let came = key(&format!("icmp 10.0.0.{host}:7 > 192.0.2.1:2048"));
        let (left, _) = flow(&mut shard, &mut worker, came, &rules).unwrap();
        assert!(seen.insert(left.sport));
    }
    assert!(seen.contains(&[0, 7]));
}

#[test]
fn source_ports() {
    script(
        "
        snat 203.0.113.1 :2000-2002:
        tcp 10.0.0.1:2001 > 192.0.2.1:80 = tcp 203.0.113.1:2001 > 192.0.2.1:80
        tcp 10.0.0.2:2001 > 192.0.2.1:80 = tcp 203.0.113.1:? > 192.0.2.1:80
        tcp 10.0.0.3:9999 > 192.0.2.1:80 = tcp 203.0.113.1:? > 192.0.2.1:80
        tcp 10.0.0.4:9999 > 192.0.2.1:80 = exhausted
        tcp 10.0.0.4:9999 > 192.0.2.2:80 = tcp 203.0.113.1:? > 192.0.2.2:80
        snat 203.0.113.2 :5000:
        udp 10.0.0.1:99 > 192.0.2.1:80 = udp 203.0.113.2:5000 > 192.0.2.1:80
        udp 10.0.0.1:98 > 192.0.2.1:80 = exhausted
        udp 10.0.0.1:5000 > 192.0.2.1:80 = exhausted
        icmp 10.0.0.1:1 > 192.0.2.1:2048 = icmp 203.0.113.2:5000 > 192.0.2.1:2048
        snat :6000:
        udp 10.0.0.8:99 > 192.0.2.1:80 = udp 10.0.0.8:6000 > 192.0.2.1:80
        89 10.0.0.1:0 > 192.0.2.1:0 = 89 10.0.0.1:0 > 192.0.2.1:0
        ",
    );
}

#[test]
fn destination() {
    script(
        "
        dnat 10.0.0.9 :8080:
        tcp 198.51.100.1:1000 > 192.0.2.1:80 = tcp 198.51.100.1:1000 > 10.0.0.9:8080
        udp 198.51.100.1:1000 > 192.0.2.1:80 = udp 198.51.100.1:1000 > 10.0.0.9:8080
        dnat 10.0.0.8:
        tcp 198.51.100.1:1001 > 192.0.2.1:80 = tcp 198.51.100.1:1001 > 10.0.0.8:80
        dnat 10.0.0.7 :7000-7002:
        tcp 198.51.100.2:1 > 192.0.2.1:80 = tcp 198.51.100.2:1 > 10.0.0.7:7000
        tcp 198.51.100.2:1 > 192.0.2.2:80 = tcp 198.51.100.2:1 > 10.0.0.7:7001
        tcp 198.51.100.2:1 > 192.0.2.3:80 = tcp 198.51.100.2:1 > 10.0.0.7:7002
        tcp 198.51.100.2:2 > 192.0.2.1:7002 = tcp 198.51.100.2:2 > 10.0.0.7:7002
        dnat 10.0.0.6 :7000-7999 base80:
        tcp 198.51.100.3:1 > 192.0.2.1:80 = tcp 198.51.100.3:1 > 10.0.0.6:7000
        tcp 198.51.100.3:1 > 192.0.2.1:81 = tcp 198.51.100.3:1 > 10.0.0.6:7001
        tcp 198.51.100.3:1 > 192.0.2.1:1079 = tcp 198.51.100.3:1 > 10.0.0.6:7999
        tcp 198.51.100.3:1 > 192.0.2.1:7500 = tcp 198.51.100.3:1 > 10.0.0.6:7420
        dnat 10.0.0.5:
        icmp 198.51.100.3:1 > 192.0.2.1:2048 = icmp 198.51.100.3:1 > 10.0.0.5:2048
        ",
    );
}

#[test]
fn two_that_would_look_alike() {
    // The destination cannot change its port; the source does, though no rule says so, in its class.
    script(
        "
        dnat 10.0.0.9 :8080:
        tcp 198.51.100.1:3000 > 192.0.2.1:80 = tcp 198.51.100.1:3000 > 10.0.0.9:8080
        tcp 198.51.100.1:3000 > 192.0.2.2:80 = tcp 198.51.100.1:? > 10.0.0.9:8080
        dnat:
        tcp 198.51.100.1:3000 > 10.0.0.9:8080 = tcp 198.51.100.1:? > 10.0.0.9:8080
        ",
    );
    // Of a query the identifier gives way already there, from the lowest on.
    script(
        "
        dnat 10.0.0.9:
        icmp 198.51.100.1:7 > 192.0.2.1:2048 = icmp 198.51.100.1:7 > 10.0.0.9:2048
        icmp 198.51.100.1:7 > 192.0.2.2:2048 = icmp 198.51.100.1:0 > 10.0.0.9:2048
        icmp 198.51.100.1:7 > 192.0.2.3:2048 = icmp 198.51.100.1:1 > 10.0.0.9:2048
        ",
    );
}

#[test]
fn hairpin() {
    script(
        "
        dnat 10.0.0.9 :8080 snat 10.0.0.254:
        tcp 10.0.0.1:1000 > 192.0.2.1:80 = tcp 10.0.0.254:1000 > 10.0.0.9:8080
        tcp 10.0.0.9:1000 > 192.0.2.1:80 = tcp 10.0.0.254:? > 10.0.0.9:8080
        ",
    );
}

#[test]
fn prefixes() {
    script(
        "
        snat 203.0.113.0-203.0.113.255 netmap:
        tcp 10.0.0.7:1000 > 192.0.2.1:80 = tcp 203.0.113.7:1000 > 192.0.2.1:80
        tcp 10.0.9.7:1000 > 192.0.2.1:80 = tcp 203.0.113.7:? > 192.0.2.1:80
        dnat 10.0.0.0-10.0.0.15 netmap:
        tcp 198.51.100.1:1000 > 192.0.2.37:80 = tcp 198.51.100.1:1000 > 10.0.0.5:80
        snat [fd00:1::]-[fd00:1::ffff:ffff:ffff:ffff] netmap:
        tcp [fd01::1:2:3]:1000 > [fd02::1]:80 = tcp [fd00:1::1:2:3]:1000 > [fd02::1]:80
        ",
    );
}

#[test]
fn the_same_socket_stays_the_same_to_its_peers() {
    let mut shard = shard();
    let mut worker = Worker::new(1);
    let rules = rule("snat 203.0.113.1-203.0.113.200 :1024-65535");
    let flows: HashSet<_> = (1..100)
        .map(|host| {
            let came = key(&format!("udp 10.0.0.1:500 > 192.0.2.{host}:500"));
            let (left, _) = flow(&mut shard, &mut worker, came, &rules).unwrap();
            (left.src, left.sport)
        })
        .collect();
    assert_eq!(flows.len(), 1);
    let other = key("udp 10.0.0.1:501 > 192.0.2.1:500");
    let (left, _) = flow(&mut shard, &mut worker, other, &rules).unwrap();
    assert!(!flows.contains(&(left.src, left.sport)));
    // Unless that is asked for.
    let rules = rule("snat 203.0.113.1 :1024-65535 random");
    let flows: HashSet<_> = (1..100)
        .map(|host| {
            let came = key(&format!("udp 10.0.0.2:500 > 192.0.2.{host}:500"));
            flow(&mut shard, &mut worker, came, &rules).unwrap().0.sport
        })
        .collect();
    assert!(flows.len() > 90);
}

#[test]
fn a_flow_that_is_gone_is_not_followed() {
    let mut shard = shard();
    let mut worker = Worker::new(1);
    let rules = rule("snat 203.0.113.1 :1024-65535");
    let came = key("udp 10.0.0.1:500 > 192.0.2.1:500");
    let (left, _) = flow(&mut shard, &mut worker, came, &rules).unwrap();
    let (slot, _) = shard.find(&came, shard.hash(&came)).unwrap();
    shard.kill(slot, NOW);
    let (again, _) = flow(&mut shard, &mut worker, came, &rules).unwrap();
    assert_ne!(left.sport, again.sport, "it chose anew");
}

#[test]
fn random_ports_are_not_kept() {
    for flag in ["random", "fully"] {
        let mut shard = shard();
        let mut worker = Worker::new(1);
        let rules = rule(&format!("snat 203.0.113.1 {flag}"));
        let kept = (1..=200)
            .filter(|host| {
                let came = key(&format!("udp 10.0.0.{host}:5000 > 192.0.2.1:53"));
                let (left, _) = flow(&mut shard, &mut worker, came, &rules).unwrap();
                assert!(u16::from_be_bytes(left.sport) >= 1024);
                left.sport == came.sport
            })
            .count();
        assert!(kept < 3);
    }
}

#[test]
fn exhaustion_is_bounded_and_found() {
    // 128 + 64 + 32 + 16 + 8 of 64,512 ports are looked at; all but a few are taken.
    let mut shard = shard();
    let mut worker = Worker::new(1);
    let rules = rule("snat 203.0.113.1 :1024-65535");
    let mut failed = 0;
    for n in 0..65_000u32 {
        let came = key(&format!("udp 10.0.{}.{}:99 > 192.0.2.1:53", n >> 8 & 255, n & 255));
        failed += u32::from(flow(&mut shard, &mut worker, came, &rules).is_err());
    }
    assert!((488..2000).contains(&failed), "{failed}");
}

/// A flow of this source to one server by one port, its SYN seen: whether it could be bound.
fn connect(shard: &mut Shard, worker: &mut Worker, host: u8, end: u32) -> Option<Slot> {
    let came = key(&format!("tcp 10.0.0.{host}:1000 > 192.0.2.1:80"));
    let slot = shard.create(came, inverse(&came), NOW).unwrap();
    set(shard, slot, State::SynSent, end);
    let bound = bind(shard, slot, Manip::Source, &rule("snat 203.0.113.1 :5000")[0].1, worker);
    if bound.is_err() {
        shard.discard(slot);
        return None;
    }
    shard.confirm(slot, NOW).unwrap();
    Some(slot)
}

fn set(shard: &mut Shard, slot: Slot, state: State, end: u32) {
    let mut tcp = Tcp { state: state as u8, ..Tcp::default() };
    tcp.peers[0].end = end;
    *shard.proto_mut(slot).unwrap() = zerocopy::transmute!(tcp);
}

#[test]
fn a_connection_that_is_over_gives_its_port() {
    let run = |state: State, end: u32, new_end: u32, status: u32| {
        let mut shard = shard();
        let mut worker = Worker::new(1);
        let old = connect(&mut shard, &mut worker, 1, end).unwrap();
        set(&mut shard, old, state, end);
        shard.set_status(old, status);
        let new = connect(&mut shard, &mut worker, 2, new_end);
        assert_eq!(shard.stats().count, 1);
        new.is_some()
    };
    // Linux asks for a state of TIME_WAIT or a higher number.
    for (state, over) in [
        (State::SynSent, false),
        (State::Established, false),
        (State::LastAck, false),
        (State::TimeWait, true),
        (State::Close, true),
        (State::SynSent2, true),
    ] {
        assert_eq!(run(state, 100, 101, 0), over, "{state:?}");
    }
    assert!(!run(State::TimeWait, 100, 100, 0), "the sequence number is not beyond");
    assert!(!run(State::TimeWait, 100, 99, 0));
    assert!(run(State::TimeWait, u32::MAX, 5, 0), "it goes round");
    assert!(!run(State::TimeWait, 100, 101, Status::FIXED_TIMEOUT));
}

/// Two nodes that both believe to be the owner translate the same flows: no two get the same tuple.
#[test]
fn nodes_choose_of_their_share() {
    for workers in [1, 2] {
        let mut left = HashSet::new();
        for half in [0, 1] {
            let mut shard = shard();
            let mut worker = Worker { half: Some(half), ..Worker::new(workers) };
            let rules = rule("snat 203.0.113.1");
            for port in (1..60_000).step_by(37) {
                let came = key(&format!("tcp 10.0.0.1:{port} > 192.0.2.1:80"));
                let (now, _) = flow(&mut shard, &mut worker, came, &rules).unwrap();
                let chosen = u16::from_be_bytes(now.sport);
                assert_eq!(chosen / 16 % 2, half, "{port} became {chosen}");
                assert_eq!((chosen < 512, chosen < 1024), (port < 512, port < 1024));
                assert!(left.insert(now), "{now:?} twice");
            }
        }
    }
    // What a rule names is had by either, and what it does not translate stays.
    for half in [0, 1] {
        let mut worker = Worker { half: Some(half), ..Worker::new(1) };
        for (text, port) in [("snat 203.0.113.1 :7", 7), ("dnat", 1000)] {
            let came = key("tcp 10.0.0.1:1000 > 192.0.2.1:80");
            let (now, _) = flow(&mut shard(), &mut worker, came, &rule(text)).unwrap();
            assert_eq!(u16::from_be_bytes(now.sport), port);
        }
    }
}

/// What two or more workers have: the first one's flows.
#[test]
fn replies_come_to_the_owner() {
    for workers in [2, 3, 8, 64] {
        let mut shard = shard();
        let mut worker = Worker::new(workers);
        for (net, text) in [
            "snat 203.0.113.1",
            "snat 203.0.113.1 random",
            "snat 203.0.113.1 :2000-2999",
            "snat 203.0.113.1-203.0.113.9 :30000-60000",
        ]
        .into_iter()
        .enumerate()
        {
            let rules = rule(text);
            for n in 0..500u32 {
                let (host, port) = (n % 250, 1024 + n * 7);
                let came = key(&format!("tcp 10.{net}.{}.1:{port} > 192.0.2.{host}:80", n / 250));
                let (left, bound) = flow(&mut shard, &mut worker, came, &rules).unwrap();
                assert_eq!(bound, Bound { alien: false }, "{text}, {workers} workers");
                assert!(worker.is_mine(&inverse(&left)));
                if let Some((min, max)) = rules[0].1.ports {
                    assert!((min..=max).contains(&u16::from_be_bytes(left.sport)));
                }
            }
        }
    }
}

#[test]
fn an_alien_where_nothing_else_may_be() {
    let mut shard = shard();
    let mut worker = Worker::new(8);
    let mut aliens = 0;
    for n in 1..=200 {
        // A port that must be, and a rule that does not speak of the source at all.
        for text in ["snat 203.0.113.1 :5000", "dnat 10.0.0.9"] {
            let came = key(&format!("udp 10.2.0.{n}:99 > 192.0.2.{n}:53"));
            let came = if text.starts_with('d') { FlowKey { sport: [9, 9], ..came } } else { came };
            let (left, bound) = flow(&mut shard, &mut worker, came, &rule(text)).unwrap();
            let mine = worker.is_mine(&inverse(&left));
            assert_eq!(bound.alien, !mine);
            aliens += u32::from(bound.alien);
            if text.starts_with('d') {
                assert_eq!((left.src, left.sport), (came.src, came.sport));
            }
        }
    }
    assert!(aliens > 300);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Few addresses and ports, many flows: none gets what another has, and all get what the rule says.
    #[test]
    fn no_tuple_twice(
        flows in prop::collection::vec((0u8..4, 0u16..6, 0u8..3, 0u16..2, 0usize..8, any::<bool>()), 1..200),
        workers in prop::sample::select(vec![1u32, 2, 5]),
    ) {
        let rules = [
            "dnat", "snat 203.0.113.1", "snat 203.0.113.1-203.0.113.2 :40-60", "dnat 10.7.0.1 :80",
            "dnat 10.7.0.1-10.7.0.2 :80-81 snat 10.7.0.9", "snat 203.0.113.1 random", "dnat 10.7.0.1 :90-93 base80",
            "snat 203.0.113.1 :50",
        ];
        let mut shard = shard();
        let mut worker = Worker::new(workers);
        let mut keys = HashSet::new();
        for (host, sport, peer, dport, which, udp) in flows {
            let protocol = if udp { "udp" } else { "icmp" };
            let dport = if udp { 80 + dport } else { 2048 };
            let came = key(&format!("{protocol} 10.0.0.{host}:{} > 192.0.2.{peer}:{dport}", 50 + sport));
            if shard.find(&came, shard.hash(&came)).is_some() {
                continue;
            }
            let rules = rule(rules[which]);
            let Ok((left, _)) = flow(&mut shard, &mut worker, came, &rules) else { continue };
            let reply = inverse(&left);
            prop_assert!(keys.insert(came), "{came:?}");
            prop_assert!(keys.insert(reply), "{reply:?}");
            for (manip, range) in rules {
                let address = if manip == Manip::Source { left.src } else { left.dst };
                if let Some((min, max)) = range.addrs {
                    prop_assert!((min..=max).contains(&address));
                }
                let port = if manip == Manip::Source || !udp { left.sport } else { left.dport };
                // A destination's identifier may give way to the source's later.
                if let Some((min, max)) = range.ports && (udp || manip == Manip::Source) {
                    prop_assert!((min..=max).contains(&u16::from_be_bytes(port)));
                }
            }
        }
    }
}
