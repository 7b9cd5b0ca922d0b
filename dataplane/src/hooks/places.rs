//! The places on a packet's way where it meets hooks.

use arrayvec::ArrayVec;
use packet::{
    Burst, DropReason, FragmentPart, Frame, L2Kind, L3, Layers, PacketIo, PortIndex, Tick,
};
use ruleset::family::{Family, Hook};
use ruleset::model::Tracking;
use ruleset::packet::{Recorder, arrival};

use super::gather::gather;
use super::{BROADCAST, HOST, MULTICAST, OTHERHOST, PRIORITY, Spot, device, family_of, iface};
use crate::flows::{Ct, Recording};
use crate::own::{self, OwnWay};
use crate::owners::{self, Handed};
use crate::pipeline::{self, Origin, Packet, Step, Steps, View};
use crate::tables::{IfaceSlot, PortEntry};
use crate::worker::Local;

/// Pass one where there are rules: each frame passes the ingress of its device and is admitted, and flows are looked up. Those
/// that are left are in `burst`, and what is known of them in `steps`.
#[inline(never)]
pub(crate) fn arrive<Io: PacketIo>(
    view: View<'_>,
    local: &mut Local<Io>,
    entry: &PortEntry,
    burst: &mut Burst<Io::Frame>,
    steps: &mut Steps,
    port: PortIndex,
    now: Tick,
) {
    if local.rules.ingress {
        let mut arrived = std::mem::take(burst);
        for frame in arrived.drain(..) {
            let Some((_, packet)) = steps.get_mut(burst.len()) else { break };
            *packet = Packet::empty(port);
            if let Some(frame) = local.ingress(view, frame, packet, now) {
                burst.push(frame);
            }
        }
    }
    // Who only watches sees what is for others.
    let passive = local.only_watches();
    for (frame, (step, packet)) in burst.iter().zip(steps.iter_mut()) {
        packet.port = port;
        *step = pipeline::admit(view.tables, entry, frame, packet);
        // Whom it came for is what the device says, or a rule at its ingress.
        *step = match (*step, packet.meta.pkttype) {
            (Step::Drop(DropReason::NotOurMac), Some(kind)) if kind != OTHERHOST => Step::Rules,
            (Step::Drop(DropReason::NotOurMac), _) if passive => Step::Rules,
            (Step::Route | Step::Twin, Some(OTHERHOST)) => Step::Drop(DropReason::NotOurMac),
            (step, _) => step,
        };
        if matches!(packet.layers.l3, L3::Ipv4 | L3::Ipv6) && !matches!(*step, Step::Drop(_)) {
            *step = Step::Rules;
        }
        packet.meta.pkttype.get_or_insert(match packet.layers.l2_kind {
            L2Kind::Unicast => HOST,
            L2Kind::Broadcast => BROADCAST,
            L2Kind::Multicast => MULTICAST,
        });
    }
    if view.program.tracking != Tracking::default() {
        if !local.link.peers.is_alone() && !local.handed {
            hand_over(local, burst, steps, port);
        }
        let known = steps.get_mut(..burst.len()).unwrap_or_default();
        local.flows.look_up(known, !local.rules.ingress);
    }
}

/// What belongs to other workers goes to them; what is left moves up.
#[inline(never)]
fn hand_over<Io: PacketIo>(
    local: &mut Local<Io>,
    burst: &mut Burst<Io::Frame>,
    steps: &mut Steps,
    port: PortIndex,
) {
    let owner = |local: &Local<Io>, (step, packet): &(Step, Packet), frame: &Io::Frame| match step {
        Step::Rules => local.link.peers.owner_of(frame, &packet.layers),
        _ => None,
    };
    let all_mine = |(known, frame)| owner(local, known, frame).is_none();
    if steps.iter().zip(burst.iter()).all(all_mine) {
        return;
    }
    let mut arrived = std::mem::take(burst);
    for (n, frame) in arrived.drain(..).enumerate() {
        let Some(known) = steps.get(n).copied() else { break };
        if let Some(owner) = owner(local, &known, &frame) {
            local.hand(owner, Handed::Frame(port, frame));
        } else if let Some(place) = steps.get_mut(burst.len()) {
            *place = known;
            burst.push(frame);
        }
    }
}

/// A received packet meets all rules on its way, one after the other. `path` is the route of its destination, where that was
/// looked up.
#[inline(never)]
pub(crate) fn walk<Io: PacketIo>(
    view: View<'_>,
    local: &mut Local<Io>,
    frame: Io::Frame,
    packet: &mut Packet,
    path: Option<u32>,
    now: Tick,
) {
    if packet.layers.fragment != FragmentPart::Whole
        && family_of(&packet.layers).is_some_and(|family| view.program.tracking.is_on(family))
    {
        return gather(view, local, frame, packet, path, now);
    }
    pass(view, local, frame, packet, path, now);
}

/// The same, of what is whole, or has its first fragment's key.
pub(super) fn pass<Io: PacketIo>(
    view: View<'_>,
    local: &mut Local<Io>,
    frame: Io::Frame,
    packet: &mut Packet,
    path: Option<u32>,
    now: Tick,
) {
    local.recording = Recording { recorder: Recorder::recording(), way: None };
    if packet.ct == Ct::Unknown
        && view.program.tracking != Tracking::default()
        && !local.link.peers.is_alone()
        && let key = owners::quoted(&frame, &packet.layers).unwrap_or(packet.layers.key)
        && let Some(owner) = local.link.peers.alias(&key)
    {
        packet.passed = true;
        return local.hand(owner, Handed::Frame(packet.port, frame));
    }
    let dst = packet.layers.key.dst;
    if let Some(frame) = local.prerouting(view, frame, packet, now) {
        packet.layers.l2_kind = match packet.meta.pkttype {
            Some(BROADCAST) => L2Kind::Broadcast,
            Some(HOST) => L2Kind::Unicast,
            _ => L2Kind::Multicast,
        };
        match pipeline::turn_off(&packet.layers) {
            Step::Twin => {
                if let Some(frame) = local.enters(view, frame, packet, now) {
                    local.punt(packet.port, frame);
                }
            }
            Step::Drop(reason) => local.drop(packet.port, reason, frame),
            _ => {
                let path = path.filter(|_| packet.layers.key.dst == dst);
                let path = path.or_else(|| own::route(view.tables, packet.dst()));
                let path = path.and_then(|path| view.tables.paths.get(path as usize));
                let verdict = pipeline::decide(view.tables, packet, path);
                pipeline::conclude(view, local, frame, packet, verdict, now);
            }
        }
    }
    local.close(packet, now);
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
    if view.program.tracking != Tracking::default() && !local.link.peers.is_alone() && !local.handed
    {
        let peers = &mut local.link.peers;
        let key = owners::quoted(&frame, &layers).unwrap_or(layers.key);
        if let Some(owner) = peers.owner_of(&frame, &layers).or_else(|| peers.alias(&key)) {
            return local.hand(owner, Handed::Departing(port, frame));
        }
    }
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
                return own::send_own(view, local, frame, &mut packet, &way, now);
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
pub(super) fn take_link<F: Frame>(frame: &mut F, packet: &mut Packet) -> Option<ArrayVec<u8, 22>> {
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

    /// A packet that is routed on leaves by `slot`: forward and postrouting. Its hop is taken before, as in Linux.
    pub(crate) fn passes(
        &mut self,
        view: View<'_>,
        mut frame: Io::Frame,
        packet: &mut Packet,
        slot: IfaceSlot,
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
        let (iif, oif) = (iface(view.tables, packet.iface), iface(view.tables, slot));
        let spot = Spot { family, hook: Hook::Forward, iif, oif };
        let frame = self.hook(view, frame, packet, spot, now)?;
        let spot = Spot { family, hook: Hook::Postrouting, iif, oif };
        let frame = self.hook(view, frame, packet, spot, now)?;
        self.recording.way = Some((packet.iface, slot));
        packet.passed = true;
        Some(frame)
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
        let spot = Spot { family, hook: Hook::Input, iif, oif: None };
        let frame = self.hook(view, frame, packet, spot, now)?;
        packet.passed = true;
        Some(frame)
    }

    /// A packet of this node's, which begins with its IP header, is to leave by `way`: output and postrouting. It comes out with
    /// its way, which is another where a chain of type route, or NAT, changed what it depends on.
    pub(crate) fn leaves<'t>(
        &mut self,
        view: View<'t>,
        frame: Io::Frame,
        packet: &mut Packet,
        way: OwnWay<'t>,
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
        let left = self.output(view, frame, packet, way, family, now);
        self.close(packet, now);
        left
    }

    fn output<'t>(
        &mut self,
        view: View<'t>,
        frame: Io::Frame,
        packet: &mut Packet,
        mut way: OwnWay<'t>,
        family: Family,
        now: Tick,
    ) -> Option<(Io::Frame, OwnWay<'t>)> {
        let oif = iface(view.tables, way.iface);
        let spot = Spot { family, hook: Hook::Output, iif: None, oif };
        let (frame, rewritten) = self.meet(view, frame, packet, spot, now)?;
        if rewritten {
            let Some(found) = own::own_way(view.tables, packet.dst()) else {
                self.drop(packet.port, DropReason::NoRoute, frame);
                return None;
            };
            way = found;
            packet.iface = way.iface;
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
            let Some(passed) = self.hook(view, frame, packet, spot, now) else {
                self.close(packet, now);
                return None;
            };
            frame = passed;
        }
        self.close(packet, now);
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
}
