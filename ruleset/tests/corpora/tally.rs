//! Figures, and what differs, grouped by reason.

use std::collections::BTreeMap;

/// What became of an input on one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Taken; what was listed afterwards, under a heading each.
    Listed(Vec<(&'static str, String)>),
    /// Refused, with these words, places in the input left out.
    Refused(String),
}

/// See the module's overview.
pub(crate) struct Tally {
    title: &'static str,
    /// What the kernel takes and lists, and the same from us.
    taken: usize,
    equal: usize,
    /// What the kernel refuses, what of that we refuse, and that with the same words.
    refused: usize,
    both_refuse: usize,
    same_words: usize,
    /// What the kernel at hand has no code for and we take.
    beyond: usize,
    reasons: BTreeMap<String, Vec<String>>,
}

impl Tally {
    pub(crate) fn new(title: &'static str) -> Self {
        Self {
            title,
            taken: 0,
            equal: 0,
            refused: 0,
            both_refuse: 0,
            same_words: 0,
            beyond: 0,
            reasons: BTreeMap::new(),
        }
    }

    /// Counts an input.
    pub(crate) fn add(&mut self, name: &str, kernel: &Outcome, ours: &Outcome) {
        match (kernel, ours) {
            (Outcome::Listed(kernel), Outcome::Listed(ours)) => {
                self.taken += 1;
                match first_difference(&ordered(kernel), &ordered(ours)) {
                    None => self.equal += 1,
                    Some(difference) => self.differs(name, "lists otherwise", &difference),
                }
            }
            (Outcome::Listed(_), Outcome::Refused(words)) => {
                self.taken += 1;
                self.differs(name, &format!("we refuse: {words}"), "");
            }
            (Outcome::Refused(words), Outcome::Listed(_)) => {
                self.refused += 1;
                self.differs(name, &format!("we take what the kernel refuses: {words}"), "");
            }
            (Outcome::Refused(kernel), Outcome::Refused(ours)) => {
                self.refused += 1;
                self.both_refuse += 1;
                if kernel == ours {
                    self.same_words += 1;
                } else {
                    let reason = format!("refused with other words: {ours} (kernel: {kernel})");
                    self.differs(name, &reason, "");
                }
            }
        }
    }

    /// Counts an input of which this kernel has no idea: there is nothing to compare with where we take it.
    pub(crate) fn add_beyond(&mut self, name: &str, kernel: &Outcome, ours: &Outcome) {
        match (kernel, ours) {
            (Outcome::Refused(_), Outcome::Listed(_)) => self.beyond += 1,
            _ => self.add(name, kernel, ours),
        }
    }

    fn differs(&mut self, name: &str, reason: &str, detail: &str) {
        self.reasons.entry(reason.to_owned()).or_default().push(format!("{name}{detail}"));
    }

    /// Prints all, and fails where fewer than `least` in a hundred came out equal.
    pub(crate) fn finish(self, least: usize) {
        let all = std::env::var_os("TWINWALL_CORPORA_ALL").is_some();
        let mut text = format!("\n== {}\n", self.title);
        let mut reasons: Vec<_> = self.reasons.iter().collect();
        reasons.sort_by_key(|(_, names)| std::cmp::Reverse(names.len()));
        for (reason, names) in reasons {
            text += &format!("  {} x {reason}\n", names.len());
            let shown = if all { names.len() } else { 3 };
            for name in names.iter().take(shown) {
                text += &format!("      {}\n", name.replace('\n', "\n      "));
            }
        }
        let share = |part: usize, of: usize| 100.0 * part as f64 / (of.max(1)) as f64;
        text += &format!(
            "{}: {} of {} that the kernel takes come out equal ({:.2} %)",
            self.title,
            self.equal,
            self.taken,
            share(self.equal, self.taken)
        );
        if self.refused > 0 {
            text += &format!(
                "; of {} that it refuses we refuse {}, {} with the same words",
                self.refused, self.both_refuse, self.same_words
            );
        }
        if self.beyond > 0 {
            text += &format!(
                "; {} more that only we take, for this kernel was built without",
                self.beyond
            );
        }
        eprintln!("{text}");
        assert!(self.taken + self.refused > 0, "{}: nothing was tried", self.title);
        assert!(
            self.equal * 100 >= self.taken * least,
            "{}: fewer than {least} % are equal",
            self.title
        );
        assert!(
            self.both_refuse * 100 >= self.refused * least,
            "{}: we take what the kernel refuses",
            self.title
        );
    }
}

/// The kernel's hashes are seeded at boot, and where nft can't sort what it lists, elements in one line come in their order: it says
/// nothing.
fn ordered(listings: &[(&'static str, String)]) -> Vec<(&'static str, String)> {
    let sort = |line: &str| match (line.rsplit_once("{ "), line.contains(", ")) {
        (Some((before, rest)), true) if rest.contains(" }") => {
            let (inside, after) = rest.split_once(" }").unwrap_or_default();
            let mut elements: Vec<&str> = inside.split(", ").collect();
            elements.sort_unstable();
            format!("{before}{{ {} }}{after}\n", elements.join(", "))
        }
        _ => format!("{line}\n"),
    };
    listings.iter().map(|(heading, text)| (*heading, text.lines().map(sort).collect())).collect()
}

/// The first pair of lines that differ, and the one before them.
fn first_difference(
    kernel: &[(&'static str, String)],
    ours: &[(&'static str, String)],
) -> Option<String> {
    for ((heading, kernel), (_, ours)) in kernel.iter().zip(ours) {
        if kernel == ours {
            continue;
        }
        let (mut kernel, mut ours, mut before) = (kernel.lines(), ours.lines(), "");
        loop {
            match (kernel.next(), ours.next()) {
                (a, b) if a == b => before = a.unwrap_or_default(),
                (a, b) => {
                    let [a, b] = [a, b].map(|line| line.unwrap_or("(end)").trim());
                    let (a, b, before) = (&*clip(a, b), &*clip(b, a), &*clip(before, ""));
                    return Some(format!(
                        "\n  {heading}, after {before:?}:\n    kernel {a}\n    ours   {b}"
                    ));
                }
            }
        }
    }
    None
}

/// A long line from a little before where it differs from another.
fn clip(line: &str, other: &str) -> String {
    let same = line.chars().zip(other.chars()).take_while(|(a, b)| a == b).count();
    let skip = if line.chars().count() > 160 { same.saturating_sub(60) } else { 0 };
    let clipped: String = line.chars().skip(skip).take(160).collect();
    if skip > 0 { format!("…{clipped}") } else { clipped }
}

/// What `nft` said, without the places in the input: one line, each sentence once.
pub(crate) fn words(err: &str) -> String {
    let mut said: Vec<&str> = Vec::new();
    for line in err.lines() {
        let sentence = line.find("Error: ").map_or(line, |at| &line[at + "Error: ".len()..]).trim();
        let is_place = sentence.is_empty() || line.find("Error: ").is_none();
        if !is_place && !said.contains(&sentence) {
            said.push(sentence);
        }
    }
    if said.is_empty() { err.trim().replace('\n', " | ") } else { said.join(" | ") }
}

/// Listings, freed of what differs from run to run.
pub(crate) mod listing {
    use serde_json::Value;

    /// A table's own handle and a generation tell how many were there before, and an element's time runs on.
    pub(crate) fn line(line: &str) -> String {
        if line.starts_with("# new generation ") {
            return "# new generation".to_owned();
        }
        let is_table = line.starts_with("table ") || line.starts_with("add table ");
        let line = if is_table { line.split(" # handle").next().unwrap_or_default() } else { line };
        without_time(&without_time(line, " expires "), "last used ")
    }

    /// Events in JSON, one to the line.
    pub(crate) fn json_events(events: &str) -> String {
        let event = |line: &str| {
            let mut event: Value = serde_json::from_str(line).unwrap_or_default();
            if let Some(handle) = event.pointer_mut("/add/table/handle") {
                *handle = Value::Null;
            }
            if let Some(handle) = event.pointer_mut("/delete/table/handle") {
                *handle = Value::Null;
            }
            still(&mut event);
            format!("{event}\n")
        };
        events.lines().map(event).collect()
    }

    fn without_time(line: &str, before: &str) -> String {
        let mut parts = line.split(before);
        let mut text = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            text += before;
            text += "SOME";
            text += &part[part.find([' ', ',']).unwrap_or(part.len())..];
        }
        text
    }

    pub(crate) fn text(listing: &str) -> String {
        listing.lines().map(|l| line(l) + "\n").collect()
    }

    /// One entry of a JSON listing to the line, after the same treatment; the table it belongs to beside it.
    pub(crate) fn entries(listing: &str) -> Vec<(String, String)> {
        let json: Value = serde_json::from_str(listing).unwrap_or_default();
        let mut entries = Vec::new();
        for entry in json["nftables"].as_array().into_iter().flatten() {
            let mut entry = entry.clone();
            let Some((kind, inner)) = entry.as_object_mut().and_then(|o| o.iter_mut().next())
            else {
                continue;
            };
            let key = if kind == "table" { "name" } else { "table" };
            let Some(table) = inner[key].as_str().map(str::to_owned) else { continue };
            if kind == "table" {
                inner["handle"] = Value::Null;
            }
            still(&mut entry);
            entries.push((table, entry.to_string()));
        }
        entries
    }

    fn still(value: &mut Value) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    if let ("last", Some(used)) = (key.as_str(), value.get_mut("used")) {
                        *used = Value::Null;
                    }
                    if key == "expires" {
                        *value = Value::Null;
                    }
                    still(value);
                    if let ("set" | "elem", Value::Array(elements)) = (key.as_str(), value) {
                        elements.sort_by_key(Value::to_string);
                    }
                }
            }
            Value::Array(list) => list.iter_mut().for_each(still),
            _ => {}
        }
    }

    pub(crate) fn json(listing: &str) -> String {
        entries(listing).into_iter().map(|(_, entry)| entry + "\n").collect()
    }
}
