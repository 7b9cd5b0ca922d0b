//! What `iptables-save` and its kin printed somewhere, through the nft flavour of the restore commands and back.

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
