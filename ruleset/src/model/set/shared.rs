//! What packets put into sets, as the nodes of a cluster tell each other of it.
//!
//! The control side of the owner looks at these sets now and then, and that of a standby puts in what it hears: both beside the workers,
//! as a packet would. What an element counts or limits is each node's own.

use std::sync::Arc;

use super::{Extra, Key, Layout, Lifetime, Set, Values};
use crate::data::Data;

impl Set {
    /// Whether packets put elements in.
    pub fn is_dynamic(&self) -> bool {
        self.spec.layout == Layout::Growing && self.dynamic.is_expecting()
    }

    /// What packets have put in and is not over.
    pub fn put_by_packets(&self, now: u64) -> Vec<(Key, Arc<Extra>)> {
        self.dynamic.all(now)
    }

    /// Puts an element in as a packet would, or lets it live for `left` nanoseconds (0: for ever) from now on. False where it does not
    /// fit the set: of another length, a verdict, or the set is full.
    pub fn put_as_packet(&self, key: &[u8], data: &[u8], left: u64, now: u64) -> bool {
        let fits = match self.spec.values {
            Values::Bytes { len, .. } => data.len() == usize::from(len),
            _ => !self.spec.is_map() && data.is_empty(),
        };
        if !self.is_dynamic() || key.len() != usize::from(self.spec.key_len) || !fits {
            return false;
        }
        let make = || Extra {
            data: (!data.is_empty()).then(|| Data::Value(data.into())),
            object: None,
            lifetime: Lifetime::new(self.tuning.timeout.max(left), left, now),
            exprs: self.spec.fresh_exprs(),
            userdata: None,
        };
        if let Some(extra) = self.dynamic.find(key, now) {
            if left != 0 {
                extra.lifetime.refresh(left, now);
            }
            return true;
        }
        self.find_or_insert(key, now, make).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::growing;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn an_element_lives_on_elsewhere() {
        let (here, there) = (growing(4, 2), growing(4, 2));
        assert!(here.put_as_packet(&[1, 2, 3, 4], &[], 5 * SECOND, SECOND));
        assert!(here.put_as_packet(&[9; 4], &[], 0, SECOND));
        for (key, extra) in here.put_by_packets(2 * SECOND) {
            let left = extra.lifetime.left(2 * SECOND);
            assert!(there.put_as_packet(key.bytes(), &[], left, 70 * SECOND));
        }
        assert!(there.find(&[1, 2, 3, 4], 73 * SECOND).is_some());
        assert!(there.find(&[1, 2, 3, 4], 75 * SECOND).is_none(), "four seconds were left");
        assert!(there.find(&[9; 4], 1_000 * SECOND).is_some());
        // Heard again it lives on; the set is as full as it may be.
        assert!(there.put_as_packet(&[9; 4], &[], 3 * SECOND, 80 * SECOND));
        assert!(there.find(&[9; 4], 84 * SECOND).is_none());
    }

    #[test]
    fn what_does_not_fit_stays_out() {
        let set = growing(4, 1);
        assert!(!set.put_as_packet(&[1; 5], &[], 0, 0), "the key");
        assert!(!set.put_as_packet(&[1; 4], &[1], 0, 0), "data");
        assert!(set.put_as_packet(&[1; 4], &[], 0, 0));
        assert!(!set.put_as_packet(&[2; 4], &[], 0, 0), "full");
    }
}
