//! Any datagrams: the engine survives, and what it refuses changes nothing.
#![no_main]

#[path = "../../tests/common/rig.rs"]
#[allow(dead_code)]
mod rig;

libfuzzer_sys::fuzz_target!(|input: &[u8]| rig::check_datagrams(input));
