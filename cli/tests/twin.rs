//! Twins against the real kernel, in network namespaces of their own, driven by `ip` and `ping`.
//!
//! They need root. Without it each test says so and passes; CI is root.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod netns;

use std::time::Duration;

use cli::twin::{Taps, TwinError, TwinSpec};
use netns::{Net, Watch, arp_reply, echo_reply, inside, ip, ip_fails, ping, spec};
use packet::{PortIndex, RxMeta};

const LAN: PortIndex = PortIndex(0);
const WAN: PortIndex = PortIndex(1);

#[test]
fn a_twin_is_what_its_port_is_and_vanishes_with_the_daemon() {
    inside(|_| {
        let taps = Taps::create(vec![TwinSpec { mtu: 9000, ..spec(LAN, "lan") }, spec(WAN, "wan")])
            .unwrap();
        let shown = ip("-o link show lan");
        for part in ["mtu 9000", "02:00:00:00:00:01", "UP", "LOWER_UP"] {
            assert!(shown.contains(part), "no {part} in {shown}");
        }
        assert!(ip("-o link show wan").contains("mtu 1500"));
        let net = Net::start(taps);
        drop(net);
        assert!(ip_fails("link show lan"));
        assert!(ip_fails("link show wan"));
    });
}

#[test]
fn a_twin_that_cannot_be_made_says_why() {
    inside(|_| {
        ip("link add taken type veth peer name other");
        assert!(matches!(Taps::create(vec![spec(LAN, "taken")]), Err(TwinError::NameTaken { .. })));
        ip("tuntap add idle mode tap");
        assert!(matches!(Taps::create(vec![spec(LAN, "idle")]), Err(TwinError::NameTaken { .. })));
        for name in ["", "sixteen-letters!", "a b", "a/b", ".", "..", "a:1", "tap%d"] {
            assert!(
                matches!(Taps::create(vec![spec(LAN, name)]), Err(TwinError::BadName { .. })),
                "{name:?}"
            );
        }
        let twice = Taps::create(vec![spec(LAN, "one"), spec(LAN, "two")]);
        assert!(matches!(twice, Err(TwinError::BadPort { port: LAN, .. })));
        drop(twice);
        assert!(ip_fails("link show one"), "what was made before the error vanishes");
        let multicast = TwinSpec { mac: [1, 0, 0x5e, 0, 0, 1], ..spec(LAN, "lan") };
        let error = Taps::create(vec![multicast]).err().unwrap();
        assert!(error.to_string().contains("set MAC address and MTU of lan"), "{error}");
        // Without the capability, in this thread alone.
        let mut sets = rustix::thread::capabilities(None).unwrap();
        sets.effective.remove(rustix::thread::CapabilitySet::NET_ADMIN);
        rustix::thread::set_capabilities(None, sets).unwrap();
        let error = Taps::create(vec![spec(LAN, "lan")]).err().unwrap();
        assert!(matches!(error, TwinError::NotAllowed { .. }), "{error}");
        assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
    });
}

#[test]
fn the_kernel_pings_through_its_twin() {
    inside(|_| {
        let net = Net::start(Taps::create(vec![spec(LAN, "lan")]).unwrap());
        ip("addr add 10.0.0.1/24 dev lan");
        // The neighbour is this test: it answers ARP and echo, in frames of several segments.
        let neighbour =
            net.serve(|frame| arp_reply(frame).or_else(|| echo_reply(frame)), &[7, 13, 40], None);
        assert!(ping("-c 5 -i 0.05 -W 2 10.0.0.2"));
        // 3,000 bytes: what the kernel sends fills several segments of the pool's frames, or two packets.
        ip("link set lan mtu 4000");
        assert!(ping("-c 2 -i 0.05 -W 2 -s 3000 10.0.0.2"));
        assert!(neighbour.stop() >= 8);
        let stats = net.twins.stats(LAN).unwrap();
        assert!(stats.to_kernel.get() >= 8 && stats.from_kernel.get() >= 8, "{stats:?}");
        assert_eq!(
            (stats.no_memory.get(), stats.queue_full.get(), stats.kernel_refused.get()),
            (0, 0, 0)
        );
        net.nothing_leaks();
    });
}

#[test]
fn a_twin_counts_what_it_cannot_carry() {
    inside(|_| {
        let net = Net::start(Taps::create(vec![spec(LAN, "lan")]).unwrap());
        let stats = net.twins.stats(LAN).unwrap().clone();
        // Too short for an Ethernet header, and a tag to put back where there is no place for it.
        net.send(LAN, net.pool.frame(&[0; 13]).unwrap());
        let mut stripped = net.pool.frame(&[0; 11]).unwrap();
        stripped.set_rx_meta(RxMeta { vlan_tci: Some(7), ..RxMeta::default() });
        net.send(LAN, stripped);
        netns::until("refused frames", || stats.kernel_refused.get() == 2);
        ip("link set lan down");
        net.send(LAN, net.pool.frame(&[0; 60]).unwrap());
        netns::until("a frame refused by a twin that is down", || stats.kernel_refused.get() == 3);
        ip("link set lan up");
        // Nobody serves the worker's queue: it fills, the rest is dropped and counted.
        ip("addr add 10.0.0.1/24 dev lan");
        ip("neigh replace 10.0.0.2 lladdr 02:00:00:00:00:02 dev lan");
        ping("-f -c 400 -W 1 10.0.0.2");
        netns::until("a full queue", || stats.queue_full.get() > 0);
        assert_eq!(net.queues.from_twin.len(), net.queues.from_twin.capacity());
        while net.queues.from_twin.pop().is_some() {}
        // An empty pool.
        let all: Vec<_> = std::iter::from_fn(|| net.pool.frame(&[0])).collect();
        ping("-c 1 -W 1 10.0.0.2");
        netns::until("an empty pool", || stats.no_memory.get() > 0);
        drop(all);
        net.nothing_leaks();
    });
}

#[test]
fn a_deleted_twin_leaves_the_others_alone() {
    inside(|_| {
        let net = Net::start(Taps::create(vec![spec(LAN, "lan"), spec(WAN, "wan")]).unwrap());
        ip("link del lan");
        std::thread::sleep(Duration::from_millis(50));
        let before = netns::cpu_of("twin");
        ip("addr add 10.0.0.1/24 dev wan");
        let neighbour =
            net.serve(|frame| arp_reply(frame).or_else(|| echo_reply(frame)), &[], None);
        assert!(ping("-c 3 -i 0.1 -W 2 10.0.0.2"));
        neighbour.stop();
        std::thread::sleep(Duration::from_millis(300));
        let used = netns::cpu_of("twin") - before;
        assert!(used < Duration::from_millis(400), "the twin thread spins: {used:?}");
    });
}

#[test]
fn the_carrier_follows_the_port_and_the_mirror_says_so() {
    inside(|_| {
        let taps = Taps::create(vec![TwinSpec { link_up: false, ..spec(LAN, "lan") }]).unwrap();
        let watch = Watch::start(&taps);
        let mut net = Net::start(taps);
        let lan = net.index(LAN);
        watch.until("the twin without carrier", |state| {
            state.ifaces.get(&lan).is_some_and(|iface| !iface.up)
        });
        net.twins.set_link(LAN, true).unwrap();
        watch.until("its carrier", |state| state.ifaces[&lan].up);
        net.twins.set_link(LAN, false).unwrap();
        watch.until("its loss", |state| !state.ifaces[&lan].up);
        assert!(ip("-o link show lan").contains("NO-CARRIER"));
        assert!(matches!(net.twins.set_link(WAN, true), Err(TwinError::BadPort { port: WAN, .. })));
    });
}
