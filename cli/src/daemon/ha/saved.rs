//! What a node must not forget: its epoch and terms, in a small file.
//!
//! # Overview
//!
//! ```text
//! twinwall ha state 1
//! epoch 123
//! group 0 reserved 5
//! ```
//! The file is replaced as a whole, and on disk before anybody counts on it. [`Saving`] does that on a thread of its own: the sync
//! thread may not wait for a disk. It asks, and asks again, until the answer is yes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam::channel::{Sender, bounded};
use parking_lot::Mutex;
use sync::hands::Saved;
use sync::ids::{Epoch, Group, Term};

const TITLE: &str = "twinwall ha state 1";

/// Why the file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum SavedError {
    /// It is there and cannot be read, or cannot be written.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is something else.
    #[error(
        "it is no state that twinwall has written; if it is lost, move it away on this node while another is active"
    )]
    Other,
}

/// Reads the file. Nothing is saved yet: zeros.
pub(super) fn read(path: &Path, group: Group) -> Result<Saved, SavedError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Saved::default()),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(SavedError::Other),
        Err(error) => return Err(error.into()),
    };
    parse(&text, group).ok_or(SavedError::Other)
}

fn parse(text: &str, group: Group) -> Option<Saved> {
    let mut lines = text.lines();
    if lines.next()? != TITLE {
        return None;
    }
    let epoch = Epoch(lines.next()?.strip_prefix("epoch ")?.parse().ok()?);
    let mut saved = Saved { epoch, reserved: Term(0) };
    for line in lines {
        let (of, reserved) = line.strip_prefix("group ")?.split_once(" reserved ")?;
        let (of, reserved) = (Group(of.parse().ok()?), Term(reserved.parse().ok()?));
        // A node that changed its group begins without terms there.
        if of == group {
            saved.reserved = reserved;
        }
    }
    Some(saved)
}

/// Replaces the file; afterwards it is on disk.
pub(super) fn write(path: &Path, group: Group, saved: Saved) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder)?;
    let mut beside: PathBuf = path.to_owned();
    beside.as_mut_os_string().push(".new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    let Saved { epoch, reserved } = saved;
    write!(file, "{TITLE}\nepoch {}\ngroup {} reserved {}\n", epoch.0, group.0, reserved.0)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(folder)?.sync_all()
}

/// The thread that writes. Dropping it ends it, when it has written what was asked for last.
pub(super) struct Saving {
    /// What is on disk. Written by the thread.
    done: Arc<Mutex<Saved>>,
    asked: Option<Saved>,
    ask: Option<Sender<Saved>>,
    thread: Option<JoinHandle<()>>,
}

impl Saving {
    /// Writes to the file at `path`, in which there is `saved`. `bell` is rung when something is on disk.
    pub(super) fn spawn(
        path: PathBuf,
        group: Group,
        saved: Saved,
        bell: impl Fn() + Send + 'static,
    ) -> io::Result<Self> {
        let done = Arc::new(Mutex::new(saved));
        let (ask, asked) = bounded::<Saved>(16);
        let thread = std::thread::Builder::new().name("ha-state".into()).spawn({
            let done = done.clone();
            move || {
                while let Ok(mut wanted) = asked.recv() {
                    // Only the newest counts.
                    while let Ok(newer) = asked.try_recv() {
                        wanted = newer;
                    }
                    match write(&path, group, wanted) {
                        Ok(()) => *done.lock() = wanted,
                        Err(error) => {
                            tracing::error!(file = %path.display(), %error, "the term was not saved");
                        }
                    }
                    bell();
                }
            }
        })?;
        Ok(Self { done, asked: None, ask: Some(ask), thread: Some(thread) })
    }

    /// Whether this is on disk; if not, it will be soon. Asked again after a failure, it is tried again.
    pub(super) fn save(&mut self, saved: Saved) -> bool {
        if *self.done.lock() == saved {
            self.asked = None;
            return true;
        }
        // The queue is short: a full one means that the disk is slow, and whoever asks will ask again.
        let again = self.asked == Some(saved);
        let idle = self.ask.as_ref().is_some_and(Sender::is_empty);
        if (!again || idle)
            && let Some(ask) = &self.ask
            && ask.try_send(saved).is_ok()
        {
            self.asked = Some(saved);
        }
        false
    }
}

impl Drop for Saving {
    fn drop(&mut self) {
        self.ask = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that saves terms panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    const GROUP: Group = Group(3);

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("var/lib/ha.state");
        assert_eq!(read(&path, GROUP).unwrap(), Saved::default(), "nothing yet");
        let saved = Saved { epoch: Epoch(u64::MAX), reserved: Term(7) };
        write(&path, GROUP, saved).unwrap();
        assert_eq!(read(&path, GROUP).unwrap(), saved);
        let other = Saved { reserved: Term(0), ..saved };
        assert_eq!(read(&path, Group(4)).unwrap(), other, "terms are a group's");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn half_a_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let whole = format!("{TITLE}\nepoch 12\ngroup 3 reserved 4\n");
        for text in [
            "",
            &whole[..10],
            "twinwall ha state 2\nepoch 1\n",
            &whole.replace("12", "x"),
            &whole.replace("reserved", "r"),
            "\u{0}\u{0}",
        ] {
            fs::write(&path, text).unwrap();
            assert!(matches!(read(&path, GROUP), Err(SavedError::Other)), "{text:?}");
        }
        fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(matches!(read(&path, GROUP), Err(SavedError::Other)));
    }

    #[test]
    fn saving_answers_when_it_is_on_disk_and_tries_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        // A folder of that name: writing fails.
        fs::create_dir(&path).unwrap();
        let begun = Saved { epoch: Epoch(1), reserved: Term(1) };
        let (rung, bell) = crossbeam::channel::unbounded();
        let ring = move || rung.send(()).unwrap();
        let mut saving = Saving::spawn(path.clone(), GROUP, begun, ring).unwrap();
        assert!(saving.save(begun));
        let next = Saved { reserved: Term(2), ..begun };
        assert!(!saving.save(next));
        bell.recv_timeout(Duration::from_secs(5)).unwrap();
        assert!(!saving.save(next), "it could not be written");
        fs::remove_dir(&path).unwrap();
        let since = Instant::now();
        while !saving.save(next) {
            assert!(since.elapsed() < Duration::from_secs(5));
            std::thread::sleep(Duration::from_millis(1));
        }
        drop(saving);
        assert_eq!(read(&path, GROUP).unwrap(), next);
    }
}
