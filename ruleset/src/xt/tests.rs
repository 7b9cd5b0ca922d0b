//! Each extension that acts, on packets that it means and packets that it does not. Linux itself is asked in
//! `tests/linux/iptables.rs` and `tests/corpora/extensions.rs`.

use std::collections::BTreeSet;

use packet::VecFrame;

use super::*;
use crate::expr::{LogRecord, RejectWith, SendTo};
use crate::ids::WorkerId;
use crate::packet::{Effects, Env, FibAnswer, FibQuery, Iface, Meta, Place, Recorder, Seen};
use crate::program::Program;
use crate::regs::Regs;
use crate::trace::Trace;
use crate::verdict::Queue;

const OURS: [u8; 4] = [192, 0, 2, 1];
const IN: Iface<'_> =
    Iface { index: 1, name: "in", kind: 1, group: 7, link_kind: "", mac: [2, 0, 0, 0, 0, 1] };

#[derive(Default)]
struct World {
    logged: Vec<(String, u8, u32)>,
}

impl Env for World {
    fn random(&mut self) -> u32 {
        1 << 30
    }

    fn fib(&self, query: &FibQuery) -> FibAnswer<'_> {
        let kind = if query.addr[..4] == OURS { 2 } else { 1 };
        FibAnswer { kind, iface: Some(IN), mtu: 1400, ..FibAnswer::default() }
    }

    fn log(&mut self, _seen: &Seen<'_>, record: &LogRecord<'_>) {
        self.logged.push((record.prefix.into(), record.level, record.flags));
    }

    fn trace(&mut self, _seen: &Seen<'_>, _trace: &Trace<'_>) {}

    fn trace_id(&mut self) -> u32 {
        1
    }
}

/// An extension in a rule, and where its rule stands.
struct Tried {
    act: Act,
    family: Family,
    hook: Hook,
    mark: u32,
    wall: u64,
}

/// What came of a packet.
struct Came {
    verdict: Verdict,
    bytes: Vec<u8>,
    meta: Meta,
    effects: Effects,
    logged: Vec<(String, u8, u32)>,
}

thread_local! {
    static TRIED: std::cell::RefCell<BTreeSet<(&'static str, u8)>> = const { std::cell::RefCell::new(BTreeSet::new()) };
}

/// The newest revision of an extension for a family, with these fields: where they stand, and their bytes.
fn made(role: Role, name: &str, family: Family, fields: &[(usize, &[u8])]) -> Tried {
    let found = named(role, name).filter(|found| found.is_for(Some(family)) || found.is_for(None));
    let extension = found.max_by_key(|found| found.revision).expect(name);
    let mut info = vec![0; extension.aligned()];
    for (at, bytes) in fields {
        info[*at..*at + bytes.len()].copy_from_slice(bytes);
    }
    let protocol: u16 = match (family, name) {
        (Family::Bridge, "arp" | "arpreply") => 0x0806u16.to_be(),
        (Family::Bridge, "ip") => 0x0800u16.to_be(),
        (Family::Bridge, "ip6") => 0x86ddu16.to_be(),
        (Family::Bridge, "vlan") => 0x8100u16.to_be(),
        _ => 6,
    };
    let mut told = info.clone();
    let act = (extension.make)(&mut Use {
        info: Info(&info),
        told: &mut told,
        family,
        table: extension.table.unwrap_or(if family == Family::Bridge { "nat" } else { "mangle" }),
        hook: Hooks(0),
        protocol,
        inverted: false,
    });
    TRIED.with_borrow_mut(|tried| tried.insert((extension.name, role as u8)));
    let act = act.unwrap_or_else(|error| panic!("{name}: {error}"));
    Tried { act, family, hook: Hook::Forward, mark: 0, wall: 0 }
}

impl Tried {
    fn on(&self, bytes: &[u8]) -> Came {
        let mut frame = VecFrame::from_bytes(bytes);
        let mut layers = packet::layers::parse(&frame).unwrap();
        let mut meta = Meta { mark: self.mark, ..Meta::default() };
        let (mut effects, mut world, program) =
            (Effects::default(), World::default(), Program::default());
        let place = Place {
            family: self.family,
            hook: self.hook,
            iif: Some(IN),
            oif: Some(IN),
            now: 1_000_000_000,
            wall: self.wall,
            worker: WorkerId(3),
        };
        let mut recorder = Recorder::default();
        let mut cx = Cx {
            regs: Regs::default(),
            bytes: &mut frame,
            layers: &mut layers,
            meta: &mut meta,
            place,
            env: &mut world,
            effects: &mut effects,
            recorder: &mut recorder,
            program: &program,
            transport: None,
        };
        cx.look();
        let verdict = (self.act)(&mut cx);
        Came { verdict, bytes: frame.to_vec(), meta, effects, logged: world.logged }
    }
}

const V4: Family = Family::Ipv4;
const V6: Family = Family::Ipv6;

/// Whether a match means a packet.
fn means(name: &str, family: Family, fields: &[(usize, &[u8])], bytes: &[u8]) -> bool {
    match made(Role::Match, name, family, fields).on(bytes).verdict {
        Verdict::Continue => true,
        Verdict::Break => false,
        other => panic!("{name}: {other:?}"),
    }
}

fn target(name: &str, family: Family, fields: &[(usize, &[u8])], bytes: &[u8]) -> Came {
    made(Role::Target, name, family, fields).on(bytes)
}

const ETHER: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9];

/// From 198.51.100.7 to 192.0.2.1, TTL 64.
fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let total = (20 + payload.len()) as u16;
    let mut header =
        [&[0x45, 0xb8][..], &total.to_be_bytes(), &[0, 1, 0, 0, 64, protocol, 0, 0]].concat();
    header.extend([198, 51, 100, 7]);
    header.extend(OURS);
    let sum = packet::checksum::of(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    [&ETHER[..], &[8, 0], &header, payload].concat()
}

const SRC6: [u8; 16] = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe, 0, 0, 9];
const DST6: [u8; 16] = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// Hop limit 64, traffic class 0xb8.
fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let len = (payload.len() as u16).to_be_bytes();
    [&ETHER[..], &[0x86, 0xdd, 0x6b, 0x80, 0, 0], &len, &[next, 64], &SRC6, &DST6, payload].concat()
}

/// From port 1000 to 80, with these flags, and as options MSS 1460, padding, window scale.
fn tcp(flags: u8) -> Vec<u8> {
    let mut segment =
        [3, 0xe8, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x70, flags, 1, 0, 0, 0, 0, 0].to_vec();
    segment.extend([2, 4, 5, 0xb4, 1, 3, 3, 7]);
    let pseudo = [198, 51, 100, 7, 192, 0, 2, 1, 0, 6, 0, segment.len() as u8];
    let sum = packet::checksum::of(&[&pseudo[..], &segment].concat());
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    segment
}

/// Whether IPv4's and TCP's checksums are right.
fn is_right(frame: &[u8]) -> bool {
    let segment = &frame[34..];
    let pseudo = [&frame[26..34], &[0, 6, 0, segment.len() as u8]].concat();
    let sum = |bytes: &[u8]| matches!(packet::checksum::of(bytes), 0 | 0xffff);
    sum(&frame[14..34]) && sum(&[&pseudo[..], segment].concat())
}

fn n(number: u16) -> [u8; 2] {
    number.to_ne_bytes()
}

fn nn(number: u32) -> [u8; 4] {
    number.to_ne_bytes()
}

/// A range as structures have it.
fn r(from: u16, to: u16) -> [u8; 4] {
    [n(from), n(to)].concat().try_into().unwrap()
}

const ALL_PORTS: &[u8] = &[0, 0, 0xff, 0xff];

#[test]
fn every_extension_that_acts_is_tried() {
    matches_of_transports();
    matches_of_ip();
    matches_of_ipv6_headers();
    matches_of_what_stands_beside();
    matches_without_connections_or_sockets();
    targets();
    frames();
    let acts = all().filter(|found| found.standing == Standing::Acts);
    let acting: BTreeSet<_> = acts.map(|found| (found.name, found.role as u8)).collect();
    let missing: Vec<_> = TRIED.with_borrow(|tried| acting.difference(tried).copied().collect());
    assert!(missing.is_empty(), "not tried: {missing:?}");
}

fn matches_of_transports() {
    let syn = ipv4(6, &tcp(2));
    let ports: &[(usize, &[u8])] = &[(0, ALL_PORTS), (4, &r(80, 81))];
    assert!(means("tcp", V4, ports, &syn));
    assert!(!means("tcp", V4, &[(0, ALL_PORTS), (4, &r(81, 90))], &syn));
    let any: (usize, &[u8]) = (0, &[0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff]);
    assert!(means("tcp", V4, &[any, (9, &[0x12, 2])], &syn), "SYN without ACK");
    assert!(!means("tcp", V4, &[any, (9, &[0x12, 2, 4])], &syn), "inverted");
    assert!(means("tcp", V4, &[any, (8, &[3])], &syn), "window scale");
    assert!(!means("tcp", V4, &[any, (8, &[8])], &syn), "timestamps");
    let datagram = ipv4(17, &[0, 53, 0x30, 0x39, 0, 8, 0, 0]);
    assert!(means("udp", V4, &[(0, &r(53, 53)), (4, ALL_PORTS)], &datagram));
    assert!(!means("udp", V4, &[(0, &r(53, 53)), (4, ALL_PORTS), (8, &[1])], &datagram));
    let lite = ipv6(136, &[0, 53, 0x30, 0x39, 0, 8, 0, 0]);
    assert!(means("udplite", V6, &[(0, &r(53, 53)), (4, ALL_PORTS)], &lite));

    let list: &[(usize, &[u8])] = &[(0, &[2, 3]), (2, &[n(22), n(70), n(90)].concat()), (33, &[1])];
    assert!(means("multiport", V4, list, &syn), "80 is between 70 and 90");
    assert!(!means("multiport", V4, &[(0, &[0, 1]), (2, &n(80))], &syn), "the source is not 80");

    let chunks = [0u8, 80, 0, 90, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 8, 0, 0, 0, 0, 3, 0, 0, 4];
    let sctp = ipv4(132, &chunks);
    let of = |which: u32, types: u32| {
        let (types, which, flags) = (nn(types), nn(which), nn(4));
        means("sctp", V4, &[(8, &types), (264, &which), (284, &flags)], &sctp)
    };
    let (init, sack, data) = (1 << 1, 1 << 3, 1);
    assert!(of(1, init) && !of(1, data), "any");
    assert!(of(2, init | sack) && !of(2, init | data), "all");
    assert!(of(4, init | sack | data) && !of(4, init), "only");

    let request = [0, 80, 0, 90, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 32, 0, 0];
    let dccp = ipv4(33, &request);
    assert!(means("dccp", V4, &[(8, &n(4)), (12, &n(1))], &dccp), "a request");
    assert!(!means("dccp", V4, &[(8, &n(4)), (12, &n(2))], &dccp), "no response");
    assert!(means("dccp", V4, &[(8, &n(8)), (14, &[32])], &dccp), "an option");

    let echo = ipv4(1, &[8, 0, 0, 0, 0, 1, 0, 1]);
    assert!(means("icmp", V4, &[(0, &[8, 0, 0xff])], &echo));
    assert!(!means("icmp", V4, &[(0, &[8, 1, 0xff])], &echo));
    assert!(means("icmp", V4, &[(0, &[0xff, 0, 0])], &echo), "any");
    let echo = ipv6(58, &[128, 0, 0, 0, 0, 1, 0, 1]);
    assert!(means("icmp6", V6, &[(0, &[128, 0, 0xff])], &echo));
    assert!(!means("icmp6", V6, &[(0, &[128, 0, 0xff, 1])], &echo));

    let mss = |from, to, not: u8| means("tcpmss", V4, &[(0, &r(from, to)), (4, &[not])], &syn);
    assert!(mss(1000, 1460, 0) && !mss(0, 1000, 0) && mss(0, 1000, 1));
    let ecn = |asked: u8, inverted: u8, flags: u8| {
        means("ecn", V4, &[(0, &[asked, inverted])], &ipv4(6, &tcp(flags)))
    };
    assert!(ecn(0x10, 0, 0x40) && !ecn(0x10, 0, 0x80) && ecn(0x20, 0, 0x80) && ecn(0x20, 0x20, 2));

    let (range, other) = ([nn(5), nn(9)].concat(), [nn(10), nn(19)].concat());
    let payload = ipv4(50, &[0, 0, 0, 7, 0, 0, 0, 0]);
    assert!(means("esp", V4, &[(0, &range)], &payload));
    assert!(!means("esp", V4, &[(0, &other)], &payload));
    let header = ipv4(51, &[6, 1, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0]);
    assert!(means("ah", V4, &[(0, &range)], &header));
    assert!(!means("ah", V4, &[(0, &range), (8, &[1])], &header));
    let compressed = ipv4(108, &[6, 0, 0, 7]);
    assert!(means("ipcomp", V4, &[(0, &range)], &compressed));
    assert!(!means("ipcomp", V4, &[(0, &other)], &compressed));
    let mobile = ipv6(135, &[59, 0, 5, 0, 0, 0, 0, 0]);
    assert!(means("mh", V6, &[(0, &[4, 6])], &mobile));
    assert!(!means("mh", V6, &[(0, &[6, 7])], &mobile));
    let forged = ipv6(135, &[&[6, 0, 5, 0, 0, 0, 0, 0][..], &tcp(2)].concat());
    let came = made(Role::Match, "mh", V6, &[(0, &[4, 6])]).on(&forged);
    assert_eq!(came.verdict, Verdict::Drop, "it must be the last header");
}

fn matches_of_ip() {
    let (four, six) = (ipv4(6, &tcp(2)), ipv6(6, &tcp(2)));
    assert!(means("length", V4, &[(0, &r(48, 48))], &four));
    assert!(!means("length", V6, &[(0, &r(28, 28))], &six));
    assert!(means("length", V6, &[(0, &r(68, 68))], &six), "with its header");
    for (name, family, frame) in [("ttl", V4, &four), ("hl", V6, &six)] {
        let is = |mode: u8, hops: u8| means(name, family, &[(0, &[mode, hops])], frame);
        assert!(is(0, 64) && is(1, 63) && is(2, 65) && is(3, 63) && !is(3, 64), "{name}");
    }
    for (family, frame) in [(V4, &four), (V6, &six)] {
        assert!(means("tos", family, &[(0, &[0xf0, 0xb0])], frame));
        assert!(!means("tos", family, &[(0, &[0xf0, 0xb0, 1])], frame));
        assert!(means("dscp", family, &[(0, &[46])], frame));
        assert!(!means("dscp", family, &[(0, &[45])], frame));
    }
    let range: &[u8] = &[198, 51, 100, 0, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 198, 51, 100, 8];
    assert!(means("iprange", V4, &[(0, range), (64, &[1])], &four));
    assert!(!means("iprange", V4, &[(0, range), (64, &[0x11])], &four));
    let local = n(1 << 2);
    assert!(means("addrtype", V4, &[(2, &local)], &four), "the destination is ours");
    assert!(!means("addrtype", V4, &[(0, &local)], &four), "the source is not");
    assert!(means("addrtype", V6, &[(0, &n(1 << 1))], &six));
    assert!(means("rpfilter", V4, &[], &four) && !means("rpfilter", V4, &[(0, &[8])], &four));
    assert!(means("realm", V4, &[], &four) && !means("realm", V4, &[(0, &nn(1))], &four));
    let string = |text: &[u8], from: u16, to: u16, flags: u8| {
        let fields: &[(usize, &[u8])] =
            &[(0, &r(from, to)), (4, b"bm"), (20, text), (148, &[text.len() as u8, flags])];
        means("string", V4, fields, &ipv4(17, b"\0\x35\0\x35\0\x10\0\0some Text"))
    };
    assert!(
        string(b"Text", 0, 100, 0) && !string(b"text", 0, 100, 0) && string(b"text", 0, 100, 2)
    );
    assert!(
        !string(b"some", 29, 100, 0) && string(b"some", 28, 32, 0) && !string(b"some", 0, 31, 0)
    );
    // The destination port, found by way of the header's length: 0>>22&0x3C@0&0xFFFF=80.
    let steps = [(0u32, 0u8), (22, 2), (0x3c, 0), (0, 3), (0xffff, 0)];
    let steps: Vec<u8> = steps
        .iter()
        .flat_map(|(number, op)| [&nn(*number)[..], &[*op, 0, 0, 0]].concat())
        .collect();
    let words = |port: u32| {
        let value = [nn(port), nn(port)].concat();
        means("u32", V4, &[(0, &steps), (88, &value), (176, &[5, 1]), (1980, &[1])], &four)
    };
    assert!(words(80) && !words(81));
}

fn matches_of_ipv6_headers() {
    let ids = [nn(0), nn(9)].concat();
    let fragment = |offset: u16, id: u8| {
        let offset = offset.to_be_bytes();
        ipv6(44, &[&[6, 0][..], &offset, &[0, 0, 0, id], &tcp(2), &[0; 4]].concat())
    };
    assert!(means("frag", V6, &[(0, &ids), (12, &[8])], &fragment(1, 7)), "the first");
    assert!(!means("frag", V6, &[(0, &ids), (12, &[8])], &fragment(9, 7)), "the second");
    assert!(!means("frag", V6, &[(0, &ids)], &fragment(1, 10)));
    let hop = ipv6(0, &[&[6, 0, 5, 2, 0, 0, 1, 0][..], &tcp(2)].concat());
    let options: &[(usize, &[u8])] = &[(0, &nn(8)), (4, &[3]), (6, &n(0x0502)), (38, &[1])];
    assert!(means("hbh", V6, options, &hop) && !means("hbh", V6, &[(0, &nn(16)), (4, &[1])], &hop));
    assert!(!means("hbh", V6, &[(4, &[2]), (6, &n(0x06ff)), (38, &[1])], &hop));
    let dst = ipv6(60, &[&[6, 0, 1, 4, 0, 0, 0, 0][..], &tcp(2)].concat());
    assert!(means("dst", V6, &[(4, &[2]), (6, &n(0x01ff)), (38, &[1])], &dst));
    assert!(!means("dst", V6, &[], &hop));
    assert!(means("ipv6header", V6, &[(0, &[0x81])], &hop));
    assert!(!means("ipv6header", V6, &[(0, &[0x80])], &hop), "not alone");
    assert!(means("ipv6header", V6, &[(0, &[0x80, 0, 1])], &hop), "but among others");
    let routing = ipv6(43, &[&[6, 2, 4, 1, 1, 0, 0, 9][..], &DST6, &tcp(2)].concat());
    let left = [nn(1), nn(1)].concat();
    assert!(means("rt", V6, &[(0, &nn(4)), (4, &left), (16, &[3])], &routing));
    assert!(!means("rt", V6, &[(0, &nn(0)), (4, &left), (16, &[1])], &routing));
    let segments = |flags: u16, fields: &[(usize, &[u8])]| {
        let flags = n(flags);
        let fields = [&[(104, &flags[..])], fields].concat();
        means("srh", V6, &fields, &routing)
    };
    assert!(segments(1, &[(0, &[6])]) && !segments(1, &[(0, &[17])]));
    assert!(
        segments(0x10, &[(2, &[1])])
            && segments(0x40, &[(2, &[2])])
            && segments(0x400, &[(4, &[0, 9])])
    );
    let mask: (usize, &[u8]) = (88, &[0xff; 16]);
    assert!(segments(0x2000, &[(40, &DST6), mask]) && !segments(0x2000, &[(40, &SRC6), mask]));
    let header =
        ipv6(51, &[&[6, 2, 0, 0, 0, 0, 1, 5, 0, 0, 0, 1, 9, 9, 9, 9][..], &tcp(2)].concat());
    let spi = |from, to| means("ah", V6, &[(0, &[nn(from), nn(to)].concat())], &header);
    assert!(spi(0x105, 0x105) && !spi(0, 9));
    assert!(means("eui64", V6, &[], &ipv6(6, &tcp(2))));
    let mut other = ipv6(6, &tcp(2));
    other[6] = 4;
    assert!(!means("eui64", V6, &[], &other));
}

fn matches_of_what_stands_beside() {
    let frame = ipv4(6, &tcp(2));
    assert!(means("comment", V4, &[], &frame));
    let mark = |mark: u32, mask: u32| {
        let mut tried = made(Role::Match, "mark", V4, &[(0, &nn(mark)), (4, &nn(mask))]);
        tried.mark = 0x17;
        tried.on(&frame).verdict == Verdict::Continue
    };
    assert!(mark(7, 0xf) && !mark(7, 0xff));
    let mac = [2, 0, 0, 0, 0, 9];
    assert!(means("mac", V4, &[(0, &mac)], &frame));
    assert!(!means("mac", V4, &[(0, &mac), (8, &nn(1))], &frame));
    assert!(means("pkttype", V4, &[], &frame) && !means("pkttype", V4, &[(0, &nn(1))], &frame));
    assert!(means("cpu", V4, &[(0, &nn(3))], &frame) && !means("cpu", V4, &[], &frame));
    let group =
        |group: u32| means("devgroup", V4, &[(0, &nn(1)), (4, &nn(group)), (8, &nn(15))], &frame);
    assert!(group(7) && group(0x17) && !group(8));
    let share = |share: u32| means("statistic", V4, &[(4, &nn(share))], &frame);
    assert!(share((1 << 30) + 1) && !share(1 << 30));
    let nth = made(Role::Match, "statistic", V4, &[(0, &n(1)), (4, &nn(2)), (12, &nn(2))]);
    let met: Vec<_> = (0..6).map(|_| nth.on(&frame).verdict == Verdict::Continue).collect();
    assert_eq!(met, [true, false, false, true, false, false]);
    let quota = made(Role::Match, "quota", V4, &[(8, &100u64.to_ne_bytes())]);
    let met: Vec<_> = (0..4).map(|_| quota.on(&frame).verdict == Verdict::Continue).collect();
    assert_eq!(met, [true, true, false, false], "packets of 48 bytes");
    for family in [V4, Family::Bridge] {
        let limit = made(Role::Match, "limit", family, &[(0, &nn(10_000)), (4, &nn(2))]);
        let met: Vec<_> = (0..3).map(|_| limit.on(&frame).verdict == Verdict::Continue).collect();
        assert_eq!(met, [true, true, false]);
    }
    // 2024-02-29 was a Thursday.
    let (day, second) = (19_782u64, 1_000_000_000);
    let time = |hour: u64, start: u32, stop: u32, days: u32, week: u8, flags: u8| {
        let hours = [nn(start * 3600), nn(stop * 3600)].concat();
        let fields: &[(usize, &[u8])] =
            &[(4, &nn(u32::MAX)), (8, &hours), (16, &nn(days)), (20, &[week, flags])];
        let mut tried = made(Role::Match, "time", V4, fields);
        tried.wall = (day * 86_400 + hour * 3600) * second;
        tried.on(&frame).verdict == Verdict::Continue
    };
    assert!(time(12, 9, 17, 1 << 29, 1 << 4, 0));
    assert!(!time(18, 9, 17, 1 << 29, 1 << 4, 0), "in the evening");
    assert!(!time(12, 9, 17, 1 << 1, 1 << 4, 0) && !time(12, 9, 17, u32::MAX - 1, 1 << 5, 0));
    assert!(time(1, 22, 3, u32::MAX - 1, 1 << 4, 0), "past midnight");
    assert!(time(1, 22, 3, u32::MAX - 1, 1 << 3, 2), "which counts as the day before");
}

fn matches_without_connections_or_sockets() {
    let frame = ipv4(6, &tcp(2));
    let state = |states: u16, not: u16| {
        means("conntrack", V4, &[(146, &n(1)), (148, &n(not)), (150, &n(states))], &frame)
    };
    assert!(state(1, 0) && !state(0x0e, 0) && state(0x0e, 1), "invalid");
    assert!(
        means("state", V4, &[(0, &nn(1))], &frame) && !means("state", V4, &[(0, &nn(6))], &frame)
    );
    assert!(!means("cgroup", V4, &[(1, &[1])], &frame));
    assert!(!means("socket", V4, &[], &frame) && !means("osf", V4, &[], &frame));
    assert!(
        !means("owner", V4, &[(16, &[1])], &frame) && means("owner", V4, &[(16, &[1, 1])], &frame)
    );
    assert!(!means("physdev", V4, &[(65, &[4])], &frame));
    assert!(means("physdev", V4, &[(64, &[4, 4])], &frame));
    assert!(
        means("policy", V4, &[(304, &n(5))], &frame)
            && !means("policy", V4, &[(304, &n(1))], &frame)
    );
}

fn targets() {
    let frame = ipv4(6, &tcp(2));
    let goes_on = |name: &str, fields: &[(usize, &[u8])]| {
        let came = target(name, V4, fields, &frame);
        assert_eq!(came.verdict, Verdict::Continue, "{name}");
        came
    };
    assert_eq!(goes_on("MARK", &[(0, &nn(5)), (4, &nn(0xf))]).meta.mark, 5);
    assert_eq!(goes_on("CLASSIFY", &[(0, &nn(0x10002))]).meta.priority, 0x10002);
    assert!(goes_on("NOTRACK", &[]).meta.untracked && goes_on("CT", &[(0, &n(1))]).meta.untracked);
    assert!(goes_on("TRACE", &[]).meta.trace);
    let logged = goes_on("LOG", &[(0, &[6, 3]), (2, b"seen: ")]).logged;
    assert_eq!(logged, [("seen: ".to_owned(), 6, 3)]);
    for (name, fields) in [("AUDIT", &[][..]), ("CHECKSUM", &[(0, &[1][..])])] {
        assert_eq!(goes_on(name, fields).bytes, frame);
    }
    let dup = goes_on("TEE", &[(0, &[192, 0, 2, 9])]).effects.dups;
    assert!(matches!(dup[..], [SendTo { iface: None, addr: Some((V4, [192, 0, 2, 9, ..])) }]));

    let changed = |name: &str, fields: &[(usize, &[u8])], at: usize, to: &[u8]| {
        let bytes = goes_on(name, fields).bytes;
        assert_eq!(&bytes[at..at + to.len()], to, "{name}");
        assert!(is_right(&bytes), "{name}: a checksum is wrong");
    };
    changed("TOS", &[(0, &[0x10, 0xff])], 15, &[0x10]);
    changed("DSCP", &[(0, &[10])], 15, &[0x28]);
    changed("TTL", &[(0, &[2, 60])], 22, &[4]);
    changed("TTL", &[(0, &[1, 255])], 22, &[255]);
    changed("ECN", &[(0, &[1, 2])], 15, &[0xba]);
    changed("ECN", &[(0, &[0x10, 0, 1])], 47, &[0x42]);
    changed("TCPMSS", &[(0, &n(1000))], 56, &1000u16.to_be_bytes());
    changed("TCPMSS", &[(0, &n(2000))], 56, &1460u16.to_be_bytes());
    changed("TCPMSS", &[(0, &n(0xffff))], 56, &1360u16.to_be_bytes());
    changed("TCPOPTSTRIP", &[(0, &nn(1 << 3))], 54, &[2, 4, 5, 0xb4, 1, 1, 1, 1]);
    let six = ipv6(6, &tcp(2));
    assert_eq!(target("HL", V6, &[(0, &[0, 9])], &six).bytes[21], 9);
    assert_eq!(target("TOS", V6, &[(0, &[0x10, 0xff])], &six).bytes[14..16], [0x61, 0]);
    let (inside, outside) = (&SRC6[..8], [0x20, 1, 0x0d, 0xb8, 0, 7, 0, 0]);
    for (name, at, addr) in [("SNPT", 22, SRC6), ("DNPT", 38, DST6)] {
        let bytes = target(name, V6, &[(0, inside), (16, &outside), (32, &[48, 48])], &six).bytes;
        let sum = |addr: &[u8]| packet::checksum::of(addr);
        assert_eq!(bytes[at..at + 6], outside[..6], "{name}");
        assert_eq!(sum(&bytes[at..at + 16]), sum(&addr), "{name}: checksums stay right");
    }

    let rejected = |family, with: u32, frame: &[u8]| {
        let came = target("REJECT", family, &[(0, &nn(with))], frame);
        assert_eq!(came.verdict, Verdict::Drop);
        came.effects.reject
    };
    assert_eq!(rejected(V4, 3, &frame), Some(RejectWith::Unreachable(3)));
    assert_eq!(rejected(V4, 8, &frame), Some(RejectWith::Unreachable(13)));
    assert_eq!(rejected(V4, 7, &frame), Some(RejectWith::TcpReset));
    assert_eq!(rejected(V6, 7, &six), Some(RejectWith::Unreachable(5)));
    let queued = target("NFQUEUE", V4, &[(0, &n(5)), (2, &n(4)), (4, &n(3))], &frame).verdict;
    assert_eq!(queued, Verdict::Queue(Queue { number: 8, bypass: true }), "by worker 3");
    assert_eq!(target("TPROXY", V4, &[], &frame).verdict, Verdict::Drop, "nobody listens");

    let question =
        [&[0xff; 6][..], &ETHER[6..], &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &[9; 20]].concat();
    let fields: &[(usize, &[u8])] = &[(0, &[1; 6]), (36, &[3; 4]), (40, &[9]), (44, &nn(1))];
    let came = target("mangle", Family::Arp, fields, &question);
    assert_eq!(came.verdict, Verdict::Accept);
    assert_eq!(came.bytes[22..42], [1, 1, 1, 1, 1, 1, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 3, 3, 3, 3]);
}

fn frames() {
    const BRIDGE: Family = Family::Bridge;
    const ON: [u8; 4] = (-3i32).to_ne_bytes();
    let (four, six) = (ipv4(6, &tcp(2)), ipv6(6, &tcp(2)));
    let ip = |bits: u8, not: u8, fields: &[(usize, &[u8])]| {
        let bits = [bits, not];
        means("ip", BRIDGE, &[&[(18, &bits[..])], fields].concat(), &four)
    };
    assert!(ip(1, 0, &[(0, &[198, 51, 100, 0]), (8, &[255, 255, 255, 0])]));
    assert!(!ip(2, 0, &[(4, &[198, 51, 100, 0]), (12, &[255, 255, 255, 0])]));
    assert!(
        ip(0x28, 0, &[(17, &[6]), (24, &r(80, 80))])
            && !ip(0x28, 0x20, &[(17, &[6]), (24, &r(80, 80))])
    );
    assert!(ip(4, 0, &[(16, &[0xb8])]));
    let ip6 = |bits: u8, fields: &[(usize, &[u8])]| {
        let bits = [bits];
        means("ip6", BRIDGE, &[&[(66, &bits[..])], fields].concat(), &six)
    };
    assert!(ip6(1, &[(0, &SRC6), (32, &[0xff; 16])]) && !ip6(2, &[(16, &SRC6), (48, &[0xff; 16])]));
    assert!(ip6(0x18, &[(65, &[6]), (68, &r(1000, 1000))]) && !ip6(8, &[(65, &[17])]));
    let question = [
        &ETHER[..],
        &[
            8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 9, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0,
            0, 2,
        ],
    ]
    .concat();
    let arp = |bits: u8, fields: &[(usize, &[u8])]| {
        let bits = [bits];
        means("arp", BRIDGE, &[&[(48, &bits[..])], fields].concat(), &question)
    };
    assert!(arp(1, &[(4, &[0, 1])]) && !arp(1, &[(4, &[0, 2])]) && !arp(0x80, &[]));
    assert!(arp(0x10, &[(16, &[10, 0, 0, 2]), (20, &[255; 4])]));
    assert!(arp(0x20, &[(24, &[2, 0, 0, 0, 0, 9]), (30, &[255; 6])]));
    let mut tagged = four.clone();
    tagged.splice(12..12, [0x81, 0, 0x60, 5]);
    let vlan = |fields: &[(usize, &[u8])]| means("vlan", BRIDGE, fields, &tagged);
    assert!(vlan(&[(0, &n(5)), (6, &[1])]) && !vlan(&[(0, &n(6)), (6, &[1])]));
    assert!(vlan(&[(2, &[3]), (6, &[2])]) && vlan(&[(4, &[8, 0]), (6, &[4])]));
    let snap = [&ETHER[..], &[0, 50, 0xaa, 0xaa, 3, 0, 0, 0, 0x88, 0xcc], &[0; 42]].concat();
    assert!(means("802_3", BRIDGE, &[(2, &[0x88, 0xcc]), (4, &[2])], &snap));
    assert!(!means("802_3", BRIDGE, &[(0, &[0x42]), (4, &[1])], &snap));
    let mut told = [&ETHER[..], &[0, 38, 0x42, 0x42, 3, 0, 0, 0, 7], &[0; 40]].concat();
    told[24] = 0x80;
    let stp = |bits: u16, fields: &[(usize, &[u8])]| {
        let bits = n(bits);
        means("stp", BRIDGE, &[&[(68, &bits[..])], fields].concat(), &told)
    };
    assert!(
        stp(2, &[(4, &[7])]) && !stp(2, &[(4, &[8])]) && stp(1, &[]) && !stp(1, &[(0, &[0x80])])
    );
    assert!(!stp(4, &[(6, &r(5, 6))]) && stp(4, &[(6, &r(0, 0xffff))]));
    assert!(means("pkttype", BRIDGE, &[], &four) && !means("pkttype", BRIDGE, &[(0, &[3])], &four));
    let mut marked = made(Role::Match, "mark_m", BRIDGE, &[(8, &nn(6)), (17, &[2])]);
    marked.mark = 4;
    assert_eq!(marked.on(&four).verdict, Verdict::Continue);

    let mark = target("mark", BRIDGE, &[(0, &nn(9)), (8, &(-3i32).to_ne_bytes())], &four);
    assert_eq!((mark.verdict, mark.meta.mark), (Verdict::Continue, 9));
    let mac = [2, 0, 0, 0, 9, 9];
    let came = target("dnat", BRIDGE, &[(0, &mac), (8, &ON)], &four);
    assert_eq!((came.verdict, &came.bytes[..6]), (Verdict::Continue, &mac[..]));
    let came = target("snat", BRIDGE, &[(0, &mac), (8, &(-3i32 & !0x10).to_ne_bytes())], &question);
    assert_eq!((&came.bytes[6..12], &came.bytes[22..28]), (&mac[..], &mac[..]), "also in ARP");
    let came = target("log", BRIDGE, &[(0, &[5]), (1, b"frame")], &four);
    assert_eq!(came.logged, [("frame".to_owned(), 5, 0x20)]);
}

#[test]
fn files_name_each_extension_once_and_describe_it() {
    let mut seen = BTreeSet::new();
    for found in all() {
        let families = found.families.iter().map(|family| *family as u8).collect::<Vec<_>>();
        let key = (found.role as u8, found.name, found.revision, families);
        assert!(seen.insert(key.clone()), "{key:?} twice");
        assert!(found.help.ends_with('.') && found.name.len() < 29, "{key:?}");
    }
}

#[test]
fn revisions_are_found_as_linux_finds_them() {
    let best = |role, family, name, revision| best_revision(role, family, name, revision);
    assert_eq!(best(Role::Match, V4, "conntrack", 1), Ok(3));
    assert_eq!(best(Role::Match, V4, "conntrack", 0), Err(Errno::EPROTONOSUPPORT.into()));
    assert_eq!(best(Role::Match, V4, "nosuch", 0), Err(Errno::ENOENT.into()));
    assert_eq!(best(Role::Match, Family::Bridge, "tcp", 0), Err(Errno::ENOENT.into()));
    // IPv4 has a first revision of its own, which is not looked beyond.
    assert_eq!(best(Role::Target, V4, "SNAT", 0), Ok(0));
    assert_eq!(best(Role::Target, V4, "SNAT", 1), Ok(2));
}

#[test]
fn the_documentation_names_each_extension() {
    let text = include_str!("../../../docs/rules.md");
    let section = text.split("\n## ").find(|section| section.starts_with("Extensions")).unwrap();
    for found in all().filter(|found| !matches!(found.name, "" | "ERROR")) {
        let line = section.lines().find(|line| line.contains(&format!("`{}`", found.name)));
        let line = line.unwrap_or_else(|| panic!("docs/rules.md does not name {}", found.name));
        let stored = matches!(found.standing, Standing::Stored(_));
        assert!(!stored || line.contains("**stored**"), "{} is stored", found.name);
    }
}
