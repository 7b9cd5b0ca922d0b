//! Shards as the daemon has them, but that jobs run on the thread that asks; and an engine over them for datagrams by hand.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use conntrack::netlink::nat::{Choice, Side};
use conntrack::netlink::{
    CtExpect, CtNetlink, CtTimeout, Epoch, EventTeller, Job, Shards, Timeouts,
};
use conntrack::{Config, Direction, Shard, Slot};
use nfnetlink::server::Stats;
use nfnetlink::{Engine, Messages, Subsystem};
use packet::{FlowKey, Tick};

/// Workers as the daemon has them, but that jobs run on the thread that asks.
pub(crate) struct Workers {
    shards: Vec<Mutex<Shard>>,
    start: Instant,
    teller: Mutex<Option<EventTeller>>,
    /// Jobs that ran, the nanoseconds that the longest took, and all of them.
    pub jobs: AtomicUsize,
    pub longest: AtomicU64,
    pub spent: AtomicU64,
}

impl Workers {
    /// So many, with room for `max` flows each.
    pub(crate) fn new(count: u16, max: u32) -> Self {
        let shard = |worker| Mutex::new(Shard::new(Config { max, worker }).unwrap());
        Self {
            shards: (0..count).map(shard).collect(),
            start: Instant::now(),
            teller: Mutex::new(None),
            jobs: AtomicUsize::new(0),
            longest: AtomicU64::new(0),
            spent: AtomicU64::new(0),
        }
    }

    /// Tells what happens from now on.
    pub(crate) fn tell_by(&self, teller: EventTeller) {
        *self.teller.lock().unwrap() = Some(teller);
    }

    pub(crate) fn now(&self) -> Tick {
        Tick::at(self.start.elapsed())
    }

    /// Does something with a shard, and tells of it.
    pub(crate) fn with<T>(&self, shard: usize, work: impl FnOnce(&mut Shard, Tick) -> T) -> T {
        let mut shard = self.shards[shard].lock().unwrap();
        let mut teller = self.teller.lock().unwrap();
        if let Some(teller) = &*teller {
            shard.listen(teller.wanted());
        }
        let now = self.now();
        shard.expire(now, 1000);
        let done = work(&mut shard, now);
        if let Some(teller) = &mut *teller {
            shard.take_events(&mut |event| teller.tell(&event));
            teller.lost(shard.take_lost_events());
            teller.flush();
        }
        done
    }
}

impl Shards for Workers {
    fn count(&self) -> usize {
        self.shards.len()
    }

    fn owner(&self, key: &FlowKey) -> usize {
        // The same for both directions.
        let bytes = key.src.iter().chain(&key.dst).chain(&key.sport).chain(&key.dport);
        bytes.fold(0, |sum, byte| sum + usize::from(*byte)) % self.shards.len()
    }

    fn run(&self, shard: usize, job: Job) -> bool {
        self.jobs.fetch_add(1, Ordering::Relaxed);
        self.with(shard, |shard, now| {
            let start = Instant::now();
            job(shard, now);
            let took = start.elapsed().as_nanos() as u64;
            self.longest.fetch_max(took, Ordering::Relaxed);
            self.spent.fetch_add(took, Ordering::Relaxed);
        });
        true
    }
}

/// Chooses as a worker does; the reply may belong to another one, as in a daemon where no port qualifies.
struct Picker;

impl nat::Pick for Picker {
    fn random(&mut self) -> u32 {
        4
    }

    fn is_mine(&self, _reply: &FlowKey) -> bool {
        true
    }
}

fn bind(shard: &mut Shard, slot: Slot, side: Side, choice: &Choice) -> bool {
    let manip = match side {
        Side::Source => nat::Manip::Source,
        Side::Destination => nat::Manip::Destination,
    };
    let Choice { addrs, ports } = *choice;
    let range = nat::Range { addrs, ports, ..nat::Range::default() };
    nat::bind(shard, slot, manip, &range, &mut Picker).is_ok()
}

/// What answers for them.
pub(crate) fn subsystems(workers: &Arc<Workers>, epoch: Epoch) -> [Box<dyn Subsystem>; 3] {
    let shards: Arc<dyn Shards> = workers.clone();
    [
        Box::new(CtNetlink::new(shards.clone(), epoch, Some(Box::new(bind)))),
        Box::new(CtExpect::new(shards.clone())),
        Box::new(CtTimeout::new(Timeouts::default(), shards)),
    ]
}

/// Two small shards, and a client that sends them datagrams.
pub(crate) struct Whole {
    workers: Arc<Workers>,
    engine: Engine,
    client: u64,
}

impl Whole {
    pub(crate) fn new() -> Self {
        let workers = Arc::new(Workers::new(2, 64));
        let mut engine = Engine::new(1 << 20, 1, Arc::new(Stats::default()));
        for subsystem in subsystems(&workers, Epoch(0)) {
            engine.register(subsystem);
        }
        let client = engine.connect(0, 1, true);
        Self { workers, engine, client }
    }

    /// Sends a datagram and returns how many messages come back.
    pub(crate) fn send(&mut self, datagram: &[u8]) -> usize {
        self.engine.datagram(self.client, datagram);
        let mut answered = 0;
        // A dump ends: of at most 128 flows, one answer of each and the end.
        for _ in 0..10_000 {
            let Some((frame, outgoing)) = self.engine.front(self.client) else { return answered };
            answered += Messages::new(&outgoing.bytes).count();
            self.engine.sent(self.client, frame);
        }
        panic!("a dump without end");
    }

    /// How many flows there are; each is found by both its keys, and nothing else is held.
    pub(crate) fn check(&self) -> u32 {
        let mut flows = 0;
        for shard in 0..self.workers.count() {
            self.workers.with(shard, |shard, _| {
                let mut here = 0;
                let next = shard.walk(Slot(0), 1000, &mut |slot, flow| {
                    here += 1;
                    for direction in [Direction::Original, Direction::Reply] {
                        let key = flow.key(direction);
                        assert_eq!(shard.find(key, shard.hash(key)), Some((slot, direction)));
                    }
                });
                assert_eq!(next, None);
                assert_eq!(shard.stats().count, here, "one was neither confirmed nor discarded");
                flows += here;
            });
        }
        flows
    }
}
