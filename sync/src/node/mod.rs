//! A node of a cluster: what the sync thread decides.
//!
//! # Overview
//!
//! ```text
//! rings of the workers -> outbound --> lanes --> frame -> Hands::send
//! sockets -> received -> frame -> hear -+-> member, owner (roles, terms), switch
//!                                       +-> origin (the owner's lanes) -> Hands::tell -> rings of the workers
//! operator, keepalived -> command -> role        poll: all that is due, HELLO, the lease
//! ```
//! - `hear`: what datagrams of others do. `say`: what this node sends. `role`: what becoming something entails.
//! - [`member`](self): other nodes. `owner`: terms and roles, a table. `switch`: a planned switchover. `origin`: the owner's
//!   lanes. `defer`: packets that wait. `lease`: may workers forward. `verify`: digests. `alarm`, `counters`, `status`: what is shown.
//!
//! # Life cycle
//!
//! [`Node::new`] with an epoch that is on disk already. Then, in each pass of the sync thread and in this order: [`Node::received`] for
//! all that is in the sockets, [`Node::outbound`] for what [`Node::budget`] allows of the workers' rings, [`Node::command`],
//! [`Node::poll`], and sleep until the moment that `poll` returned, or until something comes. After `Command::Stop` until the
//! status says `left`.
//!
//! # Who may touch what
//!
//! The sync thread alone. Pure: no clock, no socket, no thread, no lock; all effects are [`Hands`]'. Whatever is not authentic, or not
//! ours, changes counters only. Everything that others can make grow has a limit.

mod alarm;
mod config;
mod counters;
mod defer;
mod frame;
mod hear;
mod lease;
mod member;
mod origin;
mod owner;
mod role;
mod say;
mod status;
mod switch;
mod verify;

#[cfg(test)]
mod tests;

use packet::Tick;

use crate::hands::{Cause, Hands, Outbound, Saved};
use crate::ids::{Epoch, FlowId, Lane, NodeId, Seq, Version};
use crate::lane::{Budget, Pace, SendLane};
use crate::records::Role;
use crate::seal::Keyring;
use crate::{Mutation, mutated, wire};

pub use config::{Command, Config, KeyInUse, Ports, Refused, Takeover};
pub use status::{Bulk, Peer, Status, Verify};

use alarm::{Alarm, Alarms};
use config::{MS, after, earlier};
use counters::Counters;
use defer::Waiting;
use frame::Frames;
use lease::Pulse;
use member::Members;
use origin::{Origin, Wanted};
use owner::Owner;
use role::Asking;
use switch::Switch;
use verify::Verifying;

/// Between HELLOs.
const HELLO: u64 = 100 * MS;
/// Between HELLOs that are due because something changed.
const HELLO_SOON: u64 = 2 * MS;
/// A node that was silent for so long is dead, whoever decides on takeovers.
const DEAD: u64 = 350 * MS;
/// A standby's heartbeat.
const BEAT: u64 = 50 * MS;
/// Between tries to save.
const SAVE: u64 = 20 * MS;
/// Acknowledgements of deferred flows that wait for the end of a pass at most.
const ACKS: usize = 512;
/// Tokens below this are this module's; from it on they are the lanes'.
const LANES_TOKENS: u64 = 1 << 63;

/// A node.
#[derive(Debug)]
pub struct Node {
    config: Config,
    epoch: Epoch,
    frames: Frames,
    lanes: Vec<SendLane>,
    members: Members,
    owner: Owner,
    /// As long as another is the owner, and said HELLO.
    origin: Option<Origin>,
    /// All flows that the owner has, or had when it was last there, are in this node's table.
    synchronised: bool,
    /// They were at some time since this node started.
    was_synchronised: bool,
    stamp: u32,
    request: u32,
    token: u64,
    switch: Option<Switch>,
    asking: Option<Asking>,
    /// Until then packets are passed on to the new owner.
    redirecting: Option<Tick>,
    waiting: Waiting,
    acks: Vec<(FlowId, Version)>,
    pulse: Pulse,
    seed: u64,
    started: Tick,
    /// Since when the owner is known to be gone.
    vacant: Tick,
    /// Since when a promotion was refused, and when it was last.
    refused: Option<(Tick, Tick)>,
    saving: Tick,
    /// Since when saving was tried in vain.
    unsaved: Option<Tick>,
    hello: Tick,
    greeted: Tick,
    beat: Tick,
    verifying: Verifying,
    stopping: bool,
    goodbyes: u8,
    alarms: Alarms,
    counters: Counters,
}

impl Node {
    /// A node that starts. `saved`: what is on disk, with the epoch of this start; `seed`: of random delays.
    pub fn new(config: Config, keys: Keyring, saved: Saved, seed: u64, now: Tick) -> Self {
        let pace = Pace {
            flush: config.flush,
            bytes_per_second: config.bytes_per_second / u64::from(config.lanes.max(1)),
            window: config.window,
        };
        let lanes = (0..config.lanes)
            .filter_map(Lane::new)
            .map(|lane| SendLane::new(lane, config.slots, pace))
            .collect();
        Self {
            epoch: saved.epoch,
            frames: Frames::new(keys, config.cluster, config.node, saved.epoch),
            lanes,
            members: Members::new(),
            owner: Owner::new(config.node, config.group, config.passive, saved.reserved),
            origin: None,
            synchronised: false,
            was_synchronised: false,
            stamp: 0,
            request: 0,
            token: 0,
            switch: None,
            asking: None,
            redirecting: None,
            waiting: Waiting::default(),
            acks: Vec::new(),
            pulse: Pulse::new(config.lease, now),
            seed,
            started: now,
            vacant: now,
            refused: None,
            saving: now,
            unsaved: None,
            hello: now,
            greeted: Tick(0),
            beat: now,
            verifying: Verifying::new(now),
            stopping: false,
            goodbyes: 0,
            alarms: Alarms::default(),
            counters: Counters::default(),
            config,
        }
    }

    /// A message from a worker's rings.
    pub fn outbound(
        &mut self,
        lane: Lane,
        message: &Outbound<'_>,
        now: Tick,
        hands: &mut dyn Hands,
    ) {
        self.awake(now, hands);
        match *message {
            Outbound::Record { cause, bytes, .. } => {
                if !self.owner.is_owner() && !mutated(Mutation::ExportImports) {
                    // It lay in the ring while this node stepped down.
                    self.counters.not_owner += 1;
                    return;
                }
                if cause == Cause::Deferred
                    && let Some(id) = wire::flow_id(bytes)
                {
                    self.counters.deferred += 1;
                    if !self.waiting.begin(id, self.config.acks, now) {
                        self.counters.deferred_overflow += 1;
                    }
                }
                self.take(lane, message, now, hands);
            }
            Outbound::Mark { token, .. } if token < LANES_TOKENS => {
                if let Some(switch) = &mut self.switch {
                    switch.marked(lane, token);
                }
            }
            Outbound::Mark { .. } => self.take(lane, message, now, hands),
            Outbound::Applied { id, version } => {
                self.acks.push((id, Version(version)));
                if self.acks.len() >= ACKS {
                    self.say_acks(hands);
                }
            }
            Outbound::Refused { id } => {
                self.counters.refused += 1;
                if let Some(origin) = &mut self.origin
                    && origin.node == id.node()
                {
                    origin.refused(now);
                    self.alarms.raise(Alarm::Full(id.node()), now, hands);
                    self.judge(now);
                }
            }
        }
    }

    fn take(&mut self, lane: Lane, message: &Outbound<'_>, now: Tick, hands: &mut dyn Hands) {
        let Self { lanes, frames, .. } = self;
        if let Some(sending) = lanes.get_mut(lane.index()) {
            sending.take(message, now, &mut |datagram| frames.data(lane, &datagram, hands));
        }
    }

    /// What may be drained from a worker's rings now.
    pub fn budget(&self, lane: Lane, now: Tick) -> Budget {
        match self.lanes.get(lane.index()) {
            Some(lane) if self.owner.is_owner() => lane.budget(now),
            _ => Budget { urgent: true, lazy: true },
        }
    }

    /// The ports that a node said, by CRC32C of their names.
    pub fn ports(&self, node: NodeId) -> &[(u32, [u8; 6])] {
        self.members.get(node).map_or(&[], |member| &member.ports)
    }

    /// Goes on with other keys.
    ///
    /// # Errors
    /// A node that lives would not be heard any more. Nothing has changed then.
    pub fn rekey(&mut self, keys: Keyring) -> Result<(), KeyInUse> {
        let in_use = self.members.alive().find_map(|(node, _)| {
            self.frames.misses(node, &keys).map(|key| KeyInUse { node, key })
        });
        match in_use {
            Some(in_use) => Err(in_use),
            None => {
                self.frames.rekey(keys);
                Ok(())
            }
        }
    }

    /// Does all that is due; when to come again at the latest.
    pub fn poll(&mut self, now: Tick, hands: &mut dyn Hands) -> Tick {
        self.awake(now, hands);
        if self.left() {
            return after(now, HELLO);
        }
        self.poll_members(now);
        self.poll_lanes(now, hands);
        self.poll_origin(now, hands);
        self.say_acks(hands);
        self.poll_waiting(now, hands);
        self.poll_switch(now, hands);
        self.poll_asking(now, hands);
        self.poll_takeover(now, hands);
        self.save(now, hands);
        self.poll_digests(now, hands);
        self.poll_goodbye(now, hands);
        self.poll_hello(now, hands);
        self.alarms.expire(now);
        let heard = self.members.alive().all(|(_, member)| member.since_gap);
        if self.pulse.may_renew(heard, now) || mutated(Mutation::LeaseWithoutHearing) {
            hands.lease(after(now, self.config.lease));
        }
        self.next(now)
    }

    fn next(&self, now: Tick) -> Tick {
        let mut next = after(now, (self.config.lease / 4).max(MS));
        next = earlier(next.min(self.hello), self.members.next(self.silence()));
        if self.owner.is_owner() {
            for lane in &self.lanes {
                next = earlier(next, lane.next(now));
            }
            next = next.min(self.verifying.next());
        } else {
            next = next.min(self.beat);
        }
        if let Some(origin) = &self.origin {
            next = next.min(origin.next(now));
        }
        next = earlier(next, self.switch.as_ref().map(|switch| switch.next(now)));
        next = earlier(next, self.asking.map(Asking::next));
        next = earlier(next, self.redirecting);
        // Until its term is saved, it is tried as often as that.
        let saved = self.owner.is_reserved();
        let takeover = self.takeover_due();
        next = earlier(next, takeover.map(|due| if saved { due } else { due.max(self.saving) }));
        next = earlier(next, self.waiting.next());
        if self.waiting.is_due() || self.pulse.is_unsure() || self.stopping {
            next = next.min(after(now, MS / 4));
        }
        if self.owner.to_reserve().is_some() {
            next = next.min(self.saving);
        }
        next.max(now)
    }

    /// At the beginning of whatever is done: was this node stopped?
    fn awake(&mut self, now: Tick, hands: &mut dyn Hands) {
        if self.pulse.beat(now) {
            self.counters.stops += 1;
            self.alarms.raise(Alarm::Stopped, now, hands);
            for (_, member) in self.members.iter_mut().filter(|(_, member)| member.alive) {
                // Its silence was this node's own.
                member.heard = now;
                member.since_gap = false;
            }
            self.vacant = self.vacant.max(now);
            self.hello = now;
        }
    }

    /// How long a node may be silent before it counts as dead.
    fn silence(&self) -> u64 {
        match self.config.takeover {
            Takeover::External => DEAD,
            Takeover::Silence(silence) => DEAD.max(silence),
        }
    }

    fn poll_members(&mut self, now: Tick) {
        let silence = self.silence();
        while let Some(node) = self.members.bury(silence, now) {
            self.counters.silences += 1;
            for lane in &mut self.lanes {
                lane.forget(node);
            }
        }
    }

    fn poll_lanes(&mut self, now: Tick, hands: &mut dyn Hands) {
        if !self.owner.is_owner() {
            return;
        }
        let mut beats = 0_u64;
        let Self { lanes, frames, .. } = self;
        for sending in lanes {
            let lane = sending.lane();
            if sending.poll(now, &mut |datagram| frames.data(lane, &datagram, hands)) {
                beats |= 1 << lane.get();
            }
            while let Some(request) = sending.request() {
                if hands.tell(lane, &request).is_err() {
                    sending.refused(request);
                    break;
                }
            }
        }
        for lane in (0..self.config.lanes).filter_map(Lane::new) {
            if beats & 1 << lane.get() != 0 && !mutated(Mutation::NoHeartbeat) {
                self.say_heartbeat(lane, hands);
            }
        }
    }

    fn poll_origin(&mut self, now: Tick, hands: &mut dyn Hands) {
        let Self { origin: Some(origin), config, counters, .. } = self else { return };
        match origin.poll(config.lanes, now, counters, hands) {
            Wanted::Nothing => {}
            Wanted::Round => self.begin_round(now, hands),
            Wanted::Parts(lanes) => self.resume(lanes, now, hands),
        }
        self.say_missing(now, hands);
        self.say_watermarks(false, now, hands);
        self.judge(now);
    }

    /// All flows of the owner are asked for.
    fn begin_round(&mut self, now: Tick, hands: &mut dyn Hands) {
        let Some(origin) = &mut self.origin else { return };
        self.stamp = self.stamp.wrapping_add(1);
        self.request = self.request.wrapping_add(1);
        origin.begin(self.stamp, (self.config.node, self.request), now);
        self.counters.bulks_asked += 1;
        self.say_bulk_requests(u64::MAX, hands);
        self.judge(now);
    }

    /// What some of the owner's lanes lack is asked for.
    fn resume(&mut self, lanes: u64, now: Tick, hands: &mut dyn Hands) {
        let Some(origin) = &mut self.origin else { return };
        self.request = self.request.wrapping_add(1);
        let lanes = origin.resume(lanes, (self.config.node, self.request), now);
        self.counters.parts_asked += 1;
        self.say_bulk_requests(lanes, hands);
        self.judge(now);
    }

    /// Is this node synchronised?
    fn judge(&mut self, now: Tick) {
        let before = self.synchronised;
        if self.owner.is_owner() {
            self.synchronised = true;
        } else if let Some(origin) = &self.origin {
            self.synchronised = origin.is_whole() && !origin.is_partial();
        }
        self.was_synchronised |= self.synchronised;
        if self.synchronised != before {
            self.refused = None;
            self.hello_soon(now);
        }
    }

    fn poll_waiting(&mut self, now: Tick, hands: &mut dyn Hands) {
        self.waiting.release(|id| {
            let release = crate::hands::Inbound::Release { id };
            hands.tell(id.lane(), &release).is_ok()
        });
        self.counters.deferred_expired += self.waiting.expire(now);
    }

    /// Says HELLO at the next poll.
    fn hello_soon(&mut self, now: Tick) {
        self.hello = self.hello.min(now.max(after(self.greeted, HELLO_SOON)));
    }

    /// Has the lane of one of the owner's flows believe that it ended; which flow. What is in the table, is the caller's.
    #[cfg(test)]
    pub(crate) fn tear(&mut self, which: u32) -> Option<FlowId> {
        let origin = self.origin.as_mut()?;
        let living: Vec<FlowId> =
            origin.lanes().flat_map(|lane| lane.living().collect::<Vec<_>>()).collect();
        let id = *living.get(which as usize % living.len().max(1))?;
        origin.lane(id.lane())?.corrupt(id.slot(), false);
        Some(id)
    }

    fn highest(&self, lane: Lane) -> Seq {
        self.lanes.get(lane.index()).map_or(Seq(0), SendLane::highest)
    }

    /// The goodbye was said.
    fn left(&self) -> bool {
        self.goodbyes >= say::GOODBYES
    }

    fn role(&self) -> Role {
        self.owner.role
    }
}
