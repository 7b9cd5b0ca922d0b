//! A node's status as the API says it.

use sync::ids::NodeId;
use sync::link::LinkStatus;
use sync::node::Peer;

use crate::api::ha::{Ha, HaBulk, HaFlows, HaLag, HaLink, HaPeer, HaVerify};

use super::thread::Seen;

fn hash(hash: u64) -> String {
    format!("{hash:016x}")
}

/// As the API says it. `flows` are the workers' to count, `others` what is counted beside the node.
pub(super) fn report(seen: Seen, flows: HaFlows, others: &[(&'static str, u64)]) -> Ha {
    let Seen { status, links, promotion_waits, at } = seen;
    let links = links.into_iter().map(|link| {
        let heard = link.heard.map(|heard| at.since(heard).as_millis());
        of_link(link, heard.and_then(|ms| u64::try_from(ms).ok()))
    });
    let counters =
        status.counters.iter().chain(others).map(|(name, count)| ((*name).to_owned(), *count));
    Ha {
        uptime_seconds: std::time::Duration::from_nanos(at.0).as_secs_f64(),
        node: status.node.get(),
        role: status.role.to_string(),
        group: status.group.0,
        term: status.term.0,
        owner: status.owner.map(NodeId::get),
        synchronised: status.synchronised,
        epoch: status.epoch.0,
        ruleset_hash: hash(status.ruleset),
        flows,
        lag_us: HaLag { p50: status.lag_us[0], p99: status.lag_us[1] },
        unsynchronised: status.unconfirmed,
        bulk: HaBulk { running: status.bulk.running, done: status.bulk.done, of: status.bulk.of },
        verify: status.verify.map(|found| HaVerify {
            running: found.running,
            compared: found.compared,
            differ: found.differ,
            skipped: found.skipped,
            flows: None,
        }),
        handing_over: status.handing_over.map(NodeId::get),
        promotion_waits,
        counters: counters.collect(),
        peers: status.peers.iter().map(of_peer).collect(),
        links: links.collect(),
        alarms: status.alarms,
    }
}

fn of_peer(peer: &Peer) -> HaPeer {
    HaPeer {
        node: peer.node.get(),
        alive: peer.alive,
        left: peer.left,
        role: peer.role.to_string(),
        term: peer.term.0,
        synchronised: peer.synchronised,
        ruleset_agrees: peer.ruleset_agrees,
        ruleset_hash: hash(peer.ruleset),
        epoch: peer.epoch.0,
        heard_us: peer.heard_us,
        watermark_age_us: peer.watermark_age_us,
        behind: peer.behind,
    }
}

fn of_link(link: LinkStatus, heard_ms: Option<u64>) -> HaLink {
    let LinkStatus { interface, up, error, counters, .. } = link;
    HaLink {
        interface,
        up,
        error,
        heard_ms,
        rx_datagrams: counters.rx_datagrams,
        rx_bytes: counters.rx_bytes,
        rx_routed: counters.rx_routed,
        rx_too_long: counters.rx_too_long,
        rx_errors: counters.rx_errors,
        tx_datagrams: counters.tx_datagrams,
        tx_bytes: counters.tx_bytes,
        tx_full: counters.tx_full,
        tx_errors: counters.tx_errors,
    }
}
