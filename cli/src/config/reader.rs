//! Typed reading of one TOML table that goes on after a mistake.
//!
//! # Overview
//!
//! serde's derived readers stop at the first problem and know positions only of what they were told to wrap. A
//! [`Reader`] asks a table for its keys one by one: a value of the wrong type or out of range is reported at its place
//! and read as absent; [`Reader::finish`] reports every key that nobody asked for, with the nearest that exists.
//!
//! # Who may touch what
//!
//! Readers of one file share the list of findings and live on one stack.

use std::cell::RefCell;
use std::ops::RangeInclusive;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Diagnostic, Span};

/// Findings shared by the readers of one file.
pub(super) type Findings = RefCell<Vec<Diagnostic>>;

/// One table being read.
pub(super) struct Reader<'a, 'i> {
    /// How the table is called in messages, such as `[dataplane]`.
    name: &'static str,
    table: &'a DeTable<'i>,
    span: Span,
    asked: Vec<&'static str>,
    findings: &'a Findings,
}

impl<'a, 'i> Reader<'a, 'i> {
    /// Reads `table`, found at `span`.
    pub(super) fn new(
        name: &'static str,
        table: &'a DeTable<'i>,
        span: Span,
        findings: &'a Findings,
    ) -> Self {
        Self { name, table, span, asked: Vec::new(), findings }
    }

    /// Where the table's header is.
    pub(super) fn span(&self) -> Span {
        self.span.clone()
    }

    /// Reports a finding.
    pub(super) fn report(&self, finding: Diagnostic) {
        self.findings.borrow_mut().push(finding);
    }

    fn raw(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'i>>> {
        self.asked.push(key);
        self.table.get(key)
    }

    fn wrong_type(&self, key: &str, value: &Spanned<DeValue<'i>>, wanted: &str) {
        self.report(Diagnostic::error(
            value.span(),
            format!(
                "`{key}` in {} is {}, but {wanted} is wanted",
                self.name,
                kind(value.get_ref())
            ),
            format!("write {wanted} here, or remove the line for the default"),
        ));
    }

    /// An integer within `range`.
    pub(super) fn integer(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u32>,
    ) -> Option<Spanned<u32>> {
        let value = self.raw(key)?;
        self.check_integer(key, value, range)
    }

    /// An integer that must be there.
    pub(super) fn required_integer(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u32>,
        example: &str,
    ) -> Option<Spanned<u32>> {
        self.demand(key, example).then(|| self.integer(key, range)).flatten()
    }

    /// Whether `key` is there; reported if not.
    fn demand(&mut self, key: &'static str, example: &str) -> bool {
        let there = self.has(key);
        if !there {
            self.asked.push(key);
            self.report(Diagnostic::error(
                self.span(),
                format!("{} has no `{key}`", self.name),
                format!("add a line such as: {key} = {example}"),
            ));
        }
        there
    }

    /// Whether there is anything under `key`.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// True or false.
    pub(super) fn boolean(&mut self, key: &'static str) -> Option<Spanned<bool>> {
        let value = self.raw(key)?;
        match value.get_ref() {
            DeValue::Boolean(word) => Some(Spanned::new(value.span(), *word)),
            _ => {
                self.wrong_type(key, value, "true or false");
                None
            }
        }
    }

    fn check_integer(
        &self,
        key: &str,
        value: &Spanned<DeValue<'i>>,
        range: RangeInclusive<u32>,
    ) -> Option<Spanned<u32>> {
        let DeValue::Integer(number) = value.get_ref() else {
            self.wrong_type(key, value, "an integer");
            return None;
        };
        let parsed = i128::from_str_radix(number.as_str(), number.radix())
            .ok()
            .and_then(|n| u32::try_from(n).ok());
        match parsed {
            Some(n) if range.contains(&n) => Some(Spanned::new(value.span(), n)),
            _ => {
                let (low, high) = range.into_inner();
                self.report(Diagnostic::error(
                    value.span(),
                    format!("`{key}` in {} is {number}, which is out of range", self.name),
                    format!("write a number from {low} to {high}"),
                ));
                None
            }
        }
    }

    /// A string.
    pub(super) fn string(&mut self, key: &'static str) -> Option<Spanned<String>> {
        let value = self.raw(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some(Spanned::new(value.span(), text.clone().into_owned())),
            _ => {
                self.wrong_type(key, value, "a string");
                None
            }
        }
    }

    /// A string that must be there.
    pub(super) fn required_string(
        &mut self,
        key: &'static str,
        example: &str,
    ) -> Option<Spanned<String>> {
        self.demand(key, example).then(|| self.string(key)).flatten()
    }

    /// One word of a list.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&str, T)],
    ) -> Option<Spanned<T>> {
        let text = self.string(key)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| word == text.get_ref()) {
            return Some(Spanned::new(text.span(), *value));
        }
        let all =
            words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
        let remedy = match nearest(text.get_ref(), words.iter().map(|(word, _)| *word)) {
            Some(word) => format!("did you mean \"{word}\"? It can be one of {all}"),
            None => format!("write one of {all}"),
        };
        self.report(Diagnostic::error(
            text.span(),
            format!("`{key}` in {} cannot be {:?}", self.name, text.get_ref()),
            remedy,
        ));
        None
    }

    fn list<T>(
        &mut self,
        key: &'static str,
        wanted: &str,
        mut read: impl FnMut(&Self, &Spanned<DeValue<'i>>) -> Option<T>,
    ) -> Option<Spanned<Vec<T>>> {
        let value = self.raw(key)?;
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong_type(key, value, wanted);
            return None;
        };
        Some(Spanned::new(value.span(), items.iter().filter_map(|item| read(self, item)).collect()))
    }

    /// Whether `key` is a list with nothing in it.
    pub(super) fn is_empty_list(&self, key: &str) -> bool {
        matches!(self.table.get(key).map(Spanned::get_ref), Some(DeValue::Array(items)) if items.is_empty())
    }

    /// A list of integers, each within `range`.
    pub(super) fn integers(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u32>,
    ) -> Option<Spanned<Vec<Spanned<u32>>>> {
        self.list(key, "a list of integers", |this, item| {
            this.check_integer(key, item, range.clone())
        })
    }

    /// A list of strings.
    pub(super) fn strings(&mut self, key: &'static str) -> Option<Spanned<Vec<Spanned<String>>>> {
        self.list(key, "a list of strings", |this, item| match item.get_ref() {
            DeValue::String(text) => Some(Spanned::new(item.span(), text.clone().into_owned())),
            _ => {
                this.wrong_type(key, item, "a string");
                None
            }
        })
    }

    /// The table under `key`, called `name` in messages; an absent one is `None`.
    pub(super) fn table(
        &mut self,
        key: &'static str,
        name: &'static str,
    ) -> Option<Reader<'a, 'i>> {
        let value = self.raw(key)?;
        match value.get_ref() {
            DeValue::Table(table) => Some(Reader::new(name, table, value.span(), self.findings)),
            _ => {
                self.report(Diagnostic::error(
                    value.span(),
                    format!("`{key}` is {}, but a section is wanted", kind(value.get_ref())),
                    format!("write a section that begins with the line {name}"),
                ));
                None
            }
        }
    }

    /// The tables under `key`, each called `name` in messages.
    pub(super) fn tables(&mut self, key: &'static str, name: &'static str) -> Vec<Reader<'a, 'i>> {
        let Some(value) = self.raw(key) else { return Vec::new() };
        let items: Vec<&Spanned<DeValue<'i>>> = match value.get_ref() {
            DeValue::Array(items) => items.iter().collect(),
            _ => vec![value],
        };
        let is_list = matches!(value.get_ref(), DeValue::Array(_));
        items
            .into_iter()
            .filter_map(|item| match item.get_ref() {
                DeValue::Table(table) if is_list => {
                    Some(Reader::new(name, table, item.span(), self.findings))
                }
                _ => {
                    self.report(Diagnostic::error(
                        item.span(),
                        format!(
                            "`{key}` is {}, but a list of sections is wanted",
                            kind(item.get_ref())
                        ),
                        format!("begin each of them with the line {name}, in double brackets"),
                    ));
                    None
                }
            })
            .collect()
    }

    /// All that is in the table, each a number from 0, whatever its name; nothing is left for
    /// [`finish`](Self::finish) to report.
    pub(super) fn numbers(&mut self) -> Vec<(Spanned<String>, Spanned<u64>)> {
        let mut found = Vec::new();
        for (key, value) in self.table {
            let name = key.get_ref().as_ref();
            let DeValue::Integer(number) = value.get_ref() else {
                self.wrong_type(name, value, "an integer");
                continue;
            };
            match u64::from_str_radix(number.as_str(), number.radix()) {
                Ok(n) => found.push((
                    Spanned::new(key.span(), name.to_owned()),
                    Spanned::new(value.span(), n),
                )),
                Err(_) => self.report(Diagnostic::error(
                    value.span(),
                    format!("`{name}` in {} is {number}, which is out of range", self.name),
                    "write a number from 0",
                )),
            }
        }
        found
    }

    /// Reports the keys that nobody asked for.
    pub(super) fn finish(self) {
        for (key, _) in self.table {
            let name = key.get_ref().as_ref();
            if self.asked.contains(&name) {
                continue;
            }
            let all =
                self.asked.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
            let remedy = match nearest(name, self.asked.iter().copied()) {
                Some(word) => format!("did you mean `{word}`? Known here: {all}"),
                None => format!("remove it; known here: {all}"),
            };
            self.report(Diagnostic::error(
                key.span(),
                format!("unknown key `{name}` in {}", self.name),
                remedy,
            ));
        }
    }
}

/// How a value's type is called in messages.
fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The word that was most likely meant, if one is near enough.
pub(super) fn nearest<'w>(word: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    let word = word.to_lowercase();
    words
        .map(|candidate| (strsim::damerau_levenshtein(&word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
