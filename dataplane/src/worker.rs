//! A worker: what belongs to one core alone, and its turn.
//!
//! # Life cycle
//!
//! Made on the control side with its [`PacketIo`] and its [`WorkerLink`], moved to a pinned thread, and turned there
//! until it is stopped: control messages (bounded), frames from the kernel twins, then from each port one burst through
//! [`pipeline::run`], then transmission. [`Worker::drain`] ends it. Only its own thread touches it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arrayvec::ArrayVec;
use conntrack::fragments::Limits;
use conntrack::shard::Shard;
use packet::{BURST, Burst, DropReason, FlowKey, Frame, PacketIo, PortIndex, Unsendable};
use ruleset::ids::WorkerId;
use ruleset::program::Program;
use sync::records::Role;

use crate::control::{FlowJob, FromWorker, MESSAGES_PER_TURN, TWIN_QUEUE, ToWorker, WorkerLink};
use crate::flows::{Around, Flows, Recording};
use crate::ha::{self, Cluster};
use crate::hooks::gather::Gathering;
use crate::hooks::{self, Rules};
use crate::icmp;
use crate::neigh::{Key, Waiter, Waiting};
use crate::own;
use crate::owners::{Handed, Handover};
use crate::pipeline::{self, Origin, Packet, View};
use crate::stats::PortStats;
use crate::tables::{Adjacency, IfaceSlot, Resolution, Tables};
use packet::Tick;

/// How often what waits is looked through.
const HOUSEKEEPING: Duration = Duration::from_millis(100);

/// How much of the queue to the twin thread packets for this node itself may fill.
pub const DELIVERIES: usize = TWIN_QUEUE / 4 * 3;

/// Connections that rules count and that are looked at each time.
const TALLIED: usize = 512;

/// One core's packet path.
pub struct Worker<Io: PacketIo> {
    tables: Arc<Tables>,
    program: Arc<Program>,
    local: Local<Io>,
    /// What is to be handed up for dropping; more than one only while the queue up is full.
    retired: ArrayVec<FromWorker, { 2 * MESSAGES_PER_TURN }>,
    kept: Tick,
    /// Where sweeping what rules count connections by goes on.
    swept: usize,
}

/// What a worker owns beside the tables: the pipeline's hands.
pub struct Local<Io: PacketIo> {
    pub(crate) io: Io,
    pub(crate) link: WorkerLink<Io::Frame>,
    /// Frames to transmit, by port.
    out: Vec<Out<Io::Frame>>,
    /// Frames to free together.
    dead: Burst<Io::Frame>,
    waiting: Waiting<Io::Frame>,
    /// What rules need.
    pub(crate) rules: Rules,
    /// Connections.
    pub(crate) flows: Flows,
    /// Its part in a cluster.
    pub(crate) cluster: Option<Box<Cluster<Io::Frame>>>,
    /// Fragments that wait for their first one; not there while they are looked at.
    pub(crate) gathering: Option<Box<Gathering<Io::Frame>>>,
    /// What the packet under way leaves to be remembered.
    pub(crate) recording: Recording,
    pub(crate) limit: icmp::Limit,
    /// Identification of the next ICMP error.
    pub(crate) ip_id: u16,
    /// Frames were queued for the twin thread in this turn.
    punted: bool,
    /// The burst under way came from another worker: it is not handed on.
    pub(crate) handed: bool,
}

/// A port's frames to transmit.
struct Out<F> {
    burst: Burst<F>,
    /// The port's link is up, by the tables in use.
    up: bool,
}

impl<Io: PacketIo> Worker<Io> {
    /// A worker over `io`, which begins with `tables`, these flows and no rules, and sends at most `icmp_rate` errors a second.
    pub fn new(
        io: Io,
        mut link: WorkerLink<Io::Frame>,
        tables: Arc<Tables>,
        shard: Shard,
        icmp_rate: u32,
    ) -> Self {
        link.stats.generation.set(tables.generation.0);
        let out = tables
            .ports
            .iter()
            .map(|port| Out { burst: Burst::new(), up: port.state.up })
            .collect();
        let mut flows = Flows::new(shard, *link.peers.owners(), link.worker);
        let cluster = link.cluster.take().map(|mut cluster| {
            flows.cluster(cluster.share, std::mem::take(&mut cluster.exempt));
            Box::new(Cluster::new(cluster, &flows.shard))
        });
        Self {
            tables,
            program: Arc::default(),
            local: Local {
                io,
                rules: Rules::new(link.worker),
                flows,
                cluster,
                gathering: Some(Box::new(Gathering::new(Limits::default()))),
                recording: Recording::default(),
                link,
                out,
                dead: Burst::new(),
                waiting: Waiting::new(),
                limit: icmp::Limit::new(icmp_rate),
                ip_id: 0,
                punted: false,
                handed: false,
            },
            retired: ArrayVec::new(),
            kept: Tick(0),
            swept: 0,
        }
    }

    /// Its flows.
    pub fn flows(&mut self) -> &mut Shard {
        &mut self.local.flows.shard
    }

    /// How many tuples it knows to be of other workers' flows.
    pub fn aliases(&self) -> usize {
        self.local.link.peers.aliases()
    }

    /// One turn. Returns how many frames it handled: zero tells the runtime that it may rest.
    pub fn turn(&mut self, now: Tick) -> usize {
        self.serve_control(now);
        let mut burst = Burst::new();
        let mut role = self.local.heed_role(&self.tables, &mut burst, now);
        let mut handled = self.serve_twins(now);
        handled += self.serve_peers(&mut burst, now);
        let ports =
            if self.local.lets_wait(role, now) { 0 } else { self.tables.ports.len() as u16 };
        for port in (0..ports).map(PortIndex) {
            let received = self.local.receive(port, &mut burst);
            if received == 0 {
                continue;
            }
            handled += received;
            if role == Role::Standby {
                role = self.local.heed_grant(&self.tables, role, now);
            }
            let view = View { tables: &self.tables, program: &self.program };
            if matches!(role, Role::Standby | Role::Redirecting) {
                ha::sift(view, &mut self.local, port, &mut burst, role);
            }
            pipeline::run(view, &mut self.local, port, &mut burst, now);
        }
        handled += self.exchange_flows(now, handled == 0);
        let Local { flows, link, .. } = &mut self.local;
        flows.keep_house(&mut link.peers, now);
        if now.since(self.kept) >= HOUSEKEEPING {
            self.kept = now;
            self.keep_house(now);
        }
        self.local.transmit_all();
        self.local.end_turn();
        handled
    }

    /// The flows that changed go to the other nodes, and theirs come in.
    fn exchange_flows(&mut self, now: Tick, idle: bool) -> usize {
        let Local { cluster: Some(cluster), flows, link, .. } = &mut self.local else { return 0 };
        let around = Around { tables: &self.tables, peers: &mut link.peers };
        let done = cluster.finish(flows, around, now, idle);
        let view = View { tables: &self.tables, program: &self.program };
        self.local.serve_deferred(view, now);
        done
    }

    /// Sends what is queued and frees what waits. The worker may be dropped, or turned again, afterwards.
    pub fn drain(&mut self) {
        self.local.transmit_all();
        self.local.drop_fragments();
        self.local.drop_deferred();
        while let Some((port, frame)) = self.local.link.from_twin.pop() {
            self.local.drop(port, DropReason::Shutdown, frame);
        }
        while let Some(frame) = self.local.link.peers.take() {
            let (Handover::Received(port, frame) | Handover::Departing(port, frame)) = frame;
            self.local.drop(port, DropReason::Shutdown, frame);
        }
        while let Some((_, waiters)) = self.local.waiting.take(|_| true) {
            for waiter in waiters {
                let (frame, packet) = waiter.into_frame();
                if packet.origin == Origin::Received {
                    self.local.drop(packet.port, DropReason::Shutdown, frame);
                } else {
                    self.local.release(frame);
                }
            }
        }
        self.local.end_turn();
    }

    /// The packet I/O that the worker was made with.
    pub fn io(&mut self) -> &mut Io {
        &mut self.local.io
    }

    fn serve_control(&mut self, now: Tick) {
        while let Some(old) = self.retired.pop() {
            if let Err(full) = self.local.link.up.try_send(old) {
                self.retired.push(full.into_inner());
                // Adopting more would leave old ones without a place: the control side is behind, so wait for it.
                return;
            }
        }
        for _ in 0..MESSAGES_PER_TURN {
            match self.local.link.control.try_recv() {
                Ok(ToWorker::Adopt(tables)) => self.adopt(tables, now),
                Ok(ToWorker::Program(program, arrival)) => {
                    self.local.rules.adopt(&program);
                    self.local.link.stats.ruleset.set(u64::from(program.generation.0));
                    let old = std::mem::replace(&mut self.program, program);
                    let recipes = self.local.flows.begin_era();
                    self.retire(FromWorker::RetiredProgram(Some(old), recipes));
                    drop(arrival);
                }
                Ok(ToWorker::Flows(FlowJob(job))) => job(&mut self.local.flows.shard, now),
                Ok(ToWorker::Cache(on)) => {
                    self.local.flows.cache(on);
                    let recipes = self.local.flows.begin_era();
                    self.retire(FromWorker::RetiredProgram(None, recipes));
                }
                Ok(ToWorker::PassOn(onward)) => {
                    let old =
                        self.local.cluster.as_deref_mut().map(|cluster| cluster.pass_on_to(onward));
                    if let Some(old) = old {
                        self.retire(FromWorker::RetiredPassOn(old));
                    }
                }
                Ok(ToWorker::IcmpRate(per_second)) => {
                    self.local.limit = icmp::Limit::new(per_second)
                }
                Err(_) => break,
            }
        }
    }

    fn adopt(&mut self, tables: Arc<Tables>, now: Tick) {
        self.local.link.stats.generation.set(tables.generation.0);
        for (out, port) in self.local.out.iter_mut().zip(&tables.ports) {
            out.up = port.state.up;
        }
        let old = std::mem::replace(&mut self.tables, tables);
        if old.ifaces != self.tables.ifaces {
            self.local.flows.interfaces_changed(&old.ifaces, &self.tables.ifaces);
            let recipes = self.local.flows.begin_era();
            self.retire(FromWorker::RetiredProgram(None, recipes));
        }
        self.retire(FromWorker::Retired(old));
        // Packets whose neighbour is now known go on; those whose neighbour failed end.
        let view = View { tables: &self.tables, program: &self.program };
        let station = |tables: &'_ Tables, (index, addr): Key| -> Option<Adjacency> {
            tables.neighbour(tables.iface_by_index(index)?, addr).copied()
        };
        while let Some((key, waiters)) = self.local.waiting.take(|key| {
            let station = station(view.tables, *key).map(|station| station.resolution);
            matches!(station, Some(Resolution::Known { .. } | Resolution::Failed))
        }) {
            let Some(to) = station(view.tables, key) else { continue };
            for waiter in waiters {
                own::send_waiter(view, &mut self.local, waiter, &to, now);
            }
        }
    }

    /// Hands something up to be dropped there.
    fn retire(&mut self, old: FromWorker) {
        if let Err(full) = self.local.link.up.try_send(old) {
            self.retired.push(full.into_inner());
        }
    }

    fn serve_twins(&mut self, now: Tick) -> usize {
        let view = View { tables: &self.tables, program: &self.program };
        let mut handled = 0;
        while handled < BURST
            && let Some((port, frame)) = self.local.link.from_twin.pop()
        {
            handled += 1;
            if let Some(stats) = self.local.link.stats.port(port) {
                stats.from_twin.add(1);
            }
            let longest = self.tables.port(port).map_or(0, |port| port.state.max_frame);
            if frame.len() as u64 > u64::from(longest) {
                self.local.drop(port, DropReason::TxTooLong, frame);
            } else if self.local.rules.at_departure() {
                hooks::depart(view, &mut self.local, port, frame, now);
            } else {
                self.local.transmit(port, frame);
            }
        }
        handled
    }

    /// Frames that other workers received and that belong to this one, in bursts of one port.
    fn serve_peers(&mut self, burst: &mut Burst<Io::Frame>, now: Tick) -> usize {
        let view = View { tables: &self.tables, program: &self.program };
        let mut handled = 0;
        let mut last = None;
        self.local.handed = true;
        while handled < BURST
            && let Some(frame) = self.local.link.peers.take()
        {
            handled += 1;
            let (port, received) = match frame {
                Handover::Received(port, frame) => (port, Some(frame)),
                Handover::Departing(port, frame) => {
                    hooks::depart(view, &mut self.local, port, frame, now);
                    continue;
                }
            };
            if let Some(last) = last.filter(|last| *last != port) {
                pipeline::run(view, &mut self.local, last, burst, now);
            }
            burst.extend(received);
            last = Some(port);
        }
        if let Some(last) = last {
            pipeline::run(view, &mut self.local, last, burst, now);
        }
        self.local.handed = false;
        handled
    }

    fn keep_house(&mut self, now: Tick) {
        let (flows, me) = (&self.local.flows, self.local.link.worker);
        let is_open = &mut |key: &FlowKey| flows.is_open(key);
        self.program.tallies.sweep(me, &mut self.swept, TALLIED, is_open);
        self.local.ask_again(now);
        self.local.expire_fragments(now);
        let view = View { tables: &self.tables, program: &self.program };
        while let Some(waiters) = self.local.waiting.take_expired(now) {
            for waiter in waiters {
                let (frame, packet, _) = waiter.into_parts(view.tables);
                self.local.give_up(view, frame, &packet, now);
            }
        }
    }
}

impl<Io: PacketIo> Drop for Worker<Io> {
    /// What was said and not heard is answered by being dropped, so that nobody waits for this worker.
    fn drop(&mut self) {
        while self.local.link.control.try_recv().is_ok() {}
    }
}

impl<Io: PacketIo> Local<Io> {
    /// Queues a frame for a port.
    #[inline(always)]
    pub(crate) fn transmit(&mut self, port: PortIndex, frame: Io::Frame) {
        let Some(out) = self.out.get_mut(usize::from(port.0)) else {
            return self.release(frame);
        };
        if !out.burst.is_full() {
            return out.burst.push(frame);
        }
        // Now, not when it became full: what is in it was said to other nodes meanwhile.
        self.transmit_port(port);
        if let Some(out) = self.out.get_mut(usize::from(port.0)) {
            out.burst.push(frame);
        }
    }

    /// Takes in a burst from a port, and counts it.
    #[inline(always)]
    pub(crate) fn receive(&mut self, port: PortIndex, burst: &mut Burst<Io::Frame>) -> usize {
        let received = self.io.rx(port, burst);
        if received > 0
            && let Some(stats) = self.link.stats.port(port)
        {
            stats.rx_packets.add(received as u64);
            stats.rx_bytes.add(burst.iter().map(|frame| frame.len() as u64).sum());
        }
        received
    }

    /// Hands a frame to the worker that it belongs to.
    pub(crate) fn hand(&mut self, owner: WorkerId, what: Handed<Io::Frame>) {
        match self.link.peers.hand(owner, what) {
            Ok(()) => self.link.stats.handed_over.add(1),
            Err(Handed::Frame(port, frame) | Handed::Departing(port, frame)) => {
                self.drop(port, DropReason::HandoffFull, frame);
            }
            Err(Handed::Alias(_) | Handed::NoAlias(_)) => {}
        }
    }

    /// Hands a frame of the control plane (ARP, ND, groups, link-local), as it came, to the kernel.
    pub(crate) fn punt(&mut self, port: PortIndex, frame: Io::Frame) {
        match self.link.to_twin.push((port, frame)) {
            Ok(()) => {
                self.punted = true;
                if let Some(stats) = self.link.stats.port(port) {
                    stats.to_twin.add(1);
                }
            }
            Err((_, frame)) => self.drop(port, DropReason::TwinQueueFull, frame),
        }
    }

    /// Hands a packet for this node itself to the kernel. A flood of these leaves a quarter of the queue to the control
    /// plane, so that neighbours and VRRP live on.
    pub(crate) fn deliver(&mut self, port: PortIndex, frame: Io::Frame) {
        if self.link.to_twin.len() < DELIVERIES {
            self.punt(port, frame);
        } else {
            self.drop(port, DropReason::TwinQueueFull, frame);
        }
    }

    /// Ends a frame and counts why.
    pub(crate) fn drop(&mut self, port: PortIndex, reason: DropReason, frame: Io::Frame) {
        self.count_drop(port, reason, 1);
        self.release(frame);
    }

    /// Ends a whole burst for one reason.
    pub(crate) fn drop_burst(
        &mut self,
        port: PortIndex,
        reason: DropReason,
        burst: &mut Burst<Io::Frame>,
    ) {
        self.count_drop(port, reason, burst.len() as u64);
        self.io.free(burst);
    }

    /// Ends a frame that is done with, uncounted.
    pub(crate) fn release(&mut self, frame: Io::Frame) {
        self.dead.push(frame);
        if self.dead.is_full() {
            self.io.free(&mut self.dead);
        }
    }

    /// Keeps a packet until its neighbour is known, and has the kernel asked.
    pub(crate) fn wait(
        &mut self,
        tables: &Tables,
        iface: IfaceSlot,
        addr: IpAddr,
        waiter: Waiter<Io::Frame>,
        now: Tick,
    ) {
        let refused = match tables.iface(iface).map(|entry| entry.iface.index) {
            Some(index) => {
                self.ask((index, addr), now);
                let refused = self.waiting.push((index, addr), waiter, now).err();
                refused.map(|waiter| (waiter, DropReason::NeighbourQueueFull))
            }
            None => Some((waiter, DropReason::NoRoute)),
        };
        if let Some((waiter, reason)) = refused {
            let (frame, packet) = waiter.into_frame();
            self.drop_unless_own(&packet, reason, frame);
        }
    }

    /// Ends a packet and counts why, where it was received: what this node makes itself is not counted as received, either.
    fn drop_unless_own(&mut self, packet: &Packet, reason: DropReason, frame: Io::Frame) {
        if packet.origin == Origin::Received {
            self.drop(packet.port, reason, frame);
        } else {
            self.release(frame);
        }
    }

    /// Tells the kernel that a stale neighbour is in use, so that it probes it again.
    pub(crate) fn mention(&mut self, tables: &Tables, to: &Adjacency, now: Tick) {
        if let Some(entry) = tables.iface(to.iface) {
            self.ask((entry.iface.index, to.addr), now);
        }
    }

    fn ask(&mut self, key: Key, now: Tick) {
        if self.waiting.should_ask(key, now) {
            self.put_question(key);
        }
    }

    /// Asks again about neighbours for which packets wait.
    fn ask_again(&mut self, now: Tick) {
        while let Some(key) = self.waiting.next_to_ask(now) {
            self.put_question(key);
        }
    }

    fn put_question(&mut self, key: Key) {
        // A full queue loses the question; it is asked again in a second.
        let _ = self.link.up.try_send(FromWorker::Resolve { iface: key.0, addr: key.1 });
    }

    /// Ends a packet whose neighbour did not answer.
    pub(crate) fn give_up(&mut self, view: View<'_>, frame: Io::Frame, packet: &Packet, now: Tick) {
        match packet.origin {
            Origin::Received => {
                self.refuse(view, frame, packet, DropReason::NeighbourFailed, 0, now);
            }
            Origin::Kernel | Origin::Own => self.release(frame),
        }
    }

    fn transmit_all(&mut self) {
        for port in (0..self.out.len() as u16).map(PortIndex) {
            self.transmit_port(port);
        }
    }

    /// Sends a port's burst, with one retry; the rest is dropped and counted.
    fn transmit_port(&mut self, port: PortIndex) {
        let (Some(out), Some(stats)) =
            (self.out.get_mut(usize::from(port.0)), self.link.stats.port(port))
        else {
            return;
        };
        let burst = &mut out.burst;
        if burst.is_empty() {
            return;
        }
        let refused = match &self.cluster {
            _ if !out.up => Some(DropReason::PortDown),
            Some(cluster) => cluster.refuses(),
            None => None,
        };
        if let Some(reason) = refused {
            stats.drop(reason, burst.len() as u64);
            return self.io.free(burst);
        }
        for _ in 0..2 {
            if burst.is_empty() {
                return;
            }
            let frames = burst.len();
            let before: u64 = burst.iter().map(|frame| frame.len() as u64).sum();
            let sent = self.io.tx(port, burst);
            let after: u64 = burst.iter().map(|frame| frame.len() as u64).sum();
            let mut lost = Unsendable::default();
            if sent + burst.len() < frames {
                lost = self.io.unsendable(port);
                stats.drop(DropReason::TxTooLong, lost.too_long);
                stats.drop(DropReason::NoMemory, lost.no_memory);
            }
            stats.tx_packets.add(sent as u64);
            stats.tx_bytes.add((before - after).saturating_sub(lost.bytes));
        }
        if !burst.is_empty() {
            stats.drop(DropReason::TxFull, burst.len() as u64);
            self.io.free(burst);
        }
    }

    fn end_turn(&mut self) {
        if !self.dead.is_empty() {
            self.io.free(&mut self.dead);
        }
        if std::mem::take(&mut self.punted) {
            self.link.twin.wake();
        }
        self.link.stats.waiting.set(self.waiting.len() as u64);
    }

    fn count_drop(&self, port: PortIndex, reason: DropReason, n: u64) {
        if let Some(stats) = self.stats(port) {
            stats.drop(reason, n);
        }
    }

    fn stats(&self, port: PortIndex) -> Option<&PortStats> {
        self.link.stats.port(port)
    }
}
