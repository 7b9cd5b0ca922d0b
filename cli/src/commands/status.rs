//! `twinwall status`.

use super::View;
use super::numbers::{duration, grouped};
use crate::api::model::Status;

/// The daemon as a whole.
pub struct StatusView;

impl View for StatusView {
    type Answer = Status;
    type Json = Status;

    fn target(&self) -> String {
        "/v1/status".into()
    }

    fn text(&self, now: &Status, _: Option<&Status>) -> String {
        let pages = if now.hugepages { "hugepages" } else { "ordinary memory" };
        let tables = &now.tables;
        let lag = match tables.generation.saturating_sub(tables.oldest_in_use) {
            0 => String::new(),
            n => format!(" (a worker is {n} behind)"),
        };
        let mut lines = vec![
            ("version", format!("{} on {}", now.version, now.dpdk)),
            ("process", now.pid.to_string()),
            ("uptime", duration(now.uptime_seconds)),
            ("config", now.config.clone()),
            ("memory", pages.to_owned()),
            ("workers", format!("{}, {} when idle", now.workers, now.idle)),
            ("ports", format!("{}, {} up", now.ports, now.ports_up)),
        ];
        for pool in &now.pools {
            let text = format!(
                "{} of {} in use (socket {})",
                grouped(pool.in_use.into()),
                grouped(pool.size.into()),
                pool.socket
            );
            lines.push(("frames", text));
        }
        lines.extend([
            ("interfaces", grouped(tables.interfaces)),
            (
                "routes",
                format!(
                    "{} IPv4, {} IPv6",
                    grouped(tables.ipv4_routes),
                    grouped(tables.ipv6_routes)
                ),
            ),
            ("neighbours", grouped(tables.neighbours)),
            ("generation", format!("{}{lag}", tables.generation)),
            ("icmp rate", format!("{}/s", grouped(now.icmp_rate.into()))),
        ]);
        let rules = &now.rules;
        let lag = match rules.generation.saturating_sub(rules.oldest_in_use) {
            0 => String::new(),
            n => format!(" (a worker is {n} behind)"),
        };
        lines.extend([
            (
                "rules",
                format!(
                    "{} in {} chains of {} tables, generation {}{lag}",
                    grouped(rules.rules),
                    grouped(rules.chains),
                    grouped(rules.tables),
                    rules.generation
                ),
            ),
            ("sets", format!("{}, {} elements", grouped(rules.sets), grouped(rules.elements))),
            (
                "nfnetlink",
                format!(
                    "{}, {} clients, {} requests, {} refused",
                    rules.socket,
                    grouped(rules.clients),
                    grouped(rules.requests),
                    grouped(rules.refused)
                ),
            ),
        ]);
        let flows = &now.flows;
        if flows.room > 0 {
            let failed = [
                (flows.early_dropped, "given up early"),
                (flows.dropped, "packets dropped for want of room"),
                (flows.events_lost, "events lost"),
            ];
            let failed = failed.iter().filter(|(n, _)| *n > 0);
            let failed: String =
                failed.map(|(n, what)| format!(", {} {what}", grouped(*n))).collect();
            lines.push((
                "flows",
                format!(
                    "{} of {}, tracking {}, {} packets invalid{failed}",
                    grouped(flows.flows),
                    grouped(flows.room),
                    flows.tracking,
                    grouped(flows.invalid)
                ),
            ));
        }
        let lost = [
            ("logs", rules.logs_suppressed, "lines suppressed"),
            ("traces", rules.traces_lost, "steps lost"),
            ("overruns", rules.overruns, "events or answers lost by slow clients"),
        ];
        let lost = lost.into_iter().filter(|(_, n, _)| *n > 0);
        lines.extend(lost.map(|(name, n, what)| (name, format!("{} {what}", grouped(n)))));
        lines
            .iter()
            .map(|(name, value)| format!("{name:<12}{value}"))
            .collect::<Vec<_>>()
            .join("\n")
    }

    fn json(&self, now: Status, _: Option<&Status>) -> Status {
        now
    }
}
