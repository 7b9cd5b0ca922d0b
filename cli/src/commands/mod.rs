//! The operator's commands.
//!
//! # Overview
//!
//! Each `show` command is a [`View`]: what it asks the daemon for, and how it prints what it got, with rates where it has
//! an earlier answer to compare with. [`show`] asks once or again and again. [`exec()`] runs a tool on the daemon. The others
//! print something that needs no daemon.

pub mod describe;
pub mod drops;
pub mod exec;
pub mod flows;
pub mod ha;
pub mod hash_eval;
mod numbers;
pub mod ports;
pub mod status;
pub mod sysctl;
mod table;
pub mod workers;

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use clap::CommandFactory;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::args::{Cli, WatchArgs};
use crate::client::{Client, ClientError};
use crate::config::{self, Host, Report};

pub use describe::describe;
pub use drops::DropsView;
pub use exec::exec;
pub use flows::FlowsView;
pub use ha::{HaView, ha};
pub use hash_eval::hash_eval;
pub use ports::PortsView;
pub use status::StatusView;
pub use sysctl::sysctl;
pub use workers::WorkersView;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The daemon did not answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// There is nothing to hash.
    #[error(transparent)]
    HashEval(#[from] hash_eval::HashEvalError),
    /// There is no such setting.
    #[error("there is no setting {0:?}; `twinwall sysctl` lists all")]
    NoSetting(String),
    /// A setting was given what is no number.
    #[error("{0:?} is no NAME=NUMBER")]
    Value(String),
    /// The output could not be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

/// Something that can be asked for and shown.
pub trait View {
    /// What the daemon answers.
    type Answer: DeserializeOwned;
    /// What `--json` prints.
    type Json: Serialize;

    /// Where it answers.
    fn target(&self) -> String;

    /// The answer as a table; with `before`, an earlier answer, also rates.
    fn text(&self, now: &Self::Answer, before: Option<&Self::Answer>) -> String;

    /// The answer as JSON; with `before`, also rates.
    fn json(&self, now: Self::Answer, before: Option<&Self::Answer>) -> Self::Json;
}

/// Asks and shows, once or until interrupted.
///
/// # Errors
///
/// When the daemon does not answer or the output cannot be written. A reader who goes away is no error.
pub async fn show<V: View>(view: &V, args: &WatchArgs) -> Result<(), CommandError>
where
    V::Answer: Clone,
{
    match show_until_closed(view, args).await {
        Err(CommandError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

async fn show_until_closed<V: View>(view: &V, args: &WatchArgs) -> Result<(), CommandError>
where
    V::Answer: Clone,
{
    let client = Client::new(&args.socket);
    let mut out = io::stdout();
    let target = view.target();
    let first: V::Answer = client.get(&target).await?;
    let Some(every) = args.watch else { return print(view, args, first, None, &mut out) };
    // The first look only gives the rates something to compare with.
    let mut before = first;
    let clear = out.is_terminal() && !args.json;
    let mut left = args.count;
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    while left != Some(0) {
        ticks.tick().await;
        let now: V::Answer = client.get(&target).await?;
        if clear {
            // Home, clear: so that what shrinks leaves nothing behind.
            write!(out, "\x1b[H\x1b[2J")?;
        }
        print(view, args, now.clone(), Some(&before), &mut out)?;
        if !clear && !args.json {
            writeln!(out)?;
        }
        before = now;
        left = left.map(|n| n - 1);
    }
    Ok(())
}

fn print<V: View>(
    view: &V,
    args: &WatchArgs,
    now: V::Answer,
    before: Option<&V::Answer>,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    if args.json {
        let json = view.json(now, before);
        // Under --watch a line is a record; once, it is for people as well.
        let text = if args.watch.is_some() {
            serde_json::to_string(&json)
        } else {
            serde_json::to_string_pretty(&json)
        };
        writeln!(out, "{}", text.map_err(ClientError::from)?)?;
    } else {
        writeln!(out, "{}", view.text(&now, before))?;
    }
    out.flush()?;
    Ok(())
}

/// Prints what a command has to say. A reader who goes away is no error.
fn print_line(text: &str) -> Result<(), CommandError> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Checks a configuration and prints what is wrong with it, to stderr; true if the daemon would start.
pub fn check(path: &Path) -> bool {
    match config::load(path, &Host::probe()) {
        Ok(loaded) => {
            explain(&loaded.report);
            let warnings = match loaded.report.warnings() {
                0 => String::new(),
                1 => ", 1 warning".to_owned(),
                n => format!(", {n} warnings"),
            };
            let ports = loaded.config.ports.len();
            let cores = &loaded.resolved.cores;
            println!(
                "{}: good: {ports} ports, workers on cores {cores:?}{warnings}",
                path.display()
            );
            true
        }
        Err(report) => {
            explain(&report);
            eprintln!(
                "{}: {} errors, {} warnings",
                path.display(),
                report.errors(),
                report.warnings()
            );
            false
        }
    }
}

/// Prints a report to stderr, in colour where that is a terminal.
pub fn explain(report: &Report) {
    eprint!("{}", report.render(io::stderr().is_terminal()));
}

/// Prints a shell's completions.
pub fn completions(shell: clap_complete::Shell) {
    clap_complete::generate(shell, &mut Cli::command(), "twinwall", &mut io::stdout());
}

/// Prints the manual page, or writes one page for each command into `folder`.
///
/// # Errors
///
/// When the output cannot be written.
pub fn man(folder: Option<&Path>) -> Result<(), CommandError> {
    match folder {
        Some(folder) => {
            std::fs::create_dir_all(folder)?;
            clap_mangen::generate_to(Cli::command(), folder)?;
        }
        None => clap_mangen::Man::new(Cli::command()).render(&mut io::stdout())?,
    }
    Ok(())
}
