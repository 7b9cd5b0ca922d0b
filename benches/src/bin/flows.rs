//! The flow table of one worker: what a lookup, a new flow and an end cost, and how much memory a flow takes.
//!
//! `cargo run --release -p benches --bin flows -- [N...]` prints a row for each number of flows, as docs/conntrack.md has it.
//! `flows crafted` compares lookups of a million keys that XOR and the symmetric Toeplitz hash take for one with random ones;
//! `flows churn N` makes N flows and lets them expire, and fails where one is left.
//!
//! A lookup is what a packet needs of the table: its key hashed, the flow found, the deadline put off. Keys are of random
//! flows in random directions. `single` does one after the other, which the CPU may overlap; `burst` does 32 at once, in three
//! stages, as the pipeline does: hash and ask for the buckets, ask for the flows, find. `miss` is a burst whose keys are
//! nobody's. `new` is create, refresh, confirm; `end` is expiry, each the mean over all the flows.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::hint::black_box;
use std::time::Instant;

use benches::random::Random;
use conntrack::{Config, Direction, Guess, Hash, Shard, Slot};
use packet::{FlowKey, Tick};

/// Lookups in a pass.
const LOOKUPS: usize = 1 << 20;
const PASSES: usize = 15;
/// Lookups that are timed at once.
const CHUNK: usize = 2048;
const BURST: usize = 32;
const SECOND: u64 = 1_000_000_000;

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["crafted"] => return crafted(),
        ["churn", n] => return churn(n.parse()?),
        _ => {}
    }
    let sizes: Vec<u32> = if args.is_empty() {
        vec![1_000, 100_000, 1_000_000, 10_000_000]
    } else {
        args.iter().map(|n| n.parse()).collect::<Result<_, _>>()?
    };
    if !benches::pin(std::thread::available_parallelism()?.get() - 1) {
        eprintln!("not pinned");
    }
    println!("| flows | single ns | burst ns | miss ns | new ns | end ns | bytes |");
    println!("|---|---|---|---|---|---|---|");
    for flows in sizes {
        row(flows)?;
    }
    Ok(())
}

/// The key of a flow: a client's connection to one of some thousand servers.
fn key(number: u32, secret: u64) -> FlowKey {
    let mut random = Random::new(secret ^ u64::from(number));
    let bits = random.bits();
    let mut key = FlowKey { family: 4, protocol: 6, ..FlowKey::default() };
    let [a, b, c, d, e, f, g, h] = bits.to_le_bytes();
    key.src[..4].copy_from_slice(&[10, a, b, c]);
    key.dst[..4].copy_from_slice(&[192, 0, d & 31, e]);
    key.sport = [f | 0x80, g];
    key.dport = [0, h & 3];
    key
}

fn back(key: &FlowKey) -> FlowKey {
    FlowKey { src: key.dst, dst: key.src, sport: key.dport, dport: key.sport, ..*key }
}

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|n| n.parse::<usize>().ok()).unwrap_or(0) * 4096
}

fn row(flows: u32) -> anyhow::Result<()> {
    let mut random = Random::new(u64::from(flows));
    let secret = random.bits();
    let before = resident();
    let mut shard = Shard::new(Config { max: flows, worker: 0 })?;
    let mut now = Tick(0);
    // A round with the memory untouched, and a second one, which counts, with it there.
    let mut new = 0.0;
    let mut end = 0.0;
    let mut bytes = 0.0;
    for _ in 0..2 {
        let (mut time, mut made) = (0.0, 0u32);
        let mut keys = Vec::with_capacity(4096);
        while made < flows {
            let until = made.saturating_add(4096).min(flows);
            keys.clear();
            keys.extend((made..until).map(|number| key(number, secret)));
            let start = spent();
            for key in &keys {
                let slot = shard.create(*key, back(key), now)?;
                shard.refresh(slot, 30, now);
                // Two flows of some million have the same key.
                if shard.confirm(slot, now).is_err() {
                    shard.discard(slot);
                }
            }
            time += spent() - start;
            made = until;
            // As if 2 million came in a second.
            now.0 += 2_000_000;
        }
        new = time / f64::from(flows);
        bytes = resident().saturating_sub(before) as f64 / f64::from(flows);
        now.0 += 31 * SECOND;
        let start = spent();
        let mut ended = 0;
        loop {
            match shard.expire(now, 256) {
                0 if shard.stats().count == 0 => break,
                n => ended += n,
            }
        }
        end = (spent() - start) / ended as f64;
    }
    for number in 0..flows {
        let key = key(number, secret);
        let slot = shard.create(key, back(&key), now)?;
        shard.refresh(slot, 3600, now);
        if shard.confirm(slot, now).is_err() {
            shard.discard(slot);
        }
    }
    let pick = |random: &mut Random| {
        let key = key(random.below(flows as usize) as u32, secret);
        if random.bits() & 1 == 0 { key } else { back(&key) }
    };
    let keys: Vec<_> = (0..LOOKUPS).map(|_| pick(&mut random)).collect();
    let single =
        best(&keys, LOOKUPS, |keys| keys.iter().map(|key| single(&mut shard, key, now)).sum());
    let mut in_bursts = |keys: &[FlowKey], found| {
        best(keys, found, |keys| keys.chunks(BURST).map(|keys| staged(&mut shard, keys, now)).sum())
    };
    let burst = in_bursts(&keys, LOOKUPS);
    let strangers: Vec<_> = keys.iter().map(|key| FlowKey { protocol: 17, ..*key }).collect();
    let miss = in_bursts(&strangers, 0);
    println!(
        "| {flows} | {single:.1} | {burst:.1} | {miss:.1} | {new:.0} | {end:.0} | {bytes:.0} |"
    );
    Ok(())
}

/// What a packet does with the table once its flow is found; true when it was there.
#[inline(always)]
fn touch(shard: &mut Shard, found: Option<(Slot, Direction)>, now: Tick) -> bool {
    let Some((slot, direction)) = found else { return false };
    shard.refresh(slot, 3600, now);
    black_box(direction == Direction::Reply);
    true
}

fn single(shard: &mut Shard, key: &FlowKey, now: Tick) -> usize {
    let found = shard.find(key, shard.hash(key));
    usize::from(touch(shard, found, now))
}

fn staged(shard: &mut Shard, keys: &[FlowKey], now: Tick) -> usize {
    let mut hashes = [Hash::NONE; BURST];
    for (key, hash) in keys.iter().zip(&mut hashes) {
        *hash = shard.hash(key);
        shard.prefetch_bucket(*hash);
    }
    let mut guesses = [Guess::NONE; BURST];
    for (hash, guess) in hashes.iter().zip(&mut guesses).take(keys.len()) {
        *guess = shard.prefetch_flow(*hash);
    }
    let mut there = 0;
    for ((key, hash), guess) in keys.iter().zip(hashes).zip(guesses) {
        let found = shard.find_guessed(key, hash, guess);
        there += usize::from(touch(shard, found, now));
    }
    there
}

/// The cost of a lookup in ns: the keys are done in chunks, each chunk's best of some passes counts, and the mean of these is
/// returned, so that a pause for another process is not measured.
fn best(keys: &[FlowKey], found: usize, mut pass: impl FnMut(&[FlowKey]) -> usize) -> f64 {
    let mut chunks = vec![f64::INFINITY; keys.len().div_ceil(CHUNK)];
    for _ in 0..PASSES {
        let mut sum = 0;
        for (keys, best) in keys.chunks(CHUNK).zip(&mut chunks) {
            let start = Instant::now();
            sum += pass(keys);
            *best = best.min(start.elapsed().as_nanos() as f64);
        }
        assert_eq!(sum, found, "a flow was not found, or one was that is not there");
    }
    chunks.iter().sum::<f64>() / keys.len() as f64
}

/// What this thread has had of the processor, in ns.
fn spent() -> f64 {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    spent.tv_sec as f64 * 1e9 + spent.tv_nsec as f64
}

/// Keys whose 16-bit words have the same exclusive or: one for XOR, and for every symmetric Toeplitz hash.
fn collider(number: u32) -> FlowKey {
    let mut key = FlowKey { family: 4, protocol: 6, ..FlowKey::default() };
    let [a, b, c, d] = number.to_be_bytes();
    let port = u16::from_be_bytes([c ^ a, d ^ b]) | 1;
    key.src[..4].copy_from_slice(&[10, b, c, d]);
    key.dst[..4].copy_from_slice(&[10 ^ 192, b ^ 168, c ^ 7, d ^ 9]);
    (key.sport, key.dport) = (port.to_be_bytes(), (port ^ 0x1234).to_be_bytes());
    key
}

/// A table of a million flows, and what a lookup in it costs.
fn lookups(of: impl Fn(u32) -> FlowKey) -> anyhow::Result<f64> {
    let flows = 1_000_000;
    let now = Tick(0);
    let mut shard = Shard::new(Config { max: flows, worker: 0 })?;
    let mut there = 0;
    for number in 0..flows {
        let key = of(number);
        let slot = shard.create(key, back(&key), now)?;
        shard.refresh(slot, 3600, now);
        if shard.confirm(slot, now).is_ok() {
            there += 1;
        } else {
            shard.discard(slot);
        }
    }
    anyhow::ensure!(there > flows - 1000, "only {there} keys differ");
    let mut random = Random::new(9);
    let keys: Vec<_> = (0..LOOKUPS).map(|_| of(random.below(flows as usize) as u32)).collect();
    Ok(best(&keys, LOOKUPS, |keys| {
        keys.chunks(BURST).map(|keys| staged(&mut shard, keys, now)).sum()
    }))
}

fn crafted() -> anyhow::Result<()> {
    benches::pin(std::thread::available_parallelism()?.get() - 1);
    let hash = packet::SymmetricToeplitz::new(0x6d5a);
    let of = |number| hash.hash(&collider(number), packet::toeplitz::Input::Ports);
    anyhow::ensure!((0..1_000_000).all(|number| of(number) == of(0)), "these do not collide");
    let random = lookups(|number| key(number, 5))?;
    let crafted = lookups(collider)?;
    println!(
        "random {random:.1} ns, crafted {crafted:.1} ns a lookup: {:.2} times",
        crafted / random
    );
    Ok(())
}

/// Flows that come and go, about a million at a time.
fn churn(flows: u64) -> anyhow::Result<()> {
    const AT_ONCE: u64 = 1 << 20;
    let mut shard = Shard::new(Config { max: AT_ONCE as u32 * 2, worker: 0 })?;
    let before = Instant::now();
    let mut now = Tick(0);
    let mut first = 0;
    for number in 0..flows {
        // Thirty seconds for each million.
        now.0 += 30 * SECOND / AT_ONCE;
        let key = key(number as u32, number >> 32);
        let slot = shard.create(key, back(&key), now)?;
        shard.refresh(slot, 30, now);
        if shard.confirm(slot, now).is_err() {
            shard.discard(slot);
        }
        if number % 32 == 0 {
            shard.expire(now, 64);
        }
        if number == 4 * AT_ONCE {
            first = resident();
        }
    }
    now.0 += 40 * SECOND;
    while shard.expire(now, 1024) > 0 || shard.stats().count > 0 {}
    let grown = resident().saturating_sub(first);
    let left = shard.walk(Slot(0), u32::MAX as usize, &mut |_, _| {});
    anyhow::ensure!(shard.stats().count == 0 && left.is_none(), "flows are left");
    println!(
        "{flows} flows in {:?}: none left, {grown} bytes more than after the first",
        before.elapsed()
    );
    Ok(())
}
