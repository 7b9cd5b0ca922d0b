//! The control side of forwarding: the kernel's state goes to the workers, their questions to the kernel.
//!
//! # Overview
//!
//! [`Control`] holds the [`Rib`] and the workers' ropes. The mirror's thread applies batches; whoever changes the Rib
//! publishes. The control thread serves what workers say (dropping the tables that they let go of, asking for
//! neighbours), follows the ports' links, and watches that the workers live.
//!
//! # Who may touch what
//!
//! The nfnetlink thread hands over programs and waits until all workers run them. The Rib is behind a lock that is held for the time of a change; no worker ever takes it. Tables that a worker did not
//! take because its queue was full wait in `behind`, newest only.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam::channel::{Receiver, Select, Sender, TryRecvError, TrySendError, bounded};
use dataplane::control::{Arrival, Arrivals, FlowJob, FromWorker, ToWorker, WallClock};
use dataplane::rib::{IfIndex, Rib};
use dataplane::stats::WorkerStats;
use dataplane::tables::{PortState, Tables};
use packet::PortIndex;
use parking_lot::Mutex;
use ruleset::program::Program;

use crate::mirror::Batch;

/// How often links are looked at and workers watched: some devices take up a new peer only when asked.
const TICK: Duration = Duration::from_millis(200);

/// How long workers may take to run new rules before a commit is acknowledged without them.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// One worker as the control side knows it.
pub(super) struct Rope {
    /// Messages to the worker.
    pub(super) control: Sender<ToWorker>,
    /// Its counters.
    pub(super) stats: Arc<WorkerStats>,
    /// Its time of day, to set.
    pub(super) wall: WallClock,
}

/// The Rib and the way to the workers.
pub(super) struct Control {
    rib: Mutex<Rib>,
    ropes: Vec<Rope>,
    /// By worker: tables that it has still to be given.
    behind: Mutex<Vec<Option<Arc<Tables>>>>,
    programs: Mutex<Programs>,
    /// The workers' threads, to end their naps; set once they run.
    threads: OnceLock<Vec<Thread>>,
    /// How long the workers took to run the last program, in nanoseconds. Written by the nfnetlink thread.
    adoption: AtomicU64,
}

/// Programs on their way to workers.
#[derive(Default)]
struct Programs {
    /// The workers run, or will at once, so that they can be waited for.
    running: bool,
    /// By worker: the program that it has still to be given.
    behind: Vec<Option<(Arc<Program>, Arrival)>>,
}

impl Control {
    /// The control side of these workers, which run what `rib` published last.
    pub(super) fn new(rib: Rib, ropes: Vec<Rope>) -> Self {
        let behind = Mutex::new(ropes.iter().map(|_| None).collect());
        Self {
            rib: Mutex::new(rib),
            ropes,
            behind,
            programs: Mutex::default(),
            threads: OnceLock::new(),
            adoption: AtomicU64::new(0),
        }
    }

    /// The workers are about to run: they find the rules of [`Self::run_program`] before they see a packet.
    pub(super) fn begin(&self) {
        let mut programs = self.programs.lock();
        programs.running = true;
        self.give(&mut programs);
    }

    /// The workers run, in these threads.
    pub(super) fn run_in(&self, threads: Vec<Thread>) {
        // Called once, at the start.
        let _ = self.threads.set(threads);
    }

    /// Ends the naps of workers that rest.
    fn wake(&self) {
        self.threads.get().into_iter().flatten().for_each(Thread::unpark);
    }

    /// Ends a worker's nap.
    pub(super) fn unpark(&self, worker: usize) {
        if let Some(thread) = self.threads.get().and_then(|threads| threads.get(worker)) {
            thread.unpark();
        }
    }

    /// Tells workers to whom they pass packets on, by port, while this node redirects.
    pub(super) fn pass_on(&self, onward: &[Option<[u8; 6]>]) {
        for rope in &self.ropes {
            // A full queue: the worker has other trouble, and drops what it would pass on.
            let told = rope.control.try_send(ToWorker::PassOn(onward.to_vec()));
            if told.is_err() {
                tracing::warn!("a worker was not told to whom packets go on");
            }
        }
        self.wake();
    }

    /// Has all workers run these rules, and returns when they do; before they run, they will begin with these. A worker that is
    /// gone is not waited for, one that does not answer not for long. Called by one thread, the nfnetlink server's.
    pub(super) fn run_program(&self, program: &Arc<Program>) {
        let begun = Instant::now();
        let (arrivals, each) = Arrivals::new(self.ropes.len());
        {
            let mut programs = self.programs.lock();
            programs.behind = each.map(|arrival| Some((program.clone(), arrival))).collect();
            if !programs.running {
                return;
            }
            self.give(&mut programs);
        }
        self.wake();
        if !arrivals.wait(PATIENCE) {
            let generation = program.generation.0;
            tracing::error!(generation, "a worker did not take up the rules within {PATIENCE:?}");
        }
        let took = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.adoption.store(took, Ordering::Relaxed);
    }

    /// Hands a worker something to do to its flows, and ends its nap. False where it is gone, where it has too much to do, and
    /// before the workers run: nobody may wait for them then.
    pub(super) fn flow_job(&self, worker: usize, job: FlowJob) -> bool {
        let Some(rope) = self.ropes.get(worker) else { return false };
        let Some(threads) = self.threads.get() else { return false };
        let handed = rope.control.send_timeout(ToWorker::Flows(job), PATIENCE).is_ok();
        if let Some(thread) = threads.get(worker) {
            thread.unpark();
        }
        handed
    }

    /// How long the workers took to run the last program.
    pub(super) fn adoption(&self) -> Duration {
        Duration::from_nanos(self.adoption.load(Ordering::Relaxed))
    }

    /// Gives workers the programs that they have still to be given. To a worker that is gone nothing is owed.
    fn give(&self, programs: &mut Programs) {
        for (rope, behind) in self.ropes.iter().zip(&mut programs.behind) {
            *behind = behind.take().and_then(|(program, arrival)| {
                match rope.control.try_send(ToWorker::Program(program, arrival)) {
                    Err(TrySendError::Full(ToWorker::Program(program, arrival))) => {
                        Some((program, arrival))
                    }
                    _ => None,
                }
            });
        }
    }

    /// Tells the workers the time of day; `origin` is their tick 0.
    pub(super) fn set_clocks(&self, origin: Instant) {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at_origin = since_1970.saturating_sub(origin.elapsed()).as_nanos();
        for rope in &self.ropes {
            rope.wall.store(u64::try_from(at_origin).unwrap_or(0), Ordering::Relaxed);
        }
    }

    /// The workers' counters, in order.
    pub(super) fn stats(&self) -> impl Iterator<Item = &Arc<WorkerStats>> {
        self.ropes.iter().map(|rope| &rope.stats)
    }

    /// Takes in what the mirror says, and publishes.
    pub(super) fn apply(&self, batch: Batch) {
        let mut rib = self.rib.lock();
        for change in batch.changes {
            rib.apply(change);
        }
        self.publish(&mut rib);
    }

    /// Changes a port's link, and publishes. True if it differs.
    pub(super) fn set_link(&self, port: PortIndex, up: bool) -> bool {
        let mut rib = self.rib.lock();
        match rib.port(port) {
            Some(state) if state.up != up => {
                rib.set_port(port, PortState { up, ..state });
                self.publish(&mut rib);
                true
            }
            _ => false,
        }
    }

    /// Tells every worker its share of a new rate of ICMP errors. False if a worker could not be told.
    pub(super) fn set_icmp_rate(&self, total: u32) -> bool {
        let workers = u32::try_from(self.ropes.len()).unwrap_or(u32::MAX);
        self.ropes.iter().enumerate().all(|(n, rope)| {
            let share = icmp_share(total, u32::try_from(n).unwrap_or(0), workers);
            rope.control.send_timeout(ToWorker::IcmpRate(share), Duration::from_secs(1)).is_ok()
        })
    }

    /// Reads the Rib.
    pub(super) fn read<T>(&self, read: impl FnOnce(&Rib) -> T) -> T {
        read(&self.rib.lock())
    }

    /// Gives the workers what is new, if there is any and the tables before the last are free again; else the next
    /// message that a worker hands them back with brings us here again.
    fn publish(&self, rib: &mut Rib) {
        if let Some(tables) = rib.publish() {
            let mut behind = self.behind.lock();
            for (rope, behind) in self.ropes.iter().zip(behind.iter_mut()) {
                *behind = adopt(rope, tables.clone());
            }
        }
    }

    /// Gives again what could not be given, and publishes what could not be published.
    fn catch_up(&self) {
        {
            let mut behind = self.behind.lock();
            for (rope, behind) in self.ropes.iter().zip(behind.iter_mut()) {
                *behind = behind.take().and_then(|tables| adopt(rope, tables));
            }
        }
        self.publish(&mut self.rib.lock());
        let mut programs = self.programs.lock();
        if programs.running {
            self.give(&mut programs);
        }
    }
}

/// Sends tables; those that the worker's queue has no room for come back.
fn adopt(rope: &Rope, tables: Arc<Tables>) -> Option<Arc<Tables>> {
    match rope.control.try_send(ToWorker::Adopt(tables)) {
        Err(TrySendError::Full(ToWorker::Adopt(tables))) => Some(tables),
        _ => None,
    }
}

/// One worker's share of a rate for all, so that the shares add up to it.
pub(super) fn icmp_share(total: u32, worker: u32, workers: u32) -> u32 {
    total / workers.max(1) + u32::from(worker < total % workers.max(1))
}

/// What the control thread does beside serving workers.
pub(super) struct Duties {
    /// Passes a question on to the kernel.
    pub(super) resolve: Box<dyn Fn(IfIndex, IpAddr) + Send>,
    /// Looks at links and workers, every [`TICK`].
    pub(super) tick: Box<dyn FnMut() + Send>,
}

/// The running control thread. Dropping it stops it.
pub(super) struct ControlThread {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ControlThread {
    /// Starts the thread over the workers' words.
    pub(super) fn spawn(
        control: Arc<Control>,
        up: Vec<Receiver<FromWorker>>,
        duties: Duties,
    ) -> std::io::Result<Self> {
        let (stop, stopped) = bounded(0);
        let thread = std::thread::Builder::new()
            .name("control".into())
            .spawn(move || serve(&control, up, duties, &stopped))?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for ControlThread {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the control thread panicked");
        }
    }
}

/// Serves until `stopped` is disconnected.
fn serve(
    control: &Control,
    mut up: Vec<Receiver<FromWorker>>,
    mut duties: Duties,
    stopped: &Receiver<()>,
) {
    let mut next_tick = std::time::Instant::now();
    loop {
        let now = std::time::Instant::now();
        if now >= next_tick {
            next_tick = now + TICK;
            (duties.tick)();
            control.catch_up();
        }
        let mut select = Select::new();
        for receiver in &up {
            select.recv(receiver);
        }
        let stop = select.recv(stopped);
        let ready = select.ready_timeout(next_tick.saturating_duration_since(now));
        drop(select);
        match ready {
            // Whoever stops us let go of the other end. (Being ready alone proves nothing: crossbeam may say it in vain.)
            Ok(ready) if ready == stop && stopped.try_recv() == Err(TryRecvError::Disconnected) => {
                return;
            }
            Ok(ready) if !serve_worker(control, &up, ready, &duties) => {
                // Its worker is gone; it would be ready for ever.
                up.remove(ready);
            }
            _ => {}
        }
    }
}

/// Serves all that one worker said; false when it is gone.
fn serve_worker(
    control: &Control,
    up: &[Receiver<FromWorker>],
    ready: usize,
    duties: &Duties,
) -> bool {
    let Some(receiver) = up.get(ready) else { return true };
    let mut retired = false;
    let ended = loop {
        match receiver.try_recv() {
            Ok(FromWorker::Resolve { iface, addr }) => (duties.resolve)(iface, addr),
            // Dropped here: freeing a large table takes time that no worker has.
            Ok(FromWorker::Retired(tables)) => {
                drop(tables);
                retired = true;
            }
            Ok(FromWorker::RetiredPassOn(_)) => {}
            Ok(FromWorker::RetiredProgram(program, _recipes)) => {
                drop(program);
                retired = true;
            }
            Err(error) => break error,
        }
    };
    if retired {
        control.catch_up();
    }
    ended != TryRecvError::Disconnected
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_the_icmp_rate_add_up() {
        for (total, workers) in [(1000, 3), (2, 4), (0, 2), (7, 1)] {
            let shares: Vec<u32> = (0..workers).map(|n| icmp_share(total, n, workers)).collect();
            assert_eq!(shares.iter().sum::<u32>(), total, "{shares:?}");
            assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1, "{shares:?}");
        }
    }

    #[test]
    fn workers_get_each_publication_and_a_full_queue_gets_the_newest_later() {
        use dataplane::tables::PortMode;
        let state =
            PortState { mode: PortMode::Routed, up: false, max_frame: 1522, vlan_insert: false };
        let mut rib = Rib::new(vec![state]);
        let first = rib.publish().unwrap();
        drop(first);
        let (control, to_worker) = bounded(1);
        let stats = Arc::new(WorkerStats::new(1));
        let rope = Rope { control, stats, wall: WallClock::default() };
        let control = Control::new(rib, vec![rope]);
        assert!(control.set_link(PortIndex(0), true));
        assert!(!control.set_link(PortIndex(0), true), "nothing new");
        assert!(control.set_link(PortIndex(0), false));
        let adopted = |message| match message {
            ToWorker::Adopt(tables) => tables.port(PortIndex(0)).unwrap().state.up,
            other => panic!("{other:?}"),
        };
        assert!(adopted(to_worker.try_recv().unwrap()), "the first change");
        assert!(to_worker.try_recv().is_err(), "the second found the queue full");
        control.catch_up();
        assert!(!adopted(to_worker.try_recv().unwrap()), "and comes later");
        control.catch_up();
        assert!(to_worker.try_recv().is_err(), "once");
    }
}
