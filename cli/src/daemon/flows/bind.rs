//! NAT for flows that a program makes (`conntrack -I --src-nat ...`).

use conntrack::netlink::nat::{Bind, Choice, Side};
use conntrack::shard::Shard;
use conntrack::{Direction, Slot};
use dataplane::owners::Owners;
use nat::{Manip, Pick, Range};
use packet::FlowKey;
use ruleset::ids::WorkerId;

/// What such a flow's reply tuple is chosen by.
struct Chance<'a> {
    owners: &'a Owners,
    me: WorkerId,
}

impl Pick for Chance<'_> {
    fn random(&mut self) -> u32 {
        fastrand::u32(..)
    }

    fn is_mine(&self, reply: &FlowKey) -> bool {
        self.owners.of(reply) == self.me
    }

    fn nearest(&self, reply: &FlowKey, manip: Manip, port: u16) -> u16 {
        let mut key = *reply;
        match manip {
            Manip::Source => key.dport = port.to_be_bytes(),
            Manip::Destination => key.sport = port.to_be_bytes(),
        }
        self.owners.port_for(self.me, &key, port)
    }
}

/// Binds as rules do; runs on the worker that owns the flow's original tuple.
pub(super) fn bind(owners: Owners) -> Bind {
    Box::new(move |shard: &mut Shard, slot: Slot, side: Side, choice: &Choice| {
        let Some(flow) = shard.flow(slot) else { return false };
        let me = owners.of(flow.key(Direction::Original));
        let manip = match side {
            Side::Source => Manip::Source,
            Side::Destination => Manip::Destination,
        };
        let range = Range { addrs: choice.addrs, ports: choice.ports, ..Range::default() };
        nat::bind(shard, slot, manip, &range, &mut Chance { owners: &owners, me }).is_ok()
    })
}
