//! What the device lacks is done in software, in order; what cannot be done is dropped and counted by its reason.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use capsule::{Mbuf, Offload, Port, PortConfig, SoftwareTx};
use common::{all_home, assert_same, bytes, eal, frame, io, pattern, pools, receive, tagged};
use packet::{Burst, Frame, FramePool, PacketIo, PortIndex};

#[test]
fn tags_and_segments_without_the_device() {
    let _eal = eal();
    let pools = pools();
    let without = vec![Offload::TxVlanInsert, Offload::TxMultiSegment];
    let port = Port::open(&PortConfig { without, ..PortConfig::new("ring", "net_ring0") }, &pools)
        .unwrap();
    assert!(!port.capabilities().has(Offload::TxMultiSegment));
    port.start().unwrap();
    let ports = vec![port];
    let mut io = io(&ports, &pools);
    let pool = io.pool().clone();

    // Seven frames of one burst; the fourth and the sixth cannot be sent.
    let plain = frame(&pool, 60);
    let plain_place = plain.head().as_ptr();
    let mut tag = frame(&pool, 1000);
    tag.set_tx_vlan(Some(0xe123));
    let chain = split(&pool, 1500);
    let mut too_long = frame(&pool, 4000);
    too_long.set_tx_vlan(Some(1));
    // No headroom: the tag needs a copy.
    let mut no_room = frame(&pool, 500);
    while no_room.prepend(1) {}
    assert!(no_room.trim_front(0) && no_room.len() == 628);
    let bytes_of_no_room = bytes(&no_room);
    no_room.set_tx_vlan(Some(5));
    let too_long_again = split(&pool, 2049);
    let last = split(&pool, 2048);
    let mut burst: Burst<Mbuf> =
        [plain, tag, chain, too_long, no_room, too_long_again, last].into_iter().collect();
    assert_eq!(io.tx(PortIndex(0), &mut burst), 5);
    assert!(burst.is_empty(), "the others were dropped");
    assert_eq!(
        ports[0].software_tx(),
        SoftwareTx { vlan_inserted: 3, linearised: 2, too_long: 2, no_memory: 0 }
    );
    let got = receive(&mut io, 0, 5, |_| true);
    assert!(got.iter().all(|frame| frame.segment_count() == 1));
    assert_eq!(got[0].head().as_ptr(), plain_place, "nothing to do, nothing copied");
    assert_same(&bytes(&got[0]), &pattern(60));
    assert_same(&bytes(&got[1]), &tagged(1000, 0xe123));
    assert_same(&bytes(&got[2]), &pattern(1500));
    let mut wanted = bytes_of_no_room;
    wanted.splice(12..12, [0x81, 0x00, 0, 5]);
    assert_same(&bytes(&got[3]), &wanted);
    assert_same(&bytes(&got[4]), &pattern(2048));
    drop(got);

    // An empty pool.
    let chain = split(&pool, 100);
    let hoard: Vec<Mbuf> = std::iter::from_fn(|| pool.alloc()).collect();
    let mut burst: Burst<Mbuf> = [chain].into_iter().collect();
    assert_eq!(io.tx(PortIndex(0), &mut burst), 0);
    assert!(burst.is_empty());
    assert_eq!(ports[0].software_tx().no_memory, 1);
    drop(hoard);
    all_home(io, ports, &pools);
}

/// [`pattern`] in two segments.
fn split(pool: &capsule::MbufPool, len: usize) -> Mbuf {
    let (mut head, whole) = (frame(pool, 40), frame(pool, len));
    assert!(pool.append_shared(&mut head, &whole, 40, len - 40) && head.segment_count() >= 2);
    head
}
