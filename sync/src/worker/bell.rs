//! Wakes the sync thread when a worker has said something, and costs a load while it is awake.
//!
//! # The handshake
//!
//! The sync thread, before it sleeps, stores `asleep = true`, then looks at the rings once more. A worker first pushes, then loads
//! `asleep`. Both put a sequentially consistent fence between their store and their load, so it cannot be that neither sees the
//! other's store (Dekker). Of several workers that find `asleep`, the one whose swap takes it rings. A worker asks once a turn in
//! which it pushed something, not once a record.

/// The flag, over the atomics of `$atomic`: the standard library's, and in a test those of loom.
macro_rules! bell {
    ($($atomic:tt)*) => {
        use $($atomic)*::{AtomicBool, Ordering, fence};

        #[derive(Debug)]
        pub(crate) struct Bell {
            /// Set by the sync thread when it is about to sleep, cleared by it and by the worker that wakes it.
            asleep: AtomicBool,
        }

        impl Bell {
            pub(crate) fn new() -> Self {
                Self { asleep: AtomicBool::new(false) }
            }

            /// Something was pushed: whether the sync thread must be woken.
            #[inline]
            pub(crate) fn must_ring(&self) -> bool {
                fence(Ordering::SeqCst);
                self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed)
            }

            /// Announces a sleep. False when there is work after all.
            pub(crate) fn may_sleep(&self, idle: impl FnOnce() -> bool) -> bool {
                self.asleep.store(true, Ordering::Relaxed);
                fence(Ordering::SeqCst);
                let idle = idle();
                if !idle {
                    self.asleep.store(false, Ordering::Relaxed);
                }
                idle
            }

            pub(crate) fn awake(&self) {
                self.asleep.store(false, Ordering::Relaxed);
            }
        }
    };
}

mod real {
    bell!(std::sync::atomic);
}

pub(crate) use real::Bell;

#[cfg(test)]
pub(super) mod tests {
    #[allow(dead_code, reason = "the same text is used above")]
    pub(crate) mod model {
        bell!(loom::sync::atomic);
    }

    #[test]
    fn no_push_is_slept_over() {
        use loom::sync::Arc;
        use loom::sync::atomic::{AtomicUsize, Ordering};

        loom::model(|| {
            let shared = Arc::new((model::Bell::new(), AtomicUsize::new(0), AtomicUsize::new(0)));
            let worker = {
                let shared = Arc::clone(&shared);
                loom::thread::spawn(move || {
                    let (bell, pushed, rung) = &*shared;
                    pushed.store(1, Ordering::Release);
                    if bell.must_ring() {
                        rung.store(1, Ordering::Relaxed);
                    }
                })
            };
            let (bell, pushed, rung) = &*shared;
            let sleeps = bell.may_sleep(|| pushed.load(Ordering::Acquire) == 0);
            worker.join().unwrap();
            assert!(!sleeps || rung.load(Ordering::Relaxed) == 1, "asleep, and nobody rang");
            bell.awake();
        });
    }
}
