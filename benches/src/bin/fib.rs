//! Longest-prefix match: our table against the crates that exist, one pinned core, 1 M random addresses that hit.
//!
//! `cargo run --release -p benches --features candidates --bin fib -- [--ours] [N...]` prints a table as docs/fib.md has it.
//! `--dump FILE N 4|6` writes the same prefixes and addresses for benches/c/fib_dpdk.c, which measures librte_fib.
//!
//! Three figures per candidate, see `best`: `chain` is the latency of one lookup whose address depends on the
//! result of the one before; `loop` a loop of single lookups, which the CPU may overlap; `burst` our lookup of 32 at once.
//! `update` is the mean cost of taking a random route out and putting it back, each published by itself.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{
    hint::black_box,
    io::Write,
    net::{Ipv4Addr, Ipv6Addr},
    time::Instant,
};

use benches::{
    random::Random,
    routes::{self, Family},
};
use dataplane::fib::{FibWriter, NO_ROUTE};

const ADDRESSES: usize = 1_000_000;
const PASSES: usize = 15;
const CHUNK: usize = 2048;

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, file, n, family] = args.as_slice()
        && flag == "--dump"
    {
        let n = n.parse()?;
        return if family == "6" { dump::<[u8; 16]>(file, n) } else { dump::<[u8; 4]>(file, n) };
    }
    let (only_ours, args) = match args.split_first() {
        Some((flag, rest)) if flag == "--ours" => (true, rest),
        _ => (false, args.as_slice()),
    };
    let sizes: Vec<usize> = if args.is_empty() {
        vec![1_000, 100_000, 1_000_000]
    } else {
        args.iter().map(|n| n.parse()).collect::<Result<_, _>>()?
    };
    if !benches::pin(std::thread::available_parallelism()?.get() - 1) {
        eprintln!("not pinned");
    }
    println!(
        "| family | routes | table | MB | build ms | chain ns | loop ns | burst ns | update µs |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for n in sizes {
        let (table, addresses) = work::<[u8; 4]>(n);
        ours(&table, &addresses);
        if !only_ours {
            prefix_trie4(&table, &addresses);
            treebitmap4(&table, &addresses);
            poptrie4(&table, &addresses);
            iptrie4(&table, &addresses);
        }
        let (table, addresses) = work::<[u8; 16]>(n);
        ours(&table, &addresses);
        if !only_ours {
            prefix_trie6(&table, &addresses);
            treebitmap6(&table, &addresses);
            poptrie6(&table, &addresses);
            iptrie6(&table, &addresses);
        }
    }
    Ok(())
}

fn work<A: Family>(n: usize) -> (Vec<(A, u8)>, Vec<A>) {
    let mut random = Random::new(n as u64);
    let table = routes::table(n, &mut random);
    let addresses = routes::addresses(&table, ADDRESSES, &mut random);
    (table, addresses)
}

fn dump<A: Family>(file: &str, n: usize) -> anyhow::Result<()> {
    let (table, addresses) = work::<A>(n);
    let mut out = std::io::BufWriter::new(std::fs::File::create(file)?);
    out.write_all(&(table.len() as u32).to_le_bytes())?;
    out.write_all(&(addresses.len() as u32).to_le_bytes())?;
    for (prefix, len) in &table {
        out.write_all(prefix.as_ref())?;
        out.write_all(&[*len])?;
    }
    for address in &addresses {
        out.write_all(address.as_ref())?;
    }
    println!("sum {}", expected(&table, &addresses));
    Ok(())
}

/// The sum of what each address finds: every candidate must come to the same.
fn expected<A: Family>(table: &[(A, u8)], addresses: &[A]) -> u64 {
    let mut writer = FibWriter::<A>::new();
    for (i, (prefix, len)) in table.iter().enumerate() {
        writer.insert(*prefix, *len, i as u32).unwrap();
    }
    let fib = writer.publish();
    addresses.iter().map(|a| u64::from(fib.lookup(*a).unwrap_or(NO_ROUTE))).sum()
}

fn rss() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|n| n.parse::<usize>().ok()).unwrap_or(0) * 4096
}

/// The cost of one lookup in ns: the addresses are done in chunks, each chunk's best of some passes counts, and the mean of
/// these is returned. So neither a pause for another process nor a passing neighbour in the cache is measured.
fn best<A: Copy>(addresses: &[A], mut pass: impl FnMut(&[A]) -> u64, expected: u64) -> f64 {
    let mut chunks = vec![f64::INFINITY; addresses.len().div_ceil(CHUNK)];
    for _ in 0..PASSES {
        let mut sum = 0;
        for (addresses, best) in addresses.chunks(CHUNK).zip(&mut chunks) {
            let start = Instant::now();
            sum += pass(addresses);
            *best = best.min(start.elapsed().as_nanos() as f64);
        }
        assert_eq!(sum, expected, "a wrong route was found");
    }
    chunks.iter().sum::<f64>() / addresses.len() as f64
}

fn chain<A: Copy>(addresses: &[A], lookup: impl Fn(A) -> u32) -> u64 {
    let mut sum = 0;
    let mut at = 0;
    while at < addresses.len() {
        let value = lookup(addresses[at]);
        sum += u64::from(value);
        // Values are below 2^31, which only we know.
        at += 1 + (value >> 31) as usize;
    }
    sum
}

struct Row<'a, A: Family> {
    name: &'a str,
    table: &'a [(A, u8)],
    addresses: &'a [A],
    bytes: usize,
    build_ms: f64,
}

impl<A: Family> Row<'_, A> {
    fn measure(&self, lookup: impl Fn(A) -> u32, update: impl FnMut(A, u8, u32)) {
        let sum = expected(self.table, self.addresses);
        let latency = best(self.addresses, |addresses| chain(addresses, &lookup), sum);
        let single = best(
            self.addresses,
            |addresses| addresses.iter().map(|a| u64::from(lookup(*a))).sum(),
            sum,
        );
        self.print(latency, single, None, self.update(update));
    }

    fn update(&self, mut update: impl FnMut(A, u8, u32)) -> f64 {
        let mut random = Random::new(7);
        let start = Instant::now();
        let mut n = 0;
        while n < 4000 && start.elapsed().as_secs() < 5 {
            let i = random.below(self.table.len());
            update(self.table[i].0, self.table[i].1, i as u32);
            n += 1;
        }
        start.elapsed().as_micros() as f64 / f64::from(n) / 2.0
    }

    fn print(&self, chain: f64, single: f64, burst: Option<f64>, update: f64) {
        println!(
            "| {} | {} | {} | {:.1} | {:.0} | {chain:.1} | {single:.1} | {} | {update:.1} |",
            A::NUMBER,
            self.table.len(),
            self.name,
            self.bytes as f64 / 1e6,
            self.build_ms,
            burst.map_or("–".into(), |b| format!("{b:.1}")),
        );
    }
}

fn build<T>(make: impl FnOnce() -> T) -> (T, usize, f64) {
    let before = rss();
    let start = Instant::now();
    let made = make();
    let ms = start.elapsed().as_secs_f64() * 1e3;
    (made, rss().saturating_sub(before), ms)
}

fn ours<A: Family>(table: &[(A, u8)], addresses: &[A]) {
    let ((mut writer, fib), _, build_ms) = build(|| {
        let mut writer = FibWriter::<A>::new();
        for (i, (prefix, len)) in table.iter().enumerate() {
            writer.insert(*prefix, *len, i as u32).unwrap();
        }
        let fib = writer.publish();
        (writer, fib)
    });
    let row = Row { name: "dataplane::fib", table, addresses, bytes: fib.memory(), build_ms };
    // The first change makes the second copy; it is not what one change costs.
    writer.remove(table[0].0, table[0].1);
    writer.publish();
    writer.insert(table[0].0, table[0].1, 0).unwrap();
    let fib = writer.publish();
    let update = {
        drop(fib);
        row.update(|prefix, len, value| {
            writer.remove(prefix, len);
            black_box(writer.publish());
            writer.insert(prefix, len, value).unwrap();
            black_box(writer.publish());
        })
    };
    let fib = writer.publish();
    let sum = expected(table, addresses);
    let lookup = |a| fib.lookup(a).unwrap_or(NO_ROUTE);
    let latency = best(addresses, |addresses| chain(addresses, lookup), sum);
    let single =
        best(addresses, |addresses| addresses.iter().map(|a| u64::from(lookup(*a))).sum(), sum);
    let burst = best(
        addresses,
        |addresses| {
            let mut into = [0; 32];
            let mut sum = 0;
            for chunk in addresses.chunks(32) {
                fib.lookup_burst(chunk, &mut into);
                sum += into[..chunk.len()].iter().map(|v| u64::from(*v)).sum::<u64>();
            }
            sum
        },
        sum,
    );
    row.print(latency, single, Some(burst), update);
}

macro_rules! families {
    ($($name:ident, $bytes:ty, $addr:ty, $int:ty, $net:ty;)*) => {$(
        mod $name {
            use super::*;

            pub(super) fn prefix_trie(table: &[($bytes, u8)], addresses: &[$bytes]) {
                let (mut map, bytes, build_ms) = build(|| {
                    let mut map = prefix_trie::PrefixMap::<($int, u8), u32>::new();
                    for (i, (prefix, len)) in table.iter().enumerate() {
                        map.insert((<$int>::from_be_bytes(*prefix), *len), i as u32);
                    }
                    map
                });
                let row = Row { name: "prefix-trie 0.10", table, addresses, bytes, build_ms };
                let copy = map.clone();
                row.measure(
                    |a| copy.get_lpm(&(<$int>::from_be_bytes(a), <$int>::BITS as u8)).map_or(NO_ROUTE, |(_, v)| *v),
                    |prefix, len, value| {
                        let prefix = (<$int>::from_be_bytes(prefix), len);
                        black_box(map.remove(&prefix));
                        black_box(map.insert(prefix, value));
                    },
                );
            }

            pub(super) fn treebitmap(table: &[($bytes, u8)], addresses: &[$bytes]) {
                let fill = || {
                    let mut map = ip_network_table_deps_treebitmap::IpLookupTable::<$addr, u32>::new();
                    for (i, (prefix, len)) in table.iter().enumerate() {
                        map.insert(<$addr>::from(*prefix), u32::from(*len), i as u32);
                    }
                    map
                };
                let (map, bytes, build_ms) = build(fill);
                let row = Row { name: "treebitmap 0.5", table, addresses, bytes, build_ms };
                let mut other = fill();
                row.measure(
                    |a| map.longest_match(<$addr>::from(a)).map_or(NO_ROUTE, |(_, _, v)| *v),
                    |prefix, len, value| {
                        black_box(other.remove(<$addr>::from(prefix), u32::from(len)));
                        black_box(other.insert(<$addr>::from(prefix), u32::from(len), value));
                    },
                );
            }

            pub(super) fn poptrie(table: &[($bytes, u8)], addresses: &[$bytes]) {
                let (mut map, bytes, build_ms) = build(|| {
                    table
                        .iter()
                        .enumerate()
                        .map(|(i, (prefix, len))| ((<$int>::from_be_bytes(*prefix), *len), i as u32))
                        .collect::<poptrie::Poptrie<($int, u8), u32>>()
                });
                let row = Row { name: "poptrie 0.2", table, addresses, bytes, build_ms };
                let copy = map.clone();
                row.measure(
                    |a| copy.lookup(<$int>::from_be_bytes(a)).copied().unwrap_or(NO_ROUTE),
                    |prefix, len, value| {
                        let prefix = (<$int>::from_be_bytes(prefix), len);
                        black_box(map.remove(prefix));
                        black_box(map.insert(prefix, value));
                    },
                );
            }

            pub(super) fn iptrie(table: &[($bytes, u8)], addresses: &[$bytes]) {
                let net = |prefix: $bytes, len| <$net>::new(<$addr>::from(prefix), len).unwrap();
                let mut map = iptrie::map::RTrieMap::<$net, u32>::new();
                let (lc, bytes, build_ms) = build(|| {
                    map.insert(net([0; <$int>::BITS as usize / 8], 0), NO_ROUTE);
                    for (i, (prefix, len)) in table.iter().enumerate() {
                        map.insert(net(*prefix, *len), i as u32);
                    }
                    map.clone().compress()
                });
                let row = Row { name: "iptrie 0.11 (LC)", table, addresses, bytes, build_ms };
                row.measure(
                    |a| *lc.lookup(&<$addr>::from(a)).1,
                    // Only the uncompressed trie can change: this leaves out the compression.
                    |prefix, len, value| {
                        black_box(map.remove(&net(prefix, len)));
                        black_box(map.insert(net(prefix, len), value));
                    },
                );
            }
        }
    )*};
}

families! {
    four, [u8; 4], Ipv4Addr, u32, iptrie::Ipv4Prefix;
    six, [u8; 16], Ipv6Addr, u128, iptrie::Ipv6Prefix;
}

use four::{
    iptrie as iptrie4, poptrie as poptrie4, prefix_trie as prefix_trie4, treebitmap as treebitmap4,
};
use six::{
    iptrie as iptrie6, poptrie as poptrie6, prefix_trie as prefix_trie6, treebitmap as treebitmap6,
};
