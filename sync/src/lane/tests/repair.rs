//! What a sending lane does about what did not arrive.

use packet::Tick;

use super::sender::Test;
use super::{MS, bytes, full, node, update};
use crate::hands::{Cause, Inbound};
use crate::ids::{Group, Seq, Term};
use crate::lane::Pace;
use crate::records::{Neighbour, Record, Role};

#[test]
fn what_is_missing_is_said_anew() {
    let mut test = Test::plain();
    test.take(Cause::New, &full(1, 1, 1));
    test.take(Cause::New, &full(2, 1, 1));
    test.flush();
    test.take(Cause::Change, &update(2, 1, 2));
    test.flush();
    test.missing(&[(1, 1)]);
    let (token, slots) = test.export().unwrap();
    // Slot 2 was said again, but who knows whether that arrived.
    assert_eq!(slots, [1, 2]);
    assert!(test.export().is_none());
    // While that is under way, the same NACK changes nothing.
    test.missing(&[(1, 1)]);
    assert!(test.export().is_none());
    test.take(Cause::Repair, &full(1, 1, 2));
    assert_eq!(test.words(), ["full 1v2"]);
    test.take(Cause::Change, &update(1, 1, 3));
    assert_eq!(test.words(), ["update 1v3"]);
    test.take(Cause::Repair, &full(2, 1, 3));
    test.mark(token, 0);
    // The first repaired record went in datagram 3, this is 5.
    assert_eq!(test.words(), ["full 2v3", "resolve 1 since 2"]);
    // A NACK that crossed the answer changes nothing either; a later one does.
    test.missing(&[(1, 1)]);
    assert!(test.export().is_none());
    test.now += 2 * MS;
    test.missing(&[(1, 1)]);
    assert!(test.export().is_some());
    let counters = test.lane.counters();
    assert_eq!((counters.missing, counters.repeated, counters.resolved), (4, 2, 1));
}

#[test]
fn small_datagrams_are_repaired_together() {
    let mut test = Test::plain();
    for slot in 0..20 {
        test.take(Cause::New, &full(slot, 1, 1));
        test.flush();
    }
    test.missing(&[(1, 20)]);
    let (token, slots) = test.export().unwrap();
    assert_eq!(slots, Vec::from_iter(0..14));
    let (_, rest) = test.export().unwrap();
    assert_eq!(rest, Vec::from_iter(14..20));
    for slot in slots {
        test.take(Cause::Repair, &full(slot, 1, 2));
    }
    test.mark(token, 0);
    let words = test.words();
    assert_eq!(words.len(), 28);
    assert_eq!((words[13].as_str(), words[27].as_str()), ("full 13v2", "resolve 14 since 0"));
}

#[test]
fn a_repair_that_was_overtaken_by_all_of_the_flow_is_done() {
    let mut test = Test::plain();
    test.take(Cause::New, &full(1, 1, 1));
    test.flush();
    test.missing(&[(1, 1)]);
    let (token, _) = test.export().unwrap();
    test.take(Cause::Change, &full(1, 1, 3));
    test.flush();
    test.take(Cause::Repair, &full(1, 1, 2));
    test.mark(token, 0);
    assert_eq!(test.words(), ["resolve 1 since 1"]);
}

#[test]
fn a_repair_that_was_overtaken_by_an_update_is_asked_for_again() {
    let mut test = Test::plain();
    test.take(Cause::New, &full(1, 1, 1));
    test.flush();
    test.missing(&[(1, 1)]);
    let (token, _) = test.export().unwrap();
    test.take(Cause::Change, &update(1, 1, 3));
    test.take(Cause::Repair, &full(1, 1, 2));
    test.mark(token, 0);
    assert_eq!(test.words(), ["update 1v3"]);
    let (token, slots) = test.export().unwrap();
    assert_eq!(slots, [1]);
    test.take(Cause::Repair, &full(1, 1, 4));
    test.mark(token, 0);
    assert_eq!(test.words(), ["full 1v4", "resolve 1 since 0"]);
}

#[test]
fn a_slot_that_the_worker_is_silent_about_is_gone() {
    let mut test = Test::plain();
    test.take(Cause::New, &full(1, 1, 1));
    test.flush();
    test.missing(&[(1, 1)]);
    let (token, _) = test.export().unwrap();
    test.mark(token, 0);
    assert_eq!(test.words(), ["delete 1v2", "resolve 1 since 0"]);
    // But a worker that is not active says nothing, and means nothing.
    let mut test = Test::plain();
    test.take(Cause::New, &full(1, 1, 1));
    test.flush();
    test.lane.set_role(Group(0), Role::Standby, Term(2), Some(node(2)));
    test.missing(&[(1, 1)]);
    let (token, _) = test.export().unwrap();
    test.mark(token, 0);
    assert_eq!(test.words(), ["resolve 1 since 0"]);
}

#[test]
fn records_that_are_not_of_flows_go_again_as_they_are() {
    let mut test = Test::plain();
    let neighbour = Neighbour { port: 1, family: 4, addr: [0; 16], mac: [2; 6] };
    test.take(Cause::Change, &bytes(&Record::Neighbour(neighbour)));
    test.flush();
    test.missing(&[(1, 1)]);
    assert!(test.export().is_none());
    assert_eq!(test.words(), ["neighbour", "resolve 1 since 0"]);
    // And once more, if that is lost.
    test.missing(&[(2, 2)]);
    assert_eq!(test.words(), ["neighbour", "resolve 2 since 0"]);
}

#[test]
fn what_is_out_of_the_window_is_lost() {
    let mut test = Test::new(100, Pace { window: 4, bytes_per_second: 0, ..Pace::default() });
    for version in 1..=10 {
        test.take(Cause::Change, &full(1, 1, version));
        test.flush();
    }
    test.missing(&[(2, 3), (5, 8), (11, 900)]);
    assert_eq!(test.export().unwrap().1, [1]);
    assert_eq!(test.words(), ["lost 2-6"]);
    // No more often than each millisecond.
    test.missing(&[(1, 1)]);
    assert!(test.words().is_empty());
    test.now += MS;
    assert_eq!(test.words(), ["lost 1-1"]);
    assert_eq!(test.lane.counters().lost, 5);
}

#[test]
fn watermarks_of_those_who_live_trim_the_window() {
    let mut test = Test::plain();
    for version in 1..=10 {
        test.take(Cause::Change, &full(1, 1, version));
        test.flush();
    }
    test.lane.watermark(node(2), Seq(7), Tick(test.now));
    test.lane.watermark(node(3), Seq(4), Tick(test.now));
    let behind = test.lane.behind(Tick(test.now));
    assert_eq!((behind.datagrams, behind.flows), (6, 3));
    // Node 2's NACK of what its own watermark has is old.
    test.missing(&[(3, 3)]);
    assert!(test.export().is_none() && test.words().is_empty());
    test.lane.forget(node(3));
    assert_eq!(test.lane.behind(Tick(test.now)).datagrams, 3);
    // What was never sent cannot be there.
    test.lane.watermark(node(2), Seq(99), Tick(test.now));
    assert_eq!(test.lane.behind(Tick(test.now)).datagrams, 3);
}

#[test]
fn a_request_that_was_refused_comes_again() {
    let mut test = Test::plain();
    test.take(Cause::New, &full(1, 1, 1));
    test.flush();
    test.missing(&[(1, 1)]);
    let request = test.lane.request().unwrap();
    test.lane.refused(request);
    assert_eq!(test.export().unwrap().1, [1]);
    test.lane.begin_bulk(Tick(test.now));
    test.poll();
    let request = test.lane.request().unwrap();
    assert!(matches!(request, Inbound::Bulk { .. }));
    test.lane.refused(request);
    assert_eq!(test.chunk().unwrap().1, 0);
}

#[test]
fn a_worker_that_does_not_answer_is_asked_again_when_a_nack_is() {
    let mut test = Test::plain();
    test.take(Cause::New, &full(1, 1, 1));
    test.flush();
    test.missing(&[(1, 1)]);
    let (token, _) = test.export().unwrap();
    test.now += 1_000 * MS;
    test.poll();
    test.missing(&[(1, 1)]);
    assert_eq!(test.export().unwrap().1, [1]);
    // The answer to the first is late: it answers nothing.
    test.mark(token, 0);
    assert!(test.words().is_empty());
}

#[test]
fn what_waits_for_repair_is_bounded() {
    let mut test = Test::new(100, Pace { bytes_per_second: 0, window: 10_000, flush: 0 });
    for version in 1..=9_000 {
        test.take(Cause::Change, &full(version % 100, 1, version));
        test.poll();
        test.out.clear();
        test.now += 1_000;
    }
    for _ in 0..100 {
        test.lane.missing(node(2), &[(Seq(1), Seq(u64::MAX - 1))], Tick(test.now));
    }
    assert!(test.lane.counters().given_up > 0);
    test.poll();
    assert_eq!(std::iter::from_fn(|| test.lane.request()).count(), 16, "told at a time");
}
