//! `quota`: matches until so many bytes were seen, or from then on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nfnetlink::{Attr, Errno, Result, Writer};

use super::{Decode, Encode, Expr, Kind};
use crate::packet::Cx;
use crate::schema::Field as _;
use crate::verdict::Verdict;

crate::attributes! {
    /// Matches until so many bytes were seen, or from then on.
    pub(crate) struct Attributes("quota") {
        /// So many bytes.
        1 => bytes: u64,
        /// How it matches.
        2 => flags: Option<u32>,
        /// Bytes seen.
        4 => consumed: Option<u64>,
    }
}

/// `NFT_QUOTA_F_INV`, `NFT_QUOTA_F_DEPLETED`.
const OVER: u32 = 1;
const DEPLETED: u32 = 2;

/// Registered in `REGISTRY`.
pub(crate) static KIND: Kind = Kind { schema: Attributes::SCHEMA, decode, stateful: true };

/// A quota, of a rule, an element or an object.
#[derive(Debug)]
pub(crate) struct Quota {
    bytes: u64,
    over: bool,
    /// Written by all workers, and by the control side at a reset.
    consumed: Arc<AtomicU64>,
    /// Listeners know that it is used up. Written by the control side alone.
    told: AtomicBool,
}

fn decode(data: &Attr<'_>, _cx: &mut Decode<'_>) -> Result<Box<dyn Expr>> {
    Ok(Box::new(Quota::decode(data)?))
}

impl Quota {
    /// Reads one.
    pub(crate) fn decode(data: &Attr<'_>) -> Result<Self> {
        let Attributes { bytes, flags, consumed } = Attributes::decode(data)?;
        let (flags, consumed) = (flags.unwrap_or(0), consumed.unwrap_or(0));
        if i64::try_from(bytes).is_err() {
            return Err(Errno::EOVERFLOW.into());
        }
        if consumed > bytes || flags & !OVER != 0 {
            return Err(Errno::EINVAL.into());
        }
        let consumed = Arc::new(consumed.into());
        Ok(Self { bytes, over: flags & OVER != 0, consumed, told: false.into() })
    }

    /// Counts a packet of `len` bytes and says whether it matches.
    pub(crate) fn matches(&self, len: usize) -> bool {
        let consumed = self.consumed.fetch_add(len as u64, Ordering::Relaxed) + len as u64;
        (consumed > self.bytes) == self.over
    }

    /// Whether it is used up and this was not said yet.
    pub(crate) fn has_news(&self) -> bool {
        let is_depleted = self.consumed.load(Ordering::Relaxed) >= self.bytes;
        is_depleted && !self.told.swap(true, Ordering::Relaxed)
    }

    /// With other settings, and what this one has seen so far.
    pub(crate) fn updated(&self, new: &Self) -> Self {
        Self {
            bytes: new.bytes,
            over: new.over,
            consumed: self.consumed.clone(),
            told: false.into(),
        }
    }

    /// Writes it.
    pub(crate) fn write(&self, out: &mut Writer, reset: bool) {
        let consumed = self.consumed.load(Ordering::Relaxed);
        let depleted = if consumed >= self.bytes { DEPLETED } else { 0 };
        self.bytes.give(1, out);
        consumed.min(self.bytes).give(4, out);
        (u32::from(self.over) | depleted).give(2, out);
        if reset {
            // What workers add meanwhile stays.
            self.consumed.fetch_sub(consumed, Ordering::Relaxed);
            self.told.store(false, Ordering::Relaxed);
        }
    }
}

impl Expr for Quota {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn eval(&self, cx: &mut Cx<'_>) -> Verdict {
        if self.matches(cx.len()) { Verdict::Continue } else { Verdict::Break }
    }

    fn encode(&self, out: &mut Writer, cx: &Encode<'_>) {
        self.write(out, cx.reset);
    }

    fn fresh(&self) -> Option<Box<dyn Expr>> {
        let (bytes, over) = (self.bytes, self.over);
        Some(Box::new(Self { bytes, over, consumed: Arc::default(), told: false.into() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_matches_up_to_its_bytes_or_beyond() {
        let quota =
            |bytes, over| Quota { bytes, over, consumed: Arc::default(), told: false.into() };
        let until = quota(1000, false);
        assert!(until.matches(600) && until.matches(400) && until.has_news() && !until.has_news());
        assert!(!until.matches(1));
        let over = quota(1000, true);
        assert!(!over.matches(1000) && over.matches(1));
        let more = over.updated(&quota(2000, false));
        assert!(more.matches(999) && !more.matches(1), "what was seen stays");
    }
}
