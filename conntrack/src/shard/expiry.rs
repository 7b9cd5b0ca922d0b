//! How long flows live.

use arrayvec::ArrayVec;
use packet::Tick;

use super::wheel::Due;
use super::{Shard, beat_after};
use crate::flow::{BEAT, Flow, Slot, Status};

const SECOND: u64 = 1_000_000_000;
/// Flows that are ended together.
const TOGETHER: usize = 16;
/// Deadlines lie at most so many beats ahead: they wrap.
const FARTHEST: u64 = i32::MAX as u64;

impl Shard {
    /// A packet lets its flow live `seconds` from now on, or from its confirmation on (`nf_ct_refresh`); not where the
    /// timeout is fixed.
    #[inline(always)]
    pub fn refresh(&mut self, slot: Slot, seconds: u32, now: Tick) {
        let Some(flow) = self.flow_mut(slot) else { return };
        if flow.renew(seconds, now) {
            self.file_again(slot);
        }
    }

    /// Lets a flow live `seconds` from now on, or from its confirmation on.
    #[inline(always)]
    pub fn set_timeout(&mut self, slot: Slot, seconds: u32, now: Tick) {
        let Some(flow) = self.flow_mut(slot) else { return };
        if flow.set_deadline(seconds, now) {
            self.file_again(slot);
        }
        self.soil(slot);
    }

    /// Moves a flow to the list that its deadline asks for.
    #[cold]
    pub(crate) fn file_again(&mut self, slot: Slot) {
        self.wheel.remove(&mut self.flows, slot);
        self.wheel.file(&mut self.flows, slot);
    }

    /// Whether a flow is there and its time is not over; what is over and still there ends now.
    pub(crate) fn is_alive(&mut self, slot: Slot, now: Tick) -> bool {
        let spared = self.spares(now);
        let Some(flow) = self.flow(slot) else { return false };
        let alive = !flow.is_over_unless(spared, now);
        if !alive {
            self.kill(slot, now);
        }
        alive
    }

    /// Milliseconds that a flow has left; of an unconfirmed one: will have.
    pub fn remaining(&self, slot: Slot, now: Tick) -> u32 {
        let Some(flow) = self.flow(slot) else { return 0 };
        let deadline = flow.shared.deadline;
        let nanos = if flow.status().has(Status::CONFIRMED) {
            let beats = deadline.wrapping_sub((now.0 / BEAT) as u32);
            if beats > i32::MAX as u32 {
                0
            } else {
                (u64::from(beats) * BEAT).saturating_sub(now.0 % BEAT)
            }
        } else {
            u64::from(deadline) * BEAT
        };
        u32::try_from(nanos / 1_000_000).unwrap_or(u32::MAX)
    }

    /// Ends the flows whose time is over; looks at `budget` flows at most and returns how many it ended. What is left is
    /// done at the next call.
    pub fn expire(&mut self, now: Tick, budget: usize) -> usize {
        let beat = (now.0 / BEAT) as u32;
        let mut ended = 0;
        let mut left = budget;
        let mut due = ArrayVec::<_, TOGETHER>::new();
        while left > 0 {
            // As many as have their buckets on the way at once.
            while left > 0 && !due.is_full() {
                left -= 1;
                match self.wheel.take(&mut self.flows, beat) {
                    Some(Due::Expired(slot)) => {
                        if self.put_off(slot, beat) {
                            continue;
                        }
                        let Some(flow) = self.flow(slot) else { continue };
                        let hashes = self.hashes(flow);
                        hashes.iter().for_each(|hash| self.prefetch_bucket(*hash));
                        due.push((slot, hashes));
                    }
                    Some(Due::Early(slot)) => self.look(slot, beat),
                    None => left = 0,
                }
            }
            ended += due.len();
            for (slot, hashes) in due.drain(..) {
                self.kill_confirmed(slot, hashes, now);
            }
        }
        ended
    }
}

impl Flow {
    /// As [`Shard::refresh`]; true where the flow must be [filed again](Shard::file_again).
    #[inline(always)]
    pub(crate) fn renew(&mut self, seconds: u32, now: Tick) -> bool {
        !self.status().has(Status::FIXED_TIMEOUT) && self.set_deadline(seconds, now)
    }

    /// As [`Shard::set_timeout`]; true where the flow must be [filed again](Shard::file_again).
    #[inline(always)]
    fn set_deadline(&mut self, seconds: u32, now: Tick) -> bool {
        let beats = (u64::from(seconds) * SECOND).div_ceil(BEAT).min(FARTHEST) as u32;
        if !self.status().has(Status::CONFIRMED) {
            self.shared.deadline = beats;
            return false;
        }
        let deadline = beat_after(now).wrapping_add(beats);
        let before = std::mem::replace(&mut self.shared.deadline, deadline);
        // The list that it is in falls due before `before`: only a deadline brought forward may be too early for it.
        is_before(deadline, before) && is_before(deadline, self.filed())
    }

    /// Whether a confirmed flow's time is over, or a packet has ended it.
    #[inline(always)]
    pub(crate) fn is_over(&self, now: Tick) -> bool {
        let left = self.shared.deadline.wrapping_sub((now.0 / BEAT) as u32);
        left.wrapping_sub(1) >= i32::MAX as u32 || self.status().has(Status::DYING)
    }
}

/// Of two beats less than 2³¹ apart.
#[inline(always)]
fn is_before(this: u32, that: u32) -> bool {
    this.wrapping_sub(that) > i32::MAX as u32
}
