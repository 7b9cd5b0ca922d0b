//! Elements that packets put in.
//!
//! # Who may touch what
//!
//! Workers and the control side alike, each shard under its lock. What the control side puts in is kept in the persistent part
//! of the set, which comes first where a key is in both. A batch changes nothing here before it is committed: what it deletes it
//! ends ([`Lifetime::end`](super::Lifetime::end)) when it is committed, and a flush gives the set a new part.
//!
//! # Other nodes
//!
//! Whoever changes something that other nodes of a cluster are to hear of marks its shard (`touched`); [`Dynamic::news`] looks at marked
//! shards only. So nothing is looked at where nothing changed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use ahash::RandomState;
use parking_lot::Mutex;

use super::shared::Hearing;
use super::{Extra, Key};

/// Shards: workers that put elements in seldom meet. A bit each in [`Dynamic::touched`].
const SHARDS: usize = u64::BITS as usize;

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
    /// Shards with something that other nodes may not know, a bit each: set by whoever changes it, taken by who tells.
    touched: AtomicU64,
    /// When other nodes were told last; 0: never. The teller's alone.
    told: AtomicU64,
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

    /// Notes that a packet has deleted an element that the control side put in: what lies here for its key is over. Where nothing is kept
    /// for the element, that hides it until it is collected; and other nodes hear of it. There are never more graves than elements.
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
        drop(shard);
        self.graves.store(true, Ordering::Relaxed);
        self.touch(key);
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
                !over || self.remembers(extra, now)
            });
        }
        graves
    }

    /// Whether what is over stays, for what other nodes are to hear of it, or said of it.
    fn remembers(&self, extra: &Extra, now: u64) -> bool {
        extra.lifetime.is_remembered(self.told.load(Ordering::Relaxed), now)
    }

    fn index(&self, key: &[u8]) -> usize {
        self.hasher.hash_one(key) as usize % SHARDS
    }

    fn shard(&self, key: &[u8]) -> Option<&Shard> {
        self.shards.get()?.get(self.index(key))
    }

    /// Whether other nodes are told at all.
    pub(super) fn is_told(&self) -> bool {
        self.told.load(Ordering::Relaxed) != 0
    }

    /// Other nodes are to hear of what changed at this key.
    pub(super) fn touch(&self, key: &[u8]) {
        self.mark(1 << self.index(key));
    }

    /// The same for shards. Most are marked already: then nothing is written that other workers read.
    fn mark(&self, shards: u64) {
        if self.touched.load(Ordering::Relaxed) & shards != shards {
            self.touched.fetch_or(shards, Ordering::Relaxed);
        }
    }

    /// The element of this key that is not over.
    pub(super) fn find(&self, key: &[u8], now: u64) -> Option<Arc<Extra>> {
        if self.len() == 0 {
            return None;
        }
        let shard = self.shard(key)?.lock();
        shard.get(key).filter(|extra| !extra.lifetime.is_over(now)).cloned()
    }

    /// The element of this key, or the one that `make` makes where there is none and fewer than `limit` elements. What came from
    /// another node without expressions gets those of `make`.
    pub(super) fn find_or_insert(
        &self,
        key: &[u8],
        now: u64,
        limit: usize,
        make: impl FnOnce() -> Extra,
    ) -> Option<Arc<Extra>> {
        let index = self.index(key);
        let mut shard = self.made().get(index)?.lock();
        if let Some(extra) = shard.get_mut(key) {
            if extra.lifetime.is_over(now) {
                let fresh = make();
                fresh.lifetime.succeed(&extra.lifetime);
                *extra = Arc::new(fresh);
                self.mark(1 << index);
            } else if extra.is_bare() {
                *extra = Arc::new(extra.completed(make()));
            }
            return Some(extra.clone());
        }
        self.take_room(limit)?;
        let extra = Arc::new(make());
        shard.insert(Key::new(key), extra.clone());
        self.mark(1 << index);
        Some(extra)
    }

    /// One element more; `None`: there are `limit` of them.
    fn take_room(&self, limit: usize) -> Option<()> {
        let room = |len: usize| (len < limit).then_some(len + 1);
        self.len.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).ok().map(drop)
    }

    /// Another node told of this key, under a version: what is there, if it lives, is to be `live`, or the element is what `make` makes. An
    /// element that is over is as good as any for what is gone.
    pub(super) fn hear(
        &self,
        key: &[u8],
        (version, now): (u64, u64),
        limit: usize,
        live: impl FnOnce(&Extra) -> bool,
        make: impl FnOnce() -> Extra,
    ) -> Hearing {
        self.made();
        let Some(shard) = self.shard(key) else { return Hearing::Unfit };
        let mut shard = shard.lock();
        if let Some(extra) = shard.get_mut(key) {
            if extra.lifetime.heard() >= version {
                return Hearing::Stale;
            }
            if extra.lifetime.is_over(now) || !live(extra) {
                *extra = Arc::new(make());
            }
        } else if self.take_room(limit).is_some() {
            shard.insert(Key::new(key), Arc::new(make()));
        } else {
            return Hearing::Full;
        }
        Hearing::Taken
    }

    #[cfg(test)]
    pub(super) fn touched(&self) -> u64 {
        self.touched.load(Ordering::Relaxed)
    }

    /// At most `most` elements of which other nodes do not know all.
    pub(super) fn news(&self, now: u64, most: usize) -> Vec<(Key, Arc<Extra>)> {
        self.told.store(now, Ordering::Relaxed);
        let mut news = Vec::new();
        if self.touched.load(Ordering::Relaxed) == 0 {
            return news;
        }
        let mut touched = self.touched.swap(0, Ordering::Relaxed);
        let Some(shards) = self.shards.get() else { return news };
        // Another one first each time: where there is always more than is taken, none waits for ever.
        let first = now as usize / 1024 % SHARDS;
        for index in (first..SHARDS).chain(0..first) {
            let Some(shard) = shards.get(index).filter(|_| touched & 1 << index != 0) else {
                continue;
            };
            let shard = shard.lock();
            let mut found = shard.iter().filter(|(_, extra)| extra.lifetime.is_news(now));
            news.extend(
                found
                    .by_ref()
                    .take(most - news.len())
                    .map(|(key, extra)| (key.clone(), extra.clone())),
            );
            if news.len() == most {
                break;
            }
            touched &= !(1 << index);
        }
        // What was not reached.
        self.mark(touched);
        news
    }

    /// Other nodes are to hear of all in these shards, a bit each, whatever they were told.
    pub(super) fn untell(&self, shards: u64) {
        for (index, shard) in self.shards.get().into_iter().flatten().enumerate() {
            if shards & 1 << index != 0 {
                shard.lock().values().for_each(|extra| extra.lifetime.untell());
            }
        }
        self.mark(shards);
    }

    /// Drops what is over or idle and what `keep` does not hold for, then rests for a time that grows with the number of elements.
    pub(super) fn sweep(&self, now: u64, keep: impl Fn(&Key) -> bool) {
        self.retain(|key, extra| {
            if extra.lifetime.is_over(now) {
                return self.remembers(extra, now);
            }
            !extra.exprs.iter().any(|expr| expr.is_idle()) && keep(key)
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
