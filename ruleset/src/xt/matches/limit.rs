//! `limit`: a rate.

use super::*;
use crate::expr::limit::Bucket;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "limit",
    help: "Matches as long as a rate is kept.",
    families: ANY,
    size: 40,
    told: 8,
    make: |of| make(of, Errno::ERANGE),
    ..Extension::MATCH
}];

/// Nanoseconds of the wire's unit, a ten-thousandth of a second (`XT_LIMIT_SCALE`).
const UNIT: u64 = 100_000;

/// Also the bridge's, which refuses a rate that is too low with an errno of its own.
pub(in crate::xt) fn make(of: &mut Use<'_>, too_low: Errno) -> Result<Act> {
    let (average, burst) = (of.info.u32(0), of.info.u32(4));
    if burst == 0 || credits(average.wrapping_mul(burst)) < credits(average) {
        return Err(too_low.into());
    }
    let cost = u64::from(average) * UNIT;
    let (size, bucket) = (cost.saturating_mul(burst.into()), Bucket::full());
    Ok(matches(move |cx| bucket.take(cx.place.now, size, cost)))
}

/// What Linux counts in, 32,000 a second. What is too much for that wraps, which it takes for a sign of a rate that is too low.
const fn credits(wire: u32) -> u32 {
    const A_SECOND: u32 = 32_000;
    if wire > u32::MAX / A_SECOND {
        (wire / 10_000).wrapping_mul(A_SECOND)
    } else {
        wire * A_SECOND / 10_000
    }
}
