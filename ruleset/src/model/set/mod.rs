//! A set, a map or a verdict map.
//!
//! # Overview
//!
//! What the control side puts in is kept in a persistent [`Store`] like everything else in the state: a clone is free, a lookup
//! takes no lock. What packets put in lies beside it, shared by all snapshots ([`dynamic`]). An element is a [`Key`] and
//! what is kept for it ([`Extra`]): nothing for most.
//!
//! # Life cycle
//!
//! An element that is over is neither found nor listed; [`Set::collect`] takes it out, now and then.
//!
//! # Who may touch what
//!
//! The control side owns sets. Workers read them, refresh and end elements by atomics, and put elements into the dynamic part.

use std::sync::Arc;

use crate::ids::{ChainId, Handle, SetId};

use super::{Name, TableKey, Userdata};

mod dynamic;
mod element;
mod exact;
mod fields;
mod key;
mod ranges;
mod shared;
mod sorted;
mod spec;
mod store;
mod table;
#[cfg(test)]
mod tests;

pub use element::{Element, Extra, Lifetime, Match, Rest};
pub use key::Key;
pub use ranges::Course;
pub use shared::{Hearing, Said};
pub use spec::{Layout, SetFlags, SharedSpec, Spec, Tuning, Values, same_kinds};

use dynamic::Dynamic;
use store::Store;

/// Elements that fit into a set without a size that rules put elements into (`nft_dynset_init`).
const DYNAMIC_SIZE: u32 = 0xffff;

/// A set: keys, with values where it is a map.
#[derive(Clone, Debug)]
pub struct Set {
    /// Its slot.
    pub id: SetId,
    /// Its table.
    pub table: Arc<TableKey>,
    /// Its name.
    pub name: Name,
    /// Its handle in the table.
    pub handle: Handle,
    /// What it is.
    pub spec: SharedSpec,
    /// What an update may change.
    pub tuning: Tuning,
    /// Rules that use it.
    pub uses: u32,
    /// Chains that its elements lead to, with how many do (verdict maps).
    pub jumps: imbl::OrdMap<ChainId, u32>,
    /// The program's own.
    pub userdata: Option<Userdata>,
    /// What stands for all keys that nothing else stands for.
    catchall: Option<Rest>,
    store: Store,
    dynamic: Arc<Dynamic>,
    /// No element is over before this.
    calm_until: u64,
}

/// Nanoseconds between two looks at so many elements: about a hundredth of the time goes into looking.
fn pause(elements: usize) -> u64 {
    1_000_000_000 / 2 + 5_000 * elements as u64
}

/// What came of putting an element in.
#[derive(Debug)]
pub enum Inserted {
    /// It is in.
    New {
        /// What was there and is over.
        replaced: Vec<Element>,
    },
    /// It was there, with this.
    Same(Rest),
    /// It says that nothing begins at zero, as another did before.
    Nothing,
    /// It would overlap with another.
    Overlaps,
    /// It is no range: it ends before it begins.
    Invalid,
    /// The set is full.
    Full,
}

/// A request to put an element in or to take one out, beside the element.
#[derive(Debug)]
pub struct Ask<'c> {
    /// Nanoseconds since the daemon's start.
    pub now: u64,
    /// Never mind what a packet has put in for this key.
    pub hidden: bool,
    /// Ranges may follow one another with nothing to close the first, as in anonymous sets; set by the set itself.
    pub loose: bool,
    /// What the batch did to the set before.
    pub course: &'c mut Course,
}

/// What makes a [`Set`].
#[derive(Clone, Debug)]
pub struct NewSet {
    /// Its table.
    pub table: Arc<TableKey>,
    /// Its name.
    pub name: Name,
    /// Its handle in the table.
    pub handle: Handle,
    /// What it is.
    pub spec: SharedSpec,
    /// What an update may change.
    pub tuning: Tuning,
    /// The program's own.
    pub userdata: Option<Userdata>,
}

impl Set {
    /// An empty set.
    pub fn new(id: SetId, new: NewSet) -> Self {
        let NewSet { table, name, handle, spec, tuning, userdata } = new;
        Self {
            id,
            table,
            name,
            handle,
            store: Store::new(&spec),
            spec,
            tuning,
            uses: 0,
            jumps: imbl::OrdMap::new(),
            userdata,
            catchall: None,
            dynamic: Arc::default(),
            calm_until: u64::MAX,
        }
    }

    /// Its flags.
    pub fn flags(&self) -> SetFlags {
        self.spec.flags
    }

    /// Whether it goes with the rule that uses it.
    pub fn is_anonymous(&self) -> bool {
        self.flags().has(SetFlags::ANONYMOUS)
    }

    /// Elements that fit; 0: any number.
    pub fn size(&self) -> u32 {
        if self.tuning.size == 0 { self.dynamic.limit() } else { self.tuning.size }
    }

    /// Elements, as the kernel counts them: without the one for all others, with those that are over and not collected yet.
    pub fn len(&self) -> usize {
        match self.spec.layout {
            Layout::Ranges => self.store.len() / 2,
            _ => self.store.len() + self.dynamic.len(),
        }
    }

    /// Whether it has no element that [`Self::len`] counts.
    pub fn is_empty(&self) -> bool {
        self.store.len() + self.dynamic.len() == 0
    }

    /// What a packet with this key finds.
    #[inline]
    pub fn find(&self, key: &[u8], now: u64) -> Option<Match<'_>> {
        if let Some(rest) = self.kept(key, now) {
            return Some(Match::of(rest));
        }
        if let Some(extra) = self.dynamic.find(key, now) {
            return Some(Match::Shared(extra));
        }
        let rest = self.catchall.as_ref().filter(|rest| !element::is_over(rest, now))?;
        Some(Match::of(rest))
    }

    /// What a packet with this key finds, where none is there once it has put in what `make` makes. `None` where the set is
    /// full.
    pub fn find_or_insert(
        &self,
        key: &[u8],
        now: u64,
        make: impl FnOnce() -> Extra,
    ) -> Option<Match<'_>> {
        if let Some(rest) = self.kept(key, now) {
            return Some(Match::of(rest));
        }
        let limit = (self.size() as usize).saturating_sub(self.store.len());
        self.dynamic.find_or_insert(key, now, limit, make).map(Match::Shared)
    }

    /// Gives an element that a packet found, where it has a timeout at all, `left` nanoseconds.
    pub(crate) fn refresh(&self, key: &[u8], found: &Match<'_>, left: u64, now: u64) {
        if found.refresh(left, now) {
            self.dynamic.touch(key);
        }
    }

    /// What the control side keeps for this key, unless a packet has deleted it.
    #[inline]
    fn kept(&self, key: &[u8], now: u64) -> Option<&Rest> {
        let rest = self.store.find(key, now)?;
        (rest.is_some() || !self.dynamic.is_buried(key, now)).then_some(rest)
    }

    /// Deletes the element of this key, for a packet.
    pub fn end(&self, key: &[u8], now: u64) {
        match self.kept(key, now) {
            Some(Some(extra)) => {
                extra.lifetime.end();
                self.dynamic.note_end();
                if self.dynamic.is_told() {
                    self.dynamic.bury(key);
                }
            }
            Some(None) => self.dynamic.bury(key),
            None => {
                if let Some(extra) = self.dynamic.find(key, now) {
                    extra.lifetime.end();
                    self.dynamic.touch(key);
                }
            }
        }
    }

    /// Says that rules put elements in: where the set has no size it gets one.
    pub fn expect_packets(&self) {
        self.dynamic.expect();
        if self.size() == 0 {
            self.dynamic.set_limit(DYNAMIC_SIZE);
        }
    }

    /// Whether only the control side changes it: nothing in it ends by itself, and no rule puts elements in or takes them out.
    pub fn is_constant(&self) -> bool {
        !self.keeps_all() && !self.dynamic.is_expecting()
    }

    /// Whether something is kept for all elements, their lifetime at least, so that a packet can refresh and delete them.
    pub fn keeps_all(&self) -> bool {
        self.flags().has(SetFlags::EVAL | SetFlags::TIMEOUT)
    }
}

/// The control side.
impl Set {
    /// Puts an element in.
    pub fn insert(&mut self, element: Element, ask: &mut Ask<'_>) -> Inserted {
        let now = ask.now;
        if let Some(extra) = &element.rest
            && extra.lifetime.expires() != 0
        {
            self.calm_until = self.calm_until.min(extra.lifetime.expires());
        }
        let Element { key, end, closes, rest } = element;
        let Some(key) = key else {
            return match &self.catchall {
                Some(old) if !element::is_over(old, now) => Inserted::Same(old.clone()),
                _ => {
                    let old = self.catchall.replace(rest);
                    let old = old.map(|rest| Element { key: None, end: None, closes: false, rest });
                    Inserted::New { replaced: old.into_iter().collect() }
                }
            };
        };
        if !ask.hidden
            && let Store::Exact(_) = self.store
            && let Some(extra) = self.dynamic.find(key.bytes(), now)
        {
            return Inserted::Same(Some(extra));
        }
        ask.loose = self.is_anonymous();
        let rest =
            if self.unearth(key.bytes(), ask) { Some(rest.unwrap_or_default()) } else { rest };
        let inserted = self.store.insert(key, end, closes, rest, ask);
        match inserted {
            // The batch ends here, and the set with it.
            Inserted::New { .. } if self.is_over_full() => Inserted::Full,
            inserted => inserted,
        }
    }

    /// Takes out what a packet has deleted. True where what takes its place must have something to it: what lies in the dynamic
    /// part for the key is over, or will be with the batch, and must not be taken for its grave.
    fn unearth(&mut self, key: &[u8], ask: &Ask<'_>) -> bool {
        let Store::Exact(exact) = &mut self.store else { return false };
        if matches!(exact.find(key, ask.now), Some(None)) && self.dynamic.is_buried(key, ask.now) {
            exact.remove(key);
        }
        ask.hidden || self.dynamic.is_over(key, ask.now)
    }

    fn is_over_full(&self) -> bool {
        let size = self.size() as usize;
        if size == 0 {
            return false;
        }
        match &self.store {
            // A range is two points; the one that says that nothing begins at zero is for free.
            Store::Ranges(ranges) => ranges.len() > 2 * size + usize::from(ranges.starts_closed()),
            _ => self.store.len() + self.dynamic.len() > size,
        }
    }

    /// Takes out the element that a request of this key names.
    pub fn remove(
        &mut self,
        key: Option<&[u8]>,
        closes: bool,
        ask: &mut Ask<'_>,
    ) -> Option<Removed> {
        let Some(key) = key else {
            let rest = self.catchall.take()?;
            let element = Element { key: None, end: None, closes: false, rest };
            return Some(Removed { kept: Some(element), shared: None });
        };
        self.unearth(key, ask);
        let kept = self.store.remove(key, closes, ask);
        let shared = self.dynamic.find(key, ask.now).filter(|_| !ask.hidden);
        (kept.is_some() || shared.is_some()).then_some(Removed { kept, shared })
    }

    /// Ends what a packet had put in ([`Removed::shared`]), when it is run.
    pub fn end_later(&self, key: Key, shared: Arc<Extra>) -> impl FnOnce() + Send + use<> {
        let dynamic = self.dynamic.clone();
        move || {
            shared.lifetime.end();
            dynamic.touch(key.bytes());
        }
    }

    /// The element that a request of this key names. `Some(None)` for the end of a range that has none.
    pub fn get(&self, key: Option<&[u8]>, closes: bool, now: u64) -> Option<Option<Element>> {
        let Some(key) = key else {
            let rest = self.catchall.clone().filter(|rest| !element::is_over(rest, now))?;
            return Some(Some(Element { key: None, end: None, closes: false, rest }));
        };
        let kept = self.store.get(key, closes, now);
        let kept = kept
            .filter(|_| !matches!(self.store, Store::Exact(_)) || self.kept(key, now).is_some());
        kept.or_else(|| {
            let rest = Some(self.dynamic.find(key, now)?);
            Some(Some(Element { key: Some(Key::new(key)), end: None, closes: false, rest }))
        })
    }

    /// All elements that are not over, in the order in which the kernel lists them where that can be told; the one for all
    /// others last.
    pub fn elements(&self, now: u64) -> impl Iterator<Item = Element> + Send + use<> {
        let shared = self.dynamic.all(now).into_iter();
        let shared = shared.map(|(key, extra)| Element {
            key: Some(key),
            end: None,
            closes: false,
            rest: Some(extra),
        });
        let store = self.store.clone();
        let shared = shared.filter(move |element| {
            element.key.as_ref().is_none_or(|key| store.find(key.bytes(), now).is_none())
        });
        let dynamic = self.dynamic.clone();
        let kept = self.store.clone().into_elements();
        let kept = kept.filter(move |element| {
            let buried = |key: &Key| dynamic.is_buried(key.bytes(), now);
            element.rest.is_some() || !element.key.as_ref().is_some_and(buried)
        });
        let catchall = self.catchall.clone();
        let catchall = catchall.map(|rest| Element { key: None, end: None, closes: false, rest });
        kept.chain(shared)
            .chain(catchall)
            .filter(move |element| !element::is_over(&element.rest, now))
    }

    /// Takes all elements out.
    pub fn flush(&mut self) {
        let (limit, expecting) = (self.dynamic.limit(), self.dynamic.is_expecting());
        self.store = Store::new(&self.spec);
        self.catchall = None;
        self.dynamic = Arc::default();
        self.dynamic.set_limit(limit);
        if expecting {
            self.dynamic.expect();
        }
        self.calm_until = u64::MAX;
    }

    /// Takes out what is over: the elements that the control side had put in, so that what they point at can be let go.
    pub fn collect(&mut self, now: u64) -> Vec<Element> {
        let graves = self.dynamic.take_graves(now);
        let buried = graves.iter().filter_map(|key| match &mut self.store {
            Store::Exact(exact) if matches!(exact.find(key.bytes(), now), Some(None)) => {
                exact.remove(key.bytes())
            }
            _ => None,
        });
        let buried: Vec<Element> = buried.collect();
        let ended = self.dynamic.take_ended();
        if self.dynamic.is_due(now) {
            let store = &self.store;
            self.dynamic.sweep(now, |key| store.find(key.bytes(), now).is_none());
        }
        if now < self.calm_until && !ended {
            return buried;
        }
        let mut over = self.store.collect(now);
        over.extend(buried);
        if self.catchall.as_ref().is_some_and(|rest| element::is_over(rest, now)) {
            let rest = self.catchall.take().flatten();
            over.push(Element { key: None, end: None, closes: false, rest });
        }
        self.calm_until = self.soonest().max(now + pause(self.store.len()));
        over
    }

    /// Whether [`Self::collect`] would have something to look for.
    pub fn is_due(&self, now: u64) -> bool {
        now >= self.calm_until || self.dynamic.is_due(now)
    }

    /// Says that an element may be over from then on.
    pub fn expect_end(&mut self, at: u64) {
        self.calm_until = self.calm_until.min(at);
    }

    /// When the first element is over.
    fn soonest(&self) -> u64 {
        let mut soonest = u64::MAX;
        let mut each = |rest: &Rest| {
            let expires = rest.as_ref().map_or(0, |extra| extra.lifetime.expires());
            if expires != 0 {
                soonest = soonest.min(expires);
            }
        };
        self.store.each(&mut each);
        self.catchall.iter().for_each(each);
        soonest
    }
}

/// An element that was taken out. Where a packet put one in just as the control side did, it was there twice.
#[derive(Debug)]
pub struct Removed {
    /// The one that the control side had put in: it is out.
    pub kept: Option<Element>,
    /// The one that a packet had put in: its lifetime must be ended once the batch is committed.
    pub shared: Option<Arc<Extra>>,
}
