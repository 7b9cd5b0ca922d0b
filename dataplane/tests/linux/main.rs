//! Linux as oracle for the whole pipeline: what ruleset's tests hold the rules' interpreter against, in the same frame, but the
//! packets go through a worker. What it sends must be what Linux sends, byte for byte, and all counters must say the same.
//!
//! `TWINWALL_SEED` repeats a run, `TWINWALL_RULESETS` and `TWINWALL_PACKETS` say how much is tried.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on panics")]
#![allow(clippy::indexing_slicing, reason = "bytes that these tests made themselves")]

#[path = "../../../ruleset/tests/linux/bed.rs"]
mod bed;
#[path = "../../../ruleset/tests/linux/compare.rs"]
mod compare;
#[path = "../../../ruleset/tests/linux/corpora.rs"]
mod corpora;
#[path = "../../../ruleset/tests/linux/iptables.rs"]
mod iptables;
mod node;
#[path = "../../../ruleset/tests/linux/packets.rs"]
mod packets;
mod rejects;
#[path = "../../../ruleset/tests/linux/rng.rs"]
mod rng;
#[path = "../../../ruleset/tests/linux/rules.rs"]
mod rules;
#[path = "../../../ruleset/tests/linux/run.rs"]
mod run;
#[path = "../../../ruleset/tests/linux/sets.rs"]
mod sets;
mod way;
#[path = "../../../ruleset/tests/linux/words.rs"]
mod words;

use bed::Kind;
use run::{others, random, setting};

#[test]
fn random_rulesets_on_routed_packets() {
    random(Kind::Routed, setting("TWINWALL_RULESETS", 200));
}

#[test]
fn random_rulesets_on_bridged_packets() {
    random(Kind::Bridged, setting("TWINWALL_RULESETS", 60));
}

#[test]
fn random_rulesets_on_arp() {
    random(Kind::Arp, setting("TWINWALL_RULESETS", 40));
}

#[test]
fn others_rules_on_routed_packets() {
    others(Kind::Routed);
}

#[test]
fn others_rules_on_bridged_packets() {
    others(Kind::Bridged);
}
