//! Whether the server has been rung for, so that only the first of many wake-ups costs a system call.
//!
//! # The handshake
//!
//! Who hands something in pushes it, then swaps `rung` to true; if it was false, it writes to the eventfd. The server reads the
//! eventfd, swaps `rung` to false, then takes what was handed in. A swap that finds true comes, in the order of all swaps,
//! before the server's next one, which acquires what that one released: what was pushed before it is then seen. A swap that
//! finds false is followed by a write, which wakes the server again.

/// The flag, over the atomics of `$atomic`: the standard library's, and in a test those of loom.
macro_rules! bell {
    ($($atomic:tt)*) => {
        use $($atomic)*::{AtomicBool, Ordering};

        #[derive(Debug)]
        pub(in crate::server) struct Bell {
            /// Set by whoever rings, cleared by the server.
            rung: AtomicBool,
        }

        impl Bell {
            pub(in crate::server) fn new() -> Self {
                Self { rung: AtomicBool::new(false) }
            }

            /// Something was handed in: whether the eventfd must be written to.
            pub(in crate::server) fn must_write(&self) -> bool {
                !self.rung.swap(true, Ordering::AcqRel)
            }

            /// The server is awake, and has read the eventfd. To be followed by taking what was handed in.
            pub(in crate::server) fn answered(&self) {
                self.rung.swap(false, Ordering::AcqRel);
            }
        }
    };
}

mod real {
    bell!(std::sync::atomic);
}

pub(super) use real::Bell;

#[cfg(test)]
mod tests {
    use loom::sync::Arc;
    use loom::sync::atomic::{AtomicUsize, Ordering};
    use loom::thread;

    mod model {
        bell!(loom::sync::atomic);
    }

    #[test]
    fn nothing_handed_in_is_slept_over() {
        loom::model(|| {
            // The queue, the eventfd, and the bell between them.
            let shared = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0), model::Bell::new()));
            let publishers: Vec<_> = (0..2)
                .map(|_| {
                    let shared = Arc::clone(&shared);
                    thread::spawn(move || {
                        let (queue, eventfd, bell) = &*shared;
                        queue.fetch_add(1, Ordering::Relaxed);
                        if bell.must_write() {
                            eventfd.fetch_add(1, Ordering::Relaxed);
                        }
                    })
                })
                .collect();
            let (queue, eventfd, bell) = &*shared;
            let mut seen = 0;
            let mut turn = || {
                if eventfd.swap(0, Ordering::Relaxed) > 0 {
                    bell.answered();
                    seen = queue.load(Ordering::Relaxed);
                }
            };
            turn();
            turn();
            publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
            // Whoever is not seen yet must have left the eventfd readable.
            turn();
            assert_eq!(seen, 2);
        });
    }
}
