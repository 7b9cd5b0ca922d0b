//! What a shard counts.

use std::cell::Cell;

/// The kernel's counters (`struct ip_conntrack_stat`), of one worker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Tuples that NAT wanted and that were taken.
    pub found: Cell<u64>,
    /// Packets that belong to no connection.
    pub invalid: u64,
    /// Flows confirmed.
    pub insert: u64,
    /// Flows that could not be confirmed: their tuple was there.
    pub insert_failed: u64,
    /// Packets dropped because no flow could be made.
    pub drop: u64,
    /// Flows given up early, for another.
    pub early_drop: u64,
    /// ICMP errors that were malformed.
    pub error: u64,
    /// The kernel's lookups that began anew; none here.
    pub search_restart: u64,
    /// Clashes that were resolved.
    pub clash_resolve: u64,
    /// Keys that found many buckets full on their way into the index.
    pub chain_toolong: u64,
    /// Flows that there are, the unconfirmed among them.
    pub count: u32,
}
