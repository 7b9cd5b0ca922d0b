//! ctnetlink: what `conntrack` and `nfct` speak (linux/netfilter/nfnetlink_conntrack.h).
//!
//! # Overview
//!
//! [`CtNetlink`], [`CtExpect`] and [`CtTimeout`] are [`Subsystem`]s of the nfnetlink server. Flows belong to the workers, so
//! whatever is asked is a [`Job`] that [`Shards`] hands to the worker whose flow it is. [`EventTeller`] makes messages of what
//! shards tell.
//!
//! # Life cycle of a request
//!
//! The message is read as a whole (a fault changes nothing), the flow is looked for on its owner, a job does the change
//! there, and what it found is written as an answer. A dump goes shard by shard, some slots a job, so that no worker waits for
//! it and it takes little memory whatever the table's size.
//!
//! # Who may touch what
//!
//! All of this belongs to the nfnetlink server's thread, but for jobs, which run on the workers, and [`EventTeller`], which
//! belongs to whoever takes the events from the shards.

mod change;
mod create;
pub mod cta;
mod dump;
mod entry;
mod expect;
mod filter;
pub mod nat;
mod state;
mod stats;
mod teller;
#[cfg(test)]
mod tests;
mod timeout;
mod tuple;

use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use nfnetlink::message::NLM_F_CREATE;
use nfnetlink::subsystem::unknown_command;
use nfnetlink::{
    Attr, Client, Dump, Errno, Events, Header, Message, Reply, Result, Subsystem, Table, Writer,
};
use packet::{FlowKey, Tick};

use crate::flow::{Direction, Slot};
use crate::shard::Shard;
use change::Change;
use cta::{SUBSYSTEM, msg, top};
use filter::Filter;

pub use entry::Epoch;
pub use expect::CtExpect;
pub use teller::{EventTeller, event_message};
pub use timeout::{CtTimeout, Timeout, Timeouts};

/// What runs on a worker, between two bursts. Answers come back through what it captures.
pub type Job = Box<dyn FnOnce(&mut Shard, Tick) + Send>;

/// The shards of all workers, as the nfnetlink server's thread reaches them.
pub trait Shards: Send + Sync {
    /// How many there are; at least one.
    fn count(&self) -> usize;
    /// The one that owns packets with this key.
    fn owner(&self, key: &FlowKey) -> usize;
    /// Hands a job to a worker and waits until it ran; false where the worker is gone.
    fn run(&self, shard: usize, job: Job) -> bool;
}

/// Has a worker do something and gives what comes of it.
///
/// # Errors
///
/// `EAGAIN` where the worker is gone.
fn ask<T: Send + 'static>(
    shards: &dyn Shards,
    shard: usize,
    work: impl FnOnce(&mut Shard, Tick) -> T + Send + 'static,
) -> Result<T> {
    let (sender, receiver) = sync_channel(1);
    let job: Job = Box::new(move |shard, now| {
        // Who asked waits; it can't fail.
        let _ = sender.send(work(shard, now));
    });
    let ran = shards.run(shard, job);
    receiver.try_recv().ok().filter(|_| ran).ok_or_else(|| Errno::EAGAIN.into())
}

/// A message's type.
const fn kind(subsystem: u8, command: u8) -> u16 {
    (subsystem as u16) << 8 | command as u16
}

/// The least length of an attribute that holds others (`NLA_NESTED`): it may be empty.
fn nest(attr: &Attr<'_>) -> usize {
    if attr.data.is_empty() { 0 } else { nfnetlink::attr::HEADER }
}

/// A string of at most `most` bytes that ends with a NUL (`NLA_NUL_STRING`).
///
/// # Errors
///
/// `EINVAL` where there is no NUL soon enough, or no UTF-8; `ERANGE` where something stands behind it.
fn text<'a>(attr: &Attr<'a>, most: usize) -> Result<&'a str> {
    let bytes = attr.data.get(..attr.data.len().min(most + 1)).unwrap_or_default();
    if !bytes.contains(&0) {
        return Err(attr.error(Errno::EINVAL));
    }
    attr.str(most)
}

/// The attributes of a message, checked as the kernel's policy does.
struct Top<'a>(Table<'a, { top::COUNT }>);

impl<'a> Top<'a> {
    /// # Errors
    ///
    /// `ERANGE` where an attribute is too short, or labels are too long.
    fn parse(message: &Message<'a>) -> Result<Self> {
        let this = Self(message.attrs().table());
        for attr in this.0.iter().flatten() {
            let least = match attr.kind {
                top::STATUS | top::TIMEOUT | top::MARK | top::ID | top::MARK_MASK => 4,
                top::STATUS_MASK => 4,
                top::ZONE => 2,
                top::TUPLE_ORIG..=top::TUPLE_REPLY | top::PROTOINFO..=top::NAT_SRC => nest(attr),
                top::NAT_DST..=top::SEQ_ADJ_REPLY | top::FILTER => nest(attr),
                _ => 0,
            };
            let labels = matches!(attr.kind, top::LABELS | top::LABELS_MASK);
            if attr.data.len() < least || labels && attr.data.len() > 16 {
                return Err(attr.error(Errno::ERANGE));
            }
        }
        Ok(this)
    }

    fn get(&self, kind: u16) -> Option<Attr<'a>> {
        self.0.get(usize::from(kind)).copied().flatten()
    }

    fn u32(&self, kind: u16) -> Result<Option<u32>> {
        self.get(kind).map(|attr| attr.u32()).transpose()
    }
}

/// A tuple that a request names, with its zones by direction.
#[derive(Clone, Copy, Debug)]
struct Named {
    key: FlowKey,
    zones: [u16; 2],
}

impl Named {
    /// The key that the flow would have in this direction.
    fn key_in(&self, direction: Direction) -> FlowKey {
        let [zone, zone_back] = self.zones;
        let zone = match direction {
            Direction::Original => zone,
            Direction::Reply => zone_back,
        };
        FlowKey { zone: zone.to_be_bytes(), ..self.key }
    }

    /// The flow of a shard that has this tuple, as either of its two.
    fn find(&self, shard: &Shard) -> Option<Slot> {
        [Direction::Original, Direction::Reply].into_iter().find_map(|direction| {
            let key = self.key_in(direction);
            let (slot, found) = shard.find(&key, shard.hash(&key))?;
            // In a zone of one direction only, the other direction is in zone 0.
            (found == direction).then_some(slot)
        })
    }
}

/// The tuples that a request names: the original's, the reply's.
struct NamedBoth {
    original: Option<Named>,
    reply: Option<Named>,
}

impl NamedBoth {
    /// # Errors
    ///
    /// Those of [`tuple::parse`]; `EINVAL` where more than one zone is named.
    fn parse(family: u8, attrs: &Top<'_>) -> Result<Self> {
        let zone = attrs.get(top::ZONE).map(|zone| zone.u16()).transpose()?.unwrap_or(0);
        let mut zones = [zone; 2];
        let mut read = |kind: u16, direction: usize| -> Result<Option<FlowKey>> {
            let Some(attr) = attrs.get(kind) else { return Ok(None) };
            let parsed = tuple::parse(&attr, family)?;
            if let Some(own) = parsed.zone {
                if zones != [0; 2] {
                    return Err(Errno::EINVAL.into());
                }
                if let Some(place) = zones.get_mut(direction) {
                    *place = own;
                }
            }
            Ok(Some(parsed.key))
        };
        let original = read(top::TUPLE_ORIG, 0)?;
        let reply = read(top::TUPLE_REPLY, 1)?;
        let named = |key: Option<FlowKey>| key.map(|key| Named { key, zones });
        Ok(Self { original: named(original), reply: named(reply) })
    }

    /// The one that a flow is looked up by.
    fn first(&self) -> Option<Named> {
        self.original.or(self.reply)
    }
}

/// The ctnetlink subsystem. See the module's overview.
pub struct CtNetlink {
    shards: Arc<dyn Shards>,
    epoch: Epoch,
    bind: Option<Arc<nat::Bind>>,
}

impl CtNetlink {
    /// Serves the flows of `shards`; `bind` gives those that are created their NAT, without it that is refused.
    pub fn new(shards: Arc<dyn Shards>, epoch: Epoch, bind: Option<nat::Bind>) -> Self {
        Self { shards, epoch, bind: bind.map(Arc::new) }
    }

    /// Does something with the flow that is named, on its owner, on behalf of the client with port id `cause`. Where that has it not, the other shards are asked: NAT may have
    /// given a flow a tuple of another owner.
    ///
    /// # Errors
    ///
    /// `ENOENT` where there is no such flow; what `work` says.
    fn with<T: Send + 'static>(
        &self,
        named: Named,
        cause: u32,
        work: impl Fn(&mut Shard, Slot, Tick) -> Result<T> + Clone + Send + 'static,
    ) -> Result<T> {
        let owner = self.shards.owner(&named.key);
        let others = (0..self.shards.count()).filter(|shard| *shard != owner);
        for shard in std::iter::once(owner).chain(others) {
            let work = work.clone();
            let done = ask(&*self.shards, shard, move |shard, now| {
                let slot = named.find(shard)?;
                Some(shard.on_behalf(cause, |shard| work(shard, slot, now)))
            })?;
            if let Some(done) = done {
                return done;
            }
        }
        Err(Errno::ENOENT.into())
    }

    fn get(&self, message: &Message<'_>, reply: &mut Reply<'_>) -> Result<()> {
        let named = NamedBoth::parse(message.nfgen()?.family, &Top::parse(message)?)?;
        let named = named.first().ok_or(Errno::EINVAL)?;
        let flow = self.with(named, 0, |shard, slot, now| {
            shard.snapshot(slot, now).ok_or_else(|| Errno::ENOENT.into())
        })?;
        let header = Header { seq: reply.to.seq, pid: reply.client.port_id, ..Header::default() };
        entry::put(reply.out, header, &flow, 2, self.epoch);
        Ok(())
    }

    fn new_or_change(&self, message: &Message<'_>, client: Client) -> Result<()> {
        let attrs = Top::parse(message)?;
        let both = NamedBoth::parse(message.nfgen()?.family, &attrs)?;
        let cause = client.port_id;
        let found = match both.first() {
            Some(named) if message.has(nfnetlink::message::NLM_F_EXCL) => {
                self.with(named, cause, |_, _, _| Err::<(), _>(Errno::EEXIST.into()))
            }
            Some(named) => {
                let change = Change::parse(named.key.protocol, &attrs);
                self.with(named, cause, move |shard, slot, now| {
                    change.clone()?.apply(shard, slot, now)
                })
            }
            None => Err(Errno::ENOENT.into()),
        };
        match found {
            Err(error) if error.errno == Errno::ENOENT && message.has(NLM_F_CREATE) => {
                self.create(&both, &attrs, cause)
            }
            done => done,
        }
    }

    fn delete(&self, message: &Message<'_>, client: Client) -> Result<()> {
        let attrs = Top::parse(message)?;
        let nfgen = message.nfgen()?;
        let cause = client.port_id;
        let of_one = attrs.get(top::FILTER).is_none();
        let named = match of_one {
            true => NamedBoth::parse(nfgen.family, &attrs)?.first(),
            false => None,
        };
        let Some(named) = named else {
            // A flush looks at the family from version 1 on, or where it has a filter.
            let family = if nfgen.version != 0 || !of_one { nfgen.family } else { 0 };
            return dump::flush(&*self.shards, &Filter::parse(family, &attrs)?, cause);
        };
        let id = attrs.u32(top::ID)?;
        self.with(named, cause, move |shard, slot, now| {
            if id.is_some_and(|id| shard.flow(slot).is_none_or(|flow| flow.id() != id)) {
                return Err(Errno::ENOENT.into());
            }
            shard.kill(slot, now);
            Ok(())
        })
    }
}

impl Subsystem for CtNetlink {
    fn id(&self) -> u8 {
        SUBSYSTEM
    }

    fn request(
        &mut self,
        message: &Message<'_>,
        reply: &mut Reply<'_>,
        _events: &mut Events,
    ) -> Result<()> {
        match message.command() {
            msg::NEW => self.new_or_change(message, reply.client),
            msg::GET | msg::GET_CTRZERO => self.get(message, reply),
            msg::DELETE => self.delete(message, reply.client),
            // Without the flags of a dump the kernel says nothing.
            msg::GET_STATS_CPU => Ok(()),
            msg::GET_STATS => stats::global(&*self.shards, reply),
            msg::GET_DYING | msg::GET_UNCONFIRMED => Err(Errno::EOPNOTSUPP.into()),
            _ => Err(unknown_command()),
        }
    }

    fn is_dump(&self, message: &Message<'_>) -> bool {
        matches!(
            message.command(),
            msg::GET
                | msg::GET_CTRZERO
                | msg::GET_STATS_CPU
                | msg::GET_DYING
                | msg::GET_UNCONFIRMED
        )
    }

    fn dump(&mut self, message: &Message<'_>, _client: Client) -> Result<Box<dyn Dump>> {
        let shards = Arc::clone(&self.shards);
        match message.command() {
            msg::GET_STATS_CPU => Ok(Box::new(stats::PerWorker::new(shards))),
            // Nothing is between the table and its end, and what is not confirmed is a packet's that is being looked at: the
            // kernel has shown none of these since 6.0 either.
            msg::GET_DYING | msg::GET_UNCONFIRMED => Ok(Box::new(Nothing)),
            command => {
                let filter = Filter::parse(message.nfgen()?.family, &Top::parse(message)?)?;
                let clear = command == msg::GET_CTRZERO;
                Ok(Box::new(dump::Flows::new(shards, filter, clear, self.epoch)))
            }
        }
    }
}

/// A dump of nothing.
struct Nothing;

impl Dump for Nothing {
    fn next(&mut self, _header: Header, _room: usize, _out: &mut Writer) -> bool {
        false
    }
}
