//! `twinwall workers`.

use serde::Serialize;

use super::View;
use super::numbers::{grouped, rate, scaled};
use super::table::Columns;
use crate::api::model::{Worker, Workers};

/// Workers and their counters.
pub struct WorkersView;

/// What a worker does per second.
#[derive(Clone, Debug, Serialize)]
pub struct WorkerRates {
    rx_packets: f64,
    rx_bits: f64,
    tx_packets: f64,
    tx_bits: f64,
    drops: f64,
    turns: f64,
    /// Part of its turns that had work, 0 to 1.
    busy: f64,
}

impl WorkerRates {
    fn between(now: &Worker, before: &Worker, seconds: f64) -> Self {
        let (now, before) = (&now.counters, &before.counters);
        let turns = rate(now.turns, before.turns, seconds);
        let idle = rate(now.idle_turns, before.idle_turns, seconds);
        Self {
            rx_packets: rate(now.rx_packets, before.rx_packets, seconds),
            rx_bits: 8.0 * rate(now.rx_bytes, before.rx_bytes, seconds),
            tx_packets: rate(now.tx_packets, before.tx_packets, seconds),
            tx_bits: 8.0 * rate(now.tx_bytes, before.tx_bytes, seconds),
            drops: rate(now.drops, before.drops, seconds),
            turns,
            busy: if turns > 0.0 { ((turns - idle) / turns).clamp(0.0, 1.0) } else { 0.0 },
        }
    }
}

/// A worker with its rates.
#[derive(Clone, Debug, Serialize)]
pub struct WorkerJson {
    #[serde(flatten)]
    worker: Worker,
    #[serde(skip_serializing_if = "Option::is_none")]
    rates: Option<WorkerRates>,
}

/// All workers with their rates, per second.
#[derive(Clone, Debug, Serialize)]
pub struct WorkersJson {
    uptime_seconds: f64,
    workers: Vec<WorkerJson>,
}

/// The rates of `worker`, where an earlier answer has it too.
fn rates(worker: &Worker, now: &Workers, before: Option<&Workers>) -> Option<WorkerRates> {
    let before = before?;
    let earlier = before.workers.iter().find(|earlier| earlier.index == worker.index)?;
    Some(WorkerRates::between(worker, earlier, now.uptime_seconds - before.uptime_seconds))
}

impl View for WorkersView {
    type Answer = Workers;
    type Json = WorkersJson;

    fn target(&self) -> String {
        "/v1/workers".into()
    }

    fn text(&self, now: &Workers, before: Option<&Workers>) -> String {
        let mut columns = if before.is_some() {
            Columns::new(&[
                "WORKER",
                ">CORE",
                ">BUSY",
                ">TURNS/s",
                ">RX pps",
                ">RX bit/s",
                ">TX pps",
                ">TX bit/s",
                ">DROPS/s",
            ])
        } else {
            Columns::new(&[
                "WORKER",
                ">CORE",
                ">SOCKET",
                ">RX",
                ">TX",
                ">DROPS",
                ">ICMP SENT",
                ">ICMP HELD",
                ">FRAGMENTED",
                ">WAITING",
                ">GENERATION",
            ])
        };
        for worker in &now.workers {
            let c = &worker.counters;
            if before.is_some() {
                let mut cells = vec![worker.index.to_string(), worker.core.to_string()];
                match rates(worker, now, before) {
                    Some(r) => {
                        cells.push(format!("{:.1} %", 100.0 * r.busy));
                        cells.extend(
                            [r.turns, r.rx_packets, r.rx_bits, r.tx_packets, r.tx_bits, r.drops]
                                .map(scaled),
                        );
                    }
                    None => cells.extend(std::iter::repeat_n("-".to_owned(), 7)),
                }
                columns.row(cells);
                continue;
            }
            columns.row(vec![
                worker.index.to_string(),
                worker.core.to_string(),
                worker.socket.to_string(),
                grouped(c.rx_packets),
                grouped(c.tx_packets),
                grouped(c.drops),
                grouped(c.icmp_sent),
                grouped(c.icmp_limited),
                grouped(c.fragmented),
                grouped(c.waiting),
                worker.generation.to_string(),
            ]);
        }
        columns.text()
    }

    fn json(&self, now: Workers, before: Option<&Workers>) -> WorkersJson {
        let workers = now
            .workers
            .iter()
            .map(|worker| WorkerJson { worker: worker.clone(), rates: rates(worker, &now, before) })
            .collect();
        WorkersJson { uptime_seconds: now.uptime_seconds, workers }
    }
}
