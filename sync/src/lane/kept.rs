//! What a receiver need not hear again when a bulk is given up: where the next one goes on.
//!
//! # How it goes on
//!
//! What was lost are the datagrams after the last one up to which nothing is missing, call it `has`. They may have been of any slot. So a
//! slot that the bulk came by before `has` is as it should be if nothing was said of it since; a sender knows the number of the
//! datagram that spoke last of each slot, and leaves such slots out. A slot that the bulk had not come by is wanted if it lives, or if
//! it was spoken of since `has`: the receiver may have heard of a flow there whose end was lost.
//!
//! ```text
//!              | slots that the bulk came by     | other slots
//! bulk         | spoken of after `inside`        | alive, or spoken of after `outside`
//! lane is whole| spoken of after `outside`, all of them
//! ```
//!
//! So the stamp stays, and with it all that other lanes have under it. A second bulk that is given up leaves the longer of the two
//! stretches, as of its own `has`; `outside` stays what it was.

use crate::ids::Seq;
use crate::records::Part;

/// Slots in a row, round the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) first: u32,
    pub(super) count: u32,
}

/// What of a lane is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    stretch: Stretch,
    inside: u64,
    outside: u64,
    /// All living flows of other slots are wanted.
    all: bool,
}

impl Kept {
    /// A lane that was told nothing, and missed nothing.
    pub(super) const NOTHING: Self =
        Self { stretch: Stretch { first: 0, count: 0 }, inside: 0, outside: u64::MAX, all: true };
    /// A lane that has all.
    pub(super) const WHOLE: Self = Self { all: false, ..Self::NOTHING };

    /// What was sent after `has` is lost. `walked`: the slots that a bulk came by before that, of `slots`.
    pub(super) fn lose(&mut self, has: u64, walked: Stretch, slots: u32) {
        if walked.count >= slots && slots > 0 {
            *self = Self { outside: has, ..Self::WHOLE };
            return;
        }
        self.outside = self.outside.min(has);
        if walked.count > 0 && walked.count >= self.stretch.count {
            self.stretch = walked;
            self.inside = has;
        }
    }

    /// What is wanted; `None`: all.
    pub(super) fn part(&self, bucket: Option<u16>, slots: u32) -> Option<Part> {
        if *self == Self::NOTHING && bucket.is_none() {
            return None;
        }
        let Stretch { first, count } = self.stretch;
        let next = (u64::from(first) + u64::from(count)) % u64::from(slots.max(1));
        Some(Part {
            first,
            next: next as u32,
            inside: Seq(self.inside),
            outside: Seq(self.outside),
            all: self.all,
            bucket,
        })
    }
}

/// How far the bulk that is awaited has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Walk {
    /// What it came by, and nothing up to the mark that said so is missing.
    sure: Stretch,
    /// The next mark: its datagram, and how many slots it is from the first. It counts when nothing up to there is missing.
    mark: Option<(u64, u32)>,
}

impl Walk {
    /// BULK_BEGIN or BULK_MARK came in datagram `seq`. The bulk began with the slot `first` of `slots`, and is at `slot`.
    pub(super) fn comes_to(&mut self, first: u32, slot: u32, slots: u32, seq: u64, has: u64) {
        self.settle(has);
        self.sure.first = first;
        if self.mark.is_none() && first < slots && slot <= slots {
            let count = (slot + (slots - first)) % slots;
            self.mark = Some((seq, if count == 0 { slots } else { count }));
        }
    }

    /// What it came by, if nothing up to `has` is missing.
    pub(super) fn settle(&mut self, has: u64) -> Stretch {
        if let Some((_, count)) = self.mark.take_if(|(seq, _)| *seq <= has) {
            self.sure.count = self.sure.count.max(count);
        }
        self.sure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretch(first: u32, count: u32) -> Stretch {
        Stretch { first, count }
    }

    fn part(first: u32, next: u32, inside: u64, outside: u64, all: bool) -> Option<Part> {
        Some(Part { first, next, inside: Seq(inside), outside: Seq(outside), all, bucket: None })
    }

    #[test]
    fn the_longer_stretch_stays_and_all_that_was_lost_is_wanted() {
        let mut kept = Kept::NOTHING;
        assert_eq!(kept.part(None, 100), None);
        kept.lose(7, stretch(90, 30), 100);
        assert_eq!(kept.part(None, 100), part(90, 20, 7, 7, true));
        // The next one is given up earlier in its course.
        kept.lose(12, stretch(90, 10), 100);
        assert_eq!(kept.part(None, 100), part(90, 20, 7, 7, true));
        kept.lose(19, stretch(90, 40), 100);
        assert_eq!(kept.part(None, 100), part(90, 30, 19, 7, true));
        // It came round, but for its end.
        kept.lose(25, stretch(40, 100), 100);
        assert_eq!(kept.part(None, 100), part(0, 0, 0, 25, false));
        assert_eq!(Kept::WHOLE.part(Some(3), 100).unwrap().bucket, Some(3));
    }

    #[test]
    fn a_mark_counts_when_nothing_before_it_is_missing() {
        let mut walk = Walk::default();
        walk.comes_to(90, 10, 100, 5, 3);
        assert_eq!(walk.settle(4), stretch(90, 0));
        // Later ones wait for their turn.
        walk.comes_to(90, 30, 100, 8, 4);
        assert_eq!(walk.settle(8), stretch(90, 20));
        walk.comes_to(90, 60, 100, 12, 11);
        // Repaired: it was said before.
        walk.comes_to(90, 20, 100, 13, 12);
        assert_eq!(walk.settle(13), stretch(90, 70));
        walk.comes_to(90, 90, 100, 20, 19);
        assert_eq!(walk.settle(20), stretch(90, 100), "it came round");
        let mut from_zero = Walk::default();
        from_zero.comes_to(0, 100, 100, 1, 0);
        assert_eq!(from_zero.settle(1), stretch(0, 100));
    }
}
