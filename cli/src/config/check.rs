//! What contradicts itself within the file.

use std::collections::HashMap;

use super::diagnostic::{Diagnostic, Span};
use super::model::{Config, Mode, Port};
use super::reader::nearest;

/// The longest name of a network interface, in bytes (`IFNAMSIZ` is 16 with its final zero; linux/if.h).
const INTERFACE_NAME_MAX: usize = 15;

/// What one frame of the pool takes, in bytes: the mbuf's 128, headroom and room of 2,176, the pool's own header.
const MBUF_BYTES: u64 = 128 + 2176 + 64;

/// Finds contradictions within `config`.
pub(super) fn check(config: &Config, findings: &mut Vec<Diagnostic>) {
    names(config, findings);
    devices(config, findings);
    pairs(config, findings);
    cores(config, findings);
    memory(config, findings);
    eal_args(config, findings);
    super::conntrack::check(config, findings);
    super::rules::check(config, findings);
    super::ha::check(config, findings);
    for port in &config.ports {
        if *port.mtu.get_ref() < 1280 && matches!(port.mode, Mode::Routed) {
            findings.push(Diagnostic::warning(
                port.mtu.span(),
                format!("port {:?} has an MTU under 1280, so the kernel turns IPv6 off on it (RFC 8200)", port.name.get_ref()),
                "write 1280 or more where IPv6 is needed",
            ));
        }
    }
}

/// Why `name` cannot be an interface's (`dev_valid_name` in the kernel's net/core/dev.c, and `%d`, which asks it for a
/// number).
fn bad_interface_name(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("is empty".into());
    }
    if name.len() > INTERFACE_NAME_MAX {
        return Some(format!(
            "has {} bytes; an interface's name has at most {INTERFACE_NAME_MAX}",
            name.len()
        ));
    }
    if ["lo", ".", "..", "all", "default"].contains(&name) {
        return Some("is reserved by the kernel".into());
    }
    let bad = |c: char| c.is_whitespace() || c.is_control() || "/:%".contains(c);
    name.chars().find(|c| bad(*c)).map(|c| format!("has a {c:?} in it"))
}

fn names(config: &Config, findings: &mut Vec<Diagnostic>) {
    let mut seen: HashMap<&str, Span> = HashMap::new();
    for port in &config.ports {
        let name = port.name.get_ref().as_str();
        if let Some(why) = bad_interface_name(name) {
            findings.push(Diagnostic::error(
                port.name.span(),
                format!("port name {name:?} {why}, but the port's twin is an interface of that name"),
                format!("choose a short name of letters and digits, such as \"lan\" (at most {INTERFACE_NAME_MAX} bytes)"),
            ));
        }
        if let Some(first) = seen.get(name) {
            findings.push(
                Diagnostic::error(
                    port.name.span(),
                    format!("port name {name:?} is taken by an earlier port"),
                    "give each port a name of its own",
                )
                .with_related(first.clone(), "taken here"),
            );
        } else {
            seen.insert(name, port.name.span());
        }
        if matches!(port.mode, Mode::Routed)
            && port.device.get_ref().kernel_interface() == Some(name)
        {
            findings.push(Diagnostic::error(
                port.name.span(),
                format!("port name {name:?} is that of the interface below it, so its twin could not have that name"),
                "choose another name for the port, such as \"lan\"",
            ));
        }
    }
}

fn devices(config: &Config, findings: &mut Vec<Diagnostic>) {
    use super::device::DeviceKind;
    let mut names: HashMap<String, Span> = HashMap::new();
    let mut below: HashMap<(String, String), Span> = HashMap::new();
    for port in &config.ports {
        let device = port.device.get_ref();
        let identity = match &device.kind {
            DeviceKind::Pci(address) => address.clone(),
            DeviceKind::Virtual(_) => device.name.clone(),
        };
        if let Some(first) = names.get(&identity) {
            let remedy = match device.kind {
                DeviceKind::Pci(_) => "give each port a device of its own",
                DeviceKind::Virtual(_) => "give it another number, such as net_af_packet1",
            };
            findings.push(
                Diagnostic::error(
                    port.device.span(),
                    format!("device {identity:?} is used by an earlier port"),
                    remedy,
                )
                .with_related(first.clone(), "used here"),
            );
        } else {
            names.insert(identity, port.device.span());
        }
        // What is behind a virtual device cannot be shared either; AF_XDP alone can divide an interface by queues.
        let behind = match device.driver() {
            Some("net_af_packet" | "net_vhost") => device.arg("iface"),
            Some("net_virtio_user") => device.arg("path"),
            _ => None,
        };
        let Some(behind) = behind else { continue };
        let key = (device.driver().unwrap_or_default().to_owned(), behind.to_owned());
        if let Some(first) = below.get(&key) {
            findings.push(
                Diagnostic::error(
                    port.device.span(),
                    format!("{behind:?} is used by an earlier port"),
                    "each port needs an interface or socket of its own",
                )
                .with_related(first.clone(), "used here"),
            );
        } else {
            below.insert(key, port.device.span());
        }
    }
}

fn pairs(config: &Config, findings: &mut Vec<Diagnostic>) {
    let by_name = |name: &str| config.ports.iter().find(|port| port.name.get_ref() == name);
    for port in &config.ports {
        let Mode::Pair(other) = &port.mode else { continue };
        let (name, wanted) = (port.name.get_ref(), other.get_ref());
        if name == wanted {
            findings.push(Diagnostic::error(
                other.span(),
                format!("port {name:?} is paired with itself"),
                "name the other port of the pair",
            ));
            continue;
        }
        let Some(peer) = by_name(wanted) else {
            let names = config
                .ports
                .iter()
                .map(|port| port.name.get_ref().as_str())
                .filter(|other| other != name);
            let remedy = match nearest(wanted, names) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!(
                    "add a [[port]] with name = {wanted:?}, mode = \"pair\", pair = {name:?}"
                ),
            };
            findings.push(Diagnostic::error(
                other.span(),
                format!("port {name:?} is paired with {wanted:?}, but there is no such port"),
                remedy,
            ));
            continue;
        };
        match &peer.mode {
            Mode::Routed => findings.push(
                Diagnostic::error(
                    other.span(),
                    format!("port {name:?} is paired with {wanted:?}, which is routed"),
                    format!("give {wanted:?} the lines mode = \"pair\" and pair = {name:?}"),
                )
                .with_related(peer.name.span(), "this port"),
            ),
            Mode::Pair(back) if back.get_ref() != name => findings.push(
                Diagnostic::error(
                    other.span(),
                    format!("port {name:?} is paired with {wanted:?}, which is paired with {:?}", back.get_ref()),
                    format!("a pair is two ports that name each other: write pair = {name:?} there, or pair another port here"),
                )
                .with_related(back.span(), "paired otherwise here"),
            ),
            Mode::Pair(_) => pair_mtu(port, peer, findings),
        }
    }
}

/// A frame that one port of a pair takes must fit the other: nothing in a transparent pair could fragment it.
fn pair_mtu(port: &Port, peer: &Port, findings: &mut Vec<Diagnostic>) {
    // Each pair is seen from both sides; report it at the later one.
    if port.span.start > peer.span.start && port.mtu.get_ref() != peer.mtu.get_ref() {
        let place = if port.mtu.span().is_empty() { port.name.span() } else { port.mtu.span() };
        findings.push(Diagnostic::error(
            place,
            format!(
                "port {:?} has an MTU of {}, the other port of its pair, {:?}, of {}",
                port.name.get_ref(),
                port.mtu.get_ref(),
                peer.name.get_ref(),
                peer.mtu.get_ref()
            ),
            "write the same mtu in both",
        ));
    }
}

fn cores(config: &Config, findings: &mut Vec<Diagnostic>) {
    let mut seen: HashMap<u32, Span> = HashMap::new();
    for core in config.dataplane.cores.iter().flatten() {
        if let Some(first) = seen.get(core.get_ref()) {
            findings.push(
                Diagnostic::error(
                    core.span(),
                    format!("core {} is listed twice", core.get_ref()),
                    "list each core once: a worker needs a core of its own",
                )
                .with_related(first.clone(), "first here"),
            );
        } else {
            seen.insert(*core.get_ref(), core.span());
        }
    }
}

fn memory(config: &Config, findings: &mut Vec<Diagnostic>) {
    let dataplane = &config.dataplane;
    let mbufs = u64::from(*dataplane.mbufs.get_ref());
    let memory = u64::from(*dataplane.memory.get_ref());
    let pool_mib = (mbufs * MBUF_BYTES).div_ceil(1 << 20);
    // A quarter is left for rings, tables and what drivers allocate.
    let needed = pool_mib + pool_mib / 4 + 32;
    if needed > memory {
        let place = [dataplane.mbufs.span(), dataplane.memory.span()]
            .into_iter()
            .find(|span| !span.is_empty());
        findings.push(Diagnostic::error(
            place.unwrap_or(0..0),
            format!(
                "{mbufs} mbufs need {needed} MiB with what goes with them, but `memory` is {memory}"
            ),
            format!("write memory = {needed}, or fewer mbufs"),
        ));
    }
    let workers = dataplane.cores.as_ref().map_or(1, Vec::len) as u64;
    let held: u64 = config
        .ports
        .iter()
        .map(|port| u64::from(port.rx_descriptors.get_ref() + port.tx_descriptors.get_ref()))
        .sum();
    let wanted = held * workers + 512 * workers + 1024;
    if wanted > mbufs {
        findings.push(Diagnostic::warning(
            dataplane.mbufs.span(),
            format!("{mbufs} mbufs are fewer than the {wanted} that full queues of all ports and workers can hold"),
            format!("write mbufs = {} in [dataplane], or fewer descriptors", wanted.next_multiple_of(1024)),
        ));
    }
}

/// Arguments that the daemon sets itself: given twice, the EAL would refuse them or, worse, take the second.
fn eal_args(config: &Config, findings: &mut Vec<Diagnostic>) {
    const OURS: &[(&[&str], &str)] = &[
        (&["-l", "--lcores", "-c", "--main-lcore"], "use `cores` in [dataplane]"),
        (
            &["--huge-unlink", "--in-memory", "--no-huge", "--huge-dir"],
            "use `hugepages` in [dataplane]",
        ),
        (&["-m", "--socket-mem"], "use `memory` in [dataplane]"),
        (&["-a", "--allow", "--vdev", "-b", "--block"], "use `device` in a [[port]]"),
        (&["--file-prefix", "--no-shconf", "--no-telemetry"], "twinwall keeps its own files apart"),
        (&["--proc-type"], "twinwall is always a primary process"),
    ];
    for arg in &config.dataplane.eal_args {
        let text = arg.get_ref();
        let key = text.split_once('=').map_or(text.as_str(), |(key, _)| key);
        if let Some((_, remedy)) = OURS.iter().find(|(keys, _)| keys.contains(&key)) {
            findings.push(Diagnostic::error(
                arg.span(),
                format!("EAL argument {text:?} is set by twinwall itself"),
                format!("remove it; {remedy}"),
            ));
        } else if text.contains('\0') {
            findings.push(Diagnostic::error(
                arg.span(),
                "an EAL argument has a zero byte in it",
                "remove the byte",
            ));
        }
    }
}
