//! Things of a table by name, and by handle in the order in which they came, which is the order of listings.

use std::hash::Hash;

use crate::ids::Handle;

/// See the module's overview.
#[derive(Clone, Debug)]
pub struct Index<K: Eq + Hash + Clone, T: Copy> {
    by_name: imbl::HashMap<K, T>,
    by_handle: imbl::OrdMap<Handle, T>,
}

impl<K: Eq + Hash + Clone, T: Copy> Default for Index<K, T> {
    fn default() -> Self {
        Self { by_name: imbl::HashMap::new(), by_handle: imbl::OrdMap::new() }
    }
}

impl<K: Eq + Hash + Clone, T: Copy> Index<K, T> {
    /// The one of this name.
    pub fn named<Q>(&self, name: &Q) -> Option<T>
    where
        K: std::borrow::Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.by_name.get(name).copied()
    }

    /// The one of this handle.
    pub fn handle(&self, handle: Handle) -> Option<T> {
        self.by_handle.get(&handle).copied()
    }

    /// All, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = T> + '_ {
        self.by_handle.values().copied()
    }

    /// Those behind this handle, oldest first.
    pub fn after(&self, handle: Option<Handle>) -> impl Iterator<Item = (Handle, T)> + '_ {
        let from = handle.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        self.by_handle
            .range((from, std::ops::Bound::Unbounded))
            .map(|(handle, thing)| (*handle, *thing))
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.by_handle.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_handle.is_empty()
    }

    /// Puts one in.
    pub fn insert(&mut self, name: K, handle: Handle, thing: T) {
        self.by_name.insert(name, thing);
        self.by_handle.insert(handle, thing);
    }

    /// Takes one out.
    pub fn remove<Q>(&mut self, name: &Q, handle: Handle)
    where
        K: std::borrow::Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.by_name.remove(name);
        self.by_handle.remove(&handle);
    }
}
