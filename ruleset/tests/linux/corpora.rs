//! Others' rules: lines of nft's own tests and real rulesets, without what has state, moved to the hooks that packets meet.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::bed::Kind;
use crate::rules::{Chain, Fam, Ruleset, Table};

/// Words of rules that have state, ask for the time or chance, answer packets, or need a connection.
const LEFT_OUT: &[&str] = &[
    "ct ",
    "limit",
    "quota",
    "reject",
    "queue",
    "nat",
    "dnat",
    "snat",
    "masquerade",
    "redirect",
    "notrack",
    "log",
    "add @",
    "update @",
    "delete @",
    "meter",
    "dup ",
    "fwd ",
    "synproxy",
    "tproxy",
    "flow add",
    "flow offload",
    "last",
    "random",
    "symhash",
    "time",
    "hour",
    " day",
    "cpu",
    "skuid",
    "skgid",
    "cgroup",
    "socket",
    "set { ",
    "xt ",
    "connlimit",
    "nftrace",
    "secmark",
    "ibr",
    "obr",
];
/// Rules of nft's tests that are loaded at once.
const TOGETHER: usize = 25;
/// Bytes of a listing that are not too many for a test that runs often.
const MOST: usize = 100_000;

/// The corpora's folder, or `None`, having said so.
pub(crate) fn folder() -> Option<PathBuf> {
    let path = match std::env::var_os("TWINWALL_CORPORA") {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora"),
    };
    if path.join("nft_rules.jsonl").exists() {
        return Some(path);
    }
    eprintln!(
        "\nSKIPPED, nothing was compared: no corpora in {} (TWINWALL_CORPORA)\n",
        path.display()
    );
    None
}

fn is_left_out(rule: &str) -> bool {
    let rule = format!(" {rule} ");
    LEFT_OUT.iter().any(|word| rule.contains(&format!(" {word}")))
}

fn family(word: &str, kind: Kind) -> Option<Fam> {
    match (word, kind) {
        ("ip", Kind::Routed) => Some(Fam::Ip),
        ("ip6", Kind::Routed) => Some(Fam::Ip6),
        ("inet", Kind::Routed) => Some(Fam::Inet),
        ("netdev", _) => Some(Fam::Netdev),
        ("bridge", Kind::Bridged) => Some(Fam::Bridge),
        _ => None,
    }
}

/// Whether a rule ends with a verdict, so that nothing can stand behind it.
fn decides(rule: &str) -> bool {
    ["accept", "drop", "return", "continue", "jump", "goto", "vmap"]
        .iter()
        .any(|word| rule.contains(word))
}

/// Lines of nft's own tests, by families, some together.
pub(crate) fn lines(folder: &std::path::Path, kind: Kind) -> Vec<Ruleset> {
    let text = fs::read_to_string(folder.join("nft_rules.jsonl")).unwrap();
    let mut by_family: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for row in &rows {
        let rule = row["rule"].as_str().unwrap();
        if row["expect"] != "ok"
            || is_left_out(rule)
            || rule.contains('@') && !rule.starts_with('@')
        {
            continue;
        }
        for target in row["targets"].as_array().unwrap() {
            let word = target["family"].as_str().unwrap();
            if target["kernel_ok"] == true && family(word, kind).is_some() {
                let counted =
                    if decides(rule) { rule.to_owned() } else { format!("{rule} counter") };
                by_family.entry(word).or_default().push(counted);
            }
        }
    }
    let mut all = Vec::new();
    for (word, rules) in by_family {
        let family = family(word, kind).unwrap();
        let hooks: &[&str] = match family {
            Fam::Netdev => &["ingress device tap0", "egress device tap1"],
            _ => &["prerouting", "forward", "postrouting"],
        };
        for (n, rules) in rules.chunks(TOGETHER).enumerate() {
            let hook = hooks[n % hooks.len()];
            let base = format!("type filter hook {hook} priority 0; policy accept;");
            let chain = Chain { name: "base".to_owned(), base: Some(base), rules: rules.to_vec() };
            let table =
                Table { family, name: "t".to_owned(), sets: Vec::new(), chains: vec![chain] };
            all.push(Ruleset { tables: vec![table] });
        }
    }
    all
}

/// Real rulesets, by name.
pub(crate) fn real(folder: &std::path::Path, kind: Kind) -> Vec<(String, Ruleset)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder.join("real/nft")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "list") {
            let text = fs::read_to_string(&path).unwrap();
            let ruleset = parse(&text, kind);
            if text.len() <= MOST && ruleset.rules() > 0 {
                all.push((path.file_name().unwrap().to_string_lossy().into_owned(), ruleset));
            }
        }
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// Reads a listing as nft prints it. Interfaces become the TAPs: the first that is named the one where packets come in.
fn parse(text: &str, kind: Kind) -> Ruleset {
    let mut names = Vec::new();
    let mut tables: Vec<Table> = Vec::new();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    while let Some(head) = lines.next() {
        let words: Vec<&str> = head.split_whitespace().collect();
        let ["table", family_word, name, "{"] = words[..] else { continue };
        let family = family(family_word, kind);
        let mut table = Table {
            family: family.unwrap_or(Fam::Ip),
            name: format!("{name}{}", tables.len()),
            sets: Vec::new(),
            chains: Vec::new(),
        };
        while let Some(line) = lines.next().filter(|line| *line != "}") {
            let block = block(line, &mut lines);
            let kind_of = line.split_whitespace().next().unwrap();
            match (kind_of, line.split_whitespace().nth(1)) {
                ("chain", Some(name)) => table.chains.push(chain(name, &block, &mut names)),
                ("set" | "map" | "counter", _) => table.sets.push(block.join("\n")),
                _ => {}
            }
        }
        // Base chains stand in front, as in those that are made here.
        table.chains.sort_by_key(|chain| chain.base.is_none());
        if family.is_some() {
            tables.push(table);
        }
    }
    Ruleset { tables }
}

/// The lines from one that opens a brace to the one that closes it; that alone where it closes what it opens.
fn block<'a>(first: &'a str, lines: &mut impl Iterator<Item = &'a str>) -> Vec<String> {
    let depth = |line: &str| line.matches('{').count() as i64 - line.matches('}').count() as i64;
    let mut open = depth(first);
    let mut block = vec![first.to_owned()];
    while open > 0 {
        let Some(line) = lines.next() else { break };
        open += depth(line);
        block.push(line.to_owned());
    }
    block
}

fn chain(name: &str, block: &[String], names: &mut Vec<String>) -> Chain {
    let mut chain = Chain { name: name.to_owned(), base: None, rules: Vec::new() };
    let mut lines = block[1..block.len() - 1].iter().map(String::as_str);
    while let Some(line) = lines.next() {
        if line.starts_with("type ") {
            chain.base = Some(base(line));
            continue;
        }
        // A large set inside a rule takes several lines.
        let rule = self::block(line, &mut lines).join(" ");
        if !is_left_out(&rule) && !rule.starts_with("comment") {
            chain.rules.push(renamed(&rule, names));
        }
    }
    chain
}

/// The same chain on a hook that packets meet.
fn base(line: &str) -> String {
    let word = |behind: &str| {
        line.split_once(behind).and_then(|(_, rest)| rest.split([' ', ';']).next()).unwrap_or("")
    };
    let hook = match word("hook ") {
        "input" | "forward" => "forward",
        "output" | "postrouting" => "postrouting",
        "ingress" => "ingress device tap0",
        "egress" => "egress device tap1",
        _ => "prerouting",
    };
    let policy = if word("policy ") == "drop" { "drop" } else { "accept" };
    let priority: i32 = word("priority ").parse().unwrap_or(0);
    format!("type filter hook {hook} priority {priority}; policy {policy};")
}

/// A rule with the TAPs' names for those that it has.
fn renamed(rule: &str, names: &mut Vec<String>) -> String {
    let mut words: Vec<String> = rule.split(' ').map(str::to_owned).collect();
    for at in 1..words.len() {
        let is_name = matches!(words[at - 1].as_str(), "iif" | "oif" | "iifname" | "oifname");
        let bare = words[at].trim_matches('"').to_owned();
        if !is_name || !words[at].starts_with('"') || bare == "lo" {
            continue;
        }
        let n = names.iter().position(|name| *name == bare).unwrap_or_else(|| {
            names.push(bare);
            names.len() - 1
        });
        words[at] = format!("\"tap{}\"", n % 2);
    }
    words.join(" ")
}
