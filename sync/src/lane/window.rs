//! What each of the latest datagrams carried.
//!
//! Of flows only the slots are kept: what is repaired is their present state. Records that are not of flows are kept as they are. All of
//! it lies in three queues, so nothing is allocated per datagram. The window is bounded in datagrams, slots and bytes; when one
//! of them is reached the oldest datagram goes, and can no longer be repaired.

use std::collections::VecDeque;

use packet::Tick;

/// Slots that are kept for each datagram, on average.
const SLOTS_EACH: usize = 32;
/// Bytes of records that are not of flows.
const CONTROL: usize = 4 << 20;

/// A datagram that was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    /// When.
    pub(super) at: Tick,
    slots_at: u64,
    control_at: u64,
    control: u16,
    slots: u16,
    /// It was to be acknowledged.
    pub(super) want_ack: bool,
    /// How often it was repaired.
    repairs: u8,
    /// Until then a NACK of it is taken to have crossed its repair; `u64::MAX`: a repair is under way.
    hold: Tick,
}

/// The latest datagrams, in order and without gaps.
#[derive(Debug)]
pub(super) struct Window {
    sent: VecDeque<Sent>,
    /// The number of the first of them.
    first: u64,
    slots: VecDeque<u32>,
    slots_from: u64,
    control: VecDeque<u8>,
    control_from: u64,
    most: usize,
}

impl Window {
    /// Of at most so many datagrams.
    pub(super) fn new(most: usize) -> Self {
        Self {
            sent: VecDeque::new(),
            first: 1,
            slots: VecDeque::new(),
            slots_from: 0,
            control: VecDeque::new(),
            control_from: 0,
            most: most.max(1),
        }
    }

    /// The oldest that there is, or the next if there is none.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// A datagram was sent. One that does not follow on the last is not kept.
    pub(super) fn push(
        &mut self,
        seq: u64,
        at: Tick,
        want_ack: bool,
        slots: &[u32],
        control: &[u8],
    ) {
        if self.sent.is_empty() {
            self.first = seq;
        }
        if seq != self.first + self.sent.len() as u64 {
            return;
        }
        while self.sent.len() >= self.most
            || self.slots.len() + slots.len()
                > self.most.saturating_mul(SLOTS_EACH).max(slots.len())
            || self.control.len() + control.len() > CONTROL
        {
            if !self.pop() {
                break;
            }
        }
        self.sent.push_back(Sent {
            at,
            slots_at: self.slots_from + self.slots.len() as u64,
            control_at: self.control_from + self.control.len() as u64,
            control: u16::try_from(control.len()).unwrap_or(u16::MAX),
            slots: u16::try_from(slots.len()).unwrap_or(u16::MAX),
            want_ack,
            repairs: 0,
            hold: Tick(0),
        });
        self.slots.extend(slots);
        self.control.extend(control);
    }

    fn pop(&mut self) -> bool {
        let Some(sent) = self.sent.pop_front() else { return false };
        self.first += 1;
        self.slots.drain(..usize::from(sent.slots).min(self.slots.len()));
        self.slots_from += u64::from(sent.slots);
        self.control.drain(..usize::from(sent.control).min(self.control.len()));
        self.control_from += u64::from(sent.control);
        true
    }

    /// All up to `seq` is where it has to be.
    pub(super) fn trim(&mut self, seq: u64) {
        while !self.sent.is_empty() && self.first <= seq {
            self.pop();
        }
    }

    /// `None`: out of the window.
    pub(super) fn get(&self, seq: u64) -> Option<&Sent> {
        self.sent.get(usize::try_from(seq.checked_sub(self.first)?).ok()?)
    }

    fn get_mut(&mut self, seq: u64) -> Option<&mut Sent> {
        self.sent.get_mut(usize::try_from(seq.checked_sub(self.first)?).ok()?)
    }

    /// The slots that it carried.
    pub(super) fn slots(&self, sent: &Sent) -> impl Iterator<Item = u32> + '_ {
        let from = sent.slots_at.saturating_sub(self.slots_from) as usize;
        self.slots.iter().skip(from).take(sent.slots.into()).copied()
    }

    /// The records that are not of flows which it carried.
    pub(super) fn control(&self, sent: &Sent) -> impl Iterator<Item = u8> + '_ {
        let from = sent.control_at.saturating_sub(self.control_from) as usize;
        self.control.iter().skip(from).take(sent.control.into()).copied()
    }

    /// How many records of flows were sent after `seq`.
    pub(super) fn slots_after(&self, seq: u64) -> u64 {
        let end = self.slots_from + self.slots.len() as u64;
        self.get(seq + 1).map_or(0, |sent| end - sent.slots_at)
    }

    /// A NACK of it came. True: a repair is to begin. It must end with [`Self::repaired`].
    pub(super) fn ask(&mut self, seq: u64, now: Tick) -> bool {
        match self.get_mut(seq) {
            Some(sent) if now >= sent.hold => {
                sent.hold = Tick(u64::MAX);
                true
            }
            _ => false,
        }
    }

    /// Its repair was sent, or (`false`) given up.
    pub(super) fn repaired(&mut self, seq: u64, done: bool, now: Tick) {
        if let Some(sent) = self.get_mut(seq) {
            if done {
                // As receivers back off: 1, 2, 4 … 64 ms.
                sent.hold = Tick(now.0 + (1_000_000 << sent.repairs.min(6)));
                sent.repairs = sent.repairs.saturating_add(1);
            } else {
                sent.hold = Tick(0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(most: usize, count: u64) -> Window {
        let mut window = Window::new(most);
        for seq in 1..=count {
            let slots: Vec<u32> = (0..seq as u32 % 5).map(|n| seq as u32 * 10 + n).collect();
            window.push(seq, Tick(seq), seq == 3, &slots, &vec![seq as u8; seq as usize % 3]);
        }
        window
    }

    #[test]
    fn it_keeps_what_each_carried() {
        let mut window = window(100, 20);
        for round in [0, 7] {
            window.trim(round);
            for seq in round + 1..=20 {
                let sent = *window.get(seq).unwrap();
                let expected: Vec<u32> = (0..seq as u32 % 5).map(|n| seq as u32 * 10 + n).collect();
                assert_eq!(window.slots(&sent).collect::<Vec<_>>(), expected);
                assert_eq!(
                    window.control(&sent).collect::<Vec<_>>(),
                    vec![seq as u8; seq as usize % 3]
                );
                assert_eq!((sent.at, sent.want_ack), (Tick(seq), seq == 3));
            }
            assert!(window.get(round).is_none() && window.get(21).is_none());
        }
        assert_eq!(window.slots_after(18), 19 % 5);
        assert_eq!(window.slots_after(20), 0);
    }

    #[test]
    fn the_oldest_goes() {
        let window = window(8, 20);
        assert_eq!(window.first(), 13);
        assert!(window.get(12).is_none() && window.get(13).is_some());
    }

    #[test]
    fn it_is_bounded_in_slots_and_bytes() {
        let mut window = Window::new(4);
        for seq in 1..=10 {
            window.push(seq, Tick(0), false, &[7; 60], &[]);
        }
        assert_eq!(window.first(), 9);
        let mut window = Window::new(100_000);
        for seq in 1..=5_000 {
            window.push(seq, Tick(0), false, &[], &[1; 1300]);
        }
        assert!(window.control.len() <= CONTROL && window.first() > 1);
    }

    #[test]
    fn a_repair_is_not_begun_twice() {
        let mut window = window(100, 5);
        assert!(window.ask(3, Tick(0)));
        assert!(!window.ask(3, Tick(1_000_000_000)));
        window.repaired(3, true, Tick(1_000));
        assert!(!window.ask(3, Tick(1_000_000)));
        assert!(window.ask(3, Tick(1_001_000)));
        window.repaired(3, false, Tick(0));
        assert!(window.ask(3, Tick(0)));
        window.repaired(3, true, Tick(0));
        assert!(!window.ask(3, Tick(1_999_999)));
        assert!(!window.ask(6, Tick(0)), "it was never sent");
    }
}
