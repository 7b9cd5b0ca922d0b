//! What the benches share: scenarios, packets, recycled frames, route tables, random numbers, pinning, statistics.
//!
//! benches/README.md tells what each bench measures and how to add one.

pub mod batch;
pub mod cluster;
pub mod images;
pub mod node;
pub mod random;
pub mod ring_io;
pub mod routes;
pub mod scenario;
pub mod stats;

/// Keeps the calling thread on one core; true when the kernel agreed.
pub fn pin(core: usize) -> bool {
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    rustix::thread::sched_setaffinity(None, &set).is_ok()
}
