//! The sending side: packing, the window, pacing. What is repaired is in `repair`, what is said in bulk in `bulk`.

use arrayvec::ArrayVec;
use packet::Tick;

use super::bulk::Bulk;
use super::digest::Digest;
use super::open::{Keep, Open};
use super::pace::{AROUND, Bucket};
use super::pages::Pages;
use super::peers::Peers;
use super::repair::{OURS, Repairs};
use super::said::Said;
use super::window::Window;
use super::{Behind, Budget, Datagram, Pace, Progress, SendCounters};
use crate::hands::{Cause, Inbound, Outbound};
use crate::ids::{FlowId, Generation, Group, Lane, NodeId, Seq, Term, Version};
use crate::records::{Part, Record, Role};
use crate::wire::{self, Kind, PAYLOAD};
use crate::{Mutation, mutated};

/// A HEARTBEAT follows the last DATA after so long, in nanoseconds.
const FIRST_BEAT: u64 = 1_000_000;
/// And then others.
const BEAT: u64 = 10_000_000;
/// How soon to look again whether what is held back may go.
const AGAIN: u64 = 200_000;
/// Bytes of an encoded record of this module's, at most.
pub(super) const CONTROL_RECORD: usize = 32;

/// Where datagrams go.
pub(super) type Emit<'a, 'b> = &'a mut (dyn FnMut(Datagram<'_>) + 'b);

/// The sending side of a lane.
#[derive(Debug)]
pub struct SendLane {
    lane: Lane,
    pace: Pace,
    /// ROLE, encoded.
    role: ArrayVec<u8, CONTROL_RECORD>,
    pub(super) is_active: bool,
    /// What is open was begun under another role.
    role_changed: bool,
    /// As flow ids have it; `None`: no flow was said yet.
    pub(super) node: Option<NodeId>,
    pub(super) said: Pages<Said>,
    digest: Digest,
    pub(super) open: Open,
    /// The last that was sent.
    highest: u64,
    pub(super) window: Window,
    pub(super) peers: Peers,
    pub(super) repairs: Repairs,
    pub(super) bulk: Bulk,
    all_bytes: Bucket,
    pub(super) repair_bytes: Bucket,
    bulk_bytes: Bucket,
    /// The time of the last call that told it.
    pub(super) now: Tick,
    data: Option<Tick>,
    beat: Option<Tick>,
    pub(super) counters: SendCounters,
}

impl SendLane {
    /// Of a lane with so many slots.
    pub fn new(lane: Lane, slots: u32, pace: Pace) -> Self {
        let rate = pace.bytes_per_second;
        let mut this = Self {
            lane,
            pace,
            role: ArrayVec::new(),
            is_active: false,
            role_changed: false,
            node: None,
            said: Pages::new(slots),
            digest: Digest::new(),
            open: Open::new(),
            highest: 0,
            window: Window::new(pace.window),
            peers: Peers::new(),
            repairs: Repairs::new(),
            bulk: Bulk::default(),
            all_bytes: Bucket::new(rate),
            repair_bytes: Bucket::new(rate.div_ceil(2)),
            bulk_bytes: Bucket::new((rate / 10).saturating_mul(7).max(rate.min(1))),
            now: Tick(0),
            data: None,
            beat: None,
            counters: SendCounters::default(),
        };
        this.set_role(Group(0), Role::Standby, Term(0), None);
        this
    }

    /// Which lane this is.
    pub fn lane(&self) -> Lane {
        self.lane
    }

    /// What datagrams say first from the next on. What was taken before this goes under the role that it was taken under.
    pub fn set_role(&mut self, group: Group, role: Role, term: Term, owner: Option<NodeId>) {
        let mut bytes = [0; CONTROL_RECORD];
        let length = wire::encode(&Record::Role { group, role, term, owner }, &mut bytes);
        let bytes = bytes.get(..length.unwrap_or(0)).unwrap_or_default();
        if self.role.as_slice() != bytes {
            self.role.clear();
            let _ = self.role.try_extend_from_slice(bytes);
            self.role_changed = !self.open.is_empty();
            self.open.soon |= self.role_changed;
        }
        self.is_active = role == Role::Active;
    }

    /// Asks for the memory that a record of this slot will need.
    #[inline]
    pub fn prefetch(&self, slot: u32) {
        self.said.prefetch(slot);
    }

    /// Takes what came out of a worker's ring. Marks with tokens below 2⁶³ are not this lane's and are ignored.
    pub fn take(&mut self, outbound: &Outbound<'_>, now: Tick, emit: Emit<'_, '_>) {
        match *outbound {
            Outbound::Record { cause, slot: _, bytes } => {
                match wire::kind(bytes) {
                    Some(kind @ (Kind::FULL | Kind::UPDATE | Kind::DELETE)) => {
                        self.take_flow(cause, kind, bytes, now, emit);
                    }
                    Some(Kind::SET | Kind::NEIGHBOUR)
                        if self.role.len() + bytes.len() <= PAYLOAD =>
                    {
                        self.append(bytes, Keep::Verbatim, now, emit);
                    }
                    _ => self.counters.unfit += 1,
                };
            }
            Outbound::Mark { token, next } if token & OURS != 0 => {
                self.marked(token, next, now, emit);
            }
            // These are the node's.
            Outbound::Mark { .. } | Outbound::Applied { .. } | Outbound::Refused { .. } => {}
        }
    }

    fn take_flow(&mut self, cause: Cause, kind: Kind, bytes: &[u8], now: Tick, emit: Emit<'_, '_>) {
        let (Some(id), Some(version)) = (wire::flow_id(bytes), wire::version(bytes)) else {
            self.counters.unfit += 1;
            return;
        };
        if !self.said.has(id.slot()) || self.role.len() + bytes.len() > PAYLOAD {
            self.counters.unfit += 1;
            return;
        }
        self.node = Some(id.node());
        let said = self.said.get(id.slot());
        let order = said.order(id.generation(), version);
        let asked_for = matches!(cause, Cause::Repair | Cause::Bulk);
        if order.is_lt() || order.is_eq() && !asked_for {
            self.counters.stale += 1;
            self.overtaken(cause, kind, id, said);
            return;
        }
        if kind == Kind::UPDATE && !(said.is_alive() && said.generation() == id.generation()) {
            self.counters.early += 1;
            if !self.repairs.ask_again(&[id.slot()], false) {
                self.bulk.ask();
            }
            return;
        }
        let seq = self.say(kind, id, version, bytes, now, emit);
        if let Some(count) = self.counters.records.get_mut(cause as usize) {
            *count += 1;
        }
        match cause {
            Cause::Repair => {
                self.repair_bytes.spend(bytes.len());
                if self.repairs.is_at_bulk() {
                    self.bulk.said();
                }
                if self.repairs.said(seq) {
                    self.open.want_ack = true;
                    self.open.soon = true;
                }
            }
            Cause::Bulk => {
                self.bulk_bytes.spend(bytes.len());
                self.open.bulk = true;
                self.bulk.said();
            }
            Cause::Refresh => self.bulk_bytes.spend(bytes.len()),
            Cause::Deferred => {
                self.open.want_ack = true;
                self.flush(true, now, emit);
            }
            Cause::New | Cause::Change | Cause::End => {}
        }
    }

    /// Puts a flow's record into the open datagram; the number that it will have.
    #[inline]
    pub(super) fn say(
        &mut self,
        kind: Kind,
        id: FlowId,
        version: Version,
        bytes: &[u8],
        now: Tick,
        emit: Emit<'_, '_>,
    ) -> u64 {
        let slot = id.slot();
        let seq = self.append(bytes, Keep::Slot(slot), now, emit);
        let alive = kind != Kind::DELETE;
        if let Some(said) = self.said.get_mut(slot) {
            if said.is_alive() {
                self.digest.toggle(slot, said.generation(), said.version());
            }
            if alive {
                self.digest.toggle(slot, id.generation(), version);
            }
            said.say(seq, id.generation(), version, kind != Kind::UPDATE, alive);
        }
        seq
    }

    /// A flow that is not there any more is said to be gone, in the worker's stead.
    pub(super) fn say_gone(&mut self, slot: u32, said: Said, now: Tick, emit: Emit<'_, '_>) -> u64 {
        self.counters.orphans += 1;
        let version = Version(said.version().0.wrapping_add(1));
        self.say_end(slot, said.generation(), version, now, emit)
    }

    /// Says FLOW_DEL.
    pub(super) fn say_end(
        &mut self,
        slot: u32,
        generation: Generation,
        version: Version,
        now: Tick,
        emit: Emit<'_, '_>,
    ) -> u64 {
        let Some(node) = self.node else { return self.open_seq() };
        let id = FlowId::new(node, self.lane, slot, generation);
        let mut bytes = [0; CONTROL_RECORD];
        let length = wire::encode(&Record::Delete { id, version }, &mut bytes);
        let bytes = bytes.get(..length.unwrap_or(0)).unwrap_or_default();
        self.say(Kind::DELETE, id, version, bytes, now, emit)
    }

    /// Encodes a record and puts it into the open datagram; the number that it will have.
    pub(super) fn append_record(
        &mut self,
        record: &Record<'_>,
        keep: Keep,
        now: Tick,
        emit: Emit<'_, '_>,
    ) -> u64 {
        let mut bytes = [0; CONTROL_RECORD];
        let length = wire::encode(record, &mut bytes).unwrap_or(0);
        self.append(bytes.get(..length).unwrap_or_default(), keep, now, emit)
    }

    /// Puts a record into the open datagram; the number that it will have.
    #[inline]
    pub(super) fn append(
        &mut self,
        bytes: &[u8],
        keep: Keep,
        now: Tick,
        emit: Emit<'_, '_>,
    ) -> u64 {
        self.make_room(bytes.len(), now, emit);
        if self.open.is_empty() {
            self.open.begin(&self.role, now);
        }
        self.open.push(bytes, keep);
        self.open_seq()
    }

    /// Sends what is open if so many more bytes do not go in.
    #[inline]
    pub(super) fn make_room(&mut self, bytes: usize, now: Tick, emit: Emit<'_, '_>) {
        if !self.open.fits(bytes) || self.role_changed {
            self.flush(false, now, emit);
        }
    }

    /// The number that what is being built will have.
    pub(super) fn open_seq(&self) -> u64 {
        self.highest + 1
    }

    #[cfg(test)]
    pub(super) fn has_open(&self) -> bool {
        !self.open.is_empty()
    }

    fn flush(&mut self, last: bool, now: Tick, emit: Emit<'_, '_>) {
        if self.open.is_empty() {
            return;
        }
        self.role_changed = false;
        if !(mutated(Mutation::ReuseSeq) && self.counters.datagrams % 64 == 63) {
            self.highest += 1;
        }
        let (want_ack, bulk) = (self.open.want_ack, self.open.bulk);
        let (payload, slots, control) = self.open.parts();
        self.window.push(self.highest, now, want_ack, slots, control);
        self.all_bytes.fill(now);
        self.all_bytes.spend(payload.len() + AROUND);
        self.counters.datagrams += 1;
        self.counters.bytes += payload.len() as u64;
        self.data = Some(now);
        self.beat = None;
        emit(Datagram { seq: Seq(self.highest), want_ack, bulk, last, payload });
        self.open.clear();
    }

    /// What may be drained from the worker's rings now.
    pub fn budget(&self, now: Tick) -> Budget {
        Budget { urgent: self.all_bytes.has(now), lazy: self.all_bytes.has_plenty(now) }
    }

    /// Whether there are bytes left for another chunk of a bulk.
    pub(super) fn may_bulk(&self) -> bool {
        self.bulk_bytes.has(self.now) && self.all_bytes.has_plenty(self.now)
    }

    /// Does what is due; true: a HEARTBEAT is.
    pub fn poll(&mut self, now: Tick, emit: Emit<'_, '_>) -> bool {
        self.now = now;
        for bucket in [&mut self.all_bytes, &mut self.repair_bytes, &mut self.bulk_bytes] {
            bucket.fill(now);
        }
        self.poll_repairs(now, emit);
        self.poll_bulk(now, emit);
        if !self.open.is_empty() && (self.open.soon || now >= self.flush_due()) {
            self.flush(true, now, emit);
        }
        let due = now >= self.beat_due();
        if due {
            self.beat = Some(now);
        }
        due && !mutated(Mutation::NoHeartbeat)
    }

    fn flush_due(&self) -> Tick {
        Tick(self.open.since.0.saturating_add(self.pace.flush))
    }

    fn beat_due(&self) -> Tick {
        match (self.beat, self.data) {
            (Some(beat), _) => Tick(beat.0.saturating_add(BEAT)),
            (None, Some(data)) => Tick(data.0.saturating_add(FIRST_BEAT)),
            (None, None) => Tick(0),
        }
    }

    /// When [`Self::poll`] has something to do.
    pub fn next(&self, now: Tick) -> Option<Tick> {
        let flush =
            (!self.open.is_empty()).then(|| if self.open.soon { now } else { self.flush_due() });
        let held_back = (self.repairs.is_waiting() || self.bulk.is_waiting())
            .then(|| Tick(self.now.0.saturating_add(AGAIN)));
        [flush, held_back, Some(self.beat_due())].into_iter().flatten().min()
    }

    /// A NACK came.
    pub fn missing(&mut self, from: NodeId, ranges: &[(Seq, Seq)], now: Tick) {
        self.peers.hear(from);
        self.asked(from, ranges, now);
    }

    /// All up to `seq` is at `from`.
    pub fn watermark(&mut self, from: NodeId, seq: Seq, now: Tick) {
        if seq.0 > self.highest {
            return;
        }
        self.peers.watermark(from, seq.0, &self.window, now);
        if let Some(least) = self.peers.least() {
            self.window.trim(least);
        }
    }

    /// This peer is gone: nothing is kept for it.
    pub fn forget(&mut self, peer: NodeId) {
        self.peers.forget(peer);
        if let Some(least) = self.peers.least() {
            self.window.trim(least);
        }
    }

    /// All flows are to be said to somebody who has begun to listen for them. If they are being said already, it is until the
    /// same slot comes round again.
    pub fn begin_bulk(&mut self, _now: Tick) {
        self.bulk.ask();
    }

    /// Likewise; or what `from` still wants, as its `request`.
    pub fn begin_bulk_for(&mut self, from: NodeId, request: u32, part: Option<Part>) {
        self.bulk.ask_for(from, request, part);
    }

    /// How far the bulk that was begun last has come, if there is one.
    pub fn bulk(&self) -> Option<Progress> {
        self.bulk.progress(self.said.slots())
    }

    /// The highest number sent.
    pub fn highest(&self) -> Seq {
        Seq(self.highest)
    }

    /// How far behind standbys are. Sorts the recent lags: not for each datagram.
    pub fn behind(&self, now: Tick) -> Behind {
        self.peers.behind(&self.window, self.highest, now)
    }

    /// Digests of `count` (at most 128) of the 1,024 buckets, as of [`Self::highest`]: what waits is sent first.
    pub fn digest(
        &mut self,
        from: u16,
        count: u16,
        now: Tick,
        emit: Emit<'_, '_>,
    ) -> Record<'static> {
        self.flush(true, now, emit);
        Record::Digest {
            from,
            buckets: self.digest.from(from).iter().take(count.into()).take(128).copied().collect(),
        }
    }

    /// What it counted.
    pub fn counters(&self) -> &SendCounters {
        &self.counters
    }

    /// What this lane wants told to its worker. Ask until there is nothing, after each [`Self::poll`].
    pub fn request(&mut self) -> Option<Inbound<'static>> {
        self.request_repair().or_else(|| self.request_bulk())
    }

    /// The worker's ring had no room for what [`Self::request`] gave last: it is asked for again later.
    pub fn refused(&mut self, request: Inbound<'static>) {
        match request {
            Inbound::Export { token, .. } => self.repairs.refused(token),
            Inbound::Bulk { .. } => self.bulk.refused(),
            _ => {}
        }
    }
}
