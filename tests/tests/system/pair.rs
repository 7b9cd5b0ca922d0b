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
             ip address add 2001:db8:1::{address}/64 dev eth0 nodad"
        ))?;
    }
    for target in ["192.0.2.3", "2001:db8:1::3"] {
        wait_until(target, Duration::from_secs(10), || {
            client.sh(&format!("ping -n -c 1 -W 1 {target}")).map(|_| true)
        })?;
    }
    // One hop: nobody touched the packet.
    assert!(client.sh("ping -n -c 1 -W 2 -t 1 192.0.2.3")?.has("ttl=64"));
    // Frames of a kind that no router knows arrive as they were sent, tagged ones and malformed IPv4 among them.
    let frame = |head: &[u8]| {
        let mut frame = vec![2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8];
        frame.extend(head);
        frame.extend((0..200).map(|byte: u8| byte.wrapping_mul(7)));
        frame
    };
    let frames = [
        frame(&[0x88, 0xb5]),
        frame(&[0x81, 0, 0, 100, 0x88, 0xb5]),
        frame(&[8, 0, 0x45, 0, 0xff, 0xff]),
    ];
    let sniffer = Sniffer::start(&server, "eth0")?;
    send_frames(&client, "eth0", &frames)?;
    wait_until("the frames", Duration::from_secs(5), || {
        let caught = sniffer.frames();
        Ok(frames.iter().all(|frame| caught.contains(frame)))
    })?;
    let (links, _) = router.try_sh("ip -o link show type tun")?;
    assert_eq!(links.0.trim(), "", "a pair has no twin");
    daemon.stop().map(|_| ())
}
