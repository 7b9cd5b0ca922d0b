//! What answers requests: a [`Subsystem`] for each of netfilter's ids, registered with the server.
//!
//! # Life cycle of a request
//!
//! The server hands over single requests, the starts of dumps, and batches: `begin`, `apply` for each message, then
//! `commit` or `abort`. It writes acknowledgements and errors itself; a handler writes answers into [`Reply`] and gives
//! events to [`Events`]. Everything runs on the server's one thread, so a subsystem needs no lock.

use crate::attr::Writer;
use crate::error::{Errno, Error, Result};
use crate::message::{Header, Message, NLM_F_ECHO, NfGen};

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// Unique among all clients since the server's start.
    pub id: u64,
    /// The netlink port id that the client's socket is bound to.
    pub port_id: u32,
    /// The user, by the socket's peer credentials.
    pub uid: u32,
    /// The process, by the socket's peer credentials.
    pub pid: u32,
}

/// Where answers to the sender go.
pub struct Reply<'a> {
    /// The answers being written. Each message goes into a datagram of its own, as from the kernel.
    pub out: &'a mut Writer,
    /// The request's header, for sequence numbers.
    pub to: Header,
    /// The sender.
    pub client: Client,
}

impl Reply<'_> {
    /// Writes one answer: a message `kind` (subsystem and command) with the request's number.
    pub fn message(
        &mut self,
        kind: u16,
        flags: u16,
        nfgen: NfGen,
        inside: impl FnOnce(&mut Writer),
    ) {
        let header = Header { len: 0, kind, flags, seq: self.to.seq, pid: self.client.port_id };
        self.out.message(header, nfgen, inside);
    }
}

/// Events, each a message for a multicast group. Those of a batch are told when it is committed and forgotten when it is
/// aborted.
#[derive(Debug, Default)]
pub struct Events {
    /// Group (`NFNLGRP_…`) and datagram, in order. A datagram holds one or more messages.
    pub queue: Vec<Event>,
    /// Groups that somebody listens to, a bit each; kept by the server.
    pub listened: u64,
}

/// Bytes that a datagram of several events may grow to: programs on libmnl read events into one page (`NLMSG_GOODSIZE`).
const DATAGRAM: usize = 3776;

impl Events {
    /// Whether anybody hears an event of this group that `cause` brings about: a listener, or its sender by `NLM_F_ECHO`.
    pub fn wanted(&self, group: u32, cause: &Message<'_>) -> bool {
        self.listened & (1 << group) != 0 || cause.has(NLM_F_ECHO)
    }

    /// One event, the message that `write` writes; `echo` is the client that asked for an echo. Events of one kind share
    /// datagrams, as far as they fit.
    pub fn push(&mut self, group: u32, echo: Option<u64>, write: impl FnOnce(&mut Writer)) {
        let mut out = Writer::default();
        write(&mut out);
        match self.queue.last_mut() {
            Some(last)
                if last.group == group
                    && last.echo == echo
                    && last.datagram.len() + out.buf.len() <= DATAGRAM =>
            {
                last.datagram.append(&mut out.buf);
            }
            _ => self.queue.push(Event { group, datagram: out.buf, echo }),
        }
    }
}

/// One datagram for a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The group: `NFNLGRP_…`.
    pub group: u32,
    /// The messages.
    pub datagram: Vec<u8>,
    /// The client that caused it and asked for an echo (`NLM_F_ECHO`): it gets the datagram whatever groups it is in.
    pub echo: Option<u64>,
}

/// A dump in progress: it holds its own snapshot, or a place to go on from.
pub trait Dump: Send {
    /// Writes one datagram's worth of whole messages, with the sequence number, port id and flags of `header` (which has
    /// `NLM_F_MULTI`, and `NLM_F_DUMP_INTR` where the generation moved). At most about `room` bytes; at least one message.
    /// False when nothing is left, then nothing was written.
    fn next(&mut self, header: Header, room: usize, out: &mut Writer) -> bool;
}

/// What answers the messages of one subsystem id.
pub trait Subsystem: Send {
    /// The id: `NFNL_SUBSYS_…`.
    fn id(&self) -> u8;

    /// Counts commits: a dump during which it moves is marked as interrupted. 0 where nothing is counted.
    fn generation(&self) -> u32 {
        0
    }

    /// Answers a request that is no dump and stands in no batch. What it wrote is only sent when it succeeds.
    ///
    /// # Errors
    ///
    /// The refusal that goes to the sender.
    fn request(
        &mut self,
        message: &Message<'_>,
        reply: &mut Reply<'_>,
        events: &mut Events,
    ) -> Result<()>;

    /// Whether this request, which has the bits of `NLM_F_DUMP`, asks for a dump: the same bits mean something else in a
    /// request that creates.
    fn is_dump(&self, message: &Message<'_>) -> bool;

    /// Starts a dump.
    ///
    /// # Errors
    ///
    /// The refusal that goes to the sender.
    fn dump(&mut self, message: &Message<'_>, client: Client) -> Result<Box<dyn Dump>>;

    /// A batch begins; `generation` is the one that the sender built it on, where it says so.
    ///
    /// # Errors
    ///
    /// `ERESTART` where that is not the current one; `EOPNOTSUPP` where the subsystem takes no batches.
    fn begin(&mut self, _generation: Option<u32>, _client: Client) -> Result<()> {
        Err(Errno::EOPNOTSUPP.into())
    }

    /// One message of a batch, and what is to be told of it once the batch is committed. Called for the messages behind a
    /// refused one, too, so that all refusals are told.
    ///
    /// # Errors
    ///
    /// The refusal; the batch will be aborted.
    fn apply(
        &mut self,
        _message: &Message<'_>,
        _client: Client,
        _events: &mut Events,
    ) -> Result<()> {
        Err(Errno::EOPNOTSUPP.into())
    }

    /// Makes all of it happen. When this returns, every worker runs it.
    ///
    /// # Errors
    ///
    /// The refusal of the whole; an abort follows, after which nothing has changed. `EAGAIN` asks to see the batch once more,
    /// from `begin` on, to name the message at fault.
    fn commit(&mut self, _client: Client, _events: &mut Events) -> Result<()> {
        Err(Errno::EOPNOTSUPP.into())
    }

    /// A batch is over which nothing was refused of, but which is only to be checked (`nft -c`). An abort follows.
    ///
    /// # Errors
    ///
    /// As [`Self::commit`].
    fn validate(&mut self, _client: Client) -> Result<()> {
        Ok(())
    }

    /// Forgets the batch; nothing has changed.
    fn abort(&mut self) {}

    /// A client is gone: what it owned goes too.
    fn disconnected(&mut self, _client: Client, _events: &mut Events) {}

    /// Called now and then (about once a second) and at a wake-up, for what time brings: expiry.
    fn tick(&mut self, _events: &mut Events) {}
}

/// A refusal of a command that the subsystem does not know, as the kernel gives it.
pub fn unknown_command() -> Error {
    Errno::EINVAL.into()
}
