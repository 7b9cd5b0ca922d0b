//! Device strings: a PCI address or a virtual device, with arguments behind commas, as every DPDK program takes them.

use std::{
    fmt,
    io::ErrorKind,
    os::unix::{fs::FileTypeExt, net::UnixStream},
    path::{Path, PathBuf},
    str::FromStr,
};

use crate::error::{Error, Result};

/// A parsed device string: `0000:03:00.0`, `net_af_packet0,iface=eth1`, or the name of a device that EAL already has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    text: String,
    name: String,
    kind: Kind,
}

/// Which bus the device is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Pci,
    Virtual,
    Other,
}

impl Device {
    /// The name that DPDK gives the port: what stands before the first comma, PCI addresses in full.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is a PCI device.
    pub fn is_pci(&self) -> bool {
        self.kind == Kind::Pci
    }

    /// What DPDK is asked to probe.
    pub(crate) fn probe_string(&self) -> String {
        match self.text.split_once(',') {
            Some((_, args)) => format!("{},{args}", self.name),
            None => self.name.clone(),
        }
    }

    /// The value of an argument.
    fn arg(&self, key: &str) -> Option<&str> {
        self.text
            .split(',')
            .skip(1)
            .find_map(|arg| arg.split_once('=').filter(|(k, _)| *k == key))
            .map(|(_, value)| value)
    }

    /// The driver of a virtual device: its name without the number.
    pub(crate) fn driver(&self) -> Option<&str> {
        (self.kind == Kind::Virtual)
            .then(|| self.name.trim_end_matches(|c: char| c.is_ascii_digit()))
    }

    /// The Debian package that has the driver.
    pub(crate) fn package(&self) -> Option<String> {
        let driver = self.driver()?;
        let short =
            driver.strip_prefix("net_").or_else(|| driver.strip_prefix("eth_")).unwrap_or(driver);
        let library = match short {
            "virtio_user" => "virtio",
            "bonding" => "bond",
            // See `first_peer`.
            peer if peer.starts_with("vhost_first_") => "vhost",
            other => other,
        };
        Some(format!("librte-net-{}23", library.trim_end_matches('_').replace('_', "-")))
    }

    /// Whether the driver's MAC address is nothing to go by: net_vhost gives the same one on every machine, virtio_user another
    /// one at every start.
    pub(crate) fn invents_its_mac(&self) -> bool {
        match self.driver() {
            Some("net_vhost" | "eth_vhost") => true,
            Some("net_virtio_user" | "virtio_user") => self.arg("mac").is_none(),
            _ => false,
        }
    }

    /// The kernel interface that the device stands on and that must be there: `iface=` of af_packet, af_xdp and pcap.
    pub(crate) fn kernel_interface(&self) -> Option<&str> {
        let on_kernel = ["net_af_packet", "eth_af_packet", "net_af_xdp", "net_pcap", "eth_pcap"]
            .contains(&self.driver()?);
        on_kernel.then(|| self.arg("iface")).flatten()
    }

    /// The Unix socket on which the device listens, where it is the server.
    pub(crate) fn listens_on(&self) -> Option<PathBuf> {
        match self.driver()? {
            "net_vhost" | "eth_vhost" if self.arg("client") != Some("1") => {
                self.arg("iface").map(PathBuf::from)
            }
            "net_virtio_user" | "virtio_user" if self.arg("server") == Some("1") => {
                self.arg("path").map(PathBuf::from)
            }
            _ => None,
        }
    }

    /// Where the probe would block until a first peer connects (virtio_user as server): the device string of one.
    pub(crate) fn first_peer(&self) -> Option<String> {
        let path = (self.driver()? == "net_virtio_user" && self.arg("server") == Some("1"))
            .then(|| self.arg("path"))??;
        let queues = self.arg("queues").unwrap_or("1");
        Some(format!("net_vhost_first_{},iface={path},client=1,queues={queues}", self.name))
    }

    /// Finds what would fail for a reason that DPDK does not tell, and removes the socket that a dead process left.
    pub(crate) fn prepare(&self) -> Result<()> {
        if let Some(interface) = self.kernel_interface()
            && !interface_exists(interface)
        {
            return Err(Error::NoSuchInterface {
                device: self.text.clone(),
                interface: interface.into(),
            });
        }
        if let Some(path) = self.listens_on() {
            match unlink_stale(&path) {
                Ok(true) => {}
                Ok(false) => return Err(Error::SocketInUse { device: self.text.clone(), path }),
                Err(error) => {
                    return Err(Error::BadDevice {
                        device: self.text.clone(),
                        reason: format!("{}: {error}", path.display()),
                        log: String::new(),
                    });
                }
            }
        }
        Ok(())
    }
}

/// Whether the calling thread's network namespace has an interface. (/sys/class/net shows the namespace of whoever mounted
/// it.)
fn interface_exists(name: &str) -> bool {
    let text = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
    text.lines()
        .any(|line| line.split_once(':').is_some_and(|(interface, _)| interface.trim() == name))
}

/// Removes a socket on which nobody listens. False when somebody does, or when it is no socket at all.
fn unlink_stale(path: &Path) -> std::io::Result<bool> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
        Ok(meta) if !meta.file_type().is_socket() => {
            return Err(std::io::Error::new(
                ErrorKind::AlreadyExists,
                "there is a file that is no socket",
            ));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Ok(false),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map(|()| true)
        }
        Err(error) => Err(error),
    }
}

/// `[dddd:]bb:dd.f`, hexadecimal; returns it in full.
fn pci_address(name: &str) -> Option<String> {
    let hex =
        |text: &str, len: usize| text.len() == len && text.bytes().all(|b| b.is_ascii_hexdigit());
    let (rest, function) = name.rsplit_once('.')?;
    let (rest, slot) = rest.rsplit_once(':')?;
    let (domain, bus) = rest.rsplit_once(':').unwrap_or(("0000", rest));
    (hex(domain, 4) && hex(bus, 2) && hex(slot, 2) && hex(function, 1))
        .then(|| format!("{domain}:{bus}:{slot}.{function}").to_ascii_lowercase())
}

impl FromStr for Device {
    type Err = Error;

    fn from_str(text: &str) -> Result<Device> {
        let bad = |reason: &str| Error::BadDevice {
            device: text.into(),
            reason: reason.into(),
            log: String::new(),
        };
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(bad("it holds a space or a control character"));
        }
        let (name, args) =
            text.split_once(',').map_or((text, None), |(name, args)| (name, Some(args)));
        if name.is_empty() {
            return Err(bad(
                "it is empty: a PCI address (0000:03:00.0) or a virtual device (net_af_packet0,iface=eth1) is wanted",
            ));
        }
        if name.len() >= sys_name_len() {
            return Err(bad("its name is too long"));
        }
        if args.is_some_and(|args| {
            args.split(',').any(|arg| arg.split_once('=').is_none_or(|(key, _)| key.is_empty()))
        }) {
            return Err(bad("arguments are written key=value, with commas between"));
        }
        let (name, kind) = match pci_address(name) {
            Some(address) => (address, Kind::Pci),
            None if name.starts_with("net_")
                || name.starts_with("eth_")
                || name.starts_with("virtio_user") =>
            {
                (name.to_owned(), Kind::Virtual)
            }
            None => (name.to_owned(), Kind::Other),
        };
        Ok(Device { text: text.into(), name, kind })
    }
}

const fn sys_name_len() -> usize {
    dpdk_sys::RTE_ETH_NAME_MAX_LEN as usize
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(text: &str) -> Device {
        text.parse().unwrap()
    }

    #[test]
    fn pci_addresses_are_completed() {
        assert_eq!(device("03:00.1").name(), "0000:03:00.1");
        assert_eq!(device("0000:AF:00.0,foo=1").probe_string(), "0000:af:00.0,foo=1");
        assert!(device("0000:03:00.0").is_pci() && !device("net_null0").is_pci());
    }

    #[test]
    fn malformed_strings_are_named() {
        for text in ["", ",iface=x", "net_ring0,iface", "net ring0", "net_ring0,=x", "net_ring0,"] {
            let error = text.parse::<Device>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("bad device \"{text}\": ")), "{error}");
        }
    }

    #[test]
    fn drivers_and_packages() {
        assert_eq!(device("net_af_packet0,iface=x").driver(), Some("net_af_packet"));
        assert_eq!(
            device("net_af_packet0,iface=x").package().as_deref(),
            Some("librte-net-af-packet23")
        );
        assert_eq!(
            device("net_virtio_user1,path=/x").package().as_deref(),
            Some("librte-net-virtio23")
        );
        let peer = device("net_virtio_user1,path=/x,server=1").first_peer().unwrap();
        assert_eq!(device(&peer).package().as_deref(), Some("librte-net-vhost23"));
        assert_eq!(device("0000:03:00.0").package(), None);
    }

    #[test]
    fn who_listens() {
        assert_eq!(device("net_vhost0,iface=/x").listens_on(), Some("/x".into()));
        assert_eq!(device("net_vhost0,iface=/x,client=1").listens_on(), None);
        assert_eq!(device("net_virtio_user0,path=/x,server=1").listens_on(), Some("/x".into()));
        assert_eq!(device("net_virtio_user0,path=/x").listens_on(), None);
    }

    #[test]
    fn stale_sockets_go_and_live_ones_stay() {
        let path = std::env::temp_dir().join(format!("capsule-socket-{}", std::process::id()));
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(!unlink_stale(&path).unwrap());
        drop(listener);
        assert!(unlink_stale(&path).unwrap() && !path.exists());
        assert!(unlink_stale(&path).unwrap(), "nothing there is fine");
        std::fs::write(&path, "x").unwrap();
        assert!(unlink_stale(&path).is_err() && path.exists());
        std::fs::remove_file(&path).unwrap();
    }
}
