//! net_af_packet on a veth pair: frames and VLAN tags both ways, MTU, link, counters.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use capsule::{Offload, Port, PortConfig};
use common::{
    Wire, all_home, assert_same, bytes, eal, frame, io, is_ours, own_network, pattern, pools,
    receive, send, tagged, tool, veth, wait_for,
};
use packet::{Frame, PacketIo};

#[test]
fn frames_and_tags_pass_both_ways() {
    if !own_network() {
        return;
    }
    veth("capa", "capb", 1500);
    let wire = Wire::on("capb");
    let _eal = eal();
    let pools = pools();
    for without in
        [vec![], vec![Offload::RxVlanStrip, Offload::TxVlanInsert, Offload::TxMultiSegment]]
    {
        let offloads = without.is_empty();
        let config = PortConfig { without, ..PortConfig::new("wan", "net_af_packet0,iface=capa") };
        let ports = vec![Port::open(&config, &pools).unwrap_or_else(|error| panic!("{error}"))];
        println!("{:?} {:?}", ports[0].driver(), ports[0].capabilities());
        assert_eq!(ports[0].warnings(), [""; 0]);
        ports[0].start().unwrap();
        wait_for("link", || ports[0].link().up);
        assert_eq!(ports[0].mtu().unwrap(), 1500);
        assert_ne!(ports[0].mac(), [0; 6]);
        let mut io = io(&ports, &pools);
        let pool = io.pool().clone();

        // Out, plain and tagged.
        send(&mut io, 0, frame(&pool, 1514));
        assert_same(&wire.receive(is_ours), &pattern(1514));
        let mut with_tag = frame(&pool, 100);
        with_tag.set_tx_vlan(Some(0x6064));
        send(&mut io, 0, with_tag);
        assert_same(&wire.receive(is_ours), &tagged(100, 0x6064));
        // Two segments.
        let mut split = frame(&pool, 20);
        assert!(pool_append(&pool, &mut split, &pattern(120)[20..]));
        assert_eq!(split.segment_count(), 2);
        send(&mut io, 0, split);
        assert_same(&wire.receive(is_ours), &pattern(120));
        let software = ports[0].software_tx();
        assert_eq!(
            (software.vlan_inserted, software.linearised),
            if offloads { (0, 0) } else { (1, 1) }
        );

        // In, plain and tagged.
        wire.send(&pattern(700));
        let got = receive(&mut io, 0, 1, |frame| is_ours(&bytes(frame))).remove(0);
        assert_same(&bytes(&got), &pattern(700));
        assert_eq!(got.rx_meta().vlan_tci, None);
        drop(got);
        wire.send(&tagged(300, 0x0007));
        let got = receive(&mut io, 0, 1, |frame| is_ours(&bytes(frame))).remove(0);
        if ports[0].capabilities().has(Offload::RxVlanStrip) {
            assert_same(&bytes(&got), &pattern(300));
            assert_eq!(got.rx_meta().vlan_tci, Some(7));
        } else {
            assert_same(&bytes(&got), &tagged(300, 7));
            assert_eq!(got.rx_meta().vlan_tci, None);
        }
        drop(got);
        let stats = ports[0].stats().unwrap();
        assert!(
            stats.tx_packets == 3 && stats.tx_bytes >= 1514 + 220 && stats.rx_packets >= 2,
            "{stats:?}"
        );
        // The carrier of the interface is followed, though the driver does not.
        tool("ip link set capb down");
        wait_for("link down", || !ports[0].link().up);
        let mut burst = packet::Burst::new();
        burst.push(frame(&pool, 60));
        assert_eq!(io.tx(packet::PortIndex(0), &mut burst), 0);
        tool("ip link set capb up");
        wait_for("link up again", || ports[0].link().up);
        assert_eq!(io.tx(packet::PortIndex(0), &mut burst), 1);
        assert_same(&wire.receive(is_ours), &pattern(60));
        all_home(io, ports, &pools);
    }
    // The interface is still the kernel's.
    tool("ip link show capa");
}

/// Appends bytes in a segment of their own.
fn pool_append(pool: &capsule::MbufPool, to: &mut capsule::Mbuf, bytes: &[u8]) -> bool {
    use packet::FramePool;
    let mut other = pool.alloc().unwrap();
    other.append(bytes) && pool.append_shared(to, &other, 0, bytes.len())
}
