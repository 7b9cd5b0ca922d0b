//! What others see of the ruleset, and the file that the last commit is kept in.
//!
//! # Overview
//!
//! [`Kept`] stands before the nf_tables subsystem and puts a snapshot into [`View`] after each change, which costs nothing: a
//! snapshot shares all with the state. The [`Saver`]'s thread is rung at each commit, waits until commits cease for a
//! moment (or for a second), and writes the snapshot to its file: whole or not at all, by renaming.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use nfnetlink::{Client, Dump, Events, Message, Reply, Result, Subsystem};
use parking_lot::Mutex;
use ruleset::model::State;
use ruleset::nft::NfTables;
use ruleset::nft::image::{self, ImageError};

use crate::api::model::RuleCounts;

/// Commits that follow each other this closely are written once.
const QUIET: Duration = Duration::from_millis(200);
/// Under a stream of commits the file is written this often.
const LATEST: Duration = Duration::from_secs(1);

/// The ruleset as it was committed last.
pub(in crate::daemon) struct View(Mutex<State>);

impl View {
    pub(super) fn new(state: &State) -> Self {
        Self(Mutex::new(state.clone()))
    }

    /// A snapshot.
    pub(in crate::daemon) fn state(&self) -> State {
        self.0.lock().clone()
    }

    /// As bytes, `now` nanoseconds after the start.
    pub(in crate::daemon) fn image(&self, now: u64) -> Vec<u8> {
        image::write(&self.state(), now)
    }

    /// How much there is.
    pub(in crate::daemon) fn counts(&self) -> RuleCounts {
        let state = self.state();
        RuleCounts {
            generation: u64::from(state.generation.0),
            tables: state.tables.len() as u64,
            chains: state.chains.iter().count() as u64,
            rules: state.chains.iter().map(|(_, chain)| chain.rules.len() as u64).sum(),
            sets: state.sets.iter().count() as u64,
            elements: state.sets.iter().map(|(_, set)| set.len() as u64).sum(),
            objects: state.objects.iter().count() as u64,
            flowtables: state.flowtables.iter().count() as u64,
            ..RuleCounts::default()
        }
    }
}

/// A ruleset that is to be put in the place of this one, and whoever wants to know what came of it.
pub(in crate::daemon) struct Replace {
    /// Its image.
    pub(in crate::daemon) image: Vec<u8>,
    /// Hears what came of it.
    pub(in crate::daemon) done: Sender<std::result::Result<(), ImageError>>,
}

/// nf_tables, whose changes are seen by others.
pub(super) struct Kept {
    rules: NfTables,
    view: Arc<View>,
    /// Rung at each commit.
    bells: Vec<Sender<()>>,
    /// Rulesets to be loaded, looked at when the server is woken.
    replace: Receiver<Replace>,
}

impl Kept {
    pub(super) fn new(
        rules: NfTables,
        view: Arc<View>,
        bells: Vec<Sender<()>>,
        replace: Receiver<Replace>,
    ) -> Self {
        Self { rules, view, bells, replace }
    }

    fn changed(&self) {
        let old = std::mem::replace(&mut *self.view.0.lock(), self.rules.state().clone());
        // Freeing what nobody else has may take a while: not under the lock.
        drop(old);
        for bell in &self.bells {
            // Full: it has been rung and not been heard yet.
            let _ = bell.try_send(());
        }
    }
}

impl Subsystem for Kept {
    fn id(&self) -> u8 {
        self.rules.id()
    }

    fn generation(&self) -> u32 {
        self.rules.generation()
    }

    fn is_dump(&self, message: &Message<'_>) -> bool {
        self.rules.is_dump(message)
    }

    fn request(
        &mut self,
        message: &Message<'_>,
        reply: &mut Reply<'_>,
        events: &mut Events,
    ) -> Result<()> {
        self.rules.request(message, reply, events)
    }

    fn dump(&mut self, message: &Message<'_>, client: Client) -> Result<Box<dyn Dump>> {
        self.rules.dump(message, client)
    }

    fn begin(&mut self, generation: Option<u32>, client: Client) -> Result<()> {
        self.rules.begin(generation, client)
    }

    fn apply(&mut self, message: &Message<'_>, client: Client, events: &mut Events) -> Result<()> {
        self.rules.apply(message, client, events)
    }

    fn commit(&mut self, client: Client, events: &mut Events) -> Result<()> {
        let before = self.rules.generation();
        self.rules.commit(client, events)?;
        if self.rules.generation() != before {
            self.changed();
        }
        Ok(())
    }

    fn validate(&mut self, client: Client) -> Result<()> {
        self.rules.validate(client)
    }

    fn abort(&mut self) {
        self.rules.abort();
    }

    fn disconnected(&mut self, client: Client, events: &mut Events) {
        let before = self.rules.state().tables.len();
        self.rules.disconnected(client, events);
        if self.rules.state().tables.len() != before {
            self.changed();
        }
    }

    fn tick(&mut self, events: &mut Events) {
        while let Ok(Replace { image, done }) = self.replace.try_recv() {
            let replaced = image::replace(&mut self.rules, &image, events);
            if replaced.is_ok() {
                self.changed();
            }
            // Whoever asked may have lost patience.
            let _ = done.send(replaced);
        }
        self.rules.tick(events);
        // Elements may be over: nothing that is kept, but counted.
        let old = std::mem::replace(&mut *self.view.0.lock(), self.rules.state().clone());
        drop(old);
    }
}

/// The thread that keeps the last commit in a file. Dropping it writes what is not written yet, and ends it.
pub(super) struct Saver {
    bell: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Saver {
    /// Keeps what `view` shows in the file `path`.
    pub(super) fn spawn(
        path: &Path,
        view: Arc<View>,
        now: impl Fn() -> u64 + Send + 'static,
    ) -> io::Result<Self> {
        let (bell, rung) = bounded(1);
        let path = path.to_owned();
        let thread = std::thread::Builder::new().name("saver".into()).spawn(move || {
            while rung.recv().is_ok() {
                settle(&rung);
                if let Err(error) = write(&path, &image::write(&view.state(), now())) {
                    tracing::error!(file = %path.display(), %error, "the ruleset was not kept: a restart would begin with an older one");
                }
            }
        })?;
        Ok(Self { bell: Some(bell), thread: Some(thread) })
    }

    /// What tells it of a commit.
    pub(super) fn bell(&self) -> Sender<()> {
        self.bell.clone().unwrap_or_else(|| bounded(1).0)
    }
}

impl Drop for Saver {
    fn drop(&mut self) {
        self.bell = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that keeps the ruleset panicked");
        }
    }
}

/// Waits until commits cease, or long enough.
fn settle(rung: &Receiver<()>) {
    let begun = Instant::now();
    while let Some(left) = LATEST.checked_sub(begun.elapsed()) {
        match rung.recv_timeout(QUIET.min(left)) {
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Replaces a file: afterwards it holds all of `bytes`, or what it held before, whatever happens meanwhile.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder)?;
    let mut beside: PathBuf = path.to_owned();
    beside.as_mut_os_string().push(".new");
    // Rules may tell what is not for everybody.
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_kept_soon_and_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("var/ruleset.nfnl");
        let view = Arc::new(View::new(&State::default()));
        let saver = Saver::spawn(&path, view, || 0).unwrap();
        let bell = saver.bell();
        assert!(!path.exists());
        bell.send(()).unwrap();
        let begun = Instant::now();
        while !path.exists() {
            assert!(begun.elapsed() < Duration::from_secs(5));
            std::thread::sleep(Duration::from_millis(5));
        }
        fs::remove_file(&path).unwrap();
        bell.send(()).unwrap();
        drop(bell);
        drop(saver);
        assert!(path.exists() && fs::read_dir(path.parent().unwrap()).unwrap().count() == 1);
    }
}
