//! Plays scripts on both sides, and compares what came of them.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use crate::bed::{Bed, Kind};
use crate::frames::{Built, Memory};
use crate::kernel::Kernel;
use crate::names::{self, End};
use crate::script::{self, Expected, Line, Place, Script, Tap};
use crate::seen::{self, Seen};
use crate::table::{self, Entry};
use crate::way::Ours;

/// What left for one line of a script.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Left {
    /// By tap0, by tap1, and to the node itself.
    pub(crate) frames: [Vec<Vec<u8>>; 3],
    /// Only the first fragment of each datagram is among them.
    pub(crate) cut: bool,
}

/// The name of one.
pub(crate) const LINUX: &str = "Linux";

/// Linux, or twinwall.
pub(crate) trait Side {
    fn name(&self) -> &'static str;
    /// Forgets all that a script left.
    fn begin(&mut self);
    fn nft(&mut self, text: &str) -> Result<(), String>;
    fn sysctl(&mut self, name: &str, value: &str);
    /// Lets time go on.
    fn wait(&mut self, seconds: f64);
    /// What leaves for a frame that goes in.
    fn pass(&mut self, at: Tap, frame: &[u8]) -> Left;
    fn table(&mut self) -> Vec<Entry>;
    /// What nft lists of a table.
    fn listing(&mut self, family: &str, table: &str) -> String;
}

/// What a side did at a packet.
pub(crate) struct Record {
    pub(crate) line: usize,
    pub(crate) left: Left,
    pub(crate) table: Vec<Entry>,
    /// In words.
    seen: String,
    /// With what ends the packet was sent.
    sent: [End; 2],
    /// Both are to send the same bytes.
    same: bool,
}

/// Plays the scripts of a file.
pub(crate) fn file(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conntrack/scripts");
    let text = fs::read_to_string(path.join(name).with_extension("txt")).unwrap();
    let Some(bed) = Bed::new(Kind::Routed) else { return };
    let mut sides: [Box<dyn Side + '_>; 2] = [Box::new(Kernel::new(&bed)), Box::new(Ours(&bed))];
    let only = std::env::var("TWINWALL_SCRIPT").unwrap_or_default();
    let scripts = script::parse(&text);
    let mut failures = Vec::new();
    let mut played = 0;
    for script in scripts.iter().filter(|script| script.name.contains(&only)) {
        played += 1;
        let result = catch_unwind(AssertUnwindSafe(|| both(script, &mut sides)));
        let result = result.unwrap_or_else(|_| Err("panicked".into()));
        if let Err(why) = result {
            failures.push(format!("{name}: {}: {why}", script.name));
        }
    }
    println!("{name}: {played} scripts, {} of them failed", failures.len());
    assert!(failures.is_empty(), "\n{}", failures.join("\n\n"));
}

/// Plays a script on both sides: first, Linux must do what it says.
pub(crate) fn both(script: &Script, sides: &mut [Box<dyn Side + '_>; 2]) -> Result<(), String> {
    let [linux, ours] = sides;
    let linux = run(script, linux.as_mut())?;
    let ours = run(script, ours.as_mut())?;
    for (linux, ours) in linux.iter().zip(&ours) {
        compare(linux, ours, 2, true).map_err(|why| format!("line {}: {why}", linux.line))?;
    }
    Ok(())
}

/// How both sides differ at a packet; or whether each chose a port of its own. In Linux, packets may take some seconds. What
/// errors quote is not looked at where ports may be in it that sides chose.
pub(crate) fn compare(
    linux: &Record,
    ours: &Record,
    seconds: u64,
    quotes: bool,
) -> Result<bool, String> {
    if !table::are_alike(&linux.table, &ours.table, seconds, !quotes) {
        let [linux, ours] = [linux, ours].map(|side| table::lines(&side.table));
        return Err(format!("Linux has\n{linux}twinwall has\n{ours}"));
    }
    if !linux.same || !ours.same {
        return Ok(true);
    }
    if linux.seen != ours.seen {
        let why = format!("Linux: {}\ntwinwall: {}", linux.seen, ours.seen);
        // Where a port is not free, each side takes another by chance.
        let [left, right] = [linux, ours].map(|side| look(&side.left));
        let alike = left.len() == right.len()
            && left.iter().zip(&right).all(|((place, left), (other, right))| {
                place == other && left.chose_as(right, [&linux.sent, &ours.sent])
            });
        return if alike { Ok(true) } else { Err(why) };
    }
    // What is for the node itself, Linux shows as a copy with another TTL.
    for (linux, ours) in linux.left.frames.iter().zip(&ours.left.frames).take(2) {
        let plain = |frames: &[Vec<u8>]| {
            let looked_at =
                |frame: &&Vec<u8>| quotes || !seen::read(frame).is_some_and(|seen| seen.is_error());
            let mut frames: Vec<_> =
                frames.iter().filter(looked_at).map(|frame| seen::plain(frame)).collect();
            frames.sort();
            frames.iter().map(|frame| hex(frame)).collect::<Vec<_>>()
        };
        let (linux, ours) = (plain(linux), plain(ours));
        if linux != ours {
            return Err(format!("Linux sent {linux:#?}\ntwinwall {ours:#?}"));
        }
    }
    Ok(false)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Plays a script on a side.
pub(crate) fn run(script: &Script, side: &mut dyn Side) -> Result<Vec<Record>, String> {
    side.begin();
    let verbose = std::env::var_os("TWINWALL_VERBOSE").is_some();
    let mut memory = Memory::new(&script.name);
    let mut records = Vec::new();
    for (n, line) in &script.lines {
        let told = line_on(side, line, &mut memory)
            .map_err(|why| format!("{}, line {n}: {why}", side.name()))?;
        if let Some((left, seen, sent)) = told {
            let table = side.table();
            if verbose {
                println!("{} line {n}: {seen}\n{}", side.name(), table::lines(&table));
            }
            let same =
                memory.vars.is_empty() && !matches!(line, Line::Packet { ours: Some(_), .. });
            let same = same && !left.cut;
            records.push(Record { line: *n, left, table, seen, sent, same });
        }
    }
    Ok(records)
}

/// Does what a line says; what a packet came to, also in words.
fn line_on(
    side: &mut dyn Side,
    line: &Line,
    memory: &mut Memory,
) -> Result<Option<(Left, String, [End; 2])>, String> {
    match line {
        Line::Rules(text) => side.nft(text)?,
        Line::Nft(text) => side.nft(&format!("{text}\n"))?,
        Line::Sysctl(name, value) => side.sysctl(name, value),
        Line::Wait(seconds) => side.wait(*seconds),
        Line::Table(wanted) => table::check(&side.table(), wanted, &mut memory.vars)?,
        Line::Skip => memory.ways.push(None),
        Line::Packet { at, words, expected, ours } => {
            let Some((at, words)) = memory.resolve(*at, words) else {
                memory.ways.push(None);
                return Ok(None);
            };
            let expected = ours.as_ref().filter(|_| side.name() != LINUX).unwrap_or(expected);
            let built = memory.build(at, &words)?;
            let mut left = Left::default();
            for frame in &built.frames {
                for (all, more) in left.frames.iter_mut().zip(side.pass(at, frame).frames) {
                    all.extend(more);
                }
            }
            if side.name() != LINUX && built.frames.len() > 1 {
                left.cut = true;
                for frames in &mut left.frames {
                    frames.retain(|frame| !seen::is_later_fragment(frame));
                }
            }
            let seen = look(&left);
            let words: Vec<_> =
                seen.iter().map(|(place, seen)| format!("{place} {seen}")).collect();
            let words = if words.is_empty() { "drop".to_owned() } else { words.join(", ") };
            check(at, &built, &seen, expected, memory)
                .map_err(|why| format!("{why}{expected:?}, but: {words}"))?;
            for (tap, frames) in [Tap::In, Tap::Out].into_iter().zip(&left.frames) {
                if let Some(frame) = frames.first()
                    && seen::read(frame).is_some_and(|seen| !seen.is_error())
                {
                    memory.left.insert(tap, frame.clone());
                }
            }
            let way =
                [Tap::In, Tap::Out].into_iter().zip(&left.frames).find_map(|(tap, frames)| {
                    let frame = frames.first()?;
                    Some((tap, seen::read(frame)?.ends, frame.clone()))
                });
            memory.ways.push(way);
            return Ok(Some((left, words, built.ends)));
        }
    }
    Ok(None)
}

/// What is seen of each frame, and where it left.
fn look(left: &Left) -> Vec<(&'static str, Seen)> {
    let mut all = Vec::new();
    for (place, frames) in ["in", "out", "local"].into_iter().zip(&left.frames) {
        for frame in frames {
            all.push((place, seen::read(frame).unwrap()));
        }
    }
    all
}

fn check(
    at: Tap,
    built: &Built,
    seen: &[(&'static str, Seen)],
    expected: &Expected,
    memory: &mut Memory,
) -> Result<(), String> {
    let fail = |right: bool| if right { Ok(()) } else { Err(String::new()) };
    let tap = |tap| if tap == Tap::In { "in" } else { "out" };
    let Some((place, first)) = seen.first() else {
        return fail(matches!(expected, Expected::Drop | Expected::Any));
    };
    fail(seen.iter().all(|(other, _)| other == place))?;
    match expected {
        Expected::Any => {
            if first.protocol == built.protocol {
                memory.came_out(built, first.ends);
            }
            return Ok(());
        }
        Expected::Drop => return fail(false),
        Expected::Answer { kind, ends } => {
            let mut wanted = *first.ends.first_chunk().unwrap_or(&first.ends);
            for (end, text) in wanted.iter_mut().zip(ends) {
                *end = names::end(text, &mut memory.vars, end.port)?;
            }
            return fail(
                *place == tap(at) && first.kind.as_ref() == Some(kind) && first.ends == wanted,
            );
        }
        Expected::Pass { place: wanted, state, ends } => {
            let wanted = match wanted {
                Place::Other => tap(at.other()),
                Place::Back => tap(at),
                Place::Local => "local",
            };
            fail(*place == wanted && seen.iter().all(|(_, seen)| seen.state == state))?;
            let mut wanted = built.ends;
            if let Some(ends) = ends {
                for (n, text) in ends.iter().enumerate() {
                    wanted[n] = names::end(text, &mut memory.vars, first.ends[n].port)?;
                }
            }
            // What has no ports shows none.
            let same = |n: usize| {
                let (seen, wanted) = (first.ends[n], wanted[n]);
                seen.addr == wanted.addr
                    && (seen.port == wanted.port || seen.port.is_none() || wanted.port.is_none())
            };
            fail(same(0) && same(1) && first.protocol == built.protocol)?;
            memory.came_out(built, first.ends);
        }
    }
    Ok(())
}
