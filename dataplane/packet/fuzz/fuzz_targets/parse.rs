//! Any bytes: the parser never panics, and finds the same in one segment and split.
#![no_main]

#[path = "../../tests/common/fuzzed.rs"]
#[allow(dead_code)]
mod fuzzed;

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzzed::check_parse(input));
