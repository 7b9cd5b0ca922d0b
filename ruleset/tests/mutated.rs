//! Mutated messages of the real nft never harm the engine: no panic, no hang, and a refused batch changes nothing.
//!
//! The seeds in fuzz/seeds are batches that nft sent, recorded by examples/record.rs; what fuzzing found is there under a name of
//! its own. `make fuzz` goes on from here without end.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "common/rig.rs"]
mod rig;

use std::path::Path;

use nfnetlink::Messages;
use rig::{Rig, check_datagrams, datagrams};

/// Mutants of each seed.
const MUTANTS: usize = 3000;

fn seeds() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/nf_tables");
    let mut seeds: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.display().to_string(), std::fs::read(path).unwrap()))
        .collect();
    seeds.sort();
    assert!(seeds.len() >= 8, "only {} seeds", seeds.len());
    seeds
}

/// Messages of a datagram, each with its padding.
fn messages(datagram: &[u8]) -> Vec<Vec<u8>> {
    Messages::new(datagram).map(|message| message.bytes.to_vec()).collect()
}

fn join(messages: &[Vec<u8>]) -> Vec<u8> {
    let mut datagram = Vec::new();
    for message in messages {
        let start = datagram.len();
        datagram.extend(message);
        let len = (message.len() as u32).to_ne_bytes();
        if message.len() >= 16 {
            datagram[start..start + 4].copy_from_slice(&len);
        }
        datagram.resize(datagram.len().next_multiple_of(4), 0);
    }
    datagram
}

fn with_length(datagram: &[u8]) -> Vec<u8> {
    let mut input = (datagram.len() as u16).to_le_bytes().to_vec();
    input.extend(datagram);
    input
}

/// Changes something small in one message behind its header, mostly where attributes have lengths and types.
fn mutate(message: &mut Vec<u8>, rng: &mut fastrand::Rng) {
    if message.len() <= 20 {
        return;
    }
    let at = rng.usize(16..message.len());
    match rng.u8(0..7) {
        0 => message[at] ^= 1 << rng.u8(0..8),
        1 => message[at] = rng.u8(..),
        2 => {
            let word = at & !3;
            let value = [0u16, 1, 3, 4, 5, 8, 0x7fff, 0xffff][rng.usize(0..8)];
            message[word..word + 2].copy_from_slice(&value.to_ne_bytes());
        }
        3 => {
            let word = at & !3;
            message.truncate(word.max(20));
        }
        4 => {
            // A piece twice.
            let (from, to) = (at & !3, (at + rng.usize(4..64)).min(message.len()) & !3);
            if from < to {
                let piece = message[from..to].to_vec();
                message.splice(from..from, piece);
            }
        }
        5 => {
            let to = (at + rng.usize(1..32)).min(message.len());
            message.drain(at..to);
        }
        _ => {
            let end = (at + 4).min(message.len());
            message[at..end].fill(0xff);
        }
    }
}

#[test]
fn each_seed_is_taken_as_it_is() {
    for (name, input) in seeds().iter().filter(|(name, _)| !name.contains("crash")) {
        let mut rig = Rig::new();
        for datagram in datagrams(input) {
            let answers = rig.send(datagram);
            assert!(answers.codes.iter().all(|code| *code == 0), "{name}: {:?}", answers.codes);
        }
        assert!(!rig.picture().is_empty(), "{name} makes nothing");
    }
}

#[test]
fn mutants_change_nothing_where_they_are_refused() {
    let seed =
        std::env::var("SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let seeds = seeds();
    for (_, input) in &seeds {
        for _ in 0..MUTANTS {
            let mut mutant = Vec::new();
            for datagram in datagrams(input) {
                let mut messages = messages(datagram);
                for _ in 0..rng.usize(0..3) {
                    let n = rng.usize(0..messages.len());
                    match rng.u8(0..8) {
                        0 => drop(messages.remove(n)),
                        1 => messages.insert(n, messages[rng.usize(0..messages.len())].clone()),
                        2 => {
                            // A message of another batch in the middle of this one.
                            let (_, other) = &seeds[rng.usize(0..seeds.len())];
                            let other = datagrams(other)
                                .first()
                                .map(|datagram| self::messages(datagram))
                                .unwrap_or_default();
                            if !other.is_empty() {
                                messages.insert(n, other[rng.usize(0..other.len())].clone());
                            }
                        }
                        _ => mutate(&mut messages[n], &mut rng),
                    }
                    if messages.is_empty() {
                        break;
                    }
                }
                mutant.extend(with_length(&join(&messages)));
            }
            check_datagrams(&mutant);
        }
    }
    println!("{} mutants of {} seeds", seeds.len() * MUTANTS, seeds.len());
}
