//! Which datagrams of a lane are missing, and what is to be done about it.
//!
//! A gap is *missing* until its datagram comes late, or RESOLVE *promises* that what it carried has travelled again in certain other
//! datagrams. Then it is closed as soon as all of these are: those that came, and those which are gaps themselves and closed in the
//! same way. Promises point forward only, so one pass from the highest gap to the lowest closes all that can be closed.
//!
//! # States
//!
//! ```text
//!           | datagram came | RESOLVE            | all promised are closed
//! missing   | closed        | promised           | -
//! promised  | closed        | promised (kept)    | closed
//! ```
//!
//! # Bounds
//!
//! At most [`GAPS`] gaps; whoever has more, or one that is too old, is better off with a bulk.

use std::collections::VecDeque;

use arrayvec::ArrayVec;
use packet::Tick;

use super::digest::mix;
use crate::{Mutation, mutated};

/// Gaps at most.
pub(super) const GAPS: usize = 4096;
/// Ranges of a NACK.
pub(super) const RANGES: usize = 32;

const MS: u64 = 1_000_000;
/// A gap is asked for when it is this old, …
const PATIENCE: u64 = MS;
/// … and so many datagrams came since …
const COMPANY: u64 = 3;
/// … or it is this old: nobody sends any more.
const ENOUGH: u64 = 3 * MS;
/// NACKs are this far apart at least.
const NACK_EVERY: u64 = MS;
/// A gap is asked for again after 1, 2, 4, … and at most this many milliseconds.
const BACKOFF: u64 = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Missing,
    /// What it carried is in these, both included.
    Promised {
        first: u64,
        last: u64,
    },
    Closed,
}

#[derive(Clone, Copy, Debug)]
struct Gap {
    seq: u64,
    state: State,
    since: Tick,
    /// How many datagrams had come by then.
    heard: u64,
    /// When it is asked for next.
    next: Tick,
    asked: u8,
}

/// There are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany;

/// The gaps of a lane.
#[derive(Debug)]
pub(super) struct Gaps {
    /// In order. The first is not closed.
    list: VecDeque<Gap>,
    open: usize,
    promised: usize,
    /// The highest that was sent, as far as is known.
    highest: u64,
    /// Datagrams that came.
    heard: u64,
    /// When the first gap is asked for next.
    due: Tick,
    /// When the latest NACK was.
    nacked: Option<Tick>,
    /// Where the next one goes on, so that all have their turn when there are many.
    turn: u64,
    random: u64,
    scratch: Vec<u64>,
}

impl Gaps {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            list: VecDeque::new(),
            open: 0,
            promised: 0,
            highest: 0,
            heard: 0,
            due: Tick(u64::MAX),
            nacked: None,
            turn: 0,
            random: seed,
            scratch: Vec::new(),
        }
    }

    /// Up to where nothing is missing.
    #[inline]
    pub(super) fn contiguous(&self) -> u64 {
        self.list.front().map_or(self.highest, |gap| gap.seq - 1)
    }

    /// The highest that was sent, as far as is known.
    pub(super) fn highest(&self) -> u64 {
        self.highest
    }

    /// How many are missing.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// Forgets all gaps: nothing up to `seq` is missed.
    pub(super) fn reset(&mut self, seq: u64) {
        self.list.clear();
        self.open = 0;
        self.promised = 0;
        self.highest = seq;
        self.due = Tick(u64::MAX);
    }

    /// Something was heard of the sender.
    pub(super) fn hear(&mut self) {
        self.heard += 1;
    }

    fn random(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.random) % below.max(1)
    }

    /// All up to `seq` was sent. What was not known of is missing.
    pub(super) fn advance(&mut self, seq: u64, now: Tick) -> Result<(), TooMany> {
        let more = seq.saturating_sub(self.highest);
        if more > (GAPS - self.open.min(GAPS)) as u64 {
            return Err(TooMany);
        }
        for seq in self.highest + 1..=seq {
            let next = Tick(now.0 + PATIENCE + self.random(PATIENCE / 4));
            self.due = self.due.min(next);
            let (state, heard) = (State::Missing, self.heard);
            self.list.push_back(Gap { seq, state, since: now, heard, next, asked: 0 });
            self.open += 1;
        }
        self.highest = self.highest.max(seq);
        Ok(())
    }

    fn find(&mut self, seq: u64) -> Option<&mut Gap> {
        // Mostly it is the latest.
        if self.list.back().is_some_and(|gap| gap.seq == seq) {
            return self.list.back_mut();
        }
        let n = self.list.binary_search_by_key(&seq, |gap| gap.seq).ok()?;
        self.list.get_mut(n)
    }

    /// Whether this is missing.
    pub(super) fn is_open(&mut self, seq: u64) -> bool {
        self.find(seq).is_some_and(|gap| gap.state != State::Closed)
    }

    /// This is not missing any more.
    pub(super) fn close(&mut self, seq: u64) {
        let Some(gap) = self.find(seq) else { return };
        let state = std::mem::replace(&mut gap.state, State::Closed);
        self.closed(state);
        self.tidy();
    }

    fn closed(&mut self, before: State) {
        self.open -= usize::from(before != State::Closed);
        self.promised -= usize::from(matches!(before, State::Promised { .. }));
    }

    fn tidy(&mut self) {
        while self.list.front().is_some_and(|gap| gap.state == State::Closed) {
            self.list.pop_front();
        }
        if self.list.len() > 2 * self.open + 1024 {
            self.list.retain(|gap| gap.state != State::Closed);
        }
    }

    /// RESOLVE came in datagram `last`: what `seq` carried is in those from `first` on.
    pub(super) fn promise(&mut self, seq: u64, first: u64, last: u64) {
        if mutated(Mutation::ResolveWithoutChain) {
            self.close(seq);
            return;
        }
        let Some(gap) = self.find(seq) else { return };
        // An earlier promise is as good, and what it waits for was asked for earlier.
        if gap.state == State::Missing && seq < last {
            gap.state = State::Promised { first: first.max(seq + 1), last };
            self.promised += 1;
        }
    }

    /// Closes what can be closed.
    pub(super) fn settle(&mut self) {
        if self.promised == 0 {
            return;
        }
        // Those that stay open, highest first.
        self.scratch.clear();
        for gap in self.list.iter_mut().rev() {
            match gap.state {
                State::Closed => continue,
                State::Missing => {}
                State::Promised { first, last } => {
                    let from_first = self.scratch.partition_point(|&seq| seq >= first);
                    let lowest = from_first.checked_sub(1).and_then(|n| self.scratch.get(n));
                    if lowest.is_none_or(|&seq| seq > last) {
                        gap.state = State::Closed;
                        self.open -= 1;
                        self.promised -= 1;
                        continue;
                    }
                }
            }
            self.scratch.push(gap.seq);
        }
        self.tidy();
    }

    /// LOST: these cannot be had any more. True if one of them is missing.
    pub(super) fn lost(&mut self, from: u64, to: u64) -> bool {
        let mut any = false;
        for n in 0..self.list.len() {
            let Some(gap) = self.list.get_mut(n) else { break };
            if gap.state == State::Missing && (from..=to).contains(&gap.seq) {
                any = true;
                if mutated(Mutation::IgnoreLost) {
                    gap.state = State::Closed;
                    self.closed(State::Missing);
                }
            }
        }
        self.tidy();
        any && !mutated(Mutation::IgnoreLost)
    }

    /// Since when the oldest is missing.
    pub(super) fn oldest(&self) -> Option<Tick> {
        self.list.front().map(|gap| gap.since)
    }

    /// The sender was silent: what is missing counts as missing since now.
    pub(super) fn excuse(&mut self, now: Tick) {
        for gap in &mut self.list {
            gap.since = now;
        }
    }

    /// When a NACK may be due.
    pub(super) fn due(&self) -> Tick {
        self.due.max(self.nacked.map_or(Tick(0), |at| Tick(at.0 + NACK_EVERY)))
    }

    /// The ranges of a NACK, if one is due.
    pub(super) fn ask(&mut self, now: Tick) -> Option<ArrayVec<(u64, u64), RANGES>> {
        if now < self.due() {
            return None;
        }
        let mut ranges: ArrayVec<(u64, u64), RANGES> = ArrayVec::new();
        self.due = Tick(u64::MAX);
        let start = self.list.partition_point(|gap| gap.seq < self.turn);
        self.turn = 0;
        for n in (start..self.list.len()).chain(0..start) {
            let jitter = self.random(PATIENCE / 2);
            let heard = self.heard;
            let Some(gap) = self.list.get_mut(n) else { break };
            if gap.state != State::Missing {
                continue;
            }
            if now >= gap.next {
                let age = now.0.saturating_sub(gap.since.0);
                let follows = ranges.last().is_some_and(|&(_, to)| to + 1 == gap.seq);
                if gap.asked == 0 && heard - gap.heard < COMPANY && age < ENOUGH {
                    // Late, most likely. A look at each half millisecond costs little.
                    gap.next = Tick(now.0 + PATIENCE / 2);
                } else if follows || !ranges.is_full() {
                    let wait = (MS << gap.asked.min(6)).min(BACKOFF * MS);
                    gap.next = Tick(now.0 + wait + jitter * (wait / MS));
                    gap.asked = gap.asked.saturating_add(1);
                    self.due = self.due.min(gap.next);
                    match ranges.last_mut() {
                        Some((_, to)) if follows => *to = gap.seq,
                        _ => ranges.push((gap.seq, gap.seq)),
                    }
                    continue;
                } else if self.turn == 0 {
                    self.turn = gap.seq;
                }
            }
            self.due = self.due.min(gap.next);
        }
        if ranges.is_empty() {
            return None;
        }
        self.nacked = Some(now);
        Some(ranges)
    }

    /// Another standby asked for these: the answer will come here, too.
    pub(super) fn heard_asked(&mut self, ranges: &[(u64, u64)], now: Tick) {
        for &(from, to) in ranges {
            let start = self.list.partition_point(|gap| gap.seq < from);
            let end = self.list.partition_point(|gap| gap.seq <= to);
            for n in start..end {
                let jitter = self.random(PATIENCE);
                let Some(gap) = self.list.get_mut(n) else { break };
                let wait = (MS << gap.asked.min(6)).min(BACKOFF * MS);
                gap.next = gap.next.max(Tick(now.0 + wait + jitter * (wait / MS)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// The rule in plain words: a promised gap is closed if all gaps among those that it was promised are. Until nothing changes.
    fn settle(open: &mut BTreeMap<u64, Option<(u64, u64)>>) {
        loop {
            let closed = open.iter().find_map(|(&seq, promise)| {
                let (first, last) = (*promise)?;
                let waits = open.range(first..=last).any(|(&other, _)| other != seq);
                (!waits).then_some(seq)
            });
            match closed {
                Some(seq) => open.remove(&seq),
                None => return,
            };
        }
    }

    #[test]
    fn one_pass_closes_what_many_would() {
        for seed in 0..300 {
            let mut random = Gaps::new(seed);
            let mut gaps = Gaps::new(seed);
            let mut plain: BTreeMap<u64, Option<(u64, u64)>> = BTreeMap::new();
            let mut highest = 0;
            for _ in 0..200 {
                let jump = 1 + random.random(4);
                gaps.advance(highest + jump, Tick(0)).unwrap();
                plain.extend((highest + 1..=highest + jump).map(|seq| (seq, None)));
                highest += jump;
                for _ in 0..random.random(3) {
                    let seq = 1 + random.random(highest);
                    let first = highest.saturating_sub(random.random(6)).max(1);
                    gaps.promise(seq, first, highest);
                    if let Some(promise @ None) = plain.get_mut(&seq)
                        && seq < highest
                    {
                        *promise = Some((first.max(seq + 1), highest));
                    }
                }
                if random.random(3) > 0 {
                    gaps.close(highest);
                    plain.remove(&highest);
                }
                if random.random(4) == 0 {
                    let late = 1 + random.random(highest);
                    gaps.close(late);
                    plain.remove(&late);
                }
                gaps.settle();
                settle(&mut plain);
                assert_eq!(gaps.open(), plain.len());
                let contiguous = plain.keys().next().map_or(highest, |first| first - 1);
                assert_eq!(gaps.contiguous(), contiguous);
                let promised = plain.values().flatten().count();
                assert_eq!(gaps.promised, promised);
                for seq in 1..=highest {
                    assert_eq!(gaps.is_open(seq), plain.contains_key(&seq), "{seq}");
                }
            }
        }
    }
}
