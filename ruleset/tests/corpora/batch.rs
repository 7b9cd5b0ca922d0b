//! Many small inputs in few runs of `nft`: each has a table of its own, and what is refused is left out and tried again.

use std::collections::BTreeMap;

use crate::lab::{Lab, Side};
use crate::messages;
use crate::tally::{Outcome, listing, words};

/// The listings of each table: text, JSON, messages.
type Listings = BTreeMap<String, [String; 3]>;

/// One input: whole lines, and the name of the table they make.
pub(crate) struct Item {
    pub name: String,
    pub table: String,
    pub text: String,
}

/// Loads all of them, and lists what they made.
pub(crate) fn run(lab: &Lab, side: Side, items: &[Item]) -> Vec<Outcome> {
    let mut outcomes: Vec<Option<Outcome>> = items.iter().map(|_| None).collect();
    lab.flush(side);
    let all: Vec<usize> = (0..items.len()).collect();
    load(lab, side, items, &all, &mut outcomes);

    let mut listings = Listings::new();
    let text = lab.nft(side, &["-a", "list", "ruleset"]);
    let json = lab.nft(side, &["-j", "-a", "list", "ruleset"]);
    if text.ok() && json.ok() {
        split_text(&text.out, &mut listings);
        split_json(&json.out, &mut listings);
        for line in messages::dump(lab, side).lines() {
            let (table, message) = line.split_once(' ').unwrap();
            let listing = &mut listings.entry(table.to_owned()).or_default()[2];
            *listing += &format!("{message}\n");
        }
    } else {
        for (item, outcome) in items.iter().zip(&mut outcomes) {
            if outcome.is_none() {
                *outcome = list_one(lab, side, item, &mut listings);
            }
        }
    }
    let find = |(item, outcome): (&Item, Option<Outcome>)| {
        let listings = listings.remove(&item.table).unwrap_or_default();
        let listings = ["text", "JSON", "messages"].into_iter().zip(listings).collect();
        outcome.unwrap_or(Outcome::Listed(listings))
    };
    items.iter().zip(outcomes).map(find).collect()
}

/// Loads some of the inputs. What the tool points at is refused; where it points at none, halves are tried.
fn load(lab: &Lab, side: Side, items: &[Item], some: &[usize], outcomes: &mut [Option<Outcome>]) {
    let mut left = some.to_vec();
    while !left.is_empty() {
        let (mut text, mut owners) = (String::new(), Vec::new());
        for &i in &left {
            text += &items[i].text;
            owners.extend(items[i].text.lines().map(|_| i));
        }
        let file = lab.file(&format!("batch-{side:?}"), text.as_bytes());
        let done = lab.load(side, &file);
        if done.ok() {
            return;
        }
        let path = format!("{}:", file.display());
        let mut refused = BTreeMap::<usize, String>::new();
        for line in done.err.lines() {
            let place = line.strip_prefix(&path).and_then(|rest| rest.split_once(':'));
            let number = place.and_then(|(number, _)| number.parse::<usize>().ok());
            if let Some(&owner) = number.and_then(|n| owners.get(n.wrapping_sub(1))) {
                refused.entry(owner).or_insert_with(|| words(line));
            }
        }
        if refused.is_empty() {
            if let &[one] = &left[..] {
                let why = format!("nft ended with {}: {}", done.code, words(&done.err));
                outcomes[one] = Some(Outcome::Refused(why));
                return;
            }
            let (a, b) = left.split_at(left.len() / 2);
            load(lab, side, items, a, outcomes);
            load(lab, side, items, b, outcomes);
            return;
        }
        left.retain(|i| !refused.contains_key(i));
        for (owner, why) in refused {
            outcomes[owner] = Some(Outcome::Refused(why));
        }
    }
}

/// Lists one table, where listing all failed.
fn list_one(lab: &Lab, side: Side, item: &Item, listings: &mut Listings) -> Option<Outcome> {
    let family = item.text.split_whitespace().nth(2).unwrap_or_default();
    let text = lab.nft(side, &["-a", "list", "table", family, &item.table]);
    let json = lab.nft(side, &["-j", "-a", "list", "table", family, &item.table]);
    if text.ok() && json.ok() {
        split_text(&text.out, listings);
        split_json(&json.out, listings);
        return None;
    }
    let failed = if text.ok() { json } else { text };
    Some(Outcome::Refused(format!("can't be listed ({}): {}", failed.code, words(&failed.err))))
}

fn split_text(text: &str, listings: &mut Listings) {
    let mut table = String::new();
    for line in text.lines() {
        if line.starts_with("table ") {
            table = line.split_whitespace().nth(2).unwrap_or_default().to_owned();
        }
        let listing = &mut listings.entry(table.clone()).or_default()[0];
        *listing += &listing::line(line);
        *listing += "\n";
    }
}

fn split_json(text: &str, listings: &mut Listings) {
    for (table, entry) in listing::entries(text) {
        let listing = &mut listings.entry(table).or_default()[1];
        *listing += &entry;
        *listing += "\n";
    }
}
