//! Seeded random numbers: the same seed gives the same bench on every machine and in every release.

/// xoshiro256**, seeded by splitmix64.
#[derive(Clone, Debug)]
pub struct Random([u64; 4]);

impl Random {
    /// A generator for `seed`.
    pub fn new(seed: u64) -> Self {
        let mut at = seed;
        Self([(); 4].map(|()| {
            at = at.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = at;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.0;
        let result = b.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let t = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= t;
        *d = d.rotate_left(45);
        result
    }

    /// A number below `n`, which is not zero.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }

    /// A number from 0 to below 1.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// One of `weighted`, as likely as its weight.
    pub fn pick<T: Copy>(&mut self, weighted: &[(T, u32)]) -> Option<T> {
        let total: usize = weighted.iter().map(|(_, weight)| *weight as usize).sum();
        let mut at = self.below(total.max(1));
        weighted.iter().find_map(|(value, weight)| match at.checked_sub(*weight as usize) {
            Some(rest) => {
                at = rest;
                None
            }
            None => Some(*value),
        })
    }
}
