//! Opening the ports of the configuration, with every refusal blamed on its line.

use capsule::{Error, MbufPools, Offload, Port, PortConfig, RssKey};
use dataplane::tables::{PortMode, PortState};
use packet::PortIndex;

use crate::config::{self, Loaded, Mode, Report, Span};

use crate::twin::TwinError;

use super::error::DaemonError;

/// What a frame has around its IP packet at most: an Ethernet header and two VLAN tags, in bytes.
const AROUND_IP: u32 = 14 + 4 + 4;

/// Opens and starts every port. All are tried, so that all refusals are known at once.
///
/// # Errors
///
/// A report of the ports that DPDK refused, or what DPDK itself lacks.
pub(super) fn open(
    loaded: &Loaded,
    pools: &MbufPools,
    key: RssKey,
) -> Result<Vec<Port>, DaemonError> {
    let queues = u16::try_from(loaded.resolved.cores.len()).unwrap_or(u16::MAX);
    let mut ports = Vec::new();
    let mut refused = Vec::new();
    for port in &loaded.config.ports {
        let config = PortConfig {
            mtu: u16::try_from(*port.mtu.get_ref()).unwrap_or(u16::MAX),
            queues,
            rx_descriptors: u16::try_from(*port.rx_descriptors.get_ref()).unwrap_or(u16::MAX),
            tx_descriptors: u16::try_from(*port.tx_descriptors.get_ref()).unwrap_or(u16::MAX),
            rss_key: key,
            ..PortConfig::new(port.name.get_ref(), &port.device.get_ref().text)
        };
        let opened = Port::open(&config, pools).and_then(|opened| {
            opened.start()?;
            Ok(opened)
        });
        match opened {
            Ok(opened) => ports.push(opened),
            // These are about DPDK as a whole: no other port would fare better.
            Err(error @ (Error::NoMemory { .. } | Error::NoMempoolDriver | Error::NotStarted)) => {
                return Err(error.into());
            }
            Err(error) => refused.push(blame(loaded, port, &error)),
        }
    }
    if refused.is_empty() {
        return Ok(ports);
    }
    let findings = refused.into_iter().flat_map(|report| report.diagnostics).collect();
    Err(Report::new(loaded.report.source.clone(), findings).into())
}

/// The place and the remedy of a refusal.
fn blame(loaded: &Loaded, port: &config::Port, error: &Error) -> Report {
    let or = |span: Span, other: Span| if span.is_empty() { other } else { span };
    let device = port.device.span();
    let (span, remedy) = match error {
        Error::MtuTooBig { max, .. } => {
            (or(port.mtu.span(), device), format!("write mtu = {max} or less"))
        }
        Error::NoSuchInterface { .. } => {
            (device, "`ip -br link` lists the interfaces of this network namespace".into())
        }
        Error::MissingDriver { package, .. } => (device, format!("apt-get install {package}")),
        Error::SocketInUse { .. } => {
            (device, "stop the other process, or choose another path".into())
        }
        Error::NoPermission { .. } => (
            device,
            "run as root, or with the capabilities that cli/systemd/twinwall.service grants".into(),
        ),
        _ => (
            device,
            "the driver's guide lists its arguments: https://doc.dpdk.org/guides-22.11/nics/"
                .into(),
        ),
    };
    loaded.blame(span, error.to_string(), remedy)
}

/// The place of what is wrong with a twin's name; other errors as they are.
pub(super) fn blame_twin(loaded: &Loaded, error: TwinError) -> DaemonError {
    let (TwinError::NameTaken { name } | TwinError::BadName { name }) = &error else {
        return error.into();
    };
    let Some(port) = loaded.config.ports.iter().find(|port| port.name.get_ref() == name) else {
        return error.into();
    };
    let remedy =
        format!("choose another name for the port, or remove what has it: ip link del {name}");
    let what = match error {
        TwinError::NameTaken { .. } => "is that of an interface that exists",
        _ => "cannot be an interface's",
    };
    loaded
        .blame(
            port.name.span(),
            format!("port name {name:?} {what}, so its twin cannot be made"),
            remedy,
        )
        .into()
}

/// The ports as forwarding begins with them.
pub(super) fn states(loaded: &Loaded, ports: &[Port]) -> Vec<PortState> {
    let configured = &loaded.config.ports;
    let index_of = |name: &str| configured.iter().position(|port| port.name.get_ref() == name);
    let states = configured.iter().zip(ports).map(|(port, opened)| PortState {
        mode: match &port.mode {
            Mode::Routed => PortMode::Routed,
            Mode::Pair(other) => {
                // The configuration was checked: the other exists.
                let index = index_of(other.get_ref()).and_then(|n| u16::try_from(n).ok());
                PortMode::Pair(PortIndex(index.unwrap_or(u16::MAX)))
            }
        },
        up: opened.link().up,
        max_frame: port.mtu.get_ref() + AROUND_IP,
        vlan_insert: opened.capabilities().has(Offload::TxVlanInsert),
    });
    states.collect()
}
