//! A router of two ports whose neighbours are known, for scenarios to put routes into.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use dataplane::{
    rib::{
        Change, IfIndex, Iface, NeighbourState, NextHop, Prefix, Rib, Route, RouteKind, RouteTable,
    },
    tables::{PortMode, PortState},
};
use packet::PortIndex;

/// The port that packets come by, and the one that routes lead to.
pub const PORTS: usize = 2;
/// The MAC address of the port that packets come by.
pub const RX_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The station that they come from.
pub const SOURCE_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];
/// How many gateways routes are spread over.
pub const GATEWAYS: usize = 16;

const RX: IfIndex = IfIndex(1);
const TX: IfIndex = IfIndex(2);

/// Two routed ports with addresses and [`GATEWAYS`] stations behind the second, and no route yet.
pub fn two_ports() -> Rib {
    let state = PortState { mode: PortMode::Routed, up: true, max_frame: 1518, vlan_insert: false };
    let mut rib = Rib::new(vec![state; PORTS]);
    for (index, name, mac) in [(RX, "rx", RX_MAC), (TX, "tx", [2, 0, 0, 0, 0, 2])] {
        let port = PortIndex(index.0 as u16 - 1);
        let iface = Iface {
            index,
            name: name.into(),
            port: Some(port),
            vlan: Default::default(),
            mac,
            mtu: 1500,
            up: true,
            group: 0,
            kind: String::new(),
        };
        rib.apply(Change::Iface(iface));
        for v6 in [false, true] {
            let addr = station(index, 1, v6);
            rib.apply(Change::Address {
                iface: index,
                prefix: Prefix { addr, len: if v6 { 64 } else { 24 } },
            });
        }
    }
    for n in 0..GATEWAYS {
        for v6 in [false, true] {
            rib.apply(Change::Neighbour {
                iface: TX,
                addr: station(TX, 2 + n as u8, v6),
                state: NeighbourState::Reachable([2, 0, 0, 0, 2, n as u8]),
            });
        }
    }
    rib
}

/// A route to `prefix/len` by the `n`th gateway.
pub fn route(rib: &mut Rib, addr: IpAddr, len: u8, n: usize) {
    route_by(rib, TX, addr, len, n);
}

/// One routed port with this MAC address, which its stations have as well: what is sent comes back to us.
pub fn loopback(mac: [u8; 6]) -> Rib {
    let state = PortState { mode: PortMode::Routed, up: true, max_frame: 1518, vlan_insert: false };
    let mut rib = Rib::new(vec![state]);
    let (name, port) = ("loop".into(), Some(PortIndex(0)));
    rib.apply(Change::Iface(Iface {
        index: RX,
        name,
        port,
        vlan: Default::default(),
        mac,
        mtu: 1500,
        up: true,
        group: 0,
        kind: String::new(),
    }));
    rib.apply(Change::Address {
        iface: RX,
        prefix: Prefix { addr: station(RX, 1, false), len: 24 },
    });
    for n in 0..GATEWAYS {
        let addr = station(RX, 2 + n as u8, false);
        rib.apply(Change::Neighbour { iface: RX, addr, state: NeighbourState::Reachable(mac) });
    }
    rib
}

/// A route of [`loopback`]'s.
pub fn loopback_route(rib: &mut Rib, addr: IpAddr, len: u8, n: usize) {
    route_by(rib, RX, addr, len, n);
}

fn route_by(rib: &mut Rib, iface: IfIndex, addr: IpAddr, len: u8, n: usize) {
    let via = station(iface, 2 + (n % GATEWAYS) as u8, addr.is_ipv6());
    rib.apply(Change::Route(Route {
        table: RouteTable::Main,
        prefix: Prefix { addr, len },
        metric: 0,
        kind: RouteKind::Unicast,
        next_hops: vec![NextHop { iface, via: Some(via), weight: 1 }],
        mtu: None,
    }));
}

fn station(iface: IfIndex, n: u8, v6: bool) -> IpAddr {
    let net = iface.0 as u8;
    if v6 {
        Ipv6Addr::new(0xfd00, 0, 0, u16::from(net), 0, 0, 0, u16::from(n)).into()
    } else {
        Ipv4Addr::new(10, 0, net, n).into()
    }
}

/// Nobody sleeps that would have to be woken.
#[derive(Debug)]
pub struct NoTwin;

impl dataplane::control::Wake for NoTwin {
    fn wake(&self) {}
}

/// [`NoTwin`], shared.
pub fn no_twin() -> Arc<NoTwin> {
    Arc::new(NoTwin)
}
