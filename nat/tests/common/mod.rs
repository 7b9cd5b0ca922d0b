//! Flows as NAT makes them, and packets of theirs.
#![allow(dead_code, unreachable_pub)] // each test binary uses some

#[path = "../../../dataplane/packet/tests/common/mod.rs"]
pub mod packets;

use std::net::IpAddr;

use conntrack::shard::Config;
use conntrack::{Direction, Shard, Slot, Status};
use nat::{Flags, Manip, Range};
use packet::layers::parse;
use packet::{FlowKey, FragmentPart, L4, Tick, VecFrame, checksum, crc32c};

pub const NOW: Tick = Tick(1_000_000_000);

pub fn shard() -> Shard {
    Shard::new(Config { max: 1 << 16, worker: 0 }).unwrap()
}

/// What the answer to a packet with this key has.
pub fn inverse(key: &FlowKey) -> FlowKey {
    conntrack::track::invert(key).unwrap()
}

/// A flow whose packets arrive with `came` and leave with `left`.
pub fn translated(shard: &mut Shard, came: FlowKey, left: FlowKey) -> Slot {
    let slot = shard.create(came, inverse(&came), NOW).unwrap();
    shard.set_reply(slot, inverse(&left));
    let source = came.src != left.src || came.sport != left.sport;
    let destination = came.dst != left.dst || (came.dport != left.dport);
    let done = Status::SRC_NAT_DONE | Status::DST_NAT_DONE;
    let source = if source { Status::SRC_NAT } else { 0 };
    let destination = if destination { Status::DST_NAT } else { 0 };
    shard.set_status(slot, done | source | destination);
    slot
}

pub fn key_of(bytes: &[u8]) -> FlowKey {
    parse(&VecFrame::from_bytes(bytes)).unwrap().key
}

/// Puts the right transport checksum into a frame, from the whole of it.
pub fn fixed(mut bytes: Vec<u8>) -> Vec<u8> {
    let frame = VecFrame::from_bytes(&bytes);
    let layers = parse(&frame).unwrap();
    let at = usize::from(layers.l4_offset);
    if layers.fragment != FragmentPart::Whole {
        return bytes;
    }
    let field = match layers.l4 {
        L4::Tcp => at + 16,
        L4::Udp => at + 6,
        L4::Icmp | L4::Icmp6 => at + 2,
        L4::Sctp => {
            let crc = crc32c::sctp(&frame, at, layers.end as usize).unwrap();
            bytes[at + 8..at + 12].copy_from_slice(&crc.to_le_bytes());
            return bytes;
        }
        L4::Gre | L4::Other => return bytes,
    };
    let sum = checksum::transport_checksum(&frame, &layers).unwrap();
    bytes[field..field + 2].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// The same frame with another key in its headers and all checksums made anew.
pub fn with_key(bytes: &[u8], key: &FlowKey) -> Vec<u8> {
    let layers = parse(&VecFrame::from_bytes(bytes)).unwrap();
    let (l3, l4) = (usize::from(layers.l3_offset), usize::from(layers.l4_offset));
    let mut bytes = bytes.to_vec();
    if key.family == 4 {
        bytes[l3 + 12..l3 + 16].copy_from_slice(&key.src[..4]);
        bytes[l3 + 16..l3 + 20].copy_from_slice(&key.dst[..4]);
        packets::fix_ip4(&mut bytes[l3..]);
    } else {
        bytes[l3 + 8..l3 + 24].copy_from_slice(&key.src);
        bytes[l3 + 24..l3 + 40].copy_from_slice(&key.dst);
    }
    match layers.l4 {
        L4::Tcp | L4::Udp | L4::Sctp => {
            bytes[l4..l4 + 2].copy_from_slice(&key.sport);
            bytes[l4 + 2..l4 + 4].copy_from_slice(&key.dport);
        }
        L4::Icmp | L4::Icmp6 => bytes[l4 + 4..l4 + 6].copy_from_slice(&key.sport),
        L4::Gre | L4::Other => {}
    }
    fixed(bytes)
}

/// Runs `change` over the frame in one piece and cut at every byte, and demands one result.
pub fn changed<R: PartialEq + std::fmt::Debug>(
    bytes: &[u8],
    mut change: impl FnMut(&mut VecFrame, &mut packet::Layers) -> R,
) -> (R, Vec<u8>, FlowKey) {
    let mut run = |mut frame: VecFrame| {
        let mut layers = parse(&frame).unwrap();
        let result = change(&mut frame, &mut layers);
        (result, frame.to_vec(), layers.key)
    };
    let whole = run(VecFrame::from_bytes(bytes));
    for at in 0..bytes.len() {
        assert_eq!(run(VecFrame::from_split(bytes, &[at])), whole, "split at {at}");
    }
    let single: Vec<usize> = (1..bytes.len()).collect();
    assert_eq!(run(VecFrame::from_split(bytes, &single)), whole, "one byte per segment");
    whole
}

pub fn direction(reply: bool) -> Direction {
    if reply { Direction::Reply } else { Direction::Original }
}

/// An address of a family in a key.
pub fn address(family: u8, mut bytes: [u8; 16]) -> [u8; 16] {
    if family == 4 {
        bytes[4..].fill(0);
        bytes[0] = 20 + bytes[0] % 80;
    } else {
        bytes[0] = 0x20;
    }
    bytes
}

/// `10.0.0.1:80`, `[fd00::1]:80`
pub fn end(text: &str) -> ([u8; 16], [u8; 2]) {
    let (address, port) = text.rsplit_once(':').unwrap();
    (wide(address), port.parse::<u16>().unwrap().to_be_bytes())
}

pub fn wide(address: &str) -> [u8; 16] {
    match address.trim_matches(['[', ']']).parse().unwrap() {
        IpAddr::V4(address) => {
            let mut wide = [0; 16];
            wide[..4].copy_from_slice(&address.octets());
            wide
        }
        IpAddr::V6(address) => address.octets(),
    }
}

/// `tcp 10.0.0.1:1000 > 192.0.2.1:80`; of ICMP the first port is the identifier, the second type and code.
pub fn key(text: &str) -> FlowKey {
    let words: Vec<_> = text.split_whitespace().collect();
    let [protocol, src, ">", dst] = words[..] else { panic!("{text}") };
    let family = if src.starts_with('[') { 6 } else { 4 };
    let protocol = match (protocol, family) {
        ("tcp", _) => 6,
        ("udp", _) => 17,
        ("sctp", _) => 132,
        ("lite", _) => 136,
        ("gre", _) => 47,
        ("icmp", 4) => 1,
        ("icmp", _) => 58,
        (number, _) => number.parse().unwrap(),
    };
    let ((src, sport), (dst, dport)) = (end(src), end(dst));
    FlowKey { src, dst, sport, dport, protocol, family, zone: [0; 2] }
}

/// `snat 10.0.0.1-10.0.0.9 :1000-1999 random`, `dnat`, `null` and so on.
pub fn rule(text: &str) -> Vec<(Manip, Range)> {
    let both = |from: &str, parse: &dyn Fn(&str) -> [u8; 16]| {
        let (min, max) = from.split_once('-').unwrap_or((from, from));
        (parse(min), parse(max))
    };
    let mut rules: Vec<(Manip, Range)> = vec![];
    for word in text.split_whitespace() {
        let manip = match word {
            "snat" => Some(Manip::Source),
            "dnat" => Some(Manip::Destination),
            _ => None,
        };
        if let Some(manip) = manip {
            rules.push((manip, Range::default()));
            continue;
        }
        let (_, range) = rules.last_mut().unwrap();
        match word {
            "random" => range.flags.0 |= Flags::RANDOM,
            "fully" => range.flags.0 |= Flags::RANDOM_FULLY,
            "persistent" => range.flags.0 |= Flags::PERSISTENT,
            "netmap" => range.flags.0 |= Flags::NETMAP,
            _ => match (word.strip_prefix(':'), word.strip_prefix("base")) {
                (Some(ports), _) => {
                    let (min, max) = ports.split_once('-').unwrap_or((ports, ports));
                    range.ports = Some((min.parse().unwrap(), max.parse().unwrap()));
                }
                (_, Some(base)) => {
                    range.base = base.parse().unwrap();
                    range.flags.0 |= Flags::OFFSET;
                }
                _ => range.addrs = Some(both(word, &wide)),
            },
        }
    }
    rules
}
