//! Any datagrams: the subsystems survive, dumps end, and the table stays whole.
#![no_main]

#[path = "../../tests/netlink/workers.rs"]
#[allow(dead_code)]
mod workers;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let mut whole = workers::Whole::new();
    // Twice: what was made is there the second time.
    whole.send(input);
    whole.send(input);
    whole.check();
});
