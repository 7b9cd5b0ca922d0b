//! Any sequence of frame operations does what it would do to plain bytes, and leaks nothing.
#![no_main]

#[path = "../../tests/common/fuzzed.rs"]
#[allow(dead_code)]
mod fuzzed;

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzzed::check_frame_ops(input));
