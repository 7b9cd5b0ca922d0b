//! What `iptables-save` and its kin printed somewhere, through the nft flavour of the restore commands and back.

use std::collections::BTreeMap;
use std::fs;

use crate::corpus::{self, text};
use crate::lab::{Lab, Side};
use crate::tally::{Outcome, Tally, listing};

/// Restores, saves, and lists what that made of nf_tables.
fn restore_and_save(lab: &Lab, side: Side, tool: &str, dump: &str) -> Outcome {
    lab.flush(side);
    let done = lab.tool(side, &format!("{tool}-nft-restore"), &[], dump);
    if !done.ok() {
        return Outcome::Refused(done.err.trim().replace('\n', " | "));
    }
    let save = lab.tool(side, &format!("{tool}-nft-save"), &["-c"], "");
    if !save.ok() {
        return Outcome::Refused(format!("can't be saved: {}", save.err.trim()));
    }
    // The comments have the time of day.
    let saved = save.out.lines().filter(|line| !line.starts_with('#'));
    let saved = saved.map(|line| format!("{line}\n")).collect();
    let nft = lab.nft(side, &["-a", "list", "ruleset"]);
    Outcome::Listed(vec![("save", saved), ("nft", listing::text(&nft.out))])
}

#[test]
fn saved_iptables_rules_are_saved_as_from_the_kernel() {
    let Some(lab) = corpus::folder().and_then(|_| Lab::new(&corpus::devices())) else { return };
    let mut tally = Tally::new("real iptables dumps");
    for row in corpus::rows("real_index.jsonl") {
        if text(&row, "dir") != "real/ipt" {
            continue;
        }
        let tool = match text(&row, "kind") {
            "v4" => "iptables",
            "v6" => "ip6tables",
            "arp" => "arptables",
            "eb" => "ebtables",
            other => panic!("{other}"),
        };
        if !corpus::tool(&format!("{tool}-nft-restore")) {
            eprintln!("******** SKIPPED: no {tool}-nft-restore ********");
            continue;
        }
        let path = corpus::folder().unwrap().join("real/ipt").join(text(&row, "file"));
        let dump = fs::read_to_string(&path).unwrap();
        let (kernel, ours) = lab.both(|side| restore_and_save(&lab, side, tool, &dump));
        assert!(lab.alive(), "the engine died of {}", path.display());
        tally.add(text(&row, "file"), &kernel, &ours);
    }
    tally.finish(95);
}

/// Rules that are restored at once.
const CHUNK: usize = 40;

/// A rule of iptables' own tests.
#[derive(Clone)]
struct Rule {
    name: String,
    line: String,
}

/// Restores rules of one table, saves them, and lists what that made of nf_tables.
fn restore_rules(lab: &Lab, side: Side, tool: &str, table: &str, rules: &[Rule]) -> Outcome {
    let lines: String = rules.iter().map(|rule| format!("{}\n", rule.line)).collect();
    restore_and_save(lab, side, tool, &format!("*{table}\n{lines}COMMIT\n"))
}

/// Those that all their own tests' rules are taken from, in groups of one tool and table.
fn rules_of_tests() -> BTreeMap<(String, String), Vec<Rule>> {
    let mut groups: BTreeMap<_, Vec<Rule>> = BTreeMap::new();
    for row in corpus::rows("ipt_rules.jsonl") {
        for target in row["targets"].as_array().unwrap() {
            if target["nft_ok_189"] != true {
                continue;
            }
            let (tool, chain) = (text(target, "tool"), text(target, "chain"));
            let line = format!("-A {chain} {}", text(&row, "rule"));
            let name = format!("{} {tool} {line}", text(&row, "id"));
            let group = (tool.to_owned(), text(&row, "table").to_owned());
            groups.entry(group).or_default().push(Rule { name, line });
        }
    }
    groups
}

#[test]
fn rules_of_iptables_own_tests_are_saved_as_from_the_kernel() {
    let Some(lab) = corpus::folder().and_then(|_| Lab::new(&corpus::devices())) else { return };
    let mut tally = Tally::new("rules of iptables' own tests");
    for ((tool, table), rules) in rules_of_tests() {
        if !corpus::tool(&format!("{tool}-nft-restore")) {
            eprintln!("******** SKIPPED: no {tool}-nft-restore ********");
            continue;
        }
        for chunk in rules.chunks(CHUNK) {
            let both =
                |rules: &[Rule]| lab.both(|side| restore_rules(&lab, side, &tool, &table, rules));
            let (kernel, ours) = both(chunk);
            let all_equal = matches!(kernel, Outcome::Listed(_)) && kernel == ours;
            for rule in chunk {
                let (kernel, ours) = if all_equal {
                    (Outcome::Listed(Vec::new()), Outcome::Listed(Vec::new()))
                } else {
                    both(std::slice::from_ref(rule))
                };
                assert!(lab.alive(), "the engine died of {}", rule.name);
                tally.add(&rule.name, &kernel, &ours);
            }
        }
    }
    tally.finish(95);
}
