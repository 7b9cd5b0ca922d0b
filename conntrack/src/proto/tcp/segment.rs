//! What a tracker reads of a segment.

use std::ops::Range;

use packet::wire::tcp::{self, TcpHeader};
use packet::{FragmentPart, Frame, Layers};
use zerocopy::FromBytes;

use super::{FIN, SYN, after, flag};

/// The largest window scale (RFC 7323, 2.3).
const MAX_SCALE: u8 = 14;
/// Options that are a timestamp and nothing else, as nearly all stacks send it: two NOPs, kind 8, length 10 (RFC 7323,
/// appendix A).
const TIMESTAMP_ONLY: [u8; 4] = [1, 1, 8, 10];

/// Of a segment's header what the tracker wants to know, in host order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Segment<'a> {
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Length in bytes of the payload.
    pub len: u32,
    /// Window, not scaled.
    pub window: u16,
    /// Flags ([`tcp::SYN`]…).
    pub flags: u8,
    /// The first fragment of a datagram: `len` does not count the others.
    pub partial: bool,
    /// The options' bytes.
    pub options: &'a [u8],
}

impl Segment<'_> {
    /// Whether a flag is set.
    #[inline(always)]
    pub const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The number behind its last byte; SYN and FIN count as one.
    #[inline(always)]
    pub const fn end(&self) -> u32 {
        let more = (self.flags & SYN != 0) as u32 + (self.flags & FIN != 0) as u32;
        self.seq.wrapping_add(self.len).wrapping_add(more)
    }

    /// Whether there may be a block that it acknowledges selectively.
    #[inline(always)]
    pub(super) fn has_blocks(&self) -> bool {
        let options = self.options;
        let timestamp = options.len() == 12 && options.starts_with(&TIMESTAMP_ONLY);
        !(options.is_empty() || timestamp)
    }

    /// The end of the highest block that it acknowledges selectively (RFC 2018), or `ack` where that is higher.
    #[inline(always)]
    pub(super) fn highest_sack(&self, ack: u32) -> u32 {
        if self.has_blocks() { sacks(self.options, ack) } else { ack }
    }
}

/// The segment of a frame, without its options, and where those are; `None` where there is no whole header.
#[inline(always)]
pub(super) fn read<F: Frame>(
    frame: &F,
    layers: &Layers,
) -> Option<(Segment<'static>, Range<usize>)> {
    let at = usize::from(layers.l4_offset);
    let header = layers.tcp(frame);
    let size = (layers.end as usize).checked_sub(at)?;
    let len = size.checked_sub(header.header_len())?;
    let options = header.header_len().checked_sub(tcp::LEN)?;
    let segment = Segment { len: len as u32, ..of(&header, layers) };
    let from = at + tcp::LEN;
    Some((segment, from..from + options))
}

/// The segment of a frame whose headers lie in the head segment.
#[inline(always)]
pub(super) fn in_head<'a, F: Frame>(frame: &'a F, layers: &Layers) -> Option<Segment<'a>> {
    let at = usize::from(layers.l4_offset);
    let rest = frame.head().get(at..)?;
    let (header, _) = TcpHeader::ref_from_prefix(rest).ok()?;
    let size = header.header_len();
    let len = (layers.end as usize).checked_sub(at)?.checked_sub(size)?;
    let options = rest.get(tcp::LEN..size)?;
    Some(Segment { len: len as u32, options, ..of(header, layers) })
}

/// What the fixed header says.
#[inline(always)]
fn of(header: &TcpHeader, layers: &Layers) -> Segment<'static> {
    Segment {
        seq: header.seq.get(),
        ack: header.ack.get(),
        len: 0,
        window: header.window.get(),
        flags: header.flags,
        partial: layers.fragment == FragmentPart::First,
        options: &[],
    }
}

/// The options with their kinds and without their lengths, as long as they are sound; NOPs left out.
struct Walk<'a>(&'a [u8]);

impl<'a> Iterator for Walk<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (kind, rest) = self.0.split_first()?;
            match kind {
                0 => return None,
                1 => self.0 = rest,
                _ => {
                    let len = usize::from(*rest.first()?);
                    let value = self.0.get(2..len)?;
                    self.0 = self.0.get(len..)?;
                    return Some((*kind, value));
                }
            }
        }
    }
}

fn sacks(options: &[u8], ack: u32) -> u32 {
    let blocks = Walk(options)
        .find(|(kind, value)| *kind == 5 && !value.is_empty() && value.len().is_multiple_of(8));
    let (blocks, _) = blocks.map_or(&[][..], |(_, value)| value).as_chunks::<8>();
    blocks.iter().fold(ack, |highest, [_, _, _, _, end @ ..]| {
        let end = u32::from_be_bytes(*end);
        if after(end, highest) { end } else { highest }
    })
}

/// What a SYN's options agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Options {
    /// By how many bits it shifts its window.
    pub(super) scale: u8,
    /// [`flag::WINDOW_SCALE`], [`flag::SACK_PERMITTED`].
    pub(super) flags: u8,
    /// Whether there are any.
    any: bool,
}

impl Options {
    pub(super) fn of(segment: &Segment<'_>) -> Self {
        let mut found = Self { scale: 0, flags: 0, any: !segment.options.is_empty() };
        for (kind, value) in Walk(segment.options) {
            match (kind, value) {
                (4, []) => found.flags |= flag::SACK_PERMITTED,
                (3, [scale]) => {
                    found.scale = (*scale).min(MAX_SCALE);
                    found.flags |= flag::WINDOW_SCALE;
                }
                _ => {}
            }
        }
        found
    }

    /// Puts them where a side's are kept. Without any option what was known before stays.
    pub(super) fn store(self, scale: &mut u8, flags: &mut u8) {
        if self.any {
            *scale = self.scale;
            *flags = *flags & flag::BE_LIBERAL | self.flags;
        }
    }
}
