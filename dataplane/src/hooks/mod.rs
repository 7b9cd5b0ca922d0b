//! The hooks: where packets meet rules. What passes a hook comes out of it; what does not has ended there, accounted for.
//!
//! # Overview
//!
//! [`pipeline`](crate::pipeline) calls the methods of [`Local`] below at the places where Linux has its hooks:
//!
//! ```text
//! arrive   ingress of the device, prerouting        | pass one
//! passes   forward, postrouting                     | pass two: what is routed on
//! enters   input, or ARP's input                    | pass two: what is for this node
//! depart   output, postrouting; ARP's output        | what the kernel sends on a twin
//! leaves   output, postrouting                      | what this node makes itself
//! bridges  ingress, bridge's three                  | between the ports of a pair
//! emit     egress of the device                     | all that leaves
//! ```
//!
//! Each asks a flag first, so that a hook without rules costs nothing. `settle` does what a verdict says: see `act` for
//! answers and copies.
//!
//! # Life cycle
//!
//! [`Rules`] belongs to a worker and lives as long; a new program changes its flags ([`Rules::adopt`]).

mod act;
mod env;
mod reject;

use std::net::IpAddr;

use arrayvec::ArrayVec;
use packet::{BURST, Burst, DropReason, Frame, L2Kind, L3, Layers, PacketIo, PortIndex};
use ruleset::family::{Family, Hook};
use ruleset::ids::WorkerId;
use ruleset::packet::{Cx, Effects, Iface, Place, Recorder, arrival};
use ruleset::program::Program;
use ruleset::reference::{self, Outcome};
use ruleset::regs::Regs;

use crate::icmp;
use crate::pipeline::{self, Origin, OwnWay, Packet, Step, View};
use crate::tables::{IfaceSlot, PortEntry, Tables};
use crate::worker::Local;
use packet::Tick;

use env::{Questions, Random};

/// `ARPHRD_ETHER`.
const ETHER: u16 = 1;
/// `PACKET_…` (linux/if_packet.h).
const HOST: u8 = 0;
const BROADCAST: u8 = 1;
const MULTICAST: u8 = 2;
const OTHERHOST: u8 = 3;
/// What bits 1 to 4 of the TOS make of the priority (`ip_tos2prio`).
const PRIORITY: [u32; 16] = [0, 0, 0, 0, 2, 2, 2, 2, 6, 6, 6, 6, 4, 4, 4, 4];
/// Added to the number of a port that has no twin: the kernel's indices stay below.
const PAIR_INDEX: u32 = 1 << 31;
/// Log lines a second that one worker writes at most, beside a burst of 50.
const LOGS_PER_SECOND: u32 = 1000;
/// How deep answers and copies may bring about others.
const DEPTH: u8 = 3;

/// What a worker keeps for its rules.
pub(crate) struct Rules {
    /// IP or ARP packets may meet rules.
    routed: bool,
    /// Frames may meet rules of the device that they come by.
    ingress: bool,
    /// Frames may meet rules of the device that they leave by.
    egress: bool,
    /// Frames between the ports of a pair may meet rules.
    bridged: bool,
    worker: WorkerId,
    random: Random,
    logs: icmp::Limit,
    /// How deep answers and copies brought about others, now.
    depth: u8,
}

impl Rules {
    /// For a worker without rules.
    pub(crate) fn new(worker: WorkerId) -> Self {
        Self {
            routed: false,
            ingress: false,
            egress: false,
            bridged: false,
            worker,
            random: Random::new(),
            logs: icmp::Limit::new(LOGS_PER_SECOND),
            depth: 0,
        }
    }

    /// This program runs from now on.
    pub(crate) fn adopt(&mut self, program: &Program) {
        let any = |families: &[Family], hooks: &[Hook]| {
            let mut all = families.iter().flat_map(|family| hooks.iter().map(|h| (*family, *h)));
            all.any(|(family, hook)| !program.hooked(family, hook).is_empty())
        };
        let ip = [Hook::Prerouting, Hook::Input, Hook::Forward, Hook::Output, Hook::Postrouting];
        self.routed = any(&[Family::Ipv4, Family::Ipv6, Family::Arp], &ip);
        self.bridged = any(&[Family::Bridge], &ip);
        self.ingress = any(&[Family::Netdev], &[Hook::Ingress]);
        self.egress = any(&[Family::Netdev], &[Hook::Egress]);
    }

    /// Whether frames that come in may meet rules, now or later: those at egress ask whom they came for, too.
    #[inline(always)]
    pub(crate) fn at_arrival(&self) -> bool {
        self.routed | self.ingress | self.egress
    }

    /// Whether packets may meet rules once it is known where they go.
    #[inline(always)]
    pub(crate) fn on_the_way(&self) -> bool {
        self.routed | self.egress
    }

    /// Whether frames that the kernel sends may meet rules.
    #[inline(always)]
    pub(crate) fn at_departure(&self) -> bool {
        self.routed | self.egress
    }
}

/// A hook, as a packet meets it.
#[derive(Clone, Copy, Debug)]
struct Spot<'t> {
    family: Family,
    hook: Hook,
    iif: Option<Iface<'t>>,
    oif: Option<Iface<'t>>,
}

impl Spot<'_> {
    /// Why a packet that ends here was dropped.
    fn reason(&self) -> DropReason {
        match (self.family, self.hook) {
            (Family::Arp, _) => DropReason::RuleArp,
            (Family::Bridge, _) => DropReason::RuleBridge,
            (_, Hook::Prerouting) => DropReason::RulePrerouting,
            (_, Hook::Input) => DropReason::RuleInput,
            (_, Hook::Forward) => DropReason::RuleForward,
            (_, Hook::Output) => DropReason::RuleOutput,
            (_, Hook::Postrouting) => DropReason::RulePostrouting,
            (_, Hook::Ingress) => DropReason::RuleIngress,
            (_, Hook::Egress) => DropReason::RuleEgress,
        }
    }
}

/// The family that handles a packet.
fn family_of(layers: &Layers) -> Option<Family> {
    match layers.l3 {
        L3::Ipv4 => Some(Family::Ipv4),
        L3::Ipv6 => Some(Family::Ipv6),
        L3::Arp => Some(Family::Arp),
        L3::Other => None,
    }
}

/// An interface as rules name it.
fn iface(tables: &Tables, slot: IfaceSlot) -> Option<Iface<'_>> {
    let iface = &tables.iface(slot)?.iface;
    Some(Iface {
        index: iface.index.0,
        name: &iface.name,
        kind: ETHER,
        group: iface.group,
        link_kind: &iface.kind,
        mac: iface.mac,
    })
}

/// A port as rules name it: its twin, or, where it has none, itself.
fn device(tables: &Tables, port: PortIndex) -> Option<Iface<'_>> {
    let entry = tables.port(port)?;
    if let Some(slot) = entry.untagged {
        return iface(tables, slot);
    }
    let index = PAIR_INDEX | u32::from(port.0);
    Some(Iface { index, name: &entry.name, kind: ETHER, group: 0, link_kind: "", mac: [0; 6] })
}

/// Pass one where there are rules: each frame passes the ingress of its device, is admitted, and passes prerouting. Those
/// that are left are in `burst`, and what is known of them in `steps`.
#[inline(never)]
pub(crate) fn arrive<Io: PacketIo>(
    view: View<'_>,
    local: &mut Local<Io>,
    entry: &PortEntry,
    burst: &mut Burst<Io::Frame>,
    steps: &mut ArrayVec<(Step, Packet), BURST>,
    port: PortIndex,
    now: Tick,
) {
    let mut arrived = std::mem::take(burst);
    for frame in arrived.drain(..) {
        let mut packet = Packet::empty(port);
        let Some(frame) = local.ingress(view, frame, &mut packet, now) else { continue };
        let mut step = pipeline::admit(view.tables, entry, &frame, &mut packet);
        // Whom it came for is what the device says, or a rule at its ingress.
        let meta = &mut packet.meta;
        step = match (step, meta.pkttype) {
            (Step::Drop(DropReason::NotOurMac), Some(kind)) if kind != OTHERHOST => {
                pipeline::turn_off(&packet.layers)
            }
            (Step::Route | Step::Twin, Some(OTHERHOST)) => Step::Drop(DropReason::NotOurMac),
            (step, _) => step,
        };
        meta.pkttype.get_or_insert(match packet.layers.l2_kind {
            L2Kind::Unicast => HOST,
            L2Kind::Broadcast => BROADCAST,
            L2Kind::Multicast => MULTICAST,
        });
        if matches!(step, Step::Drop(_)) {
            burst.push(frame);
            steps.push((step, packet));
        } else if let Some(frame) = local.prerouting(view, frame, &mut packet, now) {
            packet.layers.l2_kind = match packet.meta.pkttype {
                Some(BROADCAST) => L2Kind::Broadcast,
                Some(HOST) => L2Kind::Unicast,
                _ => L2Kind::Multicast,
            };
            burst.push(frame);
            steps.push((pipeline::turn_off(&packet.layers), packet));
        }
    }
}

/// A frame that the kernel sent on a twin: it passes output and postrouting, without the layer-2 header that the kernel has
/// put in front, as in Linux, and the egress of its device.
#[inline(never)]
pub(crate) fn depart<Io: PacketIo>(
    view: View<'_>,
    local: &mut Local<Io>,
    port: PortIndex,
    mut frame: Io::Frame,
    now: Tick,
) {
    let layers = Layers::of(&frame);
    let entry = view.tables.port(port);
    let slot = entry.and_then(|entry| entry.iface_of(&layers).or(entry.untagged));
    let mut packet = Packet { layers, origin: Origin::Kernel, hopped: true, ..Packet::empty(port) };
    packet.iface = slot.unwrap_or(packet.iface);
    match (slot, layers.l3) {
        (Some(slot), L3::Ipv4 | L3::Ipv6) if local.rules.routed => {
            let Some(link) = take_link(&mut frame, &mut packet) else {
                return local.drop(port, DropReason::NoMemory, frame);
            };
            let addr = packet.dst();
            let way = OwnWay { iface: slot, addr, to: None };
            let Some((mut frame, way)) = local.leaves(view, frame, &mut packet, way, now) else {
                return;
            };
            if way.addr != addr || way.iface != slot {
                return pipeline::send_own(view, local, frame, &mut packet, &way, now);
            }
            if frame.prepend(link.len()) && frame.copy_in(0, &link) {
                local.emit(view, port, Some(slot), frame, &packet, now);
            } else {
                local.drop(port, DropReason::NoMemory, frame);
            }
        }
        (Some(slot), L3::Arp) if local.rules.routed => {
            let spot = Spot {
                family: Family::Arp,
                hook: Hook::Output,
                iif: None,
                oif: iface(view.tables, slot),
            };
            if let Some(frame) = local.hook(view, frame, &mut packet, spot, now) {
                local.emit(view, port, Some(slot), frame, &packet, now);
            }
        }
        _ => local.emit(view, port, slot, frame, &packet, now),
    }
}

/// Takes the layer-2 header off a frame.
fn take_link<F: Frame>(frame: &mut F, packet: &mut Packet) -> Option<ArrayVec<u8, 22>> {
    let len = packet.layers.l3_offset;
    let mut link = ArrayVec::from([0; 22]);
    link.truncate(usize::from(len));
    if link.len() != usize::from(len) || !frame.copy_out(0, &mut link) {
        return None;
    }
    let layers = packet.layers.without_front(len)?;
    frame.trim_front(link.len()).then(|| {
        packet.layers = layers;
        link
    })
}

impl<Io: PacketIo> Local<Io> {
    /// The device that a frame came by, then, where it is tagged, the VLAN on it.
    fn ingress(
        &mut self,
        view: View<'_>,
        mut frame: Io::Frame,
        packet: &mut Packet,
        now: Tick,
    ) -> Option<Io::Frame> {
        if !self.rules.ingress {
            return Some(frame);
        }
        packet.layers = Layers::of(&frame);
        let entry = view.tables.port(packet.port);
        let vlan = entry.and_then(|entry| {
            entry.iface_of(&packet.layers).filter(|slot| Some(*slot) != entry.untagged)
        });
        let devices =
            [device(view.tables, packet.port), vlan.and_then(|slot| iface(view.tables, slot))];
        for iif in devices.into_iter().flatten() {
            // What is not for the device's own MAC address may be for that of a VLAN on it.
            if packet.meta.pkttype.is_none_or(|kind| kind == OTHERHOST) {
                packet.meta.pkttype = Some(arrival(&packet.layers, iif.mac));
            }
            let (family, hook) = (Family::Netdev, Hook::Ingress);
            let spot = Spot { family, hook, iif: Some(iif), oif: None };
            frame = self.hook(view, frame, packet, spot, now)?;
        }
        Some(frame)
    }

    fn prerouting(
        &mut self,
        view: View<'_>,
        frame: Io::Frame,
        packet: &mut Packet,
        now: Tick,
    ) -> Option<Io::Frame> {
        let Some(family @ (Family::Ipv4 | Family::Ipv6)) = family_of(&packet.layers) else {
            return Some(frame);
        };
        let iif = iface(view.tables, packet.iface);
        let spot = Spot { family, hook: Hook::Prerouting, iif, oif: None };
        self.hook(view, frame, packet, spot, now)
    }

    /// A packet that is routed on leaves by `oif`: forward and postrouting. Its hop is taken before, as in Linux.
    pub(crate) fn passes(
        &mut self,
        view: View<'_>,
        mut frame: Io::Frame,
        packet: &mut Packet,
        oif: IfaceSlot,
        now: Tick,
    ) -> Option<Io::Frame> {
        let Some(family) = family_of(&packet.layers).filter(|_| self.rules.on_the_way()) else {
            return Some(frame);
        };
        pipeline::take_hop(&mut frame, packet);
        packet.meta.routed = true;
        if family == Family::Ipv4 {
            let bits = usize::from(packet.layers.tos >> 1 & 0xf);
            packet.meta.priority = PRIORITY.get(bits).copied().unwrap_or_default();
        }
        let (iif, oif) = (iface(view.tables, packet.iface), iface(view.tables, oif));
        let frame =
            self.hook(view, frame, packet, Spot { family, hook: Hook::Forward, iif, oif }, now)?;
        self.hook(view, frame, packet, Spot { family, hook: Hook::Postrouting, iif, oif }, now)
    }

    /// A packet for this node: input.
    pub(crate) fn enters(
        &mut self,
        view: View<'_>,
        frame: Io::Frame,
        packet: &mut Packet,
        now: Tick,
    ) -> Option<Io::Frame> {
        let Some(family) = family_of(&packet.layers).filter(|_| self.rules.routed) else {
            return Some(frame);
        };
        let iif = iface(view.tables, packet.iface);
        self.hook(view, frame, packet, Spot { family, hook: Hook::Input, iif, oif: None }, now)
    }

    /// A packet of this node's, which begins with its IP header, is to leave by `way`: output and postrouting. It comes out with
    /// its way, which is another where a chain of type route changed what it depends on.
    pub(crate) fn leaves<'t>(
        &mut self,
        view: View<'t>,
        mut frame: Io::Frame,
        packet: &mut Packet,
        mut way: OwnWay<'t>,
        now: Tick,
    ) -> Option<(Io::Frame, OwnWay<'t>)> {
        packet.iface = way.iface;
        packet.meta.routed = true;
        if packet.origin == Origin::Own {
            let port = view.tables.iface(way.iface).and_then(|entry| entry.iface.port);
            packet.port = port.unwrap_or(packet.port);
        }
        let Some(family) = family_of(&packet.layers).filter(|_| self.rules.routed) else {
            return Some((frame, way));
        };
        let oif = iface(view.tables, way.iface);
        let spot = Spot { family, hook: Hook::Output, iif: None, oif };
        if !view.program.hooked(family, Hook::Output).is_empty() {
            let (outcome, effects) = self.evaluate(view, &mut frame, packet, spot, now);
            let rewritten = effects.rewritten;
            frame = self.settle(view, frame, packet, spot, (outcome, effects), now)?;
            if rewritten {
                let Some(found) = pipeline::own_way(view.tables, packet.dst()) else {
                    self.drop(packet.port, DropReason::NoRoute, frame);
                    return None;
                };
                way = found;
                packet.iface = way.iface;
            }
        }
        let oif = iface(view.tables, way.iface);
        let spot = Spot { family, hook: Hook::Postrouting, iif: None, oif };
        Some((self.hook(view, frame, packet, spot, now)?, way))
    }

    /// A frame on its way to the other port of a pair: ingress, then the bridge's prerouting, forward and postrouting.
    #[inline(always)]
    pub(crate) fn bridges(
        &mut self,
        view: View<'_>,
        frame: Io::Frame,
        packet: &mut Packet,
        peer: PortIndex,
        now: Tick,
    ) -> Option<Io::Frame> {
        if !(self.rules.bridged | self.rules.ingress | self.rules.egress) {
            return Some(frame);
        }
        self.bridges_rules(view, frame, packet, peer, now)
    }

    #[inline(never)]
    fn bridges_rules(
        &mut self,
        view: View<'_>,
        frame: Io::Frame,
        packet: &mut Packet,
        peer: PortIndex,
        now: Tick,
    ) -> Option<Io::Frame> {
        let mut frame = self.ingress(view, frame, packet, now)?;
        packet.layers = Layers::of(&frame);
        packet.meta.pkttype.get_or_insert(arrival(&packet.layers, [0; 6]));
        let (iif, oif) = (device(view.tables, packet.port), device(view.tables, peer));
        for (hook, iif, oif) in [
            (Hook::Prerouting, iif, None),
            (Hook::Forward, iif, oif),
            (Hook::Postrouting, None, oif),
        ] {
            let spot = Spot { family: Family::Bridge, hook, iif, oif };
            frame = self.hook(view, frame, packet, spot, now)?;
        }
        Some(frame)
    }

    /// A whole frame leaves by `port`, from interface `oif` where it is one's: egress, then transmission.
    #[inline(always)]
    pub(crate) fn emit(
        &mut self,
        view: View<'_>,
        port: PortIndex,
        oif: Option<IfaceSlot>,
        frame: Io::Frame,
        packet: &Packet,
        now: Tick,
    ) {
        if !self.rules.egress {
            return self.transmit(port, frame);
        }
        if let Some(frame) = self.egress(view, port, oif, frame, packet, now) {
            self.transmit(port, frame);
        }
    }

    #[inline(never)]
    fn egress(
        &mut self,
        view: View<'_>,
        port: PortIndex,
        oif: Option<IfaceSlot>,
        mut frame: Io::Frame,
        packet: &Packet,
        now: Tick,
    ) -> Option<Io::Frame> {
        let below = view.tables.port(port).and_then(|entry| entry.untagged);
        let vlan = oif.filter(|slot| Some(*slot) != below);
        let devices = [vlan.and_then(|slot| iface(view.tables, slot)), device(view.tables, port)];
        // The header in front is another than before, so all offsets are.
        let mut packet = Packet { layers: Layers::of(&frame), port, ..*packet };
        for oif in devices.into_iter().flatten() {
            let (family, hook) = (Family::Netdev, Hook::Egress);
            let spot = Spot { family, hook, iif: None, oif: Some(oif) };
            frame = self.hook(view, frame, &mut packet, spot, now)?;
        }
        Some(frame)
    }

    /// Passes a packet through a hook.
    fn hook(
        &mut self,
        view: View<'_>,
        mut frame: Io::Frame,
        packet: &mut Packet,
        spot: Spot<'_>,
        now: Tick,
    ) -> Option<Io::Frame> {
        if view.program.hooked(spot.family, spot.hook).is_empty() {
            return Some(frame);
        }
        let said = self.evaluate(view, &mut frame, packet, spot, now);
        self.settle(view, frame, packet, spot, said, now)
    }

    /// Runs a hook's rules.
    fn evaluate(
        &mut self,
        view: View<'_>,
        frame: &mut Io::Frame,
        packet: &mut Packet,
        spot: Spot<'_>,
        now: Tick,
    ) -> (Outcome, Effects) {
        let mut effects = Effects::default();
        let Spot { family, hook, iif, oif } = spot;
        let wall = self.link.wall.load(std::sync::atomic::Ordering::Relaxed);
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
            rules: &mut self.rules,
            notes: &self.link.notes,
            stats: &self.link.stats,
            now,
        };
        let mut recorder = Recorder::default();
        let outcome = reference::run(&mut Cx {
            regs: Regs::default(),
            bytes: frame,
            layers: &mut packet.layers,
            meta: &mut packet.meta,
            place,
            env: &mut env,
            effects: &mut effects,
            recorder: &mut recorder,
            program: view.program,
            transport: None,
        });
        (outcome, effects)
    }

    /// Does what the rules of a hook said.
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
    fn is_nested(&self) -> bool {
        self.rules.depth > 1
    }
}

/// The address of the family that `addr` has, as rules hold it.
fn ip(family: Family, addr: &[u8; 16]) -> IpAddr {
    match (family, addr) {
        (Family::Ipv4, [a, b, c, d, ..]) => IpAddr::from([*a, *b, *c, *d]),
        _ => IpAddr::from(*addr),
    }
}
