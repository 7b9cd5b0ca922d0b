//! Packet I/O over plain vectors: tests push frames in, run the pipeline, and read what was sent.
//!
//! One value stands for one worker's queues, as every [`PacketIo`]. Its queues are made once, for a fixed number of frames;
//! passing frames through them touches the heap no more.

use std::collections::VecDeque;

use crate::frame::{Frame, FramePool};
use crate::io::{Burst, PacketIo, PortIndex, Unsendable};
use crate::vec_frame::{VecFrame, VecPool};

/// What one port of a [`VecIo`] has seen, in frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VecPortCounts {
    /// Handed to the worker by `rx`.
    pub rx: u64,
    /// Taken from the worker by `tx`.
    pub tx: u64,
    /// Left in the burst by `tx`, once per call and frame.
    pub tx_refused: u64,
    /// Calls of `tx` with at least one frame.
    pub tx_calls: u64,
}

#[derive(Debug, Default)]
struct VecPort {
    rx: VecDeque<VecFrame>,
    tx: Vec<VecFrame>,
    tx_capacity: usize,
    tx_longest: usize,
    unsendable: Unsendable,
    counts: VecPortCounts,
}

/// A worker's queues on a number of ports, in plain memory.
#[derive(Debug)]
pub struct VecIo {
    ports: Vec<VecPort>,
    pool: VecPool,
    freed: u64,
}

impl VecIo {
    /// As many `ports`, each with queues for as many frames as the pool has segments.
    pub fn new(ports: usize, pool: VecPool) -> Self {
        let room = pool.capacity();
        let ports = (0..ports)
            .map(|_| VecPort {
                rx: VecDeque::with_capacity(room),
                tx: Vec::with_capacity(room),
                tx_capacity: room,
                tx_longest: usize::MAX,
                unsendable: Unsendable::default(),
                counts: VecPortCounts::default(),
            })
            .collect();
        Self { ports, pool, freed: 0 }
    }

    /// Puts a frame at the end of the port's receive queue. A port that is not there drops it.
    pub fn push_rx(&mut self, port: PortIndex, frame: VecFrame) {
        if let Some(port) = self.ports.get_mut(usize::from(port.0)) {
            port.rx.push_back(frame);
        }
    }

    /// How many frames still wait in the port's receive queue.
    pub fn rx_waiting(&self, port: PortIndex) -> usize {
        self.ports.get(usize::from(port.0)).map_or(0, |port| port.rx.len())
    }

    /// What was sent on the port and not taken yet.
    pub fn sent(&self, port: PortIndex) -> &[VecFrame] {
        self.ports.get(usize::from(port.0)).map_or(&[], |port| &port.tx)
    }

    /// Takes what was sent on the port, oldest first, making room for more.
    pub fn drain_sent(&mut self, port: PortIndex) -> impl Iterator<Item = VecFrame> + '_ {
        self.ports.get_mut(usize::from(port.0)).into_iter().flat_map(|port| port.tx.drain(..))
    }

    /// From now on the port takes frames until `capacity` of them wait in [`sent`](Self::sent): 0 takes none.
    pub fn set_tx_capacity(&mut self, port: PortIndex, capacity: usize) {
        if let Some(port) = self.ports.get_mut(usize::from(port.0)) {
            port.tx_capacity = capacity;
        }
    }

    /// From now on the port cannot send frames longer than `longest` bytes, and drops them, as a device without segments.
    pub fn set_tx_longest(&mut self, port: PortIndex, longest: usize) {
        if let Some(port) = self.ports.get_mut(usize::from(port.0)) {
            port.tx_longest = longest;
        }
    }

    /// The port's counts; zeros for a port that is not there.
    pub fn counts(&self, port: PortIndex) -> VecPortCounts {
        self.ports.get(usize::from(port.0)).map_or_else(VecPortCounts::default, |port| port.counts)
    }

    /// How many frames went through [`PacketIo::free`].
    pub fn freed(&self) -> u64 {
        self.freed
    }
}

impl PacketIo for VecIo {
    type Frame = VecFrame;
    type Pool = VecPool;

    fn rx(&mut self, port: PortIndex, into: &mut Burst<VecFrame>) -> usize {
        let Some(port) = self.ports.get_mut(usize::from(port.0)) else { return 0 };
        let n = into.remaining_capacity().min(port.rx.len());
        into.extend(port.rx.drain(..n));
        port.counts.rx += n as u64;
        n
    }

    fn tx(&mut self, port: PortIndex, burst: &mut Burst<VecFrame>) -> usize {
        let Some(port) = self.ports.get_mut(usize::from(port.0)) else { return 0 };
        if burst.is_empty() {
            return 0;
        }
        let (longest, lost) = (port.tx_longest, &mut port.unsendable);
        burst.retain(|frame| {
            let fits = frame.len() <= longest;
            lost.too_long += u64::from(!fits);
            lost.bytes += if fits { 0 } else { frame.len() as u64 };
            fits
        });
        let n = port.tx_capacity.saturating_sub(port.tx.len()).min(burst.len());
        port.tx.extend(burst.drain(..n));
        port.counts.tx += n as u64;
        port.counts.tx_refused += burst.len() as u64;
        port.counts.tx_calls += 1;
        n
    }

    fn unsendable(&mut self, port: PortIndex) -> Unsendable {
        let port = self.ports.get_mut(usize::from(port.0));
        port.map(|port| std::mem::take(&mut port.unsendable)).unwrap_or_default()
    }

    fn free(&mut self, burst: &mut Burst<VecFrame>) {
        self.freed += burst.len() as u64;
        self.pool.put_all(burst.drain(..));
    }

    fn pool(&self) -> &VecPool {
        &self.pool
    }
}

/// Where `rx` gets a frame with given bytes: the common first line of a test.
impl VecIo {
    /// Copies `bytes` into a frame of the pool and puts it in the port's receive queue; false when the pool is empty.
    pub fn push_bytes(&mut self, port: PortIndex, bytes: &[u8]) -> bool {
        let frame = self.pool.frame(bytes);
        frame.map(|frame| self.push_rx(port, frame)).is_some()
    }

    /// A fresh, empty frame of the pool.
    pub fn alloc(&self) -> Option<VecFrame> {
        self.pool.alloc()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::BURST;

    const PORT: PortIndex = PortIndex(0);
    const NOWHERE: PortIndex = PortIndex(9);

    #[test]
    fn frames_pass_in_order_and_in_bursts() {
        let pool = VecPool::new(64);
        let mut io = VecIo::new(1, pool.clone());
        for i in 0..40 {
            assert!(io.push_bytes(PORT, &[i]));
        }
        let mut burst = Burst::new();
        assert_eq!(io.rx(PORT, &mut burst), BURST);
        assert_eq!(io.rx(PORT, &mut burst), 0, "the burst is full");
        assert_eq!(io.tx(PORT, &mut burst), BURST);
        assert_eq!(io.rx(PORT, &mut burst), 8);
        io.free(&mut burst);
        assert_eq!((io.freed(), pool.outstanding()), (8, BURST));
        let sent: Vec<u8> = io.drain_sent(PORT).map(|frame| frame.head()[0]).collect();
        assert_eq!(sent, (0..32).collect::<Vec<_>>());
        assert_eq!(pool.outstanding(), 0);
    }

    #[test]
    fn a_full_port_leaves_the_rest_in_the_burst() {
        let pool = VecPool::new(8);
        let mut io = VecIo::new(1, pool.clone());
        io.set_tx_capacity(PORT, 2);
        let mut burst: Burst<_> = (0..3).map(|i| pool.frame(&[i]).unwrap()).collect();
        assert_eq!(io.tx(PORT, &mut burst), 2);
        assert_eq!((burst.len(), burst[0].head()), (1, &[2][..]));
        assert_eq!(io.tx(PORT, &mut burst), 0);
        assert_eq!(io.counts(PORT), VecPortCounts { rx: 0, tx: 2, tx_refused: 2, tx_calls: 2 });
        assert_eq!(io.drain_sent(PORT).count(), 2);
        assert_eq!(io.tx(PORT, &mut burst), 1);
    }

    #[test]
    fn a_port_that_is_not_there_takes_and_gives_nothing() {
        let pool = VecPool::new(2);
        let mut io = VecIo::new(1, pool.clone());
        assert!(io.push_bytes(NOWHERE, &[1]));
        let mut burst = Burst::new();
        assert_eq!(io.rx(NOWHERE, &mut burst), 0);
        burst.push(io.alloc().unwrap());
        assert_eq!((io.tx(NOWHERE, &mut burst), burst.len()), (0, 1));
        assert_eq!(
            (io.sent(NOWHERE).len(), io.drain_sent(NOWHERE).count(), io.rx_waiting(NOWHERE)),
            (0, 0, 0)
        );
        drop(burst);
        assert_eq!(pool.outstanding(), 0);
    }
}
