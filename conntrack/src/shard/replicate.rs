//! What other nodes are to know of the flows, and what they know.
//!
//! # Overview
//!
//! ```text
//! note, kill, set_timeout -> soil (urgent)        \
//! the wheel finds a flow renewed, or far on -> lazy } -> take_dirty -> export -> a record
//! ```
//!
//! A flow is named by its slot and the slot's *generation*, which goes up at each confirmation; what is said of it has a *version*,
//! which goes up at each export. Both are beside the records, in memory that is touched while flows are replicated. What is said is
//! always the newest state, so a slot waits in a set of slots ([`Dirty`]) and not in a queue.
//!
//! # Who may touch what
//!
//! The shard's worker. While replication is off, [`Shard::soil`] is one comparison, and packets of established flows do not come
//! by it at all.

use std::io;

use packet::Tick;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::dirty::{Dirty, Taken};
use super::index::Index;
use super::pages::Pages;
use super::{Shard, beat_after};
use crate::flow::{Flow, Slot, Status};
use crate::proto::tcp::sent;

/// The low bits of [`Mark::generation`] that are one.
const GENERATION: u32 = (1 << 22) - 1;
/// In [`Mark::generation`]: this generation was not announced yet.
const FRESH: u32 = 1 << 31;
/// In [`Mark::generation`]: the next news are said in full.
const AGAIN: u32 = 1 << 30;

/// Status bits that other nodes hear of.
pub const REPLICATED: u32 = Status::EXPECTED
    | Status::SEEN_REPLY
    | Status::ASSURED
    | Status::SRC_NAT
    | Status::DST_NAT
    | Status::SEQ_ADJUST
    | Status::SRC_NAT_DONE
    | Status::DST_NAT_DONE
    | Status::FIXED_TIMEOUT
    | Status::NAT_CLASH
    | Status::HELPER;

/// How soon others are to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Haste {
    /// A flow began, changed, or ended.
    Urgent,
    /// It lives on.
    Lazy,
}

/// What is known of a slot.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Mark {
    /// Of the flow that another node had or has here.
    pub(super) origin: u64,
    /// 22 bits, [`FRESH`] and [`AGAIN`].
    generation: u32,
    /// Of what was said last.
    version: u32,
    /// The deadline that was said last.
    pub(super) deadline: u32,
    /// How much both sides of a TCP connection had sent then, in bytes that wrap.
    pub(super) sent: u32,
    /// The [stint](Replicas::stint) in which others were told that there is a flow; 0: they know of none.
    announced: u32,
    /// See [`Shard::sweep`].
    pub(super) stamp: u32,
    /// See [`Import::order`](super::Import::order).
    pub(super) order: u32,
    unused: u32,
}

const _: () = assert!(size_of::<Mark>() == 40);

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// What others do not know yet.
    News,
    /// All of a flow that is there, and that it is gone of one that is not.
    Whole,
}

/// What there is to say of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Say {
    /// All of its flow.
    Full,
    /// What may have changed.
    Update,
    /// That it is gone.
    Delete,
    /// Others know of no flow, and there is none.
    Nothing,
}

/// What [`Shard::export`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Export {
    /// What there is to say.
    pub say: Say,
    /// Which of the slot's flows.
    pub generation: u32,
    /// Of what is said.
    pub version: u32,
    /// It was changed ([`Haste::Urgent`]) or was not announced before.
    pub began: bool,
}

/// A shard's part in replication.
pub(super) struct Replicas {
    /// Changes are kept for others.
    pub(super) on: bool,
    /// There are other nodes: flows have names.
    pub(super) named: bool,
    /// See [`Shard::hold`].
    pub(super) held: bool,
    /// Flows of other nodes' are not over before this beat.
    pub(super) floor: Option<u32>,
    /// Counts how often replication was switched on.
    stint: u32,
    urgent: Dirty,
    pub(super) lazy: Dirty,
    pub(super) marks: Pages<Mark>,
    /// Where another node's flow is, by its name without the generation.
    pub(super) origins: Index,
    /// What is refused and killed for imports.
    pub(super) counts: Counts,
}

/// What was counted of imports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Flows of other nodes in the table.
    pub imported: u64,
    /// Imports that found their flow there, ours or under another name.
    pub adopted: u64,
    /// Flows that an import ended because they had one of its keys.
    pub clashed: u64,
    /// Imports that were dropped because what has their keys was said later, by the same node.
    pub late: u64,
    /// Imports for which there was no place.
    pub refused: u64,
    /// Updates of flows that are not there.
    pub unknown: u64,
    /// Flows that a sweep ended.
    pub swept: u64,
}

impl Replicas {
    pub(super) fn new(flows: u32) -> io::Result<Self> {
        Ok(Self {
            on: false,
            named: false,
            held: false,
            floor: None,
            stint: 0,
            urgent: Dirty::new(flows)?,
            lazy: Dirty::new(flows)?,
            marks: Pages::new(flows as usize)?,
            // It has room for two keys of each.
            origins: Index::new(flows.div_ceil(2))?,
            counts: Counts::default(),
        })
    }

    pub(super) fn mark(&self, slot: Slot) -> Mark {
        self.marks.get(slot.0).copied().unwrap_or_default()
    }
}

impl Shard {
    /// Keeps changes for other nodes from now on, or no longer. Others know of no flow then.
    pub fn replicate(&mut self, on: bool) {
        if on == self.replicas.on {
            return;
        }
        self.replicas.named = true;
        self.replicas.on = on;
        if on {
            self.replicas.stint = self.replicas.stint.wrapping_add(1).max(1);
            self.replicas.urgent.begin();
            self.replicas.lazy.begin();
        }
    }

    /// Whether changes are kept.
    pub fn is_replicating(&self) -> bool {
        self.replicas.on
    }

    /// Something of a flow changed that others are to know.
    #[inline(always)]
    pub(super) fn soil(&mut self, slot: Slot) {
        if self.replicas.on {
            self.soil_slowly(slot);
        }
    }

    #[inline(never)]
    fn soil_slowly(&mut self, slot: Slot) {
        let is_shared = |flow: &Flow| flow.status().has(Status::CONFIRMED) && !flow.is_local();
        if self.flow(slot).is_some_and(is_shared) {
            self.replicas.urgent.add(slot);
        }
    }

    /// Others are to hear of a slot, be there a flow or not.
    pub fn mark_dirty(&mut self, slot: Slot, haste: Haste) {
        if slot.0 < self.used {
            match haste {
                Haste::Urgent => self.replicas.urgent.add(slot),
                Haste::Lazy => self.replicas.lazy.add(slot),
            }
        }
    }

    /// A slot that others are to hear of; it is taken for told. `budget`: words of 64 slots each to look through at most.
    pub fn take_dirty(&mut self, haste: Haste, budget: &mut u32) -> Taken {
        let used = self.used;
        match haste {
            Haste::Urgent => self.replicas.urgent.take(used, budget),
            Haste::Lazy => self.replicas.lazy.take(used, budget),
        }
    }

    /// Whether others have heard of all changes.
    pub fn is_clean(&self, haste: Haste) -> bool {
        match haste {
            Haste::Urgent => self.replicas.urgent.is_empty(),
            Haste::Lazy => self.replicas.lazy.is_empty(),
        }
    }

    /// What is to be said of a slot, which is taken for said: the caller says it, with this haste. A flow that is said in full
    /// lazily may be overtaken by urgent news of it, which mean nothing to who does not know it: so these are in full, too.
    pub fn export(&mut self, slot: Slot, ask: Ask, haste: Haste, now: Tick) -> Export {
        let whole = ask == Ask::Whole;
        let flow = self.flow(slot).filter(|flow| flow.is_shared());
        let said = flow.map(|flow| (flow.shared.deadline, sent(flow)));
        self.replicas.urgent.remove(slot);
        self.replicas.lazy.remove(slot);
        let stint = self.replicas.stint;
        let Some(mark) = self.replicas.marks.get_mut(slot.0) else {
            return Export { say: Say::Nothing, generation: 0, version: 0, began: false };
        };
        let knows = mark.announced == stint && stint != 0;
        let began = mark.generation & FRESH != 0 || !knows;
        let say = match said {
            Some(_) if whole || began || mark.generation & AGAIN != 0 => Say::Full,
            Some(_) => Say::Update,
            None if whole || knows => Say::Delete,
            None => Say::Nothing,
        };
        if say != Say::Nothing {
            mark.version = mark.version.wrapping_add(1);
        }
        if let Some((deadline, sent)) = said {
            mark.generation &= !(FRESH | AGAIN);
            let again = say == Say::Full && haste == Haste::Lazy;
            mark.generation |= if again { AGAIN } else { 0 };
            mark.announced = stint;
            (mark.deadline, mark.sent) = (deadline, sent);
        } else {
            mark.announced = 0;
        }
        let (generation, version) = (mark.generation & GENERATION, mark.version);
        if said.is_some() {
            self.file_for_look(slot, now);
        }
        Export { say, generation, version, began }
    }

    /// Whether there is a flow in a slot that others hear of.
    pub fn is_shared(&self, slot: Slot) -> bool {
        self.flow(slot).is_some_and(Flow::is_shared)
    }

    /// Slots from this one on were never in use.
    pub fn used(&self) -> u32 {
        self.used
    }

    /// Which of a slot's flows this is to other nodes.
    pub fn replica_generation(&self, slot: Slot) -> u32 {
        self.replicas.mark(slot).generation & GENERATION
    }

    /// A flow was confirmed: to others, it is another one than the slot's last.
    #[inline(always)]
    pub(super) fn begin_generation(&mut self, slot: Slot) {
        if self.replicas.named {
            self.begin_generation_slowly(slot);
        }
    }

    #[inline(never)]
    fn begin_generation_slowly(&mut self, slot: Slot) {
        if let Some(mark) = self.replicas.marks.get_mut(slot.0) {
            mark.generation = mark.generation.wrapping_add(1) & GENERATION | FRESH;
            mark.version = 0;
            (mark.stamp, mark.order) = (0, 0);
        }
    }

    /// Another node's name of the flow that it had in this slot, if it is that.
    pub fn origin(&self, slot: Slot) -> Option<u64> {
        let flow = self.flow(slot)?;
        flow.is_imported().then(|| self.replicas.mark(slot).origin)
    }

    /// A flow is this node's own: others do not hear of it, and it ages whoever owns the rest. To be said before it is confirmed.
    pub fn set_local(&mut self, slot: Slot) {
        if let Some(flow) = self.flow_mut(slot)
            && !flow.status().has(Status::CONFIRMED)
        {
            flow.set_local(true);
        }
    }

    /// Files a flow that was confirmed just now.
    #[inline(always)]
    pub(super) fn file_new(&mut self, slot: Slot, now: Tick) {
        if let Some(flow) = self.flow(slot)
            && self.replicas.on
        {
            let look = self.look_at(flow, beat_after(now));
            return self.wheel.file_at(&mut self.flows, slot, look);
        }
        self.wheel.file(&mut self.flows, slot);
    }

    /// When the wheel is to look at a flow that others heard of now.
    pub(super) fn file_for_look(&mut self, slot: Slot, now: Tick) {
        let Some(flow) = self.flow(slot) else { return };
        let look = self.look_at(flow, beat_after(now));
        if (flow.filed().wrapping_sub(look) as i32) > 0 {
            self.wheel.remove(&mut self.flows, slot);
            self.wheel.file_at(&mut self.flows, slot, look);
        }
    }
}
