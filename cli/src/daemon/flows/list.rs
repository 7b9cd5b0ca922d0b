//! The first flows by some measure, of all that fit a filter, in one walk over every shard.
//!
//! A walk goes some slots a job, so that no packet waits for it; what it keeps is as much as is asked for, whatever the table's
//! size.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use conntrack::flow::{Slot, Status};
use conntrack::netlink::Shards;
use conntrack::proto::{sctp, tcp};
use conntrack::shard::Shard;
use conntrack::snapshot::{Account, Snapshot};
use packet::wire::ip;
use packet::{FlowKey, Tick};

use super::Flows;
use crate::api::flows::{self as model, Filter, Sort};

/// Slots that a worker looks at between two bursts.
const SLOTS: usize = 512;

/// A flow by its place in the list.
struct Ranked {
    rank: u64,
    worker: usize,
    flow: Snapshot,
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ranked {}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let place = |one: &Self| (one.rank, Reverse((one.worker, one.flow.slot.0)));
        place(self).cmp(&place(other))
    }
}

/// What one walk has found so far: the least of the list on top.
struct Found {
    best: BinaryHeap<Reverse<Ranked>>,
    matching: u64,
    at: Option<Slot>,
}

/// The flows that `query` asks for; who asked knows the time.
pub(in super::super) fn list(flows: &Flows, query: &model::FlowsQuery) -> model::Flows {
    let (filter, sort, limit) = (query.filter.clone(), query.sort, query.limit);
    let mut found = Found { best: BinaryHeap::new(), matching: 0, at: None };
    for worker in 0..flows.count() {
        found.at = Some(Slot(0));
        while let Some(from) = found.at {
            let filter = filter.clone();
            let walked = flows.ask(worker, move |shard, now| {
                look(shard, now, &mut found, &Wanted { worker, from, filter, sort, limit });
                found
            });
            match walked {
                Some(walked) => found = walked,
                // Its worker is gone, and the walk with it.
                None => return model::Flows::default(),
            }
        }
    }
    let accounting = flows.ask(0, |shard, _| *shard.settings());
    model::Flows {
        uptime_seconds: 0.0,
        matching: found.matching,
        accounting: accounting.is_some_and(|settings| settings.acct),
        timestamps: accounting.is_some_and(|settings| settings.timestamp),
        flows: found
            .best
            .into_sorted_vec()
            .into_iter()
            .map(|Reverse(ranked)| shown(&ranked))
            .collect(),
    }
}

/// What a walk looks for.
struct Wanted {
    worker: usize,
    from: Slot,
    filter: Filter,
    sort: Sort,
    limit: usize,
}

/// Looks at some slots.
fn look(shard: &Shard, now: Tick, found: &mut Found, wanted: &Wanted) {
    let mut slots = Vec::with_capacity(SLOTS);
    found.at = shard.walk(wanted.from, SLOTS, &mut |slot, _| slots.push(slot));
    for flow in slots.into_iter().filter_map(|slot| shard.snapshot(slot, now)) {
        if !fits(&wanted.filter, &flow) {
            continue;
        }
        found.matching += 1;
        let ranked = Ranked { rank: rank(&flow, wanted.sort, now), worker: wanted.worker, flow };
        if found.best.len() < wanted.limit {
            found.best.push(Reverse(ranked));
        } else if let Some(mut least) = found.best.peek_mut()
            && least.0 < ranked
        {
            *least = Reverse(ranked);
        }
    }
}

/// Both directions' packets and bytes.
fn total(flow: &Snapshot) -> Account {
    let [there, back] = flow.accounts.unwrap_or_default();
    Account { packets: there.packets + back.packets, bytes: there.bytes + back.bytes }
}

/// Since when it is there, in nanoseconds.
fn age(flow: &Snapshot, now: Tick) -> Option<u64> {
    flow.start.map(|start| now.0.saturating_sub(start.0))
}

fn rank(flow: &Snapshot, sort: Sort, now: Tick) -> u64 {
    match sort {
        Sort::Rate => {
            let bits = u128::from(total(flow).bytes) * 8 * 1_000_000_000;
            let rate = bits / u128::from(age(flow, now).unwrap_or(u64::MAX).max(1));
            u64::try_from(rate).unwrap_or(u64::MAX)
        }
        Sort::Bytes => total(flow).bytes,
        Sort::Packets => total(flow).packets,
        Sort::Oldest => age(flow, now).unwrap_or(0),
        Sort::Newest => age(flow, now).map_or(0, |age| u64::MAX - age),
        Sort::Timeout => flow.remaining.into(),
    }
}

fn address(bytes: &[u8; 16], family: u8) -> IpAddr {
    match (family, bytes) {
        (4, [a, b, c, d, ..]) => Ipv4Addr::new(*a, *b, *c, *d).into(),
        _ => Ipv6Addr::from(*bytes).into(),
    }
}

fn has_ports(protocol: u8) -> bool {
    matches!(protocol, ip::TCP | ip::UDP | ip::UDP_LITE | ip::SCTP)
}

fn protocol_name(protocol: u8) -> String {
    match protocol {
        ip::TCP => "tcp".into(),
        ip::UDP => "udp".into(),
        ip::UDP_LITE => "udplite".into(),
        ip::ICMP => "icmp".into(),
        ip::ICMP6 => "icmpv6".into(),
        ip::SCTP => "sctp".into(),
        ip::GRE => "gre".into(),
        other => other.to_string(),
    }
}

fn state(flow: &Snapshot) -> Option<&'static str> {
    let [original, _] = &flow.keys;
    match original.protocol {
        ip::TCP => {
            let view: &tcp::Tcp = zerocopy::transmute_ref!(&flow.proto);
            tcp::State::of(view.state).map(tcp::State::name)
        }
        ip::SCTP => {
            let view: &sctp::Sctp = zerocopy::transmute_ref!(&flow.proto);
            sctp::State::of(view.state).map(sctp::State::name)
        }
        _ => None,
    }
}

/// Whether a flow fits, by either of its tuples.
fn fits(filter: &Filter, flow: &Snapshot) -> bool {
    let [original, reply] = &flow.keys;
    let any_end = |fits: &dyn Fn(&[u8; 16], [u8; 2]) -> bool| {
        [original, reply].iter().any(|key| fits(&key.src, key.sport) || fits(&key.dst, key.dport))
    };
    let Filter { family, protocol, address: wanted, port, state: in_state, mark, zone, nat } =
        filter;
    family.is_none_or(|family| family == original.family)
        && protocol.as_ref().is_none_or(|name| *name == protocol_name(original.protocol))
        && wanted.is_none_or(|wanted| any_end(&|end, _| wanted.has(address(end, original.family))))
        && port.is_none_or(|port| {
            has_ports(original.protocol) && any_end(&|_, end| u16::from_be_bytes(end) == port)
        })
        && in_state
            .as_ref()
            .is_none_or(|name| state(flow).is_some_and(|has| has.eq_ignore_ascii_case(name)))
        && mark.is_none_or(|mark| mark == flow.mark)
        && zone.is_none_or(|zone| {
            [original, reply].iter().any(|key| u16::from_be_bytes(key.zone) == zone)
        })
        && nat.is_none_or(|nat| nat == flow.status.has(Status::SRC_NAT | Status::DST_NAT))
}

fn tuple(key: &FlowKey) -> model::Tuple {
    let ports = has_ports(key.protocol);
    let icmp = matches!(key.protocol, ip::ICMP | ip::ICMP6);
    let port = |bytes| ports.then(|| u16::from_be_bytes(bytes));
    let [kind, code] = key.dport;
    model::Tuple {
        source: address(&key.src, key.family).to_string(),
        destination: address(&key.dst, key.family).to_string(),
        source_port: port(key.sport),
        destination_port: port(key.dport),
        icmp_type: icmp.then_some(kind),
        icmp_code: icmp.then_some(code),
        icmp_id: icmp.then(|| u16::from_be_bytes(key.sport)),
        zone: u16::from_be_bytes(key.zone),
    }
}

/// The status bits that say something to people, in the words of `conntrack`.
fn words(status: Status) -> Vec<String> {
    let all = [
        (Status::ASSURED, "assured"),
        (Status::EXPECTED, "expected"),
        (Status::SRC_NAT, "src-nat"),
        (Status::DST_NAT, "dst-nat"),
        (Status::FIXED_TIMEOUT, "fixed-timeout"),
    ];
    let unreplied = (!status.has(Status::SEEN_REPLY)).then(|| "unreplied".to_owned());
    let set = all.into_iter().filter(|(bit, _)| status.has(*bit)).map(|(_, word)| word.to_owned());
    unreplied.into_iter().chain(set).collect()
}

fn shown(ranked: &Ranked) -> model::FlowEntry {
    let Ranked { worker, flow, .. } = ranked;
    let [original, reply] = &flow.keys;
    let [there, back] = flow.accounts.unwrap_or_default();
    let counted = flow.accounts.is_some();
    model::FlowEntry {
        id: flow.id,
        worker: u16::try_from(*worker).unwrap_or(u16::MAX),
        family: original.family,
        protocol: protocol_name(original.protocol),
        state: state(flow).map(str::to_owned),
        original: tuple(original),
        reply: tuple(reply),
        status: words(flow.status),
        mark: flow.mark,
        timeout_seconds: flow.remaining / 1000,
        started_seconds: flow.start.map(seconds),
        packets: counted.then_some([there.packets, back.packets]),
        bytes: counted.then_some([there.bytes, back.bytes]),
    }
}

/// Seconds since the daemon's start.
#[expect(clippy::cast_precision_loss, reason = "an uptime of nanoseconds, shown to milliseconds")]
fn seconds(tick: Tick) -> f64 {
    tick.0 as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(src: u8, dst: u8, sport: u16, dport: u16) -> FlowKey {
        let mut key = FlowKey { protocol: ip::TCP, family: 4, ..FlowKey::default() };
        key.src[..4].copy_from_slice(&[10, 0, 0, src]);
        key.dst[..4].copy_from_slice(&[192, 0, 2, dst]);
        (key.sport, key.dport) = (sport.to_be_bytes(), dport.to_be_bytes());
        key
    }

    fn back(key: FlowKey) -> FlowKey {
        FlowKey { src: key.dst, dst: key.src, sport: key.dport, dport: key.sport, ..key }
    }

    /// A shard with accounted flows of 1, 2, ... packets of 100 bytes, the first begun a second before the next.
    fn shard(flows: u8) -> (Shard, Tick) {
        let config = conntrack::shard::Config { max: 1000, worker: 0 };
        let mut shard = Shard::new(config).unwrap();
        shard.settings_mut().set("nf_conntrack_acct", 1).unwrap();
        shard.settings_mut().set("nf_conntrack_timestamp", 1).unwrap();
        let mut now = Tick(0);
        for n in 1..=flows {
            now = Tick(u64::from(n) * 1_000_000_000);
            let key = key(n, 1, 1000 + u16::from(n), 443);
            let slot = shard.create(key, back(key), now).unwrap();
            shard.refresh(slot, 100, now);
            shard.confirm(slot, now).unwrap();
            for _ in 0..n {
                shard.account(slot, conntrack::Direction::Original, 100);
            }
        }
        (shard, now)
    }

    fn top(shard: &Shard, now: Tick, filter: Filter, sort: Sort, limit: usize) -> (u64, Vec<u16>) {
        let mut found = Found { best: BinaryHeap::new(), matching: 0, at: Some(Slot(0)) };
        while let Some(from) = found.at {
            let wanted = Wanted { worker: 0, from, filter: filter.clone(), sort, limit };
            look(shard, now, &mut found, &wanted);
        }
        let entries = found.best.into_sorted_vec();
        let ports =
            entries.iter().map(|Reverse(ranked)| shown(ranked).original.source_port.unwrap());
        (found.matching, ports.map(|port| port - 1000).collect())
    }

    #[test]
    fn the_first_by_each_measure() {
        let (shard, now) = shard(5);
        let all = |sort, limit| top(&shard, now, Filter::default(), sort, limit);
        assert_eq!(all(Sort::Bytes, 3), (5, vec![5, 4, 3]));
        assert_eq!(all(Sort::Packets, 9), (5, vec![5, 4, 3, 2, 1]));
        assert_eq!(all(Sort::Oldest, 2), (5, vec![1, 2]));
        assert_eq!(all(Sort::Newest, 2), (5, vec![5, 4]));
        // The fifth began just now; the fourth sent 400 bytes in a second, the first 100 in four.
        assert_eq!(all(Sort::Rate, 5), (5, vec![5, 4, 3, 2, 1]));
        assert_eq!(all(Sort::Bytes, 0), (5, vec![]));
    }

    #[test]
    fn filters_hold_of_either_end() {
        let (shard, now) = shard(4);
        let with = |filter| top(&shard, now, filter, Sort::Oldest, 10).1;
        let none = Filter::default();
        const NONE: [u16; 0] = [];
        assert_eq!(
            with(Filter { address: Some("10.0.0.2".parse().unwrap()), ..none.clone() }),
            [2]
        );
        assert_eq!(
            with(Filter { address: Some("10.0.0.2/31".parse().unwrap()), ..none.clone() }),
            [2, 3]
        );
        assert_eq!(with(Filter { address: Some("::/0".parse().unwrap()), ..none.clone() }), NONE);
        assert_eq!(with(Filter { port: Some(1003), ..none.clone() }), [3]);
        assert_eq!(with(Filter { port: Some(443), ..none.clone() }).len(), 4);
        assert_eq!(with(Filter { protocol: Some("udp".into()), ..none.clone() }), NONE);
        assert_eq!(with(Filter { protocol: Some("tcp".into()), ..none.clone() }).len(), 4);
        assert_eq!(with(Filter { nat: Some(true), ..none.clone() }), NONE);
        assert_eq!(with(Filter { state: Some("established".into()), ..none.clone() }), NONE);
        assert_eq!(with(Filter { family: Some(6), ..none.clone() }), NONE);
        assert_eq!(with(Filter { zone: Some(0), mark: Some(0), ..none }).len(), 4);
    }
}
