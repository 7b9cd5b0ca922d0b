//! A real keepalived in a node's namespace, with the scripts and the configuration that are shipped (cli/keepalived).
//!
//! keepalived refuses scripts in folders that others may write to, so they are copied to a folder of the lab's; there is also the
//! `twinwall` that they call, which leads to this node's daemon.
//!
//! It logs to its output alone. To syslog, where there is none, glibc would write each line to the machine's console, which may be a
//! serial one: 30 ms at a change of roles, at real-time priority, on the core of the node's worker.

use crate::{Daemon, LabError, Netns, Process, Result, process, wait_until};
use rustix::process::Signal;
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

/// What is shipped.
const EXAMPLE: &str = include_str!("../../../cli/keepalived/keepalived.conf.example");
const SCRIPTS: [(&str, &str); 3] = [
    ("twinwall-notify", include_str!("../../../cli/keepalived/twinwall-notify")),
    ("twinwall-check", include_str!("../../../cli/keepalived/twinwall-check")),
    ("twinwall-switchover", include_str!("../../../cli/keepalived/twinwall-switchover")),
];

/// A node's keepalived; killed when dropped.
#[derive(Debug)]
pub struct Keepalived {
    process: Process,
    netns: Netns,
    folder: PathBuf,
}

fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    let file = |source| LabError::File { path: path.to_owned(), source };
    fs::write(path, text).map_err(file)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(file)
}

impl Keepalived {
    /// Writes the folder of node `number` and starts keepalived, its adverts `advert` seconds apart.
    pub fn start(netns: &Netns, number: u8, advert: &str, daemon: &Daemon) -> Result<Self> {
        let folder = netns.scratch().join(format!("node{number}"));
        fs::create_dir_all(&folder)
            .map_err(|source| LabError::File { path: folder.clone(), source })?;
        for (name, text) in SCRIPTS {
            write(&folder.join(name), text, 0o755)?;
        }
        let twinwall = format!(
            "#!/bin/sh\nTWINWALL_SOCKET={} exec {} \"$@\"\n",
            daemon.socket().display(),
            Daemon::binary()?.display()
        );
        write(&folder.join("twinwall"), &twinwall, 0o755)?;
        let at = folder.display().to_string();
        let conf = EXAMPLE
            .replace("/usr/libexec/twinwall", &at)
            .replace("/run/twinwall-keepalived", &format!("{at}/keepalived"))
            .replace("router_id node1", &format!("router_id node{number}"))
            .replace("advert_int 0.02", &format!("advert_int {advert}"))
            .replace("priority 150", &format!("priority {}", 200 - 50 * u32::from(number)));
        write(&folder.join("keepalived.conf"), &conf, 0o644)?;
        let process = Self::spawn(netns, &folder)?;
        Ok(Self { process, netns: netns.clone(), folder })
    }

    fn spawn(netns: &Netns, folder: &Path) -> Result<Process> {
        let at = |name: &str| folder.join(name).display().to_string();
        netns.start(&[
            "env",
            &format!("PATH={}:{}", folder.display(), std::env::var("PATH").unwrap_or_default()),
            &format!("TWINWALL_LEAVE={}", at("keepalived.leave")),
            "keepalived",
            "--dont-fork",
            "--log-console",
            "--no-syslog",
            "--log-detail",
            "--vrrp",
            "--use-file",
            &at("keepalived.conf"),
            "--pid",
            &at("keepalived.pid"),
            "--vrrp_pid",
            &at("vrrp.pid"),
        ])
    }

    /// The ids of its processes: the parent's, and that of the one that speaks VRRP.
    pub fn pids(&self) -> Vec<u32> {
        let vrrp = fs::read_to_string(self.folder.join("vrrp.pid")).unwrap_or_default();
        let mut pids = vec![self.process.pid()];
        pids.extend(vrrp.trim().parse::<u32>());
        pids
    }

    /// Kills all of it with SIGKILL: nothing is announced, no script runs.
    pub fn kill(&mut self) {
        for pid in self.pids() {
            process::send(pid, Signal::KILL);
        }
        self.process.kill();
    }

    /// Starts it again.
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        for name in ["keepalived.pid", "vrrp.pid"] {
            let _ = fs::remove_file(self.folder.join(name));
        }
        self.process = Self::spawn(&self.netns, &self.folder)?;
        Ok(())
    }

    /// Waits until its VRRP process runs.
    pub fn wait_ready(&mut self) -> Result<()> {
        let pid = self.folder.join("vrrp.pid");
        wait_until("keepalived's VRRP process", Duration::from_secs(20), || Ok(pid.exists()))
    }

    /// Runs `twinwall-switchover` as an operator does, on this node.
    pub fn switch_over(&self) -> Result<()> {
        let at = |name: &str| self.folder.join(name).display().to_string();
        self.netns
            .run(&[
                "env",
                &format!(
                    "PATH={}:{}",
                    self.folder.display(),
                    std::env::var("PATH").unwrap_or_default()
                ),
                &format!("TWINWALL_LEAVE={}", at("keepalived.leave")),
                &at("twinwall-switchover"),
            ])
            .map(drop)
    }

    /// What it logged.
    pub fn log(&self) -> String {
        self.process.output()
    }
}

impl Drop for Keepalived {
    fn drop(&mut self) {
        self.kill();
    }
}
