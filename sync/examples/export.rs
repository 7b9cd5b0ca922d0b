//! What it costs to tell others of a new flow: the worker writes the record into a ring, or others read its slab under a sequence lock.
//!
//! `export time` measures both with a worker and a reader thread; `export KIND N` does N of something without a clock, for
//! callgrind: run it with N and 2N, the difference is N. Kinds: `new` (a flow is made and confirmed), `new-told` (and told, by
//! [`Replica`]), `new-locked` (and kept under a sequence lock), `tcp` (a segment of an established connection), `tcp-told` (while
//! others are told of flows), `refresh` (the wheel looks at a connection that has moved, and it is told), `import` (a standby takes a
//! record in).
//!
//! # What came out
//!
//! See benches/README.md, "State replication". For a new flow, beside the 138 ns of making it: the record costs the worker 59 ns and
//! its reader 18; the sequence lock costs the worker 9 ns and its reader 34. So the lock is cheaper by some 50 ns of the
//! worker's time for each flow that begins, changes or ends: 0.5 % of a worker at 100,000 of them a second. We pay that, because
//! with the lock all of the slab must be atomics that two threads touch: every packet of every established flow pays for it (0.3 ns
//! for the two stores here), references to a flow are gone, and what lies beside it (labels, timeouts, whose address it is behind) needs
//! the same. With records, established flows pay nothing (`tcp` and `tcp-told` are the same number of instructions), and no record can
//! be torn.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::disallowed_methods, reason = "it measures")]

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use std::time::{Duration, Instant};

use conntrack::proto::tcp::{Segment, Side, State, Tcp, plain};
use conntrack::shard::Config;
use conntrack::track::{self, Input, Place, Tracked};
use conntrack::{Direction, Flow, Settings, Shard, Slot, Status};
use packet::{FlowKey, Tick, VecFrame};
use sync::hands::{Inbound, Outbound};
use sync::ids::{FlowId, Generation, Group, Lane, NodeId, Version};
use sync::records::{FlowFull, FlowState, Record, Role, Timeouts};
use sync::ring::{self, LONGEST};
use sync::standing::Standing;
use sync::wire;
use sync::worker::{NodeEnds, Replica, WorkerConfig, link};

/// Flows of a round, and of a burst.
const FLOWS: u32 = 200_000;
const BURST: u32 = 32;
const ROUNDS: usize = 9;
/// A burst of new flows each so many nanoseconds: a million flows a second.
const PACE: Duration = Duration::from_micros(32);
const NOW: Tick = Tick(1_000_000_000);

fn key(number: u32) -> FlowKey {
    let mut key = FlowKey { protocol: 17, family: 4, ..FlowKey::default() };
    key.src[..4].copy_from_slice(&(0x0a00_0000 | number).to_be_bytes());
    key.dst[..4].copy_from_slice(&[192, 0, 2, 1]);
    (key.sport, key.dport) = ([0x80, 1], [0, 53]);
    key
}

fn begin(shard: &mut Shard, number: u32) -> Slot {
    let key = key(number);
    let back = conntrack::track::invert(&key).unwrap();
    let slot = shard.create(key, back, NOW).unwrap();
    shard.refresh(slot, 30, NOW);
    shard.confirm(slot, NOW).unwrap();
    slot
}

fn worker(role: Role) -> (Shard, Replica, NodeEnds) {
    let config = WorkerConfig::new(NodeId::new(1).unwrap(), Lane::new(0).unwrap(), Group(0));
    let (replica, ends) = link(config, Arc::new(Standing::new(role)));
    (Shard::new(Config { max: FLOWS, worker: 0 }).unwrap(), replica, ends)
}

/// Words of a record of the slab.
const WORDS: usize = size_of::<Flow>() / 8;

/// The slab as it would have to be for another thread to read it: words that are atomics, and a sequence number each, odd while
/// the worker writes.
struct Slab {
    sequences: Box<[AtomicU32]>,
    words: Box<[[AtomicU64; WORDS]]>,
    dirty: Box<[AtomicU64]>,
}

impl Slab {
    fn new() -> Self {
        Self {
            sequences: (0..FLOWS).map(|_| AtomicU32::new(0)).collect(),
            words: (0..FLOWS).map(|_| [const { AtomicU64::new(0) }; WORDS]).collect(),
            dirty: (0..FLOWS.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Writes the record as it is.
    #[inline]
    fn write(&self, slot: Slot, flow: &Flow) {
        let words: &[u64; WORDS] = zerocopy::transmute_ref!(flow);
        for (cell, word) in self.words[slot.0 as usize].iter().zip(words) {
            cell.store(*word, Ordering::Relaxed);
        }
    }

    /// The same so that a reader sees whether it read in the middle of it.
    #[inline]
    fn write_locked(&self, slot: Slot, flow: &Flow) {
        let sequence = &self.sequences[slot.0 as usize];
        let at = sequence.load(Ordering::Relaxed);
        sequence.store(at.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        self.write(slot, flow);
        sequence.store(at.wrapping_add(2), Ordering::Release);
    }

    /// Whether the reader must be told.
    #[inline]
    fn soil(&self, slot: Slot) -> bool {
        let bit = 1 << (slot.0 % 64);
        self.dirty[slot.0 as usize / 64].fetch_or(bit, Ordering::AcqRel) & bit == 0
    }

    fn read(&self, slot: Slot) -> Flow {
        let bit = 1 << (slot.0 % 64);
        self.dirty[slot.0 as usize / 64].fetch_and(!bit, Ordering::AcqRel);
        let sequence = &self.sequences[slot.0 as usize];
        loop {
            let at = sequence.load(Ordering::Acquire);
            let mut words = [0; WORDS];
            for (word, cell) in words.iter_mut().zip(&self.words[slot.0 as usize]) {
                *word = cell.load(Ordering::Relaxed);
            }
            fence(Ordering::Acquire);
            if at.is_multiple_of(2) && sequence.load(Ordering::Relaxed) == at {
                return zerocopy::transmute!(words);
            }
        }
    }
}

/// A reader that writes the record of a flow of the slab.
fn encode(slot: Slot, flow: &Flow, out: &mut [u8]) -> usize {
    let generation = Generation::new(1);
    let full = FlowFull {
        id: FlowId::new(NodeId::new(1).unwrap(), Lane::new(0).unwrap(), slot.0, generation),
        version: Version(1),
        group: Group(0),
        keys: [Direction::Original, Direction::Reply].map(|way| *flow.key(way)),
        state: FlowState {
            status: flow.status().0 as u16,
            mark: flow.mark(),
            remaining: 30_000,
            proto: sync::records::Proto::Udp(2000),
            labels: None,
        },
        rules: 0,
        behind: 0,
        timeouts: Timeouts::new(),
    };
    wire::encode(&Record::Full(full), out).unwrap()
}

/// A datagram that is filled with records, as a lane does.
struct Datagram {
    bytes: Vec<u8>,
    sent: u64,
}

impl Datagram {
    fn new() -> Self {
        Self { bytes: Vec::with_capacity(wire::PAYLOAD), sent: 0 }
    }

    fn put(&mut self, record: &[u8]) {
        if self.bytes.len() + record.len() > wire::PAYLOAD {
            black_box(&self.bytes);
            self.bytes.clear();
            self.sent += 1;
        }
        self.bytes.extend_from_slice(record);
    }
}

/// Nanoseconds per flow: of the worker, and of the reader while it had something to read.
#[derive(Clone, Copy)]
struct Cost {
    worker: f64,
    reader: f64,
}

impl Cost {
    const MOST: Self = Self { worker: f64::MAX, reader: f64::MAX };

    fn least(self, other: Self) -> Self {
        Self { worker: self.worker.min(other.worker), reader: self.reader.min(other.reader) }
    }
}

/// Bursts of new flows at their pace; `told` comes after each burst. The median of bursts, by flow.
fn bursts(shard: &mut Shard, mut told: impl FnMut(&mut Shard, &[Slot])) -> f64 {
    let mut times = Vec::with_capacity((FLOWS / BURST) as usize);
    let mut next = Instant::now();
    for burst in 0..FLOWS / BURST {
        while Instant::now() < next {
            std::hint::spin_loop();
        }
        next += PACE;
        let start = Instant::now();
        let mut slots = [Slot(0); BURST as usize];
        for (slot, number) in slots.iter_mut().zip(burst * BURST..) {
            *slot = begin(shard, number);
        }
        told(shard, &slots);
        times.push(start.elapsed().as_nanos() as f64 / f64::from(BURST));
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Reads until told to stop, `take` one thing after the other; the median of runs of 32, by record.
fn reader(stop: &AtomicBool, mut take: impl FnMut() -> bool) -> f64 {
    let mut times = Vec::new();
    loop {
        let start = Instant::now();
        let mut taken = 0;
        while taken < BURST && take() {
            taken += 1;
        }
        if taken >= BURST / 2 {
            times.push(start.elapsed().as_nanos() as f64 / f64::from(taken));
        }
        if taken == 0 {
            if stop.load(Ordering::Acquire) {
                break;
            }
            std::hint::spin_loop();
        }
    }
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

fn kill_all(shard: &mut Shard) {
    for slot in 0..FLOWS {
        shard.kill(Slot(slot), NOW);
    }
}

/// The worker writes records.
fn records(role: Role) -> Cost {
    let (mut shard, mut replica, mut ends) = worker(role);
    let mut least = Cost::MOST;
    for _ in 0..ROUNDS {
        let stop = AtomicBool::new(false);
        let cost = std::thread::scope(|scope| {
            let reading = scope.spawn(|| {
                let mut datagram = Datagram::new();
                reader(&stop, || match ends.urgent.next() {
                    Some(Outbound::Record { bytes, .. }) => {
                        datagram.put(bytes);
                        true
                    }
                    _ => false,
                })
            });
            let worker = bursts(&mut shard, |shard, _| {
                replica.turn(shard, &mut (), NOW, false);
            });
            while replica.turn(&mut shard, &mut (), NOW, false) > 0 {}
            stop.store(true, Ordering::Release);
            Cost { worker, reader: reading.join().unwrap() }
        });
        least = least.least(cost);
        kill_all(&mut shard);
        while replica.turn(&mut shard, &mut (), NOW, false) > 0 {
            while ends.urgent.next().is_some() {}
        }
        while ends.urgent.next().is_some() {}
    }
    least
}

/// The worker keeps the slab under a sequence lock, or only as plain words.
fn slab(locked: bool) -> Cost {
    let (mut shard, ..) = worker(Role::Passive);
    let slab = Slab::new();
    let mut least = Cost::MOST;
    for _ in 0..ROUNDS {
        let stop = AtomicBool::new(false);
        let (mut producer, mut consumer) = ring::ring(1 << 17);
        let cost = std::thread::scope(|scope| {
            let reading = scope.spawn(|| {
                let mut datagram = Datagram::new();
                let mut words = [0; LONGEST];
                let mut bytes = [0; wire::FULL_MAX];
                reader(&stop, || {
                    let Some(message) = consumer.pop(&mut words) else { return false };
                    let slot = Slot(message[0] as u32);
                    let length = encode(slot, &slab.read(slot), &mut bytes);
                    datagram.put(&bytes[..length]);
                    true
                })
            });
            let worker = bursts(&mut shard, |shard, slots| {
                for slot in slots {
                    let flow = shard.flow(*slot).unwrap();
                    if !locked {
                        slab.write(*slot, flow);
                        continue;
                    }
                    slab.write_locked(*slot, flow);
                    if slab.soil(*slot) {
                        let _ = producer.push(&[u64::from(slot.0)]);
                    }
                }
            });
            stop.store(true, Ordering::Release);
            Cost { worker, reader: reading.join().unwrap() }
        });
        least = least.least(cost);
        kill_all(&mut shard);
    }
    least
}

/// An established connection in the slab, changed by each packet.
fn packets(locked: bool) -> f64 {
    let (mut shard, ..) = worker(Role::Passive);
    let slots: Vec<Slot> = (0..1024).map(|number| begin(&mut shard, number)).collect();
    let slab = Slab::new();
    let settings = Settings::default();
    let side = Side { end: 1, max_end: 1 << 30, max_window: 65_535, scale: 0, flags: 0 };
    let mut tcp = Tcp::imported(State::Established as u8, [side; 2]);
    tcp.flags = [0x20; 2];
    let segment =
        Segment { seq: 1, ack: 1, len: 100, window: 1000, flags: 0x10, ..Segment::default() };
    let mut least = f64::MAX;
    for _ in 0..200 {
        let start = Instant::now();
        for slot in &slots {
            black_box(plain(&mut tcp, &segment, Direction::Original, &settings));
            // The line of both directions is what it changes.
            let words: [u64; 7] = zerocopy::transmute!(tcp);
            let (sequence, cells) =
                (&slab.sequences[slot.0 as usize], &slab.words[slot.0 as usize][17..]);
            let at = sequence.load(Ordering::Relaxed);
            if locked {
                sequence.store(at.wrapping_add(1), Ordering::Relaxed);
                fence(Ordering::Release);
            }
            for (cell, word) in cells.iter().zip(words) {
                cell.store(word, Ordering::Relaxed);
            }
            if locked {
                sequence.store(at.wrapping_add(2), Ordering::Release);
            }
        }
        least = least.min(start.elapsed().as_nanos() as f64 / slots.len() as f64);
    }
    least
}

fn time() {
    let none = records(Role::Passive).worker;
    let told = records(Role::Active);
    let (mirror, locked) = (slab(false).worker, slab(true));
    println!("a new flow, nobody is told                     worker {none:6.1} ns");
    println!(
        "  the worker writes its record                 worker {:+6.1} ns, reader {:6.1} ns",
        told.worker - none,
        told.reader
    );
    println!(
        "  the reader reads the slab, sequence lock     worker {:+6.1} ns, reader {:6.1} ns",
        locked.worker - mirror,
        locked.reader
    );
    println!(
        "a packet of an established connection: sequence lock {:+.1} ns, records +0.0 ns",
        packets(true) - packets(false)
    );
}

/// A segment there or back of an open connection.
fn segment(back: bool, n: u32) -> Vec<u8> {
    let mut bytes =
        vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6];
    let (here, there) = ([10, 0, 0, 1], [192, 0, 2, 1]);
    let (src, dst) = if back { (there, here) } else { (here, there) };
    bytes.extend([0, 0]);
    bytes.extend(src);
    bytes.extend(dst);
    let sum = packet::checksum::of(&bytes[14..34]).to_be_bytes();
    bytes[24..26].copy_from_slice(&sum);
    let ports = if back { [0, 80, 0x80, 1] } else { [0x80, 1, 0, 80] };
    bytes.extend(ports);
    let flags = [2, 0x12, 0x10][n.min(2) as usize];
    let (seq, ack): (u32, u32) =
        if back { (1000, 101) } else { (if n == 0 { 100 } else { 101 }, 1001) };
    let seq = if back && n > 1 { 1001 } else { seq };
    bytes.extend(seq.to_be_bytes());
    bytes.extend(if n == 0 { 0 } else { ack }.to_be_bytes());
    bytes.extend([0x50, flags, 0x20, 0, 0, 0, 0, 0]);
    bytes
}

#[inline(never)]
fn pass(shard: &mut Shard, frame: &VecFrame, now: Tick) {
    let layers = packet::layers::parse(frame).unwrap();
    let key = track::lookup_key(&layers, [0; 2]);
    let found = shard.find(&key, shard.hash(&key));
    let input = Input { frame, layers: &layers, place: Place::Prerouting, zone: [0; 2], found };
    let Tracked::Flow { slot, .. } = track::packet(shard, &input, now) else { panic!("no flow") };
    if !shard.flow(slot).unwrap().status().has(Status::CONFIRMED) {
        shard.confirm(slot, now).unwrap();
    }
    track::end(shard, slot, now);
}

fn tcp(told: bool, n: u32) {
    let (mut shard, mut replica, mut ends) =
        worker(if told { Role::Active } else { Role::Passive });
    shard.settings_mut().checksum = false;
    for (step, back) in [false, true, false].into_iter().enumerate() {
        pass(&mut shard, &VecFrame::from_bytes(&segment(back, step as u32)), NOW);
    }
    replica.turn(&mut shard, &mut (), NOW, false);
    let frames = [false, true].map(|back| VecFrame::from_bytes(&segment(back, 2)));
    for n in 0..n {
        pass(&mut shard, &frames[n as usize % 2], Tick(NOW.0 + u64::from(n) * 1000));
    }
    black_box(ends.urgent.is_empty());
}

fn new(kind: &str, n: u32) {
    let role = if kind == "new-told" { Role::Active } else { Role::Passive };
    let (mut shard, mut replica, mut ends) = worker(role);
    let slab = (kind == "new-locked").then(Slab::new);
    for number in 0..n {
        let slot = begin(&mut shard, number);
        if let Some(slab) = &slab {
            slab.write_locked(slot, shard.flow(slot).unwrap());
            black_box(slab.soil(slot));
        }
        if number % BURST == BURST - 1 {
            replica.turn(&mut shard, &mut (), NOW, false);
            while let Some(message) = ends.urgent.next() {
                black_box(&message);
            }
        }
    }
}

/// Connections that move by a window a second.
fn refresh(n: u32) {
    let (mut shard, mut replica, mut ends) = worker(Role::Active);
    let side = Side { end: 1, max_end: 65_536, max_window: 65_535, scale: 0, flags: 0 };
    let slots: Vec<Slot> = (0..1000)
        .map(|number| {
            let key = FlowKey { protocol: 6, ..key(number) };
            let slot = shard.create(key, track::invert(&key).unwrap(), NOW).unwrap();
            *shard.proto_mut(slot).unwrap() =
                zerocopy::transmute!(Tcp::imported(State::Established as u8, [side; 2]));
            shard.refresh(slot, 432_000, NOW);
            shard.confirm(slot, NOW).unwrap();
            slot
        })
        .collect();
    let (mut told, mut now) = (0, NOW);
    while told < n {
        now.0 += 500_000_000;
        for slot in &slots {
            let tcp: &mut Tcp = zerocopy::transmute_mut!(shard.proto_mut(*slot).unwrap());
            tcp.peers[0].end = tcp.peers[0].end.wrapping_add(70_000);
        }
        shard.expire(now, 10_000);
        while replica.turn(&mut shard, &mut (), now, true) > 0 {
            while ends.urgent.next().is_some() {}
            while ends.lazy.next().is_some() {
                told += 1;
            }
        }
    }
}

/// A standby takes new flows in.
fn import(n: u32) {
    let (mut shard, mut replica, mut ends) = worker(Role::Standby);
    let mut flow = Flow::default();
    let mut bytes = [0; wire::FULL_MAX];
    let (mut source, ..) = worker(Role::Passive);
    for number in 0..n {
        let slot = begin(&mut source, number);
        flow.clone_from(source.flow(slot).unwrap());
        let length = encode(slot, &flow, &mut bytes);
        let bytes = &bytes[..length];
        let message = Inbound::Apply { stamp: 1, order: number, acknowledge: false, bytes };
        ends.inbound.tell(&message).unwrap();
        if number % BURST == BURST - 1 {
            replica.turn(&mut shard, &mut (), NOW, false);
        }
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let n = args.get(1).and_then(|n| n.parse().ok()).unwrap_or(10_000);
    match args.first().map(String::as_str) {
        Some("time") => time(),
        Some(kind @ ("new" | "new-told" | "new-locked")) => new(kind, n),
        Some("tcp") => tcp(false, n),
        Some("tcp-told") => tcp(true, n),
        Some("refresh") => refresh(n),
        Some("import") => import(n),
        _ => eprintln!(
            "export time | new | new-told | new-locked | tcp | tcp-told | refresh | import [N]"
        ),
    }
}
