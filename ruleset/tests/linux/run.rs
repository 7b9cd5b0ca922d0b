//! Many rulesets through Linux and through ours; what fails, in the least form that still does.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::bed::{Bed, Kind, Side};
use crate::compare::{self, Difference, Tally};
use crate::corpora;
use crate::packets;
use crate::rng::Rng;
use crate::rules::{self, Ruleset};

/// How often a ruleset that fails is tried with less in it.
const TRIES: usize = 150;

/// A number from the environment.
pub(crate) fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
}

/// Random rulesets on random packets.
pub(crate) fn random(kind: Kind, rulesets: u64) {
    let Some(mut run) = Run::new(kind) else { return };
    for n in 0..rulesets {
        let mut rng = run.rng(n);
        let ruleset = rules::ruleset(&mut rng, kind);
        run.compare(ruleset, rng);
    }
    run.end("random rulesets");
}

/// Others' rules on random packets.
pub(crate) fn others(kind: Kind) {
    let Some(folder) = corpora::folder() else { return };
    let Some(mut run) = Run::new(kind) else { return };
    for (n, ruleset) in corpora::lines(&folder, kind).into_iter().enumerate() {
        let rng = run.rng(n as u64);
        run.compare(ruleset, rng);
    }
    for (n, (name, ruleset)) in corpora::real(&folder, kind).into_iter().enumerate() {
        let rng = run.rng(n as u64);
        if !run.compare(ruleset, rng) {
            eprintln!("{name}: not taken by Linux");
        }
    }
    run.end("others' rules");
}

/// Rulesets on one bed, and what came of them.
struct Run {
    bed: Bed,
    kind: Kind,
    seed: u64,
    packets: usize,
    tally: Tally,
    failures: Vec<String>,
}

impl Run {
    fn new(kind: Kind) -> Option<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let seed = setting("TWINWALL_SEED", now.as_nanos() as u64 & 0xffff_ffff);
        let packets = setting("TWINWALL_PACKETS", 500) as usize;
        let bed = Bed::new(kind)?;
        println!("{kind:?}: TWINWALL_SEED={seed}");
        Some(Self { bed, kind, seed, packets, tally: Tally::default(), failures: Vec::new() })
    }

    fn rng(&self, n: u64) -> Rng {
        Rng::new(self.seed.wrapping_add(n << 32))
    }

    /// Compares one ruleset on packets of its own; false where Linux takes nothing of it.
    fn compare(&mut self, ruleset: Ruleset, mut rng: Rng) -> bool {
        if self.failures.len() >= setting("TWINWALL_FAILURES", 3) as usize {
            return true;
        }
        let frames: Vec<_> =
            (0..self.packets).map(|n| packets::frame(&mut rng, n, self.kind)).collect();
        let Some(ruleset) = accepted(&self.bed, ruleset) else {
            self.tally.refused += 1;
            return false;
        };
        self.tally.rulesets += 1;
        if let Err(difference) = once(&self.bed, &ruleset, &frames, &mut self.tally) {
            self.failures.push(minimised(&self.bed, ruleset, frames, difference));
        }
        true
    }

    fn end(self, what: &str) {
        let Tally { rulesets, packets, passed, rewritten, counters, refused } = self.tally;
        let disagreements = self.failures.len();
        println!(
            "{:?}, {what}: {rulesets} rulesets, {packets} packets ({passed} passed, {rewritten} rewritten), {counters} \
             counters, {refused} rulesets that Linux refused, {disagreements} disagreements",
            self.kind
        );
        assert!(
            self.failures.is_empty(),
            "TWINWALL_SEED={}\n{}",
            self.seed,
            self.failures.join("\n\n")
        );
    }
}

/// The ruleset without the rules that nft or Linux refuse; `None` where something else is refused.
fn accepted(bed: &Bed, mut ruleset: Ruleset) -> Option<Ruleset> {
    for _ in 0..10 {
        let Err(error) = taken(bed, &ruleset) else { return Some(ruleset) };
        if setting("TWINWALL_VERBOSE", 0) > 0 {
            eprintln!("{error}");
        }
        let lines: Vec<usize> = error
            .lines()
            .filter_map(|line| line.split_once("/dev/stdin:")?.1.split(':').next()?.parse().ok())
            .collect();
        // nft ends by an assertion at some nonsense: then it does not say where.
        if !ruleset.drop_lines(&lines) && !drop_one_by_one(bed, &mut ruleset) {
            eprintln!("Linux refuses:\n{}\n{error}", ruleset.text());
            return None;
        }
    }
    None
}

/// Whether Linux takes a ruleset and nft can list it.
fn taken(bed: &Bed, ruleset: &Ruleset) -> Result<(), String> {
    bed.nft(Side::Kernel, &["-f", "-"], &ruleset.text())?;
    bed.nft(Side::Kernel, &["list", "ruleset"], "").map(drop)
}

/// Leaves out each rule that is refused alone; whether there was any.
fn drop_one_by_one(bed: &Bed, ruleset: &mut Ruleset) -> bool {
    let all = ruleset.rules();
    for n in (0..all).rev() {
        let alone = ruleset.without(n + 1, usize::MAX).without(0, n);
        if taken(bed, &alone).is_err() {
            *ruleset = ruleset.without(n, n + 1);
        }
    }
    ruleset.rules() < all
}

fn once(
    bed: &Bed,
    ruleset: &Ruleset,
    frames: &[Vec<u8>],
    tally: &mut Tally,
) -> Result<(), Difference> {
    let mut why = String::new();
    let text = ruleset.text();
    if compare::load(bed, &text, &mut why)? {
        compare::packets(bed, &text, frames, tally)?;
    }
    Ok(())
}

/// The least that still fails, in words.
fn minimised(
    bed: &Bed,
    mut ruleset: Ruleset,
    mut frames: Vec<Vec<u8>>,
    mut difference: Difference,
) -> String {
    let mut tally = Tally::default();
    let mut tries = 0;
    if let Difference::Packet { number, .. } = difference {
        // What comes behind it has no part in it; most often, nothing before it has either.
        frames.truncate(number + 1);
        let mut alone = frames[number].clone();
        renumber(&mut alone, 0);
        if let Err(found) = once(bed, &ruleset, std::slice::from_ref(&alone), &mut tally) {
            (frames, difference) = (vec![alone], found);
        }
    }
    let mut step = ruleset.rules().div_ceil(2);
    while step > 0 && tries < TRIES {
        let mut from = 0;
        while from < ruleset.rules() && tries < TRIES {
            tries += 1;
            let less = ruleset.without(from, from + step);
            match once(bed, &less, &frames, &mut tally) {
                Err(found)
                    if !matches!(found, Difference::Refused(_))
                        || matches!(difference, Difference::Refused(_)) =>
                {
                    (ruleset, difference) = (less, found);
                }
                _ => from += step,
            }
        }
        step /= 2;
    }
    let mut half = frames.len() / 2;
    while half > 0 && tries < 2 * TRIES {
        let mut from = 0;
        while from < frames.len() && tries < 2 * TRIES {
            tries += 1;
            let mut less = frames.clone();
            less.drain(from..(from + half).min(frames.len()));
            less.iter_mut().enumerate().for_each(|(n, frame)| renumber(frame, n));
            match once(bed, &ruleset, &less, &mut tally) {
                Err(found) => (frames, difference) = (less, found),
                Ok(()) => from += half,
            }
        }
        half /= 2;
    }
    tell(&ruleset, &frames, &difference)
}

fn renumber(frame: &mut [u8], to: usize) {
    if let Some(old) = packets::number(frame) {
        let old = (old as u32).to_be_bytes();
        if let Some(at) = frame.windows(4).rposition(|window| window == old) {
            frame[at..at + 4].copy_from_slice(&(to as u32).to_be_bytes());
        }
    }
}

fn tell(ruleset: &Ruleset, frames: &[Vec<u8>], difference: &Difference) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let end = |end: &Option<Vec<u8>>| end.as_deref().map_or("dropped".to_owned(), hex);
    let mut text = ruleset.text();
    match difference {
        Difference::Refused(error) => text += &format!("the engine refuses it: {error}"),
        Difference::Packet { number, linux, ours } => {
            text += &format!(
                "packet {number} of {}: {}\nLinux: {}\nours:  {}",
                frames.len(),
                hex(&frames[*number]),
                end(linux),
                end(ours)
            );
        }
        Difference::Listing(lines) => {
            for (linux, ours) in lines {
                text += &format!("Linux: {linux}\nours:  {ours}\n");
            }
            for frame in frames.iter().take(3) {
                text += &format!("{} packets, one: {}\n", frames.len(), hex(frame));
            }
        }
    }
    text
}
