//! The kernel's own stack on the interfaces below ports, which has to keep quiet.
//!
//! # Overview
//!
//! `net_af_packet` gets a copy of what an interface receives; the kernel gets the other. The addresses are on the twins, but
//! Linux answers for any of its addresses on any interface, and may forward as well: each packet would be handled twice.
//! [`Below`] therefore turns the kernel's IP off there: IPv4 by reverse-path filtering (the way back leads through a twin,
//! so all is refused), no forwarding and no ARP answers; IPv6 altogether. An interface with addresses of its own is left
//! alone, with a warning: somebody may be connected through it. Other drivers take their device from the kernel.
//!
//! # Life cycle
//!
//! Set before the twins have addresses; dropping it restores what was there.

use std::fs;
use std::path::PathBuf;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressMessage;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::config::{Device, Loaded};
use crate::mirror::socket::{Requests, encode_dump};

/// The settings of one family, under /proc/sys/net (Documentation/networking/ip-sysctl.rst).
struct Family {
    /// The folder of interfaces.
    folder: &'static str,
    /// Each setting with what it shall be.
    settings: &'static [(&'static str, &'static str)],
}

/// Source must be reachable by this interface (it never is), no forwarding, no ARP answer for any address.
const V4: Family = Family {
    folder: "/proc/sys/net/ipv4/conf",
    settings: &[("rp_filter", "1"), ("forwarding", "0"), ("arp_ignore", "8")],
};

/// No IPv6.
const V6: Family = Family { folder: "/proc/sys/net/ipv6/conf", settings: &[("disable_ipv6", "1")] };

/// `AF_INET` and `AF_INET6` as in `struct ifaddrmsg`, and the scope of link-local addresses (linux/rtnetlink.h).
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const SCOPE_LINK: u8 = 253;

/// Settings that were changed, and what they were. Dropping it restores them.
#[derive(Default)]
pub(super) struct Below {
    changed: Vec<(PathBuf, String)>,
}

impl Below {
    /// Quiets the kernel on every interface that a port shares with it.
    pub(super) fn quiet(loaded: &Loaded) -> Self {
        let mut below = Self::default();
        let devices = loaded.config.ports.iter().map(|port| port.device.get_ref());
        let shared: Vec<&str> = devices
            .filter(|device| device.driver() == Some("net_af_packet"))
            .filter_map(Device::kernel_interface)
            .collect();
        if shared.is_empty() {
            return below;
        }
        let addressed = match addressed() {
            Ok(addressed) => addressed,
            Err(error) => {
                tracing::warn!(%error, "the kernel is not quieted on the interfaces below ports");
                return below;
            }
        };
        for name in shared {
            let index = index_of(name);
            for (family, v6) in [(&V4, false), (&V6, true)] {
                if addressed.iter().any(|(other, of_v6)| Some(*other) == index && *of_v6 == v6) {
                    tracing::warn!(
                        interface = name,
                        "{} addresses are on the interface below a port, so the kernel handles its packets, too: move them to the port's twin",
                        if v6 { "IPv6" } else { "IPv4" }
                    );
                    continue;
                }
                for (setting, wanted) in family.settings {
                    below.set(PathBuf::from(format!("{}/{name}/{setting}", family.folder)), wanted);
                }
            }
        }
        below
    }

    fn set(&mut self, path: PathBuf, wanted: &str) {
        // Absent: the kernel has no such protocol.
        let Ok(before) = fs::read_to_string(&path) else { return };
        if before.trim() == wanted {
            return;
        }
        match fs::write(&path, wanted) {
            Ok(()) => self.changed.push((path, before)),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the kernel may answer packets of a port a second time");
            }
        }
    }
}

impl Drop for Below {
    fn drop(&mut self) {
        for (path, before) in self.changed.drain(..) {
            // The interface may have gone, and its settings with it.
            if let Err(error) = fs::write(&path, before.trim()) {
                tracing::debug!(path = %path.display(), %error, "a setting was not restored");
            }
        }
    }
}

/// The interfaces with addresses that others can reach, and whether those are IPv6.
fn addressed() -> Result<Vec<(u32, bool)>, crate::mirror::NetlinkError> {
    let mut found = Vec::new();
    let request = encode_dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()));
    Requests::open()?.dump(request, "addresses", |_, payload| {
        // struct ifaddrmsg: family, prefix length, flags, scope, interface index.
        if let Some([family, _, _, scope, index @ ..]) = payload.first_chunk::<8>() {
            let index = u32::from_ne_bytes(*index);
            match *family {
                AF_INET => found.push((index, false)),
                AF_INET6 if *scope != SCOPE_LINK => found.push((index, true)),
                _ => {}
            }
        }
    })?;
    Ok(found)
}

/// The kernel's index of an interface.
fn index_of(name: &str) -> Option<u32> {
    let socket = rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .ok()?;
    rustix::net::netdevice::name_to_index(&socket, name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_restored() {
        let folder = tempfile::tempdir().unwrap();
        let (one, same) = (folder.path().join("rp_filter"), folder.path().join("forwarding"));
        fs::write(&one, "0\n").unwrap();
        fs::write(&same, "0\n").unwrap();
        let mut below = Below::default();
        below.set(one.clone(), "1");
        below.set(same.clone(), "0");
        below.set(folder.path().join("absent"), "1");
        assert_eq!(fs::read_to_string(&one).unwrap(), "1");
        assert_eq!(below.changed.len(), 1, "what was so already, or is not there, is not touched");
        drop(below);
        assert_eq!(fs::read_to_string(&one).unwrap(), "0");
        assert!(!folder.path().join("absent").exists());
    }

    #[test]
    fn loopback_has_an_address() {
        let lo = index_of("lo").unwrap();
        assert!(addressed().unwrap().contains(&(lo, false)));
        assert_eq!(index_of("no-such-if"), None);
    }
}
