//! Floods of new flows, each of which is known: which it is, when it began, and at the end whether it still lives.
//!
//! `begin` sends UDP packets by a raw socket (so the kernel resolves the next hop and follows it when the address moves), each
//! the first of a flow, from 1,000 addresses in 10.64.0.0/22 to addresses in 198.18.0.0/15 (RFC 2544), port 9000. `far` remembers
//! each flow with the addresses under which it saw it. When told to, it answers every one of them: an answer comes back only if the
//! firewall on the way still knows the flow, whatever kind of firewall that is. Answers of which no word comes back are repeated,
//! for they may be lost like any packet. Which flows were answered is compared by [`super::judge`].
//!
//! Both namespaces route these networks to themselves (`ip route add local … dev lo`): see [`CLIENTS`] and [`SERVERS`].

use super::{During, End, Options, Result, now};
use rustix::{
    fd::OwnedFd,
    net::{AddressFamily, RecvFlags, SendFlags, SocketType, ipproto, sockopt},
};
use std::{
    fs,
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

/// Where flows come from.
pub const CLIENTS: &str = "10.64.0.0/22";
/// Where they go to.
pub const SERVERS: &str = "198.18.0.0/15";
/// The port that they go to.
pub const PORT: u16 = 9000;
/// The most flows of one run.
pub const MAX: u32 = 8_000_000;

/// IPv4 header, UDP header, what follows.
const LENGTH: usize = 20 + 8 + 16;
const MAGIC: u32 = 0x7477_666c;
/// The kernel's room for packets that nobody has read yet.
const BUFFER: usize = 64 << 20;
/// So many are established at a time; for so long answers are waited for, and so often they are asked for again.
const PART: usize = 500;
const ANSWER_MS: u64 = 200;
const ROUNDS_OF_A_PART: u32 = 20;
/// How many are answered a second at the end; how often each of which no word comes back; and the time between.
/// A busy machine can lose packets for a tenth of a second on end.
const ANSWERS: u64 = 25_000;
const ROUNDS: u32 = 20;
const BETWEEN: Duration = Duration::from_millis(120);
/// No round begins after so long: flows that nobody answered end after 30 seconds.
const ANSWERING: u64 = 15_000_000_000;

/// What a packet is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It begins a flow; nothing comes back.
    Begin,
    /// It shall be answered at once.
    Establish,
    /// The answer to that.
    Established,
    /// The answer at the end.
    Lives,
    /// That came: it need not be sent again.
    Heard,
}

const KINDS: [Kind; 5] =
    [Kind::Begin, Kind::Establish, Kind::Established, Kind::Lives, Kind::Heard];

/// Flags of a flow in a report.
pub(super) const ESTABLISHED: u8 = 1;
/// It was answered at the end.
pub(super) const ANSWERED: u8 = 2;

/// Both ends of a flow as its beginner sees them.
pub(super) fn tuple(id: u32) -> (SocketAddrV4, SocketAddrV4) {
    let source = u32::from(Ipv4Addr::new(10, 64, 0, 1)) + id % 1000;
    let port = 1024 + (id / 1000 % 60_000) as u16;
    let target = u32::from(Ipv4Addr::new(198, 18, 0, 0)) + (id.wrapping_mul(0x9e37_79b1) >> 15);
    (SocketAddrV4::new(source.into(), port), SocketAddrV4::new(target.into(), PORT))
}

/// A whole packet; its UDP checksum is absent (RFC 768 allows that), the kernel fills in the IP header's.
fn packet(from: SocketAddrV4, to: SocketAddrV4, kind: Kind, id: u32) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    bytes[0] = 0x45;
    bytes[2..4].copy_from_slice(&(LENGTH as u16).to_be_bytes());
    bytes[8] = 64;
    bytes[9] = 17;
    bytes[12..16].copy_from_slice(&from.ip().octets());
    bytes[16..20].copy_from_slice(&to.ip().octets());
    bytes[20..22].copy_from_slice(&from.port().to_be_bytes());
    bytes[22..24].copy_from_slice(&to.port().to_be_bytes());
    bytes[24..26].copy_from_slice(&((LENGTH - 20) as u16).to_be_bytes());
    bytes[28..32].copy_from_slice(&MAGIC.to_be_bytes());
    bytes[32..36].copy_from_slice(&id.to_be_bytes());
    bytes[36] = kind as u8;
    bytes
}

/// A packet of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Packet {
    from: SocketAddrV4,
    to: SocketAddrV4,
    kind: Kind,
    id: u32,
}

fn parse(bytes: &[u8]) -> Option<Packet> {
    let bytes: &[u8; LENGTH] = bytes.try_into().ok()?;
    let four = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let port = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    if bytes[0] != 0x45 || bytes[9] != 17 || four(28)? != MAGIC {
        return None;
    }
    Some(Packet {
        from: SocketAddrV4::new(four(12)?.into(), port(20)?),
        to: SocketAddrV4::new(four(16)?.into(), port(22)?),
        kind: *KINDS.get(usize::from(bytes[36]))?,
        id: four(32)?,
    })
}

/// A socket that sends packets as they are.
fn sender() -> Result<OwnedFd> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::RAW))
        .during(|| "a raw socket".into())?;
    let _ = sockopt::set_socket_send_buffer_size(&socket, 4 << 20);
    Ok(socket)
}

/// A socket that hears all UDP.
fn receiver() -> Result<OwnedFd> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::UDP))
        .during(|| "a raw socket".into())?;
    sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER)
        .during(|| "its receive buffer".into())?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(Duration::from_millis(50)))
        .during(|| "its timeout".into())?;
    Ok(socket)
}

/// Sends a packet; what the kernel refuses (no neighbour yet, no room) is a lost packet like any other.
fn send(socket: &OwnedFd, from: SocketAddrV4, to: SocketAddrV4, kind: Kind, id: u32) -> bool {
    rustix::net::sendto(socket, &packet(from, to, kind, id), SendFlags::empty(), &to).is_ok()
}

/// Calls for as many as are due, at `rate` a second, until `next` has no more or `stop` says so.
fn paced(rate: u64, mut stop: impl FnMut(u64) -> bool, mut next: impl FnMut() -> bool) {
    let (begin, mut done) = (now(), 0);
    loop {
        let time = now();
        if stop(time) {
            return;
        }
        // A time slice that was lost is made up for by 20 ms' worth at most at a time.
        let due = ((time - begin) as u128 * u128::from(rate) / 1_000_000_000) as u64;
        let burst = (due - done).min(rate / 50 + 1);
        for _ in 0..burst {
            if !next() {
                return;
            }
        }
        done += burst;
        if due == done {
            thread::sleep(Duration::from_micros(500));
        }
    }
}

/// The beginner.
pub(super) fn begin(options: &Options) -> Result<()> {
    let (established, rate): (u32, u64) = (options.get("established", 0)?, options.get("rate", 0)?);
    let seconds: u64 = options.get("seconds", 60)?;
    let capacity = (u64::from(established) + rate * seconds).min(u64::from(MAX)) as usize;
    let flags: Arc<Vec<AtomicU8>> = Arc::new((0..capacity).map(|_| AtomicU8::new(0)).collect());
    let misled = Arc::new(AtomicU64::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let socket = sender()?;
    let (hearing, answering) = (receiver()?, sender()?);
    let listener = {
        let (flags, misled, over) = (Arc::clone(&flags), Arc::clone(&misled), Arc::clone(&over));
        thread::spawn(move || hear(&hearing, &answering, &flags, &misled, &over))
    };
    // An answer to a port that nobody is bound to would be answered by an ICMP error.
    let mut times = Vec::with_capacity(capacity);
    let mut refused = 0_u64;
    let mut one = |id: u32, kind: Kind| {
        let (from, to) = tuple(id);
        if !send(&socket, from, to, kind, id) {
            refused += 1;
        }
    };
    let has = |id: u32, flag: u8| {
        flags.get(id as usize).is_some_and(|flags| flags.load(Ordering::Relaxed) & flag != 0)
    };
    // In parts, each until all of it is answered: a firewall that is slower than this loses nothing for good.
    for from in (0..established).step_by(PART) {
        let part = from..established.min(from + PART as u32);
        times.extend(part.clone().map(|_| now()));
        for _ in 0..ROUNDS_OF_A_PART {
            for id in part.clone().filter(|&id| !has(id, ESTABLISHED)) {
                one(id, Kind::Establish);
            }
            let limit = now() + ANSWER_MS * 1_000_000;
            while now() < limit && !part.clone().all(|id| has(id, ESTABLISHED)) {
                thread::sleep(Duration::from_micros(200));
            }
            if part.clone().all(|id| has(id, ESTABLISHED)) {
                break;
            }
        }
    }
    let count = (0..established).filter(|&id| has(id, ESTABLISHED)).count();
    println!("established {count}");
    let mut end = options.end("until", seconds)?;
    if rate > 0 {
        paced(
            rate,
            |time| end.has_come(time),
            || {
                let id = times.len() as u32;
                if id as usize >= capacity {
                    return false;
                }
                times.push(now());
                one(id, Kind::Begin);
                true
            },
        );
    }
    println!("begun {} refused {refused}", times.len());
    let mut done = options.end("done", seconds)?;
    while !done.has_come(now()) {
        thread::sleep(Duration::from_millis(20));
    }
    over.store(true, Ordering::Relaxed);
    let _ = listener.join();
    let misled = misled.load(Ordering::Relaxed);
    if let Some(file) = options.file("report") {
        let mut bytes = Vec::with_capacity(times.len() * 9);
        for (flags, time) in flags.iter().zip(&times) {
            bytes.push(flags.load(Ordering::Relaxed));
            bytes.extend_from_slice(&time.to_le_bytes());
        }
        fs::write(&file, bytes).during(|| file.display().to_string())?;
    }
    println!("misled {misled}");
    Ok(())
}

/// Hears answers: whose they are, and whether they came to the right one.
fn hear(
    socket: &OwnedFd,
    sender: &OwnedFd,
    flags: &[AtomicU8],
    misled: &AtomicU64,
    over: &AtomicBool,
) {
    let mut buffer = [0; 256];
    while !over.load(Ordering::Relaxed) {
        let Ok((length, _)) = rustix::net::recv(socket, &mut buffer[..], RecvFlags::empty()) else {
            continue;
        };
        let Some(packet) = parse(buffer.get(..length).unwrap_or_default()) else { continue };
        let flag = match packet.kind {
            Kind::Established => ESTABLISHED,
            Kind::Lives => ANSWERED,
            Kind::Begin | Kind::Establish | Kind::Heard => continue,
        };
        let (from, to) = tuple(packet.id);
        if (packet.to, packet.from) == (from, to) {
            if packet.kind == Kind::Lives {
                send(sender, from, to, Kind::Heard, packet.id);
            }
            if let Some(flags) = flags.get(packet.id as usize) {
                flags.fetch_or(flag, Ordering::Relaxed);
            }
        } else {
            misled.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A flow as the far end saw it first.
#[derive(Debug, Clone, Copy)]
struct Seen {
    id: u32,
    at: u64,
    from: SocketAddrV4,
    to: SocketAddrV4,
}

/// The far end.
pub(super) fn far(options: &Options) -> Result<()> {
    let (socket, hearing) = (sender()?, receiver()?);
    // Somebody must be bound to the port, or the kernel answers with ICMP errors. Nobody reads it.
    let bound = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT)).during(|| "port 9000".into())?;
    let mut end: End = options.end("answer", 600)?;
    let mut known = vec![false; MAX as usize];
    let (mut seen, mut moved) = (Vec::new(), 0_u64);
    let mut buffer = [0; 256];
    println!("hearing");
    while !end.has_come(now()) {
        let Ok((length, _)) = rustix::net::recv(&hearing, &mut buffer[..], RecvFlags::empty())
        else {
            continue;
        };
        let Some(Packet { from, to, kind, id }) = parse(buffer.get(..length).unwrap_or_default())
        else {
            continue;
        };
        if !matches!(kind, Kind::Begin | Kind::Establish) {
            continue;
        }
        let Some(known) = known.get_mut(id as usize) else { continue };
        if kind == Kind::Establish {
            send(&socket, to, from, Kind::Established, id);
        }
        if *known {
            moved += 1;
        } else {
            *known = true;
            seen.push(Seen { id, at: now(), from, to });
        }
    }
    println!("seen {} again {moved}", seen.len());
    if end.was_told() {
        answer_all(&socket, hearing, &seen);
    }
    if let Some(file) = options.file("report") {
        let mut bytes = Vec::with_capacity(seen.len() * 12);
        for flow in &seen {
            bytes.extend_from_slice(&flow.id.to_le_bytes());
            bytes.extend_from_slice(&flow.at.to_le_bytes());
        }
        fs::write(&file, bytes).during(|| file.display().to_string())?;
    }
    println!("answered");
    drop(bound);
    Ok(())
}

/// Answers each flow until the word comes back that the answer came.
fn answer_all(socket: &OwnedFd, hearing: OwnedFd, seen: &[Seen]) {
    let heard: Arc<Vec<AtomicBool>> =
        Arc::new((0..MAX as usize).map(|_| AtomicBool::new(false)).collect());
    let over = Arc::new(AtomicBool::new(false));
    let listener = {
        let (heard, over) = (Arc::clone(&heard), Arc::clone(&over));
        thread::spawn(move || {
            let mut buffer = [0; 256];
            while !over.load(Ordering::Relaxed) {
                let Ok((length, _)) =
                    rustix::net::recv(&hearing, &mut buffer[..], RecvFlags::empty())
                else {
                    continue;
                };
                if let Some(Packet { kind: Kind::Heard, id, .. }) =
                    parse(buffer.get(..length).unwrap_or_default())
                    && let Some(heard) = heard.get(id as usize)
                {
                    heard.store(true, Ordering::Relaxed);
                }
            }
        })
    };
    let is_heard =
        |id: u32| heard.get(id as usize).is_some_and(|heard| heard.load(Ordering::Relaxed));
    let begin = now();
    for round in 0..ROUNDS {
        if now() - begin > ANSWERING {
            break;
        }
        let mut all = seen.iter().filter(|flow| !is_heard(flow.id)).peekable();
        if all.peek().is_none() {
            break;
        }
        paced(
            if round == 0 { ANSWERS } else { ANSWERS / 4 },
            |_| false,
            || {
                let Some(flow) = all.next() else { return false };
                send(socket, flow.to, flow.from, Kind::Lives, flow.id);
                true
            },
        );
        thread::sleep(BETWEEN);
    }
    over.store(true, Ordering::Relaxed);
    let _ = listener.join();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_flow_has_a_tuple_of_its_own() {
        let ids = (0..200_000).chain(7_900_000..MAX);
        let mut seen = BTreeSet::new();
        for id in ids {
            let (from, to) = tuple(id);
            assert!(seen.insert((from, to)));
            let [a, b, c, _] = from.ip().octets();
            assert!((a, b) == (10, 64) && c < 4, "{from}");
            assert!(to.ip().octets()[0] == 198 && matches!(to.ip().octets()[1], 18 | 19), "{to}");
        }
    }

    #[test]
    fn a_packet_is_read_as_it_was_written() {
        let (from, to) = tuple(12_345);
        for kind in KINDS {
            let bytes = packet(from, to, kind, 12_345);
            assert_eq!(parse(&bytes), Some(Packet { from, to, kind, id: 12_345 }));
            assert_eq!(parse(&bytes[..LENGTH - 1]), None);
        }
    }

    #[test]
    fn the_pace_is_kept() {
        let (begin, mut count) = (now(), 0_u32);
        paced(
            10_000,
            |time| time - begin > 200_000_000,
            || {
                count += 1;
                true
            },
        );
        assert!((1000..=2001).contains(&count), "{count}");
    }
}
