//! SCTP (RFC 9260): the state of the association, and which packets carry the right verification tag.
//!
//! As Linux (`nf_conntrack_sctp_packet`): a packet's chunks take the association from state to state; what one that turns out
//! bad in its middle has done until then stays done. A heartbeat alone begins a flow: another path of an association that we
//! see no handshake of.

use packet::wire::sctp;
use packet::{Frame, Layers};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Context, Outcome, pair};
use crate::flow::{Direction, Status};

/// A flow's words.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Sctp {
    /// The tag that packets of a direction carry, host order; 0 where it is not known.
    pub tags: [u32; 2],
    /// A [`State`].
    pub state: u8,
    /// Whose heartbeat had another tag.
    last_direction: u8,
    /// Whether a heartbeat had another tag, and its answer was not seen.
    tag_failed: u8,
    /// Bits by direction: its INIT was seen, and no handshake ended since.
    pub asked: u8,
    unused_words: [u32; 11],
}

const _: () = assert!(size_of::<Sctp>() == 56);

impl Sctp {
    /// With what other nodes hear of it.
    pub fn new(tags: [u32; 2], state: u8, asked: u8) -> Self {
        Self { tags, state, asked, ..Self::default() }
    }
}

/// States (`enum sctp_conntrack`, same numbers, names as `conntrack -L` shows them).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Nothing seen.
    None = 0,
    /// Not open yet, or not any more.
    Closed = 1,
    /// INIT, and its acknowledgement.
    CookieWait = 2,
    /// COOKIE ECHO.
    CookieEchoed = 3,
    /// COOKIE ACK.
    Established = 4,
    /// SHUTDOWN of who began.
    ShutdownSent = 5,
    /// SHUTDOWN of the other side.
    ShutdownRecd = 6,
    /// SHUTDOWN ACK.
    ShutdownAckSent = 7,
    /// HEARTBEAT on a path that began with it.
    HeartbeatSent = 8,
}

impl State {
    /// The state with this number.
    pub const fn of(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::None,
            1 => Self::Closed,
            2 => Self::CookieWait,
            3 => Self::CookieEchoed,
            4 => Self::Established,
            5 => Self::ShutdownSent,
            6 => Self::ShutdownRecd,
            7 => Self::ShutdownAckSent,
            8 => Self::HeartbeatSent,
            _ => return None,
        })
    }

    /// As `conntrack` prints it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Closed => "CLOSED",
            Self::CookieWait => "COOKIE_WAIT",
            Self::CookieEchoed => "COOKIE_ECHOED",
            Self::Established => "ESTABLISHED",
            Self::ShutdownSent => "SHUTDOWN_SENT",
            Self::ShutdownRecd => "SHUTDOWN_RECD",
            Self::ShutdownAckSent => "SHUTDOWN_ACK_SENT",
            Self::HeartbeatSent => "HEARTBEAT_SENT",
        }
    }
}

/// Chunk types (RFC 9260, 3.2).
mod chunk {
    pub(super) const DATA: u8 = 0;
    pub(super) const INIT: u8 = 1;
    pub(super) const INIT_ACK: u8 = 2;
    pub(super) const HEARTBEAT: u8 = 4;
    pub(super) const HEARTBEAT_ACK: u8 = 5;
    pub(super) const ABORT: u8 = 6;
    pub(super) const SHUTDOWN: u8 = 7;
    pub(super) const SHUTDOWN_ACK: u8 = 8;
    pub(super) const ERROR: u8 = 9;
    pub(super) const COOKIE_ECHO: u8 = 10;
    pub(super) const COOKIE_ACK: u8 = 11;
    pub(super) const SHUTDOWN_COMPLETE: u8 = 14;
    /// Flag of ABORT and SHUTDOWN COMPLETE: the tag is the receiver's, reflected.
    pub(super) const REFLECTED: u8 = 1;
}

/// Instead of a state: the packet is of no association.
const INVALID: u8 = 9;

const CL: u8 = State::Closed as u8;
const CW: u8 = State::CookieWait as u8;
const CE: u8 = State::CookieEchoed as u8;
const ES: u8 = State::Established as u8;
const SS: u8 = State::ShutdownSent as u8;
const SR: u8 = State::ShutdownRecd as u8;
const SA: u8 = State::ShutdownAckSent as u8;
const HS: u8 = State::HeartbeatSent as u8;
const IV: u8 = INVALID;

/// The state after a chunk, by its type: as the first packet's direction, and back; by state. Types that are not here (data
/// and what acknowledges it) change nothing.
#[rustfmt::skip]
static TABLE: [(u8, [u8; 9], [u8; 9]); 11] = [
    //                         N   CL  CW  CE  ES  SS  SR  SA  HS    N   CL  CW  CE  ES  SS  SR  SA  HS
    // In a shutdown it is a new association; back it would be one that the other side begins, which we take no notice of. Both
    // may begin at once: cookies then go either way.
    (chunk::INIT,             [CL, CL, CW, CE, ES, CL, CL, SA, CW], [IV, CL, CW, CE, ES, SS, SR, SA, IV]),
    (chunk::INIT_ACK,         [CL, CL, CW, CE, ES, SS, SR, SA, CL], [IV, CW, CW, CE, ES, SS, SR, SA, IV]),
    (chunk::ABORT,            [CL, CL, CL, CL, CL, CL, CL, CL, CL], [IV, CL, CL, CL, CL, CL, CL, CL, IV]),
    (chunk::SHUTDOWN,         [CL, CL, CW, CE, SS, SS, SR, SA, CL], [IV, CL, CW, CE, SR, SS, SR, SA, IV]),
    // Out of the blue it asks for a SHUTDOWN COMPLETE (RFC 9260, 8.4 (5)).
    (chunk::SHUTDOWN_ACK,     [SA, CL, CW, CE, ES, SA, SA, SA, SA], [IV, CL, CW, CE, ES, SA, SA, SA, IV]),
    // Back it may say that the cookie is stale.
    (chunk::ERROR,            [CL, CL, CW, CE, ES, SS, SR, SA, CL], [IV, CL, CW, CL, ES, SS, SR, SA, IV]),
    (chunk::COOKIE_ECHO,      [CL, CL, CE, CE, ES, SS, SR, SA, CL], [IV, CL, CE, CE, ES, SS, SR, SA, IV]),
    (chunk::COOKIE_ACK,       [CL, CL, CW, ES, ES, SS, SR, SA, CL], [IV, CL, CW, ES, ES, SS, SR, SA, IV]),
    (chunk::SHUTDOWN_COMPLETE,[CL, CL, CW, CE, ES, SS, SR, CL, CL], [IV, CL, CW, CE, ES, SS, SR, CL, IV]),
    (chunk::HEARTBEAT,        [HS, CL, CW, CE, ES, SS, SR, SA, HS], [IV, CL, CW, CE, ES, SS, SR, SA, HS]),
    // The path works both ways.
    (chunk::HEARTBEAT_ACK,    [CL, CL, CW, CE, ES, SS, SR, SA, HS], [IV, CL, CW, CE, ES, SS, SR, SA, ES]),
];

fn next(direction: Direction, kind: u8, state: u8) -> u8 {
    let Some((_, original, reply)) = TABLE.iter().find(|row| row.0 == kind) else { return state };
    let states = if direction == Direction::Original { original } else { reply };
    states.get(usize::from(state)).copied().unwrap_or(INVALID)
}

/// Whether an association in this state may be given up early (`sctp_can_early_drop`).
#[inline]
pub const fn is_closing(state: u8) -> bool {
    state >= SS && state <= SA
}

/// A chunk's header, and where the chunk begins.
#[derive(Clone, Copy, Debug)]
struct Chunk {
    at: usize,
    kind: u8,
    flags: u8,
}

/// The chunks of a packet; ends where one has no length.
struct Chunks<'a, F> {
    frame: &'a F,
    at: usize,
    end: usize,
}

impl<F: Frame> Iterator for Chunks<'_, F> {
    /// And its length.
    type Item = (Chunk, usize);

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.at;
        if at >= self.end {
            return None;
        }
        let [kind, flags, high, low] = bytes(self.frame, at, self.end)?;
        let len = usize::from(u16::from_be_bytes([high, low]));
        // One without length is the last that is looked at.
        self.at = if len == 0 { self.end } else { at + len.next_multiple_of(4) };
        Some((Chunk { at, kind, flags }, len))
    }
}

fn bytes<const N: usize, F: Frame>(frame: &F, at: usize, end: usize) -> Option<[u8; N]> {
    (at + N <= end).then(|| frame.read(at)).flatten()
}

/// A set of chunk types.
#[derive(Default)]
struct Kinds([u64; 4]);

impl Kinds {
    fn add(&mut self, kind: u8) {
        if let Some(word) = self.0.get_mut(usize::from(kind >> 6)) {
            *word |= 1 << (kind & 63);
        }
    }

    fn has(&self, kind: u8) -> bool {
        self.0.get(usize::from(kind >> 6)).is_some_and(|word| word >> (kind & 63) & 1 != 0)
    }
}

/// The types of a packet's chunks; `None` where there is none, one has no length, or one that must be alone or first is not.
fn kinds<F: Frame>(chunks: Chunks<'_, F>) -> Option<Kinds> {
    let mut found = Kinds::default();
    let mut alone = false;
    let mut count = 0;
    for (chunk, len) in chunks {
        alone |= matches!(chunk.kind, chunk::INIT | chunk::INIT_ACK | chunk::SHUTDOWN_COMPLETE);
        let first = alone || matches!(chunk.kind, chunk::COOKIE_ACK | chunk::COOKIE_ECHO);
        if len == 0 || (first && count != 0) {
            return None;
        }
        found.add(chunk.kind);
        count += 1;
    }
    (count != 0).then_some(found)
}

/// A packet of a flow.
pub fn packet<F: Frame>(
    sctp: &mut Sctp,
    frame: &F,
    layers: &Layers,
    context: &Context<'_>,
) -> Outcome {
    let tag = layers.sctp(frame).tag.get();
    let at = usize::from(layers.l4_offset) + sctp::LEN;
    let end = layers.end as usize;
    let chunks = || Chunks { frame, at, end };
    let Some(kinds) = kinds(chunks()) else { return Outcome::Invalid };
    if context.begins() {
        // Out of the blue these want no answer, or have none (RFC 9260, 8.4).
        let lost = [chunk::ABORT, chunk::SHUTDOWN_COMPLETE, chunk::COOKIE_ACK];
        if lost.into_iter().any(|kind| kinds.has(kind)) || !begin(sctp, chunks(), tag) {
            return Outcome::Invalid;
        }
    }
    let direction = context.direction;
    let own_rules = [
        chunk::INIT,
        chunk::SHUTDOWN_COMPLETE,
        chunk::COOKIE_ECHO,
        chunk::ABORT,
        chunk::SHUTDOWN_ACK,
        chunk::HEARTBEAT,
        chunk::HEARTBEAT_ACK,
    ];
    if !own_rules.into_iter().any(|kind| kinds.has(kind))
        && tag != *pair(&mut sctp.tags, direction).0
    {
        return Outcome::Invalid;
    }

    let mut changed = false;
    let mut assured = false;
    let mut still = false;
    let mut new = sctp.state;
    for (chunk, _) in chunks() {
        match check_tag(sctp, chunk, tag, direction, &kinds, still) {
            Tag::Right => {}
            Tag::Wrong => return Outcome::Invalid,
            Tag::Other => {
                still = true;
                continue;
            }
        }
        let old = sctp.state;
        new = next(direction, chunk.kind, old);
        if new == INVALID {
            return Outcome::Invalid;
        }
        if matches!(chunk.kind, chunk::INIT | chunk::INIT_ACK) {
            let Some(initiate) = initiate_tag(frame, chunk, end) else { return Outcome::Invalid };
            if !agree(sctp, chunk.kind, initiate, direction) {
                return Outcome::Invalid;
            }
            // An INIT that comes again does not keep the flow: a port in use again would keep it for ever.
            let again = new == CL && old == CL && !context.begins();
            still |= again && chunk.kind == chunk::INIT;
        }
        sctp.state = new;
        changed |= old != new;
        assured |= old != new && new == ES && !context.status.has(Status::ASSURED);
    }
    let renew = (!still).then(|| context.timeout(usize::from(new.wrapping_sub(1))));
    Outcome::Accept { renew, assured, changed }
}

/// The words of an association that begins with this packet; false where it can't.
fn begin<F: Frame>(sctp: &mut Sctp, chunks: Chunks<'_, F>, tag: u32) -> bool {
    *sctp = Sctp::default();
    let (frame, end) = (chunks.frame, chunks.end);
    for (chunk, _) in chunks {
        let new = next(Direction::Original, chunk.kind, State::None as u8);
        if new == State::None as u8 || new == INVALID {
            return false;
        }
        let [original, reply] = &mut sctp.tags;
        match chunk.kind {
            chunk::INIT => match initiate_tag(frame, chunk, end) {
                Some(initiate) if tag == 0 => *reply = initiate,
                _ => return false,
            },
            chunk::HEARTBEAT => *original = tag,
            // Out of the blue: its answer carries the same tag.
            chunk::SHUTDOWN_ACK => *reply = tag,
            _ => {}
        }
    }
    true
}

/// An INIT or its acknowledgement says which tag the other side is to use. False for an acknowledgement that comes late: the
/// other tag is in use (RFC 9260, 5.2).
fn agree(sctp: &mut Sctp, kind: u8, initiate: u32, direction: Direction) -> bool {
    let own = 1 << direction as u8;
    let other = 1 << direction.other() as u8;
    let known = pair(&mut sctp.tags, direction).1;
    if kind == chunk::INIT {
        // One that comes again, or late, asks for nothing new.
        if sctp.state == State::None as u8 || *known != initiate {
            // With both asking already, this is a third handshake.
            let rest = if sctp.asked == own | other { 0 } else { sctp.asked };
            sctp.asked = rest | own;
        }
    } else if *known != initiate {
        let unasked = sctp.asked & other == 0 && *known != 0;
        if unasked || sctp.asked == own | other {
            return false;
        }
    }
    *known = initiate;
    true
}

/// The tag that an INIT or its acknowledgement asks the other side to use.
fn initiate_tag<F: Frame>(frame: &F, chunk: Chunk, end: usize) -> Option<u32> {
    // Behind the chunk's header: tag, window, streams out, streams in, first number.
    let init: [u8; 16] = bytes(frame, chunk.at + 4, end)?;
    init.first_chunk().map(|tag| u32::from_be_bytes(*tag))
}

/// How a packet's tag stands to a chunk.
enum Tag {
    Right,
    Wrong,
    /// A heartbeat with another: the association may have begun again unseen. Its answer tells.
    Other,
}

/// What chunks ask of the tag for themselves (RFC 9260, 8.5.1).
fn check_tag(
    sctp: &mut Sctp,
    chunk: Chunk,
    tag: u32,
    direction: Direction,
    kinds: &Kinds,
    still: bool,
) -> Tag {
    let (own, other) = pair(&mut sctp.tags, direction);
    let right = match chunk.kind {
        chunk::INIT => tag == 0,
        chunk::ABORT | chunk::SHUTDOWN_COMPLETE => {
            tag == if chunk.flags & chunk::REFLECTED == 0 { *own } else { *other }
        }
        chunk::COOKIE_ECHO => tag == *own,
        chunk::COOKIE_ACK => {
            sctp.asked = 0;
            true
        }
        chunk::HEARTBEAT | chunk::HEARTBEAT_ACK if *own == 0 => {
            *own = tag;
            true
        }
        chunk::HEARTBEAT | chunk::HEARTBEAT_ACK if tag == *own => {
            sctp.tag_failed = 0;
            true
        }
        chunk::HEARTBEAT => {
            if kinds.has(chunk::DATA) || still {
                return Tag::Wrong;
            }
            (sctp.tag_failed, sctp.last_direction) = (1, direction as u8);
            return Tag::Other;
        }
        chunk::HEARTBEAT_ACK => {
            let answers = sctp.tag_failed != 0 && sctp.last_direction != direction as u8;
            if kinds.has(chunk::DATA) || still || !answers {
                return Tag::Wrong;
            }
            sctp.tag_failed = 0;
            (*own, *other) = (tag, 0);
            true
        }
        _ => true,
    };
    if right { Tag::Right } else { Tag::Wrong }
}
