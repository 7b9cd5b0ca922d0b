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
    if burst == 0 || average.wrapping_mul(burst) < average {
        return Err(too_low.into());
    }
    let cost = u64::from(average) * UNIT;
    let (size, bucket) = (cost.saturating_mul(burst.into()), Bucket::full());
    Ok(matches(move |cx| bucket.take(cx.place.now, size, cost)))
}
