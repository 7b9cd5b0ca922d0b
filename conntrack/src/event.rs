//! What is told of flows: which changes (`enum ip_conntrack_events`), and of what.

use packet::Tick;

use crate::snapshot::Snapshot;

/// A flow was confirmed.
pub const NEW: u32 = 1;
/// A flow that another brought about was confirmed.
pub const RELATED: u32 = 1 << 1;
/// A flow has ended.
pub const DESTROY: u32 = 1 << 2;
/// The first packet came back.
pub const REPLY: u32 = 1 << 3;
/// It is not to be given up early.
pub const ASSURED: u32 = 1 << 4;
/// The protocol's state changed.
pub const PROTOINFO: u32 = 1 << 5;
/// Its helper changed.
pub const HELPER: u32 = 1 << 6;
/// Its mark changed.
pub const MARK: u32 = 1 << 7;
/// Its sequence adjustment changed.
pub const SEQADJ: u32 = 1 << 8;
/// Its security mark changed.
pub const SECMARK: u32 = 1 << 9;
/// Its labels changed.
pub const LABEL: u32 = 1 << 10;
/// Its synproxy state changed.
pub const SYNPROXY: u32 = 1 << 11;

/// Listeners to [`NEW`] and [`RELATED`]: a bit for [`Shard::listen`](crate::Shard::listen).
pub const LISTEN_NEW: u32 = 1;
/// Listeners to all that is neither new nor destroyed.
pub const LISTEN_UPDATE: u32 = 2;
/// Listeners to [`DESTROY`].
pub const LISTEN_DESTROY: u32 = 4;

/// Which listeners these events are for; the kernel sends one message for all that one packet changed.
pub(crate) const fn listeners(events: u32) -> u32 {
    if events & DESTROY != 0 {
        LISTEN_DESTROY
    } else if events & (NEW | RELATED) != 0 {
        LISTEN_NEW
    } else if events != 0 {
        LISTEN_UPDATE
    } else {
        0
    }
}

/// What happened to a flow, and the flow as it was then.
#[derive(Clone, Debug)]
pub struct Event {
    /// The changes since the last event of this flow.
    pub events: u32,
    /// The flow.
    pub flow: Snapshot,
    /// When it was told.
    pub at: Tick,
    /// The netlink port id of the program that brought it about; 0: none did.
    pub cause: u32,
}
