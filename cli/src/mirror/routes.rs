//! The kernel's routes and nexthop objects as the mirror knows them, and what of them still has to be told.
//!
//! # Overview
//!
//! The kernel may hold several routes of one name (table, prefix, metric): IPv4 ones appended to each other, IPv6 ones
//! on several links. It uses the first, so the first that has a living hop is told. Telling is lazy: messages only mark
//! names as dirty, and [`Routes::changes`] compares what each dirty name means now with what was told last. So a burst
//! that deletes and adds again tells nothing, and a resync of a million routes tells only what differs.
//!
//! What was told is remembered as a 64-bit hash of the route, to keep a million of them small.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use ahash::RandomState;
use dataplane::rib::{Change, NextHop, Route, RouteKind};

use super::nexthop::{Nexthop, NexthopKind};
use super::translate::{Hop, KernelRoute, Placement, RouteKey};

/// Groups hold only single hops in today's kernels; one level more costs nothing, a loop cannot happen.
const GROUP_DEPTH: u8 = 2;

/// What is known of one name.
#[derive(Debug, Default)]
struct Entry {
    /// In the kernel's order.
    routes: Vec<KernelRoute>,
    /// The hash of what was told; `None` when nothing was, or that it is gone.
    told: Option<u64>,
}

/// See the module's overview.
#[derive(Debug, Default)]
pub(super) struct Routes {
    entries: HashMap<RouteKey, Entry, RandomState>,
    dirty: HashSet<RouteKey, RandomState>,
    nexthops: HashMap<u32, NexthopKind, RandomState>,
    /// Which names use a nexthop object.
    users: HashMap<u32, HashSet<RouteKey, RandomState>, RandomState>,
    /// Which groups hold a nexthop object.
    groups: HashMap<u32, HashSet<u32, RandomState>, RandomState>,
    hasher: RandomState,
}

impl Routes {
    /// A route is there. False when it is doubtful where it stands.
    pub(super) fn insert(&mut self, route: KernelRoute, placement: Placement) -> bool {
        let key = route.key;
        if let Some(id) = route.nexthop {
            self.users.entry(id).or_default().insert(key);
        }
        self.dirty.insert(key);
        let known = &mut self.entries.entry(key).or_default().routes;
        let several = known.len() > 1;
        // IPv6 says a whole ECMP route again when a hop is added to it; so a route that begins as a known one does is
        // that one, grown.
        let same = known.iter().position(|other| same_route(other, &route));
        match (same, placement) {
            (Some(at), _) => {
                if let Some(slot) = known.get_mut(at) {
                    *slot = route;
                }
                placement != Placement::Replace || !several
            }
            (None, Placement::Replace) => {
                match known.first_mut() {
                    Some(first) => *first = route,
                    None => known.push(route),
                }
                // IPv6 replaces the first that can be part of an ECMP route, which need not be the first.
                !several
            }
            (None, Placement::Last) => {
                known.push(route);
                true
            }
            (None, Placement::First) => {
                // IPv6 appends, whatever its flags say.
                if key.prefix.addr.is_ipv6() {
                    known.push(route)
                } else {
                    known.insert(0, route)
                }
                true
            }
        }
    }

    /// A route, or some hops of it, went. False when it was not known.
    pub(super) fn remove(&mut self, route: &KernelRoute) -> bool {
        let Some(entry) = self.entries.get_mut(&route.key) else { return false };
        self.dirty.insert(route.key);
        let known = &mut entry.routes;
        if let Some(at) = known.iter().position(|other| same_hops(other, route)) {
            known.remove(at);
            return true;
        }
        // IPv6 deletes single hops of an ECMP route with a message each.
        if route.key.prefix.addr.is_ipv4() {
            return false;
        }
        let gone = |hop: &Hop| route.hops.iter().any(|other| same_hop(hop, other));
        for at in 0..known.len() {
            let Some(other) = known.get_mut(at) else { break };
            if other.kind == route.kind && other.nexthop.is_none() && other.hops.iter().any(gone) {
                other.hops.retain(|hop| !gone(hop));
                if other.hops.is_empty() {
                    known.remove(at);
                }
                return true;
            }
        }
        false
    }

    /// A nexthop object is there, so.
    pub(super) fn insert_nexthop(&mut self, nexthop: Nexthop) {
        let id = nexthop.id;
        self.leave_groups(id);
        if let NexthopKind::Group(members) = &nexthop.kind {
            for (member, _) in members {
                self.groups.entry(*member).or_default().insert(id);
            }
        }
        self.nexthops.insert(id, nexthop.kind);
        self.touch_users(id, GROUP_DEPTH);
    }

    /// A nexthop object went, and with it the routes that used it.
    pub(super) fn remove_nexthop(&mut self, id: u32) {
        self.touch_users(id, GROUP_DEPTH);
        self.leave_groups(id);
        self.nexthops.remove(&id);
        for group in self.groups.remove(&id).unwrap_or_default() {
            if let Some(NexthopKind::Group(members)) = self.nexthops.get_mut(&group) {
                members.retain(|(member, _)| *member != id);
            }
        }
        for key in self.users.remove(&id).unwrap_or_default() {
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.routes.retain(|route| route.nexthop != Some(id));
            }
        }
    }

    /// Takes a fresh dump in place of everything known; what was told stays, and differences become dirty.
    pub(super) fn replace(&mut self, routes: Vec<KernelRoute>, nexthops: Vec<Nexthop>) {
        let mut old = std::mem::take(&mut self.entries);
        // Every hop may come out differently when nexthop objects differ.
        let nexthops: HashMap<_, _, RandomState> =
            nexthops.into_iter().map(|nexthop| (nexthop.id, nexthop.kind)).collect();
        let nexthops_differ = nexthops != self.nexthops;
        self.groups.clear();
        for (id, kind) in &nexthops {
            if let NexthopKind::Group(members) = kind {
                for (member, _) in members {
                    self.groups.entry(*member).or_default().insert(*id);
                }
            }
        }
        self.nexthops = nexthops;
        self.users.clear();
        self.entries.reserve(routes.len());
        for route in routes {
            if let Some(id) = route.nexthop {
                self.users.entry(id).or_default().insert(route.key);
            }
            self.entries.entry(route.key).or_default().routes.push(route);
        }
        for (key, entry) in &mut self.entries {
            match old.remove(key) {
                Some(before) => {
                    entry.told = before.told;
                    let by_object = entry.routes.iter().any(|route| route.nexthop.is_some());
                    if before.routes != entry.routes || (nexthops_differ && by_object) {
                        self.dirty.insert(*key);
                    }
                }
                None => {
                    self.dirty.insert(*key);
                }
            }
        }
        for (key, before) in old {
            if before.told.is_some() {
                self.dirty.insert(key);
                self.entries.insert(key, Entry { routes: Vec::new(), told: before.told });
            }
        }
    }

    /// Appends to `into` what has to be told, and counts it as told.
    pub(super) fn changes(&mut self, into: &mut Vec<Change>) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for key in dirty.drain() {
            let Some(entry) = self.entries.get(&key) else { continue };
            let now = entry.routes.iter().find_map(|route| resolve(&self.nexthops, route));
            let told = now.as_ref().map(|route| hash(&self.hasher, route));
            let changed = told != entry.told;
            if entry.routes.is_empty() {
                self.entries.remove(&key);
            } else if let Some(entry) = self.entries.get_mut(&key) {
                entry.told = told;
            }
            match now {
                _ if !changed => {}
                Some(route) => into.push(Change::Route(route)),
                None => into.push(Change::RouteGone {
                    table: key.table,
                    prefix: key.prefix,
                    metric: key.metric,
                }),
            }
        }
        self.dirty = dirty; // its memory serves the next burst
        self.dirty.shrink_to(65_536);
    }

    /// How many names are known.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn touch_users(&mut self, id: u32, depth: u8) {
        if let Some(users) = self.users.get(&id) {
            self.dirty.extend(users);
        }
        if depth > 0 {
            for group in self.groups.get(&id).cloned().unwrap_or_default() {
                self.touch_users(group, depth - 1);
            }
        }
    }

    fn leave_groups(&mut self, id: u32) {
        if let Some(NexthopKind::Group(members)) = self.nexthops.get(&id) {
            for (member, _) in members {
                if let Some(groups) = self.groups.get_mut(member) {
                    groups.remove(&id);
                }
            }
        }
    }
}

/// What a route means for forwarding; `None` when all its hops are dead.
fn resolve(
    nexthops: &HashMap<u32, NexthopKind, RandomState>,
    route: &KernelRoute,
) -> Option<Route> {
    let mut told = Route {
        table: route.key.table,
        prefix: route.key.prefix,
        metric: route.key.metric,
        kind: route.kind,
        next_hops: Vec::new(),
        mtu: route.mtu,
    };
    // For the kinds that end here the hop says at most which address it is; the Rib has that from the addresses.
    if route.kind != RouteKind::Unicast {
        return Some(told);
    }
    match route.nexthop.and_then(|id| nexthops.get(&id)) {
        // Not known (yet): the message repeats the hops, unless net.ipv4.nexthop_compat_mode is off.
        None => told.next_hops.extend(route.hops.iter().filter(|hop| !hop.dead).map(|hop| hop.hop)),
        Some(NexthopKind::Blackhole) => {
            told.kind = RouteKind::Blackhole;
            return Some(told);
        }
        Some(NexthopKind::KernelOnly) => {
            told.kind = RouteKind::Local;
            return Some(told);
        }
        Some(kind) => expand(nexthops, kind, 1, GROUP_DEPTH, &mut told.next_hops),
    }
    told.next_hops.sort_unstable();
    (!told.next_hops.is_empty()).then_some(told)
}

/// Appends the living hops of a nexthop object. In a group, what is no plain hop is left out: the others serve.
fn expand(
    nexthops: &HashMap<u32, NexthopKind, RandomState>,
    kind: &NexthopKind,
    weight: u16,
    depth: u8,
    into: &mut Vec<NextHop>,
) {
    match kind {
        NexthopKind::Hop(hop) if !hop.dead => into.push(NextHop { weight, ..hop.hop }),
        NexthopKind::Group(members) if depth > 0 => {
            for (id, weight) in members {
                if let Some(kind) = nexthops.get(id) {
                    expand(nexthops, kind, *weight, depth - 1, into);
                }
            }
        }
        _ => {}
    }
}

fn same_hop(one: &Hop, other: &Hop) -> bool {
    one.hop.iface == other.hop.iface && one.hop.via == other.hop.via
}

/// Whether two messages speak of one route: all its hops are the same. Weights and metrics are not part of its name.
fn same_hops(one: &KernelRoute, other: &KernelRoute) -> bool {
    one.kind == other.kind
        && one.nexthop == other.nexthop
        && one.hops.len() == other.hops.len()
        && one.hops.iter().zip(&other.hops).all(|(one, other)| same_hop(one, other))
}

/// Whether `new` is `known`, perhaps with hops added (IPv6 only: IPv4's routes do not grow).
fn same_route(known: &KernelRoute, new: &KernelRoute) -> bool {
    if same_hops(known, new) {
        return true;
    }
    known.key.prefix.addr.is_ipv6()
        && known.kind == new.kind
        && known.nexthop.is_none()
        && new.nexthop.is_none()
        && !known.hops.is_empty()
        && known.hops.len() < new.hops.len()
        && known.hops.iter().all(|hop| new.hops.iter().any(|other| same_hop(hop, other)))
}

fn hash(hasher: &RandomState, route: &Route) -> u64 {
    // Route is not Hash itself; its name is the key under which the hash is kept.
    hasher.hash_one(RouteMeaning { kind: route.kind, next_hops: &route.next_hops, mtu: route.mtu })
}

#[derive(Hash)]
struct RouteMeaning<'a> {
    kind: RouteKind,
    next_hops: &'a [NextHop],
    mtu: Option<u32>,
}
