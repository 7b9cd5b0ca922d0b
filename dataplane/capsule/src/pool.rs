//! Mempools of mbufs: one per socket, usable from any thread, with a cache for each registered one.
//!
//! # Life cycle
//!
//! A pool lives until its last handle is gone. Ports hold handles; frames do not: should frames be left at the end (they
//! would be leaked ones), the pool and EAL stay until the process ends rather than be freed under them.

use std::{
    collections::BTreeMap,
    ffi::CString,
    ptr::NonNull,
    sync::{Arc, Mutex, PoisonError},
};

use dpdk_sys as sys;
use packet::{Frame, FramePool};

use crate::{
    eal::{self, Started},
    error::{Error, Result, errno_text, rte_errno},
    log,
    mbuf::{self, Mbuf},
};

/// Bytes of one data room: headroom, and 2 KiB for the frame.
const DATA_ROOM: u16 = 2048 + sys::RTE_PKTMBUF_HEADROOM as u16;

/// Bytes that a segment takes for a received frame.
pub(crate) const SEGMENT: usize = 2048;

/// A mempool of mbufs; a clone is another handle of the same pool.
#[derive(Clone, Debug)]
pub struct MbufPool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pool: NonNull<sys::rte_mempool>,
    capacity: u32,
    started: Option<Arc<Started>>,
}

// SAFETY: DPDK's mempools may be used by any thread at any time; the other fields do not change.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl Drop for Inner {
    fn drop(&mut self) {
        let pool = self.pool.as_ptr();
        // SAFETY: the pool is valid. When all mbufs are home nobody can reach it any more: ports hold handles.
        unsafe {
            if sys::rte_mempool_avail_count(pool) == self.capacity {
                sys::rte_mempool_free(pool);
            } else {
                std::mem::forget(self.started.take());
            }
        }
    }
}

impl MbufPool {
    /// Makes a pool of `mbufs` mbufs with room for 2 KiB each, and a cache of `cache` (at most 512) per registered thread, on
    /// NUMA socket `socket` (`None`: any). Names are unique in the process, at most 25 bytes.
    pub fn new(name: &str, mbufs: u32, cache: u32, socket: Option<u32>) -> Result<MbufPool> {
        let started = eal::started()?;
        let bad = |reason: &str| Error::Pool { name: name.into(), reason: reason.into() };
        let c_name = CString::new(name).map_err(|_| bad("the name holds a zero byte"))?;
        let socket_id = match socket {
            Some(socket) => i32::try_from(socket).map_err(|_| bad("no such socket"))?,
            None => -1,
        };
        // A cache may hold one and a half times its size; DPDK refuses one that could hold the whole pool.
        let cache = cache.min(sys::RTE_MEMPOOL_CACHE_MAX_SIZE).min(mbufs * 2 / 3);
        let ((pool, errno), log) = log::listen(|| {
            // SAFETY: EAL is started; the name is a C string.
            let pool = unsafe {
                sys::rte_pktmbuf_pool_create(c_name.as_ptr(), mbufs, cache, 0, DATA_ROOM, socket_id)
            };
            (pool, rte_errno())
        });
        let Some(pool) = NonNull::new(pool) else {
            return Err(match errno {
                // With valid arguments this is the missing "ring_mp_mc" driver.
                libc::EINVAL if mbufs > 0 => Error::NoMempoolDriver,
                libc::ENOMEM => Error::NoMemory {
                    name: name.into(),
                    mbufs,
                    mib: (u64::from(mbufs) * (u64::from(DATA_ROOM) + 192)) >> 20,
                },
                errno if log.is_empty() => bad(&errno_text(errno)),
                errno => bad(&format!("{} ({log})", errno_text(errno))),
            });
        };
        Ok(MbufPool(Arc::new(Inner { pool, capacity: mbufs, started: Some(started) })))
    }

    /// How many mbufs the pool has.
    pub fn capacity(&self) -> u32 {
        self.0.capacity
    }

    /// How many are free, those in caches included. It walks every cache: for tests and statistics.
    pub fn available(&self) -> u32 {
        // SAFETY: the pool is valid.
        unsafe { sys::rte_mempool_avail_count(self.0.pool.as_ptr()) }
    }

    /// How many are not: in devices' rings, on their way, or leaked.
    pub fn in_use(&self) -> u32 {
        self.0.capacity.saturating_sub(self.available())
    }

    /// Fills the free room of `into` with up to `n` empty frames, all or none; returns how many came. One call into DPDK.
    pub fn alloc_burst(&self, into: &mut packet::Burst<Mbuf>, n: usize) -> usize {
        let n = n.min(into.remaining_capacity());
        if n == 0 {
            return 0;
        }
        // SAFETY: `Mbuf` is a pointer; the free room holds `n` of them; on success all are valid and ours.
        unsafe {
            let place = into.as_mut_ptr().add(into.len()).cast::<*mut sys::rte_mbuf>();
            if sys::rte_pktmbuf_alloc_bulk(self.raw(), place, n as u32) != 0 {
                return 0;
            }
            into.set_len(into.len() + n);
        }
        n
    }

    /// The mempool's address, valid as long as a handle lives.
    pub(crate) fn raw(&self) -> *mut sys::rte_mempool {
        self.0.pool.as_ptr()
    }

    /// A copy of `frame` in one segment of this pool, its VLAN request included; `None` when it does not fit or no mbuf is
    /// free.
    pub(crate) fn linear_copy(&self, frame: &Mbuf, front: &[u8], skip: usize) -> Option<Mbuf> {
        let mut copy = self.alloc()?;
        if frame.len() - skip.min(frame.len()) + front.len() > SEGMENT {
            return None;
        }
        let _fits = copy.append(front);
        let mut skip = skip;
        for segment in frame.segments() {
            let Some(rest) = segment.get(skip..) else {
                skip -= segment.len();
                continue;
            };
            skip = 0;
            if !copy.append(rest) {
                return None;
            }
        }
        copy.set_tx_vlan(frame.tx_vlan());
        Some(copy)
    }
}

impl FramePool for MbufPool {
    type Frame = Mbuf;

    #[inline]
    fn alloc(&self) -> Option<Mbuf> {
        // SAFETY: the pool is valid; a fresh mbuf is ours.
        unsafe { Mbuf::from_raw(sys::rte_pktmbuf_alloc(self.raw())) }
    }

    fn append_shared(&self, to: &mut Mbuf, from: &Mbuf, offset: usize, len: usize) -> bool {
        if offset.checked_add(len).is_none_or(|end| end > from.len()) {
            return false;
        }
        let mut chain: Option<Mbuf> = None;
        let (mut offset, mut left) = (offset, len);
        let mut segment = from.as_ptr();
        while left > 0 && !segment.is_null() {
            // SAFETY: every segment of `from` is valid while it is borrowed.
            let (here, next) = unsafe { (usize::from((*segment).data_len), (*segment).next) };
            if offset < here {
                let n = left.min(here - offset);
                let Some(mut piece) = self.alloc() else { return false };
                // SAFETY: `piece` is fresh (direct, count 1); attaching counts a reference of the data room that `segment`
                // uses, which DPDK does atomically; then the piece's bounds are narrowed inside the segment's.
                unsafe {
                    sys::rte_pktmbuf_attach(piece.as_ptr(), segment);
                    (*piece.as_ptr()).data_off += offset as u16; // fits: it is under data_len
                    piece.set_len(n as u16); // likewise
                }
                if !mbuf::extend(&mut chain, piece) {
                    return false;
                }
                left -= n;
                offset = 0;
            } else {
                offset -= here;
            }
            segment = next;
        }
        chain.is_none_or(|chain| to.link(chain))
    }
}

/// One pool per socket, made when a device or worker of that socket first asks.
#[derive(Debug)]
pub struct MbufPools {
    name: String,
    mbufs: u32,
    cache: u32,
    made: Mutex<BTreeMap<u32, MbufPool>>,
}

impl MbufPools {
    /// Pools named `name`-s*N*, of `mbufs` mbufs each, with a cache of `cache` per worker.
    pub fn new(name: &str, mbufs: u32, cache: u32) -> MbufPools {
        MbufPools { name: name.into(), mbufs, cache, made: Mutex::default() }
    }

    /// The pool of NUMA socket `socket`.
    pub fn on(&self, socket: u32) -> Result<MbufPool> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = made.get(&socket) {
            return Ok(pool.clone());
        }
        let name = format!("{}-s{socket}", self.name);
        let pool = match MbufPool::new(&name, self.mbufs, self.cache, Some(socket)) {
            // Without hugepages all of DPDK's memory counts as socket 0's.
            Err(Error::NoMemory { .. }) => MbufPool::new(&name, self.mbufs, self.cache, None)?,
            made => made?,
        };
        made.insert(socket, pool.clone());
        Ok(pool)
    }

    /// Every pool made so far, by socket.
    pub fn all(&self) -> Vec<(u32, MbufPool)> {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.iter().map(|(socket, pool)| (*socket, pool.clone())).collect()
    }
}
