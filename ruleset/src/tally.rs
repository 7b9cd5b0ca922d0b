//! How many connections there are of those that met a rule (Linux: `nf_conncount.c`).
//!
//! # Life cycle
//!
//! A worker notes a connection that it owns in its lane of a `Tally`. It forgets those that have ended bit by bit, when it
//! notes another and when it [sweeps](Tallies::sweep) between bursts. What is told is the number of all lanes, so one that
//! ended may count until its worker sweeps.
//!
//! # Who may touch what
//!
//! A lane is written by its worker alone, under a lock, since the others read how long its lists are.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};

use ahash::RandomState;
use packet::FlowKey;
use parking_lot::Mutex;

use crate::ids::WorkerId;
use crate::packet::Cx;

/// What connections are counted by; all of them together where there is nothing.
pub(crate) type By = [u8; 18];

/// Connections that are looked after when another is noted.
const STEP: usize = 4;
/// The same where there are too many, which should be true.
const CAREFUL: usize = 256;
/// Nanoseconds between two such looks.
const PAUSE: u64 = 1_000_000;

/// Connections in the order in which they are looked after.
#[derive(Debug, Default)]
struct List {
    keys: Vec<FlowKey>,
    known: HashSet<FlowKey, RandomState>,
    next: usize,
    rests_until: u64,
}

impl List {
    fn add(&mut self, key: FlowKey) {
        if self.known.insert(key) {
            self.keys.push(key);
        }
    }

    /// Forgets those of the next `most` that have ended.
    fn step(&mut self, most: usize, is_there: &mut dyn FnMut(&FlowKey) -> bool) {
        for _ in 0..most.min(self.keys.len()) {
            if self.next >= self.keys.len() {
                self.next = 0;
            }
            let Some(key) = self.keys.get(self.next).copied() else { return };
            if is_there(&key) {
                self.next += 1;
            } else {
                self.keys.swap_remove(self.next);
                self.known.remove(&key);
            }
        }
    }
}

type Lane = HashMap<By, List, RandomState>;

/// See the module's overview.
#[derive(Debug)]
pub(crate) struct Tally {
    lanes: Box<[Mutex<Lane>]>,
}

impl Tally {
    /// Notes the packet's connection. How many there are that are counted with it; `None` where the packet is of a kind that
    /// has no connections. Where there seem to be more than `limit`, it looks more closely.
    pub(crate) fn count(&self, cx: &mut Cx<'_>, by: By, limit: u32) -> Option<u32> {
        let key = match cx.connection_or_template() {
            Some(connection) => connection.key(0),
            None => Some(cx.layers.key).filter(|key| key.family != 0)?,
        };
        let mine = usize::from(cx.place.worker.0);
        if let Some(lane) = self.lanes.get(mine) {
            let mut lane = lane.lock();
            let list = lane.entry(by).or_default();
            if !list.known.contains(&key) {
                list.step(STEP, &mut |key| cx.env.is_connected(key));
                list.add(key);
            }
        }
        let count = self.total(by);
        if count <= limit {
            return Some(count);
        }
        if let Some(list) =
            self.lanes.get(mine).map(Mutex::lock).as_mut().and_then(|l| l.get_mut(&by))
            && cx.place.now >= list.rests_until
        {
            list.rests_until = cx.place.now + PAUSE;
            list.step(CAREFUL, &mut |other| *other == key || cx.env.is_connected(other));
        }
        Some(self.total(by))
    }

    fn total(&self, by: By) -> u32 {
        let lens = self.lanes.iter().map(|lane| lane.lock().get(&by).map_or(0, |l| l.keys.len()));
        lens.sum::<usize>() as u32
    }

    /// Whether it knows of no connection.
    pub(crate) fn is_empty(&self) -> bool {
        self.lanes.iter().all(|lane| lane.lock().values().all(|list| list.keys.is_empty()))
    }
}

/// All tallies that rules have, for the workers to sweep. Written when one is made; those that are gone are dropped then.
#[derive(Clone, Debug, Default)]
pub struct Tallies(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    tallies: Vec<Weak<Tally>>,
    /// Their number when those that are gone were dropped last.
    kept: usize,
}

impl Tallies {
    /// A tally that `workers` workers count in.
    pub(crate) fn make(&self, workers: usize) -> Arc<Tally> {
        let lanes = (0..workers.max(1)).map(|_| Mutex::default()).collect();
        let tally = Arc::new(Tally { lanes });
        let mut known = self.0.lock();
        if known.tallies.len() > 2 * known.kept + 16 {
            known.tallies.retain(|tally| tally.strong_count() > 0);
            known.kept = known.tallies.len();
        }
        known.tallies.push(Arc::downgrade(&tally));
        tally
    }

    /// Has a worker look after about `budget` tallies and connections that it noted there, from `cursor` on, which it moves;
    /// `is_there` says of one whether it is still there. For the worker to call between bursts, a few times a second.
    pub fn sweep(
        &self,
        worker: WorkerId,
        cursor: &mut usize,
        budget: usize,
        is_there: &mut dyn FnMut(&FlowKey) -> bool,
    ) {
        let mut left = budget;
        let all = self.0.lock().tallies.len();
        for _ in 0..all {
            let (tally, behind) = {
                let known = self.0.lock();
                (known.tallies.get(*cursor).and_then(Weak::upgrade), *cursor >= known.tallies.len())
            };
            *cursor = if behind { 0 } else { *cursor + 1 };
            let lane = tally.as_ref().and_then(|tally| tally.lanes.get(usize::from(worker.0)));
            let Some(mut lane) = lane.map(Mutex::lock) else { continue };
            left = left.saturating_sub(1);
            lane.retain(|_, list| {
                let most = list.keys.len().min(left);
                left -= most;
                list.step(most, is_there);
                !list.keys.is_empty()
            });
            if left == 0 {
                return;
            }
        }
    }
}
