//! Elements that packets put in.
//!
//! # Who may touch what
//!
//! Workers and the control side alike, each shard under its lock. What the control side puts in is kept in the persistent part
//! of the set, which comes first where a key is in both. A batch changes nothing here before it is committed: what it deletes it
//! ends ([`Lifetime::end`](super::Lifetime::end)) when it is committed, and a flush gives the set a new part.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use ahash::RandomState;
use parking_lot::Mutex;

use super::{Extra, Key};

/// Shards: workers that put elements in seldom meet.
const SHARDS: usize = 64;

type Shard = Mutex<HashMap<Key, Arc<Extra>, RandomState>>;

/// See the module's overview.
#[derive(Debug, Default)]
pub(super) struct Dynamic {
    /// Made with the first element.
    shards: OnceLock<Box<[Shard]>>,
    hasher: RandomState,
    /// Elements in all shards.
    len: AtomicUsize,
    /// Elements that fit, where the set itself does not say; written when a rule that puts elements in is made.
    limit: AtomicU32,
}

impl Dynamic {
    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    pub(super) fn set_limit(&self, limit: u32) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    fn shard(&self, key: &[u8]) -> Option<&Shard> {
        self.shards.get()?.get(self.hasher.hash_one(key) as usize % SHARDS)
    }

    /// The element of this key that is not over.
    pub(super) fn find(&self, key: &[u8], now: u64) -> Option<Arc<Extra>> {
        if self.len() == 0 {
            return None;
        }
        let shard = self.shard(key)?.lock();
        shard.get(key).filter(|extra| !extra.lifetime.is_over(now)).cloned()
    }

    /// The element of this key, or the one that `make` makes where there is none and fewer than `limit` elements.
    pub(super) fn find_or_insert(
        &self,
        key: &[u8],
        now: u64,
        limit: usize,
        make: impl FnOnce() -> Extra,
    ) -> Option<Arc<Extra>> {
        self.shards.get_or_init(|| {
            let shard = || Mutex::new(HashMap::with_hasher(RandomState::new()));
            (0..SHARDS).map(|_| shard()).collect()
        });
        let mut shard = self.shard(key)?.lock();
        if let Some(extra) = shard.get_mut(key) {
            if extra.lifetime.is_over(now) {
                *extra = Arc::new(make());
            }
            return Some(extra.clone());
        }
        let room = |len: usize| (len < limit).then_some(len + 1);
        self.len.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).ok()?;
        let extra = Arc::new(make());
        shard.insert(Key::new(key), extra.clone());
        Some(extra)
    }

    /// Drops all for which `keep` does not hold. True where something went.
    pub(super) fn retain(&self, mut keep: impl FnMut(&Key, &Extra) -> bool) -> bool {
        let mut gone = 0;
        for shard in self.shards.get().into_iter().flatten() {
            let mut shard = shard.lock();
            let before = shard.len();
            shard.retain(|key, extra| keep(key, extra));
            gone += before - shard.len();
        }
        self.len.fetch_sub(gone, Ordering::Relaxed);
        gone > 0
    }

    /// All that are not over.
    pub(super) fn all(&self, now: u64) -> Vec<(Key, Arc<Extra>)> {
        let mut all = Vec::with_capacity(self.len());
        for shard in self.shards.get().into_iter().flatten() {
            let shard = shard.lock();
            let live = shard.iter().filter(|(_, extra)| !extra.lifetime.is_over(now));
            all.extend(live.map(|(key, extra)| (key.clone(), extra.clone())));
        }
        all
    }
}
