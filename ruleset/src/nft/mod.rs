//! nf_tables over nfnetlink: what `nft` and `iptables-nft` speak (linux/netfilter/nf_tables.h).
//!
//! # Overview
//!
//! [`NfTables`] is the [`Subsystem`]: it owns the [`State`] and takes requests, dumps and batches. Each kind of thing has a
//! file: reading its messages, changing the batch, writing it for listings and events.
//!
//! # Life cycle of a batch
//!
//! `begin` clones the state (which costs nothing); each message is an `Op` on the clone; `commit` validates what changed,
//! makes the clone the state, publishes a [`Program`] to the workers and waits until all run it; `abort` drops the clone.
//!
//! # Who may touch what
//!
//! All of this belongs to the nfnetlink server's thread.

use std::sync::Arc;

use nfnetlink::message::NLM_F_DUMP;
use nfnetlink::{Client, Dump, Errno, Events, Message, NfGen, Reply, Result, Subsystem};

use crate::counters::CounterPool;
use crate::family::Family;
use crate::model::State;
use crate::program::Program;

mod batch;
mod chain;
mod compat;
mod dump;
mod elem;
mod flowtable;
mod generation;
pub mod image;
mod object;
mod op;
mod rule;
mod set;
mod table;
pub mod trace;
mod validate;

pub(crate) use batch::Batch;
pub use compat::NftCompat;
pub(crate) use op::{Op, Query};
use validate::Fault;

/// `NLM_F_NONREC`: a delete request that must not take what is inside along.
pub(crate) const NLM_F_NONREC: u16 = 0x100;

/// `NFNL_SUBSYS_NFTABLES`.
pub const SUBSYSTEM: u8 = 10;
/// `NFNLGRP_NFTABLES`.
pub const GROUP: u32 = 7;
/// `NFNLGRP_NFTRACE`.
pub const TRACE_GROUP: u32 = 9;

/// Numbers of messages (`enum nf_tables_msg_types`).
pub mod msg {
    #![allow(missing_docs, reason = "the kernel's names without NFT_MSG_")]
    pub const NEWTABLE: u8 = 0;
    pub const GETTABLE: u8 = 1;
    pub const DELTABLE: u8 = 2;
    pub const NEWCHAIN: u8 = 3;
    pub const GETCHAIN: u8 = 4;
    pub const DELCHAIN: u8 = 5;
    pub const NEWRULE: u8 = 6;
    pub const GETRULE: u8 = 7;
    pub const DELRULE: u8 = 8;
    pub const NEWSET: u8 = 9;
    pub const GETSET: u8 = 10;
    pub const DELSET: u8 = 11;
    pub const NEWSETELEM: u8 = 12;
    pub const GETSETELEM: u8 = 13;
    pub const DELSETELEM: u8 = 14;
    pub const NEWGEN: u8 = 15;
    pub const GETGEN: u8 = 16;
    pub const TRACE: u8 = 17;
    pub const NEWOBJ: u8 = 18;
    pub const GETOBJ: u8 = 19;
    pub const DELOBJ: u8 = 20;
    pub const GETOBJ_RESET: u8 = 21;
    pub const NEWFLOWTABLE: u8 = 22;
    pub const GETFLOWTABLE: u8 = 23;
    pub const DELFLOWTABLE: u8 = 24;
    pub const GETRULE_RESET: u8 = 25;
    pub const DESTROYTABLE: u8 = 26;
    pub const DESTROYCHAIN: u8 = 27;
    pub const DESTROYRULE: u8 = 28;
    pub const DESTROYSET: u8 = 29;
    pub const DESTROYSETELEM: u8 = 30;
    pub const DESTROYOBJ: u8 = 31;
    pub const DESTROYFLOWTABLE: u8 = 32;
    pub const GETSETELEM_RESET: u8 = 33;
}

/// What the engine needs from whoever runs it.
pub struct Host {
    /// How many workers count and run programs.
    pub workers: usize,
    /// Nanoseconds since the daemon's start.
    pub now: Box<dyn Fn() -> u64 + Send>,
    /// Gives a program to all workers and returns when all of them run it.
    pub publish: Box<dyn FnMut(Arc<Program>) + Send>,
}

/// The nf_tables subsystem. See the module's overview.
pub struct NfTables {
    state: State,
    program: Arc<Program>,
    batch: Option<Batch>,
    counters: CounterPool,
    /// What the last batch was found at fault for, for when it comes again.
    fault: Option<(u32, nfnetlink::Error)>,
    host: Host,
}

impl NfTables {
    /// An empty ruleset.
    pub fn new(host: Host) -> Self {
        let state = State::default();
        let program = Arc::new(Program::default());
        let counters = CounterPool::new(host.workers);
        Self { state, program, batch: None, counters, fault: None, host }
    }

    /// The state that was committed last.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Has connections of a family tracked whether rules need it or not.
    pub fn track(&mut self, family: Family) {
        if self.state.tracking.begin(family) {
            self.run(true);
        }
    }

    /// Makes a batch count.
    fn finish(&mut self, batch: Batch, client: Client, events: &mut Events) {
        let hooks_changed = batch.hooks_changed;
        let Some(state) = batch.finish(client, (self.host.now)(), events) else { return };
        self.state = state;
        self.run(hooks_changed);
    }

    /// Has the workers run the state as it is.
    fn run(&mut self, hooks_changed: bool) {
        self.program = Arc::new(Program::new(
            &self.state,
            &self.program,
            hooks_changed,
            self.counters.tallies(),
        ));
        (self.host.publish)(self.program.clone());
    }

    /// The program that the workers run.
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }
}

impl Subsystem for NfTables {
    fn id(&self) -> u8 {
        SUBSYSTEM
    }

    fn generation(&self) -> u32 {
        self.state.generation.0
    }

    fn is_dump(&self, message: &Message<'_>) -> bool {
        message.has(NLM_F_DUMP) && dump::is_get(message.command())
    }

    fn request(
        &mut self,
        message: &Message<'_>,
        reply: &mut Reply<'_>,
        _events: &mut Events,
    ) -> Result<()> {
        let query = Query { state: &self.state, message, now: (self.host.now)() };
        dump::one(&query, reply)
    }

    fn dump(&mut self, message: &Message<'_>, _client: Client) -> Result<Box<dyn Dump>> {
        let query = Query { state: &self.state, message, now: (self.host.now)() };
        dump::all(&query)
    }

    fn begin(&mut self, generation: Option<u32>, _client: Client) -> Result<()> {
        if generation.is_some_and(|generation| generation != self.state.generation.0) {
            return Err(Errno::ERESTART.into());
        }
        let mut batch = Batch::new(&self.state, self.counters.clone());
        batch.fault = self.fault.take();
        self.batch = Some(batch);
        Ok(())
    }

    fn apply(&mut self, message: &Message<'_>, client: Client, events: &mut Events) -> Result<()> {
        let NfGen { family, .. } = message.nfgen()?;
        let batch = self.batch.as_mut().ok_or(Errno::EINVAL)?;
        batch::apply(&mut Op { batch, host: &self.host, message, family, client, events })
    }

    fn commit(&mut self, client: Client, events: &mut Events) -> Result<()> {
        self.validate(client)?;
        let Some(batch) = self.batch.take() else { return Ok(()) };
        self.finish(batch, client, events);
        Ok(())
    }

    fn validate(&mut self, _client: Client) -> Result<()> {
        match self.batch.as_mut().map_or(Ok(()), Batch::check) {
            Ok(()) => Ok(()),
            Err(Fault { error, seq: Some(seq) }) => {
                // The batch comes again, and that message is refused.
                self.fault = Some((seq, error));
                Err(Errno::EAGAIN.into())
            }
            Err(Fault { error, seq: None }) => Err(error),
        }
    }

    fn abort(&mut self) {
        if let Some(batch) = self.batch.take() {
            self.state.skip_handles(&batch.state);
        }
    }

    fn tick(&mut self, events: &mut Events) {
        let now = (self.host.now)();
        object::tell_news(&self.state, now, events);
        let mut batch = Batch::new(&self.state, self.counters.clone());
        if self.batch.is_none() && elem::collect(&mut batch, now) {
            self.state = batch.state;
            self.run(false);
        }
    }

    fn disconnected(&mut self, client: Client, _events: &mut Events) {
        // No generation, no event: the kernel lets an owner's tables go without a word.
        if table::disown(&mut self.state, client) {
            self.run(true);
        }
    }
}
