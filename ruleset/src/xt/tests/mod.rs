//! Each extension that acts, on packets that it means and packets that it does not. Linux itself is asked in
//! `tests/linux/iptables.rs` and `tests/corpora/extensions.rs`.

mod connections;
mod frames;
#[path = "../../../tests/common/link.rs"]
mod link;
mod matches;
mod targets;

use std::collections::BTreeSet;

use packet::{FlowKey, VecFrame};

use super::*;
use crate::expr::{LogRecord, RejectWith, SendTo};
use crate::ids::WorkerId;
use crate::packet::{
    Connection, Effects, Env, FibAnswer, FibQuery, Iface, Meta, Place, Recorder, Seen, Translate,
};
use crate::program::Program;
use crate::regs::Regs;
use crate::trace::Trace;
use crate::verdict::Queue;

use link::Link;

const OURS: [u8; 4] = [192, 0, 2, 1];
const IN: Iface<'_> =
    Iface { index: 1, name: "in", kind: 1, group: 7, link_kind: "", mac: [2, 0, 0, 0, 0, 1] };

#[derive(Default)]
struct World {
    logged: Vec<(String, u8, u32)>,
    link: Option<Link>,
    /// Connections that are there.
    there: Vec<FlowKey>,
    asked: Vec<Translate>,
}

impl Env for World {
    fn connection(&mut self) -> Option<&mut dyn Connection> {
        self.link.as_mut().map(|link| link as _)
    }

    fn is_connected(&self, key: &FlowKey) -> bool {
        self.there.contains(key)
    }

    fn translate(&mut self, how: &Translate) -> Verdict {
        self.asked.push(*how);
        Verdict::Accept
    }

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
    link: Option<Link>,
    there: Vec<FlowKey>,
    constancy: Constancy,
}

/// What came of a packet.
struct Came {
    verdict: Verdict,
    bytes: Vec<u8>,
    meta: Meta,
    effects: Effects,
    logged: Vec<(String, u8, u32)>,
    link: Option<Link>,
    asked: Vec<Translate>,
    /// The packet's flow may remember it.
    cacheable: bool,
}

thread_local! {
    static TRIED: std::cell::RefCell<BTreeSet<(&'static str, u8)>> = const { std::cell::RefCell::new(BTreeSet::new()) };
}

/// The newest revision of an extension for a family, with these fields: where they stand, and their bytes.
fn made(role: Role, name: &str, family: Family, fields: &[(usize, &[u8])]) -> Tried {
    let found = named(role, name).filter(|found| found.is_for(Some(family)) || found.is_for(None));
    made_of(found.max_by_key(|found| found.revision).expect(name), family, fields)
}

/// The same of one revision.
fn made_of(extension: &'static Extension, family: Family, fields: &[(usize, &[u8])]) -> Tried {
    let name = extension.name;
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
    let mut of = Use {
        info: Info(&info),
        told: &mut told,
        family,
        table: extension.table.unwrap_or(if family == Family::Bridge { "nat" } else { "mangle" }),
        hook: Hooks(0),
        protocol,
        inverted: false,
        counters: &CounterPool::new(4),
        tracks: false,
        constancy: extension.constancy,
    };
    let act = (extension.make)(&mut of);
    let constancy = of.constancy;
    TRIED.with_borrow_mut(|tried| tried.insert((name, extension.role as u8)));
    let act = act.unwrap_or_else(|error| panic!("{name}: {error}"));
    let hook = Hook::Forward;
    Tried { act, family, hook, mark: 0, wall: 0, link: None, there: Vec::new(), constancy }
}

impl Tried {
    fn on(&self, bytes: &[u8]) -> Came {
        let mut frame = VecFrame::from_bytes(bytes);
        let mut layers = packet::layers::parse(&frame).unwrap();
        let mut meta = Meta { mark: self.mark, ..Meta::default() };
        let (mut effects, program) = (Effects::default(), Program::default());
        let (link, there) = (self.link.clone(), self.there.clone());
        let mut world = World { link, there, ..World::default() };
        let place = Place {
            family: self.family,
            hook: self.hook,
            iif: Some(IN),
            oif: Some(IN),
            now: 1_000_000_000,
            wall: self.wall,
            worker: WorkerId(3),
        };
        let mut recorder = Recorder::recording();
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
        Came {
            verdict,
            bytes: frame.to_vec(),
            meta,
            effects,
            logged: world.logged,
            link: world.link,
            asked: world.asked,
            cacheable: recorder.is_cacheable() && self.constancy == Constancy::Flow,
        }
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
    matches::of_transports();
    matches::of_ip();
    matches::of_ipv6_headers();
    matches::of_what_stands_beside();
    matches::without_connections_or_sockets();
    targets::on_packets();
    frames::on_frames();
    connections::all();
    let acts = all().filter(|found| found.standing == Standing::Acts);
    let acting: BTreeSet<_> = acts.map(|found| (found.name, found.role as u8)).collect();
    let missing: Vec<_> = TRIED.with_borrow(|tried| acting.difference(tried).copied().collect());
    assert!(missing.is_empty(), "not tried: {missing:?}");
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
    let text = include_str!("../../../../docs/rules.md");
    let section = text.split("\n## ").find(|section| section.starts_with("Extensions")).unwrap();
    for found in all().filter(|found| !matches!(found.name, "" | "ERROR")) {
        let line = section.lines().find(|line| line.contains(&format!("`{}`", found.name)));
        let line = line.unwrap_or_else(|| panic!("docs/rules.md does not name {}", found.name));
        let stored = matches!(found.standing, Standing::Stored(_));
        assert!(!stored || line.contains("**stored**"), "{} is stored", found.name);
    }
}
