//! Who listens to a lane: up to where each has all, and how long that took.

use packet::Tick;

use super::Behind;
use super::window::Window;
use crate::ids::{NODES, NodeId};

/// Lags that are remembered.
const LAGS: usize = 1024;

/// The standbys of a lane.
#[derive(Debug)]
pub(super) struct Peers {
    /// By node: of those that live, up to where all is there.
    watermarks: [Option<u64>; NODES],
    /// In nanoseconds, the oldest overwritten.
    lags: Box<[u32; LAGS]>,
    count: usize,
}

impl Peers {
    pub(super) fn new() -> Self {
        Self { watermarks: [None; NODES], lags: Box::new([0; LAGS]), count: 0 }
    }

    /// It lives.
    pub(super) fn hear(&mut self, peer: NodeId) {
        if let Some(watermark) = self.watermarks.get_mut(peer.index()) {
            watermark.get_or_insert(0);
        }
    }

    /// All up to `seq` is at `peer`.
    pub(super) fn watermark(&mut self, peer: NodeId, seq: u64, window: &Window, now: Tick) {
        self.hear(peer);
        let Some(Some(watermark)) = self.watermarks.get_mut(peer.index()) else { return };
        if seq <= *watermark {
            return;
        }
        *watermark = seq;
        if let Some(sent) = window.get(seq)
            && let Some(lag) = self.lags.get_mut(self.count % LAGS)
        {
            *lag = u32::try_from(now.0.saturating_sub(sent.at.0)).unwrap_or(u32::MAX);
            self.count += 1;
        }
    }

    /// Up to where all is at `peer`, as far as is known.
    pub(super) fn of(&self, peer: NodeId) -> u64 {
        self.watermarks.get(peer.index()).copied().flatten().unwrap_or(0)
    }

    /// It does not live.
    pub(super) fn forget(&mut self, peer: NodeId) {
        if let Some(watermark) = self.watermarks.get_mut(peer.index()) {
            *watermark = None;
        }
    }

    /// Up to where all that live have all. `None`: nobody does.
    pub(super) fn least(&self) -> Option<u64> {
        self.watermarks.iter().flatten().min().copied()
    }

    pub(super) fn behind(&self, window: &Window, highest: u64, now: Tick) -> Behind {
        let mut lags = *self.lags;
        let lags = lags.get_mut(..self.count.min(LAGS)).unwrap_or_default();
        lags.sort_unstable();
        let at = |percent: usize| {
            lags.get(lags.len() * percent / 100).or(lags.last()).map_or(0, |&lag| u64::from(lag))
        };
        let least = self.least().unwrap_or(highest);
        Behind {
            lag_p50: at(50),
            lag_p99: at(99),
            datagrams: highest.saturating_sub(least),
            flows: window.slots_after(least.max(window.first().saturating_sub(1))),
            oldest: window.get(least + 1).map_or(0, |sent| now.0.saturating_sub(sent.at.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u8) -> NodeId {
        NodeId::new(id).unwrap()
    }

    #[test]
    fn the_slowest_that_lives_counts() {
        let window = Window::new(10);
        let mut peers = Peers::new();
        assert_eq!(peers.least(), None);
        peers.watermark(node(2), 7, &window, Tick(0));
        peers.hear(node(3));
        assert_eq!(peers.least(), Some(0));
        peers.watermark(node(3), 9, &window, Tick(0));
        // An old one that came late.
        peers.watermark(node(3), 8, &window, Tick(0));
        assert_eq!(peers.least(), Some(7));
        peers.forget(node(2));
        assert_eq!(peers.least(), Some(9));
    }

    #[test]
    fn lags_are_of_recent_watermarks() {
        let mut window = Window::new(10_000);
        let mut peers = Peers::new();
        for seq in 1..=3_000_u64 {
            window.push(seq, Tick(seq * 1_000_000), false, &[1, 2], &[]);
            let lag = if seq <= 1_000 {
                900_000
            } else if seq % 50 == 0 {
                500_000
            } else {
                100_000
            };
            if seq <= 2_990 {
                peers.watermark(node(1), seq, &window, Tick(seq * 1_000_000 + lag));
            }
        }
        let behind = peers.behind(&window, 3_000, Tick(3_000_000_000));
        assert_eq!((behind.lag_p50, behind.lag_p99), (100_000, 500_000));
        assert_eq!((behind.datagrams, behind.flows, behind.oldest), (10, 20, 9_000_000));
    }
}
