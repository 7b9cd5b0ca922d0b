//! What a `talk` found, as JSON for people and tests.

use serde::{Deserialize, Serialize};

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The TCP connections.
    pub tcp: TcpReport,
    /// The datagrams with sequence numbers.
    pub datagrams: Datagrams,
    /// The probe.
    pub probe: ProbeReport,
}

/// TCP connections: each that is not `alive` is in one of the other counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpReport {
    /// Those that were established.
    pub opened: u64,
    /// Those that at the end echoed one more message, or ended their download in order.
    pub alive: u64,
    /// Those that could not be opened.
    pub refused: u64,
    /// Those that ended with an error or too early (reset, closed).
    pub broken: u64,
    /// Those whose last message was not answered in time.
    pub silent: u64,
    /// Those that received another byte than was sent.
    pub garbled: u64,
    /// Bytes received and found right.
    pub bytes_verified: u64,
    /// Messages echoed.
    pub messages: u64,
    /// The longest time that an echo took, in milliseconds.
    pub longest_echo_ms: u64,
    /// The first error, in the kernel's words; empty without one.
    pub first_error: String,
}

/// Datagrams on many sockets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Datagrams {
    /// Sent.
    pub sent: u64,
    /// Echoes received and found right.
    pub received: u64,
    /// Sent and never echoed.
    pub lost: u64,
    /// Echoes with another content.
    pub garbled: u64,
    /// Echoes that a later one had overtaken.
    pub reordered: u64,
}

/// A time without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Gap {
    /// When the last answer before it came.
    pub from: u64,
    /// When the first one after it came; 0 when none came.
    pub to: u64,
    /// Its length in milliseconds.
    pub ms: f64,
}

/// A probe with a fixed rate.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ProbeReport {
    /// Sent.
    pub sent: u64,
    /// Answered.
    pub received: u64,
    /// Never answered.
    pub lost: u64,
    /// Answers with another content.
    pub garbled: u64,
    /// The longest time between two answers, in milliseconds.
    pub longest_silence_ms: f64,
    /// The longest time between two sends, in milliseconds: what a busy machine adds by itself.
    pub longest_pause_ms: f64,
    /// Every silence of more than 10 ms.
    pub gaps: Vec<Gap>,
    /// When those were sent that were never answered; the first 100,000.
    pub lost_at: Times,
}

/// Many times, of which a failed test's message shows the number only.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Times(pub Vec<u64>);

impl std::fmt::Debug for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} times", self.0.len())
    }
}

impl ProbeReport {
    /// The longest silence that touches a time, in milliseconds.
    pub fn silence(&self, from: u64, to: u64) -> f64 {
        let touches = |gap: &&Gap| gap.from <= to && (gap.to >= from || gap.to == 0);
        self.gaps.iter().filter(touches).map(|gap| gap.ms).fold(0.0, f64::max)
    }

    /// How many of those that were sent in a time were never answered.
    pub fn lost_between(&self, from: u64, to: u64) -> usize {
        self.lost_at.0.iter().filter(|&&at| (from..=to).contains(&at)).count()
    }
}
