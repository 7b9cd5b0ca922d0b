//! The fuzz targets' seeds, and inputs that they once failed on, stay tests; and so do seeded mutations of them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod datagram;
mod node;

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = format!("{}/fuzz/seeds/{target}", env!("CARGO_MANIFEST_DIR"));
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 8, "the seeds are missing");
    paths.into_iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Checks seeds, and mutations of them.
fn go_through(target: &str, rounds: u32, check: fn(&[u8])) {
    let seeds = seeds(target);
    for seed in &seeds {
        check(seed);
    }
    let mut random = fastrand::Rng::with_seed(6);
    for _ in 0..rounds {
        let mut input = random.choice(&seeds).unwrap().clone();
        for _ in 0..random.u8(1..6) {
            let at = random.usize(0..=input.len());
            match random.u8(0..5) {
                0 => input.truncate(at),
                1 => input.insert(at, random.u8(..)),
                2 => {
                    let other = random.choice(&seeds).unwrap();
                    input.extend_from_slice(&other[random.usize(0..other.len())..]);
                }
                3 if at < input.len() => {
                    input[at] = random.choice([0, 1, 0x7f, 0x80, 0xff]).unwrap();
                }
                _ if at < input.len() => input[at] ^= 1 << random.u8(0..8),
                _ => {}
            }
        }
        check(&input);
    }
}

#[test]
fn datagrams_harm_nobody() {
    assert!(seeds("datagram").len() >= 30, "there is a seed for each type of record");
    go_through("datagram", 4_000, datagram::check);
}

#[test]
fn authentic_nonsense_harms_no_node() {
    // The seeds come as far as that.
    let told = seeds("node").into_iter().map(|seed| node::check(&seed));
    let (applied, sent) = told.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
    assert!(applied >= 10 && sent >= 80, "{applied} flows were applied, {sent} datagrams sent");
    go_through("node", 4_000, |input| {
        node::check(input);
    });
}
