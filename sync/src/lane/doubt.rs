//! Comparing digests, and what is done when one differs twice.
//!
//! Something of that bucket is wrong, and nobody knows what: a flow that is not there, or should not be, or an entry that is newer than
//! what is true. So all of the bucket is *doubted*. Its slots are asked for (a 1,024th of all), and whatever is said of a doubted slot
//! in full is taken, be it older or newer. What is still doubted when all was said was not said, and is ended.
//!
//! No older word is taken for the truth by that: nothing was missing when the digests were compared, what was sent before the question
//! and comes late is not taken, and of what is sent later each word on a slot is no older than the one before it.

use packet::Tick;

use super::digest::BUCKETS;
#[cfg(test)]
use super::entry::Entry;
use super::receive::ReceiveLane;
use super::{ROOM, Table};
#[cfg(test)]
use crate::ids::FlowId;
use crate::ids::Seq;
use crate::{Mutation, mutated};

/// What came of comparing digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DigestOutcome {
    /// This lane is at another datagram than the digest, or not whole: it says nothing.
    NotComparable,
    /// All the same.
    Same,
    /// A bucket differed.
    Differs,
    /// A bucket differed twice in a row: it is to be repaired.
    Alarm,
}

/// Buckets of which something may be wrong.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    /// Those that differed the last time, by bit.
    differed: Bits,
    /// Those that differed twice.
    wrong: Bits,
    /// The one that is being repaired.
    current: Option<u16>,
}

impl Doubts {
    /// The bucket that is being repaired.
    pub(super) fn current(&self) -> Option<u16> {
        self.current
    }

    /// Whether some wait for repair.
    pub(super) fn are_left(&self) -> bool {
        self.wrong.first().is_some()
    }

    /// The repair has to wait.
    pub(super) fn put_off(&mut self) {
        if let Some(bucket) = self.current.take() {
            self.wrong.set(bucket.into(), true);
        }
    }

    /// What was asked for has come: the bucket, or, if that was not `only_part` of all, everything.
    pub(super) fn settle(&mut self, only_part: bool) {
        if let Some(bucket) = self.current.take() {
            self.differed.set(bucket.into(), false);
        }
        if !only_part {
            self.differed = Bits::default();
        }
    }

    /// A bucket is, or is not, what the sender has. True: it is not for the second time in a row.
    fn compared(&mut self, bucket: usize, same: bool) -> bool {
        let twice = !same && self.differed.get(bucket);
        self.differed.set(bucket, !same);
        if twice {
            self.wrong.set(bucket, true);
        }
        twice
    }
}

/// A bit for each bucket.
#[derive(Clone, Debug, Default)]
struct Bits([u64; BUCKETS / 64]);

impl Bits {
    fn get(&self, n: usize) -> bool {
        self.0.get(n / 64).is_some_and(|word| word >> (n % 64) & 1 != 0)
    }

    fn set(&mut self, n: usize, to: bool) {
        if let Some(word) = self.0.get_mut(n / 64) {
            *word = *word & !(1 << (n % 64)) | u64::from(to) << (n % 64);
        }
    }

    fn first(&self) -> Option<u16> {
        let n = self.0.iter().position(|word| *word != 0)?;
        Some((n * 64) as u16 + self.0.get(n)?.trailing_zeros() as u16)
    }
}

impl ReceiveLane {
    /// Digests of the sender's from bucket `from` on, as of `seq`.
    pub fn digest(&mut self, seq: Seq, from: u16, buckets: &[u64], now: Tick) -> DigestOutcome {
        self.highest(seq, now);
        let comparable = self.whole
            && !self.partial
            && self.is_settled()
            && self.gaps.open() == 0
            && self.gaps.highest() == seq.0;
        if !comparable {
            return DigestOutcome::NotComparable;
        }
        let mut outcome = DigestOutcome::Same;
        for (bucket, (theirs, ours)) in
            (usize::from(from)..).zip(buckets.iter().zip(self.digest.from(from)))
        {
            let twice = self.doubts.compared(bucket, theirs == ours);
            if theirs != ours {
                self.counters.mismatches += 1;
                let alarm = twice || outcome == DigestOutcome::Alarm;
                outcome = if alarm { DigestOutcome::Alarm } else { DigestOutcome::Differs };
            }
        }
        if outcome == DigestOutcome::Alarm {
            self.counters.alarms += 1;
            self.want_repair();
        }
        outcome
    }

    /// Slots that were used, of the bucket that is being repaired.
    fn of_bucket(&self) -> impl Iterator<Item = u32> + use<> {
        let used = if self.doubts.current.is_some() { self.entries.used() } else { 0 };
        (self.doubts.current.map_or(0, u32::from)..used).step_by(BUCKETS)
    }

    /// The next bucket's repair begins, or begins anew.
    pub(super) fn doubt_next(&mut self) {
        if self.doubts.current.is_none() {
            self.doubts.current = self.doubts.wrong.first();
        }
        if let Some(bucket) = self.doubts.current {
            self.doubts.wrong.set(bucket.into(), false);
        }
        for slot in self.of_bucket() {
            let entry = self.entries.get(slot);
            if entry.is_known() && !mutated(Mutation::RepairWithoutDoubt) {
                self.set(slot, entry.doubted());
            }
        }
    }

    /// Ends what is still doubted of a bucket of which all was said, [`ROOM`] flows at most. To be called as long as the lane
    /// [is closing](Self::is_closing); the workers have room.
    pub fn end_doubted(&mut self, table: &mut dyn Table) {
        if !self.is_closing() {
            return;
        }
        let mut room = ROOM;
        for slot in self.of_bucket() {
            let entry = self.entries.get(slot);
            if !entry.is_doubted() {
                continue;
            }
            if entry.is_alive() {
                if room == 0 {
                    return;
                }
                room -= 1;
                self.end(slot, entry, table);
            }
            self.set(slot, entry.dead());
        }
        self.complete();
    }

    /// Makes an entry wrong, as an error of this code would: what it says is of a version that is to come. What is in the table is the
    /// caller's.
    #[cfg(test)]
    pub(crate) fn corrupt(&mut self, slot: u32, alive: bool) {
        let (entry, stamp) = (self.entries.get(slot), self.stamp);
        let version = crate::ids::Version(entry.version().0.wrapping_add(1000));
        let (generation, worker) = (entry.generation(), entry.worker());
        self.set(slot, Entry::new(generation, version, worker, alive, false, stamp));
    }

    /// The names of the flows that live, as far as is known here.
    #[cfg(test)]
    pub(crate) fn living(&self) -> impl Iterator<Item = FlowId> + '_ {
        (0..self.entries.used()).filter_map(|slot| {
            let entry = self.entries.get(slot);
            entry.is_alive().then(|| FlowId::new(self.node, self.lane, slot, entry.generation()))
        })
    }
}
