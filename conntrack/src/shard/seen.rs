//! What a bystander can see of a table, as sums that two nodes can compare although neither told the other of its flows.
//!
//! # Overview
//!
//! ```text
//! in front of the NAT   client 10.0.0.2:4000 -> 192.0.2.9:80     original.src -> reply.src: the form that is hashed
//! behind it             198.51.100.1:61000   -> 192.0.2.9:80     of the owner alone, which chose it
//! ```
//!
//! Who watches the side that is not translated sees each packet as the forward hook does: with the source that it came with and the
//! destination that it goes to. Both are in either node's flow, whichever of them translates. Beside that it sees whether the flow was
//! answered, and the state of a connection. Marks, labels, timeouts, and who is a flow's origin are not to be seen.
//!
//! Flows are in [`PARTS`] parts, by their addresses and ports alone, so that a flow changes only its own part. A part's sum depends
//! on neither slots nor order, so workers' sums add up to the node's. The hashes have a fixed key, since nodes must agree on them.

use std::hash::Hasher;

use packet::wire::ip;
use packet::{FlowKey, Tick};
use siphasher::sip::SipHasher13;
use zerocopy::IntoBytes;

use super::content::{Content, state_of};
use super::{Direction, Flow, Shard, Slot};
use crate::flow::Status;

/// How many parts.
pub const PARTS: usize = 1024;

/// What can be seen of all flows, by part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    parts: Vec<Content>,
}

impl Default for Seen {
    fn default() -> Self {
        Self { parts: vec![Content::default(); PARTS] }
    }
}

impl Seen {
    /// Of these parts, if they are [as many as there are](PARTS).
    pub fn of(parts: Vec<Content>) -> Option<Self> {
        (parts.len() == PARTS).then_some(Self { parts })
    }

    /// The parts, in order.
    pub fn parts(&self) -> &[Content] {
        &self.parts
    }

    fn add(&mut self, key: &FlowKey, flow: &Flow) {
        let mut hasher = SipHasher13::new();
        hasher.write(key.as_bytes());
        let part = hasher.finish() as usize % PARTS;
        hasher.write(&[u8::from(flow.status().has(Status::SEEN_REPLY)), state_of(flow)]);
        if let Some(part) = self.parts.get_mut(part) {
            *part += Content { flows: 1, sum: hasher.finish() };
        }
    }
}

/// A flow's addresses and ports as the forward hook has them.
fn in_the_middle(flow: &Flow) -> FlowKey {
    let (original, reply) = (flow.key(Direction::Original), flow.key(Direction::Reply));
    let dport = match original.protocol {
        // Type and code: the answers' are others.
        ip::ICMP | ip::ICMP6 => original.dport,
        _ => reply.sport,
    };
    FlowKey { dst: reply.src, dport, ..*original }
}

impl Shard {
    /// Adds what is in `slots` slots from `from` on, but for flows that are this node's own and those of which `but` is true; says where to
    /// go on, if there is more.
    pub fn seen(
        &self,
        from: Slot,
        slots: usize,
        now: Tick,
        but: &dyn Fn(&FlowKey) -> bool,
        seen: &mut Seen,
    ) -> Option<Slot> {
        self.walk(from, slots, &mut |_, flow| {
            let key = in_the_middle(flow);
            if !flow.is_local() && !flow.is_over(now) && !but(&key) {
                seen.add(&key, flow);
            }
        })
    }
}
