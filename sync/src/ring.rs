//! A ring of words between two threads: messages of any length, each pushed and popped whole.
//!
//! # Overview
//!
//! Cells are atomics that are stored and loaded relaxed; what orders them is the position that the producer publishes (release) and
//! the consumer reads (acquire), and the other way round for the room that becomes free. A message's first word is its length in
//! words; it may go over the end of the array. The two positions have a cache line each, and each side remembers what it last read of
//! the other's, so that it touches that line only when the ring seems full, or empty.
//!
//! # Who may touch what
//!
//! One [`Producer`], one [`Consumer`], each `&mut` to its thread. When one is dropped the other one goes on: nobody reads, or nothing
//! comes.

/// A message has so many words at most.
pub const LONGEST: usize = 128;

/// What a ring has no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ring is full")]
pub struct Full;

/// The ring, over the types of `$sync`: the standard library's, and in a test those of loom.
macro_rules! ring {
    ($($sync:tt)*) => {
        use $($sync)*::Arc;
        use $($sync)*::atomic::{AtomicU64, Ordering};

        use super::{Full, LONGEST};

        /// A position has a cache line, and the one that is fetched beside it, to itself.
        #[derive(Debug)]
        #[repr(align(128))]
        struct Position(AtomicU64);

        #[derive(Debug)]
        struct Shared {
            /// Written by the producer.
            cells: Box<[AtomicU64]>,
            /// Words that were ever pushed. Written by the producer.
            pushed: Position,
            /// Words that were ever popped. Written by the consumer.
            popped: Position,
        }

        impl Shared {
            #[inline(always)]
            fn cell(&self, position: u64) -> Option<&AtomicU64> {
                // The number of cells is a power of two.
                self.cells.get(position as usize & (self.cells.len() - 1))
            }
        }

        /// The end that pushes.
        #[derive(Debug)]
        pub struct Producer {
            shared: Arc<Shared>,
            at: u64,
            /// What the consumer had popped when it was last asked.
            popped: u64,
        }

        /// The end that pops.
        #[derive(Debug)]
        pub struct Consumer {
            shared: Arc<Shared>,
            at: u64,
            /// What the producer had pushed when it was last asked.
            pushed: u64,
        }

        /// A ring for at least so many words.
        pub fn ring(words: usize) -> (Producer, Consumer) {
            let words = words.max(2).next_power_of_two();
            let shared = Arc::new(Shared {
                cells: (0..words).map(|_| AtomicU64::new(0)).collect(),
                pushed: Position(AtomicU64::new(0)),
                popped: Position(AtomicU64::new(0)),
            });
            let producer = Producer { shared: Arc::clone(&shared), at: 0, popped: 0 };
            (producer, Consumer { shared, at: 0, pushed: 0 })
        }

        impl Producer {
            /// Whether there is room for a message of so many words.
            #[inline]
            pub fn has_room(&mut self, words: usize) -> bool {
                let needs = words as u64 + 1;
                let all = self.shared.cells.len() as u64;
                if self.at - self.popped + needs <= all {
                    return true;
                }
                self.popped = self.shared.popped.0.load(Ordering::Acquire);
                self.at - self.popped + needs <= all
            }

            /// Words that there is room for, the length of each message among them.
            pub fn room(&mut self) -> usize {
                self.popped = self.shared.popped.0.load(Ordering::Acquire);
                self.shared.cells.len() - (self.at - self.popped) as usize
            }

            /// The ring's words, whether there is something in them or not.
            pub fn capacity(&self) -> usize {
                self.shared.cells.len()
            }

            /// Pushes a message. The consumer may see it at once.
            ///
            /// # Errors
            /// There is no room, or it is longer than [`LONGEST`].
            #[inline]
            pub fn push(&mut self, message: &[u64]) -> Result<(), Full> {
                if message.len() > LONGEST || !self.has_room(message.len()) {
                    return Err(Full);
                }
                let all = std::iter::once(message.len() as u64).chain(message.iter().copied());
                for (position, word) in (self.at..).zip(all) {
                    if let Some(cell) = self.shared.cell(position) {
                        cell.store(word, Ordering::Relaxed);
                    }
                }
                self.at += message.len() as u64 + 1;
                self.shared.pushed.0.store(self.at, Ordering::Release);
                Ok(())
            }

            /// Whether all that was pushed was popped.
            pub fn is_drained(&self) -> bool {
                self.shared.popped.0.load(Ordering::Acquire) == self.at
            }
        }

        impl Consumer {
            /// Whether nothing is there.
            #[inline]
            pub fn is_empty(&mut self) -> bool {
                if self.pushed == self.at {
                    self.pushed = self.shared.pushed.0.load(Ordering::Acquire);
                }
                self.pushed == self.at
            }

            /// Pops a message into the buffer.
            #[inline]
            pub fn pop<'b>(&mut self, buffer: &'b mut [u64; LONGEST]) -> Option<&'b [u64]> {
                if self.is_empty() {
                    return None;
                }
                let len = self.shared.cell(self.at)?.load(Ordering::Relaxed);
                let message = buffer.get_mut(..len as usize)?;
                for (position, word) in (self.at + 1..).zip(message.iter_mut()) {
                    *word = self.shared.cell(position)?.load(Ordering::Relaxed);
                }
                self.at += len + 1;
                self.shared.popped.0.store(self.at, Ordering::Release);
                Some(message)
            }

            /// Words that were popped since the ring was made.
            #[inline]
            pub fn position(&self) -> u64 {
                self.at
            }

            /// Words that are there to be popped.
            pub fn waiting(&mut self) -> usize {
                self.pushed = self.shared.pushed.0.load(Ordering::Acquire);
                (self.pushed - self.at) as usize
            }
        }
    };
}

mod real {
    ring!(std::sync);
}

pub use real::{Consumer, Producer, ring};

#[cfg(test)]
#[allow(unreachable_pub, dead_code, reason = "the same text is public above")]
pub(crate) mod model {
    ring!(loom::sync);
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A ring is a bounded queue.
        #[test]
        fn it_is_a_queue(
            words in 2_usize..200,
            steps in proptest::collection::vec((0_usize..140, any::<bool>()), 1..300),
        ) {
            let (mut producer, mut consumer) = ring(words);
            let mut plain = VecDeque::<Vec<u64>>::new();
            let mut buffer = [0; LONGEST];
            let mut next = 0;
            for (len, push) in steps {
                let used: usize = plain.iter().map(|message| message.len() + 1).sum();
                prop_assert_eq!(producer.room(), producer.capacity() - used);
                prop_assert_eq!(consumer.waiting(), used);
                prop_assert_eq!(producer.is_drained(), plain.is_empty());
                if push {
                    let message: Vec<u64> = (next..next + len as u64).collect();
                    next += len as u64;
                    let fits = used + len < producer.capacity();
                    prop_assert_eq!(producer.has_room(len), fits);
                    let expected = if fits && len <= LONGEST { Ok(()) } else { Err(Full) };
                    prop_assert_eq!(producer.push(&message), expected);
                    if expected.is_ok() {
                        plain.push_back(message);
                    }
                } else {
                    prop_assert_eq!(consumer.is_empty(), plain.is_empty());
                    let popped = consumer.pop(&mut buffer).map(<[u64]>::to_vec);
                    prop_assert_eq!(popped, plain.pop_front());
                }
            }
        }
    }

    #[test]
    fn what_one_thread_pushes_another_pops_whole_and_in_order() {
        let (mut producer, mut consumer) = ring(64);
        let thread = std::thread::spawn(move || {
            let mut sent = 0u64;
            while sent < 200_000 {
                let len = sent % 13;
                let message: Vec<u64> = (0..len).map(|word| sent << 8 | word).collect();
                if producer.push(&message).is_ok() {
                    sent += 1;
                } else {
                    std::thread::yield_now();
                }
            }
        });
        let mut buffer = [0; LONGEST];
        let mut got = 0u64;
        while got < 200_000 {
            let Some(message) = consumer.pop(&mut buffer) else {
                std::thread::yield_now();
                continue;
            };
            let expected: Vec<u64> = (0..got % 13).map(|word| got << 8 | word).collect();
            assert_eq!(message, expected);
            got += 1;
        }
        thread.join().unwrap();
    }

    /// In every interleaving, over the end of the array and with the ring full: messages come whole and in order.
    #[test]
    fn no_interleaving_tears_or_loses_a_message() {
        loom::model(|| {
            let (mut producer, mut consumer) = model::ring(4);
            let thread = loom::thread::spawn(move || {
                let mut pushed = 0;
                for n in 1..=3 {
                    // One word and its length: two fit, the third may or may not.
                    pushed += u64::from(producer.push(&[n]).is_ok());
                }
                pushed
            });
            let mut buffer = [0; LONGEST];
            let mut got = 0;
            let mut pop = |consumer: &mut model::Consumer| {
                if let Some(message) = consumer.pop(&mut buffer) {
                    got += 1;
                    assert_eq!(message, [got]);
                }
                got
            };
            pop(&mut consumer);
            pop(&mut consumer);
            let pushed = thread.join().unwrap();
            while pop(&mut consumer) < pushed {}
        });
    }
}
