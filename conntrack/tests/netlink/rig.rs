//! A network namespace, shards behind a server, and tools that are pointed at one or the other.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use conntrack::Shard;
use conntrack::netlink::{Epoch, EventTeller, Shards};
use nfnetlink::{Publisher, Server, ServerConfig};

use crate::workers::{self, Workers};

/// Seconds after which a tool counts as hanging.
const PATIENCE: u32 = 300;

/// Whose flows a command is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    Kernel,
    Ours,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Done {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// See the module's overview. The namespace ends with the process that holds it.
pub(crate) struct Rig {
    holder: Child,
    folder: tempfile::TempDir,
    pub workers: Arc<Workers>,
    stop: Arc<AtomicBool>,
    publisher: Publisher,
    server: Option<JoinHandle<()>>,
}

/// Says loudly why nothing is tested.
pub(crate) fn skip<T>(why: &str) -> Option<T> {
    eprintln!("\n******** SKIPPED: {why} ********\n");
    None
}

fn has(tool: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':').chain(["/usr/sbin", "/sbin"]).any(|dir| PathBuf::from(dir).join(tool).exists())
}

impl Rig {
    /// Two workers with room for `max` flows each, or `None`, having said why, where tests can't run.
    pub(crate) fn new(max: u32) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return skip("network namespaces take root");
        }
        for tool in ["conntrack", "nfct", "nft", "nsenter", "unshare", "timeout", "python3"] {
            if !has(tool) {
                return skip(&format!("no {tool} (make setup)"));
            }
        }
        // Ends when its standard input does: with this process, however that ends.
        let mut holder = Command::new("unshare")
            .args(["-n", "--", "sh", "-c", "ip link set lo up; echo here; exec cat >/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "here\n", "no network namespace");

        let folder = tempfile::tempdir().unwrap();
        let workers = Arc::new(Workers::new(2, max));
        let mut server =
            Server::bind(&folder.path().join("nfnl"), ServerConfig::default()).unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let epoch = Epoch(now.as_nanos() as u64 - workers.now().0);
        for subsystem in workers::subsystems(&workers, epoch) {
            server.register(subsystem);
        }
        let publisher = server.publisher();
        workers.tell_by(EventTeller::new(publisher.clone(), epoch));
        let stop = Arc::new(AtomicBool::new(false));
        let running = thread::spawn({
            let stop = Arc::clone(&stop);
            move || server.run(&stop).unwrap()
        });
        let rig = Self { holder, folder, workers, stop, publisher, server: Some(running) };

        // A rule with labels, without which the kernel keeps none.
        let label = "add table ip l; add chain ip l c; add rule ip l c ct label set 9";
        assert_eq!(rig.tool(On::Kernel, "nft", &[label], "").code, 0, "no nft");
        // The proof that the two sides are two.
        let canary = "-I -s 9.9.9.9 -d 8.8.8.8 -p 99 -t 9";
        assert_eq!(rig.conntrack(On::Ours, canary).code, 0);
        assert_eq!(rig.conntrack(On::Kernel, "-C").out, "0\n", "tools reach the kernel");
        assert_eq!(rig.conntrack(On::Ours, "-C").out, "1\n");
        assert_eq!(rig.conntrack(On::Ours, "-F").code, 0);
        Some(rig)
    }

    /// Switches a setting of both sides.
    pub(crate) fn set(&self, name: &str, value: u32) {
        let script = format!("echo {value} >/proc/sys/net/netfilter/{name}");
        assert_eq!(self.tool(On::Kernel, "sh", &["-c", &script], "").code, 0);
        for shard in 0..self.workers.count() {
            let set = |shard: &mut Shard, _| shard.settings_mut().set(name, u64::from(value));
            self.workers.with(shard, set).unwrap();
        }
    }

    /// The command line that runs `program` in the namespace, pointed at a side.
    pub(crate) fn command(&self, on: On, program: &str) -> Command {
        let mut command = Command::new("timeout");
        command.arg(PATIENCE.to_string());
        command.arg("nsenter").arg(format!("--net=/proc/{}/ns/net", self.holder.id())).arg("env");
        if on == On::Ours {
            command.arg(format!("LD_PRELOAD={}", preload().display()));
            command.arg(format!("TWINWALL_NFNL={}", self.folder.path().join("nfnl").display()));
        }
        command.args(["LC_ALL=C", program]);
        command.current_dir(self.folder.path());
        command
    }

    /// Runs a program with these arguments and this standard input.
    pub(crate) fn tool(&self, on: On, program: &str, args: &[&str], input: &str) -> Done {
        let mut command = self.command(on, program);
        command.args(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let mut out = Vec::new();
        let err = thread::scope(|scope| {
            // A tool may end without reading all.
            scope.spawn(move || drop(stdin.write_all(input.as_bytes())));
            let err = scope.spawn(move || {
                let mut err = Vec::new();
                stderr.read_to_end(&mut err).unwrap();
                err
            });
            child.stdout.take().unwrap().read_to_end(&mut out).unwrap();
            err.join().unwrap()
        });
        let code = child.wait().unwrap().code().unwrap_or(-1);
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Done { code, out: text(out), err: text(err) }
    }

    /// Ends a command that was started: `timeout` passes it on.
    pub(crate) fn end(child: &mut Child) {
        let process = rustix::process::Pid::from_child(child);
        let _ = rustix::process::kill_process(process, rustix::process::Signal::TERM);
        child.wait().unwrap();
    }

    /// Runs `conntrack` with these words.
    pub(crate) fn conntrack(&self, on: On, words: &str) -> Done {
        self.tool(on, "conntrack", &words.split_whitespace().collect::<Vec<_>>(), "")
    }

    /// A line as a shell understands it.
    pub(crate) fn shell(&self, on: On, line: &str, input: &str) -> Done {
        self.tool(on, "sh", &["-c", line], input)
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.publisher.waker().wake();
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

/// The preload library, which cargo builds because it is a dependency of these tests.
fn preload() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let name = "libtwinwall_nfnl.so";
    let deps = exe.parent().unwrap();
    let found =
        [deps.join(name), deps.parent().unwrap().join(name)].into_iter().find(|p| p.exists());
    found.unwrap_or_else(|| panic!("no {name} in {}", deps.display()))
}
