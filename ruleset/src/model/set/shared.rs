//! What packets put into sets, as the nodes of a cluster tell each other of it.
//!
//! # Overview
//!
//! The control side of the owner asks its sets for [`Set::news`] now and then, and says what an element is *now* ([`Lifetime::tell`]): it
//! lives so long, or was deleted. That of a standby puts it in beside the workers, as a packet would ([`Set::hear`]). Each word has a
//! version, so it does not matter in which order words come, and whether they come twice. What an element counts or limits is each
//! node's own: it begins anew.
//!
//! # What is news
//!
//! An element that was never told; one that was deleted; one whose end is sooner than was told, or later by a quarter of its timeout: so a
//! set that every packet refreshes does not have to be told of with every packet. That an element is over by itself is no news, for it is so
//! elsewhere, too.
//!
//! # Who may touch what
//!
//! `told` is the teller's, `heard` the hearer's: one thread of the control side each. Workers read both.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::element::ENDED;
use super::{Extra, Key, Layout, Lifetime, Match, Set, SetFlags, Values};
use crate::data::Data;

/// Nanoseconds for which an element that was deleted is remembered: so that the teller comes by; and so that what was said of it before, and
/// comes late, does not bring it back.
const UNTOLD: u64 = 1_000_000_000;
const BURIED: u64 = 3_000_000_000;

/// Others were told of an element that this one took the place of.
const ANOTHER: u64 = u64::MAX;

/// What nodes said to each other of an element.
#[derive(Debug, Default)]
pub(super) struct Talk {
    /// The end ([`Lifetime::expires`]) that others were told of, plus one; 0: they were told nothing; [`ANOTHER`].
    told: AtomicU64,
    /// The version under which another node told of it; 0: none did.
    heard: AtomicU64,
}

/// What one node says of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// It lives.
    Lives {
        /// Nanoseconds that it lives for without a refresh; 0: for ever.
        timeout: u64,
        /// Nanoseconds that it has left, of those.
        left: u64,
    },
    /// It was deleted.
    Gone,
}

/// What became of what another node said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hearing {
    /// It is so here, too.
    Taken,
    /// Something newer was heard before.
    Stale,
    /// There is no room.
    Full,
    /// It is no element of such a set.
    Unfit,
}

/// Whether others who were told this ([`Talk::told`]) take an element for alive.
fn lives_elsewhere(told: u64, now: u64) -> bool {
    told == 1 || told > now + 1
}

impl Lifetime {
    /// Whether its end is far from what others were told; false where they were told nothing, for then they will be anyway.
    #[inline]
    pub(super) fn has_moved(&self) -> bool {
        let told = self.talk.told.load(Ordering::Relaxed);
        told != 0
            && self.expires().checked_sub(told - 1).is_none_or(|more| more >= self.timeout() / 4)
    }

    /// Whether others are to hear of it.
    pub(super) fn is_news(&self, now: u64) -> bool {
        let told = self.talk.told.load(Ordering::Relaxed);
        match self.expires() {
            expires if told == expires + 1 => false,
            ENDED => true,
            _ if self.is_over(now) => lives_elsewhere(told, now),
            expires => told <= 1 || expires == 0 || told <= now || self.has_moved(),
        }
    }

    /// What is to be said of it, which counts as said. `None`: it is over, as others know.
    pub fn tell(&self, now: u64) -> Option<Said> {
        let expires = self.expires();
        let told = self.talk.told.swap(expires + 1, Ordering::Relaxed);
        match expires {
            0 => Some(Said::Lives { timeout: 0, left: 0 }),
            ENDED => Some(Said::Gone),
            _ if expires <= now => lives_elsewhere(told, now).then_some(Said::Gone),
            _ => Some(Said::Lives { timeout: self.timeout(), left: expires - now }),
        }
    }

    /// It takes the place of another, of the same key.
    pub(super) fn succeed(&self, other: &Self) {
        if other.talk.told.load(Ordering::Relaxed) != 0 {
            self.talk.told.store(ANOTHER, Ordering::Relaxed);
        }
    }

    pub(super) fn untell(&self) {
        self.talk.told.store(0, Ordering::Relaxed);
    }

    /// The version under which another node told of it; 0: none did.
    pub(super) fn heard(&self) -> u64 {
        self.talk.heard.load(Ordering::Relaxed)
    }

    /// It is what another node said under this version.
    fn hear(&self, said: Said, version: u64, now: u64) {
        self.talk.heard.store(version, Ordering::Relaxed);
        match said {
            // No timeout, and over all the same: nothing else is so. See `is_remembered`.
            Said::Gone => {
                self.set_timeout(0);
                self.refresh(0, now);
            }
            Said::Lives { left: 0, .. } => self.set_timeout(0),
            Said::Lives { timeout, left } => {
                self.set_timeout(timeout.max(left));
                self.refresh(left, now);
            }
        }
    }

    /// Whether it stays though it is over, as what others do not know, or was heard to be gone. `told`: when others were told of anything
    /// last.
    pub(super) fn is_remembered(&self, told: u64, now: u64) -> bool {
        let is_grave = self.heard() != 0 && self.timeout() == 0;
        (told != 0 && now < told + UNTOLD && self.is_news(now))
            || (is_grave && now < self.expires().saturating_add(BURIED))
    }
}

impl Extra {
    /// Another node told of it, and it has no expressions: those that a rule gives to elements of this set are not known here before a
    /// packet comes by that rule.
    pub(super) fn is_bare(&self) -> bool {
        self.exprs.is_empty() && self.lifetime.heard() != 0
    }

    /// The same with the expressions of what a packet would put in, and as that node's own from now on.
    pub(super) fn completed(&self, fresh: Self) -> Self {
        let Self { data, object, lifetime, userdata, .. } = self;
        let own = Lifetime::default();
        own.set_timeout(lifetime.timeout());
        if lifetime.expires() != 0 {
            own.refresh(lifetime.expires(), 0);
        }
        own.talk.told.store(lifetime.talk.told.load(Ordering::Relaxed), Ordering::Relaxed);
        let (data, object, userdata) = (data.clone(), *object, userdata.clone());
        Self { data, object, lifetime: own, exprs: fresh.exprs, userdata }
    }

    /// A map's bytes.
    pub fn bytes(&self) -> &[u8] {
        self.data.as_ref().map_or(&[], Data::bytes)
    }
}

impl Set {
    /// The parts that [`Set::untell`] names, a bit each.
    pub const PARTS: u32 = u64::BITS;

    /// Whether packets put elements in.
    pub fn is_dynamic(&self) -> bool {
        self.spec.layout == Layout::Growing && self.dynamic.is_expecting() && !self.is_anonymous()
    }

    /// At most `most` elements that packets put in or deleted and that other nodes are to hear of. [`Lifetime::tell`] says what; until then
    /// they stay news.
    pub fn news(&self, now: u64, most: usize) -> Vec<(Key, Arc<Extra>)> {
        self.dynamic.news(now, most)
    }

    /// All elements of these parts are news, whatever was told of them.
    pub fn untell(&self, parts: u64) {
        self.dynamic.untell(parts);
    }

    /// Another node, on which packets fill this set, says this of a key. `version`: of two, the greater one is the later.
    pub fn hear(&self, key: &[u8], data: &[u8], said: Said, version: u64, now: u64) -> Hearing {
        if !self.is_dynamic() || !self.would_fit(key, data, said) {
            return Hearing::Unfit;
        }
        if let Some(kept) = self.kept(key, now) {
            return self.hear_of_kept(key, &Match::of(kept), said, version, now);
        }
        let limit = (self.size() as usize).saturating_sub(self.store.len());
        let live = |extra: &Extra| {
            let same = said == Said::Gone || extra.bytes() == data;
            if same {
                extra.lifetime.hear(said, version, now);
            }
            same
        };
        let make = || {
            let extra = Extra {
                data: (!data.is_empty()).then(|| Data::Value(data.into())),
                exprs: self.spec.fresh_exprs(),
                ..Extra::default()
            };
            extra.lifetime.hear(said, version, now);
            extra
        };
        self.dynamic.hear(key, (version, now), limit, live, make)
    }

    /// The same of a key that the control side keeps here.
    fn hear_of_kept(
        &self,
        key: &[u8],
        kept: &Match<'_>,
        said: Said,
        version: u64,
        now: u64,
    ) -> Hearing {
        let Match::Kept(Extra { lifetime, .. }) = kept else {
            if said == Said::Gone {
                self.end(key, now);
            }
            return Hearing::Taken;
        };
        if lifetime.heard() >= version {
            return Hearing::Stale;
        }
        lifetime.talk.heard.store(version, Ordering::Relaxed);
        match said {
            Said::Gone => self.end(key, now),
            Said::Lives { left, .. } if lifetime.timeout() != 0 && left != 0 => {
                lifetime.refresh(left, now);
            }
            Said::Lives { .. } => {}
        }
        Hearing::Taken
    }

    fn would_fit(&self, key: &[u8], data: &[u8], said: Said) -> bool {
        let data = match self.spec.values {
            _ if said == Said::Gone => true,
            Values::Bytes { len, .. } => data.len() == usize::from(len),
            _ => !self.spec.is_map() && data.is_empty(),
        };
        let timed = matches!(said, Said::Lives { left: 1.., .. });
        key.len() == usize::from(self.spec.key_len)
            && data
            && (!timed || self.flags().has(SetFlags::TIMEOUT))
    }
}

#[cfg(test)]
mod tests;
