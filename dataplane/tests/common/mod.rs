//! A node without devices: three ports over plain memory, the tables of a small router, frames in and out.
#![allow(
    dead_code,
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub
)]

pub mod rules;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use conntrack::shard::{Config, Shard};
use dataplane::control::{self, FromWorker, ToWorker, Wake, WorkerHandle, WorkerLink};
use dataplane::ha::ClusterLink;
use dataplane::rib::{
    Change, IfIndex, Iface, NeighbourState, NextHop, Prefix, Rib, Route, RouteKind, RouteTable,
    VlanTag,
};
use dataplane::tables::{PortMode, PortState};
use dataplane::worker::Worker;
use etherparse::PacketBuilder;
use packet::Tick;
use packet::{DropReason, PortIndex, VecFrame, VecIo, VecPool};
use ruleset::ids::WorkerId;

pub const LAN: PortIndex = PortIndex(0);
pub const WAN: PortIndex = PortIndex(1);
pub const DMZ: PortIndex = PortIndex(2);
pub const LAN_IF: IfIndex = IfIndex(10);
pub const WAN_IF: IfIndex = IfIndex(11);
pub const DMZ_IF: IfIndex = IfIndex(12);
pub const VLAN_IF: IfIndex = IfIndex(13);
pub const LAN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub const WAN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
pub const DMZ_MAC: [u8; 6] = [2, 0, 0, 0, 0, 3];
pub const HOST_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];
pub const GATEWAY_MAC: [u8; 6] = [2, 0, 0, 0, 2, 254];
pub const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 2, 2];

#[derive(Default)]
pub struct Wakes(pub AtomicUsize);

impl Wake for Wakes {
    fn wake(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

pub struct Node {
    pub worker: Worker<VecIo>,
    pub handle: WorkerHandle<VecFrame>,
    pub rib: Rib,
    pub pool: VecPool,
    pub wakes: Arc<Wakes>,
    pub now: Tick,
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub fn prefix(text: &str) -> Prefix {
    let (addr, len) = text.split_once('/').unwrap();
    Prefix { addr: ip(addr), len: len.parse().unwrap() }
}

pub fn iface(index: IfIndex, name: &str, port: Option<PortIndex>, mac: [u8; 6]) -> Iface {
    Iface {
        index,
        name: name.into(),
        port,
        vlan: Default::default(),
        mac,
        mtu: 1500,
        up: true,
        group: 0,
        kind: String::new(),
    }
}

pub fn vlan_iface(index: IfIndex, port: PortIndex, mac: [u8; 6], tags: &[(u16, u16)]) -> Iface {
    let vlan = tags.iter().map(|(tpid, id)| VlanTag { tpid: *tpid, id: *id }).collect();
    Iface { vlan, ..iface(index, "vlan", Some(port), mac) }
}

pub fn route(to: &str, kind: RouteKind, hops: &[(IfIndex, Option<&str>)]) -> Route {
    let next_hops = hops
        .iter()
        .map(|(iface, via)| NextHop { iface: *iface, via: via.map(ip), weight: 1 })
        .collect();
    let table = if kind == RouteKind::Local { RouteTable::Local } else { RouteTable::Main };
    Route { table, prefix: prefix(to), metric: 0, kind, next_hops, mtu: None }
}

pub const UP: PortState =
    PortState { mode: PortMode::Routed, up: true, max_frame: 9018, vlan_insert: false };

/// A table for some flows.
pub fn flows() -> Shard {
    Shard::new(Config { max: 1 << 16, worker: 0 }).unwrap()
}

/// What [`Node::new`] knows.
pub fn know(rib: &mut Rib) {
    for (index, name, port, mac, v4, v6) in [
        (LAN_IF, "lan", LAN, LAN_MAC, "10.0.1", "fd00:1::"),
        (WAN_IF, "wan", WAN, WAN_MAC, "10.0.2", "fd00:2::"),
        (DMZ_IF, "dmz", DMZ, DMZ_MAC, "10.0.3", "fd00:3::"),
    ] {
        rib.apply(Change::Iface(iface(index, name, Some(port), mac)));
        rib.apply(Change::Address { iface: index, prefix: prefix(&format!("{v4}.1/24")) });
        rib.apply(Change::Address { iface: index, prefix: prefix(&format!("{v6}1/64")) });
        for local in [format!("{v4}.1/32"), format!("{v6}1/128")] {
            rib.apply(Change::Route(route(&local, RouteKind::Local, &[(index, None)])));
        }
        for link in [format!("{v4}.0/24"), format!("{v6}/64")] {
            rib.apply(Change::Route(route(&link, RouteKind::Unicast, &[(index, None)])));
        }
    }
    for (to, via) in [("0.0.0.0/0", "10.0.2.254"), ("::/0", "fd00:2::fe")] {
        rib.apply(Change::Route(route(to, RouteKind::Unicast, &[(WAN_IF, Some(via))])));
    }
    for (index, addr, mac) in [
        (LAN_IF, "10.0.1.2", HOST_MAC),
        (LAN_IF, "fd00:1::2", HOST_MAC),
        (WAN_IF, "10.0.2.254", GATEWAY_MAC),
        (WAN_IF, "fd00:2::fe", GATEWAY_MAC),
        (WAN_IF, "10.0.2.2", SERVER_MAC),
    ] {
        rib.apply(Change::Neighbour {
            iface: index,
            addr: ip(addr),
            state: NeighbourState::Reachable(mac),
        });
    }
}

impl Node {
    /// Three routed ports: 10.0.1.1/24 and fd00:1::1/64, 10.0.2.1/24 and fd00:2::1/64, 10.0.3.1/24; default routes by
    /// 10.0.2.254 and fd00:2::fe; the stations of `*_MAC` known.
    pub fn new() -> Self {
        let mut node = Self::with_ports(&[UP; 3]);
        know(&mut node.rib);
        node.publish();
        node
    }

    pub fn with_ports(ports: &[PortState]) -> Self {
        Self::in_cluster(ports, None)
    }

    pub fn in_cluster(ports: &[PortState], cluster: Option<ClusterLink>) -> Self {
        let pool = VecPool::new(4096);
        let mut rib = Rib::new(ports.to_vec());
        let wakes = Arc::new(Wakes::default());
        let (link, handle) = control::link(WorkerId(0), ports.len(), wakes.clone());
        let link = WorkerLink { cluster, ..link };
        let tables = rib.publish().unwrap();
        let worker =
            Worker::new(VecIo::new(ports.len(), pool.clone()), link, tables, flows(), 1000);
        Self { worker, handle, rib, pool, wakes, now: Tick(1_000_000_000) }
    }

    pub fn neighbour(&mut self, iface: IfIndex, addr: &str, state: NeighbourState) {
        self.rib.apply(Change::Neighbour { iface, addr: ip(addr), state });
    }

    /// Publishes, and has the worker adopt it and run one turn.
    pub fn publish(&mut self) {
        let tables = self.rib.publish().expect("something changed and old tables were dropped");
        let generation = tables.generation.0;
        self.handle.control.send(ToWorker::Adopt(tables)).unwrap();
        self.turn();
        assert_eq!(self.handle.stats.generation.get(), generation);
        self.messages();
    }

    pub fn turn(&mut self) -> usize {
        self.worker.turn(self.now)
    }

    pub fn after(&mut self, time: Duration) -> &mut Self {
        self.now = Tick(self.now.0 + time.as_nanos() as u64);
        self
    }

    /// Receives one frame and runs a turn.
    pub fn receive(&mut self, port: PortIndex, bytes: &[u8]) {
        self.receive_frame(port, self.pool.frame(bytes).unwrap());
    }

    pub fn receive_frame(&mut self, port: PortIndex, frame: VecFrame) {
        self.worker.io().push_rx(port, frame);
        assert!(self.turn() > 0);
    }

    /// What was sent on a port since the last look.
    pub fn sent(&mut self, port: PortIndex) -> Vec<Vec<u8>> {
        self.worker.io().drain_sent(port).map(|frame| frame.to_vec()).collect()
    }

    /// What went to the twins since the last look.
    pub fn punted(&mut self) -> Vec<(PortIndex, Vec<u8>)> {
        std::iter::from_fn(|| self.handle.to_twin.pop())
            .map(|(port, frame)| (port, frame.to_vec()))
            .collect()
    }

    /// What the worker asked for; retired tables are dropped here.
    pub fn messages(&mut self) -> Vec<(IfIndex, IpAddr)> {
        self.handle
            .up
            .try_iter()
            .filter_map(|message| match message {
                FromWorker::Resolve { iface, addr } => Some((iface, addr)),
                FromWorker::Retired(_)
                | FromWorker::RetiredPassOn(_)
                | FromWorker::RetiredProgram(..) => None,
            })
            .collect()
    }

    pub fn drops(&self, port: PortIndex, reason: DropReason) -> u64 {
        self.handle.stats.port(port).unwrap().drops(reason)
    }

    pub fn all_drops(&self) -> Vec<(u16, &'static str, u64)> {
        (0..3)
            .filter_map(|port| Some((port, self.handle.stats.port(PortIndex(port))?)))
            .flat_map(|(port, stats)| {
                DropReason::ALL
                    .iter()
                    .map(move |reason| (port, reason.name(), stats.drops(*reason)))
            })
            .filter(|(.., n)| *n > 0)
            .collect()
    }

    /// Ends the worker; every frame must be back in the pool.
    pub fn end(mut self) {
        self.worker.drain();
        for port in [LAN, WAN, DMZ] {
            self.sent(port);
        }
        self.punted();
        drop(self.worker);
        assert_eq!(self.pool.outstanding(), 0, "frames leaked");
    }
}

/// UDP from the LAN's host to `dst`, without DF.
pub fn udp4(dst: &str, ttl: u8, payload: &[u8]) -> Vec<u8> {
    let IpAddr::V4(dst) = ip(dst) else { panic!("{dst} is not IPv4") };
    let builder = PacketBuilder::ethernet2(HOST_MAC, LAN_MAC)
        .ipv4([10, 0, 1, 2], dst.octets(), ttl)
        .udp(4000, 53);
    let mut bytes = Vec::new();
    builder.write(&mut bytes, payload).unwrap();
    bytes[20] = 0;
    fix_checksum(&mut bytes);
    bytes
}

pub fn udp6(dst: &str, hop_limit: u8, payload: &[u8]) -> Vec<u8> {
    let (IpAddr::V6(src), IpAddr::V6(dst)) = (ip("fd00:1::2"), ip(dst)) else {
        panic!("{dst} is not IPv6")
    };
    let builder = PacketBuilder::ethernet2(HOST_MAC, LAN_MAC)
        .ipv6(src.octets(), dst.octets(), hop_limit)
        .udp(4000, 53);
    let mut bytes = Vec::new();
    builder.write(&mut bytes, payload).unwrap();
    bytes
}

/// Rewrites the IPv4 header checksum of an untagged frame.
pub fn fix_checksum(bytes: &mut [u8]) {
    let len = usize::from(bytes[14] & 15) * 4;
    (bytes[24], bytes[25]) = (0, 0);
    let mut sum: u32 = bytes[14..14 + len]
        .chunks(2)
        .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    bytes[24..26].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

/// Tags an untagged frame.
pub fn tagged(bytes: &[u8], tags: &[(u16, u16)]) -> Vec<u8> {
    let mut out = bytes[..12].to_vec();
    for (tpid, id) in tags {
        out.extend(tpid.to_be_bytes());
        out.extend(id.to_be_bytes());
    }
    out.extend(&bytes[12..]);
    out
}
