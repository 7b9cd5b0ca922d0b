//! What is hashed: tuples of a capture, or made ones.

use std::collections::HashSet;
use std::path::Path;

use packet::{FlowKey, L3, VecFrame, layers, pcap};

use super::HashEvalError;
use super::craft;
use super::hashes::by_name;

/// What tuples are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Random addresses and ports
    Uniform,
    /// Ports counted up, then addresses, as load generators and scanners do
    Sequential,
    /// Crafted so that CRC32C is the same for all
    AgainstCrc32c,
    /// Crafted so that the words' exclusive or is the same for all
    AgainstXor,
    /// Crafted so that Toeplitz with Microsoft's key is the same for all
    AgainstToeplitz,
    /// Crafted so that any symmetric Toeplitz is the same for all
    AgainstSymmetric,
}

impl Kind {
    /// The hash that it is crafted against.
    fn target(self) -> Option<&'static str> {
        match self {
            Self::Uniform | Self::Sequential => None,
            Self::AgainstCrc32c => Some("crc32c"),
            Self::AgainstXor => Some("xor"),
            Self::AgainstToeplitz => Some("toeplitz"),
            Self::AgainstSymmetric => Some("symmetric"),
        }
    }

    /// `count` tuples of a family (4 or 6), all different.
    pub(super) fn make(
        self,
        count: usize,
        family: u8,
        random: &mut fastrand::Rng,
    ) -> Result<Vec<FlowKey>, HashEvalError> {
        if let Some(target) = self.target().and_then(by_name) {
            let hash = (target.make)(random);
            return craft::collisions(&*hash, aimed(family), count, random).map_err(|most| {
                HashEvalError::TooFew { wanted: count, most, target: target.name }
            });
        }
        if self == Self::Sequential {
            return Ok((0..count).map(|n| sequential(n, family)).collect());
        }
        let mut seen = HashSet::with_capacity(count);
        let mut keys = Vec::with_capacity(count);
        while keys.len() < count {
            let key = uniform(family, random);
            if seen.insert(key) {
                keys.push(key);
            }
        }
        Ok(keys)
    }
}

/// A tuple of a client of one server, which is 198.51.100.1 or 2001:db8::1, port 443.
fn aimed(family: u8) -> FlowKey {
    let mut key =
        FlowKey { dport: 443u16.to_be_bytes(), protocol: 6, family, ..FlowKey::default() };
    let (src, dst): (&[u8], &[u8]) = if family == 4 {
        (&[10, 0, 0, 0], &[198, 51, 100, 1])
    } else {
        (&[0x20, 1, 0xd, 0xb8, 0, 1], &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])
    };
    key.src.iter_mut().zip(src).for_each(|(to, from)| *to = *from);
    key.dst.iter_mut().zip(dst).for_each(|(to, from)| *to = *from);
    key
}

fn uniform(family: u8, random: &mut fastrand::Rng) -> FlowKey {
    let len = if family == 4 { 4 } else { 16 };
    let mut address = || {
        let mut address = [0; 16];
        address.iter_mut().take(len).for_each(|byte| *byte = random.u8(..));
        address
    };
    let (src, dst) = (address(), address());
    let (sport, dport) = (random.u16(..).to_be_bytes(), random.u16(..).to_be_bytes());
    let protocol = if random.bool() { 6 } else { 17 };
    FlowKey { src, dst, sport, dport, protocol, family, zone: [0; 2] }
}

/// The `n`th connection of clients that use the ports from 1024 on, one client after the other.
fn sequential(n: usize, family: u8) -> FlowKey {
    const PORTS: usize = 65_536 - 1024;
    let mut key = aimed(family);
    let port = u16::try_from(1024 + n % PORTS).unwrap_or(u16::MAX);
    key.sport = port.to_be_bytes();
    let client = u32::try_from(n / PORTS).unwrap_or(u32::MAX).to_be_bytes();
    let end = if family == 4 { 4 } else { 16 };
    if let Some(low) = key.src.get_mut(end - 4..end) {
        low.iter_mut().zip(client).for_each(|(to, from)| *to |= from);
    }
    key
}

/// What a capture holds.
pub(super) struct Capture {
    /// Packets in the file.
    pub(super) packets: usize,
    /// Its tuples, each once, in the order of their first packets.
    pub(super) keys: Vec<FlowKey>,
}

/// The tuples of a capture. Each direction of a connection is one: both stand in a flow table's index.
pub(super) fn captured(path: &Path) -> Result<Capture, HashEvalError> {
    let bytes =
        std::fs::read(path).map_err(|error| HashEvalError::Read { path: path.into(), error })?;
    let packets = pcap::packets(&bytes)
        .map_err(|error| HashEvalError::Capture { path: path.into(), error })?;
    let mut seen = HashSet::new();
    let mut keys = Vec::new();
    for packet in &packets {
        // What a short snapshot cut off is payload, and none of it is read.
        let mut bytes = packet.bytes.to_vec();
        bytes.resize(packet.len.clamp(bytes.len(), 1 << 16), 0);
        let Ok(found) = layers::parse(&VecFrame::from_bytes(&bytes)) else { continue };
        if matches!(found.l3, L3::Ipv4 | L3::Ipv6) && seen.insert(found.key) {
            keys.push(found.key);
        }
    }
    if keys.is_empty() {
        return Err(HashEvalError::NoTuples(path.into()));
    }
    Ok(Capture { packets: packets.len(), keys })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_different_and_of_their_family() {
        for kind in <Kind as clap::ValueEnum>::value_variants() {
            for family in [4, 6] {
                let keys = kind.make(100_000, family, &mut fastrand::Rng::with_seed(7)).unwrap();
                let distinct: HashSet<&FlowKey> = keys.iter().collect();
                assert_eq!(distinct.len(), 100_000, "{kind:?} {family}");
                let behind =
                    |key: &FlowKey| key.src[4..].iter().chain(&key.dst[4..]).any(|b| *b != 0);
                assert!(
                    keys.iter().all(|key| key.family == family && (family == 6 || !behind(key))),
                    "{kind:?} {family}"
                );
            }
        }
    }

    #[test]
    fn secrets_do_not_help_linear_hashes() {
        for (kind, target) in [
            (Kind::AgainstCrc32c, "crc32c"),
            (Kind::AgainstXor, "xor"),
            (Kind::AgainstToeplitz, "toeplitz"),
            (Kind::AgainstSymmetric, "symmetric"),
        ] {
            for family in [4, 6] {
                let keys = kind.make(50_000, family, &mut fastrand::Rng::with_seed(1)).unwrap();
                // Evaluated with other secrets than it was crafted with.
                for seed in 2..5 {
                    let hash = (by_name(target).unwrap().make)(&mut fastrand::Rng::with_seed(seed));
                    let first = hash.hash(&keys[0]);
                    assert!(keys.iter().all(|key| hash.hash(key) == first), "{target} {family}");
                }
                let keyed = (by_name("ahash").unwrap().make)(&mut fastrand::Rng::with_seed(2));
                let hashes: HashSet<u64> = keys.iter().map(|key| keyed.hash(key)).collect();
                assert!(hashes.len() > 49_990, "{target} {family}");
            }
        }
    }

    #[test]
    fn tuples_of_a_capture_come_once() {
        // Two packets of one flow, the second cut short, one the other way, and one that is no IP.
        let frame = |src: u8, dst: u8, sport: u16, dport: u16| {
            let mut frame =
                vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 60, 0, 0, 0, 0, 64, 17];
            frame.extend([0, 0, 10, 0, 0, src, 10, 0, 0, dst]);
            frame.extend(
                [sport.to_be_bytes(), dport.to_be_bytes(), 40u16.to_be_bytes(), [0; 2]].concat(),
            );
            let sum = packet::checksum::of(&frame[14..34]);
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
            frame.resize(74, 0);
            frame
        };
        let arp = [[0xff; 12].as_slice(), &[8, 6], &[0; 28]].concat();
        let mut file = [0xa1b2_c3d4u32, 0, 0, 0, 65_535, 1].map(u32::to_be_bytes).concat();
        let there = frame(1, 2, 1000, 53);
        for (bytes, len) in [
            (there.as_slice(), 74u32),
            (&there[..42], 74),
            (&frame(2, 1, 53, 1000), 74),
            (&arp, 42),
        ] {
            file.extend([0, 0, bytes.len() as u32, len].map(u32::to_be_bytes).concat());
            file.extend(bytes);
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pcap");
        std::fs::write(&path, &file).unwrap();
        let capture = captured(&path).unwrap();
        assert_eq!(capture.packets, 4);
        let ports: Vec<_> = capture.keys.iter().map(|k| u16::from_be_bytes(k.sport)).collect();
        assert_eq!(ports, [1000, 53]);
        std::fs::write(&path, &file[..24]).unwrap();
        assert!(matches!(captured(&path), Err(HashEvalError::NoTuples(_))));
    }
}
