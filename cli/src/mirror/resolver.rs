//! Has the kernel resolve neighbours that workers use, and probe again those that are stale.
//!
//! # Overview
//!
//! `RTM_NEWNEIGH` with `NTF_USE` is, for the kernel, a packet of its own that uses the neighbour (net/core/neighbour.c,
//! `neigh_add` and `neigh_event_send`): an unknown or failed one becomes incomplete and is asked for by ARP or neighbour
//! solicitation, a stale one goes to delay and is probed, a reachable one is only marked as used, so that the kernel's
//! garbage collection spares it. The answer comes back by the mirror.
//!
//! Many workers ask for one neighbour at once, and go on asking while it is stale: about one request per neighbour and
//! second is passed on.
//!
//! # Life cycle
//!
//! [`Resolver::spawn`] starts a thread, because the kernel may hold a request up while others change its configuration;
//! dropping the resolver stops it. [`Resolver::ask`] never blocks.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ahash::RandomState;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use dataplane::rib::IfIndex;
use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage};
use netlink_packet_route::route::RouteType;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::socket::{NetlinkError, Requests};

/// One request per neighbour passes in this time. A worker asks once a second: a little less here, or its next request
/// would come too early by a hair, and be lost until the one after.
pub(super) const INTERVAL: Duration = Duration::from_millis(900);
/// Requests that may wait.
const QUEUE: usize = 4096;

/// What the resolver counted. Its thread writes `sent` and `refused`, those who ask write `dropped`.
#[derive(Debug, Default)]
pub struct ResolverStats {
    sent: AtomicU64,
    refused: AtomicU64,
    dropped: AtomicU64,
}

impl ResolverStats {
    /// Requests passed on to the kernel.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Requests that the kernel refused: the interface is down or gone, or its neighbour table is full.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Requests that found the queue full.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// The running resolver. Dropping it stops it.
#[derive(Debug)]
pub struct Resolver {
    queue: Option<Sender<(IfIndex, IpAddr)>>,
    thread: Option<JoinHandle<()>>,
    stats: Arc<ResolverStats>,
}

impl Resolver {
    /// Starts the thread, in the calling thread's network namespace.
    pub fn spawn() -> Result<Self, NetlinkError> {
        let requests = Requests::open()?;
        let stats = Arc::new(ResolverStats::default());
        let (queue, receiver) = bounded(QUEUE);
        let writer = stats.clone();
        let thread = std::thread::Builder::new()
            .name("resolver".to_owned())
            .spawn(move || run(receiver, requests, &writer))
            .map_err(|source| NetlinkError::Socket {
                doing: "start the resolver's thread",
                source,
            })?;
        Ok(Self { queue: Some(queue), thread: Some(thread), stats })
    }

    /// Asks for `addr` on `iface`. Never blocks; a request too many is dropped and counted, the worker asks again.
    pub fn ask(&self, iface: IfIndex, addr: IpAddr) {
        if let Some(queue) = &self.queue
            && let Err(TrySendError::Full(_)) = queue.try_send((iface, addr))
        {
            self.stats.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What it counted.
    pub fn stats(&self) -> &Arc<ResolverStats> {
        &self.stats
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.queue = None; // the thread ends when nobody can ask any more
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the resolver's thread panicked");
        }
    }
}

fn run(queue: Receiver<(IfIndex, IpAddr)>, mut requests: Requests, stats: &ResolverStats) {
    let mut limit = Limit::default();
    loop {
        match queue.recv_timeout(INTERVAL) {
            Ok((iface, addr)) => {
                if !limit.passes((iface, addr), Instant::now()) {
                    continue;
                }
                stats.sent.fetch_add(1, Ordering::Relaxed);
                let asked = requests.ask(use_neighbour(iface, addr), NLM_F_CREATE, || {
                    format!("resolve {addr} on interface {}", iface.0)
                });
                if let Err(error) = asked {
                    stats.refused.fetch_add(1, Ordering::Relaxed);
                    tracing::debug!(%error, "a neighbour was not asked for");
                }
            }
            Err(RecvTimeoutError::Timeout) => limit.forget(Instant::now()),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn use_neighbour(iface: IfIndex, addr: IpAddr) -> RouteNetlinkMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = if addr.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.ifindex = iface.0;
    message.header.flags = NeighbourFlags::Use;
    message.header.kind = RouteType::Unspec;
    message.attributes.push(NeighbourAttribute::Destination(addr.into()));
    RouteNetlinkMessage::NewNeighbour(message)
}

/// When each neighbour was asked for last.
#[derive(Debug, Default)]
struct Limit {
    last: HashMap<(IfIndex, IpAddr), Instant, RandomState>,
    swept: Option<Instant>,
}

impl Limit {
    fn passes(&mut self, neighbour: (IfIndex, IpAddr), now: Instant) -> bool {
        // Under load the queue is never quiet: sweep once an interval all the same.
        match self.swept {
            Some(swept) if now.duration_since(swept) < INTERVAL => {}
            Some(_) => self.forget(now),
            None => self.swept = Some(now),
        }
        match self.last.get(&neighbour) {
            Some(last) if now.duration_since(*last) < INTERVAL => false,
            _ => {
                self.last.insert(neighbour, now);
                true
            }
        }
    }

    fn forget(&mut self, now: Instant) {
        self.swept = Some(now);
        self.last.retain(|_, last| now.duration_since(*last) < INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_request_per_neighbour_and_second() {
        let mut limit = Limit::default();
        let start = Instant::now();
        let one = (IfIndex(1), "10.0.0.1".parse().unwrap());
        let other = (IfIndex(2), "10.0.0.1".parse().unwrap());
        assert!(limit.passes(one, start));
        let soon = start + INTERVAL - Duration::from_millis(1);
        assert!(!limit.passes(one, soon));
        assert!(limit.passes(other, soon));
        assert!(limit.passes(one, start + INTERVAL));
        assert!(!limit.passes(one, start + INTERVAL));
    }

    #[test]
    fn old_requests_are_forgotten_even_when_the_queue_is_never_quiet() {
        let mut limit = Limit::default();
        let start = Instant::now();
        for i in 0..1000u32 {
            assert!(limit.passes((IfIndex(i), "::1".parse().unwrap()), start));
        }
        assert!(limit.passes((IfIndex(0), "::2".parse().unwrap()), start + INTERVAL));
        assert_eq!(limit.last.len(), 1);
    }
}
