//! Random route tables whose prefix lengths are spread as in the internet's tables, and addresses that they cover.
//!
//! Lengths per 1,000 prefixes follow the public statistics of the default-free zone (bgp.potaroo.net, 2025: IPv4 60 % /24,
//! IPv6 46 % /48). Prefixes lie at random in the unicast space (IPv4) or below random /32 of 120 registry blocks (IPv6),
//! which is more scattered, so harder on caches, than the real tables are. 2 % of the IPv6 prefixes and 1 % of the IPv4 ones
//! are an inside network's /64, /128 and /25 to /32.

use std::collections::HashSet;

use dataplane::fib::Address;

use crate::random::Random;

const LENGTHS4: [(u8, u32); 24] = [
    (8, 1),
    (9, 1),
    (10, 1),
    (11, 1),
    (12, 1),
    (13, 1),
    (14, 2),
    (15, 2),
    (16, 14),
    (17, 9),
    (18, 14),
    (19, 26),
    (20, 46),
    (21, 54),
    (22, 112),
    (23, 100),
    (24, 605),
    (25, 1),
    (26, 1),
    (27, 1),
    (28, 2),
    (29, 2),
    (30, 1),
    (32, 2),
];

const LENGTHS6: [(u8, u32); 16] = [
    (20, 1),
    (24, 2),
    (28, 6),
    (29, 26),
    (30, 8),
    (32, 125),
    (33, 25),
    (34, 23),
    (36, 60),
    (38, 15),
    (40, 115),
    (42, 30),
    (44, 90),
    (46, 20),
    (48, 460),
    (64, 20),
];

/// What a table needs to know of a family.
pub trait Family: Address {
    /// The family's number: 4 or 6.
    const NUMBER: u8;

    /// A random prefix's address (bits behind `len` are cleared by the caller).
    fn place(random: &mut Random) -> Self;

    /// A random length.
    fn length(random: &mut Random) -> u8;

    /// `prefix/len` with random bits behind `len`.
    fn inside(prefix: Self, len: u8, random: &mut Random) -> Self;
}

impl Family for [u8; 4] {
    const NUMBER: u8 = 4;

    fn place(random: &mut Random) -> Self {
        let [_, b, c, d, ..] = random.bits().to_be_bytes();
        // 1 to 223 without 10 and 127.
        let a = loop {
            match 1 + random.below(223) as u8 {
                10 | 127 => {}
                a => break a,
            }
        };
        [a, b, c, d]
    }

    fn length(random: &mut Random) -> u8 {
        random.pick(&LENGTHS4).unwrap_or(24)
    }

    fn inside(prefix: Self, len: u8, random: &mut Random) -> Self {
        let host = (random.bits() as u32).checked_shr(u32::from(len)).unwrap_or(0);
        (u32::from_be_bytes(prefix) | host).to_be_bytes()
    }
}

impl Family for [u8; 16] {
    const NUMBER: u8 = 6;

    fn place(random: &mut Random) -> Self {
        // A registry's block, then one of 64 k /32 of which low numbers are likelier, then anything.
        let high = 0x2001 + (random.below(120) as u128) * 0x10;
        let site = (random.unit() * random.unit() * 65536.0) as u128;
        let low = u128::from(random.bits()) << 64 | u128::from(random.bits());
        (high << 112 | site << 96 | low >> 32).to_be_bytes()
    }

    fn length(random: &mut Random) -> u8 {
        random.pick(&LENGTHS6).unwrap_or(48)
    }

    fn inside(prefix: Self, len: u8, random: &mut Random) -> Self {
        let low = u128::from(random.bits()) << 64 | u128::from(random.bits());
        (u128::from_be_bytes(prefix) | low.checked_shr(u32::from(len)).unwrap_or(0)).to_be_bytes()
    }
}

/// `n` distinct prefixes with their lengths.
pub fn table<A: Family>(n: usize, random: &mut Random) -> Vec<(A, u8)> {
    let mut seen = HashSet::with_capacity(n);
    let mut table = Vec::with_capacity(n);
    while table.len() < n {
        let len = A::length(random);
        let prefix = A::place(random).masked(len);
        if seen.insert((prefix, len)) {
            table.push((prefix, len));
        }
    }
    table
}

/// `n` random addresses, each inside a random prefix of `table`, which is not empty.
pub fn addresses<A: Family>(table: &[(A, u8)], n: usize, random: &mut Random) -> Vec<A> {
    (0..n)
        .filter_map(|_| {
            let (prefix, len) = table.get(random.below(table.len()))?;
            Some(A::inside(*prefix, *len, random))
        })
        .collect()
}
