//! A worker's flows: records in a slab, an index over their keys, a wheel for their ends.
//!
//! # Overview
//!
//! ```text
//! create -> (rules, NAT: set_reply) -> confirm -> refresh, account, set_... -> kill, or expire
//!                                  \-> discard
//! ```
//!
//! An unconfirmed flow has a slot and is in neither the index nor the wheel: nobody finds it. All memory is reserved at the
//! start and touched as flows need it; nothing is allocated later. What few flows have lies beside the records, in arrays
//! of their own.
//!
//! A shard is `&mut` to its worker alone, and time is an argument. Every change of a flow that others may want to know of
//! comes through [`Shard::note`], and through it alone: confirmation and end among them.

mod beside;
mod content;
mod dirty;
mod early;
mod expiry;
mod hold;
mod import;
mod index;
mod marks;
mod pages;
mod replicate;
mod seen;
mod stats;
mod tell;
mod wheel;

use std::hash::{BuildHasher, Hasher};
use std::io;

use packet::{FlowKey, Tick, prefetch};

use self::beside::Beside;
pub use self::content::Content;
pub use self::dirty::Taken;
use self::early::Weak;
pub use self::import::{Import, ImportState};
use self::index::{Entry, Index};
use self::pages::Pages;
use self::replicate::Replicas;
pub use self::replicate::{Ask, Counts, Export, Haste, REPLICATED, Say};
pub use self::seen::{PARTS, Seen};
pub use self::stats::Stats;
use self::tell::Teller;
use self::wheel::{NONE, Wheel};
use crate::event;
use crate::flow::{BEAT, Cached, Direction, Flow, HAS_ACCOUNTS, HAS_START, IN_USE, Slot, Status};
use crate::settings::{Policies, Settings};

/// A key's hash, under the shard's own secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash(u64);

impl Hash {
    /// Of no key.
    pub const NONE: Self = Self(0);
}

/// Which flow [`Shard::prefetch_flow`] thinks it will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guess(Option<Entry>);

impl Guess {
    /// None that it knows of.
    pub const NONE: Self = Self(None);
}

/// How a shard is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Flows that it has room for, at most [`MAX_FLOWS`].
    pub max: u32,
    /// Its worker.
    pub worker: u16,
}

/// The most flows of a shard: a slot has 31 bits.
pub const MAX_FLOWS: u32 = (1 << 31) - 1;

/// The table is full, and no flow may be given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the flow table is full")]
pub struct Full;

/// A flow could not be confirmed: another one has one of its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("another flow has the same tuple")]
pub struct Clash {
    /// The one that has it.
    pub with: Slot,
    /// As which of its keys.
    pub direction: Direction,
}

/// The flows of one worker.
pub struct Shard {
    random: ahash::RandomState,
    index: Index,
    flows: Pages<Flow>,
    beside: Beside,
    wheel: Wheel,
    weak: Weak,
    replicas: Replicas,
    /// Slots that have ever been in use: those from here on were never touched.
    used: u32,
    /// The first of the free slots before that; they are linked.
    free: u32,
    max: u32,
    /// The number of flows that were made, and what makes it look random.
    made: u32,
    id_key: [u32; 2],
    teller: Teller,
    settings: Settings,
    policies: Policies,
    stats: Stats,
}

impl Shard {
    /// An empty one, with the settings of Linux.
    ///
    /// # Errors
    /// The system has not that much address space for us.
    pub fn new(config: Config) -> io::Result<Self> {
        let max = config.max.min(MAX_FLOWS);
        let random = ahash::RandomState::new();
        let secret = random.hash_one(config.worker);
        Ok(Self {
            index: Index::new(max)?,
            flows: Pages::new(max as usize)?,
            beside: Beside::new(max as usize)?,
            wheel: Wheel::new(),
            weak: Weak::new(max)?,
            replicas: Replicas::new(max)?,
            used: 0,
            free: NONE,
            max,
            made: 0,
            id_key: [secret as u32 | 1, (secret >> 32) as u32],
            teller: Teller::default(),
            settings: Settings::default(),
            policies: Policies::new(),
            stats: Stats::default(),
            random,
        })
    }

    /// The hash of a key.
    #[inline(always)]
    pub fn hash(&self, key: &FlowKey) -> Hash {
        let mut hasher = self.random.build_hasher();
        let FlowKey { src, dst, sport, dport, protocol, family, zone } = *key;
        let ([s0, s1], [d0, d1], [z0, z1]) = (sport, dport, zone);
        hasher.write_u128(u128::from_ne_bytes(src));
        hasher.write_u128(u128::from_ne_bytes(dst));
        hasher.write_u64(u64::from_ne_bytes([s0, s1, d0, d1, protocol, family, z0, z1]));
        Hash(hasher.finish())
    }

    /// The first stage of a lookup of many: asks for the bucket.
    #[inline(always)]
    pub fn prefetch_bucket(&self, hash: Hash) {
        self.index.prefetch(hash);
    }

    /// The second stage: asks for the lines of the flows in the bucket that may be it, and says which to look at first.
    #[inline(always)]
    pub fn prefetch_flow(&self, hash: Hash) -> Guess {
        let mut guess = Guess::NONE;
        for entry in self.index.candidates(hash) {
            if let Some(flow) = self.flows.get(entry.slot().0) {
                prefetch::line(flow.half(entry.direction()));
                prefetch::line(&flow.shared);
                guess = Guess(Some(entry));
            }
        }
        guess
    }

    /// The confirmed flow with this key, and as which of its two.
    #[inline(always)]
    pub fn find(&self, key: &FlowKey, hash: Hash) -> Option<(Slot, Direction)> {
        let found = self.index.find(hash, |entry| self.is_key(entry, key));
        found.map(|entry| (entry.slot(), entry.direction()))
    }

    /// The same, where the second stage was gone through: what it guessed is looked at first. Flows may have come and gone
    /// since.
    #[inline(always)]
    pub fn find_guessed(
        &self,
        key: &FlowKey,
        hash: Hash,
        guess: Guess,
    ) -> Option<(Slot, Direction)> {
        match guess.0 {
            Some(entry) if self.is_key(entry, key) && self.is_confirmed(entry.slot()) => {
                Some((entry.slot(), entry.direction()))
            }
            _ => self.find(key, hash),
        }
    }

    #[inline(always)]
    fn is_key(&self, entry: Entry, key: &FlowKey) -> bool {
        self.flows.get(entry.slot().0).is_some_and(|flow| same(flow.key(entry.direction()), key))
    }

    #[inline(always)]
    fn is_confirmed(&self, slot: Slot) -> bool {
        self.flow(slot).is_some_and(|flow| flow.status().has(Status::CONFIRMED))
    }

    /// A flow, confirmed or not.
    #[inline(always)]
    pub fn flow(&self, slot: Slot) -> Option<&Flow> {
        self.flows.get(slot.0).filter(|flow| flow.is_in_use())
    }

    #[inline(always)]
    fn flow_mut(&mut self, slot: Slot) -> Option<&mut Flow> {
        self.flows.get_mut(slot.0).filter(|flow| flow.is_in_use())
    }

    /// Makes a flow; nobody finds it until it is [confirmed](Self::confirm).
    ///
    /// # Errors
    /// The table is full of flows that are not to be given up; counted as `drop`.
    pub fn create(&mut self, original: FlowKey, reply: FlowKey, now: Tick) -> Result<Slot, Full> {
        let limit = if self.settings.max == 0 { self.max } else { self.max.min(self.settings.max) };
        if self.stats.count >= limit && !self.drop_early(now) {
            self.stats.drop += 1;
            return Err(Full);
        }
        let slot = self.take_slot().ok_or(Full)?;
        self.made = self.made.wrapping_add(1);
        let [multiply, add] = self.id_key;
        let id = scramble(self.made.wrapping_mul(multiply).wrapping_add(add));
        let mut flow = Flow::default();
        flow.half_mut(Direction::Original).key = original;
        flow.half_mut(Direction::Reply).key = reply;
        flow.set_id(id);
        flow.set_next(NONE);
        flow.set_previous(NONE);
        flow.set_event_mask(u32::from(crate::flow::EVENTS));
        flow.shared.noted = IN_USE;
        if self.settings.acct {
            flow.shared.noted |= HAS_ACCOUNTS;
            self.beside.clear_accounts(slot);
        }
        if self.settings.timestamp {
            flow.shared.noted |= HAS_START;
        }
        *self.flows.get_mut(slot.0).ok_or(Full)? = flow;
        self.stats.count += 1;
        // Nobody has looked for it; its confirmation will.
        self.prefetch_bucket(self.hash(&reply));
        Ok(slot)
    }

    fn take_slot(&mut self) -> Option<Slot> {
        if let Some(flow) = self.flows.get(self.free) {
            let slot = Slot(self.free);
            [self.free, _] = flow.links();
            return Some(slot);
        }
        (self.used < self.max).then(|| {
            self.used += 1;
            Slot(self.used - 1)
        })
    }

    fn give_slot(&mut self, slot: Slot) {
        let free = self.free;
        let Some(flow) = self.flow_mut(slot) else { return };
        flow.shared.noted = 0;
        flow.shared.status = 0;
        flow.set_next(free);
        self.free = slot.0;
        self.stats.count -= 1;
    }

    /// Puts a flow into the table: both its keys are found from now on, and its time runs (`__nf_conntrack_confirm`).
    ///
    /// # Errors
    /// Another flow has one of its keys: it is as it was, counted as `insert_failed`.
    pub fn confirm(&mut self, slot: Slot, now: Tick) -> Result<(), Clash> {
        let Some(flow) = self.flow(slot).filter(|flow| !flow.status().has(Status::CONFIRMED))
        else {
            return Ok(());
        };
        let keys = [Direction::Original, Direction::Reply].map(|direction| *flow.key(direction));
        let hashes = keys.each_ref().map(|key| self.hash(key));
        hashes.iter().for_each(|hash| self.prefetch_bucket(*hash));
        for (key, hash) in keys.iter().zip(hashes) {
            if let Some((with, direction)) = self.find(key, hash) {
                self.stats.insert_failed += 1;
                return Err(Clash { with, direction });
            }
        }
        let [original, reply] = hashes;
        let full = self.index.insert(original, Entry::new(slot, Direction::Original));
        let full = full.max(self.index.insert(reply, Entry::new(slot, Direction::Reply)));
        if full > LONG {
            self.stats.chain_toolong += 1;
        }
        // What begins while another node owns the rest is this one's own.
        let held = self.replicas.held;
        if let Some(flow) = self.flow_mut(slot) {
            if held && !flow.is_imported() {
                flow.set_local(true);
            }
            let shared = &mut flow.shared;
            shared.status |= Status::CONFIRMED as u16;
            shared.deadline = beat_after(now).wrapping_add(shared.deadline);
            if shared.noted & HAS_START != 0 {
                self.beside.set_start(slot, now);
            }
        }
        self.begin_generation(slot);
        self.file_new(slot, now);
        self.stats.insert += 1;
        let status = self.flow(slot).map_or(Status::default(), Flow::status);
        if !status.has(Status::ASSURED) {
            self.weak.add(slot);
        }
        self.note(slot, if status.has(Status::EXPECTED) { event::RELATED } else { event::NEW });
        Ok(())
    }

    /// Forgets a flow that is not confirmed.
    pub fn discard(&mut self, slot: Slot) {
        if self.flow(slot).is_some_and(|flow| !flow.status().has(Status::CONFIRMED)) {
            self.give_slot(slot);
        }
    }

    /// Ends a flow: nobody finds it any more, its slot is free, and its end is told with its accounts.
    pub fn kill(&mut self, slot: Slot, now: Tick) {
        let Some(flow) = self.flow(slot) else { return };
        if !flow.status().has(Status::CONFIRMED) {
            return self.discard(slot);
        }
        let hashes = self.hashes(flow);
        self.kill_confirmed(slot, hashes, now);
    }

    /// The hashes of both keys.
    #[inline(always)]
    fn hashes(&self, flow: &Flow) -> [Hash; 2] {
        [Direction::Original, Direction::Reply].map(|direction| self.hash(flow.key(direction)))
    }

    fn kill_confirmed(&mut self, slot: Slot, [original, reply]: [Hash; 2], now: Tick) {
        self.index.remove(original, Entry::new(slot, Direction::Original));
        self.index.remove(reply, Entry::new(slot, Direction::Reply));
        self.wheel.remove(&mut self.flows, slot);
        self.weak.remove(slot);
        self.end(slot, now);
    }

    /// The last of a flow that is in neither the index nor the wheel any more.
    fn end(&mut self, slot: Slot, now: Tick) {
        if let Some(flow) = self.flow_mut(slot) {
            flow.shared.status |= Status::DYING as u16;
        }
        self.note(slot, event::DESTROY);
        self.forget_name(slot);
        self.deliver(slot, now);
        self.give_slot(slot);
    }

    /// Gives an unconfirmed flow another reply key: NAT. Without effect on a confirmed one.
    pub fn set_reply(&mut self, slot: Slot, reply: FlowKey) {
        if let Some(flow) = self.flow_mut(slot)
            && !flow.status().has(Status::CONFIRMED)
        {
            flow.half_mut(Direction::Reply).key = reply;
            self.prefetch_bucket(self.hash(&reply));
        }
    }

    /// Whether a confirmed flow has this key as one of its two: `nf_conntrack_tuple_taken`. One with the same original key as
    /// `but` does not count, since confirming decides between the two.
    pub fn is_taken(&self, key: &FlowKey, but: Slot) -> bool {
        let Some((slot, _)) = self.find(key, self.hash(key)) else { return false };
        let original = |slot| self.flow(slot).map(|flow| flow.key(Direction::Original));
        if slot == but || original(slot) == original(but) {
            return false;
        }
        self.stats.found.set(self.stats.found.get() + 1);
        true
    }

    /// The protocol's state, to be changed; say [`note`](Self::note) of what listeners should know.
    #[inline(always)]
    pub fn proto_mut(&mut self, slot: Slot) -> Option<&mut [u32; 14]> {
        self.flow_mut(slot).map(|flow| &mut flow.shared.proto)
    }

    /// Lets a tracker look at a flow, beside policies and settings, and change its state.
    #[inline(always)]
    pub(crate) fn judge<R>(
        &mut self,
        slot: Slot,
        judge: impl FnOnce(&mut Flow, &Policies, &Settings) -> R,
    ) -> Option<R> {
        let flow = self.flows.get_mut(slot.0).filter(|flow| flow.is_in_use())?;
        Some(judge(flow, &self.policies, &self.settings))
    }

    /// What the flow cache remembers of a direction.
    #[inline(always)]
    pub fn cached(&self, slot: Slot, direction: Direction) -> Cached {
        self.flows.get(slot.0).map_or(Cached::default(), |flow| flow.half(direction).cached)
    }

    /// Remembers it.
    #[inline(always)]
    pub fn remember(&mut self, slot: Slot, direction: Direction, cached: Cached) {
        if let Some(flow) = self.flow_mut(slot) {
            flow.half_mut(direction).cached = cached;
        }
    }

    /// Shows each flow in the table (confirmed, and not at its end) of `slots` slots from `from` on; returns where to go on, if
    /// there is more.
    pub fn walk(
        &self,
        from: Slot,
        slots: usize,
        each: &mut dyn FnMut(Slot, &Flow),
    ) -> Option<Slot> {
        let end = from.0.saturating_add(u32::try_from(slots).unwrap_or(u32::MAX)).min(self.used);
        for slot in (from.0..end).map(Slot) {
            if let Some(flow) = self.flow(slot)
                && flow.status().has(Status::CONFIRMED)
                && !flow.status().has(Status::DYING)
            {
                each(slot, flow);
            }
        }
        (end < self.used).then_some(Slot(end))
    }

    /// The settings.
    #[inline(always)]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The settings, to be changed.
    pub fn settings_mut(&mut self) -> &mut Settings {
        &mut self.settings
    }

    /// What was counted.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// For what trackers and NAT count.
    #[inline(always)]
    pub fn stats_mut(&mut self) -> &mut Stats {
        &mut self.stats
    }

    /// Flows that it has room for.
    pub fn capacity(&self) -> u32 {
        self.max
    }
}

/// Whether two keys are the same, in one go: the compiler's own way has a branch for each field.
#[inline(always)]
fn same(this: &FlowKey, that: &FlowKey) -> bool {
    let addresses = |key: &FlowKey| [u128::from_ne_bytes(key.src), u128::from_ne_bytes(key.dst)];
    let rest = |key: &FlowKey| {
        let ([s0, s1], [d0, d1], [z0, z1]) = (key.sport, key.dport, key.zone);
        u64::from_ne_bytes([s0, s1, d0, d1, key.protocol, key.family, z0, z1])
    };
    let ([this_src, this_dst], [that_src, that_dst]) = (addresses(this), addresses(that));
    let different = this_src ^ that_src | this_dst ^ that_dst | u128::from(rest(this) ^ rest(that));
    different == 0
}

/// Full buckets on the way into the index, from which on a chain is called too long.
const LONG: u32 = 8;

/// The first beat that begins at `now` or after.
#[inline(always)]
fn beat_after(now: Tick) -> u32 {
    now.0.div_ceil(BEAT) as u32
}

/// Mixes a number up, one to one.
const fn scramble(mut number: u32) -> u32 {
    number = (number ^ number >> 16).wrapping_mul(0x7feb_352d);
    number = (number ^ number >> 15).wrapping_mul(0x846c_a68b);
    number ^ number >> 16
}

#[cfg(test)]
mod tests;
