//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::api::flows::{Filter, FlowsQuery, Network, Sort};
use crate::commands::hash_eval::HashEvalArgs;
use crate::config::model::DEFAULT_SOCKET;
use crate::config::rules::DEFAULT_NFNL;

/// The configuration file when nobody says otherwise.
pub const DEFAULT_CONFIG: &str = "/etc/twinwall/twinwall.toml";

/// A router on DPDK that the kernel's own tools configure.
#[derive(Debug, Parser)]
#[command(name = "twinwall", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs the daemon in the foreground until SIGTERM or SIGINT
    ///
    /// SIGHUP reads the configuration again: what can change in a running daemon does, the rest is named in the log.
    Run(ConfigArgs),
    /// Checks a configuration file against itself and this machine, without starting
    ///
    /// Exits with 0 if the daemon would start with it, 1 if not, 2 on wrong usage.
    Check(ConfigArgs),
    /// Shows the daemon as a whole
    Status(WatchArgs),
    /// Shows ports and their counters
    Ports(WatchArgs),
    /// Shows workers and their counters
    Workers(WatchArgs),
    /// Shows why packets were dropped
    Drops(DropsArgs),
    /// Shows flows: the first by rate, bytes, packets or age, of all that fit
    ///
    /// Counts and rates need accounting: twinwall sysctl nf_conntrack_acct=1 nf_conntrack_timestamp=1
    Flows(FlowsArgs),
    /// Shows or sets the settings of connection tracking, under the kernel's names
    ///
    /// A change lasts until the daemon's next start; [conntrack.sysctl] in the configuration file is for ever.
    Sysctl(SysctlArgs),
    /// This node among others: shows it, and tells it what to be
    #[command(subcommand)]
    Ha(HaCommand),
    /// Tells what rules can be made of: expressions, objects, extensions of iptables, with their attributes
    Describe {
        /// The name of one, such as `payload`
        #[arg(value_name = "EXPR")]
        name: Option<String>,
        /// Prints JSON
        #[arg(long)]
        json: bool,
    },
    /// Shows how hashes spread tuples over a flow table, and what they cost
    ///
    /// The tuples are a capture's, or made: at random, in sequence, or crafted to collide. docs/hash-eval.md says how to read it.
    HashEval(HashEvalArgs),
    /// Runs a program whose netfilter netlink goes to the daemon instead of the kernel
    ///
    /// So nft, conntrack, iptables-nft and whatever is built on libmnl or libnetfilter_* work on twinwall unmodified. The program
    /// must be linked dynamically.
    #[command(override_usage = "twinwall exec [--socket PATH] -- COMMAND [ARGUMENT]...")]
    Exec {
        /// The daemon's netlink socket
        #[arg(long, value_name = "PATH", default_value = DEFAULT_NFNL, env = "TWINWALL_NFNL")]
        socket: PathBuf,
        /// The program and its arguments
        #[arg(
            required = true,
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "COMMAND"
        )]
        command: Vec<OsString>,
    },
    /// Runs nft on the daemon: short for `twinwall exec -- nft ...`
    #[command(disable_help_flag = true, disable_version_flag = true)]
    Nft {
        /// nft's arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
        arguments: Vec<OsString>,
    },
    /// Runs conntrack on the daemon: short for `twinwall exec -- conntrack ...`
    #[command(disable_help_flag = true, disable_version_flag = true)]
    Conntrack {
        /// conntrack's arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
        arguments: Vec<OsString>,
    },
    /// Prints the completions of a shell
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Prints the manual page, or writes one for each command
    Man {
        /// Write one page for each command into this folder.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Prints the API's OpenAPI document
    #[command(hide = true)]
    Openapi,
}

/// Which configuration.
#[derive(Args, Debug)]
pub struct ConfigArgs {
    /// The configuration file (docs/config.md describes it)
    #[arg(long, short, value_name = "FILE", default_value = DEFAULT_CONFIG, env = "TWINWALL_CONFIG")]
    pub config: PathBuf,
}

/// How to ask and to show.
#[derive(Args, Clone, Debug)]
pub struct WatchArgs {
    /// The daemon's socket
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET, env = "TWINWALL_SOCKET")]
    pub socket: PathBuf,
    /// Prints JSON; with --watch, one line each time
    #[arg(long)]
    pub json: bool,
    /// Shows again every so many seconds, with rates
    #[arg(long, short, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1", value_parser = seconds)]
    pub watch: Option<Duration>,
    /// With --watch: stops after so many times
    #[arg(long, value_name = "N", requires = "watch", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
}

/// How to show drops.
#[derive(Args, Clone, Debug)]
pub struct DropsArgs {
    /// How to ask and to show.
    #[command(flatten)]
    pub watch: WatchArgs,
    /// Lists the reasons that did not occur, too (JSON always does)
    #[arg(long, short)]
    pub all: bool,
}

/// Which flows to show.
#[derive(Args, Clone, Debug)]
pub struct FlowsArgs {
    /// How to ask and to show.
    #[command(flatten)]
    pub watch: WatchArgs,
    /// What decides which come first; rate is the mean since a flow began
    #[arg(long, short, value_enum, default_value = "rate")]
    pub sort: Sort,
    /// How many at most
    #[arg(long, short = 'n', default_value_t = 20, value_parser = clap::value_parser!(u16).range(0..=10_000))]
    pub limit: u16,
    /// Only of this family, 4 or 6
    #[arg(long, short, value_parser = clap::value_parser!(u8).range(4..=6))]
    pub family: Option<u8>,
    /// Only of this protocol: its name, or its number where it has none
    #[arg(long, short)]
    pub protocol: Option<String>,
    /// Only with an end in this network
    #[arg(long, short, value_name = "ADDRESS[/LENGTH]")]
    pub address: Option<Network>,
    /// Only with an end at this port
    #[arg(long)]
    pub port: Option<u16>,
    /// Only in this state, such as ESTABLISHED
    #[arg(long)]
    pub state: Option<String>,
    /// Only with this mark
    #[arg(long)]
    pub mark: Option<u32>,
    /// Only in this zone
    #[arg(long)]
    pub zone: Option<u16>,
    /// Only translated ones (true), only others (false)
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    pub nat: Option<bool>,
}

impl FlowsArgs {
    /// What is asked for.
    pub fn query(&self) -> FlowsQuery {
        let filter = Filter {
            family: self.family,
            protocol: self.protocol.as_ref().map(|name| name.to_lowercase()),
            address: self.address,
            port: self.port,
            state: self.state.clone(),
            mark: self.mark,
            zone: self.zone,
            nat: self.nat,
        };
        FlowsQuery { filter, sort: self.sort, limit: self.limit.into() }
    }
}

/// What to do with this node among others.
#[derive(Debug, Subcommand)]
pub enum HaCommand {
    /// Shows roles, flows, lag, other nodes and links
    Status(WatchArgs),
    /// Makes this node active
    ///
    /// Another one that is active and lives is asked to hand over first, for 30 ms. A node that has not got all flows refuses for a while
    /// where another lives (promote_unsynchronised_s).
    Promote {
        /// Where the daemon is.
        #[command(flatten)]
        at: SocketArgs,
        /// At once, and although flows are missing: their connections will be lost
        #[arg(long)]
        force: bool,
    },
    /// Hands over to a standby that has all flows, losing no packet
    ///
    /// Returns when the other node is active. Where none can be, this one goes on, and the exit code is 1.
    Demote(SocketArgs),
    /// Asks the active node for all flows again
    Resync(SocketArgs),
    /// Compares all flows with the other nodes'; exits with 1 where they differ
    Verify(SocketArgs),
    /// Replaces the ruleset with another node's, in one transaction
    PullRuleset {
        /// Where the daemon is.
        #[command(flatten)]
        at: SocketArgs,
        /// The node that has it
        node: u8,
    },
    /// Exits with 0 if this node is fit to be master: active, or standby with all flows (for keepalived's vrrp_script)
    Check(SocketArgs),
    /// Passes on keepalived's word: MASTER makes this node active, BACKUP, FAULT and STOP a standby
    ///
    /// Answers at once. A promotion that is refused is tried again until it is accepted or another word comes.
    Notify {
        /// Where the daemon is.
        #[command(flatten)]
        at: SocketArgs,
        /// INSTANCE or GROUP
        kind: String,
        /// The name of that
        name: String,
        /// MASTER, BACKUP, FAULT or STOP; other words of keepalived change nothing
        state: String,
        /// Its priority
        priority: Option<String>,
    },
}

/// Where the daemon is.
#[derive(Args, Clone, Debug)]
pub struct SocketArgs {
    /// The daemon's socket
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET, env = "TWINWALL_SOCKET")]
    pub socket: PathBuf,
}

/// Which settings, and what they become.
#[derive(Args, Clone, Debug)]
pub struct SysctlArgs {
    /// Shows these, or sets them; without any, shows all. `net.netfilter.` may be left out
    #[arg(value_name = "NAME[=VALUE]")]
    pub settings: Vec<String>,
    /// The daemon's socket
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET, env = "TWINWALL_SOCKET")]
    pub socket: PathBuf,
    /// Prints JSON
    #[arg(long)]
    pub json: bool,
}

/// A time between looks: 0.1 s to a day.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "it is no number of seconds".to_owned())?;
    if !(0.1..=86_400.0).contains(&seconds) {
        return Err("it must be from 0.1 to 86400 seconds".into());
    }
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn arguments_of_a_tool_are_left_alone() {
        let nft = ["twinwall", "nft", "--help", "-a", "--", "list"];
        let Command::Nft { arguments } = Cli::try_parse_from(nft).unwrap().command else {
            panic!()
        };
        assert_eq!(arguments, ["--help", "-a", "--", "list"]);
        let exec = ["twinwall", "exec", "--socket", "/x", "--", "conntrack", "--socket", "-L"];
        let Command::Exec { socket, command } = Cli::try_parse_from(exec).unwrap().command else {
            panic!()
        };
        assert_eq!(socket, PathBuf::from("/x"));
        assert_eq!(command, ["conntrack", "--socket", "-L"]);
        assert!(Cli::try_parse_from(["twinwall", "exec"]).is_err());
    }

    #[test]
    fn watch_takes_seconds_or_none() {
        let watch = |args: &[&str]| match Cli::try_parse_from(args).map(|cli| cli.command) {
            Ok(Command::Ports(args)) => Ok(args.watch),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        };
        assert_eq!(watch(&["twinwall", "ports"]).unwrap(), None);
        assert_eq!(watch(&["twinwall", "ports", "--watch"]).unwrap(), Some(Duration::from_secs(1)));
        assert_eq!(
            watch(&["twinwall", "ports", "-w", "0.5"]).unwrap(),
            Some(Duration::from_millis(500))
        );
        assert!(watch(&["twinwall", "ports", "--watch", "0"]).unwrap_err().contains("0.1"));
        assert!(watch(&["twinwall", "ports", "--count", "3"]).unwrap_err().contains("--watch"));
    }
}
