//! Random input: no bytes make the parser panic, splitting a frame changes nothing, frames behave as plain bytes do.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;
#[path = "common/fuzzed.rs"]
mod fuzzed;

use std::fs;
use std::path::Path;

use fuzzed::{check_frame_ops, check_parse};
use proptest::prelude::*;
use proptest::sample::Index;

/// Runs `check` over every seed of a fuzz target; returns how many there were.
fn run_seeds(target: &str, check: fn(&[u8])) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut count = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display()); // the one that fails is the last
        check(&fs::read(&path).unwrap());
        count += 1;
    }
    count
}

#[test]
fn seeds_of_parse() {
    assert!(run_seeds("parse", check_parse) >= common::good_frames().len());
}

#[test]
fn seeds_of_frame_ops() {
    assert!(run_seeds("frame_ops", check_frame_ops) >= 3);
}

/// A good frame with some bytes changed: random bytes hardly ever get past the Ethernet header.
fn spoiled_frame() -> impl Strategy<Value = Vec<u8>> {
    let frames: Vec<_> = common::good_frames().into_iter().map(|(_, bytes)| bytes).collect();
    let changes = prop::collection::vec((any::<Index>(), any::<u8>()), 0..4);
    (prop::sample::select(frames), changes, any::<bool>(), any::<Index>()).prop_map(
        |(mut bytes, changes, cut, at)| {
            for (place, value) in changes {
                let place = place.index(bytes.len());
                bytes[place] = value;
            }
            if cut {
                bytes.truncate(at.index(bytes.len() + 1));
            }
            bytes
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(input in prop::collection::vec(any::<u8>(), 0..300)) {
        check_parse(&input);
    }

    #[test]
    fn spoiled_frames(flags: u8, splits in prop::collection::vec(any::<u8>(), 0..8), frame in spoiled_frame()) {
        // With the header checksum said to be good, more of them get through.
        for flags in [flags, 1] {
            check_parse(&[&[flags, splits.len() as u8], &splits[..], &frame].concat());
        }
    }

    #[test]
    fn frames_are_bytes(input in prop::collection::vec(any::<u8>(), 0..600)) {
        check_frame_ops(&input);
    }
}
