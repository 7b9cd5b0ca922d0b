//! This node among others: the sync thread, and how the rest of the daemon reaches it.
//!
//! # Overview
//!
//! ```text
//! API, keepalived --Ask, bell--> `thread` (sync::node::Node over `hands`) <--rings--> workers
//!                                    |             |          |
//!                                 sockets     `saved` (disk)  `ground` (what is to be told to the rest of the daemon)
//!                                                             `beside` (told to others, and theirs taken in: `neighbours`, `sets`)
//!                                                             `exchange` (the ruleset's `fingerprint`; fetching another node's;
//!                                                             what a passive node has `seen`)
//! ```
//!
//! # Life cycle
//!
//! [`Plan::new`] reads the state and puts a new epoch on disk before anything else knows of this node; [`Plan::worker`] links each
//! worker; [`Plan::start`] runs the thread once the workers run. Until then, and until somebody says otherwise, the node is a
//! standby. [`Cluster::stop`] hands over if there is anyone to hand over to, and says goodbye, while workers still run.
//!
//! # Who may touch what
//!
//! The node is the sync thread's. Others have a [`Handle`], by which they ask it.

mod bell;
mod beside;
mod exchange;
mod fingerprint;
mod ground;
mod hands;
mod neighbours;
mod report;
mod saved;
mod seen;
mod sets;
mod thread;

use std::cell::RefCell;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam::channel::{Receiver, Sender, bounded, unbounded};
use dataplane::ha::{Clock, ClusterLink, Defer, Exempt, Share};
use dataplane::owners::Owners;
use packet::Tick;
use parking_lot::Mutex;
use sync::hands::Saved;
use sync::ids::{Group, Lane, NodeId};
use sync::link::{Inbox, LinkConfig, Links};
use sync::node::{Command, Config, Node, Refused, Status, Takeover};
use sync::records::Role;
use sync::seal::{Keyring, next_epoch};
use sync::standing::Standing;
use sync::worker::{NodeEnds, WorkerConfig, link};

use crate::api::ha::{Ha, HaCommand, HaError, HaFlows, HaVerify};
use crate::config::ha::{self as section, HaMode};
use crate::config::{self, Loaded};

use super::control::Control;
use super::engine::system;
use super::error::DaemonError;
use super::flows::Flows;
use super::rules::SharedRules;

use bell::Bell;
use beside::{Mouth, Speaker, Wishes};
use exchange::{Exchange, RulesThread};
use ground::DaemonGround;
use hands::{AlarmLog, DaemonHands};
use neighbours::Neighbours;
use saved::Saving;
use seen::Eyes;
use sets::{Counts, Sets};
use thread::{Ask, Ears, GOODBYE, Pace, Seen, SyncThread};

pub(super) use saved::SavedError;

/// How long the sync thread may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a handover may take, from asking for it to the other node's word.
const HANDOVER: Duration = Duration::from_secs(5);
/// Datagrams that a lane remembers, to repair what they carried (PROTOCOL: 65,536, two seconds at full rate).
const WINDOW: usize = 65_536;
const MS: u64 = 1_000_000;

/// The time since the daemon's start.
struct SinceStart(Instant);

impl Clock for SinceStart {
    fn now(&self) -> Tick {
        Tick::at(self.0.elapsed())
    }
}

/// What other threads ask through.
pub(super) struct Handle {
    asks: Sender<Ask>,
    bell: Arc<Bell>,
    /// Set once the node runs.
    exchange: OnceLock<Arc<Exchange>>,
    /// What this node found when it last compared as a passive one.
    compared: Mutex<Option<HaVerify>>,
    sets: Arc<Counts>,
}

impl Handle {
    fn send(&self, ask: Ask) -> Result<(), HaError> {
        self.asks.send(ask).map_err(|_| HaError::Silent)?;
        self.bell.ring();
        Ok(())
    }

    fn ask<T>(&self, make: impl FnOnce(Sender<T>) -> Ask) -> Result<T, HaError> {
        let (to, answered) = bounded(1);
        self.send(make(to))?;
        answered.recv_timeout(PATIENCE).map_err(|_| HaError::Silent)
    }

    fn seen(&self) -> Result<Seen, HaError> {
        self.ask(Ask::Status)
    }

    /// How things are. `flows`: by whose they are; `workers`: what workers count in a cluster only.
    pub(super) fn report(
        &self,
        flows: HaFlows,
        workers: &[(&'static str, u64)],
    ) -> Result<Ha, HaError> {
        let all = [&self.sets.each()[..], workers].concat();
        let ha = report::report(self.seen()?, flows, &all);
        let verify = ha.verify.or(*self.compared.lock());
        Ok(Ha { verify, ..ha })
    }

    fn tell(&self, command: Command) -> Result<(), HaError> {
        let refused = |refused: Refused| HaError::Refused(refused.to_string());
        self.ask(|to| Ask::Command(command, to))?.map_err(refused)
    }

    /// Goes on with these keys, or with those of before where it says why not.
    pub(super) fn rekey(&self, keys: Keyring) -> Result<(), HaError> {
        self.ask(|to| Ask::Keys(keys, to))?.map_err(|error| HaError::Refused(error.to_string()))
    }

    /// Does what the operator wants, and says what was done.
    pub(super) fn command(&self, command: &HaCommand) -> Result<String, HaError> {
        match command {
            HaCommand::Promote { force } => {
                self.tell(Command::Promote { force: *force })?;
                self.promoted()
            }
            HaCommand::Demote => {
                self.tell(Command::Demote)?;
                self.handed_over()
            }
            HaCommand::Resync => {
                self.tell(Command::Resync)?;
                Ok("the owner was asked for all flows: see `twinwall ha status --watch`".into())
            }
            HaCommand::Verify => {
                let status = self.seen()?.status;
                if status.role == Role::Passive {
                    return self.compare(&status);
                }
                self.tell(Command::Verify)?;
                Ok("nodes compare their flows: see `verify` in the status in a second".into())
            }
            HaCommand::Notify(state) => self.notify(state),
            HaCommand::PullRuleset(node) => self.pull(*node),
        }
    }

    /// Fetches another node's ruleset.
    fn pull(&self, node: u8) -> Result<String, HaError> {
        let status = self.seen()?.status;
        let peer = status.peers.iter().find(|peer| peer.node.get() == node && peer.alive);
        let peer = peer.ok_or_else(|| HaError::Refused(format!("node {node} is not there")))?;
        let exchange = self.exchange.get().ok_or(HaError::Silent)?;
        exchange.pull(self, peer.node).map_err(HaError::Refused)
    }

    /// Compares what this node, which only watches, sees with what the owner has.
    fn compare(&self, status: &Status) -> Result<String, HaError> {
        let refused = |why: &str| HaError::Refused(why.to_owned());
        let lives = |owner: &NodeId| {
            status.peers.iter().any(|peer| peer.node == *owner && peer.alive && !peer.left)
        };
        let owner = status.owner.filter(lives);
        let owner = owner.ok_or_else(|| refused("no active node is there to compare with"))?;
        let exchange = self.exchange.get().ok_or(HaError::Silent)?;
        let found = exchange.verify(self, owner).map_err(HaError::Refused)?;
        *self.compared.lock() = Some(found);
        Ok(format!("what this node sees was compared with node {owner}'s flows: see `verify`"))
    }

    /// Waits until this node is the owner: one that lives is asked to hand over first, and outbid in a moment.
    fn promoted(&self) -> Result<String, HaError> {
        loop {
            let status = self.seen()?.status;
            if !status.asking {
                return match status.role {
                    Role::Active => {
                        Ok(format!("node {} is active, term {}", status.node, status.term.0))
                    }
                    role => Err(HaError::Refused(format!(
                        "this node is {role}: meanwhile it was demoted, or another was promoted"
                    ))),
                };
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits for the end of a handover.
    fn handed_over(&self) -> Result<String, HaError> {
        let begun = Instant::now();
        loop {
            let status = self.seen()?.status;
            match status.role {
                Role::Standby | Role::Redirecting | Role::Passive => {
                    let owner = status.owner.map_or_else(
                        || "nobody is active".to_owned(),
                        |owner| format!("node {owner} is active"),
                    );
                    return Ok(format!("{owner}, term {}", status.term.0));
                }
                Role::Active if status.handing_over.is_none() => {
                    return Err(HaError::Refused(
                        "the other node did not take over: this node goes on as the owner".into(),
                    ));
                }
                _ if begun.elapsed() > HANDOVER => return Err(HaError::Silent),
                _ => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    /// keepalived's word: never waits.
    fn notify(&self, state: &str) -> Result<String, HaError> {
        match state {
            "MASTER" => {
                self.send(Ask::Wanted(true))?;
                Ok("this node is to be active".into())
            }
            "BACKUP" | "FAULT" | "STOP" => {
                self.send(Ask::Wanted(false))?;
                Ok("this node is to stand by".into())
            }
            other => Ok(format!("{other}: nothing to do")),
        }
    }
}

/// A node that is about to start.
pub(super) struct Plan {
    config: Config,
    keys: Keyring,
    links: Vec<LinkConfig>,
    share: Share,
    exempt: Vec<Exempt>,
    defer: Option<Defer>,
    path: std::path::PathBuf,
    saved: Saved,
    standing: Arc<Standing>,
    ends: Vec<NodeEnds>,
    asked: Receiver<Ask>,
    handle: Arc<Handle>,
    origin: Instant,
    ports: Vec<u32>,
    pace: Pace,
}

impl Plan {
    /// Of a configuration that has `[ha]`; `macs`: of its ports, in order. A new epoch is on disk when this returns.
    ///
    /// # Errors
    ///
    /// When what was saved cannot be read, or nothing can be saved.
    pub(super) fn new(
        loaded: &Loaded,
        macs: &[[u8; 6]],
        origin: Instant,
    ) -> Result<Option<Self>, DaemonError> {
        let Some(ha) = &loaded.config.ha else { return Ok(None) };
        let path = ha.state.get_ref().clone();
        let group = Group(ha.group);
        let blame = |error: SavedError| DaemonError::HaState { path: path.clone(), error };
        let old = saved::read(&path, group).map_err(blame)?;
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix_ms = u64::try_from(clock.as_millis()).unwrap_or(0);
        let random = RandomState::new().hash_one(unix_ms) as u16;
        let saved = Saved { epoch: next_epoch(old.epoch, unix_ms, random), ..old };
        saved::write(&path, group, saved).map_err(SavedError::from).map_err(blame)?;

        let names = loaded.config.ports.iter().map(|port| port.name.get_ref().as_bytes());
        let ports: Vec<u32> = names.map(crc32c::crc32c).collect();
        let passive = ha.mode == HaMode::Passive;
        let lanes = u8::try_from(loaded.resolved.cores.len()).unwrap_or(u8::MAX);
        let config = Config {
            // Both were held against their bounds when the file was read.
            node: NodeId::new(ha.node).ok_or(DaemonError::WorkerEnded)?,
            cluster: ha.cluster,
            nodes: u8::try_from(*ha.nodes.get_ref()).unwrap_or(u8::MAX),
            group,
            lanes,
            slots: 0,
            passive,
            takeover: match ha.takeover.get_ref() {
                section::Takeover::External => Takeover::External,
                section::Takeover::Silence => {
                    Takeover::Silence(u64::from(*ha.silence_ms.get_ref()) * MS)
                }
            },
            lease: u64::from(*ha.lease_ms.get_ref()) * MS,
            // The thread's naps are what changes come together by.
            flush: 0,
            bytes_per_second: u64::from(ha.bandwidth_mbit) * 125_000,
            unsynchronised_after: u64::from(ha.promote_unsynchronised_s) * 1000 * MS,
            acks: ha.defer.as_ref().map_or(1, |defer| *defer.acks.get_ref() as u8),
            ports: ports.iter().copied().zip(macs.iter().copied()).collect(),
            window: WINDOW,
        };
        let (asks, asked) = unbounded();
        let bell = Arc::new(Bell::new().map_err(system("make an eventfd"))?);
        let role = if passive { Role::Passive } else { Role::Standby };
        Ok(Some(Self {
            share: Share::new(ha.node, config.nodes),
            exempt: ha.links.iter().flat_map(exempt).collect(),
            defer: ha
                .defer
                .as_ref()
                .map(|defer| Defer { label: defer.label, strict: defer.strict }),
            links: ha.links.iter().map(link_config).collect(),
            keys: loaded.resolved.keys.clone(),
            path,
            saved,
            standing: Arc::new(Standing::new(role)),
            ends: Vec::new(),
            asked,
            handle: Arc::new(Handle {
                asks,
                bell,
                exchange: OnceLock::new(),
                compared: Mutex::new(None),
                sets: Arc::default(),
            }),
            origin,
            ports,
            pace: Pace {
                nap: Duration::from_micros(u64::from(ha.flush_us)),
                rt_priority: ha.rt_priority,
            },
            config,
        }))
    }

    /// A worker's part, whose flow table has so many slots. To be called in the order of the workers.
    pub(super) fn worker(&mut self, slots: u32) -> Option<ClusterLink> {
        let lane = Lane::new(u8::try_from(self.ends.len()).ok()?)?;
        let config = WorkerConfig::new(self.config.node, lane, self.config.group);
        let (replica, ends) = link(config, self.standing.clone());
        self.ends.push(ends);
        self.config.slots = self.config.slots.max(slots);
        Some(ClusterLink {
            replica,
            clock: Box::new(SinceStart(self.origin)),
            bell: self.handle.bell.clone(),
            share: self.share,
            exempt: self.exempt.clone(),
            defer: self.defer,
        })
    }

    /// Starts the thread; the workers run.
    ///
    /// # Errors
    ///
    /// When a thread cannot start.
    pub(super) fn start(
        self,
        control: &Arc<Control>,
        flows: &Arc<Flows>,
        owners: Owners,
        rules: SharedRules,
    ) -> Result<Cluster, DaemonError> {
        let Self {
            config,
            keys,
            links,
            path,
            saved,
            standing,
            ends,
            asked,
            origin,
            ports,
            pace,
            ..
        } = self;
        let (handle, control) = (self.handle, control.clone());
        let bell = handle.bell.clone();
        let ring = {
            let bell = bell.clone();
            move || bell.ring()
        };
        let saving = Saving::spawn(path, config.group, saved, ring)
            .map_err(system("start the thread that saves terms"))?;
        let view = rules.view.clone();
        let eyes = Eyes::new(control.clone(), flows.clone());
        let rules = RulesThread::spawn(config.node, rules, eyes, handle.clone(), origin)
            .map_err(system("start the thread that tells other nodes of rules"))?;
        // Set once, here.
        let _ = handle.exchange.set(rules.exchange.clone());
        let (wishes, counts) = (Arc::<Wishes>::default(), handle.sets.clone());
        let (mouth, beside) = Mouth::new(bell.clone(), standing.clone(), wishes.clone());
        let sets = Sets::new(view, standing.clone(), counts.clone(), origin);
        let neighbours = Neighbours::new(control.clone(), standing.clone())?;
        let speakers = [Speaker::spawn(neighbours, mouth.clone()), Speaker::spawn(sets, mouth)]
            .map(|spawned| spawned.map_err(system("start a thread that tells other nodes")));
        let [neighbours, sets] = speakers;
        let speakers = [neighbours?, sets?];
        let heard = speakers.each_ref().map(|speaker| speaker.heard.clone());
        let exchange = rules.exchange.clone();
        let ground = DaemonGround::new(control.clone(), ports, exchange, heard, counts);
        let seed = RandomState::new().hash_one(saved.epoch.0);
        let run = move || {
            let now = Tick::at(origin.elapsed());
            let (mut ears, mut told) = (Vec::new(), Vec::new());
            for NodeEnds { urgent, lazy, inbound } in ends {
                ears.push(Ears { urgent, lazy });
                told.push(RefCell::new(inbound));
            }
            let hands = DaemonHands {
                links: Links::open(links, now),
                saving,
                standing,
                control,
                owners,
                told,
                woken: 0,
                became: None,
                elsewhere: Vec::new(),
                wishes,
                controls: Vec::new(),
                alarms: AlarmLog::default(),
                now,
            };
            SyncThread {
                origin,
                node: Node::new(config, keys, saved, seed, now),
                hands,
                ears,
                asks: asked,
                beside,
                bell,
                pace,
                ground: Box::new(ground),
                inbox: Inbox::new(),
                wanted: None,
                holding: None,
                leaving: None,
            }
            .run();
        };
        let thread = std::thread::Builder::new().name("sync".into()).spawn(run);
        let thread = Some(thread.map_err(system("start the sync thread"))?);
        Ok(Cluster { handle, thread, _rules: rules, _speakers: speakers })
    }

    /// What others ask through.
    pub(super) fn handle(&self) -> Arc<Handle> {
        self.handle.clone()
    }
}

/// The running sync thread. Dropping it ends it as [`Cluster::stop`] does.
pub(super) struct Cluster {
    handle: Arc<Handle>,
    thread: Option<JoinHandle<()>>,
    _rules: RulesThread,
    _speakers: [Speaker; 2],
}

impl Cluster {
    /// Hands over if there is anyone to hand over to, says goodbye, and ends the thread. Takes a second at most.
    pub(super) fn stop(self) {
        drop(self);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        let (to, _) = bounded(1);
        // Gone already: then it panicked, which is said below.
        let _ = self.handle.send(Ask::Command(Command::Stop, to));
        let begun = Instant::now();
        if thread.join().is_err() {
            tracing::error!("the sync thread panicked");
        } else if begun.elapsed() >= GOODBYE {
            tracing::warn!("no other node took over within {GOODBYE:?}");
        }
    }
}

fn link_config(link: &config::ha::Link) -> LinkConfig {
    LinkConfig {
        interface: link.interface.get_ref().clone(),
        target: match &link.target {
            section::Target::Group(group) => sync::link::Target::Group(*group.get_ref()),
            section::Target::Peers(peers) => {
                sync::link::Target::Peers(peers.iter().map(|peer| *peer.get_ref()).collect())
            }
        },
        port: link.port,
    }
}

/// What is sent on a link is not to be tracked, should it ever come by.
fn exempt(link: &config::ha::Link) -> Vec<Exempt> {
    let to: Vec<IpAddr> = match &link.target {
        section::Target::Group(group) => vec![*group.get_ref()],
        section::Target::Peers(peers) => peers.iter().map(|peer| *peer.get_ref()).collect(),
    };
    let exempt = to.into_iter().map(|to| {
        let mut addr = [0; 16];
        let family = match to {
            IpAddr::V4(to) => {
                addr[..4].copy_from_slice(&to.octets());
                4
            }
            IpAddr::V6(to) => {
                addr = to.octets();
                6
            }
        };
        Exempt { family, addr, port: link.port }
    });
    exempt.collect()
}
