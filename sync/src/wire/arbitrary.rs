//! Any record, for property tests.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::ids::{Epoch, FlowId, Group, NodeId, Seq, Term, Version};
use crate::records::*;

prop_compose! {
    fn key()(
        v6 in any::<bool>(), src in any::<[u8; 16]>(), dst in any::<[u8; 16]>(), sport in any::<[u8; 2]>(),
        dport in any::<[u8; 2]>(), protocol in any::<u8>(), zone in any::<[u8; 2]>(),
    ) -> FlowKey {
        let cut = |addr: [u8; 16]| {
            if v6 { addr } else { (u128::from_be_bytes(addr) >> 96 << 96).to_be_bytes() }
        };
        let family = if v6 { 6 } else { 4 };
        FlowKey { src: cut(src), dst: cut(dst), sport, dport, protocol, family, zone }
    }
}

prop_compose! {
    fn side()(
        end in any::<u32>(), max_end in any::<u32>(), max_window in any::<u32>(), scale in any::<u8>(), flags in any::<u8>(),
    ) -> TcpSide {
        TcpSide { end, max_end, max_window, scale, flags }
    }
}

fn proto() -> impl Strategy<Value = Proto> {
    prop_oneof![
        Just(Proto::None),
        ([side(), side()], any::<u8>()).prop_map(|(sides, state)| Proto::Tcp(Tcp { sides, state })),
        any::<u32>().prop_map(Proto::Udp),
        (any::<[u32; 2]>(), any::<u8>(), any::<u8>())
            .prop_map(|(tags, state, asked)| Proto::Sctp { tags, state, asked }),
        any::<[u32; 2]>().prop_map(Proto::Gre),
    ]
}

prop_compose! {
    fn state()(
        status in any::<u16>(), mark in prop_oneof![Just(0), any::<u32>()], remaining in any::<u32>(), proto in proto(),
        labels in any::<Option<[u8; 16]>>(),
    ) -> FlowState {
        FlowState { status, mark, remaining, proto, labels }
    }
}

fn id() -> impl Strategy<Value = FlowId> {
    any::<u64>().prop_map(FlowId::from_bits)
}

fn node() -> impl Strategy<Value = NodeId> {
    (0u8..16).prop_map(|node| NodeId::new(node).unwrap())
}

prop_compose! {
    /// Any FLOW_FULL.
    pub(crate) fn full()(
        id in id(), version in any::<u32>(), group in any::<u8>(), keys in [key(), key()], state in state(),
        rules in any::<u32>(), behind in prop_oneof![Just(0), any::<u32>()], timeouts in vec(any::<u32>(), 0..=14),
    ) -> FlowFull {
        let timeouts = timeouts.into_iter().collect();
        FlowFull { id, version: Version(version), group: Group(group), keys, state, rules, behind, timeouts }
    }
}

prop_compose! {
    fn bulk()(
        number in any::<u32>(), first in any::<u32>(), whose in proptest::option::of((node(), any::<u32>())),
    ) -> BulkId {
        BulkId { number, first, whose }
    }
}

prop_compose! {
    fn part()(
        (first, next) in any::<(u32, u32)>(), (inside, outside) in any::<(u64, u64)>(), all in any::<bool>(),
        bucket in proptest::option::of(any::<u16>()),
    ) -> Part {
        Part { first, next, inside: Seq(inside), outside: Seq(outside), all, bucket }
    }
}

/// Bytes for ever: records borrow.
fn bytes(most: usize) -> impl Strategy<Value = &'static [u8]> {
    vec(any::<u8>(), 0..=most).prop_map(|bytes| &*bytes.leak())
}

prop_compose! {
    fn element()(
        family in any::<u8>(), gone in any::<bool>(), table in bytes(20), set in bytes(20), key in bytes(64), data in bytes(64),
        remaining in any::<u32>(), timeout in any::<u32>(), version in any::<u64>(),
    ) -> SetElement<'static> {
        SetElement { family, gone, table, set, key, data, remaining, timeout, version }
    }
}

/// Any record.
pub(crate) fn record() -> impl Strategy<Value = Record<'static>> {
    let version = || any::<u32>().prop_map(Version);
    let flows = prop_oneof![
        full().prop_map(Record::Full),
        (id(), version(), state()).prop_map(|(id, version, state)| Record::Update {
            id,
            version,
            state
        }),
        (id(), version()).prop_map(|(id, version)| Record::Delete { id, version }),
        id().prop_map(Record::Request),
        (id(), version()).prop_map(|(id, version)| Record::DeferAck { id, version }),
    ];
    let others = prop_oneof![
        element().prop_map(Record::Set),
        (any::<u32>(), any::<u8>(), any::<[u8; 16]>(), any::<[u8; 6]>()).prop_map(
            |(port, family, addr, mac)| Record::Neighbour(Neighbour { port, family, addr, mac })
        ),
        (any::<u32>(), any::<[u8; 6]>()).prop_map(|(name, mac)| Record::Port { name, mac }),
        bytes(40).prop_map(Record::Expect),
        bytes(40).prop_map(Record::NatBlock),
    ];
    let repair = prop_oneof![
        (any::<u64>(), any::<u32>())
            .prop_map(|(seq, since)| Record::Resolve { seq: Seq(seq), since }),
        (0..u64::MAX / 2, any::<u32>()).prop_map(|(from, more)| Record::Lost {
            from: Seq(from),
            to: Seq(from + u64::from(more))
        }),
        vec(any::<(u64, u64)>(), 0..=32).prop_map(|ranges| {
            Record::Missing(ranges.into_iter().map(|(a, b)| (Seq(a), Seq(b))).collect())
        }),
        (node(), any::<u8>(), any::<u64>(), any::<u64>(), any::<bool>()).prop_map(
            |(node, lane, epoch, seq, applied)| {
                let (epoch, seq) = (Epoch(epoch), Seq(seq));
                Record::Watermark { node, lane, epoch, seq, applied }
            }
        ),
        (any::<u16>(), vec(any::<u64>(), 0..=128)).prop_map(|(from, buckets)| Record::Digest {
            from,
            buckets: buckets.into_iter().collect()
        }),
        (bulk(), any::<u32>()).prop_map(|(bulk, slots)| Record::BulkBegin { bulk, slots }),
        (bulk(), any::<u32>()).prop_map(|(bulk, slot)| Record::BulkMark { bulk, slot }),
        (bulk(), any::<u32>()).prop_map(|(bulk, flows)| Record::BulkEnd { bulk, flows }),
        (any::<u32>(), proptest::option::of(part()))
            .prop_map(|(request, part)| Record::BulkRequest { request, part }),
    ];
    const ROLES: [Role; 5] =
        [Role::Standby, Role::Active, Role::Passive, Role::Held, Role::Redirecting];
    let role = proptest::sample::select(&ROLES[..]);
    let hello = (any::<[u8; 3]>(), any::<bool>(), any::<bool>(), any::<u32>(), any::<u64>());
    let nodes = prop_oneof![
        (any::<u8>(), role, any::<u32>(), proptest::option::of(node())).prop_map(
            |(group, role, term, owner)| {
                Record::Role { group: Group(group), role, term: Term(term), owner }
            }
        ),
        hello.prop_map(|([lanes, minor, nodes], synchronised, wants_bulk, capacity, ruleset)| {
            Record::Hello(Hello {
                lanes,
                minor,
                synchronised,
                wants_bulk,
                capacity,
                ruleset,
                nodes,
            })
        }),
        (any::<u8>(), node()).prop_map(|(group, to)| Record::Barrier { group: Group(group), to }),
        (any::<u8>(), any::<u32>(), node()).prop_map(|(group, term, to)| Record::Grant {
            group: Group(group),
            term: Term(term),
            to
        }),
    ];
    prop_oneof![3 => flows, 2 => others, 3 => repair, 2 => nodes]
}
