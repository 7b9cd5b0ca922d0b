//! DPDK device strings: a PCI address or a virtual device, each with arguments after commas.
//!
//! Source: DPDK 22.11, `rte_devargs_parse`, and the guides of the network drivers for the arguments that must be there.

use super::reader::nearest;

/// The virtual network drivers of DPDK 22.11 as Debian builds it, with the argument that each cannot do without.
const DRIVERS: &[(&str, Option<&str>)] = &[
    ("net_af_packet", Some("iface")),
    ("net_af_xdp", Some("iface")),
    ("net_bonding", None),
    ("net_failsafe", None),
    ("net_memif", None),
    ("net_null", None),
    ("net_pcap", None),
    ("net_ring", None),
    ("net_softnic", None),
    ("net_tap", None),
    ("net_vdev_netvsc", None),
    ("net_vhost", Some("iface")),
    ("net_virtio_user", Some("path")),
];

/// The longest name of a device, in bytes (`RTE_DEV_NAME_MAX_LEN` is 64 with its final zero).
const NAME_MAX: usize = 63;

/// A device string, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The whole string as DPDK wants it.
    pub text: String,
    /// What is before the first comma: unique per process.
    pub name: String,
    /// What kind of device it is.
    pub kind: DeviceKind,
    /// The arguments, in order; a flag without `=` has an empty value.
    pub args: Vec<(String, String)>,
}

/// What kind of device a string names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// A PCI device: its full address, `dddd:bb:dd.f`.
    Pci(String),
    /// A virtual device: its driver, such as `net_af_packet`.
    Virtual(String),
}

/// Why a string names no device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadDevice {
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub remedy: String,
}

fn bad<T>(message: impl Into<String>, remedy: impl Into<String>) -> Result<T, BadDevice> {
    Err(BadDevice { message: message.into(), remedy: remedy.into() })
}

impl Device {
    /// Takes a device string apart.
    ///
    /// # Errors
    ///
    /// When DPDK could not make a device of it, whatever is plugged in.
    pub fn parse(text: &str) -> Result<Self, BadDevice> {
        const FORMS: &str = "write a PCI address such as \"0000:03:00.0\", or a virtual device such as \"net_af_packet0,iface=eth1\"";
        let mut parts = text.split(',');
        let name = parts.next().unwrap_or_default();
        if name.is_empty() {
            return bad("the device string is empty", FORMS);
        }
        if name.len() > NAME_MAX {
            return bad(
                format!("the device's name has {} bytes; DPDK takes {NAME_MAX}", name.len()),
                "use a shorter name",
            );
        }
        let mut args: Vec<(String, String)> = Vec::new();
        for part in parts {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            if key.trim().is_empty() {
                return bad(
                    format!("device {text:?} has an empty argument"),
                    "write arguments as key=value, separated by single commas",
                );
            }
            if key.contains(char::is_whitespace) {
                return bad(
                    format!("device argument {key:?} has a space in it"),
                    "write no spaces around commas and =",
                );
            }
            if args.iter().any(|(other, _)| other == key) {
                return bad(
                    format!("device argument {key:?} is given twice"),
                    "remove one of the two",
                );
            }
            args.push((key.to_owned(), value.to_owned()));
        }
        let kind = if let Some(address) = pci_address(name) {
            DeviceKind::Pci(address)
        } else if name.contains(':') {
            return bad(
                format!("{name:?} is no PCI address"),
                "write domain:bus:device.function in hexadecimal, such as \"0000:03:00.0\"; `dpdk-devbind.py --status` lists them",
            );
        } else {
            DeviceKind::Virtual(virtual_driver(name, FORMS)?)
        };
        let device = Self { text: text.to_owned(), name: name.to_owned(), kind, args };
        if let Some(needed) = device.needed_argument()
            && device.arg(needed).is_none_or(str::is_empty)
        {
            let example = if device.driver() == Some("net_af_packet")
                || device.driver() == Some("net_af_xdp")
            {
                "eth1"
            } else {
                "/run/vm/port.sock"
            };
            return bad(
                format!("device {name:?} has no argument `{needed}`"),
                format!("write \"{name},{needed}={example}\""),
            );
        }
        Ok(device)
    }

    /// The value of an argument.
    pub fn arg(&self, key: &str) -> Option<&str> {
        self.args.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The virtual device's driver.
    pub fn driver(&self) -> Option<&str> {
        match &self.kind {
            DeviceKind::Virtual(driver) => Some(driver),
            DeviceKind::Pci(_) => None,
        }
    }

    fn needed_argument(&self) -> Option<&'static str> {
        let driver = self.driver()?;
        DRIVERS.iter().find(|(name, _)| *name == driver)?.1
    }

    /// The kernel's interface that the device sits on, where it does.
    pub fn kernel_interface(&self) -> Option<&str> {
        matches!(self.driver()?, "net_af_packet" | "net_af_xdp")
            .then(|| self.arg("iface"))
            .flatten()
    }
}

/// The driver of a virtual device's name: the name without its trailing digits.
fn virtual_driver(name: &str, forms: &str) -> Result<String, BadDevice> {
    let odd = |c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-';
    if let Some(c) = name.chars().find(|c| odd(*c)) {
        return bad(format!("{name:?} is no device: {c:?} cannot be in a name"), forms);
    }
    // Any suffix makes a name unique for DPDK: net_vhost0, net_af_packet_lan. The longest known driver wins.
    if let Some((driver, _)) =
        DRIVERS.iter().filter(|(driver, _)| name.starts_with(driver)).max_by_key(|(d, _)| d.len())
    {
        return Ok((*driver).to_owned());
    }
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    if let Some(known) = nearest(stem, DRIVERS.iter().map(|(driver, _)| *driver)) {
        let suffix = &name[stem.len()..];
        return bad(
            format!("no driver is called {stem:?}"),
            format!("did you mean \"{known}{suffix}\"?"),
        );
    }
    if stem.starts_with("net_") || stem.starts_with("eth_") {
        return Ok(stem.to_owned());
    }
    bad(format!("{name:?} is neither a PCI address nor a virtual network device"), forms)
}

/// The full form of a PCI address, whose domain may be left out.
fn pci_address(name: &str) -> Option<String> {
    let hex = |text: &str, digits: std::ops::RangeInclusive<usize>| {
        digits.contains(&text.len()).then(|| u32::from_str_radix(text, 16).ok()).flatten()
    };
    let (rest, function) = name.rsplit_once('.')?;
    let function = hex(function, 1..=1).filter(|f| *f < 8)?;
    let mut parts = rest.rsplit(':');
    let device = hex(parts.next()?, 1..=2).filter(|d| *d < 32)?;
    let bus = hex(parts.next()?, 1..=2)?;
    let domain = parts.next().map_or(Some(0), |domain| hex(domain, 1..=8))?;
    parts.next().is_none().then(|| format!("{domain:04x}:{bus:02x}:{device:02x}.{function}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_devices_come_apart() {
        for (text, kind) in [
            ("0000:03:00.0", DeviceKind::Pci("0000:03:00.0".into())),
            ("03:00.1", DeviceKind::Pci("0000:03:00.1".into())),
            ("0000:AF:1f.7,txq_inline_max=0", DeviceKind::Pci("0000:af:1f.7".into())),
            ("net_af_packet0,iface=eth1", DeviceKind::Virtual("net_af_packet".into())),
            (
                "net_virtio_user3,path=/tmp/s,server=1",
                DeviceKind::Virtual("net_virtio_user".into()),
            ),
            ("net_vhost_lan,iface=/tmp/s,client=1", DeviceKind::Virtual("net_vhost".into())),
            ("net_null0", DeviceKind::Virtual("net_null".into())),
            ("net_somethingelse4,a", DeviceKind::Virtual("net_somethingelse".into())),
        ] {
            let device = Device::parse(text).unwrap_or_else(|e| panic!("{text}: {}", e.message));
            assert_eq!(device.kind, kind, "{text}");
            assert_eq!(device.text, text);
        }
        let device = Device::parse("net_af_xdp1,iface=eth1,start_queue=1").unwrap();
        assert_eq!(
            (device.name.as_str(), device.kernel_interface()),
            ("net_af_xdp1", Some("eth1"))
        );
        assert_eq!(device.arg("start_queue"), Some("1"));
    }

    #[test]
    fn bad_devices_say_what_to_write() {
        for (text, message, remedy) in [
            ("", "is empty", "0000:03:00.0"),
            ("0000:03:00", "is no PCI address", "domain:bus:device.function"),
            ("0000:03:20.0", "is no PCI address", "dpdk-devbind.py"),
            ("0000:03:00.8", "is no PCI address", "domain:bus"),
            ("eth1", "neither a PCI address nor a virtual", "net_af_packet0,iface=eth1"),
            (
                "net_afpacket0,iface=eth1",
                "no driver is called \"net_afpacket\"",
                "did you mean \"net_af_packet0\"?",
            ),
            ("net_af_packet0", "has no argument `iface`", "net_af_packet0,iface=eth1"),
            ("net_virtio_user0,server=1", "has no argument `path`", "path=/run/vm/port.sock"),
            ("net_vhost0,iface=", "has no argument `iface`", "iface=/run/vm/port.sock"),
            ("net_null0,,size=64", "empty argument", "single commas"),
            ("net_null0, size=64", "has a space", "no spaces"),
            ("net_null0,size=64,size=65", "given twice", "remove one"),
            ("net null0", "' ' cannot be in a name", "virtual device such as"),
        ] {
            let found = Device::parse(text).expect_err(text);
            assert!(found.message.contains(message), "{text}: {}", found.message);
            assert!(found.remedy.contains(remedy), "{text}: {}", found.remedy);
        }
    }
}
