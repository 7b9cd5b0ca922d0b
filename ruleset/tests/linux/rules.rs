//! Random rulesets without state (but counters and `numgen inc`), in nft's language.

use std::fmt::Write as _;

use crate::bed::Kind;
use crate::packets::PORTS;
use crate::rng::Rng;
use crate::sets;
use crate::words::{change, condition};

/// A ruleset, in pieces that can be left out.
#[derive(Clone, Debug)]
pub(crate) struct Ruleset {
    pub(crate) tables: Vec<Table>,
}

#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) family: Fam,
    pub(crate) name: String,
    /// Definitions of sets, maps and counters.
    pub(crate) sets: Vec<String>,
    pub(crate) chains: Vec<Chain>,
}

#[derive(Clone, Debug)]
pub(crate) struct Chain {
    pub(crate) name: String,
    /// What makes it a base chain.
    pub(crate) base: Option<String>,
    pub(crate) rules: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fam {
    Ip,
    Ip6,
    Inet,
    Netdev,
    Bridge,
    Arp,
}

impl Fam {
    fn word(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
            Self::Inet => "inet",
            Self::Netdev => "netdev",
            Self::Bridge => "bridge",
            Self::Arp => "arp",
        }
    }

    pub(crate) fn v4(self) -> bool {
        !matches!(self, Self::Ip6 | Self::Arp)
    }

    pub(crate) fn v6(self) -> bool {
        !matches!(self, Self::Ip | Self::Arp)
    }

    pub(crate) fn link(self) -> bool {
        matches!(self, Self::Netdev | Self::Bridge)
    }
}

impl Ruleset {
    pub(crate) fn text(&self) -> String {
        let mut text = String::from("flush ruleset\n");
        for table in &self.tables {
            let _ = writeln!(text, "table {} {} {{", table.family.word(), table.name);
            for set in &table.sets {
                let _ = writeln!(text, "{set}");
            }
            // What is jumped to stands first.
            for chain in table.chains.iter().rev() {
                let _ = writeln!(text, "chain {} {{", chain.name);
                if let Some(base) = &chain.base {
                    let _ = writeln!(text, "{base}");
                }
                for rule in &chain.rules {
                    let _ = writeln!(text, "{rule}");
                }
                let _ = writeln!(text, "}}");
            }
            let _ = writeln!(text, "}}");
        }
        text
    }

    /// Takes out the rules on these lines of the text, counted from 1; whether there were any.
    pub(crate) fn drop_lines(&mut self, lines: &[usize]) -> bool {
        let mut line = 1;
        let mut dropped = false;
        for table in &mut self.tables {
            line += 1 + table.sets.iter().map(|set| set.lines().count()).sum::<usize>();
            for chain in table.chains.iter_mut().rev() {
                line += 1 + usize::from(chain.base.is_some());
                chain.rules.retain(|_| {
                    line += 1;
                    let keep = !lines.contains(&line);
                    dropped |= !keep;
                    keep
                });
                line += 1;
            }
            line += 1;
        }
        dropped
    }

    pub(crate) fn rules(&self) -> usize {
        self.tables.iter().flat_map(|table| &table.chains).map(|chain| chain.rules.len()).sum()
    }

    /// The same without the rules from `from` to `to`, counted through all chains.
    pub(crate) fn without(&self, from: usize, to: usize) -> Self {
        let mut less = self.clone();
        let mut n = 0;
        for chain in less.tables.iter_mut().flat_map(|table| &mut table.chains) {
            chain.rules.retain(|_| {
                n += 1;
                !(from..to).contains(&(n - 1))
            });
        }
        less
    }
}

/// A ruleset for the hooks that packets meet on this bed.
pub(crate) fn ruleset(rng: &mut Rng, kind: Kind) -> Ruleset {
    let families: &[Fam] = match kind {
        Kind::Routed => &[Fam::Ip, Fam::Ip6, Fam::Inet, Fam::Inet, Fam::Netdev],
        Kind::Bridged => &[Fam::Bridge, Fam::Bridge, Fam::Netdev],
        Kind::Arp => &[Fam::Arp, Fam::Arp, Fam::Netdev],
    };
    let tables = (0..1 + rng.below(3))
        .map(|n| {
            let family = rng.one(families);
            table(rng, family, format!("t{n}"), kind)
        })
        .collect();
    Ruleset { tables }
}

fn table(rng: &mut Rng, family: Fam, name: String, kind: Kind) -> Table {
    let mut chains = Vec::new();
    for n in 0..1 + rng.below(3) {
        let hook = match family {
            Fam::Netdev if kind == Kind::Arp => {
                rng.one(&["ingress device tap0", "egress device tap0"])
            }
            Fam::Arp => rng.one(&["input", "output"]),
            Fam::Netdev => rng.one(&["ingress device tap0", "egress device tap1"]),
            Fam::Inet if rng.chance(15) => "ingress device tap0",
            _ => rng.one(&["prerouting", "forward", "postrouting"]),
        };
        let priority = rng.one(&[-300, -150, -100, 0, 10, 50]) + n as i32;
        let policy = if rng.chance(80) { "accept" } else { "drop" };
        chains.push(Chain {
            name: format!("base{n}"),
            base: Some(format!("type filter hook {hook} priority {priority}; policy {policy};")),
            rules: Vec::new(),
        });
    }
    let bases = chains.len();
    for n in 0..rng.below(4) {
        chains.push(Chain { name: format!("sub{n}"), base: None, rules: Vec::new() });
    }
    let names: Vec<String> = chains.iter().map(|chain| chain.name.clone()).collect();
    for at in 0..chains.len() {
        let targets = &names[(at + 1).max(bases).min(names.len())..];
        let hook = chains[at].base.clone().unwrap_or_default();
        for _ in 0..1 + rng.below(9) {
            let rule = rule(rng, family, targets, &hook, kind);
            chains[at].rules.push(rule);
        }
    }
    Table { family, name, sets: sets::definitions(rng, family.v4(), family.v6()), chains }
}

fn rule(rng: &mut Rng, family: Fam, targets: &[String], hook: &str, kind: Kind) -> String {
    let mut words = Vec::new();
    for _ in 0..rng.one(&[0, 1, 1, 1, 2, 2, 3]) {
        words.push(condition(rng, family, hook));
    }
    if rng.chance(70) {
        words.push("counter".to_owned());
    }
    if rng.chance(45) {
        words.push(change(rng, family, hook, kind));
    }
    if rng.chance(10) {
        words.push("counter".to_owned());
    }
    if let Some(verdict) = verdict(rng, family, targets) {
        words.push(verdict);
    }
    if words.is_empty() {
        words.push("counter".to_owned());
    }
    words.join(" ")
}

fn verdict(rng: &mut Rng, family: Fam, targets: &[String]) -> Option<String> {
    let target = (!targets.is_empty()).then(|| targets[rng.below(targets.len())].clone());
    Some(match (rng.below(20), target) {
        (0, _) => "drop".to_owned(),
        (1, _) => "accept".to_owned(),
        (2, _) => "return".to_owned(),
        (3, _) => "continue".to_owned(),
        (4 | 5, Some(target)) => format!("jump {target}"),
        (6, Some(target)) => format!("goto {target}"),
        (7, Some(target)) => {
            let (a, b) = (rng.one(PORTS), rng.one(&[10000, 20000]));
            format!("tcp dport vmap {{ {a} : jump {target}, {b}-{} : drop, 7 : accept }}", b + 999)
        }
        (8, Some(target)) if family.v4() => {
            format!("ip saddr vmap {{ 10.1.0.0/16 : jump {target}, 8.8.8.8 : continue }}")
        }
        (9, Some(target)) => {
            format!("meta l4proto vmap {{ tcp : jump {target}, udp : return, icmp : accept }}")
        }
        (10, Some(target)) if family.v4() => {
            format!(
                "ip daddr . udp dport vmap {{ 8.8.8.8 . 53 : drop, 10.1.1.1 . 443 : goto {target} }}"
            )
        }
        _ => return None,
    })
}
