//! A device of two queues, and one of one, for two workers: each worker's frames leave by its queue and come back by it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unsafe_code, missing_docs)]

mod common;

use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use capsule::{MbufPools, Port, PortConfig, PortIo};
use common::{all_home, bytes, eal, frame, is_ours, pools};
use packet::{BURST, Burst, Frame, PacketIo, PortIndex};

/// Tells the test's own program to be the peer, on this device.
const PEER: &str = "CAPSULE_TEST_PEER";

#[test]
fn every_worker_sends_and_receives_what_is_its_own() {
    if let Ok(device) = std::env::var(PEER) {
        return echo(&device);
    }
    let _eal = eal();
    let socket = std::env::temp_dir()
        .join(format!("capsule-queues-{}", std::process::id()))
        .display()
        .to_string();
    let pools = pools();
    for queues in [2u16, 1] {
        let ports =
            vec![open(&format!("net_vhost0,iface={socket},client=1,queues={queues}"), &pools)];
        assert_eq!(ports[0].capabilities().queues, queues);
        assert_eq!(
            ports[0].warnings().len(),
            usize::from(queues == 1),
            "{:?}",
            ports[0].warnings()
        );
        let mut ios = PortIo::for_workers(&ports, &[0, 0], &pools).unwrap();
        let mut peer =
            start_peer(&format!("net_virtio_user0,path={socket},server=1,queues={queues},cq=1"));
        for worker in [0u8, 1, 0, 1] {
            // A frame of worker 1 comes back to it, or, where there is one queue, to worker 0.
            let home = usize::from(worker).min(usize::from(queues) - 1);
            let end = Instant::now() + Duration::from_secs(20);
            'sent: loop {
                assert!(Instant::now() < end, "no echo for worker {worker} of {queues} queues");
                ports[0].link();
                let io = &mut ios[usize::from(worker)];
                let mut burst = Burst::new();
                let mut ours = frame(io.pool(), 100);
                assert!(ours.write(20, [worker]));
                burst.push(ours);
                io.tx(PortIndex(0), &mut burst);
                io.free(&mut burst);
                let wait = Instant::now() + Duration::from_millis(50);
                while Instant::now() < wait {
                    for (at, io) in ios.iter_mut().enumerate() {
                        let mut burst = Burst::new();
                        io.rx(PortIndex(0), &mut burst);
                        for got in
                            burst.drain(..).map(|frame| bytes(&frame)).filter(|got| is_ours(got))
                        {
                            assert_eq!(
                                at,
                                usize::from(got[20]).min(usize::from(queues) - 1),
                                "queue of another worker"
                            );
                            if got[20] == worker && at == home {
                                break 'sent;
                            }
                        }
                    }
                }
            }
        }
        peer.kill().unwrap();
        peer.wait().unwrap();
        let last = ios.pop().unwrap();
        drop(ios);
        all_home(last, ports, &pools);
        std::fs::remove_file(&socket).unwrap(); // the killed peer's
    }
}

fn open(device: &str, pools: &MbufPools) -> Port {
    let config = PortConfig { queues: 2, ..PortConfig::new("virtio", device) };
    let port = Port::open(&config, pools).unwrap_or_else(|error| panic!("{error}"));
    port.start().unwrap_or_else(|error| panic!("{error}"));
    port
}

fn start_peer(device: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "every_worker_sends_and_receives_what_is_its_own", "--nocapture"])
        .env(PEER, device)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// The peer: sends back whatever comes on the queue where it came, until its parent is gone or kills it.
fn echo(device: &str) {
    // SAFETY: sets a property of this process: it dies with its parent.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let _eal = eal();
    let pools = pools();
    let ports = vec![open(device, &pools)];
    let workers = usize::from(ports[0].capabilities().queues);
    let mut ios = PortIo::for_workers(&ports, &[0, 0][..workers], &pools).unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    while Instant::now() < end {
        ports[0].link();
        for io in &mut ios {
            let mut burst: Burst<capsule::Mbuf> = Burst::new();
            while io.rx(PortIndex(0), &mut burst) != 0 && burst.len() < BURST {}
            io.tx(PortIndex(0), &mut burst);
            io.free(&mut burst);
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}
