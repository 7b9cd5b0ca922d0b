//! What tests of the sending side have in common: a lane, and what comes out of it.

use packet::Tick;

use super::{MS, lane, node};
use crate::hands::{Cause, Inbound, Outbound};
use crate::ids::{Group, Seq, Term};
use crate::lane::{Pace, SendLane};
use crate::records::{BulkId, Record, Role};
use crate::wire;

/// A datagram that came out: its number, flags, and records as short words.
#[derive(Debug)]
pub(super) struct Out {
    pub(super) seq: u64,
    pub(super) want_ack: bool,
    pub(super) bulk: bool,
    pub(super) last: bool,
    pub(super) words: Vec<String>,
}

/// A bulk: its number; and, if it is of one node, from where on, and which request of whose.
fn name(bulk: &BulkId) -> String {
    match bulk.whose {
        None => bulk.number.to_string(),
        Some((node, request)) => {
            format!("{} from {} for {}#{request}", bulk.number, bulk.first, node.get())
        }
    }
}

fn word(record: &Record<'_>) -> String {
    match record {
        Record::Role { role, term, .. } => format!("{role} {}", term.0),
        Record::Full(full) => format!("full {}v{}", full.id.slot(), full.version.0),
        Record::Update { id, version, .. } => format!("update {}v{}", id.slot(), version.0),
        Record::Delete { id, version } => format!("delete {}v{}", id.slot(), version.0),
        Record::Resolve { seq, since } => format!("resolve {} since {since}", seq.0),
        Record::Lost { from, to } => format!("lost {}-{}", from.0, to.0),
        Record::BulkBegin { bulk, slots } => format!("begin {} of {slots}", name(bulk)),
        Record::BulkMark { bulk, slot } => format!("mark {} at {slot}", name(bulk)),
        Record::BulkEnd { bulk, flows } => format!("end {} with {flows}", name(bulk)),
        Record::Neighbour(_) => "neighbour".into(),
        other => panic!("{other:?}"),
    }
}

pub(super) struct Test {
    pub(super) lane: SendLane,
    pub(super) out: Vec<Out>,
    pub(super) now: u64,
}

impl Test {
    pub(super) fn new(slots: u32, pace: Pace) -> Self {
        let mut lane = SendLane::new(lane(), slots, pace);
        lane.set_role(Group(0), Role::Active, Term(1), Some(node(1)));
        Self { lane, out: Vec::new(), now: MS }
    }

    pub(super) fn plain() -> Self {
        Self::new(100, Pace { flush: 100_000, bytes_per_second: 0, window: 1_000 })
    }

    pub(super) fn with<T>(
        &mut self,
        f: impl FnOnce(&mut SendLane, Tick, super::super::send::Emit<'_, '_>) -> T,
    ) -> T {
        let out = &mut self.out;
        f(&mut self.lane, Tick(self.now), &mut |datagram| {
            assert!(datagram.payload.len() <= wire::PAYLOAD);
            out.push(Out {
                seq: datagram.seq.0,
                want_ack: datagram.want_ack,
                bulk: datagram.bulk,
                last: datagram.last,
                words: wire::records(datagram.payload)
                    .map(|record| word(&record.unwrap().0))
                    .collect(),
            });
        })
    }

    pub(super) fn take(&mut self, cause: Cause, bytes: &[u8]) {
        let outbound = Outbound::Record { cause, slot: 0, bytes };
        self.with(|lane, now, emit| lane.take(&outbound, now, emit));
    }

    pub(super) fn mark(&mut self, token: u64, next: u32) {
        self.with(|lane, now, emit| lane.take(&Outbound::Mark { token, next }, now, emit));
    }

    pub(super) fn poll(&mut self) -> bool {
        self.with(|lane, now, emit| lane.poll(now, emit))
    }

    /// Lets what waits go; what came out since the last time.
    pub(super) fn flush(&mut self) -> Vec<Out> {
        self.poll();
        self.now += 100_000;
        self.poll();
        std::mem::take(&mut self.out)
    }

    /// The records of what came out, without ROLE.
    pub(super) fn words(&mut self) -> Vec<String> {
        self.flush().into_iter().flat_map(|out| out.words.into_iter().skip(1)).collect()
    }

    pub(super) fn missing(&mut self, ranges: &[(u64, u64)]) {
        let ranges: Vec<_> = ranges.iter().map(|&(from, to)| (Seq(from), Seq(to))).collect();
        self.lane.missing(node(2), &ranges, Tick(self.now));
        self.poll();
    }

    pub(super) fn export(&mut self) -> Option<(u64, Vec<u32>)> {
        match self.lane.request()? {
            Inbound::Export { token, slots } => Some((token, slots.to_vec())),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn chunk(&mut self) -> Option<(u64, u32, u32)> {
        match self.lane.request()? {
            Inbound::Bulk { token, from, count } => Some((token, from, count)),
            other => panic!("{other:?}"),
        }
    }
}
