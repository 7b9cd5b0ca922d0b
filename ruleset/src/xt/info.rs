//! The C structures of extensions, by bytes.

/// A structure as it came. Numbers are in the machine's order but for those called `be`; beyond the end there are zeros, which
/// no field that is asked for reaches (an extension's size is checked first).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Info<'a>(pub(crate) &'a [u8]);

impl<'a> Info<'a> {
    /// `N` bytes.
    pub(crate) fn bytes<const N: usize>(self, at: usize) -> [u8; N] {
        let found = self.0.get(at..).and_then(|rest| rest.first_chunk::<N>());
        debug_assert!(found.is_some(), "a field beyond the structure");
        found.copied().unwrap_or([0; N])
    }

    /// A byte.
    pub(crate) fn u8(self, at: usize) -> u8 {
        let [byte] = self.bytes(at);
        byte
    }

    /// A number.
    pub(crate) fn u16(self, at: usize) -> u16 {
        u16::from_ne_bytes(self.bytes(at))
    }

    /// A number.
    pub(crate) fn u32(self, at: usize) -> u32 {
        u32::from_ne_bytes(self.bytes(at))
    }

    /// A number.
    pub(crate) fn u64(self, at: usize) -> u64 {
        u64::from_ne_bytes(self.bytes(at))
    }

    /// Whether a byte is not zero.
    pub(crate) fn is_set(self, at: usize) -> bool {
        self.u8(at) != 0
    }

    /// A range of numbers.
    pub(crate) fn range16(self, at: usize) -> std::ops::RangeInclusive<u16> {
        self.u16(at)..=self.u16(at + 2)
    }

    /// A range of numbers.
    pub(crate) fn range32(self, at: usize) -> std::ops::RangeInclusive<u32> {
        self.u32(at)..=self.u32(at + 4)
    }

    /// `len` bytes up to the first NUL; `None` where there is none.
    pub(crate) fn name(self, at: usize, len: usize) -> Option<&'a [u8]> {
        let field = self.0.get(at..at + len)?;
        let end = field.iter().position(|byte| *byte == 0)?;
        field.get(..end)
    }

    /// The same for people to read.
    pub(crate) fn text(self, at: usize, len: usize) -> Box<str> {
        String::from_utf8_lossy(self.name(at, len).unwrap_or_default()).into()
    }
}
