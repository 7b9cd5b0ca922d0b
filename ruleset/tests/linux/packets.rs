//! Random packets in good order. Each ends with a mark and its number, by which it is known again.

use packet::checksum;

use crate::bed::Kind;
use crate::rng::Rng;

const MARK: [u8; 6] = [0xa7, 0x5e, 0xc3, 0x19, 0xd4, 0x6b];
const HOST: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// The number of a packet that came out, if it is one of these.
pub(crate) fn number(frame: &[u8]) -> Option<usize> {
    let at = frame.windows(MARK.len()).rposition(|window| window == MARK)?;
    let bytes = frame.get(at + MARK.len()..)?.first_chunk()?;
    Some(u32::from_be_bytes(*bytes) as usize)
}

/// IPv4 addresses that rules speak of.
pub(crate) const V4: &[[u8; 4]] = &[
    [10, 1, 1, 1],
    [10, 1, 2, 3],
    [192, 168, 5, 6],
    [172, 16, 9, 9],
    [198, 51, 100, 7],
    [8, 8, 8, 8],
];
/// The last two bytes of such IPv6 addresses, behind 2001:db8::.
pub(crate) const V6: &[[u8; 2]] = &[[0, 1], [0, 2], [0, 0x99], [1, 0], [0xab, 0xcd]];
/// Ports that rules speak of.
pub(crate) const PORTS: &[u16] = &[22, 53, 80, 443, 1000, 1005, 5060, 8080, 65535];

fn v4(rng: &mut Rng) -> [u8; 4] {
    if rng.chance(80) {
        rng.one(V4)
    } else {
        [11 + rng.byte() % 100, rng.byte(), rng.byte(), rng.byte()]
    }
}

fn v6(rng: &mut Rng) -> [u8; 16] {
    let mut address = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let tail = if rng.chance(80) { rng.one(V6) } else { [rng.byte(), rng.byte()] };
    address[14..].copy_from_slice(&tail);
    address
}

fn port(rng: &mut Rng) -> [u8; 2] {
    let port = if rng.chance(75) { rng.one(PORTS) } else { rng.next() as u16 };
    port.to_be_bytes()
}

/// What a transport header covers beside itself.
struct Ends {
    src: Vec<u8>,
    dst: Vec<u8>,
}

/// A frame with this number.
pub(crate) fn frame(rng: &mut Rng, number: usize, kind: Kind) -> Vec<u8> {
    if kind == Kind::Arp {
        return arp(rng);
    }
    let mut frame = Vec::new();
    frame.extend(match rng.below(20) {
        0 => [2, 0, 0, 0, 9, 9],
        1 => [0xff; 6],
        2 => [1, 0, 0x5e, 1, 2, 3],
        _ if kind == Kind::Routed => HOST,
        _ => [2, 0, 0, 0, 0, 0x20 + rng.byte() % 4],
    });
    frame.extend([2, 0, 0, 0, 0, 0x10 + rng.byte() % 4]);
    if rng.chance(if kind == Kind::Routed { 4 } else { 25 }) {
        // Priority tags (id 0) are left out: Linux takes them off.
        frame.extend([0x81, 0, rng.one(&[0, 0x20, 0xe0]), 1 + rng.byte() % 5]);
    }
    let mut payload: Vec<u8> = (0..40 + rng.below(60)).map(|_| rng.byte()).collect();
    payload.extend(MARK);
    payload.extend((number as u32).to_be_bytes());
    match rng.below(if kind == Kind::Routed { 100 } else { 115 }) {
        0..=59 => ipv4(rng, &mut frame, &payload),
        60..=99 => ipv6(rng, &mut frame, &payload),
        _ => {
            frame.extend([0x88, 0xb5]);
            frame.extend(payload);
        }
    }
    if rng.chance(10) {
        frame.extend(std::iter::repeat_n(0, 1 + rng.below(20)));
    }
    frame
}

/// An ARP message, most often a request for this node's address. What comes of it is known by its turn.
fn arp(rng: &mut Rng) -> Vec<u8> {
    let dst = if rng.chance(80) { [0xff; 6] } else { rng.one(&[HOST, [2, 0, 0, 0, 9, 9]]) };
    let sender = [2, 0, 0, 0, 0, 0x10 + rng.byte() % 4];
    let op = if rng.chance(90) { 1 } else { 2 };
    let mut frame = [&dst[..], &sender, &[8, 6, 0, 1, 8, 0, 6, 4, 0, op], &sender].concat();
    frame.extend([10, 0, 0, 2 + rng.byte() % 32, 0, 0, 0, 0, 0, 0]);
    frame.extend(if rng.chance(80) {
        [10, 0, 0, 1]
    } else {
        rng.one(&[[10, 0, 1, 1], [10, 0, 0, 77]])
    });
    if rng.chance(50) {
        frame.resize(60, 0);
    }
    frame
}

/// What the node answers to an ARP request that has passed the rules.
pub(crate) fn arp_reply(request: &[u8]) -> Option<Vec<u8>> {
    let (sender, target) = (request.get(22..32)?, request.get(38..42)?);
    let asks = request[14..22] == [0, 1, 8, 0, 6, 4, 0, 1];
    let local = matches!(target, [10, 0, 0 | 1, 1]);
    (asks && local).then(|| {
        [&sender[..6], &HOST, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2], &HOST, target, sender].concat()
    })
}

fn ipv4(rng: &mut Rng, frame: &mut Vec<u8>, payload: &[u8]) {
    let (src, dst) = (v4(rng), v4(rng));
    let ends = Ends { src: src.to_vec(), dst: dst.to_vec() };
    let (protocol, body) = transport(rng, payload, &ends, false);
    let options: &[u8] = match rng.below(12) {
        0 => &[148, 4, 0, 0],
        1 => &[1, 1, 1, 0],
        2 => &[7, 7, 8, 9, 9, 9, 9, 0],
        3 => &[1, 148, 4, 0, 0, 1, 1, 1],
        _ => &[],
    };
    // Fragments are multiples of 8 bytes, but for the last.
    let fragment: u16 = match rng.below(16) {
        0 if body.len().is_multiple_of(8) => 0x2000,
        1 => 0x0010,
        2 | 3 => 0x4000,
        _ => 0,
    };
    let total = 20 + options.len() + body.len();
    let mut header = vec![0x45 + (options.len() / 4) as u8, tos(rng)];
    header.extend((total as u16).to_be_bytes());
    header.extend([rng.byte(), rng.byte()]);
    header.extend(fragment.to_be_bytes());
    header.extend([ttl(rng), protocol, 0, 0]);
    header.extend(src);
    header.extend(dst);
    header.extend(options);
    let sum = checksum::of(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    frame.extend([8, 0]);
    frame.extend(header);
    frame.extend(body);
}

fn ipv6(rng: &mut Rng, frame: &mut Vec<u8>, payload: &[u8]) {
    let (src, dst) = (v6(rng), v6(rng));
    let ends = Ends { src: src.to_vec(), dst: dst.to_vec() };
    let (protocol, body) = transport(rng, payload, &ends, true);
    let tagged = frame.len() > 12;
    // Each with its number in front, to be chained.
    let mut chain: Vec<(u8, Vec<u8>)> = Vec::new();
    if rng.chance(8) {
        chain.push((0, vec![0, 0, 1, 4, 0, 0, 0, 0]));
    }
    if rng.chance(8) {
        chain.push((60, vec![0, 0, 1, 4, 0, 0, 0, 0]));
    }
    if rng.chance(5) {
        chain.push((43, [&[0, 2, 4, 0, 0, 0, 0, 0][..], &v6(rng)].concat()));
    }
    match rng.below(16) {
        0 => chain.push((44, vec![0, 0, 0, 0, 1, 2, 3, rng.byte()])),
        1 if body.len().is_multiple_of(8) => chain.push((44, vec![0, 0, 0, 1, 1, 2, 3, 4])),
        // In a tagged one Linux reads the Ethernet header, without the tag, as the transport's.
        2 if !tagged => chain.push((44, vec![0, 0, 0, 0x40, 1, 2, 3, 4])),
        _ => {}
    }
    if rng.chance(4) {
        chain.push((51, vec![0, 2, 0, 0, 0, 0, 1, rng.byte(), 0, 0, 0, 1, 9, 9, 9, 9]));
    }
    let numbers: Vec<u8> = chain.iter().map(|(number, _)| *number).chain([protocol]).collect();
    let mut rest = Vec::new();
    for ((_, header), next) in chain.iter_mut().zip(&numbers[1..]) {
        header[0] = *next;
        rest.extend_from_slice(header);
    }
    rest.extend(body);
    let tos = tos(rng);
    frame.extend([
        0x86,
        0xdd,
        0x60 | tos >> 4,
        tos << 4 | rng.byte() & 0xf,
        rng.byte(),
        rng.byte(),
    ]);
    frame.extend((rest.len() as u16).to_be_bytes());
    frame.extend([numbers[0], ttl(rng)]);
    frame.extend(src);
    frame.extend(dst);
    frame.extend(rest);
}

fn tos(rng: &mut Rng) -> u8 {
    if rng.chance(50) { 0 } else { rng.one(&[0x10, 0x08, 0xb8, 0x28, 0x01, 0x03, 0xff]) }
}

fn ttl(rng: &mut Rng) -> u8 {
    if rng.chance(70) { 64 } else { rng.one(&[1, 2, 3, 32, 63, 128, 255]) }
}

/// A transport header in front of the payload, with its checksum, and its number.
fn transport(rng: &mut Rng, payload: &[u8], ends: &Ends, six: bool) -> (u8, Vec<u8>) {
    let (sport, dport) = (port(rng), port(rng));
    let ports = [sport, dport].concat();
    let (protocol, mut bytes, checksum) = match rng.below(20) {
        0..=8 => (6, [&ports, &tcp(rng)[..]].concat(), Some(16)),
        9..=13 => {
            let len = (8 + payload.len() as u16).to_be_bytes();
            let checksum = if rng.chance(15) && !six { None } else { Some(6) };
            (17, [&ports, &len[..], &[0, 0]].concat(), checksum)
        }
        14 => (136, [&ports, &[0, 0, 0, 0][..]].concat(), Some(6)),
        15 => {
            let len = (16 + payload.len() as u16).to_be_bytes();
            let chunk = rng.one(&[0, 1, 3, 14]);
            let first = [3, 0, 0, 16, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0, 0];
            let before: &[u8] = if rng.chance(40) { &first } else { &[] };
            let head = [
                &[chunk, rng.byte() & 3][..],
                &len,
                &[0, 0, 0, rng.byte(), 0, 1, 0, 2, 0, 0, 0, 0],
            ];
            let head = head.concat();
            (132, [&ports, &[1, 2, 3, 4, 9, 9, 9, 9][..], before, &head].concat(), None)
        }
        16 | 17 if six => {
            let kind = rng.one(&[128, 129, 1, 3, 4]);
            (58, vec![kind, rng.byte() & 3, 0, 0, 0, rng.byte(), 0, 1], Some(2))
        }
        16 | 17 => {
            (1, vec![rng.one(&[8, 0, 3, 11]), rng.byte() & 3, 0, 0, 0, rng.byte(), 0, 1], None)
        }
        18 => (47, vec![0, 0, 8, 0], None),
        _ => (rng.one(&[50, 4, 89, 112]), Vec::new(), None),
    };
    bytes.extend(payload);
    if let Some(at) = checksum {
        let pseudo = [
            &ends.src[..],
            &ends.dst,
            &(bytes.len() as u32).to_be_bytes(),
            &[0, 0, 0, protocol],
            &bytes,
        ];
        let sum = checksum::of(&pseudo.concat());
        let sum = if sum == 0 { 0xffff } else { sum };
        bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
    if protocol == 1 {
        let sum = checksum::of(&bytes);
        bytes[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    (protocol, bytes)
}

/// A TCP header behind its ports.
fn tcp(rng: &mut Rng) -> Vec<u8> {
    let options: &[u8] = match rng.below(8) {
        0 => &[2, 4, 5, 0xb4],
        1 => &[2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 7, 0, 0, 0, 9, 1, 3, 3, 7],
        2 => &[1, 1, 8, 10, 0, 0, 1, 7, 0, 0, 0, 9],
        3 => &[4, 2, 1, 0],
        4 => &[1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2],
        5 => &[3, 3, 7, 1, 2, 4, 2, 0x18],
        _ => &[],
    };
    let mut header: Vec<u8> = (0..8).map(|_| rng.byte()).collect();
    let flags = rng.one(&[0x02, 0x12, 0x10, 0x18, 0x11, 0x04, 0x14, 0x29, 0xc2]);
    header.extend([(5 + options.len() as u8 / 4) << 4, flags, rng.byte(), rng.byte(), 0, 0, 0, 0]);
    header.extend(options);
    header
}
