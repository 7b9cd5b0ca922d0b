//! What a sending lane last said of each slot: sixteen bytes.

use std::cmp::Ordering;

use crate::ids::{Generation, Version};

/// Bits of `at` that count how far back the latest FLOW_FULL is.
const BACK: u32 = 16;
const NEVER: u64 = (1 << BACK) - 1;
const GENERATION: u32 = (1 << 22) - 1;
const KNOWN: u32 = 1 << 22;
const ALIVE: u32 = 1 << 23;

/// What was last said of a slot.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Said {
    /// In which datagram, shifted; and how many before it the whole flow was said.
    at: u64,
    bits: u32,
    version: u32,
}

impl Said {
    /// Anything was.
    pub(super) fn is_known(self) -> bool {
        self.bits & KNOWN != 0
    }

    /// That it lives.
    pub(super) fn is_alive(self) -> bool {
        self.bits & ALIVE != 0
    }

    /// Of which of its flows.
    pub(super) fn generation(self) -> Generation {
        Generation::new(self.bits & GENERATION)
    }

    /// What version of it.
    pub(super) fn version(self) -> Version {
        Version(self.version)
    }

    /// In which datagram.
    pub(super) fn seq(self) -> u64 {
        self.at >> BACK
    }

    /// Since which datagram at the latest whoever has all from there on knows the whole flow, or that it is gone. 0: that is not known.
    pub(super) fn whole_since(self) -> u64 {
        match self.at & NEVER {
            NEVER => 0,
            back => self.seq().saturating_sub(back),
        }
    }

    /// How this is to what was said.
    #[inline]
    pub(super) fn order(self, generation: Generation, version: Version) -> Ordering {
        if !self.is_known() {
            return Ordering::Greater;
        }
        generation.order(self.generation()).then_with(|| version_order(version, self.version()))
    }

    /// This was said now. `whole`: FLOW_FULL or FLOW_DEL.
    #[inline]
    pub(super) fn say(
        &mut self,
        seq: u64,
        generation: Generation,
        version: Version,
        whole: bool,
        alive: bool,
    ) {
        let back = if whole {
            0
        } else if self.is_known() && self.generation() == generation && self.at & NEVER != NEVER {
            ((self.at & NEVER) + seq.saturating_sub(self.seq())).min(NEVER)
        } else {
            NEVER
        };
        *self = Self {
            at: seq << BACK | back,
            bits: generation.get() | KNOWN | if alive { ALIVE } else { 0 },
            version: version.0,
        };
    }
}

/// Which comes first of two that are less than 2³¹ apart: versions wrap.
#[inline]
pub(super) fn version_order(version: Version, than: Version) -> Ordering {
    (version.0.wrapping_sub(than.0) as i32).cmp(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_small() {
        assert_eq!(size_of::<Said>(), 16);
    }

    #[test]
    fn it_knows_since_when_the_whole_was_said() {
        let generation = Generation::new((1 << 22) - 1);
        let mut said = Said::default();
        assert!(!said.is_known());
        assert_eq!(said.order(Generation::new(0), Version(0)), Ordering::Greater);
        said.say(5, generation, Version(1), false, true);
        assert_eq!((said.seq(), said.whole_since(), said.is_alive()), (5, 0, true));
        said.say(6, generation, Version(2), false, true);
        assert_eq!(said.whole_since(), 0, "still never");
        said.say(10, generation, Version(3), true, true);
        said.say(12, generation, Version(4), false, true);
        said.say(1000, generation, Version(5), false, true);
        assert_eq!((said.seq(), said.whole_since()), (1000, 10));
        said.say(70_000, generation, Version(6), false, true);
        assert_eq!((said.seq(), said.whole_since()), (70_000, 0), "too long ago to tell");
        said.say(70_001, generation, Version(7), true, false);
        assert_eq!((said.whole_since(), said.is_alive()), (70_001, false));
        // Generations wrap; the version counts anew.
        said.say(70_002, generation.next(), Version(1), false, true);
        assert_eq!((said.generation().get(), said.whole_since()), (0, 0));
    }

    #[test]
    fn versions_wrap() {
        let mut said = Said::default();
        said.say(1, Generation::new(3), Version(u32::MAX), true, true);
        let order = |generation, version| said.order(Generation::new(generation), Version(version));
        assert_eq!(order(3, 0), Ordering::Greater);
        assert_eq!(order(3, u32::MAX), Ordering::Equal);
        assert_eq!(order(3, u32::MAX - 1), Ordering::Less);
        assert_eq!(order(4, 1), Ordering::Greater);
        assert_eq!(order(2, 0), Ordering::Less);
    }
}
