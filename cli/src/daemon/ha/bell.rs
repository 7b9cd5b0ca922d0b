//! What wakes the sync thread: an eventfd that it polls beside its sockets.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use dataplane::control::Wake;
use rustix::event::{EventfdFlags, eventfd};

/// The bell.
pub(super) struct Bell(OwnedFd);

impl Bell {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// Wakes the thread, or keeps it from its next sleep.
    pub(super) fn ring(&self) {
        // Full: it was rung 2^64 times and is loud enough.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    /// It was heard.
    pub(super) fn silence(&self) {
        // Nobody rang: there is nothing to read.
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Wake for Bell {
    fn wake(&self) {
        self.ring();
    }
}
