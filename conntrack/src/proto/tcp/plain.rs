//! The way of nearly all segments: acknowledgements, with data or without, of an established connection, inside of all
//! windows, nothing odd about them.
//!
//! It does what [`any_segment`](super::any_segment) does with such a segment, in half of the instructions, and leaves every other segment to
//! it, untouched. The tests hold the two equal.

use packet::wire::tcp::{ACK, FIN, RST, SYN, URG};

use super::window::LEAST_ACK_WINDOW;
use super::{ESTABLISHED, Kind, REBASE, SHIFT, Segment, Tcp, flag};
use crate::flow::Direction;
use crate::settings::{Settings, TCP_ESTABLISHED, TCP_RETRANSMIT, TCP_UNACKNOWLEDGED};

/// The new timeout in seconds, where it is such a segment of an assured connection without timeouts of its own.
#[inline(always)]
pub fn plain(
    tcp: &mut Tcp,
    segment: &Segment<'_>,
    direction: Direction,
    settings: &Settings,
) -> Option<u32> {
    let Segment { seq, ack, window, .. } = *segment;
    let (own, other) = (direction as usize & 1, direction as usize & 1 ^ 1);
    let mut sender = *tcp.peers.get(own)?;
    let mut receiver = *tcp.peers.get(other)?;
    let mut flags = *tcp.flags.get(own)?;
    let mut other_flags = *tcp.flags.get(other)?;
    let scale = *tcp.scale.get(own)?;

    let acknowledges = segment.flags & (SYN | FIN | RST | ACK | URG) == ACK;
    let known = sender.max_window != 0
        && receiver.max_window != 0
        && flags & flag::MAX_ACK_SET != 0
        && scale & REBASE == 0
        && window != 0
        && !segment.partial;
    if !acknowledges || tcp.state != ESTABLISHED || !known {
        return None;
    }
    if other_flags & flag::SACK_PERMITTED != 0 && segment.has_blocks() {
        return None;
    }
    // The four tests of the window: each difference is negative where it fails.
    let end = seq.wrapping_add(segment.len);
    let beyond = sender.max_end.wrapping_sub(end);
    let old = end.wrapping_sub(sender.end).wrapping_add(receiver.max_window);
    let unsent = receiver.end.wrapping_sub(ack);
    let late = sender.max_window.max(LEAST_ACK_WINDOW).wrapping_sub(unsent);
    if ((beyond | old | unsent | late) as i32) < 0 {
        return None;
    }

    let offered = u32::from(window) << (scale & SHIFT);
    sender.max_window = sender.max_window.max(offered);
    if (sender.end.wrapping_sub(end) as i32) < 0 {
        sender.end = end;
        flags |= flag::UNACKNOWLEDGED;
    }
    if (sender.max_ack.wrapping_sub(ack) as i32) < 0 {
        sender.max_ack = ack;
    }
    let right = ack.wrapping_add(offered);
    if (right.wrapping_sub(receiver.max_end) as i32) >= 0 {
        receiver.max_end = right;
    }
    if unsent == 0 {
        other_flags &= !flag::UNACKNOWLEDGED;
    }
    *tcp.peers.get_mut(own)? = sender;
    tcp.peers.get_mut(other)?.max_end = receiver.max_end;
    *tcp.flags.get_mut(own)? = flags;
    *tcp.flags.get_mut(other)? = other_flags;

    let differs = (tcp.last_seq ^ seq)
        | (tcp.last_ack ^ ack)
        | (tcp.last_end ^ end)
        | u32::from(tcp.last_window ^ window)
        | u32::from(tcp.last_direction ^ direction as u8);
    let again = tcp.retransmissions.wrapping_add(1);
    tcp.retransmissions = if differs == 0 { again } else { 0 };
    tcp.last_seq = seq;
    tcp.last_ack = ack;
    tcp.last_end = end;
    tcp.last_window = window;
    tcp.last_kind = Kind::Ack as u8;
    tcp.last_direction = direction as u8;

    let seconds = *settings.tcp.get(TCP_ESTABLISHED)?;
    let retransmitted = *settings.tcp.get(TCP_RETRANSMIT)?;
    if tcp.retransmissions >= settings.tcp_max_retrans && seconds > retransmitted {
        return Some(retransmitted);
    }
    let short = *settings.tcp.get(TCP_UNACKNOWLEDGED)?;
    let waits = (flags | other_flags) & flag::UNACKNOWLEDGED != 0;
    Some(if waits { seconds.min(short) } else { seconds })
}
