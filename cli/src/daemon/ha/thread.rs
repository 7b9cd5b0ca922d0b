//! The sync thread: everything that this node says to others, hears from them, and decides.
//!
//! # Overview
//!
//! A pass: what is in the sockets → [`Node::received`]; what workers said → [`Node::outbound`]; what the operator wants →
//! [`Node::command`]; [`Node::poll`]; then all that is to be sent leaves together, and workers that were told something are woken.
//!
//! # Sleep
//!
//! After a pass in which there was something to say the thread naps for [`Pace::nap`], so that records come together and one wake-up
//! serves many: all that a pass finds leaves at its end. Workers do not ring then. After any other it sleeps until the node's next
//! moment, a datagram, or the bell, which workers ring as long as [`Standing::may_sleep`] says that the thread sleeps. Who hears
//! datagrams one by one has no reason to nap: others have collected what is in them; who hears many at once has.
//!
//! It has little to do, and all the node's safety hangs on it: with [`Pace::rt_priority`] it is before whatever shares its processor.
//!
//! # Who may touch what
//!
//! All of it is this thread's. Others ask it through [`Ask`], and ring.

use std::num::NonZeroU64;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender};
use packet::Tick;
use rustix::event::{PollFd, PollFlags, Timespec};
use sync::hands::{Cause, Outbound};
use sync::ids::{Lane, NodeId};
use sync::link::{Inbox, LinkStatus, News};
use sync::node::{Command, KeyInUse, Node, Refused, Status};
use sync::records::Role;
use sync::seal::Keyring;
use sync::worker::Heard;
use thread_priority::{
    RealtimeThreadSchedulePolicy, ScheduleParams, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

use super::bell::Bell;
use super::hands::{Became, DaemonHands};

/// Batches of datagrams that a pass takes from one link at most; what is left comes in the next.
const BATCHES: usize = 16;
/// Room for what a batch of datagrams may tell one worker, in messages of the longest kind (1 KiB): 64 datagrams of 1,400 bytes, and what
/// is put before each record.
const ROOM: usize = 128;
/// Records of what is beside flows that a pass says at most.
const RECORDS: usize = 128;
/// For how long datagrams wait for a worker that does not take in what it is told. Then they are heard, for among them may be what
/// is more important than flows; flows that are lost by that are asked for again.
const HOLD: Duration = Duration::from_millis(20);
/// Datagrams in a pass from which on more are waited for.
const MANY: usize = 4;
/// Between tries of a promotion that keepalived wants.
const RETRY: Duration = Duration::from_millis(100);
/// How long saying goodbye, and handing over before it, may take.
pub(super) const GOODBYE: Duration = Duration::from_secs(1);
/// Nanoseconds by which the kernel may put off the end of a nap.
const SLACK: Option<NonZeroU64> = NonZeroU64::new(1000);

/// What the sync thread is asked. Answers go to whoever waits; if nobody does any more, to nobody.
pub(super) enum Ask {
    /// How things are.
    Status(Sender<Seen>),
    /// Do this.
    Command(Command, Sender<Result<(), Refused>>),
    /// Go on with these keys.
    Keys(Keyring, Sender<Result<(), KeyInUse>>),
    /// keepalived wants the node to be active, or not.
    Wanted(bool),
    /// Say this to other nodes' daemons.
    Say(Vec<u8>),
}

/// How things are.
pub(super) struct Seen {
    pub(super) status: Status,
    pub(super) links: Vec<LinkStatus>,
    /// keepalived wants a promotion that is refused.
    pub(super) promotion_waits: bool,
    pub(super) at: Tick,
}

/// How long the thread naps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// While there is something to do.
    pub(super) nap: Duration,
    /// The thread's priority, of `SCHED_RR`; 0: it is scheduled as any other.
    pub(super) rt_priority: u8,
}

impl Pace {
    /// Puts this thread before others.
    fn take_precedence(&self) {
        if self.rt_priority == 0 {
            return;
        }
        let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::RoundRobin);
        let params = ScheduleParams { sched_priority: self.rt_priority.into() };
        let priority = ThreadPriority::from_posix(params);
        if let Err(error) = set_thread_priority_and_policy(thread_native_id(), priority, policy) {
            tracing::warn!(
                ?error,
                "the thread that talks to the other nodes has no real-time priority: under load this node may count as dead. Grant CAP_SYS_NICE \
                 (systemd: LimitRTPRIO=), or set rt_priority = 0 in [ha]"
            );
        }
    }
}

/// A worker's rings as the thread has them.
pub(super) struct Ears {
    pub(super) urgent: Heard,
    pub(super) lazy: Heard,
}

/// What the control side is told from here.
pub(super) trait Ground: Send {
    /// The node is another thing from now on. `onward`: while it redirects, the new owner's ports by CRC32C of their names.
    fn became(&mut self, became: Became, onward: &[(u32, [u8; 6])]);

    /// Records of neighbours and of sets' elements that the owner said.
    fn apply(&mut self, records: &mut Vec<Vec<u8>>);

    /// Another node's daemon said this.
    fn control(&mut self, from: NodeId, payload: Vec<u8>);
}

/// An arbiter's word, until it is so. Either may be refused for now: no promotion before all flows are here, no
/// demotion before another node has them. The arbiter says it once, so it is tried again until another word comes.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    /// To be active, or not to be.
    active: bool,
    /// When to try (again).
    at: Tick,
    /// The refusal was logged.
    logged: bool,
}

/// The thread's state.
pub(super) struct SyncThread {
    pub(super) origin: Instant,
    pub(super) node: Node,
    pub(super) hands: DaemonHands,
    pub(super) ears: Vec<Ears>,
    pub(super) asks: Receiver<Ask>,
    /// Records of what is beside flows: see `beside`.
    pub(super) beside: Receiver<Vec<u8>>,
    pub(super) bell: Arc<Bell>,
    pub(super) pace: Pace,
    pub(super) ground: Box<dyn Ground>,
    pub(super) inbox: Inbox,
    /// What keepalived said last, until it is so.
    pub(super) wanted: Option<Wanted>,
    /// Since when datagrams wait for a worker.
    pub(super) holding: Option<Tick>,
    /// Set when the daemon stops: by when the thread has to end.
    pub(super) leaving: Option<Tick>,
}

impl SyncThread {
    fn now(&self) -> Tick {
        Tick::at(self.origin.elapsed())
    }

    /// Runs until the node has said goodbye.
    pub(super) fn run(mut self) {
        if let Err(error) = rustix::thread::set_current_timer_slack(SLACK) {
            tracing::debug!(%error, "naps may take longer");
        }
        self.pace.take_precedence();
        loop {
            let (collects, next) = self.pass();
            if self.leaving.is_some_and(|by| self.now() >= by || self.node_left()) {
                return;
            }
            if collects || !self.sleep(next) {
                let until_next = next.since(self.now());
                std::thread::sleep(self.pace.nap.min(until_next.max(Duration::from_micros(1))));
            }
        }
    }

    fn node_left(&self) -> bool {
        self.node.status(self.now()).left
    }

    /// One pass; whether more of the same is to be collected before the next, and when that is at the latest.
    fn pass(&mut self) -> (bool, Tick) {
        let heard = self.hear();
        let mut collects = heard >= MANY;
        collects |= self.listen();
        collects |= self.recite();
        self.obey();
        let now = self.now();
        self.hands.now = now;
        let next = self.node.poll(now, &mut self.hands);
        self.hands.flush();
        self.tend(now);
        (collects, next)
    }

    /// Whether what came is better left to the kernel for a moment: a worker has yet to take in what it was told before.
    fn holds_back(&mut self, now: Tick) -> bool {
        if self.hands.least_room() >= ROOM {
            self.holding = None;
            return false;
        }
        let since = *self.holding.get_or_insert(now);
        now.since(since) < HOLD
    }

    /// Takes what is in the sockets: how many datagrams, or many if there are some that wait.
    fn hear(&mut self) -> usize {
        let mut heard = 0;
        if self.holds_back(self.now()) {
            return MANY;
        }
        for link in 0..self.hands.links.count() {
            for _ in 0..BATCHES {
                let now = Tick::at(self.origin.elapsed());
                self.hands.now = now;
                let more = self.hands.links.receive(link, now, &mut self.inbox);
                for datagram in self.inbox.datagrams() {
                    heard += 1;
                    self.node.received(datagram, now, &mut self.hands);
                }
                if self.holds_back(now) {
                    return MANY;
                }
                if !more {
                    break;
                }
            }
        }
        heard
    }

    /// Takes what workers said: changes first, then of the rest what was there before them, or a flow's repair would overtake its
    /// beginning. What comes meanwhile is the next pass's.
    fn listen(&mut self) -> bool {
        let mut worked = false;
        let now = self.now();
        self.hands.now = now;
        let Self { node, hands, ears, .. } = self;
        for (ears, lane) in ears.iter_mut().zip((0..).filter_map(Lane::new)) {
            // In this order: what was said urgently before anything of the rest is within the urgent bounds.
            let lazy = ears.lazy.end();
            let urgent = ears.urgent.end();
            while ears.urgent.position() < urgent
                && node.budget(lane, now).urgent
                && let Some(message) = ears.urgent.next()
            {
                node.outbound(lane, &message, now, hands);
                worked = true;
            }
            if ears.urgent.position() < urgent {
                continue;
            }
            while ears.lazy.position() < lazy
                && node.budget(lane, now).lazy
                && let Some(message) = ears.lazy.next()
            {
                node.outbound(lane, &message, now, hands);
                worked = true;
            }
        }
        worked
    }

    /// Says what is beside flows, so much of it as they leave room for. True where there is more, too: it is not to be slept on.
    fn recite(&mut self) -> bool {
        let now = self.now();
        self.hands.now = now;
        let mut worked = false;
        for _ in 0..RECORDS {
            if !self.node.budget(Lane::FIRST, now).lazy {
                break;
            }
            let Ok(bytes) = self.beside.try_recv() else { return worked };
            worked = true;
            let record = Outbound::Record { cause: Cause::Change, slot: u32::MAX, bytes: &bytes };
            self.node.outbound(Lane::FIRST, &record, now, &mut self.hands);
        }
        worked || !self.beside.is_empty()
    }

    /// Does what was asked.
    fn obey(&mut self) {
        while let Ok(ask) = self.asks.try_recv() {
            let now = self.now();
            self.hands.now = now;
            match ask {
                Ask::Status(to) => {
                    let seen = Seen {
                        status: self.node.status(now),
                        links: self.hands.links.status(),
                        promotion_waits: self.wanted.is_some_and(|wanted| wanted.active),
                        at: now,
                    };
                    let _ = to.send(seen);
                }
                Ask::Command(command, to) => {
                    match command {
                        // Another word than keepalived's last one.
                        Command::Promote { .. } | Command::Demote => self.wanted = None,
                        Command::Stop => {
                            self.wanted = None;
                            self.leaving = Some(Tick(now.0 + GOODBYE.as_nanos() as u64));
                        }
                        _ => {}
                    }
                    let _ = to.send(self.node.command(command, now, &mut self.hands));
                }
                Ask::Keys(keys, to) => {
                    let _ = to.send(self.node.rekey(keys));
                }
                Ask::Say(payload) => {
                    if !self.node.say_control(&payload, &mut self.hands) {
                        tracing::error!(bytes = payload.len(), "too much to say at once");
                    }
                }
                Ask::Wanted(active) => {
                    self.wanted = Some(Wanted { active, at: now, logged: false });
                }
            }
        }
        self.follow();
    }

    /// Tries what keepalived wants.
    fn follow(&mut self) {
        let now = self.now();
        let Some(mut wanted) = self.wanted.filter(|wanted| wanted.at <= now) else { return };
        self.hands.now = now;
        let command =
            if wanted.active { Command::Promote { force: false } } else { Command::Demote };
        self.wanted = match self.node.command(command, now, &mut self.hands) {
            Ok(()) => None,
            Err(refused) => {
                if !wanted.logged {
                    let what = if wanted.active { "promoted" } else { "demoted" };
                    tracing::warn!("not {what} yet: {refused}");
                }
                wanted.logged = true;
                wanted.at = Tick(now.0 + RETRY.as_nanos() as u64);
                Some(wanted)
            }
        };
    }

    /// What is beside the protocol.
    fn tend(&mut self, now: Tick) {
        self.hands.links.tend(now);
        for news in self.hands.links.news() {
            match news {
                News::Up { .. } => tracing::info!("{news}"),
                News::Down { .. } | News::SmallBuffer { .. } => tracing::warn!("{news}"),
            }
        }
        if let Some(became) = self.hands.became.take() {
            let owner = became.owner.filter(|_| became.role == Role::Redirecting);
            let onward = owner.map_or(&[][..], |owner: NodeId| self.node.ports(owner));
            self.ground.became(became, onward);
        }
        for (from, payload) in self.hands.controls.drain(..) {
            self.ground.control(from, payload);
        }
        if !self.hands.elsewhere.is_empty() {
            self.ground.apply(&mut self.hands.elsewhere);
        }
    }

    /// Sleeps until `next`, or something comes. False: there is something already, which could not be taken yet.
    fn sleep(&mut self, next: Tick) -> bool {
        let Self { hands, ears, asks, beside, bell, origin, wanted, .. } = self;
        let idle = || {
            let said = ears.iter_mut().any(|ears| !ears.urgent.is_empty() || !ears.lazy.is_empty());
            !said && asks.is_empty() && beside.is_empty()
        };
        let standing = hands.standing.clone();
        if !standing.may_sleep(idle) {
            return false;
        }
        let until = wanted.map_or(next, |wanted| next.min(wanted.at));
        let left = until.since(Tick::at(origin.elapsed()));
        let mut fds: Vec<PollFd<'_>> = Vec::with_capacity(8);
        fds.push(PollFd::from_borrowed_fd(bell.as_fd(), PollFlags::IN));
        fds.extend(hands.links.fds().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        let timeout = Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        // A signal, or whatever else: the pass that follows finds out.
        let _ = rustix::event::poll(&mut fds, Some(&timeout));
        standing.awake();
        if fds.first().is_some_and(|bell| !bell.revents().is_empty()) {
            bell.silence();
        }
        true
    }
}
