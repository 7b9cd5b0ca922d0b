//! Golden vectors: what this minor version puts on the wire, byte for byte, and what it does with what others put there.
//!
//! `vectors/records.txt` and `vectors/datagrams.txt` are of this version; with `TWINWALL_BLESS=1` they are written anew, which is right
//! only for a new minor version, and only for what it adds. `vectors/older.txt` and `vectors/newer.txt` were made by another
//! implementation (Python, with its own HKDF and AES-GCM) as an older and a newer version might speak.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fmt::Write as _;
use std::path::PathBuf;

use packet::FlowKey;
use sync::ids::{Epoch, FlowId, Generation, Group, Lane, NodeId, Seq, Term, Version};
use sync::records::*;
use sync::seal::{Keyring, Opener, Sealer, Sending, TRAILER};
use sync::wire::{self, Flags, HEADER, Header, Kind, MINOR, Malformed, Type};

const KEY: &str = "1 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const CLUSTER: u16 = 7;

fn node(id: u8) -> NodeId {
    NodeId::new(id).unwrap()
}

fn id() -> FlowId {
    FlowId::new(node(1), Lane::new(2).unwrap(), 0x0304_0506, Generation::new(0x0708))
}

fn key4(src: u8, dst: u8, sport: u16, dport: u16, protocol: u8) -> FlowKey {
    let addr = |last| {
        let mut addr = [0; 16];
        addr[..4].copy_from_slice(&[10, 0, 0, last]);
        addr
    };
    let (sport, dport) = (sport.to_be_bytes(), dport.to_be_bytes());
    let (src, dst) = (addr(src), addr(dst));
    FlowKey { src, dst, sport, dport, protocol, family: 4, zone: [0, 3] }
}

fn key6(src: u8, dst: u8, protocol: u8) -> FlowKey {
    let addr = |last| [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    let (src, dst) = (addr(src), addr(dst));
    let (sport, dport) = (1000u16.to_be_bytes(), 53u16.to_be_bytes());
    FlowKey { src, dst, sport, dport, protocol, family: 6, zone: [0, 0] }
}

fn tcp() -> Proto {
    let side = |from: u32, flags| TcpSide {
        end: from,
        max_end: from + 0x100,
        max_window: 0x1_0000,
        scale: 7,
        flags,
    };
    Proto::Tcp(Tcp { sides: [side(0x1000_0000, 1), side(0x2000_0000, 3)], state: 3 })
}

fn full(keys: [FlowKey; 2], proto: Proto) -> FlowFull {
    let state = FlowState { status: 0x018e, mark: 0, remaining: 432_000_000, proto, labels: None };
    let (version, group) = (Version(9), Group(4));
    let (rules, behind, timeouts) = (0xaabb_ccdd, 0, Timeouts::new());
    FlowFull { id: id(), version, group, keys, state, rules, behind, timeouts }
}

fn masqueraded() -> FlowFull {
    let keys = [key4(1, 2, 40_000, 443, 6), key4(2, 9, 443, 50_001, 6)];
    FlowFull { behind: 0x1122_3344, ..full(keys, tcp()) }
}

fn everything() -> FlowFull {
    let mut most = full([key6(1, 2, 17), key6(2, 1, 17)], Proto::Udp(2000));
    most.state.mark = 0x55;
    most.state.labels = Some([0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    most.timeouts.extend([30, 180]);
    most
}

/// A name, what it says, and the value.
type Vector = (&'static str, &'static str, Record<'static>);

fn flows() -> Vec<Vector> {
    let both = [key4(1, 2, 5, 6, 132), key4(2, 1, 6, 5, 132)];
    let gre = [key4(1, 2, 0, 0, 47), key4(2, 1, 0, 0, 47)];
    let nat64 = [key6(1, 2, 58), key4(2, 1, 8, 0, 1)];
    let sctp = Proto::Sctp { tags: [0x0102_0304, 0x0506_0708], state: 4, asked: 3 };
    let (id, version) = (id(), Version(10));
    let state =
        |mark, proto| FlowState { status: 0x0e, mark, remaining: 5000, proto, labels: None };
    vec![
        (
            "full-ipv4-tcp-masqueraded",
            "FLOW_FULL of a flow of node 1, lane 2, slot 0x03040506, generation 0x708: TCP over IPv4 in zone 3, established, its source translated from 10.0.0.1:40000 to 10.0.0.9:50001, behind an interface",
            Record::Full(masqueraded()),
        ),
        (
            "full-ipv4-other",
            "FLOW_FULL of 64 bytes: ICMP, nothing but its timeout",
            Record::Full(full([key4(1, 2, 1, 0x800, 1), key4(2, 1, 1, 0, 1)], Proto::None)),
        ),
        (
            "full-ipv6-udp-labels-timeouts",
            "FLOW_FULL of UDP over IPv6, two seconds before it is a stream, with mark 0x55, labels 7 and 120, and timeouts of its own, 30 and 180 s",
            Record::Full(everything()),
        ),
        ("full-ipv4-sctp", "FLOW_FULL of SCTP, both INITs seen", Record::Full(full(both, sctp))),
        (
            "full-ipv4-gre",
            "FLOW_FULL of GRE, timeouts of 30 and 180 s",
            Record::Full(full(gre, Proto::Gre([30, 180]))),
        ),
        (
            "full-two-families",
            "FLOW_FULL whose original direction is of IPv6, and whose reply direction is of IPv4: long addresses",
            Record::Full(full(nat64, Proto::None)),
        ),
        (
            "update-plain",
            "FLOW_UPD of 24 bytes",
            Record::Update { id, version, state: state(0, Proto::None) },
        ),
        (
            "update-tcp-mark",
            "FLOW_UPD of a TCP flow with mark 0xfeed",
            Record::Update { id, version, state: state(0xfeed, tcp()) },
        ),
        ("delete", "FLOW_DEL", Record::Delete { id, version }),
        ("request", "FLOW_REQ", Record::Request(id)),
        ("defer-ack", "DEFER_ACK", Record::DeferAck { id, version }),
    ]
}

fn others() -> Vec<Vector> {
    let element = SetElement {
        family: 2,
        gone: false,
        table: b"filter",
        set: b"seen",
        key: &[10, 0, 0, 1],
        data: &[0, 0, 0, 7],
        remaining: 59_000,
        timeout: 60_000,
        version: 0x6_0000_0203,
    };
    let gone = SetElement { gone: true, data: &[], remaining: 0, timeout: 0, ..element };
    let mut addr = [0; 16];
    addr[..4].copy_from_slice(&[10, 0, 0, 1]);
    let mac = [2, 0, 0, 0, 0, 1];
    let (epoch, seq) = (Epoch(0x0102_0304_0506_0708), Seq(1000));
    let hello = Hello {
        lanes: 2,
        minor: 1,
        synchronised: true,
        wants_bulk: false,
        capacity: 1_048_576,
        ruleset: 0x1122_3344_5566_7788,
        nodes: 2,
    };
    let (group, term, to) = (Group(4), Term(6), node(2));
    let all = BulkId { number: 3, first: 0, whose: None };
    let (inside, outside) = (Seq(900), Seq(500));
    let part = Part { first: 0, next: 2048, inside, outside, all: true, bucket: None };
    let (inside, outside) = (Seq(0), Seq(u64::MAX));
    let bucket = Part { first: 0, next: 0, inside, outside, all: false, bucket: Some(77) };
    vec![
        (
            "set-element",
            "SET_ELEM: an element of a map, in term 6, with 59 of 60 seconds left",
            Record::Set(element),
        ),
        ("set-element-gone", "SET_ELEM: it was deleted", Record::Set(gone)),
        (
            "neighbour",
            "NEIGH: 10.0.0.1 is at 02:00:00:00:00:01",
            Record::Neighbour(Neighbour { port: 0xcafe, family: 4, addr, mac }),
        ),
        ("expect", "EXPECT: opaque yet", Record::Expect(b"expected")),
        ("nat-block", "NAT_BLOCK: opaque yet", Record::NatBlock(b"")),
        (
            "resolve",
            "RESOLVE: what 1000 carried travelled again in this datagram and the 3 before it",
            Record::Resolve { seq, since: 3 },
        ),
        ("lost", "LOST: 1000 to 1015", Record::Lost { from: seq, to: Seq(1015) }),
        (
            "missing",
            "MISSING: 1000 to 1001, and 1005",
            Record::Missing([(seq, Seq(1001)), (Seq(1005), Seq(1005))].into_iter().collect()),
        ),
        (
            "watermark",
            "WATERMARK: of node 2, lane 1 all up to 1000 is there, and applied",
            Record::Watermark { node: to, lane: 1, epoch, seq, applied: true },
        ),
        (
            "digest",
            "DIGEST: buckets 256 and 257",
            Record::Digest { from: 256, buckets: [1, u64::MAX].into_iter().collect() },
        ),
        (
            "bulk-begin",
            "BULK_BEGIN: 65,536 slots, from slot 2048 on",
            Record::BulkBegin { bulk: BulkId { first: 2048, ..all }, slots: 65_536 },
        ),
        ("bulk-mark", "BULK_MARK: up to slot 1024", Record::BulkMark { bulk: all, slot: 1024 }),
        ("bulk-end", "BULK_END: 17 flows", Record::BulkEnd { bulk: all, flows: 17 }),
        (
            "bulk-end-part",
            "BULK_END: 17 flows, in answer to node 2's third request",
            Record::BulkEnd { bulk: BulkId { whose: Some((to, 3)), ..all }, flows: 17 },
        ),
        (
            "bulk-request",
            "BULK_REQ: all flows, the second request",
            Record::BulkRequest { request: 2, part: None },
        ),
        (
            "bulk-request-part",
            "BULK_REQ: what is new since 900 in slots 0 to 2047, all others, and what changed in them since 500; the third request",
            Record::BulkRequest { request: 3, part: Some(part) },
        ),
        (
            "bulk-request-bucket",
            "BULK_REQ: bucket 77 and nothing else, the fourth request",
            Record::BulkRequest { request: 4, part: Some(bucket) },
        ),
        (
            "role",
            "ROLE: active for group 4, under term 6 of node 2",
            Record::Role { group, role: Role::Active, term, owner: Some(to) },
        ),
        (
            "role-nobody",
            "ROLE: standby, and nobody was owner yet",
            Record::Role { group: Group(0), role: Role::Standby, term: Term(0), owner: None },
        ),
        ("hello", "HELLO", Record::Hello(hello)),
        ("port", "PORT", Record::Port { name: 0xcafe, mac }),
        ("barrier", "BARRIER for node 2", Record::Barrier { group, to }),
        ("grant", "GRANT to node 2 of term 6", Record::Grant { group, term, to }),
    ]
}

fn vectors() -> Vec<Vector> {
    flows().into_iter().chain(others()).collect()
}

/// A datagram's name, what it says, and how it is sealed.
struct Sealed {
    name: &'static str,
    text: &'static str,
    keys: Keyring,
    what: Sending,
    records: Vec<u8>,
}

fn datagrams() -> Vec<Sealed> {
    let keys = || Keyring::parse(KEY).unwrap();
    let of = |record: Record<'_>| encoded(&record);
    let what = |kind, flags, seq| Sending {
        kind,
        lane: Lane::new(5).unwrap(),
        flags: Flags(flags),
        ruleset: 0xaabb_ccdd,
        seq: Seq(seq),
    };
    let role = || {
        of(Record::Role {
            group: Group(0),
            role: Role::Active,
            term: Term(6),
            owner: Some(node(1)),
        })
    };
    let two = [
        role(),
        of(Record::Full(masqueraded())),
        of(Record::Delete { id: id(), version: Version(1) }),
    ]
    .concat();
    vec![
        Sealed {
            name: "data",
            text: "DATA 1000 of lane 5, the last in a burst: ROLE, FLOW_FULL, FLOW_DEL",
            keys: keys(),
            what: what(Type::Data, Flags::LAST_IN_BURST, 1000),
            records: two.clone(),
        },
        Sealed {
            name: "heartbeat",
            text: "HEARTBEAT of lane 5, the first of this epoch: ROLE",
            keys: keys(),
            what: what(Type::Heartbeat, 0, 1000),
            records: role(),
        },
        Sealed {
            name: "heartbeat-empty",
            text: "HEARTBEAT without records",
            keys: keys(),
            what: what(Type::Heartbeat, 0, 1000),
            records: Vec::new(),
        },
        Sealed {
            name: "data-unauthenticated",
            text: "The same DATA without a key, with CRC32C",
            keys: Keyring::unauthenticated(),
            what: what(Type::Data, Flags::LAST_IN_BURST, 1000),
            records: two,
        },
        Sealed {
            name: "heartbeat-unauthenticated",
            text: "The same HEARTBEAT without a key, with a counter and CRC32C",
            keys: Keyring::unauthenticated(),
            what: what(Type::Heartbeat, 0, 1000),
            records: role(),
        },
    ]
}

const EPOCH: Epoch = Epoch(0x0102_0304_0506_0708);

fn encoded(record: &Record<'_>) -> Vec<u8> {
    let mut room = [0; 2048];
    let length = wire::encode(record, &mut room).unwrap();
    room[..length].to_vec()
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for line in bytes.chunks(32) {
        for (at, byte) in line.iter().enumerate() {
            let space = if at != 0 && at % 4 == 0 { " " } else { "" };
            write!(text, "{space}{byte:02x}").unwrap();
        }
        text.push('\n');
    }
    text
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name)
}

/// The entries of a file, by name.
fn read(name: &str) -> Vec<(String, Vec<u8>)> {
    let mut entries: Vec<(String, Vec<u8>)> = Vec::new();
    for line in std::fs::read_to_string(path(name)).unwrap().lines() {
        if let Some(name) = line.strip_prefix('[') {
            entries.push((name.trim_end_matches(']').into(), Vec::new()));
        } else if !line.starts_with('#') {
            let digits: Vec<u8> = line.bytes().filter(|byte| *byte != b' ').collect();
            let bytes = digits
                .chunks(2)
                .map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap());
            let bytes: Vec<u8> = bytes.collect();
            if !bytes.is_empty() {
                entries.last_mut().unwrap().1.extend(bytes);
            }
        }
    }
    entries
}

fn bytes(name: &str, entry: &str) -> Vec<u8> {
    read(name).into_iter().find(|(name, _)| name == entry).unwrap().1
}

/// Compares with what is committed, or writes it.
fn hold(name: &str, text: &str) {
    if std::env::var_os("TWINWALL_BLESS").is_some() {
        std::fs::write(path(name), text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path(name)).unwrap(), text, "{name} does not agree");
}

#[test]
fn records_look_as_they_always_did() {
    let mut text = format!(
        "# Records of TWS/1.{MINOR} (docs/sync-protocol.md): a name, what it says, its bytes.\n"
    );
    for (name, what, record) in vectors() {
        write!(text, "\n[{name}]\n# {what}.\n{}", hex(&encoded(&record))).unwrap();
    }
    hold("records.txt", &text);
    let entries = read("records.txt");
    assert_eq!(entries.len(), vectors().len());
    for ((name, bytes), (expected, _, record)) in entries.iter().zip(vectors()) {
        assert_eq!(name, expected);
        assert_eq!(wire::decode(bytes), Ok(record.clone()), "{name}");
        assert_eq!(encoded(&record), *bytes, "{name}");
        let all: Vec<_> = wire::records(bytes).collect();
        assert_eq!(all, [Ok((record, bytes.as_slice()))], "{name}");
    }
}

#[test]
fn there_is_a_vector_for_every_type_of_record() {
    let kinds: std::collections::BTreeSet<Kind> =
        vectors().iter().filter_map(|(_, _, record)| wire::kind(&encoded(record))).collect();
    for number in 0..=255 {
        let is_known = !matches!(
            wire::decode(&[number, wire::MUST_UNDERSTAND, 4, 0]),
            Err(Malformed::NotUnderstood(_))
        );
        assert_eq!(kinds.contains(&Kind(number)), is_known, "{number}");
    }
}

#[test]
fn datagrams_look_as_they_always_did() {
    let mut text = format!(
        "# Datagrams of TWS/1.{MINOR} (docs/sync-protocol.md) from node 1 of cluster {CLUSTER} in epoch {:#x}, ruleset 0xaabbccdd.\n# The key file: {KEY}\n",
        EPOCH.0
    );
    // As one sender would: the counters of the others than DATA go on.
    let mut sealers: Vec<(bool, Sealer)> = Vec::new();
    for Sealed { name, text: says, keys, what, records } in datagrams() {
        let open = keys.is_unauthenticated();
        if !sealers.iter().any(|(of, _)| *of == open) {
            sealers.push((open, Sealer::new(&keys, CLUSTER, node(1), EPOCH)));
        }
        let (_, sealer) = sealers.iter_mut().find(|(of, _)| *of == open).unwrap();
        let mut datagram = [&[0; HEADER], records.as_slice(), &[0; TRAILER]].concat();
        let length = sealer.seal(&what, &mut datagram, records.len()).unwrap();
        datagram.truncate(length);
        write!(text, "\n[{name}]\n# {says}.\n{}", hex(&datagram)).unwrap();
    }
    hold("datagrams.txt", &text);
    for Sealed { name, keys, what, records, .. } in datagrams() {
        let mut datagram = bytes("datagrams.txt", name);
        let mut opener = Opener::new(keys, CLUSTER, node(2));
        let (header, opened) = opener.open(&mut datagram).unwrap();
        let seen = Sending {
            kind: header.kind,
            lane: header.lane,
            flags: header.flags,
            ruleset: header.ruleset,
            seq: header.seq,
        };
        assert_eq!((seen, opened), (what, records.as_slice()), "{name}");
        assert_eq!((header.minor, header.epoch, header.node), (MINOR, EPOCH, node(1)), "{name}");
        assert_eq!(wire::check(opened), Ok(()), "{name}");
    }
}

/// Opens an entry of a file with the key of all of them.
fn open(name: &str, entry: &str) -> (Header, Vec<u8>) {
    let mut datagram = bytes(name, entry);
    let mut opener = Opener::new(Keyring::parse(KEY).unwrap(), CLUSTER, node(2));
    let (header, records) = opener.open(&mut datagram).unwrap();
    (header, records.to_vec())
}

#[test]
fn an_older_version_is_understood() {
    let (header, records) = open("older.txt", "data");
    assert_eq!((header.minor, header.kind, header.seq), (0, Type::Data, Seq(1)));
    let read: Vec<_> =
        wire::records(&records).map(|record| record.map(|(record, _)| record)).collect();
    let keys = [key4(1, 2, 1, 0x800, 1), key4(2, 1, 1, 0, 1)];
    let expected = [
        Ok(Record::Full(full(keys, Proto::None))),
        Ok(Record::Delete { id: id(), version: Version(10) }),
    ];
    assert_eq!(read, expected);
    let (header, records) = open("older.txt", "hello");
    assert_eq!((header.minor, header.kind, header.seq), (0, Type::Hello, Seq(1)));
    let Ok(Record::Hello(hello)) = wire::decode(&records) else { panic!("no HELLO") };
    assert_eq!((hello.minor, hello.lanes, hello.capacity), (0, 2, 1_048_576));
}

#[test]
fn of_a_newer_version_what_can_be_is_understood() {
    let (header, records) = open("newer.txt", "data");
    assert_eq!((header.minor, header.kind, header.seq), (2, Type::Data, Seq(1)));
    let read: Vec<_> =
        wire::records(&records).map(|record| record.map(|(record, _)| record)).collect();
    let (id, version) = (id(), Version(10));
    let keys = [key4(1, 2, 1, 0x800, 1), key4(2, 1, 1, 0, 1)];
    let expected = [
        // May be skipped.
        Ok(Record::Unknown(240)),
        // With a part that is not known, behind all that is.
        Ok(Record::Full(full(keys, Proto::None))),
        Err(Malformed::NotUnderstood(Kind(241))),
        // With more in it than there was.
        Ok(Record::Delete { id, version }),
        Ok(Record::Request(id)),
    ];
    assert_eq!(read, expected);
    assert_eq!(wire::check(&records), Err(Malformed::NotUnderstood(Kind(241))));
}
