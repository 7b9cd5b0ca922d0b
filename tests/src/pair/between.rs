//! What is between the nodes: as many networks as a test asks for. Node N's device on link L is `syncL` with the address
//! 10.255.L.N.
//!
//! Two nodes are joined by cables, as docs/ha.md has it: a veth pair for each link. A switch would cost each datagram a way through
//! a bridge, which floods multicast, on the account of who sends. Three nodes and more have a switch (a bridge) for each link.

use super::{bridge, write};
use crate::{Lab, LabError, Netns, Result};

/// The networks between the nodes.
#[derive(Debug)]
pub struct Between {
    /// The nodes, node 1 first.
    nodes: Vec<Netns>,
    links: u8,
    /// Where the switches are, with the port `nodeN-L` for each node and link; none where there are cables.
    switches: Option<Netns>,
}

impl Between {
    /// Makes the namespaces of so many nodes, and so many networks between them.
    pub fn new(lab: &mut Lab, nodes: u8, links: u8) -> Result<Self> {
        let made: Result<_> = (1..=nodes).map(|n| lab.netns(&format!("node{n}"))).collect();
        let mut between = Self { nodes: made?, links, switches: None };
        match &between.nodes[..] {
            [one, other] => {
                for dev in (0..links).map(device) {
                    lab.veth((one, &dev), (other, &dev))?;
                }
            }
            nodes => {
                let switches = lab.netns("sync")?;
                for link in 0..links {
                    switches.script(&bridge(&format!("br{link}")))?;
                    for (number, netns) in (1..).zip(nodes) {
                        let port = port(number, link);
                        lab.veth((netns, &device(link)), (&switches, &port))?;
                        switches.sh(&format!("ip link set {port} master br{link}"))?;
                    }
                }
                between.switches = Some(switches);
            }
        }
        for (number, netns) in (1..).zip(&between.nodes) {
            for link in 0..links {
                netns.sh(&format!(
                    "ip address add 10.255.{link}.{number}/24 dev {}",
                    device(link)
                ))?;
            }
        }
        Ok(between)
    }

    /// The nodes' namespaces, node 1 first.
    pub fn nodes(&self) -> &[Netns] {
        &self.nodes
    }

    /// Drops so many of a hundred packets on every link, at random, each where it arrives; 0 drops none.
    pub fn lose(&self, percent: u32) -> Result<()> {
        for netns in &self.nodes {
            let _ = netns.try_sh("nft delete table netdev loss")?;
            if percent == 0 {
                continue;
            }
            let chains: String = (0..self.links)
                .map(|link| {
                    format!(
                        "chain c{link} {{ type filter hook ingress device \"{}\" priority 0; numgen random mod 100 < {percent} counter drop; }}\n",
                        device(link)
                    )
                })
                .collect();
            let file = netns.scratch().join("loss.nft");
            write(&file, &format!("table netdev loss {{\n{chains}}}\n"))?;
            netns.run(&["nft", "-f", &file.display().to_string()])?;
        }
        Ok(())
    }

    /// Has a node, by its index, lose its carrier on a link, or get it back: what it is plugged into goes down, or up.
    pub fn set_link(&self, index: usize, link: u8, up: bool) -> Result<()> {
        let (netns, dev) = match &self.switches {
            Some(switches) => (switches, port(index + 1, link)),
            None => {
                let far = self.nodes.iter().enumerate().find(|(other, _)| *other != index);
                let (_, far) = far.ok_or_else(|| LabError::Shape {
                    what: "the nodes".into(),
                    text: "there is one alone".into(),
                })?;
                (far, device(link))
            }
        };
        let state = if up { "up" } else { "down" };
        netns.sh(&format!("ip link set {dev} {state}")).map(drop)
    }
}

fn device(link: u8) -> String {
    format!("sync{link}")
}

/// A switch's port towards a node.
fn port(number: usize, link: u8) -> String {
    format!("node{number}-{link}")
}
