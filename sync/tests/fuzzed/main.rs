//! The fuzz target's seeds, and inputs that it once failed on, stay tests; and so do seeded mutations of them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod datagram;

fn seeds() -> Vec<Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds/datagram");
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 30, "there is a seed for each type of record");
    paths.into_iter().map(|path| std::fs::read(path).unwrap()).collect()
}

#[test]
fn seeds_of_the_fuzz_target_harm_nobody() {
    for seed in seeds() {
        datagram::check(&seed);
    }
}

#[test]
fn mutated_seeds_harm_nobody() {
    let seeds = seeds();
    let mut random = fastrand::Rng::with_seed(6);
    for _ in 0..4_000 {
        let mut input = random.choice(&seeds).unwrap().clone();
        for _ in 0..random.u8(1..6) {
            let at = random.usize(0..=input.len());
            match random.u8(0..5) {
                0 => input.truncate(at),
                1 => input.insert(at, random.u8(..)),
                2 => input.extend_from_slice(&random.choice(&seeds).unwrap()[32..]),
                3 if at < input.len() => {
                    input[at] = random.choice([0, 1, 0x7f, 0x80, 0xff]).unwrap()
                }
                _ if at < input.len() => input[at] ^= 1 << random.u8(0..8),
                _ => {}
            }
        }
        datagram::check(&input);
    }
}
