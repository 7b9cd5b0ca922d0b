//! A packet in DPDK's memory: one pointer, owned, freed when dropped.
//!
//! # Layout
//!
//! An mbuf is a header of 128 bytes and a data room; a frame may be a chain of them. The first holds the frame's length and
//! flags. An *indirect* mbuf has another's data room by reference ([`MbufPool::append_shared`](crate::MbufPool)).
//!
//! # Who may touch what
//!
//! A frame has one owner; it is `Send`, not `Clone`. Bytes that were shared by `append_shared` belong to several frames: room
//! in front of or behind shared bytes is never handed out, and whoever shared them must not overwrite them (the pipeline
//! writes headers, which each fragment has for itself).

use std::{marker::PhantomData, ptr::NonNull, slice};

use dpdk_sys as sys;
use packet::{ChecksumStatus, Frame, RxMeta};

/// A packet in one or more segments, in memory of a mempool.
#[repr(transparent)]
pub struct Mbuf(NonNull<sys::rte_mbuf>);

// SAFETY: an mbuf has no tie to a thread; the reference counts of shared data rooms are atomic in DPDK.
unsafe impl Send for Mbuf {}

/// Flags that say whose the data room is; they stay with a segment.
const ATTACHED: u64 = sys::RTE_MBUF_F_INDIRECT | sys::RTE_MBUF_F_EXTERNAL;

/// Reads a field of the first segment. By pointer: a reference to the whole header would claim the reference count too,
/// which other owners of a shared data room change.
macro_rules! get {
    ($mbuf:ident.$field:ident) => {
        // SAFETY: the mbuf is valid and ours; nobody else writes this field.
        unsafe { (*$mbuf.as_ptr()).$field }
    };
}

/// Writes a field of the first segment.
macro_rules! set {
    ($mbuf:ident.$field:ident $op:tt $value:expr) => {{
        let value = $value;
        // SAFETY: the mbuf is valid and ours, and borrowed mutably here; nobody else touches this field.
        unsafe { (*$mbuf.as_ptr()).$field $op value }
    }};
}

impl Mbuf {
    /// Takes ownership of an mbuf that DPDK handed out.
    ///
    /// # Safety
    ///
    /// `mbuf` is the first segment of a valid packet that nobody else owns.
    pub(crate) unsafe fn from_raw(mbuf: *mut sys::rte_mbuf) -> Option<Mbuf> {
        NonNull::new(mbuf).map(Mbuf)
    }

    /// The mbuf's address; ownership stays.
    pub(crate) fn as_ptr(&self) -> *mut sys::rte_mbuf {
        self.0.as_ptr()
    }

    /// Gives up ownership.
    pub(crate) fn into_raw(self) -> *mut sys::rte_mbuf {
        let raw = self.0.as_ptr();
        std::mem::forget(self);
        raw
    }

    /// How many segments the frame has.
    pub fn segment_count(&self) -> usize {
        usize::from(get!(self.nb_segs))
    }

    /// The VLAN tag that [`Frame::set_tx_vlan`] asked for.
    pub(crate) fn tx_vlan(&self) -> Option<u16> {
        (get!(self.ol_flags) & sys::RTE_MBUF_F_TX_VLAN != 0).then_some(get!(self.vlan_tci))
    }

    /// Has the first bytes fetched into the cache.
    #[inline(always)]
    pub(crate) fn prefetch(&self) {
        #[cfg(target_arch = "x86_64")]
        {
            use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let bytes = self.head().as_ptr();
            // SAFETY: a prefetch reads nothing as far as the program can tell, whatever the address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(bytes.cast()) };
        }
    }

    /// The last segment. The pointer is valid as long as the frame is.
    fn last(&self) -> *mut sys::rte_mbuf {
        let mut segment = self.as_ptr();
        // SAFETY: every segment of the chain is valid; the last one's `next` is null.
        unsafe {
            while !(*segment).next.is_null() {
                segment = (*segment).next;
            }
        }
        segment
    }

    /// Links `chain` behind the frame; its metadata other than length is forgotten. False, with `chain` given back to its
    /// pool, when there would be too many segments.
    pub(crate) fn link(&mut self, chain: Mbuf) -> bool {
        let segments = self.segment_count() + chain.segment_count();
        let Ok(segments) = u16::try_from(segments) else { return false };
        let length = get!(chain.pkt_len);
        let last = self.last();
        let chain = chain.into_raw();
        // SAFETY: `last` is our last segment; `chain` was owned and now belongs to this frame.
        unsafe {
            (*last).next = chain;
            (*chain).nb_segs = 1;
        }
        set!(self.nb_segs = segments);
        set!(self.pkt_len += length);
        true
    }

    /// Sets the single segment's length, for whoever wrote bytes into the room.
    ///
    /// # Safety
    ///
    /// The mbuf has one segment and its data room `len` bytes behind the headroom.
    pub(crate) unsafe fn set_len(&mut self, len: u16) {
        set!(self.data_len = len);
        set!(self.pkt_len = u32::from(len));
    }
}

/// Links `piece` behind what is in `chain` so far; false as [`Mbuf::link`].
pub(crate) fn extend(chain: &mut Option<Mbuf>, piece: Mbuf) -> bool {
    match chain {
        None => {
            *chain = Some(piece);
            true
        }
        Some(chain) => chain.link(piece),
    }
}

/// Whether nobody else refers to the segment's data room, so that room around its bytes may be used.
///
/// # Safety
///
/// `segment` is valid.
#[inline(always)]
unsafe fn exclusive(segment: *const sys::rte_mbuf) -> bool {
    // SAFETY: the caller's promise. Other owners change the count atomically; a count of 1 is ours and stays.
    unsafe {
        let refcnt =
            std::sync::atomic::AtomicU16::from_ptr((&raw const (*segment).refcnt).cast_mut());
        (*segment).ol_flags & ATTACHED == 0
            && refcnt.load(std::sync::atomic::Ordering::Acquire) == 1
    }
}

/// The segment's bytes.
///
/// # Safety
///
/// `segment` is valid for `'a`, and so are its bytes.
#[inline(always)]
unsafe fn bytes<'a>(segment: *const sys::rte_mbuf) -> &'a [u8] {
    // SAFETY: the data lies in the data room, `data_off` behind its start.
    unsafe {
        let start = (*segment).buf_addr.cast::<u8>().add(usize::from((*segment).data_off));
        slice::from_raw_parts(start, usize::from((*segment).data_len))
    }
}

/// Free bytes behind the segment's data that may be written.
///
/// # Safety
///
/// `segment` is valid.
unsafe fn tailroom(segment: *const sys::rte_mbuf) -> usize {
    // SAFETY: the caller's promise.
    unsafe {
        if !exclusive(segment) {
            return 0;
        }
        usize::from((*segment).buf_len)
            - usize::from((*segment).data_off)
            - usize::from((*segment).data_len)
    }
}

/// Writes `from` behind the segment's data.
///
/// # Safety
///
/// `segment` is valid, ours, and has that much tailroom; its frame's length is the caller's to keep.
unsafe fn push(segment: *mut sys::rte_mbuf, from: &[u8]) {
    // SAFETY: the tailroom holds `from`, which lies elsewhere.
    unsafe {
        let end = usize::from((*segment).data_off) + usize::from((*segment).data_len);
        let place = (*segment).buf_addr.cast::<u8>().add(end);
        std::ptr::copy_nonoverlapping(from.as_ptr(), place, from.len());
        (*segment).data_len += from.len() as u16;
    }
}

impl Drop for Mbuf {
    fn drop(&mut self) {
        // SAFETY: the mbuf is ours; its whole chain goes back to its pools.
        unsafe { sys::rte_pktmbuf_free(self.0.as_ptr()) };
    }
}

impl std::fmt::Debug for Mbuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mbuf")
            .field("len", &self.len())
            .field("segments", &self.segment_count())
            .finish()
    }
}

/// The segments of an [`Mbuf`], in wire order.
pub struct Segments<'a> {
    next: *const sys::rte_mbuf,
    _frame: PhantomData<&'a Mbuf>,
}

impl<'a> Iterator for Segments<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.next.is_null() {
            return None;
        }
        // SAFETY: the chain is valid as long as the frame is borrowed.
        unsafe {
            let segment = self.next;
            self.next = (*segment).next;
            Some(bytes(segment))
        }
    }
}

impl Frame for Mbuf {
    type Segments<'a> = Segments<'a>;

    #[inline(always)]
    fn len(&self) -> usize {
        get!(self.pkt_len) as usize
    }

    #[inline(always)]
    fn head(&self) -> &[u8] {
        // SAFETY: the first segment is valid as long as `self` is borrowed.
        unsafe { bytes(self.as_ptr()) }
    }

    #[inline(always)]
    fn head_mut(&mut self) -> &mut [u8] {
        let first = self.as_ptr();
        // SAFETY: the data lies in the data room; `self` is borrowed mutably, and shared bytes are not written (see above).
        unsafe {
            let start = (*first).buf_addr.cast::<u8>().add(usize::from((*first).data_off));
            slice::from_raw_parts_mut(start, usize::from((*first).data_len))
        }
    }

    #[inline]
    fn segments(&self) -> Segments<'_> {
        Segments { next: self.as_ptr(), _frame: PhantomData }
    }

    fn copy_in(&mut self, mut offset: usize, mut from: &[u8]) -> bool {
        if offset.checked_add(from.len()).is_none_or(|end| end > self.len()) {
            return false;
        }
        let mut segment = self.as_ptr();
        // SAFETY: every segment of the chain is valid and ours; each copy stays inside its segment's data.
        unsafe {
            while !from.is_empty() && !segment.is_null() {
                let len = usize::from((*segment).data_len);
                if offset < len {
                    let (now, later) = from.split_at(from.len().min(len - offset));
                    let place = (*segment)
                        .buf_addr
                        .cast::<u8>()
                        .add(usize::from((*segment).data_off) + offset);
                    std::ptr::copy_nonoverlapping(now.as_ptr(), place, now.len());
                    from = later;
                    offset = 0;
                } else {
                    offset -= len;
                }
                segment = (*segment).next;
            }
        }
        from.is_empty()
    }

    #[inline]
    fn prepend(&mut self, n: usize) -> bool {
        // SAFETY: the first segment is valid.
        if n > usize::from(get!(self.data_off)) || !unsafe { exclusive(self.as_ptr()) } {
            return false;
        }
        set!(self.data_off -= n as u16); // n fits: it is at most data_off
        set!(self.data_len += n as u16);
        set!(self.pkt_len += n as u32);
        true
    }

    #[inline]
    fn trim_front(&mut self, mut n: usize) -> bool {
        if n > self.len() {
            return false;
        }
        while n >= usize::from(get!(self.data_len)) && !get!(self.next).is_null() {
            n -= usize::from(get!(self.data_len));
            self.drop_first();
        }
        set!(self.data_off += n as u16); // n fits: it is at most data_len
        set!(self.data_len -= n as u16);
        set!(self.pkt_len -= n as u32);
        true
    }

    fn truncate(&mut self, len: usize) {
        if len >= self.len() {
            return;
        }
        let mut segment = self.as_ptr();
        let (mut left, mut count) = (len, 1);
        // SAFETY: the chain is valid and longer than `len`, so the loop ends inside it; the freed rest is unlinked first.
        unsafe {
            while left > usize::from((*segment).data_len) {
                left -= usize::from((*segment).data_len);
                segment = (*segment).next;
                count += 1;
            }
            (*segment).data_len = left as u16; // fits: it is at most data_len
            let rest = (*segment).next;
            (*segment).next = std::ptr::null_mut();
            if !rest.is_null() {
                sys::rte_pktmbuf_free(rest);
            }
        }
        set!(self.nb_segs = count);
        set!(self.pkt_len = len as u32);
    }

    fn append(&mut self, from: &[u8]) -> bool {
        let last = self.last();
        // SAFETY: `last` is a valid segment of ours.
        let room = unsafe { tailroom(last) };
        let (here, mut later) = from.split_at(from.len().min(room));
        let mut chain: Option<Mbuf> = None;
        while !later.is_empty() {
            let pool = get!(self.pool);
            // SAFETY: the first segment's pool is alive: the frame is of it.
            let Some(segment) = (unsafe { Mbuf::from_raw(sys::rte_pktmbuf_alloc(pool)) }) else {
                return false;
            };
            // SAFETY: a fresh mbuf is valid and its data room ours.
            let room = unsafe { tailroom(segment.as_ptr()) };
            let (now, rest) = later.split_at(later.len().min(room));
            // SAFETY: `now` fits in the tailroom.
            unsafe { push(segment.as_ptr(), now) };
            set!(segment.pkt_len = now.len() as u32);
            later = rest;
            if !extend(&mut chain, segment) {
                return false;
            }
        }
        if let Some(chain) = chain
            && !self.link(chain)
        {
            return false;
        }
        // SAFETY: `last` is still a segment of ours and has room for `here`.
        unsafe { push(last, here) };
        set!(self.pkt_len += here.len() as u32);
        true
    }

    #[inline]
    fn rx_meta(&self) -> RxMeta {
        let flags = get!(self.ol_flags);
        let ip = match flags & u64::from(sys::RTE_MBUF_F_RX_IP_CKSUM_MASK) {
            f if f == u64::from(sys::RTE_MBUF_F_RX_IP_CKSUM_GOOD) => ChecksumStatus::Good,
            f if f == u64::from(sys::RTE_MBUF_F_RX_IP_CKSUM_BAD) => ChecksumStatus::Bad,
            _ => ChecksumStatus::Unknown,
        };
        let l4 = match flags & u64::from(sys::RTE_MBUF_F_RX_L4_CKSUM_MASK) {
            f if f == u64::from(sys::RTE_MBUF_F_RX_L4_CKSUM_GOOD) => ChecksumStatus::Good,
            f if f == u64::from(sys::RTE_MBUF_F_RX_L4_CKSUM_BAD) => ChecksumStatus::Bad,
            _ => ChecksumStatus::Unknown,
        };
        let hashed = flags & u64::from(sys::RTE_MBUF_F_RX_RSS_HASH) != 0;
        RxMeta {
            ip_checksum: ip,
            l4_checksum: l4,
            vlan_tci: (flags & u64::from(sys::RTE_MBUF_F_RX_VLAN_STRIPPED) != 0)
                .then_some(get!(self.vlan_tci)),
            // SAFETY: with this flag the driver filled the union's `rss`; any bits make a u32.
            rss_hash: hashed.then(|| unsafe { (*self.as_ptr()).__bindgen_anon_2.hash.rss }),
        }
    }

    #[inline]
    fn set_tx_vlan(&mut self, tci: Option<u16>) {
        let stripped = u64::from(sys::RTE_MBUF_F_RX_VLAN | sys::RTE_MBUF_F_RX_VLAN_STRIPPED);
        set!(self.ol_flags &= !(stripped | sys::RTE_MBUF_F_TX_VLAN));
        if let Some(tci) = tci {
            set!(self.ol_flags |= sys::RTE_MBUF_F_TX_VLAN);
            set!(self.vlan_tci = tci);
        }
    }
}

impl Mbuf {
    /// Frees the first of several segments; the frame's metadata moves to the next.
    fn drop_first(&mut self) {
        let old = self.as_ptr();
        // SAFETY: both segments are valid and ours; the first is unlinked before it is freed.
        unsafe {
            let next = (*old).next;
            (*next).pkt_len = (*old).pkt_len - u32::from((*old).data_len);
            (*next).nb_segs = (*old).nb_segs - 1;
            (*next).ol_flags = (*old).ol_flags & !ATTACHED | (*next).ol_flags & ATTACHED;
            (*next).vlan_tci = (*old).vlan_tci;
            (*next).port = (*old).port;
            (*next).__bindgen_anon_1 = (*old).__bindgen_anon_1;
            (*next).__bindgen_anon_2 = (*old).__bindgen_anon_2;
            (*old).next = std::ptr::null_mut();
            (*old).nb_segs = 1;
            sys::rte_pktmbuf_free_seg(old);
            self.0 = NonNull::new_unchecked(next);
        }
    }
}
