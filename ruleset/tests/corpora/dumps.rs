//! What nft's shell tests leave behind, as text and as JSON.

use serde_json::Value;

use crate::corpus::{self, text};
use crate::lab::{Lab, Side};
use crate::real::load_and_list;
use crate::tally::{Outcome, Tally, listing, words};

#[test]
fn dumps_are_listed_as_the_kernel_lists_them() {
    let Some(lab) = corpus::folder().and_then(|_| Lab::new(&corpus::devices())) else { return };
    let missing = lab.missing();
    let beyond = |row: &Value| missing.iter().any(|word| row.to_string().contains(word));
    let mut tally = Tally::new("nft_dumps.jsonl, text");
    for row in corpus::rows("nft_dumps.jsonl") {
        let file = lab.file("dump", text(&row, "nft").as_bytes());
        let (kernel, ours) = lab.both(|side| load_and_list(&lab, side, &file));
        assert!(lab.alive(), "the engine died of {}", text(&row, "id"));
        match beyond(&row) {
            true => tally.add_beyond(text(&row, "id"), &kernel, &ours),
            false => tally.add(text(&row, "id"), &kernel, &ours),
        }
    }
    tally.finish(97);
}

#[test]
fn json_dumps_are_listed_as_the_kernel_lists_them() {
    let Some(lab) = corpus::folder().and_then(|_| Lab::new(&corpus::devices())) else { return };
    let missing = lab.missing();
    let beyond = |row: &Value| missing.iter().any(|word| row.to_string().contains(word));
    let mut tally = Tally::new("nft_dumps.jsonl, JSON");
    for row in corpus::rows("nft_dumps.jsonl") {
        if row["json"].is_null() {
            continue;
        }
        let file = lab.file("dump.json", row["json"].to_string().as_bytes());
        let one = |side: Side| {
            lab.flush(side);
            let done = lab.nft(side, &["-j", "-f", file.to_str().unwrap()]);
            if !done.ok() {
                return Outcome::Refused(words(&done.err));
            }
            let json = lab.nft(side, &["-j", "-a", "list", "ruleset"]);
            Outcome::Listed(vec![("JSON", listing::json(&json.out))])
        };
        let (kernel, ours) = lab.both(one);
        assert!(lab.alive(), "the engine died of {}", text(&row, "id"));
        match beyond(&row) {
            true => tally.add_beyond(text(&row, "id"), &kernel, &ours),
            false => tally.add(text(&row, "id"), &kernel, &ours),
        }
    }
    tally.finish(97);
}
