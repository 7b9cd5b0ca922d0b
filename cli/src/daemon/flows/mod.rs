//! Flows as the rest of the daemon sees them: they belong to the workers, who do what is asked between two bursts.
//!
//! # Overview
//!
//! ```text
//! conntrack, nfct --nfnetlink thread--\
//! twinwall flows, sysctl --API--------+--Job--> `Flows` --> a worker's shard
//! keeper thread (events, counts) -----/
//! ```
//!
//! # Who may touch what
//!
//! Any thread may ask; it waits until the worker has answered, at most for as long as a worker may be silent. No worker waits.

mod bind;
mod keeper;
mod list;
mod seen;

use std::sync::Arc;

use conntrack::netlink::{CtExpect, CtNetlink, CtTimeout, Epoch, Job, Shards, Timeouts};
use conntrack::settings::{self, SettingError, Settings};
use conntrack::shard::Shard;
use crossbeam::channel::bounded;
use dataplane::control::FlowJob;
use dataplane::owners::Owners;
use nfnetlink::Server;
use packet::{FlowKey, Tick};
use parking_lot::Mutex;

use crate::api::flows::{FlowCounts, Sysctl};
use crate::config::Tracking;
use crate::config::conntrack::MAX;

use super::control::Control;

pub(super) use keeper::Keeper;
pub(super) use list::list;
pub(super) use seen::seen;

/// The flows of all workers.
pub(super) struct Flows {
    control: Arc<Control>,
    owners: Owners,
    /// Flows that all shards together have room for.
    room: u32,
    tracking: Tracking,
    /// As the keeper saw them last.
    counts: Mutex<FlowCounts>,
}

impl Flows {
    /// Those of the workers behind `control`, by their owners, with room for so many.
    pub(super) fn new(
        control: Arc<Control>,
        owners: Owners,
        room: u32,
        tracking: Tracking,
    ) -> Self {
        Self { control, owners, room, tracking, counts: Mutex::default() }
    }

    /// The flows that have subsystems of their own: ctnetlink's and cttimeout's.
    pub(super) fn register(self: &Arc<Self>, server: &mut Server, epoch: Epoch) {
        let bind = bind::bind(self.owners);
        server.register(Box::new(CtNetlink::new(self.clone(), epoch, Some(bind))));
        server.register(Box::new(CtExpect::new(self.clone())));
        server.register(Box::new(CtTimeout::new(Timeouts::default(), self.clone())));
    }

    /// Has a worker do something, and gives what comes of it; `None` where the worker is gone.
    fn ask<T: Send + 'static>(
        &self,
        worker: usize,
        work: impl FnOnce(&mut Shard, Tick) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = bounded(1);
        let job: Job = Box::new(move |shard, now| {
            // Who asked may have lost patience.
            let _ = answer.send(work(shard, now));
        });
        if self.run(worker, job) { answered.try_recv().ok() } else { None }
    }

    /// How many there are, and what was counted, a fifth of a second ago at most.
    pub(super) fn counts(&self) -> FlowCounts {
        self.counts.lock().clone()
    }

    /// All settings, in the order of their names.
    pub(super) fn sysctls(&self) -> Vec<Sysctl> {
        let shards: Vec<Settings> =
            (0..self.count()).filter_map(|n| self.ask(n, |shard, _| *shard.settings())).collect();
        let Some(first) = shards.first() else { return Vec::new() };
        let value = |name| match name {
            // 0: as many as there is room for.
            MAX if first.max == 0 => u64::from(self.room),
            MAX => shards.iter().map(|settings| u64::from(settings.max)).sum(),
            _ => first.get(name).unwrap_or_default(),
        };
        settings::names().map(|name| Sysctl { name: name.to_owned(), value: value(name) }).collect()
    }

    /// Sets one, for all workers.
    ///
    /// # Errors
    ///
    /// What is wrong with it, for people.
    pub(super) fn set_sysctl(&self, wanted: &Sysctl) -> Result<Sysctl, String> {
        let Sysctl { name, value } = wanted;
        let name = settings::names()
            .find(|known| *known == name || known.strip_prefix(settings::PREFIX) == Some(name))
            .ok_or_else(|| format!("there is no setting {name:?}; `twinwall sysctl` lists all"))?;
        let room = u64::from(self.room);
        if name == MAX && !(self.count() as u64..=room).contains(value) {
            let count = self.count();
            return Err(format!(
                "{name} must be {count} to {room}; for more, write a larger `max` under [conntrack] and restart"
            ));
        }
        for n in 0..self.count() {
            let value = if name == MAX { share(*value, n, self.count()) } else { *value };
            match self.ask(n, move |shard, _| shard.settings_mut().set(name, value)) {
                Some(Ok(())) => {}
                Some(Err(SettingError::Range(least, most))) => {
                    return Err(format!("{name} must be {least} to {most}, not {value}"));
                }
                Some(Err(error)) => return Err(format!("{name}: {error}")),
                None => return Err(format!("worker {n} does not answer")),
            }
        }
        tracing::info!(name, value, "setting changed");
        Ok(Sysctl { name: name.to_owned(), value: *value })
    }
}

/// One worker's share of a number for all, so that the shares add up to it.
pub(super) fn share(total: u64, worker: usize, workers: usize) -> u64 {
    let (worker, workers) = (worker as u64, workers.max(1) as u64);
    total / workers + u64::from(worker < total % workers)
}

impl Shards for Flows {
    fn count(&self) -> usize {
        usize::from(self.owners.workers())
    }

    fn owner(&self, key: &FlowKey) -> usize {
        usize::from(self.owners.of(key).0)
    }

    fn run(&self, shard: usize, job: Job) -> bool {
        let (done, ran) = bounded(1);
        let job: Job = Box::new(move |shard, now| {
            job(shard, now);
            let _ = done.send(());
        });
        self.control.flow_job(shard, FlowJob(job))
            && ran.recv_timeout(super::control::PATIENCE).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up() {
        for (total, workers) in [(262_144, 3), (4, 4), (7, 1), (5, 2)] {
            assert_eq!((0..workers).map(|n| share(total, n, workers)).sum::<u64>(), total);
        }
    }
}
