//! What the benches share: seeded random numbers, route tables that look like the internet's, pinning, statistics.
//!
//! benches/README.md tells what each bench measures and how to add one.

pub mod random;
pub mod routes;
pub mod stats;

/// Keeps the calling thread on one core; true when the kernel agreed.
pub fn pin(core: usize) -> bool {
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    rustix::thread::sched_setaffinity(None, &set).is_ok()
}
