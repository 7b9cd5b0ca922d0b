//! What a worker is told of the bed's node: its interfaces, addresses, routes and neighbours.

use std::net::IpAddr;

use dataplane::rib::{
    Change, IfIndex, Iface, NeighbourState, NextHop, Prefix, Rib, Route, RouteKind, RouteTable,
};
use packet::PortIndex;

pub(crate) const IN: PortIndex = PortIndex(0);
pub(crate) const OUT: PortIndex = PortIndex(1);
pub(crate) const NAMES: [&str; 2] = ["tap0", "tap1"];

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn prefix(text: &str) -> Prefix {
    let (addr, len) = text.split_once('/').unwrap();
    Prefix { addr: ip(addr), len: len.parse().unwrap() }
}

fn route(to: &str, kind: RouteKind, iface: IfIndex, via: Option<&str>) -> Change {
    let table = if kind == RouteKind::Local { RouteTable::Local } else { RouteTable::Main };
    let next_hops = vec![NextHop { iface, via: via.map(ip), weight: 1 }];
    Change::Route(Route { table, prefix: prefix(to), metric: 0, kind, next_hops, mtu: None })
}

/// The interface's number in the namespace that this thread is in.
pub(crate) fn index(name: &str) -> IfIndex {
    let output = std::process::Command::new("ip").args(["-o", "link", "show", name]).output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    IfIndex(text.split(':').next().unwrap().trim().parse().unwrap())
}

/// A neighbour by its addresses, at one of the two interfaces.
pub(crate) fn neighbour(rib: &mut Rib, n: usize, addr: &str, mac: [u8; 6]) {
    let state = NeighbourState::Reachable(mac);
    rib.apply(Change::Neighbour { iface: index(NAMES[n]), addr: ip(addr), state });
}

/// All that the bed has.
pub(crate) fn known(rib: &mut Rib) {
    let [first, second] = NAMES.map(index);
    for (n, index) in [first, second].into_iter().enumerate() {
        rib.apply(Change::Iface(Iface {
            index,
            name: NAMES[n].into(),
            port: Some(PortIndex(n as u16)),
            vlan: Default::default(),
            mac: [2, 0, 0, 0, 0, n as u8 + 1],
            mtu: 1500,
            up: true,
            group: n as u32 + 10,
            kind: "tun".into(),
        }));
        let net6 = ["fd00::", "fd00:1::"][n];
        for (own, local, link) in [
            (format!("10.0.{n}.1/24"), format!("10.0.{n}.1/32"), format!("10.0.{n}.0/24")),
            (format!("{net6}1/64"), format!("{net6}1/128"), format!("{net6}/64")),
        ] {
            rib.apply(Change::Address { iface: index, prefix: prefix(&own) });
            rib.apply(route(&local, RouteKind::Local, index, None));
            rib.apply(route(&link, RouteKind::Unicast, index, None));
        }
    }
    for (to, via) in [("0.0.0.0/0", "10.0.1.2"), ("::/0", "fd00:1::2")] {
        rib.apply(route(to, RouteKind::Unicast, second, Some(via)));
        neighbour(rib, 1, via, [2, 0, 0, 0, 1, 2]);
    }
}
