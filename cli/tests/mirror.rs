//! Mirror and resolver against the real kernel, in network namespaces of their own, driven by `ip`.
//!
//! They need root. Without it each test says so and passes; CI is root.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod netns;

use std::time::{Duration, Instant};

use cli::mirror::{Cause, Mirror, MirrorConfig, Resolver};
use cli::twin::Taps;
use dataplane::rib::{IfIndex, NeighbourState, NextHop, Rib, RouteKind, RouteTable};
use dataplane::tables::{PortMode, PortState};
use netns::{
    Net, State, Watch, arp_reply, echo_reply, inside, ip, ip_fails, ping, spec, try_ip,
    write_sysctl,
};
use packet::PortIndex;

const LAN: PortIndex = PortIndex(0);
const WAN: PortIndex = PortIndex(1);

fn hop(iface: IfIndex, via: &str, weight: u16) -> NextHop {
    NextHop { iface, via: Some(via.parse().unwrap()), weight }
}

#[test]
fn what_is_there_at_the_start_is_told_first() {
    inside(|_| {
        let taps = Taps::create(vec![spec(LAN, "lan")]).unwrap();
        let lan = taps.indices()[0].0;
        ip("addr add 10.0.0.1/24 dev lan");
        ip("route add 10.1.0.0/16 via 10.0.0.2 metric 7");
        ip("nexthop add id 5 via 10.0.0.3 dev lan");
        ip("route add 10.2.0.0/16 nhid 5");
        ip("neigh add 10.0.0.2 lladdr 02:00:00:00:00:02 dev lan nud permanent");
        let watch = Watch::start(&taps);
        let state = watch.until("the first batch", |_| true);
        assert_eq!(state.batches, [Cause::Start]);
        assert_eq!(state.ifaces[&lan].port, Some(LAN));
        assert_eq!((state.ifaces[&lan].mac, state.ifaces[&lan].mtu), ([2, 0, 0, 0, 0, 1], 1500));
        assert_eq!(state.main("10.1.0.0/16", 7).unwrap().next_hops, [hop(lan, "10.0.0.2", 1)]);
        assert_eq!(state.main("10.2.0.0/16", 0).unwrap().next_hops, [hop(lan, "10.0.0.3", 1)]);
        assert_eq!(
            state.route(RouteTable::Local, "10.0.0.1/32", 0).unwrap().kind,
            RouteKind::Local
        );
        let neighbour = state.neighbours[&(lan, "10.0.0.2".parse().unwrap())];
        assert_eq!(neighbour, NeighbourState::Reachable([2, 0, 0, 0, 0, 2]));
        // The loopback interface is nobody's port.
        assert!(state.ifaces.values().any(|iface| iface.name == "lo" && iface.port.is_none()));
    });
}

#[test]
fn routes_of_every_kind_come_change_and_go() {
    inside(|_| {
        let taps = Taps::create(vec![spec(LAN, "lan"), spec(WAN, "wan")]).unwrap();
        let watch = Watch::start(&taps);
        let (lan, wan) = (taps.indices()[0].0, taps.indices()[1].0);
        ip("addr add 10.0.0.1/24 dev lan");
        ip("addr add 10.9.0.1/24 dev wan");
        ip("addr add 2001:db8::1/64 dev lan nodad");
        ip("route add 10.1.0.0/16 via 10.0.0.2 mtu 1400");
        ip("route add 10.1.0.0/16 via 10.9.0.2 metric 20");
        ip("route add 10.2.0.0/16 nexthop via 10.0.0.2 weight 3 nexthop via 10.9.0.2 weight 1");
        ip("route add blackhole 10.3.0.0/16");
        ip("route add unreachable 10.4.0.0/16");
        ip("route add prohibit 10.5.0.0/16");
        ip("route add 10.6.0.0/16 via inet6 2001:db8::6 dev lan");
        ip("route add 10.7.0.0/16 dev wan");
        ip("-6 route add 2001:db8:1::/48 nexthop via 2001:db8::2 nexthop via 2001:db8::3 weight 2");
        ip("-6 route add blackhole 2001:db8:2::/48");
        ip("route add 10.8.0.0/16 via 10.0.0.2 table 77");
        ip("route add default via 10.0.0.254");
        let state = watch.until("the last of them", |state| state.main("0.0.0.0/0", 0).is_some());
        let first = state.main("10.1.0.0/16", 0).unwrap();
        assert_eq!((first.mtu, &first.next_hops[..]), (Some(1400), &[hop(lan, "10.0.0.2", 1)][..]));
        assert_eq!(state.main("10.1.0.0/16", 20).unwrap().next_hops, [hop(wan, "10.9.0.2", 1)]);
        let mut both = [hop(lan, "10.0.0.2", 3), hop(wan, "10.9.0.2", 1)];
        both.sort();
        assert_eq!(state.main("10.2.0.0/16", 0).unwrap().next_hops, both);
        let kind = |to| state.main(to, 0).unwrap().kind;
        assert_eq!(kind("10.3.0.0/16"), RouteKind::Blackhole);
        assert_eq!(kind("10.4.0.0/16"), RouteKind::Unreachable);
        assert_eq!(kind("10.5.0.0/16"), RouteKind::Prohibit);
        assert_eq!(state.main("10.6.0.0/16", 0).unwrap().next_hops, [hop(lan, "2001:db8::6", 1)]);
        assert_eq!(
            state.main("10.7.0.0/16", 0).unwrap().next_hops,
            [NextHop { iface: wan, via: None, weight: 1 }]
        );
        assert_eq!(
            state.main("2001:db8:1::/48", 1024).unwrap().next_hops,
            [hop(lan, "2001:db8::2", 1), hop(lan, "2001:db8::3", 2)]
        );
        assert_eq!(state.main("2001:db8:2::/48", 1024).unwrap().kind, RouteKind::Blackhole);
        assert!(state.main("10.8.0.0/16", 0).is_none());
        assert_eq!(
            state.route(RouteTable::Local, "10.0.0.255/32", 0).unwrap().kind,
            RouteKind::Broadcast
        );
        assert_eq!(
            state.route(RouteTable::Local, "2001:db8::1/128", 0).unwrap().kind,
            RouteKind::Local
        );

        ip("route change 10.1.0.0/16 via 10.0.0.3");
        ip("route replace 10.2.0.0/16 via 10.9.0.9");
        ip("route del blackhole 10.3.0.0/16");
        ip("-6 route del 2001:db8:1::/48 via 2001:db8::2");
        ip("-6 route append 2001:db8:2:1::/64 via 2001:db8::8");
        ip("-6 route append 2001:db8:2:1::/64 via 2001:db8::9");
        ip("route del default");
        let state =
            watch.until("the default route's end", |state| state.main("0.0.0.0/0", 0).is_none());
        let changed = state.main("10.1.0.0/16", 0).unwrap();
        assert_eq!((changed.mtu, &changed.next_hops[..]), (None, &[hop(lan, "10.0.0.3", 1)][..]));
        assert_eq!(state.main("10.2.0.0/16", 0).unwrap().next_hops, [hop(wan, "10.9.0.9", 1)]);
        assert!(state.main("10.3.0.0/16", 0).is_none());
        assert_eq!(
            state.main("2001:db8:1::/48", 1024).unwrap().next_hops,
            [hop(lan, "2001:db8::3", 2)]
        );
        assert_eq!(
            state.main("2001:db8:2:1::/64", 1024).unwrap().next_hops,
            [hop(lan, "2001:db8::8", 1), hop(lan, "2001:db8::9", 1)]
        );
        watch.agrees_with_the_kernel();
    });
}

#[test]
fn neighbours_come_change_and_go() {
    inside(|_| {
        let taps = Taps::create(vec![spec(LAN, "lan")]).unwrap();
        let watch = Watch::start(&taps);
        let lan = taps.indices()[0].0;
        for addr in ["10.0.0.2", "2001:db8::2"] {
            let key = (lan, addr.parse().unwrap());
            let mac = [2, 0, 0, 0, 0, 2];
            let is =
                |state: NeighbourState| move |s: &State| s.neighbours.get(&key) == Some(&state);
            ip(&format!("neigh add {addr} lladdr 02:00:00:00:00:02 dev lan nud reachable"));
            watch.until("reachable", is(NeighbourState::Reachable(mac)));
            ip(&format!("neigh change {addr} lladdr 02:00:00:00:00:02 dev lan nud stale"));
            watch.until("stale", is(NeighbourState::Stale(mac)));
            ip(&format!("neigh change {addr} lladdr 02:00:00:00:00:03 dev lan nud permanent"));
            watch.until("moved", is(NeighbourState::Reachable([2, 0, 0, 0, 0, 3])));
            ip(&format!("neigh change {addr} dev lan nud failed"));
            watch.until("failed", is(NeighbourState::Failed));
            ip(&format!("neigh del {addr} dev lan"));
            watch.until("forgotten", |state| !state.neighbours.contains_key(&key));
        }
    });
}

#[test]
fn a_link_that_goes_down_takes_its_routes_with_it() {
    inside(|_| {
        let taps = Taps::create(vec![spec(LAN, "lan"), spec(WAN, "wan")]).unwrap();
        let watch = Watch::start(&taps);
        let (lan, wan) = (taps.indices()[0].0, taps.indices()[1].0);
        ip("addr add 10.0.0.1/24 dev lan");
        ip("addr add 10.9.0.1/24 dev wan");
        ip("addr add 10.9.5.1/32 dev wan");
        ip("route add 10.1.0.0/16 via 10.0.0.2");
        ip("route add 10.2.0.0/16 nexthop via 10.0.0.2 nexthop via 10.9.0.2");
        ip("route add 10.3.0.0/16 via 10.0.0.3 src 10.9.5.1");
        watch.until("the last route", |state| state.main("10.3.0.0/16", 0).is_some());
        // The kernel removes the route that prefers the address, without saying so.
        ip("addr del 10.9.5.1/32 dev wan");
        watch.until("the address's route to go", |state| state.main("10.3.0.0/16", 0).is_none());

        ip("link set lan down");
        let state = watch.until("lan's routes to go", |state| {
            state.main("10.1.0.0/16", 0).is_none() && !state.ifaces[&lan].up
        });
        assert!(state.ifaces[&wan].up);
        watch.until("the surviving hop", |state| {
            state
                .main("10.2.0.0/16", 0)
                .is_some_and(|route| route.next_hops == [hop(wan, "10.9.0.2", 1)])
        });
        watch.agrees_with_the_kernel();
        ip("link set lan up");
        watch.until("both hops again", |state| {
            state.main("10.2.0.0/16", 0).is_some_and(|route| route.next_hops.len() == 2)
                && state.main("10.0.0.0/24", 0).is_some()
        });
        watch.agrees_with_the_kernel();
        ip("link del lan");
        watch.until("lan to go", |state| !state.ifaces.contains_key(&lan));
        watch.agrees_with_the_kernel();
    });
}

#[test]
fn nexthop_objects_and_groups() {
    inside(|_| {
        let taps = Taps::create(vec![spec(LAN, "lan")]).unwrap();
        let watch = Watch::start(&taps);
        let lan = taps.indices()[0].0;
        // As FRR's users may have it: routes are not said again when a nexthop object changes.
        write_sysctl("net/ipv4/nexthop_compat_mode", "0");
        ip("addr add 10.0.0.1/24 dev lan");
        ip("addr add 2001:db8::1/64 dev lan nodad");
        ip("nexthop add id 1 via 10.0.0.2 dev lan");
        ip("nexthop add id 2 via 10.0.0.3 dev lan");
        ip("nexthop add id 3 blackhole");
        ip("nexthop add id 6 via 2001:db8::2 dev lan");
        ip("nexthop add id 10 group 1/2,5");
        ip("route add 10.1.0.0/16 nhid 1");
        ip("route add 10.2.0.0/16 nhid 10");
        ip("route add 10.3.0.0/16 nhid 3");
        ip("-6 route add 2001:db8:1::/48 nhid 6");
        let state =
            watch.until("the routes", |state| state.main("2001:db8:1::/48", 1024).is_some());
        assert_eq!(state.main("10.1.0.0/16", 0).unwrap().next_hops, [hop(lan, "10.0.0.2", 1)]);
        assert_eq!(
            state.main("10.2.0.0/16", 0).unwrap().next_hops,
            [hop(lan, "10.0.0.2", 1), hop(lan, "10.0.0.3", 5)]
        );
        assert_eq!(state.main("10.3.0.0/16", 0).unwrap().kind, RouteKind::Blackhole);
        assert_eq!(
            state.main("2001:db8:1::/48", 1024).unwrap().next_hops,
            [hop(lan, "2001:db8::2", 1)]
        );
        ip("nexthop replace id 1 via 10.0.0.9 dev lan");
        let state = watch.until("the replaced object", |state| {
            state
                .main("10.1.0.0/16", 0)
                .is_some_and(|route| route.next_hops == [hop(lan, "10.0.0.9", 1)])
        });
        assert_eq!(
            state.main("10.2.0.0/16", 0).unwrap().next_hops,
            [hop(lan, "10.0.0.3", 5), hop(lan, "10.0.0.9", 1)]
        );
        ip("nexthop del id 1");
        let state = watch.until("its route to go", |state| state.main("10.1.0.0/16", 0).is_none());
        assert_eq!(state.main("10.2.0.0/16", 0).unwrap().next_hops, [hop(lan, "10.0.0.3", 5)]);
        write_sysctl("net/ipv4/nexthop_compat_mode", "1"); // for `ip route` to show the hops
        watch.agrees_with_the_kernel();
    });
}

#[test]
fn vlans_on_a_twin() {
    inside(|_| {
        let taps = Taps::create(vec![spec(LAN, "lan")]).unwrap();
        let watch = Watch::start(&taps);
        if ip_fails("link add link lan name lan.100 type vlan proto 802.1ad id 100") {
            eprintln!("SKIPPED: this kernel has no VLAN devices (CONFIG_VLAN_8021Q)");
            return;
        }
        ip("link set lan.100 up");
        ip("link add link lan.100 name lan.100.7 type vlan id 7");
        ip("link set lan.100.7 up");
        ip("addr add 10.7.0.1/24 dev lan.100.7");
        let state = watch.until("the VLANs", |state| {
            state.ifaces.values().any(|iface| iface.name == "lan.100.7" && iface.up)
        });
        let tags = |name: &str| {
            let iface = state.ifaces.values().find(|iface| iface.name == name).unwrap();
            assert_eq!(iface.port, Some(LAN));
            iface.vlan.iter().map(|tag| (tag.tpid, tag.id)).collect::<Vec<_>>()
        };
        assert_eq!(tags("lan.100"), [(0x88a8, 100)]);
        assert_eq!(tags("lan.100.7"), [(0x88a8, 100), (0x8100, 7)]);
        ip("link del lan.100");
        watch.until("both to go", |state| {
            !state.ifaces.values().any(|iface| iface.name.starts_with("lan."))
        });
        // What the kernel sends on a VLAN carries its tag; what a device stripped of it gets it back.
        let net = Net::start(taps);
        ip("link add link lan name lan.7 type vlan id 7");
        ip("link set lan.7 up");
        ip("addr add 10.0.0.1/24 dev lan.7");
        let neighbour =
            net.serve(|frame| arp_reply(frame).or_else(|| echo_reply(frame)), &[5, 14], Some(7));
        assert!(ping("-c 3 -i 0.1 -W 2 10.0.0.2"));
        assert!(neighbour.stop() >= 4);
        net.nothing_leaks();
    });
}

/// Commands at random, many of which the kernel refuses; whatever they come to, the mirror comes to the same.
#[test]
fn whatever_is_done_the_mirror_agrees_with_the_kernel() {
    inside(|_| {
        let taps = Taps::create(vec![spec(LAN, "lan"), spec(WAN, "wan")]).unwrap();
        let watch = Watch::start(&taps);
        let setup = || {
            for (at, dev) in ["lan", "wan"].iter().enumerate() {
                try_ip(&format!("link set {dev} up"));
                try_ip(&format!("addr add 10.0.{at}.1/24 dev {dev}"));
                try_ip(&format!("addr add 2001:db8:{at}::1/64 dev {dev} nodad"));
            }
        };
        // Another seed: MIRROR_SEED=42.
        let seed = std::env::var("MIRROR_SEED").map_or(1, |seed| seed.parse().unwrap());
        let mut random = 0x7477_696e_7761_6c6c ^ (seed << 1);
        let mut below = |n: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % n
        };
        for round in 0..12 {
            setup();
            for _ in 0..40 {
                let (verb, six) = (below(16), below(2) == 1);
                let dev = ["lan", "wan"][below(2) as usize];
                let gateway = |dev: u64, host: u64| match six {
                    true => format!("2001:db8:{dev}::{host}"),
                    false => format!("10.0.{dev}.{host}"),
                };
                let to = match six {
                    true => format!("2001:db8:f{}::/48", below(4)),
                    false => format!("10.1{}.0.0/16", below(4)),
                };
                let hop = format!("via {}", gateway(below(2), 2 + below(3)));
                let other = format!("via {}", gateway(below(2), 2 + below(3)));
                let family = if six { "-6" } else { "-4" };
                let id = 1 + below(4);
                let metric = ["", " metric 7", " metric 2000"][below(3) as usize];
                try_ip(&match verb {
                    0..3 => format!("{family} route add {to} {hop}{metric}"),
                    3 => format!("{family} route append {to} {hop}{metric}"),
                    4 => format!("{family} route prepend {to} {hop}{metric}"),
                    5 => format!("{family} route replace {to} {hop}{metric}"),
                    6 => format!("{family} route change {to} {hop}{metric}"),
                    7 => format!(
                        "{family} route replace {to}{metric} nexthop {hop} nexthop {other} weight 3"
                    ),
                    8 => format!("{family} route del {to} {hop}{metric}"),
                    9 => format!("{family} route del {to}{metric}"),
                    10 => format!("{family} route replace blackhole {to}{metric}"),
                    11 => format!("{family} nexthop replace id {id} {hop} dev {dev}"),
                    12 => format!("{family} route replace {to} nhid {id}{metric}"),
                    13 => format!("nexthop del id {id}"),
                    14 if below(4) == 0 => format!("link set {dev} down"),
                    14 => format!("link set {dev} up"),
                    _ if below(4) == 0 => format!("addr flush dev {dev}"),
                    _ => format!("{family} route add {to} dev {dev}{metric}"),
                });
            }
            println!("round {round}: {} routes", watch.state().routes.len());
            watch.agrees_with_the_kernel();
        }
    });
}

#[test]
fn an_overrun_ends_in_the_kernels_state() {
    inside(|dir| {
        let taps = Taps::create(vec![spec(LAN, "lan")]).unwrap();
        ip("addr add 10.0.0.1/24 dev lan");
        let watch = Watch::start_with(
            &taps,
            MirrorConfig { receive_buffer: 4096, ..MirrorConfig::new(taps.indices()) },
            Duration::from_millis(50),
        );
        netns::batch(
            dir,
            (0..5000)
                .map(|i| format!("route add 172.{}.{}.0/24 via 10.0.0.2", 16 + i / 256, i % 256)),
        );
        netns::batch(
            dir,
            (0..2500)
                .map(|i| format!("route del 172.{}.{}.0/24 via 10.0.0.2", 16 + i / 256, i % 256)),
        );
        ip("route add 10.1.0.0/16 via 10.0.0.2");
        watch.until("the last route", |state| {
            state.main("10.1.0.0/16", 0).is_some()
                && state.routes.keys().filter(|key| key.1.len == 24).count() == 2501
        });
        assert!(watch.mirror.stats().overruns() > 0, "the test did not make it overrun");
        assert!(watch.state().batches.contains(&Cause::Resync));
        watch.agrees_with_the_kernel();
    });
}

#[test]
fn the_resolver_has_the_kernel_ask_and_the_mirror_hears_the_answer() {
    inside(|_| {
        let taps = Taps::create(vec![spec(LAN, "lan")]).unwrap();
        let watch = Watch::start(&taps);
        let net = Net::start(taps);
        let lan = net.index(LAN);
        ip("addr add 10.0.0.1/24 dev lan");
        ip("addr add 2001:db8::1/64 dev lan nodad");
        write_sysctl("net/ipv4/neigh/lan/delay_first_probe_time", "1");
        let resolver = Resolver::spawn().unwrap();

        // Unknown: the kernel asks everybody, on the twin.
        let (addr, mac) = ("10.0.0.2".parse().unwrap(), [2, 0, 0, 0, 0, 2]);
        let is =
            |state: NeighbourState| move |s: &State| s.neighbours.get(&(lan, addr)) == Some(&state);
        for _ in 0..100 {
            resolver.ask(lan, addr);
        }
        let request = net.expect("an ARP request", |frame| {
            frame[12..14] == [8, 6] && frame[38..42] == [10, 0, 0, 2]
        });
        assert_eq!(request[..6], [0xff; 6]);
        netns::until("one request", || resolver.stats().sent() == 1);
        net.send(LAN, net.pool.frame(&arp_reply(&request).unwrap()).unwrap());
        watch.until("the answer", is(NeighbourState::Reachable(mac)));

        // Stale: the kernel probes it, by unicast, once its delay is over.
        ip("neigh change 10.0.0.2 lladdr 02:00:00:00:00:02 dev lan nud stale");
        watch.until("stale", is(NeighbourState::Stale(mac)));
        std::thread::sleep(Duration::from_secs(1)); // the rate limit
        resolver.ask(lan, addr);
        let probe = net
            .expect("a probe", |frame| frame[12..14] == [8, 6] && frame[38..42] == [10, 0, 0, 2]);
        assert_eq!(probe[..6], mac);
        net.send(LAN, net.pool.frame(&arp_reply(&probe).unwrap()).unwrap());
        watch.until("confirmed", is(NeighbourState::Reachable(mac)));

        // IPv6: a neighbour solicitation to the solicited-node group; without an answer it fails.
        let addr6 = "2001:db8::2".parse().unwrap();
        resolver.ask(lan, addr6);
        let solicitation = net.expect("a neighbour solicitation", |frame| {
            frame[12..14] == [0x86, 0xdd]
                && frame[20] == 58
                && frame[54] == 135
                && frame[62..78] == [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]
        });
        assert_eq!(solicitation[..6], [0x33, 0x33, 0xff, 0, 0, 2]);
        watch.until("failed", |state| {
            state.neighbours.get(&(lan, addr6)) == Some(&NeighbourState::Failed)
        });

        // Nobody to ask on an interface that is not there.
        resolver.ask(IfIndex(9999), addr);
        netns::until("a refusal", || resolver.stats().refused() == 1);
        assert_eq!(resolver.stats().sent(), 4);
        net.nothing_leaks();
    });
}

#[test]
fn a_hundred_thousand_routes_cost_few_batches() {
    const ROUTES: usize = 100_000;
    inside(|dir| {
        let taps = Taps::create(vec![spec(LAN, "lan")]).unwrap();
        ip("addr add 10.0.0.1/24 dev lan");
        let watch = Watch::start(&taps);
        watch.until("the first batch", |_| true);
        let line = |verb: &str, i: usize| {
            format!(
                "route {verb} {}.{}.{}.0/24 via 10.0.0.2",
                100 + i / 65536,
                (i / 256) % 256,
                i % 256
            )
        };
        for verb in ["add", "del"] {
            let before = (watch.mirror.stats().batches(), watch.mirror.stats().overruns());
            let started = Instant::now();
            netns::batch(dir, (0..ROUTES).map(|i| line(verb, i)));
            let by_ip = started.elapsed();
            let want = if verb == "add" { ROUTES } else { 0 };
            watch.until("all of them", |state| {
                state.routes.keys().filter(|key| matches!(key.1.addr, std::net::IpAddr::V4(addr) if (100..102).contains(&addr.octets()[0]))).count() == want
            });
            let took = started.elapsed();
            let batches = watch.mirror.stats().batches() - before.0;
            println!(
                "{verb}: {ROUTES} routes in {took:?} (ip alone {by_ip:?}), {:.0} routes/s, {batches} batches, {} overruns",
                ROUTES as f64 / took.as_secs_f64(),
                watch.mirror.stats().overruns() - before.1,
            );
            assert!(batches < ROUTES as u64 / 100, "{batches} batches");
        }
        // What the mirror itself takes, without `ip`: dump, translate and tell all of them, to an owner that applies them
        // to a Rib and publishes.
        netns::batch(dir, (0..ROUTES).map(|i| line("add", i)));
        let (told, started) = (std::sync::mpsc::channel(), Instant::now());
        let mut rib = Rib::new(vec![PortState {
            mode: PortMode::Routed,
            up: true,
            max_frame: 1522,
            vlan_insert: false,
        }]);
        let _second = Mirror::spawn(MirrorConfig::new(taps.indices()), move |batch| {
            let (changes, at) = (batch.changes.len(), started.elapsed());
            batch.changes.into_iter().for_each(|change| rib.apply(change));
            let tables = rib.publish();
            told.0.send((changes, at, started.elapsed(), tables)).unwrap();
        })
        .unwrap();
        let (changes, at, published, tables) =
            told.1.recv_timeout(Duration::from_secs(30)).unwrap();
        assert!(tables.is_some() && changes > ROUTES);
        println!(
            "start: {changes} changes dumped and translated in {at:?} ({:.0} per second), applied and published {:?} later",
            changes as f64 / at.as_secs_f64(),
            published - at,
        );
        println!(
            "processor time of the first mirror's thread, per route said: {:?}",
            netns::cpu_of("mirror") / (3 * ROUTES as u32)
        );
    });
}

#[test]
fn a_route_is_told_soon() {
    inside(|_| {
        let taps = Taps::create(vec![spec(LAN, "lan")]).unwrap();
        ip("addr add 10.0.0.1/24 dev lan");
        let watch = Watch::start(&taps);
        watch.until("the first batch", |_| true);
        let mut after_ip = Vec::new();
        for i in 0..20 {
            let to = format!("10.{}.0.0/16", i + 1);
            ip(&format!("route add {to} via 10.0.0.2"));
            // `ip` has exited: its own time is not the mirror's. It may already be there.
            let exited = Instant::now();
            watch.until("the route", |state| state.main(&to, 0).is_some());
            after_ip.push(exited.elapsed());
        }
        after_ip.sort();
        println!(
            "from the exit of `ip route add` to its batch: median {:?}, longest {:?}",
            after_ip[10], after_ip[19]
        );
        assert!(after_ip[10] < Duration::from_millis(50), "{after_ip:?}");
    });
}

#[test]
fn a_mirror_without_twins_stops_at_once() {
    inside(|_| {
        let mirror = Mirror::spawn(MirrorConfig::new(vec![]), |_| ()).unwrap();
        let started = Instant::now();
        drop(mirror);
        assert!(started.elapsed() < Duration::from_secs(1));
        drop(Resolver::spawn().unwrap());
        assert!(started.elapsed() < Duration::from_secs(1));
    });
}
