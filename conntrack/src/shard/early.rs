//! Which flow is given up for a new one when the table is full.
//!
//! # Overview
//!
//! Policy: one that is not assured, else none, and then the new flow is refused. Linux looks for one in eight buckets from the
//! new flow's own on (`early_drop` of nf_conntrack_core.c). We do not: what is taken from a neighbour is never given back, so
//! the buckets wander apart, and after a few hundred thousand flows some new ones found nobody near. Instead a hand goes
//! round over a bit per flow, so that whoever was there for longest since the hand came by goes first, and a flood does
//! not read the records of assured flows in search of others.

use std::io;

use packet::Tick;

use super::Shard;
use super::pages::Pages;
use crate::flow::Slot;

/// Words of bits that one search looks at: 65,536 flows, 8 KiB.
const SEARCH: u32 = 1024;

/// Which flows may be given up: those in the table that are not assured.
pub(super) struct Weak {
    bits: Pages<u64>,
    words: u32,
    count: u32,
    /// The slot where the next search begins: behind the last that was given up, whose slot a new flow has.
    hand: u32,
}

impl Weak {
    pub(super) fn new(flows: u32) -> io::Result<Self> {
        let words = flows.div_ceil(64);
        Ok(Self { bits: Pages::new(words as usize)?, words, count: 0, hand: 0 })
    }

    pub(super) fn add(&mut self, slot: Slot) {
        if let Some(word) = self.bits.get_mut(slot.0 / 64)
            && *word & (1 << (slot.0 % 64)) == 0
        {
            *word |= 1 << (slot.0 % 64);
            self.count += 1;
        }
    }

    pub(super) fn remove(&mut self, slot: Slot) {
        if let Some(word) = self.bits.get_mut(slot.0 / 64)
            && *word & (1 << (slot.0 % 64)) != 0
        {
            *word &= !(1 << (slot.0 % 64));
            self.count -= 1;
        }
    }

    /// The next one. The caller takes it out.
    fn next(&mut self) -> Option<Slot> {
        if self.count == 0 {
            return None;
        }
        for _ in 0..=SEARCH.min(self.words) {
            let at = self.hand / 64;
            let ahead = self.bits.get(at).copied().unwrap_or(0) & (u64::MAX << (self.hand % 64));
            if ahead != 0 {
                let slot = at * 64 + ahead.trailing_zeros();
                self.hand = slot + 1;
                return Some(Slot(slot));
            }
            self.hand = if at + 1 < self.words { (at + 1) * 64 } else { 0 };
        }
        None
    }
}

impl Shard {
    /// Gives a flow up; false where none may be. Of flows that are another node's none may: it would think that they are here.
    pub(super) fn drop_early(&mut self, now: Tick) -> bool {
        if self.replicas.held {
            return false;
        }
        let Some(slot) = self.weak.next() else { return false };
        self.kill(slot, now);
        self.stats.early_drop += 1;
        true
    }
}
