//! The wire: what is written is read again, what is longer than it may be or cut short is refused, and nothing panics.

use proptest::collection::vec;
use proptest::prelude::*;

use super::arbitrary::{full, record};
use super::*;
use crate::ids::{Epoch, Generation, Group, Lane, NodeId, Seq};
use crate::records::{BulkId, FlowFull, FlowState, Proto, SetElement, Tcp, Timeouts};

fn encoded(record: &Record<'_>) -> Vec<u8> {
    let mut room = [0xaa; 4096];
    let length = encode(record, &mut room).unwrap();
    room[..length].to_vec()
}

fn flow(v6: bool, proto: Proto) -> FlowFull {
    let key = FlowKey { family: if v6 { 6 } else { 4 }, protocol: 6, ..FlowKey::default() };
    FlowFull {
        id: FlowId::new(NodeId::new(3).unwrap(), Lane::new(5).unwrap(), 7, Generation::new(9)),
        version: Version(11),
        group: Group(1),
        keys: [key, key],
        state: FlowState { proto, ..FlowState::default() },
        rules: 0,
        behind: 0,
        timeouts: Timeouts::new(),
    }
}

#[test]
fn records_are_as_long_as_the_protocol_says() {
    let tcp = || Proto::Tcp(Tcp::default());
    let of = |full: &FlowFull| encoded(&Record::Full(full.clone())).len();
    assert_eq!(of(&flow(false, Proto::None)), 64);
    assert_eq!(of(&flow(true, Proto::None)), 112);
    assert_eq!(of(&flow(false, tcp())), 96);
    let mut most = flow(true, tcp());
    most.state.labels = Some([1; 16]);
    most.behind = 1;
    most.timeouts.extend(1..=14);
    assert_eq!(of(&most), FULL_MAX);

    let (id, version) = (most.id, most.version);
    let update = |state: FlowState| encoded(&Record::Update { id, version, state }).len();
    assert_eq!(update(FlowState::default()), 24);
    assert_eq!(update(FlowState { proto: tcp(), ..FlowState::default() }), 56);
    assert_eq!(update(FlowState { mark: 1, ..FlowState::default() }), 28);
    assert_eq!(encoded(&Record::Delete { id, version }).len(), 20);
    assert_eq!(encoded(&Record::Request(id)).len(), 12);
    assert_eq!(encoded(&Record::Resolve { seq: Seq(1), since: 1 }).len(), 16);
    assert_eq!(encoded(&Record::Lost { from: Seq(1), to: Seq(1) }).len(), 16);
    assert_eq!(encoded(&Record::BulkMark { bulk: BulkId::default(), slot: 1 }).len(), 24);
    assert_eq!(encoded(&Record::BulkRequest { request: 1, part: None }).len(), 12);
}

#[test]
fn what_does_not_exist_on_the_wire_is_refused() {
    let mut room = [0; 4096];
    let mut unfit = |record| {
        let result = encode(&record, &mut room);
        assert_eq!(result, Err(Unencodable::Unfit), "{record:?}");
    };
    let full = |change: fn(&mut FlowKey)| {
        let mut full = flow(false, Proto::None);
        change(&mut full.keys[1]);
        Record::Full(full)
    };
    unfit(full(|key| key.family = 0));
    unfit(full(|key| key.family = 20));
    unfit(full(|key| key.src[15] = 1));
    unfit(full(|key| key.dst[4] = 1));
    unfit(Record::Lost { from: Seq(2), to: Seq(1) });
    unfit(Record::Lost { from: Seq(0), to: Seq(1 << 33) });
    unfit(Record::Unknown(200));
    let element = SetElement {
        family: 2,
        gone: false,
        table: &[b'x'; 256],
        set: b"",
        key: b"",
        data: b"",
        remaining: 0,
        timeout: 0,
        version: 0,
    };
    assert_eq!(encode(&Record::Set(element), &mut room), Err(Unencodable::TooLong));
    let expect = [0; 0x10000];
    let mut room = vec![0; 0x20000];
    assert_eq!(encode(&Record::Expect(&expect), &mut room), Err(Unencodable::TooLong));
}

#[test]
fn an_unknown_record_is_skipped_or_reported_and_what_is_behind_it_is_read() {
    let request = encoded(&Record::Request(FlowId::from_bits(1)));
    let payload = [&[200, 0, 6, 0, 1, 2][..], &[201, MUST_UNDERSTAND, 4, 0], &request].concat();
    let read: Vec<_> = records(&payload).map(|record| record.map(|(record, _)| record)).collect();
    let expected = [
        Ok(Record::Unknown(200)),
        Err(Malformed::NotUnderstood(Kind(201))),
        Ok(Record::Request(FlowId::from_bits(1))),
    ];
    assert_eq!(read, expected);
    assert_eq!(check(&payload), Err(Malformed::NotUnderstood(Kind(201))));
}

#[test]
fn a_known_record_may_be_longer_than_what_is_known_of_it() {
    let mut bytes = encoded(&Record::Full(flow(false, Proto::Udp(3))));
    bytes[23] |= 0x80;
    bytes.extend([1, 2, 3]);
    bytes[2] += 3;
    assert_eq!(decode(&bytes), Ok(Record::Full(flow(false, Proto::Udp(3)))));
}

#[test]
fn the_two_families_of_a_flow_may_differ() {
    let mut full = flow(false, Proto::None);
    full.keys[1].family = 6;
    full.keys[1].protocol = 58;
    full.keys[1].dst = [9; 16];
    let bytes = encoded(&Record::Full(full.clone()));
    assert_eq!(original_key(&bytes), Some(full.keys[0]));
    assert_eq!(decode(&bytes), Ok(Record::Full(full)));
}

#[test]
fn bodies_that_say_what_cannot_be_are_refused() {
    let bad = |record: Record<'_>, at: usize, value: u8| {
        let mut bytes = encoded(&record);
        assert!(decode(&bytes).is_ok());
        bytes[at] = value;
        let kind = kind(&bytes).unwrap();
        assert_eq!(decode(&bytes), Err(Malformed::Body(kind)), "{record:?}");
        let read: Vec<_> = records(&bytes).collect();
        assert_eq!(read, [Err(Malformed::Body(kind))]);
    };
    let full = || Record::Full(flow(false, Proto::Tcp(Tcp::default())));
    // Two protocols; a mark, which it has anyway; a family that there is not; IPv4 in one direction with a long address.
    bad(full(), 22, 3);
    bad(full(), 22, 1 << 5);
    bad(full(), 31, 0x45);
    let mut mixed = flow(true, Proto::None);
    mixed.keys[0] = FlowKey { family: 4, ..FlowKey::default() };
    bad(Record::Full(mixed), 40 + 15, 1);
    let node = NodeId::new(1).unwrap();
    bad(Record::Barrier { group: Group(0), to: node }, 5, 16);
    bad(Record::Missing([(Seq(1), Seq(1))].into_iter().collect()), 4, 2);
    bad(Record::Missing([(Seq(1), Seq(1))].into_iter().collect()), 7, 255);
    let lost = Record::Lost { from: Seq(u64::MAX - 0xff), to: Seq(u64::MAX) };
    bad(lost, 13, 1);
}

proptest! {
    #[test]
    fn records_come_back(all in vec(record(), 0..6)) {
        let mut payload = Vec::new();
        let mut each = Vec::new();
        for record in &all {
            each.push(encoded(record));
            payload.extend_from_slice(each.last().unwrap());
        }
        prop_assert_eq!(check(&payload), Ok(()));
        let read: Vec<_> = records(&payload).map(Result::unwrap).collect();
        prop_assert_eq!(read.len(), all.len());
        for ((record, bytes), (was, wrote)) in read.iter().zip(all.iter().zip(&each)) {
            prop_assert_eq!(record, was);
            prop_assert_eq!(bytes, wrote);
        }
    }

    #[test]
    fn too_little_room_is_said(record in record()) {
        let whole = encoded(&record);
        for room in 0..whole.len() {
            prop_assert_eq!(encode(&record, &mut vec![0; room]), Err(Unencodable::TooLong));
        }
        let mut exact = vec![0; whole.len()];
        prop_assert_eq!(encode(&record, &mut exact), Ok(whole.len()));
        prop_assert_eq!(exact, whole);
    }

    #[test]
    fn looking_into_a_record_agrees_with_decoding_it(record in record()) {
        let bytes = encoded(&record);
        let (id, said) = match &record {
            Record::Full(full) => (Some(full.id), Some(full.version)),
            Record::Update { id, version, .. } | Record::Delete { id, version } => (Some(*id), Some(*version)),
            Record::DeferAck { id, version } => (Some(*id), Some(*version)),
            Record::Request(id) => (Some(*id), None),
            _ => (None, None),
        };
        prop_assert_eq!(flow_id(&bytes), id);
        prop_assert_eq!(version(&bytes), said);
        let key = if let Record::Full(full) = &record { Some(full.keys[0]) } else { None };
        prop_assert_eq!(original_key(&bytes), key);
    }

    #[test]
    fn every_truncation_is_noticed(record in record()) {
        let bytes = encoded(&record);
        for cut in 1..bytes.len() {
            let cut = &bytes[..cut];
            prop_assert_eq!(records(cut).collect::<Vec<_>>(), [Err(Malformed::Length)]);
            let _ = (kind(cut), flow_id(cut), version(cut), original_key(cut));
            // With a length that agrees, a body is too short, unless all of it is bytes that may be of any number.
            if cut.len() >= RECORD_HEADER {
                let mut agreeing = cut.to_vec();
                agreeing[2..4].copy_from_slice(&(cut.len() as u16).to_le_bytes());
                let any = match record {
                    Record::Expect(_) | Record::NatBlock(_) => true,
                    // An earlier version says no more.
                    Record::BulkRequest { .. } => cut.len() == 12,
                    _ => false,
                };
                prop_assert_eq!(decode(&agreeing).is_ok(), any);
            }
        }
    }

    #[test]
    fn a_flipped_bit_harms_nobody(record in record(), at in any::<prop::sample::Index>(), bit in 0..8u8) {
        let mut bytes = encoded(&record);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        look_at_all(&bytes)?;
    }

    #[test]
    fn any_bytes_harm_nobody(bytes in vec(any::<u8>(), 0..200)) {
        look_at_all(&bytes)?;
        let _ = Header::decode(&bytes);
    }

    #[test]
    fn headers_come_back(
        minor in 0..16u8, kind in 1..=Type::COUNT as u8, cluster: u16, node in 0..16u8, lane in 0..64u8, key: u8, flags: u8, length: u16,
        ruleset: u32, epoch: u64, seq: u64,
    ) {
        let kind = Type::new(kind).unwrap();
        let (node, lane) = (NodeId::new(node).unwrap(), Lane::new(lane).unwrap());
        let (flags, epoch, seq) = (Flags(flags), Epoch(epoch), Seq(seq));
        let header =
            Header { minor, kind, cluster, node, lane, key, flags, length, ruleset, epoch, seq };
        let bytes = header.encode();
        prop_assert_eq!(Header::decode(&bytes), Ok(header));
        for cut in 0..HEADER {
            prop_assert_eq!(Header::decode(&bytes[..cut]), Err(HeaderError::Short));
        }
    }

    #[test]
    fn what_is_decoded_is_encoded_the_same(full in full()) {
        let bytes = encoded(&Record::Full(full));
        let again = decode(&bytes).unwrap();
        prop_assert_eq!(encoded(&again), bytes);
    }
}

/// Whatever is read can be written, and is then read as the same.
fn look_at_all(bytes: &[u8]) -> Result<(), TestCaseError> {
    let _ = (kind(bytes), flow_id(bytes), version(bytes), original_key(bytes));
    let mut covered = 0;
    for (record, own) in records(bytes).flatten() {
        covered += own.len();
        if record != Record::Unknown(own[0]) {
            let again = encoded(&record);
            prop_assert_eq!(decode(&again), Ok(record));
        }
    }
    prop_assert!(covered <= bytes.len());
    Ok(())
}

#[test]
fn a_header_of_something_else_is_refused_with_the_reason() {
    let node = NodeId::new(1).unwrap();
    let header = Header {
        minor: MINOR,
        kind: Type::Data,
        cluster: 0x0102,
        node,
        lane: Lane::new(2).unwrap(),
        key: 3,
        flags: Flags(Flags::BULK),
        length: 0x0405,
        ruleset: 0x0607_0809,
        epoch: Epoch(10),
        seq: Seq(11),
    };
    let bytes = header.encode();
    let mut expected =
        *b"TW\x11\x01\x02\x01\x01\x02\x03\x02\x05\x04\x09\x08\x07\x06________________";
    expected[16..24].copy_from_slice(&10u64.to_le_bytes());
    expected[24..].copy_from_slice(&11u64.to_le_bytes());
    assert_eq!(bytes, expected);
    let with = |at: usize, value: u8| {
        let mut bytes = bytes;
        bytes[at] = value;
        Header::decode(&bytes)
    };
    assert_eq!(with(0, b'X'), Err(HeaderError::Magic));
    assert_eq!(with(2, 0x20), Err(HeaderError::Major(2)));
    assert_eq!(with(2, 0x15).map(|header| header.minor), Ok(5));
    assert_eq!(with(3, 0), Err(HeaderError::Type(0)));
    assert_eq!(with(3, 9), Err(HeaderError::Type(9)));
    assert_eq!(with(6, 16), Err(HeaderError::Node(16)));
    assert_eq!(with(7, 64), Err(HeaderError::Lane(64)));
}
