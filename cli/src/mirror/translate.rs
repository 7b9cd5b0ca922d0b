//! From rtnetlink messages to what they mean for forwarding: a pure function, [`translate`].
//!
//! It decides what is not mirrored at all: other tables than main and local, routes for one TOS or from one source,
//! cached exceptions, bridge messages, proxy neighbours. What the kernel alone can follow (encapsulations, anycast) it
//! turns into [`RouteKind::Local`], so that the packets go to the twin.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dataplane::rib::{IfIndex, NeighbourState, NextHop, Prefix, RouteKind, RouteTable, VlanTag};
use netlink_packet_core::{NLM_F_APPEND, NLM_F_REPLACE, NetlinkDeserializable, NetlinkHeader};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState as Nud,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteNextHopFlags,
    RouteType, RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::nexthop::{self, Nexthop, RTM_DELNEXTHOP, RTM_NEWNEXTHOP};

const RT_TABLE_MAIN: u32 = 254;
const RT_TABLE_LOCAL: u32 = 255;

/// A message that could not be understood.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub(crate) struct TranslateError(pub(crate) String);

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A link is there, so.
    Link(Link),
    /// A link went.
    LinkGone(IfIndex),
    /// A link has an address.
    Address(IfIndex, Prefix),
    /// It has it no more.
    AddressGone(IfIndex, Prefix),
    /// A route is there.
    Route(KernelRoute, Placement),
    /// A route, or some of its hops, went.
    RouteGone(KernelRoute),
    /// A nexthop object is there, so.
    Nexthop(Nexthop),
    /// A nexthop object went.
    NexthopGone(u32),
    /// A neighbour's state; `None`: being asked for, or forgotten.
    Neighbour(IfIndex, IpAddr, Option<NeighbourState>),
}

/// A link as far as forwarding wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: IfIndex,
    pub(crate) name: String,
    pub(crate) mac: [u8; 6],
    pub(crate) mtu: u32,
    /// Administratively up and with carrier.
    pub(crate) up: bool,
    /// Its group (`IFLA_GROUP`).
    pub(crate) group: u32,
    /// Its kind (`IFLA_INFO_KIND`), or nothing.
    pub(crate) kind: String,
    /// The link below and the tag, for a VLAN.
    pub(crate) vlan: Option<(IfIndex, VlanTag)>,
}

/// Names a route; the kernel may hold several under one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RouteKey {
    pub(crate) table: RouteTable,
    pub(crate) prefix: Prefix,
    pub(crate) metric: u32,
}

/// A way on, and whether the kernel holds it dead (its link is down).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Hop {
    pub(crate) hop: NextHop,
    pub(crate) dead: bool,
}

/// A route as the kernel holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KernelRoute {
    pub(crate) key: RouteKey,
    pub(crate) kind: RouteKind,
    pub(crate) hops: Vec<Hop>,
    pub(crate) mtu: Option<u32>,
    /// The nexthop object that says the hops; the message may repeat them.
    pub(crate) nexthop: Option<u32>,
}

/// Where a new route stands among those of its name; the kernel uses the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// Before them.
    First,
    /// Behind them (`NLM_F_APPEND`).
    Last,
    /// In place of the first (`NLM_F_REPLACE`).
    Replace,
}

/// What a message means; `None` when it means nothing for forwarding.
pub(crate) fn translate(
    header: &NetlinkHeader,
    payload: &[u8],
) -> Result<Option<Event>, TranslateError> {
    match header.message_type {
        RTM_NEWNEXTHOP => return Ok(Some(Event::Nexthop(nexthop::parse(payload)?))),
        RTM_DELNEXTHOP => return Ok(Some(Event::NexthopGone(nexthop::parse(payload)?.id))),
        _ => {}
    }
    let message = RouteNetlinkMessage::deserialize(header, payload)
        .map_err(|error| TranslateError(error.to_string()))?;
    Ok(match message {
        RouteNetlinkMessage::NewLink(message) => link(message).map(Event::Link),
        RouteNetlinkMessage::DelLink(message) => (message.header.interface_family
            == AddressFamily::Unspec)
            .then_some(Event::LinkGone(IfIndex(message.header.index))),
        RouteNetlinkMessage::NewAddress(message) => {
            address(&message).map(|(iface, prefix)| Event::Address(iface, prefix))
        }
        RouteNetlinkMessage::DelAddress(message) => {
            address(&message).map(|(iface, prefix)| Event::AddressGone(iface, prefix))
        }
        RouteNetlinkMessage::NewRoute(message) => route(message).map(|route| {
            let placement = if header.flags & NLM_F_REPLACE != 0 {
                Placement::Replace
            } else if header.flags & NLM_F_APPEND != 0 {
                Placement::Last
            } else {
                Placement::First
            };
            Event::Route(route, placement)
        }),
        RouteNetlinkMessage::DelRoute(message) => route(message).map(Event::RouteGone),
        RouteNetlinkMessage::NewNeighbour(message) => neighbour(message),
        RouteNetlinkMessage::DelNeighbour(mut message) => {
            message.header.state = Nud::None;
            neighbour(message)
        }
        _ => None,
    })
}

fn link(message: LinkMessage) -> Option<Link> {
    if message.header.interface_family != AddressFamily::Unspec {
        return None; // a bridge speaking of its port
    }
    let flags = message.header.flags;
    let mut link = Link {
        index: IfIndex(message.header.index),
        name: String::new(),
        mac: [0; 6],
        mtu: 0,
        up: flags.contains(LinkFlags::Up | LinkFlags::LowerUp),
        group: 0,
        kind: String::new(),
        vlan: None,
    };
    let (mut below, mut in_other_namespace, mut tag) = (None, false, None);
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Address(mac) => link.mac = mac.try_into().unwrap_or_default(),
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Link(index) => below = Some(IfIndex(index)),
            LinkAttribute::LinkNetNsId(_) => in_other_namespace = true,
            LinkAttribute::Group(group) => link.group = group,
            LinkAttribute::LinkInfo(infos) => {
                tag = vlan_tag(&infos);
                link.kind = infos.iter().find_map(kind_name).unwrap_or_default();
            }
            _ => {}
        }
    }
    if let (Some(below), Some(tag), false) = (below, tag, in_other_namespace) {
        link.vlan = Some((below, tag));
    }
    Some(link)
}

/// A link's kind in rtnetlink's word.
fn kind_name(info: &LinkInfo) -> Option<String> {
    match info {
        LinkInfo::Kind(kind) => Some(kind.to_string()),
        _ => None,
    }
}

fn vlan_tag(infos: &[LinkInfo]) -> Option<VlanTag> {
    if !infos.contains(&LinkInfo::Kind(InfoKind::Vlan)) {
        return None;
    }
    let mut tag = VlanTag { tpid: 0x8100, id: 0 };
    for info in infos {
        let LinkInfo::Data(InfoData::Vlan(data)) = info else { continue };
        for attribute in data {
            match attribute {
                InfoVlan::Id(id) => tag.id = *id,
                InfoVlan::Protocol(protocol) => tag.tpid = (*protocol).into(),
                _ => {}
            }
        }
    }
    Some(tag)
}

fn address(message: &AddressMessage) -> Option<(IfIndex, Prefix)> {
    let (mut local, mut address) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            // On a point-to-point link IFA_ADDRESS is the peer's and IFA_LOCAL ours; elsewhere they are the same, and
            // IPv6 sends only the former.
            AddressAttribute::Local(addr) => local = Some(*addr),
            AddressAttribute::Address(addr) => address = Some(*addr),
            _ => {}
        }
    }
    let addr = local.or(address)?;
    Some((IfIndex(message.header.index), Prefix { addr, len: message.header.prefix_len }))
}

fn route(message: RouteMessage) -> Option<KernelRoute> {
    let header = &message.header;
    let unspecified = match header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    if header.tos != 0
        || header.source_prefix_length != 0
        || header.flags.contains(RouteFlags::Cloned)
    {
        return None;
    }
    let mut kind = match header.kind {
        RouteType::Unicast => RouteKind::Unicast,
        RouteType::Local | RouteType::Anycast => RouteKind::Local,
        RouteType::Broadcast => RouteKind::Broadcast,
        RouteType::Multicast => RouteKind::Multicast,
        RouteType::BlackHole => RouteKind::Blackhole,
        // A throw route sends the lookup on to the next table. After main comes "default", which is empty.
        RouteType::Unreachable | RouteType::Throw => RouteKind::Unreachable,
        RouteType::Prohibit => RouteKind::Prohibit,
        _ => return None,
    };
    let mut key = RouteKey {
        table: RouteTable::Main,
        prefix: Prefix { addr: unspecified, len: header.destination_prefix_length },
        metric: 0,
    };
    let dead = header.flags.contains(RouteFlags::Dead);
    let mut table = u32::from(header.table);
    let (mut hops, mut mtu, mut nexthop, mut iface, mut via) = (Vec::new(), None, None, None, None);
    for attribute in message.attributes {
        match attribute {
            RouteAttribute::Destination(addr) => key.prefix.addr = ip(addr)?,
            RouteAttribute::Priority(metric) => key.metric = metric,
            RouteAttribute::Table(number) => table = number,
            RouteAttribute::Oif(index) => iface = Some(IfIndex(index)),
            RouteAttribute::Gateway(addr) => via = ip(addr),
            RouteAttribute::Via(RouteVia::Inet(addr)) => via = Some(addr.into()),
            RouteAttribute::Via(RouteVia::Inet6(addr)) => via = Some(addr.into()),
            RouteAttribute::NhId(id) => nexthop = Some(id),
            RouteAttribute::Encap(_) => kind = RouteKind::Local,
            RouteAttribute::Metrics(metrics) => {
                mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) => Some(*mtu),
                    _ => None,
                });
            }
            RouteAttribute::MultiPath(paths) => {
                for path in paths {
                    let mut via = None;
                    for attribute in path.attributes {
                        match attribute {
                            RouteAttribute::Gateway(addr) => via = ip(addr),
                            RouteAttribute::Via(RouteVia::Inet(addr)) => via = Some(addr.into()),
                            RouteAttribute::Via(RouteVia::Inet6(addr)) => via = Some(addr.into()),
                            RouteAttribute::Encap(_) => kind = RouteKind::Local,
                            _ => {}
                        }
                    }
                    hops.push(Hop {
                        hop: NextHop {
                            iface: IfIndex(path.interface_index),
                            via,
                            weight: u16::from(path.hops).saturating_add(1),
                        },
                        dead: path.flags.contains(RouteNextHopFlags::Dead),
                    });
                }
            }
            _ => {}
        }
    }
    key.table = match table {
        RT_TABLE_MAIN => RouteTable::Main,
        RT_TABLE_LOCAL => RouteTable::Local,
        _ => return None,
    };
    if hops.is_empty()
        && let Some(iface) = iface
    {
        hops.push(Hop { hop: NextHop { iface, via, weight: 1 }, dead });
    }
    Some(KernelRoute { key, kind, hops, mtu, nexthop })
}

fn ip(addr: RouteAddress) -> Option<IpAddr> {
    match addr {
        RouteAddress::Inet(addr) => Some(addr.into()),
        RouteAddress::Inet6(addr) => Some(addr.into()),
        _ => None,
    }
}

fn neighbour(message: NeighbourMessage) -> Option<Event> {
    let header = &message.header;
    if !matches!(header.family, AddressFamily::Inet | AddressFamily::Inet6)
        || header.flags.contains(NeighbourFlags::Proxy)
    {
        return None;
    }
    let (mut addr, mut mac): (Option<IpAddr>, Option<[u8; 6]>) = (None, None);
    for attribute in message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => addr = Some(v4.into()),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => addr = Some(v6.into()),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.try_into().ok(),
            _ => {}
        }
    }
    let addr = addr?;
    if addr.is_multicast() || addr.is_unspecified() || addr.is_loopback() {
        return None; // the kernel's own entries, without a question asked
    }
    let state = match header.state {
        // Under probing the old address is still used, and nothing needs to tell the kernel so.
        Nud::Reachable | Nud::Permanent | Nud::Noarp | Nud::Delay | Nud::Probe => {
            mac.map(NeighbourState::Reachable)
        }
        Nud::Stale => mac.map(NeighbourState::Stale),
        Nud::Failed => Some(NeighbourState::Failed),
        _ => None,
    };
    Some(Event::Neighbour(IfIndex(header.ifindex), addr, state))
}
