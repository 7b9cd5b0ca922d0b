//! One ruleset and its packets through Linux and through the engine.

use ruleset::program::Program;

use crate::bed::{Bed, Kind, Side};
use crate::way;

/// What was compared so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) rulesets: usize,
    pub(crate) packets: usize,
    pub(crate) passed: usize,
    pub(crate) rewritten: usize,
    pub(crate) counters: usize,
    /// Rulesets that Linux refused.
    pub(crate) refused: usize,
}

/// How the two differ.
#[derive(Debug)]
pub(crate) enum Difference {
    /// Linux took the ruleset, the engine did not.
    Refused(String),
    /// A packet's end.
    Packet { number: usize, linux: Option<Vec<u8>>, ours: Option<Vec<u8>> },
    /// Counters: lines of Linux's listing and of the engine's.
    Listing(Vec<(String, String)>),
}

/// Loads a ruleset on both sides; false where Linux refuses it, whose words are in `why`.
pub(crate) fn load(bed: &Bed, text: &str, why: &mut String) -> Result<bool, Difference> {
    if let Err(error) = bed.nft(Side::Kernel, &["-f", "-"], text) {
        *why = error;
        return Ok(false);
    }
    bed.nft(Side::Ours, &["-f", "-"], text).map_err(Difference::Refused)?;
    Ok(true)
}

/// Sends packets through the rulesets that are loaded, and compares all that can be seen of them.
pub(crate) fn packets(
    bed: &Bed,
    kind: Kind,
    frames: &[Vec<u8>],
    tally: &mut Tally,
) -> Result<(), Difference> {
    let mut linux = bed.pass(frames);
    let (program, none) = (bed.program(), Program::default());
    for (at, frame) in frames.iter().enumerate() {
        let ours = way::pass(&program, &bed.ifaces, kind, frame);
        tally.packets += 1;
        tally.passed += usize::from(ours.is_some());
        let plain = way::pass(&none, &bed.ifaces, kind, frame);
        tally.rewritten += usize::from(ours.is_some() && ours != plain);
        if ours != linux[at] {
            let linux = linux[at].take();
            return Err(Difference::Packet { number: at, linux, ours });
        }
    }
    listing(bed, tally)
}

/// Compares all counters, in the order in which nft lists them; what else is listed others look at.
fn listing(bed: &Bed, tally: &mut Tally) -> Result<(), Difference> {
    let list = |side| bed.nft(side, &["list", "ruleset"], "");
    let linux = list(Side::Kernel).unwrap();
    let ours = list(Side::Ours).map_err(Difference::Refused)?;
    let counted = |text: &str| -> Vec<(Vec<String>, String)> {
        let counters = |line: &str| -> Vec<String> {
            let counts = |rest: &str| rest.split(' ').take(3).collect::<Vec<_>>().join(" ");
            line.split("packets ").skip(1).map(counts).collect()
        };
        let lines = text.lines().map(|line| (counters(line), line.trim().to_owned()));
        lines.filter(|(counters, _)| !counters.is_empty()).collect()
    };
    let (linux, ours) = (counted(&linux), counted(&ours));
    tally.counters += linux.iter().map(|(counters, _)| counters.len()).sum::<usize>();
    let lines: Vec<_> = linux
        .iter()
        .zip(&ours)
        .filter(|(linux, ours)| linux.0 != ours.0)
        .map(|(linux, ours)| (linux.1.clone(), ours.1.clone()))
        .collect();
    if lines.is_empty() && linux.len() == ours.len() {
        return Ok(());
    }
    Err(Difference::Listing(lines))
}
