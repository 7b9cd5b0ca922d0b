//! Which of several addresses a flow gets: a function of its addresses, as in Linux (find_best_ips_proto), the same on every
//! node and after every start. It is no table's hash: whoever knows it can choose the address that he gets, and that is all.

use packet::FlowKey;

use crate::bind::address;
use crate::range::{Flags, Manip, Range};

/// The address for a flow whose reply tuple is to be chosen, as a key has it; none: the one it has.
pub(crate) fn choose(reply: &FlowKey, zone: u16, manip: Manip, range: &Range) -> Option<[u8; 16]> {
    let (min, max) = range.addrs?;
    if min == max {
        return Some(min);
    }
    let persistent = range.flags.has(Flags::PERSISTENT);
    let words = |address: &[u8; 16]| -> [u32; 4] {
        let (words, _) = address.as_chunks::<4>();
        let mut words = words.iter().map(|word| u32::from_ne_bytes(*word));
        std::array::from_fn(|_| words.next().unwrap_or_default())
    };
    // As the flow's packets leave: the inverse of the reply.
    let src = words(address(reply, Manip::Source));
    let dst = words(address(reply, Manip::Destination));
    let last = if reply.family == 4 { dst.first() } else { dst.last() };
    let start = last.copied().unwrap_or_default() ^ u32::from(zone);
    let mut hash = jhash(src, if persistent { 0 } else { start });
    let mut result = [0; 16];
    let mut free = false;
    let len = if reply.family == 4 { 1 } else { 4 };
    let (new, _) = result.as_chunks_mut::<4>();
    let (min, _) = min.as_chunks::<4>();
    let (max, _) = max.as_chunks::<4>();
    for (((new, min), max), dst) in new.iter_mut().zip(min).zip(max).zip(dst).take(len) {
        // Once a word is below the last address's, all that follow may be anything.
        let (first, count) = if free {
            (0, u32::MAX)
        } else {
            let (min, max) = (u32::from_be_bytes(*min), u32::from_be_bytes(*max));
            (min, max.wrapping_sub(min).wrapping_add(1))
        };
        let scaled = (u64::from(hash) * u64::from(count)) >> 32;
        *new = first.wrapping_add(scaled as u32).to_be_bytes();
        free |= new != max;
        if !persistent {
            hash ^= match manip {
                Manip::Source => dst,
                Manip::Destination => u32::from_ne_bytes(*new),
            };
        }
    }
    Some(result)
}

/// The hash of four words that Linux calls `jhash2`: Bob Jenkins' lookup3, `hashword`, with Linux's start.
fn jhash(key: [u32; 4], start: u32) -> u32 {
    let [k0, k1, k2, k3] = key;
    let first = 0xdead_beef_u32.wrapping_add(4 << 2).wrapping_add(start);
    let (mut a, mut b, mut c) =
        (first.wrapping_add(k0), first.wrapping_add(k1), first.wrapping_add(k2));
    let minus = |x: u32, y: u32, turn: u32| x.wrapping_sub(y) ^ y.rotate_left(turn);
    for (i, turn) in [4, 6, 8, 16, 19, 4].into_iter().enumerate() {
        let (x, y, z) = match i % 3 {
            0 => (&mut a, &mut c, b),
            1 => (&mut b, &mut a, c),
            _ => (&mut c, &mut b, a),
        };
        *x = minus(*x, *y, turn);
        *y = y.wrapping_add(z);
    }
    a = a.wrapping_add(k3);
    for (i, turn) in [14, 11, 25, 16, 4, 14, 24].into_iter().enumerate() {
        let (x, y) = match i % 3 {
            0 => (&mut c, b),
            1 => (&mut a, c),
            _ => (&mut b, a),
        };
        *x = (*x ^ y).wrapping_sub(y.rotate_left(turn));
    }
    c
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What lookup3.c's hashword gives, by a translation of it done by hand, statement by statement.
    fn hashword(k: [u32; 4], start: u32) -> u32 {
        let mut a = 0xdead_beef_u32.wrapping_add(16).wrapping_add(start);
        let (mut b, mut c) = (a, a);
        a = a.wrapping_add(k[0]);
        b = b.wrapping_add(k[1]);
        c = c.wrapping_add(k[2]);
        macro_rules! mix {
            ($x:ident, $y:ident, $z:ident, $turn:literal) => {
                $x = $x.wrapping_sub($y);
                $x ^= $y.rotate_left($turn);
                $y = $y.wrapping_add($z);
            };
        }
        mix!(a, c, b, 4);
        mix!(b, a, c, 6);
        mix!(c, b, a, 8);
        mix!(a, c, b, 16);
        mix!(b, a, c, 19);
        mix!(c, b, a, 4);
        a = a.wrapping_add(k[3]);
        macro_rules! last {
            ($x:ident, $y:ident, $turn:literal) => {
                $x ^= $y;
                $x = $x.wrapping_sub($y.rotate_left($turn));
            };
        }
        last!(c, b, 14);
        last!(a, c, 11);
        last!(b, a, 25);
        last!(c, b, 16);
        last!(a, c, 4);
        last!(b, a, 14);
        last!(c, b, 24);
        c
    }

    #[test]
    fn the_hash_is_lookup3() {
        for i in 0..1000u32 {
            let key = [i, i.wrapping_mul(0x9e37_79b9), !i, i << 7];
            assert_eq!(jhash(key, i ^ 77), hashword(key, i ^ 77));
        }
    }

    #[test]
    fn addresses_are_in_range_and_spread() {
        let wide = |bytes: [u8; 4]| {
            let mut wide = [0; 16];
            wide[..4].copy_from_slice(&bytes);
            wide
        };
        let range =
            Range { addrs: Some((wide([10, 0, 0, 250]), wide([10, 0, 1, 5]))), ..Range::default() };
        let mut seen = std::collections::BTreeMap::new();
        for host in 0..=255 {
            let reply = FlowKey {
                src: wide([192, 0, 2, 1]),
                dst: wide([10, 9, 9, host]),
                family: 4,
                ..FlowKey::default()
            };
            let new = choose(&reply, 0, Manip::Source, &range).unwrap();
            assert!(range.has_address(&new));
            *seen.entry(new).or_insert(0) += 1;
        }
        assert_eq!(seen.len(), 12);
        assert!(seen.values().all(|n| (8..40).contains(n)), "{seen:?}");
    }
}
