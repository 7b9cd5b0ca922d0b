//! A namespace that forwards between two TAPs, the inside and the outside of a NAT: the kernel's.
//!
//! What is written into a TAP has passed through the kernel when the write returns: there is nothing to wait for.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

pub(crate) const INSIDE: usize = 0;
pub(crate) const OUTSIDE: usize = 1;

/// The thread that makes one moves into the namespace.
pub(crate) struct Bed {
    holder: Child,
    taps: [SyncDevice; 2],
}

/// Behind each TAP there is one router, to everything there.
const NETWORK: &str = "
    link set lo up
    link set tap0 address 02:00:00:00:00:01 multicast off addrgenmode none txqueuelen 5000
    link set tap1 address 02:00:00:00:00:02 multicast off addrgenmode none txqueuelen 5000
    link set tap0 up
    link set tap1 up
    addr add 172.16.0.1/24 dev tap0
    addr add 172.16.1.1/24 dev tap1
    addr add fdaa::1/64 dev tap0 nodad
    addr add fdab::1/64 dev tap1 nodad
    neigh add 172.16.0.2 lladdr 02:00:00:00:01:01 dev tap0 nud permanent
    neigh add 172.16.1.2 lladdr 02:00:00:00:01:02 dev tap1 nud permanent
    neigh add fdaa::2 lladdr 02:00:00:00:01:01 dev tap0 nud permanent
    neigh add fdab::2 lladdr 02:00:00:00:01:02 dev tap1 nud permanent
    route add 10.0.0.0/8 via 172.16.0.2
    route add default via 172.16.1.2
    route add fd01::/16 via fdaa::2
    route add default via fdab::2
";
const SETTINGS: &[(&str, &str)] = &[
    ("ipv4/ip_forward", "1"),
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/tap0/rp_filter", "0"),
    ("ipv4/conf/tap1/rp_filter", "0"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/tap0/send_redirects", "0"),
];

impl Bed {
    /// A namespace with these rules, or `None`, having said why, where tests can't have one.
    pub(crate) fn new(rules: &str) -> Option<Self> {
        let skip = |why: &str| {
            eprintln!("\nSKIPPED, nothing was compared: {why}\n");
        };
        if !rustix::process::geteuid().is_root() {
            skip("network namespaces take root");
            return None;
        }
        for tool in ["nft", "unshare", "ip"] {
            if Command::new(tool).arg("-h").output().is_err() {
                skip(&format!("no {tool} (make setup)"));
                return None;
            }
        }
        // Ends when its standard input does: with this process, however that ends.
        let mut holder = Command::new("unshare")
            .args(["-n", "--", "sh", "-c", "echo here; exec cat >/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "here\n", "no network namespace");
        let namespace = fs::File::open(format!("/proc/{}/ns/net", holder.id())).unwrap();
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        let taps = ["tap0", "tap1"].map(tap);
        feed("ip", &["-batch", "-"], NETWORK);
        for (name, value) in SETTINGS {
            fs::write(format!("/proc/sys/net/{name}"), value).unwrap();
        }
        feed("nft", &["-f", "-"], rules);
        // It sums UDP-Lite with UDP's number in the pseudo-header (udplite_error), and finds every packet bad.
        fs::write("/proc/sys/net/netfilter/nf_conntrack_checksum", "0").unwrap();
        thread::sleep(Duration::from_millis(300));
        let bed = Self { holder, taps };
        bed.drain(INSIDE);
        bed.drain(OUTSIDE);
        Some(bed)
    }

    /// Sends a frame into a TAP; what comes out of the other.
    pub(crate) fn through(&self, from: usize, frame: &[u8]) -> Option<Vec<u8>> {
        self.taps[from].send(frame).unwrap();
        self.drain(from);
        let mut out = self.drain(1 - from);
        // What the kernel tells groups is not what is asked.
        out.retain(|frame| frame[0] & 1 == 0);
        assert!(out.len() < 2, "{out:x?}");
        out.pop()
    }

    fn drain(&self, n: usize) -> Vec<Vec<u8>> {
        let mut buffer = vec![0; 65_536];
        let mut out = Vec::new();
        while let Ok(len) = self.taps[n].recv(&mut buffer) {
            out.push(buffer[..len].to_vec());
        }
        out
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

fn feed(program: &str, args: &[&str], input: &str) {
    let mut child = Command::new(program).args(args).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{program}: {input}");
}

fn tap(name: &str) -> SyncDevice {
    let device = DeviceBuilder::new()
        .name(name)
        .layer(Layer::L2)
        .with(|builder| {
            builder.packet_information(false);
        })
        .enable(false)
        .build_sync()
        .unwrap();
    device.set_nonblocking(true).unwrap();
    device
}
