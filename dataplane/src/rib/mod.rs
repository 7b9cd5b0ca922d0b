//! The control side's view of interfaces, routes and neighbours, and the publishing of forwarding tables from it.
//!
//! # Life cycle
//!
//! One [`Rib`] lives on the control thread. The mirror of the kernel's state feeds it [`Change`]s; [`Rib::publish`] turns
//! what changed since the last call into a new [`Tables`] snapshot for the workers. A route change costs one FIB
//! operation; a publish costs what there is of interfaces, neighbours and distinct paths, never of routes.

mod change;
mod paths;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use ahash::RandomState;
use packet::PortIndex;

pub use change::{
    Change, IfIndex, Iface, NeighbourState, NextHop, Prefix, Route, RouteKind, RouteTable, VlanTag,
};

use crate::fib::FibWriter;
use crate::tables::{
    Adjacency, AdjacencySlot, Generation, Hop, IfaceEntry, IfaceSlot, L2Header, Path, PortEntry,
    PortState, Resolution, Tables, is_link_local,
};
use paths::{PathId, PathSpec, Paths};

/// The most hops that one path is laid out to; weights beyond are scaled down.
const MAX_BUCKETS: u32 = 256;

/// One route among those for its prefix.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    table: RouteTable,
    metric: u32,
    path: PathId,
}

/// The control side's view. See the module's overview.
pub struct Rib {
    ports: Vec<PortState>,
    /// By port.
    names: Vec<Arc<str>>,
    ifaces: BTreeMap<IfIndex, IfaceEntry>,
    neighbours: HashMap<(IfIndex, IpAddr), NeighbourState, RandomState>,
    /// Best first.
    routes: HashMap<Prefix, Vec<Candidate>, RandomState>,
    paths: Paths,
    fib4: FibWriter<[u8; 4]>,
    fib6: FibWriter<[u8; 16]>,
    generation: Generation,
    ecmp_hash: RandomState,
    changed: bool,
    /// Routes that the FIB had no room for.
    refused: u64,
}

impl Rib {
    /// No interface, no route, these ports.
    pub fn new(ports: Vec<PortState>) -> Self {
        let names = (0..ports.len()).map(|n| format!("port{n}").into()).collect();
        Self {
            ports,
            names,
            ifaces: BTreeMap::new(),
            neighbours: HashMap::default(),
            routes: HashMap::default(),
            paths: Paths::default(),
            fib4: FibWriter::new(),
            fib6: FibWriter::new(),
            generation: Generation(0),
            ecmp_hash: RandomState::new(),
            changed: true,
            refused: 0,
        }
    }

    /// Replaces what is known of a port: its link went up or down, say. Unknown ports are ignored.
    pub fn set_port(&mut self, port: PortIndex, state: PortState) {
        if let Some(known) = self.ports.get_mut(usize::from(port.0))
            && *known != state
        {
            *known = state;
            self.changed = true;
        }
    }

    /// Names the ports, in their order; those without a name are `port0` and so on.
    pub fn name_ports<'n>(&mut self, names: impl IntoIterator<Item = &'n str>) {
        for (known, name) in self.names.iter_mut().zip(names) {
            *known = name.into();
        }
        self.changed = true;
    }

    /// What is known of a port.
    pub fn port(&self, port: PortIndex) -> Option<PortState> {
        self.ports.get(usize::from(port.0)).copied()
    }

    /// Takes in one change.
    pub fn apply(&mut self, change: Change) {
        self.changed = true;
        match change {
            Change::Iface(iface) => match self.ifaces.get_mut(&iface.index) {
                Some(entry) => entry.iface = iface,
                None => {
                    self.ifaces.insert(iface.index, IfaceEntry { iface, addresses: Vec::new() });
                }
            },
            Change::IfaceGone(index) => {
                self.ifaces.remove(&index);
                self.neighbours.retain(|(iface, _), _| *iface != index);
            }
            Change::Address { iface, prefix } => {
                if let Some(entry) = self.ifaces.get_mut(&iface)
                    && !entry.addresses.contains(&prefix)
                {
                    entry.addresses.push(prefix);
                }
            }
            Change::AddressGone { iface, prefix } => {
                if let Some(entry) = self.ifaces.get_mut(&iface) {
                    entry.addresses.retain(|known| *known != prefix);
                }
            }
            Change::Route(route) => self.add_route(route),
            Change::RouteGone { table, prefix, metric } => self.remove_route(table, prefix, metric),
            Change::Neighbour { iface, addr, state } => {
                self.neighbours.insert((iface, addr), state);
            }
            Change::NeighbourGone { iface, addr } => {
                self.neighbours.remove(&(iface, addr));
            }
        }
    }

    /// Forwarding tables with everything that was applied; `None` when nothing changed since the last, or when workers
    /// have not yet let go of an older snapshot that the next one is made from: call again in a moment.
    pub fn publish(&mut self) -> Option<Arc<Tables>> {
        if !self.changed {
            return None;
        }
        if !(self.fib4.ready() && self.fib6.ready()) {
            return None;
        }
        let (fib4, fib6) = (self.fib4.publish(), self.fib6.publish());
        self.changed = false;
        self.generation.0 += 1;
        let mut layout = Layout::new(&self.ports, &self.names, &self.ifaces);
        for ((iface, addr), state) in &self.neighbours {
            layout.neighbour(*iface, *addr, Some(*state));
        }
        let paths = self.paths.iter().map(|spec| layout.path(spec, &self.neighbours)).collect();
        let any_source = [true, false].map(|v4| {
            let mut addresses =
                self.ifaces.values().flat_map(|entry| &entry.addresses).map(|prefix| prefix.addr);
            addresses
                .find(|addr| addr.is_ipv4() == v4 && !is_link_local(*addr) && !addr.is_loopback())
        });
        Some(Arc::new(Tables {
            generation: self.generation,
            ports: layout.ports,
            ifaces: layout.ifaces,
            fib4,
            fib6,
            paths,
            adjacencies: layout.adjacencies,
            neighbours: layout.neighbours,
            ecmp_hash: self.ecmp_hash.clone(),
            any_source,
        }))
    }

    /// The generation of the tables that were published last.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// How many prefixes have a route, IPv4 and IPv6.
    pub fn route_counts(&self) -> (usize, usize) {
        (self.fib4.len(), self.fib6.len())
    }

    /// How many routes the FIB had no room for ([`crate::fib::MAX_ROUTES`]).
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// The route that is used for each prefix, in no order.
    pub fn routes(&self) -> impl Iterator<Item = Route> {
        self.routes.iter().filter_map(|(prefix, candidates)| {
            let best = candidates.first()?;
            let spec = self.paths.get(best.path)?;
            Some(Route {
                table: best.table,
                prefix: *prefix,
                metric: best.metric,
                kind: spec.kind,
                next_hops: spec.hops.clone(),
                mtu: spec.mtu,
            })
        })
    }

    /// The interfaces with their addresses, by kernel index.
    pub fn ifaces(&self) -> impl Iterator<Item = &IfaceEntry> {
        self.ifaces.values()
    }

    /// The neighbours, in no order.
    pub fn neighbours(&self) -> impl Iterator<Item = (IfIndex, IpAddr, NeighbourState)> {
        self.neighbours.iter().map(|((iface, addr), state)| (*iface, *addr, *state))
    }

    fn add_route(&mut self, route: Route) {
        let Some(prefix) = routable(route.prefix) else {
            return;
        };
        let Route { table, metric, kind, next_hops, mtu, .. } = route;
        let path = self.paths.acquire(PathSpec::new(kind, next_hops, mtu));
        let candidates = self.routes.entry(prefix).or_default();
        let new = Candidate { table, metric, path };
        match candidates.binary_search_by_key(&(table, metric), |known| (known.table, known.metric))
        {
            Ok(at) => {
                if let Some(known) = candidates.get_mut(at) {
                    self.paths.release(std::mem::replace(known, new).path);
                }
            }
            Err(at) => candidates.insert(at, new),
        }
        self.select(prefix);
    }

    fn remove_route(&mut self, table: RouteTable, prefix: Prefix, metric: u32) {
        let Some(prefix) = routable(prefix) else {
            return;
        };
        let Some(candidates) = self.routes.get_mut(&prefix) else {
            return;
        };
        let Some(at) =
            candidates.iter().position(|known| known.table == table && known.metric == metric)
        else {
            return;
        };
        self.paths.release(candidates.remove(at).path);
        if candidates.is_empty() {
            self.routes.remove(&prefix);
        }
        self.select(prefix);
    }

    /// Puts the best candidate of `prefix` into the FIB.
    fn select(&mut self, prefix: Prefix) {
        let best = self
            .routes
            .get(&prefix)
            .and_then(|candidates| candidates.first())
            .map(|best| best.path.0);
        let done = match (prefix.addr, best) {
            (IpAddr::V4(addr), Some(path)) => self.fib4.insert(addr.octets(), prefix.len, path),
            (IpAddr::V4(addr), None) => Ok(self.fib4.remove(addr.octets(), prefix.len)),
            (IpAddr::V6(addr), Some(path)) => self.fib6.insert(addr.octets(), prefix.len, path),
            (IpAddr::V6(addr), None) => Ok(self.fib6.remove(addr.octets(), prefix.len)),
        };
        if done.is_err() {
            self.refused += 1;
        }
    }
}

/// The prefix without the bits behind its length; `None` for what never is routed (multicast and link-local scope: the
/// pipeline gives those to the twin of the port that they came by) or is malformed.
fn routable(prefix: Prefix) -> Option<Prefix> {
    let addr = match prefix.addr {
        IpAddr::V4(addr) if prefix.len <= 32 => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.len)).unwrap_or(0);
            IpAddr::V4((addr.to_bits() & mask).into())
        }
        IpAddr::V6(addr) if prefix.len <= 128 => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix.len)).unwrap_or(0);
            IpAddr::V6((addr.to_bits() & mask).into())
        }
        _ => return None,
    };
    let link_local = addr.is_ipv6() && is_link_local(addr);
    (!addr.is_multicast() && !link_local).then_some(Prefix { addr, len: prefix.len })
}

/// The arrays of a snapshot, while it is laid out.
struct Layout {
    ports: Vec<PortEntry>,
    ifaces: Vec<IfaceEntry>,
    slots: HashMap<IfIndex, IfaceSlot, RandomState>,
    adjacencies: Vec<Adjacency>,
    neighbours: HashMap<(IfaceSlot, IpAddr), AdjacencySlot, RandomState>,
}

impl Layout {
    fn new(
        ports: &[PortState],
        names: &[Arc<str>],
        ifaces: &BTreeMap<IfIndex, IfaceEntry>,
    ) -> Self {
        let mut layout = Self {
            ports: ports
                .iter()
                .zip(names)
                .map(|(state, name)| PortEntry {
                    name: name.clone(),
                    state: *state,
                    untagged: None,
                    tagged: HashMap::default(),
                })
                .collect(),
            ifaces: Vec::with_capacity(ifaces.len()),
            slots: HashMap::default(),
            adjacencies: Vec::new(),
            neighbours: HashMap::default(),
        };
        for (slot, entry) in (0..).map(IfaceSlot).zip(ifaces.values()) {
            layout.ifaces.push(entry.clone());
            layout.slots.insert(entry.iface.index, slot);
            let port = entry.iface.port.and_then(|port| layout.ports.get_mut(usize::from(port.0)));
            if let Some(port) = port {
                match entry.iface.vlan.as_slice() {
                    [] => port.untagged = Some(slot),
                    [outer, inner @ ..] => {
                        let inner = inner.first().map_or(0, |tag| tag.id);
                        port.tagged.insert([outer.id, inner], slot);
                    }
                }
            }
        }
        layout
    }

    /// The slot of a station, laid out at its first mention; `None` where no port leads to it.
    fn neighbour(
        &mut self,
        index: IfIndex,
        addr: IpAddr,
        state: Option<NeighbourState>,
    ) -> Option<AdjacencySlot> {
        let slot = *self.slots.get(&index)?;
        if let Some(known) = self.neighbours.get(&(slot, addr)) {
            return Some(*known);
        }
        let iface = &self.ifaces.get(slot.0 as usize)?.iface;
        let port = iface.port?;
        let limits = self.ports.get(usize::from(port.0))?.state;
        // An interface's MTU may be set beyond what its port can send.
        let room = limits.max_frame.saturating_sub(14 + 4 * iface.vlan.len() as u32);
        let known = |mac, stale| Resolution::Known {
            header: L2Header::new(iface, mac, limits.vlan_insert),
            stale,
        };
        let resolution = match state {
            Some(NeighbourState::Reachable(mac)) => known(mac, false),
            Some(NeighbourState::Stale(mac)) => known(mac, true),
            Some(NeighbourState::Failed) => Resolution::Failed,
            None => Resolution::Unknown,
        };
        let adjacency = AdjacencySlot(u32::try_from(self.adjacencies.len()).ok()?);
        let mtu = iface.mtu.min(room);
        self.adjacencies.push(Adjacency { resolution, port, iface: slot, mtu, addr });
        self.neighbours.insert((slot, addr), adjacency);
        Some(adjacency)
    }

    fn path(
        &mut self,
        spec: &PathSpec,
        neighbours: &HashMap<(IfIndex, IpAddr), NeighbourState, RandomState>,
    ) -> Path {
        match spec.kind {
            kind @ (RouteKind::Local | RouteKind::Broadcast | RouteKind::Multicast) => {
                let iface = spec.hops.first().and_then(|hop| self.slots.get(&hop.iface).copied());
                return Path::Local { kind, iface };
            }
            RouteKind::Blackhole => return Path::Blackhole,
            RouteKind::Unreachable => return Path::Unreachable,
            RouteKind::Prohibit => return Path::Prohibit,
            RouteKind::Unicast => {}
        }
        let live: Vec<(Hop, u32)> = spec
            .hops
            .iter()
            .filter_map(|hop| {
                let slot = *self.slots.get(&hop.iface)?;
                let iface = &self.ifaces.get(slot.0 as usize)?.iface;
                if !iface.up {
                    return None;
                }
                let way = match (iface.port, hop.via) {
                    (None, _) => Hop::Kernel(slot),
                    (Some(_), None) => Hop::OnLink(slot),
                    (Some(_), Some(via)) => Hop::Via(self.neighbour(
                        hop.iface,
                        via,
                        neighbours.get(&(hop.iface, via)).copied(),
                    )?),
                };
                Some((way, u32::from(hop.weight.max(1))))
            })
            .collect();
        let mtu = spec.mtu.unwrap_or(u32::MAX);
        match live.as_slice() {
            [] => Path::Down,
            [(hop, _)] => Path::Single { hop: *hop, mtu },
            _ => {
                let total: u32 = live.iter().map(|(_, weight)| weight).sum();
                let common = live.iter().fold(0, |common, (_, weight)| gcd(common, *weight)).max(1);
                let buckets = |weight: u32| match total / common {
                    exact if exact <= MAX_BUCKETS => weight / common,
                    _ => (u64::from(weight) * u64::from(MAX_BUCKETS) / u64::from(total)).max(1)
                        as u32,
                };
                let hops = live
                    .iter()
                    .flat_map(|(hop, weight)| (0..buckets(*weight)).map(|_| *hop))
                    .collect();
                Path::Multi { hops, mtu }
            }
        }
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
