//! A port's wire: what the daemon's port is plugged into, whatever the driver.

use crate::{Lab, Netns, Result};
use std::sync::atomic::{AtomicU32, Ordering};

/// Which driver a port uses on its end of a veth pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortKind {
    /// `net_af_packet`: works in every kernel and container.
    AfPacket,
    /// `net_af_xdp`: faster; one queue and an MTU of 1500 on a veth; takes SYS_ADMIN.
    AfXdp,
}

/// The namespaces that a wire joins.
#[derive(Debug, Clone, Copy)]
pub struct Ends<'a> {
    /// Where the daemon runs.
    pub router: &'a Netns,
    /// Where the wire's other end is, as a device of the kernel's.
    pub host: &'a Netns,
    /// That device's name.
    pub dev: &'a str,
}

/// A port of the daemon's: its name, its device, and lines of its own for the configuration.
#[derive(Debug, Clone)]
pub struct Wire {
    /// The port's and the twin's name.
    pub name: String,
    /// The DPDK device string.
    pub device: String,
    /// More lines for its `[[port]]` section.
    pub more: String,
}

impl Wire {
    /// A port on a veth pair whose other end is `ends.dev` in `ends.host`.
    ///
    /// With af_packet the router's kernel sees every frame that the port receives, and must not handle any. The daemon sees to
    /// that by settings under /proc/sys. Where these are read-only (in most containers), the veth's end is made a port of a
    /// bridge that is down, which drops everything after the packet socket took its copy.
    pub fn veth(lab: &Lab, name: &str, kind: PortKind, ends: Ends<'_>) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let index = NEXT.fetch_add(1, Ordering::Relaxed);
        let Ends { router, host, dev } = ends;
        let raw = format!("v-{name}");
        lab.veth((router, &raw), (host, dev))?;
        let device = match kind {
            PortKind::AfPacket => {
                if std::fs::OpenOptions::new()
                    .write(true)
                    .open("/proc/sys/net/ipv4/conf/lo/rp_filter")
                    .is_err()
                {
                    router.script(&format!(
                        "ip link add sink-{name} type bridge
                         ip link set sink-{name} addrgenmode none
                         ip link set {raw} master sink-{name}"
                    ))?;
                }
                format!("net_af_packet{index},iface={raw}")
            }
            PortKind::AfXdp => format!("net_af_xdp{index},iface={raw}"),
        };
        Ok(Self { name: name.to_owned(), device, more: String::new() })
    }

    /// A port with any device.
    pub fn new(name: &str, device: String) -> Self {
        Self { name: name.to_owned(), device, more: String::new() }
    }

    /// The same with lines for its `[[port]]` section.
    #[must_use]
    pub fn with(mut self, lines: &str) -> Self {
        self.more.push_str(lines);
        self.more.push('\n');
        self
    }

    /// How many frames the driver keeps at most when the port closes: DPDK 22.11's net_af_xdp never gives back what is in its
    /// fill ring (2048 frames) and in its completion ring.
    pub(crate) fn kept(&self) -> usize {
        if self.device.starts_with("net_af_xdp") { 2048 + 256 } else { 0 }
    }

    /// Whether the port has a twin.
    pub fn routed(&self) -> bool {
        !self.more.contains("mode = \"pair\"")
    }
}
