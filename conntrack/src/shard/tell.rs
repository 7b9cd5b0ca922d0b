//! Who is told of changes. [`Shard::note`] sees every one.

use packet::Tick;

use super::Shard;
use crate::event::{self, Event};
use crate::flow::{Direction, EVENTS, HAS_START, Slot, Status};
use crate::snapshot::Snapshot;

/// Events that wait for [`Shard::take_events`]; more are lost, and that is said.
const ROOM: usize = 4096;

/// The events that wait.
#[derive(Default)]
pub(super) struct Teller {
    /// `LISTEN_…` bits: for whom events are kept.
    wanted: u32,
    waiting: Vec<Event>,
    lost: u64,
    /// See [`Event::cause`].
    cause: u32,
}

impl Shard {
    /// Says that something of a flow changed (`IPCT_…` bits). What is noted of a flow is told at once by
    /// [`deliver`](Self::deliver), when its packet is done. Every change comes by here, a confirmation and an end too.
    #[inline]
    pub fn note(&mut self, slot: Slot, events: u32) {
        if let Some(flow) = self.flow_mut(slot) {
            flow.shared.noted |= events as u16 & EVENTS;
            self.soil(slot);
        }
    }

    /// Tells what was noted of a flow, if anybody listens; of an unconfirmed flow it is kept until it is confirmed
    /// (`nf_ct_deliver_cached_events`).
    #[inline(always)]
    pub fn deliver(&mut self, slot: Slot, now: Tick) {
        if self.flow(slot).is_some_and(|flow| flow.shared.noted & EVENTS != 0) {
            self.tell(slot, now);
        }
    }

    fn tell(&mut self, slot: Slot, now: Tick) {
        let Some(flow) = self.flow_mut(slot).filter(|f| f.status().has(Status::CONFIRMED)) else {
            return;
        };
        let events = u32::from(flow.shared.noted & EVENTS);
        flow.shared.noted &= !EVENTS;
        let wanted = events & flow.event_mask() != 0
            && event::listeners(events) & self.teller.wanted != 0
            && self.settings.events != 0;
        if !wanted {
            return;
        }
        if self.teller.waiting.len() >= ROOM {
            self.teller.lost += 1;
        } else if let Some(flow) = self.snapshot(slot, now) {
            let cause = self.teller.cause;
            self.teller.waiting.push(Event { events, flow, at: now, cause });
        }
    }

    /// Does something for the program with this netlink port id; what is told meanwhile says so.
    pub fn on_behalf<T>(&mut self, cause: u32, work: impl FnOnce(&mut Self) -> T) -> T {
        self.teller.cause = cause;
        let done = work(self);
        self.teller.cause = 0;
        done
    }

    /// Hands over the events that wait.
    pub fn take_events(&mut self, each: &mut dyn FnMut(Event)) {
        self.teller.waiting.drain(..).for_each(each);
    }

    /// How many events were lost since the last call because they were not taken in time.
    pub fn take_lost_events(&mut self) -> u64 {
        std::mem::take(&mut self.teller.lost)
    }

    /// Keeps events for these listeners (`LISTEN_…` bits) from now on.
    pub fn listen(&mut self, wanted: u32) {
        self.teller.wanted = wanted;
        if wanted != 0 {
            self.teller.waiting.reserve(ROOM.saturating_sub(self.teller.waiting.len()));
        }
    }

    /// A flow by value, confirmed or not.
    pub fn snapshot(&self, slot: Slot, now: Tick) -> Option<Snapshot> {
        let flow = self.flow(slot)?;
        let started = flow.shared.noted & HAS_START != 0 && flow.status().has(Status::CONFIRMED);
        Some(Snapshot {
            slot,
            id: flow.id(),
            keys: [Direction::Original, Direction::Reply].map(|direction| *flow.key(direction)),
            status: flow.status(),
            mark: flow.mark(),
            secmark: flow.secmark(),
            labels: self.labels(slot),
            accounts: self.accounts(slot),
            start: started.then(|| self.beside.start(slot)),
            stop: (started && flow.status().has(Status::DYING)).then_some(now),
            proto: *flow.proto(),
            remaining: self.remaining(slot, now),
            policy: flow.policy(),
            event_mask: flow.event_mask(),
        })
    }
}
