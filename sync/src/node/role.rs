//! What becoming something entails; commands; planned switchovers; takeovers by silence.
//!
//! # A promotion beside an owner that lives
//!
//! Whoever moves the addresses may be wrong about the owner: keepalived is starved, or alone died. A term that is taken from an owner that
//! lives costs what it had not said yet, and what was lost on its way. So the heir asks for a planned switchover first ([`Asking`]), and
//! takes the term where none comes of it. An owner that is silent is not asked: what moves addresses needs longer to notice a death
//! than [`RECENTLY`].

use packet::Tick;

use crate::hands::{Hands, Saved};
use crate::ids::{Epoch, NodeId, Term};
use crate::records::{Record, Role};
use crate::wire;

use super::alarm::Alarm;
use super::config::{MS, after};
use super::frame::Records;
use super::owner::{Act, Claim, Event};
use super::switch::{REDIRECT, Step};
use super::{Command, Node, Refused, SAVE, Switch, Takeover};

/// Lower nodes take over first: each waits so much longer than the one before it.
const STAGGER: u64 = 10 * MS;
/// Where nobody was ever the owner, nodes wait so long to hear of each other.
const FIRST: u64 = 1_000 * MS;
/// A node that starts listens for others so long before it is promoted: their HELLO answers its own.
const LISTEN: u64 = 250 * MS;
/// An owner that was heard so recently is asked to hand over rather than outbid.
const RECENTLY: u64 = 30 * MS;
/// For so long it may do so: whoever is promoted has the addresses already, and forwards nothing until then.
const ASKED: u64 = 30 * MS;
/// Between questions.
const ASK_AGAIN: u64 = 2 * MS;
/// A disk may take so long.
const UNSAVED: u64 = 2_000 * MS;
/// A node that was refused a promotion and is told again after so long begins to wait anew.
const REFUSED_ANEW: u64 = 30_000 * MS;

/// A promotion that waits for the owner to hand over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking {
    until: Tick,
    again: Tick,
}

impl Asking {
    pub(super) fn next(self) -> Tick {
        self.again.min(self.until)
    }
}

impl Node {
    /// Does what it is told.
    ///
    /// # Errors
    /// It may not or cannot. Nothing has changed then.
    pub fn command(
        &mut self,
        command: Command,
        now: Tick,
        hands: &mut dyn Hands,
    ) -> Result<(), Refused> {
        self.awake(now, hands);
        match command {
            Command::Ruleset(hash) => {
                if self.frames.ruleset != hash {
                    self.frames.ruleset = hash;
                    self.hello_soon(now);
                }
                Ok(())
            }
            Command::Ports(ports) => {
                self.config.ports = ports;
                self.hello_soon(now);
                Ok(())
            }
            Command::Stop => {
                self.stop(now, hands);
                Ok(())
            }
            _ if self.stopping => Err(Refused::Stopping),
            _ if self.config.passive => Err(Refused::Passive),
            Command::Promote { force } => {
                let promoted = self.promote(force, now, hands);
                self.counters.promotions_refused += u64::from(promoted.is_err());
                promoted
            }
            Command::Demote => self.demote(now, hands),
            Command::Resync => match self.owner.other() {
                _ if self.owner.is_owner() => Err(Refused::Owner(self.owner.claim.term)),
                Some(_) if self.origin.is_some() => {
                    self.begin_round(now, hands);
                    Ok(())
                }
                _ => Err(Refused::NoOwner),
            },
            Command::Verify => self.verify(now, hands),
        }
    }

    fn promote(&mut self, force: bool, now: Tick, hands: &mut dyn Hands) -> Result<(), Refused> {
        if self.role() == Role::Active {
            return Ok(());
        }
        let missing = !force && !self.owner.is_owner() && !self.synchronised;
        if missing && self.config.unsynchronised_after > 0 && now < after(self.started, LISTEN) {
            return Err(Refused::Listening);
        }
        if missing && let Some(peer) = self.members.with_flows() {
            let since = match self.refused {
                Some((since, last)) if after(last, REFUSED_ANEW) > now => since,
                _ => now,
            };
            let until = after(since, self.config.unsynchronised_after);
            if now < until {
                self.refused = Some((since, now));
                return Err(Refused::Unsynchronised {
                    peer,
                    seconds: (until.0 - now.0) / (1_000 * MS),
                });
            }
        }
        if !self.owner.is_reserved() && !self.reserve(self.owner.next_term(), now, hands) && !force
        {
            return Err(Refused::NotSaved);
        }
        let owner = self.owner.other().and_then(|owner| self.members.get(owner));
        let lives = owner.is_some_and(|owner| owner.alive && after(owner.heard, RECENTLY) > now);
        if !force && self.synchronised && lives {
            if self.asking.is_none() {
                self.asking = Some(Asking { until: after(now, ASKED), again: now });
                self.counters.handovers_asked += 1;
            }
            self.poll_asking(now, hands);
            return Ok(());
        }
        self.event(Event::Promote, now, hands);
        Ok(())
    }

    pub(super) fn poll_asking(&mut self, now: Tick, hands: &mut dyn Hands) {
        let Some(Asking { until, again }) = self.asking else { return };
        let Some(owner) = self.owner.other().filter(|_| now < until) else {
            // It does not, or it left.
            self.event(Event::Promote, now, hands);
            return;
        };
        if again <= now {
            self.asking = Some(Asking { until, again: after(now, ASK_AGAIN) });
            let (group, to) = (self.owner.group, self.config.node);
            let term = Term(self.owner.claim.term.0.saturating_add(1));
            self.say_redirect(&Records::of(&Record::Grant { group, term, to }), owner, hands);
        }
    }

    /// A standby asks for the group. The term that it wants tells an old question from a new one.
    fn asked(&mut self, from: NodeId, term: Term, now: Tick, hands: &mut dyn Hands) {
        let free = self.role() == Role::Active && !self.stopping;
        if free
            && term > self.owner.claim.term
            && let Some(heir) = self.members.get(from).filter(|from| from.is_heir())
        {
            self.hand_over((from, heir.epoch), now, hands);
        }
    }

    fn demote(&mut self, now: Tick, hands: &mut dyn Hands) -> Result<(), Refused> {
        let asked = self.asking.take().is_some();
        if self.role() != Role::Active {
            // It may yet be granted what it asked for, and then has to hand it back.
            let owner = self.owner.other().and_then(|owner| self.members.get(owner));
            let granting = asked || owner.is_some_and(|owner| owner.role == Role::Held);
            return if granting { Err(Refused::Granting) } else { Ok(()) };
        }
        let heir = self.members.heir().ok_or(Refused::NoStandby)?;
        self.hand_over(heir, now, hands);
        Ok(())
    }

    fn hand_over(&mut self, heir: (NodeId, Epoch), now: Tick, hands: &mut dyn Hands) {
        self.token = (self.token + 1) % super::LANES_TOKENS;
        self.switch = Some(Switch::new(heir, self.token, self.config.lanes, now));
        self.counters.switchovers += 1;
        self.event(Event::HandOver, now, hands);
        self.poll_switch(now, hands);
    }

    fn stop(&mut self, now: Tick, hands: &mut dyn Hands) {
        if self.stopping {
            return;
        }
        self.stopping = true;
        self.asking = None;
        if self.role() == Role::Active
            && let Some(heir) = self.members.heir()
        {
            self.hand_over(heir, now, hands);
        }
        self.poll_goodbye(now, hands);
    }

    /// A node that stops says goodbye once it is not the owner, or there is nobody to take over.
    pub(super) fn poll_goodbye(&mut self, now: Tick, hands: &mut dyn Hands) {
        if !self.stopping || self.switch.is_some() || self.left() {
            return;
        }
        if self.goodbyes == 0 {
            self.event(Event::Leave, now, hands);
        }
        self.say_goodbye(hands);
        self.goodbyes += 1;
    }

    fn event(&mut self, event: Event, now: Tick, hands: &mut dyn Hands) {
        let before = self.owner.claim;
        let act = self.owner.event(event);
        self.act(act, before, now, hands);
    }

    /// What comes of an event. The role is that after it; `before`: the claim before it.
    pub(super) fn act(&mut self, act: Act, before: Claim, now: Tick, hands: &mut dyn Hands) {
        if act == Act::Nothing {
            return;
        }
        let Claim { term, owner } = self.owner.claim;
        let (group, role) = (self.owner.group, self.owner.role);
        // Workers first: this is what a takeover takes.
        hands.become_role(group, role, term, owner);
        for lane in &mut self.lanes {
            lane.set_role(group, role, term, owner);
        }
        match act {
            Act::Take => {
                self.counters.promoted += 1;
                self.switch = None;
                self.asking = None;
                self.redirecting = None;
                self.origin = None;
                self.refused = None;
                for lane in &mut self.lanes {
                    // Flows have new names from now on: those of this node.
                    lane.begin_bulk(now);
                }
            }
            Act::Follow => {
                let mine = before.owner == Some(self.config.node);
                self.counters.stepped_down += u64::from(mine && role == Role::Standby);
                self.switch = None;
                self.asking = None;
                if role == Role::Redirecting && self.redirecting.is_none() {
                    self.redirecting = Some(after(now, REDIRECT));
                }
                if self.owner.other().is_some() {
                    // Its HELLO, or its next ROLE, begins the new one.
                    self.origin = None;
                    self.synchronised = false;
                }
            }
            Act::Resume => {
                self.switch = None;
                self.counters.switchovers_abandoned += 1;
            }
            Act::Settle => self.redirecting = None,
            Act::Vacate => self.vacant = now,
            Act::Hold | Act::Nothing => {}
        }
        self.judge(now);
        self.say_hello(now, hands);
        self.saving = now;
        self.save(now, hands);
    }

    /// Sees to it that the next term is on disk.
    pub(super) fn save(&mut self, now: Tick, hands: &mut dyn Hands) {
        if self.saving <= now
            && let Some(term) = self.owner.to_reserve()
        {
            self.reserve(term, now, hands);
        }
    }

    fn reserve(&mut self, term: Term, now: Tick, hands: &mut dyn Hands) -> bool {
        let saved = hands.save(self.owner.group, Saved { epoch: self.epoch, reserved: term });
        if saved {
            self.owner.reserve(term);
            self.unsaved = None;
        } else {
            self.saving = after(now, SAVE);
            if after(*self.unsaved.get_or_insert(now), UNSAVED) <= now {
                self.alarms.raise(Alarm::Saved, now, hands);
            }
        }
        saved
    }

    pub(super) fn poll_switch(&mut self, now: Tick, hands: &mut dyn Hands) {
        if self.redirecting.is_some_and(|until| until <= now) {
            self.event(Event::Settled, now, hands);
        }
        let Some(switch) = &mut self.switch else { return };
        let to = switch.to;
        match switch.step(self.members.get(to), now, hands) {
            Step::Wait => {}
            Step::Flushed => {
                let Self { lanes, frames, .. } = self;
                let mut seqs = Vec::with_capacity(lanes.len());
                for sending in lanes {
                    let lane = sending.lane();
                    // A digest of nothing: what waits is sent before it.
                    sending.digest(0, 0, now, &mut |datagram| frames.data(lane, &datagram, hands));
                    seqs.push(sending.highest());
                }
                switch.flushed(seqs);
                self.poll_switch(now, hands);
            }
            Step::Ask => {
                for lane in (0..self.config.lanes).filter_map(crate::ids::Lane::new) {
                    // The heir learns what it must have.
                    self.say_heartbeat(lane, hands);
                }
                let group = self.owner.group;
                self.say_redirect(&Records::of(&Record::Barrier { group, to }), to, hands);
            }
            Step::Arrived => {
                // This node must not take the heir's term, not after a restart either.
                self.save(now, hands);
                if self.owner.to_reserve().is_none() {
                    let term = self.owner.grant();
                    if let Some(switch) = &mut self.switch {
                        switch.granted(term);
                    }
                    self.poll_switch(now, hands);
                }
            }
            Step::Grant(term) => {
                let group = self.owner.group;
                self.say_redirect(&Records::of(&Record::Grant { group, term, to }), to, hands);
            }
            Step::Abandon => {
                self.alarms.raise(Alarm::Heir(to), now, hands);
                self.event(Event::Abandon, now, hands);
            }
            Step::Outbid => {
                self.alarms.raise(Alarm::Heir(to), now, hands);
                self.event(Event::Promote, now, hands);
            }
        }
    }

    /// The other side of a switchover. A GRANT that names its sender asks for one.
    pub(super) fn redirect(
        &mut self,
        from: NodeId,
        records: &[u8],
        now: Tick,
        hands: &mut dyn Hands,
    ) {
        for record in wire::records(records) {
            match record {
                Ok((Record::Barrier { group, to }, _)) => {
                    let asked = group == self.owner.group && to == self.config.node;
                    if asked && self.owner.other() == Some(from) {
                        self.say_watermarks(true, now, hands);
                    }
                }
                Ok((Record::Grant { group, term, to }, _)) if to == from => {
                    if group == self.owner.group {
                        self.asked(from, term, now, hands);
                    }
                }
                Ok((Record::Grant { group, term, to }, _)) => {
                    let meant = group == self.owner.group && to == self.config.node;
                    let owner = self.owner.other() == Some(from);
                    // It may have been meant for who this node was before it was started anew.
                    if meant
                        && owner
                        && self.was_synchronised
                        && term > self.owner.claim.term
                        && !self.stopping
                    {
                        self.owner.reserve(term);
                        if matches!(self.role(), Role::Standby | Role::Redirecting) {
                            hands.handed_over();
                        }
                        self.event(Event::Granted, now, hands);
                    }
                }
                Ok(_) => {}
                Err(error) => self.counters.bad(error),
            }
        }
    }

    /// When this node would take over by itself.
    pub(super) fn takeover_due(&self) -> Option<Tick> {
        let Takeover::Silence(silence) = self.config.takeover else { return None };
        let ready = matches!(self.role(), Role::Standby | Role::Redirecting);
        if !ready || self.stopping || self.pulse.is_unsure() {
            return None;
        }
        let stagger = u64::from(self.config.node.get()) * STAGGER;
        let claim = self.owner.claim;
        let gone = match self.owner.other() {
            Some(owner) => {
                let heard = self.members.get(owner).map_or(self.vacant, |owner| owner.heard);
                after(heard, silence)
            }
            None if claim.term == Term(0) => after(self.started, FIRST),
            None => self.vacant,
        };
        let due = after(gone, stagger);
        if self.synchronised {
            return Some(due);
        }
        // One that has all flows goes first; so does, among those that have not, the lowest.
        let mut others = self.members.alive().filter(|(node, _)| Some(*node) != self.owner.other());
        let first = others.all(|(node, other)| {
            other.role == Role::Passive || !other.is_synchronised() && node > self.config.node
        });
        let patience = if claim.term == Term(0) { 0 } else { self.config.unsynchronised_after };
        first.then(|| after(due, patience))
    }

    pub(super) fn poll_takeover(&mut self, now: Tick, hands: &mut dyn Hands) {
        if self.takeover_due().is_none_or(|due| due > now) {
            return;
        }
        // Not under a term that is not saved, however often that has to be tried: after a restart it would be taken once more.
        let saved = self.owner.is_reserved()
            || self.saving <= now && self.reserve(self.owner.next_term(), now, hands);
        if saved {
            let _ = self.promote(true, now, hands);
        }
    }
}
