//! Rulesets that people use, one after the other, each on an empty engine.

use std::fs;
use std::path::Path;

use crate::corpus::{self, text};
use crate::lab::{Lab, Side};
use crate::messages;
use crate::tally::{Outcome, Tally, listing, words};

/// Loads a file on empty tables and lists what came of it.
pub(crate) fn load_and_list(lab: &Lab, side: Side, path: &Path) -> Outcome {
    lab.flush(side);
    let done = lab.load(side, path);
    if !done.ok() {
        return Outcome::Refused(words(&done.err));
    }
    let text = lab.nft(side, &["-a", "list", "ruleset"]);
    let json = lab.nft(side, &["-j", "-a", "list", "ruleset"]);
    match (text.ok(), json.ok()) {
        (true, true) => Outcome::Listed(vec![
            ("text", listing::text(&text.out)),
            ("JSON", listing::json(&json.out)),
            ("messages", messages::dump(lab, side)),
        ]),
        (false, _) => Outcome::Refused(format!("can't be listed: {}", words(&text.err))),
        (true, false) => Outcome::Refused(format!("can't be listed in JSON: {}", words(&json.err))),
    }
}

fn compare(lab: &Lab, tally: &mut Tally, folder: &str) {
    for row in corpus::rows("real_index.jsonl") {
        if text(&row, "dir") != folder || text(&row, "kind") != "nft" {
            continue;
        }
        let path = corpus::folder().unwrap().join(folder).join(text(&row, "file"));
        let (kernel, ours) = lab.both(|side| load_and_list(lab, side, &path));
        assert!(lab.alive(), "the engine died of {}", path.display());
        tally.add(text(&row, "file"), &kernel, &ours);
    }
}

#[test]
fn real_rulesets_are_listed_as_the_kernel_lists_them() {
    let Some(lab) = corpus::folder().and_then(|_| Lab::new(&corpus::devices())) else { return };
    let mut tally = Tally::new("real nft rulesets");
    compare(&lab, &mut tally, "real/nft");
    tally.finish(98);
}

#[test]
fn what_is_no_ruleset_is_refused_with_a_message() {
    let Some(lab) = corpus::folder().and_then(|_| Lab::new(&corpus::devices())) else { return };
    let mut tally = Tally::new("real files that nft refuses");
    compare(&lab, &mut tally, "real_reject");
    tally.finish(95);
    lab.flush(Side::Ours);
    let mut refused = 0;
    for entry in fs::read_dir(corpus::folder().unwrap().join("real_reject")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "nft") {
            let done = lab.load(Side::Ours, &path);
            assert!(!done.ok() && !done.err.trim().is_empty(), "{}", path.display());
            refused += 1;
        }
    }
    assert_eq!(lab.nft(Side::Ours, &["list", "ruleset"]).out, "");
    eprintln!("{refused} files refused with a message, and nothing of them stayed");
}

/// What a kernel built with more features takes: printed, for there is nothing to compare with.
#[test]
fn rulesets_that_this_kernel_lacks_features_for() {
    let Some(lab) = corpus::folder().and_then(|_| Lab::new(&corpus::devices())) else { return };
    for row in corpus::rows("real_index.jsonl") {
        if text(&row, "dir") != "real_nokernel" || text(&row, "kind") != "nft" {
            continue;
        }
        let path = corpus::folder().unwrap().join("real_nokernel").join(text(&row, "file"));
        let (kernel, ours) = lab.both(|side| load_and_list(&lab, side, &path));
        let said = |outcome: &Outcome| match outcome {
            Outcome::Listed(_) => "taken and listed".to_owned(),
            Outcome::Refused(words) => format!("refused: {words}"),
        };
        eprintln!("{}\n  kernel {}\n  ours   {}", text(&row, "file"), said(&kernel), said(&ours));
        assert!(lab.alive(), "the engine died of {}", path.display());
    }
}
