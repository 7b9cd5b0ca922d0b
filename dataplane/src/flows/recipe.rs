//! What rules said of a flow's packets, to be said again without asking them.
//!
//! Many flows share a recipe: the same rules matched. A flow remembers its number, for each direction, and the era.

use std::collections::HashMap;

use ahash::RandomState;
use arrayvec::ArrayVec;
use conntrack::flow::Cached;
use conntrack::{Direction, Info, Slot};
use ruleset::packet::{COUNTED, Counted, Meta, Recorder};

use super::Flows;
use crate::pipeline::Packet;
use crate::tables::IfaceSlot;

/// Recipes that a worker keeps; beyond, flows are not remembered until the next era.
const RECIPES: usize = 4096;

/// One.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    /// It is for packets that come by this interface,
    pub(super) iif: IfaceSlot,
    /// leave by this one,
    pub(super) oif: IfaceSlot,
    /// and are this to their flow.
    pub(super) info: Info,
    /// Its addresses or ports are changed. The flow says to what; whether is the rules' to say: without a chain of type nat
    /// nothing is, as in Linux.
    pub(super) translated: bool,
    /// What the packet leaves with.
    pub(super) meta: Meta,
    /// What counts it.
    pub(super) counters: ArrayVec<Counted, COUNTED>,
}

impl Recipe {
    fn is(&self, other: &Self) -> bool {
        (self.iif, self.oif, self.info) == (other.iif, other.oif, other.info)
            && (self.translated, self.meta) == (other.translated, other.meta)
            && self.counters == other.counters
    }
}

/// A worker's recipes of this era.
#[derive(Debug)]
pub struct Recipes {
    all: Vec<Recipe>,
    /// Numbers by hash.
    index: HashMap<u64, u32, RandomState>,
    hash: RandomState,
}

impl Recipes {
    /// None.
    pub(super) fn new() -> Self {
        Self {
            all: Vec::with_capacity(64),
            index: HashMap::with_capacity_and_hasher(64, RandomState::new()),
            hash: RandomState::new(),
        }
    }

    #[inline(always)]
    pub(super) fn get(&self, number: u32) -> Option<&Recipe> {
        self.all.get(number as usize)
    }

    /// The number of this recipe, new or known; none where there are too many.
    fn number(&mut self, recipe: Recipe) -> Option<u32> {
        let Recipe { iif, oif, info, translated, meta, counters } = &recipe;
        let (mark, priority) = (meta.mark, meta.priority);
        let hash =
            self.hash.hash_one((iif, oif, info, translated, mark, priority, counters.as_slice()));
        if let Some(number) = self.index.get(&hash) {
            return self.get(*number).is_some_and(|known| known.is(&recipe)).then_some(*number);
        }
        let number = u32::try_from(self.all.len()).ok().filter(|n| (*n as usize) < RECIPES)?;
        self.all.push(recipe);
        self.index.insert(hash, number);
        Some(number)
    }
}

impl Flows {
    /// What is remembered for packets of this direction that come by this interface.
    #[inline(always)]
    pub(super) fn recall(&self, slot: Slot, way: Direction, iif: IfaceSlot) -> Option<&Recipe> {
        let Cached { era, recipe } = self.shard.cached(slot, way);
        if era != self.era {
            return None;
        }
        self.recipes.get(recipe).filter(|recipe| recipe.iif == iif)
    }

    /// Remembers what the rules said of a packet, if the next of its flow and direction would hear the same.
    pub(super) fn record(
        &mut self,
        slot: Slot,
        info: Info,
        packet: &Packet,
        (iif, oif): (IfaceSlot, IfaceSlot),
        said: &Recorder,
    ) {
        let one_off = matches!(info, Info::Related | Info::RelatedReply);
        if one_off || !self.caching || !said.is_cacheable() {
            return;
        }
        let counters = said.counted().iter().cloned().collect();
        let Some(flow) = self.shard.flow(slot) else { return };
        let (came, key) = (flow.key(info.direction()), &packet.layers.key);
        let translated = (came.src, came.dst, came.sport, came.dport)
            != (key.src, key.dst, key.sport, key.dport);
        let recipe = Recipe { iif, oif, info, translated, meta: packet.meta, counters };
        if let Some(recipe) = self.recipes.number(recipe) {
            let cached = Cached { era: self.era, recipe };
            self.shard.remember(slot, info.direction(), cached);
        }
    }
}
