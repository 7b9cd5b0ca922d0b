//! The daemon under test: its configuration file, its process, its commands.

use crate::{Lab, LabError, Netns, Output, Process, Result, Wire, process::unique, wait_until};
use rustix::process::Signal;
use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// How long EAL, the ports and the twins may take to come up on a busy machine.
const START: Duration = Duration::from_secs(30);
/// How long a tool may take.
const TOOL: Duration = Duration::from_secs(30);
/// How long draining may take.
const STOP: Duration = Duration::from_secs(15);

/// What a test sets in the daemon's configuration; the rest is the lab's choice: small, quiet, no hugepages.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The cores of the workers.
    pub cores: Vec<u32>,
    /// `adaptive` or `poll`.
    pub idle: &'static str,
    /// `off` unless a test is about hugepages.
    pub hugepages: &'static str,
    /// MiB for DPDK.
    pub memory: u32,
    /// Frames in the pool.
    pub mbufs: u32,
    /// Lines for the end of the `[dataplane]` section.
    pub dataplane: String,
    /// Sections for the end of the file.
    pub more: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cores: vec![0],
            idle: "adaptive",
            hugepages: "off",
            memory: 192,
            mbufs: 8192,
            dataplane: String::new(),
            more: String::new(),
        }
    }
}

/// A running `twinwall run`; killed when dropped.
#[derive(Debug)]
pub struct Daemon {
    process: Process,
    netns: Netns,
    config: PathBuf,
    socket: PathBuf,
    binary: PathBuf,
    /// Frames that the ports' drivers keep when they close.
    kept: usize,
}

impl Daemon {
    /// Where the binary is: `TWINWALL_BIN`, else beside the test's own (or one folder up, for test binaries lie in `deps`).
    pub fn binary() -> Result<PathBuf> {
        if let Some(path) = std::env::var_os("TWINWALL_BIN") {
            return Ok(path.into());
        }
        let own = std::env::current_exe()
            .map_err(|source| LabError::File { path: "/proc/self/exe".into(), source })?;
        own.ancestors()
            .skip(1)
            .take(2)
            .map(|folder| folder.join("twinwall"))
            .find(|path| path.is_file())
            .ok_or_else(|| LabError::InVain {
                what: format!("twinwall beside {} (run `cargo build -p cli`)", own.display()),
                seconds: 0,
                detail: String::new(),
            })
    }

    /// The netlink socket beside an API socket.
    fn nfnl(socket: &Path) -> PathBuf {
        socket.with_extension("nfnl")
    }

    /// The text of a configuration with these ports.
    pub fn config(settings: &Settings, ports: &[&Wire], socket: &Path) -> String {
        let Settings { cores, idle, hugepages, memory, mbufs, dataplane, more } = settings;
        let mut text = format!(
            "[dataplane]\ncores = {cores:?}\nidle = \"{idle}\"\nhugepages = \"{hugepages}\"\nmemory = {memory}\nmbufs = {mbufs}\n{dataplane}\n"
        );
        for port in ports {
            let _ = write!(
                text,
                "[[port]]\nname = \"{}\"\ndevice = \"{}\"\n{}\n",
                port.name, port.device, port.more
            );
        }
        let _ = write!(
            text,
            "[api]\nsocket = \"{}\"\n\n[nfnetlink]\nsocket = \"{}\"\n\n{more}\n",
            socket.display(),
            Self::nfnl(socket).display()
        );
        text
    }

    /// Starts the daemon in `netns` with these ports, and waits until it answers and its twins are there.
    pub fn start(lab: &Lab, netns: &Netns, settings: &Settings, ports: &[&Wire]) -> Result<Self> {
        let stem = unique(lab.scratch(), "twinwall");
        let (config, socket) = (stem.with_extension("toml"), stem.with_extension("sock"));
        let text = Self::config(settings, ports, &socket);
        fs::write(&config, text)
            .map_err(|source| LabError::File { path: config.clone(), source })?;
        let mut daemon = Self::spawn(netns, config, socket)?;
        daemon.kept = ports.iter().map(|port| port.kept()).sum();
        daemon.wait_ready()?;
        for port in ports.iter().filter(|port| port.routed()) {
            wait_until(&format!("the twin {}", port.name), START, || {
                netns.sh(&format!("ip link show {}", port.name)).map(|_| true)
            })?;
        }
        Ok(daemon)
    }

    /// Starts the daemon and waits for nothing: for tests of what it refuses.
    pub fn spawn(netns: &Netns, config: PathBuf, socket: PathBuf) -> Result<Self> {
        let binary = Self::binary()?;
        let program = binary.display().to_string();
        let process = netns.start(&[&program, "run", "--config", &config.display().to_string()])?;
        Ok(Self { process, netns: netns.clone(), config, socket, binary, kept: 0 })
    }

    /// Waits until `twinwall status` answers.
    fn wait_ready(&mut self) -> Result<()> {
        let start = std::time::Instant::now();
        loop {
            if self.cli(&["status"]).is_ok() {
                return Ok(());
            }
            if !self.process.is_running() || start.elapsed() > START {
                return Err(LabError::InVain {
                    what: "the daemon to answer".into(),
                    seconds: start.elapsed().as_secs(),
                    detail: format!("\n{}", crate::process::tail(&self.process.output(), 4000)),
                });
            }
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// Runs an operator's command against this daemon: `cli(&["ports"])`.
    pub fn cli(&self, words: &[&str]) -> Result<Output> {
        let (program, socket) =
            (self.binary.display().to_string(), self.socket.display().to_string());
        let mut all = vec![program.as_str()];
        all.extend(words);
        all.extend(["--socket", &socket]);
        self.netns.run(&all)
    }

    /// Starts an unmodified tool on the daemon (`twinwall exec`), in its namespace.
    pub fn start_tool(&self, words: &[&str]) -> Result<Process> {
        let (program, socket) =
            (self.binary.display().to_string(), Self::nfnl(&self.socket).display().to_string());
        let mut all = vec![program.as_str(), "exec", "--socket", &socket, "--"];
        all.extend(words);
        self.netns.start(&all)
    }

    /// Runs such a tool to its end; its status must be 0.
    pub fn tool(&self, words: &[&str]) -> Result<Output> {
        self.start_tool(words)?.finish(TOOL)
    }

    /// Has nft do what a line says, its words separated by blanks.
    pub fn nft(&self, line: &str) -> Result<Output> {
        self.tool(&[&["nft"], line.split_whitespace().collect::<Vec<_>>().as_slice()].concat())
    }

    /// Has nft load a ruleset, as one transaction.
    pub fn load(&self, ruleset: &str) -> Result<()> {
        let file = unique(self.netns.scratch(), "ruleset").with_extension("nft");
        fs::write(&file, ruleset)
            .map_err(|source| LabError::File { path: file.clone(), source })?;
        self.tool(&["nft", "-f", &file.display().to_string()]).map(drop)
    }

    /// Packets and bytes of each counter that a listing shows, in order.
    pub fn counters(&self, listing: &str) -> Result<Vec<[u64; 2]>> {
        let text = self.nft(listing)?.0;
        let mut words = text.split_whitespace();
        let mut counters = Vec::new();
        while let Some(word) = words.next() {
            if word == "packets"
                && let Some(packets) = words.next().and_then(|word| word.parse().ok())
                && words.next() == Some("bytes")
                && let Some(bytes) = words.next().and_then(|word| word.parse().ok())
            {
                counters.push([packets, bytes]);
            }
        }
        Ok(counters)
    }

    /// The same with `--json`.
    pub fn json(&self, command: &str) -> Result<serde_json::Value> {
        self.cli(&[command, "--json"])?.json()
    }

    /// How many packets were dropped for a reason since the start.
    pub fn drops(&self, reason: &str) -> Result<u64> {
        let drops = self.json("drops")?;
        find_count(&drops, reason).ok_or_else(|| LabError::Shape {
            what: "twinwall drops --json".into(),
            text: drops.to_string(),
        })
    }

    /// Kills it with SIGKILL, as a crash would.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again with the same configuration and waits until it answers. Its twins are new ones, without addresses.
    pub fn restart(&mut self) -> Result<()> {
        let fresh = Self::spawn(&self.netns, self.config.clone(), self.socket.clone())?;
        self.process = fresh.process;
        self.wait_ready()
    }

    /// The process, for signals and its log.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// Its configuration file.
    pub fn config_file(&self) -> &Path {
        &self.config
    }

    /// Its API socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Its namespace.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// How many frames were missing from the pool when nobody held any more, as the daemon logs it.
    fn missing(&self, log: &str) -> Option<usize> {
        if log.contains("every frame is back in its pool") {
            return Some(0);
        }
        let line =
            log.lines().find(|line| line.contains("frames did not come back to their pool"))?;
        line.split_whitespace().find_map(|word| word.strip_prefix("missing=")?.parse().ok())
    }

    /// Ends it as an operator would (SIGTERM); it must end with status 0, and every frame must be back in its pool, but for those
    /// that a driver keeps. Returns its log.
    pub fn stop(mut self) -> Result<String> {
        if !self.process.is_running() {
            return Err(LabError::Failed {
                command: self.process.command().to_owned(),
                status: "it had ended before it was told to".into(),
                output: crate::process::tail(&self.process.output(), 4000),
            });
        }
        self.process.signal(Signal::TERM);
        let log = self.process.finish(STOP)?.0;
        match self.missing(&log) {
            Some(missing) if missing <= self.kept => {}
            _ => {
                let text = crate::process::tail(&log, 4000);
                return Err(LabError::Shape { what: "the pool of frames at the end".into(), text });
            }
        }
        Ok(log)
    }
}

/// The count beside a reason's name, whether the reasons are an object's keys or an array's entries.
fn find_count(value: &serde_json::Value, reason: &str) -> Option<u64> {
    use serde_json::Value;
    match value {
        Value::Object(fields) => {
            if let Some(count) = fields.get(reason).and_then(Value::as_u64) {
                return Some(count);
            }
            let named = ["reason", "name"]
                .iter()
                .any(|key| fields.get(*key).and_then(Value::as_str) == Some(reason));
            if named
                && let Some(count) =
                    ["packets", "count", "total"].iter().find_map(|key| fields.get(*key)?.as_u64())
            {
                return Some(count);
            }
            fields.values().find_map(|inner| find_count(inner, reason))
        }
        Value::Array(items) => items.iter().find_map(|inner| find_count(inner, reason)),
        _ => None,
    }
}
