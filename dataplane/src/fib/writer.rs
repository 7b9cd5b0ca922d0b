//! The owner of a table: the prefixes, and two copies of the trie of which workers read one.

use std::{
    collections::HashMap,
    fmt::{self, Debug},
    hash::Hash,
    sync::Arc,
};

use super::{
    Fib, MAX_VALUE,
    edit::{Op, What},
};

/// The most prefixes that one table takes.
pub const MAX_ROUTES: usize = 1 << 24;

/// A change could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FibError {
    /// The prefix is longer than an address.
    #[error("a prefix of {0} bits is longer than the address")]
    Length(u8),
    /// The value is too great.
    #[error("a value of {0} is not below {MAX_VALUE}")]
    Value(u32),
    /// There are too many prefixes.
    #[error("the table holds {MAX_ROUTES} prefixes and takes no more")]
    Full,
}

/// An address in wire order: `[u8; 4]` or `[u8; 16]`.
pub trait Address: Copy + Eq + Ord + Hash + Debug + AsRef<[u8]> + Send + Sync + 'static {
    /// Its length in bits.
    const BITS: u8;
    /// How many nodes of a table are plain (see the module's overview), 1 kB each.
    const PLAIN_NODES: usize;

    /// The address with the bits behind the first `len` cleared.
    fn masked(self, len: u8) -> Self;
}

impl Address for [u8; 4] {
    const BITS: u8 = 32;
    const PLAIN_NODES: usize = 2048;

    fn masked(self, len: u8) -> Self {
        let mask = u32::MAX.checked_shl(32 - u32::from(len.min(32))).unwrap_or(0);
        (u32::from_be_bytes(self) & mask).to_be_bytes()
    }
}

impl Address for [u8; 16] {
    const BITS: u8 = 128;
    const PLAIN_NODES: usize = 4096;

    fn masked(self, len: u8) -> Self {
        let mask = u128::MAX.checked_shl(128 - u32::from(len.min(128))).unwrap_or(0);
        (u128::from_be_bytes(self) & mask).to_be_bytes()
    }
}

/// Keeps the prefixes of one family and makes the tables that workers read.
///
/// Changes are noted at once and come into force with [`publish`](Self::publish). That edits the older of two copies, which
/// workers have dropped since: first with the changes that it missed, then with the new ones. If a worker still reads it,
/// `publish` makes a third copy instead (20 MB for a million routes, 256 kB for an empty table); who would rather
/// wait a little and collect more changes asks [`ready`](Self::ready) first. Old copies are freed here, never by a worker.
pub struct FibWriter<A> {
    routes: HashMap<(A, u8), u32, ahash::RandomState>,
    /// How many prefixes there are of each length.
    lengths: Vec<u32>,
    /// The newest copy.
    live: Arc<Fib<A>>,
    /// An older copy, which lacks `missed`.
    spare: Option<Arc<Fib<A>>>,
    missed: Vec<Op<A>>,
    /// Changes that no copy has.
    pending: Vec<Op<A>>,
    /// Copies that were still read when a newer one was needed.
    retired: Vec<Arc<Fib<A>>>,
}

impl<A: Address> Default for FibWriter<A> {
    fn default() -> Self {
        Self {
            routes: HashMap::default(),
            lengths: vec![0; usize::from(A::BITS) + 1],
            live: Arc::new(Fib::new()),
            spare: None,
            missed: Vec::new(),
            pending: Vec::new(),
            retired: Vec::new(),
        }
    }
}

impl<A: Address> FibWriter<A> {
    /// No routes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the value of `prefix/len`; bits of `prefix` behind `len` don't matter. Returns the value that it had.
    pub fn insert(&mut self, prefix: A, len: u8, value: u32) -> Result<Option<u32>, FibError> {
        if len > A::BITS {
            return Err(FibError::Length(len));
        }
        if value >= MAX_VALUE {
            return Err(FibError::Value(value));
        }
        let prefix = prefix.masked(len);
        if self.routes.len() >= MAX_ROUTES && !self.routes.contains_key(&(prefix, len)) {
            return Err(FibError::Full);
        }
        let old = self.routes.insert((prefix, len), value);
        if old != Some(value) {
            if let (None, Some(count)) = (old, self.lengths.get_mut(usize::from(len))) {
                *count += 1;
            }
            self.pending.push(Op { prefix, len, what: What::Set { value, new: old.is_none() } });
        }
        Ok(old)
    }

    /// Takes `prefix/len` out; returns the value that it had.
    pub fn remove(&mut self, prefix: A, len: u8) -> Option<u32> {
        let prefix = prefix.masked(len);
        let old = self.routes.remove(&(prefix, len))?;
        if let Some(count) = self.lengths.get_mut(usize::from(len)) {
            *count -= 1;
        }
        let cover = self.cover(prefix, len);
        self.pending.push(Op { prefix, len, what: What::Remove { cover } });
        Some(old)
    }

    /// Takes every prefix out.
    pub fn clear(&mut self) {
        let all: Vec<(A, u8)> = self.routes.keys().copied().collect();
        for (prefix, len) in all {
            self.remove(prefix, len);
        }
    }

    /// The value of exactly `prefix/len`.
    pub fn get(&self, prefix: A, len: u8) -> Option<u32> {
        self.routes.get(&(prefix.masked(len), len)).copied()
    }

    /// All prefixes with their values, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (A, u8, u32)> + '_ {
        self.routes.iter().map(|((prefix, len), value)| (*prefix, *len, *value))
    }

    /// How many prefixes there are.
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// True when there is no prefix.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// True when [`publish`](Self::publish) needs no copy: nothing is to be published, or every worker has dropped the
    /// older table.
    pub fn ready(&self) -> bool {
        self.pending.is_empty()
            || self.spare.as_ref().is_none_or(|spare| Arc::strong_count(spare) == 1)
    }

    /// The table with all changes. The same `Arc` as before when there was none.
    pub fn publish(&mut self) -> Arc<Fib<A>> {
        self.retired.retain(|old| Arc::strong_count(old) > 1);
        if self.pending.is_empty() {
            return Arc::clone(&self.live);
        }
        let mut next = match self.spare.take() {
            Some(mut spare) => match Arc::get_mut(&mut spare) {
                Some(fib) => {
                    self.missed.iter().for_each(|op| fib.apply(op));
                    spare
                }
                None => {
                    self.retired.push(spare);
                    Arc::new(Fib::clone(&self.live))
                }
            },
            None => Arc::new(Fib::clone(&self.live)),
        };
        // It was made or found unshared just above, so this neither fails nor copies.
        let fib = Arc::make_mut(&mut next);
        self.pending.iter().for_each(|op| fib.apply(op));
        let old = std::mem::replace(&mut self.live, Arc::clone(&next));
        self.missed.clear();
        if self.pending.len() > 1024 + self.live.memory() / 4096 {
            // A copy of the whole will be cheaper than to repeat so many edits, and the list would be kept for long.
            self.retired.push(old);
            self.retired.retain(|old| Arc::strong_count(old) > 1);
            self.pending = Vec::new();
            self.missed = Vec::new();
        } else {
            self.spare = Some(old);
            std::mem::swap(&mut self.missed, &mut self.pending);
        }
        next
    }

    /// The longest prefix shorter than `len` that covers `prefix`: length and value.
    fn cover(&self, prefix: A, len: u8) -> Option<(u8, u32)> {
        (0..len).rev().find_map(|len| {
            if *self.lengths.get(usize::from(len))? == 0 {
                return None;
            }
            Some((len, self.get(prefix, len)?))
        })
    }
}

impl<A: Address> Debug for FibWriter<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FibWriter")
            .field("routes", &self.routes.len())
            .field("pending", &self.pending.len())
            .finish_non_exhaustive()
    }
}

impl<A: Address> Debug for Fib<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fib")
            .field("routes", &self.len())
            .field("bytes", &self.memory())
            .finish_non_exhaustive()
    }
}
