//! What goes wrong, how it ends, and the arbiter.

use super::*;

impl World {
    pub(super) fn fault(&mut self, number: usize) {
        if self.healing.is_some() {
            return;
        }
        let fault = self.schedule.events[number].fault;
        let until = |lasts: u64| self.now + lasts;
        let (at, undo) = match fault {
            Fault::Weather { link, quality, lasts } => {
                let quality = self.network.set_quality(link, quality);
                (until(lasts), Undo::Weather { link, quality })
            }
            Fault::Cut { from, to, link, lasts } => {
                let (from, to) = (usize::from(from), usize::from(to));
                self.network.set_cut(from, to, link, 1);
                (until(lasts), Undo::Cut { from, to, link })
            }
            Fault::Isolate { node, lasts } => {
                let node = usize::from(node);
                self.network.isolate(node, 1);
                (until(lasts), Undo::Isolate { node })
            }
            Fault::Crash { node, lasts } => {
                let node = usize::from(node);
                let at = until(lasts);
                self.crash(node);
                (at, Undo::Crash { node })
            }
            Fault::Stop { node, lasts } => {
                let node = usize::from(node);
                self.places[node].stopped += 1;
                self.places[node].stood = self.now;
                (self.now + lasts, Undo::Stop { node })
            }
            Fault::StopSync { node, lasts } => {
                let node = usize::from(node);
                self.places[node].sync_stopped += 1;
                self.places[node].stood = self.now;
                (self.now + lasts, Undo::StopSync { node })
            }
            Fault::StopWorker { node, worker, lasts } => {
                let (node, worker) = (usize::from(node), usize::from(worker));
                self.places[node].workers_stopped[worker] += 1;
                (self.now + lasts, Undo::StopWorker { node, worker })
            }
            Fault::Slow { node, lasts } => {
                let node = usize::from(node);
                self.places[node].slow += 1;
                (self.now + lasts, Undo::Slow { node })
            }
            Fault::Disk { node, lasts } => {
                let node = usize::from(node);
                self.places[node].disk_full += 1;
                (self.now + lasts, Undo::Disk { node })
            }
            Fault::Promote { node, force } => {
                // By force it is promoted though its term cannot be saved: then a claim may come twice, and that is known.
                let force = force && self.places[usize::from(node)].disk_full == 0;
                return self.command(usize::from(node), Command::Promote { force });
            }
            Fault::Demote { node } => return self.command(usize::from(node), Command::Demote),
            Fault::Resync { node } => return self.command(usize::from(node), Command::Resync),
            Fault::Verify { node } => return self.command(usize::from(node), Command::Verify),
            Fault::Ruleset { node, rules } => {
                self.places[usize::from(node)].rules = rules;
                return self.command(usize::from(node), Command::Ruleset(rules));
            }
            Fault::Forge { node, kind } => return self.forged(usize::from(node), kind),
            Fault::Tear { node, which } => return self.tear(usize::from(node), which),
        };
        self.network.perfect_since = self.now;
        self.put(at, What::Over(undo));
    }

    pub(super) fn undo(&mut self, undo: Undo) {
        // All was undone when faults stopped.
        if self.healing.is_some() {
            return;
        }
        self.network.perfect_since = self.now;
        match undo {
            Undo::Weather { link, quality } => {
                self.network.set_quality(link, quality);
            }
            Undo::Cut { from, to, link } => self.network.set_cut(from, to, link, -1),
            Undo::Isolate { node } => self.network.isolate(node, -1),
            Undo::Crash { node } => {
                if self.places[node].machine.is_none() {
                    self.start(node);
                }
            }
            Undo::Stop { node } => {
                let place = &mut self.places[node];
                place.stopped -= 1;
                place.resumed = self.now;
                self.wake(node, self.now);
            }
            Undo::StopSync { node } => {
                let place = &mut self.places[node];
                place.sync_stopped -= 1;
                place.resumed = self.now;
                self.wake(node, self.now);
            }
            Undo::StopWorker { node, worker } => self.places[node].workers_stopped[worker] -= 1,
            Undo::Slow { node } => self.places[node].slow -= 1,
            Undo::Disk { node } => self.places[node].disk_full -= 1,
        }
    }

    /// Tells a node something, unless it stands still.
    pub(super) fn command(&mut self, node: usize, command: Command) {
        let now = self.local(node);
        let place = &mut self.places[node];
        if place.stopped > 0 || place.sync_stopped > 0 {
            return;
        }
        let Some(machine) = &mut place.machine else { return };
        machine.disk_full = place.disk_full > 0;
        // What it refuses is its business.
        let promotes = matches!(command, Command::Promote { .. });
        let _ = machine.command(command, now);
        self.outcome.asked += u64::from(promotes && machine.status(now).asking);
        place.saved = machine.saved;
        let sent = std::mem::take(&mut machine.sent);
        self.send(node, sent);
        self.claimed(node);
        self.wake(node, self.now);
    }

    /// A standby loses a flow and does not notice: no fault that there may be, but one in the program.
    fn tear(&mut self, node: usize, which: u32) {
        let now = self.local(node);
        let Some(machine) = &mut self.places[node].machine else { return };
        if let Some((worker, number)) = machine.tear(which, now) {
            self.invariants.tear(node, worker, number);
            self.outcome.torn += 1;
        }
    }

    /// While it is not known that all flows are the same, an operator compares them again and again.
    fn compare(&mut self) {
        let active = |place: &Place| place.machine.as_ref().is_some_and(|m| m.role == Role::Active);
        if self.now.is_multiple_of(10 * LOOK)
            && let Some(node) = self.places.iter().position(active)
        {
            self.command(node, Command::Verify);
        }
    }

    /// A stranger sends a node something: I10.
    fn forged(&mut self, node: usize, kind: Forgery) {
        if self.recorded.is_empty() {
            return;
        }
        let authenticated = self.schedule.shape.authenticated;
        let bytes = self.recorded[self.rng.usize(..self.recorded.len())].clone();
        let forged = forge(&mut self.rng, kind, &bytes);
        let now = self.local(node);
        let place = &mut self.places[node];
        let Some(machine) = &mut place.machine else { return };
        // What it was sent and has not had yet is not forged; nor is a checksum any hindrance to who can compute it.
        if kind == Forgery::Replay {
            if machine.heard.contains(&bytes) {
                machine.ignores(forged, now, "a replay");
            }
        } else if forged[..] != bytes[..] && (authenticated || kind != Forgery::Renamed) {
            machine.ignores(forged, now, "a forgery");
        }
        if let Some(what) = machine.broken.take() {
            self.invariants.fail(what.0, self.now, || format!("node {node}: {}", what.1));
        }
    }

    /// Looks at the cluster from outside: the arbiter, and whether all agree. True: it is over.
    pub(super) fn look(&mut self) -> bool {
        self.put(self.now + LOOK, What::Look);
        if self.healing.is_none() && self.now >= self.schedule.shape.lasts {
            self.stop_faults();
        }
        self.arbitrate();
        self.look_at_synchronised();
        let Some(since) = self.healing else { return false };
        if self.outcome.torn > 0 {
            self.compare();
        }
        match self.disagreement() {
            None => {
                let agreed = *self.agreed.get_or_insert(self.now);
                self.outcome.healed = agreed - since;
                let is_over = self.now - agreed >= STAYS;
                if is_over {
                    let machines = self.places.iter().filter_map(|place| place.machine.as_ref());
                    self.outcome.alarms = machines.map(|m| m.counter("digest_alarms")).sum();
                }
                is_over
            }
            Some(what) => {
                self.agreed = None;
                if self.now - since > HEALING {
                    self.invariants.fail("I1", self.now, || what);
                }
                false
            }
        }
    }

    fn stop_faults(&mut self) {
        self.healing = Some(self.now);
        self.network.mend();
        self.network.perfect_since = self.now;
        for node in 0..self.places.len() {
            let place = &mut self.places[node];
            if place.stopped > 0 || place.sync_stopped > 0 {
                place.resumed = self.now;
            }
            (place.stopped, place.sync_stopped, place.slow, place.disk_full) = (0, 0, 0, 0);
            place.workers_stopped.fill(0);
            if place.machine.is_none() {
                self.start(node);
            }
            self.wake(node, self.now);
        }
    }

    /// Promotes somebody when nobody has been active for a while.
    fn arbitrate(&mut self) {
        let is_active = |place: &Place| {
            place.stopped == 0
                && place
                    .machine
                    .as_ref()
                    .is_some_and(|machine| matches!(machine.role, Role::Active | Role::Held))
        };
        if self.places.iter().any(is_active) {
            self.leaderless = self.now;
            return;
        }
        let by_itself = self.schedule.shape.silence.is_some() && self.healing.is_none();
        if by_itself || self.now - self.leaderless < PATIENCE {
            return;
        }
        let fit: Vec<usize> = (0..self.places.len())
            .filter(|node| self.places[*node].stopped == 0)
            .filter(|node| self.places[*node].machine.is_some())
            .collect();
        let synchronised = fit.iter().find(|node| {
            let machine = self.places[**node].machine.as_ref();
            machine.is_some_and(|machine| machine.status(Tick(0)).synchronised)
        });
        if let Some(node) = synchronised.or(fit.first()).copied() {
            // At the beginning nobody has anything to lose.
            let force = self.claims.is_empty();
            self.command(node, Command::Promote { force });
        }
    }

    /// A node that says it is synchronised with an active one: I13.
    fn look_at_synchronised(&mut self) {
        for node in 0..self.places.len() {
            let now = self.local(node);
            let place = &mut self.places[node];
            let Some(machine) = &mut place.machine else { continue };
            let owner = machine.owner.filter(|owner| *owner != node);
            let (era, applied) = (machine.era, machine.applied());
            let status = machine.status(now);
            let never = ["ring_full", "unsealed", "records_unfit"];
            let broken = status.counters.iter().find(|(name, n)| *n > 0 && never.contains(name));
            if let Some((name, _)) = broken {
                self.invariants.fail("I9", self.now, || format!("node {node} counts {name}"));
            }
            let synchronised = machine.role == Role::Standby && status.synchronised;
            if !synchronised || owner.is_none() || machine.seen_era != era {
                if place.was_synchronised || machine.seen_era != era {
                    // It may have been just after the last look.
                    place.hears_since = self.now.saturating_sub(LOOK);
                }
                machine.seen_era = era;
                place.was_synchronised = false;
                continue;
            }
            // What lay in its sockets while it stood still is old: it has all up to that, and asks for the rest.
            if self.now - place.resumed < SECOND && place.resumed > 0 {
                continue;
            }
            let since = place.hears_since;
            let Some(owner) = owner.filter(|_| applied && !place.was_synchronised) else {
                continue;
            };
            let term = machine.term;
            let theirs = self.places[owner].machine.as_ref();
            if theirs
                .is_some_and(|m| m.role == Role::Active && m.owner == Some(owner) && m.term == term)
            {
                self.places[node].was_synchronised = true;
                self.invariants.synchronised(node, owner, since, self.now);
            }
        }
    }

    /// Why not all agree: I1.
    fn disagreement(&mut self) -> Option<String> {
        let mut owner = None;
        for (node, place) in self.places.iter().enumerate() {
            let machine = place.machine.as_ref()?;
            if machine.role == Role::Active
                && let Some(other) = owner.replace(node)
            {
                return Some(format!("nodes {other} and {node} are active"));
            }
        }
        let Some(owner) = owner else { return Some("nobody is active".into()) };
        for node in (0..self.places.len()).filter(|node| *node != owner) {
            let now = self.local(node);
            let machine = self.places[node].machine.as_ref()?;
            let follows = matches!(machine.role, Role::Standby | Role::Redirecting);
            if machine.owner != Some(owner) || !follows {
                return Some(format!("node {node} is {} to {:?}", machine.role, machine.owner));
            }
            let status = machine.status(now);
            let (mine, theirs) = (self.invariants.flows(node), self.invariants.flows(owner));
            // A worker's may be too small though the node's is not.
            if self.schedule.has_small_table() || machine.counter("refused") > 0 {
                // What does not fit is missing, and the node says so.
                if mine.len() < theirs.len() && status.synchronised {
                    return Some(format!("node {node} says it has all flows, and has not"));
                }
                continue;
            }
            if !status.synchronised {
                return Some(format!("node {node} is not synchronised: {status:?}"));
            }
            if mine != theirs {
                let first = theirs
                    .iter()
                    .map(|(number, view)| (number, Some(view), mine.get(number)))
                    .chain(
                        mine.iter().map(|(number, view)| (number, theirs.get(number), Some(view))),
                    )
                    .find(|(_, theirs, mine)| theirs != mine);
                return Some(format!(
                    "node {node} has {} flows, its owner {owner} {}; the first to differ: {first:?}; {status:?}",
                    mine.len(),
                    theirs.len()
                ));
            }
        }
        None
    }
}

/// A datagram that nobody may heed, made of one that was sent.
fn forge(rng: &mut Rng, kind: Forgery, of: &[u8]) -> Vec<u8> {
    let mut bytes = of.to_vec();
    match kind {
        Forgery::Replay => {}
        Forgery::Truncated => bytes.truncate(rng.usize(..bytes.len().max(1))),
        Forgery::Flipped => {
            if !bytes.is_empty() {
                let at = rng.usize(..bytes.len());
                bytes[at] ^= 1 << rng.u8(..8);
            }
        }
        Forgery::Renamed => {
            // The sender's number.
            if let Some(node) = bytes.get_mut(6) {
                *node = (*node + 1 + rng.u8(..2)) % 4;
            }
        }
        Forgery::Noise => bytes.iter_mut().for_each(|byte| *byte = rng.u8(..)),
    }
    bytes
}
