//! net_af_xdp on a veth pair: no segments, no VLAN offload; both are done in software.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use capsule::{Offload, Port, PortConfig};
use common::{
    Wire, assert_same, bytes, eal, frame, io, is_ours, own_network, pattern, pools, receive, send,
    tagged, tool, veth, wait_for,
};
use packet::{Frame, FramePool, PacketIo};

#[test]
fn software_does_what_the_device_lacks() {
    if !own_network() {
        return;
    }
    veth("capa", "capb", 1500);
    let wire = Wire::on("capb");
    let _eal = eal();
    let pools = pools();
    let ports = vec![match Port::open(&PortConfig::new("wan", "net_af_xdp0,iface=capa"), &pools) {
        Ok(port) => port,
        Err(error @ capsule::Error::NoPermission { .. }) => {
            println!("SKIPPED: {error}");
            return;
        }
        Err(error) => panic!("{error}"),
    }];
    println!("{:?} {:?} {:?}", ports[0].driver(), ports[0].capabilities(), ports[0].warnings());
    assert!(!ports[0].capabilities().has(Offload::TxMultiSegment));
    ports[0].start().unwrap();
    wait_for("link", || ports[0].link().up);
    let mut io = io(&ports, &pools);
    let pool = io.pool().clone();

    send(&mut io, 0, frame(&pool, 1514));
    assert_same(&wire.receive(is_ours), &pattern(1514));
    let mut split = frame(&pool, 64);
    let rest = frame(&pool, 1400);
    assert!(pool.append_shared(&mut split, &rest, 64, 1336));
    split.set_tx_vlan(Some(100));
    send(&mut io, 0, split);
    assert_same(&wire.receive(is_ours), &tagged(1400, 100));
    let software = ports[0].software_tx();
    assert_eq!((software.vlan_inserted, software.linearised, software.too_long), (1, 1, 0));

    for len in [60, 1000, 1514] {
        wire.send(&pattern(len));
        let got = receive(&mut io, 0, 1, |frame| is_ours(&bytes(frame))).remove(0);
        assert_same(&bytes(&got), &pattern(len));
    }
    drop(rest);

    // The carrier of the interface is followed, though the driver does not.
    tool("ip link set capb down");
    wait_for("link down", || !ports[0].link().up);
    let mut burst = packet::Burst::new();
    burst.push(frame(&pool, 60));
    assert_eq!(io.tx(packet::PortIndex(0), &mut burst), 0);
    tool("ip link set capb up");
    wait_for("link up again", || ports[0].link().up);
    assert_eq!(io.tx(packet::PortIndex(0), &mut burst), 1);

    // The driver keeps what stands in the kernel's rings (2048 to fill, up to 2048 sent ones) even when it is closed: the
    // pool is not full again, but nothing is lost per frame.
    let before = pool.in_use();
    for _ in 0..200 {
        let mut burst = packet::Burst::new();
        for _ in 0..packet::BURST {
            burst.push(frame(&pool, 60));
        }
        io.tx(packet::PortIndex(0), &mut burst);
        io.free(&mut burst);
    }
    let sent = ports[0].stats().unwrap().tx_packets;
    assert!(sent > 3000, "{sent} sent");
    assert!(pool.in_use() <= before + 2048, "{} in use, {before} before", pool.in_use());
}
