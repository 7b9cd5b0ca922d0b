//! A node, and any authentic datagrams that others may send it: it goes on, and says and tells nothing that cannot be read.
#![no_main]

#[path = "../../tests/fuzzed/node.rs"]
mod node;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    node::check(input);
});
