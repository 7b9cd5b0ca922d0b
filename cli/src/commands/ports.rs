//! `twinwall ports`.

use serde::Serialize;

use super::View;
use super::numbers::{grouped, rate, scaled};
use super::table::Columns;
use crate::api::model::{Port, Ports};

/// Ports and their counters.
pub struct PortsView;

/// What a port does per second.
#[derive(Clone, Debug, Serialize)]
pub struct PortRates {
    rx_packets: f64,
    rx_bits: f64,
    tx_packets: f64,
    tx_bits: f64,
    drops: f64,
    lost: f64,
}

impl PortRates {
    fn between(now: &Port, before: &Port, seconds: f64) -> Self {
        let (now, before) = (&now.counters, &before.counters);
        Self {
            rx_packets: rate(now.rx_packets, before.rx_packets, seconds),
            rx_bits: 8.0 * rate(now.rx_bytes, before.rx_bytes, seconds),
            tx_packets: rate(now.tx_packets, before.tx_packets, seconds),
            tx_bits: 8.0 * rate(now.tx_bytes, before.tx_bytes, seconds),
            drops: rate(now.drops, before.drops, seconds),
            lost: rate(lost(now), lost(before), seconds),
        }
    }
}

/// What the device lost by itself.
fn lost(counters: &crate::api::model::PortCounters) -> u64 {
    counters.rx_missed + counters.rx_errors + counters.rx_no_mbuf + counters.tx_errors
}

/// A port with its rates.
#[derive(Clone, Debug, Serialize)]
pub struct PortJson {
    #[serde(flatten)]
    port: Port,
    #[serde(skip_serializing_if = "Option::is_none")]
    rates: Option<PortRates>,
}

/// All ports with their rates, per second.
#[derive(Clone, Debug, Serialize)]
pub struct PortsJson {
    uptime_seconds: f64,
    ports: Vec<PortJson>,
}

/// The rates of `port`, where an earlier answer has it too.
fn rates(port: &Port, now: &Ports, before: Option<&Ports>) -> Option<PortRates> {
    let before = before?;
    let earlier = before.ports.iter().find(|earlier| earlier.name == port.name)?;
    Some(PortRates::between(port, earlier, now.uptime_seconds - before.uptime_seconds))
}

impl View for PortsView {
    type Answer = Ports;
    type Json = PortsJson;

    fn target(&self) -> String {
        "/v1/ports".into()
    }

    fn text(&self, now: &Ports, before: Option<&Ports>) -> String {
        let mut columns = if before.is_some() {
            Columns::new(&[
                "PORT",
                "LINK",
                ">RX pps",
                ">RX bit/s",
                ">TX pps",
                ">TX bit/s",
                ">DROPS/s",
                ">LOST/s",
            ])
        } else {
            Columns::new(&[
                "PORT",
                "LINK",
                "MODE",
                "DRIVER",
                "MAC",
                ">MTU",
                ">QUEUES",
                ">RX",
                ">RX BYTES",
                ">TX",
                ">TX BYTES",
                ">DROPS",
                ">LOST",
            ])
        };
        for port in &now.ports {
            let link = match (port.up, port.speed_mbps) {
                (false, _) => "down".to_owned(),
                (true, None) => "up".to_owned(),
                (true, Some(mbps)) => format!("{}bit/s", scaled(f64::from(mbps) * 1e6)),
            };
            if before.is_some() {
                let mut cells = vec![port.name.clone(), link];
                match rates(port, now, before) {
                    Some(r) => cells.extend(
                        [r.rx_packets, r.rx_bits, r.tx_packets, r.tx_bits, r.drops, r.lost]
                            .map(scaled),
                    ),
                    None => cells.extend(std::iter::repeat_n("-".to_owned(), 6)),
                }
                columns.row(cells);
                continue;
            }
            let c = &port.counters;
            let mode = port
                .pair
                .as_ref()
                .map_or_else(|| port.mode.clone(), |other| format!("pair with {other}"));
            columns.row(vec![
                port.name.clone(),
                link,
                mode,
                port.driver.clone(),
                port.mac.clone(),
                port.mtu.to_string(),
                port.rx_queues.to_string(),
                grouped(c.rx_packets),
                grouped(c.rx_bytes),
                grouped(c.tx_packets),
                grouped(c.tx_bytes),
                grouped(c.drops),
                grouped(lost(c)),
            ]);
        }
        columns.text()
    }

    fn json(&self, now: Ports, before: Option<&Ports>) -> PortsJson {
        let ports = now
            .ports
            .iter()
            .map(|port| PortJson { port: port.clone(), rates: rates(port, &now, before) })
            .collect();
        PortsJson { uptime_seconds: now.uptime_seconds, ports }
    }
}
