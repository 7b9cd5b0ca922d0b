//! `twinwall flows`.

use serde::Serialize;

use super::View;
use super::numbers::{duration, grouped, rate, scaled};
use super::table::Columns;
use crate::api::flows::{FlowEntry, Flows, FlowsQuery, Tuple};

/// The first flows by some measure.
pub struct FlowsView {
    /// Which.
    pub query: FlowsQuery,
}

/// A flow with what it carries per second, both directions.
#[derive(Clone, Debug, Serialize)]
pub struct FlowJson {
    #[serde(flatten)]
    flow: FlowEntry,
    /// Since the last look, or, without one, since it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    bits_per_second: Option<f64>,
}

/// The flows with their rates.
#[derive(Clone, Debug, Serialize)]
pub struct FlowsJson {
    uptime_seconds: f64,
    matching: u64,
    accounting: bool,
    timestamps: bool,
    flows: Vec<FlowJson>,
}

/// Bits per second of a flow: since an earlier answer that has it too, else since it began.
fn bits(flow: &FlowEntry, now: &Flows, before: Option<&Flows>) -> Option<f64> {
    let sum = |flow: &FlowEntry| flow.bytes.map(|[there, back]| there + back);
    let earlier = before.and_then(|before| {
        let same = |other: &&FlowEntry| (other.worker, other.id) == (flow.worker, flow.id);
        Some((sum(before.flows.iter().find(same)?)?, before.uptime_seconds))
    });
    let (bytes, since) = match earlier {
        Some(earlier) => earlier,
        None => (0, flow.started_seconds?),
    };
    Some(8.0 * rate(sum(flow)?, bytes, now.uptime_seconds - since))
}

/// An end of a flow.
fn end(address: &str, port: Option<u16>) -> String {
    match port {
        Some(port) if address.contains(':') => format!("[{address}]:{port}"),
        Some(port) => format!("{address}:{port}"),
        None => address.to_owned(),
    }
}

fn ends(tuple: &Tuple) -> [String; 2] {
    [end(&tuple.source, tuple.source_port), end(&tuple.destination, tuple.destination_port)]
}

/// What is translated: where packets really go, and where they seem to come from.
fn translation(flow: &FlowEntry) -> String {
    let ([source, destination], [from, to]) = (ends(&flow.original), ends(&flow.reply));
    let has = |word: &str| flow.status.iter().any(|has| has == word);
    let mut parts = Vec::new();
    if has("dst-nat") && from != destination {
        parts.push(format!("to {from}"));
    }
    if has("src-nat") && to != source {
        parts.push(format!("as {to}"));
    }
    parts.join(", ")
}

/// What is told of a flow's state beside its translation.
fn state(flow: &FlowEntry) -> String {
    let icmp = |tuple: &Tuple| {
        Some(format!("type {} code {} id {}", tuple.icmp_type?, tuple.icmp_code?, tuple.icmp_id?))
    };
    let words = flow.status.iter().filter(|word| !word.ends_with("-nat")).cloned();
    let parts = flow.state.clone().into_iter().chain(icmp(&flow.original)).chain(words);
    parts.collect::<Vec<_>>().join(" ")
}

impl View for FlowsView {
    type Answer = Flows;
    type Json = FlowsJson;

    fn target(&self) -> String {
        self.query.target()
    }

    fn text(&self, now: &Flows, before: Option<&Flows>) -> String {
        let mut columns = Columns::new(&[
            "PROTO",
            "SOURCE",
            "DESTINATION",
            "TRANSLATED",
            "STATE",
            ">PACKETS",
            ">BYTES",
            ">BIT/s",
            ">AGE",
            ">TIMEOUT",
        ]);
        for flow in &now.flows {
            let [source, destination] = ends(&flow.original);
            let sum = |counts: Option<[u64; 2]>| {
                counts.map_or_else(|| "-".to_owned(), |[there, back]| grouped(there + back))
            };
            let age = flow.started_seconds.map(|start| duration(now.uptime_seconds - start));
            columns.row(vec![
                flow.protocol.clone(),
                source,
                destination,
                translation(flow),
                state(flow),
                sum(flow.packets),
                sum(flow.bytes),
                bits(flow, now, before).map_or_else(|| "-".to_owned(), scaled),
                age.unwrap_or_else(|| "-".to_owned()),
                grouped(flow.timeout_seconds.into()),
            ]);
        }
        let mut text = columns.text();
        text.push_str(&format!("\n{} of {} flows", now.flows.len(), grouped(now.matching)));
        let off: Vec<&str> =
            [(now.accounting, "nf_conntrack_acct=1"), (now.timestamps, "nf_conntrack_timestamp=1")]
                .into_iter()
                .filter_map(|(on, name)| (!on).then_some(name))
                .collect();
        if !off.is_empty() {
            text.push_str(&format!(
                "; for counts and rates of new ones: twinwall sysctl {}",
                off.join(" ")
            ));
        }
        text
    }

    fn json(&self, now: Flows, before: Option<&Flows>) -> FlowsJson {
        let rated = |flow: &FlowEntry| FlowJson {
            flow: flow.clone(),
            bits_per_second: bits(flow, &now, before),
        };
        FlowsJson {
            uptime_seconds: now.uptime_seconds,
            matching: now.matching,
            accounting: now.accounting,
            timestamps: now.timestamps,
            flows: now.flows.iter().map(rated).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::flows::{Filter, Sort};

    fn flow() -> FlowEntry {
        let tuple = |source: &str, source_port, destination: &str, destination_port| Tuple {
            source: source.into(),
            destination: destination.into(),
            source_port: Some(source_port),
            destination_port: Some(destination_port),
            ..Tuple::default()
        };
        FlowEntry {
            id: 7,
            protocol: "tcp".into(),
            state: Some("ESTABLISHED".into()),
            original: tuple("10.0.0.1", 1000, "192.0.2.1", 80),
            reply: tuple("10.9.0.1", 8080, "192.0.2.9", 2000),
            status: vec!["assured".into(), "src-nat".into(), "dst-nat".into()],
            started_seconds: Some(90.0),
            packets: Some([10, 5]),
            bytes: Some([1000, 250]),
            ..FlowEntry::default()
        }
    }

    fn flows(uptime_seconds: f64, flow: FlowEntry) -> Flows {
        Flows {
            uptime_seconds,
            matching: 1234,
            accounting: true,
            timestamps: true,
            flows: vec![flow],
        }
    }

    #[test]
    fn a_line_says_what_a_flow_is() {
        let view = FlowsView {
            query: FlowsQuery { filter: Filter::default(), sort: Sort::Rate, limit: 20 },
        };
        let text = view.text(&flows(100.0, flow()), None);
        let line = text.lines().nth(1).unwrap();
        for part in [
            "tcp",
            "10.0.0.1:1000",
            "192.0.2.1:80",
            "to 10.9.0.1:8080, as 192.0.2.9:2000",
            "ESTABLISHED assured",
            "15",
            "1,250",
            "1.00 k",
            "00:00:10",
        ] {
            assert!(line.contains(part), "{part} is missing in {line}");
        }
        assert!(text.ends_with("1 of 1,234 flows"), "{text}");
        let off = Flows { accounting: false, ..flows(100.0, flow()) };
        assert!(view.text(&off, None).ends_with("twinwall sysctl nf_conntrack_acct=1"));
        assert_eq!(end("2001:db8::1", Some(53)), "[2001:db8::1]:53");
    }

    #[test]
    fn rates_are_since_the_last_look_at_the_same_flow() {
        let before = flows(100.0, flow());
        let now = flows(102.0, FlowEntry { bytes: Some([2000, 1250]), ..flow() });
        assert_eq!(bits(&now.flows[0], &now, Some(&before)), Some(8000.0));
        let other = flows(100.0, FlowEntry { id: 8, ..flow() });
        assert_eq!(bits(&now.flows[0], &now, Some(&other)), Some(8.0 * 3250.0 / 12.0));
        let unaccounted = flows(102.0, FlowEntry { bytes: None, ..flow() });
        assert_eq!(bits(&unaccounted.flows[0], &unaccounted, None), None);
    }
}
