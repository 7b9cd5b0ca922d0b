//! `rte_eth_rx_burst` and `rte_eth_tx_burst` in Rust: the same loads from `rte_eth_fp_ops`, without a shim call.

use core::ffi::c_void;

use crate::{rte_eth_call_rx_callbacks, rte_eth_call_tx_callbacks, rte_eth_fp_ops, rte_mbuf};

/// Receives up to `n` mbufs into `into`; returns how many came. (rte_ethdev.h, `rte_eth_rx_burst`)
///
/// # Safety
///
/// `port` is started, `queue` is one of its receive queues that nobody else polls meanwhile, and `into` has room for `n`
/// pointers.
#[inline(always)]
pub unsafe fn rx_burst(port: u16, queue: u16, into: *mut *mut rte_mbuf, n: u16) -> u16 {
    // SAFETY: `port` is a valid index, and the entry is written only while the port is not started.
    let ops =
        unsafe { &*(&raw const rte_eth_fp_ops).cast::<rte_eth_fp_ops>().add(usize::from(port)) };
    let Some(receive) = ops.rx_pkt_burst else { return 0 };
    // SAFETY: `queue` is one of the port's queues, so `data` has it; the driver takes room for `n` mbufs.
    let got = unsafe { receive(*ops.rxq.data.add(usize::from(queue)), into, n) };
    // Captures (pdump) and latency measurements hang on these callbacks.
    // SAFETY: `clbk` has an entry per queue; it is written atomically by the control side, so it is read so.
    let callback = unsafe { callback(ops.rxq.clbk, queue) };
    if callback.is_null() {
        return got;
    }
    // SAFETY: `got` mbufs stand in `into`, which has room for `n`; `callback` is the queue's list.
    unsafe { rte_eth_call_rx_callbacks(port, queue, into, got, n, callback) }
}

/// Sends up to `n` mbufs from `from`; returns how many the device took and now owns. (rte_ethdev.h, `rte_eth_tx_burst`)
///
/// # Safety
///
/// `port` is started, `queue` is one of its transmit queues that nobody else uses meanwhile, and `from` has `n` valid mbufs
/// that the caller owns.
#[inline(always)]
pub unsafe fn tx_burst(port: u16, queue: u16, from: *mut *mut rte_mbuf, n: u16) -> u16 {
    // SAFETY: as in `rx_burst`.
    let ops =
        unsafe { &*(&raw const rte_eth_fp_ops).cast::<rte_eth_fp_ops>().add(usize::from(port)) };
    let Some(send) = ops.tx_pkt_burst else { return 0 };
    let mut n = n;
    // SAFETY: as in `rx_burst`.
    let callback = unsafe { callback(ops.txq.clbk, queue) };
    if !callback.is_null() {
        // SAFETY: `n` mbufs stand in `from`; `callback` is the queue's list.
        n = unsafe { rte_eth_call_tx_callbacks(port, queue, from, n, callback) };
    }
    // SAFETY: `queue` is one of the port's queues, so `data` has it; the driver takes `n` valid mbufs.
    unsafe { send(*ops.txq.data.add(usize::from(queue)), from, n) }
}

/// The queue's callback list, or null.
///
/// # Safety
///
/// `list` has an entry for `queue`.
#[inline(always)]
unsafe fn callback(list: *mut *mut c_void, queue: u16) -> *mut c_void {
    // SAFETY: the caller's promise; pointers are read whole on every machine DPDK runs on, and relaxed as in C.
    unsafe {
        core::sync::atomic::AtomicPtr::from_ptr(list.add(usize::from(queue)))
            .load(core::sync::atomic::Ordering::Relaxed)
    }
}
