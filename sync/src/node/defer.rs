//! First packets that wait until enough standbys have their flow.
//!
//! # Overview
//!
//! A worker parks the packets and exports the flow; standbys acknowledge once the flow is in their table ([`Waiting::acknowledged`]);
//! with enough of them the worker is told to let the packets go. It does not wait for ever: its own clock lets them go, or drops
//! them, after 5 ms, so an entry here that grew old is forgotten.
//!
//! # Life cycle, who may touch what
//!
//! [`super::Node`]'s. At most [`FLOWS`] flows wait; more are not counted for, and their packets go or are dropped by the worker's clock.

use std::collections::{BTreeMap, VecDeque};

use packet::Tick;

use crate::ids::{FlowId, NodeId};
use crate::{Mutation, mutated};

use super::config::{MS, after};

/// Flows that wait at most.
const FLOWS: usize = 16_384;
/// For how long an acknowledgement is of use.
const PATIENCE: u64 = 20 * MS;

#[derive(Debug)]
struct Flow {
    since: Tick,
    /// A bit for each node that has it.
    nodes: u16,
    /// The worker is to be told.
    enough: bool,
}

/// The flows that wait, by name. A tree: no hash for others to aim at.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    flows: BTreeMap<u64, Flow>,
    oldest: VecDeque<(Tick, FlowId)>,
    /// Enough standbys have these, and the worker's ring was full.
    due: VecDeque<FlowId>,
}

impl Waiting {
    /// A flow's packets wait from now on, until `enough` nodes have it. False: there are too many.
    pub(super) fn begin(&mut self, id: FlowId, enough: u8, now: Tick) -> bool {
        if enough == 0 || mutated(Mutation::ReleaseUnacknowledged) {
            self.due.push_back(id);
            return true;
        }
        if self.oldest.len() >= FLOWS {
            return false;
        }
        if let std::collections::btree_map::Entry::Vacant(place) = self.flows.entry(id.to_bits()) {
            place.insert(Flow { since: now, nodes: 0, enough: false });
            self.oldest.push_back((now, id));
        }
        true
    }

    /// A node has this flow. With the node, `enough` have it for the first time: its packets may go.
    pub(super) fn acknowledged(&mut self, id: FlowId, by: NodeId, enough: u8) {
        let Some(flow) = self.flows.get_mut(&id.to_bits()) else { return };
        flow.nodes |= 1 << by.get();
        if !flow.enough && flow.nodes.count_ones() >= u32::from(enough) {
            flow.enough = true;
            self.due.push_back(id);
        }
    }

    /// Those whose packets may go, until one cannot be told.
    pub(super) fn release(&mut self, mut tell: impl FnMut(FlowId) -> bool) {
        while let Some(id) = self.due.front() {
            if !tell(*id) {
                return;
            }
            self.flows.remove(&id.to_bits());
            self.due.pop_front();
        }
    }

    /// Forgets those that waited too long: how many had not enough acknowledgements.
    pub(super) fn expire(&mut self, now: Tick) -> u64 {
        let mut expired = 0;
        while let Some((since, id)) = self.oldest.front() {
            if after(*since, PATIENCE) > now {
                break;
            }
            // A flow of the same name may wait anew: its own entry ends it.
            if self.flows.get(&id.to_bits()).is_some_and(|flow| flow.since == *since) {
                self.flows.remove(&id.to_bits());
                expired += 1;
            }
            self.oldest.pop_front();
        }
        expired
    }

    /// Something waits for a worker's ring.
    pub(super) fn is_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// When the oldest is forgotten.
    pub(super) fn next(&self) -> Option<Tick> {
        self.oldest.front().map(|(since, _)| after(*since, PATIENCE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Generation, Lane};

    fn flow(slot: u32) -> FlowId {
        FlowId::new(NodeId::new(1).unwrap(), Lane::new(0).unwrap(), slot, Generation::new(1))
    }

    fn released(waiting: &mut Waiting) -> Vec<FlowId> {
        let mut all = Vec::new();
        waiting.release(|id| {
            all.push(id);
            true
        });
        all
    }

    #[test]
    fn each_node_counts_once() {
        let (two, three) = (NodeId::new(2).unwrap(), NodeId::new(3).unwrap());
        let mut waiting = Waiting::default();
        assert!(waiting.begin(flow(1), 1, Tick(0)));
        waiting.acknowledged(flow(1), two, 2);
        waiting.acknowledged(flow(1), two, 2);
        assert_eq!(released(&mut waiting), []);
        waiting.acknowledged(flow(1), three, 2);
        assert_eq!(released(&mut waiting), [flow(1)]);
        waiting.acknowledged(flow(1), three, 2);
        assert_eq!(released(&mut waiting), []);
        assert_eq!(waiting.expire(Tick(PATIENCE)), 0);
    }

    #[test]
    fn a_full_ring_delays_and_time_ends_it() {
        let two = NodeId::new(2).unwrap();
        let mut waiting = Waiting::default();
        assert!(waiting.begin(flow(1), 1, Tick(0)));
        assert!(waiting.begin(flow(2), 1, Tick(1)));
        waiting.acknowledged(flow(1), two, 1);
        waiting.release(|_| false);
        assert!(waiting.is_due());
        assert_eq!(released(&mut waiting), [flow(1)]);
        assert_eq!(waiting.next(), Some(Tick(PATIENCE)));
        assert_eq!(waiting.expire(Tick(PATIENCE + 1)), 1);
        waiting.acknowledged(flow(2), two, 1);
        assert_eq!(released(&mut waiting), []);
        assert_eq!(waiting.next(), None);
    }

    #[test]
    fn there_is_a_most() {
        let mut waiting = Waiting::default();
        for slot in 0..FLOWS as u32 {
            assert!(waiting.begin(flow(slot), 1, Tick(0)));
        }
        assert!(!waiting.begin(flow(FLOWS as u32), 1, Tick(0)));
        assert_eq!(waiting.expire(Tick(PATIENCE)), FLOWS as u64);
        assert!(waiting.begin(flow(0), 1, Tick(PATIENCE)));
    }
}
