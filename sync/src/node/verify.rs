//! Comparing what nodes have: now and then some buckets, and all of them when the operator asks.
//!
//! # Overview
//!
//! The owner says digests of its lanes' flows; standbys compare. Every [`EVERY`] it says a tenth of the buckets of each lane.
//! To verify, it says that it begins, a DIGEST from bucket [`ALL`] on without buckets; then all, [`BUCKETS`] of each lane; and then
//! asks for results, a DIGEST from bucket [`RESULT`] on. Without buckets that is the question, with them the answer: how many were
//! compared, differed, and could not be compared. A standby that is to verify asks the owner to, by the DIGEST from [`ALL`] on.
//!
//! # Life cycle, who may touch what
//!
//! [`super::Node`]'s. A lane per poll is said, so that nothing else waits.

use packet::Tick;

use crate::hands::{Hands, To};
use crate::ids::{Lane, NodeId};
use crate::lane::DigestOutcome;
use crate::records::Record;
use crate::wire::{self, Header};

use super::alarm::Alarm;
use super::config::{MS, after};
use super::{Node, Refused, Verify};

const BUCKETS: u16 = 1024;
/// Of one datagram.
const AT_ONCE: u16 = 128;
/// Of each round.
const TENTH: u16 = BUCKETS.div_ceil(10);
const EVERY: u64 = 10_000 * MS;
const RESULT: u16 = u16::MAX;
const ALL: u16 = u16::MAX - 1;
/// Results that are not there by then will not come.
const PATIENCE: u64 = 3_000 * MS;

/// What is going on.
#[derive(Debug)]
pub(super) struct Verifying {
    /// When the next round of some buckets is due, and where it begins.
    round: Tick,
    bucket: u16,
    /// All buckets of the lanes from this one on are to be said.
    all: Option<u8>,
    /// What the operator asked for: until when, and what came.
    asked: Option<(Tick, Verify)>,
    /// What this standby compared since it was last asked.
    tally: Verify,
}

impl Verifying {
    pub(super) const fn new(now: Tick) -> Self {
        let tally = Verify { compared: 0, differ: 0, skipped: 0, running: false };
        Self { round: after(now, EVERY), bucket: 0, all: None, asked: None, tally }
    }

    pub(super) const fn next(&self) -> Tick {
        if self.all.is_some() { Tick(0) } else { self.round }
    }

    /// What was found.
    pub(super) fn result(&self, now: Tick) -> Option<Verify> {
        let (until, found) = self.asked?;
        Some(Verify { running: found.running && now < until, ..found })
    }
}

impl Node {
    /// Compares all flows.
    pub(super) fn verify(&mut self, now: Tick, hands: &mut dyn Hands) -> Result<(), Refused> {
        if self.owner.is_owner() {
            self.verifying.all = Some(0);
        } else {
            let owner = self.owner.other().ok_or(Refused::NoOwner)?;
            let ask = Record::Digest { from: ALL, buckets: Box::default() };
            if let Some(first) = Lane::new(0) {
                self.say_digest(first, &ask, To::Node(owner), hands);
            }
        }
        let found = Verify { running: true, ..Verify::default() };
        self.verifying.asked = Some((after(now, PATIENCE), found));
        Ok(())
    }

    pub(super) fn poll_digests(&mut self, now: Tick, hands: &mut dyn Hands) {
        if !self.owner.is_owner() {
            self.verifying.all = None;
            return;
        }
        if let Some(lane) =
            self.verifying.all.and_then(Lane::new).filter(|lane| lane.get() < self.config.lanes)
        {
            for from in (0..BUCKETS).step_by(AT_ONCE.into()) {
                self.digests(lane, from, AT_ONCE, now, hands);
            }
            self.verifying.all = Some(lane.get() + 1);
        } else if self.verifying.all.take().is_some() {
            let ask = Record::Digest { from: RESULT, buckets: Box::default() };
            if let Some(first) = Lane::new(0) {
                self.say_digest(first, &ask, To::All, hands);
            }
        }
        if self.verifying.round <= now {
            let from = self.verifying.bucket;
            let count = TENTH.min(BUCKETS - from);
            for lane in (0..self.config.lanes).filter_map(Lane::new) {
                self.digests(lane, from, count, now, hands);
            }
            self.verifying.bucket = (from + count) % BUCKETS;
            self.verifying.round = after(now, EVERY);
        }
    }

    fn digests(&mut self, lane: Lane, from: u16, count: u16, now: Tick, hands: &mut dyn Hands) {
        let Self { lanes, frames, .. } = self;
        let Some(sending) = lanes.get_mut(lane.index()) else { return };
        let digest =
            sending.digest(from, count, now, &mut |datagram| frames.data(lane, &datagram, hands));
        self.say_digest(lane, &digest, To::All, hands);
    }

    pub(super) fn digest(
        &mut self,
        header: &Header,
        records: &[u8],
        now: Tick,
        hands: &mut dyn Hands,
    ) {
        for record in wire::records(records) {
            match record {
                Ok((Record::Digest { from: ALL, .. }, _)) => {
                    if self.owner.other() == Some(header.node) {
                        self.verifying.tally = Verify::default();
                    } else if self.owner.is_owner() && self.verifying.all.is_none() {
                        self.verifying.all = Some(0);
                    }
                }
                Ok((Record::Digest { from: RESULT, buckets }, _)) => {
                    self.results(header.node, &buckets, hands);
                }
                Ok((Record::Digest { from, buckets }, _)) => {
                    self.compare(header, from, &buckets, now, hands);
                }
                Ok(_) => {}
                Err(error) => self.counters.bad(error),
            }
        }
    }

    fn compare(
        &mut self,
        header: &Header,
        from: u16,
        buckets: &[u64],
        now: Tick,
        hands: &mut dyn Hands,
    ) {
        let node = header.node;
        let Some(origin) = self.origin.as_mut().filter(|origin| origin.node == node) else {
            return;
        };
        let Some(lane) = origin.lane(header.lane) else { return };
        let tally = &mut self.verifying.tally;
        let count = buckets.len() as u64;
        match lane.digest(header.seq, from, buckets, now) {
            DigestOutcome::NotComparable => tally.skipped += count,
            DigestOutcome::Same => tally.compared += count,
            DigestOutcome::Differs => {
                tally.compared += count;
                tally.differ += 1;
            }
            DigestOutcome::Alarm => {
                tally.compared += count;
                tally.differ += 1;
                self.alarms.raise(Alarm::Digest(node), now, hands);
            }
        }
    }

    fn results(&mut self, from: NodeId, buckets: &[u64], hands: &mut dyn Hands) {
        if let [compared, differ, skipped] = *buckets {
            if let Some((_, found)) = &mut self.verifying.asked
                && self.owner.is_owner()
                && found.running
            {
                found.compared = found.compared.saturating_add(compared);
                found.differ = found.differ.saturating_add(differ);
                found.skipped = found.skipped.saturating_add(skipped);
                let others =
                    self.members.alive().filter(|(_, other)| other.is_synchronised()).count();
                found.running = others > 1;
            }
            return;
        }
        if self.owner.other() != Some(from) {
            return;
        }
        let tally = std::mem::take(&mut self.verifying.tally);
        if let Some((_, found)) = &mut self.verifying.asked {
            *found = tally;
        }
        let answer = Box::new([tally.compared, tally.differ, tally.skipped]);
        if let Some(first) = Lane::new(0) {
            let answer = Record::Digest { from: RESULT, buckets: answer };
            self.say_digest(first, &answer, To::Node(from), hands);
        }
    }
}
