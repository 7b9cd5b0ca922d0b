//! How many records a second go through a sending and a receiving lane in one thread, and how they are packed.
//!
//! `cargo run --release -p sync --example lanes [FLOWS] [SECONDS]`

#![allow(clippy::indexing_slicing, reason = "what is fixed here")]

use std::time::Instant;

use packet::{FlowKey, Tick};
use sync::hands::{Cause, Inbound, Outbound};
use sync::ids::{FlowId, Generation, Group, Lane, NodeId, Seq, Term, Version};
use sync::lane::{Pace, ReceiveLane, SendLane, Table};
use sync::records::{FlowFull, FlowState, Proto, Record, Role, Tcp, Timeouts};
use sync::wire;

struct Count(u64);

impl Table for Count {
    fn owner_of(&self, original: &FlowKey) -> Lane {
        // What it costs to find the owner is not this module's.
        Lane::new(original.sport[1] & 3).unwrap_or(lane())
    }

    fn apply(&mut self, _: Lane, _: u32, _: bool, record: &[u8]) {
        self.0 += record.len() as u64;
    }

    fn delete(&mut self, _: Lane, _: FlowId) {
        self.0 += 1;
    }

    fn elsewhere(&mut self, _: &[u8]) {}
}

/// Nanoseconds that this thread ran: others on the machine do not count.
fn ran() -> u128 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|ran| ran.parse().ok()).unwrap_or(0)
}

fn lane() -> Lane {
    Lane::new(0).unwrap_or_else(unreachable)
}

fn node() -> NodeId {
    NodeId::new(1).unwrap_or_else(unreachable)
}

fn unreachable<T>() -> T {
    std::process::abort()
}

/// The records that a TCP flow causes in its life: its beginning, two changes, its end.
fn encode(slot: u32, generation: u32, version: u32, step: u32, out: &mut [u8]) -> (Cause, usize) {
    let id = FlowId::new(node(), lane(), slot, Generation::new(generation));
    let version = Version(version);
    let state = FlowState {
        status: 14,
        mark: 0,
        remaining: 432_000_000,
        proto: Proto::Tcp(Tcp::default()),
        labels: None,
    };
    let (cause, record) = match step {
        0 => {
            let mut src = [0; 16];
            src[..4].copy_from_slice(&slot.to_be_bytes());
            let key = FlowKey {
                src,
                dst: src,
                sport: [1, slot as u8],
                dport: [0, 80],
                protocol: 6,
                family: 4,
                zone: [0; 2],
            };
            let full = FlowFull {
                id,
                version,
                group: Group(0),
                keys: [key; 2],
                state,
                rules: 7,
                behind: 0,
                timeouts: Timeouts::new(),
            };
            (Cause::New, Record::Full(full))
        }
        1 | 2 => (Cause::Change, Record::Update { id, version, state }),
        _ => (Cause::End, Record::Delete { id, version }),
    };
    (cause, wire::encode(&record, out).unwrap_or_else(|_| unreachable()))
}

fn main() {
    let mut args = std::env::args().skip(1).map_while(|arg| arg.parse::<u64>().ok());
    let flows = args.next().unwrap_or(1_000_000) as u32;
    let seconds = args.next().unwrap_or(3);
    for lost in [0, 1, 5] {
        run(flows, seconds, lost);
    }
}

fn run(flows: u32, seconds: u64, lost: u64) {
    const BURST: usize = 1024;
    let mut sender = SendLane::new(lane(), flows, Pace { bytes_per_second: 0, ..Pace::default() });
    sender.set_role(Group(0), Role::Active, Term(1), Some(node()));
    let mut receiver = ReceiveLane::new(node(), lane(), flows, 1);
    receiver.begin(1, (node(), 1));
    sender.begin_bulk(Tick(0));
    let mut table = Count(0);
    let mut random = 1_u64;
    let mut next = move || {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        random >> 33
    };
    let mut versions = vec![0_u32; flows as usize];
    let mut steps = vec![0_u8; flows as usize];
    // A ring's worth of records that were made beforehand.
    let mut records: Vec<(Cause, u32, usize, [u8; 160])> = Vec::new();
    let (mut count, mut spent, mut encoding) = (0_u64, 0_u128, 0_u128);
    let mut now = 0;
    // As a link would: datagrams are handed over in bulk.
    let mut flying: Vec<(Seq, Vec<u8>)> = Vec::new();
    let mut spare: Vec<Vec<u8>> = Vec::new();
    let begun = Instant::now();
    while begun.elapsed().as_secs() < seconds {
        let at = ran();
        records.clear();
        for _ in 0..BURST {
            let slot = (next() % u64::from(flows)) as u32;
            let n = slot as usize;
            versions[n] += 1;
            let mut bytes = [0; 160];
            let step = u32::from(steps[n] % 4);
            let generation = u32::from(steps[n] / 4);
            let (cause, length) = encode(slot, generation, versions[n], step, &mut bytes);
            steps[n] = steps[n].wrapping_add(1);
            records.push((cause, slot, length, bytes));
        }
        encoding += ran() - at;
        now += 800_000;
        let at = ran();
        let mut emit = |datagram: sync::lane::Datagram<'_>| {
            let mut bytes = spare.pop().unwrap_or_default();
            bytes.clear();
            bytes.extend_from_slice(datagram.payload);
            flying.push((datagram.seq, bytes));
        };
        for (_, slot, ..) in &records {
            sender.prefetch(*slot);
        }
        for (cause, slot, length, bytes) in &records {
            let record = Outbound::Record { cause: *cause, slot: *slot, bytes: &bytes[..*length] };
            sender.take(&record, Tick(now), &mut emit);
        }
        sender.poll(Tick(now), &mut emit);
        while let Some(request) = sender.request() {
            // The worker says nothing new of what it is asked for; what counts here is that the lanes are busy with it.
            match request {
                Inbound::Export { token, slots } => {
                    for slot in slots {
                        let n = slot as usize;
                        versions[n] += 1;
                        let generation = u32::from(steps[n].wrapping_sub(1) / 4);
                        let step = if steps[n].is_multiple_of(4) { 3 } else { 0 };
                        let mut bytes = [0; 160];
                        let (_, length) = encode(slot, generation, versions[n], step, &mut bytes);
                        let cause = Cause::Repair;
                        let record = Outbound::Record { cause, slot, bytes: &bytes[..length] };
                        sender.take(&record, Tick(now), &mut emit);
                    }
                    sender.take(&Outbound::Mark { token, next: 0 }, Tick(now), &mut emit);
                }
                Inbound::Bulk { token, .. } => {
                    sender.take(&Outbound::Mark { token, next: u32::MAX }, Tick(now), &mut emit);
                }
                _ => {}
            }
        }
        for (seq, bytes) in flying.drain(..) {
            if next() % 100 >= lost {
                receiver.data(seq, false, &bytes, Tick(now), &mut table);
            }
            spare.push(bytes);
        }
        if let Some(ranges) = receiver.poll(Tick(now)) {
            sender.missing(node(), &ranges, Tick(now));
        }
        sender.watermark(node(), receiver.watermark(), Tick(now));
        spent += ran() - at;
        count += BURST as u64;
    }
    let (sent, got) = (sender.counters(), receiver.counters());
    println!(
        "{lost} % lost: {:.0} ns a record ({:.2} million/s) in both lanes; making them took {:.0} ns. {:.1} records and {:.0} bytes a datagram; \
         {} lost, {} repaired, {:.1} records for each; applied {}, stale {}, bulks {}, gaps left {}, window behind {}",
        spent as f64 / count as f64,
        count as f64 / spent as f64 * 1e3,
        encoding as f64 / count as f64,
        count as f64 / sent.datagrams as f64,
        sent.bytes as f64 / sent.datagrams as f64,
        got.gaps,
        sent.resolved,
        sent.records[Cause::Repair as usize] as f64 / (sent.resolved as f64).max(1.0),
        got.applied,
        got.stale,
        got.bulks,
        receiver.gaps(),
        sender.behind(Tick(now)).datagrams,
    );
}
