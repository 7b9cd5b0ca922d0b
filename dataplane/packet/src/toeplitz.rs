//! The Toeplitz hash that NICs spread flows by (Microsoft, "RSS hashing functions"), in software.
//!
//! # Overview
//!
//! [`Toeplitz`] takes any key and gives what a NIC with that key gives. [`SymmetricToeplitz`] takes the keys we program: 16
//! bits, repeated, so that both directions of a flow hash alike. Such a key sees its input as one 16-bit word, the exclusive
//! or of all words (bit `i` and bit `i + 16` of the input meet the same bits of the key), so its hash is two table lookups.
//!
//! It is linear too: [`Inverse`] says which port gives a wanted hash, where another would have to search.
//!
//! Which bytes are hashed is the NIC's convention: source address, destination address, and for whole TCP, UDP and SCTP
//! packets source port, destination port, all in wire order.

use crate::key::FlowKey;
use crate::layers::{FragmentPart, L4, Layers};

/// Length in bytes of a usual NIC's key: enough for 36 bytes of input.
pub const KEY_LEN: usize = 40;
/// The longest input in bytes: two IPv6 addresses, two ports.
pub const MAX_INPUT: usize = 36;

/// Entries of the redirection table, from hash to queue, that owners are reckoned by: NICs have as many, or a multiple.
pub const RETA: usize = 128;

/// The queue, of `queues`, that a hash, or an entry of a longer table, leads to.
#[inline(always)]
pub const fn spread(hash: usize, queues: u16) -> u16 {
    let queues = if queues == 0 { 1 } else { queues };
    (hash % RETA) as u16 % queues
}

/// What a packet is hashed by, as a NIC does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Addresses and ports.
    Ports,
    /// Addresses only: fragments, and protocols without ports that NICs know.
    Addresses,
}

impl Input {
    /// What a NIC with TCP, UDP and SCTP hashing switched on uses for a parsed packet.
    #[inline]
    pub fn of(layers: &Layers) -> Self {
        // NICs know UDP-Lite by no other name than "other IP".
        let ports = match layers.l4 {
            L4::Tcp | L4::Sctp => true,
            L4::Udp => layers.protocol == crate::wire::ip::UDP,
            L4::Other | L4::Icmp | L4::Icmp6 | L4::Gre => false,
        };
        if ports && layers.fragment == FragmentPart::Whole { Self::Ports } else { Self::Addresses }
    }
}

/// The hash under any key; 36 KiB of tables.
pub struct Toeplitz {
    /// For each byte of the input, what each of its values adds.
    table: Box<[[u32; 256]]>,
}

impl Toeplitz {
    /// The tables for a key.
    pub fn new(key: &[u8; KEY_LEN]) -> Self {
        let table = key.windows(5).map(|window| {
            // The 40 bits of the key that a byte of input meets: its first bit meets the first 32, its last the last 32 but
            // one.
            let bits = window.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
            let mut row = [0; 256];
            for (value, sum) in (0..=u8::MAX).zip(row.iter_mut()) {
                let met = (0..8).filter(|bit| value & (0x80 >> bit) != 0);
                *sum = met.fold(0, |sum, bit| sum ^ (bits >> (8 - bit)) as u32);
            }
            row
        });
        Self { table: table.collect() }
    }

    /// The hash of an input in wire order; bytes behind [`MAX_INPUT`] do not count.
    #[inline]
    pub fn hash_bytes(&self, input: &[u8]) -> u32 {
        self.sum(self.table.iter().zip(input))
    }

    /// The hash of a key.
    #[inline]
    pub fn hash(&self, key: &FlowKey, input: Input) -> u32 {
        let [[src, dst], [sport, dport]] = parts(key, input);
        let bytes = src.iter().chain(dst).chain(sport).chain(dport);
        self.sum(self.table.iter().zip(bytes))
    }

    #[inline(always)]
    fn sum<'a>(&self, met: impl Iterator<Item = (&'a [u32; 256], &'a u8)>) -> u32 {
        met.fold(0, |sum, (row, byte)| sum ^ row.get(usize::from(*byte)).copied().unwrap_or(0))
    }
}

/// Source, destination, source port, destination port, as many of them as there are.
#[inline(always)]
fn parts(key: &FlowKey, input: Input) -> [[&[u8]; 2]; 2] {
    let len = if key.family == 4 { 4 } else { 16 };
    let address = |address| <[u8]>::get(address, ..len).unwrap_or_default();
    let ports: [&[u8]; 2] = match input {
        Input::Ports => [&key.sport, &key.dport],
        Input::Addresses => [&[], &[]],
    };
    [[address(&key.src), address(&key.dst)], ports]
}

/// The hash under a symmetric key: 16 bits, repeated. Its halves are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SymmetricToeplitz {
    word: u16,
    /// For each half of a word, what each of its values adds.
    table: [[u16; 256]; 2],
}

impl SymmetricToeplitz {
    /// The tables for the key that repeats `word`. A word of few ones or few zeros spreads badly, 0 and 0xffff not at all:
    /// [`is_useful`](Self::is_useful).
    pub fn new(word: u16) -> Self {
        let row = |half: u32| {
            let mut row = [0; 256];
            for (value, sum) in (0..=u8::MAX).zip(row.iter_mut()) {
                let met = (0..8).filter(|bit| value & (0x80 >> bit) != 0);
                *sum = met.fold(0, |sum, bit| sum ^ word.rotate_left(8 * half + bit));
            }
            row
        };
        Self { word, table: [row(0), row(1)] }
    }

    /// The 16 bits that the key repeats.
    pub fn word(&self) -> u16 {
        self.word
    }

    /// The key to program into a NIC that wants `N` bytes of it: 40, or 52 on some.
    pub fn key<const N: usize>(&self) -> [u8; N] {
        let [high, low] = self.word.to_be_bytes();
        std::array::from_fn(|i| if i % 2 == 0 { high } else { low })
    }

    /// True when different inputs give different hashes: the word's sixteen turns are linearly independent, so that none of
    /// the input's 16 bits is lost.
    pub fn is_useful(word: u16) -> bool {
        let mut basis = [0u16; 16];
        (0..16).all(|turn| {
            let left =
                basis.iter().fold(word.rotate_left(turn), |left, base| left.min(left ^ base));
            match basis.iter_mut().find(|base| **base == 0) {
                Some(free) if left != 0 => {
                    *free = left;
                    basis.sort_unstable_by(|a, b| b.cmp(a));
                    true
                }
                _ => false,
            }
        })
    }

    /// The way back, where the word [is useful](Self::is_useful).
    pub fn inverse(&self) -> Option<Inverse> {
        // What each bit of a word adds, beside that bit; elimination makes the left side single bits.
        let mut rows: [(u16, u16); 16] = std::array::from_fn(|bit| {
            let word = 0x8000 >> bit;
            (self.hash_word(word), word)
        });
        for bit in 0..16 {
            let single = 0x8000u16 >> bit;
            let at = bit + rows.get(bit..)?.iter().position(|(sum, _)| sum & single != 0)?;
            rows.swap(bit, at);
            let pivot = *rows.get(bit)?;
            for (i, row) in rows.iter_mut().enumerate() {
                if i != bit && row.0 & single != 0 {
                    *row = (row.0 ^ pivot.0, row.1 ^ pivot.1);
                }
            }
        }
        let [high, low] = [0, 8].map(|first| {
            let mut row = [0; 256];
            for (value, sum) in (0..=u8::MAX).zip(row.iter_mut()) {
                let met = rows.iter().skip(first).take(8).enumerate();
                *sum = met
                    .filter(|(bit, _)| value & (0x80 >> bit) != 0)
                    .fold(0, |sum, (_, (_, word))| sum ^ word);
            }
            row
        });
        Some(Inverse { table: [high, low] })
    }

    /// The lower half, which is the upper half too, of the hash of a word.
    #[inline(always)]
    fn hash_word(&self, word: u16) -> u16 {
        let [high, low] = word.to_be_bytes();
        let [highs, lows] = &self.table;
        let at = |row: &[u16; 256], byte: u8| row.get(usize::from(byte)).copied().unwrap_or(0);
        at(highs, high) ^ at(lows, low)
    }

    /// The hash of a key: what [`Toeplitz`] gives for [`key`](Self::key), and the same for both directions.
    #[inline(always)]
    pub fn hash(&self, key: &FlowKey, input: Input) -> u32 {
        // IPv4 addresses are followed by zeros, which add nothing: one way for both families.
        let addresses = u128::from_ne_bytes(key.src) ^ u128::from_ne_bytes(key.dst);
        let ports = u16::from_ne_bytes(key.sport) ^ u16::from_ne_bytes(key.dport);
        let halves = (addresses ^ (addresses >> 64)) as u64;
        let quarters = (halves ^ (halves >> 32)) as u32;
        let word = (quarters ^ (quarters >> 16)) as u16;
        let word = match input {
            Input::Ports => word ^ ports,
            Input::Addresses => word,
        };
        let sum = u32::from(self.hash_word(u16::from_be(word)));
        sum << 16 | sum
    }

    /// The hash of a parsed packet as a NIC computes it.
    #[inline(always)]
    pub fn hash_layers(&self, layers: &Layers) -> u32 {
        self.hash(&layers.key, Input::of(layers))
    }
}

/// From a hash to the port that gives it. Two ports differ by what their hashes differ by, whatever else is hashed with them,
/// so one port and its hash are all that has to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inverse {
    /// For each half of a hash, what each of its values takes.
    table: [[u16; 256]; 2],
}

impl Inverse {
    /// The port (host order) in whose place `port` gives `hash`, that gives `wanted` instead. Only the lower halves of hashes
    /// count; the upper ones are alike. A bijection: all wanted hashes give all ports.
    #[inline]
    pub fn port(&self, port: u16, hash: u32, wanted: u32) -> u16 {
        let [high, low] = ((hash ^ wanted) as u16).to_be_bytes();
        let [highs, lows] = &self.table;
        let at = |row: &[u16; 256], byte: u8| row.get(usize::from(byte)).copied().unwrap_or(0);
        port ^ at(highs, high) ^ at(lows, low)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    /// The key and the vectors of "Verifying the RSS hash calculation" in Microsoft's NDIS documentation.
    const MICROSOFT: [u8; KEY_LEN] = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f,
        0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30,
        0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
    ];

    fn key4(src: &str, sport: u16, dst: &str, dport: u16) -> FlowKey {
        let wide = |address: &str| {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&address.parse::<Ipv4Addr>().unwrap().octets());
            bytes
        };
        let (sport, dport) = (sport.to_be_bytes(), dport.to_be_bytes());
        FlowKey {
            src: wide(src),
            dst: wide(dst),
            sport,
            dport,
            protocol: 6,
            family: 4,
            zone: [0; 2],
        }
    }

    fn key6(src: &str, sport: u16, dst: &str, dport: u16) -> FlowKey {
        let bytes = |address: &str| address.parse::<Ipv6Addr>().unwrap().octets();
        let (sport, dport) = (sport.to_be_bytes(), dport.to_be_bytes());
        FlowKey {
            src: bytes(src),
            dst: bytes(dst),
            sport,
            dport,
            protocol: 6,
            family: 6,
            zone: [0; 2],
        }
    }

    #[test]
    fn microsofts_vectors() {
        let toeplitz = Toeplitz::new(&MICROSOFT);
        // source, port, destination, port, hash of addresses, hash with ports
        for (src, sport, dst, dport, addresses, ports) in [
            ("66.9.149.187", 2794, "161.142.100.80", 1766, 0x323e_8fc2, 0x51cc_c178),
            ("199.92.111.2", 14230, "65.69.140.83", 4739, 0xd718_262a, 0xc626_b0ea),
            ("24.19.198.95", 12898, "12.22.207.184", 38024, 0xd2d0_a5de, 0x5c2b_394a),
            ("38.27.205.30", 48228, "209.142.163.6", 2217, 0x8298_9176, 0xafc7_327f),
            ("153.39.163.191", 44251, "202.188.127.2", 1303, 0x5d18_09c5, 0x10e8_28a2),
        ] {
            let key = key4(src, sport, dst, dport);
            assert_eq!(toeplitz.hash(&key, Input::Addresses), addresses, "{src}");
            assert_eq!(toeplitz.hash(&key, Input::Ports), ports, "{src}");
        }
        for (src, sport, dst, dport, addresses, ports) in [
            ("3ffe:2501:200:1fff::7", 2794, "3ffe:2501:200:3::1", 1766, 0x2cc1_8cd5, 0x4020_7d3d),
            ("3ffe:501:8::260:97ff:fe40:efab", 14230, "ff02::1", 4739, 0x0f0c_461c, 0xdde5_1bbf),
            (
                "3ffe:1900:4545:3:200:f8ff:fe21:67cf",
                44251,
                "fe80::200:f8ff:fe21:67cf",
                38024,
                0x4b61_e985,
                0x02d1_feef,
            ),
        ] {
            let key = key6(src, sport, dst, dport);
            assert_eq!(toeplitz.hash(&key, Input::Addresses), addresses, "{src}");
            assert_eq!(toeplitz.hash(&key, Input::Ports), ports, "{src}");
        }
    }

    /// The definition, bit by bit.
    fn naive(key: &[u8], input: &[u8]) -> u32 {
        let bit = |bytes: &[u8], i: usize| u32::from(bytes[i / 8] >> (7 - i % 8)) & 1;
        let window = |at: usize| (0..32).fold(0, |window, i| window << 1 | bit(key, at + i));
        (0..input.len() * 8).filter(|i| bit(input, *i) == 1).fold(0, |hash, i| hash ^ window(i))
    }

    fn any_key() -> impl Strategy<Value = FlowKey> {
        (any::<[u8; 16]>(), any::<[u8; 16]>(), any::<[u8; 2]>(), any::<[u8; 2]>(), any::<bool>())
            .prop_map(|(mut src, mut dst, sport, dport, v4)| {
                if v4 {
                    src[4..].fill(0);
                    dst[4..].fill(0);
                }
                FlowKey {
                    src,
                    dst,
                    sport,
                    dport,
                    protocol: 17,
                    family: if v4 { 4 } else { 6 },
                    zone: [0; 2],
                }
            })
    }

    proptest! {
        #[test]
        fn tables_give_the_definition(key: [u8; 32], tail: [u8; 8], input in prop::collection::vec(any::<u8>(), 0..=MAX_INPUT)) {
            let key: [u8; KEY_LEN] = [&key[..], &tail].concat().try_into().unwrap();
            prop_assert_eq!(Toeplitz::new(&key).hash_bytes(&input), naive(&key, &input));
        }

        #[test]
        fn the_symmetric_hash_is_the_general_one(word: u16, key in any_key(), ports: bool) {
            let symmetric = SymmetricToeplitz::new(word);
            let input = if ports { Input::Ports } else { Input::Addresses };
            let hash = symmetric.hash(&key, input);
            prop_assert_eq!(hash, Toeplitz::new(&symmetric.key()).hash(&key, input));
            let back = FlowKey { src: key.dst, dst: key.src, sport: key.dport, dport: key.sport, ..key };
            prop_assert_eq!(hash, symmetric.hash(&back, input));
        }
    }

    proptest! {
        #[test]
        fn a_wanted_hash_has_its_port(key in any_key(), word: u16, wanted: u16, source: bool) {
            let toeplitz = SymmetricToeplitz::new(word);
            let inverse = toeplitz.inverse();
            prop_assert_eq!(inverse.is_some(), SymmetricToeplitz::is_useful(word));
            if let Some(inverse) = inverse {
                let hash = toeplitz.hash(&key, Input::Ports);
                let mut key = key;
                let place = if source { &mut key.sport } else { &mut key.dport };
                *place = inverse.port(u16::from_be_bytes(*place), hash, wanted.into()).to_be_bytes();
                prop_assert_eq!(toeplitz.hash(&key, Input::Ports) as u16, wanted);
            }
        }
    }

    #[test]
    fn useful_words_lose_nothing() {
        for word in [0x6d5a, 0x0001, 0x8000, 0x0000, 0xffff, 0x5555, 0x0101, 0x0003] {
            let toeplitz = SymmetricToeplitz::new(word);
            let mut seen = vec![false; 1 << 16];
            let distinct = (0..=u16::MAX).all(|port| {
                let key = FlowKey { sport: port.to_be_bytes(), family: 4, ..FlowKey::default() };
                let hash = toeplitz.hash(&key, Input::Ports) as u16;
                !std::mem::replace(&mut seen[usize::from(hash)], true)
            });
            assert_eq!(SymmetricToeplitz::is_useful(word), distinct, "{word:#06x}");
        }
    }

    #[test]
    fn keys_repeat_the_word() {
        let toeplitz = SymmetricToeplitz::new(0x6d5a);
        assert_eq!(toeplitz.key::<5>(), [0x6d, 0x5a, 0x6d, 0x5a, 0x6d]);
        assert_eq!(
            (toeplitz.word(), toeplitz.key::<52>()[50..].to_vec()),
            (0x6d5a, vec![0x6d, 0x5a])
        );
    }

    #[test]
    fn what_is_hashed() {
        let whole = Layers { l4: L4::Udp, protocol: 17, ..Layers::default() };
        let mut cases =
            vec![(whole, Input::Ports), (Layers { l4: L4::Tcp, ..whole }, Input::Ports)];
        cases.push((Layers { l4: L4::Sctp, ..whole }, Input::Ports));
        cases.push((Layers { protocol: 136, ..whole }, Input::Addresses));
        for l4 in [L4::Icmp, L4::Icmp6, L4::Gre, L4::Other] {
            cases.push((Layers { l4, ..whole }, Input::Addresses));
        }
        for fragment in [FragmentPart::First, FragmentPart::Later] {
            cases.push((Layers { fragment, ..whole }, Input::Addresses));
        }
        for (layers, input) in cases {
            assert_eq!(Input::of(&layers), input, "{layers:?}");
        }
    }
}
