//! The forwarding table against a list that is searched from end to end.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::{collections::BTreeMap, sync::Arc};

use dataplane::fib::{Address, FibError, FibWriter, FibWriter4, FibWriter6, MAX_VALUE, NO_ROUTE};
use proptest::prelude::*;

/// Addresses whose tables have few plain nodes, so that packed ones, and both kinds in one chain, are met in small tables.
macro_rules! packed {
    ($($name:ident, $bytes:ty, $plain:literal;)*) => {$(
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        struct $name($bytes);

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }

        impl Address for $name {
            const BITS: u8 = <$bytes>::BITS;
            const PLAIN_NODES: usize = $plain;

            fn masked(self, len: u8) -> Self {
                Self(self.0.masked(len))
            }
        }
    )*};
}

packed! {
    Packed4, [u8; 4], 0;
    Packed6, [u8; 16], 0;
    Mixed6, [u8; 16], 3;
}

/// The naive twin.
#[derive(Default)]
struct List<A>(BTreeMap<(A, u8), u32>);

impl<A: Address> List<A> {
    fn lookup(&self, address: A) -> Option<u32> {
        self.0
            .iter()
            .filter(|((prefix, len), _)| address.masked(*len) == *prefix)
            .max_by_key(|((_, len), _)| *len)
            .map(|(_, value)| *value)
    }
}

#[derive(Clone, Debug)]
enum Step<A> {
    Insert(A, u8, u32),
    Remove(A, u8),
    /// Takes the nth of the prefixes that are there.
    RemoveOne(usize),
    Publish {
        /// A reader keeps the table that was current.
        keep: bool,
    },
    /// Every reader lets go.
    Drop,
}

fn steps<A: Address>(
    address: impl Strategy<Value = A> + Clone + 'static,
) -> impl Strategy<Value = (Vec<Step<A>>, Vec<A>)> {
    // Lengths around the edges of the trie's levels are where the bugs live.
    let len = prop_oneof![
        4 => 0..=A::BITS,
        2 => proptest::sample::select(vec![0u8, 1, 7, 8, 9, 15, 16, 17, 23, 24, 25, 31, 32]),
        1 => Just(A::BITS),
    ];
    let step = prop_oneof![
        8 => (address.clone(), len.clone(), 0u32..6).prop_map(|(a, len, value)| Step::Insert(a, len, value)),
        1 => (address.clone(), len).prop_map(|(a, len)| Step::Remove(a, len)),
        4 => any::<usize>().prop_map(Step::RemoveOne),
        3 => any::<bool>().prop_map(|keep| Step::Publish { keep }),
        1 => Just(Step::Drop),
    ];
    (prop::collection::vec(step, 1..120), prop::collection::vec(address, 64))
}

fn check<A: Address>(steps: Vec<Step<A>>, probes: Vec<A>) -> Result<(), TestCaseError> {
    let mut list = List::<A>(BTreeMap::new());
    let mut writer = FibWriter::<A>::new();
    let mut kept = Vec::new();
    for step in steps {
        match step {
            Step::Insert(a, len, value) => {
                let old = list.0.insert((a.masked(len), len), value);
                prop_assert_eq!(writer.insert(a, len, value), Ok(old));
            }
            Step::Remove(a, len) => {
                let old = list.0.remove(&(a.masked(len), len));
                prop_assert_eq!(writer.remove(a, len), old);
            }
            Step::RemoveOne(n) => {
                if let Some((a, len)) = list.0.keys().nth(n % list.0.len().max(1)).copied() {
                    prop_assert_eq!(writer.get(a, len), list.0.get(&(a, len)).copied());
                    prop_assert_eq!(writer.remove(a, len), list.0.remove(&(a, len)));
                }
            }
            Step::Publish { keep } => {
                let fib = writer.publish();
                prop_assert_eq!(fib.len(), list.0.len());
                let expected: Vec<u32> =
                    probes.iter().map(|a| list.lookup(*a).unwrap_or(NO_ROUTE)).collect();
                let mut found = vec![7; probes.len()];
                fib.lookup_burst(&probes, &mut found);
                prop_assert_eq!(&found, &expected);
                for (a, value) in probes.iter().zip(&expected) {
                    prop_assert_eq!(fib.lookup(*a).unwrap_or(NO_ROUTE), *value);
                }
                if keep {
                    kept.push((fib, expected));
                }
            }
            Step::Drop => kept.clear(),
        }
        // What a reader holds never changes under it.
        for (fib, expected) in &kept {
            let mut found = vec![7; probes.len()];
            fib.lookup_burst(&probes, &mut found);
            prop_assert_eq!(&found, expected);
        }
    }
    let mut all: Vec<_> = writer.iter().collect();
    all.sort();
    prop_assert_eq!(
        all,
        list.0.iter().map(|((a, len), value)| (*a, *len, *value)).collect::<Vec<_>>()
    );
    prop_assert_eq!(writer.len(), list.0.len());
    // Emptied, the table must answer nothing, and must have given its nodes back (checked by filling it again).
    let before = writer.publish().memory();
    let again: Vec<_> = writer.iter().collect();
    writer.clear();
    drop(kept);
    let empty = writer.publish();
    prop_assert!(probes.iter().all(|a| empty.lookup(*a).is_none()));
    prop_assert!(empty.is_empty());
    drop(empty);
    for (a, len, value) in again {
        writer.insert(a, len, value).unwrap();
    }
    let full = writer.publish();
    prop_assert!(full.memory() <= before + 4096, "{} bytes, were {before}", full.memory());
    for a in &probes {
        prop_assert_eq!(full.lookup(*a), list.lookup(*a));
    }
    Ok(())
}

/// Few distinct bytes, so that prefixes nest and collide.
fn address4() -> impl Strategy<Value = [u8; 4]> + Clone + 'static {
    let byte = proptest::sample::select(vec![0u8, 1, 10, 63, 64, 127, 128, 192, 255]);
    prop_oneof![4 => [byte.clone(), byte.clone(), byte.clone(), byte], 1 => any::<[u8; 4]>()]
}

fn address6() -> impl Strategy<Value = [u8; 16]> + Clone + 'static {
    let byte = proptest::sample::select(vec![0u8, 0, 0, 1, 127, 128, 255]);
    prop_oneof![4 => proptest::array::uniform16(byte), 1 => any::<[u8; 16]>()]
}

proptest! {
    #[test]
    fn ipv4_is_the_list((steps, probes) in steps(address4())) {
        check(steps, probes)?;
    }

    #[test]
    fn ipv6_is_the_list((steps, probes) in steps(address6())) {
        check(steps, probes)?;
    }
}

proptest! {
    #[test]
    fn packed_ipv4_is_the_list((steps, probes) in steps(address4().prop_map(Packed4))) {
        check(steps, probes)?;
    }

    #[test]
    fn packed_ipv6_is_the_list((steps, probes) in steps(address6().prop_map(Packed6))) {
        check(steps, probes)?;
    }

    #[test]
    fn mixed_ipv6_is_the_list((steps, probes) in steps(address6().prop_map(Mixed6))) {
        check(steps, probes)?;
    }
}

/// Nodes with every number of runs, in one line and in up to 16 more.
#[test]
fn nodes_grow_and_shrink() {
    let mut list = List::<Packed4>(BTreeMap::new());
    let mut writer = FibWriter::new();
    let order: Vec<u8> = (0..=255u8).map(|i| i.wrapping_mul(167)).collect();
    let check = |writer: &mut FibWriter<Packed4>, list: &List<Packed4>| {
        let fib = writer.publish();
        for i in 0..=255 {
            let address = Packed4([10, 1, i, 9]);
            assert_eq!(fib.lookup(address), list.lookup(address));
        }
    };
    for &i in &order {
        let prefix = Packed4([10, 1, i, 0]);
        writer.insert(prefix, 24, u32::from(i)).unwrap();
        list.0.insert((prefix, 24), u32::from(i));
        check(&mut writer, &list);
    }
    for &i in order.iter().rev() {
        let prefix = Packed4([10, 1, i, 0]);
        writer.remove(prefix, 24).unwrap();
        list.0.remove(&(prefix, 24));
        check(&mut writer, &list);
    }
}

#[test]
fn nested_prefixes_fall_back_one_by_one() {
    let mut writer = FibWriter4::new();
    let address = [10, 1, 2, 3];
    for len in 0..=32 {
        writer.insert(address, len, u32::from(len)).unwrap();
        assert_eq!(writer.publish().lookup(address), Some(u32::from(len)));
    }
    for len in (0..=32).rev() {
        assert_eq!(writer.publish().lookup(address), Some(u32::from(len)));
        assert_eq!(writer.remove(address, len), Some(u32::from(len)));
    }
    assert_eq!(writer.publish().lookup(address), None);

    let mut writer = FibWriter6::new();
    let address = std::net::Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 3, 4, 5, 6).octets();
    for len in 0..=128 {
        writer.insert(address, len, u32::from(len)).unwrap();
        assert_eq!(writer.publish().lookup(address), Some(u32::from(len)));
    }
    for len in (0..=128).rev() {
        assert_eq!(writer.publish().lookup(address), Some(u32::from(len)));
        writer.remove(address, len).unwrap();
    }
    assert_eq!(writer.publish().lookup(address), None);
}

#[test]
fn a_burst_writes_as_many_as_there_are_addresses() {
    let mut writer = FibWriter4::new();
    writer.insert([10, 0, 0, 0], 28, 1).unwrap();
    let fib = writer.publish();
    for n in 0..=40 {
        let mut found = vec![NO_ROUTE; 48];
        fib.lookup_burst(&vec![[10, 0, 0, 1]; n], &mut found);
        assert_eq!(found, [vec![1; n], vec![NO_ROUTE; 48 - n]].concat());
        let mut found = vec![7; n];
        fib.lookup_burst(&[[10, 0, 0, 1]; 48], &mut found);
        assert_eq!(found, vec![1; n]);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut writer = FibWriter4::new();
    assert_eq!(writer.insert([0; 4], 33, 0), Err(FibError::Length(33)));
    assert_eq!(writer.insert([0; 4], 32, MAX_VALUE), Err(FibError::Value(MAX_VALUE)));
    assert_eq!(writer.insert([0; 4], 32, MAX_VALUE - 1), Ok(None));
    assert_eq!(writer.publish().lookup([0; 4]), Some(MAX_VALUE - 1));
}

#[test]
fn a_change_reuses_the_older_copy_once_it_is_dropped() {
    let mut writer = FibWriter4::new();
    writer.insert([10, 0, 0, 0], 8, 1).unwrap();
    let first = writer.publish();
    writer.insert([11, 0, 0, 0], 8, 2).unwrap();
    let second = writer.publish();
    writer.insert([12, 0, 0, 0], 8, 3).unwrap();
    assert!(!writer.ready(), "the first is still read");
    let address = Arc::as_ptr(&first);
    drop(first);
    assert!(writer.ready());
    let third = writer.publish();
    assert_eq!(Arc::as_ptr(&third), address, "edited in place");
    assert_eq!(third.lookup([11, 0, 0, 1]), Some(2), "what it missed was made up for");
    assert_eq!(third.lookup([12, 0, 0, 1]), Some(3));
    assert_eq!(second.lookup([12, 0, 0, 1]), None, "a reader's table does not change");
    assert!(Arc::ptr_eq(&third, &writer.publish()), "nothing new, nothing made");
}
