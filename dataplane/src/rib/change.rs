//! What the control side says of the kernel's interfaces, addresses, routes and neighbours, one change at a time.

use std::net::IpAddr;

use arrayvec::ArrayVec;
use packet::PortIndex;

/// A kernel interface index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IfIndex(pub u32);

/// A layer-3 interface: a port's twin, a VLAN on it, or any other interface of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Iface {
    /// The kernel's index.
    pub index: IfIndex,
    /// The kernel's name.
    pub name: String,
    /// The port whose frames belong to it; `None` where the kernel alone reaches it: such packets are punted.
    pub port: Option<PortIndex>,
    /// VLAN ids, outermost first; none for the twin itself.
    pub vlan: ArrayVec<VlanTag, 2>,
    /// Its MAC address.
    pub mac: [u8; 6],
    /// The largest IP packet, in bytes.
    pub mtu: u32,
    /// Administratively up, with carrier.
    pub up: bool,
    /// Its group (`ip link set … group`), 0 where none was set.
    pub group: u32,
    /// Its kind as rtnetlink says it (`IFLA_INFO_KIND`), or nothing.
    pub kind: String,
}

/// One VLAN tag of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VlanTag {
    /// The TPID: 0x8100 or 0x88a8.
    pub tpid: u16,
    /// The VLAN id, 0 to 4094.
    pub id: u16,
}

/// An address range. Bits behind `len` are ignored by the [`Rib`](super::Rib); an interface's address keeps them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    /// The address.
    pub addr: IpAddr,
    /// How many leading bits count.
    pub len: u8,
}

/// What a route does with a packet (rtnetlink(7), `rtm_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteKind {
    /// Sends it on.
    Unicast,
    /// It is for this node.
    Local,
    /// It is a broadcast that this node receives.
    Broadcast,
    /// It is for a group; the kernel decides.
    Multicast,
    /// Drops it without a word.
    Blackhole,
    /// Drops it and answers that the host is unreachable.
    Unreachable,
    /// Drops it and answers that it is prohibited.
    Prohibit,
}

/// One way on. The order of fields is the order in which equal-cost hops are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NextHop {
    /// The interface that it leaves by.
    pub iface: IfIndex,
    /// The gateway, which may be of the other family (RFC 5549); `None` when the destination is on the link.
    pub via: Option<IpAddr>,
    /// Its share among equal-cost hops, at least 1.
    pub weight: u16,
}

/// The kernel's table that holds a route. Of two routes for one prefix the local table's wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteTable {
    /// 255.
    Local,
    /// 254.
    Main,
}

/// A route. Table, prefix and metric name it: a second one with the same three replaces the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The table it stands in.
    pub table: RouteTable,
    /// The destinations.
    pub prefix: Prefix,
    /// The lower wins.
    pub metric: u32,
    /// What it does.
    pub kind: RouteKind,
    /// The ways on, for [`RouteKind::Unicast`]; more than one is ECMP.
    pub next_hops: Vec<NextHop>,
    /// A path MTU that the administrator gave (`ip route … mtu`).
    pub mtu: Option<u32>,
}

/// What the kernel knows of a neighbour. Being asked for but unknown is the absence of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NeighbourState {
    /// Confirmed lately, or permanent.
    Reachable([u8; 6]),
    /// Usable; the kernel wants to hear of use, to probe it again.
    Stale([u8; 6]),
    /// Did not answer.
    Failed,
}

/// One change of the kernel's state. Applying it twice is the same as once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An interface is new or differs.
    Iface(Iface),
    /// An interface went, with its addresses and neighbours. Its routes are taken back one by one.
    IfaceGone(IfIndex),
    /// An interface has this address.
    Address {
        /// The interface.
        iface: IfIndex,
        /// The address with its prefix length.
        prefix: Prefix,
    },
    /// An interface has this address no more.
    AddressGone {
        /// The interface.
        iface: IfIndex,
        /// The address with its prefix length.
        prefix: Prefix,
    },
    /// A route is new or replaces the one of its name.
    Route(Route),
    /// A route went.
    RouteGone {
        /// Its table.
        table: RouteTable,
        /// Its destinations.
        prefix: Prefix,
        /// Its metric.
        metric: u32,
    },
    /// A neighbour is new or differs.
    Neighbour {
        /// The interface it is on.
        iface: IfIndex,
        /// Its address.
        addr: IpAddr,
        /// What is known.
        state: NeighbourState,
    },
    /// A neighbour is not known any more.
    NeighbourGone {
        /// The interface it was on.
        iface: IfIndex,
        /// Its address.
        addr: IpAddr,
    },
}
