//! Bursts through net_ring, which gives back what was sent: order, bytes and places stay, no mbuf leaks.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::{addresses, all_home, bytes, eal, frame, io, pattern, pools, port, receive, send};
use packet::{BURST, Burst, Frame, PacketIo, PortIndex};

#[test]
fn bursts_pass_and_payload_does_not_move() {
    let _eal = eal();
    let pools = pools();
    let ports = vec![port("ring", "net_ring0", &pools)];
    assert!(ports[0].link().up);
    assert!(ports[0].stop().is_ok() && ports[0].start().is_ok(), "stopped and started again");
    let mut io = io(&ports, &pools);
    assert!(ports[0].stop().is_err(), "not while its queues are out");
    let pool = io.pool().clone();

    // A full burst: all or nothing of the order.
    let mut burst = Burst::new();
    assert_eq!(pool.alloc_burst(&mut burst, BURST), BURST);
    for (i, frame) in burst.iter_mut().enumerate() {
        assert!(frame.is_empty() && frame.append(&[i as u8; 60]));
    }
    assert_eq!(pool.alloc_burst(&mut burst, 1), 0, "the burst is full");
    assert_eq!(io.tx(PortIndex(0), &mut burst), BURST);
    assert_eq!(io.rx(PortIndex(0), &mut burst), BURST);
    assert!(burst.iter().enumerate().all(|(i, frame)| bytes(frame) == [i as u8; 60]));
    io.free(&mut burst);
    assert!(burst.is_empty());

    // A jumbo frame of several segments, headers rewritten on the way: every payload byte is where it was.
    let jumbo = frame(&pool, 9000);
    assert_eq!(jumbo.segment_count(), 5);
    let places = addresses(&jumbo);
    send(&mut io, 0, jumbo);
    let mut jumbo = receive(&mut io, 0, 1, |_| true).remove(0);
    assert_eq!(addresses(&jumbo), places);
    assert!(jumbo.write(0, [0xaa; 12]) && jumbo.write(16, [1u8; 4]));
    assert!(jumbo.trim_front(14) && jumbo.prepend(18));
    assert!(jumbo.write(0, [0xbb; 18]));
    send(&mut io, 0, jumbo);
    let jumbo = receive(&mut io, 0, 1, |_| true).remove(0);
    let (head, tail) = (addresses(&jumbo)[0], addresses(&jumbo)[1..].to_vec());
    assert_eq!(tail, places[1..]);
    assert_eq!((head.0.addr(), head.1), (places[0].0.addr() - 4, places[0].1 + 4));
    assert_eq!(bytes(&jumbo)[24..], pattern(9000)[20..]);

    // What the device cannot take stays with the caller.
    let mut taken = 0;
    let refused = loop {
        let mut burst = Burst::new();
        pool.alloc_burst(&mut burst, BURST);
        taken += io.tx(PortIndex(0), &mut burst);
        if !burst.is_empty() {
            let left = burst.len();
            io.free(&mut burst);
            break left;
        }
    };
    assert_eq!((taken + refused) % BURST, 0);
    assert_eq!(usize::try_from(ports[0].stats().unwrap().tx_packets).unwrap(), taken + BURST + 2);
    drop(jumbo);
    // They are in the ring still: a ring's frames belong to it, so they are fetched.
    drop(receive(&mut io, 0, taken, |_| true));
    all_home(io, ports, &pools);
}
