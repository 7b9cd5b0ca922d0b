//! The kernel's side: the bed's namespace.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::bed::{self, Bed};
use crate::play::{LINUX, Left, Side};
use crate::script::Tap;
use crate::seen;
use crate::table::{self, Entry};

/// Neighbours on both sides, and those to which the bed shows what is for the node itself.
pub(crate) const NEIGHBOURS: &[(&str, &str, &str)] = &[
    ("10.0.0.2", "02:00:00:00:00:02", "tap0"),
    ("10.0.0.3", "02:00:00:00:00:03", "tap0"),
    ("10.0.0.4", "02:00:00:00:00:04", "tap0"),
    ("fd00::2", "02:00:00:00:00:02", "tap0"),
    ("fd00::3", "02:00:00:00:00:03", "tap0"),
    ("fd00::4", "02:00:00:00:00:04", "tap0"),
    ("10.0.1.3", "02:00:00:00:01:03", "tap1"),
    ("10.0.1.4", "02:00:00:00:01:04", "tap1"),
    ("10.0.1.99", "02:00:00:00:01:63", "tap1"),
    ("fd00:1::3", "02:00:00:00:01:03", "tap1"),
    ("fd00:1::4", "02:00:00:00:01:04", "tap1"),
    ("fd00:1::63", "02:00:00:00:01:63", "tap1"),
];
const SHOWN: [u8; 6] = [2, 0, 0, 0, 1, 0x63];
const SETTINGS: &[(&str, &str)] = &[
    ("ipv4/icmp_ratelimit", "0"),
    ("ipv6/icmp/ratelimit", "0"),
    ("ipv6/auto_flowlabels", "0"),
    ("ipv4/conf/all/accept_local", "0"),
];
/// What the kernel says by itself does not leave, but for errors that scripts ask for.
const QUIET: &str = "table inet quiet {
chain out {
type filter hook output priority -1000
meta mark 0xd0b accept
icmp type time-exceeded accept
icmp type destination-unreachable icmp code frag-needed accept
icmpv6 type { packet-too-big, time-exceeded } accept
drop
}
}
";

/// See the module.
pub(crate) struct Kernel<'a> {
    bed: &'a Bed,
    /// Settings that the script changed, with what they were.
    changed: Vec<(String, String)>,
}

impl<'a> Kernel<'a> {
    pub(crate) fn new(bed: &'a Bed) -> Self {
        let mut lines = String::new();
        for (addr, mac, tap) in NEIGHBOURS {
            lines += &format!("neigh add {addr} lladdr {mac} dev {tap} nud permanent\n");
        }
        let mut ip =
            Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
        ip.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        assert!(ip.wait().unwrap().success(), "ip -batch");
        for (name, value) in SETTINGS {
            fs::write(format!("/proc/sys/net/{name}"), value)
                .unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        Self { bed, changed: Vec::new() }
    }

    fn drain(&self) -> Left {
        let mut left = Left::default();
        for n in 0..2 {
            for frame in self.bed.drain(n) {
                let shown = frame[..6] == SHOWN;
                left.frames[if shown { 2 } else { n }].push(frame);
            }
        }
        left
    }
}

fn setting(name: &str) -> String {
    format!("/proc/sys/net/netfilter/{name}")
}

impl Side for Kernel<'_> {
    fn name(&self) -> &'static str {
        LINUX
    }

    fn begin(&mut self) {
        for (name, value) in self.changed.drain(..).rev() {
            fs::write(name, value).unwrap();
        }
        let text = format!("flush ruleset\n{}{QUIET}", seen::rules(true));
        self.bed.nft(bed::Side::Kernel, &["-f", "-"], &text).unwrap();
        // An empty table is no error; conntrack says so in its own way.
        let _ = self.bed.tool(bed::Side::Kernel, "conntrack", &["-F"], "");
        self.drain();
    }

    fn nft(&mut self, text: &str) -> Result<(), String> {
        self.bed.nft(bed::Side::Kernel, &["-f", "-"], text).map(drop)
    }

    fn sysctl(&mut self, name: &str, value: &str) {
        let path = setting(name);
        let old = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        fs::write(&path, value).unwrap_or_else(|error| panic!("{name}: {error}"));
        self.changed.push((path, old));
    }

    fn wait(&mut self, seconds: f64) {
        thread::sleep(Duration::from_secs_f64(seconds));
    }

    fn pass(&mut self, at: Tap, frame: &[u8]) -> Left {
        self.bed.send(usize::from(at == Tap::Out), frame);
        self.drain()
    }

    fn listing(&mut self, family: &str, table: &str) -> String {
        self.bed.nft(bed::Side::Kernel, &["list", "table", family, table], "").unwrap()
    }

    fn table(&mut self) -> Vec<Entry> {
        let text = self.bed.tool(bed::Side::Kernel, "conntrack", &["-L", "-o", "extended"], "");
        table::listing(&text.unwrap())
    }
}
