//! What a node wants done, done: [`sync::hands::Hands`] over sockets, rings and threads.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ahash::RandomState;
use dataplane::owners::Owners;
use packet::{FlowKey, Tick};
use sync::hands::{Hands, Inbound, RingFull, Saved, To};
use sync::ids::{Group, LANES, Lane, NodeId, Term};
use sync::link::Links;
use sync::records::Role;
use sync::standing::Standing;
use sync::worker::Told;

use super::super::control::Control;
use super::beside::Wishes;
use super::saved::Saving;

/// The same alarm is logged this often at most.
const AGAIN: Duration = Duration::from_secs(10);
/// Different alarms within that time.
const ALARMS: usize = 32;

/// What a node was just made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Became {
    pub(super) role: Role,
    pub(super) term: Term,
    pub(super) owner: Option<NodeId>,
}

/// The sync thread's.
pub(super) struct DaemonHands {
    pub(super) links: Links,
    pub(super) saving: Saving,
    pub(super) standing: Arc<Standing>,
    pub(super) control: Arc<Control>,
    pub(super) owners: Owners,
    /// By lane. Asking for room looks at what the worker has taken since.
    pub(super) told: Vec<RefCell<Told>>,
    /// Workers that were told something in this pass.
    pub(super) woken: u64,
    /// What the node became in this pass.
    pub(super) became: Option<Became>,
    /// Records that are for the control side, as they came.
    pub(super) elsewhere: Vec<Vec<u8>>,
    /// Nodes that asked for all that there is.
    pub(super) wishes: Arc<Wishes>,
    /// What other nodes' daemons said in this pass.
    pub(super) controls: Vec<(NodeId, Vec<u8>)>,
    pub(super) alarms: AlarmLog,
    pub(super) now: Tick,
}

/// Records for the control side that wait at most; more are left out, and said again by their owner.
const ELSEWHERE: usize = 16_384;
/// What daemons said, likewise.
const CONTROLS: usize = 1024;

impl DaemonHands {
    /// Sends what was collected, and ends the naps of workers that were told something.
    pub(super) fn flush(&mut self) {
        self.links.flush();
        for worker in 0..LANES {
            if self.woken & 1 << worker != 0 {
                self.control.unpark(worker);
            }
        }
        self.woken = 0;
    }

    /// Messages that each worker's ring has room for.
    pub(super) fn least_room(&self) -> usize {
        self.told.iter().map(|told| told.borrow_mut().room()).min().unwrap_or(0)
    }

    fn wake(&mut self, worker: usize) {
        self.woken |= 1 << (worker % LANES);
    }
}

impl Hands for DaemonHands {
    fn send(&mut self, _: To, datagram: &[u8]) {
        // All go to all: other standbys have to hear what one asks for, and whoever is not meant drops it.
        if !self.links.send(datagram) {
            tracing::error!(bytes = datagram.len(), "a datagram was too long to send");
        }
    }

    fn owner_of(&self, original: &FlowKey) -> Lane {
        let worker = self.owners.of(original).0;
        // The configuration allows no more workers than there are lanes.
        u8::try_from(worker).ok().and_then(Lane::new).unwrap_or(Lane::FIRST)
    }

    fn room(&self, worker: Lane) -> usize {
        self.told.get(worker.index()).map_or(0, |told| told.borrow_mut().room())
    }

    fn tell(&mut self, worker: Lane, message: &Inbound<'_>) -> Result<(), RingFull> {
        let told = self.told.get(worker.index()).ok_or(RingFull)?;
        told.borrow_mut().tell(message)?;
        self.wake(worker.index());
        Ok(())
    }

    fn applied(&self) -> bool {
        self.told.iter().all(|told| told.borrow().is_drained())
    }

    fn apply_elsewhere(&mut self, record: &[u8]) {
        if self.elsewhere.len() < ELSEWHERE {
            self.elsewhere.push(record.to_vec());
        }
    }

    fn say_elsewhere(&mut self) {
        self.wishes.add();
    }

    fn control(&mut self, from: NodeId, payload: &[u8]) {
        if self.controls.len() < CONTROLS {
            self.controls.push((from, payload.to_vec()));
        }
    }

    fn become_role(&mut self, _: Group, role: Role, term: Term, owner: Option<NodeId>) {
        self.standing.set(role, term, owner);
        self.became = Some(Became { role, term, owner });
        for worker in 0..self.told.len() {
            self.wake(worker);
        }
        tracing::info!(
            %role,
            term = term.0,
            owner = owner.map(NodeId::get),
            "this node is {role} now"
        );
    }

    fn handed_over(&mut self) {
        self.standing.hand_over();
    }

    fn lease(&mut self, until: Tick) {
        self.standing.renew(until);
    }

    fn save(&mut self, _: Group, saved: Saved) -> bool {
        self.saving.save(saved)
    }

    fn alarm(&mut self, what: fmt::Arguments<'_>) {
        match self.alarms.is_due(&what.to_string(), self.now) {
            None => {}
            Some(0) => tracing::warn!("{what}"),
            Some(held_back) => tracing::warn!(held_back, "{what}"),
        }
    }
}

/// Keeps a log from being filled with one alarm.
#[derive(Default)]
pub(super) struct AlarmLog {
    /// When each was logged last, and how often it was raised since.
    logged: HashMap<String, (Tick, u64), RandomState>,
}

impl AlarmLog {
    /// Whether to log it now: how often it was raised since it was logged last.
    fn is_due(&mut self, what: &str, now: Tick) -> Option<u64> {
        if let Some((at, since)) = self.logged.get_mut(what) {
            if now.since(*at) < AGAIN {
                *since += 1;
                return None;
            }
            let held_back = std::mem::take(since);
            *at = now;
            return Some(held_back);
        }
        self.logged.retain(|_, (at, _)| now.since(*at) < AGAIN);
        if self.logged.len() >= ALARMS {
            return None;
        }
        self.logged.insert(what.to_owned(), (now, 0));
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_fills_no_log() {
        let mut log = AlarmLog::default();
        let at = |seconds| Tick::at(Duration::from_secs(seconds));
        assert_eq!(log.is_due("fire", at(0)), Some(0));
        for _ in 0..5 {
            assert_eq!(log.is_due("fire", at(9)), None);
        }
        assert_eq!(log.is_due("water", at(9)), Some(0));
        assert_eq!(log.is_due("fire", at(10)), Some(5));
        assert_eq!(log.is_due("fire", at(20)), Some(0));
        for n in 0..100 {
            log.is_due(&format!("alarm {n}"), at(21));
        }
        assert!(log.logged.len() <= ALARMS);
    }
}
