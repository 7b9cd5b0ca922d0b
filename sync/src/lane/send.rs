//! The sending side. See the module's overview.

use packet::Tick;

use super::pages::Pages;
use super::{Behind, Budget, Datagram, Pace, Progress};
use crate::hands::{Cause, Inbound, Outbound};
use crate::ids::{Group, Lane, NodeId, Seq, Term};
use crate::records::{Record, Role};
use crate::wire::{self, PAYLOAD};

/// A HEARTBEAT follows the last DATA after so long, in nanoseconds.
const FIRST_BEAT: u64 = 1_000_000;
/// And then others.
const BEAT: u64 = 10_000_000;

/// What a sending lane counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendCounters {
    /// Datagrams.
    pub datagrams: u64,
    /// Bytes of their records.
    pub bytes: u64,
    /// Records of flows, by [`Cause`].
    pub records: [u64; 7],
    /// Records that a newer one of the same slot had overtaken.
    pub stale: u64,
    /// Records that no lane can send: of a slot that it has not, or without a flow.
    pub unfit: u64,
    /// Datagrams that were asked for again.
    pub missing: u64,
    /// Of these: a repair was under way.
    pub repeated: u64,
    /// Of these: repaired.
    pub resolved: u64,
    /// Of these: out of the window.
    pub lost: u64,
    /// Repairs that the worker did not answer.
    pub unanswered: u64,
    /// Bulks that were begun.
    pub bulks: u64,
    /// Flows that were ended because a bulk did not say them.
    pub orphans: u64,
}

#[derive(Clone, Copy, Debug, Default)]
#[allow(dead_code, reason = "repair reads it")]
struct Said {
    seq: u64,
    generation: u32,
    version: u32,
}

/// The sending side of a lane.
#[derive(Debug)]
pub struct SendLane {
    lane: Lane,
    pace: Pace,
    role: Record<'static>,
    said: Pages<Said>,
    payload: Box<[u8; PAYLOAD]>,
    len: usize,
    records: usize,
    since: Tick,
    highest: u64,
    data: Option<Tick>,
    beat: Option<Tick>,
    counters: SendCounters,
}

impl SendLane {
    /// Of a lane with so many slots.
    pub fn new(lane: Lane, slots: u32, pace: Pace) -> Self {
        Self {
            lane,
            pace,
            role: Record::Role { group: Group(0), role: Role::Standby, term: Term(0), owner: None },
            said: Pages::new(slots),
            payload: Box::new([0; PAYLOAD]),
            len: 0,
            records: 0,
            since: Tick(0),
            highest: 0,
            data: None,
            beat: None,
            counters: SendCounters::default(),
        }
    }

    /// Which lane this is.
    pub fn lane(&self) -> Lane {
        self.lane
    }

    /// What datagrams say first from the next on. What was taken before this goes under the role that it was taken under.
    pub fn set_role(&mut self, group: Group, role: Role, term: Term, owner: Option<NodeId>) {
        self.role = Record::Role { group, role, term, owner };
    }

    /// Takes what came out of a worker's ring. Marks with tokens below 2⁶³ are not this lane's and are ignored.
    pub fn take(&mut self, outbound: &Outbound<'_>, now: Tick, emit: &mut dyn FnMut(Datagram<'_>)) {
        let Outbound::Record { cause, slot: _, bytes } = outbound else { return };
        if let (Some(id), Some(version)) = (wire::flow_id(bytes), wire::version(bytes)) {
            let Some(said) = self.said.get_mut(id.slot()) else {
                self.counters.unfit += 1;
                return;
            };
            *said = Said {
                seq: self.highest + 1,
                generation: id.generation().get(),
                version: version.0,
            };
            self.counters.records[*cause as usize] += 1;
        }
        if self.len + bytes.len() > PAYLOAD {
            self.flush(false, false, now, emit);
        }
        if self.records == 0 {
            self.since = now;
            self.len = wire::encode(&self.role, &mut self.payload[..]).unwrap_or(0);
        }
        if let Some(to) = self.payload.get_mut(self.len..self.len + bytes.len()) {
            to.copy_from_slice(bytes);
            self.len += bytes.len();
            self.records += 1;
        }
        if *cause == Cause::Deferred {
            self.flush(true, true, now, emit);
        }
    }

    fn flush(&mut self, want_ack: bool, last: bool, now: Tick, emit: &mut dyn FnMut(Datagram<'_>)) {
        if self.records == 0 {
            return;
        }
        self.highest += 1;
        self.records = 0;
        self.data = Some(now);
        self.beat = None;
        self.counters.datagrams += 1;
        self.counters.bytes += self.len as u64;
        let payload = self.payload.get(..self.len).unwrap_or_default();
        emit(Datagram { seq: Seq(self.highest), want_ack, bulk: false, last, payload });
    }

    /// What may be drained from the worker's rings now.
    pub fn budget(&self, _now: Tick) -> Budget {
        Budget { urgent: true, lazy: true }
    }

    /// Does what is due; true: a HEARTBEAT is.
    pub fn poll(&mut self, now: Tick, emit: &mut dyn FnMut(Datagram<'_>)) -> bool {
        if self.records > 0 && now.0 >= self.since.0 + self.pace.flush {
            self.flush(false, true, now, emit);
        }
        let due = self.beat_due();
        if due.is_some_and(|due| now >= due) {
            self.beat = Some(now);
            return true;
        }
        false
    }

    fn beat_due(&self) -> Option<Tick> {
        match (self.beat, self.data) {
            (Some(beat), _) => Some(Tick(beat.0 + BEAT)),
            (None, Some(data)) => Some(Tick(data.0 + FIRST_BEAT)),
            (None, None) => Some(Tick(0)),
        }
    }

    /// When [`Self::poll`] has something to do.
    pub fn next(&self, _now: Tick) -> Option<Tick> {
        let flush = (self.records > 0).then(|| Tick(self.since.0 + self.pace.flush));
        [flush, self.beat_due()].into_iter().flatten().min()
    }

    /// A NACK came. A range up to `Seq(u64::MAX)` says from where on `from` has nothing.
    pub fn missing(&mut self, _from: NodeId, _ranges: &[(Seq, Seq)], _now: Tick) {}

    /// All up to `seq` is at `from`.
    pub fn watermark(&mut self, _from: NodeId, _seq: Seq, _now: Tick) {}

    /// This peer is gone: nothing is kept for it.
    pub fn forget(&mut self, _peer: NodeId) {}

    /// All flows are to be said.
    pub fn begin_bulk(&mut self, _now: Tick) {}

    /// How far the bulk has come, if there is one.
    pub fn bulk(&self) -> Option<Progress> {
        None
    }

    /// What this lane wants told to its worker. Ask until there is nothing, after each [`Self::poll`].
    pub fn request(&mut self) -> Option<Inbound<'static>> {
        None
    }

    /// The worker's ring had no room for this request: it is said again later.
    pub fn refused(&mut self, _request: Inbound<'static>) {}

    /// The highest number sent.
    pub fn highest(&self) -> Seq {
        Seq(self.highest)
    }

    /// How far behind standbys are.
    pub fn behind(&self, _now: Tick) -> Behind {
        Behind::default()
    }

    /// Digests of `count` (at most 128) of the 1,024 buckets, as of [`Self::highest`]: what waits is sent first.
    pub fn digest(
        &mut self,
        from: u16,
        _count: u16,
        now: Tick,
        emit: &mut dyn FnMut(Datagram<'_>),
    ) -> Record<'static> {
        self.flush(false, true, now, emit);
        Record::Digest { from, buckets: arrayvec::ArrayVec::new() }
    }

    /// What it counted.
    pub fn counters(&self) -> &SendCounters {
        &self.counters
    }
}
