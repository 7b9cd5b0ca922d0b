//! CRC32c, SCTP's checksum (RFC 9260, appendix A): whole, across segments, and updated when ports change.
//!
//! The CRC is linear: what a change adds to it hangs on the changed bits and on how many bytes follow, not on what those
//! are. So an update reads no payload; it multiplies polynomials, as many times as the length has ones.
//!
//! A packet carries its CRC with the low byte first: [`to_wire`], [`from_wire`].

use zerocopy::byteorder::network_endian::U32;

use crate::frame::Frame;

/// The polynomial of Castagnoli, its highest power left out, x⁰ in the top bit as in all numbers here.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// `TABLE[k][byte]`: what a byte adds once `k` more bytes have followed.
#[allow(clippy::indexing_slicing, reason = "evaluated by the compiler")]
static TABLE: [[u32; 256]; 8] = {
    let mut table = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut sum = byte as u32;
        let mut row = 0;
        while row < 8 {
            let mut bit = 0;
            while bit < 8 {
                sum = times_x(sum);
                bit += 1;
            }
            table[row][byte] = sum;
            row += 1;
        }
        byte += 1;
    }
    table
};

/// x to the power of 8, 16, 32 …: what one, two, four … bytes that follow multiply by.
#[allow(clippy::indexing_slicing, reason = "evaluated by the compiler")]
static POWERS: [u32; 32] = {
    let mut powers = [1 << (31 - 8); 32];
    let mut at = 1;
    while at < 32 {
        powers[at] = times(powers[at - 1], powers[at - 1]);
        at += 1;
    }
    powers
};

const fn times_x(a: u32) -> u32 {
    (a >> 1) ^ (POLYNOMIAL & (a & 1).wrapping_neg())
}

/// The product of two polynomials, modulo [`POLYNOMIAL`].
const fn times(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    let mut power = 1 << 31;
    while power != 0 {
        if a & power != 0 {
            product ^= b;
        }
        b = times_x(b);
        power >>= 1;
    }
    product
}

/// A CRC under way.
#[derive(Clone, Copy, Debug)]
pub struct Crc32c(u32);

impl Default for Crc32c {
    fn default() -> Self {
        Self::new()
    }
}

impl Crc32c {
    /// That of nothing.
    pub const fn new() -> Self {
        Self(!0)
    }

    /// Adds bytes behind those added before.
    #[must_use]
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        let row = |k: usize, byte: u8| {
            TABLE.get(k).and_then(|row| row.get(usize::from(byte))).copied().unwrap_or(0)
        };
        let (eights, rest) = bytes.as_chunks::<8>();
        for [a, b, c, d, e, f, g, h] in eights {
            let [w, x, y, z] = (self.0 ^ u32::from_le_bytes([*a, *b, *c, *d])).to_le_bytes();
            self.0 = row(7, w) ^ row(6, x) ^ row(5, y) ^ row(4, z);
            self.0 ^= row(3, *e) ^ row(2, *f) ^ row(1, *g) ^ row(0, *h);
        }
        for byte in rest {
            self.0 = (self.0 >> 8) ^ row(0, self.0 as u8 ^ byte);
        }
        self
    }

    /// The CRC of all bytes added.
    pub const fn value(self) -> u32 {
        !self.0
    }
}

/// The CRC that the SCTP packet `offset..end` of a frame ought to have, whatever it has; `None` where the frame or the packet
/// is shorter than a header.
pub fn sctp<F: Frame>(frame: &F, offset: usize, end: usize) -> Option<u32> {
    const FIELD: usize = 8;
    let head: [u8; FIELD] = frame.read(offset)?;
    let mut crc = Crc32c::new().bytes(&head).bytes(&[0; 4]);
    let mut skip = offset + FIELD + 4;
    let mut left = end.checked_sub(skip)?;
    for segment in frame.segments() {
        let Some(rest) = segment.get(skip..) else {
            skip -= segment.len();
            continue;
        };
        skip = 0;
        let piece = rest.get(..left).unwrap_or(rest);
        crc = crc.bytes(piece);
        left -= piece.len();
        if left == 0 {
            break;
        }
    }
    (left == 0).then(|| crc.value())
}

/// What a CRC becomes when four bytes, such as both ports, change, and `behind` bytes follow them.
pub fn update(crc: u32, old: [u8; 4], new: [u8; 4], behind: usize) -> u32 {
    let mut change = u32::from_le_bytes(old) ^ u32::from_le_bytes(new);
    let mut shift = behind as u64 + 4;
    for power in POWERS {
        if shift & 1 != 0 {
            change = times(change, power);
        }
        shift >>= 1;
    }
    crc ^ change
}

/// The field as it is sent.
pub const fn to_wire(crc: u32) -> U32 {
    U32::from_bytes(crc.to_le_bytes())
}

/// The CRC that a field holds.
pub const fn from_wire(field: U32) -> u32 {
    u32::from_le_bytes(field.to_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::VecFrame;

    #[test]
    fn known_values() {
        // RFC 3720, B.4; the first is the usual check value.
        let of = |bytes: &[u8]| Crc32c::new().bytes(bytes).value();
        let ascending: Vec<u8> = (0..32).collect();
        assert_eq!(of(b"123456789"), 0xe306_9283);
        assert_eq!(of(&[0; 32]), 0x8a91_36aa);
        assert_eq!(of(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(of(&ascending), 0x46dd_794e);
        assert_eq!(of(&[]), 0);
    }

    proptest! {
        #[test]
        fn pieces_and_segments_do_not_matter(bytes in prop::collection::vec(any::<u8>(), 12..200), at in 0usize..200) {
            let whole = Crc32c::new().bytes(&bytes).value();
            let (a, b) = bytes.split_at(at.min(bytes.len()));
            prop_assert_eq!(Crc32c::new().bytes(a).bytes(b).value(), whole);
            let mut zeroed = bytes.clone();
            zeroed[8..12].fill(0);
            let frame = VecFrame::from_split(&bytes, &[at.min(bytes.len())]);
            let crc = Crc32c::new().bytes(&zeroed).value();
            prop_assert_eq!(sctp(&frame, 0, bytes.len()), Some(crc));
            prop_assert_eq!(sctp(&frame, 0, bytes.len() + 1), None);
            prop_assert_eq!(from_wire(to_wire(crc)), crc);
        }

        #[test]
        fn an_update_is_the_whole_again(mut bytes in prop::collection::vec(any::<u8>(), 4..3000), new: [u8; 4]) {
            let before = Crc32c::new().bytes(&bytes).value();
            let old = *bytes.first_chunk().unwrap();
            bytes[..4].copy_from_slice(&new);
            let after = Crc32c::new().bytes(&bytes).value();
            prop_assert_eq!(update(before, old, new, bytes.len() - 4), after);
        }
    }
}
