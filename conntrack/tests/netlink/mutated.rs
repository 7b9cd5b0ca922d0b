//! Mutated messages never harm: no panic, no hang, and the table stays whole.

use std::sync::Arc;

use conntrack::netlink::{CtExpect, CtNetlink, CtTimeout, Epoch, Shards, Timeouts};
use conntrack::{Direction, Slot};
use nfnetlink::server::Stats;
use nfnetlink::{Engine, Header, Messages, NfGen, Writer};

use crate::rig::{Workers, bind};

const MUTANTS: usize = 200_000;

/// Writes a message; `kind` is subsystem and command.
fn message(kind: u16, flags: u16, inside: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut out = Writer::default();
    let header = Header { kind, flags: flags | 1, seq: 1, ..Header::default() };
    out.message(header, NfGen { family: 2, ..NfGen::default() }, inside);
    out.buf
}

fn tuple(out: &mut Writer, kind: u16, [src, dst]: [u8; 2], protocol: u8, [from, to]: [u16; 2]) {
    out.nest_marked(kind, |out| {
        out.nest_marked(1, |out| {
            out.put(1, &[src; 4]);
            out.put(2, &[dst; 4]);
        });
        out.nest_marked(2, |out| {
            out.u8(1, protocol);
            out.u16(2, from);
            out.u16(3, to);
        });
        if from > 5 {
            out.u16(3, 1);
        }
    });
}

/// One of each kind that there is.
fn seeds() -> Vec<Vec<u8>> {
    let both = |out: &mut Writer, protocol: u8, port: u16| {
        tuple(out, 1, [1, 2], protocol, [port, 80]);
        tuple(out, 2, [2, 1], protocol, [80, port]);
    };
    let new = |protocol: u8, port: u16| {
        message(0x100, 0x404, |out| {
            both(out, protocol, port);
            out.u32(7, 1000);
            out.u32(3, 0xe);
            out.u32(8, 3);
            out.u32(21, 0xff);
            out.put(22, &[1; 16]);
            out.put(23, &[3; 16]);
            out.nest_marked(4, |out| {
                out.nest_marked(1, |out| {
                    out.u8(1, 3);
                    out.u8(2, 7);
                    out.u8(3, 7);
                    out.put(4, &[1, 1]);
                    out.put(5, &[1, 1]);
                });
                out.nest_marked(3, |out| {
                    out.u8(1, 3);
                    out.u32(2, 7);
                    out.u32(3, 7);
                });
            });
            if port > 3 {
                for kind in [6, 13] {
                    out.nest_marked(kind, |out| {
                        out.put(1, &[9; 4]);
                        out.put(2, &[10; 4]);
                        out.nest_marked(3, |out| {
                            out.u16(1, 1000);
                            out.u16(2, 2000);
                        });
                    });
                }
            }
        })
    };
    let mut seeds: Vec<_> = (1..8).flat_map(|port| [new(6, port), new(132, port)]).collect();
    seeds.extend([0x101, 0x102].map(|kind| message(kind, 4, |out| both(out, 6, 1))));
    seeds.push(message(0x102, 4, |out| out.u32(8, 3)));
    seeds.extend([0x101, 0x103, 0x104, 0x106, 0x107].map(|kind| {
        message(kind, 0x300, |out| {
            both(out, 6, 2);
            out.u32(8, 3);
            out.u32(21, 3);
            out.u32(3, 8);
            out.u32(26, 8);
            out.u16(18, 0);
            out.nest_marked(25, |out| {
                out.put(1, &0x39u32.to_ne_bytes());
                out.put(2, &0x39u32.to_ne_bytes());
            });
        })
    }));
    seeds.push(message(0x105, 4, |_| {}));
    for command in 0..4 {
        seeds.push(message(0x200 | command, 4, |out| both(out, 17, 1)));
    }
    for command in 0..5 {
        seeds.push(message(0x800 | command, 0x104, |out| {
            out.str(1, "name");
            out.u16(2, 2);
            out.u8(3, 6);
            out.nest_marked(4, |out| (1..12).for_each(|kind| out.u32(kind, 9)));
        }));
    }
    seeds.push(message(0x801, 0x300, |_| {}));
    seeds
}

/// Changes something small behind the header, mostly where attributes have lengths and types.
fn mutate(message: &mut Vec<u8>, rng: &mut fastrand::Rng) {
    if message.len() <= 20 {
        return;
    }
    let at = rng.usize(4..message.len());
    let word = at & !3;
    match rng.u8(0..7) {
        0 => message[at] ^= 1 << rng.u8(0..8),
        1 => message[at] = rng.u8(..),
        2 => {
            let value = [0u16, 1, 3, 4, 5, 8, 0x7fff, 0xffff][rng.usize(0..8)];
            message[word..word + 2].copy_from_slice(&value.to_ne_bytes());
        }
        3 => message.truncate(word.max(20)),
        4 => {
            // A piece twice.
            let to = (at + rng.usize(4..64)).min(message.len()) & !3;
            let piece = message.get(word..to).unwrap_or_default().to_vec();
            message.splice(word..word, piece);
        }
        5 => {
            // Another command, or flags.
            message[4..8][rng.usize(0..4)] = rng.u8(..);
        }
        _ => {
            let end = (at + 4).min(message.len());
            message[at..end].fill(0xff);
        }
    }
    let len = (message.len() as u32).to_ne_bytes();
    message[..4].copy_from_slice(&len);
}

#[test]
fn mutated_messages_leave_the_table_whole() {
    let seed =
        std::env::var("SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let workers = Arc::new(Workers::new(2, 64));
    let shards: Arc<dyn Shards> = workers.clone();
    let mut engine = Engine::new(1 << 20, 1, Arc::new(Stats::default()));
    engine.register(Box::new(CtNetlink::new(shards.clone(), Epoch(0), Some(Box::new(bind)))));
    engine.register(Box::new(CtExpect::new(shards.clone())));
    engine.register(Box::new(CtTimeout::new(Timeouts::default(), shards)));
    let client = engine.connect(0, 1, true);
    let seeds = seeds();
    let mut answered = 0;
    for _ in 0..MUTANTS {
        let mut message = seeds[rng.usize(0..seeds.len())].clone();
        for _ in 0..rng.usize(0..3) {
            mutate(&mut message, &mut rng);
        }
        engine.datagram(client, &message);
        // A dump ends: of at most 128 flows, one answer of each and the end.
        for _ in 0..1000 {
            let Some((frame, outgoing)) = engine.front(client) else { break };
            answered += Messages::new(&outgoing.bytes).count();
            engine.sent(client, frame);
        }
        assert!(engine.front(client).is_none(), "a dump without end");
    }
    println!("{MUTANTS} mutants, {answered} answers");
    assert!(answered > MUTANTS / 2);
    let mut flows = 0;
    for shard in 0..2 {
        workers.with(shard, |shard, _| {
            let mut here = 0;
            let next = shard.walk(Slot(0), 1000, &mut |slot, flow| {
                here += 1;
                for direction in [Direction::Original, Direction::Reply] {
                    let key = flow.key(direction);
                    assert_eq!(shard.find(key, shard.hash(key)), Some((slot, direction)));
                }
            });
            assert_eq!(next, None);
            assert_eq!(shard.stats().count, here, "one was neither confirmed nor discarded");
            flows += here;
        });
    }
    assert!(flows > 0, "nothing was ever made");
}
