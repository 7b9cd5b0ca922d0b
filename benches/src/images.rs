//! Packets to be sent through the pipeline: the first bytes of each, and its length.

use crate::random::Random;

/// How many bytes of a packet are written anew each time its frame is used; bytes behind these are never read.
pub const HEAD: usize = 128;

/// Packets in the order in which they come; the whole is gone through again and again.
#[derive(Clone, Debug, Default)]
pub struct Images {
    heads: Vec<u8>,
    /// Of the whole frame without FCS, in bytes.
    lengths: Vec<u16>,
    /// Which packet comes when; empty for one after the other.
    order: Vec<u32>,
}

impl Images {
    /// Adds a packet of `len` bytes (60 at least, as on the wire without FCS) that begins with `head`.
    pub fn push(&mut self, head: &[u8], len: usize) {
        let mut bytes = [0; HEAD];
        for (to, from) in bytes.iter_mut().zip(head) {
            *to = *from;
        }
        self.heads.extend(bytes);
        self.lengths.push(len.clamp(60, usize::from(u16::MAX)) as u16);
    }

    /// Keeps the packets whose first bytes `keep` likes.
    pub fn retain(&mut self, mut keep: impl FnMut(&[u8]) -> bool) {
        let all = std::mem::take(self);
        for (head, len) in all.heads.chunks_exact(HEAD).zip(all.lengths) {
            if keep(head) {
                self.push(head, len.into());
            }
        }
    }

    /// How many packets there are.
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// The `n`th packet of the endless row: first bytes and length.
    pub fn get(&self, n: usize) -> (&[u8], usize) {
        let n = match self.order.len() {
            0 => n % self.len().max(1),
            len => self.order.get(n % len).map_or(0, |at| *at as usize),
        };
        let len = usize::from(self.lengths.get(n).copied().unwrap_or(60));
        let head = self.heads.get(n * HEAD..(n + 1) * HEAD).unwrap_or_default();
        (head.get(..len).unwrap_or(head), len)
    }

    /// Mean length of a frame in bytes, with FCS.
    pub fn mean_size(&self) -> f64 {
        self.lengths.iter().map(|len| f64::from(*len) + 4.0).sum::<f64>() / self.len().max(1) as f64
    }

    /// From now on packets come at random, the nth likeliest in proportion to 1 / n^`exponent` (Zipf), `draws` of them
    /// before the row repeats.
    pub fn draw_zipf(&mut self, exponent: f64, draws: usize, random: &mut Random) {
        let mut sum = 0.0;
        let cumulative: Vec<f64> = (1..=self.len())
            .map(|rank| {
                sum += (rank as f64).powf(-exponent);
                sum
            })
            .collect();
        self.order = (0..draws)
            .map(|_| {
                let at = random.unit() * sum;
                cumulative.partition_point(|below| *below <= at).min(self.len().saturating_sub(1))
                    as u32
            })
            .collect();
    }
}

impl Images {
    /// From now on only the first `n` packets come.
    pub fn only(&mut self, n: usize) {
        self.order = (0..n as u32).collect();
    }

    /// From now on each `every`th packet is one of those behind the first `n`, which come in turns between.
    pub fn mix_in(&mut self, n: usize, every: usize) {
        let (n, mut known) = (n as u32, (0..n as u32).cycle());
        self.order = (n..self.len() as u32)
            .flat_map(|fresh| known.by_ref().take(every - 1).chain([fresh]).collect::<Vec<_>>())
            .collect();
    }
}

#[cfg(test)]
mod tests {
    use super::Images;
    use crate::random::Random;

    #[test]
    fn zipf_prefers_the_first() {
        let mut images = Images::default();
        for i in 0..100u8 {
            images.push(&[i], 60);
        }
        images.draw_zipf(1.0, 100_000, &mut Random::new(1));
        let mut counts = [0u32; 100];
        for n in 0..100_000 {
            counts[usize::from(images.get(n).0[0])] += 1;
        }
        // 1 / H(100) = 19.3 % and half of that.
        assert!((18_500..20_100).contains(&counts[0]), "{}", counts[0]);
        assert!((9_200..10_200).contains(&counts[1]), "{}", counts[1]);
        assert!(counts[99] > 100);
    }

    #[test]
    fn some_are_mixed_in() {
        let mut images = Images::default();
        (0..7u8).for_each(|i| images.push(&[i], 60));
        images.only(5);
        assert_eq!((0..7).map(|n| images.get(n).0[0]).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 0, 1]);
        images.mix_in(5, 4);
        let row: Vec<u8> = (0..8).map(|n| images.get(n).0[0]).collect();
        assert_eq!(row, [0, 1, 2, 5, 3, 4, 0, 6]);
    }

    #[test]
    fn the_row_begins_again() {
        let mut images = Images::default();
        images.push(&[1], 60);
        images.push(&[2], 1514);
        assert_eq!(images.get(3).0.len(), super::HEAD);
        assert_eq!((images.get(4).0[0], images.get(4).1), (1, 60));
        assert_eq!((images.get(5).0[0], images.get(5).1), (2, 1514));
    }
}
