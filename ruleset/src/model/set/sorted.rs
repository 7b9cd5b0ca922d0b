//! A map in order of keys that is cheap to clone and to change, and allocates nothing to be read.
//!
//! A tree of chunks behind `Arc`s: a clone shares all of them, a change copies the chunks on one way down. Chunks split when
//! they are full and go when they are empty; they are not joined, since what shrinks mostly grows again.

use std::borrow::Borrow;
use std::sync::Arc;

/// Items that a chunk holds at most.
const CHUNK: usize = 64;

#[derive(Clone, Debug)]
enum Node<K, V> {
    Leaf(Vec<(K, V)>),
    /// Each child with a key that is not above any key in it and not below any key in the child before.
    Inner(Vec<(K, Arc<Node<K, V>>)>),
}

/// See the module's overview.
#[derive(Debug)]
pub(super) struct Sorted<K, V> {
    root: Arc<Node<K, V>>,
    len: usize,
}

impl<K, V> Clone for Sorted<K, V> {
    fn clone(&self) -> Self {
        Self { root: self.root.clone(), len: self.len }
    }
}

impl<K, V> Default for Sorted<K, V> {
    fn default() -> Self {
        Self { root: Arc::new(Node::Leaf(Vec::new())), len: 0 }
    }
}

impl<K: Ord + Clone, V: Clone> Sorted<K, V> {
    /// How many.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// What is kept for this key.
    pub(super) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.floor(key).filter(|(found, _)| K::borrow(found) == key).map(|(_, value)| value)
    }

    /// The last that is not above this key.
    #[inline]
    pub(super) fn floor<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        self.root.last(&|found| found <= key)
    }

    /// The last below this key; the last of all where there is no key.
    pub(super) fn below<Q: Ord + ?Sized>(&self, key: Option<&Q>) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        self.root.last(&|found: &Q| key.is_none_or(|key| found < key))
    }

    /// The first above this key; the first of all where there is no key.
    pub(super) fn above<Q: Ord + ?Sized>(&self, key: Option<&Q>) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        self.root.first(&|found: &Q| key.is_none_or(|key| found > key))
    }

    /// All in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let mut last: Option<&K> = None;
        std::iter::from_fn(move || {
            let next = self.above::<K>(last)?;
            last = Some(next.0);
            Some(next)
        })
    }

    /// Puts a value in; the one that it replaces.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let root = Arc::make_mut(&mut self.root);
        let (old, half) = root.insert(key, value);
        if let Some(half) = half {
            let first = std::mem::replace(root, Node::Inner(Vec::with_capacity(2)));
            if let (Node::Inner(children), Some(low)) = (root, first.low()) {
                children.extend([(low, Arc::new(first)), half]);
            }
        }
        self.len += usize::from(old.is_none());
        old
    }

    /// Takes a value out.
    pub(super) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.get(key)?;
        let old = Arc::make_mut(&mut self.root).remove(key)?;
        self.len -= 1;
        if self.len == 0 {
            *self = Self::default();
        }
        Some(old)
    }
}

impl<K: Ord + Clone, V: Clone> Node<K, V> {
    fn is_empty(&self) -> bool {
        match self {
            Self::Leaf(items) => items.is_empty(),
            Self::Inner(children) => children.is_empty(),
        }
    }

    fn low(&self) -> Option<K> {
        match self {
            Self::Leaf(items) => items.first().map(|(key, _)| key.clone()),
            Self::Inner(children) => children.first().map(|(key, _)| key.clone()),
        }
    }

    /// The last item for whose key `test` holds; it holds for the first keys, in order, and for no others.
    fn last<Q: ?Sized>(&self, test: &impl Fn(&Q) -> bool) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        match self {
            Self::Leaf(items) => {
                let at = items.partition_point(|(key, _)| test(key.borrow()));
                items.get(at.checked_sub(1)?).map(|(key, value)| (key, value))
            }
            Self::Inner(children) => {
                let at = children.partition_point(|(key, _)| test(key.borrow()));
                children.get(..at)?.iter().rev().find_map(|(_, child)| child.last(test))
            }
        }
    }

    /// The first item for whose key `test` holds; it holds for the last keys, in order, and for no others.
    fn first<Q: ?Sized>(&self, test: &impl Fn(&Q) -> bool) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        match self {
            Self::Leaf(items) => {
                let at = items.partition_point(|(key, _)| !test(key.borrow()));
                items.get(at).map(|(key, value)| (key, value))
            }
            Self::Inner(children) => {
                let at = children.partition_point(|(key, _)| !test(key.borrow()));
                let from = at.saturating_sub(1);
                children.get(from..)?.iter().find_map(|(_, child)| child.first(test))
            }
        }
    }

    /// Puts a value in. What it replaces, and the upper half where the node got too large.
    fn insert(&mut self, key: K, value: V) -> (Option<V>, Option<(K, Arc<Self>)>) {
        match self {
            Self::Leaf(items) => {
                let at = items.partition_point(|(found, _)| *found < key);
                if let Some((found, place)) = items.get_mut(at)
                    && *found == key
                {
                    return (Some(std::mem::replace(place, value)), None);
                }
                // Sorted input fills chunks to the brim: it splits off nothing but what is new.
                let half = if at == items.len() { CHUNK } else { CHUNK / 2 };
                items.insert(at, (key, value));
                (None, split(items, half, Self::Leaf))
            }
            Self::Inner(children) => {
                let at = children.partition_point(|(low, _)| *low <= key).saturating_sub(1);
                let last = at + 1 == children.len();
                let Some((low, child)) = children.get_mut(at) else { return (None, None) };
                if key < *low {
                    *low = key.clone();
                }
                let (old, upper) = Arc::make_mut(child).insert(key, value);
                if let Some(upper) = upper {
                    children.insert(at + 1, upper);
                }
                (old, split(children, if last { CHUNK } else { CHUNK / 2 }, Self::Inner))
            }
        }
    }

    fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        match self {
            Self::Leaf(items) => {
                let at = items.binary_search_by(|(found, _)| found.borrow().cmp(key)).ok()?;
                Some(items.remove(at).1)
            }
            Self::Inner(children) => {
                let at = children.partition_point(|(low, _)| low.borrow() <= key).checked_sub(1)?;
                let child = Arc::make_mut(&mut children.get_mut(at)?.1);
                let old = child.remove(key);
                if child.is_empty() {
                    children.remove(at);
                }
                old
            }
        }
    }
}

/// Splits off what is behind the first `keep` items where there are too many.
fn split<K: Clone, V, T>(
    items: &mut Vec<(K, T)>,
    keep: usize,
    node: impl FnOnce(Vec<(K, T)>) -> Node<K, V>,
) -> Option<(K, Arc<Node<K, V>>)> {
    if items.len() <= CHUNK {
        return None;
    }
    let upper = items.split_off(keep);
    let low = upper.first()?.0.clone();
    Some((low, Arc::new(node(upper))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn is_a_btree_map(ops in prop::collection::vec((0u8..4, 0u16..3000), 0..3000), up in any::<bool>()) {
            let (mut sorted, mut naive) = (Sorted::default(), BTreeMap::new());
            let mut snapshots = Vec::new();
            for (n, (op, key)) in ops.into_iter().enumerate() {
                let key = if up && op != 0 { n as u16 } else { key };
                match op {
                    0 => prop_assert_eq!(sorted.remove(&key), naive.remove(&key)),
                    _ => prop_assert_eq!(sorted.insert(key, n), naive.insert(key, n)),
                }
                prop_assert_eq!(sorted.floor(&key), naive.range(..=key).next_back());
                prop_assert_eq!(sorted.below(Some(&key)), naive.range(..key).next_back());
                prop_assert_eq!(sorted.above(Some(&key)), naive.range(key + 1..).next());
                prop_assert_eq!(sorted.get(&key), naive.get(&key));
                if n % 500 == 0 { snapshots.push((sorted.clone(), naive.clone())); }
            }
            snapshots.push((sorted, naive));
            for (sorted, naive) in snapshots {
                prop_assert_eq!(sorted.len(), naive.len());
                prop_assert!(sorted.iter().eq(&naive));
                prop_assert_eq!(sorted.below::<u16>(None), naive.iter().next_back());
            }
        }
    }
}
