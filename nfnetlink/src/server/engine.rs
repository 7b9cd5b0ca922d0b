//! The protocol without sockets: clients, requests, queues. What the kernel's `af_netlink.c` and `nfnetlink.c` do.
//!
//! # Life cycle
//!
//! [`Engine::connect`] adds a client. [`Engine::datagram`] takes what it sent and queues the answers; whoever owns the sockets
//! then sends [`Engine::front`] after [`Engine::front`] until there is none or the socket is full, and tells the client
//! [`Engine::outcome`]. [`Engine::take_listed`] names the clients for whom something new waits. The engine owns no socket, clock
//! or thread, so tests and fuzzers drive it directly.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::ack::ack;
use super::batch;
use super::peer::{Dumping, Limits, Outgoing, Peer};
use super::stats::Stats;
use crate::attr::Writer;
use crate::error::{Errno, Error, Result};
use crate::frame;
use crate::message::{
    BATCH_BEGIN, HEADER, Message, Messages, NFGEN, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST,
    NLMSG_MIN_TYPE,
};
use crate::subsystem::{Client, Event, Events, Reply, Subsystem};

/// Multicast groups that a socket of netfilter has: 32, of which nine are used.
const GROUPS: u32 = 32;
/// Port ids that are given to a process's second socket and on, as the kernel does: negative numbers.
const SPARE_PORTS: u32 = 0xffff_f000;

const ADD_MEMBERSHIP: u32 = 1;
const DROP_MEMBERSHIP: u32 = 2;
const NO_ENOBUFS: u32 = 5;
const CAP_ACK: u32 = 10;
const EXT_ACK: u32 = 11;

/// What is asked of the engine, beside netlink messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// The first word of a client: its process id as it sees it.
    Hello {
        /// What framing it speaks.
        version: u32,
        /// Its process id.
        pid: u32,
    },
    /// bind(2).
    Bind {
        /// The port id wanted; 0 for any.
        port: u32,
        /// Groups: bit 0 is group 1.
        groups: u32,
    },
    /// setsockopt(2).
    Option {
        /// Netlink's option, or one of the framing's.
        option: u32,
        /// Its value.
        value: u32,
    },
}

/// The protocol's state. One thread owns it.
pub struct Engine {
    subsystems: BTreeMap<u8, Box<dyn Subsystem>>,
    peers: BTreeMap<u64, Peer>,
    ports: BTreeMap<u32, u64>,
    members: BTreeMap<u32, BTreeSet<u64>>,
    /// The groups that have members: bit n is group n. Written here, read by publishers.
    listened: Arc<AtomicU64>,
    listed: Vec<u64>,
    next_id: u64,
    next_port: u32,
    limits: Arc<Limits>,
    stats: Arc<Stats>,
}

impl Engine {
    /// An engine that keeps at most `client` bytes of answers for a client. Clients' ids begin at `first_id`.
    pub fn new(client: usize, first_id: u64, stats: Arc<Stats>) -> Self {
        Self {
            subsystems: BTreeMap::new(),
            peers: BTreeMap::new(),
            ports: BTreeMap::new(),
            members: BTreeMap::new(),
            listened: Arc::default(),
            listed: Vec::new(),
            next_id: first_id,
            next_port: SPARE_PORTS,
            limits: Arc::new(Limits { client, all: usize::MAX, queued: AtomicUsize::new(0) }),
            stats,
        }
    }

    /// Keeps at most `all` bytes for all clients together. To be said before there are any.
    #[must_use]
    pub fn with_limit(mut self, all: usize) -> Self {
        let client = self.limits.client;
        self.limits = Arc::new(Limits { client, all, queued: AtomicUsize::new(0) });
        self
    }

    /// Lets `subsystem` answer messages with its id; one that was there before is replaced.
    pub fn register(&mut self, subsystem: Box<dyn Subsystem>) {
        self.subsystems.insert(subsystem.id(), subsystem);
    }

    /// How many clients there are.
    pub fn clients(&self) -> usize {
        self.peers.len()
    }

    /// No events yet, and who listens.
    fn events(&self) -> Events {
        Events { queue: Vec::new(), listened: self.listened.load(Ordering::Relaxed) }
    }

    /// Whether anybody would hear an event of this group.
    pub fn has_listeners(&self, group: u32) -> bool {
        1u64.checked_shl(group).is_some_and(|bit| self.listened.load(Ordering::Relaxed) & bit != 0)
    }

    /// The groups that somebody listens to, a bit each, for other threads to read.
    pub(super) fn listened(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.listened)
    }

    /// A client came. One that is not `allowed` is answered `EPERM` whatever it asks.
    pub fn connect(&mut self, uid: u32, pid: u32, allowed: bool) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let client = Client { id, port_id: 0, uid, pid };
        self.peers.insert(id, Peer::new(client, allowed, Arc::clone(&self.limits)));
        id
    }

    /// A client is gone.
    pub fn disconnect(&mut self, id: u64) {
        let Some(peer) = self.peers.remove(&id) else { return };
        if peer.client.port_id != 0 {
            self.ports.remove(&peer.client.port_id);
        }
        for group in groups(peer.groups) {
            self.leave(id, group);
        }
        let mut events = self.events();
        for subsystem in self.subsystems.values_mut() {
            subsystem.disconnected(peer.client, &mut events);
        }
        self.publish(events);
    }

    /// Does what a client asks beside messages.
    ///
    /// # Errors
    ///
    /// What the system call gives.
    pub fn control(&mut self, id: u64, control: Control) -> Result<(), Errno> {
        let Some(peer) = self.peers.get_mut(&id) else { return Err(Errno::ENOENT) };
        match control {
            Control::Hello { version, pid } => {
                if version != frame::VERSION {
                    return Err(Errno::EPROTO);
                }
                peer.wanted_port = pid;
            }
            Control::Bind { port, groups: mask } => {
                let bound = peer.client.port_id;
                if mask != 0 && !peer.allowed {
                    return Err(Errno::EPERM);
                }
                if bound != 0 && port != bound {
                    return Err(Errno::EINVAL);
                }
                if bound == 0 {
                    self.bind(id, port)?;
                }
                // Like the kernel, a bind sets the first 32 groups as a whole.
                for group in 1..=GROUPS {
                    if mask & (1 << (group - 1)) != 0 {
                        self.join(id, group);
                    } else {
                        self.leave(id, group);
                    }
                }
            }
            Control::Option { option, value } => match option {
                ADD_MEMBERSHIP | DROP_MEMBERSHIP => {
                    if !peer.allowed {
                        return Err(Errno::EPERM);
                    }
                    if !(1..=GROUPS).contains(&value) {
                        return Err(Errno::EINVAL);
                    }
                    if option == ADD_MEMBERSHIP {
                        self.join(id, value);
                    } else {
                        self.leave(id, value);
                    }
                }
                NO_ENOBUFS => peer.no_enobufs = value != 0,
                CAP_ACK => peer.cap_ack = value != 0,
                EXT_ACK => peer.ext_ack = value != 0,
                frame::OPTION_RECEIVE_BUFFER => peer.set_receive_buffer(value as usize),
                frame::OPTION_ROOM => peer.set_room(value as usize),
                _ => {}
            },
        }
        Ok(())
    }

    fn join(&mut self, id: u64, group: u32) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.groups |= 1 << (group - 1);
            self.members.entry(group).or_default().insert(id);
            self.listened.fetch_or(1 << group, Ordering::Relaxed);
        }
    }

    fn leave(&mut self, id: u64, group: u32) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.groups &= !(1 << (group - 1));
        }
        if let Some(members) = self.members.get_mut(&group) {
            members.remove(&id);
            if members.is_empty() {
                self.members.remove(&group);
                self.listened.fetch_and(!(1 << group), Ordering::Relaxed);
            }
        }
    }

    /// Gives a client the port id `wanted`, or with 0 its process id or another free one.
    fn bind(&mut self, id: u64, wanted: u32) -> Result<(), Errno> {
        let Some(peer) = self.peers.get_mut(&id) else { return Err(Errno::ENOENT) };
        let port = if wanted != 0 {
            if self.ports.contains_key(&wanted) {
                return Err(Errno::EADDRINUSE);
            }
            wanted
        } else if peer.wanted_port != 0 && !self.ports.contains_key(&peer.wanted_port) {
            peer.wanted_port
        } else {
            while self.ports.contains_key(&self.next_port) {
                self.next_port -= 1;
            }
            let port = self.next_port;
            self.next_port = if port > SPARE_PORTS / 2 { port - 1 } else { SPARE_PORTS };
            port
        };
        self.ports.insert(port, id);
        peer.client.port_id = port;
        Ok(())
    }

    /// A datagram with netlink messages came from a client.
    pub fn datagram(&mut self, id: u64, bytes: &[u8]) {
        let Some(peer) = self.peers.get(&id) else { return };
        if peer.client.port_id == 0 && self.bind(id, 0).is_err() {
            return;
        }
        self.stats.requests.add(1);
        let Some(first) = Messages::new(bytes).next() else { return };
        if self.peers.get(&id).is_none_or(|peer| !peer.allowed) {
            self.stats.denied.add(1);
            self.acknowledge(id, &first, Some(&Errno::EPERM.into()));
        } else if first.header.kind == BATCH_BEGIN {
            self.batch(id, &first, bytes);
        } else {
            for message in Messages::new(bytes) {
                self.message(id, &message);
            }
        }
    }

    fn message(&mut self, id: u64, message: &Message<'_>) {
        let result = if message.has(NLM_F_REQUEST)
            && message.header.kind >= NLMSG_MIN_TYPE
            && message.bytes.len() >= HEADER + NFGEN
        {
            self.request(id, message)
        } else {
            // Netlink's own messages, and what is no request, is passed over but acknowledged.
            Ok(true)
        };
        match result {
            Ok(acknowledge) => {
                if acknowledge && message.has(NLM_F_ACK) {
                    self.acknowledge(id, message, None);
                }
            }
            Err(error) => self.acknowledge(id, message, Some(&error)),
        }
    }

    /// One request; whether it may be acknowledged, which the start of a dump is not.
    fn request(&mut self, id: u64, message: &Message<'_>) -> Result<bool> {
        let mut events = self.events();
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(false) };
        let subsystem = self.subsystems.get_mut(&message.subsystem()).ok_or(Errno::EINVAL)?;
        if message.header.flags & NLM_F_DUMP != 0 && subsystem.is_dump(message) {
            if peer.dumping.is_some() {
                return Err(Errno::EBUSY.into());
            }
            let generation = subsystem.generation();
            let dump = subsystem.dump(message, peer.client)?;
            peer.dumping = Some(Dumping {
                dump,
                subsystem: message.subsystem(),
                generation,
                seq: message.header.seq,
                interrupted: false,
            });
            list(peer, &mut self.listed);
            return Ok(false);
        }
        let mut out = Writer::default();
        let mut reply = Reply { out: &mut out, to: message.header, client: peer.client };
        let result = subsystem.request(message, &mut reply, &mut events);
        // Also what was answered before a fault was found goes out, as the kernel's does.
        for answer in Messages::new(&out.buf) {
            self.answer(id, answer.bytes.to_vec());
        }
        result?;
        self.publish(events);
        Ok(true)
    }

    fn batch(&mut self, id: u64, begin: &Message<'_>, bytes: &[u8]) {
        let Some(peer) = self.peers.get(&id) else { return };
        let mut events = self.events();
        let acks = batch::run(&mut self.subsystems, peer.client, begin, bytes, &mut events);
        self.stats.batches.add(1);
        self.publish(events);
        for (message, error) in acks {
            self.acknowledge(id, &message, error.as_ref());
        }
    }

    fn acknowledge(&mut self, id: u64, message: &Message<'_>, error: Option<&Error>) {
        if let Some(peer) = self.peers.get(&id) {
            self.stats.refused.add(u64::from(error.is_some()));
            self.answer(id, ack(peer, message, error));
        }
    }

    fn answer(&mut self, id: u64, bytes: Vec<u8>) {
        if let Some(peer) = self.peers.get_mut(&id)
            && !bytes.is_empty()
        {
            self.stats.lost_answers.add(u64::from(!peer.answer(Arc::new(bytes))));
            list(peer, &mut self.listed);
        }
    }

    /// Sends events to the members of their groups, and to who asked for an echo.
    pub fn publish(&mut self, events: Events) {
        for Event { group, datagram, echo } in events.queue {
            let bytes = Arc::new(datagram);
            let (peers, listed) = (&mut self.peers, &mut self.listed);
            if let Some(peer) = echo.and_then(|id| peers.get_mut(&id)) {
                let lost = !peer.answer(Arc::clone(&bytes));
                self.stats.lost_answers.add(u64::from(lost));
                list(peer, listed);
            }
            for id in self.members.get(&group).into_iter().flatten() {
                if echo != Some(*id)
                    && let Some(peer) = peers.get_mut(id)
                {
                    let queued = peer.event(Arc::clone(&bytes), group);
                    self.stats.events.add(u64::from(queued));
                    self.stats.lost_events.add(u64::from(!queued));
                    list(peer, listed);
                }
            }
        }
    }

    /// Events of this group were lost before they came here: its members are told.
    pub fn lost(&mut self, group: u32) {
        for id in self.members.get(&group).into_iter().flatten() {
            if let Some(peer) = self.peers.get_mut(id) {
                self.stats.lost_events.add(u64::from(!peer.lose()));
                list(peer, &mut self.listed);
            }
        }
    }

    /// Time has passed, or somebody woke the server.
    pub fn tick(&mut self) {
        let mut events = self.events();
        for subsystem in self.subsystems.values_mut() {
            subsystem.tick(&mut events);
        }
        self.publish(events);
    }

    /// The clients for whom something new waits, each once.
    pub fn take_listed(&mut self) -> Vec<u64> {
        let listed = std::mem::take(&mut self.listed);
        for id in &listed {
            if let Some(peer) = self.peers.get_mut(id) {
                peer.listed = false;
            }
        }
        listed
    }

    /// What a client is to be sent next, with the frame before it. To be followed by [`Self::sent`] once it is.
    pub fn front(&mut self, id: u64) -> Option<([u8; frame::LEN], &Outgoing)> {
        let subsystems = &self.subsystems;
        let generation = |id| subsystems.get(&id).map_or(0, |subsystem| subsystem.generation());
        let (settled, outgoing) = self.peers.get_mut(&id)?.front(generation)?;
        let flags = if outgoing.overrun { frame::OVERRUN } else { 0 };
        Some((frame::words(flags | settled << frame::SETTLED_SHIFT, outgoing.group), outgoing))
    }

    /// The front was sent, with this frame.
    pub fn sent(&mut self, id: u64, sent: [u8; frame::LEN]) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.pop(frame::read(sent).0 >> frame::SETTLED_SHIFT);
        }
    }

    /// Whether something waits for a client.
    pub fn pending(&self, id: u64) -> bool {
        self.peers.get(&id).is_some_and(Peer::pending)
    }

    /// What to tell a client whose datagram was served, now that as much as its socket takes was sent.
    pub fn outcome(&mut self, id: u64, result: Result<(), Errno>) -> u64 {
        let Some(peer) = self.peers.get_mut(&id) else { return frame::DONE };
        let more = if peer.settle_later() { frame::MORE } else { 0 };
        let errno = result.err().map_or(0, |errno| errno.0 as u64 & 0xffff);
        let port = u64::from(peer.client.port_id);
        frame::DONE | more | errno << frame::ERRNO_SHIFT | port << frame::PORT_SHIFT
    }
}

fn list(peer: &mut Peer, listed: &mut Vec<u64>) {
    if !std::mem::replace(&mut peer.listed, true) {
        listed.push(peer.client.id);
    }
}

fn groups(mask: u32) -> impl Iterator<Item = u32> {
    (1..=GROUPS).filter(move |group| mask & (1 << (group - 1)) != 0)
}
