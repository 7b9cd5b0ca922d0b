//! Elements that the control side put in, in the way that fits the set.

use super::element::{Element, Rest, is_over};
use super::exact::Exact;
use super::fields::Fields;
use super::ranges::Ranges;
use super::{Ask, Inserted, Key, Layout, Spec};

/// See the module's overview.
#[derive(Clone, Debug)]
pub(super) enum Store {
    Exact(Exact),
    Ranges(Ranges),
    Fields(Fields),
}

impl Store {
    pub(super) fn new(spec: &Spec) -> Self {
        match spec.layout {
            Layout::Fixed | Layout::Growing => Self::Exact(Exact::default()),
            // A bitmap's elements are listed in the order in which they came, and nft leaves it so for some types.
            Layout::Bitmap => Self::Fields(Fields::new(&[spec.key_len])),
            Layout::Ranges => Self::Ranges(Ranges::default()),
            Layout::Fields => Self::Fields(Fields::new(&spec.fields)),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Exact(exact) => exact.len(),
            Self::Ranges(ranges) => ranges.len(),
            Self::Fields(fields) => fields.len(),
        }
    }

    #[inline]
    pub(super) fn find(&self, key: &[u8], now: u64) -> Option<&Rest> {
        match self {
            Self::Exact(exact) => exact.find(key, now),
            Self::Ranges(ranges) => ranges.find(key, now),
            Self::Fields(fields) => fields.find(key, now),
        }
    }

    pub(super) fn get(&self, key: &[u8], closes: bool, now: u64) -> Option<Option<Element>> {
        match self {
            Self::Exact(exact) => exact.get(key, now).map(Some),
            Self::Ranges(ranges) => ranges.get(key, closes, now),
            Self::Fields(fields) => fields.get(key, now).map(Some),
        }
    }

    pub(super) fn insert(
        &mut self,
        key: Key,
        end: Option<Key>,
        closes: bool,
        rest: Rest,
        ask: &mut Ask<'_>,
    ) -> Inserted {
        match self {
            Self::Exact(exact) => exact.insert(key, rest, ask.now),
            Self::Ranges(ranges) => ranges.insert(&key, closes, rest, ask),
            Self::Fields(fields) => fields.insert(key, end, rest, ask.now),
        }
    }

    pub(super) fn remove(
        &mut self,
        key: &[u8],
        closes: bool,
        ask: &mut Ask<'_>,
    ) -> Option<Element> {
        match self {
            Self::Exact(exact) => {
                exact.find(key, ask.now)?;
                exact.remove(key)
            }
            Self::Ranges(ranges) => ranges.remove(key, closes, ask),
            Self::Fields(fields) => fields.remove(key, ask.now),
        }
    }

    pub(super) fn into_elements(self) -> Box<dyn Iterator<Item = Element> + Send> {
        match self {
            Self::Exact(exact) => Box::new(exact.into_elements()),
            Self::Ranges(ranges) => Box::new(ranges.into_elements()),
            Self::Fields(fields) => Box::new(fields.into_elements()),
        }
    }

    /// What is kept for each element.
    pub(super) fn each(&self, each: &mut dyn FnMut(&Rest)) {
        match self {
            Self::Exact(exact) => exact.iter().for_each(|(_, rest)| each(rest)),
            Self::Ranges(ranges) => ranges.iter().for_each(|(_, rest)| each(rest)),
            Self::Fields(fields) => fields.iter().for_each(each),
        }
    }

    /// Takes out what is over.
    pub(super) fn collect(&mut self, now: u64) -> Vec<Element> {
        match self {
            Self::Exact(exact) => {
                let over = exact.iter().filter(|(_, rest)| is_over(rest, now));
                let over: Vec<Key> = over.map(|(key, _)| key.clone()).collect();
                over.iter().filter_map(|key| exact.remove(key.bytes())).collect()
            }
            Self::Ranges(ranges) => {
                let over = ranges.iter().filter(|(_, rest)| is_over(rest, now));
                let over: Vec<Key> = over.map(|(key, _)| key).collect();
                over.iter().flat_map(|key| ranges.collect(key.bytes())).collect()
            }
            Self::Fields(fields) => fields.collect(now),
        }
    }
}
