//! The life of a packet, one readable function: [`run`].
//!
//! A burst comes in from one port. Pass one parses every packet, decides what needs no route, and looks all the
//! destinations up together; pass two decides, rewrites and queues for transmission, packet by packet. Nothing here
//! allocates, logs, locks or makes a system call.

use std::net::IpAddr;

use packet::{BURST, Burst, DropReason, Frame, L2Kind, L3, Layers, PacketIo, PortIndex, layers};

use crate::fib::NO_ROUTE;
use crate::tables::{
    Adjacency, Hop, IfaceSlot, L2Header, Path, PortEntry, PortMode, Resolution, Tables,
};
use crate::time::Tick;
use crate::worker::Local;
use crate::{fragment, rewrite};

/// A received packet on its way: what the parse found, and where it came in.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    /// What the parse found.
    pub layers: Layers,
    /// The port that it came by.
    pub port: PortIndex,
    /// The interface that it came by.
    pub iface: IfaceSlot,
}

impl Packet {
    /// The packet in a frame that was received before, as it would be admitted now; `None` if it would not be.
    pub(crate) fn of<F: Frame>(tables: &Tables, port: PortIndex, frame: &F) -> Option<Self> {
        let mut packet = Self::empty(port);
        match admit(tables, tables.port(port)?, frame, &mut packet) {
            Step::Route => Some(packet),
            Step::Twin | Step::Drop(_) => None,
        }
    }

    fn empty(port: PortIndex) -> Self {
        Self { layers: Layers::default(), port, iface: IfaceSlot(0) }
    }

    /// The source address.
    #[inline(always)]
    pub fn src(&self) -> IpAddr {
        address(&self.layers.key.src, self.layers.l3)
    }

    /// The destination address.
    #[inline(always)]
    pub fn dst(&self) -> IpAddr {
        address(&self.layers.key.dst, self.layers.l3)
    }

    /// The IP packet's length in bytes.
    #[inline(always)]
    pub fn ip_len(&self) -> u32 {
        self.layers.end.saturating_sub(u32::from(self.layers.l3_offset))
    }
}

/// An address of a [`packet::FlowKey`].
#[inline(always)]
fn address(bytes: &[u8; 16], family: L3) -> IpAddr {
    match (family, bytes) {
        (L3::Ipv4, [a, b, c, d, ..]) => IpAddr::from([*a, *b, *c, *d]),
        _ => IpAddr::from(*bytes),
    }
}

/// What pass one says of a frame.
#[derive(Clone, Copy)]
enum Step {
    /// It needs a route.
    Route,
    /// It is for the kernel.
    Twin,
    /// It ends here.
    Drop(DropReason),
}

/// What pass two says of a packet. [`decide`] touches nothing, so that it can be read, and tested, by itself.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict<'t> {
    /// It leaves with this header.
    Send {
        /// The station that it goes to.
        to: &'t Adjacency,
        /// The header to it.
        header: &'t L2Header,
        /// The largest packet that the way takes; a longer one is cut.
        mtu: u32,
    },
    /// It is for the kernel.
    Twin,
    /// It waits until the kernel has found this station.
    Wait(IfaceSlot, IpAddr),
    /// It ends here; `mtu` goes into the answer where the reason is its length.
    Refuse {
        /// Why.
        reason: DropReason,
        /// The MTU that it exceeds, or 0.
        mtu: u32,
    },
}

/// Takes every frame of `burst`, received on `port`, to where it belongs.
pub fn run<Io: PacketIo>(
    tables: &Tables,
    local: &mut Local<Io>,
    port: PortIndex,
    burst: &mut Burst<Io::Frame>,
    now: Tick,
) {
    let Some(entry) = tables.port(port) else {
        return local.io.free(burst);
    };
    if let PortMode::Pair(peer) = entry.state.mode {
        return pass_through(tables, local, port, peer, burst);
    }

    // Pass one: parse and admit all, then look all destinations up at once, so that their cache misses overlap. What the
    // parse finds is written once, to where pass two reads it.
    let mut steps = [(Step::Twin, Packet::empty(port)); BURST];
    let (mut wanted4, mut wanted6) = ([[0; 4]; BURST], [[0; 16]; BURST]);
    let (mut found, mut found6) = ([NO_ROUTE; BURST], [NO_ROUTE; BURST]);
    let n = burst.len();
    let mut n6 = 0;
    let wanted = wanted4.iter_mut().zip(&mut wanted6);
    for ((frame, (step, packet)), (wanted4, wanted6)) in burst.iter().zip(&mut steps).zip(wanted) {
        *step = admit(tables, entry, frame, packet);
        let dst = &packet.layers.key.dst;
        if packet.layers.l3 == L3::Ipv6 {
            *wanted6 = *dst;
            n6 += 1;
        } else if let Some(dst) = dst.first_chunk() {
            *wanted4 = *dst;
        }
    }
    if n6 < n {
        tables.fib4.lookup_burst(wanted4.get(..n).unwrap_or_default(), &mut found);
    }
    if n6 > 0 {
        tables.fib6.lookup_burst(wanted6.get(..n).unwrap_or_default(), &mut found6);
        for ((found, found6), (_, packet)) in found.iter_mut().zip(found6).zip(&steps) {
            if packet.layers.l3 == L3::Ipv6 {
                *found = found6;
            }
        }
    }

    // Pass two: each packet to its end.
    for ((frame, (step, packet)), path) in burst.drain(..).zip(&steps).zip(found) {
        match step {
            Step::Route => match decide(tables, packet, tables.paths.get(path as usize)) {
                Verdict::Send { to, header, mtu } => {
                    send(tables, local, frame, packet, to, header, mtu, now)
                }
                Verdict::Twin => local.deliver(port, frame),
                Verdict::Wait(iface, addr) => local.wait(tables, iface, addr, port, frame, now),
                Verdict::Refuse { reason, mtu } => {
                    local.refuse(tables, frame, packet, reason, mtu, now)
                }
            },
            Step::Twin => local.punt(port, frame),
            Step::Drop(reason) => local.drop(port, *reason, frame),
        }
    }
}

/// Parses a frame of a routed port and finds its interface; what is not a unicast IP packet to us ends or turns off here.
#[inline(always)]
fn admit<F: Frame>(tables: &Tables, entry: &PortEntry, frame: &F, packet: &mut Packet) -> Step {
    if let Err(reason) = layers::parse_into(frame, &mut packet.layers) {
        return Step::Drop(reason);
    }
    let layers = &packet.layers;
    let found = match (layers.vlan_count, layers.vlan) {
        (0, _) => entry.untagged,
        (1, [outer, _]) if outer & 0xfff == 0 => entry.untagged, // a priority tag (802.1Q, 6.9)
        (1, [outer, _]) => entry.tagged.get(&[outer & 0xfff, 0]).copied(),
        (_, [outer, inner]) => entry.tagged.get(&[outer & 0xfff, inner & 0xfff]).copied(),
    };
    let Some((slot, iface)) = found.and_then(|slot| Some((slot, tables.iface(slot)?))) else {
        return Step::Drop(DropReason::VlanUnknown);
    };
    if !iface.iface.up {
        return Step::Drop(DropReason::InterfaceDown);
    }
    if layers.l2_kind == L2Kind::Unicast && layers.dst_mac != layers::padded(iface.iface.mac) {
        return Step::Drop(DropReason::NotOurMac);
    }
    let for_the_group = match layers.l3 {
        L3::Ipv4 => matches!(layers.key.dst, [224..=255, ..]),
        L3::Ipv6 => matches!(layers.key.dst, [0xff, ..] | [0xfe, 0x80..=0xbf, ..]),
        L3::Arp => true,
        // Link-layer control (LLDP, LACP, spanning tree) comes to groups; stations speak IP and ARP to us.
        L3::Other if layers.l2_kind == L2Kind::Unicast => {
            return Step::Drop(DropReason::EtherTypeUnknown);
        }
        L3::Other => true,
    };
    if for_the_group {
        return Step::Twin;
    }
    packet.iface = slot;
    Step::Route
}

/// Where a packet goes. In Linux's order: route, then what the route says, then TTL, then length, then the neighbour.
#[inline(always)]
pub fn decide<'t>(tables: &'t Tables, packet: &Packet, path: Option<&'t Path>) -> Verdict<'t> {
    let refuse = |reason| Verdict::Refuse { reason, mtu: 0 };
    let layers = &packet.layers;
    let (hop, path_mtu) = match path {
        Some(Path::Single { hop, mtu }) => (*hop, *mtu),
        Some(Path::Multi { hops, mtu }) => match pick(tables, layers, hops) {
            Some(hop) => (hop, *mtu),
            None => return refuse(DropReason::NoRoute),
        },
        Some(Path::Local) => return Verdict::Twin,
        Some(Path::Blackhole) => return refuse(DropReason::Blackhole),
        Some(Path::Unreachable) => return refuse(DropReason::Unreachable),
        Some(Path::Prohibit) => return refuse(DropReason::Prohibited),
        Some(Path::Down) => return refuse(DropReason::InterfaceDown),
        None => return refuse(DropReason::NoRoute),
    };
    if layers.l2_kind != L2Kind::Unicast {
        return refuse(DropReason::L2Broadcast);
    }
    if layers.ttl <= 1 {
        return refuse(DropReason::TtlExpired);
    }
    if matches!((layers.l3, layers.key.src), (L3::Ipv6, [0xfe, 0x80..=0xbf, ..])) {
        return refuse(DropReason::Ip6Scope);
    }
    let to = match hop {
        Hop::Via(slot) => tables.adjacency(slot),
        Hop::OnLink(iface) => match tables.neighbour(iface, packet.dst()) {
            None => return Verdict::Wait(iface, packet.dst()),
            known => known,
        },
        Hop::Kernel => return Verdict::Twin,
    };
    let Some(to) = to else {
        return refuse(DropReason::NoRoute);
    };
    let mtu = to.mtu.min(path_mtu);
    if packet.ip_len() > mtu && (layers.dont_fragment || layers.l3 == L3::Ipv6) {
        return Verdict::Refuse { reason: DropReason::TooBig, mtu };
    }
    match &to.resolution {
        Resolution::Known { header, .. } => Verdict::Send { to, header, mtu },
        Resolution::Unknown | Resolution::Failed => Verdict::Wait(to.iface, to.addr),
    }
}

/// The hop of this flow. Fragments have no ports, so all of a datagram's parts are spread by addresses alone.
fn pick(tables: &Tables, layers: &Layers, hops: &[Hop]) -> Option<Hop> {
    let mut key = layers.key;
    if layers.fragment != packet::FragmentPart::Whole {
        (key.sport, key.dport) = ([0; 2], [0; 2]);
    }
    let hash = u128::from(tables.ecmp_hash.hash_one(key));
    let at = (hash * hops.len() as u128) >> 64;
    hops.get(at as usize).copied()
}

/// Rewrites and queues a packet, in fragments where it is too long.
#[inline(always)]
#[expect(
    clippy::too_many_arguments,
    reason = "the parts of a verdict, inlined into the one caller"
)]
fn send<Io: PacketIo>(
    tables: &Tables,
    local: &mut Local<Io>,
    mut frame: Io::Frame,
    packet: &Packet,
    to: &Adjacency,
    header: &L2Header,
    mtu: u32,
    now: Tick,
) {
    if matches!(to.resolution, Resolution::Known { stale: true, .. }) {
        local.mention(tables, to, now);
    }
    let layers = &packet.layers;
    if packet.ip_len() <= mtu {
        if rewrite::forward(&mut frame, layers, header) {
            local.transmit(to.port, frame);
        } else {
            local.drop(packet.port, DropReason::NoMemory, frame);
        }
        return;
    }
    rewrite::hop(&mut frame, layers);
    let pool = local.io.pool().clone();
    if fragment::cut(&pool, &frame, layers, header, mtu, |part| local.transmit(to.port, part)) {
        local.link.stats.fragmented.add(1);
        local.release(frame);
    } else {
        local.drop(packet.port, DropReason::FragmentFailed, frame);
    }
}

/// Transparent mode: every frame goes to the other port as it came.
fn pass_through<Io: PacketIo>(
    tables: &Tables,
    local: &mut Local<Io>,
    port: PortIndex,
    peer: PortIndex,
    burst: &mut Burst<Io::Frame>,
) {
    let Some(to) = tables.port(peer) else {
        return local.drop_burst(port, DropReason::NoPeer, burst);
    };
    if !to.state.up {
        return local.drop_burst(peer, DropReason::PortDown, burst);
    }
    for mut frame in burst.drain(..) {
        if frame.len() as u64 > u64::from(to.state.max_frame) {
            local.drop(peer, DropReason::TxTooLong, frame);
            continue;
        }
        if let Some(tci) = frame.rx_meta().vlan_tci {
            frame.set_tx_vlan(Some(tci));
        }
        local.transmit(peer, frame);
    }
}

/// Sends a packet of this node's own: `frame` begins with its IP header, and is routed by its destination.
pub(crate) fn originate<Io: PacketIo>(
    tables: &Tables,
    local: &mut Local<Io>,
    mut frame: Io::Frame,
    dst: IpAddr,
    now: Tick,
) {
    let Some(way) = own_way(tables, dst) else {
        return local.release(frame);
    };
    let ethertype = if dst.is_ipv4() { 0x0800 } else { 0x86dd };
    match way.to.map(|to| (to.port, to.resolution)) {
        Some((port, Resolution::Known { header, .. })) => {
            if rewrite::prepend(&mut frame, &header, ethertype) {
                local.transmit(port, frame);
            } else {
                local.release(frame);
            }
        }
        _ => local.wait_own(tables, way.iface, way.addr, dst, frame, now),
    }
}

/// The way of a packet of this node's own.
pub(crate) struct OwnWay<'t> {
    /// The interface that it leaves by.
    pub(crate) iface: IfaceSlot,
    /// The station that it goes to first.
    pub(crate) addr: IpAddr,
    /// What is known of that station.
    to: Option<&'t Adjacency>,
}

/// The way to `dst`; `None` where only the kernel, or nobody, could send it.
pub(crate) fn own_way(tables: &Tables, dst: IpAddr) -> Option<OwnWay<'_>> {
    let id = match dst {
        IpAddr::V4(dst) => tables.fib4.lookup(dst.octets())?,
        IpAddr::V6(dst) => tables.fib6.lookup(dst.octets())?,
    };
    let hop = match tables.paths.get(id as usize)? {
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
        Hop::Kernel => None,
    }
}
