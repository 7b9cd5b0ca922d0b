//! What a node wants done, and asks of whoever runs it: the daemon, or the simulator.

use arrayvec::ArrayVec;
use packet::FlowKey;

use crate::ids::{Epoch, FlowId, Group, Lane, NodeId, Term};
use crate::records::Role;

/// Slots that one request to a worker names at most.
pub const SLOTS: usize = 60;

/// Why a worker exported a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cause {
    /// A flow began.
    New = 0,
    /// A flow changed.
    Change = 1,
    /// A flow ended.
    End = 2,
    /// It lives on: its deadline was put off.
    Refresh = 3,
    /// It was asked for, because its datagram was lost.
    Repair = 4,
    /// A bulk came by.
    Bulk = 5,
    /// Its first packet waits for the answer.
    Deferred = 6,
}

/// What a worker tells the node, in the order of its ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outbound<'a> {
    /// A wire record (FLOW_FULL, FLOW_UPD, FLOW_DEL, SET_ELEM, NEIGH), whole. `slot` is the flow's; of others `u32::MAX`.
    Record {
        /// Why.
        cause: Cause,
        /// Of which slot.
        slot: u32,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// All that was asked for under this token went before.
    Mark {
        /// As it was given.
        token: u64,
        /// Of a bulk: the next slot, `u32::MAX` where there are no more.
        next: u32,
    },
    /// This imported flow is in the table.
    Applied {
        /// The flow.
        id: FlowId,
        /// The version that was applied.
        version: u32,
    },
    /// This record could not be applied: the table is full.
    Refused {
        /// The flow.
        id: FlowId,
    },
}

/// What the node tells a worker, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "made on the stack, one at a time")]
pub enum Inbound<'a> {
    /// Apply this wire record; its version was checked.
    Apply {
        /// See the module `lane`: what a sweep spares.
        stamp: u32,
        /// Of the datagram that brought it: the low half of its number. Tells which of two flows with a common key is the later.
        order: u32,
        /// Say so when it is in the table.
        acknowledge: bool,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// This flow is gone.
    Delete(FlowId),
    /// Export these slots, then mark. Repairs are said in full.
    Export {
        /// To mark with.
        token: u64,
        /// Which.
        slots: ArrayVec<u32, SLOTS>,
    },
    /// Export all flows in `count` slots from `from` on, then mark.
    Bulk {
        /// To mark with.
        token: u64,
        /// The first.
        from: u32,
        /// How many slots.
        count: u32,
    },
    /// Export all that changed, then mark.
    Flush {
        /// To mark with.
        token: u64,
    },
    /// End all flows that have another stamp than this.
    Sweep {
        /// What is spared.
        stamp: u32,
    },
    /// The first packets of this flow may go: enough standbys have it.
    Release {
        /// The flow.
        id: FlowId,
    },
}

/// A worker's ring has no room. What was to be put there has to be put off or done without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ring to the worker is full")]
pub struct RingFull;

/// Who is to get a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// All nodes.
    All,
    /// One of them.
    Node(NodeId),
}

/// What must be on disk before it counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// Of the last start.
    pub epoch: Epoch,
    /// Per group: the term that this node may take at its next promotion.
    pub reserved: Term,
}

/// Whoever runs a node.
pub trait Hands {
    /// Sends a datagram (sealed, whole) on all links that are up.
    fn send(&mut self, to: To, datagram: &[u8]);

    /// The worker that owns a flow with this original key.
    fn owner_of(&self, original: &FlowKey) -> Lane;

    /// How many messages, at least, a worker's ring has room for.
    fn room(&self, worker: Lane) -> usize;

    /// Puts a message into a worker's ring, and wakes it.
    ///
    /// # Errors
    /// There is no room.
    fn tell(&mut self, worker: Lane, message: &Inbound<'_>) -> Result<(), RingFull>;

    /// True when no worker has anything left to apply.
    fn applied(&self) -> bool;

    /// A neighbour or an element of a set that is not a worker's to apply: a wire record.
    fn apply_elsewhere(&mut self, record: &[u8]);

    /// Another node asks this one, the owner, for all that there is: neighbours and elements of sets are to be said, too, whether they
    /// were said before or not.
    fn say_elsewhere(&mut self) {}

    /// Another node's daemon said this, by [`Node::say_control`](crate::node::Node::say_control); it may be for a third.
    fn control(&mut self, _: NodeId, _: &[u8]) {}

    /// What this node is to the group from now on. Workers heed it before their next burst.
    fn become_role(&mut self, group: Group, role: Role, term: Term, owner: Option<NodeId>);

    /// The old owner has handed over, and passes packets on already: the new one, which this node is about to become, keeps what it
    /// has received. Without, a new owner discards that, for the old one may have forwarded it.
    fn handed_over(&mut self) {}

    /// Renews the workers' lease up to `until`.
    fn lease(&mut self, until: packet::Tick);

    /// Puts this on disk; true when it is there.
    fn save(&mut self, group: Group, saved: Saved) -> bool;

    /// Something that an operator should know.
    fn alarm(&mut self, what: std::fmt::Arguments<'_>);
}
