//! Random numbers for ports. Whoever sees some, by flows of his own, must not learn from them what others got (RFC 6056, 3.3):
//! they are a counter under SipHash, with a key of the system's randomness.

use std::hash::{BuildHasher, RandomState};

/// A worker's numbers.
#[derive(Debug, Default)]
pub struct Numbers {
    key: RandomState,
    count: u64,
}

impl Numbers {
    /// Begins anew, under another key.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next one.
    pub fn draw(&mut self) -> u32 {
        self.count = self.count.wrapping_add(1);
        self.key.hash_one(self.count) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_differ_and_spread() {
        let (mut a, mut b) = (Numbers::new(), Numbers::new());
        let same = (0..1000).filter(|_| a.draw() == b.draw()).count();
        assert!(same < 3, "two keys, one sequence");
        let mut ports = [0u32; 16];
        for _ in 0..16_000 {
            ports[(a.draw() & 15) as usize] += 1;
        }
        assert!(ports.iter().all(|n| (800..1200).contains(n)), "{ports:?}");
    }
}
