//! A table of slots that takes memory only where slots are used.
//!
//! A lane may have millions of slots of which few are taken; shards hand out low ones first. Pages are made when one of their slots is
//! first written, and are never given back while the lane lives: tombstones must not be lost.

/// Slots of a page.
const PAGE: usize = 1 << BITS;
const BITS: u32 = 10;

/// Values by slot, all of them `T::default()` until they are set.
#[derive(Debug)]
pub(super) struct Pages<T> {
    pages: Vec<Option<Box<[T; PAGE]>>>,
    slots: u32,
}

impl<T: Copy + Default> Pages<T> {
    /// For slots below `slots`.
    pub(super) fn new(slots: u32) -> Self {
        let count = slots.div_ceil(PAGE as u32) as usize;
        Self { pages: std::iter::repeat_with(|| None).take(count).collect(), slots }
    }

    /// How many slots there are.
    pub(super) fn slots(&self) -> u32 {
        self.slots
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

    /// The slots of one page that is there, from `first` on which is rounded down; the first of them.
    pub(super) fn page_mut(&mut self, first: u32) -> Option<&mut [T; PAGE]> {
        self.pages.get_mut((first >> BITS) as usize)?.as_deref_mut()
    }
}

fn fresh<T: Copy + Default>() -> Box<[T; PAGE]> {
    Box::new([T::default(); PAGE])
}
