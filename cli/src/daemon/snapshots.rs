//! What the API answers: the counters of workers, devices and twins, read when asked.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use dataplane::rib::{NextHop, Prefix, Rib, Route, RouteKind, RouteTable};
use dataplane::stats::{PortStats, WorkerStats};
use nfnetlink::server::Stats;
use packet::{DropReason, PortIndex};

use crate::api::Snapshots;
use crate::api::flows::{Flows, FlowsQuery, Sysctl, Sysctls};
use crate::api::ha::{Ha, HaCommand, HaError, HaFlows};
use crate::api::model;
use crate::config::{self, Idle, Loaded, Mode};

use super::engine::{Engine, Shared};
use super::flows;
use super::rules::View;

/// What the configuration says of a port, for showing.
struct PortText {
    name: String,
    device: String,
    pair: Option<String>,
}

/// The running daemon as the API sees it.
pub(super) struct Live {
    shared: Arc<Shared>,
    config: String,
    idle: &'static str,
    ports: Vec<PortText>,
    cores: Vec<u32>,
    /// The ruleset and the netlink server's counters.
    rules: Option<(Arc<View>, Arc<Stats>)>,
    nfnl: String,
    /// Written by a reload, read by the API.
    icmp_rate: AtomicU32,
}

impl Live {
    /// The API's view of `engine`, started from `loaded`.
    pub(super) fn new(path: &Path, loaded: &Loaded, engine: &Engine) -> Arc<Self> {
        let ports = loaded.config.ports.iter().map(|port| PortText {
            name: port.name.get_ref().clone(),
            device: port.device.get_ref().text.clone(),
            pair: match &port.mode {
                Mode::Routed => None,
                Mode::Pair(other) => Some(other.get_ref().clone()),
            },
        });
        Arc::new(Self {
            shared: engine.shared.clone(),
            config: std::path::absolute(path)
                .unwrap_or_else(|_| path.to_owned())
                .display()
                .to_string(),
            idle: match loaded.config.dataplane.idle {
                Idle::Poll => "poll",
                Idle::Adaptive => "adaptive",
            },
            ports: ports.collect(),
            cores: loaded.resolved.cores.clone(),
            rules: engine.rules().map(|rules| (rules.view.clone(), rules.stats.clone())),
            nfnl: loaded.config.nfnetlink.socket.get_ref().display().to_string(),
            icmp_rate: AtomicU32::new(loaded.config.dataplane.icmp_rate),
        })
    }

    /// A reload changed it.
    pub(super) fn set_icmp_rate(&self, rate: u32) {
        self.icmp_rate.store(rate, Ordering::Relaxed);
    }

    fn uptime(&self) -> f64 {
        self.shared.origin.elapsed().as_secs_f64()
    }

    fn port_name(&self, port: PortIndex) -> Option<&str> {
        self.ports.get(usize::from(port.0)).map(|port| port.name.as_str())
    }

    fn indices(&self) -> impl Iterator<Item = PortIndex> + use<> {
        (0..self.ports.len()).filter_map(|n| u16::try_from(n).ok()).map(PortIndex)
    }

    /// What all workers counted on a port, added up.
    fn sum(&self, port: PortIndex, read: impl Fn(&PortStats) -> u64) -> u64 {
        self.shared.control.stats().filter_map(|worker| worker.port(port)).map(read).sum()
    }

    fn rule_counts(&self) -> model::RuleCounts {
        let Some((view, stats)) = &self.rules else { return model::RuleCounts::default() };
        let control = &self.shared.control;
        let sum = |read: fn(&WorkerStats) -> u64| control.stats().map(|stats| read(stats)).sum();
        let counts = view.counts();
        model::RuleCounts {
            // A worker that began without rules has said nothing yet.
            oldest_in_use: control.stats().map(|stats| stats.ruleset.get()).min().unwrap_or(0),
            adopted_ns: u64::try_from(control.adoption().as_nanos()).unwrap_or(u64::MAX),
            logs_suppressed: sum(|stats| stats.logs_suppressed.get()),
            traces_lost: sum(|stats| stats.traces_lost.get()),
            socket: self.nfnl.clone(),
            clients: stats.accepted.get().saturating_sub(stats.closed.get()),
            requests: stats.requests.get(),
            refused: stats.refused.get(),
            overruns: stats.lost_events.get() + stats.lost_answers.get() + stats.unpublished.get(),
            ..counts
        }
    }

    fn table_counts(&self) -> model::TableCounts {
        let oldest =
            self.shared.control.stats().map(|worker| worker.generation.get()).min().unwrap_or(0);
        self.shared.control.read(|rib| {
            let (v4, v6) = rib.route_counts();
            model::TableCounts {
                generation: rib.generation().0,
                oldest_in_use: oldest,
                interfaces: rib.ifaces().count() as u64,
                ipv4_routes: v4 as u64,
                ipv6_routes: v6 as u64,
                neighbours: rib.neighbours().count() as u64,
            }
        })
    }
}

/// All drops of a port.
fn dropped(stats: &PortStats) -> u64 {
    DropReason::ALL.iter().map(|reason| stats.drops(*reason)).sum()
}

fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}

impl Snapshots for Live {
    fn status(&self) -> model::Status {
        let ports = self.shared.ports.read();
        let pools = self.shared.pools.all().into_iter().map(|(socket, pool)| model::Pool {
            socket,
            size: pool.capacity(),
            in_use: pool.in_use(),
        });
        model::Status {
            version: env!("CARGO_PKG_VERSION").into(),
            dpdk: capsule::Eal::version(),
            pid: std::process::id(),
            uptime_seconds: self.uptime(),
            config: self.config.clone(),
            hugepages: self.shared.hugepages,
            idle: self.idle.into(),
            icmp_rate: self.icmp_rate.load(Ordering::Relaxed),
            ports: self.ports.len() as u32,
            ports_up: ports.iter().filter(|port| port.link().up).count() as u32,
            workers: self.cores.len() as u32,
            pools: pools.collect(),
            tables: self.table_counts(),
            rules: self.rule_counts(),
            flows: self.shared.flows.counts(),
        }
    }

    fn ports(&self) -> model::Ports {
        let opened = self.shared.ports.read();
        let ports =
            self.indices().zip(&self.ports).zip(opened.iter()).map(|((index, text), port)| {
                let (link, capabilities) = (port.link(), port.capabilities());
                // A device that does not count counts nothing.
                let device = port.stats().unwrap_or_default();
                model::Port {
                    name: text.name.clone(),
                    device: text.device.clone(),
                    driver: port.driver().to_owned(),
                    mode: if text.pair.is_some() { "pair" } else { "routed" }.into(),
                    pair: text.pair.clone(),
                    mac: mac(port.mac()),
                    mtu: port.mtu().unwrap_or_default().into(),
                    up: link.up,
                    speed_mbps: link.speed_mbps,
                    rx_queues: capabilities.queues,
                    tx_queues: capabilities.queues,
                    rss: capabilities.has(capsule::Offload::Rss),
                    offloads: capabilities
                        .offloads
                        .iter()
                        .map(|offload| offload.name().to_owned())
                        .collect(),
                    counters: model::PortCounters {
                        rx_packets: self.sum(index, |stats| stats.rx_packets.get()),
                        rx_bytes: self.sum(index, |stats| stats.rx_bytes.get()),
                        tx_packets: self.sum(index, |stats| stats.tx_packets.get()),
                        tx_bytes: self.sum(index, |stats| stats.tx_bytes.get()),
                        rx_missed: device.rx_missed,
                        rx_errors: device.rx_errors,
                        rx_no_mbuf: device.rx_no_mbuf,
                        tx_errors: device.tx_errors,
                        to_twin: self.sum(index, |stats| stats.to_twin.get()),
                        from_twin: self.sum(index, |stats| stats.from_twin.get()),
                        drops: self.sum(index, dropped),
                    },
                }
            });
        model::Ports { uptime_seconds: self.uptime(), ports: ports.collect() }
    }

    fn workers(&self) -> model::Workers {
        let threads =
            self.shared.runtime.lock().as_ref().map(capsule::Runtime::stats).unwrap_or_default();
        let workers = self.shared.control.stats().zip(threads).zip(&self.cores).zip(0u16..);
        let workers = workers.map(|(((stats, thread), core), index)| {
            let sum = |read: fn(&PortStats) -> u64| {
                self.indices().filter_map(|port| stats.port(port)).map(read).sum()
            };
            let stats: &WorkerStats = stats;
            model::Worker {
                index,
                core: *core,
                socket: config::host::socket_of(*core),
                generation: stats.generation.get(),
                counters: model::WorkerCounters {
                    turns: thread.turns,
                    idle_turns: thread.empty_turns,
                    slept_ns: u64::try_from(thread.napped.as_nanos()).unwrap_or(u64::MAX),
                    rx_packets: sum(|port| port.rx_packets.get()),
                    rx_bytes: sum(|port| port.rx_bytes.get()),
                    tx_packets: sum(|port| port.tx_packets.get()),
                    tx_bytes: sum(|port| port.tx_bytes.get()),
                    drops: sum(dropped),
                    icmp_sent: stats.icmp_sent.get(),
                    icmp_limited: stats.icmp_limited.get(),
                    fragmented: stats.fragmented.get(),
                    waiting: stats.waiting.get(),
                    replayed: stats.replayed.get(),
                    handed_over: stats.handed_over.get(),
                },
            }
        });
        model::Workers { uptime_seconds: self.uptime(), workers: workers.collect() }
    }

    fn drops(&self) -> model::Drops {
        let drops = DropReason::ALL.iter().map(|reason| {
            let workers: Vec<_> = self.shared.control.stats().zip(0u16..).collect();
            let places: Vec<model::DropPlace> = self
                .indices()
                .flat_map(|port| workers.iter().map(move |(stats, worker)| (port, stats, *worker)))
                .filter_map(|(port, stats, worker)| {
                    let packets = stats.port(port)?.drops(*reason);
                    (packets > 0).then(|| model::DropPlace {
                        port: self.port_name(port).unwrap_or_default().to_owned(),
                        worker,
                        packets,
                    })
                })
                .collect();
            model::Drop {
                reason: reason.name().into(),
                help: reason.help().into(),
                packets: places.iter().map(|place| place.packets).sum(),
                places,
            }
        });
        model::Drops { uptime_seconds: self.uptime(), drops: drops.collect() }
    }

    fn interfaces(&self) -> model::Interfaces {
        let interfaces = self.shared.control.read(|rib| {
            rib.ifaces()
                .map(|entry| {
                    let iface = &entry.iface;
                    model::Interface {
                        index: iface.index.0,
                        name: iface.name.clone(),
                        port: iface.port.and_then(|port| self.port_name(port)).map(str::to_owned),
                        vlan: iface.vlan.iter().map(|tag| tag.id).collect(),
                        mac: mac(iface.mac),
                        mtu: iface.mtu,
                        up: iface.up,
                        addresses: entry.addresses.iter().map(prefix).collect(),
                    }
                })
                .collect()
        });
        model::Interfaces { interfaces }
    }

    fn routes(&self, limit: Option<usize>) -> model::Routes {
        let counts = self.table_counts();
        let Some(limit) = limit else {
            return model::Routes { counts, routes: None, truncated: false };
        };
        self.shared.control.read(|rib| {
            let mut routes: Vec<Route> = rib.routes().collect();
            routes.sort_unstable_by_key(|route| (route.prefix, route.table, route.metric));
            let truncated = routes.len() > limit;
            routes.truncate(limit);
            model::Routes {
                counts,
                routes: Some(routes.iter().map(|found| route(rib, found)).collect()),
                truncated,
            }
        })
    }

    fn flows(&self, query: &FlowsQuery) -> Flows {
        Flows { uptime_seconds: self.uptime(), ..flows::list(&self.shared.flows, query) }
    }

    fn sysctls(&self) -> Sysctls {
        Sysctls { settings: self.shared.flows.sysctls() }
    }

    fn set_sysctl(&self, wanted: &Sysctl) -> Result<Sysctl, String> {
        self.shared.flows.set_sysctl(wanted)
    }

    fn ha(&self) -> Result<Ha, HaError> {
        let handle = self.shared.ha.as_ref().ok_or(HaError::Alone)?;
        let counts = self.shared.flows.counts();
        let own = counts.flows.saturating_sub(counts.imported);
        let control = &self.shared.control;
        let sum = |read: fn(&WorkerStats) -> u64| control.stats().map(|stats| read(stats)).sum();
        let workers = [
            ("deferred_packets", sum(|stats| stats.deferred.get())),
            ("deferred_overdue", sum(|stats| stats.defer_overdue.get())),
            ("passed_on", sum(|stats| stats.passed_on.get())),
        ];
        handle.report(HaFlows { own, imported: counts.imported }, &workers)
    }

    fn ha_command(&self, command: &HaCommand) -> Result<String, HaError> {
        self.shared.ha.as_ref().ok_or(HaError::Alone)?.command(command)
    }
}

fn prefix(prefix: &Prefix) -> String {
    format!("{}/{}", prefix.addr, prefix.len)
}

fn route(rib: &Rib, route: &Route) -> model::Route {
    let hop = |hop: &NextHop| {
        let name = rib
            .ifaces()
            .find(|entry| entry.iface.index == hop.iface)
            .map(|entry| entry.iface.name.clone());
        model::NextHop {
            via: hop.via.as_ref().map(IpAddr::to_string),
            interface: name.unwrap_or_else(|| hop.iface.0.to_string()),
            weight: hop.weight,
        }
    };
    model::Route {
        prefix: prefix(&route.prefix),
        kind: match route.kind {
            RouteKind::Unicast => "unicast",
            RouteKind::Local => "local",
            RouteKind::Broadcast => "broadcast",
            RouteKind::Multicast => "multicast",
            RouteKind::Blackhole => "blackhole",
            RouteKind::Unreachable => "unreachable",
            RouteKind::Prohibit => "prohibit",
        }
        .into(),
        table: match route.table {
            RouteTable::Local => "local",
            RouteTable::Main => "main",
        }
        .into(),
        metric: route.metric,
        mtu: route.mtu,
        next_hops: route.next_hops.iter().map(hop).collect(),
    }
}
