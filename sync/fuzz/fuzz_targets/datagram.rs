//! Any datagram: rejected, or opened and read record by record, and what is read can be written again.
#![no_main]

#[path = "../../tests/fuzzed/datagram.rs"]
mod datagram;

libfuzzer_sys::fuzz_target!(|input: &[u8]| datagram::check(input));
