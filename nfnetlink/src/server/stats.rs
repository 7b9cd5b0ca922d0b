//! What the server counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter: the server's thread writes, anyone reads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Its value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the server counts. Anyone may read; the server's thread writes, and publishers `unpublished`.
#[derive(Debug, Default)]
pub struct Stats {
    /// Clients that came.
    pub accepted: Counter,
    /// Clients that have gone again.
    pub closed: Counter,
    /// Clients that were sent away because there were too many.
    pub turned_away: Counter,
    /// Clients whose connection was closed because what they sent broke the framing.
    pub broken: Counter,
    /// Datagrams with netlink messages.
    pub requests: Counter,
    /// Batches among them.
    pub batches: Counter,
    /// Error messages sent.
    pub refused: Counter,
    /// Datagrams of clients that may not ask anything.
    pub denied: Counter,
    /// Events queued, once for each client.
    pub events: Counter,
    /// Events lost, once for each client that was too slow.
    pub lost_events: Counter,
    /// Answers lost because a client did not read.
    pub lost_answers: Counter,
    /// Events that a publisher had no room for.
    pub unpublished: Counter,
}
