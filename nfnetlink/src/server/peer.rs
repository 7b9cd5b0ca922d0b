//! What the engine knows of one client: its options and groups, and what waits to be sent to it.
//!
//! # The queue
//!
//! Answers and events stand in one queue, in the order in which they came about, as in a netlink socket's receive queue. A
//! dump adds to it only when it is empty, so that a dump of any size takes the memory of one datagram.
//!
//! Events are bounded by the client's receive buffer. One that does not fit is lost: the client is told so once, with
//! `ENOBUFS`, and until it has read all that waits no event is queued, as the kernel does it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::attr::Writer;
use crate::message::{Header, NLM_F_DUMP_INTR, NLM_F_MULTI, NLMSG_DONE};
use crate::subsystem::{Client, Dump};

/// What an entry of a queue costs beside its bytes, roughly.
const OVERHEAD: usize = 256;
/// The kernel's receive buffer for who does not ask for another, in bytes (`net.core.rmem_default`).
pub(super) const RECEIVE_BUFFER: usize = 212_992;
/// Bytes of a dump's datagram that every client can read (`NLMSG_GOODSIZE`), and the most (32 KiB less some overhead).
const ROOM: std::ops::RangeInclusive<usize> = 3776..=32_000;

/// One datagram for a client.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The netlink messages; empty when it tells of lost events.
    pub bytes: Arc<Vec<u8>>,
    /// The multicast group, 0 for an answer.
    pub group: u32,
    /// Whether an answer: the client waits for it.
    pub(super) owed: bool,
    /// Whether it stands for lost events.
    pub(super) overrun: bool,
}

/// A dump in progress.
pub(super) struct Dumping {
    pub dump: Box<dyn Dump>,
    /// The subsystem, and its generation when the dump began.
    pub subsystem: u8,
    pub generation: u32,
    pub seq: u32,
    /// Set once the generation has moved.
    pub interrupted: bool,
}

/// One client.
pub(super) struct Peer {
    pub client: Client,
    /// Whether its credentials let it ask anything.
    pub allowed: bool,
    /// The port id it would like: its own process id.
    pub wanted_port: u32,
    /// Groups it is a member of: bit 0 is group 1.
    pub groups: u32,
    pub cap_ack: bool,
    pub ext_ack: bool,
    pub no_enobufs: bool,
    /// Bytes of events that may wait.
    pub receive_buffer: usize,
    /// Bytes that a dump's datagram may have.
    pub room: usize,
    pub dumping: Option<Dumping>,
    /// Whether the engine's list of clients with something to send has it.
    pub listed: bool,
    queue: VecDeque<Outgoing>,
    queued: usize,
    owed: usize,
    /// Outcomes that said more would follow, and are not settled.
    unsettled: u32,
    /// Events were lost, and the queue has not been empty since.
    congested: bool,
    limits: Arc<Limits>,
}

/// How much may wait to be sent.
#[derive(Debug)]
pub(super) struct Limits {
    /// Bytes of answers for one client.
    pub client: usize,
    /// Bytes for all clients together.
    pub all: usize,
    /// Bytes that wait now, for all clients. Only the engine's thread touches it.
    pub queued: AtomicUsize,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.limits.queued.fetch_sub(self.queued, Ordering::Relaxed);
    }
}

impl Peer {
    pub(super) fn new(client: Client, allowed: bool, limits: Arc<Limits>) -> Self {
        Self {
            client,
            allowed,
            wanted_port: client.pid,
            groups: 0,
            cap_ack: false,
            ext_ack: false,
            no_enobufs: false,
            receive_buffer: RECEIVE_BUFFER,
            room: *ROOM.start(),
            dumping: None,
            listed: false,
            queue: VecDeque::new(),
            queued: 0,
            owed: 0,
            unsettled: 0,
            congested: false,
            limits,
        }
    }

    pub(super) fn set_room(&mut self, bytes: usize) {
        self.room = bytes.clamp(*ROOM.start(), *ROOM.end());
    }

    /// Sets how many bytes of events may wait, as far as they may.
    pub(super) fn set_receive_buffer(&mut self, bytes: usize) {
        self.receive_buffer = bytes.min(self.limits.client);
    }

    /// Queues an answer, or an event that the client asked to hear of itself. False when there was no room: then it is lost,
    /// and the client is told.
    pub(super) fn answer(&mut self, bytes: Arc<Vec<u8>>) -> bool {
        if !self.fits(bytes.len(), self.limits.client) {
            return self.lose();
        }
        self.push(Outgoing { bytes, group: 0, owed: true, overrun: false });
        true
    }

    /// Queues an event of a group; false when it was lost.
    pub(super) fn event(&mut self, bytes: Arc<Vec<u8>>, group: u32) -> bool {
        if self.congested || !self.fits(bytes.len(), self.receive_buffer) {
            return self.lose();
        }
        self.push(Outgoing { bytes, group, owed: false, overrun: false });
        true
    }

    /// Something for this client is lost. Always false.
    pub(super) fn lose(&mut self) -> bool {
        if !self.congested && !self.no_enobufs {
            self.congested = true;
            self.push(Outgoing { bytes: Arc::default(), group: 0, owed: false, overrun: true });
        }
        false
    }

    /// Whether so many bytes more may wait, of `own` for this client. One datagram always may.
    fn fits(&self, bytes: usize, own: usize) -> bool {
        let all = self.limits.queued.load(Ordering::Relaxed);
        self.queue.is_empty()
            || self.queued + bytes + OVERHEAD <= own && all + bytes + OVERHEAD <= self.limits.all
    }

    fn push(&mut self, outgoing: Outgoing) {
        let cost = outgoing.bytes.len() + OVERHEAD;
        self.queued += cost;
        self.limits.queued.fetch_add(cost, Ordering::Relaxed);
        self.owed += usize::from(outgoing.owed);
        self.queue.push_back(outgoing);
    }

    /// What is to be sent next; a dump is asked for more when nothing else waits. `generation` is the present one of the
    /// dump's subsystem.
    pub(super) fn front(&mut self, generation: impl FnOnce(u8) -> u32) -> Option<(u32, &Outgoing)> {
        if self.queue.is_empty()
            && let Some(mut dumping) = self.dumping.take()
        {
            dumping.interrupted |= generation(dumping.subsystem) != dumping.generation;
            let interrupted = if dumping.interrupted { NLM_F_DUMP_INTR } else { 0 };
            let header = Header {
                flags: NLM_F_MULTI | interrupted,
                seq: dumping.seq,
                pid: self.client.port_id,
                ..Header::default()
            };
            let mut out = Writer::default();
            if dumping.dump.next(header, self.room, &mut out) {
                self.dumping = Some(dumping);
            } else {
                out.buf.clear();
                let header = Header { kind: NLMSG_DONE, ..header };
                out.raw_message(header, |w| w.buf.extend(0i32.to_ne_bytes()));
            }
            self.push(Outgoing { bytes: Arc::new(out.buf), group: 0, owed: true, overrun: false });
        }
        let last = self.owed == 1 && self.dumping.is_none();
        let outgoing = self.queue.front()?;
        let settled = if last && outgoing.owed { self.unsettled } else { 0 };
        Some((settled, outgoing))
    }

    /// [`Self::front`] was sent, with `settled`.
    pub(super) fn pop(&mut self, settled: u32) {
        if let Some(sent) = self.queue.pop_front() {
            let cost = sent.bytes.len() + OVERHEAD;
            self.queued -= cost;
            self.limits.queued.fetch_sub(cost, Ordering::Relaxed);
            self.owed -= usize::from(sent.owed);
            self.unsettled -= settled.min(self.unsettled);
        }
        self.congested &= !self.queue.is_empty();
    }

    /// Whether something waits.
    pub(super) fn pending(&self) -> bool {
        !self.queue.is_empty() || self.dumping.is_some()
    }

    /// A request was served and what the socket takes was sent: whether more is owed, which is then counted as unsettled.
    pub(super) fn settle_later(&mut self) -> bool {
        let more = self.owed > 0 || self.dumping.is_some();
        // The count travels in 16 bits; a client that has more outcomes open than that is not ours.
        let more = more && self.unsettled < u32::from(u16::MAX);
        self.unsettled += u32::from(more);
        more
    }
}
