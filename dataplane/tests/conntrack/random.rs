//! Random stateful and translating rulesets, random traffic through them, and what fails in the least form that still does.
//!
//! Packets answer, repeat, and complain about earlier ones as those left, so that flows live and ports that a side chose for
//! itself are answered there. After each packet, what left and the table must be the same on both sides; at the end, all
//! that the rules counted.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::bed::{Bed, Kind};
use crate::kernel::Kernel;
use crate::play::{self, Left, Side};
use crate::rng::Rng;
use crate::script::{self, Expected, Line, Script, Tap};
use crate::way::Ours;

/// How often a case that fails is tried with less in it.
const TRIES: usize = 50;
/// Ports that rules speak of.
pub(crate) const PORTS: &[u16] = &[53, 80, 777, 8080];

/// A chain of a table.
struct Place {
    head: &'static str,
    /// How many rules at most.
    most: usize,
    rule: fn(&mut Rng, &str) -> String,
}

/// Not for what the bed only shows.
const SHOWN: &str = "post { type filter hook postrouting priority 200; meta mark 0xd0b accept;";

const PLACES: &[Place] = &[
    Place { head: "raw { type filter hook prerouting priority -300;", most: 2, rule: raw },
    Place { head: "pre { type filter hook prerouting priority -150;", most: 3, rule: filter },
    Place { head: "nat_pre { type nat hook prerouting priority -100;", most: 3, rule: dnat },
    Place { head: "forward { type filter hook forward priority 0;", most: 7, rule: filter },
    Place { head: "input { type filter hook input priority 0;", most: 2, rule: filter },
    Place { head: "nat_post { type nat hook postrouting priority 100;", most: 3, rule: snat },
    Place { head: SHOWN, most: 3, rule: filter },
];

/// A ruleset and packets.
#[derive(Clone)]
struct Case {
    family: &'static str,
    /// Each with its chain.
    rules: Vec<(usize, String)>,
    sysctls: Vec<(String, String)>,
    packets: Vec<Option<(Tap, String)>>,
}

/// What there was to compare.
#[derive(Clone, Copy, Default)]
struct Tally {
    /// Rulesets that nft takes, and packets through them.
    rulesets: usize,
    packets: usize,
    /// Packets that left.
    left: usize,
    /// Entries at the end, and those of translated flows.
    entries: usize,
    translated: usize,
}

/// Plays many, and fails with what is least of those that failed.
pub(crate) fn all() {
    let Some(bed) = Bed::new(Kind::Routed) else { return };
    let mut sides: [Box<dyn Side + '_>; 2] = [Box::new(Kernel::new(&bed)), Box::new(Ours(&bed))];
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let setting = |name: &str, otherwise: u64| {
        std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
    };
    let seed = setting("TWINWALL_SEED", now.as_nanos() as u64 & 0xffff_ffff);
    let rulesets = setting("TWINWALL_RULESETS", 25);
    println!("TWINWALL_SEED={seed}");
    let mut failures = Vec::new();
    let mut tally = Tally::default();
    for n in 0..rulesets {
        let mut rng = Rng::new(seed.wrapping_add(n << 32));
        let case = Case::draw(&mut rng, setting("TWINWALL_PACKETS", 50) as usize);
        if let Err(why) = case.play(&mut sides, &mut tally) {
            failures.push(case.least(why, &mut sides));
        }
        if failures.len() >= setting("TWINWALL_FAILURES", 3) as usize {
            break;
        }
    }
    let Tally { rulesets, packets, left, entries, translated } = tally;
    println!(
        "{rulesets} random rulesets, {packets} packets, {left} of them left, {entries} entries, {translated} of them \
         translated, {} disagreements",
        failures.len()
    );
    assert!(failures.is_empty(), "TWINWALL_SEED={seed}\n{}", failures.join("\n\n"));
}

impl Case {
    fn draw(rng: &mut Rng, packets: usize) -> Self {
        let family = rng.one(&["ip", "ip", "ip6", "inet"]);
        let mut rules = Vec::new();
        for (n, place) in PLACES.iter().enumerate() {
            if rng.chance(60) {
                for _ in 0..rng.below(place.most + 1) {
                    rules.push((n, (place.rule)(rng, family)));
                }
            }
        }
        // Nothing ends by time: how long packets take is different.
        let ends = ["tcp_timeout_close", "sctp_timeout_closed", "sctp_timeout_cookie_wait"];
        let more = ["sctp_timeout_cookie_echoed", "sctp_timeout_shutdown_ack_sent"];
        let last = ["sctp_timeout_shutdown_sent", "sctp_timeout_shutdown_recd"];
        let long = |name: &str| (format!("nf_conntrack_{name}"), "300".to_owned());
        let mut sysctls: Vec<_> = ends.into_iter().chain(more).chain(last).map(long).collect();
        for (name, value) in [
            ("nf_conntrack_acct", "1"),
            ("nf_conntrack_tcp_loose", "0"),
            ("nf_conntrack_tcp_be_liberal", "1"),
        ] {
            if rng.chance(25) {
                sysctls.push((name.to_owned(), value.to_owned()));
            }
        }
        let six = match family {
            "ip6" => 90,
            "ip" => 10,
            _ => 50,
        };
        let mut specs: Vec<(Tap, String)> = Vec::new();
        let packets = (0..packets)
            .map(|n| {
                let packet = packet(rng, n, six, &mut specs);
                Some(packet)
            })
            .collect();
        Self { family, rules, sysctls, packets }
    }

    fn text(&self) -> String {
        let mut text = format!("table {} t {{\n", self.family);
        for (n, place) in PLACES.iter().enumerate() {
            let rules: Vec<_> = self.rules.iter().filter(|(at, _)| *at == n).collect();
            if !rules.is_empty() {
                text += &format!("chain {}\n", place.head);
                rules.iter().for_each(|(_, rule)| text += &format!("{rule}\n"));
                text += "}\n";
            }
        }
        text + "}\n"
    }

    fn script(&self) -> Script {
        let mut lines = vec![Line::Rules(self.text())];
        lines.extend(
            self.sysctls.iter().map(|(name, value)| Line::Sysctl(name.clone(), value.clone())),
        );
        lines.extend(self.packets.iter().map(|packet| match packet {
            Some((at, text)) => Line::Packet {
                at: *at,
                words: script::words(text),
                expected: Expected::Any,
                ours: None,
            },
            None => Line::Skip,
        }));
        let before = 1 + self.sysctls.len();
        // Packets go by their number.
        let lines = lines.into_iter().enumerate().map(|(n, line)| (n.saturating_sub(before), line));
        Script { name: "random".into(), lines: lines.collect() }
    }

    /// Plays it on both sides; how they differ, and at which packet.
    fn play(
        &self,
        sides: &mut [Box<dyn Side + '_>; 2],
        tally: &mut Tally,
    ) -> Result<(), (usize, String)> {
        let script = self.script();
        let end = self.packets.len();
        let [linux, ours] = sides;
        let left = match play::run(&script, linux.as_mut()) {
            // Some combinations make no sense.
            Err(why) if why.contains("/dev/stdin") => return Ok(()),
            other => other.map_err(|why| (end, why))?,
        };
        let right = play::run(&script, ours.as_mut()).map_err(|why| (end, why))?;
        tally.rulesets += 1;
        tally.packets += left.len();
        tally.left += left.iter().filter(|record| record.left != Left::default()).count();
        let table = left.last().map_or(&[][..], |record| &record.table);
        tally.entries += table.len();
        tally.translated += table.iter().filter(|entry| entry.is_translated()).count();
        let mut chosen = false;
        for (left, right) in left.iter().zip(&right) {
            if left.line != right.line {
                let n = left.line.min(right.line);
                return Err((n, "only one side had something to answer".into()));
            }
            chosen |= play::compare(left, right, 15, !chosen).map_err(|why| (left.line, why))?;
        }
        let (left, right) = (linux.listing(self.family, "t"), ours.listing(self.family, "t"));
        let differ = left.lines().zip(right.lines()).find(|(left, right)| left != right);
        match differ {
            Some((left, right)) => Err((end, format!("Linux: {left}\ntwinwall: {right}"))),
            None => Ok(()),
        }
    }

    /// The least of it that still fails, in words.
    fn least(mut self, why: (usize, String), sides: &mut [Box<dyn Side + '_>; 2]) -> String {
        let (mut at, mut why) = why;
        self.packets.truncate(at + 1);
        let mut tries = 0;
        let mut n = 0;
        while n < self.rules.len() && tries < TRIES / 2 {
            tries += 1;
            let mut less = self.clone();
            less.rules.remove(n);
            match less.play(sides, &mut Tally::default()) {
                Err(found) => (self, (at, why)) = (less, found),
                Ok(()) => n += 1,
            }
        }
        for n in (0..self.packets.len()).rev() {
            if n != at && tries < TRIES {
                tries += 1;
                let mut less = self.clone();
                less.packets[n] = None;
                if let Err(found) = less.play(sides, &mut Tally::default()) {
                    (self, (at, why)) = (less, found);
                }
            }
        }
        let mut text = self.text();
        self.sysctls.iter().for_each(|(name, value)| text += &format!("sysctl {name}={value}\n"));
        for (n, packet) in self.packets.iter().enumerate() {
            if let Some((at, packet)) = packet {
                text += &format!("{n}: {at:?} {packet}\n");
            }
        }
        format!("{text}at packet {at}: {why}")
    }
}

/// A packet: of a flow that begins, or one that an earlier packet brings about.
fn packet(rng: &mut Rng, n: usize, six: usize, specs: &mut Vec<(Tap, String)>) -> (Tap, String) {
    if n == 0 || rng.chance(30) {
        let (at, spec) = begins(rng, rng.clone().chance(six));
        specs.push((at, spec.clone()));
        return (at, format!("{spec} {}", begin_words(rng, &spec)));
    }
    let earlier = n - 1 - rng.below(n.min(8));
    match rng.below(10) {
        // The protocol is that of the packet answered; where it is another, both sides skip or send the same.
        0..=4 => {
            let protocol = protocol_of(specs, rng);
            (Tap::In, format!("{protocol} reply={earlier} {}", words_back(rng, &protocol)))
        }
        5..=8 => {
            let (at, spec) = specs[specs.len() - 1 - rng.below(specs.len().min(4))].clone();
            let words = words_on(rng, &spec);
            (at, format!("{spec} {words}"))
        }
        _ => {
            let kind = rng.one(&[
                "host-unreachable",
                "port-unreachable",
                "time-exceeded",
                "too-big mtu=1300",
            ]);
            (Tap::In, format!("icmp about={earlier} {kind}"))
        }
    }
}

/// The protocol of a flow that is under way.
fn protocol_of(specs: &[(Tap, String)], rng: &mut Rng) -> String {
    let (_, spec) = &specs[specs.len() - 1 - rng.below(specs.len().min(3))];
    spec.split(' ').next().unwrap().to_owned()
}

/// Protocol and ends of a flow.
fn begins(rng: &mut Rng, six: bool) -> (Tap, String) {
    let at = if rng.chance(70) { Tap::In } else { Tap::Out };
    let (from, to): (&[&str], &[&str]) = match at {
        Tap::In => (&["a", "c", "e"], &["b", "d", "x", "m", "b", "x"]),
        Tap::Out => (&["b", "d", "x"], &["a", "c", "m", "m"]),
    };
    let suffix = if six { "6" } else { "" };
    let (from, to) = (format!("{}{suffix}", rng.pick(from)), format!("{}{suffix}", rng.pick(to)));
    let sport = rng.one(&[1000, 1001, 1002]);
    let dport = rng.one(PORTS);
    let id = rng.one(&[7, 8]);
    let icmp = if six { "icmp6" } else { "icmp" };
    let spec = match rng.below(20) {
        0..=8 => format!("tcp {from}:{sport} > {to}:{dport}"),
        9..=14 => format!("udp {from}:{sport} > {to}:{dport}"),
        15..=17 => format!("{icmp} {from}:{id} > {to}"),
        18 => format!("sctp {from}:{sport} > {to}:{dport}"),
        _ => format!("{} {from} > {to}", rng.one(&["50", "gre"])),
    };
    (at, spec)
}

fn begin_words(rng: &mut Rng, spec: &str) -> String {
    match spec.split(' ').next().unwrap() {
        "tcp" if rng.chance(85) => rng.one(&["S", "S wscale=7 sackok", "S win=1000"]).into(),
        "sctp" => "init".into(),
        _ => words_on(rng, spec),
    }
}

/// A packet more in the direction of the first.
fn words_on(rng: &mut Rng, spec: &str) -> String {
    match spec.split(' ').next().unwrap() {
        "tcp" => tcp(rng),
        "udp" => format!("len={}", rng.one(&[0, 16, 100, 500])),
        "icmp" | "icmp6" => "echo".into(),
        "sctp" => {
            rng.one(&["cookie-echo", "data", "init", "shutdown", "heartbeat", "abort"]).into()
        }
        _ => String::new(),
    }
}

fn words_back(rng: &mut Rng, protocol: &str) -> String {
    match protocol {
        "tcp" if rng.chance(50) => "SA".into(),
        "tcp" => tcp(rng),
        "udp" => format!("len={}", rng.one(&[0, 16, 100, 500])),
        "icmp" | "icmp6" => "reply".into(),
        "sctp" => rng.one(&["init-ack", "cookie-ack", "sack", "shutdown-ack", "shutdown"]).into(),
        _ => String::new(),
    }
}

fn tcp(rng: &mut Rng) -> String {
    let flags = rng.one(&["A", "A", "A", "PA", "PA", "FA", "R", "RA", "S", "SA", "F"]);
    let len = if flags == "PA" { rng.one(&[10, 500, 1400]) } else { 0 };
    let odd = match rng.below(12) {
        0 => "again",
        1 => "seq=+50000",
        2 => "seq=-3000",
        3 => "seq=+300000",
        _ => "",
    };
    format!("{flags} len={len} {odd}")
}

fn header(family: &str) -> &'static str {
    if family == "ip6" { "ip6" } else { "ip" }
}

fn addr(rng: &mut Rng, six: bool) -> &'static str {
    if six {
        rng.one(&["fd00::2", "fd00::3", "fd00:1::2", "fd00:1::3", "2001:db8::7"])
    } else {
        rng.one(&["10.0.0.2", "10.0.0.3", "10.0.1.2", "10.0.1.3", "198.51.100.7"])
    }
}

/// Conditions that any chain may have.
fn matches(rng: &mut Rng, family: &str) -> String {
    let six = family == "ip6";
    let header = header(family);
    let mut text = String::new();
    for _ in 0..rng.below(3) {
        text += &match rng.below(16) {
            0 => format!(
                "ct state {} ",
                rng.one(&[
                    "new",
                    "established",
                    "related",
                    "invalid",
                    "established,related",
                    "untracked",
                    "!= new"
                ])
            ),
            1 => format!("ct direction {} ", rng.one(&["original", "reply"])),
            2 => format!(
                "ct status {} ",
                rng.one(&["seen-reply", "assured", "confirmed", "snat", "dnat"])
            ),
            3 => format!("ct mark {} ", rng.one(&["0", "1", "2", "!= 0", "& 1 == 1"])),
            4 => format!("ct original {header} saddr {} ", addr(rng, six)),
            5 => format!("ct reply {header} daddr {} ", addr(rng, six)),
            6 => format!("iifname \"{}\" ", rng.one(&["tap0", "tap1"])),
            7 => format!("meta l4proto {} ", rng.one(&["tcp", "udp", "{ icmp, icmpv6 }"])),
            8 => format!("udp dport {} ", rng.one(&["53", "80", "{ 53, 777 }"])),
            9 => format!("tcp dport {} ", rng.one(&["53", "80", "{ 80, 8080 }"])),
            10 => format!("{header} saddr {} ", addr(rng, six)),
            11 => format!("{header} daddr {} ", addr(rng, six)),
            12 => format!("meta mark {} ", rng.one(&["0", "1", "2", "!= 0"])),
            13 => "tcp flags & (fin | syn | rst | ack) == syn ".into(),
            14 => format!("ct zone {} ", rng.one(&["0", "1", "!= 0"])),
            _ => format!("ct label {} ", rng.one(&["1", "2"])),
        };
    }
    text
}

fn filter(rng: &mut Rng, family: &str) -> String {
    let hops = if family == "ip6" { "ip6 hoplimit" } else { "ip ttl" };
    let does = match rng.below(12) {
        0 | 1 => "counter".into(),
        2 | 3 => "counter accept".into(),
        4 if rng.chance(60) => "counter drop".into(),
        5 => format!("ct mark set {}", rng.one(&["1", "2", "meta mark", "ct mark or 2"])),
        6 => format!("meta mark set {}", rng.one(&["1", "2", "ct mark"])),
        7 => format!("{hops} set {}", rng.one(&["33", "44"])),
        8 => format!("ct label set {}", rng.one(&["1", "2"])),
        9 => "ct state vmap { new : accept, invalid : drop }".into(),
        _ => "counter".into(),
    };
    format!("{}{does}", matches(rng, family))
}

fn raw(rng: &mut Rng, family: &str) -> String {
    let header = header(family);
    let does = rng.one(&["notrack", "ct zone set 1", "ct original zone set 1", "ct zone set 2"]);
    let which = match rng.below(4) {
        0 => format!("udp dport {} ", rng.one(&["53", "80"])),
        1 => format!("{header} saddr {} ", addr(rng, family == "ip6")),
        2 => format!("iifname \"{}\" ", rng.one(&["tap0", "tap1"])),
        _ => format!("tcp dport {} ", rng.one(&["80", "777"])),
    };
    format!("{which}{does}")
}

fn dnat(rng: &mut Rng, family: &str) -> String {
    let six = family == "ip6";
    let nat = if family == "inet" { "dnat ip" } else { "dnat" };
    let does = match rng.below(5) {
        0 => format!("{nat} to {}", addr(rng, six)),
        1 => {
            let to = addr(rng, six);
            let to = if six { format!("[{to}]") } else { to.into() };
            let protocol = rng.one(&["tcp", "udp"]);
            format!("meta l4proto {protocol} {nat} to {to}:8080")
        }
        2 => "redirect".into(),
        3 => format!("meta l4proto {} redirect to :8080", rng.one(&["tcp", "udp"])),
        _ => "accept".into(),
    };
    format!("{}counter {does}", matches(rng, family))
}

fn snat(rng: &mut Rng, family: &str) -> String {
    let nat = if family == "inet" { "snat ip" } else { "snat" };
    let to = if family == "ip6" { "2001:db8:5::9" } else { "192.0.2.9" };
    let does = match rng.below(6) {
        0..=2 => "oifname \"tap1\" masquerade".into(),
        3 => format!("{nat} to {to}"),
        4 => format!(
            "meta l4proto udp {nat} to {}:777",
            if family == "ip6" { "[2001:db8:5::9]" } else { to }
        ),
        _ => "accept".into(),
    };
    format!("{}counter {does}", matches(rng, family))
}
