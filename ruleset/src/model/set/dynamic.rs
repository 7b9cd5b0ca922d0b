//! Elements that packets put in.
//!
//! # Who may touch what
//!
//! Workers and the control side alike, each shard under its lock. What the control side puts in is kept in the persistent part
//! of the set, which comes first where a key is in both. A batch changes nothing here before it is committed: what it deletes it
//! ends ([`Lifetime::end`](super::Lifetime::end)) when it is committed, and a flush gives the set a new part.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
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
    /// A packet has deleted an element that the control side keeps.
    ended: AtomicBool,
    /// Not swept again before this, in nanoseconds since the daemon's start; the control side's alone.
    rests_until: AtomicU64,
    /// There are graves, see [`Self::bury`].
    graves: AtomicBool,
    /// Elements that fit, where the set itself does not say; written when a rule that puts elements in is made.
    limit: AtomicU32,
    /// There was a rule that puts elements in or takes them out; written likewise.
    expecting: AtomicBool,
}

impl Dynamic {
    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    pub(super) fn is_expecting(&self) -> bool {
        self.expecting.load(Ordering::Relaxed)
    }

    pub(super) fn expect(&self) {
        self.expecting.store(true, Ordering::Relaxed);
    }

    pub(super) fn set_limit(&self, limit: u32) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Notes that a packet has deleted an element that the control side keeps.
    pub(super) fn note_end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    /// Whether a packet has done so since this was asked last.
    pub(super) fn take_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed) && self.ended.swap(false, Ordering::Relaxed)
    }

    /// Whether there is something to sweep, and time to.
    pub(super) fn is_due(&self, now: u64) -> bool {
        self.ended.load(Ordering::Relaxed)
            || (self.len() > 0 && now >= self.rests_until.load(Ordering::Relaxed))
    }

    fn made(&self) -> &[Shard] {
        self.shards.get_or_init(|| {
            let shard = || Mutex::new(HashMap::with_hasher(RandomState::new()));
            (0..SHARDS).map(|_| shard()).collect()
        })
    }

    /// Notes that a packet has deleted an element that the control side put in and keeps nothing for: what lies here for its key
    /// is over, and hides it until it is collected. There are never more graves than elements.
    pub(super) fn bury(&self, key: &[u8]) {
        self.made();
        let Some(shard) = self.shard(key) else { return };
        let mut shard = shard.lock();
        match shard.get(key) {
            Some(extra) => extra.lifetime.end(),
            None => {
                let grave = Arc::new(Extra::default());
                grave.lifetime.end();
                shard.insert(Key::new(key), grave);
                self.len.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.graves.store(true, Ordering::Relaxed);
    }

    /// Whether an element that nothing is kept for was deleted by a packet.
    #[inline]
    pub(super) fn is_buried(&self, key: &[u8], now: u64) -> bool {
        self.graves.load(Ordering::Relaxed) && self.is_over(key, now)
    }

    /// Whether what lies here for a key is over.
    pub(super) fn is_over(&self, key: &[u8], now: u64) -> bool {
        let over =
            |shard: &Shard| shard.lock().get(key).is_some_and(|extra| extra.lifetime.is_over(now));
        self.len() > 0 && self.shard(key).is_some_and(over)
    }

    /// The graves, which go with this.
    pub(super) fn take_graves(&self, now: u64) -> Vec<Key> {
        let mut graves = Vec::new();
        if self.graves.load(Ordering::Relaxed) && self.graves.swap(false, Ordering::Relaxed) {
            self.retain(|key, extra| {
                let over = extra.lifetime.is_over(now);
                graves.extend(over.then(|| key.clone()));
                !over
            });
        }
        graves
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
        self.made();
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

    /// Drops what is over or idle and what `keep` does not hold for, then rests for a time that grows with the number of elements.
    pub(super) fn sweep(&self, now: u64, keep: impl Fn(&Key) -> bool) {
        self.retain(|key, extra| {
            let idle = extra.exprs.iter().any(|expr| expr.is_idle());
            !extra.lifetime.is_over(now) && !idle && keep(key)
        });
        self.rests_until.store(now + super::pause(self.len()), Ordering::Relaxed);
    }

    fn retain(&self, mut keep: impl FnMut(&Key, &Extra) -> bool) {
        let mut gone = 0;
        for shard in self.shards.get().into_iter().flatten() {
            let mut shard = shard.lock();
            let before = shard.len();
            shard.retain(|key, extra| keep(key, extra));
            gone += before - shard.len();
        }
        self.len.fetch_sub(gone, Ordering::Relaxed);
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
