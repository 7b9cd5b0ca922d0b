//! When flows end: a timing wheel of four levels whose lists run through the records.
//!
//! # Overview
//!
//! Time is counted in [beats](crate::flow::BEAT). Level 0 has a list for each of the next 256 beats, level 1 for each of the
//! next 256 times 256 beats (4.3 s each), and so on. A list of a higher level is dealt out to lower ones when its time
//! begins. A packet that puts its flow's deadline off does not touch the wheel: when the flow's list falls due the deadline
//! is read again, and the flow filed again. Only a deadline that is brought forward needs a move.
//!
//! Deadlines wrap; they lie at most 2³¹ beats (417 days) ahead. A list that is not finished for want of budget is gone on
//! with at the next call: time stands still for the wheel meanwhile.

use packet::prefetch;

use super::pages::Pages;
use crate::flow::{Flow, Slot};

/// No record.
pub(super) const NONE: u32 = u32::MAX;
/// In a link to the previous: it is the head of a list instead, whose number is in the other bits.
const HEAD: u32 = 1 << 31;
const LEVELS: u32 = 4;
const LISTS: usize = 256;

/// The wheel.
pub(super) struct Wheel {
    /// The first flow of each list, level by level.
    heads: Box<[u32]>,
    /// A bit for each list of level 0 that is not empty.
    occupied: [u64; LISTS / 64],
    /// The beat whose lists are being emptied.
    at: u32,
}

/// What is to be done with the flow that [`Wheel::take`] gives.
pub(super) enum Due {
    /// Its deadline is over. It is in no list.
    Expired(Slot),
    /// It is not. It is in no list either, and must be filed again.
    Early(Slot),
}

impl Wheel {
    pub(super) fn new() -> Self {
        let heads = vec![NONE; LISTS * LEVELS as usize].into_boxed_slice();
        Self { heads, occupied: [0; LISTS / 64], at: 0 }
    }

    /// The list for a deadline and the beat when it falls due.
    fn list(&self, deadline: u32) -> (usize, u32) {
        let ahead = deadline.wrapping_sub(self.at);
        // What is over falls due now.
        let (deadline, ahead) =
            if ahead > i32::MAX as u32 { (self.at, 0) } else { (deadline, ahead) };
        let level = (31 - (ahead | 1).leading_zeros()) / 8;
        let block = deadline >> (8 * level);
        (level as usize * LISTS + block as usize % LISTS, block << (8 * level))
    }

    /// Puts a flow into the list for its deadline.
    pub(super) fn file(&mut self, flows: &mut Pages<Flow>, slot: Slot) {
        let Some(flow) = flows.get(slot.0) else { return };
        self.file_at(flows, slot, flow.shared.deadline);
    }

    /// Puts a flow into the list for a beat.
    pub(super) fn file_at(&mut self, flows: &mut Pages<Flow>, slot: Slot, beat: u32) {
        let Some(flow) = flows.get_mut(slot.0) else { return };
        let (list, beat) = self.list(beat);
        let Some(head) = self.heads.get_mut(list) else { return };
        let next = std::mem::replace(head, slot.0);
        flow.set_filed(beat);
        flow.set_next(next);
        flow.set_previous(HEAD | list as u32);
        if let Some(next) = flows.get_mut(next) {
            next.set_previous(slot.0);
        }
        if let Some(word) = self.occupied.get_mut(list / 64) {
            *word |= 1 << (list % 64);
        }
    }

    /// Takes a flow out of its list.
    pub(super) fn remove(&mut self, flows: &mut Pages<Flow>, slot: Slot) {
        let Some(flow) = flows.get_mut(slot.0) else { return };
        let [next, previous] = flow.links();
        flow.set_next(NONE);
        flow.set_previous(NONE);
        if let Some(next) = flows.get_mut(next) {
            next.set_previous(previous);
        }
        if previous == NONE {
            return;
        }
        if previous & HEAD == 0 {
            if let Some(previous) = flows.get_mut(previous) {
                previous.set_next(next);
            }
            return;
        }
        let list = (previous & !HEAD) as usize;
        if let Some(head) = self.heads.get_mut(list) {
            *head = next;
        }
        if next == NONE
            && let Some(word) = self.occupied.get_mut(list / 64)
        {
            *word &= !(1 << (list % 64));
        }
    }

    /// Goes on with the lists that are due at beat `now`: takes out the next flow, or finds nothing left.
    pub(super) fn take(&mut self, flows: &mut Pages<Flow>, now: u32) -> Option<Due> {
        while now.wrapping_sub(self.at) <= i32::MAX as u32 {
            if let Some(slot) = self.first() {
                if let Some(next) = flows.get(slot.0).and_then(|flow| flows.get(flow.links()[0])) {
                    // Its turn comes next, and this one's end does not wait for it.
                    next.halves.iter().for_each(prefetch::line);
                    prefetch::line(&next.shared);
                }
                self.remove(flows, slot);
                let ahead =
                    flows.get(slot.0).map_or(0, |flow| flow.shared.deadline.wrapping_sub(self.at));
                if ahead == 0 || ahead > i32::MAX as u32 {
                    return Some(Due::Expired(slot));
                }
                return Some(Due::Early(slot));
            }
            let next = self.next_beat();
            // Nothing falls due before `next`.
            let is_over = now.wrapping_sub(next) <= i32::MAX as u32;
            self.at = if is_over { next } else { now.wrapping_add(1) };
        }
        None
    }

    /// The first flow of the lists that fall due at this beat, the higher levels' first.
    fn first(&self) -> Option<Slot> {
        let zeros = (self.at.trailing_zeros() / 8).min(LEVELS - 1);
        let lists = (0..=zeros)
            .rev()
            .map(|level| level as usize * LISTS + (self.at >> (8 * level)) as usize % LISTS);
        lists
            .filter_map(|list| self.heads.get(list))
            .find(|head| **head != NONE)
            .map(|head| Slot(*head))
    }

    /// The next beat at which something may fall due: that of a list of level 0, or of the next of level 1.
    fn next_beat(&self) -> u32 {
        let from = self.at as usize % LISTS + 1;
        let base = self.at & !(LISTS as u32 - 1);
        let next = (from / 64..LISTS / 64).find_map(|i| {
            let word = self.occupied.get(i)?;
            let word = if i == from / 64 { word & (u64::MAX << (from % 64)) } else { *word };
            (word != 0).then(|| i as u32 * 64 + word.trailing_zeros())
        });
        base.wrapping_add(next.unwrap_or(LISTS as u32))
    }
}

#[cfg(test)]
impl Wheel {
    /// How many flows are in the lists, each of which is checked.
    pub(super) fn count_flows(&self, flows: &Pages<Flow>) -> usize {
        let mut count = 0;
        for (list, head) in self.heads.iter().enumerate() {
            let (mut at, mut previous) = (*head, HEAD | list as u32);
            while let Some(flow) = flows.get(at) {
                let [next, before] = flow.links();
                assert_eq!(before, previous);
                (previous, at) = (at, next);
                count += 1;
            }
            if let Some(word) = self.occupied.get(list / 64) {
                assert_eq!(word >> (list % 64) & 1 == 1, *head != NONE);
            }
        }
        count
    }
}
