//! The sending side: packing, order, pace.

use packet::Tick;

use super::sender::Test;
use super::{MS, bytes, delete, full, id, node, update};
use crate::hands::{Cause, Inbound};
use crate::ids::{Group, Term};
use crate::lane::Pace;
use crate::records::{Record, Role};

#[test]
fn records_wait_for_company_and_no_longer() {
    let mut test = Test::plain();
    test.take(Cause::New, &full(1, 1, 1));
    test.now += 99_000;
    test.take(Cause::Change, &update(1, 1, 2));
    test.poll();
    assert!(test.out.is_empty());
    assert_eq!(test.lane.next(Tick(test.now)), Some(Tick(MS + 100_000)));
    test.now += 1_000;
    test.poll();
    let out = &test.out[0];
    assert_eq!(out.words, ["active 1", "full 1v1", "update 1v2"]);
    assert!((out.seq, out.want_ack, out.bulk, out.last) == (1, false, false, true));
}

#[test]
fn a_full_datagram_goes_at_once() {
    let mut test = Test::plain();
    for version in 1..=60 {
        test.take(Cause::Change, &full(version, 1, 1));
    }
    assert_eq!(test.out.len(), 2);
    assert!(!test.out[0].last && test.out[0].words.len() == 22);
    // Ends are short; but no more than one request to a worker can name.
    let mut test = Test::plain();
    for slot in 0..61 {
        test.take(Cause::End, &delete(slot, 1, 1));
    }
    assert_eq!(test.out[0].words.len(), 61);
}

#[test]
fn a_deferred_record_goes_at_once_and_wants_an_answer() {
    let mut test = Test::plain();
    test.take(Cause::New, &full(1, 1, 1));
    test.take(Cause::Deferred, &full(2, 1, 1));
    assert!(test.out[0].want_ack && test.out[0].last && test.out[0].words.len() == 3);
    // So does its repair.
    test.missing(&[(1, 1)]);
    let (token, slots) = test.export().unwrap();
    assert_eq!(slots, [1, 2]);
    test.out.clear();
    test.take(Cause::Repair, &full(1, 1, 2));
    test.take(Cause::Repair, &full(2, 1, 2));
    test.mark(token, 0);
    test.poll();
    assert!(test.out[0].want_ack);
}

#[test]
fn records_go_under_the_role_that_they_were_taken_under() {
    let mut test = Test::plain();
    test.take(Cause::New, &full(1, 1, 1));
    test.lane.set_role(Group(0), Role::Standby, Term(2), Some(node(2)));
    test.take(Cause::New, &full(2, 1, 1));
    let out = test.flush();
    assert_eq!(out[0].words, ["active 1", "full 1v1"]);
    assert_eq!(out[1].words, ["standby 2", "full 2v1"]);
}

#[test]
fn a_record_that_was_overtaken_is_dropped() {
    let mut test = Test::plain();
    test.take(Cause::New, &full(1, 1, u32::MAX - 1));
    // Versions wrap.
    test.take(Cause::Change, &update(1, 1, 1));
    test.take(Cause::Refresh, &update(1, 1, u32::MAX));
    test.take(Cause::Refresh, &update(1, 1, 1));
    // A worker that says the same once more when asked is heard.
    test.take(Cause::Repair, &full(1, 1, 1));
    // Generations come first, and wrap, too.
    test.take(Cause::New, &full(2, (1 << 22) - 1, 9));
    test.take(Cause::New, &full(2, 0, 1));
    test.take(Cause::Refresh, &full(2, (1 << 22) - 1, 10));
    let (last, first) = (u32::MAX - 1, "update 1v1");
    assert_eq!(
        test.words(),
        [&format!("full 1v{last}"), first, "full 1v1", "full 2v9", "full 2v1"]
    );
    assert_eq!(test.lane.counters().stale, 3);
}

#[test]
fn what_no_lane_can_send_is_counted() {
    let mut test = Test::plain();
    test.take(Cause::New, &full(100, 1, 1));
    test.take(Cause::New, &[]);
    test.take(Cause::New, &bytes(&Record::Request(id(1, 1))));
    assert_eq!(test.lane.counters().unfit, 3);
    assert!(test.words().is_empty());
}

#[test]
fn an_update_does_not_go_before_its_flow() {
    let mut test = Test::plain();
    test.take(Cause::Change, &update(7, 1, 2));
    test.take(Cause::Change, &update(8, 1, 2));
    assert!(test.words().is_empty());
    let (token, slots) = test.export().unwrap();
    assert_eq!(slots, [7, 8]);
    test.take(Cause::Repair, &full(7, 1, 3));
    test.take(Cause::Repair, &full(8, 1, 3));
    test.mark(token, 0);
    assert_eq!(test.words(), ["full 7v3", "full 8v3"]);
    assert_eq!(test.lane.counters().early, 2);
}

#[test]
fn others_tokens_are_not_this_lanes() {
    let mut test = Test::plain();
    test.mark(5, 0);
    test.mark(u64::MAX, 0);
    test.mark(1 << 63 | 77, 0);
    assert!(test.words().is_empty());
}

#[test]
fn bytes_are_kept_for_what_cannot_wait() {
    let pace = Pace { bytes_per_second: 1_000_000, flush: 1_000_000_000, window: 1_000 };
    let mut test = Test::new(10_000, pace);
    test.poll();
    let (mut urgent, mut lazy) = (0, 0);
    for slot in 0..10_000 {
        let budget = test.lane.budget(Tick(test.now));
        lazy += u32::from(budget.lazy);
        urgent += u32::from(budget.urgent);
        if !budget.urgent {
            break;
        }
        assert!(urgent >= lazy);
        test.take(Cause::New, &full(slot, 1, 1));
    }
    assert!(lazy > 100 && lazy < urgent, "{lazy} {urgent}");
    assert!(test.out.len() < 30, "nothing is sent without end");
    // Nothing new is asked of the worker either.
    test.missing(&[(1, 5)]);
    test.lane.begin_bulk(Tick(test.now));
    test.poll();
    let asked = std::iter::from_fn(|| test.lane.request()).count();
    assert!(asked > 0 && test.lane.request().is_none());
    // A second later there is room for all.
    test.now += 1_000 * MS;
    test.poll();
    let budget = test.lane.budget(Tick(test.now));
    assert!(budget.urgent && budget.lazy);
}

#[test]
fn repairs_and_bulks_have_their_share() {
    let pace = Pace { bytes_per_second: 1_000_000, flush: 0, window: 100_000 };
    let mut test = Test::new(100, pace);
    // A worker that does all it is told at once, for a second, and a bulk without end.
    let (mut repaired, mut bulk) = (0_u64, 0_u64);
    let mut version = 1;
    for slot in 0..100 {
        test.take(Cause::New, &full(slot, 1, version));
    }
    let begun = test.now;
    while test.now < begun + 1_000 * MS {
        test.now += 100_000;
        test.lane.begin_bulk(Tick(test.now));
        let highest = test.lane.highest().0;
        test.missing(&[(highest.saturating_sub(20), highest)]);
        while let Some(request) = test.lane.request() {
            version += 1;
            let (cause, slots, token) = match request {
                Inbound::Export { token, slots } => (Cause::Repair, slots.to_vec(), token),
                Inbound::Bulk { token, .. } => (Cause::Bulk, Vec::from_iter(0..100), token),
                other => panic!("{other:?}"),
            };
            for slot in slots {
                let bytes = full(slot, 1, version);
                let count = if cause == Cause::Repair { &mut repaired } else { &mut bulk };
                *count += bytes.len() as u64;
                test.take(cause, &bytes);
            }
            test.mark(token, u32::MAX);
        }
        test.out.clear();
    }
    assert!((200_000..560_000).contains(&repaired), "{repaired}");
    assert!((150_000..750_000).contains(&bulk), "{bulk}");
    assert!(repaired + bulk < 1_100_000, "{repaired} {bulk}");
}

#[test]
fn heartbeats_follow_the_last_datagram() {
    let mut test = Test::plain();
    assert!(test.poll(), "a sender that never said anything lives, too");
    assert!(!test.poll());
    test.now += 10 * MS;
    assert!(test.poll());
    test.take(Cause::New, &full(1, 1, 1));
    test.now += 100_000;
    assert!(!test.poll());
    let sent = test.now;
    assert_eq!(test.lane.next(Tick(test.now)), Some(Tick(sent + MS)));
    test.now = sent + MS - 1;
    assert!(!test.poll());
    test.now = sent + MS;
    assert!(test.poll());
    test.now = sent + 11 * MS - 1;
    assert!(!test.poll());
    test.now = sent + 11 * MS;
    assert!(test.poll());
}

#[test]
fn a_digest_is_of_what_was_sent() {
    let mut test = Test::plain();
    let empty = bytes(&test.with(|lane, now, emit| lane.digest(0, 128, now, emit)));
    test.take(Cause::New, &full(1, 1, 1));
    let one = bytes(&test.with(|lane, now, emit| lane.digest(0, 128, now, emit)));
    assert_eq!(test.out.len(), 1);
    assert_ne!(one, empty);
    test.take(Cause::End, &delete(1, 1, 2));
    assert_eq!(bytes(&test.with(|lane, now, emit| lane.digest(0, 128, now, emit))), empty);
}
