//! The internet checksum (RFC 1071): whole, across segments, and updated (RFC 1624) when a field changes.
//!
//! Checksums are `u16` in host order, as `U16::get` of a header's field gives them.

use zerocopy::IntoBytes;
use zerocopy::byteorder::network_endian::U16;

use crate::frame::Frame;
use crate::key::FlowKey;
use crate::layers::{FragmentPart, L4, Layers};
use crate::wire::ipv4::Ipv4Header;
use crate::wire::{icmp, icmp6, ip, tcp, udp};

/// A one's complement sum under way. Pieces may be of odd lengths.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    /// The words added as the processor reads them: RFC 1071, 2 (B) says why that is as good.
    sum: u64,
    /// An odd number of bytes was added: the next byte is the low half of a word.
    odd: bool,
}

impl Sum {
    /// The sum of nothing.
    pub const fn new() -> Self {
        Self { sum: 0, odd: false }
    }

    /// Adds bytes behind those added before.
    #[inline]
    #[must_use]
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        let more = sum_words(bytes);
        let more = if self.odd { u64::from(fold(more).swap_bytes()) } else { more };
        self.sum = add(self.sum, more);
        self.odd ^= !bytes.len().is_multiple_of(2);
        self
    }

    /// Adds a word in host order; only on an even number of bytes.
    #[inline]
    #[must_use]
    pub fn word(mut self, word: u16) -> Self {
        self.sum = add(self.sum, u64::from(word.to_be()));
        self
    }

    /// The checksum to send.
    #[inline]
    pub fn checksum(self) -> u16 {
        !u16::from_be(fold(self.sum))
    }

    /// True when the bytes added had a right checksum among them.
    #[inline]
    pub fn is_valid(self) -> bool {
        fold(self.sum) == 0xffff
    }
}

#[inline(always)]
fn add(a: u64, b: u64) -> u64 {
    let (sum, carry) = a.overflowing_add(b);
    sum + u64::from(carry)
}

/// Adds the four words of `sum`, each carry going round to the bottom. Adding a number to itself turned by half leaves in its
/// upper half the sum of both halves with the carry.
#[inline(always)]
const fn fold(sum: u64) -> u16 {
    let sum = (sum.wrapping_add(sum.rotate_left(32)) >> 32) as u32;
    (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
}

/// Adds words as the processor reads them; the last of an odd number of bytes is followed by zero.
#[inline]
fn sum_words(bytes: &[u8]) -> u64 {
    let (quads, rest) = bytes.as_chunks::<4>();
    let mut sum = quads.iter().map(|quad| u64::from(u32::from_ne_bytes(*quad))).sum::<u64>();
    let mut last = [0; 4];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    sum += u64::from(u32::from_ne_bytes(last));
    sum
}

/// The checksum of plain bytes.
#[inline]
pub fn of(bytes: &[u8]) -> u16 {
    Sum::new().bytes(bytes).checksum()
}

/// True when an IPv4 header's checksum is right; `options` are the bytes behind the fixed 20.
#[inline(always)]
pub fn ipv4_header_is_valid(header: &Ipv4Header, options: &[u8]) -> bool {
    let mut sum = sum_words(header.as_bytes());
    if !options.is_empty() {
        sum += sum_words(options);
    }
    fold(sum) == 0xffff
}

/// What the checksum becomes when one word changes (RFC 1624, equation 3).
#[inline(always)]
pub const fn update_u16(checksum: u16, old: u16, new: u16) -> u16 {
    !fold(!checksum as u64 + !old as u64 + new as u64)
}

/// What the checksum becomes when two words, such as an IPv4 address, change.
#[inline(always)]
pub const fn update_u32(checksum: u16, old: u32, new: u32) -> u16 {
    !fold(!checksum as u64 + !old as u64 + new as u64)
}

/// What the checksum becomes when an IPv4 address changes.
#[inline(always)]
pub const fn update_ipv4(checksum: u16, old: [u8; 4], new: [u8; 4]) -> u16 {
    update_u32(checksum, u32::from_be_bytes(old), u32::from_be_bytes(new))
}

/// What the checksum becomes when sixteen bytes, such as an IPv6 address, change.
#[inline]
pub fn update_ipv6(checksum: u16, old: [u8; 16], new: [u8; 16]) -> u16 {
    let sum = Sum { sum: u64::from((!checksum).to_be()), odd: false };
    sum.bytes(&old.map(|byte| !byte)).bytes(&new).checksum()
}

/// Changes of words under a checksum, added up: they are summed once and serve every checksum that covers the words. Words
/// are in wire order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Delta(u64);

impl Delta {
    /// No change.
    pub const NONE: Self = Self(0);

    /// A word changes.
    #[inline(always)]
    #[must_use]
    pub const fn u16(self, old: [u8; 2], new: [u8; 2]) -> Self {
        Self(self.0 + !u16::from_ne_bytes(old) as u64 + u16::from_ne_bytes(new) as u64)
    }

    /// Two words, such as an IPv4 address, change.
    #[inline(always)]
    #[must_use]
    pub const fn u32(self, old: [u8; 4], new: [u8; 4]) -> Self {
        Self(self.0 + !u32::from_ne_bytes(old) as u64 + u32::from_ne_bytes(new) as u64)
    }

    /// Eight words, such as an IPv6 address, change.
    #[inline(always)]
    #[must_use]
    pub fn u128(self, old: [u8; 16], new: [u8; 16]) -> Self {
        let (old, _) = old.as_chunks::<4>();
        let (new, _) = new.as_chunks::<4>();
        old.iter().zip(new).fold(self, |sum, (old, new)| sum.u32(*old, *new))
    }

    /// These and those.
    #[inline(always)]
    #[must_use]
    pub const fn and(self, more: Self) -> Self {
        Self(self.0 + more.0)
    }

    /// What a checksum becomes, as the field holds it.
    #[inline(always)]
    pub const fn apply(self, checksum: U16) -> U16 {
        let sum = !u16::from_ne_bytes(checksum.to_bytes()) as u64 + self.0;
        U16::from_bytes((!fold(sum)).to_ne_bytes())
    }

    /// As [`apply`](Self::apply) for UDP, where 0 says that there is no checksum, and stays.
    #[inline(always)]
    pub const fn apply_udp(self, checksum: U16) -> U16 {
        match checksum.to_bytes() {
            [0, 0] => checksum,
            _ => match self.apply(checksum).to_bytes() {
                [0, 0] => U16::from_bytes([0xff; 2]),
                other => U16::from_bytes(other),
            },
        }
    }
}

/// UDP's checksum as it is sent: zero would mean that there is none (RFC 768).
#[inline(always)]
pub const fn udp_nonzero(checksum: u16) -> u16 {
    if checksum == 0 { 0xffff } else { checksum }
}

/// The pseudo-header over IPv4 (RFC 9293, 3.1); `len` is that of transport header and payload.
#[inline]
pub fn pseudo_ipv4(src: [u8; 4], dst: [u8; 4], protocol: u8, len: u16) -> Sum {
    Sum::new().bytes(&src).bytes(&dst).word(u16::from(protocol)).word(len)
}

/// The pseudo-header over IPv6 (RFC 8200, 8.1); `len` is that of transport header and payload.
#[inline]
pub fn pseudo_ipv6(src: [u8; 16], dst: [u8; 16], protocol: u8, len: u32) -> Sum {
    Sum::new().bytes(&src).bytes(&dst).bytes(&len.to_be_bytes()).word(u16::from(protocol))
}

/// The pseudo-header that belongs to a key; `len` is that of transport header and payload.
#[inline]
pub fn pseudo(key: &FlowKey, len: u32) -> Sum {
    // IPv4 addresses are followed by zeros, which add nothing, and its length has 16 bits: one sum serves both.
    pseudo_ipv6(key.src, key.dst, key.protocol, len)
}

/// Adds the bytes `offset..offset + len` of a frame, across segments, behind those added before; `None` where the frame ends
/// before.
pub fn frame_sum<F: Frame>(
    frame: &F,
    before: Sum,
    mut offset: usize,
    mut len: usize,
) -> Option<Sum> {
    let mut sum = before;
    for segment in frame.segments() {
        if len == 0 {
            break;
        }
        let Some(rest) = segment.get(offset..) else {
            offset -= segment.len();
            continue;
        };
        offset = 0;
        let piece = rest.get(..len).unwrap_or(rest);
        sum = sum.bytes(piece);
        len -= piece.len();
    }
    (len == 0).then_some(sum)
}

/// The sum that a parsed packet's transport checksum is checked by: [`Sum::is_valid`] when it is right. `None` where there
/// is none to check: another protocol (SCTP has a CRC), a fragment, UDP sent without one, or a frame other than the one
/// parsed.
pub fn transport_sum<F: Frame>(frame: &F, layers: &Layers) -> Option<Sum> {
    let (start, covered, field) = transport_region(frame, layers)?;
    let at = usize::from(layers.l4_offset);
    if layers.l4 == L4::Udp && u16::from_be_bytes(frame.read(at + field)?) == 0 {
        return None;
    }
    frame_sum(frame, start, at, covered)
}

/// The transport checksum that a parsed packet ought to have, whatever it has. `None` as for [`transport_sum`], but for UDP
/// sent without one, which gets one.
pub fn transport_checksum<F: Frame>(frame: &F, layers: &Layers) -> Option<u16> {
    let (start, covered, field) = transport_region(frame, layers)?;
    let at = usize::from(layers.l4_offset);
    let checksum = region_checksum(frame, start, at, covered, field)?;
    Some(if layers.l4 == L4::Udp { udp_nonzero(checksum) } else { checksum })
}

/// The checksum that the field `field` bytes (an even number) into the region `offset..offset + len` ought to have, whatever
/// it has; `before` is the pseudo-header. For messages that are being built. `None` where the frame or the region ends
/// before.
pub fn region_checksum<F: Frame>(
    frame: &F,
    before: Sum,
    offset: usize,
    len: usize,
    field: usize,
) -> Option<u16> {
    let behind = len.checked_sub(field + 2)?;
    let sum = frame_sum(frame, before, offset, field)?;
    Some(frame_sum(frame, sum, offset + field + 2, behind)?.checksum())
}

/// Pseudo-header, number of bytes covered, and where the checksum stands in the transport header.
fn transport_region<F: Frame>(frame: &F, layers: &Layers) -> Option<(Sum, usize, usize)> {
    if layers.fragment != FragmentPart::Whole {
        return None;
    }
    let at = usize::from(layers.l4_offset);
    let len = (layers.end as usize).checked_sub(at)?;
    let with_pseudo = pseudo(&layers.key, len as u32);
    match layers.l4 {
        L4::Tcp => Some((with_pseudo, len, tcp::CHECKSUM_OFFSET)),
        L4::Icmp => Some((Sum::new(), len, icmp::CHECKSUM_OFFSET)),
        L4::Icmp6 => Some((with_pseudo, len, icmp6::CHECKSUM_OFFSET)),
        L4::Udp => {
            let length = layers.udp(frame).length.get();
            match (layers.protocol, usize::from(length)) {
                // The pseudo-header has the packet's length, the coverage says what is summed (RFC 3828, 3.1).
                (ip::UDP_LITE, 0) => Some((with_pseudo, len, udp::CHECKSUM_OFFSET)),
                (ip::UDP_LITE, coverage) => Some((with_pseudo, coverage, udp::CHECKSUM_OFFSET)),
                (_, length) => {
                    Some((pseudo(&layers.key, length as u32), length, udp::CHECKSUM_OFFSET))
                }
            }
        }
        L4::Sctp | L4::Gre | L4::Other => None,
    }
}
