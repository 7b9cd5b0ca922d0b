//! What the active node says beside flows, and what the others make of it: a [`Topic`] each.
//!
//! # Overview
//!
//! ```text
//! active:  `tell` --record--> Mouth --bounded channel--> sync thread --DATA of lane 0, behind flows-->
//! others:  sync thread --DaemonGround--> Speaker's channel --> `hear`
//! ```
//!
//! What a datagram carried that got lost is said again by the lane. What no lane repairs, for those who come late or had to give up, is
//! said because all is said again: at a takeover, whenever a node asks for all flows, and by a topic's own habit. So a channel that is full
//! may lose what others said; whoever says too much waits until flows leave room for it.
//!
//! # Who may touch what
//!
//! Each topic has a thread of its own: it may wait for the kernel, or for the link.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded, select};
use sync::ids::Term;
use sync::records::Role;
use sync::standing::Standing;

use super::bell::Bell;

/// Records that wait for the sync thread at most.
const WAITING: usize = 1024;
/// Records of others that wait for a topic at most.
const HEARD: usize = 16_384;

/// A kind of thing that nodes tell each other of.
pub(super) trait Topic: Send + 'static {
    /// Of its thread.
    const NAME: &'static str;
    /// Between looks at what is new.
    const EVERY: Duration;

    /// Says what others may not know; `all`: nothing counts as said.
    ///
    /// # Errors
    ///
    /// The sync thread is gone, and so is this soon.
    fn tell(&mut self, all: bool, mouth: &Mouth) -> Result<(), Silenced>;

    /// Takes in what the active node said.
    fn hear(&mut self, records: &[Vec<u8>]);
}

/// Nobody listens any more.
pub(super) struct Silenced;

/// Where topics say their records.
#[derive(Clone)]
pub(super) struct Mouth {
    records: Sender<Vec<u8>>,
    bell: Arc<Bell>,
    standing: Arc<Standing>,
    wishes: Arc<Wishes>,
}

/// How often nodes asked for all that there is. The sync thread counts.
#[derive(Debug, Default)]
pub(super) struct Wishes(AtomicU64);

impl Wishes {
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Mouth {
    /// And what the sync thread takes from: records, of which it says each as it is.
    pub(super) fn new(
        bell: Arc<Bell>,
        standing: Arc<Standing>,
        wishes: Arc<Wishes>,
    ) -> (Self, Receiver<Vec<u8>>) {
        let (records, said) = bounded(WAITING);
        (Self { records, bell, standing, wishes }, said)
    }

    /// Says a record, once there is room.
    ///
    /// # Errors
    ///
    /// See [`Topic::tell`].
    pub(super) fn say(&self, record: Vec<u8>) -> Result<(), Silenced> {
        match self.records.try_send(record) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(record)) => {
                self.bell.ring();
                self.records.send(record).map_err(|_| Silenced)
            }
            Err(TrySendError::Disconnected(_)) => Err(Silenced),
        }
    }

    /// What there is to tell for: after another of these all is to be said. `None`: this node is not active.
    fn occasion(&self) -> Option<(Term, u64)> {
        let is_owner = matches!(self.standing.role(), Role::Active | Role::Held);
        is_owner.then(|| (self.standing.term().0, self.wishes.0.load(Ordering::Relaxed)))
    }
}

/// A topic's thread. Dropping it ends it.
pub(super) struct Speaker {
    /// For records of this topic that another node said.
    pub(super) heard: Sender<Vec<u8>>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    name: &'static str,
}

impl Speaker {
    pub(super) fn spawn<T: Topic>(topic: T, mouth: Mouth) -> std::io::Result<Self> {
        let (heard, to_hear) = bounded(HEARD);
        let (stop, stopped) = bounded(0);
        let run = move || run(topic, &mouth, &to_hear, &stopped);
        let thread = std::thread::Builder::new().name(T::NAME.into()).spawn(run)?;
        Ok(Self { heard, stop: Some(stop), thread: Some(thread), name: T::NAME })
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread {} panicked", self.name);
        }
    }
}

fn run<T: Topic>(mut topic: T, mouth: &Mouth, heard: &Receiver<Vec<u8>>, stopped: &Receiver<()>) {
    let mut last = None;
    loop {
        select! {
            recv(stopped) -> _ => return,
            recv(heard) -> record => {
                // The sync thread is gone, or about to.
                let Ok(record) = record else { return };
                let records: Vec<_> =
                    std::iter::once(record).chain(heard.try_iter()).take(HEARD).collect();
                topic.hear(&records);
                continue;
            }
            default(T::EVERY) => {}
        }
        let occasion = mouth.occasion();
        if occasion.is_some() {
            if topic.tell(occasion != last, mouth).is_err() {
                return;
            }
            if !mouth.records.is_empty() {
                mouth.bell.ring();
            }
        }
        last = occasion;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says one record in the first round, another whenever all is to be said, and writes down what it hears.
    struct Parrot(Sender<Vec<Vec<u8>>>, u8);

    impl Topic for Parrot {
        const NAME: &'static str = "parrot";
        const EVERY: Duration = Duration::from_millis(1);

        fn tell(&mut self, all: bool, mouth: &Mouth) -> Result<(), Silenced> {
            if all {
                self.1 += 1;
                mouth.say(vec![self.1])?;
            }
            Ok(())
        }

        fn hear(&mut self, records: &[Vec<u8>]) {
            let _ = self.0.send(records.to_vec());
        }
    }

    const SOON: Duration = Duration::from_secs(20);

    #[test]
    fn all_is_said_at_each_takeover_and_whenever_somebody_asks() {
        let (standing, wishes) =
            (Arc::new(Standing::new(Role::Standby)), Arc::new(Wishes::default()));
        let bell = Arc::new(Bell::new().unwrap());
        let (mouth, said) = Mouth::new(bell, standing.clone(), wishes.clone());
        let (to, heard) = bounded(1);
        let speaker = Speaker::spawn(Parrot(to, 0), mouth).unwrap();
        speaker.heard.send(vec![7]).unwrap();
        assert_eq!(heard.recv_timeout(SOON).unwrap(), [[7]]);
        assert!(said.recv_timeout(Duration::from_millis(20)).is_err(), "it stands by");
        let next = || said.recv_timeout(SOON).unwrap();
        standing.set(Role::Active, Term(1), None);
        assert_eq!(next(), [1]);
        wishes.add();
        assert_eq!(next(), [2]);
        assert!(said.recv_timeout(Duration::from_millis(20)).is_err(), "nobody asked again");
        standing.set(Role::Standby, Term(2), None);
        standing.set(Role::Active, Term(3), None);
        assert_eq!(next(), [3]);
        drop(speaker);
    }

    #[test]
    fn who_says_too_much_waits_and_who_says_it_to_nobody_does_not() {
        let bell = Arc::new(Bell::new().unwrap());
        let standing = Arc::new(Standing::new(Role::Active));
        let (mouth, said) = Mouth::new(bell, standing, Arc::default());
        let talking = std::thread::spawn(move || {
            let mut said = 0_u32;
            while mouth.say(said.to_le_bytes().to_vec()).is_ok() {
                said += 1;
            }
            said
        });
        for n in 0..2 * WAITING as u32 {
            assert_eq!(said.recv_timeout(SOON).unwrap(), n.to_le_bytes());
        }
        drop(said);
        assert!(talking.join().unwrap() >= 2 * WAITING as u32, "and then it was told");
    }
}
