//! Rules: the nfnetlink server that tools talk to, and what goes on around it.
//!
//! # Overview
//!
//! ```text
//! nft, iptables-nft --socket--> nfnetlink thread --Program--> `Control` --> workers
//!                                    | State                                   | notes
//!                                    v                                         v
//!                     view (API), saver thread                      teller thread --> log, nft monitor trace
//! ```
//!
//! # Life cycle
//!
//! [`Socket::bind`] before DPDK starts, so that a second daemon is refused early; [`Rules::start`] once the twins are there, so that
//! rules can name them, and before the workers run: the rules of the configuration are loaded first, and no packet is
//! forwarded without them. [`Rules::stop`] before anything else stops.
//!
//! # Who may touch what
//!
//! The ruleset belongs to the nfnetlink thread. Others see the snapshot in [`View`], which is replaced at each commit.

mod keep;
mod load;
mod tell;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use conntrack::netlink::{Epoch, EventTeller};
use crossbeam::channel::{Receiver, Sender, bounded};
use dataplane::notes::Note;
use nfnetlink::server::Stats;
use nfnetlink::{Server, ServerConfig, Waker};
use ruleset::family::Family;
use ruleset::nft::{Host, NfTables, NftCompat, image};

use crate::config::{self, Loaded};

use super::control::Control;
use super::error::DaemonError;
use super::flows::{Flows, Keeper};

use keep::{Kept, Saver};
pub(super) use keep::{Replace, View};
pub(super) use load::LoadError;
use tell::Teller;

/// The bound socket; nobody is answered yet.
pub(super) struct Socket(Server);

impl Socket {
    /// Binds the socket of the configuration.
    ///
    /// # Errors
    ///
    /// When a server answers there, when something else is there, when the system refuses.
    pub(super) fn bind(loaded: &Loaded) -> Result<Self, DaemonError> {
        let config = ServerConfig { group: loaded.resolved.group, ..ServerConfig::default() };
        let path = loaded.config.nfnetlink.socket.get_ref();
        Server::bind(path, config).map(Self).map_err(DaemonError::Nfnetlink)
    }
}

/// The running server and its helpers.
pub(super) struct Rules {
    /// What the API shows.
    pub(super) view: Arc<View>,
    /// What the server counted.
    pub(super) stats: Arc<Stats>,
    /// Rung at each commit.
    commits: Receiver<()>,
    replace: Sender<Replace>,
    path: PathBuf,
    stop: Arc<AtomicBool>,
    waker: Waker,
    thread: Option<JoinHandle<std::io::Result<()>>>,
    _teller: Teller,
    _keeper: Keeper,
    _saver: Option<Saver>,
}

impl Rules {
    /// Answers on `socket` from now on, and loads the rules of the configuration. `origin` is the workers' tick 0.
    ///
    /// # Errors
    ///
    /// When a thread cannot start, when the configured rules cannot be had.
    pub(super) fn start(
        Socket(mut server): Socket,
        loaded: &Loaded,
        control: &Arc<Control>,
        flows: &Arc<Flows>,
        notes: Vec<Receiver<Note>>,
        origin: Instant,
    ) -> Result<Self, DaemonError> {
        let now = move || u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let mut rules = NfTables::new(Host {
            workers: loaded.resolved.cores.len(),
            now: Box::new(now),
            publish: Box::new({
                let control = control.clone();
                move |program| control.run_program(&program)
            }),
        });
        let file = match &loaded.config.rules {
            config::Rules::Last(path) => Some(path.get_ref().as_path()),
            _ => None,
        };
        if let Some(path) = file {
            restore(&mut rules, path)?;
        }
        if loaded.config.conntrack.tracking == config::Tracking::Always {
            rules.track(Family::Inet);
        }
        let view = Arc::new(View::new(rules.state()));
        let system = super::engine::system;
        let saver = file
            .map(|path| Saver::spawn(path, view.clone(), now))
            .transpose()
            .map_err(system("start the thread that keeps the ruleset"))?;
        let (committed, commits) = bounded(1);
        let (replace, to_replace) = bounded(1);
        let bells = saver.as_ref().map(Saver::bell).into_iter().chain([committed]).collect();
        server.register(Box::new(Kept::new(rules, view.clone(), bells, to_replace)));
        server.register(Box::new(NftCompat));
        let epoch = epoch(origin);
        flows.register(&mut server, epoch);
        let (stats, publisher) = (server.stats(), server.publisher());
        let path = server.path().to_owned();
        let waker = publisher.waker().clone();
        let keeper = Keeper::spawn(flows.clone(), EventTeller::new(publisher.clone(), epoch))
            .map_err(system("start the thread that tells of flows"))?;
        let teller = Teller::spawn(notes, control.clone(), publisher)
            .map_err(system("start the thread that tells of packets"))?;
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new().name("nfnetlink".into()).spawn({
            let stop = stop.clone();
            move || server.run(&stop)
        });
        let thread = thread.map_err(system("start the netlink server"))?;
        let thread = Some(thread);
        let rules = Self {
            view,
            stats,
            commits,
            replace,
            path,
            stop,
            waker,
            thread,
            _teller: teller,
            _keeper: keeper,
            _saver: saver,
        };
        if let config::Rules::File(file) = &loaded.config.rules {
            rules.load(file.get_ref())?;
        }
        Ok(rules)
    }

    /// What other nodes have to do with the ruleset: what it is, when it changes, and another in its place.
    pub(super) fn shared(&self) -> SharedRules {
        SharedRules {
            view: self.view.clone(),
            commits: self.commits.clone(),
            replace: self.replace.clone(),
            waker: self.waker.clone(),
        }
    }

    /// Has nft load a file, as a transaction.
    ///
    /// # Errors
    ///
    /// When nft cannot be run or refuses the file; then nothing has changed.
    pub(super) fn load(&self, file: &Path) -> Result<(), LoadError> {
        load::load(file, &self.path, &self.stats)?;
        let counts = self.view.counts();
        tracing::info!(file = %file.display(), rules = counts.rules, sets = counts.sets, "ruleset loaded");
        Ok(())
    }
}

/// The ruleset as other threads reach it.
#[derive(Clone)]
pub(super) struct SharedRules {
    /// A snapshot.
    pub(super) view: Arc<View>,
    /// Rung at each commit; for one to hear.
    pub(super) commits: Receiver<()>,
    replace: Sender<Replace>,
    waker: Waker,
}

impl SharedRules {
    /// Puts another ruleset in the place of this one, in one transaction.
    ///
    /// # Errors
    ///
    /// It is refused, or nobody answers; then nothing has changed.
    pub(super) fn replace(&self, image: Vec<u8>) -> Result<(), String> {
        let (done, answered) = bounded(1);
        let asked = self.replace.send_timeout(Replace { image, done }, REPLACE);
        asked.map_err(|_| "the netlink server does not answer".to_owned())?;
        self.waker.wake();
        match answered.recv_timeout(REPLACE) {
            Ok(replaced) => replaced.map_err(|error| error.to_string()),
            Err(_) => Err("the netlink server does not answer".to_owned()),
        }
    }
}

/// How long another ruleset may take to be loaded.
const REPLACE: Duration = Duration::from_secs(60);

impl Drop for Rules {
    /// Stops answering: a client in the middle of something is cut off, the ruleset stays as it was committed last.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.waker.wake();
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(Err(error))) => tracing::error!(%error, "the netlink server ended"),
            Some(Err(_)) => tracing::error!("the netlink server panicked"),
            _ => {}
        }
    }
}

/// What the time of day was at the workers' tick 0.
fn epoch(origin: Instant) -> Epoch {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let at_origin = now.saturating_sub(origin.elapsed()).as_nanos();
    Epoch(u64::try_from(at_origin).unwrap_or(0))
}

/// Takes the ruleset from where it was kept. No file: there has been no commit yet.
fn restore(rules: &mut NfTables, path: &Path) -> Result<(), DaemonError> {
    let failed = |why: String| DaemonError::Restore { path: path.to_owned(), why };
    match std::fs::read(path) {
        Ok(bytes) => {
            image::restore(rules, &bytes).map_err(|error| failed(error.to_string()))?;
            tracing::info!(file = %path.display(), "ruleset restored");
            Ok(())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            tracing::info!(file = %path.display(), "no ruleset was kept yet: beginning without rules");
            Ok(())
        }
        Err(error) => Err(failed(error.to_string())),
    }
}
