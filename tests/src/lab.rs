//! The lab and its network namespaces.
//!
//! A lab has a name that no other run has (it holds the process id), a scratch folder under /run, and namespaces named after
//! it. Dropping the lab deletes the namespaces; the devices in them go with them. Making a lab sweeps what labs of processes
//! that are no more left behind; `make demo` sweeps at its end too, so that an interrupted run leaves nothing.

use crate::{
    LabError, Output, Process, Result,
    process::{run, unique},
};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

/// How long a command that configures something may take.
const QUICK: Duration = Duration::from_secs(20);
/// Every namespace and folder of a lab begins with this, the process id follows.
const PREFIX: &str = "tw";
/// Where scratch folders lie: short, for a Unix socket's path has at most 107 bytes.
const SCRATCH: &str = "/run";

/// A laboratory: see the module's text.
#[derive(Debug)]
pub struct Lab {
    name: String,
    scratch: PathBuf,
    namespaces: Vec<String>,
}

impl Lab {
    /// Makes an empty lab.
    pub fn new() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if fs::metadata("/proc/self")
            .is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) != 0)
        {
            return Err(LabError::NotRoot);
        }
        sweep();
        let name =
            format!("{PREFIX}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let scratch = Path::new(SCRATCH).join(&name);
        fs::create_dir_all(&scratch)
            .map_err(|source| LabError::File { path: scratch.clone(), source })?;
        Ok(Self { name, scratch, namespaces: Vec::new() })
    }

    /// A folder of the lab's own for sockets, logs and files; deleted with it.
    pub fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// Makes a network namespace, its loopback up. `role` is a short word that the lab has not used yet.
    pub fn netns(&mut self, role: &str) -> Result<Netns> {
        let name = format!("{}-{role}", self.name);
        self.namespaces.push(name.clone());
        run(&["ip", "netns", "add", &name], &self.scratch, QUICK)?;
        let netns = Netns { name, role: role.to_owned(), scratch: self.scratch.clone() };
        netns.sh("ip link set lo up")?;
        Ok(netns)
    }

    /// Makes a veth pair with an end in each of two namespaces, both up, with no address.
    pub fn veth(&self, a: (&Netns, &str), b: (&Netns, &str)) -> Result<()> {
        let ((a, a_name), (b, b_name)) = (a, b);
        let (a_ns, b_ns) = (a.name(), b.name());
        a.run(&[
            "ip", "link", "add", a_name, "type", "veth", "peer", "name", b_name, "netns", b_ns,
        ])?;
        for (netns, ns, dev) in [(a, a_ns, a_name), (b, b_ns, b_name)] {
            // No router or multicast chatter from a device before somebody gives it an address.
            run(
                &["ip", "-n", ns, "link", "set", dev, "addrgenmode", "none"],
                &self.scratch,
                QUICK,
            )?;
            netns.sh(&format!("ip link set {dev} up"))?;
            // A veth hands over partial checksums that only a kernel can complete, and VLAN tags beside the frame.
            netns.sh(&format!("ethtool -K {dev} tx off txvlan off tx-vlan-stag-hw-insert off"))?;
        }
        Ok(())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for name in self.namespaces.drain(..) {
            delete(&name);
        }
        let _ = fs::remove_dir_all(&self.scratch);
    }
}

/// A network namespace of a lab; as cheap to clone as its name, deleted with the lab.
#[derive(Debug, Clone)]
pub struct Netns {
    name: String,
    role: String,
    scratch: PathBuf,
}

impl Netns {
    /// The name for `ip -n`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The word that the test chose.
    pub fn role(&self) -> &str {
        &self.role
    }

    /// The lab's scratch folder.
    pub fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// Runs a command in the namespace to its end, 20 seconds at most; its status must be 0.
    pub fn run(&self, words: &[&str]) -> Result<Output> {
        self.run_for(words, QUICK)
    }

    /// Runs a command in the namespace to its end, `limit` at most; its status must be 0.
    pub fn run_for(&self, words: &[&str], limit: Duration) -> Result<Output> {
        self.start(words)?.finish(limit)
    }

    /// Runs a line in the namespace, its words separated by blanks: no quoting, no shell.
    pub fn sh(&self, line: &str) -> Result<Output> {
        self.run(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs several lines, one command each.
    pub fn script(&self, lines: &str) -> Result<()> {
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            self.sh(line)?;
        }
        Ok(())
    }

    /// Runs a line whatever its status, and returns what it printed and whether the status was 0.
    pub fn try_sh(&self, line: &str) -> Result<(Output, bool)> {
        let mut process = self.start(&line.split_whitespace().collect::<Vec<_>>())?;
        let status = process.wait(QUICK)?;
        Ok((Output(process.output()), status.success()))
    }

    /// Starts a command in the namespace, in the background.
    pub fn start(&self, words: &[&str]) -> Result<Process> {
        let mut all: Vec<String> = ["ip", "netns", "exec", &self.name].map(str::to_owned).to_vec();
        all.extend(words.iter().map(|&word| word.to_owned()));
        Process::start(&all, unique(&self.scratch, &self.role))
    }
}

/// Deletes what labs of processes that are no more left behind, after a SIGKILL or a crash.
pub fn sweep() {
    let gone = |name: &String| {
        let Some(pid) = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split_once('-'))
            .and_then(|(pid, _)| pid.parse().ok())
        else {
            return false;
        };
        let pid: u32 = pid;
        !Path::new(&format!("/proc/{pid}")).exists()
    };
    for name in entries("/run/netns").filter(gone) {
        delete(&name);
    }
    for folder in entries(SCRATCH).filter(gone) {
        let _ = fs::remove_dir_all(Path::new(SCRATCH).join(folder));
    }
}

/// The names in a folder; none when there is no such folder.
fn entries(folder: &str) -> impl Iterator<Item = String> {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
}

/// Kills what still runs in a namespace of ours, then deletes it. Best effort: it runs when things went wrong, too.
fn delete(name: &str) {
    let quiet = |program: &str, words: &[&str]| {
        std::process::Command::new(program).args(words).stderr(std::process::Stdio::null()).output()
    };
    if let Ok(output) = quiet("ip", &["netns", "pids", name]) {
        for pid in String::from_utf8_lossy(&output.stdout).split_whitespace() {
            if let Ok(pid) = pid.parse() {
                crate::process::send(pid, rustix::process::Signal::KILL);
            }
        }
    }
    let _ = quiet("ip", &["netns", "del", name]);
}
