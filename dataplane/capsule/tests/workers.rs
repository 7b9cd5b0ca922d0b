//! Workers: pinned, registered, easing off, sharing a transmit queue, telling of a panic; frames pass between them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unsafe_code, missing_docs)]

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use capsule::{Error, IdlePolicy, Port, PortConfig, PortIo, Runtime};
use common::{all_home, eal, pools, wait_for};
use packet::{BURST, Burst, Frame, PacketIo, PortIndex};

/// The cores that this process may use.
fn cores() -> Vec<usize> {
    // SAFETY: a set of bits may be all zeros; the call fills it.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        assert_eq!(libc::sched_getaffinity(0, size_of_val(&set), &raw mut set), 0);
        (0..libc::CPU_SETSIZE as usize).filter(|&cpu| libc::CPU_ISSET(cpu, &set)).collect()
    }
}

#[test]
fn workers_run_share_idle_and_fail_in_the_open() {
    let before = cores();
    let _eal = eal();
    assert_eq!(cores(), before, "EAL's start leaves the thread's CPUs alone");
    let pools = pools();
    let cores = if before.len() > 1 { vec![before[0], before[1]] } else { vec![before[0]] };

    // A device of one queue for all workers: the first receives, all send. Every frame is counted at its return.
    let config =
        PortConfig { queues: cores.len() as u16, ..PortConfig::new("pcap", "net_null0,copy=0") };
    let null = Port::open(&config, &pools).unwrap();
    assert_eq!(usize::from(null.capabilities().queues), cores.len());
    drop(null);
    let socket = std::env::temp_dir().join(format!("capsule-workers-{}", std::process::id()));
    let device = format!("net_virtio_user0,path={},server=1,queues=1", socket.display());
    let config = PortConfig { queues: cores.len() as u16, ..PortConfig::new("one", &device) };
    let one = Port::open(&config, &pools).unwrap();
    if cores.len() > 1 {
        assert_eq!(one.capabilities().queues, 1);
        assert!(one.warnings()[0].contains("has 1 queues for 2 workers"), "{:?}", one.warnings());
    }
    drop(one);
    assert!(!socket.exists());

    shared_queue(&cores, &pools);
    idle(&cores);
    panics(&cores);
}

/// All workers send on net_ring's only queue at once (asked for one although there are more workers).
fn shared_queue(cores: &[usize], pools: &capsule::MbufPools) {
    const EACH: u64 = 200_000;
    let port = Port::open(&PortConfig::new("ring", "net_ring0"), pools).unwrap();
    port.start().unwrap();
    let ports = vec![port];
    let ios = PortIo::for_workers(&ports, cores, pools).unwrap();
    let back = Arc::new(AtomicU64::new(0));
    let total = EACH * cores.len() as u64;
    let turns: Vec<_> = ios
        .into_iter()
        .map(|mut io| {
            let back = Arc::clone(&back);
            let mut sent = 0;
            move |_now: Duration| {
                let mut burst = Burst::new();
                let got = io.rx(PortIndex(0), &mut burst);
                assert!(burst.iter().all(|frame| frame.len() == 60));
                io.free(&mut burst);
                back.fetch_add(got as u64, Ordering::Relaxed);
                let wanted = (EACH - sent).min(BURST as u64) as usize;
                let made = io.pool().clone().alloc_burst(&mut burst, wanted);
                for frame in &mut burst {
                    assert!(frame.append(&[7; 60]));
                }
                let taken = io.tx(PortIndex(0), &mut burst);
                sent += taken as u64;
                io.free(&mut burst);
                got + made
            }
        })
        .collect();
    let runtime = Runtime::spawn(cores, IdlePolicy::Adaptive, Instant::now(), turns).unwrap();
    assert_eq!(runtime.cores(), cores);
    wait_for("every frame to return", || back.load(Ordering::Relaxed) == total);
    assert!(!runtime.failed());
    let turns = runtime.stop().unwrap();
    drop(turns);
    assert_eq!(ports[0].stats().unwrap().tx_packets, total);
    for (_, pool) in pools.all() {
        assert_eq!(pool.in_use(), 0);
    }
    for port in &ports {
        port.stop().unwrap();
    }
    // Once more with one worker, to end as every test does.
    let ports = ports;
    ports[0].start().unwrap();
    let io = PortIo::for_workers(&ports, &cores[..1], pools).unwrap().remove(0);
    all_home(io, ports, pools);
}

/// An idle adaptive worker naps nearly all the time; a polling one never does. Both know the time, and their names.
fn idle(cores: &[usize]) {
    let origin = Instant::now();
    let turn = |now: Duration| {
        assert!(now < Duration::from_secs(60));
        assert_eq!(std::thread::current().name(), Some("worker-0"));
        0
    };
    let run = |policy| {
        let runtime = Runtime::spawn(&cores[..1], policy, origin, vec![turn]).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        let stats = runtime.stats()[0];
        let start = Instant::now();
        runtime.stop().unwrap();
        assert!(start.elapsed() < Duration::from_millis(200), "it ends soon");
        println!("{policy:?}: {stats:?}");
        stats
    };
    let adaptive = run(IdlePolicy::Adaptive);
    assert!(adaptive.naps > 50 && adaptive.napped > Duration::from_millis(150), "{adaptive:?}");
    assert_eq!(adaptive.turns, adaptive.empty_turns);
    let poll = run(IdlePolicy::Poll);
    assert!(poll.naps == 0 && poll.turns > 20 * adaptive.turns, "{poll:?}");
}

/// A worker that panics is seen, named, and ends nobody else.
fn panics(cores: &[usize]) {
    let others = Arc::new(AtomicUsize::new(0));
    let turns: Vec<_> = (0..cores.len())
        .map(|worker| {
            let others = Arc::clone(&others);
            move |_now: Duration| {
                assert!(worker + 1 != cores_of(&others), "a test's panic");
                others.fetch_add(1, Ordering::Relaxed);
                0
            }
        })
        .collect();
    let runtime = Runtime::spawn(cores, IdlePolicy::Adaptive, Instant::now(), turns).unwrap();
    others.fetch_or(LAST_PANICS | cores.len() << 48, Ordering::Relaxed);
    wait_for("the panic to be seen", || runtime.failed());
    let error = runtime.stop().err().unwrap();
    assert!(
        matches!(&error, Error::WorkerPanicked { worker, message } if *worker == cores.len() - 1 && message.contains("a test's panic")),
        "{error}"
    );
}

const LAST_PANICS: usize = 1 << 62;

/// The number of workers, once the test has set off the panic; 0 before.
fn cores_of(cell: &AtomicUsize) -> usize {
    let value = cell.load(Ordering::Relaxed);
    if value & LAST_PANICS != 0 { value >> 48 & 0xff } else { 0 }
}
