//! Linux as oracle for connections: scripts of packets through the kernel, in a namespace of its own, and through a worker.
//! Each script says what must come of its packets and what then stands in the table. The kernel must agree, so that a script
//! shows what it claims; then twinwall must, and must send the same bytes.
//!
//! `TWINWALL_SCRIPT` runs those whose name has this in it, `TWINWALL_VERBOSE=1` tells each packet.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on panics")]
#![allow(clippy::indexing_slicing, reason = "bytes that these tests made themselves")]

#[path = "../../../ruleset/tests/linux/bed.rs"]
#[allow(dead_code, reason = "the rules' own tests see more of it")]
mod bed;
mod frames;
mod kernel;
mod names;
#[path = "../linux/node.rs"]
mod node;
mod play;
mod random;
#[path = "../../../ruleset/tests/linux/rng.rs"]
#[allow(dead_code, reason = "the rules' own tests draw more")]
mod rng;
mod script;
mod seen;
mod table;
mod way;

macro_rules! scripts {
    ($($(#[$attribute:meta])* $name:ident)*) => {$(
        $(#[$attribute])*
        #[test]
        fn $name() {
            play::file(stringify!($name));
        }
    )*};
}

#[test]
fn random_rulesets_and_traffic() {
    random::all();
}

scripts! {
    tcp_open
    tcp_close
    tcp_window
    udp_icmp
    errors
    nat_source
    nat_dest
    rules
    others
    fragments
    timeouts
}
