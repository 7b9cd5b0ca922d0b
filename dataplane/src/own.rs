//! What this node sends itself, and what has waited for its neighbour: the end of the way without the beginning.

use std::net::IpAddr;

use packet::{DropReason, Frame, FramePool, L3, Layers, PacketIo, PortIndex, Tick};

use crate::icmp;
use crate::neigh::Waiter;
use crate::pipeline::{Origin, Packet, View, send};
use crate::tables::{Adjacency, Hop, IfaceSlot, Path, Resolution, Tables};
use crate::worker::Local;

/// Sends a packet of this node's own: `frame` begins with its IP header, and is routed by its destination.
pub(crate) fn originate<Io: PacketIo>(
    view: View<'_>,
    local: &mut Local<Io>,
    frame: Io::Frame,
    packet: &mut Packet,
    now: Tick,
) {
    let Some(way) = own_way(view.tables, packet.dst()) else {
        return local.release(frame);
    };
    if let Some((frame, way)) = local.leaves(view, frame, packet, way, now) {
        send_own(view, local, frame, packet, &way, now);
    }
}

/// Sends a packet of this node's own, which begins with its IP header and has passed all rules, on its way.
pub(crate) fn send_own<Io: PacketIo>(
    view: View<'_>,
    local: &mut Local<Io>,
    frame: Io::Frame,
    packet: &mut Packet,
    way: &OwnWay<'_>,
    now: Tick,
) {
    match way.to.map(|to| (to, to.resolution)) {
        Some((to, Resolution::Known { header, .. })) => {
            send(view, local, frame, packet, to, &header, to.mtu, now)
        }
        _ => {
            let mtu = view.tables.mtu(way.iface);
            let waiter = Waiter::new(view.tables, *packet, mtu, frame);
            local.wait(view.tables, way.iface, way.addr, waiter, now);
        }
    }
}

/// Sends a packet that has waited for `to`, which is known now.
pub(crate) fn send_waiter<Io: PacketIo>(
    view: View<'_>,
    local: &mut Local<Io>,
    waiter: Waiter<Io::Frame>,
    to: &Adjacency,
    now: Tick,
) {
    let (frame, mut packet, mtu) = waiter.into_parts(view.tables);
    match &to.resolution {
        Resolution::Known { header, .. } => {
            send(view, local, frame, &mut packet, to, header, mtu.min(to.mtu), now);
        }
        Resolution::Unknown | Resolution::Failed => local.give_up(view, frame, &packet, now),
    }
}

/// The way of a packet of this node's own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnWay<'t> {
    /// The interface that it leaves by.
    pub(crate) iface: IfaceSlot,
    /// The station that it goes to first.
    pub(crate) addr: IpAddr,
    /// What is known of that station.
    pub(crate) to: Option<&'t Adjacency>,
}

/// The route of `dst`, as an index into [`Tables::paths`].
pub(crate) fn route(tables: &Tables, dst: IpAddr) -> Option<u32> {
    match dst {
        IpAddr::V4(dst) => tables.fib4.lookup(dst.octets()),
        IpAddr::V6(dst) => tables.fib6.lookup(dst.octets()),
    }
}

/// The way to `dst`; `None` where only the kernel, or nobody, could send it.
pub(crate) fn own_way(tables: &Tables, dst: IpAddr) -> Option<OwnWay<'_>> {
    let hop = match tables.paths.get(route(tables, dst)? as usize)? {
        Path::Single { hop, .. } => *hop,
        Path::Multi { hops, .. } => *hops.first()?,
        _ => return None,
    };
    match hop {
        Hop::Via(slot) => {
            let to = tables.adjacency(slot)?;
            Some(OwnWay { iface: to.iface, addr: to.addr, to: Some(to) })
        }
        Hop::OnLink(iface) => Some(OwnWay { iface, addr: dst, to: tables.neighbour(iface, dst) }),
        Hop::Kernel(_) => None,
    }
}

impl<Io: PacketIo> Local<Io> {
    /// Ends a packet, counts why, and answers its sender where the reason has an answer.
    pub(crate) fn refuse(
        &mut self,
        view: View<'_>,
        frame: Io::Frame,
        packet: &Packet,
        reason: DropReason,
        mtu: u32,
        now: Tick,
    ) {
        if let Some(error) = icmp::answer(reason, packet.layers.l3, mtu)
            && icmp::may_answer(packet, &frame)
        {
            self.answer(view, &frame, packet, error, None, now);
        }
        self.drop(packet.port, reason, frame);
    }

    /// Sends an error about a packet, as often as that is allowed, from `source` or the address that Linux would choose.
    pub(crate) fn answer(
        &mut self,
        view: View<'_>,
        frame: &Io::Frame,
        packet: &Packet,
        error: icmp::Error,
        source: Option<IpAddr>,
        now: Tick,
    ) {
        if !self.limit.take(now) {
            return self.link.stats.icmp_limited.add(1);
        }
        let Some(source) = source.or_else(|| source_of_error(view.tables, packet, packet.src()))
        else {
            return;
        };
        let id = self.next_id();
        let Some(bytes) = icmp::build(packet, frame, error, source, icmp::Look::routed(id)) else {
            return;
        };
        if let Some((frame, mut answer)) = self.make(packet.port, &bytes) {
            self.link.stats.icmp_sent.add(1);
            // It is about a packet of that flow, and is translated with it.
            answer.ct = packet.ct.related();
            originate(view, self, frame, &mut answer, now);
        }
    }

    /// The identification of the next packet of this node's own.
    pub(crate) fn next_id(&mut self) -> u16 {
        self.ip_id = self.ip_id.wrapping_add(1);
        self.ip_id
    }

    /// A packet of this node's own with these bytes, from the IP header on; `None` where there is no memory.
    pub(crate) fn make(&mut self, port: PortIndex, bytes: &[u8]) -> Option<(Io::Frame, Packet)> {
        let mut frame = self.io.pool().alloc()?;
        let ethertype: [u8; 2] =
            if bytes.first().is_some_and(|first| first >> 4 == 4) { [8, 0] } else { [0x86, 0xdd] };
        // The parser begins with an Ethernet header, so there is one until it has seen it.
        let parsed = frame.append(&[0; 12]) && frame.append(&ethertype) && frame.append(bytes);
        let layers = parsed.then(|| Layers::of(&frame)).and_then(|layers| layers.without_front(14));
        match layers {
            Some(layers) if frame.trim_front(14) => {
                let origin = Origin::Own;
                Some((frame, Packet { layers, origin, hopped: true, ..Packet::empty(port) }))
            }
            _ => {
                self.release(frame);
                None
            }
        }
    }
}

/// Linux's choice: an address of the interface that the error leaves by, else of the one that the packet came by, else any; for
/// IPv6, of the one that the packet came by first.
fn source_of_error(tables: &Tables, packet: &Packet, to: IpAddr) -> Option<IpAddr> {
    let leaves = own_way(tables, to).and_then(|way| tables.iface(way.iface));
    let came = tables.iface(packet.iface);
    let family = usize::from(packet.layers.l3 == L3::Ipv6);
    let order = if packet.layers.l3 == L3::Ipv6 { [came, leaves] } else { [leaves, came] };
    order
        .into_iter()
        .flatten()
        .find_map(|entry| entry.source_for(to))
        .or_else(|| tables.any_source.get(family).copied().flatten())
}
