//! The network between the nodes: it loses, doubles, delays and reorders datagrams, and is cut.

use std::rc::Rc;

use fastrand::Rng;

use super::schedule::Quality;

/// A datagram on its way.
pub(super) struct Flight {
    pub(super) to: usize,
    /// How long it takes.
    pub(super) takes: u64,
    pub(super) bytes: Rc<[u8]>,
}

/// The links.
pub(super) struct Network {
    rng: Rng,
    links: Vec<Quality>,
    nodes: usize,
    /// How many faults cut each (link, from, to).
    cuts: Vec<u32>,
    /// When its state last changed; kept by whoever changes it.
    pub(super) perfect_since: u64,
    pub(super) sent: u64,
    pub(super) lost: u64,
}

impl Network {
    pub(super) fn new(seed: u64, links: Vec<Quality>, nodes: usize) -> Self {
        let cuts = vec![0; links.len() * nodes * nodes];
        Self {
            rng: Rng::with_seed(seed ^ 0x6e65_7477),
            links,
            nodes,
            cuts,
            perfect_since: 0,
            sent: 0,
            lost: 0,
        }
    }

    fn cut(&mut self, link: usize, from: usize, to: usize) -> &mut u32 {
        &mut self.cuts[(link * self.nodes + from) * self.nodes + to]
    }

    /// Cuts (+1) or mends (−1) a way; `None`: on all links.
    pub(super) fn set_cut(&mut self, from: usize, to: usize, link: Option<u8>, by: i32) {
        for number in 0..self.links.len() {
            if link.is_none_or(|link| usize::from(link) == number) {
                let cut = self.cut(number, from, to);
                *cut = cut.saturating_add_signed(by);
            }
        }
    }

    /// Cuts or mends all ways to and from a node.
    pub(super) fn isolate(&mut self, node: usize, by: i32) {
        for other in (0..self.nodes).filter(|other| *other != node) {
            self.set_cut(node, other, None, by);
            self.set_cut(other, node, None, by);
        }
    }

    /// Gives a link another quality; returns what it had.
    pub(super) fn set_quality(&mut self, link: u8, quality: Quality) -> Quality {
        std::mem::replace(&mut self.links[usize::from(link)], quality)
    }

    /// All faults stop.
    pub(super) fn mend(&mut self) {
        self.cuts.fill(0);
        for link in &mut self.links {
            *link = Quality { delay: link.delay, ..Quality::default() };
        }
    }

    /// Whether all that one node says reaches the other, and soon.
    pub(super) fn is_perfect(&mut self, from: usize, to: usize) -> bool {
        (0..self.links.len()).any(|link| {
            let Quality { loss, reordered, .. } = self.links[link];
            loss == 0 && reordered == 0 && *self.cut(link, from, to) == 0
        })
    }

    /// Sends a datagram on all links; what arrives is handed to `each`.
    pub(super) fn send(
        &mut self,
        from: usize,
        to: Option<usize>,
        datagram: &[u8],
        each: &mut dyn FnMut(Flight),
    ) {
        let bytes: Rc<[u8]> = datagram.into();
        for link in 0..self.links.len() {
            let quality = self.links[link];
            for to in (0..self.nodes).filter(|node| to.is_none_or(|to| to == *node)) {
                if to == from {
                    continue;
                }
                self.sent += 1;
                if *self.cut(link, from, to) > 0 || self.rng.u8(..100) < quality.loss {
                    self.lost += 1;
                    continue;
                }
                let copies = 1 + u8::from(self.rng.u8(..100) < quality.twice);
                for _ in 0..copies {
                    let mut takes = quality.delay + self.rng.u64(..quality.delay / 8 + 1);
                    if self.rng.u8(..100) < quality.reordered {
                        takes += self.rng.u64(..=quality.late);
                    }
                    each(Flight { to, takes, bytes: bytes.clone() });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_or_lost_does_not_arrive_and_all_else_does() {
        let quality = Quality { loss: 20, twice: 30, ..Quality::default() };
        let mut network = Network::new(1, vec![quality; 2], 3);
        let count = |network: &mut Network, to| {
            let mut arrived = [0; 3];
            for _ in 0..1000 {
                network.send(0, to, b"x", &mut |flight| arrived[flight.to] += 1);
            }
            arrived
        };
        let [none, one, two] = count(&mut network, None);
        assert_eq!(none, 0);
        assert!((1900..2300).contains(&one) && (1900..2300).contains(&two), "{one} {two}");
        network.set_cut(0, 2, Some(1), 1);
        let [_, one, two] = count(&mut network, None);
        assert!((1900..2300).contains(&one) && (900..1200).contains(&two), "{one} {two}");
        network.isolate(0, 1);
        assert_eq!(count(&mut network, None), [0; 3]);
        network.isolate(0, -1);
        network.set_cut(0, 2, Some(1), -1);
        network.mend();
        assert!(network.is_perfect(0, 1));
        assert_eq!(count(&mut network, Some(1)), [0, 2000, 0]);
    }
}
