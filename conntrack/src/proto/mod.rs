//! The protocols' trackers: what a packet means for its flow. One file a protocol.
//!
//! # Overview
//!
//! A tracker is a pure function over its view of the flow's 14 words: it changes them, and says the rest as an [`Outcome`],
//! which [`track`](crate::track) carries out. Words of a flow that begins are all zero. Nothing here knows the table.

use packet::Tick;

use crate::flow::{Direction, Status};
use crate::settings::Settings;

pub mod generic;
pub mod gre;
pub mod icmp;
pub mod icmp6;
pub mod sctp;
pub mod tcp;
pub mod udp;

/// What a tracker is told beside the packet.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Of the packet.
    pub direction: Direction,
    /// Of the flow before this packet; [`Status::CONFIRMED`] is missing of one that this packet begins.
    pub status: Status,
    /// In seconds, by `CTA_TIMEOUT_…` less one: those that a rule gave to the flow, or of `settings`.
    pub timeouts: &'a [u32],
    /// Switches.
    pub settings: &'a Settings,
    /// Now.
    pub now: Tick,
}

impl Context<'_> {
    /// A timeout by its index. Of a policy that is shorter than the protocol asks for: 0.
    #[inline(always)]
    pub(crate) fn timeout(&self, index: usize) -> u32 {
        self.timeouts.get(index).copied().unwrap_or(0)
    }

    /// Whether this packet begins its flow.
    #[inline(always)]
    pub(crate) fn begins(&self) -> bool {
        !self.status.has(Status::CONFIRMED)
    }

    /// Whether packets went both ways before this one.
    #[inline(always)]
    pub(crate) fn answered(&self) -> bool {
        self.status.has(Status::SEEN_REPLY)
    }
}

/// What a tracker says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is of its flow.
    Accept {
        /// The flow's timeout begins again with so many seconds, and the packet is accounted; `None`: neither.
        renew: Option<u32>,
        /// The flow is not to be given up early from now on ([`Status::ASSURED`]).
        assured: bool,
        /// What ctnetlink shows of the protocol's state is another (`IPCT_PROTOINFO`).
        changed: bool,
    },
    /// It is of no connection, and begins none.
    Invalid,
    /// As [`Outcome::Invalid`]; and both sides seem to close: the flow's timeout is cut to
    /// [`TCP_UNACKNOWLEDGED`](crate::settings::TCP_UNACKNOWLEDGED).
    Closing,
    /// It is of its flow, which it ends.
    Ends,
    /// Its flow is over: it may begin another.
    Reopens,
}

impl Outcome {
    /// Accepted; the timeout begins again.
    #[inline(always)]
    pub(crate) const fn renew(seconds: u32) -> Self {
        Self::Accept { renew: Some(seconds), assured: false, changed: false }
    }

    /// Accepted, and nothing else.
    pub(crate) const IGNORED: Self = Self::Accept { renew: None, assured: false, changed: false };
}

/// A pair's element of a direction, and the other one.
#[inline(always)]
pub(crate) fn pair<T>(pair: &mut [T; 2], direction: Direction) -> (&mut T, &mut T) {
    let [original, reply] = pair;
    match direction {
        Direction::Original => (original, reply),
        Direction::Reply => (reply, original),
    }
}

/// A pair's element of a direction.
#[inline(always)]
pub(crate) fn of<T: Copy>(pair: &[T; 2], direction: Direction) -> T {
    let [original, reply] = pair;
    match direction {
        Direction::Original => *original,
        Direction::Reply => *reply,
    }
}
