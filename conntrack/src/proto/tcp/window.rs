//! Which segments are in the window (G. van Rooij, "Real stateful TCP packet filtering in IP Filter", with SACK and RFC 7323).
//!
//! We stand between the sides and see what they send, not what they receive. A segment is of the connection when
//!
//! 1. it does not begin behind what the receiver will take,
//! 2. it does not end before what the receiver may still ask for again,
//! 3. it acknowledges nothing that the receiver did not send, and
//! 4. nothing that is older than the largest window.

use super::{ACK, Context, Kind, RST, SYN_RECV, SYN_SENT, Segment, Tcp, after, before, flag};
use super::{Options, REBASE, SHIFT, SYN, of, pair, replica};
use crate::flow::Direction;

/// Where a segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Window {
    /// Inside, or windows are not enforced.
    Inside,
    /// Outside, but it may happen among honest sides: it passes and changes nothing.
    Ignored,
    /// Outside.
    Outside,
}

/// Acknowledgements may be as old as a window, and at least this (bytes): windows of either side may not be known.
pub(super) const LEAST_ACK_WINDOW: u32 = 66_000;

/// Checks a segment, and learns from it where it is inside (`tcp_in_window`).
pub(super) fn check(
    tcp: &mut Tcp,
    segment: &Segment<'_>,
    kind: Kind,
    context: &Context<'_>,
) -> Window {
    let direction = context.direction;
    let (mut seq, mut ack, mut end) = (segment.seq, segment.ack, segment.end());
    let mut highest = ack;
    if of(&tcp.flags, direction.other()) & flag::SACK_PERMITTED != 0 {
        highest = segment.highest_sack(ack);
    }
    let unseen = of(&tcp.peers, direction).max_window == 0;
    if (unseen || segment.has(SYN)) && first(tcp, segment, highest, direction) {
        return Window::Inside;
    }
    let state = tcp.state;
    if of(&tcp.scale, direction) & REBASE != 0 {
        replica::rebase(tcp, segment, highest, direction);
    }
    let (sender, receiver) = pair(&mut tcp.peers, direction);
    // Without an acknowledgement, or with one that broken stacks put into resets: as if it were right.
    if !segment.has(ACK) || (segment.has(RST) && ack == 0) {
        (ack, highest) = (receiver.end, receiver.end);
    }
    // A reset that answers a SYN has no number of its own.
    if segment.has(RST) && seq == 0 && state == SYN_SENT {
        (seq, end) = (sender.end, sender.end);
    }
    let oldest_ack = receiver.end.wrapping_sub(sender.max_window.max(LEAST_ACK_WINDOW));
    let oldest = sender.end.wrapping_sub(receiver.max_window);
    let recent = receiver.max_window == 0 || !before(end, oldest);
    let beyond = after(seq, sender.max_end);
    let unsent = after(highest, receiver.end);
    let late = before(highest, oldest_ack);
    if beyond || unsent || !recent || late {
        let over = end.wrapping_sub(sender.max_end).wrapping_add(1);
        let overfull = receiver.max_window != 0 && recent && !late && !unsent;
        let found = if beyond && overfull && over <= receiver.max_window {
            // More than the receiver offered, and nothing else wrong with it: its acknowledgement must find this here.
            sender.end = end;
            *pair(&mut tcp.flags, direction).0 |= flag::UNACKNOWLEDGED;
            Window::Ignored
        } else if beyond || unsent {
            Window::Outside
        } else {
            Window::Ignored
        };
        let liberal =
            context.settings.tcp_be_liberal || of(&tcp.flags, direction) & flag::BE_LIBERAL != 0;
        return if liberal { Window::Inside } else { found };
    }

    let mut window = u32::from(segment.window);
    if !segment.has(SYN) {
        window <<= of(&tcp.scale, direction) & SHIFT;
    }
    let (flags, other_flags) = pair(&mut tcp.flags, direction);
    // A block acknowledged beyond a gap says that the window reaches that far.
    let offered = window.wrapping_add(highest.wrapping_sub(ack));
    sender.max_window = sender.max_window.max(offered);
    if after(end, sender.end) {
        sender.end = end;
        *flags |= flag::UNACKNOWLEDGED;
    }
    if segment.has(ACK) {
        if *flags & flag::MAX_ACK_SET == 0 || after(ack, sender.max_ack) {
            sender.max_ack = ack;
        }
        *flags |= flag::MAX_ACK_SET;
    }
    if receiver.max_window != 0 && after(end, sender.max_end) {
        receiver.max_window = receiver.max_window.wrapping_add(end.wrapping_sub(sender.max_end));
    }
    let right = highest.wrapping_add(window);
    if !before(right, receiver.max_end) {
        // A closed window is probed with one byte.
        receiver.max_end = right.wrapping_add(u32::from(window == 0));
    }
    if ack == receiver.end {
        *other_flags &= !flag::UNACKNOWLEDGED;
    }
    if kind == Kind::Ack {
        let again = tcp.last_direction == direction as u8
            && tcp.last_seq == seq
            && tcp.last_ack == ack
            && tcp.last_end == end
            && tcp.last_window == segment.window;
        if again {
            tcp.retransmissions = tcp.retransmissions.wrapping_add(1);
        } else {
            tcp.last_direction = direction as u8;
            tcp.last_seq = seq;
            tcp.last_ack = ack;
            tcp.last_end = end;
            tcp.last_window = segment.window;
            tcp.retransmissions = 0;
        }
    }
    Window::Inside
}

/// A side's first segment, or a SYN that begins it anew. True when there is nothing more to check: it opens from the other
/// side.
#[cold]
fn first(tcp: &mut Tcp, segment: &Segment<'_>, highest: u32, direction: Direction) -> bool {
    let opening = tcp.state == SYN_SENT || tcp.state == SYN_RECV;
    let end = segment.end();
    let scale = of(&tcp.scale, direction);
    let (sender, receiver) = pair(&mut tcp.peers, direction);
    let unseen = sender.max_window == 0;
    if segment.has(SYN) {
        // A later SYN counts from its own number on (RFC 9293, 3.4.2), if that is a later one.
        let again = opening && after(end, sender.end);
        if !(unseen || again) {
            return false;
        }
        (sender.end, sender.max_end) = (end, end);
        sender.max_window = u32::from(segment.window).max(1);
        let (scale, other_scale) = pair(&mut tcp.scale, direction);
        let (flags, other_flags) = pair(&mut tcp.flags, direction);
        Options::of(segment).store(scale, flags);
        // Both scale, or neither (RFC 7323, 2.2).
        let both = *flags & *other_flags & flag::WINDOW_SCALE != 0;
        if direction == Direction::Reply && !both {
            (*scale, *other_scale) = (0, *other_scale & REBASE);
        }
        return !segment.has(ACK) && (unseen || direction == Direction::Reply);
    }
    // In the middle of a connection: what this segment says is all that there is.
    sender.end = end;
    sender.max_window = (u32::from(segment.window) << (scale & SHIFT)).max(1);
    sender.max_end = end.wrapping_add(sender.max_window);
    if receiver.max_window == 0 {
        (receiver.end, receiver.max_end) = (highest, highest);
    } else if highest == receiver.end.wrapping_add(1) {
        // The answer to a keepalive, whose byte is before the end.
        receiver.end = highest;
    }
    false
}
