//! What rules ask of the dataplane: randomness, routes, and somebody to tell of packets.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use arrayvec::ArrayString;
use conntrack::{Direction, Flow, Info, Slot};
use crossbeam::channel::Sender;
use ruleset::expr::LogRecord;
use ruleset::packet::{Connection, Env, FibAnswer, FibQuery, Seen, Translate};
use ruleset::trace::{Sight, Trace, TraceNote};
use ruleset::verdict::Verdict;

use crate::notes::{LogNote, Note, PREFIX};
use crate::pipeline::View;
use crate::rib::RouteKind;
use crate::stats::WorkerStats;
use crate::tables::{Hop, IfaceSlot, Path, Tables, is_link_local};
use packet::{FlowKey, Tick};

use super::{Rules, Spot, iface, ip};
use crate::flows::{Ct, Flows};

/// `RTN_…` (linux/rtnetlink.h).
const UNICAST: u32 = 1;
const LOCAL: u32 = 2;
const BROADCAST: u32 = 3;
const MULTICAST: u32 = 5;
const BLACKHOLE: u32 = 6;
const UNREACHABLE: u32 = 7;
const PROHIBIT: u32 = 8;

/// A worker's random numbers, for rules that spread packets: xorshift64* (Vigna 2014), begun anew with each start.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// Begins somewhere.
    pub(super) fn new() -> Self {
        Self(RandomState::new().hash_one(0) | 1)
    }

    pub(crate) fn next(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }
}

/// Answers the rules of one hook.
pub(super) struct Questions<'a> {
    pub(super) view: View<'a>,
    pub(super) spot: Spot<'a>,
    pub(super) rules: &'a mut Rules,
    pub(super) flows: &'a mut Flows,
    pub(super) ct: Ct,
    pub(super) notes: &'a Sender<Note>,
    pub(super) stats: &'a WorkerStats,
    pub(super) now: Tick,
}

impl Env for Questions<'_> {
    fn random(&mut self) -> u32 {
        self.rules.random.next()
    }

    fn fib(&self, query: &FibQuery) -> FibAnswer<'_> {
        let tables = self.view.tables;
        let addr = ip(query.family, &query.addr);
        let wanted = query.iface.map(|index| tables.iface_by_index(crate::rib::IfIndex(index)));
        let found = lookup(tables, addr, wanted.flatten());
        match wanted {
            // Another way than by the interface in question is none, and so is any by one that is not there.
            Some(wanted) if found.iface.is_none() || found.iface != wanted => FibAnswer::default(),
            _ => FibAnswer {
                kind: found.kind,
                iface: found.iface.and_then(|slot| iface(tables, slot)),
                gateway: found.gateway.map(bytes),
                mtu: found.iface.map_or(0, |slot| tables.mtu(slot)).min(found.mtu),
            },
        }
    }

    fn log(&mut self, seen: &Seen<'_>, record: &LogRecord<'_>) {
        if !self.rules.logs.take(self.now) {
            return self.stats.logs_suppressed.add(1);
        }
        let mut prefix = ArrayString::<PREFIX>::new();
        for letter in record.prefix.chars() {
            if prefix.try_push(letter).is_err() {
                break;
            }
        }
        let note = LogNote { prefix, level: record.level, sight: Sight::of(seen) };
        if self.notes.try_send(Note::Log(note)).is_err() {
            self.stats.logs_suppressed.add(1);
        }
    }

    fn trace(&mut self, seen: &Seen<'_>, trace: &Trace<'_>) {
        let note = TraceNote::new(seen, trace, self.view.program);
        if self.notes.try_send(Note::Trace(note)).is_err() {
            self.stats.traces_lost.add(1);
        }
    }

    fn connection(&mut self) -> Option<&mut dyn Connection> {
        let Ct::Flow(slot, _) = self.ct else { return None };
        self.flows.shard.flow(slot)?;
        Some(self)
    }

    fn is_connected(&self, key: &FlowKey) -> bool {
        self.flows.is_open(key)
    }

    fn translate(&mut self, how: &Translate) -> Verdict {
        let Self { flows, view, .. } = self;
        flows.translate(self.ct, how, self.spot, view.tables)
    }

    fn trace_id(&mut self) -> u32 {
        // Not one after the other, so that those of different workers and runs differ.
        self.rules.random.next().max(1)
    }
}

/// The packet's flow: only asked where there is one.
impl Questions<'_> {
    fn slot(&self) -> Slot {
        match self.ct {
            Ct::Flow(slot, _) => slot,
            _ => Slot(u32::MAX),
        }
    }

    fn flow(&self) -> Option<&Flow> {
        self.flows.shard.flow(self.slot())
    }
}

fn way(direction: u8) -> Direction {
    if direction == 0 { Direction::Original } else { Direction::Reply }
}

impl Connection for Questions<'_> {
    fn info(&self) -> u8 {
        match self.ct {
            Ct::Flow(_, info) => info as u8,
            _ => Info::New as u8,
        }
    }

    fn key(&self, direction: u8) -> FlowKey {
        self.flow().map(|flow| *flow.key(way(direction))).unwrap_or_default()
    }

    fn status(&self) -> u32 {
        self.flow().map_or(0, |flow| flow.status().0)
    }

    fn mark(&self) -> u32 {
        self.flow().map_or(0, Flow::mark)
    }

    fn set_mark(&mut self, mark: u32) {
        self.flows.shard.set_mark(self.slot(), mark);
    }

    fn secmark(&self) -> u32 {
        self.flow().map_or(0, Flow::secmark)
    }

    fn set_secmark(&mut self, secmark: u32) {
        self.flows.shard.set_secmark(self.slot(), secmark);
    }

    fn expires_in(&self) -> u32 {
        self.flows.shard.remaining(self.slot(), self.now)
    }

    fn labels(&self) -> [u8; 16] {
        self.flows.shard.labels(self.slot()).unwrap_or_default()
    }

    fn set_labels(&mut self, bits: [u8; 16], mask: [u8; 16]) {
        self.flows.shard.set_labels(self.slot(), bits, mask);
    }

    fn account(&self, direction: Option<u8>) -> (u64, u64) {
        let accounts = self.flows.shard.accounts(self.slot());
        let Some([original, reply]) = accounts else { return (0, 0) };
        match direction {
            Some(0) => (original.packets, original.bytes),
            Some(_) => (reply.packets, reply.bytes),
            None => (original.packets + reply.packets, original.bytes + reply.bytes),
        }
    }

    fn zone(&self, direction: u8) -> u16 {
        u16::from_be_bytes(self.key(direction).zone)
    }

    fn id(&self) -> u32 {
        self.flow().map_or(0, Flow::id)
    }

    fn set_event_mask(&mut self, mask: u32) {
        self.flows.shard.set_event_mask(self.slot(), mask);
    }

    fn set_timeouts(&mut self, protocol: u8, seconds: &[u32]) {
        self.flows.shard.set_policy(self.slot(), protocol, seconds, self.now);
    }
}

/// What is known of an address.
struct Found {
    kind: u32,
    iface: Option<IfaceSlot>,
    gateway: Option<IpAddr>,
    mtu: u32,
}

impl Found {
    fn of(kind: u32, iface: Option<IfaceSlot>) -> Self {
        Self { kind, iface, gateway: None, mtu: u32::MAX }
    }
}

/// The way to an address, by `wanted` where several ways are as good.
fn lookup(tables: &Tables, addr: IpAddr, wanted: Option<IfaceSlot>) -> Found {
    if addr.is_multicast() {
        return Found::of(MULTICAST, wanted);
    }
    // As inet_addr_type has it: everyone, and nobody.
    if matches!(addr, IpAddr::V4(v4) if v4.is_broadcast() || v4.is_unspecified()) {
        return Found::of(BROADCAST, wanted);
    }
    if addr.is_ipv6() && is_link_local(addr) {
        let owner = tables
            .ifaces
            .iter()
            .position(|entry| entry.addresses.iter().any(|prefix| prefix.addr == addr));
        return match owner.and_then(|slot| u32::try_from(slot).ok()) {
            Some(slot) => Found::of(LOCAL, Some(IfaceSlot(slot))),
            None => Found::of(UNICAST, wanted),
        };
    }
    let id = match addr {
        IpAddr::V4(addr) => tables.fib4.lookup(addr.octets()),
        IpAddr::V6(addr) => tables.fib6.lookup(addr.octets()),
    };
    let path = id.and_then(|id| tables.paths.get(id as usize));
    let way = |hop: &Hop, mtu: u32| match *hop {
        Hop::Via(slot) => {
            let to = tables.adjacency(slot);
            let (iface, gateway) = (to.map(|to| to.iface), to.map(|to| to.addr));
            Found { kind: UNICAST, iface, gateway, mtu }
        }
        Hop::OnLink(iface) | Hop::Kernel(iface) => Found { mtu, ..Found::of(UNICAST, Some(iface)) },
    };
    match path {
        Some(Path::Single { hop, mtu }) => way(hop, *mtu),
        Some(Path::Multi { hops, mtu }) => {
            let mut ways = hops.iter().map(|hop| way(hop, *mtu));
            let first = ways.next().unwrap_or(Found::of(0, None));
            if wanted.is_none() || first.iface == wanted {
                return first;
            }
            ways.find(|way| way.iface == wanted).unwrap_or(first)
        }
        Some(Path::Local { kind, iface }) => {
            let kind = match kind {
                RouteKind::Broadcast => BROADCAST,
                RouteKind::Multicast => MULTICAST,
                _ => LOCAL,
            };
            Found::of(kind, *iface)
        }
        Some(Path::Blackhole) => Found::of(BLACKHOLE, None),
        Some(Path::Unreachable) => Found::of(UNREACHABLE, None),
        Some(Path::Prohibit) => Found::of(PROHIBIT, None),
        Some(Path::Down) | None => Found::of(0, None),
    }
}

/// Whether an address is one of this node's.
pub(super) fn is_ours(tables: &Tables, addr: IpAddr) -> bool {
    lookup(tables, addr, None).kind == LOCAL
}

/// Whether an address is that of many stations.
pub(super) fn is_many(tables: &Tables, addr: IpAddr) -> bool {
    matches!(lookup(tables, addr, None).kind, BROADCAST | MULTICAST)
}

/// An address as rules hold it.
pub(crate) fn bytes(addr: IpAddr) -> [u8; 16] {
    match addr {
        IpAddr::V6(addr) => addr.octets(),
        IpAddr::V4(addr) => {
            let mut bytes = [0; 16];
            bytes.iter_mut().zip(addr.octets()).for_each(|(to, from)| *to = from);
            bytes
        }
    }
}

#[cfg(test)]
mod tests {
    use ruleset::family::Family;

    use super::*;

    #[test]
    fn random_numbers_spread_evenly() {
        let mut random = Random::new();
        let mut buckets = [0u32; 16];
        for _ in 0..160_000 {
            buckets[random.next() as usize % 16] += 1;
        }
        assert!(buckets.iter().all(|n| (9_400..10_600).contains(n)), "{buckets:?}");
    }

    #[test]
    fn addresses_go_there_and_back() {
        for (family, addr) in [(Family::Ipv4, "192.0.2.1"), (Family::Ipv6, "2001:db8::1")] {
            let addr: IpAddr = addr.parse().unwrap();
            assert_eq!(ip(family, &bytes(addr)), addr);
        }
    }
}
