//! Which counters of a stream were received: the highest, and a bit for each of the 4,096 up to it.
//!
//! The bits stand in a ring of words with one more than needed (RFC 6479), so that the words that are passed over can be cleared
//! whole.

/// Counters that are remembered.
pub(super) const REMEMBERED: u64 = 4096;

const WORDS: usize = (REMEMBERED / 64) as usize + 1;

/// What is known of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    New,
    Taken,
    /// Too far behind to know.
    Behind,
}

#[derive(Clone, Debug)]
pub(super) struct Window {
    /// The highest taken; no counter is 0.
    highest: u64,
    bits: [u64; WORDS],
}

impl Default for Window {
    fn default() -> Self {
        Self { highest: 0, bits: [0; WORDS] }
    }
}

impl Window {
    pub(super) fn seen(&self, counter: u64) -> Seen {
        if counter > self.highest {
            return Seen::New;
        }
        if self.highest - counter >= REMEMBERED {
            return Seen::Behind;
        }
        let word = self.bits.get(place(counter / 64)).copied().unwrap_or(!0);
        if word >> (counter % 64) & 1 != 0 { Seen::Taken } else { Seen::New }
    }

    /// Takes a counter that is [`Seen::New`].
    pub(super) fn take(&mut self, counter: u64) {
        if counter > self.highest {
            let (from, to) = (self.highest / 64, counter / 64);
            for word in (from + 1..=to).take(WORDS) {
                if let Some(word) = self.bits.get_mut(place(word)) {
                    *word = 0;
                }
            }
            self.highest = counter;
        }
        if let Some(word) = self.bits.get_mut(place(counter / 64)) {
            *word |= 1 << (counter % 64);
        }
    }
}

fn place(word: u64) -> usize {
    (word % WORDS as u64) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// The same, plainly.
    #[derive(Default)]
    struct Twin(BTreeSet<u64>);

    impl Twin {
        fn seen(&self, counter: u64) -> Seen {
            let highest = self.0.last().copied().unwrap_or(0);
            if counter <= highest && highest - counter >= REMEMBERED {
                Seen::Behind
            } else if self.0.contains(&counter) {
                Seen::Taken
            } else {
                Seen::New
            }
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_set(
            steps in vec((prop_oneof![0..8u64, 0..200u64, 0..10_000u64, Just(1 << 40)], any::<bool>()), 1..400),
        ) {
            let (mut window, mut twin) = (Window::default(), Twin::default());
            let mut highest = 1u64;
            for (step, ahead) in steps {
                let counter = if ahead { highest + step } else { highest.saturating_sub(step) }.max(1);
                prop_assert_eq!(window.seen(counter), twin.seen(counter), "{}", counter);
                if twin.seen(counter) == Seen::New {
                    window.take(counter);
                    twin.0.insert(counter);
                }
                prop_assert_ne!(window.seen(counter), Seen::New);
                highest = highest.max(counter);
                for near in [REMEMBERED - 1, REMEMBERED, REMEMBERED + 1, 63, 64, 65] {
                    let near = highest.saturating_sub(near).max(1);
                    prop_assert_eq!(window.seen(near), twin.seen(near), "{}", near);
                }
            }
        }
    }

    #[test]
    fn the_last_counter_of_all_can_be_taken() {
        let mut window = Window::default();
        window.take(u64::MAX);
        assert_eq!(window.seen(u64::MAX), Seen::Taken);
        assert_eq!(window.seen(u64::MAX - REMEMBERED + 1), Seen::New);
        assert_eq!(window.seen(u64::MAX - REMEMBERED), Seen::Behind);
    }
}
