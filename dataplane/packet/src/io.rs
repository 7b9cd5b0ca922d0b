//! Packet I/O as the pipeline sees it: bursts in, bursts out, by port.
//!
//! `capsule::PortIo` implements it over DPDK queues, [`VecIo`](crate::VecIo) over plain vectors. One value belongs to one
//! worker, which alone touches it.

use arrayvec::ArrayVec;

use crate::frame::{Frame, FramePool};

/// The most frames that one burst holds.
pub const BURST: usize = 32;

/// Frames on their way, at most [`BURST`].
pub type Burst<F> = ArrayVec<F, BURST>;

/// A port's dense index, in the order of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortIndex(pub u16);

/// Frames that a transmit queue had to drop by itself: its device can't send them as they are, and software could not help.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unsendable {
    /// Longer than what the device takes in one segment.
    pub too_long: u64,
    /// No frame was free to copy into.
    pub no_memory: u64,
    /// The bytes of both.
    pub bytes: u64,
}

/// A worker's receive and transmit queues on every port.
pub trait PacketIo {
    /// What is received and sent.
    type Frame: Frame;
    /// Where new frames come from.
    type Pool: FramePool<Frame = Self::Frame>;

    /// Receives frames of this worker's queue of `port` into the free room of `into`; returns how many came.
    fn rx(&mut self, port: PortIndex, into: &mut Burst<Self::Frame>) -> usize;

    /// Sends from the front of `burst` on this worker's queue of `port`; what the device did not take stays in `burst`.
    /// Returns how many were taken.
    fn tx(&mut self, port: PortIndex, burst: &mut Burst<Self::Frame>) -> usize;

    /// What [`tx`](Self::tx) on `port` dropped by itself since the last call: frames neither taken nor left in the burst.
    fn unsendable(&mut self, _port: PortIndex) -> Unsendable {
        Unsendable::default()
    }

    /// Frees a whole burst at once, leaving it empty.
    fn free(&mut self, burst: &mut Burst<Self::Frame>);

    /// The worker's pool.
    fn pool(&self) -> &Self::Pool;
}
