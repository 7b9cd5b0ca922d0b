//! Changing a table: one prefix set or taken out of a [`Fib`] that nobody else reads.
//!
//! A node is edited by unpacking its 256 slots, changing those in range, and packing them again; it may move. A node of
//! which all slots became one leaf is freed and the leaf put in its place.

use super::{
    Address, BASE, CHILD, COUNTS, Fib, INLINE, LINE, Line, NO_ROUTE, NONE, PLAIN, ROOT_BITS, VALUE,
    root_slot,
};

/// One edit, complete in itself, so that it can be repeated on the other copy of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Op<A> {
    /// The prefix, bits behind `len` zero.
    pub(super) prefix: A,
    /// Its length in bits.
    pub(super) len: u8,
    /// What is to be done.
    pub(super) what: What,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    /// The prefix is new, or has a new value.
    Set { value: u32, new: bool },
    /// The prefix goes, and what it covered falls to the next shorter one: its length and value, or none.
    Remove { cover: Option<(u8, u32)> },
}

/// An edit in terms of entries: those in range whose length is at least `from` and at most `to` become `entry`.
#[derive(Clone, Copy)]
struct Fill {
    from: u8,
    to: u8,
    entry: u32,
}

impl Fill {
    fn takes(&self, entry: u32) -> bool {
        let len = length(entry);
        entry & CHILD == 0 && self.from <= len && len <= self.to
    }
}

fn leaf(len: u8, value: u32) -> u32 {
    u32::from(len) << 23 | value & VALUE
}

fn length(entry: u32) -> u8 {
    (entry >> 23) as u8
}

type Slots = [u32; 256];

impl<A: Address> Fib<A> {
    pub(super) fn apply(&mut self, op: &Op<A>) {
        let fill = match op.what {
            What::Set { value, new } => {
                self.len += usize::from(new);
                Fill { from: 0, to: op.len, entry: leaf(op.len, value) }
            }
            What::Remove { cover } => {
                self.len -= 1;
                // A cover of length 0 is the default route, which the trie does not hold.
                let entry =
                    cover.filter(|(len, _)| *len > 0).map_or(NONE, |(len, value)| leaf(len, value));
                Fill { from: op.len, to: op.len, entry }
            }
        };
        if op.len == 0 {
            self.default = match op.what {
                What::Set { value, .. } => value,
                What::Remove { .. } => NO_ROUTE,
            };
            return;
        }
        let bytes = op.prefix.as_ref();
        let len = u32::from(op.len);
        let start = root_slot(bytes);
        let count = 1usize << ROOT_BITS.saturating_sub(len);
        for slot in start..start + count {
            let mut entry = self.root[slot];
            self.visit(&mut entry, bytes, 2, len.saturating_sub(ROOT_BITS), fill);
            self.root[slot] = entry;
        }
    }

    /// Edits what `entry` stands for. `rest` is how many bits of the prefix are left below it: the bits of
    /// `bytes[level]` and on.
    fn visit(&mut self, entry: &mut u32, bytes: &[u8], level: usize, rest: u32, fill: Fill) {
        if *entry & CHILD == 0 {
            if !fill.takes(*entry) {
                return;
            }
            if rest == 0 {
                *entry = fill.entry;
                return;
            }
        }
        let mut slots = self.unpack(*entry);
        // With no bits left the whole node is in range, and below it as well.
        let first = if rest == 0 { 0 } else { usize::from(bytes[level]) };
        let count = 1usize << 8u32.saturating_sub(rest);
        let mut changed = false;
        for slot in &mut slots[first..first + count] {
            let old = *slot;
            self.visit(slot, bytes, level + 1, rest.saturating_sub(8), fill);
            changed |= *slot != old;
        }
        if changed {
            *entry = self.pack(*entry, &slots);
        }
    }

    /// The 256 entries below `entry`.
    fn unpack(&self, entry: u32) -> Slots {
        let mut slots = [entry; 256];
        if entry & CHILD == 0 {
            return slots;
        }
        let at = (entry & LINE) as usize;
        if entry & PLAIN != 0 {
            for (slots, line) in slots.chunks_mut(16).zip(&self.lines[at..]) {
                slots.copy_from_slice(&line.0);
            }
            return slots;
        }
        let node = &self.lines[at].0;
        let mut at = node[BASE].wrapping_sub(1);
        let mut now = 0;
        for (part, slots) in slots.chunks_mut(32).enumerate() {
            let mut bits = node[part];
            for slot in slots {
                if bits & 1 != 0 {
                    at = at.wrapping_add(1);
                    now = self.word(at);
                }
                bits >>= 1;
                *slot = now;
            }
        }
        slots
    }

    /// Writes `slots` as the node of `entry`, or as a new one where it is a leaf; returns what stands for it now: a leaf
    /// where all slots are the same leaf.
    fn pack(&mut self, entry: u32, slots: &Slots) -> u32 {
        let new = entry & CHILD == 0;
        if entry & PLAIN != 0 && !new || new && self.plain < A::PLAIN_NODES {
            self.pack_plain(entry, slots)
        } else {
            self.pack_runs(entry, slots)
        }
    }

    fn pack_plain(&mut self, entry: u32, slots: &Slots) -> u32 {
        let old = (entry & CHILD != 0).then_some(entry & LINE);
        if slots[0] & CHILD == 0 && slots.iter().all(|slot| *slot == slots[0]) {
            if let Some(at) = old {
                self.release(at, 16);
                self.plain -= 1;
            }
            return slots[0];
        }
        let at = old.unwrap_or_else(|| {
            self.plain += 1;
            self.take(16)
        });
        for (slots, line) in slots.chunks(16).zip(&mut self.lines[at as usize..]) {
            line.0.copy_from_slice(slots);
        }
        CHILD | PLAIN | at
    }

    fn pack_runs(&mut self, entry: u32, slots: &Slots) -> u32 {
        let mut node = [0u32; 16];
        let mut runs = [0u32; 256];
        let mut n = 0;
        let mut last = !slots[0];
        for (part, slots) in slots.chunks(32).enumerate() {
            if part % 2 == 0 {
                node[COUNTS] |= (n as u32 & 0xff) << (4 * part);
            }
            for (bit, &slot) in slots.iter().enumerate() {
                if slot != last {
                    node[part] |= 1 << bit;
                    runs[n] = slot;
                    n += 1;
                    last = slot;
                }
            }
        }
        let old = (entry & CHILD != 0).then_some(entry & LINE);
        let old_block = old.and_then(|at| self.block(at));
        if n == 1 && runs[0] & CHILD == 0 {
            if let Some((at, lines)) = old_block {
                self.release(at, lines);
            }
            if let Some(at) = old {
                self.release(at, 1);
            }
            return runs[0];
        }
        let at = old.unwrap_or_else(|| self.take(1));
        if let Some(place) = node[INLINE..].get_mut(..n) {
            if let Some((at, lines)) = old_block {
                self.release(at, lines);
            }
            place.copy_from_slice(&runs[..n]);
            node[BASE] = at * 16 + INLINE as u32;
        } else {
            let lines = n.div_ceil(16);
            let block = match old_block {
                Some((at, old)) if old == lines => at,
                other => {
                    if let Some((at, old)) = other {
                        self.release(at, old);
                    }
                    self.take(lines)
                }
            };
            for (line, runs) in self.lines[block as usize..].iter_mut().zip(runs[..n].chunks(16)) {
                line.0[..runs.len()].copy_from_slice(runs);
            }
            node[BASE] = block * 16;
        }
        self.lines[at as usize].0 = node;
        CHILD | at
    }

    /// Where the runs of the node at line `at` stand and how many lines they take, if they are not in the node itself.
    fn block(&self, at: u32) -> Option<(u32, usize)> {
        let node = &self.lines[at as usize].0;
        let runs: u32 = node[..COUNTS].iter().map(|bits| bits.count_ones()).sum();
        (runs as usize > 16 - INLINE).then(|| (node[BASE] / 16, (runs as usize).div_ceil(16)))
    }

    fn take(&mut self, lines: usize) -> u32 {
        if let Some(at) = self.free[lines - 1].pop() {
            return at;
        }
        // MAX_ROUTES keeps the number of lines below 2^28, so that a word's index fits.
        let at = self.lines.len();
        self.lines.resize(at + lines, Line([0; 16]));
        at as u32
    }

    fn release(&mut self, at: u32, lines: usize) {
        self.free[lines - 1].push(at);
    }
}
