//! A worker says what its flows are.

use conntrack::shard::{Ask, Export, Haste, Say, Shard, Taken};
use conntrack::{Direction, Slot};
use packet::Tick;

use super::flow::{state_of, timeouts_of};
use super::message::{room_for_record, seal_record};
use super::{Beside, Replica};
use crate::hands::{Cause, RingFull};
use crate::ids::{FlowId, Generation, Version};
use crate::records::{FlowFull, Record};
use crate::{Mutation, mutated, wire};

/// Words of a ring that the longest record of a flow needs, and a short message behind it.
const ROOM: usize = wire::FULL_MAX.div_ceil(8) + 2 + 4;
/// Slots that a turn says while packets wait, and while none do.
const URGENT: [usize; 2] = [256, 4096];
/// The same of those that only live on.
const LAZY: [usize; 2] = [32, 512];
/// Words of 64 slots that a turn looks through for them.
const LOOKED_THROUGH: [u32; 2] = [64, 4096];

impl Replica {
    /// Whether a ring has room for any record of a flow.
    #[inline]
    pub(super) fn has_room(&mut self, ring: Haste) -> bool {
        match ring {
            Haste::Urgent => self.urgent.has_room(ROOM),
            Haste::Lazy => self.lazy.has_room(ROOM),
        }
    }

    /// Says what changed, began and ended.
    pub(super) fn export_urgent(
        &mut self,
        shard: &mut Shard,
        beside: &mut dyn Beside,
        now: Tick,
        idle: bool,
    ) -> usize {
        if !shard.is_replicating() || shard.is_clean(Haste::Urgent) {
            return 0;
        }
        let (budget, mut look) = (pick(URGENT, idle), pick(LOOKED_THROUGH, idle));
        for done in 0..budget {
            if !self.has_room(Haste::Urgent) {
                self.counters.full += 1;
                if mutated(Mutation::SkipRingDrain) {
                    while let Taken::Slot(_) = shard.take_dirty(Haste::Urgent, &mut look) {}
                }
                return done;
            }
            match shard.take_dirty(Haste::Urgent, &mut look) {
                Taken::Slot(slot) => self.export(shard, beside, slot, Haste::Urgent, None, now),
                Taken::Later => return done + 1,
                Taken::None => return done,
            }
        }
        budget
    }

    /// Says which flows live on.
    pub(super) fn export_lazy(
        &mut self,
        shard: &mut Shard,
        beside: &mut dyn Beside,
        now: Tick,
        idle: bool,
    ) -> usize {
        if !shard.is_replicating() || shard.is_clean(Haste::Lazy) {
            return 0;
        }
        let (budget, mut look) = (pick(LAZY, idle), pick(LOOKED_THROUGH, idle));
        let why = Some(Cause::Refresh);
        for done in 0..budget {
            if !self.has_room(Haste::Lazy) {
                return done;
            }
            match shard.take_dirty(Haste::Lazy, &mut look) {
                Taken::Slot(slot) => self.export(shard, beside, slot, Haste::Lazy, why, now),
                Taken::Later => return done + 1,
                Taken::None => return done,
            }
        }
        budget
    }

    /// Says a flow whose first packet waits.
    pub(super) fn export_deferred(
        &mut self,
        shard: &mut Shard,
        beside: &dyn Beside,
        slot: Slot,
        now: Tick,
    ) -> Result<(), RingFull> {
        if !self.has_room(Haste::Urgent) {
            return Err(RingFull);
        }
        self.export(shard, beside, slot, Haste::Urgent, Some(Cause::Deferred), now);
        Ok(())
    }

    /// Says what there is to say of a slot. The ring has room. `why` is given where it is not that the slot changed.
    pub(super) fn export(
        &mut self,
        shard: &mut Shard,
        beside: &dyn Beside,
        slot: Slot,
        ring: Haste,
        why: Option<Cause>,
        now: Tick,
    ) {
        let ask = match why {
            Some(Cause::Repair | Cause::Bulk) => Ask::Whole,
            _ => Ask::News,
        };
        let Export { say, generation, version, began } = shard.export(slot, ask, ring, now);
        let id = self.name(slot, generation);
        let version = Version(version);
        let Some(record) = (match (say, shard.flow(slot)) {
            (Say::Full, Some(flow)) => Some(Record::Full(FlowFull {
                id,
                version,
                group: self.config.group,
                keys: [Direction::Original, Direction::Reply].map(|way| *flow.key(way)),
                state: state_of(shard, slot, flow, now),
                // Nobody asks: whatever decided there, a flow's first packet here walks the rules of here.
                rules: 0,
                behind: beside.behind(shard, slot),
                timeouts: timeouts_of(shard, flow),
            })),
            (Say::Update, Some(flow)) => {
                Some(Record::Update { id, version, state: state_of(shard, slot, flow, now) })
            }
            (Say::Delete, _) => Some(Record::Delete { id, version }),
            _ => None,
        }) else {
            return;
        };
        let cause = why.unwrap_or(match say {
            Say::Full if began => Cause::New,
            Say::Delete => Cause::End,
            _ => Cause::Change,
        });
        let Ok(length) = wire::encode(&record, room_for_record(&mut self.words)) else {
            self.counters.unfit += 1;
            return;
        };
        let many = seal_record(&mut self.words, cause, slot.0, length);
        let Some(words) = self.words.get(..many) else { return };
        let pushed = match ring {
            Haste::Urgent => self.urgent.push(words),
            Haste::Lazy => self.lazy.push(words),
        };
        if pushed.is_ok() {
            self.pushed = true;
            if let Some(said) = self.counters.said.get_mut(cause as usize) {
                *said += 1;
            }
        }
    }

    pub(super) fn name(&self, slot: Slot, generation: u32) -> FlowId {
        FlowId::new(self.config.node, self.config.lane, slot.0, Generation::new(generation))
    }
}

fn pick<T: Copy>([busy, idle]: [T; 2], is_idle: bool) -> T {
    if is_idle { idle } else { busy }
}
