//! The workers: pinned threads that DPDK knows, each calling its turn again and again, easing off when there is nothing to do.
//!
//! # Life cycle
//!
//! [`Runtime::spawn`] starts one thread per core and returns when all run; [`Runtime::stop`] ends and joins them and gives
//! the turns back, so that what they own is dropped (or looked at) by the caller.
//!
//! # Who may touch what
//!
//! A turn belongs to its thread. A turn that panics ends its worker, which [`Runtime::failed`] shows and [`Runtime::stop`]
//! names; in a build with `panic = "abort"` (the release profile) it ends the process. Counters are written by their worker
//! alone and read by anybody.

use std::{
    any::Any,
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread::{Builder, JoinHandle, Thread},
    time::{Duration, Instant},
};

use crate::{
    affinity,
    error::{Error, Result},
    thread::RegisteredThread,
};

/// What a worker does when its turns find nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IdlePolicy {
    /// It goes on polling: the shortest latency, a whole core.
    Poll,
    /// It spins a while, then pauses, then naps, up to 600 µs at a time; [`Runtime::threads`] can be woken.
    #[default]
    Adaptive,
}

/// Empty turns before the first pause: at about 50 ns each, some 50 µs. Shorter gaps are common inside a TCP stream.
const SPINS: u32 = 1_000;
/// Empty turns with a pause before the first nap: some 50 µs more.
const PAUSES: u32 = 500;
/// `pause` instructions per such turn.
const PAUSE_BATCH: u32 = 8;
/// The first nap.
const NAP_FIRST: Duration = Duration::from_micros(20);
/// The longest nap. About half of it is the latency that an idle worker adds; waking costs some 20 µs of CPU time in a
/// virtual machine, so this keeps an idle worker under 5 % of a core (examples/burst, idle: 2.4 to 3.7 %; 400 µs took 6). Naps
/// grow to it within a millisecond, so an answer to a packet just forwarded meets a short one.
const NAP_LAST: Duration = Duration::from_micros(600);

/// What a worker's thread counted since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerStats {
    /// Turns.
    pub turns: u64,
    /// Turns that handled no frame.
    pub empty_turns: u64,
    /// Naps.
    pub naps: u64,
    /// Time in naps.
    pub napped: Duration,
}

/// The cells behind [`WorkerStats`], on a cache line of their own. Written by the worker alone.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Cells {
    turns: AtomicU64,
    empty_turns: AtomicU64,
    naps: AtomicU64,
    napped_ns: AtomicU64,
    ended: AtomicBool,
}

/// Adds to a cell that only the calling thread writes.
#[inline(always)]
fn add(cell: &AtomicU64, n: u64) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

/// Counts empty turns in a row and decides how to wait.
#[derive(Debug)]
struct Idle {
    policy: IdlePolicy,
    empty: u32,
    nap: Duration,
}

/// What to do after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    No,
    Pause,
    Nap(Duration),
}

impl Idle {
    fn new(policy: IdlePolicy) -> Idle {
        Idle { policy, empty: 0, nap: NAP_FIRST }
    }

    #[inline]
    fn after(&mut self, handled: usize) -> Wait {
        if handled != 0 {
            self.empty = 0;
            self.nap = NAP_FIRST;
            return Wait::No;
        }
        if self.policy == IdlePolicy::Poll {
            return Wait::No;
        }
        self.empty = self.empty.saturating_add(1);
        if self.empty <= SPINS {
            Wait::No
        } else if self.empty <= SPINS + PAUSES {
            Wait::Pause
        } else {
            let nap = self.nap;
            self.nap = (nap * 2).min(NAP_LAST);
            Wait::Nap(nap)
        }
    }
}

/// The running workers.
pub struct Runtime<F> {
    workers: Vec<Worker<F>>,
    stop: Arc<AtomicBool>,
}

impl<F> std::fmt::Debug for Runtime<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.workers.iter().map(|worker| worker.core)).finish()
    }
}

struct Worker<F> {
    core: usize,
    cells: Arc<Cells>,
    thread: JoinHandle<Result<F>>,
}

impl<F> Runtime<F>
where
    F: FnMut(Duration) -> usize + Send + 'static,
{
    /// Starts one worker per core: `turns[i]` on `cores[i]`, in a thread `worker-i` that is pinned there and registered with
    /// DPDK. A turn gets the time since `origin` and returns how many frames it handled.
    ///
    /// # Errors
    ///
    /// A core that is named twice or that the process may not use; a thread that cannot start. Nothing runs then.
    pub fn spawn(
        cores: &[usize],
        idle: IdlePolicy,
        origin: Instant,
        turns: Vec<F>,
    ) -> Result<Runtime<F>> {
        check_cores(cores, turns.len())?;
        let stop = Arc::new(AtomicBool::new(false));
        let mut workers = Vec::new();
        for (number, (&core, turn)) in cores.iter().zip(turns).enumerate() {
            let cells = Arc::new(Cells::default());
            let (ready, is_ready) = mpsc::channel();
            let (thread_cells, thread_stop) = (Arc::clone(&cells), Arc::clone(&stop));
            let spawned = Builder::new().name(format!("worker-{number}")).spawn(move || {
                let result =
                    run(number, core, idle, origin, turn, &thread_cells, &thread_stop, &ready);
                thread_cells.ended.store(true, Ordering::Release);
                result
            });
            let started = match spawned {
                Err(error) => Err(Error::WorkerStart { worker: number, reason: error.to_string() }),
                Ok(thread) => match is_ready.recv() {
                    Ok(()) => Ok(thread),
                    // It ended before it was ready: its result says why.
                    Err(_) => Err(join(number, thread).err().unwrap_or(Error::WorkerStart {
                        worker: number,
                        reason: "it ended at once".into(),
                    })),
                },
            };
            match started {
                Ok(thread) => workers.push(Worker { core, cells, thread }),
                Err(error) => {
                    let _turns = Runtime { workers, stop }.stop();
                    return Err(error);
                }
            }
        }
        Ok(Runtime { workers, stop })
    }

    /// The workers' cores, in order.
    pub fn cores(&self) -> Vec<usize> {
        self.workers.iter().map(|worker| worker.core).collect()
    }

    /// The workers' threads, in order. To unpark one ends its nap, so that it looks at its messages now.
    pub fn threads(&self) -> Vec<Thread> {
        self.workers.iter().map(|worker| worker.thread.thread().clone()).collect()
    }

    /// What each worker counted, in order.
    pub fn stats(&self) -> Vec<WorkerStats> {
        let read = |cells: &Cells| WorkerStats {
            turns: cells.turns.load(Ordering::Relaxed),
            empty_turns: cells.empty_turns.load(Ordering::Relaxed),
            naps: cells.naps.load(Ordering::Relaxed),
            napped: Duration::from_nanos(cells.napped_ns.load(Ordering::Relaxed)),
        };
        self.workers.iter().map(|worker| read(&worker.cells)).collect()
    }

    /// Whether a worker ended without being told to: it panicked, and [`Runtime::stop`] will say how. To be asked now and
    /// then by whoever watches.
    pub fn failed(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
            && self.workers.iter().any(|worker| worker.cells.ended.load(Ordering::Acquire))
    }

    /// Ends the workers after their turn, waits for them, and gives their turns back in order.
    ///
    /// # Errors
    ///
    /// [`Error::WorkerPanicked`] of the first that did; the others are ended all the same.
    pub fn stop(self) -> Result<Vec<F>> {
        self.stop.store(true, Ordering::Release);
        let joined: Vec<Result<F>> = self
            .workers
            .into_iter()
            .enumerate()
            .map(|(number, worker)| join(number, worker.thread))
            .collect();
        joined.into_iter().collect()
    }
}

fn check_cores(cores: &[usize], turns: usize) -> Result<()> {
    if cores.len() != turns {
        return Err(Error::Config {
            what: "number of workers",
            value: turns.to_string(),
            reason: format!("there are {} cores", cores.len()),
        });
    }
    let allowed = affinity::allowed().unwrap_or_default();
    let mut seen = BTreeSet::new();
    for &core in cores {
        if !allowed.contains(&core) {
            return Err(Error::Core { core, reason: format!("the process may use {allowed:?}") });
        }
        if !seen.insert(core) {
            return Err(Error::Core { core, reason: "it is named twice".into() });
        }
    }
    Ok(())
}

/// A worker's thread, from its start to its end.
#[expect(clippy::too_many_arguments, reason = "a thread's start: each is used once")]
fn run<F: FnMut(Duration) -> usize>(
    number: usize,
    core: usize,
    policy: IdlePolicy,
    origin: Instant,
    mut turn: F,
    cells: &Cells,
    stop: &AtomicBool,
    ready: &mpsc::Sender<()>,
) -> Result<F> {
    affinity::pin(core).map_err(|error| Error::Core { core, reason: error.to_string() })?;
    let _registered = RegisteredThread::new().map_err(|reason| Error::WorkerStart {
        worker: number,
        reason: format!("DPDK does not register it: {reason}"),
    })?;
    // The kernel may stretch a sleep by 50 µs unless told otherwise; a refusal costs latency only.
    // SAFETY: sets a number of the calling thread.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_000 as libc::c_ulong) };
    let _gone = ready.send(());
    let looped = catch_unwind(AssertUnwindSafe(|| {
        let mut idle = Idle::new(policy);
        while !stop.load(Ordering::Relaxed) {
            let handled = turn(origin.elapsed());
            add(&cells.turns, 1);
            if handled == 0 {
                add(&cells.empty_turns, 1);
            }
            match idle.after(handled) {
                Wait::No => {}
                Wait::Pause => (0..PAUSE_BATCH).for_each(|_| std::hint::spin_loop()),
                Wait::Nap(length) => {
                    let before = Instant::now();
                    std::thread::park_timeout(length);
                    add(&cells.naps, 1);
                    add(&cells.napped_ns, before.elapsed().as_nanos() as u64);
                }
            }
        }
    }));
    match looped {
        Ok(()) => Ok(turn),
        Err(panic) => {
            Err(Error::WorkerPanicked { worker: number, message: message(panic.as_ref()) })
        }
    }
}

fn join<F>(number: usize, thread: JoinHandle<Result<F>>) -> Result<F> {
    // `run` catches panics of the turn; one that escapes (from a drop, say) is reported likewise.
    thread.join().unwrap_or_else(|panic| {
        Err(Error::WorkerPanicked { worker: number, message: message(panic.as_ref()) })
    })
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_worker_spins_then_pauses_then_naps_longer_and_longer() {
        let mut idle = Idle::new(IdlePolicy::Adaptive);
        let waits: Vec<Wait> = (0..SPINS + PAUSES + 8).map(|_| idle.after(0)).collect();
        let (spins, rest) = waits.split_at(SPINS as usize);
        let (pauses, naps) = rest.split_at(PAUSES as usize);
        assert!(
            spins.iter().all(|wait| *wait == Wait::No)
                && pauses.iter().all(|wait| *wait == Wait::Pause)
        );
        let micros: Vec<u64> = naps
            .iter()
            .map(|wait| {
                if let Wait::Nap(length) = wait {
                    length.as_micros() as u64
                } else {
                    panic!("{wait:?}")
                }
            })
            .collect();
        assert_eq!(micros, [20, 40, 80, 160, 320, 600, 600, 600]);
        assert_eq!(idle.after(1), Wait::No);
        assert_eq!(idle.after(0), Wait::No, "work begins it anew");
    }

    #[test]
    fn a_polling_worker_never_waits() {
        let mut idle = Idle::new(IdlePolicy::Poll);
        assert!((0..10_000).all(|_| idle.after(0) == Wait::No));
    }

    #[test]
    fn cores_are_checked() {
        let core = affinity::allowed().unwrap()[0];
        assert!(matches!(check_cores(&[core, core], 2), Err(Error::Core { .. })));
        assert!(matches!(check_cores(&[9999], 1), Err(Error::Core { core: 9999, .. })));
        assert!(check_cores(&[core], 2).is_err() && check_cores(&[core], 1).is_ok());
    }
}
