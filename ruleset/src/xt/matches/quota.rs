//! `quota`: so many bytes, then no more.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

const INVERT: u32 = 1;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "quota",
    help: "Matches until so many bytes have passed.",
    families: ANY,
    size: 24,
    told: 16,
    make: |of| {
        let (flags, left) = (of.info.u32(0), AtomicU64::new(of.info.u64(8)));
        refuse_if(flags & !INVERT != 0)?;
        Ok(matches(move |cx| {
            let len = cx.len() as u64;
            // A packet that is more than what is left ends it.
            let take = |left: u64| Some(left.saturating_sub(len));
            let before = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
            let enough = before.unwrap_or(0) >= len;
            enough != (flags & INVERT != 0)
        }))
    },
    ..Extension::MATCH
}];
