//! `limit`: matches as long as a rate is kept, or once it is not.

use std::sync::atomic::{AtomicI64, Ordering};

use nfnetlink::{Attr, Errno, Result, Writer};

use super::{Decode, Encode, Expr, Kind};
use crate::packet::Cx;
use crate::schema::{Field as _, Value as _};
use crate::verdict::Verdict;

crate::attributes! {
    /// Matches as long as a rate is kept, or once it is not.
    pub(crate) struct Attributes("limit") {
        /// Packets or bytes in each unit of time.
        1 => rate: u64,
        /// The unit of time in seconds.
        2 => unit: u64,
        /// Packets or bytes that may come at once beyond the rate.
        3 => burst: Option<u32>,
        /// What is counted.
        4 => counted: Option<Counted>,
        /// How it matches.
        5 => flags: Option<u32>,
    }
}

crate::choice! {
    /// What a limit counts (`enum nft_limit_type`).
    pub(crate) enum Counted: u32, else EOPNOTSUPP {
        /// Packets.
        Packets = 0 => "packets",
        /// Bytes.
        Bytes = 1 => "bytes",
    }
}

/// `NFT_LIMIT_F_INV`.
const OVER: u32 = 1;
/// Packets at once where nothing is said (`NFT_LIMIT_PKT_BURST_DEFAULT`).
const DEFAULT_BURST: u32 = 5;
const NS: u64 = 1_000_000_000;

/// Registered in `REGISTRY`.
pub(crate) static KIND: Kind = Kind { schema: Attributes::SCHEMA, decode, stateful: true };

/// A token bucket. What is in it is told by one number, which workers and control side alike move on by compare-and-swap, so
/// that all workers together keep the rate: the time at which the bucket was, or would have been, empty. What flowed in since
/// then is in it.
#[derive(Debug)]
pub(crate) struct Bucket {
    /// Nanoseconds since the daemon's start.
    empty_at: AtomicI64,
}

impl Bucket {
    /// A full one.
    pub(crate) const fn full() -> Self {
        Self { empty_at: AtomicI64::new(i64::MIN) }
    }

    /// Takes `cost` nanoseconds' worth out of a bucket that holds at most `size`; false, with nothing taken, where there is less.
    pub(crate) fn take(&self, now: u64, size: u64, cost: u64) -> bool {
        let clamp = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let (now, size, cost) = (clamp(now), clamp(size), clamp(cost));
        let after = |empty_at: i64| {
            let empty_at = empty_at.max(now.saturating_sub(size)).saturating_add(cost);
            (empty_at <= now).then_some(empty_at)
        };
        self.empty_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, after).is_ok()
    }
}

#[derive(Debug)]
struct Limit {
    rate: u64,
    /// Nanoseconds.
    unit: u64,
    burst: u32,
    counted: Counted,
    over: bool,
    /// Nanoseconds' worth that the bucket holds.
    size: u64,
    bucket: Bucket,
}

fn decode(data: &Attr<'_>, _cx: &mut Decode<'_>) -> Result<Box<dyn Expr>> {
    Ok(Box::new(Limit::decode(data)?))
}

impl Limit {
    fn decode(data: &Attr<'_>) -> Result<Self> {
        let Attributes { rate, unit, burst, counted, flags } = Attributes::decode(data)?;
        if rate == 0 {
            return Err(Errno::EINVAL.into());
        }
        let counted = counted.unwrap_or(Counted::Packets);
        let unit = unit.checked_mul(NS).ok_or(Errno::EOVERFLOW)?;
        let burst = match (counted, burst.unwrap_or(0)) {
            (Counted::Packets, 0) => DEFAULT_BURST,
            (_, burst) => burst,
        };
        let with_burst = rate.checked_add(burst.into()).ok_or(Errno::EOVERFLOW)?;
        let size = match counted {
            Counted::Packets => (unit / rate).checked_mul(burst.into()),
            Counted::Bytes => unit.checked_mul(with_burst).map(|size| size / rate),
        };
        let size = size.ok_or(Errno::EOVERFLOW)?;
        let flags = flags.unwrap_or(0);
        if flags & !OVER != 0 {
            return Err(Errno::EOPNOTSUPP.into());
        }
        let bucket = Bucket::full();
        Ok(Self { rate, unit, burst, counted, over: flags & OVER != 0, size, bucket })
    }
}

impl Expr for Limit {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn eval(&self, cx: &mut Cx<'_>) -> Verdict {
        let cost = match self.counted {
            Counted::Packets => self.unit / self.rate,
            Counted::Bytes => self.unit.wrapping_mul(cx.len() as u64) / self.rate,
        };
        if self.bucket.take(cx.place.now, self.size, cost) == self.over {
            return Verdict::Break;
        }
        Verdict::Continue
    }

    fn encode(&self, out: &mut Writer, _cx: &Encode<'_>) {
        self.rate.give(1, out);
        (self.unit / NS).give(2, out);
        self.burst.give(3, out);
        self.counted.put(4, out);
        u32::from(self.over).give(5, out);
    }

    fn fresh(&self) -> Option<Box<dyn Expr>> {
        Some(Box::new(Self { bucket: Bucket::full(), ..*self }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_the_rate() {
        const PACKET: u64 = NS / 10;
        let bucket = Bucket::full();
        let allowed = |now| (0..20).filter(|_| bucket.take(now, 5 * PACKET, PACKET)).count();
        assert_eq!(allowed(0), 5, "full from the start");
        assert_eq!(allowed(PACKET - 1), 0);
        assert_eq!(allowed(PACKET), 1);
        assert_eq!(allowed(3 * PACKET), 2);
        assert_eq!(allowed(1000 * PACKET), 5, "no more than it holds");
        assert!(!Bucket::full().take(0, 10, 11), "larger than the bucket");
    }

    #[test]
    fn four_workers_together_keep_the_rate() {
        const RATE: u64 = 1_000_000;
        const SECONDS: u64 = 2;
        let bucket = Bucket::full();
        let (clock, allowed) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for worker in 0..4u64 {
                let (bucket, clock, allowed) = (&bucket, &clock, &allowed);
                scope.spawn(move || {
                    // Each worker's clock lags by a bit, as those of bursts do.
                    let mut count = 0;
                    loop {
                        let now = clock.fetch_add(97, Ordering::Relaxed);
                        if now >= SECONDS * NS {
                            break;
                        }
                        let now = now.saturating_sub(worker * 1000);
                        count += u64::from(bucket.take(now, 5 * NS / RATE, NS / RATE));
                    }
                    allowed.fetch_add(count, Ordering::Relaxed);
                });
            }
        });
        let (allowed, wanted) = (allowed.into_inner(), RATE * SECONDS + 5);
        assert!(allowed.abs_diff(wanted) * 100 <= wanted, "{allowed} instead of {wanted}");
    }
}
