//! How fast a lane sends: token buckets. Nothing is ever held back here; whoever drains the rings asks whether to go on.

use packet::Tick;

const SECOND: i64 = 1_000_000_000;
/// A bucket holds what its rate brings in so long, in nanoseconds, …
const DEPTH: i64 = 10_000_000;
/// … and no less than this many bytes.
const SHALLOWEST: i64 = 32_768;
/// Around each datagram's records: header and trailer (48), UDP, IPv4, Ethernet with its gap.
pub(super) const AROUND: usize = 48 + 8 + 20 + 38;

/// Bytes that may be sent. It may be overdrawn; then it has to fill up first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    /// Bytes in a second; 0: no limit.
    rate: i64,
    /// In billionths of a byte, so that short times at low rates count.
    level: i64,
    full: i64,
    at: Tick,
}

impl Bucket {
    /// Full.
    pub(super) fn new(rate: u64) -> Self {
        // No link has more than 100 GB/s; with that nothing below overflows.
        let rate = i64::try_from(rate).unwrap_or(i64::MAX).min(100 * SECOND);
        let full =
            (rate / SECOND * DEPTH + rate % SECOND * DEPTH / SECOND).max(SHALLOWEST) * SECOND;
        Self { rate, level: full, full, at: Tick(0) }
    }

    /// Time has passed.
    pub(super) fn fill(&mut self, now: Tick) {
        self.level = self.level_at(now);
        self.at = self.at.max(now);
    }

    fn level_at(&self, now: Tick) -> i64 {
        let passed = i64::try_from(now.0.saturating_sub(self.at.0)).unwrap_or(i64::MAX);
        self.level.saturating_add(passed.saturating_mul(self.rate)).min(self.full)
    }

    /// So many bytes were sent.
    pub(super) fn spend(&mut self, bytes: usize) {
        if self.rate != 0 {
            let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
            self.level = self.level.saturating_sub(bytes.saturating_mul(SECOND));
        }
    }

    /// Whether anything is left.
    pub(super) fn has(&self, now: Tick) -> bool {
        self.level_at(now) > 0
    }

    /// Whether there is enough for what can wait: a quarter is kept for what cannot.
    pub(super) fn has_plenty(&self, now: Tick) -> bool {
        self.level_at(now) > self.full / 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_gives_its_rate() {
        for rate in [1_000_u64, 125_000, 125_000_000, 12_500_000_000] {
            let mut bucket = Bucket::new(rate);
            bucket.spend((bucket.full / SECOND) as usize);
            let (mut sent, mut now) = (0_u64, 0);
            // Steps so short that the slowest rate brings a thousandth of a byte in each.
            let step = if rate < 1_000_000 { 50_000 } else { 1_000 };
            while now < SECOND as u64 {
                now += step;
                bucket.fill(Tick(now));
                while bucket.has(Tick(now)) {
                    bucket.spend(1_000);
                    sent += 1_000;
                }
            }
            assert!(sent.abs_diff(rate) <= 2_000, "{rate}: {sent}");
        }
    }

    #[test]
    fn it_is_not_saved_up() {
        let mut bucket = Bucket::new(1_000_000);
        bucket.fill(Tick(3_600 * SECOND as u64));
        let mut sent = 0;
        while bucket.has(Tick(3_600 * SECOND as u64)) {
            bucket.spend(1_000);
            sent += 1_000;
        }
        assert!(sent <= SHALLOWEST + 1_000);
    }

    #[test]
    fn no_rate_is_no_limit() {
        let mut bucket = Bucket::new(0);
        bucket.spend(usize::MAX);
        assert!(bucket.has(Tick(0)) && bucket.has_plenty(Tick(0)));
    }
}
