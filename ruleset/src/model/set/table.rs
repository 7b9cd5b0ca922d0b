//! A hash map by [`Key`] that is cheap to clone and to change, small, and allocates nothing to be read.
//!
//! Linear hashing: buckets behind `Arc`s, in chunks behind `Arc`s. A clone shares all of them; a change copies one bucket, one
//! chunk and the list of chunks. With each element that comes one bucket at most is split in two, so that no insertion pays for
//! many. The hash has a seed of its own, so that nobody outside can aim at one bucket.

use std::sync::Arc;

use ahash::RandomState;

use super::Key;

/// Buckets of a chunk.
const CHUNK: usize = 64;
/// Elements of a bucket, on average, before there are more buckets.
const FULL: usize = 10;
/// Elements of a bucket, on average, before there are fewer.
const SPARSE: usize = 3;

type Bucket<V> = Arc<[(Key, V)]>;
type Chunk<V> = Arc<Vec<Bucket<V>>>;

/// See the module's overview.
#[derive(Debug)]
pub(super) struct Table<V> {
    chunks: Arc<Vec<Chunk<V>>>,
    /// How many buckets there are: those behind the last power of two are the upper halves of split ones.
    buckets: usize,
    len: usize,
    hasher: RandomState,
}

impl<V> Clone for Table<V> {
    fn clone(&self) -> Self {
        let (chunks, hasher) = (self.chunks.clone(), self.hasher.clone());
        Self { chunks, buckets: self.buckets, len: self.len, hasher }
    }
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        let hasher = RandomState::new();
        Self { chunks: Arc::default(), buckets: 0, len: 0, hasher }
    }
}

impl<V: Clone> Table<V> {
    /// How many.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The number of the bucket that a key belongs to.
    #[inline]
    fn place(&self, key: &[u8]) -> usize {
        let hash = self.hasher.hash_one(key) as usize;
        let power = self.buckets.next_power_of_two();
        match hash & (power - 1) {
            bucket if bucket < self.buckets => bucket,
            not_yet => not_yet - power / 2,
        }
    }

    #[inline]
    fn bucket(&self, at: usize) -> &[(Key, V)] {
        self.chunks.get(at / CHUNK).and_then(|chunk| chunk.get(at % CHUNK)).map_or(&[], |b| b)
    }

    fn bucket_mut(&mut self, at: usize) -> Option<&mut Bucket<V>> {
        let chunk = Arc::make_mut(&mut self.chunks).get_mut(at / CHUNK)?;
        Arc::make_mut(chunk).get_mut(at % CHUNK)
    }

    /// What is kept for this key, with the key.
    #[inline]
    pub(super) fn get_key_value(&self, key: &[u8]) -> Option<(&Key, &V)> {
        let bucket = self.bucket(self.place(key));
        bucket.iter().find(|(found, _)| found.bytes() == key).map(|(key, value)| (key, value))
    }

    /// What is kept for this key.
    #[inline]
    pub(super) fn get(&self, key: &[u8]) -> Option<&V> {
        self.get_key_value(key).map(|(_, value)| value)
    }

    /// The same, to change.
    pub(super) fn get_mut(&mut self, key: &[u8]) -> Option<&mut V> {
        let bucket = self.bucket_mut(self.place(key))?;
        Arc::make_mut(bucket).iter_mut().find(|(found, _)| found.bytes() == key).map(|(_, v)| v)
    }

    /// Puts a value in; the one that it replaces.
    pub(super) fn insert(&mut self, key: Key, value: V) -> Option<V> {
        if self.get(key.bytes()).is_some() {
            return self.get_mut(key.bytes()).map(|place| std::mem::replace(place, value));
        }
        if self.len >= self.buckets * FULL {
            self.grow();
        }
        let at = self.place(key.bytes());
        if let Some(bucket) = self.bucket_mut(at) {
            *bucket = bucket.iter().cloned().chain([(key, value)]).collect();
            self.len += 1;
        }
        None
    }

    /// Takes a value out, with its key.
    pub(super) fn remove(&mut self, key: &[u8]) -> Option<(Key, V)> {
        let at = self.place(key);
        let old = self.bucket(at).iter().find(|(found, _)| found.bytes() == key)?.clone();
        let bucket = self.bucket_mut(at)?;
        *bucket = bucket.iter().filter(|(found, _)| found.bytes() != key).cloned().collect();
        self.len -= 1;
        if self.len < self.buckets * SPARSE && self.buckets > 1 {
            self.shrink();
        }
        Some(old)
    }

    /// One bucket more: the elements of the next one to be split go where they belong now.
    fn grow(&mut self) {
        let split = self.buckets.checked_ilog2().map_or(0, |log| self.buckets - (1 << log));
        let (old, at) = (self.bucket_mut(split).map(std::mem::take), self.buckets);
        let chunks = Arc::make_mut(&mut self.chunks);
        if at / CHUNK == chunks.len() {
            chunks.push(Arc::new(Vec::with_capacity(CHUNK)));
        }
        if let Some(chunk) = chunks.last_mut() {
            Arc::make_mut(chunk).push(Arc::default());
        }
        self.buckets += 1;
        let Some(old) = old.filter(|_| split != at) else { return };
        let (upper, lower): (Vec<_>, Vec<_>) =
            old.iter().cloned().partition(|(key, _)| self.place(key.bytes()) == at);
        for (at, half) in [(split, lower), (at, upper)] {
            if let Some(bucket) = self.bucket_mut(at) {
                *bucket = half.into();
            }
        }
    }

    /// One bucket fewer: the last one's elements go back to where they were split off.
    fn shrink(&mut self) {
        let chunks = Arc::make_mut(&mut self.chunks);
        let Some(chunk) = chunks.last_mut() else { return };
        let last = Arc::make_mut(chunk).pop();
        if chunk.is_empty() {
            chunks.pop();
        }
        self.buckets -= 1;
        for element in last.iter().flat_map(|last| last.iter()) {
            let at = self.place(element.0.bytes());
            if let Some(bucket) = self.bucket_mut(at) {
                *bucket = bucket.iter().chain([element]).cloned().collect();
            }
        }
    }

    /// All, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, &V)> {
        let buckets = self.chunks.iter().flat_map(|chunk| chunk.iter());
        buckets.flat_map(|bucket| bucket.iter()).map(|(key, value)| (key, value))
    }

    /// All, in no order, of this moment.
    pub(super) fn into_elements(self) -> impl Iterator<Item = (Key, V)> {
        let (mut bucket, mut at) = (0, 0);
        std::iter::from_fn(move || {
            while bucket < self.buckets {
                if let Some(element) = self.bucket(bucket).get(at) {
                    at += 1;
                    return Some(element.clone());
                }
                (bucket, at) = (bucket + 1, 0);
            }
            None
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn is_a_map(ops in prop::collection::vec((0u8..6, 0u16..700), 0..3000), down in any::<bool>()) {
            let (mut table, mut naive) = (Table::default(), BTreeMap::new());
            let mut snapshots = Vec::new();
            let count = ops.len();
            for (n, (op, key)) in ops.into_iter().enumerate() {
                let bytes = key.to_be_bytes();
                if op < if down && n > count / 2 { 5 } else { 2 } {
                    prop_assert_eq!(table.remove(&bytes).map(|(_, v)| v), naive.remove(&bytes));
                } else {
                    prop_assert_eq!(table.insert(Key::new(&bytes), n), naive.insert(bytes, n));
                }
                prop_assert_eq!(table.get(&bytes), naive.get(&bytes));
                prop_assert_eq!(table.len(), naive.len());
                if n % 700 == 0 { snapshots.push((table.clone(), naive.clone())); }
            }
            snapshots.push((table, naive));
            for (table, naive) in snapshots {
                prop_assert!(naive.iter().all(|(key, value)| table.get(key) == Some(value)));
                let mut all: Vec<_> = table.iter().map(|(key, value)| (key.bytes().to_vec(), *value)).collect();
                all.sort();
                prop_assert_eq!(&all, &naive.iter().map(|(k, v)| (k.to_vec(), *v)).collect::<Vec<_>>());
                prop_assert_eq!(table.into_elements().count(), all.len());
            }
        }
    }
}
