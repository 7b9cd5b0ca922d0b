//! Asking for memory before it is needed: the one place outside the device crates that needs `unsafe` for speed.
//!
//! A table of millions of flows is not in the cache. A lookup that waits for memory costs 80 ns and more; sixteen that were
//! asked for together cost little more than one. Stable Rust has no other way to ask.
#![allow(unsafe_code)]

/// Asks for the cache line in which `of` begins. A hint: nothing is read, nothing waits.
#[inline(always)]
pub fn line<T>(of: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing as far as the program can tell, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(of).cast()) };
    }
    // Elsewhere no intrinsic is stable: the lookup waits for its memory.
    #[cfg(not(target_arch = "x86_64"))]
    let _ = of;
}
