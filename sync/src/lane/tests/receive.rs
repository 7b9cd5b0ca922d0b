//! The receiving side.

use packet::{FlowKey, Tick};

use super::{MS, begin, bytes, delete, end, full, id, lane, mark, node, update};
use crate::ids::{FlowId, Generation, Group, Lane, NodeId, Seq, Term, Version};
use crate::lane::digest::Digest;
use crate::lane::{DigestOutcome, ReceiveLane, Table};
use crate::records::{Neighbour, Record, Role};
use crate::wire;

/// What was asked of the table, as short words.
#[derive(Default)]
struct Words(Vec<String>);

impl Table for Words {
    fn owner_of(&self, original: &FlowKey) -> Lane {
        Lane::new(original.sport[1]).unwrap()
    }

    fn apply(&mut self, worker: Lane, stamp: u32, acknowledge: bool, record: &[u8]) {
        let (slot, version) =
            (wire::flow_id(record).unwrap().slot(), wire::version(record).unwrap().0);
        let what = if wire::kind(record) == Some(wire::Kind::FULL) { "full" } else { "update" };
        let ack = if acknowledge { "!" } else { "" };
        self.0.push(format!("{what} {slot}v{version} @{} #{stamp}{ack}", worker.get()));
    }

    fn delete(&mut self, worker: Lane, id: FlowId) {
        let generation = id.generation().get();
        self.0.push(format!("delete {}g{generation} @{}", id.slot(), worker.get()));
    }

    fn elsewhere(&mut self, _: &[u8]) {
        self.0.push("elsewhere".into());
    }
}

struct Test {
    lane: ReceiveLane,
    words: Words,
    now: u64,
}

impl Test {
    /// One that listens from datagram 1 on, and has asked for a bulk.
    fn asked() -> Self {
        let mut lane = ReceiveLane::new(node(1), lane(), 100, 7);
        assert!(lane.wants_bulk() && !lane.is_whole());
        lane.begin(1, (node(2), 1));
        assert!(!lane.wants_bulk());
        Self { lane, words: Words::default(), now: MS }
    }

    /// One that is whole, by an empty bulk in datagram 1.
    fn whole() -> Self {
        let mut test = Self::asked();
        test.data(1, &[begin(1, 100), end(1, 0)]);
        assert!(test.lane.is_whole());
        assert_eq!((test.lane.sweep_due(), test.lane.sweep_due()), (Some(1), None));
        assert!(test.lane.poll(Tick(test.now)).is_none());
        test
    }

    /// What it made of a datagram.
    fn data(&mut self, seq: u64, records: &[Vec<u8>]) -> Vec<String> {
        let mut payload = bytes(&Record::Role {
            group: Group(0),
            role: Role::Active,
            term: Term(1),
            owner: NodeId::new(1),
        });
        payload.extend(records.iter().flatten());
        self.lane.data(Seq(seq), false, &payload, Tick(self.now), &mut self.words);
        std::mem::take(&mut self.words.0)
    }

    fn nack(&mut self) -> Option<Vec<(u64, u64)>> {
        let ranges = self.lane.poll(Tick(self.now))?;
        Some(ranges.iter().map(|(from, to)| (from.0, to.0)).collect())
    }

    fn watermark(&self) -> u64 {
        self.lane.watermark().0
    }
}

fn resolve(seq: u64, since: u32) -> Vec<u8> {
    bytes(&Record::Resolve { seq: Seq(seq), since })
}

#[test]
fn records_come_in_any_order() {
    let mut test = Test::whole();
    assert_eq!(
        test.data(2, &[full(5, 1, 1), update(5, 1, 2)]),
        ["full 5v1 @1 #1", "update 5v2 @1 #1"]
    );
    assert!(test.data(3, &[update(5, 1, 2), update(5, 1, 1), full(5, 1, 1)]).is_empty());
    // A newer flow in the slot ends the older.
    assert_eq!(test.data(4, &[full(5, 2, 3)]), ["delete 5g1 @1", "full 5v3 @1 #1"]);
    assert_eq!(test.data(5, &[delete(5, 2, 4)]), ["delete 5g2 @1"]);
    // What is gone stays gone.
    assert!(test.data(6, &[full(5, 2, 3), update(5, 2, 3), full(5, 1, 9)]).is_empty());
    // Taken once is enough.
    assert!(test.data(6, &[full(6, 1, 1)]).is_empty());
    assert_eq!(test.watermark(), 6);
    let counters = test.lane.counters();
    assert_eq!((counters.stale, counters.duplicates, counters.applied), (6, 1, 4));
}

#[test]
fn generations_and_versions_wrap() {
    let mut test = Test::whole();
    let last = (1 << 22) - 1;
    test.data(2, &[full(5, last, u32::MAX)]);
    assert_eq!(test.data(3, &[update(5, last, 0)]), ["update 5v0 @1 #1"]);
    assert!(test.data(4, &[update(5, last, u32::MAX)]).is_empty());
    assert_eq!(test.data(5, &[full(5, 0, 1)]).len(), 2);
    assert!(test.data(6, &[full(5, last, 7)]).is_empty());
}

#[test]
fn what_is_to_be_acknowledged_says_so() {
    let mut test = Test::whole();
    test.lane.data(Seq(2), true, &full(1, 1, 1), Tick(test.now), &mut test.words);
    assert_eq!(test.words.0, ["full 1v1 @1 #1!"]);
}

#[test]
fn nothing_is_taken_before_a_bulk_was_asked_for() {
    let mut test = Test::asked();
    test.lane = ReceiveLane::new(node(1), lane(), 100, 7);
    assert!(test.data(41, &[full(1, 1, 1)]).is_empty());
    test.lane.begin(3, (node(2), 3));
    // It was on its way then; who knows what else was.
    assert!(test.data(40, &[full(1, 1, 1)]).is_empty());
    // A bulk that others asked for before does not count.
    test.data(42, &[end(41, 0)]);
    assert!(!test.lane.is_whole() && test.watermark() == 0);
    assert_eq!(test.data(43, &[full(1, 1, 2)]), ["full 1v2 @1 #3"]);
    test.data(44, &[end(42, 0)]);
    assert!(test.lane.is_whole() && test.watermark() == 44);
}

#[test]
fn who_hears_nothing_before_it_asks_begins_with_the_first() {
    let mut test = Test::asked();
    // A bulk that began in 1,000 may have been asked for by others.
    test.data(1_001, &[end(1_000, 0)]);
    assert!(!test.lane.is_whole());
    assert_eq!(test.lane.gaps(), 0);
    let mut test = Test::asked();
    test.lane.highest(Seq(1_000), Tick(test.now));
    test.data(1_001, &[end(1_001, 0)]);
    assert!(test.lane.is_whole());
}

#[test]
fn a_late_datagram_closes_its_gap() {
    let mut test = Test::whole();
    test.data(2, &[]);
    test.data(5, &[full(1, 1, 2)]);
    assert_eq!((test.watermark(), test.lane.gaps()), (2, 2));
    test.data(4, &[]);
    assert_eq!(test.watermark(), 2);
    assert!(test.data(3, &[full(1, 1, 1)]).is_empty());
    assert_eq!((test.watermark(), test.lane.gaps()), (5, 0));
}

#[test]
fn a_gap_is_closed_when_all_that_repairs_it_is_there() {
    let mut test = Test::whole();
    // 2 is lost, and repaired in 4–6, of which 5 is lost, and repaired in 7–8, of which 7 is late.
    test.data(3, &[]);
    test.data(4, &[full(1, 1, 2)]);
    test.data(6, &[full(2, 1, 2), resolve(2, 2)]);
    assert_eq!(test.watermark(), 1);
    test.data(8, &[resolve(5, 1)]);
    assert_eq!(test.watermark(), 1);
    // The same word again, from a second repair, changes nothing.
    test.data(9, &[resolve(2, 0)]);
    assert_eq!(test.watermark(), 1);
    test.data(7, &[full(3, 1, 2)]);
    assert_eq!((test.watermark(), test.lane.gaps()), (9, 0));
    // RESOLVE of what is there, and of what was never missing.
    test.data(10, &[resolve(2, 2), resolve(10, 0), resolve(99, 3)]);
    assert_eq!(test.watermark(), 10);
}

#[test]
fn a_promised_gap_is_not_asked_for() {
    let mut test = Test::whole();
    test.data(4, &[]);
    test.data(6, &[resolve(2, 2)]);
    test.data(9, &[]);
    test.now += 4 * MS;
    assert_eq!(test.nack().unwrap(), [(3, 3), (5, 5), (7, 8)]);
}

#[test]
fn a_gap_is_asked_for_after_a_millisecond_and_three_datagrams() {
    let mut test = Test::whole();
    test.data(3, &[]);
    test.now += 2 * MS;
    assert!(test.nack().is_none(), "it may be late");
    test.data(4, &[]);
    test.data(5, &[]);
    test.data(6, &[]);
    test.now += MS / 2;
    assert_eq!(test.nack().unwrap(), [(2, 2)]);
    // Young gaps are not asked for, however many datagrams follow.
    test.data(8, &[]);
    for seq in 9..20 {
        test.data(seq, &[]);
    }
    assert!(test.nack().is_none());
    // If nothing follows, time alone counts.
    test.lane.highest(Seq(20), Tick(test.now));
    test.now += 4 * MS;
    assert_eq!(test.nack().unwrap(), [(2, 2), (7, 7), (20, 20)]);
}

#[test]
fn nacks_become_rarer() {
    let mut test = Test::whole();
    test.data(3, &[]);
    let begun = test.now;
    let mut at = Vec::new();
    while test.now < begun + 900 * MS {
        test.now += MS / 10;
        // The sender lives.
        test.lane.highest(Seq(3), Tick(test.now));
        if test.nack().is_some() {
            at.push(test.now);
        }
    }
    let waits: Vec<u64> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (n, wait) in waits.iter().enumerate() {
        let least = MS << n.min(6);
        assert!(*wait >= least && *wait <= least * 3 / 2 + MS, "{n}: {waits:?}");
    }
    assert!(waits.len() > 12, "{waits:?}");
}

#[test]
fn nacks_are_bounded() {
    let mut test = Test::whole();
    for n in 0..1_000 {
        test.data(3 + 2 * n, &[]);
    }
    let (mut count, mut asked) = (0, std::collections::BTreeSet::new());
    let begun = test.now;
    while test.now < begun + 60 * MS {
        test.now += MS / 20;
        test.lane.highest(Seq(0), Tick(test.now));
        if let Some(ranges) = test.nack() {
            assert!(ranges.len() <= 32);
            asked.extend(ranges.iter().map(|range| range.0));
            count += 1;
        }
    }
    assert!(count <= 60, "{count}: not more than one a millisecond");
    assert!(asked.len() > 500, "{}: yet all are asked for in time", asked.len());
}

#[test]
fn what_others_ask_for_is_not_asked_for() {
    let mut test = Test::whole();
    test.data(3, &[]);
    for seq in 5..10 {
        test.data(seq, &[]);
    }
    test.now += MS;
    test.lane.heard_missing(&[(Seq(1), Seq(3))], Tick(test.now));
    test.now += MS / 2;
    assert_eq!(test.nack().unwrap(), [(4, 4)]);
    test.now += 3 * MS;
    assert_eq!(test.nack().unwrap(), [(2, 2), (4, 4)], "it was not repaired");
}

#[test]
fn too_many_gaps_are_given_up() {
    let mut test = Test::whole();
    test.data(2, &[full(1, 1, 1)]);
    test.data(4_098, &[]);
    assert!(test.lane.is_whole() && test.lane.gaps() == 4_095);
    test.data(4_101, &[full(1, 1, 2)]);
    assert!(test.lane.wants_bulk() && !test.lane.is_whole() && test.lane.gaps() == 0);
    assert_eq!(test.watermark(), 2, "it vouches for no more than it did");
    // All at once, too.
    let mut test = Test::whole();
    test.lane.highest(Seq(u64::MAX - 1), Tick(test.now));
    assert!(test.lane.wants_bulk() && test.watermark() == 1);
    // The bulk makes it whole again; its old flows have the old stamp.
    test.lane.begin(2, (node(2), 2));
    test.data(u64::MAX, &[]);
    assert_eq!(test.lane.gaps(), 0);
}

#[test]
fn a_gap_that_is_too_old_is_given_up() {
    let mut test = Test::whole();
    test.data(3, &[]);
    for _ in 0..99 {
        test.now += 10 * MS;
        test.lane.highest(Seq(3), Tick(test.now));
        test.nack();
        assert!(test.lane.is_whole());
    }
    test.now += 20 * MS;
    test.lane.highest(Seq(3), Tick(test.now));
    test.nack();
    assert!(!test.lane.is_whole() && test.lane.wants_bulk());
}

#[test]
fn nothing_is_held_against_a_dead_sender() {
    let mut test = Test::whole();
    test.data(3, &[]);
    test.now += 10_000 * MS;
    assert!(test.nack().is_none());
    assert!(test.lane.is_whole() && test.lane.next(Tick(test.now)).is_none());
    // It lives after all: there is time for repair again.
    test.lane.highest(Seq(3), Tick(test.now));
    assert!(test.nack().is_none() && test.lane.is_whole());
    test.now += 4 * MS;
    assert_eq!(test.nack().unwrap(), [(2, 2)]);
}

#[test]
fn what_is_lost_only_a_bulk_brings() {
    let mut test = Test::whole();
    test.data(5, &[]);
    test.data(6, &[resolve(3, 0)]);
    assert_eq!(test.lane.gaps(), 2, "3 is closed");
    test.data(7, &[bytes(&Record::Lost { from: Seq(5), to: Seq(900) })]);
    assert!(test.lane.is_whole(), "that was somebody else's");
    test.data(8, &[bytes(&Record::Lost { from: Seq(1), to: Seq(2) })]);
    assert!(!test.lane.is_whole() && test.lane.wants_bulk() && test.watermark() == 1);
}

#[test]
fn an_update_waits_for_its_flow() {
    let mut test = Test::whole();
    assert!(test.data(3, &[update(1, 1, 2)]).is_empty());
    // In the meantime the flow before it in the slot can only be gone.
    test.data(4, &[full(2, 1, 1)]);
    assert_eq!(test.data(5, &[update(2, 2, 5)]), ["delete 2g1 @2"]);
    // The repair brings it, newer than the update.
    assert_eq!(test.data(6, &[full(1, 1, 3), resolve(2, 0)]), ["full 1v3 @1 #1"]);
    assert_eq!(test.watermark(), 6);
    assert_eq!(test.data(7, &[update(1, 1, 4)]), ["update 1v4 @1 #1"]);
}

#[test]
fn a_flow_that_comes_older_than_its_update_is_asked_for_again() {
    let mut test = Test::whole();
    test.data(3, &[update(1, 1, 2)]);
    assert_eq!(test.data(2, &[full(1, 1, 1), full(9, 1, 1)]), ["full 1v1 @1 #1", "full 9v1 @1 #1"]);
    assert_eq!((test.watermark(), test.lane.gaps()), (1, 1), "1 is not what 3 said");
    // Once more is no better.
    assert!(test.data(2, &[full(1, 1, 1), full(9, 1, 1)]).is_empty());
    assert_eq!(test.watermark(), 1);
    test.now += 4 * MS;
    assert_eq!(test.nack().unwrap(), [(2, 2)]);
    test.data(4, &[full(1, 1, 3), full(9, 1, 2), resolve(2, 0)]);
    assert_eq!(test.watermark(), 4);
    // If the update comes twice, that is as good.
    let mut test = Test::whole();
    test.data(3, &[update(1, 1, 2)]);
    test.data(2, &[full(1, 1, 1)]);
    assert_eq!(test.data(4, &[update(1, 1, 2)]), ["update 1v2 @1 #1"]);
}

#[test]
fn an_update_that_nothing_precedes_is_asked_for_in_full() {
    let mut test = Test::whole();
    assert!(test.data(2, &[update(1, 1, 2)]).is_empty());
    assert_eq!((test.watermark(), test.lane.counters().refused), (1, 1));
    test.now += 4 * MS;
    assert_eq!(test.nack().unwrap(), [(2, 2)]);
    test.data(3, &[full(1, 1, 3), resolve(2, 0)]);
    assert_eq!(test.watermark(), 3);
    // While a bulk is coming, it will bring it.
    let mut test = Test::asked();
    test.data(1, &[begin(1, 100)]);
    test.data(2, &[update(1, 1, 2)]);
    assert_eq!(test.lane.gaps(), 0);
    assert_eq!(test.data(3, &[full(1, 1, 3)]), ["full 1v3 @1 #1"]);
}

#[test]
fn a_bulk_ends_when_all_before_its_end_is_there() {
    let mut test = Test::whole();
    test.data(2, &[full(1, 1, 1), full(2, 1, 1)]);
    test.lane.begin(2, (node(2), 2));
    // It misses nothing, so it stays what it is.
    assert!(test.lane.is_whole());
    test.data(3, &[begin(3, 100)]);
    test.data(5, &[end(3, 1)]);
    assert_eq!(test.lane.sweep_due(), None);
    // The same version under a new stamp says that it lives.
    assert_eq!(test.data(4, &[full(1, 1, 1)]), ["full 1v1 @1 #2"]);
    assert_eq!(test.lane.sweep_due(), Some(2));
    assert_eq!(test.lane.counters().bulks, 2);
    // The worker swept 2: it is not there any more, and no older word brings it back.
    assert_eq!(test.lane.next(Tick(test.now)), Some(Tick(test.now)));
    test.nack();
    assert!(test.data(6, &[full(2, 1, 1)]).is_empty());
    let mut digest = Digest::new();
    digest.toggle(1, Generation::new(1), Version(1));
    let outcome = test.lane.digest(Seq(6), 0, digest.from(0), Tick(test.now));
    assert_eq!(outcome, DigestOutcome::Same);
}

#[test]
fn the_end_of_a_bulk_may_come_by_repair() {
    let mut test = Test::asked();
    test.data(1, &[begin(1, 100)]);
    // 2 had records and the end. It comes again in 5, of which the records are in 4.
    test.data(3, &[]);
    test.data(5, &[end(1, 1), resolve(2, 1)]);
    assert!(!test.lane.is_whole());
    test.data(4, &[full(1, 1, 2)]);
    assert!(test.lane.is_whole() && test.watermark() == 5);
    // The beginning of somebody's earlier bulk, repaired, is not that of ours.
    test.data(8, &[]);
    test.lane.begin(2, (node(2), 2));
    test.data(9, &[begin(7, 1), end(7, 0)]);
    assert_eq!(test.lane.counters().bulks, 1);
}

#[test]
fn a_bulk_that_does_not_come_is_wanted_again() {
    let mut test = Test::asked();
    test.data(1, &[]);
    test.nack();
    let wait = |test: &mut Test, milliseconds: u64| {
        for _ in 0..milliseconds / 10 {
            test.now += 10 * MS;
            test.lane.highest(Seq(1), Tick(test.now));
            test.nack();
        }
        test.lane.wants_bulk()
    };
    assert!(!wait(&mut test, 240));
    assert!(wait(&mut test, 20));
    test.lane.begin(2, (node(2), 2));
    test.nack();
    test.data(2, &[begin(2, 100)]);
    assert!(!wait(&mut test, 4_000));
    test.data(3, &[mark(2, 10)]);
    assert!(!wait(&mut test, 4_000));
    assert!(wait(&mut test, 2_000), "it does not go on");
}

#[test]
fn unknown_records_are_skipped_or_reported() {
    let mut test = Test::whole();
    let unknown = vec![200, 0, 8, 0, 1, 2, 3, 4];
    assert_eq!(test.data(2, &[unknown, full(1, 1, 1)]), ["full 1v1 @1 #1"]);
    assert!(!test.lane.is_partial());
    let needed = vec![200, wire::MUST_UNDERSTAND, 8, 0, 1, 2, 3, 4];
    assert_eq!(test.data(3, &[needed, full(2, 1, 1)]), ["full 2v1 @2 #1"]);
    assert!(test.lane.is_partial() && test.watermark() == 3);
}

#[test]
fn nothing_of_a_malformed_datagram_is_applied() {
    let mut test = Test::whole();
    let mut bad = full(2, 1, 1);
    bad[31] = 0xff;
    for bad in [bad, vec![1, 1, 200, 0], vec![1]] {
        assert!(test.data(2, &[full(1, 1, 1), bad]).is_empty());
        assert_eq!(test.watermark(), 1);
    }
    assert_eq!(test.lane.counters().malformed, 3);
    assert_eq!(test.data(2, &[full(1, 1, 1)]).len(), 1);
    // Nor is what another lane should have said.
    let (id, version) = (FlowId::new(node(2), lane(), 1, Generation::new(9)), Version(9));
    assert!(test.data(3, &[bytes(&Record::Delete { id, version })]).is_empty());
    assert!(test.lane.data(Seq(0), false, &[], Tick(0), &mut test.words) == Default::default());
}

#[test]
fn there_may_be_more_slots_than_there_is_room_for() {
    let mut test = Test::whole();
    assert_eq!(test.data(2, &[full(100, 1, 1), full(99, 1, 1)]), ["full 99v1 @3 #1"]);
    assert!(test.lane.is_partial() && test.lane.counters().beyond == 1);
    let outcome = test.lane.digest(Seq(2), 0, &[1], Tick(test.now));
    assert_eq!(outcome, DigestOutcome::NotComparable);
}

#[test]
fn other_records_go_elsewhere() {
    let mut test = Test::whole();
    let neighbour = Neighbour { port: 1, family: 4, addr: [0; 16], mac: [2; 6] };
    assert_eq!(test.data(2, &[bytes(&Record::Neighbour(neighbour))]), ["elsewhere"]);
    assert!(test.data(3, &[bytes(&Record::Request(id(1, 1)))]).is_empty());
}

#[test]
fn digests_that_differ_twice_raise_an_alarm() {
    let mut test = Test::whole();
    test.data(2, &[full(1, 1, 1), full(2, 1, 1), delete(2, 1, 2)]);
    let mut digest = Digest::new();
    digest.toggle(1, Generation::new(1), Version(1));
    let good = digest.from(0)[..128].to_vec();
    let mut bad = good.clone();
    bad[77] ^= 1;
    let compare = |test: &mut Test, seq: u64, buckets: &[u64]| {
        test.lane.digest(Seq(seq), 0, buckets, Tick(test.now))
    };
    assert_eq!(compare(&mut test, 2, &good), DigestOutcome::Same);
    // Of another moment, so it says nothing.
    assert_eq!(compare(&mut test, 1, &bad), DigestOutcome::NotComparable);
    assert_eq!(compare(&mut test, 2, &bad), DigestOutcome::Differs);
    assert_eq!(compare(&mut test, 2, &good), DigestOutcome::Same);
    assert_eq!(compare(&mut test, 2, &bad), DigestOutcome::Differs);
    assert!(test.lane.is_whole() && !test.lane.wants_bulk());
    assert_eq!(compare(&mut test, 2, &bad), DigestOutcome::Alarm);
    assert!(!test.lane.is_whole() && test.lane.wants_bulk());
    assert_eq!((test.lane.counters().mismatches, test.lane.counters().alarms), (3, 1));
    // While something is missing, nothing can be said.
    let mut test = Test::whole();
    assert_eq!(compare(&mut test, 2, &bad), DigestOutcome::NotComparable);
    assert_eq!(test.lane.gaps(), 1);
}
