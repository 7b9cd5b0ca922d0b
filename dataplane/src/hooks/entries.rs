//! What a packet meets at one hook: base chains, and among them conntrack and NAT, by priority.

use std::sync::atomic::Ordering;

use packet::{DropReason, PacketIo, Tick};
use ruleset::family::Family;
use ruleset::packet::{Cx, Effects, Place, Side};
use ruleset::program::{Entry, Hooked};
use ruleset::reference::{self, Outcome};
use ruleset::regs::Regs;

use super::env::Questions;
use super::{DEPTH, Spot};
use crate::flows::Ct;
use crate::pipeline::{Packet, View};
use crate::worker::Local;

impl<Io: PacketIo> Local<Io> {
    /// Passes a packet through a hook.
    pub(super) fn hook(
        &mut self,
        view: View<'_>,
        frame: Io::Frame,
        packet: &mut Packet,
        spot: Spot<'_>,
        now: Tick,
    ) -> Option<Io::Frame> {
        self.meet(view, frame, packet, spot, now).map(|(frame, _)| frame)
    }

    /// The same; tells also whether something was changed that routing depends on.
    pub(super) fn meet(
        &mut self,
        view: View<'_>,
        mut frame: Io::Frame,
        packet: &mut Packet,
        spot: Spot<'_>,
        now: Tick,
    ) -> Option<(Io::Frame, bool)> {
        let mut rewritten = false;
        for entry in view.program.hooked(spot.family, spot.hook) {
            let done = match entry {
                // They spoke of its first fragment.
                Entry::Chain(_) if packet.follows && spot.family != Family::Netdev => continue,
                Entry::Chain(hooked) => {
                    let said = self.evaluate(view, &mut frame, packet, hooked, spot, now);
                    rewritten |= said.1.rewritten;
                    if let (Outcome::Accept, Effects { reject: None, dups, .. }) = &said
                        && dups.is_empty()
                    {
                        continue;
                    }
                    frame = self.settle(view, frame, packet, spot, said, now)?;
                    continue;
                }
                Entry::Track => self.flows.track(&frame, packet, spot, now),
                Entry::Translate(side, chains) => {
                    let dst = packet.layers.key.dst;
                    let (back, done) =
                        self.translate(view, frame, packet, (*side, chains), spot, now)?;
                    frame = back;
                    rewritten |= packet.layers.key.dst != dst;
                    done
                }
                Entry::Confirm => self.flows.confirm(packet, spot, &mut self.link.peers, now),
            };
            if let Err(reason) = done {
                self.drop(packet.port, reason, frame);
                return None;
            }
        }
        Some((frame, rewritten))
    }

    /// NAT of one side: a new flow asks the chains of type nat what becomes of it; then the packet is changed as its flow says.
    fn translate(
        &mut self,
        view: View<'_>,
        mut frame: Io::Frame,
        packet: &mut Packet,
        (side, chains): (Side, &[Hooked]),
        spot: Spot<'_>,
        now: Tick,
    ) -> Option<(Io::Frame, Result<(), DropReason>)> {
        // Who only watches sees packets as the owner translated them, or before it did; either way they are not to be changed.
        let (Ct::Flow(slot, info), false) = (packet.ct, self.only_watches()) else {
            return Some((frame, Ok(())));
        };
        if self.flows.asks(slot, info, side) {
            for hooked in chains {
                let said = self.evaluate(view, &mut frame, packet, hooked, spot, now);
                frame = self.settle(view, frame, packet, spot, said, now)?;
                if self.flows.is_bound(slot, side) {
                    break;
                }
            }
            if let Err(reason) = self.flows.bind_none(slot, side) {
                return Some((frame, Err(reason)));
            }
        }
        let done = self
            .flows
            .stays_behind(packet.ct, spot, now)
            .and_then(|()| self.flows.rewrite(&mut frame, packet, (slot, info), side));
        Some((frame, done))
    }

    /// Runs a base chain.
    fn evaluate(
        &mut self,
        view: View<'_>,
        frame: &mut Io::Frame,
        packet: &mut Packet,
        hooked: &Hooked,
        spot: Spot<'_>,
        now: Tick,
    ) -> (Outcome, Effects) {
        let mut effects = Effects::default();
        let Spot { family, hook, iif, oif } = spot;
        let wall = self.link.wall.load(Ordering::Relaxed);
        let place = Place {
            family,
            hook,
            iif,
            oif,
            now: now.0,
            wall: wall.wrapping_add(now.0),
            worker: self.rules.worker,
        };
        let mut env = Questions {
            view,
            spot,
            rules: &mut self.rules,
            flows: &mut self.flows,
            ct: packet.ct,
            notes: &self.link.notes,
            stats: &self.link.stats,
            now,
        };
        let mut cx = Cx {
            regs: Regs::default(),
            bytes: frame,
            layers: &mut packet.layers,
            meta: &mut packet.meta,
            place,
            env: &mut env,
            effects: &mut effects,
            program: view.program,
            transport: None,
            recorder: &mut self.recording.recorder,
        };
        let outcome = reference::chain(hooked, &mut cx);
        (outcome, effects)
    }

    /// Does what a base chain said.
    fn settle(
        &mut self,
        view: View<'_>,
        frame: Io::Frame,
        packet: &mut Packet,
        spot: Spot<'_>,
        (outcome, effects): (Outcome, Effects),
        now: Tick,
    ) -> Option<Io::Frame> {
        // What a rule brings about may meet rules, too, but not on and on.
        if self.rules.depth < DEPTH {
            self.rules.depth += 1;
            for to in &effects.dups {
                self.duplicate(view, &frame, packet, spot, to, now);
            }
            if let Some(with) = effects.reject {
                self.reject(view, &frame, packet, spot, with, now);
            }
            self.rules.depth -= 1;
        }
        let reason = match outcome {
            Outcome::Accept => return Some(frame),
            Outcome::Drop if effects.reject.is_some() => DropReason::RuleRejected,
            Outcome::Drop => spot.reason(),
            Outcome::Queue(_) => DropReason::QueueNobody,
            Outcome::Stolen => match effects.forward {
                Some(to) if self.rules.depth < DEPTH => {
                    self.rules.depth += 1;
                    self.send_to(view, frame, packet, &to, now);
                    self.rules.depth -= 1;
                    return None;
                }
                _ => DropReason::RuleNowhere,
            },
        };
        self.drop(packet.port, reason, frame);
        None
    }

    /// Whether a rule brought about what is done now.
    pub(super) fn is_nested(&self) -> bool {
        self.rules.depth > 1
    }
}
