//! Whether a thread that sleeps must be woken for what others hand it, which costs them a load while it is awake.
//!
//! # The handshake
//!
//! The sleeper, before it sleeps, stores `asleep = true`, then looks at its queues once more. A worker first pushes, then loads
//! `asleep`. Both put a sequentially consistent fence between their store and their load, so it cannot be that neither sees the
//! other's store (Dekker): either the sleeper finds what was pushed and stays awake, or the worker finds `asleep` and rings. Of
//! several workers that find `asleep`, the one whose swap takes it rings. A worker asks once a turn in which it pushed something, not
//! once for each thing.
//!
//! A false alarm costs one turn of the sleeper; no wake-up can be lost, as long as a ring before the sleep ends that sleep at once
//! (an eventfd's does). Relaxed accesses are enough for the flag itself: queues carry what is pushed with their own acquire and
//! release.
//!
//! # Who may touch what
//!
//! [`Bell::may_sleep`] and [`Bell::awake`] are the sleeper's: the sync thread, the twin thread. Whoever pushes calls
//! [`Bell::must_ring`].

/// The flag, over the atomics of `$atomic`: the standard library's, and in a test those of loom, which tries every interleaving that the
/// memory model allows.
macro_rules! bell {
    ($($atomic:tt)*) => {
        use $($atomic)*::{AtomicBool, Ordering, fence};

        /// See the module.
        #[derive(Debug)]
        pub struct Bell {
            /// Set by the sleeper when it is about to sleep, cleared by it and by whoever wakes it.
            asleep: AtomicBool,
        }

        #[allow(clippy::new_without_default, reason = "a bell of nobody is no value")]
        impl Bell {
            /// Of a thread that is awake.
            pub fn new() -> Self {
                Self { asleep: AtomicBool::new(false) }
            }

            /// Something was pushed: whether the sleeper must be woken.
            #[inline]
            pub fn must_ring(&self) -> bool {
                fence(Ordering::SeqCst);
                self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed)
            }

            /// Announces a sleep. False when there is work after all: it must not sleep.
            pub fn may_sleep(&self, idle: impl FnOnce() -> bool) -> bool {
                self.asleep.store(true, Ordering::Relaxed);
                fence(Ordering::SeqCst);
                let idle = idle();
                if !idle {
                    self.asleep.store(false, Ordering::Relaxed);
                }
                idle
            }

            /// The sleeper is awake.
            pub fn awake(&self) {
                self.asleep.store(false, Ordering::Relaxed);
            }
        }
    };
}

mod real {
    bell!(std::sync::atomic);
}

pub use real::Bell;

#[cfg(test)]
pub(crate) mod tests {
    #[allow(unreachable_pub, reason = "the same text is used above")]
    pub(crate) mod model {
        bell!(loom::sync::atomic);
    }

    /// In every interleaving of workers with a thread that wants to sleep: if it sleeps on work, somebody rings.
    fn model(workers: usize, preemptions: Option<usize>) {
        use loom::sync::Arc;
        use loom::sync::atomic::{AtomicUsize, Ordering};

        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = preemptions;
        builder.check(move || {
            let shared = Arc::new((model::Bell::new(), AtomicUsize::new(0)));
            // Not part of the protocol: read after all threads are done.
            let rung = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
            let workers: Vec<_> = (0..workers)
                .map(|_| {
                    let (shared, rung) = (Arc::clone(&shared), rung.clone());
                    loom::thread::spawn(move || {
                        let (bell, pushed) = &*shared;
                        pushed.store(1, Ordering::Release);
                        if bell.must_ring() {
                            rung.store(true, Ordering::Relaxed);
                        }
                    })
                })
                .collect();
            let (bell, pushed) = &*shared;
            let sleeps = bell.may_sleep(|| pushed.load(Ordering::Acquire) == 0);
            workers.into_iter().for_each(|worker| worker.join().unwrap());
            assert!(!sleeps || rung.load(Ordering::Relaxed), "asleep on work, and nobody rang");
            bell.awake();
        });
    }

    #[test]
    fn no_push_is_slept_over() {
        model(1, None);
        model(2, Some(2));
    }
}
