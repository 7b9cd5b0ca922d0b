//! What a node sends.

use packet::Tick;

use crate::hands::{Hands, To};
use crate::ids::{FlowId, Lane, NodeId, Seq};
use crate::records::{Hello, Record};
use crate::wire::{MINOR, Type};

use super::config::{MS, after};
use super::frame::Records;
use super::member::PORTS;
use super::{BEAT, HELLO, Node};

/// How often goodbye is said.
pub(super) const GOODBYES: u8 = 3;
/// Between answers to a node with a lower term.
const TELL: u64 = 10 * MS;
/// Of whatever is not of a lane.
const FIRST: Option<Lane> = Lane::new(0);

impl Node {
    fn send(
        &mut self,
        kind: Type,
        lane: Option<Lane>,
        records: &Records,
        to: To,
        hands: &mut dyn Hands,
    ) {
        if let Some(lane) = lane {
            let highest = self.highest(lane);
            self.frames.send(kind, (lane, highest), records, to, hands);
        }
    }

    fn own_role(&self) -> Record<'static> {
        Record::Role {
            group: self.config.group,
            role: self.owner.role,
            term: self.owner.claim.term,
            owner: self.owner.claim.owner,
        }
    }

    /// HELLO, if it is due; and a standby's heartbeat.
    pub(super) fn poll_hello(&mut self, now: Tick, hands: &mut dyn Hands) {
        if self.stopping && self.goodbyes > 0 {
            return;
        }
        if self.hello <= now {
            self.say_hello(now, hands);
        } else if self.beat <= now && !self.owner.is_owner() {
            self.beat = after(now, BEAT);
            let records = Records::of(&self.own_role());
            self.send(Type::Heartbeat, FIRST, &records, To::All, hands);
        }
    }

    pub(super) fn say_hello(&mut self, now: Tick, hands: &mut dyn Hands) {
        let lanes = self.config.lanes;
        let records = self.hello_records(lanes);
        self.send(Type::Hello, FIRST, &records, To::All, hands);
        self.greeted = now;
        self.hello = after(now, HELLO);
        self.beat = after(now, BEAT);
    }

    /// A HELLO of a node without lanes is a goodbye.
    pub(super) fn say_goodbye(&mut self, hands: &mut dyn Hands) {
        let records = self.hello_records(0);
        self.send(Type::Hello, FIRST, &records, To::All, hands);
    }

    fn hello_records(&self, lanes: u8) -> Records {
        let wants_bulk = !self.synchronised && self.origin.is_some();
        let mut records = Records::of(&Record::Hello(Hello {
            lanes,
            minor: MINOR,
            synchronised: self.synchronised,
            wants_bulk,
            capacity: self.config.slots.saturating_mul(self.config.lanes.into()),
            ruleset: self.frames.ruleset,
            nodes: self.config.nodes,
        }));
        records.push(&self.own_role());
        for (name, mac) in self.config.ports.iter().take(PORTS) {
            records.push(&Record::Port { name: *name, mac: *mac });
        }
        records
    }

    pub(super) fn say_heartbeat(&mut self, lane: Lane, hands: &mut dyn Hands) {
        let mut records = Records::new();
        if lane.get() == 0 {
            records.push(&self.own_role());
        }
        self.send(Type::Heartbeat, Some(lane), &records, To::All, hands);
    }

    /// Says what this node's daemon has for others', sealed; it is neither repeated nor acknowledged. False: it is longer than
    /// [`CONTROL`](crate::wire::CONTROL).
    pub fn say_control(&mut self, payload: &[u8], hands: &mut dyn Hands) -> bool {
        let highest = self.highest_of_first();
        self.frames.control((Lane::FIRST, highest), payload, hands)
    }

    /// Tells a node that its term has passed.
    pub(super) fn say_term(&mut self, to: NodeId, now: Tick, hands: &mut dyn Hands) {
        let Some(member) = self.members.get_mut(to) else { return };
        if member.told.is_some_and(|told| after(told, TELL) > now) {
            return;
        }
        member.told = Some(now);
        self.counters.lower_terms += 1;
        let records = Records::of(&self.own_role());
        self.send(Type::Heartbeat, FIRST, &records, To::Node(to), hands);
    }

    /// NACKs: to all, so that other standbys need not ask for the same.
    pub(super) fn say_missing(&mut self, now: Tick, hands: &mut dyn Hands) {
        let highest = self.highest_of_first();
        let Self { origin: Some(origin), frames, .. } = self else { return };
        let mut asked = arrayvec::ArrayVec::<_, { crate::ids::LANES }>::new();
        origin.missing(now, |lane, ranges| asked.push((lane, ranges)));
        for (lane, ranges) in asked {
            let Some(whose) = origin.watermark(lane, false) else { continue };
            let mut records = Records::of(&whose);
            records.push(&ranges);
            if let Some(first) = FIRST {
                frames.send(Type::Nack, (first, highest), &records, To::All, hands);
            }
        }
    }

    /// Asks the owner for bulks of these lanes, or what is wanted of them.
    pub(super) fn say_bulk_requests(&mut self, lanes: u64, hands: &mut dyn Hands) {
        let request = self.request;
        let highest = self.highest_of_first();
        let Self { origin: Some(origin), frames, .. } = self else { return };
        let Some(first) = FIRST else { return };
        let to = To::Node(origin.node);
        let mut records = Records::new();
        for lane in (0..crate::ids::LANES as u8).filter_map(Lane::new) {
            let Some(whose) = origin.watermark(lane, false) else { break };
            if lanes >> lane.get() & 1 == 0 {
                continue;
            }
            if !records.has_room(2) {
                frames.send(Type::Nack, (first, highest), &records, to, hands);
                records.clear();
            }
            records.push(&whose);
            records.push(&Record::BulkRequest { request, part: origin.wanted(lane) });
        }
        if !records.is_empty() {
            frames.send(Type::Nack, (first, highest), &records, to, hands);
        }
    }

    pub(super) fn say_watermarks(&mut self, all: bool, now: Tick, hands: &mut dyn Hands) {
        let highest = self.highest_of_first();
        let Self { origin: Some(origin), frames, .. } = self else { return };
        let Some(first) = FIRST else { return };
        let applied = hands.applied();
        let to = To::Node(origin.node);
        origin.watermarks(all, applied, now, |records| {
            frames.send(Type::Watermark, (first, highest), records, to, hands);
        });
    }

    /// Acknowledges deferred flows to the nodes that named them.
    pub(super) fn say_acks(&mut self, hands: &mut dyn Hands) {
        while let Some((first, _)) = self.acks.first() {
            let to = first.node();
            let mut records = Records::new();
            let mut said = 0;
            let (frames, lane) = (&mut self.frames, FIRST);
            self.acks.retain(|(id, version): &(FlowId, _)| {
                let keep = id.node() != to
                    || !records.push(&Record::DeferAck { id: *id, version: *version });
                said += u64::from(!keep);
                keep
            });
            if said == 0 {
                // Not reached: an empty datagram has room for one.
                self.acks.clear();
                return;
            }
            self.counters.acknowledgements += said;
            let highest = self.lanes.first().map_or(Seq(0), crate::lane::SendLane::highest);
            if let Some(lane) = lane {
                frames.send(Type::Watermark, (lane, highest), &records, To::Node(to), hands);
            }
        }
    }

    /// Part of a planned switchover.
    pub(super) fn say_redirect(&mut self, records: &Records, to: NodeId, hands: &mut dyn Hands) {
        self.send(Type::Redirect, FIRST, records, To::Node(to), hands);
    }

    pub(super) fn say_digest(
        &mut self,
        lane: Lane,
        record: &Record<'_>,
        to: To,
        hands: &mut dyn Hands,
    ) {
        self.send(Type::Digest, Some(lane), &Records::of(record), to, hands);
    }

    fn highest_of_first(&self) -> Seq {
        FIRST.map_or(Seq(0), |lane| self.highest(lane))
    }
}
