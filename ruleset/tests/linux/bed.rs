//! A network namespace that forwards between TAPs, and nft for its kernel and for the engine.
//!
//! The thread that makes a [`Bed`] moves into the namespace, and so does all that it starts. What is written into a TAP has
//! passed through the kernel when the write returns: there is nothing to wait for.

use std::cell::RefCell;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use nfnetlink::{Server, ServerConfig};
use ruleset::nft::{Host, NfTables, NftCompat};
use ruleset::program::Program;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use crate::way::Way;

/// Whose rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Kernel,
    Ours,
}

/// How frames pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// From tap0 to tap1, by a default route.
    Routed,
    /// The same, as ports of a bridge.
    Bridged,
    /// ARP requests into tap0, and the node's replies out of it.
    Arp,
}

/// See the module's overview.
pub(crate) struct Bed {
    pub(crate) kind: Kind,
    holder: Child,
    dir: PathBuf,
    taps: [SyncDevice; 2],
    program: Arc<Mutex<Arc<Program>>>,
    preload: PathBuf,
    /// Our side's.
    pub(crate) way: RefCell<Way>,
}

/// Addresses, routes and neighbours; silence otherwise.
const ROUTED: &str = "
    addr add 10.0.0.1/24 dev tap0
    addr add 10.0.1.1/24 dev tap1
    addr add fd00::1/64 dev tap0 nodad
    addr add fd00:1::1/64 dev tap1 nodad
    neigh add 10.0.1.2 lladdr 02:00:00:00:01:02 dev tap1 nud permanent
    neigh add fd00:1::2 lladdr 02:00:00:00:01:02 dev tap1 nud permanent
    route add default via 10.0.1.2
    route add default via fd00:1::2
";
const BRIDGED: &str = "
    link add br0 type bridge mcast_snooping 0
    link set br0 multicast off addrgenmode none
    link set tap0 master br0
    link set tap1 master br0
    link set tap0 type bridge_slave learning off
    link set tap1 type bridge_slave learning off
    link set br0 up
";
const SETTINGS: &[(&str, &str)] = &[
    ("ipv4/ip_forward", "1"),
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/tap0/rp_filter", "0"),
    // What the kernel says by itself must not meet the rules.
    ("ipv4/icmp_ratelimit", "2147483647"),
    ("ipv6/icmp/ratelimit", "2147483647"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/tap0/send_redirects", "0"),
];
const BRIDGE_SETTINGS: &[(&str, &str)] = &[
    ("bridge/bridge-nf-call-iptables", "0"),
    ("bridge/bridge-nf-call-ip6tables", "0"),
    ("bridge/bridge-nf-call-arptables", "0"),
];

impl Bed {
    /// A namespace, or `None`, having said why, where tests can't have one.
    pub(crate) fn new(kind: Kind) -> Option<Self> {
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
        let more = if kind == Kind::Bridged { BRIDGED } else { ROUTED };
        let mut lines = String::from("link set lo up\n");
        for n in 0..2 {
            lines += &format!(
                "link set tap{n} address 02:00:00:00:00:0{} multicast off addrgenmode none txqueuelen 5000\n\
                 link set tap{n} group {} up\n",
                n + 1,
                n + 10
            );
        }
        // What the kernel tells groups that it joins is said at once, and once.
        for name in ["default", "tap0", "tap1"] {
            for setting in
                ["mldv1_unsolicited_report_interval", "mldv2_unsolicited_report_interval"]
            {
                fs::write(format!("/proc/sys/net/ipv6/conf/{name}/{setting}"), "1").unwrap();
            }
        }
        let mut ip =
            Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
        ip.stdin.take().unwrap().write_all((lines + more).as_bytes()).unwrap();
        assert!(ip.wait().unwrap().success(), "ip -batch");
        let settings = if kind == Kind::Bridged { BRIDGE_SETTINGS } else { SETTINGS };
        for (name, value) in settings {
            fs::write(format!("/proc/sys/net/{name}"), value)
                .unwrap_or_else(|error| panic!("{name}: {error}"));
        }

        thread::sleep(Duration::from_millis(500));

        let dir = std::env::temp_dir().join(format!("twinwall-linux-{}-{kind:?}", holder.id()));
        fs::create_dir_all(&dir).unwrap();
        let program = Arc::new(Mutex::new(Arc::new(Program::default())));
        let published = program.clone();
        let mut server = Server::bind(&dir.join("nfnl"), ServerConfig::default()).unwrap();
        server.register(Box::new(NfTables::new(Host {
            workers: 1,
            now: Box::new(|| 1_000_000_000),
            publish: Box::new(move |program| *published.lock().unwrap() = program),
        })));
        server.register(Box::new(NftCompat));
        thread::spawn(move || server.run(&std::sync::atomic::AtomicBool::new(false)));
        let way = RefCell::new(Way::new(kind));
        let bed = Self { kind, holder, dir, taps, program, preload: preload(), way };
        // What the kernel said to itself is not what rules made of a packet.
        bed.drain(0);
        bed.drain(1);
        Some(bed)
    }

    /// Runs nft with this standard input; what it printed, or how it failed.
    pub(crate) fn nft(&self, side: Side, args: &[&str], input: &str) -> Result<String, String> {
        self.tool(side, "nft", args, input)
    }

    /// The same for any program that speaks nfnetlink.
    pub(crate) fn tool(
        &self,
        side: Side,
        program: &str,
        args: &[&str],
        input: &str,
    ) -> Result<String, String> {
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if side == Side::Ours {
            command.env("LD_PRELOAD", &self.preload).env("TWINWALL_NFNL", self.dir.join("nfnl"));
        }
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// Sends a frame into a TAP.
    pub(crate) fn send(&self, n: usize, frame: &[u8]) {
        self.taps[n].send(frame).unwrap();
    }

    /// Sends one frame into tap0, and returns all that comes out of each TAP.
    pub(crate) fn through(&self, frame: &[u8]) -> [Vec<Vec<u8>>; 2] {
        self.taps[0].send(frame).unwrap();
        [0, 1].map(|n| self.drain(n))
    }

    /// The program that the engine's workers would run.
    pub(crate) fn program(&self) -> Arc<Program> {
        self.program.lock().unwrap().clone()
    }

    /// What came out of a TAP.
    pub(crate) fn drain(&self, n: usize) -> Vec<Vec<u8>> {
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
        let _ = fs::remove_dir_all(&self.dir);
    }
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

/// The preload library, which cargo builds because it is a dependency of these tests.
fn preload() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let name = "libtwinwall_nfnl.so";
    let deps = exe.parent().unwrap();
    let found =
        [deps.join(name), deps.parent().unwrap().join(name)].into_iter().find(|p| p.exists());
    found.unwrap_or_else(|| panic!("no {name} in {}", deps.display()))
}
