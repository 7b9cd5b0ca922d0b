//! Registers: 64 bytes that expressions of a rule hand values on by.
//!
//! On the wire a register is a number of `enum nft_registers`: 1 to 4 are 16 bytes each, 8 to 23 are the same bytes by fours,
//! 0 is the verdict. Values lie as the kernel has them: packet bytes in wire order, numbers that the machine made (mark,
//! interface index) in the machine's order.

use nfnetlink::{Attr, Errno, Result, Writer};

use crate::schema::{Kind, Value};

/// Bytes of all registers.
pub const SIZE: usize = 64;
/// Bytes of the largest value.
pub const MAX_DATA: usize = 64;
const FIRST_32: u32 = 8;
const LAST_32: u32 = 23;

/// A data register, as the place of its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reg(u8);

impl Reg {
    /// The first data register.
    pub const FIRST: Self = Self(0);

    /// The register at this byte, a multiple of four below [`SIZE`].
    pub const fn at(byte: u8) -> Option<Self> {
        if byte.is_multiple_of(4) && (byte as usize) < SIZE { Some(Self(byte)) } else { None }
    }

    /// Where its first byte lies.
    pub const fn offset(self) -> usize {
        self.0 as usize
    }

    /// Its number on the wire, as the kernel dumps it.
    pub const fn number(self) -> u32 {
        let words = self.0 as u32 / 4;
        if words.is_multiple_of(4) { 1 + words / 4 } else { FIRST_32 + words }
    }

    fn from_number(number: u32) -> Option<Self> {
        match number {
            1..=4 => Some(Self((number as u8 - 1) * 16)),
            FIRST_32..=LAST_32 => Some(Self((number - FIRST_32) as u8 * 4)),
            _ => None,
        }
    }

    /// Whether `len` bytes fit from here on.
    pub const fn fits(self, len: usize) -> bool {
        self.0 as usize + len <= SIZE
    }
}

/// A register that an attribute names: a data register or the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnyReg {
    /// `NFT_REG_VERDICT`.
    Verdict,
    /// The others.
    Data(Reg),
}

impl Value for AnyReg {
    const KIND: Kind = Kind::Register;

    fn get(attr: &Attr<'_>) -> Result<Self> {
        match attr.u32()? {
            0 => Ok(Self::Verdict),
            number => {
                Reg::from_number(number).map(Self::Data).ok_or_else(|| attr.error(Errno::ERANGE))
            }
        }
    }

    fn put(&self, kind: u16, out: &mut Writer) {
        out.u32(
            kind,
            match self {
                Self::Verdict => 0,
                Self::Data(reg) => reg.number(),
            },
        );
    }
}

impl Value for Reg {
    const KIND: Kind = Kind::Register;

    fn get(attr: &Attr<'_>) -> Result<Self> {
        match AnyReg::get(attr)? {
            AnyReg::Data(reg) => Ok(reg),
            AnyReg::Verdict => Err(attr.error(Errno::EINVAL)),
        }
    }

    fn put(&self, kind: u16, out: &mut Writer) {
        out.u32(kind, self.number());
    }
}

/// The registers of one walk over rules.
#[derive(Clone, Debug)]
pub struct Regs {
    bytes: [u8; SIZE],
}

impl Default for Regs {
    fn default() -> Self {
        Self { bytes: [0; SIZE] }
    }
}

/// What fits is checked when a rule is decoded ([`Reg::fits`]); a range beyond the end reads as nothing.
impl Regs {
    /// `len` bytes of a register and those that follow it.
    #[inline]
    pub fn get(&self, reg: Reg, len: usize) -> &[u8] {
        self.bytes.get(reg.offset()..reg.offset() + len).unwrap_or_default()
    }

    /// The same, to write.
    #[inline]
    pub fn get_mut(&mut self, reg: Reg, len: usize) -> &mut [u8] {
        self.bytes.get_mut(reg.offset()..reg.offset() + len).unwrap_or_default()
    }

    /// Stores a value; the bytes behind it up to a multiple of four become zeros, as the kernel's stores do.
    #[inline]
    pub fn set(&mut self, reg: Reg, value: &[u8]) {
        let padded = value.len().next_multiple_of(4);
        let place = self.get_mut(reg, padded);
        if let Some((head, tail)) = place.split_at_mut_checked(value.len()) {
            head.copy_from_slice(value);
            tail.fill(0);
        }
    }

    /// A 32-bit number in the machine's order.
    #[inline]
    pub fn u32(&self, reg: Reg) -> u32 {
        self.get(reg, 4).first_chunk().copied().map_or(0, u32::from_ne_bytes)
    }

    /// Stores a 32-bit number in the machine's order.
    #[inline]
    pub fn set_u32(&mut self, reg: Reg, value: u32) {
        self.set(reg, &value.to_ne_bytes());
    }
}
