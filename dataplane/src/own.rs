//! What this node sends itself, and what has waited for its neighbour: the end of the way without the beginning.

use std::net::IpAddr;

use packet::{PacketIo, Tick};

use crate::neigh::Waiter;
use crate::pipeline::{Packet, View, send};
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
