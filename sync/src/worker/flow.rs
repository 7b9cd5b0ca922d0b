//! Between a flow in a worker's table and what is said of it.

use conntrack::proto::gre::Gre;
use conntrack::proto::sctp::Sctp;
use conntrack::proto::tcp::{Side, Tcp, flag};
use conntrack::proto::udp::Udp;
use conntrack::shard::{ImportState, REPLICATED};
use conntrack::{Direction, Flow, Shard, Slot};
use packet::Tick;
use packet::wire::ip;
use zerocopy::{transmute, transmute_ref};

use crate::records::{FlowState, Proto, TcpSide, Timeouts};
use crate::{Mutation, mutated};

const MILLISECOND: u64 = 1_000_000;

/// What is said of a flow's state.
pub(super) fn state_of(shard: &Shard, slot: Slot, flow: &Flow, now: Tick) -> FlowState {
    FlowState {
        status: (flow.status().0 & REPLICATED) as u16,
        mark: flow.mark(),
        remaining: shard.remaining(slot, now),
        proto: proto_of(flow, now),
        labels: shard.labels(slot).filter(|labels| *labels != [0; 16]),
    }
}

fn proto_of(flow: &Flow, now: Tick) -> Proto {
    let words = flow.proto();
    match flow.key(Direction::Original).protocol {
        ip::TCP => {
            let tcp: &Tcp = transmute_ref!(words);
            let sides = [Direction::Original, Direction::Reply].map(|direction| {
                let Side { end, max_end, max_window, scale, flags } = tcp.side(direction);
                TcpSide { end, max_end, max_window, scale, flags }
            });
            Proto::Tcp(crate::records::Tcp { sides, state: tcp.state })
        }
        ip::UDP | ip::UDP_LITE => {
            let udp: &Udp = transmute_ref!(words);
            let left = udp.stream_from().0.saturating_sub(now.0);
            Proto::Udp(u32::try_from(left.div_ceil(MILLISECOND)).unwrap_or(u32::MAX))
        }
        ip::SCTP => {
            let Sctp { tags, state, asked, .. } = *transmute_ref!(words);
            Proto::Sctp { tags, state, asked }
        }
        ip::GRE => {
            let Gre { timeout, stream_timeout, .. } = *transmute_ref!(words);
            Proto::Gre([timeout, stream_timeout])
        }
        _ => Proto::None,
    }
}

/// The timeouts that a rule gave a flow.
pub(super) fn timeouts_of(shard: &Shard, flow: &Flow) -> Timeouts {
    let mut timeouts = Timeouts::new();
    if flow.policy() != 0 {
        let protocol = flow.key(Direction::Original).protocol;
        let many = shard.settings().timeouts(protocol).len();
        let all = shard.timeouts(flow.policy(), protocol);
        timeouts.extend(all.iter().copied().take(many));
    }
    timeouts
}

/// What is taken in of a state that was said. What the words of its protocol do not say is left at its beginning.
pub(super) fn import_of(state: &FlowState, now: Tick) -> ImportState {
    let proto: [u32; 14] = match &state.proto {
        Proto::None => [0; 14],
        Proto::Tcp(tcp) => {
            let sides = tcp.sides.map(|side| {
                let TcpSide { end, max_end, max_window, scale, flags } = side;
                let free = if mutated(Mutation::RebaseWithoutBound) { flag::BE_LIBERAL } else { 0 };
                Side { end, max_end, max_window, scale, flags: flags | free }
            });
            transmute!(Tcp::imported(tcp.state, sides))
        }
        Proto::Udp(left) => {
            let from = now.0.saturating_add(u64::from(*left) * MILLISECOND);
            transmute!(Udp::new(Tick(if *left == 0 { 0 } else { from })))
        }
        Proto::Sctp { tags, state, asked } => transmute!(Sctp::new(*tags, *state, *asked)),
        Proto::Gre([timeout, stream]) => transmute!(Gre::new(*timeout, *stream)),
    };
    ImportState {
        status: u32::from(state.status),
        mark: state.mark,
        remaining: state.remaining,
        proto,
        labels: state.labels,
    }
}
