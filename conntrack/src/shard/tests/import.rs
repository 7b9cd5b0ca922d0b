//! Flows of other nodes: they come, change, and go; those that are in the way; time while another node owns them.

use proptest::prelude::*;

use super::*;

fn name(slot: u32, generation: u32) -> u64 {
    1 << 60 | u64::from(slot) << 22 | u64::from(generation)
}

fn state() -> ImportState {
    let status = Status::SEEN_REPLY | Status::ASSURED | Status::CONFIRMED | Status::OFFLOAD;
    ImportState { status, mark: 7, remaining: 30_000, proto: [3; 14], labels: Some([5; 16]) }
}

fn import(origin: u64, keys: [FlowKey; 2]) -> Import<'static> {
    Import { origin, stamp: 1, order: 0, keys, state: state(), timeouts: &[] }
}

fn keys(number: u32) -> [FlowKey; 2] {
    [key(number), back(&key(number))]
}

/// A shard whose flows are another node's.
fn standby(max: u32) -> Shard {
    let mut shard = shard(max);
    shard.hold();
    shard
}

#[test]
fn an_imported_flow_is_there_at_once_with_all_it_has() {
    let mut shard = standby(10);
    let timeouts = [11, 22];
    let whole = Import { timeouts: &timeouts, ..import(name(9, 4), keys(1)) };
    let slot = shard.import(&whole, at(5)).unwrap().unwrap();
    assert_eq!(find(&shard, &key(1)), Some((slot, Direction::Original)));
    assert_eq!(find(&shard, &back(&key(1))), Some((slot, Direction::Reply)));
    let flow = shard.snapshot(slot, at(5)).unwrap();
    assert_eq!(flow.status.0, Status::SEEN_REPLY | Status::ASSURED | Status::CONFIRMED);
    assert_eq!((flow.mark, flow.labels, flow.proto), (7, Some([5; 16]), [3; 14]));
    assert!((29_900..=30_040).contains(&flow.remaining), "{}", flow.remaining);
    assert_eq!(shard.timeouts(flow.policy, 17)[..2], timeouts);
    assert_eq!((shard.origin(slot), shard.slot_of(name(9, 4))), (Some(name(9, 4)), Some(slot)));
    assert_eq!((shard.slot_of(name(9, 5)), shard.slot_of(name(8, 4))), (None, None));
    shard.check();

    let change = ImportState {
        status: Status::SEEN_REPLY,
        mark: 8,
        remaining: 90_000,
        proto: [4; 14],
        labels: None,
    };
    assert_eq!(shard.update(name(9, 3), 1, &change, at(6)), None);
    assert_eq!(shard.update(name(9, 4), 1, &change, at(6)), Some(slot));
    let flow = shard.snapshot(slot, at(6)).unwrap();
    assert_eq!(flow.status.0, Status::SEEN_REPLY | Status::CONFIRMED);
    assert_eq!((flow.mark, flow.labels, flow.proto), (8, Some([0; 16]), [4; 14]));
    assert!((89_900..=90_040).contains(&flow.remaining));
    shard.check();

    assert!(!shard.remove(name(9, 5), at(7)));
    assert!(shard.remove(name(9, 4), at(7)));
    assert!(!shard.remove(name(9, 4), at(7)));
    assert_eq!(find(&shard, &key(1)), None);
    assert_eq!(shard.import_counts().unknown, 1);
    shard.check();
}

#[test]
fn listeners_see_imported_flows_come_change_and_go() {
    let mut shard = standby(10);
    shard.listen(event::LISTEN_NEW | event::LISTEN_UPDATE | event::LISTEN_DESTROY);
    let mut tcp = keys(1);
    tcp.iter_mut().for_each(|key| key.protocol = 6);
    let mut come = import(name(1, 1), tcp);
    come.state.status = 0;
    shard.import(&come, at(0)).unwrap();
    let mut change = come.state;
    shard.update(name(1, 1), 1, &change, at(0));
    change.status = Status::SEEN_REPLY | Status::ASSURED;
    change.mark = 9;
    change.proto[12] ^= 1;
    shard.update(name(1, 1), 1, &change, at(0));
    shard.update(name(1, 1), 1, &change, at(0));
    shard.remove(name(1, 1), at(0));
    let mut told = Vec::new();
    shard.take_events(&mut |event| told.push(event.events));
    let changed = event::REPLY | event::ASSURED | event::MARK | event::PROTOINFO;
    assert_eq!(told, [event::NEW, changed, event::DESTROY]);
}

#[test]
fn a_flow_with_both_keys_is_adopted_and_nobody_sees_it_go() {
    let mut shard = shard(10);
    let own = add(&mut shard, 1, 30, at(0));
    shard.deliver(own, at(0));
    shard.listen(event::LISTEN_NEW | event::LISTEN_DESTROY);
    shard.hold();
    for origin in [name(1, 1), name(1, 1), name(2, 9), 2 << 60] {
        let adopted = shard.import(&import(origin, keys(1)), at(0)).unwrap();
        assert_eq!((adopted, shard.origin(own)), (Some(own), Some(origin)));
        shard.check();
    }
    let mut told = 0;
    shard.take_events(&mut |_| told += 1);
    assert_eq!((told, shard.stats().count), (0, 1));
    assert_eq!((shard.import_counts().adopted, shard.import_counts().imported), (3, 1));
}

#[test]
fn what_has_one_of_its_keys_ends() {
    let mut shard = standby(10);
    let [one, two, three] = [1, 2, 3].map(|number| {
        shard.import(&import(name(number, 1), keys(number)), at(0)).unwrap().unwrap()
    });
    // The original key of the first, the reply key of the second.
    let between = import(2 << 60 | 9 << 22, [key(1), back(&key(2))]);
    let slot = shard.import(&between, at(0)).unwrap().unwrap();
    assert!(slot == one || slot == two);
    assert_eq!(find(&shard, &back(&key(1))), None);
    assert_eq!(find(&shard, &key(3)), Some((three, Direction::Original)));
    assert_eq!((shard.stats().count, shard.import_counts().clashed), (2, 2));
    shard.check();
    // A key of the third, the other way round.
    shard.import(&import(name(7, 1), [back(&key(3)), key(9)]), at(0)).unwrap();
    assert_eq!(find(&shard, &key(3)), None);
    // Another flow under a name that is there: the older is gone.
    shard.import(&import(name(7, 2), keys(5)), at(0)).unwrap();
    assert_eq!(find(&shard, &key(9)), None);
    assert_eq!(shard.stats().count, 2);
    shard.check();
}

#[test]
fn of_two_flows_with_a_common_key_that_one_worker_says_the_later_stays() {
    let said = |slot: u32, stamp, order| Import { stamp, order, ..import(name(slot, 1), keys(1)) };
    let mut shard = standby(10);
    let later = said(2, 5, 10);
    let slot = shard.import(&later, at(0)).unwrap().unwrap();
    for late in [said(1, 5, 9), said(1, 5, u32::MAX), said(1, 4, 11)] {
        assert_eq!(shard.import(&late, at(0)), Ok(None));
        assert_eq!(shard.origin(slot), Some(later.origin));
    }
    // Not those that say nothing of each other's order: another worker, another node.
    assert_eq!(shard.import_counts().late, 3);
    let other = Import { origin: later.origin ^ 1 << 54, ..said(1, 5, 9) };
    assert_eq!(shard.import(&other, at(0)), Ok(Some(slot)));
    assert_eq!(shard.import(&said(3, 6, 0), at(0)), Ok(Some(slot)));
    assert_eq!(shard.import(&said(4, 6, 0), at(0)), Ok(Some(slot)));
    shard.check();
}

#[test]
fn a_name_that_was_given_again_by_an_owner_that_was_restarted_ends_nothing() {
    let said = |slot: u32, stamp, number| Import { stamp, ..import(name(slot, 1), keys(number)) };
    let mut shard = standby(10);
    let [one, two] =
        [1, 2].map(|number| shard.import(&said(number, 1, number), at(0)).unwrap().unwrap());
    // It says the same flows in other slots: each is told of before the sweep, and nobody sees it go.
    shard.listen(event::LISTEN_DESTROY);
    assert_eq!(shard.import(&said(2, 2, 1), at(0)), Ok(Some(one)));
    assert_eq!(shard.update(name(1, 1), 2, &state(), at(0)), None);
    assert_eq!(shard.import(&said(1, 2, 2), at(0)), Ok(Some(two)));
    shard.check();
    assert_eq!(shard.sweep(Slot(0), 100, 2, at(0)), None);
    assert_eq!((shard.stats().count, shard.import_counts().swept), (2, 0));
    // One whose name went to another and that it does not speak of any more is swept.
    shard.import(&said(1, 3, 3), at(0)).unwrap();
    assert!(shard.flow(two).is_some());
    shard.import(&said(2, 3, 1), at(0)).unwrap();
    shard.sweep(Slot(0), 100, 3, at(0));
    assert!(shard.flow(two).is_none());
    assert_eq!(shard.stats().count, 2);
    shard.check();
}

#[test]
fn a_full_table_gives_up_nothing_of_another_nodes_for_an_import() {
    let mut shard = standby(100);
    for number in 0..100 {
        let mut one = import(name(number, 1), keys(number));
        if number == 50 {
            one.state.status = 0;
        }
        shard.import(&one, at(0)).unwrap();
    }
    // Not even what is not assured: who holds it for its owner must not say that it has all.
    for number in [200, 201] {
        let refused = shard.import(&import(name(number, 1), keys(number)), at(0));
        assert_eq!(refused, Err(Full));
    }
    assert!(shard.slot_of(name(50, 1)).is_some());
    assert_eq!(shard.import_counts().refused, 2);
    // What is there can be told of all the same.
    assert!(shard.import(&import(name(60, 1), keys(60)), at(0)).is_ok());
    shard.check();
}

#[test]
fn flows_of_another_node_do_not_age_and_have_ten_seconds_when_they_are_ours() {
    let mut shard = standby(10);
    let slot = shard.import(&import(name(1, 1), keys(1)), at(0)).unwrap().unwrap();
    let own = add(&mut shard, 2, 30, at(0));
    assert!(shard.flow(own).unwrap().is_local());
    for second in 1..3000 {
        let ended = shard.expire(at(second), 100);
        assert_eq!(ended, usize::from(second == 31), "{second}");
    }
    assert_eq!(shard.remaining(slot, at(3000)), 0);
    shard.check();
    shard.release(at(3000));
    // It is of use in this time, and then as any.
    for second in 3001..3010 {
        assert_eq!(shard.expire(at(second), 100), 0, "{second}");
        assert!(shard.is_alive(slot, at(second)));
    }
    let later = add(&mut shard, 3, 5, at(3005));
    assert!(!shard.flow(later).unwrap().is_local());
    assert_eq!(shard.expire(at(3011), 100), 2);
    shard.check();
    let short = add(&mut shard, 4, 3, at(3011));
    assert_eq!(shard.expire(at(3015), 100), 1);
    assert!(shard.flow(short).is_none());
}

#[test]
fn one_that_is_put_off_while_it_is_held_ages_from_then_on() {
    let mut shard = standby(10);
    let slot = shard.import(&import(name(1, 1), keys(1)), at(0)).unwrap().unwrap();
    shard.expire(at(100), 100);
    shard.update(name(1, 1), 1, &state(), at(101));
    shard.release(at(102));
    assert_eq!(shard.expire(at(130), 100), 0);
    assert_eq!(shard.expire(at(132), 100), 1);
    assert!(shard.flow(slot).is_none());
}

#[test]
fn a_sweep_ends_what_nobody_spoke_of() {
    let mut shard = shard(5000);
    let at_all = |shard: &mut Shard, stamp| {
        let (mut from, mut steps) = (Some(Slot(0)), 0);
        while let Some(at_slot) = from {
            from = shard.sweep(at_slot, 100, stamp, at(0));
            steps += 1;
        }
        steps
    };
    for number in 0..1000 {
        add(&mut shard, number, 30, at(0));
    }
    assert_eq!((at_all(&mut shard, 2), shard.stats().count), (1, 1000), "they are ours");
    shard.hold();
    let own = add(&mut shard, 4000, 30, at(0));
    for number in 500..1500 {
        let stamp = [1, 2, 3][number as usize % 3];
        shard.import(&Import { stamp, ..import(name(number, 1), keys(number)) }, at(0)).unwrap();
    }
    assert!(at_all(&mut shard, 2) > 10);
    let left: Vec<_> = (0..4001).filter(|number| find(&shard, &key(*number)).is_some()).collect();
    let spoken: Vec<_> =
        (500..1500).filter(|number| number % 3 > 0).chain(std::iter::once(4000)).collect();
    assert_eq!(left, spoken);
    assert!(shard.flow(own).is_some());
    assert_eq!(shard.import_counts().swept, 500 + 333);
    shard.check();
}

proptest! {
    /// Whatever is imported, changed, removed, killed and swept: all structures agree, and what is there is what a plain map
    /// of names and keys says.
    #[test]
    fn imports_are_a_map(
        steps in proptest::collection::vec((0_u32..7, 0_u32..6, 0_u32..3, 0_u32..6, 0_u32..6), 1..200),
    ) {
        let mut shard = standby(64);
        let mut plain: Vec<(u64, [FlowKey; 2])> = Vec::new();
        for (n, (what, slot, generation, one, two)) in steps.into_iter().enumerate() {
            let origin = name(slot, generation);
            let keys = [key(one), back(&key(two))];
            match what {
                0..=3 => {
                    let order = n as u32;
                    let import = Import { order, ..import(origin, keys) };
                    prop_assert!(shard.import(&import, at(0)).unwrap().is_some());
                    // The name goes to it, and what has one of its keys is gone.
                    plain.retain(|(name, have)| {
                        name >> 22 != origin >> 22 && have[0] != keys[0] && have[1] != keys[1]
                    });
                    plain.push((origin, keys));
                }
                4 => {
                    let is_there = plain.iter().any(|(name, _)| *name == origin);
                    prop_assert_eq!(shard.update(origin, 1, &state(), at(0)).is_some(), is_there);
                }
                5 => {
                    let is_there = plain.iter().any(|(name, _)| *name == origin);
                    prop_assert_eq!(shard.remove(origin, at(0)), is_there);
                    plain.retain(|(name, _)| *name != origin);
                }
                _ => {
                    if let Some((slot, _)) = find(&shard, &keys[0]) {
                        shard.kill(slot, at(0));
                        plain.retain(|(_, have)| have[0] != keys[0]);
                    }
                }
            }
            shard.check();
            prop_assert_eq!(shard.stats().count as usize, plain.len());
            for (origin, keys) in &plain {
                let slot = shard.slot_of(*origin).unwrap();
                prop_assert!(shard.flow(slot).unwrap().has_keys(keys));
            }
        }
    }
}
