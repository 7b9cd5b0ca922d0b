//! Tuples that a linear hash cannot tell apart.
//!
//! # Overview
//!
//! CRC, Toeplitz and exclusive or are affine over GF(2): flipping a set of input bits flips the same bits of the hash whatever
//! the other bits are, and whatever constant the hash begins with. So each bit that an attacker may choose is a column
//! of 32 bits, and each set of columns whose sum is zero is a change that the hash does not see. Gaussian elimination gives a
//! basis of those sets; its combinations, one tuple each, are as many collisions as anybody wants.

use packet::FlowKey;

use super::hashes::Hash;

/// Bytes of a [`FlowKey`] that a client chooses: `(from, how many)`. An IPv4 client that lies about its address, or an
/// IPv6 client with a /64 that needs no lie, from any port to any port.
fn chosen(family: u8) -> impl Iterator<Item = usize> {
    let (address, ports) = (if family == 4 { 0..4 } else { 8..16 }, 32..36);
    address.chain(ports)
}

/// A set of chosen bits, each by its number.
type Bits = u128;

/// `count` tuples like `base` with the same hash; where there are fewer, as many as there are.
pub(super) fn collisions(
    hash: &dyn Hash,
    base: FlowKey,
    count: usize,
    random: &mut fastrand::Rng,
) -> Result<Vec<FlowKey>, u128> {
    let bits: Vec<(usize, u8)> =
        chosen(base.family).flat_map(|byte| (0..8).map(move |bit| (byte, 1 << bit))).collect();
    let mut basis = unseen(hash, &base, &bits);
    let most =
        1u128.checked_shl(u32::try_from(basis.len()).unwrap_or(u32::MAX)).unwrap_or(u128::MAX);
    if most < count as u128 {
        return Err(most);
    }
    // Mixed, so that tuples differ in many bits. Each gets a sum of those behind it, which keeps them independent.
    let mut behind: Vec<Bits> = Vec::new();
    for set in basis.iter_mut().rev() {
        let sum = behind.iter().filter(|_| random.bool()).fold(0, |sum, other| sum ^ other);
        behind.push(*set);
        *set ^= sum;
    }
    // Gray code: each step adds one set of the basis, and no combination comes twice.
    let mut key = base;
    Ok((1..=count)
        .map(|step| {
            let now = key;
            if let Some(set) = basis.get(step.trailing_zeros() as usize) {
                flip(&mut key, *set, &bits);
            }
            now
        })
        .collect())
}

/// A basis of the sets of `bits` whose flipping leaves the hash as it is.
fn unseen(hash: &dyn Hash, base: &FlowKey, bits: &[(usize, u8)]) -> Vec<Bits> {
    let at_base = hash.hash(base);
    // Columns reduced by those before them, by their highest bit, with the set that each is the sum of.
    let mut pivots: [Option<(u64, Bits)>; 64] = [None; 64];
    let mut unseen = Vec::new();
    for n in 0..bits.len() {
        let mut set: Bits = 1 << n;
        let mut changed = *base;
        flip(&mut changed, set, bits);
        let mut column = hash.hash(&changed) ^ at_base;
        while let Some(pivot) = column.checked_ilog2().and_then(|at| pivots.get_mut(at as usize)) {
            match pivot {
                Some((other, with)) => {
                    column ^= *other;
                    set ^= *with;
                }
                None => {
                    *pivot = Some((column, set));
                    break;
                }
            }
        }
        if column == 0 {
            unseen.push(set);
        }
    }
    unseen
}

/// Flips a set of bits of a tuple.
fn flip(key: &mut FlowKey, set: Bits, bits: &[(usize, u8)]) {
    let mut bytes: [u8; size_of::<FlowKey>()] = zerocopy::transmute!(*key);
    for (n, (byte, mask)) in bits.iter().enumerate() {
        if set >> n & 1 == 1
            && let Some(byte) = bytes.get_mut(*byte)
        {
            *byte ^= mask;
        }
    }
    *key = zerocopy::transmute!(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sees the source port and half of the destination port.
    struct Narrow;

    impl Hash for Narrow {
        fn hash(&self, key: &FlowKey) -> u64 {
            u64::from(u16::from_be_bytes(key.sport)) << 8 | u64::from(key.dport[0])
        }
    }

    #[test]
    fn exactly_the_unseen_bits_are_free() {
        let base = FlowKey { sport: [1, 2], dport: [3, 4], family: 4, ..FlowKey::default() };
        let mut random = fastrand::Rng::with_seed(3);
        let keys = collisions(&Narrow, base, 10_000, &mut random).unwrap();
        assert!(keys.iter().all(|key| (key.sport, key.dport[0]) == ([1, 2], 3)));
        // 64 bits are chosen, 24 of them are seen.
        assert_eq!(collisions(&Narrow, base, usize::MAX, &mut random).unwrap_err(), 1 << 40);
    }
}
