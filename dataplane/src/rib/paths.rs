//! The distinct things that routes stand for, each kept once however many prefixes use it.

use std::collections::HashMap;

use ahash::RandomState;

use super::{NextHop, RouteKind};

/// Index of a path: what the FIB stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PathId(pub(super) u32);

/// What a route says beside its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PathSpec {
    pub(super) kind: RouteKind,
    /// Sorted, so that equal sets are equal.
    pub(super) hops: Vec<NextHop>,
    pub(super) mtu: Option<u32>,
}

impl PathSpec {
    pub(super) fn new(kind: RouteKind, mut hops: Vec<NextHop>, mtu: Option<u32>) -> Self {
        hops.sort_unstable();
        Self { kind, hops, mtu }
    }

    /// Stands at an index that no route uses.
    fn unused() -> Self {
        Self { kind: RouteKind::Blackhole, hops: Vec::new(), mtu: None }
    }
}

/// A slab of paths with the number of routes that use each.
#[derive(Default)]
pub(super) struct Paths {
    slab: Vec<(PathSpec, u32)>,
    free: Vec<PathId>,
    ids: HashMap<PathSpec, PathId, RandomState>,
}

impl Paths {
    /// The path's index, with one user more.
    pub(super) fn acquire(&mut self, spec: PathSpec) -> PathId {
        if let Some(id) = self.ids.get(&spec)
            && let Some((_, users)) = self.slab.get_mut(id.0 as usize)
        {
            *users += 1;
            return *id;
        }
        let entry = (spec.clone(), 1);
        let id = match self.free.pop() {
            Some(id) => {
                if let Some(place) = self.slab.get_mut(id.0 as usize) {
                    *place = entry;
                }
                id
            }
            None => {
                self.slab.push(entry);
                // 2^32 distinct paths would be 200 GB of them before this saturates.
                PathId(u32::try_from(self.slab.len() - 1).unwrap_or(u32::MAX))
            }
        };
        self.ids.insert(spec, id);
        id
    }

    /// One user less; the last one frees the index.
    pub(super) fn release(&mut self, id: PathId) {
        let Some((spec, users)) = self.slab.get_mut(id.0 as usize) else {
            return;
        };
        *users = users.saturating_sub(1);
        if *users == 0 {
            self.ids.remove(spec);
            *spec = PathSpec::unused();
            self.free.push(id);
        }
    }

    pub(super) fn get(&self, id: PathId) -> Option<&PathSpec> {
        self.slab.get(id.0 as usize).map(|(spec, _)| spec)
    }

    /// All, by index.
    pub(super) fn iter(&self) -> impl Iterator<Item = &PathSpec> {
        self.slab.iter().map(|(spec, _)| spec)
    }
}
