//! The last resort of a search: a tuple of a TCP flow that is over, as in Linux (nf_nat_used_tuple_harder).

use conntrack::proto::tcp::{State, Tcp};
use conntrack::{Direction, Flow, Shard, Slot, Status};
use packet::wire::ip;
use packet::{FlowKey, Tick};
use zerocopy::transmute;

/// With so many attempts left, flows that are over are ended for their tuples (`NF_NAT_HARDER_THRESH`).
pub(crate) const HARDER: u32 = 32;

fn tcp(flow: &Flow) -> Tcp {
    transmute!(*flow.proto())
}

/// Whether this flow begins with a SYN.
pub(crate) fn may_take(shard: &Shard, slot: Slot) -> bool {
    shard.flow(slot).is_some_and(|flow| {
        flow.key(Direction::Original).protocol == ip::TCP && tcp(flow).state == State::SynSent as u8
    })
}

/// Makes a reply tuple free if the flow that has it is over, and the new one's sequence numbers are beyond its: who still
/// believes in the old one will not take them for its own. Whether it is free now.
pub(crate) fn take(shard: &mut Shard, slot: Slot, reply: &FlowKey, now: Tick) -> bool {
    let Some((other, direction)) = shard.find(reply, shard.hash(reply)) else { return true };
    let (Some(old), Some(new)) = (shard.flow(other), shard.flow(slot)) else { return false };
    let status = old.status();
    if other == slot
        || direction == Direction::Original
        || !status.has(Status::SRC_NAT)
        || status.has(Status::FIXED_TIMEOUT | Status::DYING)
    {
        return false;
    }
    let (old, new) = (tcp(old), tcp(new));
    let ([old_peer, _], [new_peer, _]) = (old.peers, new.peers);
    if old.state < State::TimeWait as u8 || new_peer.end.wrapping_sub(old_peer.end) as i32 <= 0 {
        return false;
    }
    shard.kill(other, now);
    !status.has(Status::OFFLOAD | Status::HW_OFFLOAD)
}
