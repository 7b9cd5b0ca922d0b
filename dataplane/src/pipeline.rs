//! The life of a packet, one readable function: [`run`].
//!
//! A burst comes in from one port. Pass one parses every packet, decides what needs no route, and looks all the
//! destinations up together; pass two decides, rewrites and queues for transmission, packet by packet. Nothing here
//! allocates, logs, locks or makes a system call.
//!
//! Where rules are hooked in, packets pass them here as they do in Linux (docs/rules.md): ingress in pass one, the rest in pass
//! two, egress in `Local::emit`. Where none are, that costs a look at a flag. Where connections are tracked, pass one looks
//! the packets' flows up, and what rules said of a flow before is replayed (`flows`) instead of asking them again.

use std::net::IpAddr;

use packet::{BURST, Burst, DropReason, Frame, L2Kind, L3, Layers, PacketIo, PortIndex, layers};
use ruleset::packet::Meta;
use ruleset::program::Program;

use crate::fib::NO_ROUTE;
use crate::flows::{self, Ct};
use crate::hooks;
use crate::neigh::Waiter;
use crate::tables::{
    Adjacency, Hop, IfaceSlot, L2Header, Path, PortEntry, PortMode, Resolution, Tables,
};
use crate::worker::Local;
use crate::{fragment, rewrite};
use packet::Tick;

/// What a worker decides by: snapshots that do not change while a burst goes through.
#[derive(Clone, Copy)]
pub struct View<'t> {
    /// Ports, interfaces, routes, neighbours.
    pub tables: &'t Tables,
    /// Rules.
    pub program: &'t Program,
}

/// Where a packet comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It was received by a port.
    Received,
    /// The kernel sent it on a twin.
    Kernel,
    /// This node made it: an answer to a packet, or a copy of one.
    Own,
}

/// A packet on its way: what the parse found, where it came in, and what travels with it.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    /// What the parse found.
    pub layers: Layers,
    /// The port that it came by, or, for what this node sends, leaves by: its drops are counted there.
    pub port: PortIndex,
    /// The interface that it came by; for what this node sends, that it leaves by.
    pub iface: IfaceSlot,
    /// Where it comes from.
    pub origin: Origin,
    /// Its hop is taken: TTL or hop limit are lower by one already, or need not be.
    pub hopped: bool,
    /// Marks and what else rules give it.
    pub meta: Meta,
    /// Its flow.
    pub ct: Ct,
    /// A later fragment, with its first one's key.
    pub follows: bool,
    /// It passed all the hooks up to where it leaves, or comes in, or went to another worker.
    pub passed: bool,
}

impl Packet {
    /// A packet of which nothing is known yet.
    pub const fn empty(port: PortIndex) -> Self {
        Self {
            layers: Layers::NONE,
            port,
            iface: IfaceSlot(0),
            origin: Origin::Received,
            hopped: false,
            meta: Meta::NONE,
            ct: Ct::Unknown,
            follows: false,
            passed: false,
        }
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
pub(crate) fn address(bytes: &[u8; 16], family: L3) -> IpAddr {
    match (family, bytes) {
        (L3::Ipv4, [a, b, c, d, ..]) => IpAddr::from([*a, *b, *c, *d]),
        _ => IpAddr::from(*bytes),
    }
}

/// What pass one says of a frame.
#[derive(Clone, Copy)]
pub(crate) enum Step {
    /// It needs a route.
    Route,
    /// It may meet rules, and needs a route then.
    Rules,
    /// The rules spoke of its flow before.
    Replay {
        /// Its addresses or ports are to be changed.
        translated: bool,
    },
    /// It is for the kernel.
    Twin,
    /// It ends here.
    Drop(DropReason),
}

/// What is known of a frame before pass one: all zeros, so that a burst of these costs no more than clearing memory.
const BLANK: (Step, Packet) = (Step::Drop(DropReason::EthTruncated), Packet::empty(PortIndex(0)));

/// What pass one leaves for pass two.
pub(crate) type Steps = [(Step, Packet); BURST];

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
    /// It is for elsewhere, by this interface, which only the kernel reaches.
    Kernel(IfaceSlot),
    /// It waits until the kernel has found a station.
    Wait {
        /// The interface that it is on.
        iface: IfaceSlot,
        /// Its address.
        addr: IpAddr,
        /// The largest packet that the way takes.
        mtu: u32,
    },
    /// It ends here; `mtu` goes into the answer where the reason is its length.
    Refuse {
        /// Why.
        reason: DropReason,
        /// The MTU that it exceeds, or 0.
        mtu: u32,
    },
}

/// Takes every frame of `burst`, received on `port`, to where it belongs.
#[inline(never)]
pub fn run<Io: PacketIo>(
    view: View<'_>,
    local: &mut Local<Io>,
    port: PortIndex,
    burst: &mut Burst<Io::Frame>,
    now: Tick,
) {
    let tables = view.tables;
    let Some(entry) = tables.port(port) else {
        return local.io.free(burst);
    };
    if let PortMode::Pair(peer) = entry.state.mode {
        return pass_through(view, local, port, peer, burst, now);
    }

    // Pass one: parse and admit all, then look all destinations up at once, so that their cache misses overlap. What the
    // parse finds is written once, to where pass two reads it.
    let mut steps = const { [BLANK; BURST] };
    let (mut wanted4, mut wanted6) = ([[0; 4]; BURST], [[0; 16]; BURST]);
    let (mut found, mut found6) = ([NO_ROUTE; BURST], [NO_ROUTE; BURST]);
    let ruled = local.rules.at_arrival();
    if ruled {
        hooks::arrive(view, local, entry, burst, &mut steps, port, now);
    }
    let n = burst.len();
    let mut n6 = 0;
    let wanted = wanted4.iter_mut().zip(&mut wanted6);
    for ((frame, (step, packet)), (wanted4, wanted6)) in burst.iter().zip(&mut steps).zip(wanted) {
        if !ruled {
            packet.port = port;
            *step = admit(tables, entry, frame, packet);
        }
        let dst = match step {
            Step::Replay { translated: true } => local.flows.destination(packet),
            _ => &packet.layers.key.dst,
        };
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
    for ((frame, (step, packet)), path) in burst.drain(..).zip(&mut steps).zip(found) {
        match step {
            Step::Route => match decide(tables, packet, tables.paths.get(path as usize)) {
                Verdict::Send { to, header, mtu } => {
                    forward(view, local, frame, packet, to, header, mtu, now);
                }
                verdict => conclude(view, local, frame, packet, verdict, now),
            },
            Step::Replay { .. } => flows::replay(view, local, frame, packet, path, now),
            Step::Rules => hooks::walk(view, local, frame, packet, Some(path), now),
            Step::Twin => {
                if let Some(frame) = local.enters(view, frame, packet, now) {
                    local.punt(port, frame);
                }
            }
            Step::Drop(reason) => local.drop(port, *reason, frame),
        }
    }
    local.say(tables, now);
}

/// The end of a packet that meets rules, or does not simply leave. What passes a hook comes out of it, or has ended there.
#[inline(never)]
pub(crate) fn conclude<Io: PacketIo>(
    view: View<'_>,
    local: &mut Local<Io>,
    frame: Io::Frame,
    packet: &mut Packet,
    verdict: Verdict<'_>,
    now: Tick,
) {
    if local.only_watches() {
        return watch(view, local, frame, packet, verdict, now);
    }
    match verdict {
        Verdict::Send { to, header, mtu } => {
            if let Some(frame) = local.passes(view, frame, packet, to.iface, now)
                && let Some(frame) = local.defer(view, frame, packet, (to.iface, to.addr), mtu, now)
            {
                send(view, local, frame, packet, to, header, mtu, now);
            }
        }
        Verdict::Twin => {
            if let Some(frame) = local.enters(view, frame, packet, now) {
                local.deliver(packet.port, frame);
            }
        }
        Verdict::Kernel(iface) => {
            packet.hopped = true; // by the kernel
            if let Some(frame) = local.passes(view, frame, packet, iface, now) {
                local.deliver(packet.port, frame);
            }
        }
        Verdict::Wait { iface, addr, mtu } => {
            if let Some(frame) = local.passes(view, frame, packet, iface, now)
                && let Some(mut frame) = local.defer(view, frame, packet, (iface, addr), mtu, now)
            {
                take_hop(&mut frame, packet);
                let waiter = Waiter::new(view.tables, *packet, mtu, frame);
                local.wait(view.tables, iface, addr, waiter, now);
            }
        }
        Verdict::Refuse { reason, mtu } => local.refuse(view, frame, packet, reason, mtu, now),
    }
}

/// The same at a node that only watches. Rules speak of what is to be forwarded, though this node may not know the way, or the station at
/// its end: nobody answers what it asks, for it sends nothing.
#[cold]
fn watch<Io: PacketIo>(
    view: View<'_>,
    local: &mut Local<Io>,
    frame: Io::Frame,
    packet: &mut Packet,
    verdict: Verdict<'_>,
    now: Tick,
) {
    let slot = match verdict {
        Verdict::Send { to, header, mtu } => {
            if let Some(frame) = local.passes(view, frame, packet, to.iface, now) {
                send(view, local, frame, packet, to, header, mtu, now);
            }
            return;
        }
        Verdict::Twin => {
            if let Some(frame) = local.enters(view, frame, packet, now) {
                local.deliver(packet.port, frame);
            }
            return;
        }
        Verdict::Wait { iface, .. } | Verdict::Kernel(iface) => iface,
        // By which interface it would leave is not known: it is on the network that it was seen on.
        Verdict::Refuse { reason: DropReason::NoRoute | DropReason::InterfaceDown, .. } => {
            if let Some(reason) = stays(&packet.layers) {
                return local.drop(packet.port, reason, frame);
            }
            packet.iface
        }
        Verdict::Refuse { reason, .. } => return local.drop(packet.port, reason, frame),
    };
    if let Some(frame) = local.passes(view, frame, packet, slot, now) {
        let port = view.tables.iface(slot).and_then(|entry| entry.iface.port);
        local.drop(port.unwrap_or(packet.port), DropReason::Passive, frame);
    }
}

/// Parses a frame of a routed port and finds its interface; what is not an IP packet or ARP to us ends here.
#[inline(always)]
pub(crate) fn admit<F: Frame>(
    tables: &Tables,
    entry: &PortEntry,
    frame: &F,
    packet: &mut Packet,
) -> Step {
    if let Err(reason) = layers::parse_into(frame, &mut packet.layers) {
        return Step::Drop(reason);
    }
    let layers = &packet.layers;
    let found = entry.iface_of(layers);
    let Some((slot, iface)) = found.and_then(|slot| Some((slot, tables.iface(slot)?))) else {
        return Step::Drop(DropReason::VlanUnknown);
    };
    if !iface.iface.up {
        return Step::Drop(DropReason::InterfaceDown);
    }
    packet.iface = slot;
    if layers.l2_kind == L2Kind::Unicast && layers.dst_mac != layers::padded(iface.iface.mac) {
        return Step::Drop(DropReason::NotOurMac);
    }
    turn_off(layers)
}

/// What does not need a route: what is for a link or a group goes to the kernel.
#[inline(always)]
pub(crate) fn turn_off(layers: &Layers) -> Step {
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
    if for_the_group { Step::Twin } else { Step::Route }
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
        Some(Path::Local { .. }) => return Verdict::Twin,
        Some(Path::Blackhole) => return refuse(DropReason::Blackhole),
        Some(Path::Unreachable) => return refuse(DropReason::Unreachable),
        Some(Path::Prohibit) => return refuse(DropReason::Prohibited),
        Some(Path::Down) => return refuse(DropReason::InterfaceDown),
        None => return refuse(DropReason::NoRoute),
    };
    if let Some(reason) = stays(layers) {
        return refuse(reason);
    }
    let to = match hop {
        Hop::Via(slot) => tables.adjacency(slot),
        Hop::OnLink(iface) => match tables.neighbour(iface, packet.dst()) {
            None => return unknown(tables, packet, iface, path_mtu),
            known => known,
        },
        Hop::Kernel(iface) => return Verdict::Kernel(iface),
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
        Resolution::Unknown | Resolution::Failed => {
            Verdict::Wait { iface: to.iface, addr: to.addr, mtu }
        }
    }
}

/// Why a packet is forwarded by no way.
#[inline(always)]
fn stays(layers: &Layers) -> Option<DropReason> {
    if layers.l2_kind != L2Kind::Unicast {
        return Some(DropReason::L2Broadcast);
    }
    if layers.ttl <= 1 {
        return Some(DropReason::TtlExpired);
    }
    if matches!((layers.l3, layers.key.src), (L3::Ipv6, [0xfe, 0x80..=0xbf, ..])) {
        return Some(DropReason::Ip6Scope);
    }
    None
}

/// As [`decide`] for a station on a link of which nothing is known yet.
#[cold]
fn unknown<'t>(
    tables: &'t Tables,
    packet: &Packet,
    iface: IfaceSlot,
    path_mtu: u32,
) -> Verdict<'t> {
    let mtu = tables.mtu(iface).min(path_mtu);
    if packet.ip_len() > mtu && (packet.layers.dont_fragment || packet.layers.l3 == L3::Ipv6) {
        return Verdict::Refuse { reason: DropReason::TooBig, mtu };
    }
    Verdict::Wait { iface, addr: packet.dst(), mtu }
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

/// Takes one off the TTL or hop limit, unless that is done.
pub(crate) fn take_hop<F: Frame>(frame: &mut F, packet: &mut Packet) {
    if !packet.hopped {
        rewrite::hop(frame, &packet.layers);
        packet.layers.ttl = packet.layers.ttl.saturating_sub(1);
        packet.hopped = true;
    }
}

/// Rewrites and queues a packet that meets no rules any more: all at once, for nearly all packets go this way.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "the parts of a verdict, inlined into the caller")]
pub(crate) fn forward<Io: PacketIo>(
    view: View<'_>,
    local: &mut Local<Io>,
    mut frame: Io::Frame,
    packet: &mut Packet,
    to: &Adjacency,
    header: &L2Header,
    mtu: u32,
    now: Tick,
) {
    if matches!(to.resolution, Resolution::Known { stale: true, .. }) {
        local.mention(view.tables, to, now);
    }
    if packet.ip_len() > mtu {
        send_parts(view, local, frame, packet, to, header, mtu, now);
    } else if rewrite::forward(&mut frame, &packet.layers, header) {
        local.emit(view, to.port, Some(to.iface), frame, packet, now);
    } else {
        local.drop(packet.port, DropReason::NoMemory, frame);
    }
}

/// The same, step by step.
#[expect(clippy::too_many_arguments, reason = "the parts of a verdict")]
pub(crate) fn send<Io: PacketIo>(
    view: View<'_>,
    local: &mut Local<Io>,
    mut frame: Io::Frame,
    packet: &mut Packet,
    to: &Adjacency,
    header: &L2Header,
    mtu: u32,
    now: Tick,
) {
    if matches!(to.resolution, Resolution::Known { stale: true, .. }) {
        local.mention(view.tables, to, now);
    }
    take_hop(&mut frame, packet);
    if packet.ip_len() > mtu {
        send_parts(view, local, frame, packet, to, header, mtu, now);
    } else if rewrite::l2(&mut frame, &packet.layers, header) {
        local.emit(view, to.port, Some(to.iface), frame, packet, now);
    } else {
        local.drop(packet.port, DropReason::NoMemory, frame);
    }
}

/// Queues a packet that is too long for its way, in fragments.
#[cold]
#[expect(clippy::too_many_arguments, reason = "as above")]
fn send_parts<Io: PacketIo>(
    view: View<'_>,
    local: &mut Local<Io>,
    mut frame: Io::Frame,
    packet: &mut Packet,
    to: &Adjacency,
    header: &L2Header,
    mtu: u32,
    now: Tick,
) {
    take_hop(&mut frame, packet);
    let pool = local.io.pool().clone();
    let part = |part| local.emit(view, to.port, Some(to.iface), part, packet, now);
    if fragment::cut(&pool, &frame, &packet.layers, header, mtu, part) {
        local.link.stats.fragmented.add(1);
        local.release(frame);
    } else {
        local.drop(packet.port, DropReason::FragmentFailed, frame);
    }
}

/// Transparent mode: every frame goes to the other port as it came.
fn pass_through<Io: PacketIo>(
    view: View<'_>,
    local: &mut Local<Io>,
    port: PortIndex,
    peer: PortIndex,
    burst: &mut Burst<Io::Frame>,
    now: Tick,
) {
    let Some(to) = view.tables.port(peer) else {
        return local.drop_burst(port, DropReason::NoPeer, burst);
    };
    if !to.state.up {
        return local.drop_burst(peer, DropReason::PortDown, burst);
    }
    for frame in burst.drain(..) {
        let mut packet = Packet::empty(port);
        let Some(mut frame) = local.bridges(view, frame, &mut packet, peer, now) else { continue };
        if frame.len() as u64 > u64::from(to.state.max_frame) {
            local.drop(peer, DropReason::TxTooLong, frame);
            continue;
        }
        if let Some(tci) = frame.rx_meta().vlan_tci {
            frame.set_tx_vlan(Some(tci));
        }
        local.emit(view, peer, None, frame, &packet, now);
    }
    local.say(view.tables, now);
}
