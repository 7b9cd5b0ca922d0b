//! The fuzz targets' checks over their seeds and over random input.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod common;

use std::fs;
use std::path::Path;

use common::fuzzed::check_codec;
use common::toy::check_engine;
use proptest::prelude::*;

/// Runs `check` over every seed of a fuzz target; returns how many there were.
fn seeds(target: &str, check: impl Fn(&[u8])) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    fs::read_dir(folder)
        .unwrap()
        .map(|seed| check(&fs::read(seed.unwrap().path()).unwrap()))
        .count()
}

#[test]
fn every_seed_passes() {
    assert!(seeds("codec", check_codec) >= 3);
    assert!(seeds("engine", check_engine) >= 3);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_taken_apart(input in proptest::collection::vec(any::<u8>(), 0..600)) {
        check_codec(&input);
    }

    #[test]
    fn any_client_is_survived(input in proptest::collection::vec(any::<u8>(), 0..2000)) {
        check_engine(&input);
    }

    /// With lengths that are mostly right, so that more than the first message is looked at.
    #[test]
    fn sound_headers_with_any_contents_are_taken_apart(
        messages in proptest::collection::vec((any::<u16>(), any::<u16>(), proptest::collection::vec((any::<u16>(), proptest::collection::vec(any::<u8>(), 0..40)), 0..6)), 0..6),
    ) {
        let mut datagram = Vec::new();
        for (kind, flags, attrs) in messages {
            datagram.extend(common::message(kind, flags, 1, |w| {
                for (kind, data) in attrs {
                    w.put(kind, &data);
                }
            }));
        }
        check_codec(&datagram);
    }
}
