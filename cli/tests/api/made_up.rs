//! A daemon that there is not.

use std::sync::atomic::{AtomicU64, Ordering};

use cli::api::Snapshots;
use cli::api::flows::{FlowCounts, FlowEntry, Flows, FlowsQuery, Sort, Sysctl, Sysctls, Tuple};
use cli::api::ha::{Ha, HaBulk, HaCommand, HaError, HaFlows, HaLag, HaLink, HaPeer, HaVerify};
use cli::api::model::{
    Drop, DropPlace, Drops, Interface, Interfaces, NextHop, Pool, Port, PortCounters, Ports, Route,
    Routes, Status, TableCounts, Worker, WorkerCounters, Workers,
};

/// A daemon of two ports, whose counters grow by a known amount each time they are read, once a "second".
#[derive(Default)]
pub(super) struct MadeUp {
    reads: AtomicU64,
    /// Likewise of its state among others.
    looks: AtomicU64,
    /// It has no other nodes.
    alone: bool,
}

impl MadeUp {
    /// One that has no other nodes.
    pub(super) fn alone() -> Self {
        Self { alone: true, ..Self::default() }
    }

    fn step(&self) -> u64 {
        self.reads.fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl Snapshots for MadeUp {
    fn status(&self) -> Status {
        Status {
            version: "1.2.3".into(),
            dpdk: "DPDK 22.11".into(),
            pid: 77,
            uptime_seconds: 4_000.0,
            ports: 2,
            ports_up: 1,
            workers: 1,
            idle: "adaptive".into(),
            pools: vec![Pool { socket: 0, size: 16_384, in_use: 2_048 }],
            tables: TableCounts {
                generation: 9,
                oldest_in_use: 9,
                interfaces: 3,
                ipv4_routes: 4,
                ipv6_routes: 5,
                neighbours: 6,
            },
            flows: FlowCounts {
                tracking: "auto".into(),
                flows: 1_234,
                room: 262_144,
                early_dropped: 3,
                nat_taken: 9,
                by_worker: vec![1_000, 234],
                ..FlowCounts::default()
            },
            ..Status::default()
        }
    }

    fn ports(&self) -> Ports {
        let n = self.step();
        Ports {
            uptime_seconds: n as f64,
            ports: vec![port("lan", n), Port { up: false, ..port("wan", 0) }],
        }
    }

    fn workers(&self) -> Workers {
        let n = self.step();
        let counters = WorkerCounters {
            turns: n * 100,
            idle_turns: n * 75,
            rx_packets: n * 2_000,
            ..WorkerCounters::default()
        };
        Workers {
            uptime_seconds: n as f64,
            workers: vec![Worker { index: 0, core: 3, counters, ..Worker::default() }],
        }
    }

    fn drops(&self) -> Drops {
        let n = self.step();
        let places = vec![
            DropPlace { port: "lan".into(), worker: 0, packets: n * 3 },
            DropPlace { port: "lan".into(), worker: 1, packets: n },
            DropPlace { port: "wan".into(), worker: 0, packets: n },
        ];
        let happened =
            Drop { reason: "no_route".into(), help: "No route.".into(), packets: n * 5, places };
        let never =
            Drop { reason: "ttl_expired".into(), help: "Too old.".into(), ..Drop::default() };
        Drops { uptime_seconds: n as f64, drops: vec![happened, never] }
    }

    fn interfaces(&self) -> Interfaces {
        let lan = Interface {
            index: 5,
            name: "lan".into(),
            port: Some("lan".into()),
            ..Interface::default()
        };
        Interfaces { interfaces: vec![lan] }
    }

    fn routes(&self, limit: Option<usize>) -> Routes {
        let route = |prefix: &str| Route {
            prefix: prefix.into(),
            kind: "unicast".into(),
            next_hops: vec![NextHop { via: None, interface: "lan".into(), weight: 1 }],
            ..Route::default()
        };
        let all = ["10.0.0.0/8", "192.0.2.0/24", "2001:db8::/32"];
        Routes {
            counts: TableCounts { ipv4_routes: 2, ipv6_routes: 1, ..TableCounts::default() },
            truncated: limit.is_some_and(|limit| limit < all.len()),
            routes: limit.map(|limit| all.iter().take(limit).map(|prefix| route(prefix)).collect()),
        }
    }

    fn flows(&self, query: &FlowsQuery) -> Flows {
        let n = self.step();
        let flow = FlowEntry {
            id: 7,
            protocol: "tcp".into(),
            original: Tuple { source: "10.0.0.1".into(), ..Tuple::default() },
            // What was asked for comes back in the mark.
            mark: query.filter.port.unwrap_or_default().into(),
            bytes: Some([n * 1_000, n * 250]),
            started_seconds: Some(0.0),
            ..FlowEntry::default()
        };
        let flows = if query.sort == Sort::Bytes { vec![flow] } else { Vec::new() };
        Flows { uptime_seconds: n as f64, matching: 5, accounting: true, timestamps: true, flows }
    }

    fn sysctls(&self) -> Sysctls {
        let setting = |name: &str, value| Sysctl {
            name: format!("net.netfilter.nf_conntrack_{name}"),
            value,
        };
        Sysctls { settings: vec![setting("acct", 0), setting("udp_timeout", 30)] }
    }

    fn set_sysctl(&self, wanted: &Sysctl) -> Result<Sysctl, String> {
        if wanted.value > 100 { Err("must be 0 to 100".into()) } else { Ok(wanted.clone()) }
    }

    fn ha(&self) -> Result<Ha, HaError> {
        if self.alone {
            return Err(HaError::Alone);
        }
        let n = self.looks.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(Ha {
            uptime_seconds: n as f64,
            node: 1,
            role: "active".into(),
            term: 5,
            owner: Some(1),
            synchronised: true,
            epoch: 9,
            ruleset_hash: "00c0ffee00c0ffee".into(),
            flows: HaFlows { own: 1_000, imported: 99_000 },
            lag_us: HaLag { p50: 210, p99: 1_900 },
            unsynchronised: 17,
            bulk: HaBulk { running: true, done: 470_000, of: 1_048_576 },
            verify: Some(HaVerify {
                compared: 1_024,
                differ: 1,
                skipped: 2,
                ..HaVerify::default()
            }),
            counters: [("nacks".to_owned(), 3 * n), ("rejected_forged".to_owned(), 4)].into(),
            peers: vec![HaPeer {
                node: 2,
                alive: true,
                role: "standby".into(),
                watermark_age_us: Some(5_000),
                ..HaPeer::default()
            }],
            links: vec![HaLink {
                interface: "sync0".into(),
                error: Some("Network is down (os error 100)".into()),
                tx_datagrams: 1_000 * n,
                tx_errors: 8,
                ..HaLink::default()
            }],
            alarms: vec!["node 2 has another ruleset".into()],
            ..Ha::default()
        })
    }

    fn ha_command(&self, command: &HaCommand) -> Result<String, HaError> {
        match command {
            HaCommand::Promote { force: false } => {
                Err(HaError::Refused("flows are missing".into()))
            }
            other => Ok(format!("{other:?}")),
        }
    }
}

pub(super) fn port(name: &str, n: u64) -> Port {
    Port {
        name: name.into(),
        device: "net_null0".into(),
        driver: "net_null".into(),
        mode: "routed".into(),
        mac: "02:00:00:00:00:01".into(),
        mtu: 1500,
        up: true,
        speed_mbps: Some(10_000),
        rx_queues: 1,
        tx_queues: 1,
        counters: PortCounters {
            rx_packets: n * 2_000,
            rx_bytes: n * 128_000,
            drops: n * 5,
            ..PortCounters::default()
        },
        ..Port::default()
    }
}
