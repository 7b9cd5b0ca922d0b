//! Frames in plain memory: what tests, benches and laptops without DPDK run the pipeline on.
//!
//! # Overview
//!
//! [`VecFrame`] is a chain of segments, each a buffer with headroom, shaped like a DPDK mbuf: the frame is one
//! pointer, so moving it through bursts costs what moving an mbuf costs. [`VecPool`] holds a fixed number of segments;
//! once it is made, taking and giving back frames touches the heap no more, and [`VecPool::outstanding`] shows a leak.
//!
//! # Life cycle
//!
//! A frame comes from [`VecPool`] (or from [`VecFrame::from_bytes`], without a pool, of any length and any split) and its
//! segments go back to its pool when it is dropped, from whatever thread. A pool lives until its last frame is gone.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::frame::{Frame, FramePool, RxMeta};

/// Bytes free in front of a new frame.
pub const HEADROOM: usize = 128;
/// Bytes of content that one segment of a pool holds behind its headroom.
pub const SEGMENT_ROOM: usize = 2048;

/// One buffer of a frame. What describes the whole frame (`len`, `meta`, `tx_vlan`, `pool`) counts in the head only.
struct Segment {
    data: Box<[u8]>,
    /// Content is `data[start..end]`; `start <= end <= data.len()` always.
    start: usize,
    end: usize,
    next: Option<Box<Segment>>,
    /// Sum over the chain.
    len: usize,
    meta: RxMeta,
    tx_vlan: Option<u16>,
    pool: Option<VecPool>,
}

impl Segment {
    fn new(headroom: usize, room: usize) -> Box<Self> {
        Box::new(Self {
            data: vec![0; headroom + room].into_boxed_slice(),
            start: headroom,
            end: headroom,
            next: None,
            len: 0,
            meta: RxMeta::default(),
            tx_vlan: None,
            pool: None,
        })
    }

    fn filled(headroom: usize, bytes: &[u8]) -> Box<Self> {
        let mut segment = Self::new(headroom, bytes.len());
        segment.fill(bytes);
        segment
    }

    #[inline(always)]
    fn bytes(&self) -> &[u8] {
        self.data.get(self.start..self.end).unwrap_or_default()
    }

    #[inline(always)]
    fn bytes_mut(&mut self) -> &mut [u8] {
        self.data.get_mut(self.start..self.end).unwrap_or_default()
    }

    fn size(&self) -> usize {
        self.end - self.start
    }

    /// Appends as many of `bytes` as fit; returns how many.
    fn fill(&mut self, bytes: &[u8]) -> usize {
        let Some(room) = self.data.get_mut(self.end..) else { return 0 };
        let n = room.len().min(bytes.len());
        for (to, from) in room.iter_mut().zip(bytes) {
            *to = *from;
        }
        self.end += n;
        n
    }
}

/// A frame in plain memory.
pub struct VecFrame {
    /// Always there but while the frame is being dropped.
    head: Option<Box<Segment>>,
}

impl VecFrame {
    /// A frame of one segment, of any length, of no pool.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self::from_split(bytes, &[])
    }

    /// A frame of no pool whose segments begin at 0 and at each of `offsets`, which ascend; equal offsets give empty
    /// segments, and offsets past the end are the end.
    pub fn from_split(bytes: &[u8], offsets: &[usize]) -> Self {
        let mut pieces = pieces(bytes, offsets);
        let mut head = Segment::filled(HEADROOM, pieces.next().unwrap_or_default());
        head.len = bytes.len();
        let mut last = &mut head;
        for piece in pieces {
            last = last.next.insert(Segment::filled(0, piece));
        }
        Self { head: Some(head) }
    }

    /// A copy of all bytes, for tests to compare.
    pub fn to_vec(&self) -> Vec<u8> {
        self.segments().flatten().copied().collect()
    }

    /// How many segments there are, empty ones included.
    pub fn segment_count(&self) -> usize {
        self.segments().count()
    }

    /// Bytes free in front.
    pub fn headroom(&self) -> usize {
        self.head.as_ref().map_or(0, |head| head.start)
    }

    /// Says what a device would have said.
    pub fn set_rx_meta(&mut self, meta: RxMeta) {
        if let Some(head) = &mut self.head {
            head.meta = meta;
        }
    }

    /// The same, chained.
    #[must_use]
    pub fn with_rx_meta(mut self, meta: RxMeta) -> Self {
        self.set_rx_meta(meta);
        self
    }

    /// The outer tag that the transmitting device was asked to insert.
    pub fn tx_vlan(&self) -> Option<u16> {
        self.head.as_ref().and_then(|head| head.tx_vlan)
    }
}

/// Cuts `bytes` at `offsets`: one piece more than there are offsets.
fn pieces<'a>(bytes: &'a [u8], offsets: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut from = 0;
    offsets.iter().copied().chain([bytes.len()]).map(move |offset| {
        let to = offset.min(bytes.len()).max(from);
        let piece = bytes.get(from..to).unwrap_or_default();
        from = to;
        piece
    })
}

impl Drop for VecFrame {
    fn drop(&mut self) {
        let Some(mut head) = self.head.take() else { return };
        match head.pool.take() {
            Some(pool) => give_back(&mut pool.free(), head),
            None => {
                // One by one: a long chain must not recurse.
                let mut next = head.next.take();
                while let Some(mut segment) = next {
                    next = segment.next.take();
                }
            }
        }
    }
}

impl fmt::Debug for VecFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.segments()).finish()
    }
}

/// The segments of a [`VecFrame`].
pub struct Segments<'a>(Option<&'a Segment>);

impl<'a> Iterator for Segments<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let segment = self.0?;
        self.0 = segment.next.as_deref();
        Some(segment.bytes())
    }
}

impl Frame for VecFrame {
    type Segments<'a> = Segments<'a>;

    #[inline(always)]
    fn len(&self) -> usize {
        self.head.as_ref().map_or(0, |head| head.len)
    }

    #[inline(always)]
    fn head(&self) -> &[u8] {
        self.head.as_ref().map_or(&[], |head| head.bytes())
    }

    #[inline(always)]
    fn head_mut(&mut self) -> &mut [u8] {
        self.head.as_mut().map_or(&mut [], |head| head.bytes_mut())
    }

    fn segments(&self) -> Segments<'_> {
        Segments(self.head.as_deref())
    }

    fn copy_in(&mut self, mut offset: usize, mut bytes: &[u8]) -> bool {
        if offset.checked_add(bytes.len()).is_none_or(|end| end > self.len()) {
            return false;
        }
        let mut next = self.head.as_deref_mut();
        while let Some(segment) = next {
            let size = segment.size();
            if let Some(place) = segment.bytes_mut().get_mut(offset..) {
                let (now, later) = bytes.split_at(bytes.len().min(place.len()));
                for (to, from) in place.iter_mut().zip(now) {
                    *to = *from;
                }
                bytes = later;
                offset = 0;
            } else {
                offset -= size;
            }
            if bytes.is_empty() {
                break;
            }
            next = segment.next.as_deref_mut();
        }
        true
    }

    fn prepend(&mut self, n: usize) -> bool {
        let Some(head) = &mut self.head else { return false };
        let Some(start) = head.start.checked_sub(n) else { return false };
        head.start = start;
        head.len += n;
        true
    }

    fn trim_front(&mut self, mut n: usize) -> bool {
        if n > self.len() {
            return false;
        }
        let Some(head) = &mut self.head else { return false };
        head.len -= n;
        let mut segment = head;
        loop {
            let now = n.min(segment.size());
            segment.start += now;
            n -= now;
            if n == 0 {
                return true;
            }
            // Some follows: `n` was not longer than the chain.
            let Some(next) = &mut segment.next else { return true };
            segment = next;
        }
    }

    fn truncate(&mut self, len: usize) {
        let Some(head) = &mut self.head else { return };
        if len >= head.len {
            return;
        }
        head.len = len;
        let mut left = len;
        let mut segment = head;
        let cut = loop {
            let size = segment.size();
            if left <= size {
                segment.end = segment.start + left;
                break segment.next.take();
            }
            left -= size;
            let Some(next) = &mut segment.next else { break None };
            segment = next;
        };
        if let Some(mut cut) = cut {
            cut.pool = self.head.as_ref().and_then(|head| head.pool.clone());
            drop(VecFrame { head: Some(cut) });
        }
    }

    fn append(&mut self, mut bytes: &[u8]) -> bool {
        let before = self.len();
        let Some(head) = &mut self.head else { return false };
        let pool = head.pool.clone();
        head.len += bytes.len();
        let mut segment = head;
        loop {
            if segment.next.is_none() {
                let n = segment.fill(bytes);
                bytes = bytes.get(n..).unwrap_or_default();
                if bytes.is_empty() {
                    return true;
                }
                segment.next = match &pool {
                    Some(pool) => take(&mut pool.free()),
                    None => Some(Segment::new(0, SEGMENT_ROOM)),
                };
            }
            match &mut segment.next {
                Some(next) => segment = next,
                None => break,
            }
        }
        // The pool is empty: undo. The length is first made what is there, so that `truncate` can cut it.
        let there = self.segments().map(<[u8]>::len).sum();
        if let Some(head) = &mut self.head {
            head.len = there;
        }
        self.truncate(before);
        false
    }

    fn rx_meta(&self) -> RxMeta {
        self.head.as_ref().map_or_else(RxMeta::default, |head| head.meta)
    }

    fn set_tx_vlan(&mut self, tci: Option<u16>) {
        if let Some(head) = &mut self.head {
            head.tx_vlan = tci;
            head.meta.vlan_tci = None;
        }
    }
}

/// A fixed number of segments, shared by its clones.
#[derive(Clone)]
pub struct VecPool {
    shared: Arc<Shared>,
}

/// Boxed, because frames are boxed: taking and giving back moves a pointer.
#[allow(clippy::vec_box)]
type FreeList = Vec<Box<Segment>>;

struct Shared {
    free: Mutex<FreeList>,
    capacity: usize,
}

impl VecPool {
    /// A pool of `capacity` segments of [`SEGMENT_ROOM`] bytes. This is the only time that it takes memory.
    pub fn new(capacity: usize) -> Self {
        let free = (0..capacity).map(|_| Segment::new(HEADROOM, SEGMENT_ROOM)).collect();
        Self { shared: Arc::new(Shared { free: Mutex::new(free), capacity }) }
    }

    /// How many segments there are in all.
    pub fn capacity(&self) -> usize {
        self.shared.capacity
    }

    /// How many segments are in frames now: 0 when none leaked.
    pub fn outstanding(&self) -> usize {
        self.shared.capacity - self.free().len()
    }

    /// A frame that holds a copy of `bytes`, in as many segments as they need.
    pub fn frame(&self, bytes: &[u8]) -> Option<VecFrame> {
        self.frame_split(bytes, &[])
    }

    /// A frame that holds a copy of `bytes`, with segments that begin at 0 and at each of `offsets`, which ascend; pieces
    /// over [`SEGMENT_ROOM`] are split further.
    pub fn frame_split(&self, bytes: &[u8], offsets: &[usize]) -> Option<VecFrame> {
        let mut frame = self.alloc()?;
        for (i, piece) in pieces(bytes, offsets).enumerate() {
            if i > 0 && !frame.push_segment() {
                return None;
            }
            if !frame.append(piece) {
                return None;
            }
        }
        Some(frame)
    }

    /// Gives back whole frames under one lock; those of other pools are dropped singly.
    pub fn put_all(&self, frames: impl Iterator<Item = VecFrame>) {
        let mut free = self.free();
        for mut frame in frames {
            match frame.head.take() {
                Some(mut head)
                    if head
                        .pool
                        .as_ref()
                        .is_some_and(|pool| Arc::ptr_eq(&pool.shared, &self.shared)) =>
                {
                    head.pool = None;
                    give_back(&mut free, head);
                }
                head => drop(VecFrame { head }),
            }
        }
    }

    // A panic while the list is locked leaves it whole: poison means nothing here.
    fn free(&self) -> MutexGuard<'_, FreeList> {
        self.shared.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl VecFrame {
    /// Adds an empty segment at the end, so that the next `append` begins there.
    fn push_segment(&mut self) -> bool {
        let Some(head) = &mut self.head else { return false };
        let fresh = match &head.pool {
            Some(pool) => take(&mut pool.free()),
            None => Some(Segment::new(0, SEGMENT_ROOM)),
        };
        let mut last = head;
        while last.next.is_some() {
            let Some(next) = &mut last.next else { return false };
            last = next;
        }
        last.next = fresh;
        last.next.is_some()
    }
}

/// Takes an empty segment.
fn take(free: &mut FreeList) -> Option<Box<Segment>> {
    let mut segment = free.pop()?;
    segment.start = HEADROOM;
    segment.end = HEADROOM;
    Some(segment)
}

/// Takes a chain apart into the free list, which has room for it: it was made for all segments.
fn give_back(free: &mut FreeList, head: Box<Segment>) {
    let mut next = Some(head);
    while let Some(mut segment) = next {
        next = segment.next.take();
        free.push(segment);
    }
}

impl FramePool for VecPool {
    type Frame = VecFrame;

    fn alloc(&self) -> Option<VecFrame> {
        let mut head = self.free().pop()?;
        head.start = HEADROOM;
        head.end = HEADROOM;
        head.len = 0;
        head.meta = RxMeta::default();
        head.tx_vlan = None;
        head.pool = Some(self.clone());
        Some(VecFrame { head: Some(head) })
    }

    /// Plain memory cannot be shared: this copies.
    fn append_shared(
        &self,
        to: &mut VecFrame,
        from: &VecFrame,
        mut offset: usize,
        len: usize,
    ) -> bool {
        if offset.checked_add(len).is_none_or(|end| end > from.len()) {
            return false;
        }
        let before = to.len();
        let mut left = len;
        for segment in from.segments() {
            let Some(rest) = segment.get(offset..) else {
                offset -= segment.len();
                continue;
            };
            offset = 0;
            let piece = rest.get(..left).unwrap_or(rest);
            if !to.append(piece) {
                to.truncate(before);
                return false;
            }
            left -= piece.len();
            if left == 0 {
                break;
            }
        }
        true
    }
}

impl fmt::Debug for VecPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VecPool({} of {} segments in frames)", self.outstanding(), self.capacity())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_bounded_and_takes_everything_back() {
        let pool = VecPool::new(3);
        let a = pool.frame(&[1; 100]).unwrap();
        assert_eq!(pool.outstanding(), 1);
        let b = pool.frame_split(&[2; 100], &[50]).unwrap();
        assert_eq!((pool.outstanding(), b.segment_count()), (3, 2));
        assert!(pool.alloc().is_none());
        drop(a);
        assert!(
            pool.frame(&[3; SEGMENT_ROOM + 1]).is_none(),
            "two segments are needed, one is free"
        );
        assert_eq!(pool.outstanding(), 2, "a failed frame gives its segments back");
        drop(b);
        assert_eq!(pool.outstanding(), 0);
    }

    #[test]
    fn a_failed_append_changes_nothing() {
        let pool = VecPool::new(2);
        let mut frame = pool.frame(&[7; SEGMENT_ROOM - 4]).unwrap();
        assert!(!frame.append(&[8; SEGMENT_ROOM + 5]));
        assert_eq!(
            (frame.len(), frame.segment_count(), pool.outstanding()),
            (SEGMENT_ROOM - 4, 1, 1)
        );
        assert!(frame.append(&[8; SEGMENT_ROOM + 4]));
        assert_eq!(
            (frame.len(), frame.segment_count(), pool.outstanding()),
            (2 * SEGMENT_ROOM, 2, 2)
        );
        frame.truncate(10);
        assert_eq!((frame.to_vec(), pool.outstanding()), (vec![7; 10], 1));
    }

    #[test]
    fn a_frame_is_reset_when_it_is_taken_again() {
        let pool = VecPool::new(1);
        let mut frame = pool.frame(&[1; 64]).unwrap();
        frame.set_rx_meta(RxMeta { vlan_tci: Some(5), ..RxMeta::default() });
        assert_eq!(frame.rx_meta().vlan_tci, Some(5));
        frame.set_tx_vlan(Some(6));
        assert_eq!((frame.rx_meta().vlan_tci, frame.tx_vlan()), (None, Some(6)));
        drop(frame);
        let frame = pool.alloc().unwrap();
        assert_eq!((frame.len(), frame.headroom(), frame.tx_vlan()), (0, HEADROOM, None));
        assert_eq!(frame.rx_meta(), RxMeta::default());
    }

    #[test]
    fn frames_of_several_pools_go_home_in_bulk() {
        let (here, there) = (VecPool::new(2), VecPool::new(2));
        let frames = [
            here.frame_split(&[1; 9], &[3]).unwrap(),
            there.alloc().unwrap(),
            VecFrame::from_bytes(&[1]),
        ];
        here.put_all(frames.into_iter());
        assert_eq!((here.outstanding(), there.outstanding()), (0, 0));
    }

    #[test]
    fn a_long_chain_is_dropped_without_recursion() {
        let offsets: Vec<usize> = (0..200_000).collect();
        drop(VecFrame::from_split(&[0; 200_000], &offsets));
    }

    #[test]
    fn sharing_across_segments_copies_the_range() {
        let pool = VecPool::new(8);
        let bytes: Vec<u8> = (0..=255).collect();
        let from = pool.frame_split(&bytes, &[10, 10, 200]).unwrap();
        let mut to = pool.frame(&[9]).unwrap();
        assert!(pool.append_shared(&mut to, &from, 5, 200));
        assert_eq!(to.to_vec(), [&[9], &bytes[5..205]].concat());
        assert!(!pool.append_shared(&mut to, &from, 200, 57));
        assert!(!pool.append_shared(&mut to, &from, usize::MAX, 2));
        assert_eq!(to.len(), 201);
    }
}
