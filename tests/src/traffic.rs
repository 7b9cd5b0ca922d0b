//! The traffic of the failover tests: real TCP connections, datagrams, a probe, floods of new flows, all of whose contents are
//! checked and all of which end by themselves.
//!
//! The binary `traffic` does one of these in the network namespace (or container) in which it is started:
//!
//! | command | what it does |
//! |---|---|
//! | `serve` | the far end: echoes, downloads, datagrams (`serve`) |
//! | `talk` | TCP connections, datagrams and a probe towards a `serve` (`talk`) |
//! | `begin` | flows that begin at a given rate, by a raw socket ([`flows`]) |
//! | `far` | the far end of those, which can answer every flow that it saw ([`flows`]) |
//!
//! Options are `--name value`. Times in reports are nanoseconds of CLOCK_MONOTONIC, which all namespaces of a machine share.
//! No content is ever sent twice or remembered: byte `n` of a stream is a function of its seed and `n` ([`pattern`]).

pub mod flows;
pub mod judge;
pub mod pattern;
mod probe;
mod report;
mod serve;
mod talk;

pub use report::{Datagrams, Gap, ProbeReport, Report, TcpReport, Times};

use std::{collections::BTreeMap, path::PathBuf, str::FromStr, time::Duration};

/// Why the traffic could not run at all.
#[derive(Debug, thiserror::Error)]
pub enum TrafficError {
    /// The command line is wrong.
    #[error("{0}\n{USAGE}")]
    Usage(String),
    /// A socket or file failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The report could not be written.
    #[error("the report: {0}")]
    Json(#[from] serde_json::Error),
}

const USAGE: &str = "usage: traffic serve  [--port 7000] [--seconds 600]
       traffic talk   --to ADDRESS:PORT [--idle 0] [--echo 0] [--downloads 0] [--kbit 8000] [--datagrams 0] [--probe 0]
                      [--seconds 60] [--until FILE] [--report FILE]
       traffic begin  [--established 0] [--rate 0] [--seconds 60] [--until FILE] [--done FILE] [--report FILE]
       traffic far    [--answer FILE] [--seconds 600] [--report FILE]";

/// A result whose error is a [`TrafficError`].
pub type Result<T> = std::result::Result<T, TrafficError>;

/// Adds to an error of the kernel's what was being done.
pub(crate) trait During<T> {
    /// Says what was being done.
    fn during(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<std::io::Error>> During<T> for std::result::Result<T, E> {
    fn during(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| TrafficError::Io { what: what(), source: source.into() })
    }
}

/// Nanoseconds of CLOCK_MONOTONIC.
pub fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000
        + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// `--name value` pairs.
#[derive(Debug)]
pub(crate) struct Options(BTreeMap<String, String>);

impl Options {
    fn parse(words: &[String], known: &[&str]) -> Result<Self> {
        let mut all = BTreeMap::new();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").filter(|name| known.contains(name));
            let (Some(name), Some(value)) = (name, words.next()) else {
                return Err(TrafficError::Usage(format!("{word}: unknown, or without a value")));
            };
            all.insert(name.to_owned(), value.clone());
        }
        Ok(Self(all))
    }

    /// A value, or what it is when nobody says.
    pub(crate) fn get<T: FromStr>(&self, name: &str, default: T) -> Result<T> {
        self.0.get(name).map_or(Ok(default), |text| {
            text.parse()
                .map_err(|_| TrafficError::Usage(format!("--{name} {text}: not understood")))
        })
    }

    /// A file.
    pub(crate) fn file(&self, name: &str) -> Option<PathBuf> {
        self.0.get(name).map(PathBuf::from)
    }

    /// When to end: after `--seconds`, or as soon as the file `--until` is there.
    pub(crate) fn end(&self, name: &str, seconds: u64) -> Result<End> {
        let seconds: u64 = self.get("seconds", seconds)?;
        Ok(End {
            at: now() + Duration::from_secs(seconds).as_nanos() as u64,
            file: self.file(name),
            asked: 0,
        })
    }
}

/// When something ends; see [`Options::end`].
#[derive(Debug)]
pub(crate) struct End {
    at: u64,
    file: Option<PathBuf>,
    asked: u64,
}

impl End {
    /// Whether it has come. The file is looked for 100 times a second at most.
    pub(crate) fn has_come(&mut self, now: u64) -> bool {
        if now >= self.at {
            return true;
        }
        if now < self.asked {
            return false;
        }
        self.asked = now + 10_000_000;
        let come = self.file.as_ref().is_some_and(|file| file.exists());
        if come {
            self.at = now;
        }
        come
    }

    /// Whether it came by its file, and not by time.
    pub(crate) fn was_told(&self) -> bool {
        self.file.as_ref().is_some_and(|file| file.exists())
    }
}

/// Runs one command of the binary.
pub fn run(words: &[String]) -> Result<()> {
    let Some((command, words)) = words.split_first() else {
        return Err(TrafficError::Usage("what?".into()));
    };
    match command.as_str() {
        "serve" => serve::run(&Options::parse(words, &["port", "seconds"])?),
        "talk" => talk::run(&Options::parse(words, talk::OPTIONS)?),
        "begin" => flows::begin(&Options::parse(
            words,
            &["established", "rate", "seconds", "until", "done", "report"],
        )?),
        "far" => flows::far(&Options::parse(words, &["answer", "seconds", "report"])?),
        other => Err(TrafficError::Usage(format!("{other}: no such command"))),
    }
}
