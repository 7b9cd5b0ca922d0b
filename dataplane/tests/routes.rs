//! What the control side's changes make of the forwarding tables.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::*;
use dataplane::rib::{Change, NextHop, Prefix, Rib, RouteKind, RouteTable};
use dataplane::tables::{Path, Tables};
use std::net::IpAddr;
use std::sync::Arc;

fn rib() -> Rib {
    let mut rib = Rib::new(vec![UP, UP]);
    rib.apply(Change::Iface(iface(LAN_IF, "lan", Some(LAN), LAN_MAC)));
    rib.apply(Change::Iface(iface(WAN_IF, "wan", Some(WAN), WAN_MAC)));
    rib
}

fn path(tables: &Arc<Tables>, to: &str) -> Option<Path> {
    let id = match ip(to) {
        IpAddr::V4(to) => tables.fib4.lookup(to.octets())?,
        IpAddr::V6(to) => tables.fib6.lookup(to.octets())?,
    };
    Some(tables.paths[id as usize].clone())
}

#[test]
fn the_local_table_then_the_lowest_metric_wins() {
    let mut rib = rib();
    let with = |kind, metric| dataplane::rib::Route { metric, ..route("10.1.0.0/16", kind, &[]) };
    rib.apply(Change::Route(with(RouteKind::Blackhole, 20)));
    rib.apply(Change::Route(with(RouteKind::Prohibit, 10)));
    assert_eq!(path(&rib.publish().unwrap(), "10.1.2.3"), Some(Path::Prohibit));
    rib.apply(Change::Route(with(RouteKind::Local, 99)));
    assert_eq!(
        path(&rib.publish().unwrap(), "10.1.2.3"),
        Some(Path::Local { kind: RouteKind::Local, iface: None })
    );
    for (table, metric, left) in [
        (RouteTable::Local, 99, Some(Path::Prohibit)),
        (RouteTable::Main, 10, Some(Path::Blackhole)),
        (RouteTable::Main, 20, None),
    ] {
        rib.apply(Change::RouteGone { table, prefix: prefix("10.1.0.0/16"), metric });
        assert_eq!(path(&rib.publish().unwrap(), "10.1.2.3"), left);
    }
    assert_eq!(rib.route_counts(), (0, 0));
}

#[test]
fn a_route_of_the_same_name_replaces() {
    let mut rib = rib();
    rib.apply(Change::Route(route("10.1.0.0/16", RouteKind::Blackhole, &[])));
    rib.apply(Change::Route(route("10.1.0.0/16", RouteKind::Unreachable, &[])));
    let tables = rib.publish().unwrap();
    assert_eq!(path(&tables, "10.1.0.1"), Some(Path::Unreachable));
    assert_eq!(rib.routes().count(), 1);
}

#[test]
fn nothing_new_is_not_published_and_old_snapshots_stay_as_they_were() {
    let mut rib = rib();
    rib.apply(Change::Route(route("10.1.0.0/16", RouteKind::Blackhole, &[])));
    let first = rib.publish().unwrap();
    assert!(rib.publish().is_none());
    rib.apply(Change::RouteGone {
        table: RouteTable::Main,
        prefix: prefix("10.1.0.0/16"),
        metric: 0,
    });
    let second = rib.publish().unwrap();
    assert_eq!(path(&first, "10.1.0.1"), Some(Path::Blackhole));
    assert_eq!(path(&second, "10.1.0.1"), None);
    // The third is made from the first, which is still read: it waits.
    rib.apply(Change::Route(route("10.2.0.0/16", RouteKind::Blackhole, &[])));
    assert!(rib.publish().is_none());
    drop(first);
    assert_eq!(path(&rib.publish().unwrap(), "10.2.0.1"), Some(Path::Blackhole));
}

#[test]
fn many_prefixes_with_one_way_share_one_path_and_free_it() {
    let mut rib = rib();
    let name =
        |n: u32| Prefix { addr: IpAddr::from((0x0a00_0000 + (n << 8)).to_be_bytes()), len: 24 };
    for n in 0..5000 {
        let mut route = route("0.0.0.0/0", RouteKind::Unicast, &[(WAN_IF, Some("10.255.0.1"))]);
        route.prefix = name(n);
        rib.apply(Change::Route(route));
    }
    assert_eq!(rib.publish().unwrap().paths.len(), 1);
    for n in 0..5000 {
        rib.apply(Change::RouteGone { table: RouteTable::Main, prefix: name(n), metric: 0 });
    }
    rib.apply(Change::Route(route("10.0.0.0/8", RouteKind::Prohibit, &[])));
    let tables = rib.publish().unwrap();
    assert_eq!(tables.paths, [Path::Prohibit], "the index is used again");
    assert_eq!(tables.fib4.len(), 1);
}

#[test]
fn hops_whose_interface_is_down_are_left_out() {
    let mut rib = rib();
    let mut both = route("10.1.0.0/16", RouteKind::Unicast, &[]);
    both.next_hops = vec![
        NextHop { iface: LAN_IF, via: None, weight: 1 },
        NextHop { iface: WAN_IF, via: None, weight: 1 },
    ];
    rib.apply(Change::Route(both));
    assert!(
        matches!(path(&rib.publish().unwrap(), "10.1.0.1"), Some(Path::Multi { hops, .. }) if hops.len() == 2)
    );
    let mut down = iface(LAN_IF, "lan", Some(LAN), LAN_MAC);
    down.up = false;
    rib.apply(Change::Iface(down));
    assert!(matches!(path(&rib.publish().unwrap(), "10.1.0.1"), Some(Path::Single { .. })));
    rib.apply(Change::IfaceGone(WAN_IF));
    assert_eq!(path(&rib.publish().unwrap(), "10.1.0.1"), Some(Path::Down));
}

#[test]
fn weights_are_reduced_and_bounded() {
    let mut rib = rib();
    let mut ecmp = route("10.1.0.0/16", RouteKind::Unicast, &[]);
    for (weights, expected) in
        [([2, 4], vec![1, 2]), ([1, 65535], vec![1, 255]), ([256, 256], vec![1, 1])]
    {
        ecmp.next_hops = weights
            .iter()
            .zip([LAN_IF, WAN_IF])
            .map(|(weight, iface)| NextHop { iface, via: None, weight: *weight as u16 })
            .collect();
        rib.apply(Change::Route(ecmp.clone()));
        let Some(Path::Multi { hops, .. }) = path(&rib.publish().unwrap(), "10.1.0.1") else {
            panic!()
        };
        let first = hops.iter().filter(|hop| **hop == hops[0]).count();
        assert_eq!([first, hops.len() - first], [expected[0], expected[1]], "{weights:?}");
    }
}

#[test]
fn multicast_link_local_and_malformed_prefixes_are_no_routes() {
    let mut rib = rib();
    for to in ["224.0.0.0/4", "ff00::/8", "fe80::/64", "10.0.0.0/33"] {
        rib.apply(Change::Route(route(to, RouteKind::Unicast, &[(LAN_IF, None)])));
    }
    assert_eq!(rib.route_counts(), (0, 0));
    rib.apply(Change::Route(route("10.1.2.3/8", RouteKind::Unicast, &[(LAN_IF, None)])));
    assert!(
        path(&rib.publish().unwrap(), "10.200.0.1").is_some(),
        "bits behind the length don't count"
    );
}
