//! Where the parser reads headers from. It is written once and compiled twice: over the head segment's bytes, where the
//! headers of nearly all frames lie, and over segments, copying out one header at a time.

use crate::frame::Frame;
use crate::wire::{self, Header};

pub(super) trait Source {
    /// Reads the header at `offset`; `None` where the bytes end before it does.
    fn get<T: Header>(&self, offset: usize) -> Option<T>;

    /// Fills `into` from `offset` on; false where the bytes end before.
    fn copy(&self, offset: usize, into: &mut [u8]) -> bool;
}

/// Plain bytes.
pub(super) struct Linear<'a>(pub(super) &'a [u8]);

impl Source for Linear<'_> {
    #[inline(always)]
    fn get<T: Header>(&self, offset: usize) -> Option<T> {
        wire::from_slice(self.0, offset)
    }

    fn copy(&self, offset: usize, into: &mut [u8]) -> bool {
        let Some(from) = self.0.get(offset..).and_then(|rest| rest.get(..into.len())) else {
            return false;
        };
        for (to, from) in into.iter_mut().zip(from) {
            *to = *from;
        }
        true
    }
}

/// A frame's segments.
pub(super) struct Segmented<'a, F>(pub(super) &'a F);

impl<F: Frame> Source for Segmented<'_, F> {
    fn get<T: Header>(&self, offset: usize) -> Option<T> {
        let mut header = T::new_zeroed();
        self.0.copy_out(offset, header.as_mut_bytes()).then_some(header)
    }

    fn copy(&self, offset: usize, into: &mut [u8]) -> bool {
        self.0.copy_out(offset, into)
    }
}
