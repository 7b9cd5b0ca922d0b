//! Arrays of records in memory that the system gives page by page, when it is touched.

use std::{io, marker::PhantomData};

use memmap2::MmapMut;
use packet::prefetch;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A fixed number of records, all zero until written. Aligned to a page, on huge pages where the system gives them.
pub(super) struct Pages<T> {
    map: MmapMut,
    of: PhantomData<T>,
}

impl<T: FromBytes + IntoBytes + Immutable + KnownLayout> Pages<T> {
    /// Reserves address space for `len` records and touches none of it.
    pub(super) fn new(len: usize) -> io::Result<Self> {
        let bytes = len.checked_mul(size_of::<T>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let map = MmapMut::map_anon(bytes.max(size_of::<T>()))?;
        // Where there are no huge pages, small ones do.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Ok(Self { map, of: PhantomData })
    }

    #[inline(always)]
    pub(super) fn get(&self, index: u32) -> Option<&T> {
        let from = index as usize * size_of::<T>();
        T::ref_from_bytes(self.map.get(from..from + size_of::<T>())?).ok()
    }

    #[inline(always)]
    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        let from = index as usize * size_of::<T>();
        T::mut_from_bytes(self.map.get_mut(from..from + size_of::<T>())?).ok()
    }

    /// Asks for the first line of a record.
    #[inline(always)]
    pub(super) fn prefetch(&self, index: u32) {
        if let Some(record) = self.get(index) {
            prefetch::line(record);
        }
    }
}
