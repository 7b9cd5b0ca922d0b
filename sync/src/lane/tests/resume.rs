//! A link that is cut: what is asked for afterwards, and how much of all has to be said again.

use packet::Tick;

use super::pair::Pair;
use super::{MS, node};
use crate::mutation::{self, Mutation};

const SLOTS: u32 = 10_240;

#[test]
fn a_bulk_that_is_given_up_goes_on() {
    let mut pair = Pair::new(SLOTS);
    while pair.said < 6_000 {
        pair.step();
    }
    // Some of them were said, others are to come.
    pair.cut_off(&[100, 3_000, 9_000]);
    let rest = pair.said_until_whole();
    assert!(pair.agree());
    assert!((4_000..5_200).contains(&rest), "{rest} records for {SLOTS} slots");
    assert_eq!(pair.receiver.stamp, 1, "it is the same bulk");
}

#[test]
fn a_bulk_that_is_given_up_again_and_again_comes_to_its_end() {
    let mut pair = Pair::new(SLOTS);
    let mut said = 0;
    for round in 1..5 {
        pair.said = 0;
        while pair.said < 2_100 {
            pair.step();
        }
        said += pair.said;
        pair.cut_off(&[round * 20, round * 20 + 5_000]);
    }
    said += pair.said_until_whole();
    assert!(pair.agree());
    // Each time a chunk is lost whose mark had not arrived. Begun anew each time, it would be 22,500.
    assert!(said < 15_000, "{said} records for {SLOTS} slots");
}

#[test]
fn a_standby_that_was_whole_hears_only_what_it_missed() {
    let mut pair = Pair::new(SLOTS);
    assert_eq!(pair.said_until_whole(), SLOTS as usize);
    pair.cut_off(&[100, 3_000, 9_000]);
    let again = pair.said_until_whole();
    assert!(pair.agree());
    // Of each of the three: one that changed, three that ended or began.
    assert!((12..20).contains(&again), "{again}");
}

#[test]
fn who_says_that_it_has_more_than_it_has_is_wrong_in_the_end() {
    let all_comes_right = || {
        let mut pair = Pair::new(SLOTS);
        pair.said_until_whole();
        pair.cut_off(&[100]);
        pair.said_until_whole();
        pair.agree()
    };
    assert!(all_comes_right());
    assert!(!mutation::with(Some(Mutation::ResumeTooFar), all_comes_right));
}

#[test]
fn a_sender_that_knows_no_parts_is_asked_for_all() {
    let mut pair = Pair::new(SLOTS);
    pair.said_until_whole();
    pair.cut_off(&[100]);
    for asked in 1.. {
        while !pair.receiver.wants_bulk() {
            pair.now += 10 * MS;
            let now = Tick(pair.now);
            pair.receiver.highest(pair.sender.highest(), now);
            pair.receiver.poll(now);
        }
        if !pair.receiver.can_resume() {
            assert_eq!(asked, 5);
            break;
        }
        // It hears a request, and says all flows to whoever wants them: that is not what was asked for.
        pair.request += 1;
        pair.receiver.resume((node(2), pair.request));
        assert!(pair.receiver.wanted().is_some());
    }
    pair.ask();
    assert!(pair.receiver.wanted().is_none());
    assert_eq!(pair.said_until_whole(), pair.worker.len());
}
