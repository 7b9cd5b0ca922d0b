//! The hashes that are tried.
//!
//! To add one: a [`Hash`] and a line in [`CANDIDATES`].

use std::hash::{BuildHasher, Hasher};

use packet::FlowKey;
use packet::toeplitz::{Input, KEY_LEN, SymmetricToeplitz, Toeplitz};
use siphasher::sip::{SipHasher13, SipHasher24};
use zerocopy::IntoBytes;

use super::jhash::lookup3;

/// A hash with its secrets in it.
pub(super) trait Hash {
    /// The hash of a tuple.
    fn hash(&self, key: &FlowKey) -> u64;

    /// The hashes of many, folded: what the clock is held to. Compiled with each hash in it.
    fn fold(&self, keys: &[FlowKey]) -> u64 {
        keys.iter().fold(0, |sum, key| sum ^ self.hash(key))
    }
}

/// A hash that is tried.
#[derive(Clone, Copy)]
pub(super) struct Candidate {
    /// Its name on the command line and in tables.
    pub(super) name: &'static str,
    /// Bits of its result.
    pub(super) bits: u32,
    /// What it is.
    pub(super) help: &'static str,
    /// Makes it, with secrets from here.
    pub(super) make: fn(&mut fastrand::Rng) -> Box<dyn Hash>,
}

/// All that are tried, in the order of the table.
pub(super) const CANDIDATES: [Candidate; 8] = [
    Candidate {
        name: "ahash",
        bits: 64,
        help: "what twinwall's flow tables use, four random words",
        make: |random| {
            let mut word = || random.u64(..);
            Box::new(AHash(ahash::RandomState::with_seeds(word(), word(), word(), word())))
        },
    },
    Candidate {
        name: "siphash13",
        bits: 64,
        help: "SipHash-1-3, 128 random bits: what Rust's own tables use",
        make: |random| Box::new(Sip13(SipHasher13::new_with_keys(random.u64(..), random.u64(..)))),
    },
    Candidate {
        name: "siphash24",
        bits: 64,
        help: "SipHash-2-4, 128 random bits: what Linux's conntrack uses since 5.15",
        make: |random| Box::new(Sip24(SipHasher24::new_with_keys(random.u64(..), random.u64(..)))),
    },
    Candidate {
        name: "jhash",
        bits: 32,
        help: "the kernel's jhash2, 32 random bits: what Linux's conntrack used before",
        make: |random| Box::new(Jhash(random.u32(..))),
    },
    Candidate {
        name: "crc32c",
        bits: 32,
        help: "CRC32C by the processor's instruction, 32 random bits to begin with",
        make: |random| Box::new(Crc(random.u32(..))),
    },
    Candidate {
        name: "toeplitz",
        bits: 32,
        help: "what a NIC computes with Microsoft's key, which drivers know by heart: no secret",
        make: |_| Box::new(Rss(Toeplitz::new(&MICROSOFT))),
    },
    Candidate {
        name: "symmetric",
        bits: 32,
        help: "Toeplitz with 16 random bits that repeat: how flows find their worker",
        make: |random| Box::new(Symmetric(SymmetricToeplitz::new(useful_word(random)))),
    },
    Candidate {
        name: "xor",
        bits: 32,
        help: "the tuple's ten words, exclusive or: no secret",
        make: |_| Box::new(Xor),
    },
];

/// The candidate of this name.
pub(super) fn by_name(name: &str) -> Option<Candidate> {
    CANDIDATES.into_iter().find(|candidate| candidate.name == name)
}

/// The key of "Verifying the RSS hash calculation" in Microsoft's NDIS documentation.
const MICROSOFT: [u8; KEY_LEN] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0,
    0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c,
    0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
];

/// Sixteen bits that lose nothing of the input.
fn useful_word(random: &mut fastrand::Rng) -> u16 {
    loop {
        let word = random.u16(..);
        if SymmetricToeplitz::is_useful(word) {
            return word;
        }
    }
}

struct AHash(ahash::RandomState);

impl Hash for AHash {
    #[inline(always)]
    fn hash(&self, key: &FlowKey) -> u64 {
        let mut hasher = self.0.build_hasher();
        let FlowKey { src, dst, .. } = *key;
        hasher.write_u128(u128::from_ne_bytes(src));
        hasher.write_u128(u128::from_ne_bytes(dst));
        hasher.write_u64(rest(key));
        hasher.finish()
    }
}

/// Ports, protocol, family and zone.
#[inline(always)]
fn rest(key: &FlowKey) -> u64 {
    let FlowKey { sport: [s0, s1], dport: [d0, d1], protocol, family, zone: [z0, z1], .. } = *key;
    u64::from_ne_bytes([s0, s1, d0, d1, protocol, family, z0, z1])
}

/// The tuple as ten words, in the machine's order as the kernel reads them.
#[inline(always)]
fn words(key: &FlowKey) -> [u32; 10] {
    zerocopy::transmute!(*key)
}

struct Sip13(SipHasher13);

impl Hash for Sip13 {
    #[inline(always)]
    fn hash(&self, key: &FlowKey) -> u64 {
        self.0.hash(key.as_bytes())
    }
}

struct Sip24(SipHasher24);

impl Hash for Sip24 {
    #[inline(always)]
    fn hash(&self, key: &FlowKey) -> u64 {
        self.0.hash(key.as_bytes())
    }
}

struct Jhash(u32);

impl Hash for Jhash {
    #[inline(always)]
    fn hash(&self, key: &FlowKey) -> u64 {
        lookup3(&words(key), 40, self.0).into()
    }
}

struct Crc(u32);

impl Hash for Crc {
    #[inline(always)]
    fn hash(&self, key: &FlowKey) -> u64 {
        crc32c::crc32c_append(self.0, key.as_bytes()).into()
    }
}

struct Rss(Toeplitz);

impl Hash for Rss {
    #[inline(always)]
    fn hash(&self, key: &FlowKey) -> u64 {
        self.0.hash(key, Input::Ports).into()
    }
}

struct Symmetric(SymmetricToeplitz);

impl Hash for Symmetric {
    #[inline(always)]
    fn hash(&self, key: &FlowKey) -> u64 {
        self.0.hash(key, Input::Ports).into()
    }
}

struct Xor;

impl Hash for Xor {
    #[inline(always)]
    fn hash(&self, key: &FlowKey) -> u64 {
        words(key).iter().fold(0, |sum, word| sum ^ word).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_what_its_name_says() {
        let key = FlowKey { src: *b"0123456789abcdef", family: 6, ..FlowKey::default() };
        let made =
            |name| (by_name(name).unwrap().make)(&mut fastrand::Rng::with_seed(1)).hash(&key);
        for candidate in CANDIDATES {
            assert_eq!(made(candidate.name), made(candidate.name), "{}", candidate.name);
            assert!(candidate.bits == 64 || made(candidate.name) >> 32 == 0, "{}", candidate.name);
        }
        // "123456789" gives 0xe3069283 (the check value of CRC-32C in the catalogue of CRCs).
        assert_eq!(crc32c::crc32c_append(0, b"123456789"), 0xe306_9283);
        // The first vectors of the SipHash paper's reference code: key 00..0f, input empty.
        let (k0, k1) = (0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908);
        assert_eq!(SipHasher24::new_with_keys(k0, k1).hash(&[]), 0x726f_db47_dd0e_0e31);
        let expected = [b"0123", b"4567", b"89ab", b"cdef"].map(|w| u32::from_ne_bytes(*w));
        let rest = u32::from_ne_bytes([0, 6, 0, 0]);
        let xor = expected.iter().fold(rest, |sum, word| sum ^ word);
        assert_eq!(made("xor"), u64::from(xor));
    }
}
