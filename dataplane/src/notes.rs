//! What rules have to tell of packets, on its way from a worker to the control side: log lines and traces.
//!
//! A note is a plain value of fixed size, so that a worker allocates nothing for it. Queues of notes are bounded: what finds
//! one full is counted and forgotten.

use arrayvec::ArrayString;
use ruleset::trace::{Sight, TraceNote};

/// The longest prefix of a log line (`NF_LOG_PREFIXLEN`), in bytes.
pub const PREFIX: usize = 128;

/// A note about a packet.
#[derive(Debug)]
pub enum Note {
    /// A rule logged it.
    Log(LogNote),
    /// A traced packet went a step.
    Trace(TraceNote),
}

/// A rule logged a packet.
#[derive(Debug)]
pub struct LogNote {
    /// The text that the rule puts in front.
    pub prefix: ArrayString<PREFIX>,
    /// syslog's level, 0 to 7.
    pub level: u8,
    /// The packet.
    pub sight: Sight,
}
