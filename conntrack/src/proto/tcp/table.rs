//! Which state follows which, as a const table.

use super::{ACK, FIN, RST, SYN};
use crate::flow::Direction;

/// States (`enum tcp_conntrack`, same numbers, names as `conntrack -L` shows them).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Nothing seen.
    None = 0,
    /// A SYN.
    SynSent = 1,
    /// Its SYN and acknowledgement.
    SynRecv = 2,
    /// The acknowledgement of that.
    Established = 3,
    /// A FIN.
    FinWait = 4,
    /// An acknowledgement behind it.
    CloseWait = 5,
    /// A FIN of both.
    LastAck = 6,
    /// An acknowledgement behind those.
    TimeWait = 7,
    /// A reset.
    Close = 8,
    /// A SYN of both.
    SynSent2 = 9,
}

impl State {
    /// The state with this number.
    pub const fn of(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::None,
            1 => Self::SynSent,
            2 => Self::SynRecv,
            3 => Self::Established,
            4 => Self::FinWait,
            5 => Self::CloseWait,
            6 => Self::LastAck,
            7 => Self::TimeWait,
            8 => Self::Close,
            9 => Self::SynSent2,
            _ => return None,
        })
    }

    /// As `conntrack` prints it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::SynSent => "SYN_SENT",
            Self::SynRecv => "SYN_RECV",
            Self::Established => "ESTABLISHED",
            Self::FinWait => "FIN_WAIT",
            Self::CloseWait => "CLOSE_WAIT",
            Self::LastAck => "LAST_ACK",
            Self::TimeWait => "TIME_WAIT",
            Self::Close => "CLOSE",
            Self::SynSent2 => "SYN_SENT2",
        }
    }
}

/// Instead of a state: the segment is of no connection.
pub(super) const INVALID: u8 = 10;
/// Instead of a state: the segment passes, and is remembered.
pub(super) const IGNORE: u8 = 11;

/// What a segment is by its flags, RST before SYN before FIN before ACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// SYN alone.
    Syn = 0,
    /// SYN with ACK.
    SynAck = 1,
    /// FIN.
    Fin = 2,
    /// ACK.
    Ack = 3,
    /// RST.
    Rst = 4,
    /// None of these.
    Nothing = 5,
}

impl Kind {
    /// That of these flags.
    #[inline(always)]
    pub const fn of(flags: u8) -> Self {
        if flags & (RST | SYN | FIN | ACK) == ACK {
            Self::Ack
        } else if flags & RST != 0 {
            Self::Rst
        } else if flags & SYN != 0 {
            if flags & ACK != 0 { Self::SynAck } else { Self::Syn }
        } else if flags & FIN != 0 {
            Self::Fin
        } else {
            Self::Nothing
        }
    }
}

/// Flags but PSH, ECE and CWR, which mean nothing here, as a bit each: SYN, SYN URG, SYN ACK, RST, RST ACK, FIN ACK,
/// FIN ACK URG, ACK, ACK URG are sane.
const SANE: u64 = {
    let urgent = 0x20;
    1 << SYN
        | 1 << (SYN | urgent)
        | 1 << (SYN | ACK)
        | 1 << RST
        | 1 << (RST | ACK)
        | 1 << (FIN | ACK)
        | 1 << (FIN | ACK | urgent)
        | 1 << ACK
        | 1 << (ACK | urgent)
};

/// Whether a stack may send these flags together.
#[inline(always)]
pub(super) const fn is_sane(flags: u8) -> bool {
    SANE >> (flags & 0x37) & 1 != 0
}

const N: u8 = State::None as u8;
const SS: u8 = State::SynSent as u8;
const SR: u8 = State::SynRecv as u8;
const ES: u8 = State::Established as u8;
const FW: u8 = State::FinWait as u8;
const CW: u8 = State::CloseWait as u8;
const LA: u8 = State::LastAck as u8;
const TW: u8 = State::TimeWait as u8;
const CL: u8 = State::Close as u8;
const S2: u8 = State::SynSent2 as u8;
const IV: u8 = INVALID;
const IG: u8 = IGNORE;

const STATES: usize = 16;
const KINDS: usize = 8;
/// Never reached; rows and columns are powers of two.
const __: u8 = INVALID;
const NONE: [u8; STATES] = [INVALID; STATES];

/// By direction, kind, state.
#[rustfmt::skip]
static TABLE: [[[u8; STATES]; KINDS]; 2] = [
    [ // as the first segment
        //       N   SS  SR  ES  FW  CW  LA  TW  CL  S2
        // SYN. Between the handshake and the last acknowledgement the other side must say (RFC 5961, 4): it resets, or
        // challenges. After that it is a new connection on the same ports.
        [       SS, SS, IG, IG, IG, IG, IG, SS, SS, S2, __, __, __, __, __, __],
        // SYN ACK: who sent the SYN does not answer it, but in a simultaneous open.
        [       IV, IV, SR, IV, IV, IV, IV, IV, IV, SR, __, __, __, __, __, __],
        // FIN. Before the SYN is answered there is nothing to close. In FIN_WAIT it may be the first one again, or the other
        // side's: LAST_ACK serves both.
        [       IV, IV, FW, FW, LA, LA, LA, TW, CL, IV, __, __, __, __, __, __],
        // ACK. The first segment of all: a connection that began before we looked. In SYN_SENT we missed the answer.
        [       ES, IV, ES, ES, CW, CW, TW, TW, CL, IV, __, __, __, __, __, __],
        // RST.
        [       IV, CL, CL, CL, CL, CL, CL, CL, CL, CL, __, __, __, __, __, __],
        NONE, NONE, NONE,
    ],
    [ // back
        //       N   SS  SR  ES  FW  CW  LA  TW  CL  S2
        // SYN. In SYN_SENT both open at once. After TIME_WAIT the sides may have changed their parts.
        [       IV, S2, IV, IV, IV, IV, IV, SS, IV, S2, __, __, __, __, __, __],
        // SYN ACK. Later than in the handshake it may answer a SYN that was ignored, or come again.
        [       IV, SR, IG, IG, IG, IG, IG, IG, IG, SR, __, __, __, __, __, __],
        // FIN.
        [       IV, IV, FW, FW, LA, LA, LA, TW, CL, IV, __, __, __, __, __, __],
        // ACK. In SYN_SENT the answering side believes in an old connection; the other one will reset that. In SYN_RECV it
        // answers a SYN that came again.
        [       IV, IG, SR, ES, CW, CW, TW, TW, CL, IG, __, __, __, __, __, __],
        // RST.
        [       IV, CL, CL, CL, CL, CL, CL, CL, CL, CL, __, __, __, __, __, __],
        NONE, NONE, NONE,
    ],
];

const _: () = assert!(N == 0);

/// The state after a segment, or [`INVALID`] or [`IGNORE`].
#[inline(always)]
pub(super) fn next(direction: Direction, kind: Kind, state: u8) -> u8 {
    let [original, reply] = &TABLE;
    let kinds = match direction {
        Direction::Original => original,
        Direction::Reply => reply,
    };
    let states = kinds.get(kind as usize).unwrap_or(&NONE);
    states.get(usize::from(state)).copied().unwrap_or(INVALID)
}
