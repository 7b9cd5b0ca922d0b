//! Scripts: `set NAME VALUE`, `wait SECONDS`, or a [packet](crate::packets::Packet::parse), and behind `=` what is seen of it:
//! its `ct state`, then each flow's state, seconds and flags. An empty line begins anew; `#` begins a comment.
//!
//! Those of `tests/takeover` have two nodes: `say` tells the other one of all flows as they are, `takeover` goes on there.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::kernel::Kernel;
use crate::ours::Ours;
use crate::packets::{Packet, Seen};

/// Who runs a script.
enum Who {
    Ours(Box<Ours>),
    Kernel(Kernel),
}

impl Who {
    fn reset(&mut self) {
        match self {
            Self::Ours(ours) => **ours = Ours::new(),
            Self::Kernel(kernel) => kernel.reset(),
        }
    }

    fn set(&mut self, name: &str, value: &str) {
        match self {
            Self::Ours(ours) => {
                ours.shard.settings_mut().set(name, value.parse().unwrap()).unwrap();
            }
            Self::Kernel(kernel) => kernel.set(name, value),
        }
    }

    fn wait(&mut self, time: Duration) {
        match self {
            Self::Ours(ours) => ours.wait(time),
            Self::Kernel(_) => std::thread::sleep(time),
        }
    }

    fn ours(&mut self) -> &mut Ours {
        match self {
            Self::Ours(ours) => ours,
            Self::Kernel(_) => panic!("the kernel has no other node"),
        }
    }

    fn send(&mut self, packet: &Packet) -> Seen {
        match self {
            Self::Ours(ours) => ours.send(packet),
            Self::Kernel(kernel) => kernel.send(packet),
        }
    }
}

/// Runs a script; returns it with what was seen in place of what was expected, and whether that is the same.
fn run(who: &mut Who, script: &str) -> (String, bool) {
    let mut out = String::new();
    let mut same = true;
    let mut begun = Instant::now();
    who.reset();
    for line in script.lines() {
        let (command, expected) = match line.split_once(" = ") {
            Some((command, expected)) => (command, Some(expected.trim())),
            None => (line, None),
        };
        let words: Vec<&str> = command.split_whitespace().collect();
        match words[..] {
            [] => {
                who.reset();
                begun = Instant::now();
            }
            ["#", ..] => {}
            ["say"] => who.ours().say(),
            ["takeover"] => who.ours().take_over(),
            ["set", name, value] => who.set(name, value),
            ["wait", seconds] => {
                who.wait(Duration::from_secs_f64(seconds.parse().unwrap()));
            }
            _ => {
                let seen = who.send(&Packet::parse(command));
                // The kernel's time goes on, on a busy machine by seconds.
                let slack = match who {
                    Who::Ours(_) => 1,
                    Who::Kernel(_) => 1 + begun.elapsed().as_secs(),
                };
                let good =
                    expected.is_some_and(|expected| fits(&seen.to_string(), expected, slack));
                same &= good;
                // Seconds come and go: what fits stays as it is.
                let seen = if good { expected.unwrap().to_owned() } else { seen.to_string() };
                writeln!(out, "{:<72} = {seen}", command.trim_end()).unwrap();
                continue;
            }
        }
        writeln!(out, "{line}").unwrap();
    }
    (out, same)
}

/// The same words, seconds to within `slack`.
fn fits(seen: &str, expected: &str, slack: u64) -> bool {
    let (seen, expected): (Vec<_>, Vec<_>) =
        (seen.split(' ').collect(), expected.split(' ').collect());
    seen.len() == expected.len()
        && seen.iter().zip(&expected).all(|(seen, expected)| {
            let end = |word: &str| word.ends_with(';');
            let number = |word: &str| word.trim_end_matches(';').parse::<u64>().ok();
            match (number(seen), number(expected)) {
                (Some(a), Some(b)) => a.abs_diff(b) <= slack && end(seen) == end(expected),
                _ => seen == expected,
            }
        })
}

fn all(mut who: Who, scripts: &str, write: bool) {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(scripts);
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    if let Ok(only) = std::env::var("TWINWALL_SCRIPT") {
        paths.retain(|path| path.to_string_lossy().contains(&only));
    }
    let mut bad = String::new();
    let (mut lines, mut scripts) = (0, 0);
    for path in paths {
        let script = fs::read_to_string(&path).unwrap();
        let (seen, same) = run(&mut who, &script);
        if write {
            fs::write(&path, &seen).unwrap();
        } else if !same {
            for (this, that) in script.lines().zip(seen.lines()).filter(|(a, b)| a != b) {
                let this = this.split_whitespace().collect::<Vec<_>>().join(" ");
                let that = that.split_whitespace().collect::<Vec<_>>().join(" ");
                if this != that {
                    let name = path.file_name().unwrap().to_string_lossy();
                    writeln!(bad, "{name}: expected {this}\n  seen {that}").unwrap();
                }
            }
        }
        lines += script.lines().filter(|line| line.contains(" = ")).count();
        scripts += script.split("\n\n").count();
    }
    assert!(bad.is_empty(), "\n{bad}");
    println!("{scripts} scripts, {lines} packets");
}

/// We do as the scripts say.
#[test]
fn ours() {
    all(Who::Ours(Box::new(Ours::new())), "tests/scripts", false);
}

/// Flows go on at another node as the scripts say. With `TWINWALL_RECORD=1` they are written as they do: read them then.
#[test]
fn takeover() {
    let write = std::env::var_os("TWINWALL_RECORD").is_some();
    all(Who::Ours(Box::new(Ours::new())), "tests/takeover", write);
}

/// The running kernel does as the scripts say. With `TWINWALL_RECORD=1` they are written as it does;
/// `TWINWALL_SCRIPT` names those that are run.
#[test]
fn kernel() {
    let Some(kernel) = Kernel::new() else { return };
    all(Who::Kernel(kernel), "tests/scripts", std::env::var_os("TWINWALL_RECORD").is_some());
}
