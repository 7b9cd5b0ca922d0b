//! What is in a table, as one number that two nodes can compare.
//!
//! # Overview
//!
//! The number does not depend on slots, names, time, or the order of flows: a sum over flows of a hash of what all nodes must agree
//! on. Windows and deadlines are not in it, since others only know about where they are; flows that are this node's alone
//! neither. The hash has a fixed key, since nodes must agree on it; nothing is looked up by it.

use std::hash::Hasher;

use packet::wire::ip;
use siphasher::sip::SipHasher13;
use zerocopy::{IntoBytes, transmute_ref};

use super::Shard;
use super::replicate::REPLICATED;
use crate::flow::{Direction, Flow, Slot};
use crate::proto::sctp::Sctp;
use crate::proto::tcp::Tcp;

/// What a part of a table has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Flows.
    pub flows: u64,
    /// The sum of their hashes.
    pub sum: u64,
}

impl std::ops::AddAssign for Content {
    fn add_assign(&mut self, other: Self) {
        self.flows += other.flows;
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

impl Shard {
    /// What is in `slots` slots from `from` on; and where to go on, if there is more.
    pub fn content(&self, from: Slot, slots: usize) -> (Content, Option<Slot>) {
        let mut content = Content::default();
        let next = self.walk(from, slots, &mut |slot, flow| {
            if !flow.is_local() {
                content += Content { flows: 1, sum: self.content_of(slot, flow) };
            }
        });
        (content, next)
    }

    /// The hash of one flow.
    pub fn content_of(&self, slot: Slot, flow: &Flow) -> u64 {
        let mut hasher = SipHasher13::new();
        let protocol = flow.key(Direction::Original).protocol;
        hasher.write(flow.key(Direction::Original).as_bytes());
        hasher.write(flow.key(Direction::Reply).as_bytes());
        hasher.write(&(flow.status().0 & REPLICATED).to_le_bytes());
        hasher.write(&flow.mark().to_le_bytes());
        hasher.write(&self.labels(slot).unwrap_or_default());
        hasher.write(&[state_of(flow)]);
        if flow.policy() != 0 {
            for seconds in self.timeouts(flow.policy(), protocol) {
                hasher.write(&seconds.to_le_bytes());
            }
        }
        hasher.finish()
    }
}

/// The state of a flow's connection, where its protocol has one.
pub(super) fn state_of(flow: &Flow) -> u8 {
    match flow.key(Direction::Original).protocol {
        ip::TCP => {
            let tcp: &Tcp = transmute_ref!(flow.proto());
            tcp.state
        }
        ip::SCTP => {
            let sctp: &Sctp = transmute_ref!(flow.proto());
            sctp.state
        }
        _ => 0,
    }
}
