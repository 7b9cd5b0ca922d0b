//! A flow as the invariants see it: what is replicated of it, and what the workload wrote into it.
//!
//! The workload numbers flows and the changes of each; both are in the mark (`flow << 8 | change`), so that whoever looks at a
//! replica knows which flow it is, and which of its states.

use std::fmt;

use conntrack::proto::tcp;
use conntrack::{Direction, Flow, Shard, Slot, Status};
use packet::FlowKey;

/// Bits of the status that are replicated and that the workload sets.
const STATUS: u32 = Status::SEEN_REPLY
    | Status::ASSURED
    | Status::SRC_NAT
    | Status::DST_NAT
    | Status::SRC_NAT_DONE
    | Status::DST_NAT_DONE;

/// Flags of a TCP connection's side that are replicated as they are. Others tell what its next packet may do here.
const FLAGS: u8 = 7;

/// A flow of the workload: never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Number(pub(super) u32);

/// End, maximum end, maximum window, scale, flags.
type TcpSide = (u32, u32, u32, u8, u8);

/// What is replicated of a flow.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct View {
    pub(super) keys: [FlowKey; 2],
    pub(super) status: u32,
    pub(super) mark: u32,
    pub(super) labels: Option<[u8; 16]>,
    pub(super) timeouts: Option<Vec<u32>>,
    /// By direction; and the state.
    pub(super) tcp: Option<([TcpSide; 2], u8)>,
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [original, reply] = &self.keys;
        let last = |address: &[u8; 16]| address[3];
        write!(
            f,
            "flow {}, change {}: {}/{} .{}:{} to .{}, back to .{}:{}, status {:x}, labels {:x?}, timeouts {:?}, tcp {:?}",
            self.number().0,
            self.change(),
            original.protocol,
            original.zone[1],
            last(&original.src),
            u16::from_be_bytes(original.sport),
            last(&original.dst),
            last(&reply.dst),
            u16::from_be_bytes(reply.dport),
            self.status,
            self.labels.map(|labels| labels[0]),
            self.timeouts.as_ref().map(|timeouts| timeouts.len()),
            self.tcp,
        )
    }
}

impl View {
    pub(super) fn of(shard: &Shard, slot: Slot, flow: &Flow) -> Self {
        let keys = [Direction::Original, Direction::Reply].map(|direction| *flow.key(direction));
        let protocol = keys[0].protocol;
        let tcp = (protocol == 6).then(|| {
            let words = *flow.proto();
            let tcp: tcp::Tcp = zerocopy::transmute!(words);
            let sides = [Direction::Original, Direction::Reply].map(|direction| {
                let side = tcp.side(direction);
                (side.end, side.max_end, side.max_window, side.scale, side.flags & FLAGS)
            });
            (sides, tcp.state)
        });
        Self {
            keys,
            status: flow.status().0 & STATUS,
            mark: flow.mark(),
            labels: shard.labels(slot),
            timeouts: (flow.policy() != 0)
                .then(|| shard.timeouts(flow.policy(), protocol).to_vec()),
            tcp,
        }
    }

    pub(super) const fn number(&self) -> Number {
        Number(self.mark >> 8)
    }

    pub(super) const fn change(&self) -> u8 {
        self.mark as u8
    }

    /// Whether a window went back from what it was.
    pub(super) fn is_behind(&self, before: &Self) -> bool {
        let (Some((now, _)), Some((then, _))) = (&self.tcp, &before.tcp) else { return false };
        now.iter().zip(then).any(|(now, then)| {
            (now.0.wrapping_sub(then.0) as i32) < 0 || (now.1.wrapping_sub(then.1) as i32) < 0
        })
    }
}

/// All flows of a shard.
pub(super) fn views(shard: &Shard) -> Vec<View> {
    let mut views = Vec::new();
    shard.walk(Slot(0), usize::MAX, &mut |slot, flow| views.push(View::of(shard, slot, flow)));
    views
}
