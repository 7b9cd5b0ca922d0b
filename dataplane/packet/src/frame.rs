//! What a frame is to everything that decides: bytes in one or more segments, headers split anywhere.
//!
//! # Overview
//!
//! [`Frame`] is implemented by `capsule::Mbuf` (DPDK) and by [`VecFrame`](crate::VecFrame) (plain memory: tests, benches,
//! laptops without DPDK). Nothing is ever linearised: headers are read and written through [`Frame::read`] and
//! [`Frame::write`], which touch the bytes they are asked for and no others; their fast path is the head segment.
//!
//! # Life cycle
//!
//! A frame is born in a [`FramePool`], or received, and is owned by exactly one place until it is transmitted, freed or
//! handed on. It is not `Clone`.

/// What the receiving device says about a checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChecksumStatus {
    /// The device did not look: software verifies where the protocol asks for it.
    #[default]
    Unknown,
    /// The device verified it.
    Good,
    /// The device found it wrong.
    Bad,
}

/// What the receiving device says about a frame, beside its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RxMeta {
    /// IPv4 header checksum.
    pub ip_checksum: ChecksumStatus,
    /// TCP, UDP or SCTP checksum.
    pub l4_checksum: ChecksumStatus,
    /// The outer VLAN tag's TCI (host order), where the device stripped it from the bytes.
    pub vlan_tci: Option<u16>,
    /// The RSS hash, where the device computed it.
    pub rss_hash: Option<u32>,
}

/// A packet's bytes, in one or more segments. Lengths are in bytes.
pub trait Frame: Send + Sized + 'static {
    /// The segments in wire order.
    type Segments<'a>: Iterator<Item = &'a [u8]>
    where
        Self: 'a;

    /// Length of the whole frame.
    fn len(&self) -> usize;

    /// True when there is no byte.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first segment's bytes.
    fn head(&self) -> &[u8];

    /// The first segment's bytes, to write.
    fn head_mut(&mut self) -> &mut [u8];

    /// All segments in wire order, the head first.
    fn segments(&self) -> Self::Segments<'_>;

    /// Copies the bytes from `offset` on into `into`, across segments. False, with `into` unspecified, when the frame
    /// ends before `into` is full.
    fn copy_out(&self, offset: usize, into: &mut [u8]) -> bool {
        copy_from_segments(self.segments(), offset, into)
    }

    /// Overwrites the bytes at `offset` with `bytes`, across segments. False, with nothing written, when they do not
    /// fit in the frame.
    fn copy_in(&mut self, offset: usize, bytes: &[u8]) -> bool;

    /// Reads `N` bytes at `offset`; `None` past the end.
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        if let Some(bytes) = self.head().get(offset..).and_then(|rest| rest.first_chunk::<N>()) {
            return Some(*bytes);
        }
        let mut bytes = [0; N];
        self.copy_out(offset, &mut bytes).then_some(bytes)
    }

    /// Overwrites `N` bytes at `offset`; false, with nothing written, past the end.
    #[inline(always)]
    fn write<const N: usize>(&mut self, offset: usize, bytes: [u8; N]) -> bool {
        if let Some(place) =
            self.head_mut().get_mut(offset..).and_then(|rest| rest.first_chunk_mut::<N>())
        {
            *place = bytes;
            return true;
        }
        self.copy_in(offset, &bytes)
    }

    /// Makes room for `n` bytes in front, with unspecified content, at the start of the head segment. False, with
    /// nothing changed, when there is no headroom.
    fn prepend(&mut self, n: usize) -> bool;

    /// Drops the first `n` bytes, across segments. False, with nothing changed, when the frame is shorter.
    fn trim_front(&mut self, n: usize) -> bool;

    /// Cuts the frame to its first `len` bytes, freeing segments that become empty; a longer `len` changes nothing.
    fn truncate(&mut self, len: usize);

    /// Appends a copy of `bytes` at the end, in a further segment where the last has no room. False, with nothing
    /// appended, when there is no memory.
    fn append(&mut self, bytes: &[u8]) -> bool;

    /// What the device said when the frame was received.
    fn rx_meta(&self) -> RxMeta;

    /// Asks the transmitting device to insert this outer VLAN tag (only for ports with that offload), or takes back
    /// what was asked. It also forgets [`RxMeta::vlan_tci`].
    fn set_tx_vlan(&mut self, tci: Option<u16>);
}

/// Where new frames come from. Usable from any thread; allocation fails (and is counted by the caller) when the pool is
/// empty, it never blocks.
pub trait FramePool: Clone + Send + 'static {
    /// The frames of this pool.
    type Frame: Frame;

    /// An empty frame of one segment with room in front for at least 128 bytes of headers, and for 1,500 behind.
    fn alloc(&self) -> Option<Self::Frame>;

    /// Appends to `to` the bytes `offset..offset + len` of `from`, shared and not copied where the memory allows it:
    /// that is how one packet becomes several fragments. False, with `to` unchanged, when there is no memory or `from`
    /// is too short.
    fn append_shared(
        &self,
        to: &mut Self::Frame,
        from: &Self::Frame,
        offset: usize,
        len: usize,
    ) -> bool;
}

/// Copies `into.len()` bytes from `offset` on out of `segments`; false when they end too early.
pub fn copy_from_segments<'a>(
    segments: impl Iterator<Item = &'a [u8]>,
    mut offset: usize,
    mut into: &mut [u8],
) -> bool {
    for segment in segments {
        if into.is_empty() {
            break;
        }
        let Some(rest) = segment.get(offset..) else {
            offset -= segment.len();
            continue;
        };
        offset = 0;
        let n = rest.len().min(into.len());
        let (now, later) = into.split_at_mut(n);
        for (to, from) in now.iter_mut().zip(rest) {
            *to = *from;
        }
        into = later;
    }
    into.is_empty()
}
