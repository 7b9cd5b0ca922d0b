//! How a hash spreads tuples over a table's buckets.

use serde::Serialize;

/// Which part of a hash chooses the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Index {
    /// The remainder: the low bits where the number of buckets is a power of two
    Low,
    /// The product's upper half, as the kernel's reciprocal_scale: the high bits
    High,
}

impl Index {
    /// The bucket, of `buckets`, of a hash of `bits` bits.
    #[inline(always)]
    pub(super) fn of(self, hash: u64, bits: u32, buckets: u32) -> u32 {
        let bucket = match self {
            Self::Low => hash % u64::from(buckets.max(1)),
            Self::High => ((u128::from(hash) * u128::from(buckets)) >> bits) as u64,
        };
        // Below `buckets` in both cases.
        bucket as u32
    }
}

/// Buckets by the length of their chains.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Bar {
    /// The shortest chain that counts here.
    pub(super) from: u32,
    /// The longest.
    pub(super) to: u32,
    /// How many buckets have one.
    pub(super) buckets: u64,
    /// How many would have one if each tuple chose its bucket at random (Poisson).
    pub(super) expected: f64,
}

/// How tuples stand in a table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Spread {
    /// Pearson's χ² of the chains' lengths against equal ones, over its degrees of freedom: 1 at random.
    pub(super) chi_square: f64,
    /// How many standard deviations χ² is off what chance gives.
    pub(super) sigma: f64,
    /// The longest chain.
    pub(super) longest: u32,
    /// The part of the buckets that is empty, 0 to 1.
    pub(super) empty: f64,
    /// Tuples that are compared to find one that is there, on average.
    pub(super) probes: f64,
    /// Buckets by length, shortest first.
    pub(super) histogram: Vec<Bar>,
}

impl Spread {
    /// Of these chains' lengths, one for each bucket.
    #[expect(clippy::cast_precision_loss, reason = "statistics of counts far below 2^53")]
    pub(super) fn of(chains: &[u32]) -> Self {
        let buckets = chains.len() as f64;
        let keys: u64 = chains.iter().map(|n| u64::from(*n)).sum();
        let (load, freedom) = (keys as f64 / buckets, (buckets - 1.0).max(1.0));
        let squares: u128 = chains.iter().map(|n| u128::from(*n).pow(2)).sum();
        let chi = if keys == 0 { 0.0 } else { squares as f64 / load - keys as f64 };
        let probes = (squares as f64 + keys as f64) / (2.0 * (keys as f64).max(1.0));
        let longest = chains.iter().copied().max().unwrap_or(0);
        let empty = chains.iter().filter(|n| **n == 0).count() as f64 / buckets;
        Self {
            chi_square: chi / freedom,
            sigma: (chi - freedom) / (2.0 * freedom).sqrt(),
            longest,
            empty,
            probes,
            histogram: histogram(chains, load, longest),
        }
    }
}

/// Counts chains by length: one bar for each length, or a few, around the usual; from there on each bar is twice as wide.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "lengths around the mean of 32-bit lengths"
)]
fn histogram(chains: &[u32], load: f64, longest: u32) -> Vec<Bar> {
    const BARS: u32 = 16;
    let around = 4.0 * load.sqrt();
    let low = (load - around).floor().max(0.0) as u32;
    let high = (load + around).ceil() as u32;
    let width = (high - low).div_ceil(BARS).max(1);
    let mut bars = Vec::new();
    let mut add = |from: u32, wide: u32| {
        let to = from.saturating_add(wide - 1);
        bars.push(Bar {
            from,
            to,
            buckets: 0,
            expected: expected(from, to, load) * chains.len() as f64,
        });
        to.saturating_add(1)
    };
    let mut from = if low > 0 { add(0, low) } else { 0 };
    while from <= high {
        from = add(from, width);
    }
    let mut wide = width.saturating_mul(2);
    while from <= longest && from < u32::MAX {
        from = add(from, wide);
        wide = wide.saturating_mul(2);
    }
    for length in chains {
        let at = bars.partition_point(|bar| bar.to < *length);
        if let Some(bar) = bars.get_mut(at) {
            bar.buckets += 1;
        }
    }
    // Each bar says what it stands for, so one that is neither there nor expected may be missing.
    bars.retain(|bar| bar.buckets > 0 || bar.expected >= 0.5);
    bars
}

/// The chance of a length in a range, where lengths are Poisson with this mean.
fn expected(from: u32, to: u32, load: f64) -> f64 {
    // Beyond this the chance is nothing that a double tells from zero beside the rest.
    let most = load + 40.0 * load.sqrt() + 64.0;
    let (mut log, mut sum) = (-load, 0.0);
    for n in 0..=to {
        if f64::from(n) > most {
            break;
        }
        if n > 0 {
            log += (load / f64::from(n)).ln();
        }
        if n >= from {
            sum += log.exp();
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_by_hand() {
        // Four buckets, six tuples: expected 1.5 each; χ² = (0.25 + 2.25 + 2.25 + 0.25) / 1.5.
        let spread = Spread::of(&[1, 0, 3, 2]);
        assert!((spread.chi_square - 10.0 / 9.0).abs() < 1e-12, "{spread:?}");
        assert!((spread.sigma - (10.0 / 3.0 - 3.0) / 6f64.sqrt()).abs() < 1e-12, "{spread:?}");
        assert_eq!((spread.longest, spread.empty), (3, 0.25));
        // One is found at once, of the three after 1, 2, 3, of the two after 1, 2.
        assert!((spread.probes - 10.0 / 6.0).abs() < 1e-12, "{spread:?}");
        let bars: Vec<_> = spread.histogram.iter().map(|b| (b.from, b.to, b.buckets)).collect();
        assert_eq!(bars, [(0, 0, 1), (1, 1, 1), (2, 2, 1), (3, 3, 1)]);
    }

    #[test]
    fn one_chain_of_all_is_counted() {
        let mut chains = vec![0; 1000];
        chains[7] = 100_000;
        let spread = Spread::of(&chains);
        assert_eq!(spread.longest, 100_000);
        assert!((spread.probes - 50_000.5).abs() < 1e-9);
        assert_eq!(spread.histogram.iter().map(|bar| bar.buckets).sum::<u64>(), 1000);
        let last = spread.histogram.last().unwrap();
        assert!(last.from <= 100_000 && last.to >= 100_000 && last.buckets == 1, "{last:?}");
    }

    #[test]
    fn expectations_are_poissons_and_add_up() {
        assert!((expected(0, 0, 1.0) - (-1.0f64).exp()).abs() < 1e-12);
        assert!((expected(2, 2, 1.0) - (-1.0f64).exp() / 2.0).abs() < 1e-12);
        for load in [0.01, 1.0, 50.0, 5000.0] {
            assert!((expected(0, u32::MAX, load) - 1.0).abs() < 1e-6, "{load}");
        }
    }

    #[test]
    fn both_indices_cover_the_table() {
        for buckets in [1, 2, 1000, 1 << 20] {
            for (index, bits) in
                [(Index::Low, 32), (Index::High, 32), (Index::Low, 64), (Index::High, 64)]
            {
                let top = u64::MAX >> (64 - bits);
                assert_eq!(index.of(0, bits, buckets), 0);
                let last = index.of(top, bits, buckets);
                assert!(last < buckets, "{index:?} {bits} {buckets}");
                if index == Index::High {
                    assert_eq!(last, buckets - 1);
                }
            }
        }
    }
}
