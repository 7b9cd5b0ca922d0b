//! A server with the toy subsystem on a thread, and programs with the preload library.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use nfnetlink::server::Stats;
use nfnetlink::{Publisher, Server, ServerConfig};

use super::toy::Toy;

/// A server on a thread; ends with it.
pub struct Running {
    pub folder: tempfile::TempDir,
    pub publisher: Publisher,
    pub stats: Arc<Stats>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    pub fn start() -> Self {
        Self::with(ServerConfig { max_request: 64 << 20, ..ServerConfig::default() })
    }

    pub fn with(config: ServerConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut server = Server::bind(&folder.path().join("nfnl.sock"), config).unwrap();
        server.register(Box::new(Toy::new()));
        let (publisher, stats) = (server.publisher(), server.stats());
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || server.run(&stop).unwrap()
        });
        Self { folder, publisher, stats, stop, thread: Some(thread) }
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("nfnl.sock")
    }

    pub fn command(&self, program: &str) -> Command {
        preloaded(program, &self.socket())
    }

    pub fn client(&self, name: &str) -> Command {
        let mut command = self.command("python3");
        command.arg(scripts().join("clients.py")).arg(name);
        command
    }

    /// Runs a function of clients.py, which must succeed.
    pub fn run(&self, name: &str) -> String {
        succeed(&mut self.client(name))
    }

    pub fn stop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.publisher.waker().wake();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

pub fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python")
}

/// The library, which cargo builds beside the tests.
pub fn library() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join("libtwinwall_nfnl.so"))
        .find(|path| path.exists())
        .expect("libtwinwall_nfnl.so is built with the tests")
}

pub fn preloaded(program: &str, socket: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("LD_PRELOAD", library()).env("TWINWALL_NFNL", socket);
    command
}

pub fn succeed(command: &mut Command) -> String {
    let output: Output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Whether a program is installed; says so where a test has to be skipped for the lack of it.
pub fn available(program: &str) -> bool {
    let found = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|folder| folder.join(program).exists())
    });
    if !found {
        eprintln!("SKIPPED: {program} is not installed");
    }
    found
}
