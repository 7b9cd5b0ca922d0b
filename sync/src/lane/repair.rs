//! What a sending lane does about what did not arrive.
//!
//! NACK names datagrams. For each: the slots that it carried are asked of the worker (a *group*: the datagrams of one or more that are
//! repaired together, their slots, a token), the worker says their present state and then the token, and RESOLVE tells
//! from which datagram on a receiver must have all for the gap to be closed.
//!
//! # Slots of which something newer was said
//!
//! They are said again like the others, unless that is all of the flow, in the datagram which is being built: a receiver that lacks both datagrams
//! would else close the gap and be older than its watermark says. (It could be left out where the newer one surely arrived.
//! Nobody knows that of all who listen, and it saves little: few flows change twice in the milliseconds that a NACK takes.)
//!
//! # What overtakes a repair
//!
//! Repairs come through the lazy ring, so a change of the same flow may be sent before its repair. If all of the flow was said since
//! the worker was asked, the repair is done with that. If only FLOW_UPD was, a receiver may still lack the flow: it is asked for again
//! (`again`) before RESOLVE. In the same way the very first FLOW_FULL of a flow may be overtaken, if it was said for a repair: its FLOW_UPD is
//! not sent then, and the flow asked for.
//!
//! # Bounds
//!
//! [`QUEUE`] datagrams wait, [`GROUPS`] groups are under way; what is beyond is forgotten and will be asked for again. Where nobody would
//! ask, a bulk is begun. Groups wait while repairs have used up half of the bandwidth.

use std::collections::VecDeque;

use arrayvec::ArrayVec;
use packet::Tick;

use super::open::Keep;
use super::said::Said;
use super::send::{CONTROL_RECORD, Emit, SendLane};
use crate::hands::{Cause, Inbound, SLOTS};
use crate::ids::{FlowId, NodeId, Seq};
use crate::records::Record;
use crate::wire::{self, Kind};
use crate::{Mutation, mutated};

/// Tokens of lanes have this bit.
pub(super) const OURS: u64 = 1 << 63;
/// And those of bulks this, too.
pub(super) const BULK: u64 = 1 << 62;

/// Datagrams that wait for repair at most.
const QUEUE: usize = 4096;
/// Groups that are under way at most.
const GROUPS: usize = 64;
/// Of these: told to the worker.
const TOLD: usize = 16;
/// Datagrams of a group at most.
const SEQS: usize = 16;
/// Datagrams are put together into a group up to so many slots: about what one datagram takes, so that few have to arrive for RESOLVE.
const COMPANY: usize = 14;
/// A worker that does not answer for so long, in nanoseconds, will not.
const PATIENCE: u64 = 1_000_000_000;
/// LOST is said this often at most, in nanoseconds.
const LOST_EVERY: u64 = 1_000_000;

/// What is repaired together.
#[derive(Debug)]
struct Group {
    token: u64,
    seqs: ArrayVec<u64, SEQS>,
    slots: ArrayVec<u32, SLOTS>,
    /// Slots that are to be asked for once more.
    again: ArrayVec<u32, SLOTS>,
    /// The first datagram that is needed.
    first: Option<u64>,
    want_ack: bool,
    /// A bulk must not end before it.
    of_bulk: bool,
    /// What was open when the worker was told.
    asked: u64,
    told: Tick,
}

impl Group {
    fn new() -> Self {
        Self {
            token: 0,
            seqs: ArrayVec::new(),
            slots: ArrayVec::new(),
            again: ArrayVec::new(),
            first: None,
            want_ack: false,
            of_bulk: false,
            asked: 0,
            told: Tick(0),
        }
    }

    fn needs(&mut self, seq: u64) {
        self.first = Some(self.first.map_or(seq, |first| first.min(seq)));
    }
}

/// All that is to be repaired.
#[derive(Debug)]
pub(super) struct Repairs {
    queue: VecDeque<u64>,
    wanted: VecDeque<Group>,
    told: VecDeque<Group>,
    tokens: u64,
    lost: Option<(u64, u64)>,
    lost_said: Option<Tick>,
    scratch: Vec<u8>,
}

impl Repairs {
    pub(super) fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            wanted: VecDeque::new(),
            told: VecDeque::new(),
            tokens: 0,
            lost: None,
            lost_said: None,
            scratch: Vec::new(),
        }
    }

    /// Something is to be done that could not be done yet.
    pub(super) fn is_waiting(&self) -> bool {
        !self.queue.is_empty() || !self.wanted.is_empty() || self.lost.is_some()
    }

    /// How many groups a bulk has to wait for.
    pub(super) fn of_bulk(&self) -> usize {
        self.told.iter().chain(&self.wanted).filter(|group| group.of_bulk).count()
    }

    /// A record of the group that the worker is at was said in `seq`. True: it is to be acknowledged.
    pub(super) fn said(&mut self, seq: u64) -> bool {
        self.told.front_mut().is_some_and(|group| {
            group.needs(seq);
            group.want_ack
        })
    }

    /// The group that the worker is at is of a bulk.
    pub(super) fn is_at_bulk(&self) -> bool {
        self.told.front().is_some_and(|group| group.of_bulk)
    }

    /// Asks for slots for which no datagram waits. False: there are too many.
    #[must_use]
    pub(super) fn ask_again(&mut self, slots: &[u32], of_bulk: bool) -> bool {
        for &slot in slots {
            let is_full = self.wanted.len() >= 2 * GROUPS;
            match self.wanted.back_mut() {
                Some(last)
                    if last.seqs.is_empty() && last.of_bulk == of_bulk && !last.slots.is_full() =>
                {
                    last.slots.push(slot);
                }
                _ if is_full => return false,
                _ => {
                    let mut group = Group { of_bulk, ..Group::new() };
                    group.slots.push(slot);
                    self.wanted.push_back(group);
                }
            }
        }
        true
    }

    /// The worker was not told this.
    pub(super) fn refused(&mut self, token: u64) {
        if self.told.back().is_some_and(|group| group.token == token)
            && let Some(group) = self.told.pop_back()
        {
            self.wanted.push_front(group);
        }
    }
}

impl SendLane {
    /// NACK.
    pub(super) fn asked(&mut self, from: NodeId, ranges: &[(Seq, Seq)], now: Tick) {
        let highest = self.open_seq() - 1;
        let has = self.peers.of(from);
        for &(first, last) in ranges {
            // A NACK that its own watermark has overtaken asks for nothing.
            let (first, last) = (first.0.max(has + 1), last.0.min(highest));
            let window = self.window.first();
            if first < window && first <= last {
                let end = last.min(window - 1);
                self.counters.missing += end - first + 1;
                self.counters.lost += end - first + 1;
                let (a, b) = self.repairs.lost.unwrap_or((first, end));
                self.repairs.lost = Some((a.min(first), b.max(end)));
            }
            for seq in first.max(window)..=last {
                self.counters.missing += 1;
                if self.repairs.queue.len() >= QUEUE {
                    self.counters.given_up += 1;
                } else if self.window.ask(seq, now) {
                    self.repairs.queue.push_back(seq);
                } else {
                    self.counters.repeated += 1;
                }
            }
        }
    }

    /// Says what is lost, and begins repairs that may begin.
    pub(super) fn poll_repairs(&mut self, now: Tick, emit: Emit<'_, '_>) {
        if let Some((from, to)) = self.repairs.lost
            && self.repairs.lost_said.is_none_or(|said| now.0 >= said.0.saturating_add(LOST_EVERY))
        {
            self.repairs.lost = None;
            self.repairs.lost_said = Some(now);
            // More than can be said in one: the rest will be asked for again.
            let to = to.min(from.saturating_add(u32::MAX.into()));
            let record = Record::Lost { from: Seq(from), to: Seq(to) };
            // Whoever misses it asks again, and hears it again.
            self.append_record(&record, Keep::Nothing, now, emit);
        }
        while self
            .repairs
            .told
            .front()
            .is_some_and(|group| now.0 >= group.told.0.saturating_add(PATIENCE))
        {
            let Some(group) = self.repairs.told.pop_front() else { break };
            for &seq in &group.seqs {
                self.counters.given_up += 1;
                self.window.repaired(seq, false, now);
            }
            if group.seqs.is_empty() {
                self.repairs.wanted.push_back(group);
            }
        }
        while !self.repairs.queue.is_empty()
            && self.repairs.wanted.len() + self.repairs.told.len() < GROUPS
            && self.repair_bytes.has(now)
        {
            let group = self.next_group(now, emit);
            if group.slots.is_empty() || mutated(Mutation::ResolveWithoutExport) {
                self.resolve(&group, now, emit);
            } else {
                self.repairs.wanted.push_back(group);
            }
        }
    }

    /// The next datagrams of the queue that go together, and what is needed for them.
    fn next_group(&mut self, now: Tick, emit: Emit<'_, '_>) -> Group {
        let mut group = Group::new();
        while let Some(&seq) = self.repairs.queue.front() {
            let Some(&sent) = self.window.get(seq) else {
                // It went out of the window while it waited.
                self.repairs.queue.pop_front();
                if self.peers.least().is_some_and(|least| seq <= least) {
                    continue;
                }
                self.counters.lost += 1;
                let (from, to) = self.repairs.lost.unwrap_or((seq, seq));
                self.repairs.lost = Some((from.min(seq), to.max(seq)));
                continue;
            };
            let open = self.open_seq();
            let mut slots: ArrayVec<u32, SLOTS> = ArrayVec::new();
            let mut in_open = false;
            for slot in self.window.slots(&sent) {
                if self.said.get(slot).whole_since() == open {
                    in_open = true;
                } else if !group.slots.contains(&slot) && !slots.contains(&slot) {
                    let _ = slots.try_push(slot);
                }
            }
            let count = group.slots.len() + slots.len();
            if !group.seqs.is_empty() && (count > COMPANY || group.seqs.is_full()) {
                break;
            }
            self.repairs.queue.pop_front();
            let _ = group.seqs.try_push(seq);
            let _ = group.slots.try_extend_from_slice(&slots);
            group.want_ack |= sent.want_ack;
            if in_open {
                group.needs(open);
            }
            let mut control = std::mem::take(&mut self.repairs.scratch);
            control.clear();
            control.extend(self.window.control(&sent));
            self.say_again(&control, &mut group, now, emit);
            self.repairs.scratch = control;
        }
        group
    }

    /// Records that are not of flows go again as they are.
    fn say_again(&mut self, mut control: &[u8], group: &mut Group, now: Tick, emit: Emit<'_, '_>) {
        while let Some((record, rest)) = wire::split(control) {
            control = rest;
            self.repair_bytes.spend(record.len());
            let is_bulk = matches!(wire::kind(record), Some(Kind::BULK_BEGIN | Kind::BULK_END));
            if is_bulk && self.open.has(record) {
                // Of many datagrams that are repaired at the same time, one after the other would else carry what all of them did.
                group.needs(self.open_seq());
                continue;
            }
            let seq = self.append(record, Keep::Verbatim, now, emit);
            group.needs(seq);
        }
    }

    /// RESOLVE for each of a group's datagrams.
    fn resolve(&mut self, group: &Group, now: Tick, emit: Emit<'_, '_>) {
        for &seq in &group.seqs {
            self.make_room(CONTROL_RECORD, now, emit);
            let here = self.open_seq();
            let since = here.saturating_sub(group.first.unwrap_or(here));
            let since = u32::try_from(since).unwrap_or(u32::MAX);
            self.append_record(&Record::Resolve { seq: Seq(seq), since }, Keep::Nothing, now, emit);
            self.window.repaired(seq, true, now);
            self.counters.resolved += 1;
        }
    }

    /// A record was dropped because something newer of its slot went before it.
    pub(super) fn overtaken(&mut self, cause: Cause, kind: Kind, id: FlowId, said: Said) {
        let full = kind == Kind::FULL;
        match cause {
            Cause::Repair => {
                if let Some(group) = self.repairs.told.front_mut() {
                    if !full {
                        group.needs(said.seq());
                    } else if said.whole_since() >= group.asked {
                        group.needs(said.whole_since());
                    } else {
                        let _ = group.again.try_push(id.slot());
                    }
                }
            }
            Cause::Bulk if full => self.bulk.overtaken(id.slot(), said),
            _ => {}
        }
    }

    /// A token of this lane came back.
    pub(super) fn marked(&mut self, token: u64, next: u32, now: Tick, emit: Emit<'_, '_>) {
        if token & BULK != 0 {
            self.bulk_marked(token, next, now, emit);
            return;
        }
        if !self.repairs.told.iter().any(|group| group.token == token) {
            return;
        }
        while let Some(mut group) = self.repairs.told.pop_front() {
            if group.token != token {
                for &seq in &group.seqs {
                    self.counters.given_up += 1;
                    self.window.repaired(seq, false, now);
                }
                if group.seqs.is_empty() {
                    self.repairs.wanted.push_back(group);
                }
                continue;
            }
            self.end_unknown(&mut group, now, emit);
            if group.again.is_empty() {
                self.resolve(&group, now, emit);
            } else {
                group.slots = std::mem::take(&mut group.again);
                self.repairs.wanted.push_front(group);
            }
            break;
        }
    }

    /// What the worker was asked for and said nothing of is not there any more.
    fn end_unknown(&mut self, group: &mut Group, now: Tick, emit: Emit<'_, '_>) {
        // A worker that is not active exports nothing, and that means nothing.
        if !self.is_active {
            return;
        }
        for slot in std::mem::take(&mut group.slots) {
            let said = self.said.get(slot);
            if said.is_known() && said.seq() < group.asked {
                let seq = self.say_gone(slot, said, now, emit);
                group.needs(seq);
            }
        }
    }

    /// A group that the worker is to be told.
    pub(super) fn request_repair(&mut self) -> Option<Inbound<'static>> {
        if self.repairs.told.len() >= TOLD || !self.repair_bytes.has(self.now) {
            return None;
        }
        let mut group = self.repairs.wanted.pop_front()?;
        self.repairs.tokens += 1;
        let token = OURS | self.repairs.tokens & !BULK;
        (group.token, group.asked, group.told) = (token, self.open_seq(), self.now);
        let slots = group.slots.clone();
        self.repairs.told.push_back(group);
        Some(Inbound::Export { token, slots })
    }
}
