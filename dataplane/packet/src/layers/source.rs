//! Where the parser reads headers from. It is written once and compiled twice.
//!
//! [`Plain`] is for nearly all packets: untagged TCP and UDP over IP without options, extensions or fragments, headers in
//! the head segment. Whatever is not so it gives up on, so that all it knows stays in registers and there is one way
//! through. [`Whole`] starts again, and takes everything, across segments.

use crate::drop::DropReason;
use crate::frame::Frame;
use crate::wire::{self, Header};

/// Passed by value, as all else in the parser: what never has an address stays in registers.
pub(super) trait Source: Copy {
    /// True when only plain packets are parsed, and an error means no more than that it is not one.
    const PLAIN: bool;

    /// Reads the header at `offset`; `None` where the bytes end before it does.
    fn get<T: Header>(self, offset: usize) -> Option<T>;

    /// Fills `into` from `offset` on; false where the bytes end before.
    fn copy(self, offset: usize, into: &mut [u8]) -> bool;
}

/// What the plain parser gives up with; nobody reads it.
pub(super) const NOT_PLAIN: DropReason = DropReason::EthTruncated;

/// The head segment's bytes.
#[derive(Clone, Copy)]
pub(super) struct Plain<'a>(pub(super) &'a [u8]);

impl Source for Plain<'_> {
    const PLAIN: bool = true;

    #[inline(always)]
    fn get<T: Header>(self, offset: usize) -> Option<T> {
        wire::from_slice(self.0, offset)
    }

    fn copy(self, _: usize, _: &mut [u8]) -> bool {
        false
    }
}

/// All of a frame's segments.
pub(super) struct Whole<'a, F>(pub(super) &'a F);

impl<F> Clone for Whole<'_, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F> Copy for Whole<'_, F> {}

impl<F: Frame> Source for Whole<'_, F> {
    const PLAIN: bool = false;

    #[inline]
    fn get<T: Header>(self, offset: usize) -> Option<T> {
        wire::read(self.0, offset)
    }

    fn copy(self, offset: usize, into: &mut [u8]) -> bool {
        self.0.copy_out(offset, into)
    }
}
