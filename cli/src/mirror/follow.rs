//! The mirror's thread: reads notifications, gathers bursts, dumps again where there is doubt.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use netlink_packet_core::NetlinkHeader;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::neighbour::NeighbourMessage;
use netlink_packet_route::route::RouteMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::model::{Model, Snapshot};
use super::nexthop::{HEADER as NHMSG, RTM_GETNEXTHOP};
use super::socket::{
    Dump, NetlinkError, Notifications, Received, Requests, encode_dump, encode_raw_dump, messages,
};
use super::translate::{Event, translate};
use super::{Batch, Cause, MirrorConfig, MirrorStats};

/// `RTNLGRP_…` of linux/rtnetlink.h: links, neighbours, IPv4 addresses and routes, IPv6 ones, nexthop objects.
const GROUPS: [u32; 7] = [1, 3, 5, 7, 9, 11, 32];

/// A burst is over when nothing came for this long …
const QUIET: Duration = Duration::from_millis(1);
/// … or when it has been gathered for this long; for longer where the sink took longer, up to …
const WINDOW: Duration = Duration::from_millis(5);
/// … this.
const LONGEST_WINDOW: Duration = Duration::from_millis(200);
/// A dump that the kernel's state changed under is taken again so often, before what came is used and another is due.
const ATTEMPTS: u32 = 4;
/// After a dump that failed.
const RETRY: Duration = Duration::from_millis(200);

/// What a dump has to look at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    Routes,
    All,
}

/// A dump that is due.
#[derive(Clone, Copy, Debug)]
struct Due {
    scope: Scope,
    at: Instant,
}

pub(super) struct Follower<S> {
    model: Model,
    notifications: Notifications,
    requests: Requests,
    stop: Arc<OwnedFd>,
    stats: Arc<MirrorStats>,
    sink: S,
    due: Option<Due>,
    /// No dump before: a dump may take at most about half of the time.
    not_before: Instant,
    /// How long the sink took last.
    delivery: Duration,
}

impl<S: FnMut(Batch)> Follower<S> {
    /// Subscribes, then dumps: what changes in between is notified, and taking it in again does no harm.
    pub(super) fn start(
        config: MirrorConfig,
        stop: Arc<OwnedFd>,
        stats: Arc<MirrorStats>,
        sink: S,
    ) -> Result<Self, NetlinkError> {
        let mut follower = Self {
            model: Model::new(config.twins),
            notifications: Notifications::open(&GROUPS, config.receive_buffer)?,
            requests: Requests::open()?,
            stop,
            stats,
            sink,
            due: None,
            not_before: Instant::now(),
            delivery: Duration::ZERO,
        };
        follower.dump(Scope::All)?;
        Ok(follower)
    }

    pub(super) fn run(mut self) {
        self.deliver(Cause::Start);
        while !self.wait() {
            self.gather();
            self.deliver(Cause::Notified);
            if self.due.is_some_and(|due| Instant::now() >= due.at) {
                self.resync();
            }
        }
    }

    /// Waits for a notification or a dump's time; true when it is time to stop.
    fn wait(&self) -> bool {
        let timeout = self.due.map(|due| due.at.saturating_duration_since(Instant::now()));
        let mut fds = [
            PollFd::new(&self.notifications, PollFlags::IN),
            PollFd::new(&*self.stop, PollFlags::IN),
        ];
        // Interrupted: as if nothing had come.
        let _ = poll(&mut fds, timeout.map(timespec).as_ref());
        fds[1].revents().contains(PollFlags::IN)
    }

    /// Takes in notifications until there is quiet or the window closes.
    fn gather(&mut self) {
        let opened = Instant::now();
        let window = self.delivery.clamp(WINDOW, LONGEST_WINDOW);
        let mut reads = 0u32;
        loop {
            match self.notifications.read() {
                Ok(Received::Messages(len)) => {
                    let bytes = self.notifications.bytes(len);
                    let mut doubt = false;
                    for message in messages(bytes) {
                        count(&self.stats.messages, 1);
                        let Some(event) = understand(&self.stats, message) else { continue };
                        doubt |= self.model.take(event).0;
                    }
                    if doubt {
                        self.doubt(Scope::Routes, QUIET);
                    }
                }
                Ok(Received::Empty) => {
                    let left = window.saturating_sub(opened.elapsed()).min(QUIET);
                    let mut fds = [PollFd::new(&self.notifications, PollFlags::IN)];
                    if left.is_zero() || !matches!(poll(&mut fds, Some(&timespec(left))), Ok(1..)) {
                        return;
                    }
                }
                Ok(Received::Overrun) => {
                    count(&self.stats.overruns, 1);
                    tracing::warn!(
                        "the kernel dropped rtnetlink notifications: taking a full dump"
                    );
                    self.doubt(Scope::All, Duration::ZERO);
                    return;
                }
                Err(error) => {
                    tracing::error!(%error, "reading rtnetlink notifications failed: taking a full dump");
                    self.doubt(Scope::All, RETRY);
                    return;
                }
            }
            reads += 1;
            if reads.is_multiple_of(64) && opened.elapsed() >= window {
                return;
            }
        }
    }

    /// Makes a dump due.
    fn doubt(&mut self, scope: Scope, after: Duration) {
        let at = (Instant::now() + after).max(self.not_before);
        self.due = Some(match self.due {
            Some(due) => Due { scope: due.scope.max(scope), at: due.at.min(at) },
            None => Due { scope, at },
        });
    }

    /// Takes the dump that is due and tells what differs.
    fn resync(&mut self) {
        let Some(due) = self.due.take() else { return };
        if due.scope == Scope::All {
            // What waits is older than the dump. Under a flood that does not end, the rest is taken in afterwards.
            for _ in 0..100_000 {
                if matches!(self.notifications.read(), Ok(Received::Empty) | Err(_)) {
                    break;
                }
            }
        }
        count(&self.stats.resyncs, 1);
        let started = Instant::now();
        if let Err(error) = self.dump(due.scope) {
            tracing::error!(%error, "dumping the kernel's state failed: trying again");
            self.doubt(due.scope, RETRY);
        }
        self.not_before = Instant::now() + started.elapsed();
        tracing::debug!(scope = ?due.scope, took = ?started.elapsed(), routes = self.model.routes(), "resynchronised");
        self.deliver(Cause::Resync);
    }

    /// Dumps into the model.
    fn dump(&mut self, scope: Scope) -> Result<(), NetlinkError> {
        for attempt in 1.. {
            let mut snapshot = Snapshot::default();
            let whole = self.dump_once(scope, &mut snapshot)?;
            if !whole && attempt < ATTEMPTS {
                continue;
            }
            match scope {
                Scope::All => self.model.replace(snapshot),
                Scope::Routes => self.model.replace_routes(snapshot.routes),
            }
            if !whole {
                self.doubt(scope, RETRY);
            }
            break;
        }
        Ok(())
    }

    fn dump_once(&mut self, scope: Scope, into: &mut Snapshot) -> Result<bool, NetlinkError> {
        let mut route4 = RouteMessage::default();
        route4.header.address_family = AddressFamily::Inet;
        let mut route6 = RouteMessage::default();
        route6.header.address_family = AddressFamily::Inet6;
        let mut requests = vec![
            (encode_raw_dump(RTM_GETNEXTHOP, &[0; NHMSG]), "nexthop objects"),
            (encode_dump(RouteNetlinkMessage::GetRoute(route4)), "IPv4 routes"),
            (encode_dump(RouteNetlinkMessage::GetRoute(route6)), "IPv6 routes"),
        ];
        if scope == Scope::All {
            let neighbours = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
            requests
                .push((encode_dump(RouteNetlinkMessage::GetLink(LinkMessage::default())), "links"));
            requests.push((
                encode_dump(RouteNetlinkMessage::GetAddress(AddressMessage::default())),
                "addresses",
            ));
            requests.push((encode_dump(neighbours), "neighbours"));
        }
        let mut whole = true;
        for (request, what) in requests {
            let stats = &self.stats;
            let outcome = self.requests.dump(request, what, |header, payload| {
                if let Some(event) = understand(stats, Ok((*header, payload))) {
                    into.take(event);
                }
            });
            match outcome {
                Ok(outcome) => whole &= outcome == Dump::Whole,
                // Before Linux 5.3 there are no nexthop objects; without IPv6 nobody answers for it.
                Err(error) if is_unsupported(&error) => tracing::debug!(%error, what, "not dumped"),
                Err(error) => return Err(error),
            }
        }
        Ok(whole)
    }

    /// Tells what changed.
    fn deliver(&mut self, cause: Cause) {
        let changes = self.model.changes();
        self.stats.routes.store(self.model.routes() as u64, Ordering::Relaxed);
        if changes.is_empty() && cause != Cause::Start {
            return;
        }
        count(&self.stats.changes, changes.len() as u64);
        count(&self.stats.batches, 1);
        let started = Instant::now();
        (self.sink)(Batch { cause, changes });
        self.delivery = started.elapsed();
    }
}

/// One message's meaning, if it has one; what cannot be understood is counted and logged.
fn understand(
    stats: &MirrorStats,
    message: Result<(NetlinkHeader, &[u8]), NetlinkError>,
) -> Option<Event> {
    let failed = match message {
        Ok((header, payload)) => match translate(&header, payload) {
            Ok(event) => return event,
            Err(error) => format!("message type {}: {error}", header.message_type),
        },
        Err(error) => error.to_string(),
    };
    count(&stats.not_understood, 1);
    tracing::warn!(
        error = failed,
        "an rtnetlink message could not be understood and is not mirrored"
    );
    None
}

fn is_unsupported(error: &NetlinkError) -> bool {
    use rustix::io::Errno;
    [Errno::OPNOTSUPP, Errno::AFNOSUPPORT, Errno::PFNOSUPPORT]
        .iter()
        .any(|e| error.errno() == Some(e.raw_os_error()))
}

/// Adds to a counter that this thread alone writes.
fn count(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}
