//! Dumps and flushes: through all shards, some slots a job.

use std::collections::VecDeque;
use std::sync::Arc;

use nfnetlink::{Dump, Header, Result, Writer};
use packet::Tick;

use super::entry::{self, Epoch};
use super::filter::Filter;
use super::{Shards, ask};
use crate::flow::{Direction, Flow, Slot};
use crate::shard::Shard;
use crate::snapshot::Snapshot;

/// Flows that one job copies or ends, about: some 10 µs of a worker's time.
const FLOWS: usize = 256;
/// Slots that one step of a job looks at, and all its steps.
const STEP: usize = 128;
const SLOTS: usize = 2048;
/// `NLM_F_DUMP_FILTERED`.
const NLM_F_DUMP_FILTERED: u16 = 0x20;
/// More bytes than any flow takes in a message.
const LONGEST: usize = 512;

/// A place in the table of all shards.
#[derive(Clone, Copy, Debug)]
struct Place {
    shard: usize,
    slot: Slot,
}

impl Place {
    const START: Self = Self { shard: 0, slot: Slot(0) };

    /// Where to go on when a job has come to `next` in this place's shard; `None` behind the last.
    fn after(self, next: Option<Slot>, shards: usize) -> Option<Self> {
        match next {
            Some(slot) => Some(Self { slot, ..self }),
            None if self.shard + 1 < shards => Some(Self { shard: self.shard + 1, slot: Slot(0) }),
            None => None,
        }
    }
}

fn is_meant(filter: &Filter, flow: &Flow) -> bool {
    let keys = [Direction::Original, Direction::Reply].map(|direction| flow.key(direction));
    filter.matches(keys, flow.mark(), flow.status().0)
}

/// The flows of a dump, as they are when their turn comes.
pub(super) struct Flows {
    shards: Arc<dyn Shards>,
    filter: Arc<Filter>,
    /// Whether accounts begin anew.
    clear: bool,
    epoch: Epoch,
    next: Option<Place>,
    /// Copied, and not written yet.
    ready: VecDeque<Snapshot>,
}

impl Flows {
    pub(super) fn new(shards: Arc<dyn Shards>, filter: Filter, clear: bool, epoch: Epoch) -> Self {
        let filter = Arc::new(filter);
        Self { shards, filter, clear, epoch, next: Some(Place::START), ready: VecDeque::new() }
    }

    /// Has the next job run; false when there is none.
    fn fetch(&mut self) -> bool {
        let Some(place) = self.next else { return false };
        let (filter, clear) = (Arc::clone(&self.filter), self.clear);
        let from = place.slot;
        let copied = ask(&*self.shards, place.shard, move |shard, now| {
            copy(shard, from, &filter, clear, now)
        });
        // A worker that is gone has no flows.
        let (flows, next) = copied.unwrap_or_default();
        self.ready.extend(flows);
        self.next = place.after(next, self.shards.count());
        true
    }
}

/// Some flows from a slot on, and where to go on.
fn copy(
    shard: &mut Shard,
    from: Slot,
    filter: &Filter,
    clear: bool,
    now: Tick,
) -> (Vec<Snapshot>, Option<Slot>) {
    let mut flows = Vec::with_capacity(FLOWS + STEP);
    let mut at = Some(from);
    for _ in 0..SLOTS / STEP {
        let Some(slot) = at.filter(|_| flows.len() < FLOWS) else { break };
        at = shard.walk(slot, STEP, &mut |slot, flow| {
            if is_meant(filter, flow) {
                flows.extend(shard.snapshot(slot, now));
            }
        });
    }
    if clear {
        for flow in &flows {
            shard.clear_accounts(flow.slot);
        }
    }
    (flows, at)
}

impl Dump for Flows {
    fn next(&mut self, header: Header, room: usize, out: &mut Writer) -> bool {
        let filtered = if self.filter.given { NLM_F_DUMP_FILTERED } else { 0 };
        let header = Header { flags: header.flags | filtered, ..header };
        loop {
            while let Some(flow) = self.ready.pop_front() {
                entry::put(out, header, &flow, 1, self.epoch);
                if out.buf.len() + LONGEST > room {
                    return true;
                }
            }
            if !self.fetch() {
                return !out.buf.is_empty();
            }
        }
    }
}

/// Ends all flows that a filter means, on behalf of a client.
///
/// # Errors
///
/// `EAGAIN` where a worker is gone.
pub(super) fn flush(shards: &dyn Shards, filter: &Filter, cause: u32) -> Result<()> {
    let filter = Arc::new(filter.clone());
    let mut place = Some(Place::START);
    while let Some(at) = place {
        let filter = Arc::clone(&filter);
        let next = ask(shards, at.shard, move |shard, now| {
            shard.on_behalf(cause, |shard| end(shard, at.slot, &filter, now))
        })?;
        place = at.after(next, shards.count());
    }
    Ok(())
}

/// Ends some flows from a slot on; returns where to go on.
fn end(shard: &mut Shard, from: Slot, filter: &Filter, now: Tick) -> Option<Slot> {
    let mut meant = Vec::with_capacity(FLOWS + STEP);
    let mut at = Some(from);
    for _ in 0..SLOTS / STEP {
        let Some(slot) = at.filter(|_| meant.len() < FLOWS) else { break };
        at = shard.walk(slot, STEP, &mut |slot, flow| {
            if is_meant(filter, flow) {
                meant.push(slot);
            }
        });
    }
    meant.into_iter().for_each(|slot| shard.kill(slot, now));
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_goes_from_shard_to_shard() {
        let place = Place::START.after(Some(Slot(9)), 2);
        assert_eq!(place.map(|p| (p.shard, p.slot)), Some((0, Slot(9))));
        let place = place.and_then(|place| place.after(None, 2));
        assert_eq!(place.map(|p| (p.shard, p.slot)), Some((1, Slot(0))));
        assert!(place.and_then(|place| place.after(None, 2)).is_none());
    }
}
