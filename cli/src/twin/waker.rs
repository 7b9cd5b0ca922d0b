//! Wakes the twin thread when a worker has queued frames for it, and costs nothing while it is awake.
//!
//! [`sync::bell`] says whether it sleeps; then a worker writes to the eventfd on which it does. The eventfd keeps its count, so a write
//! before the sleep ends that sleep at once.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use dataplane::control::Wake;
use rustix::event::{EventfdFlags, eventfd};
use sync::bell::Bell;

/// Wakes the twin thread. Workers share it; the twin thread alone calls the crate-private half.
#[derive(Debug)]
pub struct TwinWaker {
    /// Written by workers and by whoever stops the thread, read by the twin thread.
    eventfd: OwnedFd,
    bell: Bell,
}

impl TwinWaker {
    /// Makes the eventfd.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            eventfd: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            bell: Bell::new(),
        })
    }

    /// Wakes the twin thread if it sleeps or is about to. To be called after pushing to a queue.
    #[inline]
    pub fn wake(&self) {
        if self.bell.must_ring() {
            self.ring();
        }
    }

    /// Ends the present or the next sleep.
    pub(super) fn ring(&self) {
        // It can only fail when the count is near 2^64, and then the thread is awake anyway.
        let _ = rustix::io::write(&self.eventfd, &1u64.to_ne_bytes());
    }

    /// Announces a sleep. False when there is work after all: do not sleep.
    pub(super) fn may_sleep(&self, idle: impl FnOnce() -> bool) -> bool {
        self.bell.may_sleep(idle)
    }

    /// The sleep is over; `rung` when the eventfd is readable.
    pub(super) fn awake(&self, rung: bool) {
        self.bell.awake();
        if rung {
            let _ = rustix::io::read(&self.eventfd, &mut [0u8; 8]);
        }
    }
}

impl Wake for TwinWaker {
    fn wake(&self) {
        Self::wake(self);
    }
}

impl AsFd for TwinWaker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use crossbeam::queue::ArrayQueue;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    fn sleep(waker: &TwinWaker, timeout: Duration) -> bool {
        let mut fds = [PollFd::new(waker, PollFlags::IN)];
        let timeout =
            Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos().into() };
        let rung = poll(&mut fds, Some(&timeout)).unwrap() > 0;
        waker.awake(rung);
        rung
    }

    #[test]
    fn a_wake_between_announcement_and_sleep_ends_the_sleep() {
        let waker = TwinWaker::new().unwrap();
        assert!(waker.may_sleep(|| true));
        waker.wake();
        assert!(sleep(&waker, Duration::from_secs(10)));
        assert!(!sleep(&waker, Duration::ZERO), "one wake ends one sleep");
    }

    #[test]
    fn nobody_rings_while_the_thread_is_awake() {
        let waker = TwinWaker::new().unwrap();
        waker.wake();
        assert!(!sleep(&waker, Duration::ZERO));
        assert!(!waker.may_sleep(|| false));
        waker.wake();
        assert!(!sleep(&waker, Duration::ZERO));
    }

    /// Two producers hand over numbers one at a time and wait for each to arrive, so that the consumer goes to sleep
    /// between any two; a lost wake-up would leave it there until the ten seconds are over.
    #[test]
    fn no_wake_up_is_lost() {
        const EACH: u64 = 20_000;
        let waker = Arc::new(TwinWaker::new().unwrap());
        let queue = Arc::new(ArrayQueue::new(4));
        let arrived = Arc::new(AtomicU64::new(0));
        let producers: Vec<_> = (0..2)
            .map(|_| {
                let (waker, queue, arrived) = (waker.clone(), queue.clone(), arrived.clone());
                std::thread::spawn(move || {
                    for i in 0..EACH {
                        while queue.push(i).is_err() {
                            std::thread::yield_now();
                        }
                        waker.wake();
                        let seen = arrived.load(Ordering::Acquire);
                        while i % 3 == 0
                            && arrived.load(Ordering::Acquire) == seen
                            && !queue.is_empty()
                        {
                            std::thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        let mut got = 0;
        while got < 2 * EACH {
            while queue.pop().is_some() {
                got += 1;
                arrived.store(got, Ordering::Release);
            }
            if got < 2 * EACH && waker.may_sleep(|| queue.is_empty()) {
                assert!(sleep(&waker, Duration::from_secs(10)), "a wake-up was lost after {got}");
            }
        }
        producers.into_iter().for_each(|thread| thread.join().unwrap());
    }
}
