//! The forwarding table: longest prefix match, IPv4 and IPv6, read by every worker without a lock.
//!
//! # Overview
//!
//! A [`Fib`] maps an address to the value (an index below [`MAX_VALUE`]) of the longest prefix that covers it. It is a trie
//! of one direct step of 16 bits and further steps of 8, of which a node has 256 slots. The first nodes of a table are
//! plain arrays, which cost the least instructions while they fit in the cache. Further ones are packed: a node holds runs
//! of equal entries, a bitmap says where a run begins, and a slot's entry is found by counting the bits in front of it.
//! Bitmap, counts and up to six runs share one cache line; more runs stand in lines of their own. So a table of a million
//! routes takes some 20 MB (a DIR-24-8: 64 MB and more) and an empty one 256 kB. docs/fib.md has what was measured against
//! librte_fib and the crates that exist.
//!
//! Prefixes are pushed down to the entries, each of which remembers the length of the prefix it came from. So a lookup
//! never goes back, an insertion overwrites what is shorter in its range, and a removal replaces what is as long.
//! A default route stands outside of the trie: it would be in every node.
//!
//! # Life cycle
//!
//! [`FibWriter`], on the control thread, owns the list of prefixes and two copies of the table. It changes the copy that
//! nobody reads and hands it out as an `Arc`; workers adopt it at a burst boundary and drop the older one, which becomes
//! the next to be changed. A single route changed in a table of a million costs two small edits, not a copy.
//!
//! # Who may touch what
//!
//! A [`Fib`] inside an `Arc` is immutable. Only [`FibWriter`] edits, and only a copy that it alone holds.
#![allow(
    clippy::indexing_slicing,
    reason = "indices come from the table's own entries or are masked to the size of a fixed array, never from a length in a packet"
)]

mod edit;
mod writer;

pub use writer::{Address, FibError, FibWriter, MAX_ROUTES};

/// Values are below this; what a value indexes (next-hop groups) is far smaller.
pub const MAX_VALUE: u32 = VALUE;

/// What [`Fib::lookup_burst`] writes where no prefix matches.
pub const NO_ROUTE: u32 = u32::MAX;

/// The table of IPv4.
pub type Fib4 = Fib<[u8; 4]>;
/// The table of IPv6.
pub type Fib6 = Fib<[u8; 16]>;
/// The owner of IPv4's table.
pub type FibWriter4 = FibWriter<[u8; 4]>;
/// The owner of IPv6's table.
pub type FibWriter6 = FibWriter<[u8; 16]>;

// An entry is 32 bits: CHILD, perhaps PLAIN, and the line number of a node; or the length (8 bits, 0 to 128) of the prefix
// it came from and its value (23 bits, all ones for none).
const CHILD: u32 = 1 << 31;
const PLAIN: u32 = 1 << 30;
const LINE: u32 = PLAIN - 1;
const VALUE: u32 = (1 << 23) - 1;
const NONE: u32 = VALUE;

/// Bits that the root decides.
const ROOT_BITS: u32 = 16;
/// How many lookups go side by side, so that their cache misses overlap.
const LANES: usize = 32;

// An array of lines holds all nodes. A plain node is 16 lines, one word for each slot. A packed node is one line: words 0..8 bitmap, 8 the four counts (bytes) of bits in front of each 64, 9 where its runs begin
// (in words), 10..16 up to six runs; or the line holds 16 further runs of some node.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u32; 16]);

const _: () = assert!(size_of::<Line>() == 64);

const COUNTS: usize = 8;
const BASE: usize = 9;
const INLINE: usize = 10;

/// An immutable longest-prefix-match table over addresses `A` (`[u8; 4]` or `[u8; 16]`, wire order).
#[derive(Clone)]
pub struct Fib<A> {
    root: Box<[u32; 1 << ROOT_BITS]>,
    lines: Vec<Line>,
    /// Blocks of 1 to 16 lines that are free, by size.
    free: [Vec<u32>; 16],
    /// How many plain nodes there are.
    plain: usize,
    /// The value of the prefix of length 0, or `NO_ROUTE`.
    default: u32,
    /// How many prefixes are in it.
    len: usize,
    family: core::marker::PhantomData<A>,
}

impl<A: Address> Default for Fib<A> {
    fn default() -> Self {
        Self {
            root: Box::new([NONE; 1 << ROOT_BITS]),
            // The first 16 lines belong to nobody: a lane without a node reads them rather than to take a branch.
            lines: vec![Line([0; 16]); 16],
            free: Default::default(),
            plain: 0,
            default: NO_ROUTE,
            len: 0,
            family: core::marker::PhantomData,
        }
    }
}

impl<A: Address> Fib<A> {
    /// A table without routes.
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of the longest prefix that covers `address`.
    #[inline]
    pub fn lookup(&self, address: A) -> Option<u32> {
        let bytes = address.as_ref();
        let mut entry = self.root[root_slot(bytes)];
        let mut level = 2;
        while entry & CHILD != 0 {
            entry = self.word(self.find(entry, bytes[level]));
            level += 1;
        }
        let value = self.value(entry);
        (value != NO_ROUTE).then_some(value)
    }

    /// Looks up each of `addresses` and writes its value, or [`NO_ROUTE`], to the same place of `into`; as many as the
    /// shorter of the two has. Level by level over up to 32 addresses, so that their cache misses overlap.
    #[inline]
    pub fn lookup_burst(&self, addresses: &[A], into: &mut [u32]) {
        let n = addresses.len().min(into.len());
        for (addresses, into) in addresses[..n].chunks(LANES).zip(into[..n].chunks_mut(LANES)) {
            self.lookup_lanes(addresses, into);
        }
    }

    #[inline]
    fn lookup_lanes(&self, addresses: &[A], into: &mut [u32]) {
        let mut deeper = 0;
        for (address, entry) in addresses.iter().zip(into.iter_mut()) {
            *entry = self.root[root_slot(address.as_ref())];
            deeper += *entry >> 31;
        }
        let mut level = 2;
        // While nearly every lane goes on, all do, without branches.
        while deeper as usize * 4 > into.len() * 3 {
            deeper = 0;
            for (address, entry) in addresses.iter().zip(into.iter_mut()) {
                let child = *entry & CHILD != 0;
                let below = self
                    .word(self.find(if child { *entry } else { PLAIN }, address.as_ref()[level]));
                *entry = if child { below } else { *entry };
                deeper += *entry >> 31;
            }
            level += 1;
        }
        if deeper > 0 {
            self.lookup_deep(addresses, into, level);
        }
        for entry in into {
            *entry = self.value(*entry);
        }
    }

    /// Goes on, from `level`, with the lanes of which `into` still names a node.
    fn lookup_deep(&self, addresses: &[A], into: &mut [u32], mut level: usize) {
        let mut active = [0u8; LANES];
        let mut place = [0u32; LANES];
        let mut n = 0;
        for (lane, entry) in into.iter().enumerate().take(LANES) {
            active[n] = lane as u8;
            n += usize::from(*entry & CHILD != 0);
        }
        while n > 0 {
            for (&lane, place) in active.iter().zip(&mut place).take(n) {
                let lane = usize::from(lane);
                *place = self.find(into[lane], addresses[lane].as_ref()[level]);
            }
            let mut left = 0;
            for (j, &place) in place.iter().enumerate().take(n) {
                let lane = active[j];
                let entry = self.word(place);
                into[usize::from(lane)] = entry;
                active[left] = lane;
                left += usize::from(entry & CHILD != 0);
            }
            n = left;
            level += 1;
        }
    }

    /// How many prefixes are in it.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when no prefix is in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of memory that the table takes.
    pub fn memory(&self) -> usize {
        size_of_val(&*self.root)
            + self.lines.len() * size_of::<Line>()
            + self.free.iter().map(|f| f.capacity() * 4).sum::<usize>()
    }

    #[inline(always)]
    fn value(&self, entry: u32) -> u32 {
        let value = entry & VALUE;
        if value == NONE { self.default } else { value }
    }

    /// The word that holds the entry of `slot` in the node that `node` names.
    #[inline(always)]
    fn find(&self, node: u32, slot: u8) -> u32 {
        let at = node & LINE;
        if node & PLAIN != 0 {
            return at * 16 + u32::from(slot);
        }
        let node = &self.lines[at as usize].0;
        let part = usize::from(slot >> 6);
        let bits = u64::from(node[2 * part]) | u64::from(node[2 * part + 1]) << 32;
        let before = (node[COUNTS] >> (8 * part)) & 0xff;
        // Bits up to and with the slot's own; the first slot always begins a run, so there is at least one.
        let here = (bits << (63 - (slot & 63))).count_ones();
        node[BASE].wrapping_add(before + here).wrapping_sub(1)
    }

    #[inline(always)]
    fn word(&self, index: u32) -> u32 {
        self.lines[(index >> 4) as usize].0[(index & 15) as usize]
    }
}

#[inline(always)]
fn root_slot(bytes: &[u8]) -> usize {
    usize::from(bytes[0]) << 8 | usize::from(bytes[1])
}
