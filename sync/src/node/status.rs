//! What a node says of itself to its operator: plain data, made when it is asked for.

use packet::Tick;

use crate::ids::{Epoch, Group, NodeId, Term};
use crate::lane::SendLane;
use crate::records::Role;
use crate::seal::Rejected;

use super::Node;
use super::config::Ports;
use super::counters::{Sum, receiving, rejected, sending};
use super::member::{Acknowledged, Member};
use super::origin::Origin;

/// All that `twinwall ha status` and the metrics show, except what workers and links know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// This node.
    pub node: NodeId,
    /// Its incarnation.
    pub epoch: Epoch,
    /// The group it serves.
    pub group: Group,
    /// What it is to it.
    pub role: Role,
    /// The highest term that it knows.
    pub term: Term,
    /// Whose that is.
    pub owner: Option<NodeId>,
    /// It has all flows that the owner has, or had last. Of the owner: true.
    pub synchronised: bool,
    /// The hash of its ruleset.
    pub ruleset: u64,
    /// How long records were on their way to the slowest standby (owner), in microseconds: half of them, and 99 of 100.
    pub lag_us: [u64; 2],
    /// Changes of flows that the slowest living standby has not confirmed yet (owner): at least as many as there are such flows.
    pub unconfirmed: u64,
    /// The bulk that runs: given, or taken.
    pub bulk: Bulk,
    /// What the last `Command::Verify` found.
    pub verify: Option<Verify>,
    /// The hand-over that is going on: to whom.
    pub handing_over: Option<NodeId>,
    /// A promotion waits for the owner to hand over, which it does not do for long.
    pub asking: bool,
    /// The goodbye was said: the daemon may end.
    pub left: bool,
    /// All counters by name.
    pub counters: Vec<(&'static str, u64)>,
    /// The other nodes that were heard since the start.
    pub peers: Vec<Peer>,
    /// What an operator should know now.
    pub alarms: Vec<String>,
}

/// How far a bulk is, in slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bulk {
    /// One runs.
    pub running: bool,
    /// Slots that were said.
    pub done: u64,
    /// Slots that there are.
    pub of: u64,
}

/// What comparing all flows found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verify {
    /// Buckets that were compared, by all standbys together.
    pub compared: u64,
    /// Those whose flows differed.
    pub differ: u64,
    /// Those that could not be compared, because changes were on their way.
    pub skipped: u64,
    /// It is still going on.
    pub running: bool,
}

/// Another node, as this one knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Which.
    pub node: NodeId,
    /// Its incarnation.
    pub epoch: Epoch,
    /// The minor version of the protocol that it speaks.
    pub minor: u8,
    /// It was heard a moment ago.
    pub alive: bool,
    /// It said goodbye.
    pub left: bool,
    /// What it says that it is.
    pub role: Role,
    /// The highest term that it knows.
    pub term: Term,
    /// It says that it has all flows of the owner.
    pub synchronised: bool,
    /// The hash of its ruleset.
    pub ruleset: u64,
    /// That is this node's hash.
    pub ruleset_agrees: bool,
    /// Microseconds since it was last heard.
    pub heard_us: u64,
    /// Microseconds since its last watermark, if this node is the owner.
    pub watermark_age_us: Option<u64>,
    /// Datagrams that it has yet to acknowledge, over all lanes, if this node is the owner.
    pub behind: u64,
    /// Its ports.
    pub ports: Ports,
}

impl Node {
    /// All that is to be shown of it.
    pub fn status(&self, now: Tick) -> Status {
        let (mut lag_us, mut unconfirmed) = ([0; 2], 0);
        for lane in &self.lanes {
            let behind = lane.behind(now);
            unconfirmed += behind.flows;
            let [half, most] = &mut lag_us;
            *half = (*half).max(behind.lag_p50 / 1_000);
            *most = (*most).max(behind.lag_p99 / 1_000);
        }
        Status {
            node: self.config.node,
            epoch: self.epoch,
            group: self.owner.group,
            role: self.owner.role,
            term: self.owner.claim.term,
            owner: self.owner.claim.owner,
            synchronised: self.synchronised,
            ruleset: self.frames.ruleset,
            lag_us,
            unconfirmed: if self.owner.is_owner() { unconfirmed } else { 0 },
            bulk: self.bulk(),
            verify: self.verifying.result(now),
            handing_over: self.switch.as_ref().map(|switch| switch.to),
            asking: self.asking.is_some(),
            left: self.left(),
            counters: self.all_counters(),
            peers: self.members.iter().map(|(node, member)| self.peer(node, member, now)).collect(),
            alarms: self.alarms.shown().collect(),
        }
    }

    fn bulk(&self) -> Bulk {
        if let Some(origin) = &self.origin {
            let (done, of) = origin.progress();
            let running = !origin.is_whole();
            let slots = u64::from(self.config.slots);
            return Bulk { running, done: u64::from(done) * slots, of: of as u64 * slots };
        }
        let mut bulk = Bulk::default();
        for lane in self.lanes.iter().filter(|_| self.owner.is_owner()) {
            bulk.of += u64::from(self.config.slots);
            match lane.bulk() {
                Some(progress) => {
                    bulk.running = true;
                    bulk.done += u64::from(progress.done);
                }
                None => bulk.done += u64::from(self.config.slots),
            }
        }
        bulk
    }

    fn peer(&self, node: NodeId, member: &Member, now: Tick) -> Peer {
        let owner = self.owner.is_owner();
        let us = |since: Tick| now.since(since).as_micros() as u64;
        let behind =
            |(lane, has): (&SendLane, &Acknowledged)| lane.highest().0.saturating_sub(has.seq.0);
        Peer {
            node,
            epoch: member.epoch,
            minor: member.minor,
            alive: member.alive,
            left: member.left,
            role: member.role,
            term: member.claim.term,
            synchronised: member.is_synchronised(),
            ruleset: member.hello.map_or(0, |hello| hello.ruleset),
            ruleset_agrees: member.hello.is_some_and(|hello| hello.ruleset == self.frames.ruleset),
            heard_us: us(member.heard),
            watermark_age_us: member.watermark.filter(|_| owner).map(us),
            behind: if owner { self.lanes.iter().zip(&member.lanes).map(behind).sum() } else { 0 },
            ports: member.ports.clone(),
        }
    }

    fn all_counters(&self) -> Vec<(&'static str, u64)> {
        let mut all = Sum::default();
        self.counters.each(&mut all.0);
        all.0.push(("sent", self.frames.sent));
        all.0.push(("unsealed", self.frames.unsealed));
        for (which, count) in Rejected::ALL.into_iter().zip(self.frames.rejected) {
            all.0.push((rejected(which), count));
        }
        for lane in &self.lanes {
            sending(lane.counters(), &mut all);
        }
        for lane in self.origin.iter().flat_map(Origin::lanes) {
            receiving(lane.counters(), &mut all);
        }
        all.0
    }
}
