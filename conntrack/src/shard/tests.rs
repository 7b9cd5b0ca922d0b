//! The flow table by itself: life and end of flows, a full table, clashes, floods, beats that wrap.

use super::*;
use crate::snapshot::Snapshot;
use std::time::Duration;

mod import;
mod replicate;
mod seen;

pub(super) fn key(number: u32) -> FlowKey {
    let mut key = FlowKey { protocol: 17, family: 4, ..FlowKey::default() };
    key.src[..4].copy_from_slice(&number.to_be_bytes());
    key.dst[..4].copy_from_slice(&[192, 0, 2, 1]);
    key.dport = 53u16.to_be_bytes();
    key
}

pub(super) fn back(key: &FlowKey) -> FlowKey {
    FlowKey { src: key.dst, dst: key.src, sport: key.dport, dport: key.sport, ..*key }
}

pub(super) fn at(seconds: u64) -> Tick {
    Tick::at(Duration::from_secs(seconds))
}

fn shard(max: u32) -> Shard {
    Shard::new(Config { max, worker: 0 }).unwrap()
}

fn add(shard: &mut Shard, number: u32, seconds: u32, now: Tick) -> Slot {
    let slot = shard.create(key(number), back(&key(number)), now).unwrap();
    shard.refresh(slot, seconds, now);
    shard.confirm(slot, now).unwrap();
    slot
}

fn find(shard: &Shard, key: &FlowKey) -> Option<(Slot, Direction)> {
    shard.find(key, shard.hash(key))
}

#[test]
fn a_flow_is_found_by_both_keys_from_its_confirmation_to_its_end() {
    let mut shard = shard(10);
    let slot = shard.create(key(1), back(&key(1)), at(0)).unwrap();
    assert_eq!(find(&shard, &key(1)), None);
    shard.refresh(slot, 30, at(0));
    shard.confirm(slot, at(5)).unwrap();
    assert_eq!(find(&shard, &key(1)), Some((slot, Direction::Original)));
    assert_eq!(find(&shard, &back(&key(1))), Some((slot, Direction::Reply)));
    assert_eq!(shard.expire(at(34), 100), 0);
    assert_eq!(shard.expire(at(36), 100), 1);
    assert_eq!(find(&shard, &key(1)), None);
    assert_eq!(shard.stats().count, 0);
    assert!(shard.flow(slot).is_none());
}

#[test]
fn a_refreshed_flow_lives_on_and_a_shortened_one_does_not() {
    let mut shard = shard(10);
    let long = add(&mut shard, 1, 30, at(0));
    let short = add(&mut shard, 2, 432_000, at(0));
    let fixed = add(&mut shard, 3, 30, at(0));
    shard.set_status(fixed, Status::FIXED_TIMEOUT);
    shard.refresh(long, 30, at(20));
    shard.refresh(short, 10, at(20));
    shard.refresh(fixed, 30, at(20));
    assert_eq!(shard.remaining(short, at(20)) / 1000, 10);
    assert_eq!(shard.expire(at(29), 100), 0);
    assert_eq!(shard.expire(at(31), 100), 2);
    assert!(shard.flow(long).is_some());
    assert_eq!(shard.expire(at(51), 100), 1);
}

impl Shard {
    /// Checks that all structures agree with each other.
    pub(super) fn check(&self) {
        let mut free = 0;
        let mut next = self.free;
        while let Some(flow) = self.flows.get(next) {
            assert!(!flow.is_in_use());
            [next, _] = flow.links();
            free += 1;
        }
        let slots = || (0..self.used).map(Slot).filter_map(|slot| Some((slot, self.flow(slot)?)));
        assert_eq!(free + slots().count(), self.used as usize, "slots leaked");
        assert_eq!(slots().count(), self.stats.count as usize);
        let confirmed = slots().filter(|(_, flow)| flow.status().has(Status::CONFIRMED));
        let (mut number, mut named) = (0, 0);
        for (slot, flow) in confirmed {
            for direction in [Direction::Original, Direction::Reply] {
                let found = self.find(flow.key(direction), self.hash(flow.key(direction)));
                assert_eq!(found, Some((slot, direction)));
            }
            let late = flow.filed().wrapping_sub(flow.shared.deadline);
            let spared = self.replicas.held || self.replicas.floor.is_some();
            assert!(late == 0 || late > i32::MAX as u32 || spared, "it would be ended too late");
            number += 1;
            if let Some(origin) = self.origin(slot) {
                assert_eq!(self.slot_of(origin), Some(slot));
                named += 1;
            }
        }
        assert_eq!(self.replicas.origins.count_entries(), named);
        assert_eq!(self.replicas.counts.imported, named as u64);
        assert_eq!(self.index.count_entries(), 2 * number);
        assert_eq!(self.wheel.count_flows(&self.flows), number);
    }
}

#[test]
fn ten_million_flows_come_and_go_and_nothing_is_left_behind() {
    let mut shard = shard(4096);
    let mut now = 0;
    for number in 0..10_000_000u32 {
        // Some live for a beat, some for longer than the wheel's first levels.
        let seconds = [0, 1, 3, 30, 1500][number as usize % 5];
        let start = Tick(now);
        let slot = shard.create(key(number), back(&key(number)), start).unwrap();
        shard.refresh(slot, seconds, start);
        shard.confirm(slot, start).unwrap();
        now += 3_000_000;
        shard.expire(Tick(now), 4);
    }
    shard.check();
    assert_eq!(shard.stats().insert, 10_000_000);
    shard.expire(Tick(now + 1501 * 1_000_000_000), usize::MAX);
    shard.check();
    assert_eq!(shard.stats().count, 0);
    assert_eq!(shard.index.count_entries(), 0);
}

#[test]
fn a_full_table_gives_up_what_is_not_assured_and_nothing_else() {
    let mut shard = shard(1000);
    for number in 0..1000 {
        add(&mut shard, number, 30, at(0));
    }
    let assured: Vec<_> = (0..100).filter_map(|n| find(&shard, &key(n))).collect();
    assured.iter().for_each(|(slot, _)| shard.set_status(*slot, Status::ASSURED));
    for number in 1000..3000 {
        add(&mut shard, number, 30, at(0));
    }
    assert_eq!((shard.stats().count, shard.stats().early_drop), (1000, 2000));
    assert_eq!((0..100).filter_map(|n| find(&shard, &key(n))).collect::<Vec<_>>(), assured);
    for number in 0..3000 {
        if let Some((slot, _)) = find(&shard, &key(number)) {
            shard.set_status(slot, Status::ASSURED);
        }
    }
    assert_eq!(shard.create(key(5000), back(&key(5000)), at(1)), Err(Full));
    assert_eq!((shard.stats().count, shard.stats().drop), (1000, 1));
    shard.check();
    // Fewer by order of the settings, and more again.
    shard.settings_mut().max = 500;
    shard.kill(assured[0].0, at(1));
    assert_eq!(shard.create(key(5000), back(&key(5000)), at(1)), Err(Full));
    shard.settings_mut().max = 0;
    add(&mut shard, 5000, 30, at(1));
}

#[test]
fn in_a_flood_a_new_flow_keeps_its_place_for_a_round() {
    let mut shard = shard(1000);
    for number in 0..2500 {
        add(&mut shard, number, 30, at(0));
        let oldest = number.saturating_sub(999);
        let alive = find(&shard, &key(oldest)).is_some() && find(&shard, &key(number)).is_some();
        assert!(alive, "{oldest} to {number}");
    }
}

#[test]
fn memory_for_ten_million_flows_is_not_touched_before_they_are_there() {
    let resident = || {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    };
    // Tests beside this one take memory too: the least of a few tries counts.
    let grown = (0..5).map(|_| {
        let before = resident();
        let shard = shard(10_000_000);
        let after = resident();
        assert_eq!(shard.capacity(), 10_000_000);
        after.saturating_sub(before)
    });
    assert!(grown.min().unwrap() < 1 << 20);
}

#[test]
fn a_second_flow_with_a_key_of_the_first_is_not_confirmed() {
    let mut shard = shard(10);
    let first = add(&mut shard, 1, 30, at(0));
    let second = shard.create(key(2), back(&key(2)), at(0)).unwrap();
    assert!(!shard.is_taken(&back(&key(2)), second));
    assert!(shard.is_taken(&back(&key(1)), second));
    assert_eq!(shard.stats().found.get(), 1);
    shard.set_reply(second, back(&key(1)));
    let clash = Clash { with: first, direction: Direction::Reply };
    assert_eq!(shard.confirm(second, at(0)), Err(clash));
    assert_eq!(shard.stats().insert_failed, 1);
    shard.set_reply(second, key(3));
    shard.confirm(second, at(0)).unwrap();
    shard.set_reply(second, key(4));
    assert_eq!(find(&shard, &key(3)), Some((second, Direction::Reply)));
    // The same original key: confirming decides.
    let third = shard.create(key(1), key(7), at(0)).unwrap();
    assert!(!shard.is_taken(&back(&key(1)), third));
    shard.check();
}

#[test]
fn events_are_told_once_a_packet_to_those_who_listen() {
    let mut shard = shard(10);
    let told = |shard: &mut Shard| {
        let mut told = Vec::new();
        shard.take_events(&mut |event| told.push((event.events, event.flow)));
        told
    };
    let bits = |told: Vec<(u32, Snapshot)>| told.iter().map(|(bits, _)| *bits).collect::<Vec<_>>();
    let silent = add(&mut shard, 9, 30, at(0));
    shard.deliver(silent, at(0));
    shard.listen(event::LISTEN_NEW | event::LISTEN_UPDATE | event::LISTEN_DESTROY);
    shard.settings_mut().acct = true;
    shard.settings_mut().timestamp = true;
    let slot = shard.create(key(1), back(&key(1)), at(0)).unwrap();
    shard.set_mark(slot, 7);
    shard.deliver(slot, at(0));
    assert!(told(&mut shard).is_empty(), "it is not confirmed");
    shard.account(slot, Direction::Original, 60);
    shard.refresh(slot, 30, at(0));
    shard.confirm(slot, at(0)).unwrap();
    shard.deliver(slot, at(0));
    shard.deliver(slot, at(0));
    assert_eq!(bits(told(&mut shard)), [event::NEW | event::MARK]);
    shard.set_mark(slot, 7);
    shard.set_status(slot, Status::SEEN_REPLY);
    shard.set_status(slot, Status::ASSURED);
    shard.set_labels(slot, [1; 16], [3; 16]);
    shard.set_labels(slot, [1; 16], [3; 16]);
    shard.set_secmark(slot, 4);
    shard.account(slot, Direction::Reply, 40);
    shard.account(slot, Direction::Reply, 41);
    shard.deliver(slot, at(1));
    let changed = event::REPLY | event::ASSURED | event::LABEL | event::SECMARK;
    assert_eq!(bits(told(&mut shard)), [changed]);
    shard.set_event_mask(slot, event::DESTROY);
    shard.set_mark(slot, 8);
    shard.deliver(slot, at(1));
    assert_eq!(shard.expire(at(31), 10), 2);
    let told = told(&mut shard);
    let [_, (event::DESTROY, flow)] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((flow.mark, flow.secmark, flow.labels), (8, 4, Some([1; 16])));
    assert_eq!((flow.start, flow.stop), (Some(at(0)), Some(at(31))));
    let accounts = flow.accounts.unwrap().map(|account| (account.packets, account.bytes));
    assert_eq!(accounts, [(1, 60), (2, 81)]);
    assert_eq!(shard.take_lost_events(), 0);
}

#[test]
fn events_that_nobody_takes_are_bounded_and_their_loss_is_said() {
    let mut shard = shard(10_000);
    shard.listen(event::LISTEN_NEW);
    for number in 0..5000 {
        let slot = add(&mut shard, number, 30, at(0));
        shard.deliver(slot, at(0));
    }
    let mut told = 0;
    shard.take_events(&mut |_| told += 1);
    assert_eq!((told, shard.take_lost_events()), (4096, 904));
    assert_eq!(shard.take_lost_events(), 0);
}

#[test]
fn a_change_that_rules_can_see_makes_the_flow_cache_forget() {
    let changes: [fn(&mut Shard, Slot); 5] = [
        |shard, slot| shard.set_mark(slot, 1),
        |shard, slot| shard.set_status(slot, Status::ASSURED),
        |shard, slot| shard.clear_status(slot, Status::SEEN_REPLY),
        |shard, slot| shard.set_labels(slot, [1; 16], [1; 16]),
        |shard, slot| shard.set_secmark(slot, 1),
    ];
    for change in changes {
        let mut shard = shard(10);
        let slot = add(&mut shard, 1, 30, at(0));
        let cached = Cached { era: 3, recipe: 4 };
        for direction in [Direction::Original, Direction::Reply] {
            shard.remember(slot, direction, cached);
            assert_eq!(shard.cached(slot, direction), cached);
        }
        change(&mut shard, slot);
        for direction in [Direction::Original, Direction::Reply] {
            assert_eq!(shard.cached(slot, direction), Cached::default());
        }
    }
}

#[test]
fn ids_differ_and_do_not_count_up() {
    let mut shard = shard(1);
    let mut ids = std::collections::HashSet::new();
    let mut last = 0;
    let mut steps = std::collections::HashSet::new();
    for number in 0..100_000 {
        let slot = add(&mut shard, number, 0, at(0));
        let id = shard.flow(slot).unwrap().id();
        assert!(ids.insert(id));
        steps.insert(id.wrapping_sub(last));
        last = id;
        shard.kill(slot, at(0));
    }
    assert!(steps.len() > 99_000, "{}", steps.len());
}

#[test]
fn a_walk_shows_each_confirmed_flow_once_in_pieces() {
    let mut shard = shard(100);
    let slots: Vec<_> = (0..50).map(|number| add(&mut shard, number, 30, at(0))).collect();
    shard.kill(slots[7], at(0));
    let unconfirmed = shard.create(key(99), back(&key(99)), at(0)).unwrap();
    assert_eq!(unconfirmed, slots[7]);
    let mut seen = Vec::new();
    let mut from = Slot(0);
    loop {
        let before = seen.len();
        let next = shard.walk(from, 8, &mut |slot, _| seen.push(slot));
        assert!(seen.len() <= before + 8);
        match next {
            Some(next) => from = next,
            None => break,
        }
    }
    assert_eq!(seen, slots.iter().copied().filter(|s| *s != slots[7]).collect::<Vec<_>>());
}

#[test]
fn timeouts_beyond_what_the_wheel_can_hold_are_the_longest_it_can() {
    let mut shard = shard(10);
    let slot = add(&mut shard, 1, u32::MAX, at(0));
    let day = 86_400;
    assert_eq!(shard.remaining(slot, at(0)), u32::MAX);
    assert_eq!(shard.expire(at(416 * day), 100_000), 0);
    assert!(shard.flow(slot).is_some());
    assert_eq!(shard.expire(at(418 * day), 100_000), 1);
}

#[test]
fn deadlines_go_on_when_beats_wrap() {
    // 2³² beats are 834 days.
    let start = (1u64 << 32) * BEAT - 10_000_000_000;
    let mut shard = shard(10);
    shard.expire(Tick(start), 100);
    let slot = shard.create(key(1), back(&key(1)), Tick(start)).unwrap();
    shard.refresh(slot, 30, Tick(start));
    shard.confirm(slot, Tick(start)).unwrap();
    let after = |seconds: u64| Tick(start + seconds * 1_000_000_000);
    assert_eq!(shard.expire(after(29), 100), 0);
    assert!(shard.remaining(slot, after(29)).abs_diff(1000) < 20);
    assert_eq!(shard.expire(after(31), 100), 1);
}

#[test]
fn a_guess_that_is_no_longer_true_is_not_believed() {
    let mut shard = shard(10);
    let slot = add(&mut shard, 1, 30, at(0));
    let hash = shard.hash(&key(1));
    let guess = shard.prefetch_flow(hash);
    assert_eq!(shard.find_guessed(&key(1), hash, guess), Some((slot, Direction::Original)));
    assert_eq!(shard.find_guessed(&key(1), hash, Guess::NONE), Some((slot, Direction::Original)));
    shard.kill(slot, at(0));
    assert_eq!(shard.find_guessed(&key(1), hash, guess), None);
    // Another flow in the same slot, and one with the same key that is not confirmed.
    let again = shard.create(key(1), back(&key(1)), at(0)).unwrap();
    assert_eq!((again, shard.find_guessed(&key(1), hash, guess)), (slot, None));
    shard.discard(again);
    assert_eq!(add(&mut shard, 2, 30, at(0)), slot);
    assert_eq!(shard.find_guessed(&key(1), hash, guess), None);
    let moved = add(&mut shard, 1, 30, at(0));
    assert_eq!(shard.find_guessed(&key(1), hash, guess), Some((moved, Direction::Original)));
}
