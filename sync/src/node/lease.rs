//! The workers' lease, and how a node notices that it was stopped.
//!
//! # Overview
//!
//! Workers forward only while the lease lasts, and [`super::Node::poll`] renews it each time. A node that was not at work for longer
//! than the lease (its process was stopped, its machine was suspended) may have been replaced meanwhile. It finds that out before it
//! renews: it has been through all its sockets, and has heard every peer that was alive before, or waited [`HEAR`] for it. If one of
//! them has a greater claim it has stepped down by then. What lay in the sockets does not count as heard: it may be older than the
//! takeover, and what came after it may have found the socket's buffer full.
//!
//! # Life cycle, who may touch what
//!
//! [`super::Node`] calls [`Pulse::beat`] whenever it is called itself.

use packet::Tick;

use super::config::{MS, after};

/// What comes so soon after a stop may have been in the sockets.
const STALE: u64 = 2 * MS;
/// How long a node that was stopped waits for its peers' word.
const HEAR: u64 = 50 * MS;

#[derive(Clone, Copy, Debug)]
struct Gap {
    /// It was noticed then.
    noticed: Tick,
    /// Polls since.
    polls: u32,
}

/// When a node was last at work.
#[derive(Debug)]
pub(super) struct Pulse {
    lease: u64,
    last: Tick,
    gap: Option<Gap>,
}

impl Pulse {
    pub(super) const fn new(lease: u64, now: Tick) -> Self {
        Self { lease, last: now, gap: None }
    }

    /// The node is at work. True: it was not for too long.
    pub(super) fn beat(&mut self, now: Tick) -> bool {
        let gap = after(self.last, self.lease) < now;
        self.last = self.last.max(now);
        if gap {
            self.gap = Some(Gap { noticed: now, polls: 0 });
        }
        gap
    }

    /// What comes now was sent a moment ago.
    pub(super) fn is_fresh(&self, now: Tick) -> bool {
        self.gap.is_none_or(|gap| gap.polls > 0 && after(gap.noticed, STALE) <= now)
    }

    /// At the end of a poll: may the lease be renewed? `heard`: all that were alive were heard since.
    pub(super) fn may_renew(&mut self, heard: bool, now: Tick) -> bool {
        let Some(gap) = &mut self.gap else { return true };
        gap.polls += 1;
        // What came in while it was stopped lies in the sockets until the pass after this one at the latest.
        if gap.polls > 1 && (heard || after(gap.noticed, HEAR) <= now) {
            self.gap = None;
        }
        self.gap.is_none()
    }

    /// It was stopped, and does not know yet what happened meanwhile.
    pub(super) const fn is_unsure(&self) -> bool {
        self.gap.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: u64 = 80 * MS;

    #[test]
    fn a_node_at_work_renews() {
        let mut pulse = Pulse::new(LEASE, Tick(0));
        for pass in 1..10 {
            assert!(!pulse.beat(Tick(pass * LEASE)));
            assert!(pulse.may_renew(false, Tick(pass * LEASE)));
        }
    }

    #[test]
    fn a_node_that_was_stopped_listens_first() {
        let mut pulse = Pulse::new(LEASE, Tick(0));
        let awake = LEASE + 1;
        assert!(pulse.beat(Tick(awake)));
        assert!(!pulse.is_fresh(Tick(awake + STALE)), "sockets are not read yet");
        assert!(!pulse.may_renew(true, Tick(awake)));
        assert!(!pulse.is_fresh(Tick(awake + STALE - 1)) && pulse.is_fresh(Tick(awake + STALE)));
        assert!(!pulse.beat(Tick(awake + MS)));
        assert!(!pulse.may_renew(false, Tick(awake + MS)));
        assert!(pulse.is_unsure());
        assert!(pulse.may_renew(true, Tick(awake + 2 * MS)));
        assert!(!pulse.is_unsure());
    }

    #[test]
    fn it_does_not_listen_for_ever() {
        let mut pulse = Pulse::new(LEASE, Tick(0));
        let awake = LEASE + 1;
        assert!(pulse.beat(Tick(awake)));
        assert!(!pulse.may_renew(false, Tick(awake)));
        assert!(!pulse.may_renew(false, Tick(awake + HEAR - 1)));
        assert!(pulse.may_renew(false, Tick(awake + HEAR)));
    }
}
