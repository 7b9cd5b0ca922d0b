//! Two nodes' sets: one that packets fill, and one that hears of it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::tests::{element, growing, insert};
use super::*;

const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;

/// A packet's `add @s { KEY timeout TIMEOUT }`, or `update`.
fn packet(set: &Set, key: &[u8], timeout: u64, update: bool, now: u64) -> bool {
    let lifetime = || Lifetime::new(timeout, timeout, now);
    let make = || Extra { lifetime: lifetime(), ..Extra::default() };
    let found = set.find_or_insert(key, now, make);
    if let (Some(found), true) = (&found, update) {
        set.refresh(key, found, timeout, now);
    }
    found.is_some()
}

fn lives(timeout: u64, left: u64) -> Said {
    Said::Lives { timeout, left }
}

/// What a node says: the key, the data, and what of it.
type Word = (Vec<u8>, Vec<u8>, Said);

fn words(set: &Set, now: u64) -> Vec<Word> {
    let said = |(key, extra): (Key, Arc<Extra>)| {
        Some((key.bytes().to_vec(), extra.bytes().to_vec(), extra.lifetime.tell(now)?))
    };
    set.news(now, usize::MAX).into_iter().filter_map(said).collect()
}

#[test]
fn what_changes_is_said_once_and_nothing_else() {
    let set = growing(1, 9);
    assert!(packet(&set, &[1], MINUTE, false, SECOND));
    assert!(packet(&set, &[2], 0, false, SECOND));
    let mut said = words(&set, 2 * SECOND);
    said.sort_by(|one, other| one.0.cmp(&other.0));
    let none = Vec::new;
    let first = (vec![1], none(), lives(MINUTE, 59 * SECOND));
    assert_eq!(said, [first, (vec![2], none(), lives(0, 0))]);
    assert_eq!(words(&set, 2 * SECOND), []);
    // Refreshed by less than a quarter of its time; then by more.
    assert!(packet(&set, &[1], MINUTE, true, 15 * SECOND));
    assert!(packet(&set, &[1], MINUTE, false, 30 * SECOND), "not refreshed");
    assert_eq!(words(&set, 30 * SECOND), []);
    assert!(packet(&set, &[1], MINUTE, true, 17 * SECOND));
    assert_eq!(words(&set, 18 * SECOND), [(vec![1], none(), lives(MINUTE, 59 * SECOND))]);
    set.end(&[2], 19 * SECOND);
    assert_eq!(words(&set, 20 * SECOND), [(vec![2], none(), Said::Gone)]);
    assert_eq!(words(&set, 2 * MINUTE), [], "over by itself");
    set.untell(u64::MAX);
    assert_eq!(
        words(&set, 2 * MINUTE).len(),
        1,
        "what is deleted may be said again, what is over not"
    );
}

#[test]
fn what_ends_sooner_than_was_told_is_said_to_be_gone() {
    let set = growing(1, 9);
    assert!(packet(&set, &[1], MINUTE, false, SECOND));
    assert_eq!(words(&set, SECOND).len(), 1);
    // By a rule that gives it no time at all.
    assert!(packet(&set, &[1], 0, true, 2 * SECOND));
    assert_eq!(words(&set, 2 * SECOND), [(vec![1], Vec::new(), Said::Gone)]);
    assert!(packet(&set, &[1], MINUTE, false, 3 * SECOND));
    assert_eq!(words(&set, 3 * SECOND).len(), 1);
    assert!(packet(&set, &[1], 50 * SECOND, true, 4 * SECOND));
    assert_eq!(words(&set, 4 * SECOND), [(vec![1], Vec::new(), lives(MINUTE, 50 * SECOND))]);
}

#[test]
fn nobody_looks_where_nothing_changed() {
    let set = growing(1, 9);
    assert!(packet(&set, &[1], MINUTE, true, SECOND));
    assert_eq!(words(&set, SECOND).len(), 1);
    let untouched = || set.dynamic.touched() == 0;
    assert!(untouched());
    for n in 0..10 {
        assert!(packet(&set, &[1], MINUTE, true, SECOND + n * SECOND));
        assert!(packet(&set, &[1], MINUTE, false, SECOND + n * SECOND));
    }
    assert!(untouched());
    assert!(packet(&set, &[1], MINUTE, true, 20 * SECOND));
    assert!(!untouched());
}

#[test]
fn a_portion_at_a_time_all_is_said() {
    let set = growing(2, 1000);
    for key in 0..1000_u16 {
        assert!(packet(&set, &key.to_be_bytes(), 0, false, SECOND));
    }
    let (mut said, mut rounds) = (BTreeMap::new(), 0);
    loop {
        rounds += 1;
        let news = set.news(SECOND * rounds, 64);
        assert!(news.len() <= 64);
        if news.is_empty() {
            break;
        }
        for (key, extra) in news {
            *said.entry(key).or_insert(0) += u32::from(extra.lifetime.tell(SECOND).is_some());
        }
    }
    assert!(said.len() == 1000 && said.values().all(|times| *times == 1));
    assert_eq!(rounds, 1000_u64.div_ceil(64) + 1);
}

#[test]
fn an_element_lives_on_elsewhere() {
    let there = growing(4, 2);
    assert_eq!(there.hear(&[1; 4], &[], lives(MINUTE, 4 * SECOND), 7, 70 * SECOND), Hearing::Taken);
    let found = there.find(&[1; 4], 73 * SECOND).unwrap();
    let Match::Shared(extra) = found else { panic!() };
    assert_eq!((extra.lifetime.timeout(), extra.lifetime.left(73 * SECOND)), (MINUTE, SECOND));
    assert!(there.find(&[1; 4], 75 * SECOND).is_none(), "four seconds were left");
    assert_eq!(there.hear(&[9; 4], &[], lives(0, 0), 7, 70 * SECOND), Hearing::Taken);
    assert!(there.find(&[9; 4], 1_000 * SECOND).is_some());
    assert_eq!(there.hear(&[8; 4], &[], lives(0, 0), 7, 70 * SECOND), Hearing::Full);
    assert_eq!(there.len(), 2);
    // Whatever is said of what is there finds room.
    assert_eq!(there.hear(&[9; 4], &[], Said::Gone, 8, 80 * SECOND), Hearing::Taken);
    assert!(there.find(&[9; 4], 80 * SECOND).is_none());
}

#[test]
fn what_does_not_fit_stays_out() {
    let set = growing(4, 1);
    let hear = |key: &[u8], data: &[u8]| set.hear(key, data, lives(0, 0), 1, 0);
    assert_eq!(hear(&[1; 5], &[]), Hearing::Unfit, "the key");
    assert_eq!(hear(&[1; 4], &[1]), Hearing::Unfit, "data");
    assert!(set.is_empty());
}

#[test]
fn what_comes_late_brings_nothing_back() {
    let mut set = growing(1, 9);
    let hear = |set: &Set, said, version| set.hear(&[1], &[], said, version, SECOND);
    let long = lives(MINUTE, MINUTE);
    assert_eq!(hear(&set, Said::Gone, 3), Hearing::Taken, "it was never here");
    assert_eq!(hear(&set, long, 2), Hearing::Stale);
    // Sweeping leaves that for a while.
    set.collect(2 * SECOND);
    assert_eq!(hear(&set, long, 2), Hearing::Stale);
    assert_eq!(hear(&set, long, 4), Hearing::Taken);
    assert_eq!(hear(&set, Said::Gone, 4), Hearing::Stale, "it comes twice");
    assert!(set.find(&[1], 2 * SECOND).is_some());
    // What is over by itself takes up no room.
    set.collect(2 * MINUTE);
    assert_eq!(set.len(), 0);
}

#[test]
fn what_was_deleted_is_there_to_be_told_of_as_long_as_somebody_tells() {
    let mut set = growing(1, 9);
    assert!(packet(&set, &[1], MINUTE, false, SECOND));
    assert_eq!(words(&set, 2 * SECOND).len(), 1);
    set.end(&[1], 2 * SECOND);
    set.collect(2 * SECOND + SECOND / 2);
    assert_eq!(words(&set, 2 * SECOND + SECOND / 2).len(), 1);
    assert!(packet(&set, &[1], MINUTE, false, 10 * SECOND));
    set.end(&[1], 10 * SECOND);
    set.collect(20 * SECOND);
    assert_eq!((set.len(), words(&set, 20 * SECOND).len()), (0, 0), "nobody tells any more");
}

#[test]
fn what_the_control_side_keeps_here_is_heard_of_too() {
    let mut set = growing(1, 9);
    let rest = |timeout| {
        let lifetime = Lifetime::new(timeout, timeout, SECOND);
        Some(Arc::new(Extra { lifetime, ..Extra::default() }))
    };
    insert(&mut set, element(&[1], None, false, rest(MINUTE)), SECOND);
    insert(&mut set, element(&[2], None, false, None), SECOND);
    let hear = |key, said, version| set.hear(&[key], &[], said, version, SECOND);
    assert_eq!(hear(1, lives(MINUTE, 2 * MINUTE), 5), Hearing::Taken);
    assert!(set.find(&[1], 2 * MINUTE).is_some(), "refreshed there, refreshed here");
    assert_eq!(hear(1, lives(MINUTE, SECOND), 4), Hearing::Stale);
    assert_eq!(set.len(), 2);
    for key in [1, 2] {
        assert_eq!(hear(key, Said::Gone, 6), Hearing::Taken);
        assert!(set.find(&[key], SECOND).is_none());
    }
}

/// Something on its way: when it comes, under which version, what.
type Flight = (u64, u64, Word);

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Datagrams are lost and repaired later as they were, doubled, reordered, a few for ever; then all is said once more.
    #[test]
    fn the_standby_has_what_the_owner_has(seed in any::<u64>()) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut here, mut there) = (growing(1, 0), growing(1, 0));
        let (mut flying, mut given_up) = (Vec::<Flight>::new(), Vec::new());
        let (mut now, mut version) = (SECOND, 0);
        let hear = |there: &Set, flying: &mut Vec<Flight>, now| {
            flying.sort_by_key(|(at, ..)| *at);
            while flying.first().is_some_and(|(at, ..)| *at <= now) {
                let (_, version, (key, data, said)) = flying.remove(0);
                prop_assert!(matches!(there.hear(&key, &data, said, version, now), Hearing::Taken | Hearing::Stale));
            }
            Ok(())
        };
        for round in 0..150 {
            now += SECOND / 5;
            for _ in 0..rng.u32(0..4) {
                let (key, timeout) = ([rng.u8(0..12)], [0, 10, 20, 60][rng.usize(0..4)] * SECOND);
                match rng.u8(0..6) {
                    0 => here.end(&key, now),
                    what => prop_assert!(packet(&here, &key, timeout, what < 4, now)),
                }
            }
            if rng.u8(0..4) == 0 {
                here.collect(now);
                there.collect(now);
            }
            version += 1;
            for word in words(&here, now) {
                let late = match rng.u8(0..10) {
                    0 => rng.u64(0..SECOND),
                    _ => rng.u64(0..SECOND / 500),
                };
                match rng.u8(0..20) {
                    0 if round < 149 => given_up.push(word.0.clone()),
                    n => {
                        given_up.retain(|key| *key != word.0);
                        if n < 3 {
                            flying.push((now + SECOND, version, word.clone()));
                        }
                        flying.push((now + late, version, word));
                    }
                }
            }
            hear(&there, &mut flying, now)?;
        }
        hear(&there, &mut flying, now + SECOND)?;
        here.untell(u64::MAX);
        let last: Vec<Word> = words(&here, now);
        flying.extend(last.into_iter().map(|word| (now, version + 1, word)));
        hear(&there, &mut flying, now)?;
        for key in 0..12_u8 {
            let of = |set: &Set| set.dynamic.find(&[key], now).map(|extra| extra.lifetime.left(now));
            match (of(&here), of(&there)) {
                (Some(one), Some(other)) => prop_assert_eq!(one, other, "key {}", key),
                // Its end was the word that nobody heard: it has to age. And what was heard late ends late.
                (None, Some(left)) => {
                    prop_assert!(given_up.contains(&vec![key]) || left <= SECOND, "key {}", key);
                }
                (one, other) => prop_assert!(one.is_none() && other.is_none(), "key {}: {:?}", key, one),
            }
        }
    }
}
