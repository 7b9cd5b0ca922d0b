//! A connection that goes on at another node, which knows about where its windows are.
//!
//! # Overview
//!
//! The owner tells others of a connection when its state changes, and when it has moved on ([`Shard::look`](crate::shard)); what it
//! sent since is not known to them. So the first segment of each side that another node sees may be ahead of the known window, by up
//! to [`AHEAD`], and what it says is believed. Once: the flag goes with the side's first segment, be it ahead or not, and a
//! reset is never believed so. Nothing goes over the table for that: what is imported has the flag.

use packet::wire::ip;
use zerocopy::{transmute, transmute_ref};

use super::{ACK, Kind, REBASE, RST, SHIFT, SYN, Segment, State, Tcp, after, flag, of, pair};
use crate::flow::{Direction, Flow};

/// How far ahead the first segment of a side may be: a quarter of the circle of numbers.
pub(super) const AHEAD: u32 = 1 << 30;

/// One side, as other nodes hear of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Side {
    /// See [`Peer`](super::Peer).
    pub end: u32,
    /// See [`Peer`](super::Peer).
    pub max_end: u32,
    /// See [`Peer`](super::Peer).
    pub max_window: u32,
    /// By how many bits it shifts its window.
    pub scale: u8,
    /// [`flag`]s.
    pub flags: u8,
}

impl Tcp {
    /// Of a connection that another node told of. Whose acknowledgements and what segment was the last is not known.
    pub fn imported(state: u8, sides: [Side; 2]) -> Self {
        let mut tcp = Self { state, last_kind: Kind::Nothing as u8, ..Self::default() };
        for (at, side) in sides.iter().enumerate() {
            if let (Some(peer), Some(scale), Some(flags)) =
                (tcp.peers.get_mut(at), tcp.scale.get_mut(at), tcp.flags.get_mut(at))
            {
                (peer.end, peer.max_end, peer.max_window) =
                    (side.end, side.max_end, side.max_window);
                *scale = side.scale & SHIFT | REBASE;
                *flags = side.flags & !flag::MAX_ACK_SET;
            }
        }
        tcp
    }

    /// A side, as other nodes are to hear of it.
    pub fn side(&self, direction: Direction) -> Side {
        let peer = of(&self.peers, direction);
        Side {
            end: peer.end,
            max_end: peer.max_end,
            max_window: peer.max_window,
            scale: of(&self.scale, direction) & SHIFT,
            flags: of(&self.flags, direction),
        }
    }
}

/// The first segment of a side that was seen elsewhere until now. If it is ahead of the known windows by no more than [`AHEAD`], they
/// move to where it is. `highest`: what it acknowledges.
#[cold]
pub(super) fn rebase(tcp: &mut Tcp, segment: &Segment<'_>, highest: u32, direction: Direction) {
    if segment.has(RST) {
        return;
    }
    *pair(&mut tcp.scale, direction).0 &= !REBASE;
    if segment.has(SYN) || !segment.has(ACK) {
        return;
    }
    let (sender, receiver) = pair(&mut tcp.peers, direction);
    let beyond = after(segment.seq, sender.max_end);
    let unsent = after(highest, receiver.end);
    let far = beyond && segment.seq.wrapping_sub(sender.max_end) > AHEAD
        || unsent && highest.wrapping_sub(receiver.end) > AHEAD;
    if far {
        return;
    }
    if beyond {
        sender.end = segment.seq;
        sender.max_end = segment.end().wrapping_add(receiver.max_window);
    }
    if unsent {
        receiver.end = highest;
        if after(highest, receiver.max_end) {
            receiver.max_end = highest;
        }
    }
}

/// What another node says of a connection, joined with what is known here: numbers do not go back, unless it is another connection.
/// Whether ctnetlink would show another state.
pub(crate) fn restate(words: &mut [u32; 14], known: &[u32; 14]) -> bool {
    let mut tcp: Tcp = transmute!(*words);
    let known: &Tcp = transmute_ref!(known);
    let runs = |tcp: &Tcp| tcp.state >= State::Established as u8;
    if runs(&tcp) && runs(known) {
        for (peer, known) in tcp.peers.iter_mut().zip(&known.peers) {
            let later = |this: u32, that: u32| {
                let back = that.wrapping_sub(this);
                if back <= AHEAD { that } else { this }
            };
            peer.end = later(peer.end, known.end);
            peer.max_end = later(peer.max_end, known.max_end);
            peer.max_window = peer.max_window.max(known.max_window);
        }
    }
    let changed = tcp.state != known.state;
    *words = transmute!(tcp);
    changed
}

/// Whether it is a TCP connection that is open.
pub(crate) fn is_established(flow: &Flow) -> bool {
    let tcp: &Tcp = transmute_ref!(flow.proto());
    flow.key(Direction::Original).protocol == ip::TCP && tcp.state == State::Established as u8
}

/// The largest window that a side of a TCP connection offered.
pub(crate) fn largest_window(flow: &Flow) -> u32 {
    let tcp: &Tcp = transmute_ref!(flow.proto());
    let [original, reply] = &tcp.peers;
    original.max_window.max(reply.max_window)
}

/// How much both sides of a TCP connection have sent, in bytes that wrap; of others 0.
pub(crate) fn sent(flow: &Flow) -> u32 {
    if flow.key(Direction::Original).protocol != ip::TCP {
        return 0;
    }
    let tcp: &Tcp = transmute_ref!(flow.proto());
    let [original, reply] = &tcp.peers;
    original.end.wrapping_add(reply.end)
}
