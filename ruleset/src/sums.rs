//! Checksums that expressions keep true when they change a packet.

use crate::packet::Cx;

/// A change of bytes, as the internet checksum sees it (RFC 1624).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change(u32);

/// The words of `bytes` added up; the last of an odd number is followed by zero.
fn sum(bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<2>();
    let last = rest.first().map_or(0, |byte| u32::from(*byte) << 8);
    words.iter().map(|word| u32::from(u16::from_be_bytes(*word))).sum::<u32>() + last
}

const fn fold(sum: u32) -> u32 {
    let sum = (sum & 0xffff) + (sum >> 16);
    (sum & 0xffff) + (sum >> 16)
}

impl Change {
    /// `new` in place of `old`, which is as long, and begins on an even byte of what the checksum covers.
    pub(crate) fn of(old: &[u8], new: &[u8]) -> Self {
        Self(fold(fold(sum(new)) + (0xffff - fold(sum(old)))))
    }

    /// What a checksum becomes. Never zero, which UDP would take for none.
    pub(crate) const fn update(self, checksum: u16) -> u16 {
        let sum = fold((!checksum) as u32 + self.0);
        if sum == 0xffff { 0xffff } else { !(sum as u16) }
    }

    /// Updates the checksum that stands at `offset` of the frame; `None` where the packet ends before.
    pub(crate) fn apply(self, cx: &mut Cx<'_>, offset: usize) -> Option<()> {
        let checksum = u16::from_be_bytes(cx.peek(offset)?);
        cx.store(offset, &self.update(checksum).to_be_bytes()).then_some(())
    }
}

/// CRC32c (RFC 9260, appendix A), by bytes.
#[allow(clippy::indexing_slicing, reason = "evaluated by the compiler")]
static CRC32C: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

fn crc32c(crc: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(crc, |crc, byte| {
        let at = usize::from(crc as u8 ^ byte);
        CRC32C.get(at).copied().unwrap_or_default() ^ crc >> 8
    })
}

/// Computes the checksum of the SCTP packet that begins at `start` anew; `None` where there is none.
pub(crate) fn sctp(cx: &mut Cx<'_>, start: usize) -> Option<()> {
    const CHECKSUM: usize = 8;
    const HEADER: usize = 12;
    let mut header: [u8; HEADER] = cx.peek(start)?;
    header[CHECKSUM..].fill(0);
    let mut crc = crc32c(u32::MAX, &header);
    let (mut at, end) = (start + HEADER, cx.end());
    let mut buffer = [0; 256];
    while at < end {
        let piece = buffer.get_mut(..(end - at).min(256))?;
        cx.bytes.read_at(at, piece).then_some(())?;
        crc = crc32c(crc, piece);
        at += piece.len();
    }
    cx.store(start + CHECKSUM, &(!crc).to_le_bytes()).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_updated_checksum_is_that_of_the_new_bytes() {
        let mut state = 1u32;
        let mut byte = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        for _ in 0..1000 {
            let mut bytes: [u8; 20] = std::array::from_fn(|_| byte());
            let before = packet::checksum::of(&bytes);
            let (at, len) = (usize::from(byte() % 8) * 2, usize::from(byte() % 5));
            let new: Vec<u8> = (0..len).map(|_| byte()).collect();
            let change = Change::of(&bytes[at..at + len], &new);
            bytes[at..at + len].copy_from_slice(&new);
            let after = packet::checksum::of(&bytes);
            let updated = change.update(before);
            assert!(updated == after || (updated, after) == (0xffff, 0), "{updated:x} {after:x}");
        }
    }

    #[test]
    fn crc32c_is_that_of_the_rfc() {
        // RFC 3720, B.4.
        assert_eq!(!crc32c(u32::MAX, &[0; 32]), 0x8a91_36aa);
        assert_eq!(!crc32c(u32::MAX, b"123456789"), 0xe306_9283);
    }
}
