//! The twin thread's work: frames from worker queues to TAPs and back.
//!
//! It sleeps in one `poll` over all TAPs and the waker's eventfd. Each turn moves a bounded number of frames each way, so
//! that neither side starves the other. Frames that find no room are dropped here: freeing into the pool is safe from
//! any thread.

use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrayvec::ArrayVec;
use packet::{Frame, FramePool, PortIndex};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tun_rs::SyncDevice;

use super::{TwinQueues, TwinStats, TwinWaker};

/// Frames that one turn takes from one queue or one TAP.
const PER_TURN: usize = 64;
/// Pieces of one frame that are written at once: jumbo frames of 64 KiB in 2 KiB segments, and a VLAN tag put back.
const PIECES: usize = 64;
/// The largest frame that the kernel can send: 64 KiB of IP, Ethernet, two VLAN tags.
const LONGEST: usize = 65_536 + 14 + 8;
/// Where the outer VLAN tag stands: behind the two MAC addresses.
const TAG_OFFSET: usize = 12;

/// One TAP as the thread sees it.
pub(super) struct Tap {
    pub(super) port: PortIndex,
    /// Its index among the queues.
    pub(super) worker: usize,
    pub(super) name: String,
    pub(super) device: Arc<SyncDevice>,
    pub(super) stats: Arc<TwinStats>,
}

pub(super) struct Carrier<P: FramePool> {
    pub(super) taps: Vec<Tap>,
    pub(super) queues: Vec<TwinQueues<P::Frame>>,
    pub(super) pool: P,
    pub(super) waker: Arc<TwinWaker>,
    pub(super) stop: Arc<AtomicBool>,
}

impl<P: FramePool> Carrier<P> {
    /// Carries frames until told to stop.
    pub(super) fn run(self) {
        let mut buffer = vec![0u8; LONGEST];
        let mut gone = vec![false; self.taps.len()];
        loop {
            let mut fds = vec![PollFd::new(&*self.waker, PollFlags::IN)];
            let mut polled = Vec::with_capacity(self.taps.len());
            for (at, tap) in self.taps.iter().enumerate() {
                if !gone.get(at).is_some_and(|gone| *gone) {
                    fds.push(PollFd::new(&*tap.device, PollFlags::IN));
                    polled.push(at);
                }
            }
            // Until a TAP vanishes under us, which ends the inner loop to build the list anew.
            'polling: loop {
                let moved = self.give_to_kernel();
                let may_sleep = !moved
                    && self
                        .waker
                        .may_sleep(|| self.queues.iter().all(|queue| queue.to_twin.is_empty()));
                let now = Timespec { tv_sec: 0, tv_nsec: 0 };
                // Interrupted: as if nothing had happened, and round again.
                let _ = poll(&mut fds, if may_sleep { None } else { Some(&now) });
                self.waker
                    .awake(fds.first().is_some_and(|fd| fd.revents().contains(PollFlags::IN)));
                if self.stop.load(Ordering::Acquire) {
                    return;
                }
                for (fd, at) in fds.iter().skip(1).zip(&polled) {
                    let Some(tap) = self.taps.get(*at) else { continue };
                    let events = fd.revents();
                    if events.contains(PollFlags::IN) {
                        self.take_from_kernel(tap, &mut buffer);
                    } else if events.intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL) {
                        tracing::error!(
                            twin = tap.name,
                            "the twin was deleted: its port stays without one"
                        );
                        if let Some(gone) = gone.get_mut(*at) {
                            *gone = true;
                        }
                        break 'polling;
                    }
                }
            }
        }
    }

    /// Writes what workers queued; true when there was something.
    fn give_to_kernel(&self) -> bool {
        let mut moved = false;
        for queue in &self.queues {
            for _ in 0..PER_TURN {
                let Some((port, frame)) = queue.to_twin.pop() else { break };
                moved = true;
                // A handful of ports: a scan is as quick as a table.
                if let Some(tap) = self.taps.iter().find(|tap| tap.port == port) {
                    write(tap, &frame);
                }
            }
        }
        moved
    }

    /// Reads what the kernel sent on `tap`.
    fn take_from_kernel(&self, tap: &Tap, buffer: &mut [u8]) {
        let Some(queue) = self.queues.get(tap.worker) else { return };
        for _ in 0..PER_TURN {
            let bytes = match rustix::io::read(&tap.device, &mut *buffer) {
                Ok(len) => buffer.get(..len).unwrap_or_default(),
                Err(Errno::INTR) => continue,
                // Nothing more; or the TAP is gone, which poll says too.
                Err(_) => return,
            };
            tap.stats.from_kernel.add(1);
            tap.stats.from_kernel_bytes.add(bytes.len() as u64);
            let frame =
                self.pool.alloc().and_then(|mut frame| frame.append(bytes).then_some(frame));
            match frame {
                None => tap.stats.no_memory.add(1),
                Some(frame) => {
                    if queue.from_twin.push((tap.port, frame)).is_err() {
                        tap.stats.queue_full.add(1);
                    }
                }
            }
        }
    }
}

/// Hands one frame to the kernel, from where its segments lie.
fn write<F: Frame>(tap: &Tap, frame: &F) {
    let tag = frame.rx_meta().vlan_tci.map(|tci| {
        let [high, low] = tci.to_be_bytes();
        [0x81, 0x00, high, low]
    });
    let Some(pieces) = pieces(frame, tag.as_ref()) else {
        tap.stats.kernel_refused.add(1);
        return;
    };
    match rustix::io::writev(&tap.device, &pieces) {
        Ok(len) => {
            tap.stats.to_kernel.add(1);
            tap.stats.to_kernel_bytes.add(len as u64);
        }
        // EIO: the twin is administratively down. EINVAL: shorter than an Ethernet header. ENOMEM, EAGAIN: no memory.
        Err(_) => tap.stats.kernel_refused.add(1),
    }
}

/// The frame's segments, with the VLAN tag that the device stripped between the addresses and the type. `None` when they
/// are too many, or end before the tag's place.
fn pieces<'a, F: Frame>(
    frame: &'a F,
    tag: Option<&'a [u8; 4]>,
) -> Option<ArrayVec<IoSlice<'a>, PIECES>> {
    let mut pieces = ArrayVec::new();
    let mut tag = tag;
    let mut offset = 0usize;
    for segment in frame.segments() {
        let mut rest = segment;
        if let Some(bytes) = tag
            && let Some((before, behind)) =
                segment.split_at_checked(TAG_OFFSET.saturating_sub(offset))
        {
            pieces.try_push(IoSlice::new(before)).ok()?;
            pieces.try_push(IoSlice::new(bytes)).ok()?;
            rest = behind;
            tag = None;
        }
        pieces.try_push(IoSlice::new(rest)).ok()?;
        offset += segment.len();
    }
    tag.is_none().then_some(pieces)
}

#[cfg(test)]
mod tests {
    use packet::{RxMeta, VecFrame};

    use super::*;

    fn joined(frame: &VecFrame, tag: Option<&[u8; 4]>) -> Option<Vec<u8>> {
        Some(pieces(frame, tag)?.iter().flat_map(|piece| piece.iter().copied()).collect())
    }

    #[test]
    fn a_stripped_tag_is_put_back_wherever_the_segments_are_split() {
        let bytes: Vec<u8> = (0..60).collect();
        let mut tagged = bytes.clone();
        tagged.splice(12..12, [0x81, 0, 0x20, 7]);
        for split in 1..59 {
            let frame = VecFrame::from_split(&bytes, &[split])
                .with_rx_meta(RxMeta { vlan_tci: Some(0x2007), ..RxMeta::default() });
            assert_eq!(
                joined(&frame, Some(&[0x81, 0, 0x20, 7])).unwrap(),
                tagged,
                "split at {split}"
            );
            assert_eq!(joined(&frame, None).unwrap(), bytes, "split at {split}");
        }
        let frame = VecFrame::from_split(&bytes, &[5, 9, 11, 13]);
        assert_eq!(joined(&frame, Some(&[0x81, 0, 0x20, 7])).unwrap(), tagged);
    }

    #[test]
    fn a_frame_that_ends_before_the_tag_is_refused() {
        assert_eq!(joined(&VecFrame::from_bytes(&[0; 11]), Some(&[0; 4])), None);
        assert!(joined(&VecFrame::from_bytes(&[0; 12]), Some(&[0; 4])).is_some());
    }

    #[test]
    fn too_many_segments_are_refused() {
        let offsets: Vec<usize> = (1..100).collect();
        assert_eq!(joined(&VecFrame::from_split(&[0; 200], &offsets), None), None);
    }
}
