//! Virtio in both roles: against virtio_user endpoints, and against a real Open vSwitch; with either end killed and restarted.

use crate::Result;
use std::time::Duration;
use tests::{
    Ends, Lab, OpenVswitch, PortKind, Settings, Testpmd, Trio, Wire, addresses::SERVER, wait_until,
};

/// The client behind a virtio_user endpoint, our side `net_vhost…,client=1`; the server on a veth.
pub(crate) fn vhost() -> Result<(Trio, Testpmd)> {
    let mut lab = Lab::new()?;
    let [client, router, server] = Trio::namespaces(&mut lab)?;
    let socket = lab.scratch().join("lan.sock");
    let endpoint = Testpmd::virtio_user(&client, &socket, "eth0")?;
    let lan = Wire::new("lan", format!("net_vhost0,iface={},client=1", socket.display()));
    let wan = Wire::veth(
        &lab,
        "wan",
        PortKind::AfPacket,
        Ends { router: &router, host: &server, dev: "eth0" },
    )?;
    let trio = Trio::with(lab, [client, router, server], &Settings::default(), &[&lan, &wan])?;
    Ok((trio, endpoint))
}

/// The client is the host of an Open vSwitch with DPDK, our side `net_virtio_user…,server=1`; the server on a veth.
fn switch() -> Result<(Trio, OpenVswitch)> {
    let mut lab = Lab::new()?;
    let [client, router, server] = Trio::namespaces(&mut lab)?;
    let socket = lab.scratch().join("lan.sock");
    let switch = OpenVswitch::start(&lab, &client)?;
    switch.bridge("eth0", &socket)?;
    // Without a MAC address of its own the device makes one up at each start, and neighbours take half a minute to learn it.
    let device = format!(
        "net_virtio_user0,path={},server=1,queue_size=1024,mac=02:00:00:00:00:0a",
        socket.display()
    );
    let lan = Wire::new("lan", device);
    let wan = Wire::veth(
        &lab,
        "wan",
        PortKind::AfPacket,
        Ends { router: &router, host: &server, dev: "eth0" },
    )?;
    let trio = Trio::with(lab, [client, router, server], &Settings::default(), &[&lan, &wan])?;
    Ok((trio, switch))
}

/// Waits until the daemon sees the port's link as `up` or not, and its twin's carrier says the same.
fn wait_for_link(trio: &Trio, up: bool) -> Result {
    wait_until(
        if up { "the link to be up" } else { "the link to be down" },
        Duration::from_secs(10),
        || {
            let ports = trio.daemon.json("ports")?;
            let port =
                ports.pointer("/ports/0/up").and_then(serde_json::Value::as_bool) == Some(true);
            let carrier = !trio.router.sh("ip link show lan")?.has("NO-CARRIER");
            Ok(port == up && carrier == up)
        },
    )
}

#[test]
fn vhost_takes_the_tour() -> Result {
    let (trio, _endpoint) = vhost()?;
    trio.tour()?;
    trio.daemon.stop().map(|_| ())
}

#[test]
fn vhost_resumes_after_the_endpoint_was_killed() -> Result {
    let (trio, mut endpoint) = vhost()?;
    endpoint.kill();
    wait_for_link(&trio, false)?;
    endpoint.restart()?;
    Trio::address_client(&trio.client)?;
    trio.wait_for_paths()?;
    wait_for_link(&trio, true)?;
    assert!(trio.iperf(SERVER, 1, false)? > 10e6);
    trio.daemon.stop().map(|_| ())
}

#[test]
fn vhost_resumes_after_the_daemon_was_killed() -> Result {
    let (mut trio, _endpoint) = vhost()?;
    trio.daemon.kill();
    trio.daemon.restart()?;
    Trio::address_twins(&trio.router)?;
    trio.wait_for_paths()?;
    assert!(trio.iperf(SERVER, 1, true)? > 10e6);
    trio.daemon.stop().map(|_| ())
}

#[test]
fn open_vswitch_takes_the_tour() -> Result {
    let (trio, _switch) = switch()?;
    trio.tour()?;
    trio.daemon.stop().map(|_| ())
}

#[test]
fn virtio_user_resumes_after_the_switch_was_killed() -> Result {
    let (trio, mut switch) = switch()?;
    switch.kill();
    wait_for_link(&trio, false)?;
    switch.restart()?;
    Trio::address_client(&trio.client)?;
    trio.wait_for_paths()?;
    assert!(trio.iperf(SERVER, 1, false)? > 10e6);
    trio.daemon.stop().map(|_| ())
}

#[test]
fn virtio_user_resumes_after_the_daemon_was_killed() -> Result {
    let (mut trio, _switch) = switch()?;
    trio.daemon.kill();
    trio.daemon.restart()?;
    Trio::address_twins(&trio.router)?;
    trio.wait_for_paths()?;
    assert!(trio.iperf(SERVER, 1, true)? > 10e6);
    trio.daemon.stop().map(|_| ())
}
