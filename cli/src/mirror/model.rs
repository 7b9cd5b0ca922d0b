//! What the kernel is known to hold, what was told of it, and the difference.
//!
//! Events go in, [`Change`]s come out of [`Model::changes`]. Nothing here does I/O or knows the time, so that every
//! order of messages can be tested. The mirror's thread alone touches it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hash;
use std::net::IpAddr;

use ahash::RandomState;
use arrayvec::ArrayVec;
use dataplane::rib::{Change, IfIndex, Iface, NeighbourState, Prefix};
use packet::PortIndex;

use super::routes::Routes;
use super::translate::{Event, Link};

/// Everything that one full dump says.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    pub(super) links: Vec<Link>,
    pub(super) addresses: Vec<(IfIndex, Prefix)>,
    pub(super) neighbours: Vec<(IfIndex, IpAddr, NeighbourState)>,
    pub(super) routes: RouteSnapshot,
}

/// What a dump of routes and nexthop objects says.
#[derive(Debug, Default)]
pub(super) struct RouteSnapshot {
    pub(super) routes: Vec<super::translate::KernelRoute>,
    pub(super) nexthops: Vec<super::nexthop::Nexthop>,
}

impl Snapshot {
    /// Takes in one object of a dump.
    pub(super) fn take(&mut self, event: Event) {
        match event {
            Event::Link(link) => self.links.push(link),
            Event::Address(iface, prefix) => self.addresses.push((iface, prefix)),
            Event::Route(route, _) => self.routes.routes.push(route),
            Event::Nexthop(nexthop) => self.routes.nexthops.push(nexthop),
            Event::Neighbour(iface, addr, Some(state)) => {
                self.neighbours.push((iface, addr, state))
            }
            _ => {}
        }
    }
}

/// What is known beside what was told, by key.
#[derive(Debug)]
struct Known<K, V> {
    now: HashMap<K, V, RandomState>,
    told: HashMap<K, V, RandomState>,
    dirty: HashSet<K, RandomState>,
}

impl<K: Copy + Eq + Hash, V: Clone + PartialEq> Known<K, V> {
    fn new() -> Self {
        Self { now: HashMap::default(), told: HashMap::default(), dirty: HashSet::default() }
    }

    fn set(&mut self, key: K, value: Option<V>) {
        match value {
            Some(value) => drop(self.now.insert(key, value)),
            None => drop(self.now.remove(&key)),
        }
        self.dirty.insert(key);
    }

    fn replace(&mut self, now: impl Iterator<Item = (K, V)>) {
        self.dirty.extend(self.now.keys());
        self.now = now.collect();
        self.dirty.extend(self.now.keys());
    }

    /// Calls `tell` for each key whose value (`None`: gone) is not what was told.
    fn changes(&mut self, mut tell: impl FnMut(K, Option<V>)) {
        for key in self.dirty.drain() {
            let now = self.now.get(&key);
            if now == self.told.get(&key) {
                continue;
            }
            match now {
                Some(value) => drop(self.told.insert(key, value.clone())),
                None => drop(self.told.remove(&key)),
            }
            tell(key, now.cloned());
        }
    }
}

/// What the model cannot know from the messages, because the kernel does not say it: dump routes again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub(super) struct RoutesInDoubt(pub(super) bool);

/// See the module's overview.
#[derive(Debug)]
pub(super) struct Model {
    twins: HashMap<IfIndex, PortIndex, RandomState>,
    links: BTreeMap<IfIndex, Link>,
    links_changed: bool,
    ifaces: Known<IfIndex, Iface>,
    addresses: Known<(IfIndex, Prefix), ()>,
    neighbours: Known<(IfIndex, IpAddr), NeighbourState>,
    routes: Routes,
}

impl Model {
    pub(super) fn new(twins: impl IntoIterator<Item = (IfIndex, PortIndex)>) -> Self {
        Self {
            twins: twins.into_iter().collect(),
            links: BTreeMap::new(),
            links_changed: false,
            ifaces: Known::new(),
            addresses: Known::new(),
            neighbours: Known::new(),
            routes: Routes::default(),
        }
    }

    /// How many routes are known.
    pub(super) fn routes(&self) -> usize {
        self.routes.len()
    }

    /// Takes in one notification.
    pub(super) fn take(&mut self, event: Event) -> RoutesInDoubt {
        RoutesInDoubt(match event {
            Event::Link(link) => {
                self.links_changed = true;
                let (index, up) = (link.index, link.up);
                let before = self.links.insert(index, link).map(|link| link.up);
                // On its way down a link takes routes with it, or hops of them, and on its way up it brings some back:
                // the kernel keeps silent about most.
                before.is_some_and(|before| before != up)
            }
            Event::LinkGone(index) => {
                self.links_changed = true;
                self.links.remove(&index);
                let of_link = |iface: &IfIndex| *iface == index;
                let gone: Vec<_> = self
                    .addresses
                    .now
                    .keys()
                    .filter(|(iface, _)| of_link(iface))
                    .copied()
                    .collect();
                for key in gone {
                    self.addresses.set(key, None);
                }
                let gone: Vec<_> = self
                    .neighbours
                    .now
                    .keys()
                    .filter(|(iface, _)| of_link(iface))
                    .copied()
                    .collect();
                for key in gone {
                    self.neighbours.set(key, None);
                }
                true
            }
            Event::Address(iface, prefix) => {
                let new = !self.addresses.now.contains_key(&(iface, prefix));
                self.addresses.set((iface, prefix), Some(()));
                // Hops that died with the interface's last IPv4 address live again with its next.
                new && prefix.addr.is_ipv4()
            }
            Event::AddressGone(iface, prefix) => {
                self.addresses.set((iface, prefix), None);
                // Routes that prefer it as their source go without a word; IPv6 only forgets the preference.
                prefix.addr.is_ipv4()
            }
            Event::Route(route, placement) => !self.routes.insert(route, placement),
            Event::RouteGone(route) => !self.routes.remove(&route),
            Event::Nexthop(nexthop) => {
                self.routes.insert_nexthop(nexthop);
                false
            }
            Event::NexthopGone(id) => {
                self.routes.remove_nexthop(id);
                true
            }
            Event::Neighbour(iface, addr, state) => {
                self.neighbours.set((iface, addr), state);
                false
            }
        })
    }

    /// Takes a full dump in place of everything known.
    pub(super) fn replace(&mut self, snapshot: Snapshot) {
        self.links = snapshot.links.into_iter().map(|link| (link.index, link)).collect();
        self.links_changed = true;
        self.addresses.replace(snapshot.addresses.into_iter().map(|key| (key, ())));
        self.neighbours.replace(
            snapshot.neighbours.into_iter().map(|(iface, addr, state)| ((iface, addr), state)),
        );
        self.replace_routes(snapshot.routes);
    }

    /// Takes a dump of routes and nexthop objects in place of those known.
    pub(super) fn replace_routes(&mut self, snapshot: RouteSnapshot) {
        self.routes.replace(snapshot.routes, snapshot.nexthops);
    }

    /// What differs from what was told, and counts as told from now on. Interfaces come before what is on them, and go
    /// after it.
    pub(super) fn changes(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut gone = Vec::new();
        if std::mem::take(&mut self.links_changed) {
            let links = &self.links;
            let twins = &self.twins;
            self.ifaces.replace(links.values().map(|link| (link.index, iface(links, twins, link))));
            self.ifaces.changes(|index, iface| match iface {
                Some(iface) => changes.push(Change::Iface(iface)),
                None => gone.push(Change::IfaceGone(index)),
            });
        }
        self.addresses.changes(|(iface, prefix), there| {
            changes.push(match there {
                Some(()) => Change::Address { iface, prefix },
                None => Change::AddressGone { iface, prefix },
            });
        });
        self.routes.changes(&mut changes);
        self.neighbours.changes(|(iface, addr), state| {
            changes.push(match state {
                Some(state) => Change::Neighbour { iface, addr, state },
                None => Change::NeighbourGone { iface, addr },
            });
        });
        changes.append(&mut gone);
        changes
    }
}

/// A link's place above its port: the twin itself, or VLANs on it, at most two deep.
fn iface(
    links: &BTreeMap<IfIndex, Link>,
    twins: &HashMap<IfIndex, PortIndex, RandomState>,
    link: &Link,
) -> Iface {
    let mut vlan = ArrayVec::new();
    let mut at = link;
    let port = loop {
        if let Some(port) = twins.get(&at.index) {
            break Some(*port);
        }
        let Some((below, tag)) = at.vlan else { break None };
        if vlan.try_push(tag).is_err() {
            break None;
        }
        match links.get(&below) {
            Some(link) => at = link,
            None => break None,
        }
    };
    if port.is_none() {
        vlan.clear();
    }
    vlan.reverse(); // outermost, which is nearest to the port, first
    Iface {
        index: link.index,
        name: link.name.clone(),
        port,
        vlan,
        mac: link.mac,
        mtu: link.mtu,
        up: link.up,
        group: link.group,
        kind: link.kind.clone(),
    }
}
