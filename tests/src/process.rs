//! Running commands: with a limit, with their output kept, and never outliving the lab.
//!
//! Every command is started by `setpriv --pdeathsig`, so that it dies with the thread that started it even when that is
//! killed with no chance to clean up. Output goes to files, never to pipes: a full pipe cannot block anybody.

use crate::{LabError, Result};
use rustix::process::Signal;
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

/// What a command that ended well printed, both streams in one.
#[derive(Debug, Clone)]
pub struct Output(pub String);

impl Output {
    /// The text as JSON.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_str(&self.0).map_err(|error| LabError::Shape {
            what: format!("JSON ({error})"),
            text: tail(&self.0, 2000),
        })
    }

    /// Whether the text has `needle` in it.
    pub fn has(&self, needle: &str) -> bool {
        self.0.contains(needle)
    }
}

/// Sends a signal to a process. One that ended meanwhile is no error: nobody else gets its id before it is waited for. By
/// system call, for a bare Debian has no `kill`.
pub(crate) fn send(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// A command in the background; killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    command: String,
    log: PathBuf,
    status: Option<ExitStatus>,
}

impl Process {
    /// Starts `words` (program and arguments), its output going to `log`.
    pub(crate) fn start(words: &[String], log: PathBuf) -> Result<Self> {
        let file = |error| LabError::File { path: log.clone(), source: error };
        let out = File::create(&log).map_err(file)?;
        let err = out.try_clone().map_err(file)?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .args(words)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .map_err(|source| LabError::Start { program: words.join(" "), source })?;
        Ok(Self { child, command: words.join(" "), log, status: None })
    }

    /// The process id: `setpriv` and `ip netns exec` become the command, they are no parents of it.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The command as typed.
    pub fn command(&self) -> &str {
        &self.command
    }

    /// What it has printed so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
        }
        self.status.is_none()
    }

    /// Sends a signal.
    pub fn signal(&mut self, signal: Signal) {
        if self.is_running() {
            send(self.pid(), signal);
        }
    }

    /// Waits until it ends; kills it at the limit, which is an error.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let start = Instant::now();
        let mut nap = Duration::from_millis(1);
        while self.is_running() {
            if start.elapsed() > limit {
                self.kill();
                return Err(LabError::TimedOut {
                    command: self.command.clone(),
                    seconds: limit.as_secs(),
                    output: tail(&self.output(), 3000),
                });
            }
            thread::sleep(nap);
            nap = (nap * 2).min(Duration::from_millis(20));
        }
        self.status.ok_or_else(|| LabError::Shape {
            what: "exit status".into(),
            text: self.command.clone(),
        })
    }

    /// Waits until it ends with status 0, and returns what it printed.
    pub fn finish(&mut self, limit: Duration) -> Result<Output> {
        let status = self.wait(limit)?;
        let output = self.output();
        if status.success() {
            Ok(Output(output))
        } else {
            Err(LabError::Failed {
                command: self.command.clone(),
                status: status.to_string(),
                output: tail(&output, 3000),
            })
        }
    }

    /// Kills it (SIGKILL) and waits for its end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        if let Ok(status) = self.child.wait() {
            self.status = Some(status);
        }
    }

    /// Waits until its output has `needle` in it.
    pub fn wait_for_output(&mut self, needle: &str, limit: Duration) -> Result<()> {
        let start = Instant::now();
        loop {
            let output = self.output();
            if output.contains(needle) {
                return Ok(());
            }
            if !self.is_running() || start.elapsed() > limit {
                return Err(LabError::InVain {
                    what: format!("`{needle}` from `{}`", self.command),
                    seconds: start.elapsed().as_secs(),
                    detail: format!("\n{}", tail(&output, 3000)),
                });
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.is_running() {
            self.kill();
        }
    }
}

/// Runs `words` to its end with no namespace of its own.
pub(crate) fn run(words: &[&str], scratch: &Path, limit: Duration) -> Result<Output> {
    let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
    Process::start(&words, unique(scratch, "run"))?.finish(limit)
}

/// A file name in `folder` that no other call in this process gets.
pub(crate) fn unique(folder: &Path, stem: &str) -> PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    folder.join(format!("{stem}-{}.log", NEXT.fetch_add(1, Ordering::Relaxed)))
}

/// Asks `ready` every few milliseconds until it says yes; an error after `limit`.
pub fn wait_until(
    what: &str,
    limit: Duration,
    mut ready: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let start = Instant::now();
    loop {
        let answer = ready();
        if matches!(answer, Ok(true)) {
            return Ok(());
        }
        if start.elapsed() > limit {
            let detail = answer.err().map(|error| format!("\n{error}")).unwrap_or_default();
            return Err(LabError::InVain {
                what: what.to_owned(),
                seconds: limit.as_secs(),
                detail,
            });
        }
        thread::sleep(Duration::from_millis(30));
    }
}

/// The last `limit` bytes of a text, from a character's beginning.
pub(crate) fn tail(text: &str, limit: usize) -> String {
    let mut from = text.len().saturating_sub(limit);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    text.get(from..).unwrap_or_default().to_owned()
}
