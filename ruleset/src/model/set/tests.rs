//! Each kind of store against a naive twin, and what packets do to sets.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::family::Family;

fn set(layout: Layout, flags: u32, key_len: u8, fields: &[u8], size: u32) -> Set {
    let spec = Spec {
        flags: SetFlags(flags),
        key_type: 0,
        key_len,
        values: Values::None,
        policy: 0,
        fields: fields.into(),
        exprs: Box::default(),
        layout,
    };
    let table = Arc::new(TableKey { family: Family::Ipv4, name: "t".into() });
    let tuning = Tuning { size, ..Tuning::default() };
    let (name, handle, spec) = ("s".into(), Handle(1), Arc::new(spec));
    let set = Set::new(SetId(0), NewSet { table, name, handle, spec, tuning, userdata: None });
    set.expect_packets();
    set
}

/// A set that packets put elements into.
pub(super) fn growing(key_len: u8, size: u32) -> Set {
    set(Layout::Growing, SetFlags::EVAL | SetFlags::TIMEOUT, key_len, &[], size)
}

pub(super) fn element(key: &[u8], end: Option<&[u8]>, closes: bool, rest: Rest) -> Element {
    Element { key: Some(Key::new(key)), end: end.map(Key::new), closes, rest }
}

fn kept(timeout: u64, now: u64) -> Rest {
    Some(Arc::new(Extra { lifetime: Lifetime::new(timeout, timeout, now), ..Extra::default() }))
}

pub(super) fn insert(set: &mut Set, element: Element, now: u64) -> Inserted {
    let mut course = Course::default();
    set.insert(element, &mut Ask { now, hidden: false, loose: false, course: &mut course })
}

fn remove(set: &mut Set, key: &[u8], closes: bool, now: u64) -> Option<Removed> {
    let mut course = Course::default();
    let mut ask = Ask { now, hidden: false, loose: false, course: &mut course };
    let removed = set.remove(Some(key), closes, &mut ask)?;
    if let Some(shared) = &removed.shared {
        shared.lifetime.end();
    }
    Some(removed)
}

fn found(set: &Set, key: &[u8], now: u64) -> bool {
    set.find(key, now).is_some()
}

/// A step: what is done with which key, and time that passes before.
type Steps = Vec<(u8, u8, u8, u64)>;

fn steps() -> impl Strategy<Value = Steps> {
    prop::collection::vec((0u8..8, 0u8..24, 0u8..6, 0u64..4), 1..120)
}

proptest! {
    /// Single keys with timeouts, some put in by packets.
    #[test]
    fn exact_is_a_map_of_deadlines(steps in steps()) {
        let flags = SetFlags::EVAL | SetFlags::TIMEOUT;
        let mut set = set(Layout::Growing, flags, 4, &[], 0);
        let mut naive = std::collections::BTreeMap::<[u8; 4], u64>::new();
        let (mut now, mut snapshots) = (1, Vec::new());
        for (n, (what, key, timeout, wait)) in steps.into_iter().enumerate() {
            now += wait;
            naive.retain(|_, end| *end > now);
            let (key, timeout) = ([0, 0, 0, key], u64::from(timeout));
            let end = if timeout == 0 { u64::MAX } else { now + timeout };
            match what {
                0 | 1 => {
                    let inserted = insert(&mut set, element(&key, None, false, kept(timeout, now)), now);
                    let new = matches!(inserted, Inserted::New { .. });
                    prop_assert_eq!(new, !naive.contains_key(&key));
                    naive.entry(key).or_insert(end);
                }
                2 => {
                    let lifetime = || Lifetime::new(timeout, timeout, now);
                    let extra = || Extra { lifetime: lifetime(), ..Extra::default() };
                    prop_assert!(set.find_or_insert(&key, now, extra).is_some());
                    naive.entry(key).or_insert(end);
                }
                3 => {
                    let extra = Extra::default;
                    let found = set.find_or_insert(&key, now, extra).unwrap();
                    found.refresh(5, now);
                    let old = naive.entry(key).or_insert(u64::MAX);
                    if *old != u64::MAX { *old = now + 5; }
                }
                4 => { set.end(&key, now); naive.remove(&key); }
                5 => {
                    let was = remove(&mut set, &key, false, now);
                    prop_assert_eq!(was.is_some(), naive.remove(&key).is_some());
                }
                6 => { set.collect(now); }
                _ => snapshots.push((set.clone(), n)),
            }
            for key in 0..24 {
                let key = [0, 0, 0, key];
                prop_assert_eq!(found(&set, &key, now), naive.contains_key(&key), "{:?} at {}", key, n);
            }
            let mut listed: Vec<_> = set.elements(now).map(|e| e.key.unwrap().bytes().to_vec()).collect();
            listed.sort();
            prop_assert_eq!(listed, naive.keys().map(|key| key.to_vec()).collect::<Vec<_>>());
        }
    }

    /// A set without timeouts whose elements packets delete although nothing is kept for them.
    #[test]
    fn packets_delete_plain_elements(steps in steps()) {
        let mut set = set(Layout::Growing, 0, 4, &[], 0);
        let mut naive = std::collections::BTreeSet::new();
        for (what, key, _, _) in steps {
            let key = [0, 0, 0, key];
            match what {
                0..=2 => {
                    let new = matches!(insert(&mut set, element(&key, None, false, None), 1), Inserted::New { .. });
                    prop_assert_eq!(new, naive.insert(key));
                }
                3 => { set.end(&key, 1); naive.remove(&key); }
                4 => { set.find_or_insert(&key, 1, Extra::default).unwrap(); naive.insert(key); }
                5 => prop_assert_eq!(remove(&mut set, &key, false, 1).is_some(), naive.remove(&key)),
                _ => { set.collect(1); }
            }
            for key in 0..24 {
                let key = [0, 0, 0, key];
                prop_assert_eq!(found(&set, &key, 1), naive.contains(&key));
                prop_assert_eq!(set.get(Some(&key), false, 1).is_some(), naive.contains(&key));
            }
            prop_assert_eq!(set.elements(1).count(), naive.len());
        }
    }

    /// Ranges as nft sends them: a start and an end.
    #[test]
    fn ranges_are_a_list_of_ranges(steps in steps()) {
        let mut set = set(Layout::Ranges, SetFlags::INTERVAL | SetFlags::TIMEOUT, 1, &[], 0);
        let mut naive = Vec::<(u8, u8, u64)>::new();
        let mut now = 1;
        for (what, low, len, wait) in steps {
            now += wait;
            naive.retain(|(_, _, end)| *end > now);
            let high = low + len;
            match what {
                0..=4 => {
                    let timeout = if what == 4 { 3 } else { 0 };
                    let before = set.clone();
                    let start = insert(&mut set, element(&[low], None, false, kept(timeout, now)), now);
                    let end = insert(&mut set, element(&[high + 1], None, true, None), now);
                    let free = naive.iter().all(|(l, h, _)| high < *l || low > *h);
                    let new = matches!((start, end), (Inserted::New { .. }, Inserted::New { .. }));
                    prop_assert_eq!(new, free, "{}-{} into {:?}", low, high, &naive);
                    if free {
                        naive.push((low, high, if timeout == 0 { u64::MAX } else { now + timeout }));
                    } else {
                        set = before;
                    }
                }
                5 => {
                    let at = naive.iter().position(|(l, h, _)| (*l, *h) == (low, high));
                    if let Some(at) = at {
                        prop_assert!(remove(&mut set, &[low], false, now).is_some());
                        prop_assert!(remove(&mut set, &[high + 1], true, now).is_some());
                        naive.remove(at);
                    }
                }
                _ => { set.collect(now); }
            }
            for key in 0..32 {
                let inside = naive.iter().any(|(low, high, _)| (*low..=*high).contains(&key));
                prop_assert_eq!(found(&set, &[key], now), inside, "{} in {:?}", key, &naive);
            }
        }
    }

    /// Concatenated ranges: the first that holds the key, in order of insertion.
    #[test]
    fn fields_are_a_list_of_boxes(steps in prop::collection::vec((0u8..5, any::<u16>(), any::<u16>(), 0u8..9, 0u8..9), 1..80)) {
        let fields = [2, 1];
        let flags = SetFlags::INTERVAL | SetFlags::CONCAT;
        let mut set = set(Layout::Fields, flags, 8, &fields, 0);
        let mut naive = Vec::<([u8; 8], [u8; 8])>::new();
        let key = |a: u16, b: u8| { let [x, y] = a.to_be_bytes(); [x, y, 0, 0, b, 0, 0, 0] };
        let holds = |(low, high): &([u8; 8], [u8; 8]), key: &[u8; 8]| {
            low[..2] <= key[..2] && key[..2] <= high[..2] && (low[4]..=high[4]).contains(&key[4])
        };
        for (what, a, b, c, len) in steps {
            // Few values, so that they meet.
            let (a, width) = (a % 64 + if a % 3 == 0 { 0x700 } else { 0 }, (b % 40) * (b % 2));
            let (low, high) = (key(a, c), key(a + width, c + len));
            let first = naive.iter().position(|span| holds(span, &low));
            match what {
                0..=3 => {
                    let free = first.is_none() && !naive.iter().any(|span| holds(span, &high));
                    let inserted = insert(&mut set, element(&low, Some(&high), false, kept(0, 1)), 1);
                    match inserted {
                        Inserted::New { .. } => { prop_assert!(free); naive.push((low, high)); }
                        Inserted::Same(_) => prop_assert_eq!(first.map(|at| naive[at]), Some((low, high))),
                        Inserted::Overlaps => prop_assert!(!free),
                        other => prop_assert!(false, "{:?}", other),
                    }
                }
                _ => {
                    prop_assert_eq!(remove(&mut set, &low, false, 1).is_some(), first.is_some());
                    if let Some(at) = first { naive.remove(at); }
                }
            }
            for (a, c) in [(a, c), (a + width, c + len), (a.wrapping_sub(1), c), (a + 1, c + 1), (0x720, 3)] {
                let key = key(a, c);
                let wanted = naive.iter().find(|span| holds(span, &key));
                let got = set.get(Some(&key), false, 1).flatten().map(|element| {
                    (element.key.unwrap().bytes().to_vec(), element.end.unwrap().bytes().to_vec())
                });
                prop_assert_eq!(got, wanted.map(|(low, high)| (low.to_vec(), high.to_vec())));
                prop_assert_eq!(found(&set, &key, 1), wanted.is_some());
            }
            let listed: Vec<_> = set.elements(1).map(|element| element.key.unwrap().bytes().to_vec()).collect();
            prop_assert_eq!(listed, naive.iter().map(|(low, _)| low.to_vec()).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_full_set_takes_no_more() {
    let mut set = set(Layout::Growing, SetFlags::EVAL, 1, &[], 2);
    assert!(matches!(
        insert(&mut set, element(&[1], None, false, kept(0, 1)), 1),
        Inserted::New { .. }
    ));
    assert!(set.find_or_insert(&[2], 1, Extra::default).is_some());
    assert!(set.find_or_insert(&[3], 1, Extra::default).is_none(), "from a packet");
    assert!(set.find_or_insert(&[2], 1, Extra::default).is_some(), "that is there");
    let third = element(&[3], None, false, kept(0, 1));
    assert!(matches!(insert(&mut set.clone(), third.clone(), 1), Inserted::Full));
    set.end(&[2], 1);
    set.collect(2);
    assert!(matches!(insert(&mut set, third, 2), Inserted::New { .. }));
}

#[test]
fn the_catchall_stands_for_what_nothing_else_stands_for() {
    let mut set = set(Layout::Ranges, SetFlags::INTERVAL, 1, &[], 0);
    let all = Element { key: None, end: None, closes: false, rest: kept(5, 1) };
    assert!(matches!(insert(&mut set, all.clone(), 1), Inserted::New { .. }));
    assert!(matches!(insert(&mut set, all, 1), Inserted::Same(_)));
    assert!(found(&set, &[7], 5) && !found(&set, &[7], 6), "it expires as others do");
    assert_eq!(set.collect(1_000_000_000).len(), 1);
    assert_eq!(set.elements(1).count(), 0);
}

#[test]
fn workers_that_meet_put_in_one_element() {
    let set = set(Layout::Growing, SetFlags::EVAL, 4, &[], 1000);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for key in 0..2000u32 {
                    set.find_or_insert(&key.to_ne_bytes(), 1, Extra::default);
                }
            });
        }
    });
    assert_eq!((set.len(), set.elements(1).count()), (1000, 1000), "never more than fit");
}

/// What a large set costs; `cargo test --release -p ruleset --lib large_sets -- --ignored --nocapture` prints it.
#[test]
#[ignore = "a measurement"]
#[allow(clippy::disallowed_methods, reason = "it measures")]
fn large_sets() {
    fn memory() -> usize {
        let status = std::fs::read_to_string("/proc/self/statm").unwrap();
        status.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    }
    let ranges = SetFlags::INTERVAL;
    let fields = SetFlags::INTERVAL | SetFlags::CONCAT;
    let kinds: [(&str, Layout, u32, u8, &[u8]); 3] = [
        ("exact", Layout::Growing, 0, 4, &[]),
        ("ranges", Layout::Ranges, ranges, 4, &[]),
        ("fields", Layout::Fields, fields, 8, &[4, 2]),
    ];
    for (name, layout, flags, key_len, lens) in kinds {
        let mut set = set(layout, flags, key_len, lens, u32::MAX);
        let key = |n: u32| {
            let mut key = n.wrapping_mul(8).to_be_bytes().to_vec();
            key.resize(usize::from(key_len), 0);
            key
        };
        let put = |set: &mut Set, n: u32| {
            let low = key(n);
            let end = (layout == Layout::Fields).then(|| {
                let mut high = low.clone();
                (high[3], high[5]) = (high[3] | 7, 80);
                high
            });
            let inserted = insert(set, element(&low, end.as_deref(), false, None), 1);
            assert!(matches!(inserted, Inserted::New { .. }), "{inserted:?}");
            if layout == Layout::Ranges {
                insert(set, element(&(n * 8 + 4).to_be_bytes(), None, true, None), 1);
            }
        };
        let before = memory();
        let start = std::time::Instant::now();
        (1..=1_000_000).for_each(|n| put(&mut set, n));
        let filled = start.elapsed();
        let bytes = memory().saturating_sub(before) / 1_000_000;
        let start = std::time::Instant::now();
        for n in 0..1000 {
            let snapshot = set.clone();
            put(&mut set, 2_000_000 + n);
            drop(snapshot);
        }
        let one = start.elapsed() / 1000;
        let snapshot = set.clone();
        let start = std::time::Instant::now();
        (0..100_000).for_each(|n| put(&mut set, 3_000_000 + n * 7));
        let batch = start.elapsed();
        drop(snapshot);
        let keys: Vec<Vec<u8>> =
            (0..1_000_000u32).map(|n| key(n.wrapping_mul(2_654_435_761) % 2_000_000)).collect();
        let start = std::time::Instant::now();
        let hits = keys.iter().filter(|key| found(&set, key, 1)).count();
        let lookup = start.elapsed() / 1_000_000;
        let start = std::time::Instant::now();
        let listed = set.elements(1).count();
        println!(
            "{name}: 1,000,000 in {filled:?}, {bytes} bytes each; one more {one:?}; 100,000 more {batch:?}; \
             a lookup {lookup:?} ({hits} hits); {listed} listed in {:?}",
            start.elapsed()
        );
    }
}
