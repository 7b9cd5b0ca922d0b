//! A worker's part in replication: it says what changed in its flows, and takes in what other nodes say of theirs.
//!
//! # Overview
//!
//! ```text
//! Replica::turn, at the end of a worker's turn:
//!   heed      the role: who owns the flows, and so whether they age and are said
//!   inbound   what the node asks: apply, delete, export, bulk, flush, sweep, release
//!   urgent    dirty slots -> wire records -> the urgent ring
//!   lazy      repairs, bulk, refreshes -> the lazy ring
//! ```
//!
//! The worker writes the wire record itself: nobody else reads its flows, so nothing is torn and nothing is locked. A slot is taken
//! only when the ring has room for the longest record; until then it stays dirty, and its newest state goes out later. All that a
//! turn does is bounded, more so while packets wait.
//!
//! # Who may touch what
//!
//! [`Replica`] and its shard are the worker's; [`NodeEnds`] the sync thread's. Between them are three rings and
//! [`Standing`], nothing else. Nothing is allocated after [`link`].

mod ends;
mod export;
mod flow;
mod message;
mod serve;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use conntrack::{Shard, Slot};
use packet::Tick;

pub use self::ends::{Heard, NodeEnds, Told};
pub use self::message::{
    RECORD, Words, read_inbound, read_outbound, write_inbound, write_outbound,
};
use self::serve::{Request, Sweep};
use crate::hands::RingFull;
use crate::ids::{FlowId, Group, Lane, NodeId};
use crate::records::Role;
use crate::ring::{self, LONGEST};
use crate::standing::Standing;
use crate::{Mutation, mutated};

/// Flows whose packets may go that the dataplane was not told of yet.
const RELEASED: usize = 4096;

/// How a worker is linked to the node.
#[derive(Clone, Copy, Debug)]
pub struct WorkerConfig {
    /// This node.
    pub node: NodeId,
    /// This worker.
    pub lane: Lane,
    /// Whose unit of ownership its flows are.
    pub group: Group,
    /// Words of the ring for changes.
    pub urgent: usize,
    /// Words of the ring for what can wait.
    pub lazy: usize,
    /// Words of the ring to the worker.
    pub inbound: usize,
}

impl WorkerConfig {
    /// With rings of the usual sizes: 1 MiB (6,000 new flows of IPv4), 256 KiB, 1 MiB.
    pub const fn new(node: NodeId, lane: Lane, group: Group) -> Self {
        Self { node, lane, group, urgent: 1 << 17, lazy: 1 << 15, inbound: 1 << 17 }
    }
}

/// What lies beside a flow and is not the shard's: of the dataplane, which knows NAT and interfaces.
pub trait Beside {
    /// CRC32C of the name of the interface behind whose address a flow is masqueraded; 0: of none.
    fn behind(&self, shard: &Shard, slot: Slot) -> u32;

    /// A flow of another node's came, or was said in full again: `behind` as above.
    fn arrived(&mut self, shard: &Shard, slot: Slot, behind: u32);
}

/// Nothing is beside.
impl Beside for () {
    fn behind(&self, _: &Shard, _: Slot) -> u32 {
        0
    }

    fn arrived(&mut self, _: &Shard, _: Slot, _: u32) {}
}

/// What a worker may do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct May {
    /// What the node is.
    pub role: Role,
    /// It is active, and the sync thread lives.
    pub forward: bool,
}

/// What a worker counts of its part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Records that were said, by [`Cause`](crate::hands::Cause).
    pub said: [u64; 7],
    /// Turns that ended with changes for which the urgent ring had no room.
    pub full: u64,
    /// Flows that cannot be said: their keys do not exist on the wire.
    pub unfit: u64,
    /// Records that were applied.
    pub applied: u64,
    /// Records that could not be applied.
    pub refused: u64,
    /// Messages that were none.
    pub malformed: u64,
}

/// A worker's end.
pub struct Replica {
    config: WorkerConfig,
    standing: Arc<Standing>,
    urgent: ring::Producer,
    lazy: ring::Producer,
    inbound: ring::Consumer,
    /// What was heeded last.
    role: Option<Role>,
    /// It has become the owner, and something that the old owner said is in the ring.
    is_behind: bool,
    requests: VecDeque<Request>,
    flushes: VecDeque<u64>,
    sweep: Option<Sweep>,
    released: VecDeque<Slot>,
    /// Something was pushed since [`Self::wakes`] was asked.
    pushed: bool,
    counters: Counters,
    /// A message on its way out, and one on its way in.
    words: Box<Words>,
    heard: Option<Box<Words>>,
}

/// Links a worker and the node.
pub fn link(config: WorkerConfig, standing: Arc<Standing>) -> (Replica, NodeEnds) {
    let (urgent, urgent_end) = ring::ring(config.urgent.max(4 * LONGEST));
    let (lazy, lazy_end) = ring::ring(config.lazy.max(4 * LONGEST));
    let (inbound_end, inbound) = ring::ring(config.inbound.max(4 * LONGEST));
    let replica = Replica {
        config,
        standing,
        urgent,
        lazy,
        inbound,
        role: None,
        is_behind: false,
        requests: VecDeque::with_capacity(serve::REQUESTS),
        flushes: VecDeque::with_capacity(serve::FLUSHES),
        sweep: None,
        released: VecDeque::with_capacity(RELEASED),
        pushed: false,
        counters: Counters::default(),
        words: Box::new([0; LONGEST]),
        heard: Some(Box::new([0; LONGEST])),
    };
    let ends = NodeEnds {
        urgent: Heard::new(urgent_end),
        lazy: Heard::new(lazy_end),
        inbound: Told::new(inbound_end),
    };
    (replica, ends)
}

impl Replica {
    /// What is to be done once a turn, after its packets: heeds the role, serves the node, says what changed. `idle`: no packets
    /// wait, so more of it. Returns how much was done; 0: nothing, and the worker may rest.
    pub fn turn(
        &mut self,
        shard: &mut Shard,
        beside: &mut dyn Beside,
        now: Tick,
        idle: bool,
    ) -> usize {
        self.catch_up(shard, beside, now);
        let mut done = self.serve_inbound(shard, beside, now, idle);
        done += self.flush(shard, beside, now);
        done += self.export_urgent(shard, beside, now, idle);
        done += self.serve_requests(shard, beside, now, idle);
        done += self.export_lazy(shard, beside, now, idle);
        done + self.go_on_with_sweep(shard, now)
    }

    /// Says what a burst of packets changed, before those packets leave: if this node dies between, or this thread stands still,
    /// the others know of what was forwarded. Returns how much was said.
    #[inline]
    pub fn say(&mut self, shard: &mut Shard, beside: &mut dyn Beside, now: Tick) -> usize {
        self.export_urgent(shard, beside, now, false)
    }

    /// What this worker may do. Two loads; to be asked at the start of a turn, and before packets leave.
    #[inline]
    pub fn may(&self, now: Tick) -> May {
        let role = self.standing.role();
        May { role, forward: role == Role::Active && now < self.standing.lease() }
    }

    /// Heeds the node's role, if it has another: who owns the flows, whether they age, and whether changes are said. Also
    /// [`turn`](Self::turn)'s first step; [`catch_up`](Self::catch_up) is what is to be called before a turn's packets.
    #[inline]
    pub fn heed(&mut self, shard: &mut Shard, now: Tick) {
        let role = self.standing.role();
        if self.role != Some(role) {
            self.become_role(role, shard, now);
        }
    }

    #[cold]
    fn become_role(&mut self, role: Role, shard: &mut Shard, now: Tick) {
        let before = self.role.replace(role);
        match role {
            Role::Active | Role::Held => {
                let took_over = !matches!(before, Some(Role::Active | Role::Held));
                self.is_behind = took_over && !self.inbound.is_empty();
                shard.release(now);
                shard.replicate(true);
            }
            Role::Standby | Role::Redirecting => {
                shard.replicate(mutated(Mutation::ExportImports));
                shard.hold();
                if mutated(Mutation::AgeWhileHeld) {
                    shard.release(Tick(0));
                }
            }
            Role::Passive => {
                shard.replicate(false);
                shard.release(now);
            }
        }
    }

    /// A flow whose parked packets may go: enough standbys have it.
    pub fn released(&mut self) -> Option<Slot> {
        self.released.pop_front()
    }

    /// Says a flow at once, because its first packet waits; its name, which [`released`](Self::released) will tell of.
    ///
    /// # Errors
    /// The ring is full; it is said later, and not as one that waits.
    pub fn export_now(
        &mut self,
        shard: &mut Shard,
        beside: &dyn Beside,
        slot: Slot,
        now: Tick,
    ) -> Result<FlowId, RingFull> {
        self.export_deferred(shard, beside, slot, now)?;
        Ok(self.id_of(shard, slot))
    }

    /// This node's name of the flow in a slot.
    pub fn id_of(&self, shard: &Shard, slot: Slot) -> FlowId {
        self.name(slot, shard.replica_generation(slot))
    }

    /// Whether the sync thread sleeps and must be woken, because something was pushed since this was last asked.
    #[inline]
    pub fn wakes(&mut self) -> bool {
        std::mem::take(&mut self.pushed) && self.standing.must_ring()
    }

    /// What was counted.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Where the node's role is.
    pub fn standing_of(&self) -> &Arc<Standing> {
        &self.standing
    }
}
