//! The `twinwall` binary: parses the command line and runs one command.
//!
//! Exit codes: 0 done, 1 failed (said on stderr), 2 wrong usage; of `exec` and `nft`, the tool's.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use cli::args::{Cli, Command};
use cli::commands::{self, DropsView, FlowsView, PortsView, StatusView, View, WorkersView};
use cli::config::rules::DEFAULT_NFNL;
use cli::daemon::DaemonError;

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            // Our errors tell their cause themselves.
            eprintln!("twinwall: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(args) => {
            if let Err(error) = cli::daemon::run(&args.config) {
                if let DaemonError::Config(report) = &error {
                    commands::explain(report);
                }
                return Err(error.into());
            }
        }
        Command::Check(args) => {
            let good = commands::check(&args.config);
            return Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Status(args) => show(&StatusView, &args)?,
        Command::Ports(args) => show(&PortsView, &args)?,
        Command::Workers(args) => show(&WorkersView, &args)?,
        Command::Drops(args) => show(&DropsView { all: args.all }, &args.watch)?,
        Command::Flows(args) => show(&FlowsView { query: args.query() }, &args.watch)?,
        Command::Sysctl(args) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(commands::sysctl(&args))?;
        }
        Command::Ha(command) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let good = runtime.block_on(commands::ha(&command))?;
            return Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Describe { name, json } => {
            if !commands::describe(name.as_deref(), json)? {
                eprintln!(
                    "twinwall: nothing is called {:?}; `twinwall describe` lists all",
                    name.unwrap_or_default()
                );
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::HashEval(args) => commands::hash_eval(&args)?,
        Command::Exec { socket, command } => return Ok(commands::exec(&socket, &command)?),
        Command::Nft { arguments } => return tool("nft", arguments),
        Command::Conntrack { arguments } => return tool("conntrack", arguments),
        Command::Completions { shell } => commands::completions(shell),
        Command::Man { out } => commands::man(out.as_deref())?,
        Command::Openapi => print!("{}", cli::api::document()),
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs a tool on the daemon.
fn tool(name: &str, arguments: Vec<OsString>) -> anyhow::Result<ExitCode> {
    let socket = std::env::var_os("TWINWALL_NFNL").unwrap_or_else(|| DEFAULT_NFNL.into());
    let command: Vec<OsString> = std::iter::once(name.into()).chain(arguments).collect();
    Ok(commands::exec(Path::new(&socket), &command)?)
}

/// Runs a command that talks to the daemon.
fn show<V: View>(view: &V, args: &cli::args::WatchArgs) -> anyhow::Result<()>
where
    V::Answer: Clone,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(commands::show(view, args))?)
}
