//! Transparent mode: two ports that forward each other's frames, whatever they carry, with no address and no twin.

use crate::Result;
use std::time::Duration;
use tests::{Daemon, Ends, Lab, PortKind, Settings, Sniffer, Trio, Wire, send_frames, wait_until};

#[test]
fn a_pair_passes_everything_and_has_no_twin() -> Result {
    let mut lab = Lab::new()?;
    let [client, router, server] = Trio::namespaces(&mut lab)?;
    let pair = |name: &str, other: &str, host| {
        let wire =
            Wire::veth(&lab, name, PortKind::AfXdp, Ends { router: &router, host, dev: "eth0" })?;
        Ok::<_, tests::LabError>(wire.with("mode = \"pair\"").with(&format!("pair = \"{other}\"")))
    };
    let (lan, wan) = (pair("lan", "wan", &client)?, pair("wan", "lan", &server)?);
    let daemon = Daemon::start(&lab, &router, &Settings::default(), &[&lan, &wan])?;
    for (host, address) in [(&client, 2), (&server, 3)] {
        host.script(&format!(
            "ip address add 192.0.2.{address}/24 dev eth0
             ip address add 2001:db8:1::{address}/64 dev eth0 nodad
             ip link add link eth0 name eth0.100 type vlan id 100
             ip link set eth0.100 up
             ip address add 203.0.113.{address}/24 dev eth0.100"
        ))?;
    }
    for target in ["192.0.2.3", "2001:db8:1::3", "203.0.113.3"] {
        wait_until(target, Duration::from_secs(10), || {
            client.sh(&format!("ping -n -c 1 -W 1 {target}")).map(|_| true)
        })?;
    }
    // One hop: nobody touched the packet.
    assert!(client.sh("ping -n -c 1 -W 2 -t 1 192.0.2.3")?.has("ttl=64"));
    // A frame of a kind that no router knows arrives as it was sent.
    let mut frame = vec![2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 0x88, 0xb5];
    frame.extend((0..200).map(|byte: u8| byte.wrapping_mul(7)));
    let sniffer = Sniffer::start(&server, "eth0")?;
    send_frames(&client, "eth0", std::slice::from_ref(&frame))?;
    wait_until("the frame", Duration::from_secs(5), || Ok(sniffer.frames().contains(&frame)))?;
    let (links, _) = router.try_sh("ip -o link show type tun")?;
    assert_eq!(links.0.trim(), "", "a pair has no twin");
    daemon.stop().map(|_| ())
}
