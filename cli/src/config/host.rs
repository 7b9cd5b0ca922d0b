//! What the machine cannot give: cores, hugepages, interfaces, PCI devices.
//!
//! # Overview
//!
//! [`Host::probe`] reads what the machine has from /sys; [`check`] holds a configuration against it and settles what the
//! file left open: [`Resolved`]. A `Host` can also be written down by hand, as the tests do.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use netlink_packet_core::NetlinkDeserializable;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};

use sync::seal::Keyring;

use crate::mirror::socket::{Requests, encode_dump};

use super::device::DeviceKind;
use super::diagnostic::{Diagnostic, Span};
use super::model::{Config, Hugepages};

/// Hugepages of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageSize {
    /// Size of a page, in KiB.
    pub kib: u64,
    /// How many are free.
    pub free: u64,
}

/// What the machine has.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// Cores that are online.
    pub online: BTreeSet<u32>,
    /// Cores that this process may run on.
    pub allowed: BTreeSet<u32>,
    /// Hugepages.
    pub pages: Vec<PageSize>,
    /// Network interfaces of this network namespace.
    pub interfaces: BTreeSet<String>,
    /// Their MTUs, of those that are known.
    pub mtus: BTreeMap<String, u32>,
    /// PCI devices by full address, each with the kernel driver that holds it.
    pub pci: BTreeMap<String, Option<String>>,
}

/// What the file and the machine together decide.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The workers' cores.
    pub cores: Vec<u32>,
    /// Whether DPDK's memory comes from hugepages.
    pub hugepages: bool,
    /// The number of the netlink socket's group.
    pub group: Option<u32>,
    /// The keys that nodes know each other by.
    pub keys: Keyring,
}

fn names_in(folder: impl AsRef<Path>) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn number_in(file: impl AsRef<Path>) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// The interfaces of this thread's network namespace. (/sys/class/net would show that of whoever mounted /sys.)
fn interfaces() -> BTreeSet<String> {
    let text = fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
    text.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect()
}

/// The MTUs of this network namespace's interfaces. (/sys has them too, with the same doubt.)
fn mtus() -> BTreeMap<String, u32> {
    let mut found = BTreeMap::new();
    let request = encode_dump(RouteNetlinkMessage::GetLink(LinkMessage::default()));
    let dumped = Requests::open().and_then(|mut socket| {
        socket.dump(request, "interfaces", |header, payload| {
            let message = RouteNetlinkMessage::deserialize(header, payload);
            let Ok(RouteNetlinkMessage::NewLink(link)) = message else { return };
            let name = link.attributes.iter().find_map(|attribute| match attribute {
                LinkAttribute::IfName(name) => Some(name.clone()),
                _ => None,
            });
            let mtu = link.attributes.iter().find_map(|attribute| match attribute {
                LinkAttribute::Mtu(mtu) => Some(*mtu),
                _ => None,
            });
            found.extend(name.zip(mtu));
        })
    });
    // Unknown ones are not held against anything.
    if dumped.is_ok() { found } else { BTreeMap::new() }
}

/// A list of cores as the kernel writes it: `0-3,8`.
fn core_list(text: &str) -> BTreeSet<u32> {
    let mut cores = BTreeSet::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<u32>(), last.parse::<u32>()) {
            cores.extend(first..=last);
        }
    }
    cores
}

impl Host {
    /// Reads what this machine has. What cannot be read counts as absent.
    pub fn probe() -> Self {
        let online = fs::read_to_string("/sys/devices/system/cpu/online")
            .map(|list| core_list(&list))
            .unwrap_or_default();
        let allowed = rustix::thread::sched_getaffinity(None)
            .map(|set| {
                (0..rustix::thread::CpuSet::MAX_CPU)
                    .filter(|core| set.is_set(*core))
                    .filter_map(|c| u32::try_from(c).ok())
                    .collect()
            })
            .unwrap_or_else(|_| online.clone());
        let pages = names_in("/sys/kernel/mm/hugepages")
            .into_iter()
            .filter_map(|name| {
                let kib = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
                let free = number_in(format!("/sys/kernel/mm/hugepages/{name}/free_hugepages"))?;
                Some(PageSize { kib, free })
            })
            .collect();
        let pci = names_in("/sys/bus/pci/devices")
            .into_iter()
            .map(|address| {
                let driver = fs::read_link(format!("/sys/bus/pci/devices/{address}/driver")).ok();
                let driver = driver.and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
                (address, driver)
            })
            .collect();
        Self { online, allowed, pages, interfaces: interfaces(), mtus: mtus(), pci }
    }

    /// Free memory in hugepages, in MiB.
    fn huge_mib(&self) -> u64 {
        self.pages.iter().map(|size| size.kib * size.free / 1024).sum()
    }
}

/// The NUMA socket of a core; 0 where the kernel knows of none.
pub fn socket_of(core: u32) -> u32 {
    let names = names_in(format!("/sys/devices/system/cpu/cpu{core}"));
    names.iter().find_map(|name| name.strip_prefix("node")?.parse().ok()).unwrap_or(0)
}

/// Holds `config` against `host`.
pub fn check(config: &Config, host: &Host, findings: &mut Vec<Diagnostic>) -> Resolved {
    devices(config, host, findings);
    Resolved {
        cores: cores(config, host, findings),
        hugepages: hugepages(config, host, findings),
        group: super::rules::resolve(config, findings),
        keys: super::ha::resolve(config, host, findings),
    }
}

fn list(cores: &BTreeSet<u32>) -> String {
    cores.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

fn cores(config: &Config, host: &Host, findings: &mut Vec<Diagnostic>) -> Vec<u32> {
    let usable: BTreeSet<u32> = host.online.intersection(&host.allowed).copied().collect();
    let Some(cores) = &config.dataplane.cores else {
        return usable.first().copied().into_iter().collect();
    };
    for core in cores {
        let n = *core.get_ref();
        if !host.online.contains(&n) {
            findings.push(Diagnostic::error(
                core.span(),
                format!("core {n} does not exist or is offline"),
                format!("use cores that are online: {}", list(&usable)),
            ));
        } else if !host.allowed.contains(&n) {
            findings.push(Diagnostic::error(
                core.span(),
                format!(
                    "core {n} is not for this process (its CPU affinity or cpuset leaves it out)"
                ),
                format!(
                    "use allowed cores: {}; or widen CPUAffinity= or the container's cpuset",
                    list(&usable)
                ),
            ));
        }
    }
    cores.iter().map(|core| *core.get_ref()).collect()
}

fn hugepages(config: &Config, host: &Host, findings: &mut Vec<Diagnostic>) -> bool {
    let wanted = u64::from(*config.dataplane.memory.get_ref());
    let free = host.huge_mib();
    let mode = &config.dataplane.hugepages;
    // The line that asks for it, if there is one.
    let span: Span =
        if mode.span().is_empty() { config.dataplane.memory.span() } else { mode.span() };
    let kib = host.pages.iter().map(|size| size.kib).min().unwrap_or(2048);
    let missing = (wanted.saturating_sub(free) * 1024).div_ceil(kib);
    let remedy = format!(
        "add {missing} pages of {kib} kB: echo $(($(cat /sys/kernel/mm/hugepages/hugepages-{kib}kB/nr_hugepages) + {missing})) \
         > /sys/kernel/mm/hugepages/hugepages-{kib}kB/nr_hugepages"
    );
    let shortage =
        format!("{wanted} MiB of hugepages are wanted (`memory`), but {free} MiB are free");
    match mode.get_ref() {
        Hugepages::Off => false,
        _ if free >= wanted => true,
        Hugepages::Require => {
            findings.push(Diagnostic::error(
                span,
                shortage,
                format!("{remedy}; or write hugepages = \"auto\""),
            ));
            true
        }
        Hugepages::Auto => {
            findings.push(Diagnostic::warning(
                span,
                format!("{shortage}: ordinary memory is used, which is slower and shuts out most PCI devices"),
                format!("{remedy}; or write hugepages = \"off\" to be content with it"),
            ));
            false
        }
    }
}

fn devices(config: &Config, host: &Host, findings: &mut Vec<Diagnostic>) {
    for port in &config.ports {
        let device = port.device.get_ref();
        if let Some(name) = device.kernel_interface()
            && !host.interfaces.contains(name)
        {
            let near = super::reader::nearest(name, host.interfaces.iter().map(String::as_str));
            let remedy = near.map_or_else(
                || "`ip -br link` lists the interfaces of this network namespace".to_owned(),
                |near| format!("did you mean {near:?}? `ip -br link` lists all"),
            );
            findings.push(Diagnostic::error(
                port.device.span(),
                format!("there is no interface {name:?}"),
                remedy,
            ));
        }
        let DeviceKind::Pci(address) = &device.kind else { continue };
        match host.pci.get(address) {
            None => findings.push(Diagnostic::error(
                port.device.span(),
                format!("there is no PCI device {address}"),
                "`dpdk-devbind.py --status` lists the devices",
            )),
            // Mellanox cards stay with their kernel driver (bifurcated); the others need one that hands them out.
            Some(Some(driver))
                if ["vfio-pci", "uio_pci_generic", "igb_uio", "mlx4_core", "mlx5_core"]
                    .contains(&driver.as_str()) => {}
            Some(driver) => {
                let holder = driver
                    .as_ref()
                    .map_or("no driver".to_owned(), |name| format!("the kernel driver {name}"));
                findings.push(Diagnostic::error(
                    port.device.span(),
                    format!("PCI device {address} is bound to {holder}, so DPDK cannot open it"),
                    format!("dpdk-devbind.py --bind=vfio-pci {address}"),
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_lists_are_read_as_the_kernel_writes_them() {
        assert_eq!(core_list("0-2,5,8-9\n"), BTreeSet::from([0, 1, 2, 5, 8, 9]));
        assert!(core_list("\n").is_empty());
    }

    #[test]
    fn this_machine_has_a_core_and_a_loopback() {
        let host = Host::probe();
        assert!(!host.online.is_empty());
        assert!(host.allowed.is_subset(&host.online) && !host.allowed.is_empty());
        assert!(host.interfaces.contains("lo"));
        assert_eq!(
            host.mtus.keys().collect::<Vec<_>>(),
            host.interfaces.iter().collect::<Vec<_>>()
        );
        assert!(host.mtus.get("lo").unwrap() >= &1500);
    }
}
