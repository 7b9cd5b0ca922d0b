//! Netlink attributes (`struct nlattr`): type, length, value, nested to any depth.
//!
//! Decoding is as lenient as the kernel's for nf_tables (`nla_parse_deprecated`): unknown types are skipped, of a type that
//! comes twice the last counts, an integer may be longer than its type but not shorter, and what is left over behind the last
//! whole attribute is ignored. Integers of netfilter are big-endian unless said otherwise.

use crate::error::{Errno, Error, Result};

/// Bytes of an attribute's header.
pub const HEADER: usize = 4;
const NESTED: u16 = 0x8000;
const TYPE_MASK: u16 = 0x3fff;

/// Rounds a length up to the four bytes that messages and attributes are aligned to.
pub const fn align(len: usize) -> usize {
    (len + 3) & !3
}

/// One attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attr<'a> {
    /// The type, without flags.
    pub kind: u16,
    /// The value.
    pub data: &'a [u8],
    /// Where the attribute begins, in bytes from its message's header.
    pub offset: u32,
}

impl<'a> Attr<'a> {
    /// The attributes inside.
    pub fn nested(&self) -> Attrs<'a> {
        Attrs { rest: self.data, offset: self.offset + HEADER as u32 }
    }

    /// The attributes inside, by type: `table[kind]`. Types of `N` and above are skipped.
    pub fn table<const N: usize>(&self) -> Table<'a, N> {
        self.nested().table()
    }

    /// A refusal that points here.
    pub fn error(&self, errno: Errno) -> Error {
        Error::new(errno).at(self)
    }

    /// The first `N` bytes.
    ///
    /// # Errors
    ///
    /// `ERANGE` where there are fewer.
    pub fn bytes<const N: usize>(&self) -> Result<[u8; N]> {
        self.data.first_chunk().copied().ok_or_else(|| self.error(Errno::ERANGE))
    }

    /// An 8-bit integer.
    ///
    /// # Errors
    ///
    /// `ERANGE` where it is shorter; likewise the others.
    pub fn u8(&self) -> Result<u8> {
        self.bytes().map(u8::from_be_bytes)
    }

    /// A 16-bit integer, big-endian.
    ///
    /// # Errors
    ///
    /// As [`Self::u8`].
    pub fn u16(&self) -> Result<u16> {
        self.bytes().map(u16::from_be_bytes)
    }

    /// A 32-bit integer, big-endian.
    ///
    /// # Errors
    ///
    /// As [`Self::u8`].
    pub fn u32(&self) -> Result<u32> {
        self.bytes().map(u32::from_be_bytes)
    }

    /// A 64-bit integer, big-endian.
    ///
    /// # Errors
    ///
    /// As [`Self::u8`].
    pub fn u64(&self) -> Result<u64> {
        self.bytes().map(u64::from_be_bytes)
    }

    /// A string: up to the first NUL, at most `max` bytes without it.
    ///
    /// # Errors
    ///
    /// `ERANGE` where it is longer, or not even a NUL; `EINVAL` where it is not UTF-8.
    pub fn str(&self, max: usize) -> Result<&'a str> {
        let len = self.data.iter().position(|byte| *byte == 0).unwrap_or(self.data.len());
        let bytes = self.data.get(..len).unwrap_or_default();
        if len > max || self.data.is_empty() {
            return Err(self.error(Errno::ERANGE));
        }
        std::str::from_utf8(bytes).map_err(|_| self.error(Errno::EINVAL))
    }
}

/// Attributes by type.
pub type Table<'a, const N: usize> = [Option<Attr<'a>>; N];

/// The attributes in a row of bytes, in order.
#[derive(Clone, Copy, Debug)]
pub struct Attrs<'a> {
    rest: &'a [u8],
    offset: u32,
}

impl<'a> Attrs<'a> {
    /// Those in `bytes`, which stand `offset` bytes behind the start of their message.
    pub const fn new(bytes: &'a [u8], offset: u32) -> Self {
        Self { rest: bytes, offset }
    }

    /// By type; the last of each counts, types of `N` and above are skipped.
    pub fn table<const N: usize>(self) -> Table<'a, N> {
        let mut table = [None; N];
        for attr in self {
            if let Some(place) = table.get_mut(usize::from(attr.kind)) {
                *place = Some(attr);
            }
        }
        table
    }
}

impl<'a> Iterator for Attrs<'a> {
    type Item = Attr<'a>;

    fn next(&mut self) -> Option<Attr<'a>> {
        let [l0, l1, k0, k1] = *self.rest.first_chunk::<HEADER>()?;
        let len = usize::from(u16::from_ne_bytes([l0, l1]));
        let data = self.rest.get(HEADER..len)?;
        let attr =
            Attr { kind: u16::from_ne_bytes([k0, k1]) & TYPE_MASK, data, offset: self.offset };
        let next = align(len).min(self.rest.len());
        self.rest = self.rest.get(next..).unwrap_or_default();
        self.offset += next as u32;
        Some(attr)
    }
}

/// Writes attributes at the end of a buffer.
#[derive(Debug, Default)]
pub struct Writer {
    /// What was written.
    pub buf: Vec<u8>,
}

impl Writer {
    /// One attribute. A value that no attribute can hold (64 KiB) is cut; callers keep below.
    pub fn put(&mut self, kind: u16, data: &[u8]) {
        let len = (HEADER + data.len()).min(usize::from(u16::MAX));
        self.buf.extend((len as u16).to_ne_bytes());
        self.buf.extend(kind.to_ne_bytes());
        self.buf.extend_from_slice(data.get(..len - HEADER).unwrap_or_default());
        self.pad();
    }

    /// An 8-bit integer.
    pub fn u8(&mut self, kind: u16, value: u8) {
        self.put(kind, &[value]);
    }

    /// A 16-bit integer, big-endian.
    pub fn u16(&mut self, kind: u16, value: u16) {
        self.put(kind, &value.to_be_bytes());
    }

    /// A 32-bit integer, big-endian.
    pub fn u32(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_be_bytes());
    }

    /// A 64-bit integer, big-endian.
    pub fn u64(&mut self, kind: u16, value: u64) {
        self.put(kind, &value.to_be_bytes());
    }

    /// A string with its NUL.
    pub fn str(&mut self, kind: u16, value: &str) {
        let len = HEADER + value.len() + 1;
        self.buf.extend((len as u16).to_ne_bytes());
        self.buf.extend(kind.to_ne_bytes());
        self.buf.extend_from_slice(value.as_bytes());
        self.buf.push(0);
        self.pad();
    }

    /// An attribute that holds what `inside` writes, marked as such (`NLA_F_NESTED`), which newer parts of the kernel do.
    pub fn nest_marked<T>(&mut self, kind: u16, inside: impl FnOnce(&mut Self) -> T) -> T {
        self.nest(kind | NESTED, inside)
    }

    /// An attribute that holds what `inside` writes.
    pub fn nest<T>(&mut self, kind: u16, inside: impl FnOnce(&mut Self) -> T) -> T {
        let start = self.buf.len();
        self.buf.extend([0; 2]);
        self.buf.extend(kind.to_ne_bytes());
        let value = inside(self);
        let len = self.buf.len() - start;
        if let Some(place) = self.buf.get_mut(start..start + 2) {
            place.copy_from_slice(&(len as u16).to_ne_bytes());
        }
        self.pad();
        value
    }

    /// A nest that is dropped again when it stays empty.
    pub fn nest_some(&mut self, kind: u16, inside: impl FnOnce(&mut Self)) {
        let start = self.buf.len();
        self.nest(kind, inside);
        if self.buf.len() == start + HEADER {
            self.buf.truncate(start);
        }
    }

    fn pad(&mut self) {
        self.buf.resize(align(self.buf.len()), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_with_offsets() {
        let mut writer = Writer::default();
        writer.u32(1, 7);
        writer.nest(2, |w| {
            w.str(1, "abc");
            w.u8(9, 5);
        });
        let table: Table<'_, 4> = Attrs::new(&writer.buf, 20).table();
        assert_eq!(table[1].unwrap().u32(), Ok(7));
        assert_eq!(table[2].unwrap().offset, 28);
        let inner: Table<'_, 4> = table[2].unwrap().table();
        assert_eq!(inner[1].unwrap().str(15), Ok("abc"));
        assert_eq!(inner[1].unwrap().offset, 32);
        assert_eq!(inner[1].unwrap().u64(), Err(inner[1].unwrap().error(Errno::ERANGE)));
        assert!(table[3].is_none());
    }

    #[test]
    fn what_is_cut_off_ends_the_row() {
        let mut writer = Writer::default();
        writer.u32(1, 7);
        writer.u32(2, 8);
        let cut = &writer.buf[..13];
        assert_eq!(Attrs::new(cut, 0).count(), 1);
        assert_eq!(Attrs::new(&[3, 0, 1, 0], 0).count(), 0, "shorter than its own header");
    }
}
