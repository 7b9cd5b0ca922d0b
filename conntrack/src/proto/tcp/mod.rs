//! TCP: the state of the connection, and which segments are of it.
//!
//! # Overview
//!
//! ```text
//! plain (nearly all)
//! any_segment: is_sane (flags) -> begin (first segment) -> table (next state) -> odd (what the table can't tell) -> window -> timeout
//! ```
//!
//! State, windows and timeouts are those of Linux
//! 6.12 to 6.18 (`nf_conntrack_tcp_packet`), in behaviour; where the node sees a connection otherwise than its ends do, it
//! gives the ends the word: it lets pass what may make them answer, and believes the answer.

use std::ops::Range;

use packet::wire::tcp::{ACK, FIN, RST, SYN};
use packet::{Frame, Layers};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Context, Outcome, of, pair};
use crate::flow::{Direction, Status};
use crate::settings::{Settings, TCP_CLOSE, TCP_RETRANSMIT, TCP_UNACKNOWLEDGED};

mod plain;
mod replica;
mod segment;
mod table;
#[cfg(test)]
mod tests;
mod window;

pub use plain::plain;
pub use replica::Side;
pub use segment::Segment;
pub use table::{Kind, State};

pub(crate) use replica::{is_established, largest_window, restate, sent};
use segment::Options;
use table::{IGNORE, INVALID, is_sane, next};
use window::Window;

/// Bits of [`Tcp::flags`] (`IP_CT_TCP_FLAG_…`, as ctnetlink shows them).
pub mod flag {
    /// The side scales its window.
    pub const WINDOW_SCALE: u8 = 0x01;
    /// The side takes selective acknowledgements.
    pub const SACK_PERMITTED: u8 = 0x02;
    /// The side was first to close.
    pub const CLOSE_INIT: u8 = 0x04;
    /// Windows are not enforced.
    pub const BE_LIBERAL: u8 = 0x08;
    /// The side sent data that was not acknowledged yet.
    pub const UNACKNOWLEDGED: u8 = 0x10;
    /// [`Peer::max_ack`](super::Peer::max_ack) holds something.
    pub const MAX_ACK_SET: u8 = 0x20;
    /// Of [`Tcp::last_flags`](super::Tcp::last_flags): an acknowledgement may answer a stray SYN (RFC 5961, 4).
    pub const EXPECT_CHALLENGE: u8 = 0x40;
    /// Of [`Tcp::last_flags`](super::Tcp::last_flags): both sides sent a SYN.
    pub const SIMULTANEOUS_OPEN: u8 = 0x80;
}

/// The bits of a side's [`Tcp::scale`] that are its shift, at most 14 (RFC 7323, 2.3).
pub(crate) const SHIFT: u8 = 0x0f;
/// The bit of it that says: another node saw the side's segments until now, its next one may be ahead of what is known. All bits
/// of [`Tcp::flags`] are ctnetlink's, which shows what was put there, and must not show this.
pub(crate) const REBASE: u8 = 0x80;

/// What one side has sent and may send. Sequence numbers of the connection as it is seen here.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Peer {
    /// Behind the last byte that it sent.
    pub end: u32,
    /// Behind the last byte that the other side will take.
    pub max_end: u32,
    /// The largest window that it offered, scaled; 0 where it sent nothing yet.
    pub max_window: u32,
    /// The highest number that it acknowledged.
    pub max_ack: u32,
}

/// A flow's words. Arrays are by [`Direction`].
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Tcp {
    /// What each side has sent.
    pub peers: [Peer; 2],
    /// Sequence number of the last segment that only acknowledged, or was ignored.
    pub last_seq: u32,
    /// What it acknowledged.
    pub last_ack: u32,
    /// Where it ended.
    pub last_end: u32,
    /// Its window, not scaled.
    pub last_window: u16,
    /// The window scale of an ignored SYN.
    pub last_scale: u8,
    /// Options of an ignored SYN, and what is expected of its answer: [`flag`].
    pub last_flags: u8,
    /// A [`State`].
    pub state: u8,
    /// The last segment's [`Kind`].
    pub last_kind: u8,
    /// Its [`Direction`].
    pub last_direction: u8,
    /// How often it came again.
    pub retransmissions: u8,
    /// By how many bits a side shifts its window, in the lower four, and `REBASE`.
    pub scale: [u8; 2],
    /// [`flag`]s.
    pub flags: [u8; 2],
}

const _: () = assert!(size_of::<Tcp>() == 56);

/// What a segment that the table alone does not decide comes to.
enum Turn {
    /// Nothing more to look at.
    Done(Outcome),
    /// From a state to another, if it is in the window.
    Check(u8, u8),
    /// From a state to another, wherever it is.
    Pass(u8, u8),
}

const SYN_SENT: u8 = State::SynSent as u8;
const SYN_RECV: u8 = State::SynRecv as u8;
const ESTABLISHED: u8 = State::Established as u8;
const FIN_WAIT: u8 = State::FinWait as u8;
const LAST_ACK: u8 = State::LastAck as u8;
const TIME_WAIT: u8 = State::TimeWait as u8;
const CLOSE: u8 = State::Close as u8;
const SYN_SENT2: u8 = State::SynSent2 as u8;

/// [`plain()`] of a frame.
#[inline(always)]
pub(crate) fn plain_frame<F: Frame>(
    tcp: &mut Tcp,
    frame: &F,
    layers: &Layers,
    direction: Direction,
    settings: &Settings,
) -> Option<u32> {
    plain(tcp, &segment::in_head(frame, layers)?, direction, settings)
}

/// The segment of a frame. What has no whole header is invalid.
pub(crate) fn frame<F: Frame>(
    tcp: &mut Tcp,
    frame: &F,
    layers: &Layers,
    context: &Context<'_>,
) -> Outcome {
    let Some((segment, options)) = segment::read(frame, layers) else { return Outcome::Invalid };
    match frame.head().get(options.clone()) {
        Some(options) => any_segment(tcp, &Segment { options, ..segment }, context),
        None => split(tcp, frame, &segment, options, context),
    }
}

/// The same where the options do not lie in the head segment.
#[cold]
#[inline(never)]
fn split<F: Frame>(
    tcp: &mut Tcp,
    frame: &F,
    segment: &Segment<'_>,
    options: Range<usize>,
    context: &Context<'_>,
) -> Outcome {
    let mut buffer = [0; 40];
    let Some(bytes) = buffer.get_mut(..options.len()) else { return Outcome::Invalid };
    if !frame.copy_out(options.start, bytes) {
        return Outcome::Invalid;
    }
    any_segment(tcp, &Segment { options: bytes, ..*segment }, context)
}

/// Any segment of a flow.
#[inline(never)]
pub fn any_segment(tcp: &mut Tcp, segment: &Segment<'_>, context: &Context<'_>) -> Outcome {
    if !is_sane(segment.flags) {
        return Outcome::Invalid;
    }
    let kind = Kind::of(segment.flags);
    if context.begins() && !begin(tcp, segment, kind, context) {
        return Outcome::Invalid;
    }
    if segment.partial {
        let [original, reply] = &mut tcp.flags;
        *original |= flag::BE_LIBERAL;
        *reply |= flag::BE_LIBERAL;
    }
    let old = tcp.state;
    let new = next(context.direction, kind, old);
    // From established on, acknowledgements and FINs say all by themselves.
    let turn = if (ESTABLISHED..=LAST_ACK).contains(&new) {
        Turn::Check(old, new)
    } else {
        odd(tcp, segment, kind, new, context)
    };
    let (old, new) = match turn {
        Turn::Done(outcome) => return outcome,
        Turn::Pass(old, new) => (old, new),
        Turn::Check(old, new) => match window::check(tcp, segment, kind, context) {
            Window::Inside => (old, new),
            Window::Ignored => return Outcome::IGNORED,
            Window::Outside => return outside(tcp, kind, context),
        },
    };
    advance(tcp, segment, kind, old, new, context)
}

/// The words of a connection that begins with this segment, or that we see from here on; false where it can't
/// (`tcp_new`).
#[cold]
fn begin(tcp: &mut Tcp, segment: &Segment<'_>, kind: Kind, context: &Context<'_>) -> bool {
    let syn = match kind {
        Kind::Syn => true,
        Kind::Ack if context.settings.tcp_loose => false,
        _ => return false,
    };
    *tcp = Tcp { last_kind: Kind::Nothing as u8, ..Tcp::default() };
    let [original, _] = &mut tcp.peers;
    original.end = segment.end();
    original.max_window = u32::from(segment.window).max(1);
    if syn {
        original.max_end = original.end;
        let [scale, _] = &mut tcp.scale;
        let [flags, _] = &mut tcp.flags;
        Options::of(segment).store(scale, flags);
    } else {
        // Its history is lost: what the SYNs had agreed on cannot be known, so windows are not enforced.
        original.max_end = original.end.wrapping_add(original.max_window);
        tcp.flags = [flag::SACK_PERMITTED | flag::BE_LIBERAL; 2];
    }
    true
}

/// What the table alone does not decide. `new` is what it says.
#[cold]
#[inline(never)]
fn odd(tcp: &mut Tcp, segment: &Segment<'_>, kind: Kind, new: u8, context: &Context<'_>) -> Turn {
    let old = tcp.state;
    let direction = context.direction;
    let turned = tcp.last_direction != direction as u8;
    match new {
        INVALID => Turn::Done(Outcome::Invalid),
        SYN_SENT if (TIME_WAIT..INVALID).contains(&old) => {
            // The port is used again (RFC 9293, 3.6.1), or one side reset the connection and begins anew. Where neither side
            // closed in order, the connection may still be alive, and the other side has the word.
            let closed = (tcp.flags[0] | tcp.flags[1]) & flag::CLOSE_INIT != 0;
            let reset = !turned && tcp.last_kind == Kind::Rst as u8;
            if closed || reset {
                return Turn::Done(Outcome::Reopens);
            }
            ignore(tcp, segment, kind, context)
        }
        IGNORE => ignore(tcp, segment, kind, context),
        // An acknowledgement that answers a SYN that we let pass does not acknowledge the last FIN (RFC 5961, 4).
        TIME_WAIT
            if old == LAST_ACK
                && kind == Kind::Ack
                && turned
                && tcp.last_kind == Kind::Syn as u8
                && tcp.last_flags & flag::EXPECT_CHALLENGE != 0 =>
        {
            tcp.last_flags &= !flag::EXPECT_CHALLENGE;
            Turn::Done(Outcome::IGNORED)
        }
        SYN_SENT2 => {
            tcp.last_flags |= flag::SIMULTANEOUS_OPEN;
            Turn::Check(old, new)
        }
        // Both have sent a SYN and its acknowledgement: either one's plain acknowledgement is the last step.
        SYN_RECV
            if direction == Direction::Reply
                && kind == Kind::Ack
                && tcp.last_flags & flag::SIMULTANEOUS_OPEN != 0 =>
        {
            Turn::Check(old, ESTABLISHED)
        }
        CLOSE if kind == Kind::Rst => reset(tcp, segment, context),
        _ => Turn::Check(old, new),
    }
}

/// A segment that may be right although we think otherwise: a SYN on a living connection, its answer, an acknowledgement
/// that answers the first SYN. It passes, and what it says is kept: should the other side agree, so do we.
fn ignore(tcp: &mut Tcp, segment: &Segment<'_>, kind: Kind, context: &Context<'_>) -> Turn {
    let old = tcp.state;
    let direction = context.direction;
    if kind == Kind::SynAck
        && tcp.last_kind == Kind::Syn as u8
        && tcp.last_direction != direction as u8
        && segment.ack == tcp.last_end
    {
        // The answer to the SYN that was ignored: both ends are in step, and we were not.
        let (answering, asking) = pair(&mut tcp.peers, direction);
        asking.end = tcp.last_end;
        asking.max_end = tcp.last_end;
        asking.max_window = u32::from(tcp.last_window).max(1);
        *answering = Peer::default();
        tcp.last_flags &= !flag::EXPECT_CHALLENGE;
        let (flags, asking_flags) = pair(&mut tcp.flags, direction);
        *asking_flags = tcp.last_flags;
        *flags &= flag::BE_LIBERAL;
        let (scale, asking_scale) = pair(&mut tcp.scale, direction);
        (*scale, *asking_scale) = (0, tcp.last_scale);
        return Turn::Check(SYN_SENT, SYN_RECV);
    }
    tcp.last_kind = kind as u8;
    tcp.last_direction = direction as u8;
    tcp.last_seq = segment.seq;
    tcp.last_end = segment.end();
    tcp.last_window = segment.window;
    if kind == Kind::Syn && direction == Direction::Original {
        let options = Options::of(segment);
        (tcp.last_scale, tcp.last_flags) = (options.scale, options.flags);
        if old == LAST_ACK {
            tcp.last_flags |= flag::EXPECT_CHALLENGE;
        }
    }
    // It may be a challenge, which a reset will answer.
    if old == SYN_SENT && kind == Kind::Ack && direction == Direction::Reply {
        tcp.last_ack = segment.ack;
    }
    Turn::Done(Outcome::IGNORED)
}

/// A reset: from whom, for what (RFC 5961, 3: only the very number that is expected ends a connection).
fn reset(tcp: &mut Tcp, segment: &Segment<'_>, context: &Context<'_>) -> Turn {
    let old = tcp.state;
    let mut new = CLOSE;
    // What is closing may be given up at any time: there is nothing to protect.
    if is_closing(old) {
        return Turn::Pass(old, new);
    }
    let direction = context.direction;
    let other = of(&tcp.peers, direction.other());
    let established = old == ESTABLISHED && context.status.has(Status::ASSURED);
    let last = |kind: Kind| tcp.last_kind == kind as u8;
    if of(&tcp.flags, direction.other()) & flag::MAX_ACK_SET != 0 && !last(Kind::Syn) {
        // It answers a SYN that we let pass, which is not the last segment any more.
        if segment.seq == 0 && !established {
            return Turn::Check(old, new);
        }
        if before(segment.seq, other.max_ack) && !context.settings.tcp_ignore_invalid_rst {
            return Turn::Done(Outcome::Invalid);
        }
        // The number that is expected, or the one behind data just sent.
        let exact = segment.seq == other.max_ack;
        let behind =
            last(Kind::Ack) && tcp.last_direction == direction as u8 && segment.seq == tcp.last_end;
        if !established || exact || behind {
            return Turn::Check(old, new);
        }
        // The other side may challenge it.
        new = old;
    }
    let turned = tcp.last_direction != direction as u8;
    let stray = (context.answered() && last(Kind::Syn) && turned)
        || (!context.status.has(Status::ASSURED) && last(Kind::Ack));
    // It answers the SYN or the acknowledgement that was ignored; it may acknowledge what we have not seen.
    if stray && segment.ack == tcp.last_end {
        return Turn::Pass(old, new);
    }
    // It answers a challenge.
    if old == SYN_SENT
        && last(Kind::Ack)
        && tcp.last_direction == Direction::Reply as u8
        && segment.seq == tcp.last_ack
    {
        return Turn::Pass(old, new);
    }
    Turn::Check(old, new)
}

/// Whether a connection in this state may be given up early (`tcp_can_early_drop`).
#[inline]
pub const fn is_closing(state: u8) -> bool {
    state >= FIN_WAIT && state <= CLOSE
}

/// A segment outside of the window. Where both sides try to close, and we believe neither, the connection is most likely
/// dead (`nf_tcp_handle_invalid`).
#[cold]
fn outside(tcp: &mut Tcp, kind: Kind, context: &Context<'_>) -> Outcome {
    let closes = |kind: u8| kind == Kind::Fin as u8 || kind == Kind::Rst as u8;
    let assured = context.status.has(Status::ASSURED);
    if !assured || context.status.has(Status::FIXED_TIMEOUT) || !closes(kind as u8) {
        return Outcome::Invalid;
    }
    if tcp.last_direction != context.direction as u8 && closes(tcp.last_kind) {
        return Outcome::Closing;
    }
    tcp.last_kind = kind as u8;
    tcp.last_direction = context.direction as u8;
    Outcome::Invalid
}

/// Moves from `old` to `new`, and chooses the timeout.
#[inline(always)]
fn advance(
    tcp: &mut Tcp,
    segment: &Segment<'_>,
    kind: Kind,
    old: u8,
    new: u8,
    context: &Context<'_>,
) -> Outcome {
    tcp.last_kind = kind as u8;
    tcp.last_direction = context.direction as u8;
    tcp.state = new;
    let changed = old != new;
    if changed && new == FIN_WAIT {
        *pair(&mut tcp.flags, context.direction).0 |= flag::CLOSE_INIT;
    }
    let mut seconds = timeout(tcp, kind, new, context);
    if !context.answered() {
        // A reset is the only answer: there was no connection.
        if segment.has(RST) {
            return Outcome::Ends;
        }
        // A SYN that comes again does not keep the flow: a port in use again would keep it for ever.
        if kind == Kind::Syn && old == SYN_SENT {
            return Outcome::Accept { renew: None, assured: false, changed };
        }
        // Taken up in its middle, and only one side seen.
        if new == ESTABLISHED {
            seconds = seconds.min(context.timeout(TCP_UNACKNOWLEDGED));
        }
    }
    let assured = context.answered()
        && !context.status.has(Status::ASSURED)
        && (old == SYN_RECV || old == ESTABLISHED)
        && new == ESTABLISHED;
    Outcome::Accept { renew: Some(seconds), assured, changed }
}

/// The timeout of a connection that is in state `new` now.
#[inline(always)]
fn timeout(tcp: &Tcp, kind: Kind, new: u8, context: &Context<'_>) -> u32 {
    let seconds = context.timeout(usize::from(new.wrapping_sub(1)));
    let unacknowledged = (tcp.flags[0] | tcp.flags[1]) & flag::UNACKNOWLEDGED != 0;
    if tcp.retransmissions >= context.settings.tcp_max_retrans {
        let short = context.timeout(TCP_RETRANSMIT);
        if seconds > short {
            return short;
        }
    }
    if kind == Kind::Rst {
        return context.timeout(TCP_CLOSE);
    }
    if unacknowledged {
        let short = context.timeout(TCP_UNACKNOWLEDGED);
        if seconds > short {
            return short;
        }
    }
    if tcp.last_window == 0 {
        return seconds.min(context.timeout(TCP_RETRANSMIT));
    }
    seconds
}

/// Whether `a` comes before `b` (RFC 9293, 3.4: numbers are compared in a circle).
#[inline(always)]
const fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

/// Whether `a` comes after `b`.
#[inline(always)]
const fn after(a: u32, b: u32) -> bool {
    before(b, a)
}
