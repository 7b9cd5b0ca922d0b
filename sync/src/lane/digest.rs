//! What a lane's flows amount to, so that two nodes can tell in a few bytes whether they mean the same.
//!
//! A bucket is the sum without carry of a number for each living flow in it, made of its slot, generation and version. It changes with
//! each record by two such numbers; nothing is ever walked. Nobody outside can choose versions, so plain mixing is enough.

use crate::ids::{Generation, Version};

/// How many buckets a lane's slots are divided into.
pub(super) const BUCKETS: usize = 1024;

/// The digests of a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Digest(Box<[u64; BUCKETS]>);

impl Digest {
    /// Of no flows.
    pub(super) fn new() -> Self {
        Self(Box::new([0; BUCKETS]))
    }

    /// Puts a living flow in, or takes it out.
    #[inline]
    pub(super) fn toggle(&mut self, slot: u32, generation: Generation, version: Version) {
        if let Some(bucket) = self.0.get_mut(slot as usize & (BUCKETS - 1)) {
            *bucket ^= number(slot, generation, version);
        }
    }

    /// Those from `from` on.
    pub(super) fn from(&self, from: u16) -> &[u64] {
        self.0.get(usize::from(from)..).unwrap_or_default()
    }
}

/// The last step of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators).
#[inline]
pub(super) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[inline]
fn number(slot: u32, generation: Generation, version: Version) -> u64 {
    let step = u64::from(generation.get()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mix((u64::from(slot) << 32 | u64::from(version.0)).wrapping_add(step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_changes_does_not_matter() {
        let flows: Vec<_> =
            (0..5000_u32).map(|n| (n * 7, Generation::new(n % 3), Version(n))).collect();
        let (mut one, mut other) = (Digest::new(), Digest::new());
        for &(slot, generation, version) in &flows {
            one.toggle(slot, generation, version);
        }
        for &(slot, generation, version) in flows.iter().rev() {
            other.toggle(slot, generation, version);
        }
        assert_eq!(one, other);
        let (slot, generation, version) = flows[77];
        other.toggle(slot, generation, version);
        other.toggle(slot, generation, Version(version.0 + 1));
        let differ = (0..BUCKETS).filter(|&n| one.0[n] != other.0[n]).collect::<Vec<_>>();
        assert_eq!(differ, [slot as usize % BUCKETS]);
        for &(slot, generation, version) in &flows {
            one.toggle(slot, generation, version);
        }
        assert_eq!(one, Digest::new());
    }

    #[test]
    fn a_generation_and_a_version_are_not_the_same() {
        let (mut one, mut other) = (Digest::new(), Digest::new());
        one.toggle(1, Generation::new(1), Version(2));
        other.toggle(1, Generation::new(2), Version(1));
        assert_ne!(one, other);
    }
}
