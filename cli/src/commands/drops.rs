//! `twinwall drops`.

use serde::Serialize;

use super::View;
use super::numbers::{grouped, rate, scaled};
use super::table::Columns;
use crate::api::model::{Drop, Drops};

/// Why packets were dropped.
pub struct DropsView {
    /// Whether reasons that did not occur are shown, too.
    pub all: bool,
}

/// A reason with its rate.
#[derive(Clone, Debug, Serialize)]
pub struct DropJson {
    #[serde(flatten)]
    drop: Drop,
    #[serde(skip_serializing_if = "Option::is_none")]
    packets_per_second: Option<f64>,
}

/// All reasons with their rates.
#[derive(Clone, Debug, Serialize)]
pub struct DropsJson {
    uptime_seconds: f64,
    drops: Vec<DropJson>,
}

/// The rate of `drop`; a reason that an earlier answer lacks did not occur until then.
fn per_second(drop: &Drop, now: &Drops, before: Option<&Drops>) -> Option<f64> {
    let before = before?;
    let earlier = before
        .drops
        .iter()
        .find(|earlier| earlier.reason == drop.reason)
        .map_or(0, |earlier| earlier.packets);
    Some(rate(drop.packets, earlier, now.uptime_seconds - before.uptime_seconds))
}

impl DropsView {
    fn shown<'a>(&'a self, now: &'a Drops) -> impl Iterator<Item = &'a Drop> {
        now.drops.iter().filter(|drop| self.all || drop.packets > 0)
    }
}

impl View for DropsView {
    type Answer = Drops;
    type Json = DropsJson;

    fn target(&self) -> String {
        "/v1/drops".into()
    }

    fn text(&self, now: &Drops, before: Option<&Drops>) -> String {
        let mut columns = if before.is_some() {
            Columns::new(&["REASON", ">PACKETS", ">/s", "WHERE", "MEANING"])
        } else {
            Columns::new(&["REASON", ">PACKETS", "WHERE", "MEANING"])
        };
        let mut empty = true;
        for drop in self.shown(now) {
            empty = false;
            // Workers of one port together: the operator asks where first, and by which core later (--json).
            let mut ports: Vec<(&str, u64)> = Vec::new();
            for place in &drop.places {
                match ports.iter_mut().find(|(port, _)| *port == place.port) {
                    Some((_, packets)) => *packets += place.packets,
                    None => ports.push((&place.port, place.packets)),
                }
            }
            let places = match ports.as_slice() {
                [] => "-".to_owned(),
                [(port, _)] => (*port).to_owned(),
                several => several
                    .iter()
                    .map(|(port, n)| format!("{port} {}", grouped(*n)))
                    .collect::<Vec<_>>()
                    .join(", "),
            };
            let mut cells = vec![drop.reason.clone(), grouped(drop.packets)];
            cells.extend(per_second(drop, now, before).map(scaled));
            cells.extend([places, drop.help.clone()]);
            columns.row(cells);
        }
        if empty {
            "nothing was dropped (--all lists every reason there is)".to_owned()
        } else {
            columns.text()
        }
    }

    fn json(&self, now: Drops, before: Option<&Drops>) -> DropsJson {
        // All of them: a script that looks for a reason finds it, at zero too.
        let drops = now
            .drops
            .iter()
            .map(|drop| DropJson {
                drop: drop.clone(),
                packets_per_second: per_second(drop, &now, before),
            })
            .collect();
        DropsJson { uptime_seconds: now.uptime_seconds, drops }
    }
}
