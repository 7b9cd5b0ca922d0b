//! Mutated messages never harm: no panic, no hang, and the table stays whole.
//!
//! The seeds in fuzz/seeds are datagrams of each kind; what fuzzing finds goes there under a name of its own. `make fuzz` goes on
//! from here without end.

use std::path::Path;

use nfnetlink::Messages;

use crate::workers::Whole;

const MUTANTS: usize = 200_000;

fn seeds() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/ctnetlink");
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 20, "only {} seeds", paths.len());
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
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
fn each_seed_is_answered() {
    let mut whole = Whole::new();
    for seed in seeds() {
        assert!(Messages::new(&seed).next().is_some());
        whole.send(&seed);
        whole.check();
    }
}

#[test]
fn mutated_messages_leave_the_table_whole() {
    let seed = std::env::var("TWINWALL_SEED")
        .map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("TWINWALL_SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let seeds = seeds();
    let mut whole = Whole::new();
    let (mut answered, mut most) = (0, 0);
    for n in 0..MUTANTS {
        let mut message = seeds[rng.usize(0..seeds.len())].clone();
        for _ in 0..rng.usize(0..3) {
            mutate(&mut message, &mut rng);
        }
        answered += whole.send(&message);
        if n % 1000 == 0 {
            most = most.max(whole.check());
        }
    }
    println!("{MUTANTS} mutants, {answered} answers, at most {most} flows");
    assert!(answered > MUTANTS / 2);
    assert!(most > 3, "nothing was ever made");
}
