//! net_tap: an interface that appears with the port and goes with it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::{
    Wire, all_home, assert_same, bytes, eal, frame, io, is_ours, own_network, pattern, pools, port,
    receive, send, tool, wait_for,
};
use packet::PacketIo;

#[test]
fn tap_carries_frames_and_leaves_nothing_behind() {
    if !own_network() {
        return;
    }
    let _eal = eal();
    let pools = pools();
    let ports = vec![port("tap", "net_tap0,iface=captap0", &pools)];
    println!("{:?} {:?} {:?}", ports[0].driver(), ports[0].capabilities(), ports[0].warnings());
    tool("ip link set captap0 up");
    let wire = Wire::on("captap0");
    wait_for("link", || ports[0].link().up);
    let mut io = io(&ports, &pools);
    let pool = io.pool().clone();
    send(&mut io, 0, frame(&pool, 600));
    assert_same(&wire.receive(is_ours), &pattern(600));
    wire.send(&pattern(601));
    let got = receive(&mut io, 0, 1, |frame| is_ours(&bytes(frame)));
    assert_same(&bytes(&got[0]), &pattern(601));
    drop(got);
    // The link is followed: down in the kernel is down here, and nothing is sent then.
    tool("ip link set captap0 down");
    wait_for("link down", || !ports[0].link().up);
    let mut burst = packet::Burst::new();
    burst.push(frame(&pool, 60));
    assert_eq!(io.tx(packet::PortIndex(0), &mut burst), 0);
    assert_eq!(burst.len(), 1);
    tool("ip link set captap0 up");
    wait_for("link up again", || ports[0].link().up);
    assert_eq!(io.tx(packet::PortIndex(0), &mut burst), 1);
    drop(wire);
    all_home(io, ports, &pools);
    let left = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    assert!(!left.contains("captap0"), "{left}");
}
