//! Counters for Prometheus, through the `metrics` facade.
//!
//! # Overview
//!
//! Nothing is counted here: workers and devices count, and at each scrape [`publish`] copies their numbers into whatever
//! recorder is installed (the daemon's is `metrics-exporter-prometheus`). [`describe`] says once what each means.
//!
//! # Who may touch what
//!
//! Both are called by the API's thread only, with the recorder current.

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

use super::Snapshots;
use super::flows::FlowCounts;
use super::ha::{Ha, HaLink};
use super::model::{PortCounters, RuleCounts, WorkerCounters};

/// A counter of a port: its metric, what it means, how to read it.
type PortMetric = (&'static str, Unit, &'static str, fn(&PortCounters) -> u64);

const PORT: &[PortMetric] = &[
    ("twinwall_port_rx_packets_total", Unit::Count, "Frames received by workers.", |c| {
        c.rx_packets
    }),
    (
        "twinwall_port_rx_bytes_total",
        Unit::Bytes,
        "Bytes of the frames received by workers.",
        |c| c.rx_bytes,
    ),
    ("twinwall_port_tx_packets_total", Unit::Count, "Frames that the device took to send.", |c| {
        c.tx_packets
    }),
    (
        "twinwall_port_tx_bytes_total",
        Unit::Bytes,
        "Bytes of the frames that the device took to send.",
        |c| c.tx_bytes,
    ),
    ("twinwall_port_rx_missed_total", Unit::Count, "Frames that no worker fetched in time.", |c| {
        c.rx_missed
    }),
    ("twinwall_port_rx_errors_total", Unit::Count, "Frames that came broken.", |c| c.rx_errors),
    (
        "twinwall_port_rx_no_mbuf_total",
        Unit::Count,
        "Frames lost because the pool was empty.",
        |c| c.rx_no_mbuf,
    ),
    ("twinwall_port_tx_errors_total", Unit::Count, "Frames that the device failed to send.", |c| {
        c.tx_errors
    }),
    ("twinwall_port_to_twin_total", Unit::Count, "Frames handed to the kernel twin.", |c| {
        c.to_twin
    }),
    (
        "twinwall_port_from_twin_total",
        Unit::Count,
        "Frames that the kernel sent on the twin.",
        |c| c.from_twin,
    ),
];

/// A counter of a worker: its metric, what it means, how to read it.
type WorkerMetric = (&'static str, Unit, &'static str, fn(&WorkerCounters) -> u64);

const WORKER: &[WorkerMetric] = &[
    ("twinwall_worker_turns_total", Unit::Count, "Turns of the worker's loop.", |c| c.turns),
    (
        "twinwall_worker_idle_turns_total",
        Unit::Count,
        "Turns in which there was nothing to do.",
        |c| c.idle_turns,
    ),
    (
        "twinwall_worker_slept_nanoseconds_total",
        Unit::Nanoseconds,
        "Time slept for want of work.",
        |c| c.slept_ns,
    ),
    ("twinwall_worker_rx_packets_total", Unit::Count, "Frames received.", |c| c.rx_packets),
    ("twinwall_worker_rx_bytes_total", Unit::Bytes, "Bytes received.", |c| c.rx_bytes),
    ("twinwall_worker_tx_packets_total", Unit::Count, "Frames sent.", |c| c.tx_packets),
    ("twinwall_worker_tx_bytes_total", Unit::Bytes, "Bytes sent.", |c| c.tx_bytes),
    ("twinwall_worker_drops_total", Unit::Count, "Frames dropped on purpose.", |c| c.drops),
    ("twinwall_worker_icmp_sent_total", Unit::Count, "ICMP errors sent.", |c| c.icmp_sent),
    (
        "twinwall_worker_icmp_limited_total",
        Unit::Count,
        "ICMP errors held back by the rate limit.",
        |c| c.icmp_limited,
    ),
    ("twinwall_worker_fragmented_total", Unit::Count, "Packets cut into fragments.", |c| {
        c.fragmented
    }),
    (
        "twinwall_worker_replayed_total",
        Unit::Count,
        "Packets whose verdict was remembered by their flow.",
        |c| c.replayed,
    ),
    (
        "twinwall_worker_handed_over_total",
        Unit::Count,
        "Frames handed to the workers whose flows they belong to.",
        |c| c.handed_over,
    ),
];

const GAUGES: &[(&str, Unit, &str)] = &[
    ("twinwall_info", Unit::Count, "Always 1; the labels say which version runs."),
    ("twinwall_uptime_seconds", Unit::Seconds, "Seconds since the daemon started."),
    ("twinwall_port_up", Unit::Count, "1 where the port's link is up."),
    ("twinwall_port_mtu_bytes", Unit::Bytes, "The port's MTU."),
    (
        "twinwall_worker_waiting_packets",
        Unit::Count,
        "Packets that wait for their next hop's address now.",
    ),
    (
        "twinwall_worker_generation",
        Unit::Count,
        "The generation of the tables that the worker runs.",
    ),
    ("twinwall_pool_frames", Unit::Count, "Frames in the pool, in use or not."),
    ("twinwall_pool_frames_in_use", Unit::Count, "Frames of the pool that are in use now."),
    ("twinwall_tables_generation", Unit::Count, "The newest generation of the forwarding tables."),
    ("twinwall_interfaces", Unit::Count, "Interfaces that forwarding knows."),
    ("twinwall_routes", Unit::Count, "Routes that forwarding knows."),
    ("twinwall_neighbours", Unit::Count, "Neighbours that forwarding knows."),
    ("twinwall_ruleset_generation", Unit::Count, "Commits of the ruleset, and one."),
    ("twinwall_ruleset_oldest_generation", Unit::Count, "The oldest ruleset that a worker runs."),
    ("twinwall_ruleset_adoption_seconds", Unit::Seconds, "How long the last commit took to run."),
    ("twinwall_ruleset_objects", Unit::Count, "What the ruleset has of each kind."),
    ("twinwall_flows", Unit::Count, "Flows now, by worker."),
    ("twinwall_flows_room", Unit::Count, "Flows that there is room for."),
    ("twinwall_ha_role", Unit::Count, "1 with the role that this node has, 0 with the others."),
    ("twinwall_ha_term", Unit::Count, "The highest term known: counts changes of owner."),
    ("twinwall_ha_synchronised", Unit::Count, "1 where this node has all flows of the owner."),
    ("twinwall_ha_promotion_waits", Unit::Count, "1 while a promotion is wanted and refused."),
    ("twinwall_ha_flows", Unit::Count, "Flows that this node made, and imported ones."),
    ("twinwall_ha_lag_seconds", Unit::Seconds, "From a change until the slowest standby has it."),
    (
        "twinwall_ha_unsynchronised_flows",
        Unit::Count,
        "Changes of flows that some living standby has not confirmed.",
    ),
    ("twinwall_ha_bulk_running", Unit::Count, "1 while all flows are transferred."),
    ("twinwall_ha_bulk_slots", Unit::Count, "Slots of that transfer, and how many are done."),
    ("twinwall_ha_alarms", Unit::Count, "Alarms that there are now."),
    ("twinwall_ha_peer_alive", Unit::Count, "1 where the other node was heard a moment ago."),
    ("twinwall_ha_peer_synchronised", Unit::Count, "1 where it has all flows of the owner."),
    ("twinwall_ha_peer_ruleset_agrees", Unit::Count, "1 where its ruleset is this node's."),
    ("twinwall_ha_peer_behind_datagrams", Unit::Count, "Datagrams that it has not confirmed yet."),
    (
        "twinwall_ha_peer_watermark_age_seconds",
        Unit::Seconds,
        "Since it last said what it has; where this node is active.",
    ),
    ("twinwall_ha_link_up", Unit::Count, "1 where the kernel takes what is sent on the link."),
    ("twinwall_nfnetlink_clients", Unit::Count, "Programs connected to the netlink socket."),
];

/// A counter of rules and their clients: its metric, what it means, how to read it.
type RuleMetric = (&'static str, &'static str, fn(&RuleCounts) -> u64);

const RULES: &[RuleMetric] = &[
    ("twinwall_logs_suppressed_total", "Packets that rules would have logged.", |c| {
        c.logs_suppressed
    }),
    ("twinwall_traces_lost_total", "Steps of traced packets that nobody heard of.", |c| {
        c.traces_lost
    }),
    ("twinwall_nfnetlink_requests_total", "Requests on the netlink socket.", |c| c.requests),
    ("twinwall_nfnetlink_refused_total", "Messages that were refused.", |c| c.refused),
    ("twinwall_nfnetlink_overruns_total", "Events and answers that slow clients lost.", |c| {
        c.overruns
    }),
];

/// A counter of connection tracking: its metric, what it means, how to read it.
type FlowMetric = (&'static str, &'static str, fn(&FlowCounts) -> u64);

const FLOWS: &[FlowMetric] = &[
    ("twinwall_flows_inserted_total", "Flows that came into the table.", |c| c.inserted),
    ("twinwall_flows_insert_failed_total", "Flows whose tuple another had.", |c| c.insert_failed),
    ("twinwall_flows_invalid_total", "Packets that belong to no connection.", |c| c.invalid),
    ("twinwall_flows_dropped_total", "Packets dropped because the table was full.", |c| c.dropped),
    ("twinwall_flows_early_dropped_total", "Flows given up to make room.", |c| c.early_dropped),
    (
        "twinwall_flows_clashes_resolved_total",
        "Clashes of first packets that were resolved.",
        |c| c.clashes_resolved,
    ),
    ("twinwall_flows_bad_errors_total", "ICMP errors that were malformed.", |c| c.bad_errors),
    ("twinwall_flows_long_chains_total", "Tuples far from their bucket in the index.", |c| {
        c.long_chains
    }),
    ("twinwall_nat_tuples_taken_total", "Tuples that NAT wanted and that others had.", |c| {
        c.nat_taken
    }),
    ("twinwall_flow_events_lost_total", "Events that nobody took in time.", |c| c.events_lost),
];

/// A counter of a link between nodes: its metric, what it means, how to read it.
type LinkMetric = (&'static str, Unit, &'static str, fn(&HaLink) -> u64);

const LINKS: &[LinkMetric] = &[
    ("twinwall_ha_link_rx_datagrams_total", Unit::Count, "Datagrams received.", |l| l.rx_datagrams),
    ("twinwall_ha_link_rx_bytes_total", Unit::Bytes, "Bytes of datagrams received.", |l| {
        l.rx_bytes
    }),
    (
        "twinwall_ha_link_rx_routed_total",
        Unit::Count,
        "Datagrams that came through a router.",
        |l| l.rx_routed,
    ),
    ("twinwall_ha_link_rx_too_long_total", Unit::Count, "Datagrams that were too long.", |l| {
        l.rx_too_long
    }),
    ("twinwall_ha_link_rx_errors_total", Unit::Count, "Failures to receive.", |l| l.rx_errors),
    ("twinwall_ha_link_tx_datagrams_total", Unit::Count, "Datagrams sent.", |l| l.tx_datagrams),
    ("twinwall_ha_link_tx_bytes_total", Unit::Bytes, "Bytes of datagrams sent.", |l| l.tx_bytes),
    (
        "twinwall_ha_link_tx_full_total",
        Unit::Count,
        "Datagrams for which there was no room.",
        |l| l.tx_full,
    ),
    ("twinwall_ha_link_tx_errors_total", Unit::Count, "Datagrams that the kernel refused.", |l| {
        l.tx_errors
    }),
];

/// What nodes count of what they say to each other, by name: gaps, NACKs, repairs, bulks, digests, rejected datagrams by reason.
const HA_EVENTS: &str = "twinwall_ha_events_total";
/// What a node can be (`sync::records::Role`).
const ROLES: [&str; 5] = ["standby", "active", "passive", "held", "redirecting"];

const DROPS: &str = "twinwall_drops_total";

/// Says what each metric means.
pub fn describe() {
    for (name, unit, help, _) in PORT {
        describe_counter!(*name, *unit, *help);
    }
    for (name, unit, help, _) in WORKER {
        describe_counter!(*name, *unit, *help);
    }
    for (name, unit, help) in GAUGES {
        describe_gauge!(*name, *unit, *help);
    }
    for (name, help, _) in RULES {
        describe_counter!(*name, Unit::Count, *help);
    }
    for (name, help, _) in FLOWS {
        describe_counter!(*name, Unit::Count, *help);
    }
    for (name, unit, help, _) in LINKS {
        describe_counter!(*name, *unit, *help);
    }
    describe_counter!(HA_EVENTS, Unit::Count, "What nodes count of what they say to each other.");
    describe_counter!(DROPS, Unit::Count, "Frames dropped on purpose, by reason and port.");
}

/// Gauges are floating point; counts past 2^53 would be rounded, which none of these reaches.
#[expect(clippy::cast_precision_loss, reason = "see above")]
fn float(n: u64) -> f64 {
    n as f64
}

/// Copies the present numbers into the recorder.
pub fn publish(from: &dyn Snapshots) {
    let status = from.status();
    gauge!("twinwall_info", "version" => status.version, "dpdk" => status.dpdk).set(1.0);
    gauge!("twinwall_uptime_seconds").set(status.uptime_seconds);
    for pool in status.pools {
        let socket = pool.socket.to_string();
        gauge!("twinwall_pool_frames", "socket" => socket.clone()).set(f64::from(pool.size));
        gauge!("twinwall_pool_frames_in_use", "socket" => socket).set(f64::from(pool.in_use));
    }
    let tables = status.tables;
    gauge!("twinwall_tables_generation").set(float(tables.generation));
    gauge!("twinwall_interfaces").set(float(tables.interfaces));
    gauge!("twinwall_routes", "family" => "ipv4").set(float(tables.ipv4_routes));
    gauge!("twinwall_routes", "family" => "ipv6").set(float(tables.ipv6_routes));
    gauge!("twinwall_neighbours").set(float(tables.neighbours));

    let rules = status.rules;
    gauge!("twinwall_ruleset_generation").set(float(rules.generation));
    gauge!("twinwall_ruleset_oldest_generation").set(float(rules.oldest_in_use));
    gauge!("twinwall_ruleset_adoption_seconds").set(float(rules.adopted_ns) / 1e9);
    gauge!("twinwall_nfnetlink_clients").set(float(rules.clients));
    for (kind, count) in [
        ("table", rules.tables),
        ("chain", rules.chains),
        ("rule", rules.rules),
        ("set", rules.sets),
        ("element", rules.elements),
        ("object", rules.objects),
        ("flowtable", rules.flowtables),
    ] {
        gauge!("twinwall_ruleset_objects", "kind" => kind).set(float(count));
    }
    for (metric, _, read) in RULES {
        counter!(*metric).absolute(read(&rules));
    }

    for (metric, _, read) in FLOWS {
        counter!(*metric).absolute(read(&status.flows));
    }
    gauge!("twinwall_flows_room").set(float(status.flows.room));
    for (worker, flows) in status.flows.by_worker.iter().enumerate() {
        gauge!("twinwall_flows", "worker" => worker.to_string()).set(float(*flows));
    }

    let ports = from.ports().ports;
    for port in &ports {
        for (metric, _, _, read) in PORT {
            counter!(*metric, "port" => port.name.clone()).absolute(read(&port.counters));
        }
        gauge!("twinwall_port_up", "port" => port.name.clone()).set(f64::from(u8::from(port.up)));
        gauge!("twinwall_port_mtu_bytes", "port" => port.name.clone()).set(f64::from(port.mtu));
    }
    for worker in from.workers().workers {
        let labels = [("worker", worker.index.to_string()), ("core", worker.core.to_string())];
        for (metric, _, _, read) in WORKER {
            counter!(*metric, &labels).absolute(read(&worker.counters));
        }
        gauge!("twinwall_worker_waiting_packets", &labels).set(float(worker.counters.waiting));
        gauge!("twinwall_worker_generation", &labels).set(float(worker.generation));
    }
    if let Ok(ha) = from.ha() {
        publish_ha(&ha);
    }
    // A reason that did not occur on a port is a zero, so that a first drop is an increase.
    for drop in from.drops().drops {
        for port in &ports {
            let here = drop
                .places
                .iter()
                .filter(|place| place.port == port.name)
                .map(|place| place.packets)
                .sum();
            counter!(DROPS, "reason" => drop.reason.clone(), "port" => port.name.clone())
                .absolute(here);
        }
    }
}

/// This node among others.
fn publish_ha(ha: &Ha) {
    let truth = |is: bool| f64::from(u8::from(is));
    for role in ROLES {
        gauge!("twinwall_ha_role", "role" => role).set(truth(ha.role == role));
    }
    gauge!("twinwall_ha_term").set(f64::from(ha.term));
    gauge!("twinwall_ha_synchronised").set(truth(ha.synchronised));
    gauge!("twinwall_ha_promotion_waits").set(truth(ha.promotion_waits));
    gauge!("twinwall_ha_flows", "origin" => "own").set(float(ha.flows.own));
    gauge!("twinwall_ha_flows", "origin" => "imported").set(float(ha.flows.imported));
    gauge!("twinwall_ha_lag_seconds", "quantile" => "0.5").set(float(ha.lag_us.p50) / 1e6);
    gauge!("twinwall_ha_lag_seconds", "quantile" => "0.99").set(float(ha.lag_us.p99) / 1e6);
    gauge!("twinwall_ha_unsynchronised_flows").set(float(ha.unsynchronised));
    gauge!("twinwall_ha_bulk_running").set(truth(ha.bulk.running));
    gauge!("twinwall_ha_bulk_slots", "part" => "done").set(float(ha.bulk.done));
    gauge!("twinwall_ha_bulk_slots", "part" => "all").set(float(ha.bulk.of));
    gauge!("twinwall_ha_alarms").set(float(ha.alarms.len() as u64));
    for peer in &ha.peers {
        let node = [("peer", peer.node.to_string())];
        gauge!("twinwall_ha_peer_alive", &node).set(truth(peer.alive));
        gauge!("twinwall_ha_peer_synchronised", &node).set(truth(peer.synchronised));
        gauge!("twinwall_ha_peer_ruleset_agrees", &node).set(truth(peer.ruleset_agrees));
        gauge!("twinwall_ha_peer_behind_datagrams", &node).set(float(peer.behind));
        if let Some(age) = peer.watermark_age_us {
            gauge!("twinwall_ha_peer_watermark_age_seconds", &node).set(float(age) / 1e6);
        }
    }
    for link in &ha.links {
        let interface = [("interface", link.interface.clone())];
        gauge!("twinwall_ha_link_up", &interface).set(truth(link.up));
        for (metric, _, _, read) in LINKS {
            counter!(*metric, &interface).absolute(read(link));
        }
    }
    for (name, count) in &ha.counters {
        counter!(HA_EVENTS, "event" => name.clone()).absolute(*count);
    }
}
