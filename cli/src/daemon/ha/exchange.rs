//! What one node fetches of another: its ruleset, and what it sees of flows. Each says what its ruleset is.
//!
//! # Overview
//!
//! A thread hears of commits and tells the node the ruleset's fingerprint. `twinwall ha pull-ruleset` fetches an image over the sync links:
//! sealed as everything there, it needs no other door. The fetching node asks for ranges of parts, again and again until it has
//! them all (GET); the other one sends what it was asked for (PART) of the image that it took at the first question. So nothing is
//! kept for a node that goes away, and lost datagrams are asked for again. What arrives is checked against its hash and loaded in one
//! transaction. `twinwall ha verify` on a passive node fetches sums of flows in the same way (SEEN; `seen`).
//!
//! ```text
//! GET   1  to 1  id 4  first part 4  parts 2
//! PART  2  to 1  id 4  bytes in all 4  hash 8  part 4  its bytes
//! NONE  3  to 1  id 4                                    the image is too large
//! SEEN  4  to 1  id 4  first part 4  parts 2  the asker's addresses
//! ```
//!
//! # Who may touch what
//!
//! The thread has the images. [`Exchange`] is shared: the sync thread hands in what came, an API thread waits for it.

use std::collections::VecDeque;
use std::hash::Hasher;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded, select};
use parking_lot::Mutex;
use siphasher::sip::SipHasher13;
use sync::ids::NodeId;
use sync::node::Command;
use sync::wire::CONTROL;

use super::super::rules::SharedRules;
use super::Handle;
use super::fingerprint::fingerprint;
use super::seen::{self, Eyes};
use super::thread::Ask;
use crate::api::ha::HaVerify;

const GET: u8 = 1;
const PART: u8 = 2;
const NONE: u8 = 3;
const SEEN: u8 = 4;
/// Bytes of a question before what its kind adds.
const QUESTION: usize = 1 + 1 + 4 + 4 + 2;
/// Bytes before a part's own.
const PART_HEAD: usize = 1 + 1 + 4 + 4 + 8 + 4;
const PART_BYTES: usize = CONTROL - PART_HEAD;
/// Parts that are asked for at once.
const RANGE: u32 = 128;
/// The largest image.
const LARGEST: usize = 64 << 20;
/// Images that are kept for nodes that fetch them, and for how long after the last question.
const KEPT: usize = 4;
const KEEP: Duration = Duration::from_secs(30);
/// How long to wait for parts before the rest is asked for again. Walking over a large table takes longer.
const AGAIN: Duration = Duration::from_millis(50);
const AGAIN_SEEN: Duration = Duration::from_millis(250);
/// How long fetching may take without any progress.
const PATIENCE: Duration = Duration::from_secs(3);
const PATIENCE_SEEN: Duration = Duration::from_secs(10);
/// Between two looks at flows: what changes is on its way between nodes for less.
const GAP: Duration = Duration::from_millis(500);
/// Commits that follow each other this closely are looked at once.
const QUIET: Duration = Duration::from_millis(20);

/// Whoever waits for parts: of whom, of which question.
type Mailbox = Option<(NodeId, u32, Sender<Vec<u8>>)>;

/// What threads share.
pub(super) struct Exchange {
    own: NodeId,
    mail: Mutex<Mailbox>,
    questions: Sender<(NodeId, Vec<u8>)>,
    rules: SharedRules,
    eyes: Eyes,
}

fn hash(bytes: &[u8]) -> u64 {
    // Not against forgers, who have no key: against mistakes.
    let mut hasher = SipHasher13::new_with_keys(0, 0);
    hasher.write(bytes);
    hasher.finish()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

impl Exchange {
    /// A node's datagram came.
    pub(super) fn control(&self, from: NodeId, payload: Vec<u8>) {
        let [kind, to, ..] = payload[..] else { return };
        if to != self.own.get() {
            return;
        }
        if matches!(kind, GET | SEEN) {
            // Too many questions: they are asked again.
            let _ = self.questions.try_send((from, payload));
        } else if let Some((of, id, mail)) = &*self.mail.lock()
            && *of == from
            && u32_at(&payload, 2) == Some(*id)
        {
            let _ = mail.try_send(payload);
        }
    }

    /// Fetches an image of a node's.
    fn fetch(&self, handle: &Handle, from: NodeId, what: What) -> Result<Vec<u8>, String> {
        let (to, mail) = bounded(2 * RANGE as usize);
        let id = fastrand::u32(..);
        {
            let mut place = self.mail.lock();
            if place.is_some() {
                return Err("something else is being fetched from another node".into());
            }
            *place = Some((from, id, to));
        }
        let fetched = Fetching { from, id, what, handle, mail }.fetch();
        *self.mail.lock() = None;
        fetched
    }

    /// Fetches a node's ruleset and loads it, and says what was done.
    ///
    /// # Errors
    ///
    /// For people; then nothing has changed.
    pub(super) fn pull(&self, handle: &Handle, from: NodeId) -> Result<String, String> {
        let image = self.fetch(handle, from, What::Ruleset)?;
        let bytes = image.len();
        self.rules
            .replace(image)
            .map_err(|why| format!("node {from}'s ruleset was not loaded: {why}"))?;
        Ok(format!("the ruleset of node {from} was loaded ({bytes} bytes)"))
    }

    /// Compares what this node, which only watches, sees with what the owner has.
    ///
    /// # Errors
    ///
    /// For people: nothing could be compared.
    pub(super) fn verify(&self, handle: &Handle, owner: NodeId) -> Result<HaVerify, String> {
        let look = || {
            let image = self.fetch(handle, owner, What::Seen(self.eyes.question()))?;
            self.eyes.beside(&image).map_err(|why| format!("comparing with node {owner}: {why}"))
        };
        let first = look()?;
        std::thread::sleep(GAP);
        let found = seen::compare(&first, &look()?);
        if found.compared == 0 {
            return Err(
                "flows changed in every part of the tables: nothing could be compared".into()
            );
        }
        Ok(found)
    }
}

/// What is fetched.
enum What {
    Ruleset,
    /// By a node with these addresses.
    Seen(Vec<u8>),
}

/// One fetching.
struct Fetching<'a> {
    from: NodeId,
    id: u32,
    what: What,
    handle: &'a Handle,
    mail: Receiver<Vec<u8>>,
}

/// What came so far.
struct Parts {
    total: usize,
    hash: u64,
    bytes: Vec<u8>,
    there: Vec<bool>,
    missing: usize,
}

impl Fetching<'_> {
    fn ask(&self, first: u32, count: u32) -> Result<(), String> {
        let (kind, more) = match &self.what {
            What::Ruleset => (GET, &[][..]),
            What::Seen(own) => (SEEN, &own[..]),
        };
        let mut question = vec![kind, self.from.get()];
        question.extend(self.id.to_le_bytes());
        question.extend(first.to_le_bytes());
        question.extend((count.min(RANGE) as u16).to_le_bytes());
        question.extend(more);
        self.handle.send(Ask::Say(question)).map_err(|error| error.to_string())
    }

    fn fetch(&self) -> Result<Vec<u8>, String> {
        let (until, patience) = match self.what {
            What::Ruleset => (AGAIN, PATIENCE),
            What::Seen(_) => (AGAIN_SEEN, PATIENCE_SEEN),
        };
        let mut parts: Option<Parts> = None;
        let mut progress = Instant::now();
        loop {
            let first = parts.as_ref().map_or(Some(0), |parts| {
                parts.there.iter().position(|there| !there).and_then(|n| u32::try_from(n).ok())
            });
            let Some(first) = first else { break };
            self.ask(first, RANGE)?;
            let round = parts.as_ref().map_or(0, |parts| parts.missing);
            loop {
                match self.mail.recv_timeout(until) {
                    Ok(payload) if payload.first() == Some(&NONE) => {
                        return Err(format!("what node {} has is too large", self.from));
                    }
                    Ok(payload) => {
                        if take(&mut parts, &payload).is_some() {
                            progress = Instant::now();
                        }
                    }
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => {
                        return Err("fetching was ended".into());
                    }
                }
                let missing = parts.as_ref().map_or(usize::MAX, |parts| parts.missing);
                if missing == 0 || round.saturating_sub(missing) >= RANGE as usize {
                    break;
                }
            }
            if progress.elapsed() > patience {
                return Err(match self.what {
                    What::Ruleset => format!("node {} does not answer", self.from),
                    What::Seen(_) => format!(
                        "node {} does not say what it has; an older version does not know how",
                        self.from
                    ),
                });
            }
        }
        match parts {
            Some(parts) if hash(&parts.bytes) == parts.hash => Ok(parts.bytes),
            _ => Err(format!("what node {} sent is damaged", self.from)),
        }
    }
}

/// Takes a part; `None`: it is none, or was there.
fn take(parts: &mut Option<Parts>, payload: &[u8]) -> Option<()> {
    if payload.first() != Some(&PART) {
        return None;
    }
    let total = u32_at(payload, 6)? as usize;
    let hash = u64::from_le_bytes(*payload.get(10..)?.first_chunk()?);
    let part = u32_at(payload, 18)? as usize;
    let data = payload.get(PART_HEAD..)?;
    if total > LARGEST {
        return None;
    }
    let count = total.div_ceil(PART_BYTES);
    let parts = parts.get_or_insert_with(|| Parts {
        total,
        hash,
        bytes: vec![0; total],
        there: vec![false; count],
        missing: count,
    });
    let begin = part.checked_mul(PART_BYTES)?;
    let end = (begin + PART_BYTES).min(total);
    if (total, hash) != (parts.total, parts.hash) || data.len() != end.checked_sub(begin)? {
        return None;
    }
    let there = parts.there.get_mut(part)?;
    if std::mem::replace(there, true) {
        return None;
    }
    parts.bytes.get_mut(begin..end)?.copy_from_slice(data);
    parts.missing -= 1;
    Some(())
}

/// The parts that a question is for, as they are sent.
fn answer(to: NodeId, question: &[u8], image: &[u8], each: impl FnMut(Vec<u8>)) -> Option<()> {
    let id = u32_at(question, 2)?;
    let first = u32_at(question, 6)? as usize;
    let count = u16::from_le_bytes(*question.get(10..)?.first_chunk()?);
    let head = |kind| {
        let mut out = vec![kind, to.get()];
        out.extend(id.to_le_bytes());
        out
    };
    if image.len() > LARGEST {
        std::iter::once(head(NONE)).for_each(each);
        return Some(());
    }
    let (total, hash) = (u32::try_from(image.len()).ok()?, hash(image));
    let parts = image.chunks(PART_BYTES).zip(0u32..).skip(first);
    let parts = parts.take(usize::from(count).min(RANGE as usize)).map(|(bytes, part)| {
        let mut out = head(PART);
        out.extend(total.to_le_bytes());
        out.extend(hash.to_le_bytes());
        out.extend(part.to_le_bytes());
        out.extend(bytes);
        out
    });
    parts.for_each(each);
    Some(())
}

/// The thread. Dropping it ends it.
pub(super) struct RulesThread {
    pub(super) exchange: Arc<Exchange>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// An image that a node is fetching.
struct Served {
    to: NodeId,
    id: u32,
    asked: Instant,
    image: Vec<u8>,
}

impl RulesThread {
    /// Tells `handle`'s node of the ruleset. `origin`: the daemon's start.
    pub(super) fn spawn(
        own: NodeId,
        rules: SharedRules,
        eyes: Eyes,
        handle: Arc<Handle>,
        origin: Instant,
    ) -> std::io::Result<Self> {
        let (questions, asked) = bounded(64);
        let mail = Mutex::new(None);
        let (shared, own_eyes) = (rules.clone(), eyes.clone());
        let exchange = Arc::new(Exchange { own, mail, questions, rules: shared, eyes: own_eyes });
        let (stop, stopped) = bounded::<()>(0);
        let now = move || u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let run = move || {
            let mut served = VecDeque::<Served>::new();
            let tell = || {
                let print = fingerprint(&rules.view.image(now()));
                let (to, _) = bounded(1);
                // The sync thread ends before this one.
                let _ = handle.send(Ask::Command(Command::Ruleset(print), to));
            };
            tell();
            loop {
                select! {
                    recv(stopped) -> _ => return,
                    recv(rules.commits) -> rung => {
                        if rung.is_err() {
                            return;
                        }
                        while rules.commits.recv_timeout(QUIET).is_ok() {}
                        tell();
                    }
                    recv(asked) -> question => {
                        let Ok((to, question)) = question else { return };
                        let image = || match question.first() {
                            Some(&SEEN) => eyes.image(question.get(QUESTION..).unwrap_or_default()),
                            _ => rules.view.image(now()),
                        };
                        serve(&mut served, (to, &question), image, &handle);
                    }
                }
            }
        };
        let thread = std::thread::Builder::new().name("ha-rules".into()).spawn(run)?;
        Ok(Self { exchange, stop: Some(stop), thread: Some(thread) })
    }
}

fn serve(
    served: &mut VecDeque<Served>,
    (to, question): (NodeId, &[u8]),
    image: impl FnOnce() -> Vec<u8>,
    handle: &Handle,
) {
    let Some(id) = u32_at(question, 2) else { return };
    served.retain(|served| served.asked.elapsed() < KEEP);
    let place = served.iter().position(|served| served.to == to && served.id == id);
    let place = place.unwrap_or_else(|| {
        served.truncate(KEPT - 1);
        served.push_front(Served { to, id, asked: Instant::now(), image: image() });
        0
    });
    let Some(found) = served.get_mut(place) else { return };
    found.asked = Instant::now();
    answer(to, question, &found.image, |payload| {
        let _ = handle.send(Ask::Say(payload));
    });
}

impl Drop for RulesThread {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that tells other nodes of rules panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_arrives_whole_whatever_is_lost_or_comes_twice() {
        let (one, two) = (NodeId::new(1).unwrap(), NodeId::new(2).unwrap());
        for len in [1, PART_BYTES, PART_BYTES + 1, 40 * PART_BYTES - 1] {
            let image: Vec<u8> = (0..len).map(|n| (n * 7) as u8).collect();
            let (mut parts, mut rng) = (None, fastrand::Rng::with_seed(len as u64));
            let mut rounds = 0;
            while parts.as_ref().is_none_or(|parts: &Parts| parts.missing > 0) {
                rounds += 1;
                assert!(rounds < 200);
                let first = parts
                    .as_ref()
                    .map_or(0, |parts| parts.there.iter().position(|there| !there).unwrap() as u32);
                let mut question = vec![GET, two.get()];
                question.extend(9u32.to_le_bytes());
                question.extend(first.to_le_bytes());
                question.extend(8u16.to_le_bytes());
                answer(one, &question, &image, |payload| {
                    assert!(payload.len() <= CONTROL);
                    for _ in 0..rng.usize(0..3) {
                        take(&mut parts, &payload);
                    }
                })
                .unwrap();
            }
            let parts = parts.unwrap();
            assert_eq!((parts.bytes == image, hash(&parts.bytes)), (true, parts.hash), "{len}");
        }
    }

    #[test]
    fn nonsense_is_no_part() {
        let mut parts = None;
        let mut part = vec![PART, 1];
        part.extend(9u32.to_le_bytes());
        part.extend(u32::MAX.to_le_bytes());
        part.extend([0; 12]);
        assert!(take(&mut parts, &part).is_none() && parts.is_none(), "larger than allowed");
        for len in 0..part.len() {
            assert!(take(&mut parts, &part[..len]).is_none());
        }
        part[6..10].copy_from_slice(&3u32.to_le_bytes());
        part[18..22].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(take(&mut parts, &part).is_none(), "a part that there is not");
    }
}
