//! What datagrams of other nodes do.

use packet::Tick;

use crate::hands::Hands;
use crate::ids::{Epoch, Lane, NodeId, Seq};
use crate::records::{Record, Role};
use crate::wire::{self, Flags, Header, Malformed, Type};
use crate::{Mutation, mutated};

use super::alarm::Alarm;
use super::config::{MS, after};
use super::frame::Opened;
use super::member::{Acknowledged, Member, PORTS};
use super::origin::Workers;
use super::owner::Claim;
use super::{Counters, Node};

/// For so long after its start a node may still hear what its last incarnation sent.
const ECHO: u64 = 1_000 * MS;
/// Whoever acts under a term that has passed for so long does not hear this node.
const STALE: u64 = 200 * MS;

impl Node {
    /// A datagram that came, whole. It is decrypted in place.
    pub fn received(&mut self, datagram: &mut [u8], now: Tick, hands: &mut dyn Hands) {
        self.awake(now, hands);
        if self.left() {
            return;
        }
        match self.frames.open(datagram) {
            Opened::Other(header, records) => {
                if self.meet(&header, now) {
                    self.dispatch(&header, records, now, hands);
                }
            }
            Opened::Looped => self.counters.looped += 1,
            Opened::Twin(epoch) => {
                if epoch > self.epoch || after(self.started, ECHO) <= now {
                    self.counters.twins += 1;
                    self.alarms.raise(Alarm::Twin, now, hands);
                }
            }
            Opened::Rejected => {}
        }
    }

    /// Whose incarnation is this? False: of one that is over.
    fn meet(&mut self, header: &Header, now: Tick) -> bool {
        let known =
            self.members.get(header.node).map(|member| (member.epoch, member.left, member.alive));
        match known {
            Some((epoch, ..)) if header.epoch < epoch => {
                self.counters.old_epoch += 1;
                return false;
            }
            Some((epoch, true, _)) if header.epoch == epoch => {
                self.counters.after_goodbye += 1;
                return false;
            }
            Some((epoch, _, alive)) if header.epoch == epoch => {
                if !alive {
                    self.hello_soon(now);
                }
            }
            _ => {
                // It was started: of what it was, nothing holds any more.
                self.members.put(header.node, Member::new(header.epoch, header.minor, now));
                self.gone(header.node, now);
                self.hello_soon(now);
            }
        }
        if let Some(member) = self.members.get_mut(header.node) {
            member.heard = now;
            member.alive = true;
            member.since_gap |= self.pulse.is_fresh(now);
        }
        true
    }

    /// An incarnation of a node is over.
    fn gone(&mut self, node: NodeId, now: Tick) {
        for lane in &mut self.lanes {
            lane.forget(node);
        }
        if self.owner.claim.owner == Some(node) && !self.owner.vacant {
            self.owner.is_there(false);
            self.vacant = now;
        }
        // Whatever it had said stays in the table, and this node is as synchronised as it was.
        if self.origin.as_ref().is_some_and(|origin| origin.node == node) {
            self.origin = None;
        }
    }

    fn dispatch(&mut self, header: &Header, records: &[u8], now: Tick, hands: &mut dyn Hands) {
        match header.kind {
            Type::Data => return self.data(header, records, now, hands),
            Type::Nack => {
                self.counters.nacks += 1;
                self.nack(header, records, now, hands);
            }
            Type::Heartbeat => {
                self.counters.heartbeats += 1;
                self.roles(header.node, records, now, hands);
            }
            Type::Watermark => {
                self.counters.watermarks += 1;
                self.watermarks(header.node, records, now);
            }
            Type::Hello => {
                self.counters.hellos += 1;
                self.hello(header, records, now, hands);
            }
            Type::Digest => {
                self.counters.digests += 1;
                self.digest(header, records, now, hands);
            }
            Type::Redirect => {
                self.counters.redirects += 1;
                self.redirect(header.node, records, now, hands);
            }
            Type::Control => {
                self.counters.controls += 1;
                hands.control(header.node, records);
            }
        }
        if self.owner.other() == Some(header.node)
            && let Some(origin) = &mut self.origin
            && !mutated(Mutation::NoHeartbeat)
        {
            origin.highest(header.lane, header.seq, now);
        }
    }

    fn data(&mut self, header: &Header, records: &[u8], now: Tick, hands: &mut dyn Hands) {
        let first = wire::records(records).next();
        let Some(Ok((Record::Role { group, role, term, owner }, _))) = first else {
            self.counters.malformed += 1;
            return;
        };
        if group != self.config.group {
            self.counters.other_group += 1;
            return;
        }
        let claim = Claim { term, owner };
        self.heard_role(header.node, role, claim, now, hands);
        let serves = claim == self.owner.claim && owner == Some(header.node);
        if !serves || self.owner.is_owner() || self.config.passive {
            self.counters.fenced += 1;
            if self.owner.other() == Some(header.node)
                && let Some(origin) = &mut self.origin
            {
                // It is not to be missing for ever: what it said is asked for, and said under the present term.
                origin.highest(header.lane, header.seq, now);
            }
            return;
        }
        let Some(origin) = self.origin.as_mut().filter(|origin| origin.node == header.node) else {
            self.counters.before_hello += 1;
            return;
        };
        if !Workers::have_room(self.config.lanes, hands) {
            self.counters.no_room += 1;
            return;
        }
        let want_ack = header.flags.has(Flags::WANT_ACK);
        let last = header.flags.has(Flags::LAST_IN_BURST);
        let mut workers = Workers { hands, order: header.seq.0 as u32, full: 0 };
        let at = (header.lane, header.seq);
        match origin.data(at, (want_ack, last), records, now, &mut workers) {
            Some(_) => self.counters.data += 1,
            None => self.counters.no_lane += 1,
        }
        self.counters.ring_full += workers.full;
        if origin.is_partial() {
            self.alarms.raise(Alarm::Partial(header.node), now, hands);
        }
    }

    fn hello(&mut self, header: &Header, records: &[u8], now: Tick, hands: &mut dyn Hands) {
        let from = header.node;
        let mut all = wire::records(records);
        let Some(Ok((Record::Hello(hello), _))) = all.next() else {
            self.counters.malformed += 1;
            return;
        };
        if hello.lanes == 0 {
            return self.goodbye(from, records, now, hands);
        }
        let Some(member) = self.members.get_mut(from) else { return };
        member.minor = header.minor.min(hello.minor);
        member.hello = Some(hello);
        member.ports.clear();
        for record in all {
            if let Ok((Record::Port { name, mac }, _)) = record
                && member.ports.len() < PORTS
            {
                member.ports.push((name, mac));
            }
        }
        if hello.ruleset != self.frames.ruleset {
            self.alarms.raise(Alarm::Ruleset(from), now, hands);
        }
        if hello.nodes != self.config.nodes {
            self.alarms.raise(Alarm::Nodes(from), now, hands);
        }
        self.roles(from, records, now, hands);
    }

    fn goodbye(&mut self, from: NodeId, records: &[u8], now: Tick, hands: &mut dyn Hands) {
        // Its last word on terms counts.
        self.roles(from, records, now, hands);
        self.gone(from, now);
        if let Some(member) = self.members.get_mut(from) {
            member.alive = false;
            member.left = true;
        }
    }

    /// The ROLE records of a HEARTBEAT or a HELLO.
    fn roles(&mut self, from: NodeId, records: &[u8], now: Tick, hands: &mut dyn Hands) {
        for record in wire::records(records) {
            match record {
                Ok((Record::Role { group, role, term, owner }, _))
                    if group == self.config.group =>
                {
                    self.heard_role(from, role, Claim { term, owner }, now, hands);
                }
                Ok((Record::Role { .. }, _)) => self.counters.other_group += 1,
                Ok(_) => {}
                Err(error) => self.counters.bad(error),
            }
        }
    }

    fn heard_role(
        &mut self,
        from: NodeId,
        role: Role,
        claim: Claim,
        now: Tick,
        hands: &mut dyn Hands,
    ) {
        if let Some(member) = self.members.get_mut(from) {
            member.role = role;
            member.claim = claim;
        }
        let acts = matches!(role, Role::Active | Role::Held);
        let before = self.owner.claim;
        if let Some(act) = self.owner.heard(claim) {
            self.vacant = now;
            self.act(act, before, now, hands);
        }
        let stale = acts && claim < self.owner.claim;
        if stale {
            self.say_term(from, now, hands);
        }
        if let Some(member) = self.members.get_mut(from) {
            // What is on its way when another takes over is of the old term and no cause for alarm.
            let since = member.stale.filter(|_| stale).unwrap_or(now);
            member.stale = stale.then_some(since);
            if after(since, STALE) <= now {
                self.alarms.raise(Alarm::Two(from), now, hands);
            }
        }
        if self.owner.claim == claim && claim.owner == Some(from) {
            if !acts && !self.owner.vacant {
                self.vacant = now;
            }
            self.owner.is_there(acts);
            if acts {
                self.follow(from, now, hands);
            }
        }
    }

    /// Begins to receive the owner's lanes, if that has not begun.
    fn follow(&mut self, from: NodeId, now: Tick, hands: &mut dyn Hands) {
        let Some(member) = self.members.get(from) else { return };
        let known = self.origin.as_ref().is_some_and(|origin| origin.node == from);
        let (Some(hello), false, false) = (member.hello, known, self.config.passive) else {
            return;
        };
        let seed = self.seed ^ u64::from(from.get()) << 8 ^ member.epoch.0;
        match super::Origin::new(from, member.epoch, &hello, seed, now) {
            Some(origin) => {
                self.origin = Some(origin);
                self.synchronised = false;
                self.begin_round(now, hands);
            }
            None => self.alarms.raise(Alarm::Size(from), now, hands),
        }
    }

    fn nack(&mut self, header: &Header, records: &[u8], now: Tick, hands: &mut dyn Hands) {
        let from = header.node;
        // Whose lane it is about: WATERMARK stands before what is said of a lane.
        let mut whose: Option<(NodeId, Epoch, u8)> = None;
        for record in wire::records(records) {
            let record = match record {
                Ok((record, _)) => record,
                Err(error) => {
                    self.counters.bad(error);
                    continue;
                }
            };
            if let Record::Watermark { node, lane, epoch, .. } = record {
                whose = Some((node, epoch, lane));
                continue;
            }
            let Some((node, epoch, number)) = whose else { continue };
            let index = usize::from(number);
            if node != self.config.node {
                if let Record::Missing(ranges) = record
                    && let Some(origin) = &mut self.origin
                    && (origin.node, origin.epoch) == (node, epoch)
                    && let Some(lane) = Lane::new(number).and_then(|lane| origin.lane(lane))
                {
                    lane.heard_missing(&ranges, now);
                }
                continue;
            }
            if epoch != self.epoch || !self.owner.is_owner() {
                continue;
            }
            let Some(lane) = self.lanes.get_mut(index) else { continue };
            match record {
                Record::Missing(ranges) => lane.missing(from, &ranges, now),
                Record::BulkRequest { request, part } => {
                    let Some(member) = self.members.get_mut(from) else { continue };
                    let Some(asked) = member.lanes.get_mut(index) else { continue };
                    let is_old = |last: u32| (request.wrapping_sub(last) as i32) <= 0;
                    if asked.request.is_some_and(is_old) {
                        continue;
                    }
                    asked.request = Some(request);
                    // One that runs already is joined.
                    lane.begin_bulk_for(from, request, part);
                    // What is not a flow's goes by this lane; and a bucket alone is asked for by who misses nothing.
                    let misses = part.is_none_or(|part| part.outside != Seq(u64::MAX));
                    if index == Lane::FIRST.index() && misses {
                        hands.say_elsewhere();
                    }
                }
                _ => {}
            }
        }
    }

    fn watermarks(&mut self, from: NodeId, records: &[u8], now: Tick) {
        let Some(member) = self.members.get_mut(from) else { return };
        for record in wire::records(records) {
            match record {
                Ok((Record::Watermark { node, lane, epoch, seq, applied }, _)) => {
                    if node != self.config.node || epoch != self.epoch {
                        continue;
                    }
                    let index = usize::from(lane);
                    let (Some(has), Some(lane)) =
                        (member.lanes.get_mut(index), self.lanes.get_mut(index))
                    else {
                        continue;
                    };
                    if seq > lane.highest() {
                        // More than was ever sent.
                        self.counters.malformed += 1;
                        continue;
                    }
                    member.watermark = Some(now);
                    if seq > has.seq {
                        *has = Acknowledged { seq, applied, ..*has };
                    } else if seq == has.seq {
                        has.applied |= applied;
                    }
                    lane.watermark(from, seq, now);
                }
                Ok((Record::DeferAck { id, .. }, _)) => {
                    self.counters.acknowledged += 1;
                    self.waiting.acknowledged(id, from, self.config.acks);
                }
                Ok(_) => {}
                Err(error) => self.counters.bad(error),
            }
        }
    }
}

impl Counters {
    pub(super) const fn bad(&mut self, error: Malformed) {
        match error {
            Malformed::NotUnderstood(_) => self.not_understood += 1,
            Malformed::Length | Malformed::Body(_) => self.malformed += 1,
        }
    }
}
