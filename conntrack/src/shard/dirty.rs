//! Which slots are to be told to other nodes: a bit each, and a list of those whose bit was set last.
//!
//! # Overview
//!
//! A bit is set once however often its slot changes, and cleared when the slot is taken, so there is never more than one thing to
//! say of a slot. The list spares the search; it is bounded. What finds it full has its bit only, and the bits are gone over when
//! the list is empty. A slot of the list whose bit was cleared meanwhile is passed over.

use std::collections::VecDeque;
use std::io;

use super::pages::Pages;
use crate::flow::Slot;

/// Slots that the list holds.
const LIST: usize = 8192;

/// A set of slots.
pub(super) struct Dirty {
    bits: Pages<u64>,
    words: u32,
    list: VecDeque<u32>,
    /// Some slots have a bit and are not in the list: the bits must be gone over once more.
    missed: bool,
    /// The word where that goes on, while it does.
    at: Option<u32>,
}

/// What `Dirty::take` found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// This slot; it is out of the set.
    Slot(Slot),
    /// None so far, and there may be more: so many bits were not looked at in one go.
    Later,
    /// There is none.
    None,
}

impl Dirty {
    pub(super) fn new(slots: u32) -> io::Result<Self> {
        let words = slots.div_ceil(64);
        let list = VecDeque::new();
        Ok(Self { bits: Pages::new(words as usize)?, words, list, missed: false, at: None })
    }

    /// Makes room for the list. What was set before is found too.
    pub(super) fn begin(&mut self) {
        self.list.reserve(LIST.saturating_sub(self.list.len()));
        self.missed = true;
    }

    #[cfg(test)]
    pub(super) fn has(&self, slot: Slot) -> bool {
        self.bits.get(slot.0 / 64).is_some_and(|word| word >> (slot.0 % 64) & 1 == 1)
    }

    #[inline(always)]
    pub(super) fn add(&mut self, slot: Slot) {
        let Some(word) = self.bits.get_mut(slot.0 / 64) else { return };
        let bit = 1 << (slot.0 % 64);
        if *word & bit == 0 {
            *word |= bit;
            if self.list.len() < LIST {
                self.list.push_back(slot.0);
            } else {
                self.missed = true;
            }
        }
    }

    /// True where it was in the set.
    #[inline(always)]
    pub(super) fn remove(&mut self, slot: Slot) -> bool {
        let Some(word) = self.bits.get_mut(slot.0 / 64) else { return false };
        let bit = 1 << (slot.0 % 64);
        let was = *word & bit != 0;
        // Memory that was never written to stays so.
        if was {
            *word &= !bit;
        }
        was
    }

    /// Takes one out, of those below `used`; looks at `budget` words of bits at most.
    pub(super) fn take(&mut self, used: u32, budget: &mut u32) -> Taken {
        while let Some(slot) = self.list.pop_front().map(Slot) {
            if self.remove(slot) {
                return Taken::Slot(slot);
            }
        }
        loop {
            let at = match self.at {
                Some(at) => at,
                None if self.missed => {
                    self.missed = false;
                    0
                }
                None => return Taken::None,
            };
            if at >= self.words.min(used.div_ceil(64)) {
                self.at = None;
                continue;
            }
            self.at = Some(at);
            if *budget == 0 {
                return Taken::Later;
            }
            *budget -= 1;
            let word = self.bits.get(at).copied().unwrap_or(0);
            if word != 0 {
                let slot = Slot(at * 64 + word.trailing_zeros());
                self.remove(slot);
                return Taken::Slot(slot);
            }
            self.at = Some(at + 1);
        }
    }

    /// True: [`take`](Self::take) would say that there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty() && !self.missed && self.at.is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The set is one: whatever is added is taken once, however small the budget and however full the list.
        #[test]
        fn it_is_a_set(steps in proptest::collection::vec((0_u32..20_000, 0_u32..3, 0_u32..9), 1..400)) {
            let mut dirty = Dirty::new(20_000).unwrap();
            dirty.begin();
            let mut plain = BTreeSet::new();
            for (from, what, many) in steps {
                for slot in (from..20_000).step_by(7).take(many as usize * 700) {
                    match what {
                        0 => assert_eq!(dirty.remove(Slot(slot)), plain.remove(&slot)),
                        _ => {
                            dirty.add(Slot(slot));
                            plain.insert(slot);
                        }
                    }
                    assert_eq!(dirty.has(Slot(slot)), plain.contains(&slot));
                }
                let mut budget = from % 50;
                for _ in 0..from % 3000 {
                    match dirty.take(20_000, &mut budget) {
                        Taken::Slot(Slot(slot)) => assert!(plain.remove(&slot)),
                        Taken::Later => break,
                        Taken::None => assert!(plain.is_empty()),
                    }
                }
            }
            loop {
                match dirty.take(20_000, &mut 1000) {
                    Taken::Slot(Slot(slot)) => assert!(plain.remove(&slot)),
                    Taken::Later => {}
                    Taken::None => break,
                }
            }
            prop_assert!(plain.is_empty() && dirty.is_empty());
        }
    }
}
