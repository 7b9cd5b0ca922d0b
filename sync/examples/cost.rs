//! What the wire costs: nanoseconds to encode and decode a FLOW_FULL, and to seal and open a full DATA datagram.
//!
//! `cargo run --release -p sync --example cost`
#![allow(clippy::unwrap_used, reason = "it measures, and stops where it cannot")]

use std::hint::black_box;
use std::time::Instant;

use packet::FlowKey;
use sync::ids::{Epoch, FlowId, Generation, Group, Lane, NodeId, Seq, Version};
use sync::records::{FlowFull, FlowState, Proto, Record, Tcp, Timeouts};
use sync::seal::{Keyring, Opener, Sealer, Sending, TRAILER};
use sync::wire::{self, Flags, HEADER, PAYLOAD, Type};

/// The best of some rounds, in nanoseconds each.
fn time(what: &str, count: u64, mut each: impl FnMut(u64)) -> f64 {
    let mut best = f64::MAX;
    let mut number = 0;
    for _ in 0..20 {
        let begin = Instant::now();
        for _ in 0..count {
            number += 1;
            each(number);
        }
        best = best.min(begin.elapsed().as_nanos() as f64 / count as f64);
    }
    println!("{what:<44} {best:8.1} ns");
    best
}

fn full(family: u8) -> FlowFull {
    let mut key = FlowKey { family, protocol: 6, ..FlowKey::default() };
    for addr in [&mut key.src, &mut key.dst] {
        for (at, byte) in addr.iter_mut().enumerate() {
            *byte = if family == 6 || at < 4 { at as u8 } else { 0 };
        }
    }
    let (node, lane) = (NodeId::new(1).unwrap(), Lane::new(0).unwrap());
    FlowFull {
        id: FlowId::new(node, lane, 5, Generation::new(7)),
        version: Version(3),
        group: Group(0),
        keys: [key, key],
        state: FlowState { proto: Proto::Tcp(Tcp::default()), ..FlowState::default() },
        rules: 1,
        behind: 0,
        timeouts: Timeouts::new(),
    }
}

fn main() {
    let mut room = [0; 2048];
    let mut length = 0;
    for family in [4, 6] {
        let record = Record::Full(full(family));
        time(&format!("encode FLOW_FULL, IPv{family}, TCP"), 100_000, |_| {
            length = wire::encode(black_box(&record), &mut room).unwrap();
        });
        let bytes = room.get(..length).unwrap();
        time(&format!("decode FLOW_FULL, IPv{family}, TCP, {length} bytes"), 100_000, |_| {
            black_box(wire::decode(black_box(bytes)).unwrap());
        });
        time(&format!("look for id, version and key of it, IPv{family}"), 100_000, |_| {
            let bytes = black_box(bytes);
            black_box((wire::flow_id(bytes), wire::version(bytes), wire::original_key(bytes)));
        });
    }
    let (id, version) = (full(4).id, Version(4));
    let update = Record::Update { id, version, state: full(4).state };
    time("encode FLOW_UPD, TCP", 100_000, |_| {
        length = wire::encode(black_box(&update), &mut room).unwrap();
    });
    let bytes = room.get(..length).unwrap();
    time("decode FLOW_UPD, TCP", 100_000, |_| {
        black_box(wire::decode(black_box(bytes)).unwrap());
    });

    let mut payload = Vec::new();
    let length = wire::encode(&Record::Full(full(4)), &mut room).unwrap();
    while payload.len() + length <= PAYLOAD {
        payload.extend_from_slice(room.get(..length).unwrap());
    }
    println!("a datagram: {} records, {} bytes of them", payload.len() / length, payload.len());
    time("go through a datagram's records", 10_000, |_| {
        for record in wire::records(black_box(&payload)) {
            black_box(record.unwrap());
        }
    });
    let keys = Keyring::parse(&format!("1 {}", "5a".repeat(32))).unwrap();
    for (name, keys) in [("AES-256-GCM", keys), ("CRC32C", Keyring::unauthenticated())] {
        let (from, to) = (NodeId::new(1).unwrap(), NodeId::new(2).unwrap());
        let lane = Lane::new(0).unwrap();
        let mut sealer = Sealer::new(&keys, 0, from, Epoch(1));
        let mut opener = Opener::new(keys, 0, to);
        let mut datagram = [&[0; HEADER], payload.as_slice(), &[0; TRAILER]].concat();
        let whole = datagram.len();
        let what =
            |seq| Sending { kind: Type::Data, lane, flags: Flags(0), ruleset: 1, seq: Seq(seq) };
        let copied = time("copy a datagram", 10_000, |_| {
            black_box(&mut datagram)
                .get_mut(HEADER..HEADER + payload.len())
                .unwrap()
                .copy_from_slice(&payload);
        });
        time(&format!("copy and seal it, {name}"), 10_000, |seq| {
            datagram.get_mut(HEADER..HEADER + payload.len()).unwrap().copy_from_slice(&payload);
            black_box(sealer.seal(&what(seq), &mut datagram, payload.len()).unwrap());
        });
        // Opened in place, so each is sealed for it first, outside of what is measured.
        let mut sealed = Vec::new();
        for seq in 1_000_000..1_005_000 {
            datagram.resize(whole, 0);
            datagram.get_mut(HEADER..HEADER + payload.len()).unwrap().copy_from_slice(&payload);
            let length = sealer.seal(&what(seq), &mut datagram, payload.len()).unwrap();
            sealed.push(datagram.get(..length).unwrap().to_vec());
        }
        let begin = Instant::now();
        for datagram in &mut sealed {
            black_box(opener.open(datagram).unwrap());
        }
        let each = begin.elapsed().as_nanos() as f64 / sealed.len() as f64;
        println!("{:<44} {each:8.1} ns   (one round)", format!("open it, {name}"));
        let mut sealed = sealed.pop().unwrap();
        time(&format!("reject it when it comes again, {name}"), 10_000, |_| {
            black_box(opener.open(&mut sealed).is_err());
        });
        // Somebody without the key claims that a node restarted: a key has to be derived to find out.
        let mut forged = sealed.clone();
        time(&format!("reject a forged one of a new epoch, {name}"), 2_000, |number| {
            forged.get_mut(16..24).unwrap().copy_from_slice(&(number + 1_000).to_le_bytes());
            black_box(opener.open(&mut forged).is_err());
        });
        println!("(of what sealing takes, {copied:.1} ns are the copy)");
    }
}
