//! `twinwall ha`: this node among others.
//!
//! `status` is a view like the others; the rest tells the daemon to do something and says what came of it. `check` and `notify` are
//! for keepalived: they answer at once, the one by its exit code.

use std::time::Duration;

use super::numbers::{grouped, rate, scaled};
use super::table::Columns;
use super::{CommandError, View, print_line};
use crate::api::ha::{Ha, HaBulk, HaDone, HaNotify, HaPromote, HaPull, HaVerify};
use crate::args::HaCommand;
use crate::client::Client;

const TARGET: &str = "/v1/ha";
/// How long a handover, or loading a ruleset, may take.
const PATIENCE: Duration = Duration::from_secs(150);
/// Characters of a progress bar.
const BAR: usize = 30;

/// This node among others.
pub struct HaView;

/// How far, as a bar: `[#####-----]  50 %`.
fn bar(done: u64, of: u64) -> String {
    let share = if of == 0 { 0.0 } else { (fraction(done) / fraction(of)).clamp(0.0, 1.0) };
    let filled = (0..BAR).take_while(|n| fraction(*n as u64 + 1) <= share * fraction(BAR as u64));
    let filled = filled.count();
    format!("[{}{}] {:3.0} %", "#".repeat(filled), "-".repeat(BAR - filled), 100.0 * share)
}

#[expect(clippy::cast_precision_loss, reason = "a share shown as per cent needs no more")]
fn fraction(n: u64) -> f64 {
    n as f64
}

/// Microseconds, as `1.20 ms`.
fn time(us: u64) -> String {
    format!("{:.2} ms", fraction(us) / 1000.0)
}

fn bulk(bulk: &HaBulk) -> String {
    if !bulk.running {
        return "none runs".to_owned();
    }
    format!("{} {} of {} slots", bar(bulk.done, bulk.of), grouped(bulk.done), grouped(bulk.of))
}

fn compared(verify: &HaVerify) -> String {
    let flows = verify.flows.map_or_else(String::new, |flows| match flows {
        1 => " with 1 flow".to_owned(),
        _ => format!(" with {} flows", grouped(flows)),
    });
    format!(
        "{} parts{flows} compared, {} differ, {} skipped",
        grouped(verify.compared),
        grouped(verify.differ),
        grouped(verify.skipped)
    )
}

fn yes(is: bool) -> String {
    if is { "yes" } else { "NO" }.to_owned()
}

impl View for HaView {
    type Answer = Ha;
    type Json = Ha;

    fn target(&self) -> String {
        TARGET.into()
    }

    fn text(&self, now: &Ha, before: Option<&Ha>) -> String {
        let owner = match now.owner {
            Some(owner) if owner == now.node => "this node".to_owned(),
            Some(owner) => format!("node {owner}"),
            None => "nobody yet".to_owned(),
        };
        let mut lines = vec![
            ("node", format!("{} of group {}, epoch {}", now.node, now.group, now.epoch)),
            ("role", now.role.clone()),
            ("owner", format!("{owner}, term {}", now.term)),
            ("synchronised", yes(now.synchronised)),
            (
                "flows",
                format!("{} own, {} imported", grouped(now.flows.own), grouped(now.flows.imported)),
            ),
            ("bulk", bulk(&now.bulk)),
            ("ruleset", now.ruleset_hash.clone()),
        ];
        if now.role == "active" {
            let lag = format!(
                "half {}, 99 of 100 {}, {} changes of flows not confirmed",
                time(now.lag_us.p50),
                time(now.lag_us.p99),
                grouped(now.unsynchronised)
            );
            lines.insert(5, ("lag", lag));
        }
        if let Some(to) = now.handing_over {
            lines.push(("handing over", format!("to node {to}")));
        }
        if now.promotion_waits {
            let text = "wanted by keepalived, refused until flows are here";
            lines.push(("promotion", text.to_owned()));
        }
        if let Some(verify) = &now.verify {
            let state = if verify.running { ", still comparing" } else { "" };
            lines.push(("verify", format!("{}{state}", compared(verify))));
        }
        let mut text: String =
            lines.iter().map(|(name, value)| format!("{name:<14}{value}\n")).collect();
        text.push_str(&peers(now));
        text.push_str(&links(now, before));
        if let Some(before) = before {
            text.push_str(&events(now, before));
        }
        for alarm in &now.alarms {
            text.push_str(&format!("\nALARM  {alarm}"));
        }
        text.trim_end().to_owned()
    }

    fn json(&self, now: Ha, _: Option<&Ha>) -> Ha {
        now
    }
}

fn peers(now: &Ha) -> String {
    if now.peers.is_empty() {
        return "\nno other node was heard of\n".to_owned();
    }
    let mut columns = Columns::new(&[
        "PEER",
        "ALIVE",
        "ROLE",
        ">TERM",
        "SYNCHRONISED",
        "SAME RULES",
        ">HEARD",
        ">WATERMARK",
        ">BEHIND",
    ]);
    for peer in &now.peers {
        columns.row(vec![
            peer.node.to_string(),
            if peer.left { "left".to_owned() } else { yes(peer.alive) },
            peer.role.clone(),
            peer.term.to_string(),
            yes(peer.synchronised),
            yes(peer.ruleset_agrees),
            time(peer.heard_us),
            peer.watermark_age_us.map_or_else(|| "-".to_owned(), time),
            grouped(peer.behind),
        ]);
    }
    format!("\n{}\n", columns.text())
}

fn links(now: &Ha, before: Option<&Ha>) -> String {
    let watched = before.is_some();
    let mut columns = Columns::new(&[
        "LINK",
        "UP",
        ">HEARD",
        if watched { ">RX/s" } else { ">RX" },
        if watched { ">RX bit/s" } else { ">RX bytes" },
        if watched { ">TX/s" } else { ">TX" },
        if watched { ">TX bit/s" } else { ">TX bytes" },
        ">ERRORS",
    ]);
    for link in &now.links {
        let mut cells = vec![
            link.interface.clone(),
            yes(link.up),
            link.heard_ms.map_or_else(|| "never".to_owned(), |ms| format!("{ms} ms")),
        ];
        let earlier = before.and_then(|before| {
            let same = before.links.iter().find(|other| other.interface == link.interface)?;
            Some((same, now.uptime_seconds - before.uptime_seconds))
        });
        cells.extend(match earlier {
            Some((was, seconds)) => [
                scaled(rate(link.rx_datagrams, was.rx_datagrams, seconds)),
                scaled(8.0 * rate(link.rx_bytes, was.rx_bytes, seconds)),
                scaled(rate(link.tx_datagrams, was.tx_datagrams, seconds)),
                scaled(8.0 * rate(link.tx_bytes, was.tx_bytes, seconds)),
            ],
            None => {
                [link.rx_datagrams, link.rx_bytes, link.tx_datagrams, link.tx_bytes].map(grouped)
            }
        });
        let errors =
            [link.rx_routed, link.rx_too_long, link.rx_errors, link.tx_full, link.tx_errors];
        cells.push(grouped(errors.iter().sum()));
        columns.row(cells);
    }
    let mut text = format!("\n{}\n", columns.text());
    for link in &now.links {
        if let Some(error) = &link.error {
            text.push_str(&format!("{}: {error}\n", link.interface));
        }
    }
    text
}

/// What was counted since the look before.
fn events(now: &Ha, before: &Ha) -> String {
    let seconds = now.uptime_seconds - before.uptime_seconds;
    let mut columns = Columns::new(&["EVENT", ">PER SECOND", ">IN ALL"]);
    let mut any = false;
    for (name, count) in &now.counters {
        let was = before.counters.get(name).copied().unwrap_or_default();
        if *count > was {
            any = true;
            columns.row(vec![name.clone(), scaled(rate(*count, was, seconds)), grouped(*count)]);
        }
    }
    if any { format!("\n{}\n", columns.text()) } else { String::new() }
}

/// Runs a command; false where the answer is no.
///
/// # Errors
///
/// When the daemon does not answer, or refuses.
pub async fn ha(command: &HaCommand) -> Result<bool, CommandError> {
    let nothing = serde_json::Value::Null;
    let done: HaDone = match command {
        HaCommand::Status(args) => {
            super::show(&HaView, args).await?;
            return Ok(true);
        }
        HaCommand::Check(at) => {
            let ha: Ha = Client::new(&at.socket).get(TARGET).await?;
            let (fit, why) = fitness(&ha);
            print_line(&why)?;
            return Ok(fit);
        }
        HaCommand::Verify(at) => {
            let client = Client::new(&at.socket);
            client.post::<HaDone>("/v1/ha/verify", &nothing, PATIENCE).await?;
            return verified(&client).await;
        }
        HaCommand::Promote { at, force } => {
            let body = HaPromote { force: *force };
            Client::new(&at.socket).post("/v1/ha/promote", &body, PATIENCE).await?
        }
        HaCommand::Demote(at) => {
            Client::new(&at.socket).post("/v1/ha/demote", &nothing, PATIENCE).await?
        }
        HaCommand::Resync(at) => {
            Client::new(&at.socket).post("/v1/ha/resync", &nothing, PATIENCE).await?
        }
        HaCommand::Notify { at, state, .. } => {
            let body = HaNotify { state: state.clone() };
            Client::new(&at.socket).post("/v1/ha/notify", &body, Duration::from_secs(1)).await?
        }
        HaCommand::PullRuleset { at, node } => {
            let body = HaPull { node: *node };
            Client::new(&at.socket).post("/v1/ha/pull-ruleset", &body, PATIENCE).await?
        }
    };
    print_line(&done.done)?;
    Ok(true)
}

/// Whether a node may be master: it is, or it has all flows of the one that is.
fn fitness(ha: &Ha) -> (bool, String) {
    match ha.role.as_str() {
        "active" => (true, "fit: active".to_owned()),
        "standby" if ha.synchronised => (true, "fit: standby with all flows".to_owned()),
        "standby" => (false, "not fit: standby, flows are missing".to_owned()),
        role => (false, format!("not fit: {role}")),
    }
}

/// Waits until nodes have compared.
async fn verified(client: &Client) -> Result<bool, CommandError> {
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let ha: Ha = client.get(TARGET).await?;
        let Some(verify) = ha.verify.filter(|verify| !verify.running) else { continue };
        print_line(&compared(&verify))?;
        return Ok(verify.differ == 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_fills() {
        assert_eq!(bar(0, 0), format!("[{}]   0 %", "-".repeat(BAR)));
        assert_eq!(bar(1, 2), format!("[{}{}]  50 %", "#".repeat(15), "-".repeat(15)));
        assert_eq!(bar(7, 7), format!("[{}] 100 %", "#".repeat(BAR)));
        assert_eq!(bar(9, 7), bar(7, 7));
    }

    #[test]
    fn what_was_compared_is_said() {
        let verify = HaVerify { compared: 1_020, differ: 1, skipped: 4, ..HaVerify::default() };
        assert_eq!(compared(&verify), "1,020 parts compared, 1 differ, 4 skipped");
        let watched = |flows| compared(&HaVerify { flows: Some(flows), ..verify });
        assert_eq!(watched(2_000), "1,020 parts with 2,000 flows compared, 1 differ, 4 skipped");
        assert_eq!(watched(1), "1,020 parts with 1 flow compared, 1 differ, 4 skipped");
    }

    #[test]
    fn who_may_be_master() {
        let fit = |role: &str, synchronised| {
            fitness(&Ha { role: role.into(), synchronised, ..Ha::default() }).0
        };
        assert!(fit("active", true) && fit("standby", true));
        assert!(!fit("standby", false) && !fit("passive", true) && !fit("held", true));
        assert!(!fit("redirecting", true));
    }
}
