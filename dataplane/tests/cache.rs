//! The flow cache changes nothing but speed: two nodes with the same random rules see the same random traffic, one remembers
//! verdicts and one does not. What they send, count and keep of flows must be the same, across changes of the rules.
//!
//! `TWINWALL_SEED` repeats a run; a failure prints its seed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

mod common;

use common::rules::*;
use common::*;
use conntrack::Slot;
use dataplane::control::ToWorker;
use etherparse::PacketBuilder;
use packet::PortIndex;
use ruleset::family::Family;

const HOOKS: [(&str, u32); 4] = [("pre", 0), ("in", 1), ("fwd", 2), ("post", 4)];
/// Bits of `ct state`.
const STATES: [u32; 4] = [1, 2, 4, 8];
const CT_STATE: u32 = 0;
const CT_MARK: u32 = 3;
const CT_STATUS: u32 = 2;

struct Random(fastrand::Rng);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0.usize(0..n)
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

fn ct(key: u32) -> Expr {
    expr("ct", |out| {
        out.u32(1, 1);
        out.u32(2, key);
    })
}

/// Register 1 has one of these bits.
fn any_of(bits: u32) -> Vec<Expr> {
    let masked = expr("bitwise", |out| {
        out.u32(1, 1);
        out.u32(2, 1);
        out.u32(3, 4);
        out.nest(4, |out| out.put(1, &bits.to_ne_bytes()));
        out.nest(5, |out| out.put(1, &[0; 4]));
    });
    let not_none = expr("cmp", |out| {
        out.u32(1, 1);
        out.u32(2, 1);
        out.nest(3, |out| out.put(1, &[0; 4]));
    });
    vec![masked, not_none]
}

fn set_ct_mark(mark: u32) -> Vec<Expr> {
    let set = expr("ct", |out| {
        out.u32(2, CT_MARK);
        out.u32(4, 1);
    });
    vec![value(1, &mark.to_ne_bytes()), set]
}

/// A condition that a rule may have.
fn condition(random: &mut Random, hook: &str) -> Vec<Expr> {
    match random.below(10) {
        0 => vec![meta(16), is(&[random.pick(&[6, 17, 1])])],
        1 => vec![load(TRANSPORT, 2, 2), is(&random.pick(&[53u16, 80, 443]).to_be_bytes())],
        2 => vec![load(TRANSPORT, 0, 2), is(&random.pick(&[1001u16, 2001, 3001]).to_be_bytes())],
        3 | 4 => {
            let mut all = vec![ct(CT_STATE)];
            all.extend(any_of(random.pick(&STATES) | random.pick(&STATES)));
            all
        }
        5 => vec![meta(MARK), is(&(random.below(3) as u32).to_ne_bytes())],
        6 => vec![ct(CT_MARK), is(&(random.below(3) as u32).to_ne_bytes())],
        7 if hook != "post" => vec![meta(4), is(&random.pick(&[LAN_IF, WAN_IF]).0.to_ne_bytes())],
        8 => {
            let mut all = vec![ct(CT_STATUS)];
            all.extend(any_of(random.pick(&[2, 4, 16])));
            all
        }
        // Not constant for a flow: its packets are of different lengths.
        9 if random.one_in(4) => vec![load(NETWORK, 3, 1), is(&[40])],
        _ => vec![load(NETWORK, 12, 4), is(&[10, 0, 1, random.pick(&[2, 3])])],
    }
}

fn rule(random: &mut Random, hook: &str) -> Vec<Expr> {
    let mut rule = Vec::new();
    for _ in 0..random.below(3) {
        rule.extend(condition(random, hook));
    }
    for _ in 0..=random.below(2) {
        match random.below(9) {
            0..=2 => rule.push(expr("counter", |_| {})),
            3 => rule.extend(set(MARK, random.below(3) as u32)),
            4 => rule.extend(set_ct_mark(random.below(3) as u32)),
            5 => rule.push(verdict(ACCEPT)),
            6 if random.one_in(4) => rule.push(verdict(DROP)),
            7 if hook == "raw" && random.one_in(3) => rule.push(expr("notrack", |_| {})),
            _ => rule.push(expr("counter", |_| {})),
        }
    }
    rule
}

/// Random rules, the same in both.
fn fill(rulesets: &mut [Ruleset; 2], random: &mut Random) {
    let base = |rulesets: &mut [Ruleset; 2], name: &str, kind: (&str, u32)| {
        for ruleset in rulesets {
            ruleset.base(Family::Inet, name, kind, ACCEPT, &[]);
        }
    };
    let add = |rulesets: &mut [Ruleset; 2], name: &str, rule: &[Expr]| {
        for ruleset in rulesets {
            ruleset.rule(Family::Inet, name, rule);
        }
    };
    for (name, hook) in HOOKS {
        base(rulesets, name, ("filter", hook));
        if name == "pre" {
            // What nobody asked for must not take the ports that NAT would choose: it chooses others at random then.
            let mut unasked = vec![meta(4), is(&WAN_IF.0.to_ne_bytes())];
            unasked.push(ct(CT_STATE));
            unasked.extend(any_of(8));
            unasked.push(verdict(DROP));
            add(rulesets, name, &unasked);
        }
        for _ in 0..random.below(6) {
            add(rulesets, name, &rule(random, name));
        }
    }
    if random.one_in(2) {
        base(rulesets, "leave", ("nat", 4));
        let to_wan = is(&WAN_IF.0.to_ne_bytes());
        add(rulesets, "leave", &[meta(5), to_wan, expr("masq", |_| {})]);
    }
}

const HOSTS: [[u8; 4]; 2] = [[10, 0, 1, 2], [10, 0, 1, 3]];
const SERVERS: [[u8; 4]; 2] = [[8, 8, 8, 8], [10, 0, 2, 2]];

/// A packet of one of few flows: from the LAN, or, the other way round, from the WAN.
fn packet(random: &mut Random, masqueraded: bool) -> (PortIndex, Vec<u8>) {
    let back = random.one_in(2);
    let n = random.below(2);
    let (host, server) = (HOSTS[n], random.pick(&SERVERS));
    // No two hosts use one port, so that NAT has nothing to choose.
    let (sport, dport) = ([1001, 2001][n] + random.below(2) as u16 * 2000, random.pick(&[53, 80]));
    let (from, to, macs) = if back {
        let to = if masqueraded { [10, 0, 2, 1] } else { host };
        (server, to, (GATEWAY_MAC, WAN_MAC))
    } else {
        (host, server, (HOST_MAC, LAN_MAC))
    };
    let (from_port, to_port) = if back { (dport, sport) } else { (sport, dport) };
    let builder = PacketBuilder::ethernet2(macs.0, macs.1).ipv4(from, to, 64);
    let payload = vec![0; random.below(20)];
    let mut bytes = Vec::new();
    if random.one_in(2) {
        builder.udp(from_port, to_port).write(&mut bytes, &payload).unwrap();
    } else {
        let mut tcp = builder.tcp(from_port, to_port, 1000, 2000);
        match random.below(6) {
            0 if !back => tcp = tcp.syn(),
            1 if back => tcp = tcp.syn().ack(1001),
            2 if random.one_in(6) => tcp = tcp.fin().ack(1001),
            3 if random.one_in(9) => tcp = tcp.rst(),
            _ => tcp = tcp.ack(1001),
        }
        tcp.write(&mut bytes, &payload).unwrap();
    }
    (if back { WAN } else { LAN }, bytes)
}

/// Ports that packets of [`packet`] have. NAT gives others at random where one is taken: those are not compared.
fn known(port: [u8; 2]) -> [u8; 2] {
    match u16::from_be_bytes(port) {
        53 | 80 | 1001 | 2001 | 3001 | 4001 => port,
        _ => [0; 2],
    }
}

/// A frame without what is chosen at random.
fn without_chance(mut frame: Vec<u8>) -> Vec<u8> {
    if frame.len() < if frame[23] == 6 { 54 } else { 42 } || ![6, 17].contains(&frame[23]) {
        return frame;
    }
    let ports = [[frame[34], frame[35]], [frame[36], frame[37]]];
    if ports.map(known) != ports {
        let sum = if frame[23] == 6 { 50 } else { 40 };
        frame[sum..sum + 2].fill(0);
        frame[34..38].copy_from_slice(ports.map(known).as_flattened());
    }
    frame
}

/// All that is kept of flows, in an order of its own.
fn flows(node: &mut Node) -> Vec<String> {
    let now = node.now;
    let shard = node.worker.flows();
    let mut slots = Vec::new();
    let mut from = Some(Slot(0));
    while let Some(at) = from {
        from = shard.walk(at, 1024, &mut |slot, _| slots.push(slot));
    }
    let mut all: Vec<String> = slots
        .into_iter()
        .filter_map(|slot| shard.snapshot(slot, now))
        .map(|flow| {
            let [there, back] = flow.keys.map(|mut key| {
                (key.sport, key.dport) = (known(key.sport), known(key.dport));
                format!("{:?}:{:?}>{:?}:{:?}", &key.src[..4], key.sport, &key.dst[..4], key.dport)
            });
            let protocol = flow.keys[0].protocol;
            let (status, left) = (flow.status.0, flow.remaining);
            format!("{protocol} {there} {back} {status:x} {:x} {left} {:x?}", flow.mark, flow.proto)
        })
        .collect();
    all.sort();
    all
}

/// How many packets were replayed.
fn compare(seed: u64) -> u64 {
    let mut random = Random(fastrand::Rng::with_seed(seed));
    let mut nodes = [Node::new(), Node::new()];
    let mut rulesets = [Ruleset::new(), Ruleset::new()];
    for node in &mut nodes {
        node.neighbour(LAN_IF, "10.0.1.3", dataplane::rib::NeighbourState::Reachable(HOST_MAC));
        node.publish();
    }
    nodes[1].handle.control.send(ToWorker::Cache(false)).unwrap();
    for round in 0..3 {
        if round > 0 {
            for ruleset in &mut rulesets {
                ruleset.flush();
            }
        }
        fill(&mut rulesets, &mut random);
        for (node, ruleset) in nodes.iter_mut().zip(&mut rulesets) {
            node.run(ruleset);
            node.messages();
        }
        let masqueraded = random.one_in(2);
        for burst in 0..12 {
            let packets: Vec<_> =
                (0..random.below(40)).map(|_| packet(&mut random, masqueraded)).collect();
            let [mut one, mut other] = nodes.each_mut().map(|node| {
                for (port, bytes) in &packets {
                    let frame = node.pool.frame(bytes).unwrap();
                    node.worker.io().push_rx(*port, frame);
                }
                while node.turn() > 0 {}
                let sent = [LAN, WAN, DMZ].map(|port| {
                    node.sent(port).into_iter().map(without_chance).collect::<Vec<_>>()
                });
                node.punted();
                node.messages();
                (sent, flows(node))
            });
            // Identification of answers aside, which both count alike.
            let only = |these: &[String], those: &[String]| {
                these.iter().filter(|flow| !those.contains(flow)).cloned().collect::<Vec<_>>()
            };
            let differs = [only(&one.1, &other.1), only(&other.1, &one.1)];
            let none: [Vec<String>; 2] = Default::default();
            assert_eq!(differs, none, "flows: seed {seed}, round {round}, burst {burst}");
            for (one, other) in one.0.iter_mut().zip(&mut other.0) {
                one.sort();
                other.sort();
                assert_eq!(one, other, "frames: seed {seed}, round {round}, burst {burst}");
            }
        }
        let dumps = rulesets.each_mut().map(|ruleset| ruleset.dump());
        assert_eq!(dumps[0], dumps[1], "counters: seed {seed}, round {round}");
        let drops = nodes.each_ref().map(|node| node.all_drops());
        assert_eq!(drops[0], drops[1], "drops: seed {seed}, round {round}");
    }
    let [replayed, asked] = nodes.each_ref().map(|node| node.handle.stats.replayed.get());
    assert_eq!(asked, 0, "that node remembers nothing");
    nodes.into_iter().for_each(Node::end);
    replayed
}

#[test]
fn remembered_verdicts_are_those_of_the_rules() {
    let runs = std::env::var("TWINWALL_RULESETS").ok().and_then(|n| n.parse().ok()).unwrap_or(300);
    let seed = std::env::var("TWINWALL_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let replayed: u64 = (0..runs).map(|n| compare(seed + n)).sum();
    println!("{runs} runs from seed {seed}: {replayed} packets replayed");
    assert!(replayed > 10 * runs, "hardly any verdict was remembered: {replayed}");
}
