//! `twinwall hash-eval`: how hashes spread tuples over a flow table, and what they cost. It needs no daemon.
//!
//! # Overview
//!
//! ```text
//! capture, or `Kind::make` --tuples--> each of `hashes::CANDIDATES` --chains--> `Spread` --> table and histograms, or JSON
//! ```
//!
//! The heir of cttest. docs/hash-eval.md says how to read it, and what it said.

mod craft;
mod hashes;
mod jhash;
mod spread;
mod tuples;

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use packet::FlowKey;
use packet::pcap::PcapError;
use serde::Serialize;

use super::CommandError;
use super::numbers::{grouped, scaled};
use super::table::Columns;
use crate::client::ClientError;
use hashes::{CANDIDATES, Candidate, Hash};
use spread::Spread;

pub use spread::Index;
pub use tuples::Kind;

/// What to hash and how.
#[derive(clap::Args, Clone, Debug)]
pub struct HashEvalArgs {
    /// Takes the tuples of a capture (pcap, Ethernet) instead of made ones
    #[arg(long, value_name = "FILE", conflicts_with_all = ["tuples", "count", "family"])]
    pub pcap: Option<PathBuf>,
    /// What tuples are made
    #[arg(long, short, value_enum, default_value = "uniform")]
    pub tuples: Kind,
    /// How many
    #[arg(long, short = 'n', default_value = "1000000", value_parser = clap::value_parser!(u32).range(1..=1 << 28))]
    pub count: u32,
    /// Their family
    #[arg(long, short, default_value = "4", value_parser = family)]
    pub family: u8,
    /// Buckets of the table, any number; default: as many as tuples, rounded up to a power of two
    #[arg(long, short, value_parser = clap::value_parser!(u32).range(1..=1 << 28))]
    pub buckets: Option<u32>,
    /// Which part of the hash chooses the bucket
    #[arg(long, value_enum, default_value = "low")]
    pub index: Index,
    /// Tries only these hashes
    #[arg(long, value_delimiter = ',', value_name = "NAME", value_parser = CANDIDATES.map(|candidate| candidate.name))]
    pub hash: Vec<String>,
    /// Where the random numbers begin; default: random
    #[arg(long)]
    pub seed: Option<u64>,
    /// Leaves the histograms out
    #[arg(long)]
    pub brief: bool,
    /// Prints JSON
    #[arg(long)]
    pub json: bool,
}

fn family(text: &str) -> Result<u8, String> {
    match text {
        "4" => Ok(4),
        "6" => Ok(6),
        _ => Err("it is 4 or 6".into()),
    }
}

/// Why nothing was evaluated.
#[derive(Debug, thiserror::Error)]
pub enum HashEvalError {
    /// The capture cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The capture is none.
    #[error("{}: {error}", path.display())]
    Capture {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: PcapError,
    },
    /// The capture has no IP packets.
    #[error("{} has no whole IP packet", .0.display())]
    NoTuples(PathBuf),
    /// A client has not so many tuples that collide.
    #[error("{wanted} tuples were asked for, but only {most} collide under {target}")]
    TooFew {
        /// How many were asked for.
        wanted: usize,
        /// How many there are.
        most: u128,
        /// The hash.
        target: &'static str,
    },
}

/// What came out for one hash.
#[derive(Debug, Serialize)]
struct Evaluated {
    name: &'static str,
    bits: u32,
    help: &'static str,
    /// Nanoseconds for each tuple.
    ns: f64,
    #[serde(flatten)]
    spread: Spread,
}

/// What was evaluated, and how.
#[derive(Debug, Serialize)]
struct Evaluation {
    /// What the tuples are.
    source: String,
    tuples: usize,
    buckets: u32,
    index: Index,
    seed: u64,
    hashes: Vec<Evaluated>,
}

/// Evaluates and prints.
///
/// # Errors
///
/// When there are no tuples to hash, or the output cannot be written.
pub fn hash_eval(args: &HashEvalArgs) -> Result<(), CommandError> {
    let evaluation = evaluate(args)?;
    let text = if args.json {
        serde_json::to_string_pretty(&evaluation).map_err(ClientError::from)?
    } else {
        text(&evaluation, args.brief)
    };
    super::print_line(&text)
}

fn evaluate(args: &HashEvalArgs) -> Result<Evaluation, HashEvalError> {
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    let mut random = fastrand::Rng::with_seed(seed);
    let (source, keys) = match &args.pcap {
        Some(path) => {
            let capture = tuples::captured(path)?;
            (
                format!("{} packets of {}", grouped(capture.packets as u64), path.display()),
                capture.keys,
            )
        }
        None => {
            let keys = args.tuples.make(args.count as usize, args.family, &mut random)?;
            let name = clap::ValueEnum::to_possible_value(&args.tuples);
            let name = name.map_or_else(String::new, |value| value.get_name().to_owned());
            (format!("{name}, IPv{}", args.family), keys)
        }
    };
    let buckets = args.buckets.unwrap_or_else(|| {
        u32::try_from(keys.len()).ok().and_then(u32::checked_next_power_of_two).unwrap_or(1 << 28)
    });
    let wanted = |candidate: &Candidate| {
        args.hash.is_empty() || args.hash.iter().any(|name| name == candidate.name)
    };
    let hashes = CANDIDATES
        .into_iter()
        .filter(wanted)
        .map(|candidate| {
            // Drawn after the tuples were made: what was crafted is crafted without knowing these secrets.
            let hash = (candidate.make)(&mut random);
            let chains = chains(&*hash, candidate.bits, &keys, buckets, args.index);
            Evaluated {
                name: candidate.name,
                bits: candidate.bits,
                help: candidate.help,
                ns: nanoseconds(&*hash, &keys),
                spread: Spread::of(&chains),
            }
        })
        .collect();
    Ok(Evaluation { source, tuples: keys.len(), buckets, index: args.index, seed, hashes })
}

/// The length of each bucket's chain.
fn chains(hash: &dyn Hash, bits: u32, keys: &[FlowKey], buckets: u32, index: Index) -> Vec<u32> {
    let mut chains = vec![0u32; buckets as usize];
    for key in keys {
        if let Some(chain) = chains.get_mut(index.of(hash.hash(key), bits, buckets) as usize) {
            *chain += 1;
        }
    }
    chains
}

/// What a hash costs for each tuple, one after the other, the tuples in the cache: the best of some passes, since what
/// disturbs a pass only makes it longer.
#[expect(clippy::cast_precision_loss, reason = "a pass is far below 2^53 ns")]
fn nanoseconds(hash: &dyn Hash, keys: &[FlowKey]) -> f64 {
    const CACHED: usize = 512;
    const PASSES: u32 = 200;
    let keys = keys.get(..CACHED).unwrap_or(keys);
    // As many rounds in a pass as the clock needs to be no part of it.
    let pass = |rounds: u32| {
        let start = Instant::now();
        for _ in 0..rounds {
            std::hint::black_box(hash.fold(std::hint::black_box(keys)));
        }
        start.elapsed()
    };
    let once = pass(1).max(Duration::from_nanos(100));
    let rounds = u32::try_from(100_000 / once.as_nanos()).unwrap_or(1).max(1);
    let best = (0..PASSES).map(|_| pass(rounds)).min().unwrap_or_default();
    best.as_nanos() as f64 / f64::from(rounds) / keys.len().max(1) as f64
}

fn text(evaluation: &Evaluation, brief: bool) -> String {
    let Evaluation { source, tuples, buckets, index, seed, hashes } = evaluation;
    let index = match index {
        Index::Low => "low",
        Index::High => "high",
    };
    let mut text = format!(
        "{} tuples ({source}) in {} buckets by the {index} bits, seed {seed}\n\n",
        grouped(*tuples as u64),
        grouped(u64::from(*buckets)),
    );
    let mut columns = Columns::new(&[
        "HASH",
        ">ns",
        ">CHI2/DF",
        ">SIGMA",
        ">LONGEST",
        ">EMPTY",
        ">PROBES",
        "WHAT IT IS",
    ]);
    for found in hashes {
        let Spread { chi_square, sigma, longest, empty, probes, .. } = &found.spread;
        columns.row(vec![
            found.name.to_owned(),
            format!("{:.2}", found.ns),
            ratio(*chi_square),
            format!("{sigma:+.1}"),
            grouped(u64::from(*longest)),
            format!("{:.2} %", 100.0 * empty),
            ratio(*probes),
            found.help.to_owned(),
        ]);
    }
    text.push_str(&columns.text());
    if !brief {
        for found in hashes {
            let _ = write!(text, "\n\n{}", drawn(found));
        }
    }
    text
}

/// About 1, or far from it.
fn ratio(value: f64) -> String {
    if value < 1000.0 { format!("{value:.3}") } else { scaled(value) }
}

/// A hash's histogram.
#[expect(clippy::cast_precision_loss, reason = "bars are drawn to an eighth of a character")]
fn drawn(found: &Evaluated) -> String {
    let most = found.spread.histogram.iter().map(|bar| bar.buckets).max().unwrap_or(0) as f64;
    let mut columns = Columns::new(&[found.name, ">BUCKETS", ">AT RANDOM", ""]);
    for bar in &found.spread.histogram {
        let length = if bar.from == bar.to {
            grouped(u64::from(bar.from))
        } else {
            format!("{}..{}", grouped(u64::from(bar.from)), grouped(u64::from(bar.to)))
        };
        columns.row(vec![
            length,
            grouped(bar.buckets),
            format!("{:.0}", bar.expected),
            blocks(bar.buckets as f64 / most.max(1.0), bar.buckets > 0),
        ]);
    }
    columns.text()
}

/// A bar of so much of the full width; what is there at all is seen.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 400 eighths")]
fn blocks(part: f64, some: bool) -> String {
    const WIDTH: f64 = 50.0;
    let eighths = (part.clamp(0.0, 1.0) * WIDTH * 8.0).round() as usize;
    let eighths = if some { eighths.max(1) } else { eighths };
    let mut bar = "█".repeat(eighths / 8);
    bar.extend(['▏', '▎', '▍', '▌', '▋', '▊', '▉'].get((eighths % 8).wrapping_sub(1)));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(words: &[&str]) -> HashEvalArgs {
        use clap::{Args, FromArgMatches};
        let command = HashEvalArgs::augment_args(clap::Command::new("hash-eval"));
        let words = ["hash-eval", "--seed", "1"].iter().chain(words);
        HashEvalArgs::from_arg_matches(&command.get_matches_from(words)).unwrap()
    }

    fn spread<'a>(evaluation: &'a Evaluation, name: &str) -> &'a Spread {
        &evaluation.hashes.iter().find(|found| found.name == name).unwrap().spread
    }

    #[test]
    fn crafted_tuples_make_one_chain_and_keyed_hashes_do_not_care() {
        for target in ["crc32c", "xor", "toeplitz", "symmetric"] {
            let kind = format!("against-{target}");
            // A table that is no power of two: the hashes themselves collide, so no way to fold them helps.
            let found =
                evaluate(&args(&["-t", &kind, "-n", "20000", "-b", "10007", "--index", "high"]))
                    .unwrap();
            assert_eq!(spread(&found, target).longest, 20_000, "{target}");
            for keyed in ["ahash", "siphash13", "siphash24", "jhash"] {
                let spread = spread(&found, keyed);
                assert!(spread.sigma.abs() < 5.0, "{target} {keyed} {spread:?}");
                assert!(spread.longest < 20, "{target} {keyed} {spread:?}");
            }
        }
    }

    #[test]
    fn more_than_there_are_is_refused() {
        // 64 chosen bits less 32 of the hash leave 2^32; a /64 and its ports 2^64, less 2^48.
        let mut random = fastrand::Rng::with_seed(1);
        let error = Kind::AgainstCrc32c.make(1 << 33, 4, &mut random).unwrap_err();
        assert!(matches!(error, HashEvalError::TooFew { most, .. } if most == 1 << 32), "{error}");
    }

    #[test]
    fn what_is_shown() {
        let found = evaluate(&args(&["-n", "5000", "--hash", "ahash,xor"])).unwrap();
        assert_eq!((found.buckets, found.hashes.len()), (8192, 2));
        let text = text(&found, false);
        assert!(text.starts_with("5,000 tuples (uniform, IPv4) in 8,192 buckets"), "{text}");
        assert!(
            text.lines().any(|line| line.starts_with("ahash ") && line.contains('%')),
            "{text}"
        );
        assert!(text.contains('█'), "{text}");
        let counted: u64 = spread(&found, "ahash").histogram.iter().map(|bar| bar.buckets).sum();
        assert_eq!(counted, 8192);
        let json = serde_json::to_value(&found).unwrap();
        assert_eq!(json["hashes"][1]["name"], "xor");
        assert!(json["hashes"][0]["ns"].as_f64().unwrap() > 0.0);
        assert!(json["hashes"][0]["histogram"][0]["buckets"].as_u64().unwrap() > 0);
    }

    #[test]
    fn bars_have_eighths() {
        assert_eq!(blocks(1.0, true).chars().count(), 50);
        assert_eq!(blocks(0.01, true), "▌");
        assert_eq!(blocks(0.000_1, true), "▏");
        assert_eq!(blocks(0.0, false), "");
    }
}
