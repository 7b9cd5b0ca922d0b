//! FFI over libdpdk 22.11: what `capsule` needs and nothing else.
//!
//! # Overview
//!
//! [`bindings`](self) are generated and committed (`src/generated`): a bare machine has no libclang. DPDK's inline
//! functions get a C wrapper each; none is called once per packet on the fast path, where [`rx_burst`] and [`tx_burst`] go
//! through the exported `rte_eth_fp_ops` as the inline C functions do.
//!
//! # Who may touch what
//!
//! Everything here is `unsafe` as C is: `capsule` is the only crate that calls it.

#![allow(unsafe_code)]
#![deny(unsafe_op_in_unsafe_fn)]

mod burst;

#[allow(
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    clippy::all,
    clippy::undocumented_unsafe_blocks
)]
mod bindings {
    include!(concat!(env!("DPDK_SYS_GENERATED"), "/bindings.rs"));
}

pub use bindings::*;
pub use burst::{rx_burst, tx_burst};

/// True when the bindings come from the installed headers (feature `regenerate`) and not from the committed files.
pub const REGENERATED: bool = cfg!(dpdk_sys_regenerated);

/// Holds one field's place; csrc/shims.c asserts the same numbers against the C headers.
macro_rules! at {
    ($type:ident . $field:ident = $offset:literal) => {
        const _: () =
            assert!(core::mem::offset_of!($type, $field) == $offset, stringify!($type.$field));
    };
}

const _: () = assert!(size_of::<rte_mbuf>() == 128);
at!(rte_mbuf.buf_addr = 0);
at!(rte_mbuf.ol_flags = 24);
at!(rte_mbuf.buf_len = 54);
at!(rte_mbuf.pool = 56);
at!(rte_mbuf.next = 64);
#[cfg(not(dpdk_sys_regenerated))]
mod layout_22_11 {
    use super::*;

    const _: () = assert!(size_of::<rte_eth_fp_ops>() == 128);
    at!(rte_eth_fp_ops.rx_pkt_burst = 0);
    at!(rte_eth_fp_ops.rxq = 24);
    at!(rte_eth_fp_ops.tx_pkt_burst = 64);
    at!(rte_eth_fp_ops.txq = 88);
    const _: () = assert!(size_of::<rte_eth_stats>() == 704);
}
