//! The sending side.

use packet::Tick;

use super::{MS, bytes, delete, full, id, lane, node, update};
use crate::hands::{Cause, Inbound, Outbound};
use crate::ids::{Group, Seq, Term};
use crate::lane::{Pace, Progress, SendLane};
use crate::records::{Neighbour, Record, Role};
use crate::wire;

/// A datagram that came out: its number, flags, and records as short words.
#[derive(Debug)]
struct Out {
    seq: u64,
    want_ack: bool,
    bulk: bool,
    last: bool,
    words: Vec<String>,
}

fn word(record: &Record<'_>) -> String {
    match record {
        Record::Role { role, term, .. } => format!("{role} {}", term.0),
        Record::Full(full) => format!("full {}v{}", full.id.slot(), full.version.0),
        Record::Update { id, version, .. } => format!("update {}v{}", id.slot(), version.0),
        Record::Delete { id, version } => format!("delete {}v{}", id.slot(), version.0),
        Record::Resolve { seq, since } => format!("resolve {} since {since}", seq.0),
        Record::Lost { from, to } => format!("lost {}-{}", from.0, to.0),
        Record::BulkBegin { bulk, slots } => format!("begin {bulk} of {slots}"),
        Record::BulkMark { bulk, slot } => format!("mark {bulk} at {slot}"),
        Record::BulkEnd { bulk, flows } => format!("end {bulk} with {flows}"),
        Record::Neighbour(_) => "neighbour".into(),
        other => panic!("{other:?}"),
    }
}

struct Test {
    lane: SendLane,
    out: Vec<Out>,
    now: u64,
}

impl Test {
    fn new(slots: u32, pace: Pace) -> Self {
        let mut lane = SendLane::new(lane(), slots, pace);
        lane.set_role(Group(0), Role::Active, Term(1), Some(node(1)));
        Self { lane, out: Vec::new(), now: MS }
    }

    fn plain() -> Self {
        Self::new(100, Pace { flush: 100_000, bytes_per_second: 0, window: 1_000 })
    }

    fn with<T>(
        &mut self,
        f: impl FnOnce(&mut SendLane, Tick, super::super::send::Emit<'_, '_>) -> T,
    ) -> T {
        let out = &mut self.out;
        f(&mut self.lane, Tick(self.now), &mut |datagram| {
            assert!(datagram.payload.len() <= wire::PAYLOAD);
            out.push(Out {
                seq: datagram.seq.0,
                want_ack: datagram.want_ack,
                bulk: datagram.bulk,
                last: datagram.last,
                words: wire::records(datagram.payload)
                    .map(|record| word(&record.unwrap().0))
                    .collect(),
            });
        })
    }

    fn take(&mut self, cause: Cause, bytes: &[u8]) {
        let outbound = Outbound::Record { cause, slot: 0, bytes };
        self.with(|lane, now, emit| lane.take(&outbound, now, emit));
    }

    fn mark(&mut self, token: u64, next: u32) {
        self.with(|lane, now, emit| lane.take(&Outbound::Mark { token, next }, now, emit));
    }

    fn poll(&mut self) -> bool {
        self.with(|lane, now, emit| lane.poll(now, emit))
    }

    /// Lets what waits go; what came out since the last time.
    fn flush(&mut self) -> Vec<Out> {
        self.poll();
        self.now += 100_000;
        self.poll();
        std::mem::take(&mut self.out)
    }

    /// The records of what came out, without ROLE.
    fn words(&mut self) -> Vec<String> {
        self.flush().into_iter().flat_map(|out| out.words.into_iter().skip(1)).collect()
    }

    fn missing(&mut self, ranges: &[(u64, u64)]) {
        let ranges: Vec<_> = ranges.iter().map(|&(from, to)| (Seq(from), Seq(to))).collect();
        self.lane.missing(node(2), &ranges, Tick(self.now));
        self.poll();
    }

    fn export(&mut self) -> Option<(u64, Vec<u32>)> {
        match self.lane.request()? {
            Inbound::Export { token, slots } => Some((token, slots.to_vec())),
            other => panic!("{other:?}"),
        }
    }

    fn chunk(&mut self) -> Option<(u64, u32, u32)> {
        match self.lane.request()? {
            Inbound::Bulk { token, from, count } => Some((token, from, count)),
            other => panic!("{other:?}"),
        }
    }
}

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
    assert_eq!(test.words(), ["begin 2 of 100", "update 1v3", "mark 2 at 100"]);
    let (token, slots) = test.export().unwrap();
    assert_eq!(slots, [1]);
    test.take(Cause::Repair, &full(1, 1, 4));
    test.mark(token, 0);
    assert_eq!(test.words(), ["full 1v4", "end 2 with 0"]);
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
