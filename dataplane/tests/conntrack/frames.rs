//! Packets from the words of a script.
//!
//! `PROTOCOL SRC > DST WORDS`: PROTOCOL is tcp, udp, icmp, icmp6, sctp, gre or a number.
//!
//! - all: `len=N` bytes of payload, `ttl=N`, `badsum`, `nosum` (UDP), `frag=8,16` cut at these bytes of what follows the IP
//!   header, sent in `order=2,0,1` (which may leave some out, or say some twice), `stretch=N` each fragment with N bytes more
//! - tcp: flags first (`S`, `SA`, `PA`, `F`, …, `-`), `seq=` and `ack=` absolute, or with a sign relative to what comes next;
//!   by default, they go on where the stream was; `again`: the sequence number of the one before;
//!   `apart`: the stream goes on as if it had not been; `win=`, `wscale=`, `mss=`,
//!   `sackok`, `sack=+100..+200`, `ts=1/2`
//! - icmp: a kind (see `names`); a query's identifier stands as the port of the host that asks; an error quotes what last left
//!   by this interface (errors aside), or the packet `( … )`; `quote=N` so many bytes behind the quoted IP header; `mtu=N`
//! - sctp: chunks `init`, `data`, …, or several with commas; `vtag=` (by default what the peer asked for), `itag=`
//! - gre: `key=N`, `version=1`

use std::collections::HashMap;
use std::net::IpAddr;

use packet::checksum;

use crate::names::{self, End, Vars};
use crate::script::Tap;

/// What one side has seen of a script, which later packets build on.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) vars: Vars,
    streams: Vec<Stream>,
    by_ends: HashMap<(u8, End, End), usize>,
    /// What last left by each interface.
    pub(crate) left: HashMap<Tap, Vec<u8>>,
    /// How each packet left, if it did.
    pub(crate) ways: Vec<Option<Exit>>,
    /// IP's identification of the last packet.
    id: u16,
}

/// How a packet left: where, with what ends, and all of it.
pub(crate) type Exit = (Tap, [End; 2], Vec<u8>);

/// One direction of a connection.
#[derive(Clone, Copy, Debug, Default)]
struct Stream {
    /// What the next byte is numbered, and what the last packet was.
    next: u32,
    last: u32,
    started: bool,
    /// SCTP: the tag that the peer must say.
    tag: u32,
}

/// A packet before its IP header.
pub(crate) struct Built {
    pub(crate) protocol: u8,
    pub(crate) ends: [End; 2],
    pub(crate) frames: Vec<Vec<u8>>,
}

const NODE: [u8; 6] = [2, 0, 0, 0, 0, 1];
const PEER: [u8; 6] = [2, 0, 0, 0, 1, 2];

impl Memory {
    /// Before a script. Fragments must not meet those that another left behind, so identifications differ.
    pub(crate) fn new(script: &str) -> Self {
        let hash = script
            .bytes()
            .fold(0u16, |hash, byte| hash.wrapping_mul(31).wrapping_add(u16::from(byte)));
        Self { id: hash, ..Self::default() }
    }

    /// What was sent came out with these ends: packets back are of the same connection.
    pub(crate) fn came_out(&mut self, built: &Built, ends: [End; 2]) {
        let [src, dst] = built.ends;
        if let Some(stream) = self.by_ends.get(&(built.protocol, src, dst)) {
            let stream = *stream;
            self.by_ends.insert((built.protocol, ends[0], ends[1]), stream);
        }
    }

    /// The stream between these ends; a new one where there is none.
    fn stream(&mut self, protocol: u8, [src, dst]: [End; 2]) -> usize {
        let streams = &mut self.streams;
        *self.by_ends.entry((protocol, src, dst)).or_insert_with(|| {
            let n = streams.len() as u32;
            streams.push(Stream { next: 1000 + n * 100_000, ..Stream::default() });
            streams.len() - 1
        })
    }

    fn peer(&self, protocol: u8, [src, dst]: [End; 2]) -> Stream {
        let found = self.by_ends.get(&(protocol, dst, src));
        found.map_or_else(Stream::default, |found| self.streams[*found])
    }

    /// Puts what an earlier packet became in the place of `reply=N` and `about=N`; `None` where that never left.
    pub(crate) fn resolve(&mut self, at: Tap, words: &[String]) -> Option<(Tap, Vec<String>)> {
        let [name, from, rest @ ..] = words else { return Some((at, words.to_vec())) };
        let Some((how @ ("reply" | "about"), n)) = from.split_once('=') else {
            return Some((at, words.to_vec()));
        };
        let (tap, [src, dst], frame) = self.ways.get(n.parse::<usize>().ok()?)?.clone()?;
        let mut ends = [dst, src];
        let mut name = name.clone();
        if how == "about" {
            name = if src.addr.is_ipv4() { "icmp".into() } else { "icmp6".into() };
            ends.iter_mut().for_each(|end| end.port = None);
            self.left.insert(tap, frame);
        }
        let [src, dst] = ends.map(|end| end.to_string());
        let words = [name, src, ">".into(), dst].into_iter().chain(rest.iter().cloned());
        Some((tap, words.collect()))
    }

    /// The frames that these words stand for, as they go into an interface.
    pub(crate) fn build(&mut self, at: Tap, words: &[String]) -> Result<Built, String> {
        let (protocol, ends, body) = self.transport(at, words)?;
        let words = Words(words);
        let ttl = words.number("ttl")?.unwrap_or(64) as u8;
        self.id = self.id.wrapping_add(1);
        let id = words.number("id")?.unwrap_or(u32::from(self.id)) as u16;
        let mut cuts: Vec<usize> = words.list("frag")?;
        if cuts.is_empty() {
            let packet = ip(ends, protocol, ttl, id, None, &body);
            return Ok(Built { protocol, ends, frames: vec![frame(at, &packet)] });
        }
        let stretch = words.number("stretch")?.unwrap_or(0) as usize;
        cuts.insert(0, 0);
        let mut fragments = Vec::new();
        for (n, from) in cuts.iter().enumerate() {
            let next = cuts.get(n + 1).copied();
            let to = (next.unwrap_or(body.len()) + stretch).min(body.len());
            let part = body.get(*from..to).ok_or("a cut behind the end")?;
            let fragment = Some((*from as u16, next.is_some()));
            fragments.push(frame(at, &ip(ends, protocol, ttl, id, fragment, part)));
        }
        let order = words.list("order")?;
        let order = if order.is_empty() { (0..fragments.len()).collect() } else { order };
        let pick = |n: &usize| fragments.get(*n).cloned().ok_or("no such fragment".to_owned());
        let frames = order.iter().map(pick).collect::<Result<_, _>>()?;
        Ok(Built { protocol, ends, frames })
    }

    /// Protocol, ends, and what follows the IP header.
    fn transport(&mut self, at: Tap, words: &[String]) -> Result<(u8, [End; 2], Vec<u8>), String> {
        let [name, src, arrow, dst, rest @ ..] = words else { return Err("no packet".into()) };
        if arrow != ">" {
            return Err(format!("> is missing: {words:?}"));
        }
        let ends = [names::end(src, &mut self.vars, None)?, names::end(dst, &mut self.vars, None)?];
        let name = if name == "icmp6" { "icmpv6" } else { name };
        let protocol = names::protocol(name).ok_or_else(|| format!("no protocol: {name}"))?;
        let words = Words(rest);
        let ports = [ends[0].port, ends[1].port].map(|port| port.unwrap_or(0).to_be_bytes());
        let ports = ports.concat();
        let body = match protocol {
            6 => self.tcp(ends, &ports, &words)?,
            17 => {
                let data = payload(words.number("len")?.unwrap_or(16));
                let len = (8 + data.len() as u16).to_be_bytes();
                [&ports, &len[..], &[0, 0], &data].concat()
            }
            136 => {
                [&ports, &[0, 0, 0, 0][..], &payload(words.number("len")?.unwrap_or(16))].concat()
            }
            1 | 58 => self.icmp(at, ends, &words)?,
            132 => self.sctp(ends, &ports, &words)?,
            47 => {
                let version = words.number("version")?.unwrap_or(0) as u8;
                let key = words.number("key")?;
                let flags = if key.is_some() { 0x20 } else { 0 };
                let kind: [u8; 2] = if version == 1 { [0x88, 0x0b] } else { [8, 0] };
                let key = key.map_or(Vec::new(), |key| key.to_be_bytes().to_vec());
                [&[flags, version], &kind[..], &key, &payload(24)].concat()
            }
            _ => payload(words.number("len")?.unwrap_or(24)),
        };
        Ok((protocol, ends, sums(protocol, ends, body, &words)))
    }

    fn tcp(&mut self, ends: [End; 2], ports: &[u8], words: &Words<'_>) -> Result<Vec<u8>, String> {
        let flags = words.0.first().ok_or("no flags")?;
        let bits =
            [('F', 1), ('S', 2), ('R', 4), ('P', 8), ('A', 16), ('U', 32), ('E', 64), ('C', 128)];
        let mut flag = 0;
        for letter in flags.chars().filter(|letter| *letter != '-') {
            let known = bits.iter().find(|(known, _)| *known == letter);
            flag |= known.ok_or_else(|| format!("no flag: {letter}"))?.1;
        }
        let len = words.number("len")?.unwrap_or(0);
        let peer = self.peer(6, ends);
        let stream = self.stream(6, ends);
        let stream = &mut self.streams[stream];
        let seq = match words.value("seq") {
            Some(text) => relative(text, stream.next)?,
            None if words.has("again") => stream.last,
            None if flag & 2 != 0 && stream.started => stream.next.wrapping_add(1000),
            None => stream.next,
        };
        let ack = match words.value("ack") {
            Some(text) => relative(text, peer.next)?,
            None if flag & 16 != 0 => peer.next,
            None => 0,
        };
        stream.last = seq;
        let follows = words.value("seq").is_none() && !words.has("again");
        if (follows || flag & 2 != 0) && !words.has("apart") {
            let taken = len + u32::from(flag & 1) + u32::from(flag >> 1 & 1);
            stream.next = seq.wrapping_add(taken);
            stream.started = true;
        }
        let mut options = Vec::new();
        if let Some(mss) = words.number("mss")? {
            options.extend([2, 4]);
            options.extend((mss as u16).to_be_bytes());
        }
        if words.has("sackok") {
            options.extend([4, 2]);
        }
        if let Some(scale) = words.number("wscale")? {
            options.extend([3, 3, scale as u8]);
        }
        if let Some(ts) = words.value("ts") {
            let (value, echo) = ts.split_once('/').ok_or("ts=VALUE/ECHO")?;
            options.extend([8, 10]);
            for part in [value, echo] {
                options.extend(relative(part, 0)?.to_be_bytes());
            }
        }
        if let Some(blocks) = words.value("sack") {
            let edges = blocks.split(',').filter_map(|block| block.split_once(".."));
            let edges: Vec<&str> = edges.flat_map(|(from, to)| [from, to]).collect();
            options.extend([5, 2 + 4 * edges.len() as u8]);
            for edge in edges {
                options.extend(relative(edge, peer.next)?.to_be_bytes());
            }
        }
        options.resize(options.len().next_multiple_of(4), 1);
        let window = words.number("win")?.unwrap_or(60_000) as u16;
        let mut bytes = ports.to_vec();
        bytes.extend(seq.to_be_bytes());
        bytes.extend(ack.to_be_bytes());
        bytes.extend([(5 + options.len() as u8 / 4) << 4, flag]);
        bytes.extend(window.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(options);
        bytes.extend(payload(len));
        Ok(bytes)
    }

    fn icmp(&mut self, at: Tap, ends: [End; 2], words: &Words<'_>) -> Result<Vec<u8>, String> {
        let six = ends[0].addr.is_ipv6();
        let kind = words.0.iter().find_map(|word| names::icmp(word, six));
        let (kind, code) = kind.ok_or_else(|| format!("no kind of message: {:?}", words.0))?;
        if !names::is_error(kind, six) {
            let id = ends[0].port.or(ends[1].port).unwrap_or(0).to_be_bytes();
            let data = payload(words.number("len")?.unwrap_or(16));
            return Ok([&[kind, code, 0, 0], &id[..], &[0, 1], &data].concat());
        }
        let quoted = match words.inner() {
            Some(inner) => {
                let (protocol, ends, body) = self.transport(at, inner)?;
                ip(ends, protocol, 63, 7, None, &body)
            }
            None => self.left.get(&at).ok_or("nothing left by this interface")?[14..].to_vec(),
        };
        let header = if six { 40 } else { usize::from(quoted[0] & 15) * 4 };
        let wanted = words.number("quote")?.unwrap_or(100) as usize;
        let end = quoted.len().min(header + wanted);
        let mtu = words.number("mtu")?.unwrap_or(0);
        Ok([&[kind, code, 0, 0], &mtu.to_be_bytes()[..], &quoted[..end]].concat())
    }

    fn sctp(&mut self, ends: [End; 2], ports: &[u8], words: &Words<'_>) -> Result<Vec<u8>, String> {
        let chunks = words.0.first().ok_or("no chunk")?;
        let peer = self.peer(132, ends);
        let stream = self.stream(132, ends);
        let stream = &mut self.streams[stream];
        let init = chunks == "init";
        let tag = words.number("vtag")?.unwrap_or(if init { 0 } else { peer.tag });
        if chunks.starts_with("init") {
            stream.tag = words.number("itag")?.unwrap_or(stream.next);
        }
        let mut bytes = [ports, &tag.to_be_bytes(), &[0; 4]].concat();
        for chunk in chunks.split(',') {
            let (kind, data) = match chunk {
                "data" => (0, [&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0][..], &payload(8)].concat()),
                "init" | "init-ack" => {
                    let tail = [0, 0, 0xff, 0xff, 0, 1, 0, 1, 0, 0, 0, 1];
                    (1 + u8::from(chunk != "init"), [&stream.tag.to_be_bytes()[..], &tail].concat())
                }
                "sack" => (3, vec![0; 12]),
                "heartbeat" => (4, vec![0, 1, 0, 8, 1, 2, 3, 4]),
                "heartbeat-ack" => (5, vec![0, 1, 0, 8, 1, 2, 3, 4]),
                "abort" => (6, vec![]),
                "shutdown" => (7, vec![0, 0, 0, 1]),
                "shutdown-ack" => (8, vec![]),
                "error" => (9, vec![0, 1, 0, 8, 0, 0, 0, 1]),
                "cookie-echo" => (10, vec![1; 8]),
                "cookie-ack" => (11, vec![]),
                "shutdown-complete" => (14, vec![]),
                _ => return Err(format!("no chunk: {chunk}")),
            };
            // DATA: first and last fragment.
            bytes.extend([kind, if kind == 0 { 3 } else { 0 }]);
            bytes.extend((4 + data.len() as u16).to_be_bytes());
            bytes.extend(data);
        }
        Ok(bytes)
    }
}

/// The words behind the ends.
struct Words<'a>(&'a [String]);

impl<'a> Words<'a> {
    /// What stands outside of parentheses.
    fn own(&self) -> impl Iterator<Item = &'a String> {
        self.0.iter().take_while(|word| *word != "(")
    }

    fn inner(&self) -> Option<&'a [String]> {
        let from = self.0.iter().position(|word| word == "(")?;
        let to = self.0.iter().rposition(|word| word == ")")?;
        self.0.get(from + 1..to)
    }

    fn value(&self, name: &str) -> Option<&'a str> {
        self.own().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }

    fn has(&self, name: &str) -> bool {
        self.own().any(|word| word == name)
    }

    fn number(&self, name: &str) -> Result<Option<u32>, String> {
        let number = |text: &str| text.parse().map_err(|_| format!("no number: {name}={text}"));
        self.value(name).map(number).transpose()
    }

    fn list(&self, name: &str) -> Result<Vec<usize>, String> {
        let Some(text) = self.value(name) else { return Ok(Vec::new()) };
        let numbers = text.split(',').map(str::parse).collect::<Result<_, _>>();
        numbers.map_err(|_| format!("no list: {name}={text}"))
    }
}

/// An absolute number, or with a sign one relative to `base`.
fn relative(text: &str, base: u32) -> Result<u32, String> {
    let fail = |_| format!("no number: {text}");
    if let Some(more) = text.strip_prefix('+') {
        return Ok(base.wrapping_add(more.parse().map_err(fail)?));
    }
    if let Some(less) = text.strip_prefix('-') {
        return Ok(base.wrapping_sub(less.parse().map_err(fail)?));
    }
    text.parse().map_err(fail)
}

fn payload(len: u32) -> Vec<u8> {
    (0..len).map(|n| n as u8).collect()
}

/// A transport's bytes with its checksum.
fn sums(protocol: u8, ends: [End; 2], mut body: Vec<u8>, words: &Words<'_>) -> Vec<u8> {
    let at = match protocol {
        6 => 16,
        17 | 136 => 6,
        1 | 58 => 2,
        132 => {
            let sum = crc32c(&body) ^ u32::from(words.has("badsum"));
            body[8..12].copy_from_slice(&sum.to_le_bytes());
            return body;
        }
        _ => return body,
    };
    if words.has("nosum") {
        return body;
    }
    let mut sum = if protocol == 1 {
        checksum::of(&body)
    } else {
        let [src, dst] = ends.map(|end| octets(end.addr));
        let len = (body.len() as u32).to_be_bytes();
        checksum::of(&[&src[..], &dst, &len, &[0, 0, 0, protocol], &body].concat())
    };
    if sum == 0 && protocol == 17 {
        sum = 0xffff;
    }
    if words.has("badsum") {
        sum ^= 0x1111;
    }
    body[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    body
}

/// Castagnoli's CRC, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 != 0 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes
        .iter()
        .fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

fn octets(addr: IpAddr) -> Vec<u8> {
    match addr {
        IpAddr::V4(addr) => addr.octets().to_vec(),
        IpAddr::V6(addr) => addr.octets().to_vec(),
    }
}

/// An IP packet; a fragment has its offset in bytes, and whether more follow.
fn ip(
    ends: [End; 2],
    protocol: u8,
    ttl: u8,
    id: u16,
    fragment: Option<(u16, bool)>,
    body: &[u8],
) -> Vec<u8> {
    let [src, dst] = ends.map(|end| octets(end.addr));
    let place = fragment.map_or(0, |(offset, _)| offset);
    let more = fragment.is_some_and(|(_, more)| more);
    let len = body.len() as u16;
    if ends[0].addr.is_ipv4() {
        let place = (place / 8) | (u16::from(more) << 13);
        let mut header = [
            &[0x45, 0][..],
            &(20 + len).to_be_bytes(),
            &id.to_be_bytes(),
            &place.to_be_bytes(),
            &[ttl, protocol, 0, 0],
            &src,
            &dst,
        ]
        .concat();
        let sum = checksum::of(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        header.extend_from_slice(body);
        return header;
    }
    let place = (place | u16::from(more)).to_be_bytes();
    let extension = [protocol, 0, place[0], place[1], 0, 0, (id >> 8) as u8, id as u8];
    let extension = if fragment.is_some() { &extension[..] } else { &[] };
    let len = len + extension.len() as u16;
    let next = if fragment.is_some() { 44 } else { protocol };
    [&[0x60, 0, 0, 0][..], &len.to_be_bytes(), &[next, ttl], &src, &dst, extension, body].concat()
}

/// With an Ethernet header, as it arrives by an interface.
fn frame(at: Tap, packet: &[u8]) -> Vec<u8> {
    let mut to = NODE;
    to[5] += u8::from(at == Tap::Out);
    let kind: [u8; 2] = if packet[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] };
    [&to[..], &PEER, &kind, packet].concat()
}
