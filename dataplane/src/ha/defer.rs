//! First packets that wait until other nodes have their flow.
//!
//! # Overview
//!
//! A rule asks for it by setting a label of the flow (`ct label set`), whose number the configuration names. Such a packet has passed all
//! rules and its flow is in the table; it is kept, with those that follow it, until enough standbys said that they have the
//! flow, or the time is over. Then it leaves, or ends where the configuration is strict.
//!
//! # Who may touch what
//!
//! Belongs to a worker. Bounded: so many packets in all, and of each flow; what is too much ends as
//! [`DropReason::DeferFull`]. All memory is taken at the start.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use ahash::RandomState;
use arrayvec::ArrayVec;
use conntrack::shard::Shard;
use conntrack::{Flow, Slot};
use packet::{DropReason, PacketIo, Tick};

use crate::flows::{Around, Ct};
use crate::neigh::Waiter;
use crate::own;
use crate::pipeline::{self, Packet, View};
use crate::rib::IfIndex;
use crate::tables::{IfaceSlot, Resolution};
use crate::worker::Local;

/// Packets that wait.
const PACKETS: usize = 4096;
/// Of one flow.
const OF_A_FLOW: usize = 4;
/// How long they wait at most.
const PATIENCE: Duration = Duration::from_millis(5);

/// How first packets wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defer {
    /// The bit of a flow's labels that asks for it, 0–127.
    pub label: u8,
    /// What was not acknowledged in time is dropped, not sent.
    pub strict: bool,
}

/// A packet that waits, and where it goes.
struct Parked<F> {
    waiter: Waiter<F>,
    iface: IfIndex,
    addr: IpAddr,
}

/// The packets of one flow.
struct Entry<F> {
    generation: u32,
    packets: ArrayVec<Parked<F>, OF_A_FLOW>,
}

/// A worker's.
pub(crate) struct Deferred<F> {
    how: Defer,
    waiting: HashMap<Slot, Entry<F>, RandomState>,
    /// In the order in which they began to wait.
    since: VecDeque<(Tick, Slot, u32)>,
    packets: usize,
    /// By slot: the generation of the flow whose packets need not wait any more.
    let_go: Vec<u32>,
}

impl<F> Deferred<F> {
    pub(super) fn new(how: Defer, flows: u32) -> Self {
        Self {
            how,
            waiting: HashMap::with_capacity_and_hasher(PACKETS, RandomState::new()),
            since: VecDeque::with_capacity(PACKETS),
            packets: 0,
            let_go: vec![0; flows as usize],
        }
    }

    /// Whether packets of this flow wait. Those of a flow that another node had do not: that one let the first ones go, and after its
    /// death there may be nobody to wait for.
    #[inline]
    fn concerns(&self, shard: &Shard, slot: Slot, flow: &Flow) -> bool {
        if flow.is_imported() {
            return false;
        }
        let Some(labels) = shard.labels(slot) else { return false };
        let bit = u128::from_le_bytes(labels) >> self.how.label & 1 != 0;
        bit && self.let_go.get(slot.0 as usize) != Some(&flow.generation())
    }

    /// Keeps a packet; gives it back where too many wait. True: it is its flow's first.
    fn park(
        &mut self,
        slot: Slot,
        generation: u32,
        parked: Parked<F>,
        now: Tick,
    ) -> Result<bool, Box<Parked<F>>> {
        if self.waiting.get(&slot).is_some_and(|entry| entry.generation != generation) {
            // The slot's flow of before ended while its packets waited.
            return Err(Box::new(parked));
        }
        if self.packets >= PACKETS {
            return Err(Box::new(parked));
        }
        let first = !self.waiting.contains_key(&slot);
        let entry = self
            .waiting
            .entry(slot)
            .or_insert_with(|| Entry { generation, packets: ArrayVec::new() });
        entry.packets.try_push(parked).map_err(|full| Box::new(full.element()))?;
        self.packets += 1;
        if first {
            self.since.push_back((now, slot, generation));
        }
        Ok(first)
    }

    /// Takes a flow's packets out.
    fn take(&mut self, slot: Slot) -> Option<Entry<F>> {
        let entry = self.waiting.remove(&slot)?;
        self.packets -= entry.packets.len();
        Some(entry)
    }

    /// The flow's later packets need not wait.
    fn settle(&mut self, slot: Slot, generation: u32) {
        if let Some(place) = self.let_go.get_mut(slot.0 as usize) {
            *place = generation;
        }
    }

    /// A flow whose packets waited for too long.
    fn overdue(&mut self, now: Tick) -> Option<Entry<F>> {
        while let Some((since, slot, generation)) = self.since.front().copied() {
            let lives = self.waiting.get(&slot).is_some_and(|entry| entry.generation == generation);
            if lives && now.since(since) < PATIENCE {
                return None;
            }
            self.since.pop_front();
            if lives {
                // Strict: what comes again waits again.
                if !self.how.strict {
                    self.settle(slot, generation);
                }
                return self.take(slot);
            }
        }
        None
    }
}

impl<Io: PacketIo> Local<Io> {
    /// Keeps a packet that is about to leave by `iface` to `addr`, if its flow asks for it; else gives it back.
    #[inline(always)]
    pub(crate) fn defer(
        &mut self,
        view: View<'_>,
        frame: Io::Frame,
        packet: &Packet,
        (iface, addr): (IfaceSlot, IpAddr),
        mtu: u32,
        now: Tick,
    ) -> Option<Io::Frame> {
        match &self.cluster {
            Some(cluster) if cluster.deferred.is_some() => {
                self.defer_flow(view, frame, packet, (iface, addr), mtu, now)
            }
            _ => Some(frame),
        }
    }

    #[inline(never)]
    fn defer_flow(
        &mut self,
        view: View<'_>,
        mut frame: Io::Frame,
        packet: &Packet,
        (iface, addr): (IfaceSlot, IpAddr),
        mtu: u32,
        now: Tick,
    ) -> Option<Io::Frame> {
        let Ct::Flow(slot, _) = packet.ct else { return Some(frame) };
        let cluster = self.cluster.as_deref_mut()?;
        let Some(deferred) = &mut cluster.deferred else { return Some(frame) };
        let shard = &mut self.flows.shard;
        let Some(flow) = shard.flow(slot) else { return Some(frame) };
        let generation = flow.generation();
        if !deferred.concerns(shard, slot, flow) {
            return Some(frame);
        }
        let Some(iface) = view.tables.iface(iface).map(|entry| entry.iface.index) else {
            return Some(frame);
        };
        // What the rules said of it is remembered when it has left.
        self.recording.way = None;
        let mut packet = *packet;
        pipeline::take_hop(&mut frame, &mut packet);
        let waiter = Waiter::new(view.tables, packet, mtu, frame);
        match deferred.park(slot, generation, Parked { waiter, iface, addr }, now) {
            Ok(first) => {
                self.link.stats.deferred.add(1);
                if first {
                    let around = Around { tables: view.tables, peers: &mut self.link.peers };
                    let (shard, beside) = self.flows.beside(around);
                    // Where its ring is full the flow is said later, and the packet waits for its time.
                    let _ = cluster.replica.export_now(shard, &beside, slot, now);
                }
            }
            Err(parked) => {
                let (frame, packet) = parked.waiter.into_frame();
                self.drop(packet.port, DropReason::DeferFull, frame);
            }
        }
        None
    }

    /// Sends the first packets that standbys have the flow of, and ends or sends those that waited for too long.
    pub(crate) fn serve_deferred(&mut self, view: View<'_>, now: Tick) {
        loop {
            let Some(cluster) = self.cluster.as_deref_mut() else { return };
            let Some(slot) = cluster.replica.released() else { break };
            let entry = cluster.deferred.as_mut().and_then(|deferred| {
                let entry = deferred.take(slot)?;
                deferred.settle(slot, entry.generation);
                Some(entry)
            });
            if let Some(entry) = entry {
                self.let_go(view, entry, now);
            }
        }
        loop {
            let Some(cluster) = self.cluster.as_deref_mut() else { return };
            let Some(deferred) = &mut cluster.deferred else { return };
            let strict = deferred.how.strict;
            let Some(entry) = deferred.overdue(now) else { return };
            self.link.stats.defer_overdue.add(1);
            if strict {
                self.end_deferred(entry, DropReason::DeferTimeout);
            } else {
                self.let_go(view, entry, now);
            }
        }
    }

    fn let_go(&mut self, view: View<'_>, entry: Entry<Io::Frame>, now: Tick) {
        for Parked { waiter, iface, addr } in entry.packets {
            let slot = view.tables.iface_by_index(iface);
            let to = slot.and_then(|slot| view.tables.neighbour(slot, addr));
            match (to, slot) {
                (Some(to), _) if matches!(to.resolution, Resolution::Known { .. }) => {
                    own::send_waiter(view, self, waiter, to, now)
                }
                (_, Some(slot)) => self.wait(view.tables, slot, addr, waiter, now),
                (_, None) => {
                    let (frame, packet) = waiter.into_frame();
                    self.drop(packet.port, DropReason::NoRoute, frame);
                }
            }
        }
    }

    fn end_deferred(&mut self, entry: Entry<Io::Frame>, reason: DropReason) {
        for parked in entry.packets {
            let (frame, packet) = parked.waiter.into_frame();
            self.drop(packet.port, reason, frame);
        }
    }

    /// Ends all that waits.
    pub(crate) fn drop_deferred(&mut self) {
        while let Some(entry) = self.cluster.as_deref_mut().and_then(|cluster| {
            let deferred = cluster.deferred.as_mut()?;
            let slot = *deferred.waiting.keys().next()?;
            deferred.take(slot)
        }) {
            self.end_deferred(entry, DropReason::Shutdown);
        }
    }
}
