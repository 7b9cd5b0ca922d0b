//! `twinwall describe`: what rules can be made of. It needs no daemon: the registry is this program's.

use std::fmt::Write as _;

use super::CommandError;
use super::table::Columns;
use crate::api::expressions;
use crate::api::model::{Description, Expressions, Extension, Field};
use crate::client::ClientError;

/// Describes all, or what has this name. False where nothing has it.
///
/// # Errors
///
/// When the output cannot be written.
pub fn describe(name: Option<&str>, json: bool) -> Result<bool, CommandError> {
    let all = expressions::all();
    let (shown, overview) = match name {
        None => (all, true),
        Some(name) => (named(all, name), false),
    };
    if shown.is_empty() {
        return Ok(false);
    }
    let text = if json {
        serde_json::to_string_pretty(&shown).map_err(ClientError::from)?
    } else if overview {
        list(&shown)
    } else {
        in_full(&shown)
    };
    super::print_line(&text)?;
    Ok(true)
}

/// What has this name, of whatever kind.
fn named(mut all: Expressions, name: &str) -> Expressions {
    all.expressions.retain(|found| found.name == name);
    all.objects.retain(|found| found.name == name);
    all.extensions.retain(|found| found.name == name);
    all
}

fn list(all: &Expressions) -> String {
    let mut columns = Columns::new(&["NAME", "KIND", "WHAT IT DOES"]);
    let mut row = |name: &str, kind: &str, help: &str| {
        columns.row(vec![name.to_owned(), kind.to_owned(), help.to_owned()]);
    };
    all.expressions.iter().for_each(|found| row(&found.name, "expression", &found.help));
    all.objects.iter().for_each(|found| row(&found.name, "object", &found.help));
    for found in &all.extensions {
        // The revisions of one extension stand together; the last is told here.
        row(
            &format!("{} {}", found.name, found.revision),
            &format!("xt {}", found.role),
            &found.help,
        );
    }
    columns.text()
}

fn in_full(shown: &Expressions) -> String {
    let mut parts = Vec::new();
    parts.extend(shown.expressions.iter().map(|found| described(found, "expression")));
    parts.extend(shown.objects.iter().map(|found| described(found, "object")));
    parts.extend(shown.extensions.iter().map(extension));
    parts.join("\n\n")
}

fn described(found: &Description, kind: &str) -> String {
    let mut text = format!("{} ({kind}): {}", found.name, found.help);
    if kind == "expression" && found.stateful {
        text.push_str("\nIt has state, so it may stand in sets and their elements.");
    }
    if let Some(refusal) = &found.refusal {
        let _ = write!(text, "\nStored and listed; rules cannot use it: {refusal}.");
    }
    if found.attributes.is_empty() {
        return text;
    }
    let mut columns = Columns::new(&[">NR", "ATTRIBUTE", "TYPE", "", "MEANING"]);
    found.attributes.iter().for_each(|field| rows(field, 0, &mut columns));
    let _ = write!(text, "\n\n{}", columns.text());
    text
}

fn rows(field: &Field, depth: usize, columns: &mut Columns) {
    columns.row(vec![
        field.number.to_string(),
        format!("{:indent$}{}", "", field.name, indent = 2 * depth),
        kind(field),
        if field.required { "required" } else { "" }.to_owned(),
        field.help.clone(),
    ]);
    field.attributes.iter().for_each(|inner| rows(inner, depth + 1, columns));
}

/// An attribute's type, with its range, its words or its length.
fn kind(field: &Field) -> String {
    let words = || {
        let words = field.words.iter().map(|word| format!("{} {}", word.value, word.name));
        words.collect::<Vec<_>>().join(", ")
    };
    match (field.kind.as_str(), field.bytes) {
        ("integer", Some(bytes)) => format!(
            "u{} {}..{}",
            8 * bytes,
            field.min.unwrap_or_default(),
            field.max.unwrap_or_default()
        ),
        ("choice", _) => format!("one of: {}", words()),
        ("flags", _) => format!("flags: {}", words()),
        (kind, Some(bytes)) => format!("{kind}, at most {bytes} bytes"),
        (kind, None) => kind.to_owned(),
    }
}

fn extension(found: &Extension) -> String {
    let families =
        if found.families.is_empty() { "any family".into() } else { found.families.join(", ") };
    let mut text = format!(
        "{} (xt {}, revision {}): {}\nFor {families}; {} bytes.",
        found.name, found.role, found.revision, found.help, found.bytes
    );
    if let Some(table) = &found.table {
        let _ = write!(text, " In the table {table} only.");
    }
    if let Some(why) = &found.why {
        let _ = write!(
            text,
            "\n{}: {why}.",
            if found.standing == "stored" { "Stored and listed" } else { "Refused" }
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_of_the_registries_is_found_by_its_name() {
        let all = expressions::all();
        assert_eq!(all.expressions.len(), ruleset::expr::REGISTRY.len());
        assert_eq!(all.objects.len(), ruleset::object::REGISTRY.len());
        for found in &all.expressions {
            let text = in_full(&named(all.clone(), &found.name));
            assert!(text.contains(&found.help), "{text}");
            for field in &found.attributes {
                assert!(text.contains(&field.name) && text.contains(&field.help), "{text}");
            }
        }
        assert!(named(all, "no-such-thing").is_empty());
    }

    #[test]
    fn an_expression_is_told_with_ranges_and_words() {
        let text = in_full(&named(expressions::all(), "cmp"));
        assert!(text.starts_with("cmp (expression): "), "{text}");
        let op = text.lines().find(|line| line.contains(" op ")).unwrap();
        assert!(op.contains("one of: ") && op.contains("required"), "{op}");
    }
}
