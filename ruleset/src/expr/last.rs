//! `last`: when a packet last came by.

use std::sync::atomic::{AtomicU64, Ordering};

use nfnetlink::{Attr, Result, Writer};

use super::{Decode, Encode, Expr, Kind};
use crate::packet::Cx;
use crate::schema::Field as _;
use crate::verdict::Verdict;

crate::attributes! {
    /// Keeps when a packet last came by.
    struct Attributes("last") {
        /// Whether one ever did.
        1 => set: Option<u32>,
        /// Milliseconds since then.
        2 => msecs: Option<u64>,
    }
}

/// Registered in `REGISTRY`.
pub(super) static KIND: Kind = Kind { schema: Attributes::SCHEMA, decode, stateful: true };

const NEVER: u64 = u64::MAX;
const MS: u64 = 1_000_000;

/// Nanoseconds since the daemon's start, or [`NEVER`]. Written by all workers: any of those that came at about the same time
/// may win.
#[derive(Debug)]
struct Last(AtomicU64);

fn decode(data: &Attr<'_>, cx: &mut Decode<'_>) -> Result<Box<dyn Expr>> {
    let Attributes { set, msecs } = Attributes::decode(data)?;
    let at = match set.unwrap_or(0) {
        0 => NEVER,
        _ => cx.now.wrapping_sub(msecs.unwrap_or(0).wrapping_mul(MS)),
    };
    Ok(Box::new(Last(at.into())))
}

impl Expr for Last {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn eval(&self, cx: &mut Cx<'_>) -> Verdict {
        if self.0.load(Ordering::Relaxed) != cx.place.now {
            self.0.store(cx.place.now, Ordering::Relaxed);
        }
        Verdict::Continue
    }

    fn encode(&self, out: &mut Writer, cx: &Encode<'_>) {
        let at = self.0.load(Ordering::Relaxed);
        let msecs = if at == NEVER { 0 } else { cx.now.wrapping_sub(at) / MS };
        u32::from(at != NEVER).give(1, out);
        msecs.give(2, out);
    }

    fn fresh(&self) -> Option<Box<dyn Expr>> {
        Some(Box::new(Self(NEVER.into())))
    }
}
