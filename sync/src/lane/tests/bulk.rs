//! Bulks, as a sending lane says them.

use packet::Tick;

use super::sender::Test;
use super::{delete, full, node, update};
use crate::hands::Cause;
use crate::ids::Seq;
use crate::lane::{Pace, Progress};
use crate::records::Part;

#[test]
fn a_bulk_goes_by_chunks() {
    let mut test = Test::new(2_500, Pace { bytes_per_second: 0, ..Pace::default() });
    test.take(Cause::New, &full(3, 1, 1));
    test.take(Cause::New, &full(2_400, 1, 1));
    test.flush();
    test.lane.begin_bulk(Tick(test.now));
    test.poll();
    assert_eq!(test.lane.bulk(), Some(Progress { done: 0, of: 2_500 }));
    let (token, from, count) = test.chunk().unwrap();
    assert_eq!((from, count), (0, 1_024));
    assert!(test.chunk().is_none(), "one at a time");
    test.take(Cause::Bulk, &full(3, 1, 2));
    test.mark(token, 1_024);
    let out = test.flush();
    assert!(out[0].bulk);
    assert_eq!(out[0].words[1..], ["begin 2 of 2500", "full 3v2", "mark 2 at 1024"]);
    let (token, from, count) = test.chunk().unwrap();
    assert_eq!((from, count), (1_024, 1_024));
    test.mark(token, 2_048);
    assert_eq!(test.words(), ["mark 2 at 2048"]);
    let (token, from, count) = test.chunk().unwrap();
    assert_eq!((from, count), (2_048, 452));
    test.take(Cause::Bulk, &full(2_400, 1, 2));
    test.mark(token, u32::MAX);
    assert_eq!(test.words(), ["full 2400v2", "mark 2 at 2500", "end 2 with 2"]);
    assert_eq!((test.lane.bulk(), test.lane.request()), (None, None));
}

#[test]
fn who_asks_while_a_bulk_runs_joins_it() {
    let mut test = Test::new(2_048, Pace { bytes_per_second: 0, ..Pace::default() });
    test.lane.begin_bulk(Tick(test.now));
    test.poll();
    let (token, ..) = test.chunk().unwrap();
    // This chunk may have been said before the second began to listen: it does not count for that.
    test.lane.begin_bulk(Tick(test.now));
    test.flush();
    test.lane.begin_bulk(Tick(test.now));
    test.mark(token, 1_024);
    assert_eq!(test.words(), ["mark 1 at 1024", "begin 2 of 2048"]);
    let (token, from, _) = test.chunk().unwrap();
    assert_eq!(from, 1_024);
    test.mark(token, 2_048);
    assert_eq!(test.words(), ["mark 1 at 2048", "mark 2 at 2048", "end 1 with 0"]);
}

#[test]
fn flows_that_a_bulk_does_not_say_are_gone() {
    let mut test = Test::plain();
    test.take(Cause::New, &full(1, 1, 1));
    test.take(Cause::New, &full(2, 1, 1));
    test.flush();
    test.lane.begin_bulk(Tick(test.now));
    test.poll();
    let (token, ..) = test.chunk().unwrap();
    test.take(Cause::Bulk, &full(1, 1, 2));
    test.take(Cause::New, &full(3, 1, 1));
    test.mark(token, u32::MAX);
    let words = test.words();
    let expected = ["begin 2 of 100", "full 1v2", "full 3v1", "delete 2v2"];
    assert_eq!(words[..4], expected);
    assert_eq!(test.lane.counters().orphans, 1);
}

#[test]
fn a_bulk_does_not_end_before_what_overtook_it_is_said_in_full() {
    let mut test = Test::plain();
    test.take(Cause::New, &full(1, 1, 1));
    test.flush();
    test.lane.begin_bulk(Tick(test.now));
    test.poll();
    let (token, ..) = test.chunk().unwrap();
    test.take(Cause::Change, &update(1, 1, 3));
    test.take(Cause::Bulk, &full(1, 1, 2));
    test.mark(token, u32::MAX);
    assert_eq!(test.words(), ["begin 2 of 100", "update 1v3"]);
    let (token, slots) = test.export().unwrap();
    assert_eq!(slots, [1]);
    test.take(Cause::Repair, &full(1, 1, 4));
    test.mark(token, 0);
    assert_eq!(test.words(), ["full 1v4", "mark 2 at 100", "end 2 with 1"]);
}

/// What somebody still wants who has all of the slots from `first` up to `next` as of `inside`, and of the others as of `outside`.
fn part(first: u32, next: u32, inside: u64, outside: u64, all: bool) -> Part {
    Part { first, next, inside: Seq(inside), outside: Seq(outside), all, bucket: None }
}

/// 2,500 slots; flows in each hundredth, and one datagram for each.
fn hundreds() -> Test {
    let mut test = Test::new(2_500, Pace { bytes_per_second: 0, ..Pace::default() });
    for slot in (0..2_500).step_by(100) {
        test.take(Cause::New, &full(slot, 1, 1));
        test.flush();
    }
    assert_eq!(test.lane.highest(), Seq(25));
    test
}

#[test]
fn a_bulk_goes_on_where_it_was() {
    let mut test = hundreds();
    test.take(Cause::End, &delete(200, 1, 2));
    test.take(Cause::Change, &update(300, 1, 2));
    test.take(Cause::End, &delete(2_100, 1, 2));
    test.flush();
    // Slots 2,000 to 1,023 were said, and all up to 25 arrived.
    test.lane.begin_bulk_for(node(2), 7, Some(part(2_000, 1_024, 25, 25, true)));
    assert_eq!(test.words(), ["begin 27 from 2000 for 2#7 of 2500"]);
    // Of these only what changed.
    let (token, slots) = test.export().unwrap();
    assert_eq!(slots, [2_100]);
    test.take(Cause::Repair, &delete(2_100, 1, 3));
    test.mark(token, 0);
    assert_eq!(test.words(), ["delete 2100v3", "mark 27 from 2000 for 2#7 at 2500"]);
    let (token, slots) = test.export().unwrap();
    assert_eq!(slots, [200, 300]);
    test.take(Cause::Repair, &full(300, 1, 3));
    test.mark(token, 0);
    let words = ["full 300v3", "delete 200v3", "mark 27 from 2000 for 2#7 at 1024"];
    assert_eq!(test.words(), words, "the worker said nothing of 200");
    // Then all.
    let (token, from, count) = test.chunk().unwrap();
    assert_eq!((from, count), (1_024, 976));
    for slot in (1_100..2_000).step_by(100) {
        test.take(Cause::Bulk, &full(slot, 1, 2));
    }
    test.mark(token, 2_000);
    let words = test.words();
    assert_eq!(words.len(), 11);
    assert_eq!(words[9], "mark 27 from 2000 for 2#7 at 2000");
    assert!(words[10].starts_with("end 27 "), "{words:?}");
    assert_eq!(test.lane.counters().parts, 1);
}

#[test]
fn what_ended_is_said_to_whoever_may_have_missed_it() {
    let mut test = hundreds();
    test.take(Cause::End, &delete(200, 1, 2));
    test.flush();
    // Nothing was said yet, and the last datagram was lost.
    test.lane.begin_bulk_for(node(2), 1, Some(part(0, 0, 0, 25, true)));
    test.poll();
    let (token, from, count) = test.chunk().unwrap();
    assert_eq!((from, count), (0, 1_024));
    for slot in [0, 100, 300, 400, 500, 600, 700, 800, 900, 1_000] {
        test.take(Cause::Bulk, &full(slot, 1, 2));
    }
    test.mark(token, 1_024);
    let words = test.words();
    assert_eq!(words[11], "delete 200v2", "{words:?}");
    // A bulk for whoever wants all says nothing of it.
    let mut test = hundreds();
    test.take(Cause::End, &delete(200, 1, 2));
    test.flush();
    test.lane.begin_bulk(Tick(test.now));
    test.poll();
    let (token, ..) = test.chunk().unwrap();
    for slot in [0, 100, 300, 400, 500, 600, 700, 800, 900, 1_000] {
        test.take(Cause::Bulk, &full(slot, 1, 2));
    }
    test.mark(token, 1_024);
    assert!(test.words().iter().all(|word| !word.starts_with("delete")));
}

#[test]
fn who_misses_only_what_was_lost_gets_only_that() {
    let mut test = hundreds();
    test.take(Cause::Change, &update(1_800, 1, 2));
    test.flush();
    test.lane.begin_bulk_for(node(2), 1, Some(part(0, 0, 0, 25, false)));
    test.poll();
    let (token, slots) = test.export().unwrap();
    assert_eq!(slots, [1_800]);
    test.take(Cause::Repair, &full(1_800, 1, 3));
    test.mark(token, 0);
    let words = ["full 1800v3", "mark 27 from 0 for 2#1 at 2500", "end 27 from 0 for 2#1 with 1"];
    assert_eq!(test.words()[1..], words);
    assert!(test.lane.request().is_none());
}

#[test]
fn of_a_bucket_only_its_slots_are_said() {
    let mut test = Test::new(5_000, Pace { bytes_per_second: 0, ..Pace::default() });
    for slot in 0..5_000 {
        test.take(Cause::New, &full(slot, 1, 1));
    }
    test.flush();
    let bucket = Part { bucket: Some(77), ..part(0, 0, 0, u64::MAX, false) };
    test.lane.begin_bulk_for(node(2), 1, Some(bucket));
    test.poll();
    let (_, slots) = test.export().unwrap();
    assert_eq!(slots, [77, 1_101, 2_125, 3_149, 4_173]);
    // A bucket that there is not has no slots.
    let mut test = hundreds();
    test.lane.begin_bulk_for(node(2), 1, Some(Part { bucket: Some(1_024), ..bucket }));
    assert_eq!(test.words().len(), 2, "it begins and ends");
}

#[test]
fn a_request_takes_the_place_of_the_nodes_last_one() {
    let mut test = hundreds();
    test.lane.begin_bulk_for(node(2), 1, Some(part(0, 0, 0, 25, true)));
    test.poll();
    let (token, ..) = test.chunk().unwrap();
    test.lane.begin_bulk_for(node(2), 2, Some(part(0, 0, 0, 25, false)));
    test.lane.begin_bulk_for(node(3), 1, Some(part(0, 0, 0, 25, false)));
    test.poll();
    for slot in (0..1_024).step_by(100) {
        test.take(Cause::Bulk, &full(slot, 1, 2));
    }
    test.mark(token, 1_024);
    let mut words = test.words();
    while let Some((token, slots)) = test.export() {
        slots.iter().for_each(|slot| test.take(Cause::Repair, &full(*slot, 1, 3)));
        test.mark(token, 0);
        words.extend(test.words());
    }
    let ends: Vec<_> = words.into_iter().filter(|word| word.starts_with("end")).collect();
    assert_eq!(ends.len(), 2, "{ends:?}");
    assert!(ends.iter().any(|end| end.contains("for 2#2")) && ends[0] != ends[1]);
}
