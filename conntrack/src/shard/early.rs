//! Which flow is given up for a new one when the table is full.
//!
//! As `early_drop` of nf_conntrack_core.c: the first that is not assured, in the bucket of the new flow's key or in one of
//! the next. The hash is secret, so nobody can aim at another's flow; an assured flow is never given up.

use packet::{FlowKey, Tick};

use super::Shard;
use crate::flow::{Direction, Slot, Status};

/// Buckets that are looked through (`NF_CT_EVICTION_RANGE`).
const RANGE: u32 = 8;

impl Shard {
    /// Gives a flow up; false where none may be.
    pub(super) fn drop_early(&mut self, key: &FlowKey, now: Tick) -> bool {
        let Some(slot) = self.least_worth(key) else { return false };
        self.kill(slot, now);
        self.stats.early_drop += 1;
        true
    }

    fn least_worth(&self, key: &FlowKey) -> Option<Slot> {
        let near = self.index.near(self.hash(key), RANGE);
        near.filter(|entry| entry.direction() == Direction::Original)
            .map(|entry| entry.slot())
            .find(|slot| self.flow(*slot).is_some_and(|flow| !flow.status().has(Status::ASSURED)))
    }
}
