//! One ruleset and its packets through Linux and through the engine.

use crate::bed::{Bed, Kind, Side};
use crate::packets::number;
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
    /// What is listed, counters above all: lines of Linux's listing and of the engine's.
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
    let mut linux = vec![None; frames.len()];
    for frame in bed.pass(frames.iter().map(Vec::as_slice)) {
        if let Some(place) = number(&frame).and_then(|number| linux.get_mut(number)) {
            *place = Some(frame);
        }
    }
    let program = bed.program();
    for (at, frame) in frames.iter().enumerate() {
        let ours = way::pass(&program, &bed.ifaces, kind, frame);
        tally.packets += 1;
        tally.passed += usize::from(ours.is_some());
        tally.rewritten +=
            usize::from(ours.as_deref().is_some_and(|ours| ours[14..] != frame[14..]));
        if ours != linux[at] {
            let linux = linux[at].take();
            return Err(Difference::Packet { number: at, linux, ours });
        }
    }
    listing(bed, tally)
}

fn listing(bed: &Bed, tally: &mut Tally) -> Result<(), Difference> {
    let list = |side| bed.nft(side, &["list", "ruleset"], "");
    let linux = list(Side::Kernel).unwrap();
    let ours = list(Side::Ours).map_err(Difference::Refused)?;
    tally.counters += linux.matches("counter packets").count();
    if linux == ours {
        return Ok(());
    }
    let (mut linux, mut ours) = (linux.lines(), ours.lines());
    let mut lines = Vec::new();
    loop {
        match (linux.next(), ours.next()) {
            (None, None) => return Err(Difference::Listing(lines)),
            (a, b) if a == b => {}
            (a, b) => lines.push((a.unwrap_or("").to_owned(), b.unwrap_or("").to_owned())),
        }
    }
}
