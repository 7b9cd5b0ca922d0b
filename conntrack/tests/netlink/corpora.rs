//! The command lists of conntrack-tools' own tests, line by line, on both sides.
//!
//! A line is arguments, `;`, and what is expected: `OK` or `BAD`. Nothing behind `;`: the line goes to the standard input of
//! the next. `|` and a program for `sed` behind it: what the command prints goes there, through sed. Lists in `timeout/` are
//! whole command lines.

use std::fs;
use std::path::{Path, PathBuf};

use crate::rig::{On, Rig, skip};

/// The corpora's folder, or `None`, having said so.
fn folder() -> Option<PathBuf> {
    let path = match std::env::var_os("TWINWALL_CORPORA") {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora"),
    };
    let path = path.join("conntrack");
    if path.is_dir() {
        return Some(path);
    }
    skip(&format!("no {} (TWINWALL_CORPORA)", path.display()))
}

/// The lists of a folder, in order.
fn lists(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut lists: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    lists.retain(|path| path.is_file());
    lists.sort();
    lists
}

/// What became of one line that says what it expects.
struct Line {
    text: String,
    expected: bool,
    ended: [i32; 2],
}

/// Runs the lists on one side after the other, each line as soon as the other side is done with it.
fn run(rig: &Rig, lists: &[PathBuf], program: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut input = [String::new(), String::new()];
    let text: String = lists.iter().map(|list| fs::read_to_string(list).unwrap()).collect();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((command, expected)) = line.split_once(';') else { continue };
        let expected = expected.trim();
        let sides = [On::Kernel, On::Ours].into_iter().zip(&mut input);
        if expected.is_empty() {
            sides.for_each(|(_, input)| input.push_str(&format!("{command}\n")));
        } else if let Some(sed) = expected.strip_prefix('|') {
            for (on, input) in sides {
                let out = rig.shell(on, &format!("{program}{command}"), "").out;
                *input = rig.tool(On::Kernel, "sed", &["-e", sed.trim()], &out).out;
            }
        } else {
            let mut ended = [0; 2];
            for ((on, input), ended) in sides.zip(&mut ended) {
                let done = rig.shell(on, &format!("{program}{command}"), &std::mem::take(input));
                *ended = done.code;
            }
            lines.push(Line { text: line.to_owned(), expected: expected == "OK", ended });
        }
    }
    lines
}

fn compare(name: &str, lines: &[Line]) {
    let passed = |side: usize| lines.iter().filter(|l| (l.ended[side] == 0) == l.expected).count();
    let total = lines.len();
    println!("{name}: {total} lines, the kernel passes {}, we pass {}", passed(0), passed(1));
    assert!(total > 0, "nothing was tried");
    let different: Vec<String> = lines
        .iter()
        .filter(|line| line.ended[0] != line.ended[1])
        .map(|line| format!("kernel {} we {}: {}", line.ended[0], line.ended[1], line.text))
        .collect();
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn conntracks_own_lists_end_as_on_the_kernel() {
    let Some(folder) = folder() else { return };
    let Some(rig) = Rig::new(10_000) else { return };
    compare("conntrack", &run(&rig, &lists(&folder), "conntrack "));
}

#[test]
fn nfcts_own_lists_end_as_on_the_kernel() {
    let Some(folder) = folder() else { return };
    let Some(rig) = Rig::new(1000) else { return };
    compare("nfct", &run(&rig, &lists(&folder.join("timeout")), ""));
}
