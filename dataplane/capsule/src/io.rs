//! A worker's queues on every port, as the pipeline sees them.

use std::sync::{Arc, atomic::Ordering};

use packet::{Burst, PacketIo, PortIndex, Unsendable};

use crate::{
    affinity,
    error::{Error, Result},
    mbuf::Mbuf,
    pool::{MbufPool, MbufPools},
    port::Port,
    queue::{self, PacketRx, PacketTx, PortQueue},
};

/// One worker's queues on every port, in the ports' order. It belongs to that worker until it is dropped.
#[derive(Debug)]
pub struct PortIo {
    queues: Vec<PortQueue>,
    pool: MbufPool,
}

impl PortIo {
    /// Hands out the queues of started `ports` to one worker per core of `cores`, in their order; frames that a worker makes
    /// come from the pool of its core's socket.
    ///
    /// Where a device has fewer queues than there are workers, the first workers poll it and the others send on its queues
    /// under a lock.
    ///
    /// # Errors
    ///
    /// [`Error::PortStopped`]; [`Error::InUse`] while earlier ones are out.
    pub fn for_workers(ports: &[Port], cores: &[usize], pools: &MbufPools) -> Result<Vec<PortIo>> {
        let workers = u16::try_from(cores.len()).map_err(|_| Error::Config {
            what: "number of workers",
            value: cores.len().to_string(),
            reason: "too many".into(),
        })?;
        let worker_pools = cores
            .iter()
            .map(|&core| pools.on(affinity::socket_of(core)))
            .collect::<Result<Vec<_>>>()?;
        for (claimed, port) in ports.iter().enumerate() {
            let in_use = port.shared.users.compare_exchange(
                0,
                usize::from(workers),
                Ordering::AcqRel,
                Ordering::Acquire,
            );
            let error = if in_use.is_err() {
                Error::InUse { port: port.name().into() }
            } else if !port.shared.started.load(Ordering::Acquire) {
                port.shared.users.store(0, Ordering::Release);
                Error::PortStopped { port: port.name().into() }
            } else {
                continue;
            };
            for earlier in ports.iter().take(claimed) {
                earlier.shared.users.store(0, Ordering::Release);
            }
            return Err(error);
        }
        let io = |(worker, pool): (u16, MbufPool)| PortIo {
            queues: ports
                .iter()
                .map(|port| PortQueue::new(Arc::clone(&port.shared), worker, workers, pool.clone()))
                .collect(),
            pool,
        };
        Ok((0..workers).zip(worker_pools).map(io).collect())
    }

    /// Whether the port's link is up, as last heard: `tx` refuses frames while it is not.
    #[inline]
    pub fn link_up(&self, port: PortIndex) -> bool {
        self.queues.get(usize::from(port.0)).is_some_and(PortQueue::link_up)
    }

    /// The queues of one port.
    pub fn queue_mut(&mut self, port: PortIndex) -> Option<&mut PortQueue> {
        self.queues.get_mut(usize::from(port.0))
    }
}

impl PacketIo for PortIo {
    type Frame = Mbuf;
    type Pool = MbufPool;

    #[inline]
    fn rx(&mut self, port: PortIndex, into: &mut Burst<Mbuf>) -> usize {
        self.queues.get_mut(usize::from(port.0)).map_or(0, |queue| queue.rx(into))
    }

    #[inline]
    fn tx(&mut self, port: PortIndex, burst: &mut Burst<Mbuf>) -> usize {
        self.queues.get_mut(usize::from(port.0)).map_or(0, |queue| queue.tx(burst))
    }

    fn unsendable(&mut self, port: PortIndex) -> Unsendable {
        let queue = self.queues.get_mut(usize::from(port.0));
        queue.map(PortQueue::take_unsendable).unwrap_or_default()
    }

    #[inline]
    fn free(&mut self, burst: &mut Burst<Mbuf>) {
        queue::free_burst(burst);
    }

    fn pool(&self) -> &MbufPool {
        &self.pool
    }
}
