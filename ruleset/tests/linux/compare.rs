//! One ruleset and its packets through Linux and through the engine.

use crate::bed::{Bed, Kind, Side};
use crate::packets::number;

/// Words of rules by which packets see what others did.
const REMEMBERS: &[&str] =
    &["numgen inc", "add @", "update @", "delete @", "limit", "quota", "last", "nth", "recent"];

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
    text: &str,
    frames: &[Vec<u8>],
    tally: &mut Tally,
) -> Result<(), Difference> {
    let linux = pass(bed, frames);
    // One after the other, where one packet's rules can see what another's did: a burst meets a hook together.
    let remembers = REMEMBERS.iter().any(|word| text.contains(word));
    let [ours, plain] = ours(bed, frames, remembers);
    for (number, ((linux, ours), plain)) in linux.into_iter().zip(ours).zip(plain).enumerate() {
        tally.packets += 1;
        tally.passed += usize::from(ours.is_some());
        tally.rewritten += usize::from(ours.is_some() && ours != plain);
        if ours != linux {
            return Err(Difference::Packet { number, linux, ours });
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

/// Sends frames into tap0, and returns what came of each, by its number.
fn pass(bed: &Bed, frames: &[Vec<u8>]) -> Vec<Option<Vec<u8>>> {
    let mut out = vec![None; frames.len()];
    if bed.kind == Kind::Arp {
        for (frame, place) in frames.iter().zip(&mut out) {
            bed.send(0, frame);
            *place = bed.drain(0).pop();
        }
        return out;
    }
    for frame in frames {
        bed.send(0, frame);
    }
    bed.drain(0);
    for frame in bed.drain(1) {
        if let Some(place) = number(&frame).and_then(|number| out.get_mut(number)) {
            *place = Some(frame);
        }
    }
    out
}

/// What comes of frames on our side, with the rules that are loaded, and without; one at a time, or together.
fn ours(bed: &Bed, frames: &[Vec<u8>], singly: bool) -> [Vec<Option<Vec<u8>>>; 2] {
    [bed.program(), std::sync::Arc::default()]
        .map(|program| bed.way.borrow_mut().pass(&program, frames, singly))
}
