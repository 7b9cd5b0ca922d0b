//! Packet I/O without a device: frames go round, so that no memory is taken or given back while the clock runs.
//!
//! # Life cycle
//!
//! A [`RingIo`] has some thousand frames. [`RingIo::fill`] writes the next packets into those that have rested longest,
//! as a card's DMA would, outside of the measured time. Then the worker receives them, 32 at a time, from
//! the first port; what it sends or frees comes to rest again. Receiving and sending move pointers; no device is imitated.

use anyhow::{Context, Result};
use packet::{Burst, ChecksumStatus, Frame, PacketIo, PortIndex, RxMeta, VecFrame, VecPool};

use crate::images::Images;

/// See the module's overview.
#[derive(Debug)]
pub struct RingIo {
    /// Received next, last first.
    ready: Vec<VecFrame>,
    /// Received next from the second port, in this order: answers.
    answers: Vec<VecFrame>,
    /// What is sent is answered.
    pub answer: bool,
    /// At rest, longest first.
    done: Vec<VecFrame>,
    pool: VecPool,
    at: usize,
    /// What `rx_meta` says of checksums.
    checksum: ChecksumStatus,
    /// Frames taken by `tx`.
    pub sent: u64,
    /// Frames that were freed.
    pub freed: u64,
}

impl RingIo {
    /// With `frames` frames, whose IPv4 and L4 checksums the device says are `checksum`.
    pub fn new(frames: usize, checksum: ChecksumStatus) -> Result<Self> {
        // Some more, for ICMP errors.
        let pool = VecPool::new(frames + 256);
        let done = (0..frames)
            .map(|_| pool.frame(&[]))
            .collect::<Option<_>>()
            .context("the pool is too small")?;
        Ok(Self {
            ready: Vec::with_capacity(frames),
            answers: Vec::with_capacity(frames),
            answer: false,
            done,
            pool,
            at: 0,
            checksum,
            sent: 0,
            freed: 0,
        })
    }

    /// Makes the next `n` packets of `images` ready to be received; fewer where fewer frames rest. Returns how many.
    pub fn fill(&mut self, images: &Images, n: usize) -> usize {
        let n = n.min(self.done.len());
        for (k, mut frame) in self.done.drain(..n).enumerate() {
            let (head, len) = images.get(self.at + k);
            if frame.len() != len || !frame.copy_in(0, head) {
                reset(&mut frame, head, len);
            }
            frame.set_rx_meta(RxMeta {
                ip_checksum: self.checksum,
                l4_checksum: self.checksum,
                ..RxMeta::default()
            });
            self.ready.push(frame);
        }
        // The first to be received is the last in `ready`.
        self.ready.reverse();
        self.at += n;
        n
    }

    /// How many wait to be received.
    pub fn waiting(&self) -> usize {
        self.ready.len() + if self.answer { 0 } else { self.answers.len() }
    }
}

/// Gives the frame this length: `head` and then zeros.
fn reset(frame: &mut VecFrame, head: &[u8], len: usize) {
    const ZEROS: [u8; 256] = [0; 256];
    frame.truncate(0);
    frame.append(head);
    while frame.len() < len {
        frame.append(&ZEROS[..(len - frame.len()).min(ZEROS.len())]);
    }
}

/// The same packet the other way round, to the second port. No checksum changes by that.
fn turned_round(mut frame: VecFrame) -> VecFrame {
    let v6 = frame.read::<2>(12) == Some([0x86, 0xdd]);
    let (at, len) = if v6 { (22, 16) } else { (26, 4) };
    let bytes = frame.head_mut();
    let swap = |bytes: &mut [u8], at: usize, len: usize| {
        if let Some(both) = bytes.get_mut(at..at + 2 * len) {
            both.rotate_left(len);
        }
    };
    swap(bytes, 0, 6);
    swap(bytes, at, len);
    swap(bytes, at + 2 * len, 2);
    frame
}

impl PacketIo for RingIo {
    type Frame = VecFrame;
    type Pool = VecPool;

    #[inline]
    fn rx(&mut self, port: PortIndex, into: &mut Burst<VecFrame>) -> usize {
        if port.0 != 0 {
            let n = into.remaining_capacity().min(self.answers.len());
            if self.answer || n == 0 {
                return 0;
            }
            into.extend(self.answers.drain(..n));
            return n;
        }
        let n = into.remaining_capacity().min(self.ready.len());
        into.extend(self.ready.drain(self.ready.len() - n..).rev());
        n
    }

    #[inline]
    fn tx(&mut self, _port: PortIndex, burst: &mut Burst<VecFrame>) -> usize {
        let n = burst.len();
        self.sent += n as u64;
        if self.answer {
            self.answers.extend(burst.drain(..).map(turned_round));
            return n;
        }
        self.done.extend(burst.drain(..));
        n
    }

    fn free(&mut self, burst: &mut Burst<VecFrame>) {
        self.freed += burst.len() as u64;
        self.done.extend(burst.drain(..));
    }

    fn pool(&self) -> &VecPool {
        &self.pool
    }
}
