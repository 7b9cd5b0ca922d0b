//! Extensions that ask of connections, or change them.

use super::link::{ESTABLISHED, NEW, RELATED, REPLY};
use super::*;
use crate::packet::{Side, To};

/// `IPS_ASSURED`, `IPS_CONFIRMED`, `IPS_SRC_NAT`.
const ASSURED: u32 = 4;
const CONFIRMED: u32 = 8;
const SRC_NAT: u32 = 16;

pub(super) fn all() {
    states();
    tuples();
    what_changes();
    counts();
    marks();
    zones();
    nat();
}

fn datagram() -> Vec<u8> {
    datagram_from(1)
}

fn datagram_from(host: u8) -> Vec<u8> {
    let mut frame = ipv4(17, &[0, 10, 0, 20, 0, 8, 0, 0]);
    frame[26..34].copy_from_slice(&[10, 0, 0, host, 10, 0, 0, 2]);
    frame[24..26].fill(0);
    let sum = packet::checksum::of(&frame[14..34]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame
}

/// A match or target with a connection.
fn with(link: &Link, role: Role, name: &str, fields: &[(usize, &[u8])]) -> Came {
    let mut tried = made(role, name, V4, fields);
    tried.link = Some(link.clone());
    tried.on(&datagram())
}

fn is(link: &Link, name: &str, fields: &[(usize, &[u8])]) -> bool {
    with(link, Role::Match, name, fields).verdict == Verdict::Continue
}

fn states() {
    for (info, bit) in [(ESTABLISHED, 2), (RELATED, 4), (NEW, 8), (REPLY, 2), (4, 4)] {
        let link = Link::udp(info);
        for asked in [1, 2, 4, 8, 64] {
            assert_eq!(is(&link, "state", &[(0, &nn(asked))]), asked == bit, "{info} {asked}");
        }
        let ask = |states: u32, not: u16| {
            is(&link, "conntrack", &[(146, &n(1)), (148, &n(not)), (150, &n(states as u16))])
        };
        assert!(ask(bit, 0) && !ask(!bit & 0xf, 0) && ask(!bit & 0xf, 1));
    }
    let mut link = Link::udp(ESTABLISHED);
    link.status = SRC_NAT;
    assert!(is(&link, "conntrack", &[(146, &n(1)), (150, &n(1 << 6))]), "state SNAT");
    assert!(!is(&link, "conntrack", &[(146, &n(1)), (150, &n(1 << 7))]), "state DNAT");
    // Without a connection, what asks beside the state is not looked at.
    let asked: &[(usize, &[u8])] = &[(146, &n(1 | 1 << 6)), (150, &n(1)), (152, &n(4))];
    assert!(means("conntrack", V4, asked, &datagram()));
    assert!(!means("conntrack", V4, &[(146, &n(1 << 6)), (148, &n(1 << 6))], &datagram()));
}

fn tuples() {
    let link = Link::udp(REPLY);
    let ones = [0xff; 4];
    let ask = |what: u16, not: bool, fields: &[(usize, &[u8])]| {
        let (asked, not) = (n(what), n(if not { what } else { 0 }));
        is(&link, "conntrack", &[&[(146, &asked[..]), (148, &not)], fields].concat())
    };
    let addresses = [[10, 0, 0, 1], [10, 0, 0, 2], [10, 0, 0, 9], [10, 0, 0, 1]];
    for (k, addr) in addresses.iter().enumerate() {
        let fields: &[(usize, &[u8])] = &[(32 * k, addr), (32 * k + 16, &ones)];
        assert!(ask(4 << k, false, fields) && !ask(4 << k, true, fields));
        assert!(!ask(4 << k, false, &[(32 * k, &[10, 0, 0, 77]), (32 * k + 16, &ones)]));
        assert!(ask(4 << k, false, &[(32 * k, &[10, 0, 0, 77]), (32 * k + 16, &[0xff, 0, 0, 0])]));
    }
    for (k, port) in [10u16, 20, 2020, 10].into_iter().enumerate() {
        let ports = |from: u16, to: u16| {
            ask(0x100 << k, false, &[(138 + 2 * k, &n(from)), (154 + 2 * k, &n(to))])
        };
        assert!(ports(port, port) && ports(1, port) && !ports(port + 1, u16::MAX));
    }
    assert!(ask(2, false, &[(136, &n(17))]) && !ask(2, false, &[(136, &n(6))]), "protocol");
    assert!(!ask(1 << 12, false, &[]) && ask(1 << 12, true, &[]), "direction");
    // The second revision has ports in wire order, the first masks of a byte.
    let revision = |revision: u8, fields: &[(usize, &[u8])]| {
        let mut found = named(Role::Match, "conntrack");
        let extension = found.find(|found| found.revision == revision).unwrap();
        let mut tried = made_of(extension, V4, fields);
        tried.link = Some(link.clone());
        tried.on(&datagram()).verdict
    };
    assert_eq!(revision(2, &[(146, &n(0x100)), (138, &[0, 10])]), Verdict::Continue);
    assert_eq!(revision(1, &[(146, &n(1)), (150, &[2])]), Verdict::Continue);
    assert_eq!(revision(1, &[(146, &n(1)), (150, &[4])]), Verdict::Break);
}

fn what_changes() {
    let mut link = Link { expires_in: 5900, ..Link::udp(ESTABLISHED) };
    let expires = |from: u32, to: u32| {
        [(146, n(1 << 7).to_vec()), (128, nn(from).to_vec()), (132, nn(to).to_vec())]
    };
    let ask = |link: &Link, fields: &[(usize, Vec<u8>)]| {
        let fields: Vec<_> = fields.iter().map(|(at, bytes)| (*at, &bytes[..])).collect();
        with(link, Role::Match, "conntrack", &fields)
    };
    let came = ask(&link, &expires(5, 5));
    assert!(came.verdict == Verdict::Continue && !came.cacheable);
    assert_eq!(ask(&link, &expires(6, 9)).verdict, Verdict::Break);
    let status = [(146, n(1 << 6).to_vec()), (152, n(ASSURED as u16).to_vec())];
    let came = ask(&link, &status);
    assert!(came.verdict == Verdict::Break && !came.cacheable, "it is not confirmed");
    link.status = ASSURED | CONFIRMED;
    let came = ask(&link, &status);
    assert!(came.verdict == Verdict::Continue && came.cacheable);
}

fn counts() {
    let link = Link { accounts: [(3, 300), (1, 1000)], ..Link::udp(ESTABLISHED) };
    let bytes = |what: u8, direction: u8, from: u64, to: u64| {
        let (from, to) = (from.to_ne_bytes(), to.to_ne_bytes());
        is(&link, "connbytes", &[(0, &from), (8, &to), (16, &[what, direction])])
    };
    assert!(bytes(0, 0, 3, 3) && bytes(0, 1, 1, 1) && bytes(0, 2, 4, 4));
    assert!(bytes(1, 0, 300, u64::MAX) && !bytes(1, 0, 301, u64::MAX) && bytes(1, 2, 1300, 1300));
    assert!(bytes(2, 0, 100, 100) && bytes(2, 2, 325, 325));
    assert!(!bytes(0, 0, 5, 2) && bytes(0, 0, 5, 4), "all but 4 to 5");

    let mut limit = made(Role::Match, "connlimit", V4, &[(0, &[0xff; 4]), (16, &nn(1))]);
    let flow = |port: u16, from: u8| {
        let mut link = Link::udp(NEW);
        link.keys[0].sport = port.to_be_bytes();
        link.keys[0].src[3] = from;
        link
    };
    let mut come = |link: Link, there: &[Link]| {
        limit.there = there.iter().map(|link| link.keys[0]).collect();
        let frame = datagram_from(link.keys[0].src[3]);
        limit.link = Some(link);
        limit.on(&frame).verdict
    };
    let (one, two, three) = (flow(1, 1), flow(2, 1), flow(3, 1));
    let all = [one.clone(), two.clone()];
    assert_eq!(come(one.clone(), &[]), Verdict::Break, "one is not more than one");
    assert_eq!(come(one.clone(), &all[..1]), Verdict::Break, "and remains one");
    assert_eq!(come(two.clone(), &all[..1]), Verdict::Continue);
    assert_eq!(come(flow(2, 9), &all), Verdict::Break, "another address");
    assert_eq!(come(three, &[]), Verdict::Break, "those before have ended");
}

fn marks() {
    let link = Link { mark: 0x12, secmark: 7, ..Link::udp(ESTABLISHED) };
    assert!(is(&link, "connmark", &[(0, &nn(2)), (4, &nn(0xf))]));
    assert!(!is(&link, "connmark", &[(0, &nn(2)), (4, &nn(0xf)), (8, &[1])]));
    assert!(!means("connmark", V4, &[(8, &[1])], &datagram()), "no connection");
    let change = |name: &str, mark: u32, fields: &[(usize, &[u8])]| {
        let mut tried = made(Role::Target, name, V4, fields);
        (tried.link, tried.mark) = (Some(link.clone()), mark);
        let came = tried.on(&datagram());
        assert_eq!(came.verdict, Verdict::Continue);
        came
    };
    // Revision 2: mark, mask, the packet's mask, by how many bits to which side, how.
    let all = nn(u32::MAX);
    let set = change("CONNMARK", 0, &[(0, &nn(0x30)), (4, &nn(0xf0)), (14, &[0])]);
    assert!(set.link.unwrap().mark == 0x32 && !set.cacheable);
    let same = change("CONNMARK", 0, &[(0, &nn(0x10)), (4, &nn(0xf0)), (14, &[0])]);
    assert!(same.link.unwrap().mark == 0x12 && same.cacheable);
    let save = change("CONNMARK", 5, &[(4, &nn(0xff)), (8, &all), (13, &[4, 1])]);
    assert_eq!(save.link.unwrap().mark, 0x50);
    let restore = change("CONNMARK", 5, &[(4, &nn(0xf0)), (8, &nn(0xf)), (12, &[1, 4, 2])]);
    assert_eq!((restore.meta.mark, restore.effects.rewritten), (1, true));

    assert_eq!(change("CONNSECMARK", 0, &[(0, &[2])]).meta.secmark, 7);
    let mut labelled = link.clone();
    labelled.labels[1] = 1;
    assert!(is(&labelled, "connlabel", &[(0, &n(8))]) && !is(&link, "connlabel", &[(0, &n(8))]));
    assert!(is(&link, "connlabel", &[(0, &n(8)), (2, &n(1))]), "inverted");
    let set = with(&link, Role::Match, "connlabel", &[(0, &n(17)), (2, &n(2))]);
    assert!(set.verdict == Verdict::Continue && set.link.unwrap().labels[2] == 2);
    assert!(!is(&link, "helper", &[]) && is(&link, "helper", &[(0, &nn(1))]));
    // Of two nodes one takes it, by the address.
    let node = |mask: u32| is(&link, "cluster", &[(0, &nn(2)), (4, &nn(mask)), (8, &nn(0xdead))]);
    assert!(node(1) != node(2) && node(3));
}

fn zones() {
    let zone = |flags: u16, zone: u16| {
        target("CT", V4, &[(0, &n(flags)), (2, &n(zone))], &datagram()).meta.template
    };
    assert_eq!(zone(0, 5).zone, [5, 5]);
    assert_eq!(zone(4, 5).zone, [5, 0]);
    assert_eq!(zone(8, 5).zone, [0, 5]);
    assert!(zone(0, 0).said);
    let mut marked = made(Role::Target, "CT", V4, &[(0, &n(16))]);
    marked.mark = 0x10009;
    assert_eq!(marked.on(&datagram()).meta.template.zone, [9, 9]);
    // What has a connection is not tracked otherwise.
    let came = with(&Link::udp(NEW), Role::Target, "NOTRACK", &[]);
    assert!(!came.meta.untracked);
}

fn nat() {
    let ask = |name: &str, family: Family, hook: Hook, fields: &[(usize, &[u8])]| {
        let mut tried = made(Role::Target, name, family, fields);
        (tried.hook, tried.link) = (hook, Some(Link::udp(NEW)));
        let came = tried.on(&datagram());
        assert_eq!(came.verdict, Verdict::Accept);
        came.asked[0]
    };
    let addr = |bytes: &[u8]| {
        let mut addr = [0; 16];
        addr[..bytes.len()].copy_from_slice(bytes);
        addr
    };
    let (from, to) = (addr(&[192, 0, 2, 1]), addr(&[192, 0, 2, 9]));
    let how = ask(
        "SNAT",
        V4,
        Hook::Postrouting,
        &[(0, &nn(3 | 8)), (4, &from), (20, &to), (36, &[1, 0, 2, 0, 0, 80])],
    );
    assert_eq!((how.side, how.to, how.flags), (Side::Source, To::Range(from, to), 8));
    assert_eq!((how.ports, how.base), (Some((256, 512)), 80));
    let how = ask("DNAT", V4, Hook::Prerouting, &[(0, &nn(2)), (36, &[1, 0, 1, 0])]);
    assert_eq!((how.side, how.to, how.ports), (Side::Destination, To::Same, Some((256, 256))));
    let multi: &[(usize, &[u8])] = &[(0, &nn(1)), (4, &nn(0x10))];
    let how = ask("MASQUERADE", V4, Hook::Postrouting, multi);
    assert_eq!((how.side, how.to, how.ports, how.flags), (Side::Source, To::Leaving, None, 16));
    let multi: &[(usize, &[u8])] = &[(0, &nn(1)), (4, &nn(2)), (16, &[0x1f, 0x90, 0x1f, 0x90])];
    let how = ask("REDIRECT", V4, Hook::Prerouting, multi);
    assert_eq!((how.side, how.to, how.ports), (Side::Destination, To::Here, Some((8080, 8080))));
    // 10.0.0.2 of a network of 16 addresses.
    let multi: &[(usize, &[u8])] =
        &[(0, &nn(1)), (4, &nn(1)), (8, &[192, 0, 2, 16]), (12, &[192, 0, 2, 31])];
    let how = ask("NETMAP", V4, Hook::Prerouting, multi);
    let mapped = addr(&[192, 0, 2, 18]);
    assert_eq!((how.side, how.to), (Side::Destination, To::Range(mapped, mapped)));
    let how = ask("NETMAP", V4, Hook::Postrouting, multi);
    let mapped = addr(&[192, 0, 2, 17]);
    assert_eq!((how.side, how.to), (Side::Source, To::Range(mapped, mapped)));
}
