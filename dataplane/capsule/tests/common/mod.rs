//! What the tests share. EAL starts once per process, so each file in this folder holds one test.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

use std::time::{Duration, Instant};

use capsule::{Eal, EalConfig, Hugepages, Mbuf, MbufPool, MbufPools, Port, PortConfig, PortIo};
use packet::{Burst, Frame, FramePool, PacketIo, PortIndex};

/// DPDK without hugepages and with little memory: it starts anywhere, also for an unprivileged user.
pub fn eal() -> Eal {
    let config = EalConfig { memory_mib: 64, hugepages: Hugepages::Off, ..EalConfig::default() };
    Eal::start(&config).expect("EAL starts")
}

/// Small pools.
pub fn pools() -> MbufPools {
    MbufPools::new("test", 8191, 64)
}

/// Opens and starts a port with one queue.
pub fn port(name: &str, device: &str, pools: &MbufPools) -> Port {
    let port =
        Port::open(&PortConfig::new(name, device), pools).unwrap_or_else(|error| panic!("{error}"));
    port.start().unwrap_or_else(|error| panic!("{error}"));
    port
}

/// One worker's queues, for the test's own thread.
pub fn io(ports: &[Port], pools: &MbufPools) -> PortIo {
    PortIo::for_workers(ports, &[0], pools).unwrap_or_else(|error| panic!("{error}")).remove(0)
}

/// A frame of `len` bytes that tell their place, as an Ethernet frame of a local experimental type.
pub fn frame(pool: &MbufPool, len: usize) -> Mbuf {
    let mut frame = pool.alloc().expect("a free mbuf");
    assert!(frame.append(&pattern(len)));
    frame
}

/// The bytes of [`frame`].
pub fn pattern(len: usize) -> Vec<u8> {
    let mut bytes = vec![0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2, 0x88, 0xb5];
    bytes.extend((bytes.len()..len).map(|i| (i * 7 + i / 256) as u8));
    bytes.truncate(len);
    bytes
}

/// All bytes of a frame.
pub fn bytes(frame: &Mbuf) -> Vec<u8> {
    frame.segments().flatten().copied().collect()
}

/// Where each segment's bytes lie.
pub fn addresses(frame: &Mbuf) -> Vec<(*const u8, usize)> {
    frame.segments().map(|segment| (segment.as_ptr(), segment.len())).collect()
}

/// Sends one frame; it must be taken.
pub fn send(io: &mut PortIo, port: u16, frame: Mbuf) {
    let mut burst = Burst::new();
    burst.push(frame);
    assert_eq!(io.tx(PortIndex(port), &mut burst), 1);
    assert!(burst.is_empty());
}

/// Receives until `n` frames came that `wanted` likes, at most five seconds; others are freed.
pub fn receive(io: &mut PortIo, port: u16, n: usize, wanted: impl Fn(&Mbuf) -> bool) -> Vec<Mbuf> {
    let end = Instant::now() + Duration::from_secs(5);
    let mut got = Vec::new();
    while got.len() < n {
        let mut burst = Burst::new();
        io.rx(PortIndex(port), &mut burst);
        got.extend(burst.drain(..).filter(|frame| wanted(frame)));
        assert!(Instant::now() < end, "{} of {n} frames came", got.len());
    }
    got
}

/// Waits until something is true, at most five seconds.
pub fn wait_for(what: &str, mut is_true: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(5);
    while !is_true() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Ends the ports and proves that every mbuf is home.
pub fn all_home(io: PortIo, ports: Vec<Port>, pools: &MbufPools) {
    drop(io);
    for port in &ports {
        port.stop().unwrap_or_else(|error| panic!("{error}"));
    }
    drop(ports);
    for (socket, pool) in pools.all() {
        assert_eq!(pool.in_use(), 0, "mbufs of socket {socket} leaked");
        assert_eq!(pool.available(), pool.capacity());
    }
}
