//! What other nodes are told of: which changes, when, and what there is to say of a slot.

use super::*;
use crate::proto::tcp::{Side, State, Tcp};

/// A shard that tells others.
fn owner(max: u32) -> Shard {
    let mut shard = shard(max);
    shard.replicate(true);
    shard
}

/// All that waits to be said.
fn dirty(shard: &mut Shard, haste: Haste) -> Vec<u32> {
    let mut slots = Vec::new();
    while let Taken::Slot(slot) = shard.take_dirty(haste, &mut u32::MAX.clone()) {
        slots.push(slot.0);
    }
    slots
}

fn say(shard: &mut Shard, slot: Slot) -> (Say, u32, u32) {
    let Export { say, generation, version, .. } =
        shard.export(slot, Ask::News, Haste::Urgent, at(0));
    (say, generation, version)
}

#[test]
fn a_slot_says_what_others_do_not_know() {
    let mut shard = owner(10);
    let slot = add(&mut shard, 1, 30, at(0));
    assert_eq!(say(&mut shard, slot), (Say::Full, 1, 1));
    assert_eq!(say(&mut shard, slot), (Say::Update, 1, 2));
    shard.kill(slot, at(0));
    assert_eq!(say(&mut shard, slot), (Say::Delete, 1, 3));
    assert_eq!(say(&mut shard, slot), (Say::Nothing, 1, 3));
    // What came and went between two looks was never there.
    assert_eq!(add(&mut shard, 2, 30, at(0)), slot);
    shard.kill(slot, at(0));
    assert_eq!(say(&mut shard, slot).0, Say::Nothing);
    // A later flow says that the earlier one is gone, and so does its end.
    add(&mut shard, 3, 30, at(0));
    assert_eq!(say(&mut shard, slot), (Say::Full, 3, 1));
    shard.kill(slot, at(0));
    add(&mut shard, 4, 30, at(0));
    assert_eq!(say(&mut shard, slot), (Say::Full, 4, 1));
    shard.kill(slot, at(0));
    add(&mut shard, 5, 30, at(0));
    shard.kill(slot, at(0));
    assert_eq!(say(&mut shard, slot), (Say::Delete, 5, 1));
}

#[test]
fn what_is_asked_for_is_said_whole() {
    let mut shard = owner(10);
    let slot = add(&mut shard, 1, 30, at(0));
    assert_eq!(say(&mut shard, slot).0, Say::Full);
    let ask = |shard: &mut Shard| shard.export(slot, Ask::Whole, Haste::Lazy, at(0)).say;
    assert_eq!(ask(&mut shard), Say::Full);
    // The next news may come before it.
    assert_eq!(say(&mut shard, slot).0, Say::Full);
    assert_eq!(say(&mut shard, slot).0, Say::Update);
    shard.kill(slot, at(0));
    assert_eq!([ask(&mut shard), ask(&mut shard)], [Say::Delete; 2]);
    assert_eq!(say(&mut shard, slot).0, Say::Nothing);
}

#[test]
fn who_owns_the_flows_again_says_all_anew() {
    let mut shard = owner(10);
    let slot = add(&mut shard, 1, 30, at(0));
    let gone = add(&mut shard, 2, 30, at(0));
    assert_eq!((say(&mut shard, slot).0, say(&mut shard, gone).0), (Say::Full, Say::Full));
    shard.set_mark(slot, 7);
    shard.replicate(false);
    shard.hold();
    shard.kill(gone, at(0));
    shard.release(at(0));
    shard.replicate(true);
    // What waited to be said still does.
    assert_eq!(dirty(&mut shard, Haste::Urgent), [slot.0]);
    assert_eq!(say(&mut shard, slot), (Say::Full, 1, 2));
    assert_eq!(say(&mut shard, gone).0, Say::Nothing);
}

#[test]
fn every_change_that_others_must_know_is_kept_once() {
    type Change = fn(&mut Shard, Slot);
    let changes: [(&str, Change); 13] = [
        ("assured", |shard, slot| shard.set_status(slot, Status::ASSURED)),
        ("reply", |shard, slot| shard.set_status(slot, Status::SEEN_REPLY)),
        ("fixed", |shard, slot| shard.set_status(slot, Status::FIXED_TIMEOUT)),
        ("nat", |shard, slot| shard.set_status(slot, Status::SRC_NAT | Status::SRC_NAT_DONE)),
        ("dying", |shard, slot| shard.set_status(slot, Status::DYING)),
        ("cleared", |shard, slot| shard.clear_status(slot, Status::CONFIRMED << 5)),
        ("mark", |shard, slot| shard.set_mark(slot, 1)),
        ("labels", |shard, slot| shard.set_labels(slot, [1; 16], [1; 16])),
        ("timeout", |shard, slot| shard.set_timeout(slot, 5, at(0))),
        ("longer timeout", |shard, slot| shard.set_timeout(slot, 500, at(0))),
        ("protocol", |shard, slot| shard.note(slot, event::PROTOINFO)),
        ("end", |shard, slot| shard.kill(slot, at(0))),
        ("expiry", |shard, _| assert_eq!(shard.expire(at(31), 9), 2)),
    ];
    for (name, change) in changes {
        let mut shard = owner(10);
        let slot = shard.create(key(1), back(&key(1)), at(0)).unwrap();
        shard.set_status(slot, Status::CONFIRMED << 5);
        shard.refresh(slot, 30, at(0));
        assert_eq!(dirty(&mut shard, Haste::Urgent), [0; 0], "it is not in the table");
        shard.confirm(slot, at(0)).unwrap();
        let own = shard.create(key(2), back(&key(2)), at(0)).unwrap();
        shard.set_local(own);
        shard.refresh(own, 30, at(0));
        shard.confirm(own, at(0)).unwrap();
        assert_eq!(dirty(&mut shard, Haste::Urgent), [slot.0], "only what is shared");
        for _ in 0..2 {
            change(&mut shard, slot);
            if name != "expiry" {
                change(&mut shard, own);
            }
            if name == "expiry" {
                break;
            }
        }
        assert_eq!(dirty(&mut shard, Haste::Urgent), [slot.0], "{name}");
        assert_eq!(dirty(&mut shard, Haste::Urgent), [0; 0], "{name}");
    }
}

#[test]
fn nothing_is_kept_while_nobody_is_told() {
    let mut shard = shard(10);
    let slot = add(&mut shard, 1, 30, at(0));
    shard.set_mark(slot, 7);
    shard.kill(slot, at(0));
    assert!(shard.is_clean(Haste::Urgent) && shard.is_clean(Haste::Lazy));
    assert_eq!(shard.replica_generation(slot), 0);
}

#[test]
fn more_changes_than_the_list_holds_are_kept() {
    let mut shard = owner(30_000);
    for number in 0..30_000 {
        add(&mut shard, number, 30, at(0));
    }
    // In the middle of the search, more come.
    let mut slots = Vec::new();
    for _ in 0..15_000 {
        match shard.take_dirty(Haste::Urgent, &mut u32::MAX.clone()) {
            Taken::Slot(slot) => slots.push(slot.0),
            other => panic!("{other:?}"),
        }
    }
    slots.sort_unstable();
    assert_eq!(slots, (0..15_000).collect::<Vec<_>>());
    (0..30_000).step_by(3).for_each(|slot| shard.set_mark(Slot(slot), 1));
    slots = dirty(&mut shard, Haste::Urgent);
    slots.sort_unstable();
    assert_eq!(slots, (0..30_000).filter(|s| *s >= 15_000 || s % 3 == 0).collect::<Vec<_>>());
    assert!(shard.is_clean(Haste::Urgent));
}

/// Lets time go on in steps of half a second; the seconds at which the flow was to be said.
fn refreshes(
    shard: &mut Shard,
    slot: Slot,
    seconds: u64,
    mut each: impl FnMut(&mut Shard, Tick),
) -> Vec<u64> {
    let mut told = Vec::new();
    for half in 1..=2 * seconds {
        let now = Tick(half * 500_000_000);
        each(shard, now);
        shard.expire(now, 100);
        for taken in dirty(shard, Haste::Lazy) {
            assert_eq!(taken, slot.0);
            shard.export(slot, Ask::News, Haste::Urgent, now);
            told.push(half / 2);
        }
        assert_eq!(dirty(shard, Haste::Urgent), [0; 0]);
    }
    told
}

#[test]
fn a_flow_that_lives_on_is_told_at_a_quarter_of_its_time() {
    let mut shard = owner(10);
    let slot = add(&mut shard, 1, 120, at(0));
    dirty(&mut shard, Haste::Urgent);
    shard.export(slot, Ask::News, Haste::Urgent, at(0));
    let told = refreshes(&mut shard, slot, 600, |shard, now| shard.refresh(slot, 120, now));
    // Every half minute, or a little later.
    assert!((14..=20).contains(&told.len()), "{told:?}");
    let gaps = told.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(gaps.max().unwrap() <= 45, "{told:?}");
    // One that does not is not told of again.
    let told = refreshes(&mut shard, slot, 1, |_, _| {});
    assert_eq!(told, [0; 0]);
    shard.check();
}

#[test]
fn an_idle_flow_is_not_told_of_and_ends_when_its_time_is_over() {
    let mut shard = owner(10);
    let slot = add(&mut shard, 1, 120, at(0));
    dirty(&mut shard, Haste::Urgent);
    shard.export(slot, Ask::News, Haste::Urgent, at(0));
    for second in 1..120 {
        assert_eq!(shard.expire(at(second), 100), 0);
        assert_eq!(dirty(&mut shard, Haste::Lazy), [0; 0]);
        shard.check();
    }
    assert_eq!(shard.expire(at(121), 100), 1);
    assert_eq!(dirty(&mut shard, Haste::Urgent), [slot.0]);
}

/// An open connection, of which others were told.
fn connection(shard: &mut Shard) -> Slot {
    let mut original = key(1);
    original.protocol = 6;
    let slot = shard.create(original, back(&original), at(0)).unwrap();
    let side = Side { end: 1, max_end: 65_536, max_window: 65_535, scale: 0, flags: 0 };
    *shard.proto_mut(slot).unwrap() =
        zerocopy::transmute!(Tcp::imported(State::Established as u8, [side; 2]));
    shard.set_status(slot, Status::ASSURED | Status::SEEN_REPLY);
    shard.refresh(slot, 432_000, at(0));
    shard.confirm(slot, at(0)).unwrap();
    dirty(shard, Haste::Urgent);
    shard.export(slot, Ask::News, Haste::Urgent, at(0));
    slot
}

fn send(shard: &mut Shard, slot: Slot, bytes: u32, now: Tick) {
    let tcp: &mut Tcp = zerocopy::transmute_mut!(shard.proto_mut(slot).unwrap());
    tcp.peers[0].end = tcp.peers[0].end.wrapping_add(bytes);
    shard.refresh(slot, 432_000, now);
}

#[test]
fn a_connection_that_moves_is_told_every_second_and_others_are_not() {
    let mut shard = owner(10);
    let slot = connection(&mut shard);
    // A terminal: a few bytes.
    let told = refreshes(&mut shard, slot, 300, |shard, now| send(shard, slot, 40, now));
    assert_eq!(told, [0; 0]);
    // A transfer: seen within 16 s, then each second.
    let mut shard = owner(10);
    let slot = connection(&mut shard);
    let told = refreshes(&mut shard, slot, 300, |shard, now| send(shard, slot, 60_000, now));
    assert!(told[0] <= 17, "{told:?}");
    let gaps: Vec<_> = told.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(told.len() > 200 && gaps.iter().all(|gap| (1..=2).contains(gap)), "{gaps:?}");
    // And a slow one when it has gone on by half a window.
    let mut shard = owner(10);
    let slot = connection(&mut shard);
    let told = refreshes(&mut shard, slot, 300, |shard, now| send(shard, slot, 500, now));
    assert!((5..=10).contains(&told.len()), "{told:?}");
    shard.check();
}

#[test]
fn flows_that_were_there_before_are_looked_at_once_they_were_told() {
    let mut shard = shard(10);
    let slot = connection(&mut shard);
    assert!(shard.flow(slot).unwrap().filed() > 100_000 * 60);
    shard.replicate(true);
    shard.export(slot, Ask::Whole, Haste::Lazy, at(5));
    let filed = shard.flow(slot).unwrap().filed();
    assert!((300..=22 * 60).contains(&filed), "{filed}");
    shard.check();
}

#[test]
fn content_is_the_same_wherever_flows_are_and_differs_with_any_of_it() {
    let fill = |shard: &mut Shard, numbers: &mut dyn Iterator<Item = u32>| {
        for number in numbers {
            let slot = add(shard, number, 30 + number, at(u64::from(number)));
            shard.set_mark(slot, number);
            shard.set_labels(slot, [number as u8; 16], [u8::MAX; 16]);
        }
    };
    let all = |shard: &Shard| {
        let (mut all, mut from) = (Content::default(), Some(Slot(0)));
        while let Some(at) = from {
            let (part, next) = shard.content(at, 64);
            all += part;
            from = next;
        }
        all
    };
    let (mut this, mut that) = (shard(1000), shard(2000));
    fill(&mut this, &mut (0..500));
    fill(&mut that, &mut (0..500).rev());
    // What is this node's alone does not count.
    let own = that.create(key(9999), back(&key(9999)), at(0)).unwrap();
    that.set_local(own);
    that.confirm(own, at(0)).unwrap();
    let content = all(&this);
    assert_eq!(content.flows, 500);
    assert_eq!(all(&that), content);
    let slot = find(&that, &key(77)).unwrap().0;
    let changes: [fn(&mut Shard, Slot); 4] = [
        |shard, slot| shard.set_mark(slot, 1),
        |shard, slot| shard.set_status(slot, Status::ASSURED),
        |shard, slot| shard.set_labels(slot, [1; 16], [u8::MAX; 16]),
        |shard, slot| shard.kill(slot, at(0)),
    ];
    let mut seen = vec![content.sum];
    for change in changes {
        change(&mut that, slot);
        let sum = all(&that).sum;
        assert!(!seen.contains(&sum));
        seen.push(sum);
    }
}
