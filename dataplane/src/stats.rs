//! Counters: cells that one worker writes and anybody reads; summed when read.

use std::sync::atomic::{AtomicU64, Ordering};

use packet::{DropReason, PortIndex};

/// A counter with one writer. The writer adds without a locked instruction; readers see a recent value.
#[derive(Debug, Default)]
pub struct Cell(AtomicU64);

impl Cell {
    /// Adds `n`. Only the owning worker calls this.
    #[inline(always)]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Replaces the value. Only the owning worker calls this.
    #[inline(always)]
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Release);
    }

    /// The value, from any thread.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// What one worker counted on one port.
#[derive(Debug)]
#[repr(align(128))]
pub struct PortStats {
    /// Frames received.
    pub rx_packets: Cell,
    /// Their bytes.
    pub rx_bytes: Cell,
    /// Frames that the device took.
    pub tx_packets: Cell,
    /// Their bytes.
    pub tx_bytes: Cell,
    /// Frames handed to the kernel twin.
    pub to_twin: Cell,
    /// Frames that the kernel sent on the twin.
    pub from_twin: Cell,
    /// Dropped frames by reason: those received here, or, for reasons of transmission, to be sent here.
    drops: [Cell; DropReason::COUNT],
}

impl Default for PortStats {
    fn default() -> Self {
        Self {
            rx_packets: Cell::default(),
            rx_bytes: Cell::default(),
            tx_packets: Cell::default(),
            tx_bytes: Cell::default(),
            to_twin: Cell::default(),
            from_twin: Cell::default(),
            drops: std::array::from_fn(|_| Cell::default()),
        }
    }
}

impl PortStats {
    /// Counts `n` drops.
    #[inline(always)]
    pub fn drop(&self, reason: DropReason, n: u64) {
        if let Some(cell) = self.drops.get(reason as usize) {
            cell.add(n);
        }
    }

    /// How many frames were dropped for `reason`.
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.drops.get(reason as usize).map_or(0, Cell::get)
    }
}

/// Everything that one worker counts. The worker writes, the control side reads.
#[derive(Debug)]
pub struct WorkerStats {
    /// By [`PortIndex`].
    ports: Vec<PortStats>,
    /// The generation of the tables that the worker runs.
    pub generation: Cell,
    /// The generation of the ruleset that the worker runs.
    pub ruleset: Cell,
    /// Packets that rules wanted logged but that exceed the rate, or found the way to the log full.
    pub logs_suppressed: Cell,
    /// Steps of traced packets that found the way to listeners full.
    pub traces_lost: Cell,
    /// ICMP and ICMPv6 errors sent.
    pub icmp_sent: Cell,
    /// ICMP and ICMPv6 errors that the rate limit held back.
    pub icmp_limited: Cell,
    /// Packets that were cut into fragments.
    pub fragmented: Cell,
    /// Packets whose verdict was remembered by their flow.
    pub replayed: Cell,
    /// Frames handed to the workers that they belong to.
    pub handed_over: Cell,
    /// Frames passed on to the node that took over.
    pub passed_on: Cell,
    /// First packets that waited until a standby had their flow.
    pub deferred: Cell,
    /// Flows whose first packets waited in vain.
    pub defer_overdue: Cell,
    /// Packets waiting for their next hop's address now.
    pub waiting: Cell,
}

impl WorkerStats {
    /// Zeros for `ports` ports.
    pub fn new(ports: usize) -> Self {
        Self {
            ports: (0..ports).map(|_| PortStats::default()).collect(),
            generation: Cell::default(),
            ruleset: Cell::default(),
            logs_suppressed: Cell::default(),
            traces_lost: Cell::default(),
            icmp_sent: Cell::default(),
            icmp_limited: Cell::default(),
            fragmented: Cell::default(),
            replayed: Cell::default(),
            handed_over: Cell::default(),
            passed_on: Cell::default(),
            deferred: Cell::default(),
            defer_overdue: Cell::default(),
            waiting: Cell::default(),
        }
    }

    /// One port's counters; `None` for a port that does not exist.
    #[inline(always)]
    pub fn port(&self, port: PortIndex) -> Option<&PortStats> {
        self.ports.get(usize::from(port.0))
    }
}
