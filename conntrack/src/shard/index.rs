//! Where a key's flow is: buckets of one cache line each.
//!
//! # Overview
//!
//! A bucket has room for twelve entries. An entry is a slot and which of the flow's two keys it stands for; beside it is a
//! tag, eight bits of the key's hash, so that a lookup reads one line here and, but for one in some hundred, only the line
//! of the flow that it is looking for. What finds its bucket full goes to the next; each bucket counts who passed it, so a
//! lookup knows where to stop, and a removal leaves nothing behind.
//!
//! Keys are not here: callers compare them. One shard's worker owns it.

use std::io;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Hash;
use super::pages::Pages;
use crate::flow::{Direction, Slot};

/// Entries in a bucket.
const ROOM: usize = 12;
/// How full the buckets are, in entries, when the table is full: so few overflow (one in a hundred) that most lookups end
/// where they begin.
const FULL: usize = 6;

/// One of a flow's two keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry(u32);

impl Entry {
    #[inline(always)]
    pub(super) fn new(slot: Slot, direction: Direction) -> Self {
        Self(slot.0 << 1 | direction as u32)
    }

    #[inline(always)]
    pub(super) fn slot(self) -> Slot {
        Slot(self.0 >> 1)
    }

    #[inline(always)]
    pub(super) fn direction(self) -> Direction {
        if self.0 & 1 == 0 { Direction::Original } else { Direction::Reply }
    }
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(64))]
struct Bucket {
    /// The tags of entries 0 to 7, one byte each; 0: no entry.
    low: u64,
    /// Those of 8 to 11.
    high: u32,
    /// How many entries passed here on their way from their own bucket to where they are.
    passed: u32,
    entries: [u32; ROOM],
}

const _: () = assert!(size_of::<Bucket>() == 64);

/// A bit for each byte of `word` that is zero.
#[inline(always)]
const fn zeros(word: u64) -> u32 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    // The top bit of each byte that is zero, then the eight of them gathered in the top byte.
    let tops = !(((word & LOW) + LOW) | word | LOW);
    ((tops >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u32
}

impl Bucket {
    /// A bit for each place whose tag this is.
    #[inline(always)]
    fn places(&self, tag: u8) -> Places {
        let all = u64::from(tag) * 0x0101_0101_0101_0101;
        Places(zeros(self.low ^ all) | (zeros(u64::from(self.high) ^ all) & 0xf) << 8)
    }

    /// The entries with this tag.
    #[inline(always)]
    fn with(&self, tag: u8) -> impl Iterator<Item = Entry> {
        self.places(tag).filter_map(|place| self.entries.get(place).copied().map(Entry))
    }

    fn write(&mut self, place: usize, tag: u8, entry: Entry) {
        let shift = place % 8 * 8;
        if place < 8 {
            self.low = self.low & !(0xff << shift) | u64::from(tag) << shift;
        } else {
            self.high = self.high & !(0xff << shift) | u32::from(tag) << shift;
        }
        if let Some(at) = self.entries.get_mut(place) {
            *at = entry.0;
        }
    }
}

/// The places in a bucket, a bit each.
struct Places(u32);

impl Iterator for Places {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        (self.0 != 0).then(|| {
            let place = self.0.trailing_zeros() as usize;
            self.0 &= self.0 - 1;
            place
        })
    }
}

/// The index.
pub(super) struct Index {
    buckets: Pages<Bucket>,
    count: u32,
}

impl Index {
    /// With room for both keys of that many flows.
    pub(super) fn new(flows: u32) -> io::Result<Self> {
        let count = (flows as usize * 2).div_ceil(FULL) + 1;
        let buckets = Pages::new(count)?;
        Ok(Self { buckets, count: u32::try_from(count).map_err(|_| io::ErrorKind::OutOfMemory)? })
    }

    /// The bucket that a hash belongs to, from its upper half.
    #[inline(always)]
    fn home(&self, hash: Hash) -> u32 {
        (((hash.0 >> 32) * u64::from(self.count)) >> 32) as u32
    }

    #[inline(always)]
    fn after(&self, bucket: u32) -> u32 {
        if bucket + 1 < self.count { bucket + 1 } else { 0 }
    }

    /// Asks for the bucket.
    #[inline(always)]
    pub(super) fn prefetch(&self, hash: Hash) {
        self.buckets.prefetch(self.home(hash));
    }

    /// Those in the hash's own bucket that may be it.
    #[inline(always)]
    pub(super) fn candidates(&self, hash: Hash) -> impl Iterator<Item = Entry> {
        self.buckets.get(self.home(hash)).into_iter().flat_map(move |bucket| bucket.with(tag(hash)))
    }

    /// The first entry of this hash that `is_it`.
    #[inline(always)]
    pub(super) fn find(&self, hash: Hash, is_it: impl Fn(Entry) -> bool) -> Option<Entry> {
        let mut at = self.home(hash);
        for _ in 0..self.count {
            let bucket = self.buckets.get(at)?;
            if let Some(entry) = bucket.with(tag(hash)).find(|entry| is_it(*entry)) {
                return Some(entry);
            }
            if bucket.passed == 0 {
                return None;
            }
            at = self.after(at);
        }
        None
    }

    /// Adds an entry; returns how many buckets were full. There is room for all that a table may hold.
    pub(super) fn insert(&mut self, hash: Hash, entry: Entry) -> u32 {
        let mut at = self.home(hash);
        for full in 0..self.count {
            let next = self.after(at);
            let Some(bucket) = self.buckets.get_mut(at) else { break };
            if let Some(place) = bucket.places(0).next() {
                bucket.write(place, tag(hash), entry);
                return full;
            }
            bucket.passed += 1;
            at = next;
        }
        self.count
    }

    /// Takes an entry out.
    pub(super) fn remove(&mut self, hash: Hash, entry: Entry) {
        let home = self.home(hash);
        let mut at = home;
        for _ in 0..self.count {
            let next = self.after(at);
            let Some(bucket) = self.buckets.get_mut(at) else { return };
            let place = bucket
                .places(tag(hash))
                .find(|place| bucket.entries.get(*place).is_some_and(|have| *have == entry.0));
            if let Some(place) = place {
                bucket.write(place, 0, Entry(0));
                break;
            }
            if bucket.passed == 0 {
                return;
            }
            at = next;
        }
        // It passed those before.
        let found = at;
        at = home;
        while at != found {
            let next = self.after(at);
            if let Some(bucket) = self.buckets.get_mut(at) {
                bucket.passed = bucket.passed.saturating_sub(1);
            }
            at = next;
        }
    }
}

/// Eight bits of the hash that do not choose the bucket; never 0.
#[inline(always)]
fn tag(hash: Hash) -> u8 {
    (hash.0 as u8).max(1)
}

#[cfg(test)]
impl Index {
    /// How many entries there are.
    pub(super) fn count_entries(&self) -> usize {
        let buckets = (0..self.count).filter_map(|at| self.buckets.get(at));
        buckets.map(|bucket| ROOM - bucket.places(0).count()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_finds_exactly_the_bytes_that_are_zero() {
        let mut random = 1u64;
        for _ in 0..10_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Bytes of 0, 1, 0x80 and 0x81: where borrows and carries would show.
            let word = random >> 3 & 0x8181_8181_8181_8181;
            let plainly = word.to_le_bytes().into_iter().enumerate();
            let plainly = plainly.fold(0, |bits, (i, byte)| bits | u32::from(byte == 0) << i);
            assert_eq!(zeros(word), plainly, "{word:x}");
        }
    }

    #[test]
    fn entries_that_overflow_are_found_and_leave_no_trace() {
        // One home and one tag for all: the worst that can be.
        let mut index = Index::new(600).unwrap();
        let hash = Hash(0xffff_ffff_0000_0007);
        let entry = |i| Entry::new(Slot(i), Direction::Reply);
        for i in 0..1000 {
            index.insert(hash, entry(i));
        }
        for i in (0..1000).rev() {
            assert_eq!(index.find(hash, |e| e == entry(i)), Some(entry(i)));
            index.remove(hash, entry(i));
            assert_eq!(index.find(hash, |e| e == entry(i)), None);
        }
        for bucket in 0..index.count {
            let bucket = index.buckets.get(bucket).unwrap();
            assert_eq!((bucket.low, bucket.high, bucket.passed), (0, 0, 0));
        }
    }
}
