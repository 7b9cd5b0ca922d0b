//! The tour (ping, traceroute, TCP, a download; both families) over veth drivers, and VLAN interfaces.

use crate::Result;
use tests::{
    PortKind, Settings, Trio,
    addresses::{SERVER, SERVER6},
};

#[test]
fn af_packet_takes_the_tour() -> Result {
    let trio = Trio::new(PortKind::AfPacket, &Settings::default())?;
    trio.tour()?;
    trio.daemon.stop().map(|_| ())
}

#[test]
fn af_packet_takes_the_tour_with_two_polling_workers() -> Result {
    let trio = Trio::new(
        PortKind::AfPacket,
        &Settings { cores: vec![0, 1], idle: "poll", ..Settings::default() },
    )?;
    trio.tour()?;
    trio.daemon.stop().map(|_| ())
}

#[test]
fn af_xdp_takes_the_tour() -> Result {
    let trio = Trio::new(PortKind::AfXdp, &Settings::default())?;
    trio.tour()?;
    trio.daemon.stop().map(|_| ())
}

/// Runs a test of VLAN devices, here or, where this kernel has none, once more in an emulated machine with a kernel that has.
fn with_vlan_devices(name: &str, test: impl FnOnce() -> Result) -> Result {
    if tests::kernel_has_vlan_devices()? { test() } else { tests::run_in_vm(name) }
}

/// A VLAN interface on the twin routes what carries its tag, in both families; the server is outside of the VLAN.
fn vlan(kind: PortKind, client_links: &str, router_links: &str, dev: [&str; 2]) -> Result {
    let trio = Trio::new(kind, &Settings::default())?;
    let [client_dev, router_dev] = dev;
    trio.client.script(client_links)?;
    trio.router.script(router_links)?;
    trio.router.script(&format!(
        "ip address add 203.0.113.1/24 dev {router_dev}
         ip address add 2001:db8:100::1/64 dev {router_dev} nodad"
    ))?;
    trio.client.script(&format!(
        "ip address add 203.0.113.2/24 dev {client_dev}
         ip address add 2001:db8:100::2/64 dev {client_dev} nodad
         ip route replace {SERVER}/32 via 203.0.113.1
         ip -6 route replace {SERVER6}/128 via 2001:db8:100::1"
    ))?;
    trio.wait_for_paths()?;
    assert_eq!(trio.traceroute(SERVER)?, ["203.0.113.1", SERVER]);
    assert_eq!(trio.traceroute(SERVER6)?, ["2001:db8:100::1", SERVER6]);
    // An emulated machine is slow; a transfer that stalls is slower.
    assert!(trio.iperf(SERVER, 1, false)? > 1e6);
    assert!(trio.iperf(SERVER6, 1, true)? > 1e6);
    trio.client.sh("ping -n -c 1 -W 2 203.0.113.1")?;
    assert_eq!(trio.forwarded_by_kernel()?, 0);
    trio.daemon.stop().map(|_| ())
}

const CLIENT_VLAN: &str =
    "ip link add link eth0 name eth0.100 type vlan id 100\nip link set eth0.100 up";
const ROUTER_VLAN: &str =
    "ip link add link lan name lan.100 type vlan id 100\nip link set lan.100 up";

#[test]
fn a_vlan_interface_routes_over_af_packet() -> Result {
    with_vlan_devices("devices::a_vlan_interface_routes_over_af_packet", || {
        vlan(PortKind::AfPacket, CLIENT_VLAN, ROUTER_VLAN, ["eth0.100", "lan.100"])
    })
}

#[test]
fn a_vlan_in_a_service_vlan_routes() -> Result {
    // Two tags take eight bytes beside the twin's MTU of 1500, which the veth does not have: 1492 is left for both.
    let links = |dev: &str| {
        format!(
            "ip link add link {dev} name outer type vlan proto 802.1ad id 200
             ip link set outer up
             ip link add link outer name inner type vlan id 100
             ip link set inner mtu 1492 up"
        )
    };
    with_vlan_devices("devices::a_vlan_in_a_service_vlan_routes", || {
        vlan(PortKind::AfXdp, &links("eth0"), &links("lan"), ["inner", "inner"])
    })
}
