//! Writing and reading numbers one after the other, little-endian, with every length checked.

use crate::wire::Unencodable;

/// Writes into a buffer from its beginning on.
pub(super) struct Put<'a> {
    rest: &'a mut [u8],
}

impl<'a> Put<'a> {
    pub(super) fn new(out: &'a mut [u8]) -> Self {
        Self { rest: out }
    }

    /// Bytes that are left.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self, bytes: &[u8; N]) -> Result<(), Unencodable> {
        let (to, rest) = std::mem::take(&mut self.rest)
            .split_first_chunk_mut::<N>()
            .ok_or(Unencodable::TooLong)?;
        *to = *bytes;
        self.rest = rest;
        Ok(())
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Unencodable> {
        let (to, rest) = std::mem::take(&mut self.rest)
            .split_at_mut_checked(bytes.len())
            .ok_or(Unencodable::TooLong)?;
        to.copy_from_slice(bytes);
        self.rest = rest;
        Ok(())
    }

    #[inline]
    pub(super) fn u16(&mut self, value: u16) -> Result<(), Unencodable> {
        self.array(&value.to_le_bytes())
    }

    #[inline]
    pub(super) fn u32(&mut self, value: u32) -> Result<(), Unencodable> {
        self.array(&value.to_le_bytes())
    }

    #[inline]
    pub(super) fn u64(&mut self, value: u64) -> Result<(), Unencodable> {
        self.array(&value.to_le_bytes())
    }
}

/// Reads from a buffer's beginning on. `None`: it is too short.
pub(super) struct Get<'a> {
    rest: &'a [u8],
}

impl<'a> Get<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*bytes)
    }

    pub(super) fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(bytes)
    }

    /// Nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// All that is left.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    #[inline]
    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    #[inline]
    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    #[inline]
    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}
