//! vhost-user in both roles against another process: jumbo frames, link, and a peer that is killed and comes back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unsafe_code, missing_docs)]

mod common;

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use capsule::{MbufPools, Port, PortConfig, PortIo};
use common::{all_home, assert_same, bytes, eal, frame, io, is_ours, pattern, pools};
use packet::{Burst, Frame, PacketIo, PortIndex};

/// Tells the test's own program to be the peer, on this device.
const PEER: &str = "CAPSULE_TEST_PEER";

#[test]
fn both_roles_survive_a_killed_peer() {
    if let Ok(device) = std::env::var(PEER) {
        return echo(&device);
    }
    let _eal = eal();
    let folder = std::env::temp_dir().join(format!("capsule-virtio-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let socket = folder.join("s").display().to_string();
    let roles = [
        (
            format!("net_vhost0,iface={socket},client=1"),
            format!("net_virtio_user0,path={socket},server=1"),
            false,
        ),
        (
            format!("net_virtio_user1,path={socket},server=1"),
            format!("net_vhost0,iface={socket},client=1"),
            true,
        ),
    ];
    let pools = pools();
    for (ours, theirs, we_listen) in roles {
        if we_listen {
            // A socket that a dead process left: nobody listens.
            drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        }
        let ports = vec![open(&ours, &pools)];
        println!("{ours}: {:?} {:?}", ports[0].capabilities(), ports[0].warnings());
        assert!(!ports[0].link().up, "nobody is there yet");
        assert_eq!(ports[0].mac()[0], 0x02, "a MAC address of its own");
        let mut io = io(&ports, &pools);
        let mut burst = Burst::new();
        burst.push(frame(io.pool(), 60));
        assert_eq!(io.tx(PortIndex(0), &mut burst), 0, "nothing is sent to nobody");
        io.free(&mut burst);

        for round in 0..3 {
            let mut peer = start_peer(&theirs);
            round_trips(&ports[0], &mut io, round);
            // SIGKILL: it cannot say goodbye.
            peer.kill().unwrap();
            peer.wait().unwrap();
            let end = Instant::now() + Duration::from_secs(5);
            while ports[0].link().up {
                assert!(Instant::now() < end, "the link goes down with the peer");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        all_home(io, ports, &pools);
        if we_listen {
            assert!(!Path::new(&socket).exists(), "the socket goes with the port");
        } else {
            std::fs::remove_file(&socket).unwrap(); // the killed peer's
        }
    }

    // A peer that is there first, and tries to connect while the port still opens.
    for attempt in 0..2 {
        let mut peer = start_peer(&format!("net_vhost0,iface={socket},client=1"));
        std::thread::sleep(Duration::from_millis(700 + 350 * attempt));
        let ports = vec![open(&format!("net_virtio_user2,path={socket},server=1"), &pools)];
        let mut io = io(&ports, &pools);
        round_trips(&ports[0], &mut io, 10);
        peer.kill().unwrap();
        peer.wait().unwrap();
        let mut peer = start_peer(&format!("net_vhost0,iface={socket},client=1"));
        round_trips(&ports[0], &mut io, 11);
        all_home(io, ports, &pools);
        peer.kill().unwrap();
        peer.wait().unwrap();
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

fn open(device: &str, pools: &MbufPools) -> Port {
    let config = PortConfig { mtu: 9000, ..PortConfig::new("virtio", device) };
    let port = Port::open(&config, pools).unwrap_or_else(|error| panic!("{error}"));
    port.start().unwrap_or_else(|error| panic!("{error}"));
    port
}

fn start_peer(device: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "both_roles_survive_a_killed_peer", "--nocapture"])
        .env(PEER, device)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Frames of several sizes go out and come back; what is lost while the peer starts is sent again.
fn round_trips(port: &Port, io: &mut PortIo, round: u8) {
    for len in [60usize, 1514, 4500, 9014] {
        let end = Instant::now() + Duration::from_secs(20);
        let mut wanted = pattern(len);
        wanted[20] = round;
        'sent: loop {
            assert!(Instant::now() < end, "no echo of {len} bytes in round {round}");
            port.link();
            let mut burst = Burst::new();
            let mut ours = frame(io.pool(), len);
            assert!(ours.write(20, [round]));
            burst.push(ours);
            io.tx(PortIndex(0), &mut burst);
            io.free(&mut burst);
            let wait = Instant::now() + Duration::from_millis(50);
            while Instant::now() < wait {
                let mut burst = Burst::new();
                io.rx(PortIndex(0), &mut burst);
                for frame in burst.drain(..) {
                    let got = bytes(&frame);
                    if is_ours(&got) && got.len() == len && got[20] == round {
                        assert_same(&got, &wanted);
                        assert_eq!(frame.segment_count(), frame.segments().count());
                        break 'sent;
                    }
                }
            }
        }
    }
}

/// The peer: sends back whatever comes, until its parent is gone or kills it.
fn echo(device: &str) {
    // SAFETY: sets a property of this process: it dies with its parent.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let _eal = eal();
    let pools = pools();
    let ports = vec![open(device, &pools)];
    let mut io = io(&ports, &pools);
    let end = Instant::now() + Duration::from_secs(60);
    while Instant::now() < end {
        ports[0].link();
        let mut burst = Burst::new();
        if io.rx(PortIndex(0), &mut burst) == 0 {
            std::thread::sleep(Duration::from_micros(200));
        }
        io.tx(PortIndex(0), &mut burst);
        io.free(&mut burst);
    }
}
