//! iptables' extensions as the kernel checks and lists them: each with random structures in every place (`python/xt.py`).

use std::collections::BTreeMap;

use serde_json::json;

use crate::corpus;
use crate::lab::{Lab, Side};
use ruleset::xt::{self, Standing};

/// Rules for each revision of each extension.
const TRIES: usize = 12;

#[test]
fn extensions_are_checked_and_listed_as_by_the_kernel() {
    let Some(lab) = Lab::new(&[]) else { return };
    if !corpus::tool("python3") {
        eprintln!("******** SKIPPED: no python3 ********");
        return;
    }
    let seed = std::env::var("TWINWALL_SEED").map_or(1, |seed| seed.parse().unwrap());
    let mut extensions = Vec::new();
    for found in xt::all().filter(|found| !matches!(found.standing, Standing::Refused(_))) {
        let families: Vec<_> = found.families.iter().map(|f| f.handler().name).collect();
        extensions.push(json!({
            "name": found.name, "revision": found.revision, "role": found.role as u8, "families": families,
            "size": found.size, "table": found.table, "protocol": found.protocol,
        }));
    }
    let job = json!({ "seed": seed, "tries": TRIES, "extensions": extensions }).to_string();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpora/python/xt.py");
    let (kernel, ours) = lab.both(|side: Side| {
        let done = lab.tool(side, "python3", &[script], &job);
        assert!(done.ok(), "{side:?}: {}", done.err);
        done.out
    });
    assert!(lab.alive());
    let (mut all, mut wrong) = (0, BTreeMap::<&str, Vec<String>>::new());
    for (kernel, ours) in kernel.lines().zip(ours.lines()) {
        let ([name, place, said], [_, _, we]) = (parts(kernel), parts(ours));
        // A kernel without the bridge's connection tracking.
        if said == "EPROTO" {
            continue;
        }
        all += 1;
        if kernel != ours {
            wrong
                .entry(name)
                .or_default()
                .push(format!("{place}\n      kernel {said}\n      ours   {we}"));
        }
    }
    let differ: usize = wrong.values().map(Vec::len).sum();
    for (name, places) in &wrong {
        eprintln!("  {} x {name}", places.len());
        for place in places.iter().take(3) {
            eprintln!("    {place}");
        }
    }
    eprintln!(
        "extensions, seed {seed}: {} of {all} rules and questions as by the kernel",
        all - differ
    );
    assert_eq!(kernel.lines().count(), ours.lines().count());
    assert!(differ * 100 <= all, "more than 1 % differ");
}

fn parts(line: &str) -> [&str; 3] {
    let mut parts = line.split('\t');
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}
