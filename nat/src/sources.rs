//! What a source was translated to before: the same socket's next flow gets the same address and port where it can, so that
//! its peers agree on who it is (RFC 4787, 4.1; Linux's find_appropriate_src).
//!
//! It is a cache of flows' slots by source. An entry is believed only when its flow is still there and has that source, so
//! nothing has to be taken out when flows end. A newer flow takes the place of an older one. Flows whose translation would
//! come out the same for the next one, by address and port as they are, are not remembered.

use ahash::RandomState;
use conntrack::{Direction, Shard, Slot};
use packet::FlowKey;

/// Sources that are remembered.
const PLACES: usize = 1 << 16;

/// Belongs to a worker, beside its shard. 512 KiB, touched as it fills.
pub struct Sources {
    random: RandomState,
    /// A flow's slot and generation, by its original key's source.
    places: Vec<(u32, u32)>,
}

impl Default for Sources {
    fn default() -> Self {
        Self::new()
    }
}

impl Sources {
    /// Nothing remembered.
    pub fn new() -> Self {
        Self { random: RandomState::new(), places: vec![(0, 0); PLACES] }
    }

    fn place(&self, original: &FlowKey) -> usize {
        let FlowKey { src, sport, protocol, family, zone, .. } = original;
        self.random.hash_one((src, sport, protocol, family, zone)) as usize % PLACES
    }

    /// The reply key of a flow that is translated and has the same source as this original key.
    pub(crate) fn find<'a>(&self, shard: &'a Shard, original: &FlowKey) -> Option<&'a FlowKey> {
        let (slot, generation) = *self.places.get(self.place(original))?;
        let flow = shard.flow(Slot(slot)).filter(|flow| flow.generation() == generation)?;
        let key = flow.key(Direction::Original);
        let source = |key: &FlowKey| (key.src, key.sport, key.protocol, key.family, key.zone);
        (source(key) == source(original)).then(|| flow.key(Direction::Reply))
    }

    /// Remembers a flow whose source was translated.
    pub(crate) fn remember(&mut self, shard: &Shard, slot: Slot) {
        let Some(flow) = shard.flow(slot) else { return };
        let at = self.place(flow.key(Direction::Original));
        if let Some(place) = self.places.get_mut(at) {
            *place = (slot.0, flow.generation());
        }
    }
}
