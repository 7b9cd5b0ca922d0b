//! A lane: what one worker of one node tells all others, in the order of its datagrams, and what they make of it.
//!
//! # Overview
//!
//! ```text
//! worker's rings -> SendLane (builds datagrams, remembers what each carried) -> Node -> ... -> Node -> ReceiveLane -> Table
//!                     ^ NACK, WATERMARK                                         <- poll: NACK, watermark
//! ```
//!
//! - [`SendLane`] packs records into datagrams, gives each its number and keeps a window of which slots each carried. A NACK makes
//!   it ask the worker for the *present* state of these slots; when that has travelled, RESOLVE says so. It also says
//!   all flows on request (a bulk), and what its flows amount to (digests).
//! - [`ReceiveLane`] knows, per slot, the newest generation and version that it was told, takes what is newer and nothing else,
//!   and knows which datagrams are missing. Its watermark is what it vouches for: every change that was sent at or before it is
//!   in the table, or something newer of the same slot is.
//!
//! # Life cycle
//!
//! A `SendLane` lives as long as its node's epoch; a `ReceiveLane` as long as the sender's epoch is heard. A `ReceiveLane` begins
//! with nothing and says so ([`ReceiveLane::wants_bulk`]); whoever runs it asks the sender for a bulk and calls
//! [`ReceiveLane::begin`] as it does. After the bulk's end, and with all gaps before that closed, it is whole. If datagrams were lost
//! for good, it wants a bulk again, but only of what it does not have ([`ReceiveLane::resume`], `kept`).
//!
//! # What a sweep spares
//!
//! Each bulk of all flows has a stamp, the receiver's own count. From `begin` on, all that is applied carries it. What has another stamp
//! when the bulk is complete was not said in it, so it is gone. Datagrams from before `begin` that come late are not taken: the bulk says
//! what they said, and they would lend the new stamp to flows whose end was lost. A bulk that goes on keeps its stamp; what ended
//! meanwhile is said to have ended.
//!
//! # In what order rings are to be drained
//!
//! A record of the lazy ring may be overtaken by a newer one of the same slot in the urgent ring: `SendLane` drops it then. An urgent
//! one must not be overtaken: so look how much is in the lazy ring, drain the urgent one until it is empty, and only then take
//! what was in the lazy one when you looked.
//!
//! # Who may touch what
//!
//! Both belong to the sync thread alone. Both are pure: time is an argument, chance a seed.

mod awaited;
mod bulk;
mod counters;
mod digest;
mod doubt;
mod entry;
mod gaps;
mod kept;
#[cfg(test)]
mod model;
mod open;
mod pace;
mod pages;
mod peers;
mod receive;
mod repair;
mod said;
mod send;
#[cfg(test)]
mod tests;
mod window;

pub use counters::{ReceiveCounters, SendCounters};
pub use doubt::DigestOutcome;
pub use receive::{ReceiveLane, Received};
pub use send::SendLane;

use packet::FlowKey;

use crate::ids::{FlowId, Lane, Seq};

/// A DATA datagram that is to be framed, sealed and sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Its number.
    pub seq: Seq,
    /// Acknowledge its flows as soon as they are in the table.
    pub want_ack: bool,
    /// There are records of a bulk in it.
    pub bulk: bool,
    /// There is nothing more to say at the moment.
    pub last: bool,
    /// Its records. The first is ROLE.
    pub payload: &'a [u8],
}

/// How a lane sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Nanoseconds that a record waits for company at most.
    pub flush: u64,
    /// Bytes on the wire that a lane may send in a second; 0: no limit.
    pub bytes_per_second: u64,
    /// Datagrams that can be repaired at most.
    pub window: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self { flush: 100_000, bytes_per_second: 125_000_000, window: 65_536 }
    }
}

/// What may be drained from a worker's rings now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// The ring of changes.
    pub urgent: bool,
    /// The ring of refreshes, repairs and bulks.
    pub lazy: bool,
}

/// How far a bulk has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Slots that were said.
    pub done: u32,
    /// Slots that there are.
    pub of: u32,
}

/// How far behind its standbys are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Behind {
    /// Nanoseconds from sending a datagram to hearing that all up to it is there: half of the recent ones took less.
    pub lag_p50: u64,
    /// Likewise: of a hundred, one took longer.
    pub lag_p99: u64,
    /// Datagrams that the slowest living standby has not confirmed.
    pub datagrams: u64,
    /// Records of flows in them.
    pub flows: u64,
    /// Nanoseconds since the oldest of them was sent.
    pub oldest: u64,
}

/// Messages to workers that one datagram causes at most: an end takes 20 bytes; an apply, and the end of an older flow, 64.
pub const ROOM: usize = crate::wire::PAYLOAD / 20;

/// Where a [`ReceiveLane`] puts what it takes.
pub trait Table {
    /// The worker that owns a flow with this original key.
    fn owner_of(&self, original: &FlowKey) -> Lane;

    /// A wire record that is newer than what was there.
    fn apply(&mut self, worker: Lane, stamp: u32, acknowledge: bool, record: &[u8]);

    /// This flow is gone.
    fn delete(&mut self, worker: Lane, id: FlowId);

    /// SET_ELEM or NEIGH.
    fn elsewhere(&mut self, record: &[u8]);
}
