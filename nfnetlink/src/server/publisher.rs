//! How other threads hand events in, and wake the server.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use rustix::event::{EventfdFlags, eventfd};

use super::bell::Bell;
use super::stats::Stats;
use crate::subsystem::Event;

/// Groups whose lost events can be told apart: bit 0 is group 1.
const GROUPS: u32 = 32;

#[derive(Debug)]
struct Shared {
    /// Written by whoever wakes, read by the server.
    eventfd: OwnedFd,
    bell: Bell,
    /// Groups of which an event was lost here: publishers set bits, the server takes them.
    lost: AtomicU32,
    /// Groups that somebody listens to: the engine writes, publishers read.
    listened: Arc<AtomicU64>,
    stats: Arc<Stats>,
}

/// Wakes the server: subsystems are then asked what time has brought ([`crate::Subsystem::tick`]).
#[derive(Clone, Debug)]
pub struct Waker(Arc<Shared>);

impl Waker {
    /// Wakes it. Costs a system call only when nobody has woken it since it last looked.
    pub fn wake(&self) {
        if self.0.bell.must_write() {
            // It can only fail when the count is near 2^64, and then it is readable anyway.
            let _ = rustix::io::write(&self.0.eventfd, &1u64.to_ne_bytes());
        }
    }
}

/// Hands events to the server from any thread, without ever waiting.
#[derive(Clone, Debug)]
pub struct Publisher {
    waker: Waker,
    sender: SyncSender<Event>,
}

impl Publisher {
    /// Whether anybody listens to a group: where nobody does, an event need not be made.
    pub fn wanted(&self, group: u32) -> bool {
        1u64.checked_shl(group)
            .is_some_and(|bit| self.waker.0.listened.load(Ordering::Relaxed) & bit != 0)
    }

    /// Hands in an event; false when there was no room. Then the group's members are told that they missed something.
    pub fn publish(&self, event: Event) -> bool {
        let group = event.group;
        let taken = match self.sender.try_send(event) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                self.lost(group, 1);
                false
            }
            Err(TrySendError::Disconnected(_)) => return false,
        };
        self.waker.wake();
        taken
    }

    /// Says that `events` for a group were lost before they came here; its members are told that they missed something when
    /// the server is woken.
    pub fn lost(&self, group: u32, events: u64) {
        self.waker.0.stats.unpublished.add(events);
        if (1..=GROUPS).contains(&group) {
            self.waker.0.lost.fetch_or(1 << (group - 1), Ordering::AcqRel);
        }
    }

    /// What wakes the server.
    pub fn waker(&self) -> &Waker {
        &self.waker
    }
}

/// The server's end.
pub(super) struct Inbox {
    shared: Arc<Shared>,
    receiver: Receiver<Event>,
}

/// Both ends, with room for `events`.
pub(super) fn pair(
    events: usize,
    listened: Arc<AtomicU64>,
    stats: Arc<Stats>,
) -> rustix::io::Result<(Publisher, Inbox)> {
    let shared = Arc::new(Shared {
        eventfd: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        bell: Bell::new(),
        lost: AtomicU32::new(0),
        listened,
        stats,
    });
    let (sender, receiver) = sync_channel(events);
    let publisher = Publisher { waker: Waker(Arc::clone(&shared)), sender };
    Ok((publisher, Inbox { shared, receiver }))
}

impl Inbox {
    /// The server is awake: what is handed in from here on rings again.
    pub(super) fn awake(&self) {
        let _ = rustix::io::read(&self.shared.eventfd, &mut [0u8; 8]);
        self.shared.bell.answered();
    }

    /// At most `n` events, and whether there may be more.
    pub(super) fn take(&self, n: usize) -> (Vec<Event>, bool) {
        let events: Vec<Event> = self.receiver.try_iter().take(n).collect();
        let more = events.len() == n;
        (events, more)
    }

    /// Groups of which events were lost, as a mask.
    pub(super) fn take_lost(&self) -> u32 {
        self.shared.lost.swap(0, Ordering::AcqRel)
    }
}

impl AsFd for Inbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.eventfd.as_fd()
    }
}
