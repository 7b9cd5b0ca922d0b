//! The server's protocol with a toy subsystem: clients that send anything, in any order, read or not.
#![no_main]

#[path = "../../tests/common/fuzzed.rs"]
#[allow(dead_code)]
mod fuzzed;
#[path = "../../tests/common/toy.rs"]
#[allow(dead_code)]
mod toy;

libfuzzer_sys::fuzz_target!(|input: &[u8]| toy::check_engine(input));
