//! A network namespace, the engine on a socket, and tools that are pointed at one or the other.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use nfnetlink::{Server, ServerConfig, Subsystem};
use ruleset::nft::{Host, NfTables, NftCompat};

use crate::corpus;

/// Seconds after which a tool counts as hanging.
const PATIENCE: u32 = 60;

/// Whose rules a command changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Kernel,
    Ours,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Done {
    /// The exit status; negative for a signal, as the corpora have it.
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Done {
    pub(crate) fn ok(&self) -> bool {
        self.code == 0
    }
}

/// See the module's overview. The namespace ends with the process that holds it.
pub(crate) struct Lab {
    holder: Child,
    server: Mutex<Option<JoinHandle<()>>>,
    dir: PathBuf,
    socket: PathBuf,
    preload: PathBuf,
}

impl Lab {
    /// A namespace with these devices and an engine without rules, or `None`, having said why, where tests can't run.
    pub(crate) fn new(devices: &[String]) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        corpus::folder()?;
        if !rustix::process::geteuid().is_root() {
            return corpus::skip("network namespaces take root");
        }
        for tool in ["nft", "nsenter", "unshare", "ip", "timeout", "python3"] {
            if !corpus::tool(tool) {
                return corpus::skip(&format!("no {tool} (make setup)"));
            }
        }

        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("twinwall-corpora-{}-{n}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        // Ends when its standard input does: with this process, however that ends.
        let mut holder = Command::new("unshare")
            .args(["-n", "--", "sh", "-c", "echo here; exec cat >/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "here\n", "no network namespace");
        let lab = Self {
            holder,
            server: Mutex::new(None),
            socket: dir.join("nfnl"),
            dir,
            preload: preload(),
        };
        lab.restart();

        let mut links = String::from("link set lo up\n");
        // Not every kernel has dummy devices.
        for (n, device) in devices.iter().enumerate() {
            links += &format!("link add name {device} type veth peer name peer{n}\n");
        }
        let file = lab.file("links", links.as_bytes());
        let done = lab.tool(Side::Kernel, "ip", &["-force", "-batch", file.to_str().unwrap()], "");
        assert!(done.ok(), "{}", done.err);

        // The proof that the two sides are two.
        assert!(lab.nft(Side::Ours, &["add table ip canary"]).ok());
        assert_eq!(lab.nft(Side::Kernel, &["list ruleset"]).out, "", "tools reach the kernel");
        assert_eq!(lab.nft(Side::Ours, &["list ruleset"]).out, "table ip canary {\n}\n");
        lab.restart();
        Some(lab)
    }

    /// An engine without rules in the place of the one that ran. The kernel's rules stay.
    pub(crate) fn restart(&self) {
        self.restart_with(Box::new(Self::engine()));
    }

    /// Nanoseconds since the first look, for all engines.
    pub(crate) fn now() -> u64 {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// An engine without rules.
    pub(crate) fn engine() -> NfTables {
        NfTables::new(Host { workers: 1, now: Box::new(Self::now), publish: Box::new(drop) })
    }

    /// This one in the place of the one that ran.
    pub(crate) fn restart_with(&self, engine: Box<dyn Subsystem>) {
        let _ = fs::remove_file(&self.socket);
        let mut server = Server::bind(&self.socket, ServerConfig::default()).unwrap();
        server.register(engine);
        server.register(Box::new(NftCompat));
        let running = thread::spawn(move || {
            let _ = server.run(&std::sync::atomic::AtomicBool::new(false));
        });
        *self.server.lock().unwrap() = Some(running);
    }

    /// Whether the engine still runs; else it panicked, and said where.
    pub(crate) fn alive(&self) -> bool {
        self.server.lock().unwrap().as_ref().is_some_and(|server| !server.is_finished())
    }

    /// A file of the lab's own.
    pub(crate) fn file(&self, name: &str, text: &[u8]) -> PathBuf {
        let path = self.dir.join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// A folder of a side's own.
    pub(crate) fn folder(&self, side: Side) -> PathBuf {
        let path = self.dir.join(format!("{side:?}"));
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// The command line that runs `program` in the namespace, pointed at a side.
    pub(crate) fn command(&self, side: Side, program: &str) -> Command {
        let mut command = Command::new("timeout");
        command.arg(PATIENCE.to_string());
        command.arg("nsenter").arg(format!("--net=/proc/{}/ns/net", self.holder.id())).arg("env");
        if side == Side::Ours {
            command.arg(format!("LD_PRELOAD={}", self.preload.display()));
            command.arg(format!("TWINWALL_NFNL={}", self.socket.display()));
        }
        // The corpora were listed with this time zone.
        command.args(["TZ=UTC-2", "LC_ALL=C", program]);
        command
    }

    /// Runs a program with these arguments and this standard input.
    pub(crate) fn tool(&self, side: Side, program: &str, args: &[&str], input: &str) -> Done {
        let mut command = self.command(side, program);
        command.args(args).current_dir(&self.dir);
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
        let status = child.wait().unwrap();
        let code = match (status.code(), status.signal()) {
            // `timeout` ends as a shell says that a command was killed.
            (Some(code), _) if code > 128 => 128 - code,
            (Some(code), _) => code,
            (None, signal) => -signal.unwrap_or(0),
        };
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Done { code, out: text(out), err: text(err) }
    }

    pub(crate) fn nft(&self, side: Side, args: &[&str]) -> Done {
        self.tool(side, &corpus::nft(), args, "")
    }

    /// Loads a file by `nft -f`.
    pub(crate) fn load(&self, side: Side, path: &Path) -> Done {
        self.nft(side, &["-f", path.to_str().unwrap()])
    }

    /// Words of nft that mean something which this kernel was built without.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        let tries = [
            ("flowtable", "add flowtable ip f f { hook ingress priority 0; devices = { lo }; }"),
            ("queue", "add chain ip f c; add rule ip f c queue"),
        ];
        let works = |try_it: &str| {
            self.nft(Side::Kernel, &["-c", &format!("add table ip f; {try_it}")]).ok()
        };
        tries.into_iter().filter(|(_, try_it)| !works(try_it)).map(|(word, _)| word).collect()
    }

    /// Removes all rules.
    pub(crate) fn flush(&self, side: Side) {
        let done = self.nft(side, &["flush ruleset"]);
        if !done.ok() {
            assert_eq!(side, Side::Ours, "the kernel can't flush: {}", done.err);
            eprintln!("flush ruleset failed, the engine starts anew: {}", done.err);
            self.restart();
        }
    }

    /// Does the same on both sides at once; the kernel's result first.
    pub(crate) fn both<T: Send>(&self, work: impl Fn(Side) -> T + Sync) -> (T, T) {
        thread::scope(|scope| {
            let kernel = scope.spawn(|| work(Side::Kernel));
            let ours = work(Side::Ours);
            (kernel.join().unwrap(), ours)
        })
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
        let _ = fs::remove_dir_all(&self.dir);
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
