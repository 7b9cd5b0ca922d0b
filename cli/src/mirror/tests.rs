//! Messages as Linux 6.18 sent them, what they translate to, and what the model makes of them in every order that
//! matters. Each line of hex is one whole netlink message, captured from the multicast socket.

use dataplane::rib::{
    Change, IfIndex, NeighbourState, NextHop, Prefix, Route, RouteKind, RouteTable, VlanTag,
};
use netlink_packet_core::Emitable;
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, VlanProtocol,
};
use packet::PortIndex;

use super::model::{Model, RouteSnapshot, RoutesInDoubt, Snapshot};
use super::socket::messages;
use super::translate::{Event, Link, Placement, translate};

/// Two ports on interfaces 3 and 4.
const LAN: IfIndex = IfIndex(3);

fn event(hex: &str) -> Option<Event> {
    let bytes: Vec<u8> = (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect();
    let mut messages = messages(&bytes);
    let (header, payload) = messages.next().unwrap().unwrap();
    let event = translate(&header, payload).unwrap();
    assert!(messages.next().is_none());
    event
}

fn prefix(text: &str) -> Prefix {
    let (addr, len) = text.split_once('/').unwrap();
    Prefix { addr: addr.parse().unwrap(), len: len.parse().unwrap() }
}

fn hop(via: &str, weight: u16) -> NextHop {
    NextHop { iface: LAN, via: Some(via.parse().unwrap()), weight }
}

fn route(
    to: &str,
    metric: u32,
    kind: RouteKind,
    next_hops: &[NextHop],
    mtu: Option<u32>,
) -> Change {
    Change::Route(Route {
        table: RouteTable::Main,
        prefix: prefix(to),
        metric,
        kind,
        next_hops: next_hops.to_vec(),
        mtu,
    })
}

fn gone(to: &str, metric: u32) -> Change {
    Change::RouteGone { table: RouteTable::Main, prefix: prefix(to), metric }
}

/// Feeds one message and returns what is told.
fn feed(model: &mut Model, hex: &str) -> Vec<Change> {
    assert_eq!(model.take(event(hex).expect("means something")), RoutesInDoubt(false), "{hex}");
    model.changes()
}

fn model() -> Model {
    Model::new([(LAN, PortIndex(0)), (IfIndex(4), PortIndex(1))])
}

// ip addr add 10.0.0.1/24 dev lan
const ADDRESS: &str = "4c00000014000000a70d056bbc3f00000218800003000000080001000a000001080002000a000001080003006c616e00080008008000000014000600ffffffffffffffff0b7404000b740400";
const LOCAL: &str = "3c00000018000006000000000000000002200000ff02fe020000000008000f00ff000000080001000a000001080007000a0000010800040003000000";
const BROADCAST: &str = "3c00000018000006000000000000000002200000ff02fd030000000008000f00ff000000080001000a0000ff080007000a0000010800040003000000";
// ip addr add 2001:db8::1/64 dev lan
const ADDRESS6: &str = "480000001400000000000000000000000a408200030000001400010020010db800000000000000000000000114000600ffffffffffffffff4e7404004e7404000800080082000000";
// ip route add 10.1.0.0/16 via 10.0.0.2 metric 50 mtu 1400; append … via .3; replace … via .4; del … via .4
const ADD: &str = "5000000018000006a70d056bbe3f000002100000fe0300010000000008000f00fe000000080001000a01000008000600320000000c0008000800020078050000080005000a0000020800040003000000";
const APPEND: &str = "440000001800000ca70d056bc03f000002100000fe0300010000000008000f00fe000000080001000a0100000800060032000000080005000a0000030800040003000000";
const REPLACE: &str = "4400000018000001a70d056bc23f000002100000fe0300010000000008000f00fe000000080001000a0100000800060032000000080005000a0000040800040003000000";
const DELETE: &str = "4400000019000000a70d056bc43f000002100000fe0300010000000008000f00fe000000080001000a0100000800060032000000080005000a0000040800040003000000";
// ip route add 10.2.0.0/16 nexthop via 10.0.0.2 weight 3 nexthop via 10.0.0.3 weight 1
const MULTIPATH: &str = "5000000018000006a70d056bc63f000002100000fe0300010000000008000f00fe000000080001000a020000240009001000000203000000080005000a0000021000000003000000080005000a000003";
// ip route add blackhole 10.3.0.0/16; ip -6 route add unreachable 2001:db8:2::/48
const BLACKHOLE: &str =
    "2c00000018000006a70d056bc83f000002100000fe0300060000000008000f00fe000000080001000a030000";
const UNREACHABLE6: &str = "7400000018000006a80d056bdd3f00000a300000fe0300070000000008000f00fe0000001400010020010db80002000000000000000000000800060000040000080004000100000024000c0000000000000000000000000000000000000000000000000000000000000000000500140000000000";
// ip route add 10.4.0.0/16 via inet6 fe80::1 dev lan
const VIA_INET6: &str = "4c00000018000006a70d056bca3f000002100000fe0300010000000008000f00fe000000080001000a040000160012000a00fe80000000000000000000000000000100000800040003000000";
// … table 100; … tos 0x10
const TABLE: &str = "3c00000018000006a70d056bcc3f000002100000640300010000000008000f0064000000080001000a050000080005000a0000020800040003000000";
const TOS: &str = "3c00000018000006a70d056bcf3f000002100010fe0300010000000008000f00fe000000080001000a060000080005000a0000020800040003000000";
// ip -6 route add 2001:db8:1::/48 via ::2; append … via ::3; del … via ::2
const ADD6: &str = "8800000018000006a80d056bd73f00000a300000fe0300010000000008000f00fe0000001400010020010db800010000000000000000000008000600000400001400050020010db8000000000000000000000002080004000300000024000c0000000000000000000000000000000000000000000000000000000000000000000500140000000000";
const APPEND6: &str = "a80000001800000ca80d056bd93f00000a300000fe0300010000000008000f00fe0000001400010020010db800010000000000000000000008000600000400003c0009001c000000030000001400050020010db80000000000000000000000031c000000030000001400050020010db800000000000000000000000224000c0000000000000000000000000000000000000000000000000000000000000000000500140000000000";
const DELETE6: &str = "8800000019000000a80d056bdb3f00000a300000fe0300010000000008000f00fe0000001400010020010db800010000000000000000000008000600000400001400050020010db8000000000000000000000002080004000300000024000c0000000000000000000000000000000000000000000000000000000000000000000500140000000000";
// ip -6 route add 2001:db8:3::/48 nexthop via ::2 nexthop via ::3; del
const MULTIPATH6: &str = "a800000018000004a80d056bdf3f00000a300000fe0300010000000008000f00fe0000001400010020010db800030000000000000000000008000600000400003c0009001c000000030000001400050020010db80000000000000000000000021c000000030000001400050020010db800000000000000000000000324000c0000000000000000000000000000000000000000000000000000000000000000000500140000000000";
const DELETE_MULTIPATH6: &str = "a800000019000000a80d056be03f00000a300000fe0300010000000008000f00fe0000001400010020010db800030000000000000000000008000600000400003c0009001c000000030000001400050020010db80000000000000000000000021c000000030000001400050020010db800000000000000000000000324000c0000000000000000000000000000000000000000000000000000000000000000000500140000000000";
// ip nexthop add id 1 via 10.0.0.2; id 2 via 10.0.0.3; id 10 group 1/2,3 (1 weight 1, 2 weight 3)
const NEXTHOP_1: &str = "3000000068000506a80d056be33f000002fd00000000000008000100010000000800050003000000080006000a000002";
const NEXTHOP_2: &str = "3000000068000506a80d056be43f000002fd00000000000008000100020000000800050003000000080006000a000003";
const GROUP_10: &str = "4400000068000506a80d056be73f00000000000000000000080001000a0000000600030000000000140002000100000000000000020000000200000008000e0000000080";
// ip route add 10.7.0.0/16 nhid 1; ip nexthop replace id 1 via 10.0.0.9; ip nexthop del id 1
const BY_NEXTHOP: &str = "4400000018000006a80d056bea3f000002100000fe0300010000000008000f00fe000000080001000a07000008001e0001000000080005000a0000020800040003000000";
const REPLACE_NEXTHOP: &str = "3000000068000505a80d056beb3f000002fd00000000000008000100010000000800050003000000080006000a000009";
const DELETE_NEXTHOP: &str = "3000000069000500a80d056bf13f000002fd00000000000008000100010000000800050003000000080006000a000009";
// ip neigh add 10.0.0.2 lladdr 02:00:00:00:00:02 dev lan nud reachable; change stale; change failed; del
const REACHABLE: &str = "4c0000001c00000000000000f43f0000020000000300000002000001080001000a0000020a000200020000000002000008000400000000001400030000000000000000000000000002000000";
const STALE: &str = "4c0000001c00000000000000f83f0000020000000300000004000001080001000a0000020a000200020000000002000008000400000000001400030005000000050000000000000001000000";
const FAILED: &str = "400000001c00000000000000fc3f0000020000000300000020000001080001000a0000020800040000000000140003000b0000000b0000000500000001000000";
const FORGOTTEN: &str = "400000001d0000000000000000000000020000000300000020000001080001000a00000208000400000000001400030010000000100000000a00000000000000";
// the kernel's own entry for a multicast group
const GROUP_NEIGHBOUR: &str = "580000001d00000000000000000000000a000000030000004000000514000100ff0200000000000000000001ff0000010a0002003333ff0000010000080004000000000014000300d1170000610000006100000000000000";

#[test]
fn addresses_and_their_routes() {
    let mut model = model();
    let address = prefix("10.0.0.1/24");
    // An IPv4 address brings hops back to life of which the kernel says nothing.
    assert_eq!(model.take(event(ADDRESS).unwrap()), RoutesInDoubt(true));
    assert_eq!(model.changes(), [Change::Address { iface: LAN, prefix: address }]);
    assert_eq!(feed(&mut model, ADDRESS), [], "said twice, told once");
    let local = |to, kind| {
        Change::Route(Route {
            table: RouteTable::Local,
            prefix: prefix(to),
            metric: 0,
            kind,
            next_hops: vec![],
            mtu: None,
        })
    };
    assert_eq!(feed(&mut model, LOCAL), [local("10.0.0.1/32", RouteKind::Local)]);
    assert_eq!(feed(&mut model, BROADCAST), [local("10.0.0.255/32", RouteKind::Broadcast)]);
    assert_eq!(
        feed(&mut model, ADDRESS6),
        [Change::Address { iface: LAN, prefix: prefix("2001:db8::1/64") }]
    );
    // An IPv4 address takes routes with it that the kernel does not name.
    assert_eq!(model.take(Event::AddressGone(LAN, address)), RoutesInDoubt(true));
    assert_eq!(model.changes(), [Change::AddressGone { iface: LAN, prefix: address }]);
}

#[test]
fn ipv4_routes_of_one_name_are_kept_in_the_kernels_order() {
    let mut model = model();
    let to = "10.1.0.0/16";
    let first = route(to, 50, RouteKind::Unicast, &[hop("10.0.0.2", 1)], Some(1400));
    assert_eq!(feed(&mut model, ADD), [first]);
    assert_eq!(feed(&mut model, APPEND), [], "the first stays in use");
    // With several of the name the model is not sure which one was replaced, and asks for a dump.
    assert_eq!(model.take(event(REPLACE).unwrap()), RoutesInDoubt(true));
    assert_eq!(model.changes(), [route(to, 50, RouteKind::Unicast, &[hop("10.0.0.4", 1)], None)]);
    let appended = route(to, 50, RouteKind::Unicast, &[hop("10.0.0.3", 1)], None);
    assert_eq!(feed(&mut model, DELETE), [appended], "the next one steps up");
    assert_eq!(model.take(event(DELETE).unwrap()), RoutesInDoubt(true), "deleted twice");
}

#[test]
fn a_burst_that_deletes_and_adds_again_tells_nothing() {
    let mut model = model();
    feed(&mut model, REPLACE);
    for hex in [DELETE, REPLACE] {
        assert_eq!(model.take(event(hex).unwrap()), RoutesInDoubt(false));
    }
    assert_eq!(model.changes(), []);
    assert_eq!(feed(&mut model, DELETE), [gone("10.1.0.0/16", 50)]);
    assert_eq!(model.routes(), 0);
}

#[test]
fn kinds_of_routes() {
    let mut model = model();
    assert_eq!(
        feed(&mut model, MULTIPATH),
        [route(
            "10.2.0.0/16",
            0,
            RouteKind::Unicast,
            &[hop("10.0.0.2", 3), hop("10.0.0.3", 1)],
            None
        )]
    );
    assert_eq!(
        feed(&mut model, BLACKHOLE),
        [route("10.3.0.0/16", 0, RouteKind::Blackhole, &[], None)]
    );
    assert_eq!(
        feed(&mut model, UNREACHABLE6),
        [route("2001:db8:2::/48", 1024, RouteKind::Unreachable, &[], None)]
    );
    assert_eq!(
        feed(&mut model, VIA_INET6),
        [route("10.4.0.0/16", 0, RouteKind::Unicast, &[hop("fe80::1", 1)], None)]
    );
    assert_eq!(event(TABLE), None, "other tables are not mirrored");
    assert_eq!(event(TOS), None, "routes for one TOS are not mirrored");
}

#[test]
fn ipv6_routes_grow_and_shrink_hop_by_hop() {
    let mut model = model();
    let to = "2001:db8:1::/48";
    let (two, three) = (hop("2001:db8::2", 1), hop("2001:db8::3", 1));
    assert_eq!(feed(&mut model, ADD6), [route(to, 1024, RouteKind::Unicast, &[two], None)]);
    assert_eq!(
        feed(&mut model, APPEND6),
        [route(to, 1024, RouteKind::Unicast, &[two, three], None)]
    );
    assert_eq!(feed(&mut model, DELETE6), [route(to, 1024, RouteKind::Unicast, &[three], None)]);
    let to = "2001:db8:3::/48";
    assert_eq!(
        feed(&mut model, MULTIPATH6),
        [route(to, 1024, RouteKind::Unicast, &[two, three], None)]
    );
    assert_eq!(feed(&mut model, DELETE_MULTIPATH6), [gone(to, 1024)]);
}

#[test]
fn nexthop_objects_are_followed_even_when_routes_are_not_said_again() {
    let mut model = model();
    let to = "10.7.0.0/16";
    assert_eq!(feed(&mut model, NEXTHOP_1), []);
    assert_eq!(feed(&mut model, NEXTHOP_2), []);
    assert_eq!(
        feed(&mut model, BY_NEXTHOP),
        [route(to, 0, RouteKind::Unicast, &[hop("10.0.0.2", 1)], None)]
    );
    assert_eq!(
        feed(&mut model, REPLACE_NEXTHOP),
        [route(to, 0, RouteKind::Unicast, &[hop("10.0.0.9", 1)], None)]
    );
    // The kernel drops IPv4 routes of an object that goes without a word.
    assert_eq!(model.take(event(DELETE_NEXTHOP).unwrap()), RoutesInDoubt(true));
    assert_eq!(model.changes(), [gone(to, 0)]);
}

#[test]
fn nexthop_groups_are_resolved_with_their_weights() {
    let mut model = model();
    for hex in [NEXTHOP_1, NEXTHOP_2, GROUP_10] {
        feed(&mut model, hex);
    }
    // `ip route add 10.7.0.0/16 nhid 10` with nexthop_compat_mode off: the message has no hops.
    let Some(Event::Route(mut by_group, _)) = event(BY_NEXTHOP) else { panic!() };
    by_group.nexthop = Some(10);
    by_group.hops.clear();
    assert_eq!(model.take(Event::Route(by_group, Placement::First)), RoutesInDoubt(false));
    let to = "10.7.0.0/16";
    let both = [hop("10.0.0.2", 1), hop("10.0.0.3", 3)];
    assert_eq!(model.changes(), [route(to, 0, RouteKind::Unicast, &both, None)]);
    let replaced = [hop("10.0.0.3", 3), hop("10.0.0.9", 1)];
    assert_eq!(
        feed(&mut model, REPLACE_NEXTHOP),
        [route(to, 0, RouteKind::Unicast, &replaced, None)]
    );
    assert_eq!(model.take(event(DELETE_NEXTHOP).unwrap()), RoutesInDoubt(true));
    assert_eq!(model.changes(), [route(to, 0, RouteKind::Unicast, &[hop("10.0.0.3", 3)], None)]);
}

#[test]
fn neighbours() {
    let mut model = model();
    let (addr, mac) = ("10.0.0.2".parse().unwrap(), [2, 0, 0, 0, 0, 2]);
    let told = |state| [Change::Neighbour { iface: LAN, addr, state }];
    assert_eq!(feed(&mut model, REACHABLE), told(NeighbourState::Reachable(mac)));
    assert_eq!(feed(&mut model, STALE), told(NeighbourState::Stale(mac)));
    assert_eq!(feed(&mut model, FAILED), told(NeighbourState::Failed));
    assert_eq!(feed(&mut model, FORGOTTEN), [Change::NeighbourGone { iface: LAN, addr }]);
    assert_eq!(event(GROUP_NEIGHBOUR), None);
}

fn link(index: u32, up: bool, vlan: Option<(u32, u16, u16)>) -> Link {
    Link {
        index: IfIndex(index),
        name: format!("if{index}"),
        mac: [2, 0, 0, 0, 0, index as u8],
        mtu: 1500,
        up,
        group: 0,
        kind: String::new(),
        vlan: vlan.map(|(below, tpid, id)| (IfIndex(below), VlanTag { tpid, id })),
    }
}

/// Index, port, tags, up.
type Place = (u32, Option<u16>, Vec<(u16, u16)>, bool);

fn ifaces(changes: &[Change]) -> Vec<Place> {
    let told = changes.iter().map(|change| match change {
        Change::Iface(iface) => (
            iface.index.0,
            iface.port.map(|port| port.0),
            iface.vlan.iter().map(|tag| (tag.tpid, tag.id)).collect(),
            iface.up,
        ),
        other => panic!("{other:?}"),
    });
    let mut told: Vec<_> = told.collect();
    told.sort();
    told
}

#[test]
fn vlans_are_found_under_their_ports_however_deep_and_in_any_order() {
    let mut model = model();
    // The outer VLAN comes after the inner one, as after a move between namespaces.
    for link in [
        link(20, true, Some((21, 0x8100, 7))),
        link(22, true, Some((20, 0x8100, 8))),
        link(1, true, None),
        link(3, true, None),
        link(21, true, Some((3, 0x88a8, 100))),
        link(30, true, Some((1, 0x8100, 5))),
    ] {
        assert_eq!(model.take(Event::Link(link)), RoutesInDoubt(false));
    }
    assert_eq!(
        ifaces(&model.changes()),
        [
            (1, None, vec![], true),
            (3, Some(0), vec![], true),
            (20, Some(0), vec![(0x88a8, 100), (0x8100, 7)], true),
            (21, Some(0), vec![(0x88a8, 100)], true),
            // Three tags deep is the kernel's alone; so is a VLAN on what is no twin.
            (22, None, vec![], true),
            (30, None, vec![], true),
        ]
    );
    assert_eq!(model.take(Event::Link(link(3, false, None))), RoutesInDoubt(true));
    assert_eq!(ifaces(&model.changes()), [(3, Some(0), vec![], false)]);
    assert_eq!(model.take(Event::LinkGone(IfIndex(22))), RoutesInDoubt(true));
    assert_eq!(model.changes(), [Change::IfaceGone(IfIndex(22))]);
}

/// As `ip link add link lan name lan.100 type vlan proto 802.1ad id 100` is notified.
#[test]
fn a_vlan_link_message() {
    let mut message = LinkMessage::default();
    message.header.index = 21;
    message.header.flags = LinkFlags::Up | LinkFlags::LowerUp;
    message.attributes = vec![
        LinkAttribute::IfName("lan.100".to_owned()),
        LinkAttribute::Mtu(1496),
        LinkAttribute::Group(7),
        LinkAttribute::Address(vec![2, 0, 0, 0, 0, 1]),
        LinkAttribute::Link(3),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Vlan),
            LinkInfo::Data(InfoData::Vlan(vec![
                InfoVlan::Protocol(VlanProtocol::Ieee8021Ad),
                InfoVlan::Id(100),
            ])),
        ]),
    ];
    let mut payload = vec![0; message.buffer_len()];
    message.emit(&mut payload);
    let mut header = netlink_packet_core::NetlinkHeader::default();
    header.message_type = 16; // RTM_NEWLINK
    let expected = Link {
        index: IfIndex(21),
        name: "lan.100".to_owned(),
        mac: [2, 0, 0, 0, 0, 1],
        mtu: 1496,
        up: true,
        group: 7,
        kind: "vlan".to_owned(),
        vlan: Some((LAN, VlanTag { tpid: 0x88a8, id: 100 })),
    };
    assert_eq!(translate(&header, &payload).unwrap(), Some(Event::Link(expected.clone())));
    // Its parent stayed in another namespace: the number means nothing here.
    message.attributes.push(LinkAttribute::LinkNetNsId(0));
    let mut payload = vec![0; message.buffer_len()];
    message.emit(&mut payload);
    assert_eq!(
        translate(&header, &payload).unwrap(),
        Some(Event::Link(Link { vlan: None, ..expected }))
    );
}

#[test]
fn a_resync_tells_only_what_differs() {
    let mut model = model();
    let _ = model.take(Event::Link(link(3, true, None)));
    for hex in [ADDRESS, ADD, MULTIPATH, BLACKHOLE, REACHABLE] {
        let _ = model.take(event(hex).unwrap());
    }
    model.changes();
    // The kernel has lost a route and the neighbour meanwhile, and has one route more.
    let mut snapshot = Snapshot::default();
    snapshot.take(Event::Link(link(3, true, None)));
    for hex in [ADDRESS, MULTIPATH, BLACKHOLE, VIA_INET6] {
        snapshot.take(event(hex).unwrap());
    }
    model.replace(snapshot);
    let mut told = model.changes();
    told.sort_by_key(|change| format!("{change:?}"));
    assert_eq!(
        told,
        [
            Change::NeighbourGone { iface: LAN, addr: "10.0.0.2".parse().unwrap() },
            route("10.4.0.0/16", 0, RouteKind::Unicast, &[hop("fe80::1", 1)], None),
            gone("10.1.0.0/16", 50),
        ]
    );
    // Routes alone: the rest stays as it is.
    model.replace_routes(RouteSnapshot::default());
    let mut told = model.changes();
    told.sort_by_key(|change| format!("{change:?}"));
    assert_eq!(told, [gone("10.2.0.0/16", 0), gone("10.3.0.0/16", 0), gone("10.4.0.0/16", 0)]);
    assert_eq!(model.routes(), 0);
}

#[test]
fn a_dead_hop_is_left_out_and_a_route_without_hops_is_none() {
    let mut model = model();
    let Some(Event::Route(mut multipath, _)) = event(MULTIPATH) else { panic!() };
    let snapshot = |route: &super::translate::KernelRoute| RouteSnapshot {
        routes: vec![route.clone()],
        nexthops: vec![],
    };
    multipath.hops[0].dead = true;
    model.replace_routes(snapshot(&multipath));
    assert_eq!(
        model.changes(),
        [route("10.2.0.0/16", 0, RouteKind::Unicast, &[hop("10.0.0.3", 1)], None)]
    );
    multipath.hops[1].dead = true;
    model.replace_routes(snapshot(&multipath));
    assert_eq!(model.changes(), [gone("10.2.0.0/16", 0)]);
}

#[test]
fn every_truncated_message_is_an_error_and_no_panic() {
    for hex in [ADDRESS, ADD, MULTIPATH, APPEND6, NEXTHOP_1, GROUP_10, REACHABLE] {
        let bytes: Vec<u8> = (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect();
        for len in 0..bytes.len() {
            let mut short = bytes[..len].to_vec();
            if len >= 16 {
                short[..4].copy_from_slice(&(len as u32).to_ne_bytes());
            }
            for (header, payload) in messages(&short).flatten() {
                let _ = translate(&header, payload);
            }
        }
    }
}
