//! What the node decides, carried to the rest of the daemon: to whom workers pass packets on, what other nodes' neighbours are, and what
//! is in their sets.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam::channel::Sender;
use sync::ids::NodeId;
use sync::records::Role;
use sync::wire::{self, Kind};

use super::super::control::Control;
use super::exchange::Exchange;
use super::hands::Became;
use super::sets::Counts;
use super::thread::Ground;

/// The daemon's.
pub(super) struct DaemonGround {
    control: Arc<Control>,
    /// The ports in their order: CRC32C of their names.
    ports: Vec<u32>,
    exchange: Arc<Exchange>,
    /// Records for whoever keeps neighbours, and for whoever keeps sets.
    neighbours: Sender<Vec<u8>>,
    sets: Sender<Vec<u8>>,
    counts: Arc<Counts>,
    redirecting: bool,
}

impl DaemonGround {
    pub(super) fn new(
        control: Arc<Control>,
        ports: Vec<u32>,
        exchange: Arc<Exchange>,
        [neighbours, sets]: [Sender<Vec<u8>>; 2],
        counts: Arc<Counts>,
    ) -> Self {
        Self { control, ports, exchange, neighbours, sets, counts, redirecting: false }
    }
}

impl Ground for DaemonGround {
    fn became(&mut self, became: Became, onward: &[(u32, [u8; 6])]) {
        let redirecting = became.role == Role::Redirecting;
        if redirecting || self.redirecting {
            let of =
                |name: &u32| onward.iter().find(|(other, _)| other == name).map(|(_, mac)| *mac);
            let onward: Vec<Option<[u8; 6]>> = self.ports.iter().map(of).collect();
            if redirecting && onward.iter().all(Option::is_none) {
                tracing::warn!(
                    "the new owner has no port of a name that is known here: what still comes is dropped"
                );
            }
            self.control.pass_on(&onward);
        }
        self.redirecting = redirecting;
    }

    fn control(&mut self, from: NodeId, payload: Vec<u8>) {
        self.exchange.control(from, payload);
    }

    fn apply(&mut self, records: &mut Vec<Vec<u8>>) {
        for record in records.drain(..) {
            let is_set = wire::kind(&record) == Some(Kind::SET);
            let to = if is_set { &self.sets } else { &self.neighbours };
            // Too many at once: the owner says all of them again.
            let missed = to.try_send(record).is_err();
            self.counts.missed.fetch_add(u64::from(is_set && missed), Ordering::Relaxed);
        }
    }
}
