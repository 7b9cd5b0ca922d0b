//! One worker's receive and transmit queue of one port, and what is done in software where the device cannot.
//!
//! # Who may touch what
//!
//! A `PortQueue` belongs to one worker. Receive queues are never shared. Where the device has fewer queues than there are
//! workers, several share a transmit queue under a spin lock held for one burst; only then is the lock taken.

use std::{
    cell::UnsafeCell,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use dpdk_sys as sys;
use packet::{Burst, Frame, Unsendable};

use crate::{
    mbuf::Mbuf,
    pool::{MbufPool, SEGMENT},
    port::{Offload, Shared},
};

/// Receives bursts.
pub trait PacketRx {
    /// Receives into the free room of `into`; returns how many frames came.
    fn rx(&mut self, into: &mut Burst<Mbuf>) -> usize;
}

/// Sends bursts.
pub trait PacketTx {
    /// Sends from the front of `burst`; what the device did not take stays. Returns how many were taken.
    fn tx(&mut self, burst: &mut Burst<Mbuf>) -> usize;
}

/// What becomes of a frame that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// It is sent on.
    Emit,
    /// It is freed.
    Drop,
}

/// A lock for a transmit queue that workers share. It spins: it is held for one burst; a holder that lost its CPU is
/// waited for by yielding.
#[derive(Debug, Default)]
pub(crate) struct TxLock {
    held: AtomicBool,
    /// Nothing is inside: the lock guards the device's queue.
    _queue: UnsafeCell<()>,
}

// SAFETY: `held` is atomic, and nothing is in the cell.
unsafe impl Sync for TxLock {}

impl TxLock {
    #[inline]
    fn with<T>(&self, act: impl FnOnce() -> T) -> T {
        let mut spins = 0u32;
        while self
            .held
            .compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            spins += 1;
            if spins.is_multiple_of(256) {
                std::thread::yield_now()
            } else {
                std::hint::spin_loop()
            }
        }
        let result = act();
        self.held.store(false, Ordering::Release);
        result
    }
}

/// A worker's queues on one port.
#[derive(Debug)]
pub struct PortQueue {
    shared: Arc<Shared>,
    /// `None` for a worker beyond the device's queues: it receives nothing here.
    rx: Option<u16>,
    tx: u16,
    /// Other workers send on `tx` too.
    tx_shared: bool,
    /// The device inserts VLAN tags.
    inserts: bool,
    /// The device sends several segments.
    chains: bool,
    /// It lacks one of them: look at each frame before sending.
    software: bool,
    /// What was dropped here since it was last asked for.
    unsendable: Unsendable,
    pool: MbufPool,
}

impl PortQueue {
    /// Worker `worker` of `workers`' queues. The caller has counted itself as a user of the port and made sure that no other
    /// set of queues is out.
    pub(crate) fn new(shared: Arc<Shared>, worker: u16, workers: u16, pool: MbufPool) -> PortQueue {
        let queues = shared.capabilities.queues;
        let inserts = shared.capabilities.has(Offload::TxVlanInsert);
        let chains = shared.capabilities.has(Offload::TxMultiSegment);
        PortQueue {
            rx: (worker < queues).then_some(worker),
            tx: worker % queues,
            tx_shared: workers > queues,
            inserts,
            chains,
            software: !inserts || !chains,
            unsendable: Unsendable::default(),
            shared,
            pool,
        }
    }

    /// Whether the device may be sent to, as last heard.
    #[inline]
    pub fn link_up(&self) -> bool {
        self.shared.link.is_up()
    }

    /// What sending dropped since the last call.
    pub(crate) fn take_unsendable(&mut self) -> Unsendable {
        std::mem::take(&mut self.unsendable)
    }

    /// Whether a frame asks for something that the device lacks.
    #[inline(always)]
    fn needs_software(&self, frame: &Mbuf) -> bool {
        !self.inserts && frame.tx_vlan().is_some() || !self.chains && frame.segment_count() > 1
    }

    /// Does what the device cannot, keeping the order; frames that cannot be sent are dropped and counted.
    #[cold]
    fn prepare(&mut self, burst: &mut Burst<Mbuf>) {
        burst.retain(|frame| !self.needs_software(frame) || self.prepare_one(frame));
    }

    fn prepare_one(&mut self, frame: &mut Mbuf) -> bool {
        if let Some(tci) = frame.tx_vlan()
            && !self.inserts
        {
            let Some(macs) = frame.read::<12>(0) else { return true }; // no Ethernet frame: the device's business
            let mut front = [0; 16];
            front[..12].copy_from_slice(&macs);
            front[12..14].copy_from_slice(&[0x81, 0x00]); // IEEE 802.1Q
            front[14..].copy_from_slice(&tci.to_be_bytes());
            frame.set_tx_vlan(None);
            self.shared.software.vlan_inserted.fetch_add(1, Ordering::Relaxed);
            if frame.prepend(4) {
                frame.write(0, front);
            } else {
                return self.replace(frame, &front, 12);
            }
        }
        if !self.chains && frame.segment_count() > 1 {
            if !self.replace(frame, &[], 0) {
                return false;
            }
            self.shared.software.linearised.fetch_add(1, Ordering::Relaxed);
        }
        true
    }

    /// Puts a copy in one segment in the frame's place: `front`, then the frame's bytes from `skip` on.
    fn replace(&mut self, frame: &mut Mbuf, front: &[u8], skip: usize) -> bool {
        if frame.len() + front.len() - skip > SEGMENT {
            self.unsendable.too_long += 1;
            self.unsendable.bytes += frame.len() as u64;
            self.shared.software.too_long.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        match self.pool.linear_copy(frame, front, skip) {
            Some(copy) => {
                *frame = copy;
                true
            }
            None => {
                self.unsendable.no_memory += 1;
                self.unsendable.bytes += frame.len() as u64;
                self.shared.software.no_memory.fetch_add(1, Ordering::Relaxed);
                false
            }
        }
    }
}

impl Drop for PortQueue {
    fn drop(&mut self) {
        self.shared.users.fetch_sub(1, Ordering::AcqRel);
    }
}

impl PacketRx for PortQueue {
    #[inline]
    fn rx(&mut self, into: &mut Burst<Mbuf>) -> usize {
        let Some(queue) = self.rx else { return 0 };
        let room = into.remaining_capacity();
        // SAFETY: the port is started while queues are out, and this one is ours alone; `Mbuf` is a pointer, and the burst's
        // free room holds `room` of them; what came is ours.
        let got = unsafe {
            let place = into.as_mut_ptr().add(into.len()).cast::<*mut sys::rte_mbuf>();
            let got = usize::from(sys::rx_burst(self.shared.id, queue, place, room as u16));
            into.set_len(into.len() + got);
            got
        };
        // The parse begins with these bytes; by the time it comes to the last of them they are here.
        into.iter().for_each(Mbuf::prefetch);
        got
    }
}

impl PacketTx for PortQueue {
    #[inline]
    fn tx(&mut self, burst: &mut Burst<Mbuf>) -> usize {
        if !self.link_up() {
            return 0;
        }
        if self.software && burst.iter().any(|frame| self.needs_software(frame)) {
            self.prepare(burst);
        }
        let (id, queue, len) = (self.shared.id, self.tx, burst.len());
        if len == 0 {
            return 0;
        }
        let frames = burst.as_mut_ptr().cast::<*mut sys::rte_mbuf>();
        // SAFETY: the port is started while queues are out; this queue is ours, or its lock is held; `len` frames are ours.
        let send = || usize::from(unsafe { sys::tx_burst(id, queue, frames, len as u16) });
        let sent = match self.shared.tx_locks.get(usize::from(queue)) {
            Some(lock) if self.tx_shared => lock.with(send),
            _ => send(),
        };
        // SAFETY: the first `sent` frames now belong to the device; the rest moves to the front, and the length says so.
        unsafe {
            if sent < len {
                std::ptr::copy(frames.add(sent), frames, len - sent);
            }
            burst.set_len(len - sent);
        }
        sent
    }
}

/// Frees a whole burst with one call.
#[inline]
pub(crate) fn free_burst(burst: &mut Burst<Mbuf>) {
    let len = burst.len();
    // SAFETY: the frames are ours; afterwards the burst is empty.
    unsafe {
        sys::rte_pktmbuf_free_bulk(burst.as_mut_ptr().cast::<*mut sys::rte_mbuf>(), len as u32);
        burst.set_len(0);
    }
}

/// The bare loop's turn, for benches and rigs: receives a burst from `port`, asks `decide` about each frame, sends what is
/// emitted on the same port, frees the rest and what the device does not take. Returns (received, sent).
#[inline]
pub fn forward_burst(
    port: &mut (impl PacketRx + PacketTx),
    burst: &mut Burst<Mbuf>,
    mut decide: impl FnMut(&mut Mbuf) -> Disposition,
) -> (usize, usize) {
    let received = port.rx(burst);
    if received == 0 {
        return (0, 0);
    }
    burst.retain(|frame| decide(frame) == Disposition::Emit);
    let sent = port.tx(burst);
    if !burst.is_empty() {
        free_burst(burst);
    }
    (received, sent)
}
