//! A flow by value: what dumps and events are made of.

use packet::{FlowKey, Tick};

use crate::flow::{Slot, Status};

/// Packets and bytes of a direction (`struct nf_conn_counter`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Packets.
    pub packets: u64,
    /// Bytes of layer 3.
    pub bytes: u64,
}

/// A flow at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Where it is.
    pub slot: Slot,
    /// See [`Flow::id`](crate::Flow::id).
    pub id: u32,
    /// By direction.
    pub keys: [FlowKey; 2],
    /// Its bits.
    pub status: Status,
    /// Its mark.
    pub mark: u32,
    /// Its security mark.
    pub secmark: u32,
    /// Its labels, if it has any.
    pub labels: Option<[u8; 16]>,
    /// By direction, if it is accounted.
    pub accounts: Option<[Account; 2]>,
    /// When it was confirmed, if that is kept.
    pub start: Option<Tick>,
    /// When it ended; of one that is being destroyed.
    pub stop: Option<Tick>,
    /// The protocol's state; `proto` has a view for each protocol.
    pub proto: [u32; 14],
    /// Milliseconds until it ends.
    pub remaining: u32,
    /// See [`Flow::policy`](crate::Flow::policy).
    pub policy: u16,
    /// Which events are told of it.
    pub event_mask: u32,
}
