//! Elements by their key, each alone.

use super::element::{Element, Rest, is_over};
use super::table::Table;
use super::{Inserted, Key};

/// See the module's overview.
#[derive(Clone, Debug, Default)]
pub(super) struct Exact {
    elements: Table<Rest>,
}

impl Exact {
    pub(super) fn len(&self) -> usize {
        self.elements.len()
    }

    #[inline]
    pub(super) fn find(&self, key: &[u8], now: u64) -> Option<&Rest> {
        self.elements.get(key).filter(|rest| !is_over(rest, now))
    }

    /// The element of this key, where it is not over.
    pub(super) fn get(&self, key: &[u8], now: u64) -> Option<Element> {
        let (key, rest) =
            self.elements.get_key_value(key).filter(|(_, rest)| !is_over(rest, now))?;
        Some(element(key.clone(), rest.clone()))
    }

    pub(super) fn insert(&mut self, key: Key, rest: Rest, now: u64) -> Inserted {
        let old = self.elements.get(key.bytes());
        if let Some(old) = old.filter(|old| !is_over(old, now)) {
            return Inserted::Same(old.clone());
        }
        let old = self.elements.insert(key.clone(), rest);
        Inserted::New { replaced: old.map(|old| element(key, old)).into_iter().collect() }
    }

    /// Takes the element of this key out, over or not.
    pub(super) fn remove(&mut self, key: &[u8]) -> Option<Element> {
        let (key, rest) = self.elements.remove(key)?;
        Some(element(key, rest))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, &Rest)> {
        self.elements.iter()
    }

    pub(super) fn into_elements(self) -> impl Iterator<Item = Element> + Send {
        self.elements.into_elements().map(|(key, rest)| element(key, rest))
    }
}

fn element(key: Key, rest: Rest) -> Element {
    Element { key: Some(key), end: None, closes: false, rest }
}
