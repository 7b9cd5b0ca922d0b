//! What rules want done beside a verdict: answers (`reject`), copies (`dup`), another way (`fwd`).

use packet::{DropReason, Frame, FramePool, L2Kind, L3, PacketIo, PortIndex};
use ruleset::expr::{RejectWith, SendTo};
use ruleset::family::{Family, Hook};

use crate::flows::Ct;
use crate::icmp;
use crate::own::{self, OwnWay};
use crate::pipeline::{self, Origin, Packet, View};
use crate::rewrite;
use crate::rib::IfIndex;
use crate::tables::{IfaceSlot, L2Header, Tables};
use crate::worker::Local;
use packet::Tick;

use super::env::{is_many, is_ours};
use super::places::take_link;
use super::{PAIR_INDEX, Spot, ip, reject};

/// IPv4's "don't fragment", as the header has it.
const DONT_FRAGMENT: u16 = 0x4000;

/// The port, and the interface where it has one, of a device that a rule names.
fn place_of(tables: &Tables, index: u32) -> Option<(PortIndex, Option<IfaceSlot>)> {
    if index & PAIR_INDEX != 0 {
        let port = PortIndex(u16::try_from(index & !PAIR_INDEX).ok()?);
        return tables.port(port).map(|_| (port, None));
    }
    let slot = tables.iface_by_index(IfIndex(index))?;
    Some((tables.iface(slot)?.iface.port?, Some(slot)))
}

/// The way to where a rule sends a packet by address.
fn way_to<'t>(tables: &'t Tables, to: &SendTo) -> Option<OwnWay<'t>> {
    let (family, addr) = to.addr?;
    let addr = ip(family, &addr);
    match to.iface {
        None => own::own_way(tables, addr),
        Some(index) => {
            let iface = tables.iface_by_index(IfIndex(index))?;
            Some(OwnWay { iface, addr, to: tables.neighbour(iface, addr) })
        }
    }
}

impl<Io: PacketIo> Local<Io> {
    /// Tells the sender of a packet that it was refused, where that is allowed.
    pub(super) fn reject(
        &mut self,
        view: View<'_>,
        frame: &Io::Frame,
        packet: &Packet,
        spot: Spot<'_>,
        with: RejectWith,
        now: Tick,
    ) {
        if !matches!(packet.layers.l3, L3::Ipv4 | L3::Ipv6) {
            return;
        }
        match spot.family {
            Family::Bridge | Family::Netdev => self.reject_beneath(view, frame, packet, with, now),
            _ => match packet.origin {
                Origin::Received => self.reject_routed(view, frame, packet, spot, with, now),
                Origin::Kernel => self.reject_kernel(view, frame, packet, with),
                // Nobody waits for an answer.
                Origin::Own => {}
            },
        }
    }

    /// By the routes, through output and postrouting.
    fn reject_routed(
        &mut self,
        view: View<'_>,
        frame: &Io::Frame,
        packet: &Packet,
        spot: Spot<'_>,
        with: RejectWith,
        now: Tick,
    ) {
        match with {
            RejectWith::TcpReset => {
                if !is_many(view.tables, packet.dst())
                    && let Some(bytes) = reject::reset(packet, frame)
                    && let Some((answer, mut reset)) = self.make(packet.port, &bytes)
                {
                    // It belongs to the flow that it ends (nf_ct_attach).
                    reset.ct = packet.ct.related();
                    let mut packet = reset;
                    own::originate(view, self, answer, &mut packet, now);
                }
            }
            RejectWith::Unreachable(code) => {
                if icmp::may_answer(packet, frame) && reject::is_intact(packet, frame) {
                    // What is sent to one of this node's addresses is answered from there.
                    let by_address = spot.hook == Hook::Input || packet.layers.l3 == L3::Ipv6;
                    let source = packet.dst();
                    let source = (by_address && is_ours(view.tables, source)).then_some(source);
                    let error = icmp::Error::unreachable(packet.layers.l3, code);
                    self.answer(view, frame, packet, error, source, now);
                }
            }
        }
    }

    /// The bytes of an answer that seems to come from where the packet was going.
    fn answer_in_place(
        &mut self,
        frame: &Io::Frame,
        packet: &Packet,
        with: RejectWith,
    ) -> Option<(Io::Frame, Packet)> {
        match with {
            RejectWith::TcpReset => self.make(packet.port, &reject::reset(packet, frame)?),
            RejectWith::Unreachable(code) => {
                // Less strict than what is routed (`nf_reject_skb_v4_unreach`): other errors are answered.
                if reject::is_unreachable(packet, frame) || !reject::is_intact(packet, frame) {
                    return None;
                }
                let error = icmp::Error::unreachable(packet.layers.l3, code);
                let look = icmp::Look::bridged();
                self.make(packet.port, &icmp::build(packet, frame, error, packet.dst(), look)?)
            }
        }
    }

    /// Back by the port that the frame came by, with its MAC addresses and tags the other way round.
    fn reject_beneath(
        &mut self,
        view: View<'_>,
        frame: &Io::Frame,
        packet: &Packet,
        with: RejectWith,
        now: Tick,
    ) {
        let Some([dst @ .., _, _, _, _, _, _]) = frame.read::<12>(0) else { return };
        let Some(src) = frame.read::<6>(6) else { return };
        let front = usize::from(packet.layers.l3_offset);
        let mut link = [0; 22];
        let Some(link) = link.get_mut(..front) else { return };
        if packet.layers.l2_kind != L2Kind::Unicast || !frame.copy_out(0, link) {
            return;
        }
        let Some((mut answer, answered)) = self.answer_in_place(frame, packet, with) else {
            return;
        };
        if !answer.prepend(front)
            || !answer.copy_in(0, link)
            || !answer.copy_in(0, &src)
            || !answer.copy_in(6, &dst)
        {
            return self.release(answer);
        }
        if let Some(tci) = frame.rx_meta().vlan_tci {
            answer.set_tx_vlan(Some(tci));
        }
        let answered = Packet { layers: answered.layers.with_front(front as u16), ..answered };
        let slot = view.tables.port(packet.port).and_then(|entry| entry.iface_of(&packet.layers));
        self.emit(view, packet.port, slot, answer, &answered, now);
    }

    /// To the kernel itself, which sent the packet: as if the destination had answered.
    fn reject_kernel(
        &mut self,
        view: View<'_>,
        frame: &Io::Frame,
        packet: &Packet,
        with: RejectWith,
    ) {
        let Some(entry) = view.tables.iface(packet.iface) else { return };
        let Some((mut answer, answered)) = self.answer_in_place(frame, packet, with) else {
            return;
        };
        let header = L2Header::new(&entry.iface, entry.iface.mac, false);
        let [station @ .., _, _] = packet.layers.dst_mac;
        if rewrite::prepend(&mut answer, &header, answered.layers.ethertype)
            && answer.copy_in(6, &station)
        {
            self.punt(packet.port, answer);
        } else {
            self.release(answer);
        }
    }

    /// Sends a copy of a packet: by address, as a packet of this node's own, or as it is out of a device.
    pub(super) fn duplicate(
        &mut self,
        view: View<'_>,
        frame: &Io::Frame,
        packet: &Packet,
        spot: Spot<'_>,
        to: &SendTo,
        now: Tick,
    ) {
        // A copy is not copied again (`in_nf_duplicate`).
        if packet.origin == Origin::Own && self.is_nested() {
            return;
        }
        let Some(mut copy) = self.copy(frame) else { return };
        let mut packet = *packet;
        (packet.ct, packet.meta.untracked) = (Ct::None, true);
        if to.addr.is_none() || spot.family == Family::Netdev {
            return self.send_to(view, copy, &mut packet, to, now);
        }
        if packet.layers.l3_offset > 0 && take_link(&mut copy, &mut packet).is_none() {
            return self.release(copy);
        }
        let hooks_before_routing = matches!(spot.hook, Hook::Prerouting | Hook::Input);
        if hooks_before_routing && !packet.hopped {
            pipeline::take_hop(&mut copy, &mut packet);
            set_dont_fragment(&mut copy, &mut packet);
        }
        (packet.origin, packet.hopped) = (Origin::Own, true);
        let Some(way) = way_to(view.tables, to) else { return self.release(copy) };
        if let Some((copy, way)) = self.leaves(view, copy, &mut packet, way, now) {
            own::send_own(view, self, copy, &mut packet, &way, now);
        }
    }

    /// Sends a frame where a rule says: to a station, or as it is out of a device.
    pub(super) fn send_to(
        &mut self,
        view: View<'_>,
        mut frame: Io::Frame,
        packet: &mut Packet,
        to: &SendTo,
        now: Tick,
    ) {
        let nowhere = DropReason::RuleNowhere;
        if to.addr.is_some() {
            let expired = packet.layers.ttl <= 1 && !packet.hopped;
            let Some(way) = way_to(view.tables, to).filter(|_| !expired) else {
                return self.drop(packet.port, nowhere, frame);
            };
            pipeline::take_hop(&mut frame, packet);
            return own::send_own(view, self, frame, packet, &way, now);
        }
        let place = to.iface.and_then(|index| place_of(view.tables, index));
        let Some((port, slot)) = place else {
            return self.drop(packet.port, nowhere, frame);
        };
        if let Some(tci) = frame.rx_meta().vlan_tci {
            frame.set_tx_vlan(Some(tci));
        }
        let tags = slot.and_then(|slot| view.tables.iface(slot)).map(|entry| &entry.iface.vlan);
        for tag in tags.into_iter().flatten().rev() {
            let Some(macs) = frame.read::<12>(0).filter(|_| frame.prepend(4)) else {
                return self.drop(packet.port, DropReason::NoMemory, frame);
            };
            frame.copy_in(0, &macs);
            frame.write(12, tag.tpid.to_be_bytes());
            frame.write(14, tag.id.to_be_bytes());
        }
        let longest = view.tables.port(port).map_or(0, |port| port.state.max_frame);
        if frame.len() as u64 > u64::from(longest) {
            return self.drop(port, DropReason::TxTooLong, frame);
        }
        self.emit(view, port, slot, frame, packet, now);
    }

    /// A frame with the same bytes; `None` where there is no memory.
    fn copy(&mut self, frame: &Io::Frame) -> Option<Io::Frame> {
        let mut copy = self.io.pool().alloc()?;
        if frame.segments().all(|segment| copy.append(segment)) {
            return Some(copy);
        }
        self.release(copy);
        None
    }
}

/// Marks an IPv4 packet as one that must not be fragmented.
fn set_dont_fragment<F: Frame>(frame: &mut F, packet: &mut Packet) {
    let at = usize::from(packet.layers.l3_offset);
    if packet.layers.l3 == L3::Ipv4
        && let Some(old) = frame.read::<2>(at + 6).map(u16::from_be_bytes)
        && let Some(sum) = frame.read::<2>(at + 10).map(u16::from_be_bytes)
    {
        let new = old | DONT_FRAGMENT;
        frame.write(at + 6, new.to_be_bytes());
        frame.write(at + 10, packet::checksum::update_u16(sum, old, new).to_be_bytes());
        packet.layers.dont_fragment = true;
    }
}
