//! Messages and attributes: whatever the bytes are, what is read lies within them and comes back as written.
#![no_main]

#[path = "../../tests/common/fuzzed.rs"]
#[allow(dead_code)]
mod fuzzed;

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzzed::check_codec(input));
