//! The forwarding tables: an immutable snapshot that every worker reads without locks.
//!
//! # Life cycle
//!
//! The [`Rib`](crate::rib::Rib) builds a `Tables` at each publish and hands an `Arc` of it to every worker, which adopts
//! it between two bursts and sends the one that it replaces back to the control side to be dropped there. What did not
//! change between two snapshots is shared (the FIBs, above all).
//!
//! A lookup goes: FIB (longest prefix) → [`Path`] → [`Hop`] → [`Adjacency`] (a ready layer-2 header). A hop on the link
//! itself finds its adjacency by the destination address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use ahash::RandomState;
use arrayvec::ArrayVec;
use packet::{Layers, PortIndex};

use crate::fib::Fib;
use crate::rib::{IfIndex, Iface, Prefix, RouteKind};

/// Counts the snapshots; each has a higher one than those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

/// Index of an interface in [`Tables::ifaces`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IfaceSlot(pub u32);

/// Index of an adjacency in [`Tables::adjacencies`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AdjacencySlot(pub u32);

/// What a port does with frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortMode {
    /// Routes them.
    Routed,
    /// Sends every frame out of another port, as it is.
    Pair(PortIndex),
}

/// A port as the control side configures it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortState {
    /// Routed, or half of a pair.
    pub mode: PortMode,
    /// The link is up.
    pub up: bool,
    /// The longest frame that it sends, in bytes from the Ethernet header on, VLAN tags included.
    pub max_frame: u32,
    /// The device inserts a VLAN tag by itself.
    pub vlan_insert: bool,
}

/// A port with the interfaces on it.
#[derive(Clone, Debug)]
pub struct PortEntry {
    /// Its name.
    pub name: Arc<str>,
    /// As configured.
    pub state: PortState,
    /// The interface of untagged frames.
    pub untagged: Option<IfaceSlot>,
    /// The interfaces of tagged frames, by VLAN ids (outer, inner; 0 where there is no inner).
    pub tagged: HashMap<[u16; 2], IfaceSlot, RandomState>,
}

/// An interface with its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IfaceEntry {
    /// As the kernel has it.
    pub iface: Iface,
    /// Its addresses, in the kernel's order.
    pub addresses: Vec<Prefix>,
}

/// A ready layer-2 header: what stands in front of the IP packet on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct L2Header {
    /// MAC addresses, VLAN tags and room for the EtherType, which is written last.
    bytes: [u8; 22],
    /// How much of `bytes` counts, 14, 18 or 22.
    len: u8,
    /// The outer tag, where the device inserts it; it is then not in `bytes`.
    pub tx_vlan: Option<u16>,
}

impl L2Header {
    /// The header from `iface` to the station `dst`.
    pub fn new(iface: &Iface, dst: [u8; 6], vlan_insert: bool) -> Self {
        let mut bytes = ArrayVec::<u8, 22>::new();
        let mut tags = iface.vlan.as_slice();
        let mut tx_vlan = None;
        if let (true, [outer, inner @ ..]) = (vlan_insert, tags)
            && outer.tpid == 0x8100
        {
            tx_vlan = Some(outer.id);
            tags = inner;
        }
        bytes.extend(dst);
        bytes.extend(iface.mac);
        for tag in tags {
            bytes.extend(tag.tpid.to_be_bytes());
            bytes.extend(tag.id.to_be_bytes());
        }
        bytes.extend([0, 0]);
        let len = bytes.len() as u8;
        let mut whole = [0; 22];
        for (to, from) in whole.iter_mut().zip(bytes) {
            *to = from;
        }
        Self { bytes: whole, len, tx_vlan }
    }

    /// Its length in bytes.
    #[inline(always)]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Never: a header has at least 14 bytes.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The MAC addresses, when there are no tags, neither here nor from the device.
    #[inline(always)]
    pub fn untagged(&self) -> Option<&[u8; 12]> {
        if self.len == 14 && self.tx_vlan.is_none() { self.bytes.first_chunk() } else { None }
    }

    /// The bytes with this EtherType.
    pub fn with_ethertype(&self, ethertype: u16) -> ArrayVec<u8, 22> {
        let mut header: ArrayVec<u8, 22> = self.bytes.into();
        header.truncate(self.len());
        if let [.., hi, lo] = header.as_mut_slice() {
            [*hi, *lo] = ethertype.to_be_bytes();
        }
        header
    }
}

/// What is known of a next hop's station.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// Nothing yet: packets wait, the kernel is asked.
    Unknown,
    /// This header reaches it. `stale`: the kernel wants to hear that it is used.
    Known {
        /// The header.
        header: L2Header,
        /// The kernel has not heard of it for a while.
        stale: bool,
    },
    /// It did not answer when the kernel last asked.
    Failed,
}

/// A station on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adjacency {
    /// What is known of it.
    pub resolution: Resolution,
    /// The port that leads to it.
    pub port: PortIndex,
    /// The interface that it is on.
    pub iface: IfaceSlot,
    /// The largest IP packet, in bytes: the interface's MTU, or less where the port can't send that.
    pub mtu: u32,
    /// Its address.
    pub addr: IpAddr,
}

/// One way on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// To this station.
    Via(AdjacencySlot),
    /// The destination is itself on this interface's link.
    OnLink(IfaceSlot),
    /// By this interface, which only the kernel reaches.
    Kernel(IfaceSlot),
}

/// What a FIB entry stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Path {
    /// One way on; `mtu` is the administrator's path MTU, or `u32::MAX`.
    Single {
        /// The way.
        hop: Hop,
        /// Bytes of IP packet.
        mtu: u32,
    },
    /// Several equal ways, each as often as its weight asks; a flow's hash picks one.
    Multi {
        /// The ways, repeated by weight.
        hops: Vec<Hop>,
        /// Bytes of IP packet.
        mtu: u32,
    },
    /// For this node: to the kernel.
    Local {
        /// Local, broadcast or multicast.
        kind: RouteKind,
        /// The interface that has the address, where a port leads to it.
        iface: Option<IfaceSlot>,
    },
    /// Drops.
    Blackhole,
    /// Drops and answers host unreachable.
    Unreachable,
    /// Drops and answers prohibited.
    Prohibit,
    /// Every interface of the route is down.
    Down,
}

/// The snapshot. See the module's overview.
#[derive(Debug)]
pub struct Tables {
    /// Which snapshot this is.
    pub generation: Generation,
    /// By [`PortIndex`].
    pub ports: Vec<PortEntry>,
    /// By [`IfaceSlot`].
    pub ifaces: Vec<IfaceEntry>,
    /// IPv4: prefix to index into `paths`.
    pub fib4: Arc<Fib<[u8; 4]>>,
    /// IPv6: prefix to index into `paths`.
    pub fib6: Arc<Fib<[u8; 16]>>,
    /// What FIB entries stand for.
    pub paths: Vec<Path>,
    /// By [`AdjacencySlot`].
    pub adjacencies: Vec<Adjacency>,
    /// Stations by interface and address.
    pub neighbours: HashMap<(IfaceSlot, IpAddr), AdjacencySlot, RandomState>,
    /// Keyed by boot: spreads flows over equal-cost hops.
    pub ecmp_hash: RandomState,
    /// Is there any interface with an IPv4 (an IPv6) address to send errors from?
    pub any_source: [Option<IpAddr>; 2],
}

impl PortEntry {
    /// The interface of frames with these tags.
    #[inline(always)]
    pub fn iface_of(&self, layers: &Layers) -> Option<IfaceSlot> {
        match (layers.vlan_count, layers.vlan) {
            (0, _) => self.untagged,
            (1, [outer, _]) if outer & 0xfff == 0 => self.untagged, // a priority tag (802.1Q, 6.9)
            (1, [outer, _]) => self.tagged.get(&[outer & 0xfff, 0]).copied(),
            (_, [outer, inner]) => self.tagged.get(&[outer & 0xfff, inner & 0xfff]).copied(),
        }
    }
}

impl Tables {
    /// A port's entry.
    #[inline(always)]
    pub fn port(&self, port: PortIndex) -> Option<&PortEntry> {
        self.ports.get(usize::from(port.0))
    }

    /// An interface's entry.
    #[inline(always)]
    pub fn iface(&self, slot: IfaceSlot) -> Option<&IfaceEntry> {
        self.ifaces.get(slot.0 as usize)
    }

    /// The largest IP packet that an interface sends, in bytes: its MTU, or less where its port can't send that.
    pub fn mtu(&self, slot: IfaceSlot) -> u32 {
        let mtu = |iface: &Iface| {
            let room = iface.port.and_then(|port| self.port(port)).map(|port| port.state.max_frame);
            let tags = 4 * iface.vlan.len() as u32;
            room.map_or(iface.mtu, |room| iface.mtu.min(room.saturating_sub(14 + tags)))
        };
        self.iface(slot).map_or(0, |entry| mtu(&entry.iface))
    }

    /// An adjacency.
    #[inline(always)]
    pub fn adjacency(&self, slot: AdjacencySlot) -> Option<&Adjacency> {
        self.adjacencies.get(slot.0 as usize)
    }

    /// The station with this address on this interface's link.
    #[inline(always)]
    pub fn neighbour(&self, iface: IfaceSlot, addr: IpAddr) -> Option<&Adjacency> {
        self.adjacency(*self.neighbours.get(&(iface, addr))?)
    }

    /// The interface that the kernel calls `index`.
    pub fn iface_by_index(&self, index: IfIndex) -> Option<IfaceSlot> {
        let slot = self.ifaces.iter().position(|entry| entry.iface.index == index)?;
        u32::try_from(slot).ok().map(IfaceSlot)
    }
}

/// Whether `addr` is in `prefix`.
pub fn contains(prefix: &Prefix, addr: IpAddr) -> bool {
    match (prefix.addr, addr) {
        (IpAddr::V4(net), IpAddr::V4(addr)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.len.min(32))).unwrap_or(0);
            (net.to_bits() ^ addr.to_bits()) & mask == 0
        }
        (IpAddr::V6(net), IpAddr::V6(addr)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix.len.min(128))).unwrap_or(0);
            (net.to_bits() ^ addr.to_bits()) & mask == 0
        }
        _ => false,
    }
}

/// Whether `addr` is only good on its own link (RFC 3927, RFC 4291 2.5.6).
pub fn is_link_local(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => addr.is_link_local(),
        IpAddr::V6(addr) => addr.is_unicast_link_local(),
    }
}
