//! A passive node in the failover laboratory: the switch on the client's side shows it what node 1 receives and sends there.

use super::{Node, Pair, Setup, write};
use crate::{Daemon, Ends, LabError, PortKind, Result, Wire};

/// The mirror's table in the switch.
const MIRROR: &str = "mirror";

impl Pair {
    /// Starts it, where there is to be [one](Setup::watcher): by the number after those of the nodes. It has one port, `lan`, whose twin
    /// has no address; it knows no route, and sees nothing before [`Pair::mirror`].
    pub fn watcher(&self, setup: &Setup) -> Result<Node> {
        let number = setup.nodes + 1;
        let netns = self.between.nodes().get(usize::from(setup.nodes)).cloned();
        let netns = netns.ok_or_else(|| LabError::Shape {
            what: "the laboratory".into(),
            text: "nobody is to watch".into(),
        })?;
        let dev = format!("node{number}");
        let ends = Ends { router: &netns, host: &self.lan, dev: &dev };
        let wire = Wire::veth(&self.lab, "lan", PortKind::AfPacket, ends)?;
        let ha_lines = format!("{}\nmode = \"passive\"", setup.ha_lines);
        let setup = Setup { ha_lines, ..setup.clone() };
        let settings = Self::settings(&self.lab, &setup, number)?;
        let daemon = Daemon::start(&self.lab, &netns, &settings, &[&wire])?;
        netns.sh("ip link set lan up")?;
        Ok(Node { number, netns, daemon, keepalived: None })
    }

    /// Shows a passive node copies of all frames between node 1 and the switch on the client's side, or no more.
    pub fn mirror(&self, watcher: &Node, on: bool) -> Result<()> {
        if !on {
            return self.lan.sh(&format!("nft delete table netdev {MIRROR}")).map(drop);
        }
        let number = watcher.number;
        let chain = |hook: &str| {
            format!(
                "chain {hook} {{ type filter hook {hook} device \"node1\" priority 0; dup to \"node{number}\"; }}\n"
            )
        };
        let file = self.lab.scratch().join("mirror.nft");
        let text = format!("table netdev {MIRROR} {{\n{}{}}}\n", chain("ingress"), chain("egress"));
        write(&file, &text)?;
        self.lan.run(&["nft", "-f", &file.display().to_string()]).map(drop)
    }

    /// How many frames a passive node sent: none, ever.
    pub fn sent_by(&self, watcher: &Node) -> Result<u64> {
        let path = format!("/sys/class/net/node{}/statistics/rx_packets", watcher.number);
        let text = self.lan.sh(&format!("cat {path}"))?.0;
        text.trim().parse().map_err(|_| LabError::Shape { what: path, text })
    }
}
