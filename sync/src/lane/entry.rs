//! What a receiving lane knows of each slot: twelve bytes.

use std::cmp::Ordering;

use super::said::version_order;
use crate::ids::{Generation, Version};

const GENERATION: u32 = (1 << 22) - 1;
const WORKER: u32 = 22;
const KNOWN: u32 = 1 << 28;
const ALIVE: u32 = 1 << 29;
const PENDING: u32 = 1 << 30;
const DOUBTED: u32 = 1 << 31;

/// The newest that was told of a slot. It is never forgotten: of a flow that is gone it is the tombstone.
///
/// ```text
///             | what it is
/// unknown     | nothing was told
/// dead        | the flow is gone
/// alive       | the flow is in the worker's table, in this version
/// pending     | only FLOW_UPD came: the flow itself is to come
/// behind      | alive and pending: the flow came in an older version than FLOW_UPD had
/// doubted     | besides: digests say that something of its bucket is wrong. Whatever is said of it in full is true
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    /// doubted, pending, alive, known, worker 6, generation 22.
    bits: u32,
    version: u32,
    /// Of the bulk that was the latest when it was last told.
    pub(super) stamp: u32,
}

impl Entry {
    /// Something newer was told.
    #[inline]
    pub(super) fn new(
        generation: Generation,
        version: Version,
        worker: u8,
        alive: bool,
        pending: bool,
        stamp: u32,
    ) -> Self {
        let bits = generation.get()
            | u32::from(worker & 63) << WORKER
            | KNOWN
            | if alive { ALIVE } else { 0 }
            | if pending { PENDING } else { 0 };
        Self { bits, version: version.0, stamp }
    }

    pub(super) fn is_known(self) -> bool {
        self.bits & KNOWN != 0
    }

    pub(super) fn is_alive(self) -> bool {
        self.bits & ALIVE != 0
    }

    pub(super) fn is_pending(self) -> bool {
        self.bits & PENDING != 0
    }

    pub(super) fn is_doubted(self) -> bool {
        self.bits & DOUBTED != 0
    }

    /// It may be wrong.
    #[must_use]
    pub(super) fn doubted(self) -> Self {
        Self { bits: self.bits | DOUBTED, ..self }
    }

    pub(super) fn generation(self) -> Generation {
        Generation::new(self.bits & GENERATION)
    }

    pub(super) fn version(self) -> Version {
        Version(self.version)
    }

    pub(super) fn worker(self) -> u8 {
        (self.bits >> WORKER) as u8 & 63
    }

    /// The flow is gone.
    #[must_use]
    pub(super) fn dead(self) -> Self {
        Self { bits: self.bits & !(ALIVE | PENDING | DOUBTED), ..self }
    }

    /// How a record is to what is known: by generation, then by version.
    #[inline]
    pub(super) fn order(self, generation: Generation, version: Version) -> (Ordering, Ordering) {
        if self.bits & KNOWN == 0 {
            return (Ordering::Greater, Ordering::Greater);
        }
        let order = generation.order(self.generation());
        if self.is_doubted() {
            // All that was sent before it was doubted came, and what is sent later is no older.
            return (if order.is_eq() { order } else { Ordering::Greater }, Ordering::Greater);
        }
        (order, version_order(version, self.version()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_its_parts() {
        assert_eq!(size_of::<Entry>(), 12);
        let generation = Generation::new(GENERATION);
        let entry = Entry::new(generation, Version(u32::MAX), 63, true, false, 9);
        assert!(entry.is_known() && entry.is_alive() && !entry.is_pending());
        assert_eq!((entry.generation(), entry.version()), (generation, Version(u32::MAX)));
        assert_eq!((entry.worker(), entry.stamp), (63, 9));
        assert_eq!(entry.dead(), Entry::new(generation, Version(u32::MAX), 63, false, false, 9));
        assert_eq!(entry.order(generation, Version(0)), (Ordering::Equal, Ordering::Greater));
        assert_eq!(entry.order(generation.next(), Version(1)).0, Ordering::Greater);
        let doubted = entry.doubted();
        assert!(doubted.is_doubted() && doubted.is_alive() && !doubted.dead().is_doubted());
        assert_eq!(doubted.order(generation, Version(0)), (Ordering::Equal, Ordering::Greater));
        let older = Generation::new(GENERATION - 1);
        assert_eq!(doubted.order(older, Version(0)), (Ordering::Greater, Ordering::Greater));
        assert_eq!(Entry::default().order(generation, Version(0)).0, Ordering::Greater);
    }
}
