//! Digests that differ, and how the standby comes right again.

use super::pair::Pair;
use crate::lane::DigestOutcome;
use crate::mutation::{self, Mutation};

const SLOTS: u32 = 10_240;
/// Of each bucket.
const EACH: usize = 10;

/// A standby that is whole.
fn whole() -> Pair {
    let mut pair = Pair::new(SLOTS);
    pair.said_until_whole();
    assert!(pair.agree() && pair.compare().is_empty());
    assert_eq!(pair.receiver.living().count(), SLOTS as usize);
    pair
}

/// It compares twice, and repairs what it finds; the records of flows that were sent for that.
fn repair(pair: &mut Pair) -> usize {
    assert_eq!(pair.compare(), [DigestOutcome::Differs]);
    assert!(pair.receiver.is_whole(), "once is no error yet");
    assert_eq!(pair.compare(), [DigestOutcome::Alarm]);
    assert!(!pair.receiver.is_whole());
    let said = pair.said_until_whole();
    assert_eq!(pair.receiver.stamp, 1, "nothing was asked for but the bucket");
    said
}

/// A flow is gone at the standby, and it believes that it ended.
fn lose(pair: &mut Pair, slot: u32) {
    pair.receiver.corrupt(slot, false);
    pair.copies.0.remove(&slot);
}

#[test]
fn a_flow_that_went_is_brought_back() {
    let mut pair = whole();
    lose(&mut pair, 77);
    assert_eq!(repair(&mut pair), EACH);
    assert!(pair.agree() && pair.compare().is_empty());
    // One of another version, which is newer than the true one.
    pair.receiver.corrupt(1_101, true);
    pair.copies.0.insert(1_101, (1, 1_002));
    assert_eq!(repair(&mut pair), EACH);
    assert!(pair.agree() && pair.compare().is_empty());
}

#[test]
fn a_flow_that_never_was_ends() {
    let mut pair = whole();
    // The sender says that it ended.
    pair.end(77);
    pair.step();
    pair.receiver.corrupt(77, true);
    pair.copies.0.insert(77, (1, 1_003));
    assert_eq!(repair(&mut pair), EACH);
    assert!(pair.agree() && pair.compare().is_empty());
    // Of a slot that it never used, it says nothing.
    let mut pair = Pair::half(SLOTS);
    pair.said_until_whole();
    pair.receiver.corrupt(SLOTS / 2 + 77, true);
    pair.copies.0.insert(SLOTS / 2 + 77, (0, 1_000));
    assert_eq!(repair(&mut pair), EACH / 2);
    assert!(pair.agree() && pair.compare().is_empty());
}

#[test]
fn several_buckets_are_repaired_one_after_the_other() {
    let mut pair = whole();
    for slot in [3, 77, 4_196] {
        lose(&mut pair, slot);
    }
    assert_eq!(repair(&mut pair), 3 * EACH);
    assert!(pair.agree() && pair.compare().is_empty());
}

#[test]
fn what_happens_to_a_doubted_flow_meanwhile_is_not_lost() {
    let mut pair = whole();
    lose(&mut pair, 77);
    pair.compare();
    pair.compare();
    pair.step();
    // It was asked for; of its bucket, one flow ends, one begins anew, and others change.
    pair.end(77 + 1_024);
    pair.end(77 + 2_048);
    pair.begin(77 + 2_048, 2);
    for n in 3..10 {
        pair.change(77 + n * 1_024);
    }
    pair.said_until_whole();
    assert!(pair.agree() && pair.compare().is_empty());
}

#[test]
fn what_is_lost_during_the_repair_is_asked_for_besides() {
    let mut pair = whole();
    lose(&mut pair, 77);
    pair.compare();
    pair.compare();
    pair.step();
    pair.cut_off(&[77, 3_000]);
    let said = pair.said_until_whole();
    assert!(said < 40, "{said}");
    assert!(pair.agree() && pair.compare().is_empty());
}

#[test]
fn what_is_newer_than_the_truth_stays_unless_it_is_doubted() {
    let comes_right = || {
        let mut pair = whole();
        lose(&mut pair, 77);
        pair.compare();
        pair.compare();
        pair.said_until_whole();
        pair.agree()
    };
    assert!(comes_right());
    assert!(!mutation::with(Some(Mutation::RepairWithoutDoubt), comes_right));
}
