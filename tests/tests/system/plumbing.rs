//! The laboratory itself, with testpmd in the daemon's place: when these fail, look at the machine, not at twinwall.
//!
//! They say nothing about twinwall, so they run on demand: `cargo nextest run -p tests --run-ignored only plumbing`.

use crate::Result;
use std::time::Duration;
use tests::{Ends, Lab, Netns, OpenVswitch, PortKind, Testpmd, Wire, wait_until};

/// Both hosts in one network, for testpmd forwards frames and no more.
fn address(client: &Netns, server: &Netns) -> Result {
    wait_until("the client's eth0", Duration::from_secs(15), || {
        client.sh("ip link show eth0").map(|_| true)
    })?;
    for (host, address) in [(client, "192.0.2.2/24"), (server, "192.0.2.3/24")] {
        host.script(&format!("ip link set eth0 up\nip address replace {address} dev eth0"))?;
    }
    Ok(())
}

fn answers(client: &Netns) -> Result {
    wait_until("the server to answer", Duration::from_secs(15), || {
        client.sh("ping -n -c 1 -W 1 192.0.2.3").map(|_| true)
    })
}

fn veth(kind: PortKind) -> Result {
    let mut lab = Lab::new()?;
    let (client, router, server) =
        (lab.netns("client")?, lab.netns("router")?, lab.netns("server")?);
    let lan = Wire::veth(&lab, "lan", kind, Ends { router: &router, host: &client, dev: "eth0" })?;
    let wan = Wire::veth(&lab, "wan", kind, Ends { router: &router, host: &server, dev: "eth0" })?;
    let _wire = Testpmd::start(&router, [lan.device, wan.device])?;
    address(&client, &server)?;
    answers(&client)
}

#[test]
#[ignore = "it diagnoses the machine"]
fn af_packet_carries_frames() -> Result {
    veth(PortKind::AfPacket)
}

#[test]
#[ignore = "it diagnoses the machine"]
fn af_xdp_carries_frames() -> Result {
    veth(PortKind::AfXdp)
}

#[test]
#[ignore = "it diagnoses the machine"]
fn vhost_and_virtio_user_carry_frames() -> Result {
    let mut lab = Lab::new()?;
    let (client, router, server) =
        (lab.netns("client")?, lab.netns("router")?, lab.netns("server")?);
    let socket = lab.scratch().join("lan.sock");
    let _endpoint = Testpmd::virtio_user(&client, &socket, "eth0")?;
    let wan = Wire::veth(
        &lab,
        "wan",
        PortKind::AfPacket,
        Ends { router: &router, host: &server, dev: "eth0" },
    )?;
    let lan = format!("net_vhost0,client=1,iface={}", socket.display());
    let _wire = Testpmd::start(&router, [lan, wan.device])?;
    address(&client, &server)?;
    answers(&client)
}

#[test]
#[ignore = "it diagnoses the machine"]
fn open_vswitch_and_virtio_user_carry_frames() -> Result {
    let mut lab = Lab::new()?;
    let (client, router, server) =
        (lab.netns("client")?, lab.netns("router")?, lab.netns("server")?);
    let socket = lab.scratch().join("lan.sock");
    let wan = Wire::veth(
        &lab,
        "wan",
        PortKind::AfPacket,
        Ends { router: &router, host: &server, dev: "eth0" },
    )?;
    let switch = OpenVswitch::start(&lab, &client)?;
    switch.bridge("eth0", &socket)?;
    let _wire = Testpmd::start(
        &router,
        [format!("net_virtio_user0,server=1,path={}", socket.display()), wan.device],
    )?;
    address(&client, &server)?;
    answers(&client)
}
