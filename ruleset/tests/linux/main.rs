//! Linux as oracle: the same ruleset and the same packets through the kernel, in a namespace of its own, and through the
//! engine. Every packet must end the same, with the same bytes, and every counter must say the same.
//!
//! `TWINWALL_SEED` repeats a run, `TWINWALL_RULESETS` and `TWINWALL_PACKETS` say how much is tried.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on panics")]
#![allow(clippy::indexing_slicing, reason = "bytes that these tests made themselves")]

#[allow(dead_code, reason = "the tests of the whole pipeline see answers, too")]
mod bed;
mod compare;
mod corpora;
mod iptables;
mod packets;
mod rng;
mod rules;
mod run;
mod sets;
mod way;
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
