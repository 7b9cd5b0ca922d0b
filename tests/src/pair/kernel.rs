//! The same laboratory with Linux itself in the nodes: netfilter, replicated by a real conntrackd (FTFW), and keepalived. It is
//! what twinwall is compared with.

use super::{Between, Flood, Ground, RULESET, Talk, ground, talk, write};
use crate::{
    Lab, LabError, Netns, Process, Result,
    addresses::{CLIENT, LAN, SERVER, WAN},
    traffic, wait_until,
};
use std::{fs, path::PathBuf, time::Duration};

const ROLES: Duration = Duration::from_secs(30);

/// conntrackd's script for keepalived, as Debian's package ships it.
const SCRIPT: &str = "/usr/share/doc/conntrackd/examples/sync/primary-backup.sh";

/// One node.
#[derive(Debug)]
pub struct KernelNode {
    /// Its number, from 1.
    pub number: u8,
    /// Where everything of it is.
    pub netns: Netns,
    conntrackd: Process,
    keepalived: Option<Process>,
    folder: PathBuf,
}

impl KernelNode {
    fn start(lab: &Lab, netns: Netns, number: u8) -> Result<Self> {
        let folder = lab.scratch().join(format!("kernel{number}"));
        fs::create_dir_all(&folder)
            .map_err(|source| LabError::File { path: folder.clone(), source })?;
        let at = |name: &str| folder.join(name).display().to_string();
        // A connection that was not replicated must not be picked up from its middle.
        netns.script(
            "sysctl -qw net.ipv4.ip_forward=1
             sysctl -qw net.ipv4.conf.all.rp_filter=0
             sysctl -qw net.netfilter.nf_conntrack_tcp_loose=0",
        )?;
        write(&folder.join("rules.nft"), RULESET)?;
        netns.run(&["nft", "-f", &at("rules.nft")])?;
        // One commit cuts the node off on all its devices at once.
        let hook = |name: &str, hook: &str| {
            format!(
                "chain {name} {{ type filter hook {hook} devices = {{ lan, wan, sync0 }} priority -500; policy drop; }}\n"
            )
        };
        let cut =
            format!("table netdev cut {{\n{}{}}}\n", hook("in", "ingress"), hook("out", "egress"));
        write(&folder.join("cut.nft"), &cut)?;
        write(&folder.join("conntrackd.conf"), &conntrackd_conf(number, &folder))?;
        let conntrackd = netns.start(&["conntrackd", "-C", &at("conntrackd.conf")])?;
        wait_until("conntrackd", ROLES, || {
            Ok(netns.try_sh(&format!("conntrackd -C {} -s", at("conntrackd.conf")))?.1)
        })?;
        let script = fs::read_to_string(SCRIPT)
            .map_err(|source| LabError::File { path: SCRIPT.into(), source })?
            .replace("/etc/conntrackd/conntrackd.conf", &at("conntrackd.conf"))
            .replace("/var/lock/conntrack.lock", &at("conntrackd.lock"));
        write(&folder.join("primary-backup.sh"), &script)?;
        netns.run(&["chmod", "755", &at("primary-backup.sh")])?;
        write(&folder.join("keepalived.conf"), &keepalived_conf(number, &folder))?;
        let mut node = Self { number, netns, conntrackd, keepalived: None, folder };
        node.keepalived = Some(node.netns.start(&[
            "keepalived",
            "--dont-fork",
            "--log-console",
            "--no-syslog",
            "--vrrp",
            "--use-file",
            &node.at("keepalived.conf"),
            "--pid",
            &node.at("keepalived.pid"),
            "--vrrp_pid",
            &node.at("vrrp.pid"),
        ])?);
        Ok(node)
    }

    fn at(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// Whether it has the shared addresses.
    pub fn has_addresses(&self) -> Result<bool> {
        let (output, _) = self.netns.try_sh("ip -o address show")?;
        Ok([LAN, WAN].iter().all(|address| output.has(&format!(" {address}/"))))
    }

    /// Cuts it off from everything in one moment; returns a time just before.
    pub fn cut(&self) -> Result<u64> {
        let time = traffic::now();
        self.netns.run(&["nft", "-f", &self.at("cut.nft")])?;
        Ok(time)
    }

    /// Processor time of its conntrackd so far, in microseconds.
    pub fn cpu_us(&self) -> u64 {
        cpu_us(&format!("/proc/{}", self.conntrackd.pid()))
    }

    /// How long its last commit took, in milliseconds, as it says itself; none when there was none.
    pub fn commit_ms(&self) -> Option<f64> {
        let log = fs::read_to_string(self.folder.join("conntrackd.log")).unwrap_or_default();
        let line = log.lines().rfind(|line| line.contains("commit has taken"))?;
        let text = line.split("commit has taken").nth(1)?.split_whitespace().next()?;
        text.parse::<f64>().ok().map(|seconds| seconds * 1e3)
    }

    /// What its keepalived logged.
    pub fn keepalived_log(&self) -> String {
        self.keepalived.as_ref().map(Process::output).unwrap_or_default()
    }
}

/// Processor time so far of a thread, or a process of one thread, by its folder under /proc, in microseconds: `schedstat` counts
/// nanoseconds, where `stat` has ticks of 10 ms.
pub fn cpu_us(folder: &str) -> u64 {
    let text = fs::read_to_string(format!("{folder}/schedstat")).unwrap_or_default();
    let ran = text.split_whitespace().next().and_then(|nanoseconds| nanoseconds.parse().ok());
    ran.map_or(0, |nanoseconds: u64| nanoseconds / 1000)
}

fn conntrackd_conf(number: u8, folder: &std::path::Path) -> String {
    let at = |name: &str| folder.join(name).display().to_string();
    format!(
        "Sync {{
    Mode FTFW {{
        ResendQueueSize 131072
        ACKWindowSize 300
    }}
    Multicast {{
        IPv4_address 225.0.0.50
        Group 3780
        IPv4_interface 10.255.0.{number}
        Interface sync0
        SndSocketBuffer 16777216
        RcvSocketBuffer 16777216
        Checksum on
    }}
}}
General {{
    HashSize 524288
    HashLimit 1048576
    LogFile {log}
    LockFile {lock}
    UNIX {{
        Path {control}
    }}
    NetlinkBufferSize 16777216
    NetlinkBufferSizeMaxGrowth 67108864
    Filter From Kernelspace {{
        Protocol Accept {{
            TCP
            UDP
        }}
        Address Ignore {{
            IPv4_address 127.0.0.1
            IPv4_address 10.255.0.1
            IPv4_address 10.255.0.2
        }}
    }}
}}
",
        log = at("conntrackd.log"),
        lock = at("conntrackd.lock"),
        control = at("conntrackd.ctl"),
    )
}

fn keepalived_conf(number: u8, folder: &std::path::Path) -> String {
    let priority = 200 - 50 * u32::from(number);
    let instance = |name: &str, id: u8, address: &str| {
        format!(
            "vrrp_instance {name} {{
    interface {name}
    state BACKUP
    nopreempt
    virtual_router_id {id}
    priority {priority}
    version 3
    advert_int 0.02
    virtual_ipaddress {{
        {address}/24
    }}
}}
"
        )
    };
    let script = folder.join("primary-backup.sh").display().to_string();
    format!(
        "global_defs {{
    router_id kernel{number}
    script_user root
    enable_script_security
    vrrp_rt_priority 50
    vrrp_rlimit_rttime 100000
    vrrp_garp_master_repeat 1
    vrrp_garp_master_delay 1
}}
vrrp_sync_group pair {{
    group {{
        lan
        wan
    }}
    notify_master \"{script} primary\"
    notify_backup \"{script} backup\"
    notify_fault \"{script} fault\"
}}
{}{}",
        instance("lan", 51, LAN),
        instance("wan", 52, WAN)
    )
}

/// Two such nodes between client and server.
#[derive(Debug)]
pub struct KernelPair {
    /// The nodes, node 1 first: it is master.
    pub nodes: Vec<KernelNode>,
    /// The client.
    pub client: Netns,
    /// The server.
    pub server: Netns,
    between: Between,
    /// Dropped last.
    _lab: Lab,
}

impl KernelPair {
    /// Builds it, and waits until node 1 is master and the client reaches the server.
    pub fn new() -> Result<Self> {
        let mut lab = Lab::new()?;
        let Ground { client, server, lan, wan, between } = ground(&mut lab, 2, 1)?;
        let mut nodes = Vec::new();
        for (number, netns) in (1..).zip(between.nodes()) {
            for (name, switch) in [("lan", &lan), ("wan", &wan)] {
                let dev = format!("node{number}");
                lab.veth((netns, name), (switch, &dev))?;
                switch.sh(&format!("ip link set {dev} master br0"))?;
            }
            let (clients, servers) = (traffic::flows::CLIENTS, traffic::flows::SERVERS);
            netns.script(&format!(
                "ip address replace 192.0.2.{own}/24 dev lan
                 ip address replace 203.0.113.{own}/24 dev wan
                 ip route replace 198.51.100.0/24 dev wan metric 10
                 ip route replace {clients} via {CLIENT}
                 ip route replace {servers} via {SERVER} dev wan onlink",
                own = 10 + number
            ))?;
            let node = KernelNode::start(&lab, netns.clone(), number)?;
            if number == 1 {
                wait_until("node 1 to be master", ROLES, || node.has_addresses())?;
            }
            nodes.push(node);
        }
        let pair = Self { nodes, client, server, between, _lab: lab };
        wait_until("the server to answer the client", ROLES, || {
            pair.client.sh(&format!("ping -n -c 1 -W 1 {SERVER}")).map(|_| true)
        })?;
        Ok(pair)
    }

    /// Drops so many of a hundred packets between the nodes.
    pub fn lose(&self, percent: u32) -> Result<()> {
        self.between.lose(percent)
    }

    /// Traffic from the client to the server.
    pub fn talk(&self, options: &str) -> Result<Talk> {
        let target = format!("{SERVER}:{}", talk::PORT);
        Talk::start(&self.client, (&self.server, talk::PORT), &target, options)
    }

    /// A flood of new flows.
    pub fn flood(&self, established: u32, rate: u32, seconds: u32) -> Result<Flood> {
        Flood::start(&self.client, &self.server, (established, rate, seconds))
    }
}
