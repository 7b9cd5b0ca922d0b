//! The thread that takes from the workers what they have to tell of flows: events to `conntrack -E` and others, counts to
//! the API, a full table to the log.
//!
//! # Life cycle
//!
//! It runs for as long as the nfnetlink server does. While nobody listens workers keep no events, and are only asked for their
//! counts.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use conntrack::event::Event;
use conntrack::netlink::{EventTeller, Shards};
use conntrack::shard::Stats;
use crossbeam::channel::{RecvTimeoutError, Sender, bounded};

use super::Flows;
use crate::api::flows::FlowCounts;

/// How often workers are asked for events. One keeps some thousands meanwhile.
const EVERY: Duration = Duration::from_millis(2);
/// How often they are asked for counts.
const COUNTS: Duration = Duration::from_millis(200);
/// How often the log says that the table is full.
const LOG: Duration = Duration::from_secs(1);

/// The running thread. Dropping it ends it.
pub(in super::super) struct Keeper {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Tells by `teller` of these flows.
    pub(in super::super) fn spawn(flows: Arc<Flows>, teller: EventTeller) -> std::io::Result<Self> {
        let (stop, stopped) = bounded(0);
        let now = Instant::now();
        let mut keeping = Keeping {
            flows,
            teller,
            listening: 0,
            count_at: now,
            log_at: now,
            logged: (0, 0),
            lost: 0,
        };
        let thread = std::thread::Builder::new().name("flows".into()).spawn(move || {
            while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                keeping.look();
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that tells of flows panicked");
        }
    }
}

struct Keeping {
    flows: Arc<Flows>,
    teller: EventTeller,
    /// For whom the workers keep events.
    listening: u32,
    count_at: Instant,
    log_at: Instant,
    /// Flows given up early and packets dropped, when the log said so last.
    logged: (u64, u64),
    /// Events that were lost, in all.
    lost: u64,
}

impl Keeping {
    fn look(&mut self) {
        let wanted = self.teller.wanted();
        let changed = wanted != self.listening;
        if changed || wanted != 0 {
            self.events(wanted, changed);
        }
        let now = Instant::now();
        if now >= self.count_at {
            self.count_at = now + COUNTS;
            self.count(now);
        }
    }

    fn events(&mut self, wanted: u32, changed: bool) {
        let mut all = true;
        for worker in 0..self.flows.count() {
            let taken = self.flows.ask(worker, move |shard, _| {
                if changed {
                    shard.listen(wanted);
                }
                let mut events: Vec<Event> = Vec::new();
                shard.take_events(&mut |event| events.push(event));
                (events, shard.take_lost_events())
            });
            let Some((events, lost)) = taken else {
                all = false;
                continue;
            };
            events.iter().for_each(|event| self.teller.tell(event));
            self.lost += lost;
            self.teller.lost(lost);
        }
        self.teller.flush();
        if all {
            self.listening = wanted;
        }
    }

    fn count(&mut self, now: Instant) {
        let flows = &self.flows;
        let asked = (0..flows.count()).map(|n| {
            flows.ask(n, |shard, _| (shard.stats().clone(), shard.import_counts().imported))
        });
        let Some(asked) = asked.collect::<Option<Vec<(Stats, u64)>>>() else { return };
        let imported = asked.iter().map(|(_, imported)| imported).sum();
        let stats: Vec<Stats> = asked.into_iter().map(|(stats, _)| stats).collect();
        let sum = |read: fn(&Stats) -> u64| stats.iter().map(read).sum();
        let counts = FlowCounts {
            tracking: flows.tracking.word().to_owned(),
            flows: stats.iter().map(|stats| u64::from(stats.count)).sum(),
            room: flows.room.into(),
            inserted: sum(|stats| stats.insert),
            insert_failed: sum(|stats| stats.insert_failed),
            invalid: sum(|stats| stats.invalid),
            dropped: sum(|stats| stats.drop),
            early_dropped: sum(|stats| stats.early_drop),
            clashes_resolved: sum(|stats| stats.clash_resolve),
            bad_errors: sum(|stats| stats.error),
            long_chains: sum(|stats| stats.chain_toolong),
            nat_taken: sum(|stats| stats.found.get()),
            events_lost: self.lost,
            imported,
            by_worker: stats.iter().map(|stats| stats.count.into()).collect(),
        };
        let full = (counts.early_dropped, counts.dropped);
        if full != self.logged && now >= self.log_at {
            self.log_at = now + LOG;
            let (early, dropped) = (full.0 - self.logged.0, full.1 - self.logged.1);
            tracing::warn!(
                flows = counts.flows,
                given_up = early,
                packets_dropped = dropped,
                "the flow table is full"
            );
            self.logged = full;
        }
        *flows.counts.lock() = counts;
    }
}
