//! A table of slots that takes memory only where slots are used.
//!
//! A lane may have millions of slots of which few are taken; shards hand out low ones first. Pages are made when one of their slots is
//! first written, and are never given back while the lane lives: tombstones must not be lost.

/// Slots of a page.
pub(super) const PAGE: usize = 1 << BITS;
const BITS: u32 = 10;

/// Values by slot, all of them `T::default()` until they are set.
#[derive(Debug)]
pub(super) struct Pages<T> {
    pages: Vec<Option<Box<[T; PAGE]>>>,
    slots: u32,
    /// All slots from here on were never set.
    used: u32,
}

impl<T: Copy + Default> Pages<T> {
    /// For slots below `slots`.
    pub(super) fn new(slots: u32) -> Self {
        let count = slots.div_ceil(PAGE as u32) as usize;
        Self { pages: std::iter::repeat_with(|| None).take(count).collect(), slots, used: 0 }
    }

    /// How many slots there are.
    pub(super) fn slots(&self) -> u32 {
        self.slots
    }

    /// All slots from this one on have their default.
    pub(super) fn used(&self) -> u32 {
        self.used
    }

    /// Whether there is such a slot.
    pub(super) fn has(&self, slot: u32) -> bool {
        slot < self.slots
    }

    /// What is there.
    #[inline]
    pub(super) fn get(&self, slot: u32) -> T {
        match self.pages.get((slot >> BITS) as usize) {
            Some(Some(page)) => page.get(slot as usize & (PAGE - 1)).copied().unwrap_or_default(),
            _ => T::default(),
        }
    }

    /// Its place; `None`: there is no such slot.
    #[inline]
    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        if slot >= self.slots {
            return None;
        }
        self.used = self.used.max(slot + 1);
        self.pages
            .get_mut((slot >> BITS) as usize)?
            .get_or_insert_with(fresh)
            .get_mut(slot as usize & (PAGE - 1))
    }

    /// Asks for its memory before it is needed.
    #[inline]
    pub(super) fn prefetch(&self, slot: u32) {
        if let Some(Some(page)) = self.pages.get((slot >> BITS) as usize)
            && let Some(entry) = page.get(slot as usize & (PAGE - 1))
        {
            packet::prefetch::line(entry);
        }
    }

    /// Changes all that were set in the page of `slot`.
    pub(super) fn each_of_page(&mut self, slot: u32, mut f: impl FnMut(u32, &mut T)) {
        let first = slot & !(PAGE as u32 - 1);
        if let Some(Some(page)) = self.pages.get_mut((slot >> BITS) as usize) {
            for (slot, entry) in (first..).zip(page.iter_mut()) {
                f(slot, entry);
            }
        }
    }
}

fn fresh<T: Copy + Default>() -> Box<[T; PAGE]> {
    Box::new([T::default(); PAGE])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_taken_where_it_is_used() {
        let mut pages: Pages<u32> = Pages::new(3_000);
        assert_eq!((pages.get(0), pages.get(2_999), pages.get(3_000)), (0, 0, 0));
        assert!(pages.pages.iter().all(Option::is_none));
        *pages.get_mut(2_999).unwrap() = 7;
        assert!(pages.get_mut(3_000).is_none() && !pages.has(3_000) && pages.has(2_999));
        assert_eq!((pages.get(2_999), pages.get(2_998), pages.used()), (7, 0, 3_000));
        assert_eq!(pages.pages.iter().filter(|page| page.is_some()).count(), 1);
        *pages.get_mut(5).unwrap() = 1;
        let mut seen = Vec::new();
        for slot in [0, 1024, 2048] {
            pages.each_of_page(slot, |slot, value| {
                if *value != 0 {
                    seen.push((slot, *value));
                }
            });
        }
        assert_eq!(seen, [(5, 1), (2_999, 7)]);
    }
}
