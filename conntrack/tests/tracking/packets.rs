//! Packets in words, and as frames.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use packet::wire::{ethernet, ip};
use packet::{checksum, crc32c};

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    A,
    B,
}

/// A packet, as a script's line says it.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) from: Side,
    pub(crate) v6: bool,
    /// What the checksum is wrong by.
    pub(crate) spoil: bool,
    pub(crate) what: What,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    Tcp {
        ports: [u16; 2],
        flags: u8,
        seq: u32,
        ack: u32,
        window: u16,
        len: usize,
        options: Vec<u8>,
    },
    Udp {
        ports: [u16; 2],
        len: usize,
        lite: bool,
    },
    Icmp {
        kind: u8,
        code: u8,
        id: u16,
    },
    /// An ICMP error about another packet, to that one's sender or elsewhere.
    Error {
        kind: u8,
        code: u8,
        inner: Box<Packet>,
        keep: usize,
    },
    Sctp {
        ports: [u16; 2],
        tag: u32,
        chunks: Vec<u8>,
    },
    Gre {
        call: Option<u16>,
    },
    Other {
        protocol: u8,
        len: usize,
    },
}

const PORTS: [u16; 2] = [1000, 80];

const FLAGS: &[(char, u8)] =
    &[('F', 1), ('S', 2), ('R', 4), ('P', 8), ('A', 16), ('U', 32), ('E', 64), ('C', 128)];

fn number<T: TryFrom<u64>>(word: &str) -> T {
    let parsed = match word.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => word.parse(),
    };
    T::try_from(parsed.unwrap_or_else(|_| panic!("no number: {word}")))
        .unwrap_or_else(|_| panic!("too large: {word}"))
}

impl Packet {
    /// `> tcp SA seq=1 ack=2 win=3 len=4 opt=ws7,sack,mss,ts,5-9`: `>` is from A to B; ports are A's and B's: `ports=1000,80`.
    pub(crate) fn parse(line: &str) -> Self {
        let (line, inner) = match line.split_once(" : ") {
            Some((line, inner)) => (line, Some(Self::parse(inner))),
            None => (line, None),
        };
        let mut words: Vec<&str> = line.split_whitespace().collect();
        let from = match words.remove(0) {
            ">" => Side::A,
            "<" => Side::B,
            other => panic!("neither > nor <: {other}"),
        };
        let mut flag = |name: &str| {
            let at = words.iter().position(|word| *word == name);
            at.map(|at| words.remove(at)).is_some()
        };
        let (v6, spoil) = (flag("v6"), flag("spoil"));
        let kind = words.remove(0);
        let mut value = |name: &str| {
            let at = words
                .iter()
                .position(|word| word.split_once('=').is_some_and(|(key, _)| key == name))?;
            words.remove(at).split_once('=').map(|(_, value)| value)
        };
        let mut ports = PORTS;
        if let Some((a, b)) = value("ports").and_then(|ports| ports.split_once(',')) {
            ports = [number(a), number(b)];
        }
        if from == Side::B {
            ports.reverse();
        }
        let what = match kind {
            "tcp" => What::Tcp {
                ports,
                seq: value("seq").map_or(0, number),
                ack: value("ack").map_or(0, number),
                window: value("win").map_or(8192, number),
                len: value("len").map_or(0, number::<u32>) as usize,
                options: value("opt").map(options).unwrap_or_default(),
                flags: words
                    .first()
                    .into_iter()
                    .flat_map(|word| word.chars())
                    .map(|c| FLAGS.iter().find(|(name, _)| *name == c).map_or(0, |(_, bit)| *bit))
                    .fold(0, |flags, bit| flags | bit),
            },
            "udp" | "udplite" => What::Udp {
                ports,
                len: value("len").map_or(4, number::<u32>) as usize,
                lite: kind == "udplite",
            },
            "icmp" => What::Icmp {
                id: value("id").map_or(7, number),
                kind: number(words[0]),
                code: words.get(1).map_or(0, |code| number(code)),
            },
            "error" => What::Error {
                keep: value("keep").map_or(1 << 16, number::<u32>) as usize,
                inner: Box::new(inner.expect("an inner packet")),
                kind: number(words[0]),
                code: words.get(1).map_or(0, |code| number(code)),
            },
            "sctp" => What::Sctp {
                ports,
                tag: value("tag").map_or(0, number),
                chunks: words.iter().flat_map(|word| chunk(word)).collect(),
            },
            "gre" => What::Gre { call: value("call").map(number) },
            "other" => What::Other {
                len: value("len").map_or(8, number::<u32>) as usize,
                protocol: number(words[0]),
            },
            other => panic!("what is {other}?"),
        };
        Self { from, v6, spoil, what }
    }

    fn protocol(&self) -> u8 {
        match &self.what {
            What::Tcp { .. } => ip::TCP,
            What::Udp { lite: false, .. } => ip::UDP,
            What::Udp { lite: true, .. } => ip::UDP_LITE,
            What::Icmp { .. } | What::Error { .. } if self.v6 => ip::ICMP6,
            What::Icmp { .. } | What::Error { .. } => ip::ICMP,
            What::Sctp { .. } => ip::SCTP,
            What::Gre { .. } => ip::GRE,
            What::Other { protocol, .. } => *protocol,
        }
    }

    /// As it goes over the wire, with the addresses of the kernel's test bed.
    pub(crate) fn frame(&self) -> Vec<u8> {
        let port = if self.from == Side::A { 0 } else { 1 };
        let mut frame = vec![2, 0, 0, 0, 0, port + 1, 2, 0, 0, 0, port, 2];
        let kind = if self.v6 { ethernet::IPV6 } else { ethernet::IPV4 };
        frame.extend(kind.to_be_bytes());
        frame.extend(self.bytes());
        frame
    }

    /// From the network header on.
    fn bytes(&self) -> Vec<u8> {
        let (mut body, field) = self.transport();
        let [a, b] = [[10, 0, 0, 2], [10, 0, 1, 2]];
        let [a6, b6] = [
            Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2).octets(),
            Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 2).octets(),
        ];
        let (src, dst, src6, dst6) =
            if self.from == Side::A { (a, b, a6, b6) } else { (b, a, b6, a6) };
        let protocol = self.protocol();
        if let Some(field) = field {
            let sum = match protocol {
                ip::ICMP => checksum::Sum::new(),
                _ if self.v6 => checksum::pseudo_ipv6(src6, dst6, protocol, body.len() as u32),
                _ => checksum::pseudo_ipv4(src, dst, protocol, body.len() as u16),
            };
            let sum = sum.bytes(&body).checksum();
            body[field..field + 2].copy_from_slice(&sum.to_be_bytes());
        }
        if matches!(self.what, What::Sctp { .. }) {
            let crc = crc32c::Crc32c::new().bytes(&body).value();
            body[8..12].copy_from_slice(&crc32c::to_wire(crc).to_bytes());
        }
        if self.spoil {
            let last = body.len() - 1;
            body[last] ^= 1;
        }
        let mut bytes = Vec::new();
        if self.v6 {
            bytes.extend([0x60, 0, 0, 0]);
            bytes.extend((body.len() as u16).to_be_bytes());
            bytes.extend([protocol, 64]);
            bytes.extend(src6);
            bytes.extend(dst6);
        } else {
            bytes.extend([0x45, 0]);
            bytes.extend((20 + body.len() as u16).to_be_bytes());
            bytes.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
            bytes.extend(src);
            bytes.extend(dst);
            let sum = checksum::of(&bytes);
            bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        bytes.extend(body);
        bytes
    }

    /// And where an internet checksum stands in it.
    fn transport(&self) -> (Vec<u8>, Option<usize>) {
        let mut out = Vec::new();
        match &self.what {
            What::Tcp { ports, flags, seq, ack, window, len, options } => {
                out.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
                out.extend(seq.to_be_bytes());
                out.extend(ack.to_be_bytes());
                out.extend([(20 + options.len() as u8) << 2, *flags]);
                out.extend(window.to_be_bytes());
                out.extend([0; 4]);
                out.extend(options);
                out.extend(vec![0x55; *len]);
                (out, Some(16))
            }
            What::Udp { ports, len, lite } => {
                out.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
                let length = if *lite { 0 } else { 8 + *len as u16 };
                out.extend(length.to_be_bytes());
                out.extend([0; 2]);
                out.extend(vec![0x55; *len]);
                (out, Some(6))
            }
            What::Icmp { kind, code, id } => {
                out.extend([*kind, *code, 0, 0]);
                out.extend(id.to_be_bytes());
                out.extend([0, 1, 1, 2, 3, 4]);
                (out, Some(2))
            }
            What::Error { kind, code, inner, keep } => {
                out.extend([*kind, *code, 0, 0, 0, 0, 0, 0]);
                out.extend(inner.bytes().iter().take(*keep));
                (out, Some(2))
            }
            What::Sctp { ports, tag, chunks } => {
                out.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
                out.extend(tag.to_be_bytes());
                out.extend([0; 4]);
                out.extend(chunks);
                (out, None)
            }
            What::Gre { call } => {
                match call {
                    Some(call) => {
                        out.extend([0x20, 1, 0x88, 0x0b, 0, 4]);
                        out.extend(call.to_be_bytes());
                    }
                    None => out.extend([0, 0, 8, 0]),
                }
                out.extend([1, 2, 3, 4]);
                (out, None)
            }
            What::Other { len, .. } => (vec![0x55; *len], None),
        }
    }
}

/// Padded to words.
fn options(words: &str) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::new();
    for word in words.split(',') {
        match word {
            "mss" => out.extend([2, 4, 5, 180]),
            "sack" => out.extend([4, 2]),
            "ts" => out.extend([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]),
            "end" => out.push(0),
            "silly" => out.extend([9, 1]),
            "none" => {}
            _ => match (word.strip_prefix("ws"), word.split_once('-')) {
                (Some(scale), _) => out.extend([3, 3, number(scale)]),
                (_, Some((from, to))) => {
                    out.extend([5, 10]);
                    out.extend(number::<u32>(from).to_be_bytes());
                    out.extend(number::<u32>(to).to_be_bytes());
                }
                _ => panic!("what option is {word}?"),
            },
        }
    }
    while !out.len().is_multiple_of(4) {
        out.push(1);
    }
    out
}

/// `init=TAG`, `initack=TAG`, or a chunk that is a header; `abort/1`: with these flags.
fn chunk(word: &str) -> Vec<u8> {
    let (word, tag) = match word.split_once('=') {
        Some((word, tag)) => (word, number::<u32>(tag)),
        None => (word, 0),
    };
    let (word, flags) = match word.split_once('/') {
        Some((word, flags)) => (word, number::<u8>(flags)),
        None => (word, 0),
    };
    let kinds = [
        ("data", 0),
        ("init", 1),
        ("initack", 2),
        ("sack", 3),
        ("hb", 4),
        ("hback", 5),
        ("abort", 6),
        ("shutdown", 7),
        ("shutdownack", 8),
        ("error", 9),
        ("echo", 10),
        ("cookieack", 11),
        ("complete", 14),
    ];
    let (_, kind) = kinds.iter().find(|(name, _)| *name == word).expect("a chunk");
    if matches!(*kind, 1 | 2) {
        let mut out = vec![*kind, flags, 0, 20];
        out.extend(tag.to_be_bytes());
        out.extend([0; 12]);
        return out;
    }
    vec![*kind, flags, 0, 8, 0, 0, 0, 0]
}

/// A flow as `/proc/net/nf_conntrack` shows it, without what is not tracking's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    /// All but the timeout.
    pub(crate) text: String,
    /// Seconds left.
    pub(crate) seconds: u64,
}

impl Entry {
    /// Of a line of the kernel's.
    pub(crate) fn of_kernel(line: &str) -> Self {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        let seconds = words[4].parse().unwrap();
        words.remove(4);
        words.retain(|word| {
            let key = word.split('=').next().unwrap();
            !["mark", "use", "zone", "secctx", "timeout", "stream_timeout"].contains(&key)
        });
        Self { text: words.join(" "), seconds }
    }

    /// Whether this is the same; the kernel cuts seconds off.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.text == other.text && self.seconds.abs_diff(other.seconds) <= 1
    }

    /// `SYN_SENT 120 UNREPLIED`: what a script says of it.
    pub(crate) fn short(&self) -> String {
        let words: Vec<&str> = self.text.split(' ').collect();
        let state = words.get(4).filter(|word| !word.contains('=')).copied();
        let mut out = state.map(|state| format!("{state} ")).unwrap_or_default();
        out += &self.seconds.to_string();
        for word in words.iter().filter(|word| word.starts_with('[')) {
            out += &format!(" {}", word.trim_matches(['[', ']']));
        }
        out
    }
}

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// `ct state`, or `dropped`.
    pub(crate) state: &'static str,
    /// The table after it, in order.
    pub(crate) table: Vec<Entry>,
}

impl Seen {
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.state == other.state
            && self.table.len() == other.table.len()
            && self.table.iter().zip(&other.table).all(|(this, that)| this.is(that))
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.state)?;
        for entry in &self.table {
            write!(f, "; {}", entry.short())?;
        }
        Ok(())
    }
}

/// An address as the kernel's file shows it.
pub(crate) fn address(bytes: [u8; 16], family: u8) -> String {
    let [a, b, c, d, ..] = bytes;
    if family == 4 {
        return Ipv4Addr::new(a, b, c, d).to_string();
    }
    let groups = Ipv6Addr::from(bytes).segments();
    groups.map(|group| format!("{group:04x}")).join(":")
}
