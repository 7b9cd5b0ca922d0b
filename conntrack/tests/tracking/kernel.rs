//! The kernel's side: a network namespace that forwards between two TAPs and tracks what it forwards.
//!
//! Rules say in a packet's DSCP what `ct state` was; the table is read from `/proc`. What is written into a TAP has passed
//! through the kernel when the write returns: there is nothing to wait for.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use crate::packets::{Entry, Packet, Seen, Side};

const LINKS: &str = "
    link set lo up
    link set tap0 address 02:00:00:00:00:01 multicast off addrgenmode none txqueuelen 5000 up
    link set tap1 address 02:00:00:00:00:02 multicast off addrgenmode none txqueuelen 5000 up
    addr add 10.0.0.1/24 dev tap0
    addr add 10.0.1.1/24 dev tap1
    addr add fd00::1/64 dev tap0 nodad
    addr add fd00:1::1/64 dev tap1 nodad
    neigh add 10.0.0.2 lladdr 02:00:00:00:00:02 dev tap0 nud permanent
    neigh add 10.0.1.2 lladdr 02:00:00:00:01:02 dev tap1 nud permanent
    neigh add fd00::2 lladdr 02:00:00:00:00:02 dev tap0 nud permanent
    neigh add fd00:1::2 lladdr 02:00:00:00:01:02 dev tap1 nud permanent
";
const SETTINGS: &[(&str, &str)] = &[
    ("ipv4/ip_forward", "1"),
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/tap0/rp_filter", "0"),
    ("ipv4/conf/tap1/rp_filter", "0"),
    ("ipv4/conf/all/send_redirects", "0"),
];
const STATES: [&str; 5] = ["new", "established", "related", "invalid", "untracked"];

/// See the module's overview. The thread that makes it moves into the namespace.
pub(crate) struct Kernel {
    holder: Child,
    taps: [SyncDevice; 2],
    changed: Vec<(String, String)>,
}

impl Kernel {
    /// `None`, having said why, where tests can't have one.
    pub(crate) fn new() -> Option<Self> {
        let skip = |why: &str| {
            eprintln!("\nSKIPPED, nothing was compared: {why}\n");
        };
        if !rustix::process::geteuid().is_root() {
            skip("network namespaces take root");
            return None;
        }
        for tool in ["nft", "unshare", "ip", "conntrack"] {
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
        run("ip", &["-batch", "-"], LINKS);
        for (name, value) in SETTINGS {
            fs::write(format!("/proc/sys/net/{name}"), value).unwrap();
        }
        let mut rules =
            String::from("table inet t { chain c { type filter hook postrouting priority 300;");
        for (n, state) in STATES.iter().enumerate() {
            for (family, ip) in [("ipv4", "ip"), ("ipv6", "ip6")] {
                rules += &format!(
                    "meta nfproto {family} ct state {state} {ip} dscp set {} accept;",
                    n + 1
                );
            }
        }
        run("nft", &["-f", "-"], &(rules + "}\n}\n"));
        thread::sleep(Duration::from_millis(500));
        let kernel = Self { holder, taps, changed: Vec::new() };
        kernel.drain(0);
        kernel.drain(1);
        kernel.flush();
        Some(kernel)
    }

    /// Begins anew: no flows, settings as they were.
    pub(crate) fn reset(&mut self) {
        for (name, value) in std::mem::take(&mut self.changed) {
            fs::write(name, value).unwrap();
        }
        self.flush();
    }

    fn flush(&self) {
        run("conntrack", &["-F"], "");
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        let path = format!("/proc/sys/net/netfilter/{name}");
        let before = fs::read_to_string(&path).unwrap();
        fs::write(&path, value).unwrap();
        self.changed.push((path, before));
    }

    pub(crate) fn send(&self, packet: &Packet) -> Seen {
        let (into, out) = if packet.from == Side::A { (0, 1) } else { (1, 0) };
        self.taps[into].send(&packet.frame()).unwrap();
        let out = self.drain(out);
        self.drain(into);
        let state = match out.first() {
            None => "dropped",
            Some(frame) => {
                let class = if packet.v6 { frame[14] << 4 | frame[15] >> 4 } else { frame[15] };
                STATES[usize::from(class >> 2) - 1]
            }
        };
        Seen { state, table: table() }
    }

    /// What came out of a TAP.
    fn drain(&self, n: usize) -> Vec<Vec<u8>> {
        let mut buffer = vec![0; 65_536];
        let mut out = Vec::new();
        while let Ok(len) = self.taps[n].recv(&mut buffer) {
            // What the kernel tells groups that it joined is not ours.
            if buffer[0] & 1 == 0 {
                out.push(buffer[..len].to_vec());
            }
        }
        out
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

/// The table, in order; of the thread's namespace.
fn table() -> Vec<Entry> {
    let text = fs::read_to_string("/proc/thread-self/net/nf_conntrack").unwrap();
    let mut table: Vec<Entry> = text.lines().map(Entry::of_kernel).collect();
    table.sort();
    table
}

fn run(program: &str, args: &[&str], input: &str) {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
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
