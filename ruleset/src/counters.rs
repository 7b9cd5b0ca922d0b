//! Packet counters: each worker counts in a cell of its own; a reader adds them up.
//!
//! # Life cycle
//!
//! [`CounterPool::take`] gives a [`Counter`] a place in a chunk, one row of cells for each worker, so that no two workers write
//! one cache line. A clone is the same counter, for what counts without the rule. When the last one is dropped the place is used
//! again; that takes a lock, so it is for the control side.
//!
//! # Who may touch what
//!
//! A cell is written by its worker alone ([`Counter::add`]); the base by the control side alone (`reset`, initial values).

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::ids::WorkerId;
use crate::tally::{Tallies, Tally};

/// Counters of a chunk.
const CHUNK: usize = 256;

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

#[derive(Debug, Default)]
struct Cell {
    packets: AtomicU64,
    bytes: AtomicU64,
}

impl Cell {
    fn get(&self) -> Totals {
        Totals {
            packets: self.packets.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    fn set(&self, totals: Totals) {
        self.packets.store(totals.packets, Ordering::Relaxed);
        self.bytes.store(totals.bytes, Ordering::Relaxed);
    }
}

/// One worker's cells of a chunk, on cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
struct Row([Cell; CHUNK]);

/// A row for each worker.
type Chunk = Arc<[Row]>;

#[derive(Debug, Default)]
struct Free {
    places: Vec<(Chunk, u8)>,
}

/// Where counters come from, and tallies of connections.
#[derive(Clone, Debug)]
pub struct CounterPool {
    free: Arc<Mutex<Free>>,
    workers: usize,
    tallies: Tallies,
}

impl CounterPool {
    /// Counters that `workers` workers count in.
    pub fn new(workers: usize) -> Self {
        let workers = workers.max(1);
        Self { free: Arc::default(), workers, tallies: Tallies::default() }
    }

    /// A tally of connections.
    pub(crate) fn tally(&self) -> Arc<Tally> {
        self.tallies.make(self.workers)
    }

    /// The tallies.
    pub(crate) fn tallies(&self) -> &Tallies {
        &self.tallies
    }

    /// A counter that stands at `start`.
    pub fn take(&self, start: Totals) -> Counter {
        let mut free = self.free.lock();
        if free.places.is_empty() {
            let rows =
                (0..self.workers).map(|_| Row(std::array::from_fn(|_| Cell::default()))).collect();
            let chunk: Chunk = rows;
            free.places.extend((0..=u8::MAX).rev().map(|at| (chunk.clone(), at)));
        }
        let (chunk, at) = free.places.pop().unwrap_or_else(|| {
            // Just filled; a chunk of its own keeps this total.
            (Chunk::from([]), 0)
        });
        drop(free);
        let counter =
            Counter(Arc::new(Place { chunk, at, base: Cell::default(), pool: self.clone() }));
        counter.restart(start);
        counter
    }
}

/// One counter. Those that are equal are the same.
#[derive(Clone, Debug)]
pub struct Counter(Arc<Place>);

#[derive(Debug)]
struct Place {
    chunk: Chunk,
    at: u8,
    /// What to add to the workers' sum; written by the control side.
    base: Cell,
    pool: CounterPool,
}

impl Counter {
    /// Counts a packet. Only `worker` itself calls this with its number.
    #[inline]
    pub fn add(&self, worker: WorkerId, bytes: u64) {
        if let Some(cell) = self
            .0
            .chunk
            .get(usize::from(worker.0))
            .and_then(|row| row.0.get(usize::from(self.0.at)))
        {
            let now = cell.get();
            cell.set(Totals {
                packets: now.packets.wrapping_add(1),
                bytes: now.bytes.wrapping_add(bytes),
            });
        }
    }

    fn sum(&self) -> Totals {
        let place = &*self.0;
        let cells = place.chunk.iter().filter_map(|row| row.0.get(usize::from(place.at)));
        cells.map(Cell::get).fold(Totals::default(), |sum, cell| Totals {
            packets: sum.packets.wrapping_add(cell.packets),
            bytes: sum.bytes.wrapping_add(cell.bytes),
        })
    }

    /// How much was counted.
    pub fn read(&self) -> Totals {
        let (base, sum) = (self.0.base.get(), self.sum());
        Totals {
            packets: base.packets.wrapping_add(sum.packets),
            bytes: base.bytes.wrapping_add(sum.bytes),
        }
    }

    /// Reads it and goes on from zero. Control side only.
    pub fn reset(&self) -> Totals {
        let (base, sum) = (self.0.base.get(), self.sum());
        self.0.base.set(Totals {
            packets: 0u64.wrapping_sub(sum.packets),
            bytes: 0u64.wrapping_sub(sum.bytes),
        });
        Totals {
            packets: base.packets.wrapping_add(sum.packets),
            bytes: base.bytes.wrapping_add(sum.bytes),
        }
    }

    /// Goes on from `start`. Control side only.
    pub fn restart(&self, start: Totals) {
        let sum = self.sum();
        self.0.base.set(Totals {
            packets: start.packets.wrapping_sub(sum.packets),
            bytes: start.bytes.wrapping_sub(sum.bytes),
        });
    }

    /// A counter at zero from the same pool.
    pub fn fresh(&self) -> Self {
        self.0.pool.take(Totals::default())
    }
}

impl PartialEq for Counter {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Counter {}

impl Hash for Counter {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.chunk.is_empty() {
            self.pool.free.lock().places.push((self.chunk.clone(), self.at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_add_up_and_places_are_used_again() {
        let pool = CounterPool::new(2);
        let counter = pool.take(Totals { packets: 5, bytes: 10 });
        counter.add(WorkerId(0), 100);
        counter.add(WorkerId(1), 1);
        assert_eq!(counter.read(), Totals { packets: 7, bytes: 111 });
        assert_eq!(counter.reset(), Totals { packets: 7, bytes: 111 });
        assert_eq!(counter.read(), Totals::default());
        let same = counter.clone();
        counter.add(WorkerId(1), 3);
        drop(counter);
        // What is still held is no other counter's place.
        let other = pool.take(Totals::default());
        same.add(WorkerId(1), 4);
        assert_eq!(same.read(), Totals { packets: 2, bytes: 7 });
        assert_eq!(other.read(), Totals::default());
        assert_ne!(same, other);
        drop((same, other));
        for _ in 0..3 * CHUNK {
            let again = pool.take(Totals::default());
            assert_eq!(again.read(), Totals::default());
        }
        assert_eq!(pool.free.lock().places.len(), CHUNK);
    }
}
