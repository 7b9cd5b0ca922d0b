//! The failover laboratory: two nodes or more between a client and a server, keepalived on their twins, a network between them.
//!
//! ```text
//!           switch "lan"                                switch "wan"
//! client ────┬───────── lan 192.0.2.11   | node 1 | wan 203.0.113.11 ─────┬──── server
//! 192.0.2.2  ├───────── lan 192.0.2.12   | node 2 | wan 203.0.113.12 ─────┤     198.51.100.2
//!            └─────────  …               |   …    |                       │
//!            who is master has 192.0.2.1 and 198.51.100.1
//!
//! node 1 sync0 ── a cable ── sync0 node 2; more nodes than two have a switch between them
//! ```
//!
//! Everything stands in a namespace of its own, the switches (bridges) too. Each node has the rules from its configuration file.
//! Twins get their own addresses by `ip` after each start of a daemon, as a network configuration would do it, and the ways to
//! the networks on both sides: so the node that becomes master can forward before keepalived has given it the shared addresses.

mod between;
mod keepalived;
mod kernel;
mod talk;
mod watcher;

pub use between::Between;
pub use keepalived::Keepalived;
pub use kernel::{KernelNode, KernelPair, cpu_us};
pub use talk::{Flood, Talk};

use crate::{
    Daemon, Ends, Lab, LabError, Netns, Output, PortKind, Result, Settings, Wire,
    addresses::{CLIENT, LAN, LAN6, SERVER, WAN, WAN6},
    process, traffic, wait_until,
};
use rustix::process::Signal;
use std::{fs, time::Duration};

/// What the nodes of a pair do, as people write it: connections begin inside and are hidden behind the shared address, which they
/// name, for `masquerade` would take the node's own as long as that is the only one; a port of it leads to the client's port 7000.
pub const RULESET: &str = "
flush ruleset
table inet filter {
  chain forward {
    type filter hook forward priority filter; policy drop;
    ct state vmap { established : accept, related : accept, invalid : drop }
    iifname lan accept
    ct status dnat accept
  }
}
table ip nat {
  chain prerouting {
    type nat hook prerouting priority dstnat;
    iifname wan tcp dport 8080 dnat to 192.0.2.2:7000
  }
  chain postrouting {
    type nat hook postrouting priority srcnat;
    oifname wan ip saddr { 192.0.2.0/24, 10.64.0.0/22 } snat to 198.51.100.1
  }
}
";

/// The fastest sane distance between adverts: a takeover begins after 70 ms.
pub const FAST: &str = "0.02";
/// The distance on a machine that is busy with other things: adverts that come too late look like a dead node.
const SAFE: &str = "0.1";

/// The key file.
const KEYS: &str = "ha.key";
/// What is in it at the start.
pub const KEY: &str = "1 5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a";

/// How long a change of roles may take on a busy machine before it counts as not coming.
const ROLES: Duration = Duration::from_secs(30);

/// What a test asks of the laboratory.
#[derive(Debug, Clone)]
pub struct Setup {
    /// How many nodes.
    pub nodes: u8,
    /// Whether there is one more that only watches ([`Pair::watcher`]).
    pub watcher: bool,
    /// How many networks between the nodes.
    pub links: u8,
    /// Whether the daemons replicate (`[ha]`). Without, only addresses move.
    pub ha: bool,
    /// Lines for the end of the `[ha]` section.
    pub ha_lines: String,
    /// Whether keepalived runs.
    pub keepalived: bool,
    /// Seconds between its adverts: a third of a takeover's time.
    pub advert: &'static str,
    /// The daemons' other settings.
    pub settings: Settings,
    /// The rules that each node starts with.
    pub ruleset: String,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            nodes: 2,
            watcher: false,
            links: 1,
            ha: true,
            ha_lines: String::new(),
            keepalived: true,
            advert: SAFE,
            settings: Settings::default(),
            ruleset: RULESET.into(),
        }
    }
}

impl Setup {
    /// The same with first packets of the flood's flows waiting until the standby has them; `strict`: or they do not get through.
    #[must_use]
    pub fn deferring(mut self, strict: bool) -> Self {
        self.ruleset.push_str(&format!(
            "
table inet ha {{
  chain forward {{
    type filter hook forward priority 10; policy accept;
    ct state new udp dport {} ct label set 127
  }}
}}
",
            traffic::flows::PORT
        ));
        self.ha_lines.push_str(&format!("[ha.defer]\nlabel = 127\nstrict = {strict}\n"));
        self
    }
}

/// One of the nodes.
#[derive(Debug)]
pub struct Node {
    /// Its number, from 1.
    pub number: u8,
    /// Where its daemon, twins and keepalived are.
    pub netns: Netns,
    /// Its daemon.
    pub daemon: Daemon,
    /// Its keepalived, where the laboratory has one.
    pub keepalived: Option<Keepalived>,
}

impl Node {
    /// Gives the twins what is this node's own: addresses, and the ways to the networks on both sides, which a master has anyway.
    fn address(&self) -> Result<()> {
        let own = 10 + self.number;
        self.netns.script(&format!(
            "ip link set lan up
             ip link set wan up
             ip address replace 192.0.2.{own}/24 dev lan
             ip address replace 203.0.113.{own}/24 dev wan
             ip address replace 2001:db8:1::{own}/64 dev lan nodad
             ip address replace 2001:db8:ff::{own}/64 dev wan nodad
             ip route replace 198.51.100.0/24 dev wan metric 10
             ip -6 route replace 2001:db8:2::/64 dev wan metric 10
             ip route replace {clients} via {CLIENT}
             ip route replace {servers} via {SERVER} dev wan onlink",
            clients = traffic::flows::CLIENTS,
            servers = traffic::flows::SERVERS,
        ))
    }

    /// Whether it has the shared addresses.
    pub fn has_addresses(&self) -> Result<bool> {
        let (output, _) = self.netns.try_sh("ip -o address show")?;
        Ok([LAN, WAN].iter().all(|address| output.has(&format!(" {address}/"))))
    }

    /// One of the things that it counts as a node among others.
    pub fn ha_count(&self, name: &str) -> Result<u64> {
        Ok(self.ha_field(&format!("/counters/{name}"))?.as_u64().unwrap_or_default())
    }

    /// What `twinwall ha status --json` says.
    pub fn ha(&self) -> Result<serde_json::Value> {
        self.daemon.cli(&["ha", "status", "--json"])?.json()
    }

    /// A field of that, by JSON pointer.
    pub fn ha_field(&self, pointer: &str) -> Result<serde_json::Value> {
        let all = self.ha()?;
        all.pointer(pointer).cloned().ok_or_else(|| LabError::Shape {
            what: format!("{pointer} of `twinwall ha status --json`"),
            text: all.to_string(),
        })
    }

    /// Its role.
    pub fn role(&self) -> Result<String> {
        Ok(self.ha_field("/role")?.as_str().unwrap_or_default().to_owned())
    }

    /// How many flows the daemon has, its own and imported ones, as the kernel's own interface tells.
    pub fn flows(&self) -> Result<u64> {
        let count = self.daemon.tool(&["conntrack", "-C"])?.0;
        count
            .trim()
            .parse()
            .map_err(|_| LabError::Shape { what: "conntrack -C".into(), text: count.clone() })
    }

    /// Cuts the node off: its daemon and its keepalived are killed with SIGKILL, in this order, within microseconds. Returns the
    /// time ([`traffic::now`]) before the first of these.
    pub fn cut(&mut self) -> u64 {
        let pids = self.keepalived.as_ref().map(Keepalived::pids).unwrap_or_default();
        let daemon = self.daemon.process().pid();
        let time = traffic::now();
        process::send(daemon, Signal::KILL);
        for pid in pids {
            process::send(pid, Signal::KILL);
        }
        self.daemon.kill();
        if let Some(keepalived) = &mut self.keepalived {
            keepalived.kill();
        }
        time
    }

    /// Starts what [`Node::cut`] killed.
    pub fn restart(&mut self) -> Result<()> {
        self.daemon.restart()?;
        self.finish_restart()
    }

    /// The part of it after the daemon's own start: the twins' addresses, and keepalived.
    pub fn finish_restart(&mut self) -> Result<()> {
        wait_until("the twins", ROLES, || {
            let (links, _) = self.netns.try_sh("ip -o link show")?;
            Ok(links.has(" lan: ") && links.has(" wan: "))
        })?;
        self.address()?;
        match &mut self.keepalived {
            Some(keepalived) => {
                keepalived.restart()?;
                keepalived.wait_ready()
            }
            None => Ok(()),
        }
    }
}

/// The laboratory; dropping it stops keepalived and the daemons first and deletes the namespaces last.
#[derive(Debug)]
pub struct Pair {
    /// The nodes, node 1 first.
    pub nodes: Vec<Node>,
    /// The client, 192.0.2.2; its device is `eth0`.
    pub client: Netns,
    /// The server, 198.51.100.2; its device is `eth0`. It has no way to the client but by the shared address.
    pub server: Netns,
    /// The switch on the client's side; its device towards node N is `nodeN`.
    pub lan: Netns,
    /// The switch on the server's side, likewise.
    pub wan: Netns,
    /// The networks between the nodes.
    pub between: Between,
    /// The lab of all this.
    pub lab: Lab,
}

impl Pair {
    /// Builds it, and waits until node 1 is master and the client reaches the server.
    pub fn new(setup: &Setup) -> Result<Self> {
        let mut lab = Lab::new()?;
        let Ground { client, server, lan, wan, between } =
            ground(&mut lab, setup.nodes + u8::from(setup.watcher), setup.links)?;
        let mut nodes = Vec::new();
        for (number, netns) in (1..=setup.nodes).zip(between.nodes()) {
            nodes.push(Self::node(&lab, setup, number, [netns, &lan, &wan])?);
        }
        let mut pair = Self { nodes, client, server, lan, wan, between, lab };
        if setup.keepalived {
            // Node 1 first, so that it is master.
            for node in &mut pair.nodes {
                let mut keepalived =
                    Keepalived::start(&node.netns, node.number, setup.advert, &node.daemon)?;
                keepalived.wait_ready()?;
                node.keepalived = Some(keepalived);
                if node.number == 1 {
                    wait_until("node 1 to be master", ROLES, || node.has_addresses())
                        .map_err(|error| pair_error(error, node))?;
                }
            }
        } else if let Some(first) = pair.nodes.first() {
            pair.give_addresses(first)?;
            if setup.ha {
                first.daemon.cli(&["ha", "promote", "--force"])?;
            }
        }
        pair.wait_for_path()?;
        if setup.ha {
            pair.wait_synchronised()?;
        }
        Ok(pair)
    }

    fn node(lab: &Lab, setup: &Setup, number: u8, places: [&Netns; 3]) -> Result<Node> {
        let [netns, lan, wan] = places;
        let mut wires = Vec::new();
        for (name, switch) in [("lan", lan), ("wan", wan)] {
            let dev = format!("node{number}");
            let ends = Ends { router: netns, host: switch, dev: &dev };
            wires.push(Wire::veth(lab, name, PortKind::AfPacket, ends)?);
            switch.sh(&format!("ip link set {dev} master br0"))?;
        }
        let settings = Self::settings(lab, setup, number)?;
        let daemon = Daemon::start(lab, netns, &settings, &wires.iter().collect::<Vec<_>>())?;
        let node = Node { number, netns: netns.clone(), daemon, keepalived: None };
        node.address()?;
        Ok(node)
    }

    /// The settings of a node's daemon; its rules are written for it to read.
    fn settings(lab: &Lab, setup: &Setup, number: u8) -> Result<Settings> {
        let rules = lab.scratch().join(format!("node{number}.nft"));
        write(&rules, &setup.ruleset)?;
        let mut settings = setup.settings.clone();
        // Each node has a core of its own, as far as there are as many.
        let cores = crate::demo::cores();
        let core = cores.iter().cycle().nth(usize::from(number) - 1);
        settings.cores = core.into_iter().copied().collect();
        // A connection that was not replicated must not be picked up from its middle: nobody would notice.
        settings.more.push_str("[conntrack.sysctl]\nnf_conntrack_tcp_loose = 0\n");
        settings.more.push_str(&format!("[rules]\nruleset = \"{}\"\n", rules.display()));
        if setup.ha {
            settings.more.push_str(&Self::ha_section(lab, setup, number)?);
        }
        Ok(settings)
    }

    /// The `[ha]` section of a node; all nodes have one key.
    fn ha_section(lab: &Lab, setup: &Setup, number: u8) -> Result<String> {
        use std::os::unix::fs::PermissionsExt as _;
        let at = |name: &str| lab.scratch().join(name);
        let key = at(KEYS);
        if !key.exists() {
            write(&key, &format!("{KEY}\n"))?;
            fs::set_permissions(&key, fs::Permissions::from_mode(0o600))
                .map_err(|source| LabError::File { path: key.clone(), source })?;
        }
        let (nodes, lines) = (setup.nodes, &setup.ha_lines);
        let state = at(&format!("node{number}.ha"));
        // Well under the time that a takeover takes, and more than a busy machine keeps a thread waiting.
        let lease = if setup.advert == FAST { 50 } else { 200 };
        let mut text = format!(
            "[ha]\nnode = {number}\nnodes = {nodes}\nkey = \"{}\"\nstate = \"{}\"\nlease_ms = {lease}\n{lines}\n",
            key.display(),
            state.display()
        );
        for link in 0..setup.links {
            text.push_str(&format!(
                "[[ha.link]]\ninterface = \"sync{link}\"\ngroup = \"239.255.77.{}\"\n",
                link + 1
            ));
        }
        Ok(text)
    }

    /// Replaces the key file, which is one for all nodes. They read it when they are told to.
    pub fn write_keys(&self, lines: &[&str]) -> Result<()> {
        // As it was made, with mode 0600.
        write(&self.lab.scratch().join(KEYS), &lines.join("\n"))
    }

    /// Gives a node the shared addresses by hand and announces them, where no keepalived does.
    pub fn give_addresses(&self, node: &Node) -> Result<()> {
        for other in self.nodes.iter().filter(|other| other.number != node.number) {
            let _ = other.netns.try_sh(&format!("ip address del {LAN}/24 dev lan"))?;
            let _ = other.netns.try_sh(&format!("ip address del {WAN}/24 dev wan"))?;
        }
        node.netns.script(&format!(
            "ip address replace {LAN}/24 dev lan
             ip address replace {WAN}/24 dev wan
             arping -q -c 1 -U -I lan {LAN}
             arping -q -c 1 -U -I wan {WAN}"
        ))
    }

    /// Waits until the server answers the client.
    pub fn wait_for_path(&self) -> Result<()> {
        wait_until("the server to answer the client", ROLES, || {
            self.client.sh(&format!("ping -n -c 1 -W 1 {SERVER}")).map(|_| true)
        })
        .map_err(|error| LabError::Shape {
            what: error.to_string(),
            text: self.nodes.iter().map(explain).collect(),
        })
    }

    /// Waits until every node says that it is synchronised.
    pub fn wait_synchronised(&self) -> Result<()> {
        wait_until("the nodes to be synchronised", ROLES, || {
            for node in &self.nodes {
                let peers = node.ha_field("/peers")?;
                let count = peers.as_array().map_or(0, Vec::len);
                if node.ha_field("/synchronised")? != true || count + 1 < self.nodes.len() {
                    return Ok(false);
                }
            }
            Ok(true)
        })
        .map_err(|error| LabError::Shape {
            what: error.to_string(),
            text: self.nodes.iter().map(explain).collect(),
        })
    }

    /// The index of the only node with the shared addresses; an error where none or several have them.
    pub fn master(&self) -> Result<usize> {
        let mut masters = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            if node.has_addresses()? {
                masters.push(index);
            }
        }
        match masters[..] {
            [one] => Ok(one),
            _ => Err(LabError::Shape {
                what: format!("the masters {masters:?}"),
                text: self.nodes.iter().map(explain).collect(),
            }),
        }
    }

    /// Waits until a node, by its index, is the only one with the shared addresses.
    pub fn wait_for_master(&self, index: usize) -> Result<()> {
        wait_until(&format!("node {} to be the only master", index + 1), ROLES, || {
            Ok(self.master()? == index)
        })
    }

    /// Drops so many of a hundred packets on every link between the nodes, at random; 0 drops none.
    pub fn lose(&self, percent: u32) -> Result<()> {
        self.between.lose(percent)
    }

    /// What is known of every node, for the message of a failed test.
    pub fn explain(&self) -> String {
        let mut text: String = self.nodes.iter().map(explain).collect();
        for host in [&self.client, &self.server] {
            let seen = host.sh("ip neigh show").map_or_else(|error| error.to_string(), |out| out.0);
            text.push_str(&format!("--- neighbours of the {}\n{seen}", host.role()));
        }
        for node in &self.nodes {
            let links = node
                .netns
                .sh("ip -o link show")
                .map_or_else(|error| error.to_string(), |out| out.0);
            text.push_str(&format!("--- links of node {}\n{links}", node.number));
        }
        text
    }
}

/// What stands around the nodes, and their namespaces.
struct Ground {
    client: Netns,
    server: Netns,
    lan: Netns,
    wan: Netns,
    between: Between,
}

/// Makes it, for so many nodes and with so many networks between them.
fn ground(lab: &mut Lab, nodes: u8, links: u8) -> Result<Ground> {
    let (client, server) = (lab.netns("client")?, lab.netns("server")?);
    let (lan, wan) = (switch(lab, "lan")?, switch(lab, "wan")?);
    let between = Between::new(lab, nodes, links)?;
    for (host, switch) in [(&client, &lan), (&server, &wan)] {
        lab.veth((host, "eth0"), (switch, "host"))?;
        switch.sh("ip link set host master br0")?;
    }
    address_hosts(&client, &server)?;
    Ok(Ground { client, server, lan, wan, between })
}

/// Addresses and routes of both hosts; each is also all the hosts of a network.
fn address_hosts(client: &Netns, server: &Netns) -> Result<()> {
    let (clients, servers) = (traffic::flows::CLIENTS, traffic::flows::SERVERS);
    client.script(&format!(
        "ip address add {CLIENT}/24 dev eth0
         ip address add 2001:db8:1::2/64 dev eth0 nodad
         ip route add default via {LAN}
         ip -6 route add default via {LAN6}
         ip route add local {clients} dev lo"
    ))?;
    server.script(&format!(
        "ip address add {SERVER}/24 dev eth0
         ip address add 2001:db8:2::2/64 dev eth0 nodad
         ip -6 route add default via {WAN6}
         ip route add local {servers} dev lo"
    ))
}

/// A namespace with a bridge.
fn switch(lab: &mut Lab, name: &str) -> Result<Netns> {
    let netns = lab.netns(name)?;
    netns.script(&bridge("br0"))?;
    Ok(netns)
}

/// The commands that make a bridge that forwards at once and says nothing by itself.
fn bridge(name: &str) -> String {
    format!(
        "ip link add {name} type bridge stp_state 0 forward_delay 0 mcast_snooping 0
         ip link set {name} addrgenmode none
         ip link set {name} up"
    )
}

fn write(path: &std::path::Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|source| LabError::File { path: path.to_owned(), source })
}

fn pair_error(error: LabError, node: &Node) -> LabError {
    LabError::Shape { what: error.to_string(), text: explain(node) }
}

/// What a node, its kernel and its keepalived know at this moment.
fn explain(node: &Node) -> String {
    let mut text = format!("--- node {}\n", node.number);
    let mut add = |output: Result<Output>| match output {
        Ok(output) => text.push_str(&output.0),
        Err(error) => text.push_str(&error.to_string()),
    };
    add(node.daemon.cli(&["drops"]));
    add(node.daemon.cli(&["ha", "status"]));
    add(node.netns.sh("ip -br address show"));
    add(node.netns.sh("ip neigh show"));
    text.push_str(&process::tail(&node.daemon.log(), 2000));
    if let Some(keepalived) = &node.keepalived {
        text.push_str("--- its keepalived\n");
        text.push_str(&process::tail(&keepalived.log(), 2000));
    }
    text
}
