//! What NAT costs a packet in instructions, for callgrind: run it with N and with 2N, the difference is N packets' (docs/nat.md).
//!
//! `cost KIND N`; kinds: `tcp4`, `udp4`, `tcp6`, `echo4`, `sctp4` rewrite a packet there and back, `none` a flow without NAT;
//! `crc` sums the SCTP packet instead. `bind` makes flows and binds them to one address, `make` makes and confirms them only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::hint::black_box;

use conntrack::shard::Config;
use conntrack::{Direction, Flow, Shard, Status};
use nat::{Manip, Pick, Range, Sides, bind, rewrite};
use packet::layers::parse;
use packet::{DropReason, FlowKey, Layers, Tick, VecFrame, crc32c};

const NOW: Tick = Tick(1_000_000_000);

struct Alone(u32);

impl Pick for Alone {
    fn random(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.0 >> 16
    }

    fn is_mine(&self, _: &FlowKey) -> bool {
        true
    }
}

fn frame(kind: &str) -> Vec<u8> {
    let (protocol, size) = match &kind[..3] {
        "tcp" | "non" => (6, 20),
        "udp" => (17, 26),
        "ech" => (1, 18),
        _ => (132, 1400),
    };
    let mut l4 = vec![0u8; size];
    match protocol {
        6 => (l4[12], l4[16]) = (0x50, 1),
        17 => (l4[5], l4[6]) = (26, 1),
        1 => l4[0] = 8,
        _ => {}
    }
    let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    if kind.ends_with('6') {
        bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, size as u8, protocol, 64]);
        bytes.extend([0x20, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        bytes.extend([0x20, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    } else {
        let [hi, lo] = (20 + size as u16).to_be_bytes();
        bytes.extend([8, 0, 0x45, 0, hi, lo, 0, 0, 0, 0, 64, protocol, 0, 0]);
        bytes.extend([10, 0, 0, 1, 192, 0, 2, 1]);
        let sum = packet::checksum::of(&bytes[14..34]).to_be_bytes();
        bytes[24..26].copy_from_slice(&sum);
    }
    bytes.extend(l4);
    bytes
}

#[inline(never)]
fn once(
    frame: &mut VecFrame,
    layers: &mut Layers,
    flow: &Flow,
    direction: Direction,
) -> Result<(), DropReason> {
    rewrite(frame, layers, flow, direction, Sides::Both)
}

fn rewrites(kind: &str, n: u32) {
    let mut shard = Shard::new(Config { max: 16, worker: 0 }).expect("address space");
    let mut frame = VecFrame::from_bytes(&frame(kind));
    let mut layers = parse(&frame).expect("a good frame");
    let came = layers.key;
    let mut left = came;
    if kind != "none" {
        (left.src, left.sport) = (came.dst, [7, 7]);
    }
    let invert = |key: &FlowKey| conntrack::track::invert(key).expect("an answer");
    let mut flow = |came: FlowKey, left: FlowKey| {
        let slot = shard.create(came, invert(&came), NOW).expect("room");
        shard.set_reply(slot, invert(&left));
        shard.set_status(slot, if came == left { 0 } else { Status::SRC_NAT });
        slot
    };
    let slots = [flow(came, left), flow(left, came)];
    for _ in 0..n / 2 {
        for slot in slots {
            let flow = shard.flow(black_box(slot)).expect("it is there");
            let direction = black_box(Direction::Original);
            black_box(once(&mut frame, &mut layers, flow, direction).is_ok());
        }
    }
}

fn flows(bound: bool, n: u32) {
    let mut shard = Shard::new(Config { max: n + 1, worker: 0 }).expect("address space");
    let mut pick = Alone(1);
    let mut address = [0; 16];
    [address[0], address[3]] = [203, 1];
    let range = Range { addrs: Some((address, address)), ..Range::default() };
    for i in 0..n {
        let mut came = FlowKey { protocol: 17, family: 4, ..FlowKey::default() };
        let [a, b, c, d] = i.to_be_bytes();
        came.src[..4].copy_from_slice(&[10, a, b, c]);
        came.dst[..4].copy_from_slice(&[192, c, 2, d]);
        (came.sport, came.dport) = ([0xc0 | b, d], [0, 53]);
        let reply =
            FlowKey { src: came.dst, dst: came.src, sport: came.dport, dport: came.sport, ..came };
        let slot = shard.create(came, reply, NOW).expect("room");
        if bound {
            let nothing = Range::default();
            for (manip, range) in [(Manip::Destination, &nothing), (Manip::Source, &range)] {
                bind(&mut shard, slot, manip, range, &mut pick).expect("a port");
            }
        }
        let _ = black_box(shard.confirm(slot, NOW));
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, kind, n] = &arguments[..] else { panic!("cost KIND N") };
    let n = n.parse().expect("a number");
    match kind.as_str() {
        "bind" => flows(true, n),
        "make" => flows(false, n),
        "crc" => {
            let frame = VecFrame::from_bytes(&frame("sctp4"));
            for _ in 0..n {
                black_box(crc32c::sctp(black_box(&frame), 34, 1434));
            }
        }
        kind => rewrites(kind, n),
    }
}
