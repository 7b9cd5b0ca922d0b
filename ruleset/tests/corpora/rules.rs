//! Lines and definitions of nft's own test-suite.

use crate::batch::{self, Item};
use crate::corpus::{self, text};
use crate::lab::Lab;
use crate::tally::Tally;

/// Inputs in one run of `nft`. The kernel takes 1,024 base chains at a hook.
const BATCH: usize = 150;

/// The rules that this nft can parse, as inputs with a table of their own each.
fn rules() -> Vec<Item> {
    let mut items = Vec::new();
    for row in corpus::rows("nft_rules.jsonl") {
        // What nft's own suite calls broken has no expected result.
        if !row["needfix"].is_null() {
            continue;
        }
        for target in row["targets"].as_array().unwrap() {
            if !corpus::parses(target) {
                continue;
            }
            let table = format!("t{}", items.len());
            let (family, chain) = (text(target, "family"), text(target, "chain"));
            let spec = text(&row["chains"], chain);
            let spec = if spec.is_empty() { String::new() } else { format!(" {{ {spec}; }}") };
            let place = format!("{family} {table}");
            let mut script = format!("add table {place}\nadd chain {place} {chain}{spec}\n");
            for definition in row["defs"].as_array().into_iter().flatten() {
                script += &definition.as_str().unwrap().replace("%s", &place);
                script += "\n";
            }
            script += &format!("add rule {place} {chain} {}\n", text(&row, "rule"));
            let name = format!("{} {family} {chain}: {}", text(&row, "id"), text(&row, "rule"));
            items.push(Item { name, table, text: script });
        }
    }
    items
}

fn compare(tally: &mut Tally, lab: &Lab, items: &[Item]) {
    for items in items.chunks(BATCH) {
        let (kernel, ours) = lab.both(|side| batch::run(lab, side, items));
        assert!(lab.alive(), "the engine died");
        for ((item, kernel), ours) in items.iter().zip(&kernel).zip(&ours) {
            tally.add(&item.name, kernel, ours);
        }
    }
}

#[test]
fn rules_are_listed_as_the_kernel_lists_them() {
    let Some(lab) = Lab::new(&[]) else { return };
    let mut tally = Tally::new("nft_rules.jsonl");
    compare(&mut tally, &lab, &rules());
    tally.finish(99);
}

#[test]
fn definitions_are_listed_as_the_kernel_lists_them() {
    let Some(lab) = Lab::new(&[]) else { return };
    let mut items = Vec::new();
    for row in corpus::rows("nft_defs.jsonl") {
        for target in row["targets"].as_array().unwrap() {
            if !corpus::parses(target) {
                continue;
            }
            let table = format!("t{}", items.len());
            let family = text(target, "family");
            let place = format!("{family} {table}");
            let mut script = format!("add table {place}\n");
            for needed in row["needs"].as_array().into_iter().flatten() {
                script += &format!("{}\n", needed.as_str().unwrap().replace("%s", &place));
            }
            script += &format!("{}\n", text(&row, "text").replace("%s", &place));
            let name = format!("{} {family}: {}", text(&row, "id"), text(&row, "text"));
            items.push(Item { name, table, text: script });
        }
    }
    let mut tally = Tally::new("nft_defs.jsonl");
    compare(&mut tally, &lab, &items);
    tally.finish(99);
}
