//! The kernel as oracle: the same rules and the same packets through Linux and through this crate, over `conntrack`'s tracking;
//! the same bytes come out. Where Linux chooses by chance, what it chose among is compared.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod bed;
#[path = "../common/mod.rs"]
mod common;

use std::collections::HashSet;

use bed::{Bed, INSIDE, OUTSIDE};
use common::packets::{Ip4, Ip6, echo, echo6, ext, fix_ip4, sctp, tcp, udp};
use common::*;
use conntrack::track::{self, Input, Place, Tracked};
use conntrack::{Info, Shard};
use nat::{Manip, Pick, Range, Sides, Sources, bind, is_error, rewrite, rewrite_error};
use packet::layers::parse;
use packet::{FlowKey, VecFrame};

/// Our side: what a router does with a packet, as far as NAT is concerned.
struct Ours {
    shard: Shard,
    rules: Vec<(Manip, Range)>,
    chance: Chance,
}

#[derive(Default)]
struct Chance {
    last: u32,
    sources: Sources,
}

impl Pick for Chance {
    fn random(&mut self) -> u32 {
        self.last = self.last.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.last >> 16
    }

    fn is_mine(&self, _: &FlowKey) -> bool {
        true
    }

    fn sources(&mut self) -> Option<&mut Sources> {
        Some(&mut self.sources)
    }
}

impl Ours {
    fn new(rules: &str) -> Self {
        Self { shard: shard(), rules: rule(rules), chance: Chance::default() }
    }

    /// The frame that leaves, or why none does.
    fn through(&mut self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        let mut frame = VecFrame::from_bytes(bytes);
        let mut layers = parse(&frame).map_err(|reason| format!("{reason:?}"))?;
        let key = track::lookup_key(&layers, [0; 2]);
        let found = self.shard.find(&key, self.shard.hash(&key));
        let place = Place::Prerouting;
        let input = Input { frame: &frame, layers: &layers, place, zone: [0; 2], found };
        let Tracked::Flow { slot, info } = track::packet(&mut self.shard, &input, NOW) else {
            // It goes on as it is.
            return Ok(forwarded(frame));
        };
        for (manip, sides) in
            [(Manip::Destination, Sides::Destination), (Manip::Source, Sides::Source)]
        {
            if info == Info::New {
                let rule = self.rules.iter().find(|rule| rule.0 == manip).map(|rule| rule.1);
                let range = rule.unwrap_or_default();
                if bind(&mut self.shard, slot, manip, &range, &mut self.chance).is_err() {
                    self.shard.discard(slot);
                    return Err("exhausted".into());
                }
            }
            let flow = self.shard.flow(slot).unwrap();
            let direction = info.direction();
            if matches!(info, Info::Related | Info::RelatedReply) && is_error(&frame, &layers) {
                rewrite_error(&mut frame, &mut layers, flow, direction, sides)
            } else {
                rewrite(&mut frame, &mut layers, flow, direction, sides)
            }
            .map_err(|reason| format!("{reason:?}"))?;
        }
        if info == Info::New {
            self.shard.confirm(slot, NOW).map_err(|clash| clash.to_string())?;
        }
        Ok(forwarded(frame))
    }
}

/// With one hop less.
fn forwarded(frame: VecFrame) -> Vec<u8> {
    let mut bytes = frame.to_vec();
    if bytes[14] >> 4 == 4 {
        bytes[22] -= 1;
        fix_ip4(&mut bytes[14..]);
    } else {
        bytes[21] -= 1;
    }
    bytes
}

/// Whether a packet's destination is behind this TAP.
fn is_behind(tap: usize, frame: &[u8]) -> bool {
    let dst = key_of(frame).dst;
    (dst[0] == 10 || dst[..2] == [0xfd, 1]) == (tap == INSIDE)
}

/// The packet behind the Ethernet header.
fn ip(frame: &[u8]) -> &[u8] {
    &frame[14..]
}

/// To the kernel's station, and with another identification each, so that none looks like another.
fn sent(mut frame: Vec<u8>, tap: usize) -> Vec<u8> {
    frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, tap as u8 + 1]);
    fixed(frame)
}

fn from_to(payload: Vec<u8>, key: &FlowKey) -> Vec<u8> {
    let frame = if key.family == 4 {
        let v4 = |address: [u8; 16]| *address.first_chunk().unwrap();
        Ip4 { src: v4(key.src), dst: v4(key.dst), ..Ip4::new(key.protocol, &payload) }.frame()
    } else {
        Ip6 { src: key.src, dst: key.dst, ..Ip6::new(key.protocol, &payload) }.frame()
    };
    with_key(&frame, key)
}

fn rules(pre: &str, post: &str) -> String {
    let rule = |device: &str, rule: &str| match rule {
        "" => String::new(),
        rule => format!("{device} {rule}\n"),
    };
    let (pre, post) = (rule("iifname tap0", pre), rule("oifname tap1", post));
    format!(
        "table inet t {{
            chain pre {{\ntype nat hook prerouting priority dstnat;\n{pre}}}
            chain post {{\ntype nat hook postrouting priority srcnat;\n{post}}}
        }}"
    )
}

/// Numbers of a test, always the same.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

#[test]
fn the_same_address_of_many() {
    let cases = [
        ("", "snat ip to 203.0.113.10-203.0.113.77", "snat 203.0.113.10-203.0.113.77"),
        ("", "snat ip to 203.0.113.250-203.0.114.5", "snat 203.0.113.250-203.0.114.5"),
        (
            "",
            "snat ip to 203.0.113.10-203.0.113.77 persistent",
            "snat 203.0.113.10-203.0.113.77 persistent",
        ),
        ("dnat ip to 198.51.100.3-198.51.100.99", "", "dnat 198.51.100.3-198.51.100.99"),
        (
            "dnat ip to 198.51.100.3-198.51.100.99 persistent",
            "snat ip to 203.0.113.0-203.0.113.255",
            "dnat 198.51.100.3-198.51.100.99 persistent snat 203.0.113.0-203.0.113.255",
        ),
        (
            "",
            "snat ip prefix to ip saddr map { 10.0.0.0/8 : 203.0.113.0/24 }",
            "snat 203.0.113.0-203.0.113.255 netmap",
        ),
        (
            "",
            "snat ip6 to [fd05::5:0:0:9]-[fd05::7:0:ffff:3]",
            "snat [fd05::5:0:0:9]-[fd05::7:0:ffff:3]",
        ),
        (
            "dnat ip6 to [fd06::1]-[fd06::1:0:0:ff]",
            "snat ip6 to [fd05::1]-[fd05::ffff] persistent",
            "dnat [fd06::1]-[fd06::1:0:0:ff] snat [fd05::1]-[fd05::ffff] persistent",
        ),
    ];
    for (pre, post, text) in cases {
        let Some(bed) = Bed::new(&rules(pre, post)) else { return };
        let mut ours = Ours::new(text);
        let mut numbers = Numbers(7);
        let family = if text.contains('[') { 6 } else { 4 };
        let mut seen = HashSet::new();
        for n in 0..300u16 {
            let host = numbers.next(1 << 16) as u16;
            let peer = numbers.next(1 << 16) as u16;
            let ([h, i], [p, q]) = (host.to_be_bytes(), peer.to_be_bytes());
            let udp6 = FlowKey { protocol: 17, family, ..FlowKey::default() };
            let ports = FlowKey { sport: (20_000 + n).to_be_bytes(), dport: [0, 80], ..udp6 };
            let key = if family == 4 {
                let (src, dst) = (wide("10.0.0.0"), wide("192.0.0.1"));
                let mut key = FlowKey { src, dst, ..ports };
                (key.src[2], key.src[3], key.dst[1], key.dst[2]) = (h, i, p, q);
                key
            } else {
                let (src, dst) = (wide("[fd01::1]"), wide("[fd02::1]"));
                let mut key = FlowKey { src, dst, ..ports };
                (key.src[9], key.src[15], key.dst[5], key.dst[13]) = (h, i, p, q);
                key
            };
            let frame = sent(from_to(udp(b"hello"), &key), INSIDE);
            let theirs = bed.through(INSIDE, &frame).unwrap_or_else(|| panic!("{text}: {key:?}"));
            let ours = ours.through(&frame).unwrap();
            assert_eq!(ip(&theirs), ip(&ours), "{text}: {key:?}");
            let left = key_of(&theirs);
            seen.insert((left.src, left.dst));
        }
        assert!(seen.len() > 20, "{text}");
    }
}

#[test]
fn the_same_where_two_would_look_alike() {
    let pre = "dnat ip to 198.51.100.1";
    let Some(bed) = Bed::new(&rules(pre, "")) else { return };
    let mut ours = Ours::new("dnat 198.51.100.1");
    let class = |port: u16| match port {
        0..512 => 0,
        512..1024 => 1,
        1024.. => 2,
    };
    let flow = |protocol: &str, sport: u16, peer: u8| {
        key(&format!("{protocol} 10.0.0.1:{sport} > 192.0.2.{peer}:80"))
    };
    for sport in [53, 700, 5000] {
        for peer in 1..=20 {
            let frame = sent(from_to(udp(b"hi"), &flow("udp", sport, peer)), INSIDE);
            let theirs = key_of(&bed.through(INSIDE, &frame).unwrap());
            let mine = key_of(&ours.through(&frame).unwrap());
            let [their_port, my_port] = [theirs, mine].map(|key| u16::from_be_bytes(key.sport));
            assert_eq!(theirs, FlowKey { sport: theirs.sport, ..mine });
            assert_eq!((class(their_port), class(my_port)), (class(sport), class(sport)));
            assert_eq!(their_port == sport, my_port == sport, "peer {peer}");
        }
    }
    // Of a query the lowest identifiers come next: no chance in it.
    for peer in 1..=20 {
        let echo = key(&format!("icmp 10.0.0.1:7 > 192.0.2.{peer}:2048"));
        let frame = sent(from_to(common::packets::echo(), &echo), INSIDE);
        let theirs = bed.through(INSIDE, &frame).unwrap();
        assert_eq!(ip(&theirs), ip(&ours.through(&frame).unwrap()), "peer {peer}");
    }
}

#[test]
fn the_same_number_of_ports() {
    let post = "meta l4proto udp snat ip to 203.0.113.1:2000-2009";
    let Some(bed) = Bed::new(&rules("", post)) else { return };
    let mut ours = Ours::new("snat 203.0.113.1 :2000-2009");
    let mut ports = [HashSet::new(), HashSet::new()];
    for host in 1..=12 {
        let came = key(&format!("udp 10.0.0.{host}:99 > 192.0.2.1:53"));
        let frame = sent(from_to(udp(b"hi"), &came), INSIDE);
        let theirs = bed.through(INSIDE, &frame);
        let mine = ours.through(&frame);
        assert_eq!(theirs.is_some(), mine.is_ok(), "host {host}: {mine:?}");
        for (frame, ports) in [theirs, mine.ok()].into_iter().zip(&mut ports) {
            if let Some(frame) = frame {
                assert!(ports.insert(u16::from_be_bytes(key_of(&frame).sport)));
            }
        }
    }
    assert_eq!(ports[0], ports[1]);
    assert_eq!(ports[0].len(), 10);
    // The same source again, to others: the port that it has.
    for peer in 2..=50 {
        let came = key(&format!("udp 10.0.0.1:99 > 192.0.2.{peer}:53"));
        let frame = sent(from_to(udp(b"hi"), &came), INSIDE);
        let [theirs, mine] = [bed.through(INSIDE, &frame).unwrap(), ours.through(&frame).unwrap()]
            .map(|frame| key_of(&frame).sport);
        assert!(ports[0].contains(&u16::from_be_bytes(theirs)));
        ports[0] = HashSet::from([u16::from_be_bytes(theirs)]);
        if peer > 2 {
            assert!(ports[1].contains(&u16::from_be_bytes(mine)));
        }
        ports[1] = HashSet::from([u16::from_be_bytes(mine)]);
    }
}

#[test]
fn the_same_port_after_a_clash() {
    let Some(bed) = Bed::new(&rules("", "snat ip to 203.0.113.1")) else { return };
    let mut ours = Ours::new("snat 203.0.113.1");
    let mut run = |host: u8, peer: u8| {
        let came = key(&format!("udp 10.0.0.{host}:5000 > 192.0.2.{peer}:53"));
        let frame = sent(from_to(udp(b"hi"), &came), INSIDE);
        [bed.through(INSIDE, &frame).unwrap(), ours.through(&frame).unwrap()]
            .map(|frame| u16::from_be_bytes(key_of(&frame).sport))
    };
    assert_eq!(run(1, 1), [5000; 2]);
    assert_eq!(run(2, 2), [5000; 2]);
    // Another's there, so a port by chance, which the source keeps to all others.
    let clash = run(2, 1);
    assert!(!clash.contains(&5000), "{clash:?}");
    for peer in 3..20 {
        assert_eq!(run(2, peer), clash, "peer {peer}");
        assert_eq!(run(3, peer), [5000; 2], "peer {peer}");
    }
}

/// The first packet of a flow of each protocol, inside.
fn firsts(family: u8) -> Vec<(&'static str, Vec<u8>)> {
    let (src, dst) =
        if family == 4 { ("10.0.0.1", "192.0.2.1") } else { ("[fd01::1]", "[fd02::1]") };
    let of = |protocol: &str, payload: Vec<u8>| {
        let ports = match (protocol, family) {
            ("icmp", 4) => (7, 8 << 8),
            ("icmp", _) => (7, 128 << 8),
            ("89", _) => (0, 0),
            _ => (12_345, 80),
        };
        let key = key(&format!("{protocol} {src}:{} > {dst}:{}", ports.0, ports.1));
        from_to(payload, &key)
    };
    let lite = [&[0x30, 0x39, 0, 53, 0, 12, 0, 0][..], &[7; 20]].concat();
    let mut syn = tcp(&[]);
    syn[13] = 2;
    let mut init = sctp();
    init[4..8].fill(0);
    init[12..].copy_from_slice(&[1, 0, 0, 20]);
    init.extend([0, 0, 0, 1, 0, 0, 0xff, 0xff, 0, 1, 0, 1, 0, 0, 0, 1]);
    let echo = if family == 4 { echo() } else { echo6() };
    vec![
        ("udp", of("udp", udp(&[7; 40]))),
        ("tcp", of("tcp", syn)),
        ("echo", of("icmp", echo)),
        ("lite", of("lite", lite)),
        ("sctp", of("sctp", init)),
        ("other", of("89", vec![1; 30])),
    ]
}

/// What answers a flow's packet, as it arrives outside.
fn answer(left: &[u8]) -> Vec<u8> {
    let mut frame = left.to_vec();
    let key = inverse(&key_of(left));
    let at = if key.family == 4 { 34 } else { 54 };
    match key.protocol {
        6 => {
            frame[at + 13] = 0x12;
            frame[at + 8..at + 12].copy_from_slice(&[0, 0, 0, 2]);
        }
        132 => {
            frame[at + 4..at + 8].copy_from_slice(&[0, 0, 0, 1]);
            frame[at + 12] = 2;
        }
        1 | 58 => frame[at] = key.dport[0],
        _ => {}
    }
    if key.family == 4 {
        frame[22] = 64;
        fix_ip4(&mut frame[14..]);
    } else {
        frame[21] = 64;
    }
    with_key(&frame, &key)
}

fn error(kind: u8, code: u8, src: &str, dst: [u8; 16], quoted: &[u8]) -> Vec<u8> {
    let message = [&[kind, code, 0, 0, 0, 0, 5, 0][..], quoted].concat();
    let family = if src.starts_with('[') { 6 } else { 4 };
    let protocol = if family == 6 { 58 } else { 1 };
    let key = FlowKey { src: wide(src), dst, protocol, family, ..FlowKey::default() };
    let v4 = |address: [u8; 16]| *address.first_chunk().unwrap();
    if family == 4 {
        Ip4 { src: v4(key.src), dst: v4(dst), ..Ip4::new(1, &message) }.frame()
    } else {
        Ip6 { src: key.src, dst, ..Ip6::new(58, &message) }.frame()
    }
}

#[test]
fn the_same_bytes_both_ways_and_of_errors() {
    for family in [4, 6] {
        for (pre4, post4, pre6, post6, text4, text6) in [
            (
                "",
                "snat ip to 203.0.113.1",
                "",
                "snat ip6 to fd05::1",
                "snat 203.0.113.1",
                "snat [fd05::1]",
            ),
            (
                "dnat ip to 198.51.100.1",
                "",
                "dnat ip6 to fd06::1",
                "",
                "dnat 198.51.100.1",
                "dnat [fd06::1]",
            ),
            (
                "dnat ip to 198.51.100.1",
                "snat ip to 203.0.113.1",
                "dnat ip6 to fd06::1",
                "snat ip6 to fd05::1",
                "dnat 198.51.100.1 snat 203.0.113.1",
                "dnat [fd06::1] snat [fd05::1]",
            ),
        ] {
            let (pre, post, text) =
                if family == 4 { (pre4, post4, text4) } else { (pre6, post6, text6) };
            let Some(bed) = Bed::new(&rules(pre, post)) else { return };
            let mut ours = Ours::new(text);
            let mut compare = |tap: usize, frame: Vec<u8>, what: &str| {
                let frame = sent(frame, tap);
                let theirs = bed.through(tap, &frame);
                let mine = ours.through(&frame);
                let what = format!("{text}, {what}");
                let mine = mine.ok().filter(|frame| is_behind(1 - tap, frame));
                assert_eq!(theirs.as_deref().map(ip), mine.as_deref().map(ip), "{what}");
                theirs
            };
            let (outside, inside, unreachable) = if family == 4 {
                ("203.0.113.99", "10.99.99.99", 3)
            } else {
                ("[fd09::9]", "[fd01:99::9]", 1)
            };
            for (name, frame) in firsts(family) {
                let left = compare(INSIDE, frame.clone(), name).unwrap();
                let answer = answer(&left);
                let back = compare(OUTSIDE, answer.clone(), &format!("{name}, back")).unwrap();
                let l4 = if family == 4 { 20 } else { 40 };
                for cut in l4..=ip(&left).len() {
                    // Linux makes SCTP's CRC anew over what is quoted, which is not all that it is over.
                    if name == "sctp" && cut >= l4 + 12 {
                        break;
                    }
                    let what = format!("{name}, error, {cut} bytes");
                    let key = key_of(&left);
                    compare(
                        OUTSIDE,
                        error(unreachable, 1, outside, key.src, &ip(&left)[..cut]),
                        &what,
                    );
                    let what = format!("{name}, error of the inside, {cut} bytes");
                    let quoted = &ip(&back)[..cut];
                    let key = key_of(&back);
                    compare(INSIDE, error(unreachable, 1, inside, key.src, quoted), &what);
                }
                if family == 4 {
                    let redirect = error(5, 1, outside, key_of(&left).src, ip(&left));
                    compare(OUTSIDE, redirect, &format!("{name}, redirect"));
                    for (kind, code) in [(3, 4), (11, 0), (12, 0), (4, 0)] {
                        let error = error(kind, code, outside, key_of(&left).src, ip(&left));
                        if name != "sctp" {
                            compare(OUTSIDE, error, &format!("{name}, error {kind}"));
                        }
                    }
                }
            }
            if family == 6 {
                let frame = Ip6 {
                    src: wide("[fd01::7]"),
                    dst: wide("[fd02::7]"),
                    ..Ip6::new(60, &ext(17, 0, &udp(b"deep")))
                };
                let left = compare(INSIDE, frame.frame(), "extension headers").unwrap();
                for cut in 40..=ip(&left).len() {
                    let error = error(1, 1, outside, key_of(&left).src, &ip(&left)[..cut]);
                    compare(OUTSIDE, error, &format!("extension headers, error, {cut} bytes"));
                }
            }
        }
    }
}
