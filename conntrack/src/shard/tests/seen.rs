//! What a bystander can see of a table.

use super::*;
use crate::proto::tcp::{State, Tcp};
use packet::wire::ip;

fn everything(shards: &[&Shard], now: Tick, but: &dyn Fn(&FlowKey) -> bool) -> Seen {
    let mut seen = Seen::default();
    for shard in shards {
        let mut from = Some(Slot(0));
        while let Some(at) = from {
            from = shard.seen(at, 64, now, but, &mut seen);
        }
    }
    seen
}

fn all(shards: &[&Shard]) -> Seen {
    everything(shards, at(0), &|_| false)
}

fn flows(seen: &Seen) -> u64 {
    seen.parts().iter().map(|part| part.flows).sum()
}

fn tcp(number: u32) -> FlowKey {
    FlowKey { protocol: ip::TCP, sport: [9, 9], ..key(number) }
}

/// A flow whose packets go from the one key's source to the other's: NAT of both sides, or of none.
fn put(shard: &mut Shard, original: FlowKey, reply: FlowKey) -> Slot {
    let slot = shard.create(original, reply, at(0)).unwrap();
    shard.refresh(slot, 30, at(0));
    shard.confirm(slot, at(0)).unwrap();
    slot
}

#[test]
fn the_sums_are_the_same_wherever_flows_are() {
    let (mut one, mut two, mut other) = (shard(1000), shard(1000), shard(2000));
    for number in (0..800).rev() {
        let slot = add(&mut other, number, 30, at(0));
        other.set_mark(slot, number);
        other.set_status(slot, Status::ASSURED);
        let half = if number % 3 == 0 { &mut one } else { &mut two };
        add(half, number, 30 + number, at(0));
    }
    let seen = all(&[&one, &two]);
    assert_eq!(flows(&seen), 800);
    assert_eq!(seen, all(&[&other]));
    assert!(seen.parts().iter().filter(|part| part.flows > 0).count() > 400, "they are spread");
    assert_eq!(Seen::of(seen.parts().to_vec()), Some(seen.clone()));
    assert_eq!(Seen::of(vec![Content::default(); PARTS - 1]), None);
    // One that is over and has not been looked at yet does not count.
    let short = add(&mut other, 1000, 5, at(0));
    assert_ne!(seen, all(&[&other]));
    assert_eq!(seen, everything(&[&other], at(6), &|_| false));
    other.kill(short, at(6));
    assert_eq!(seen, all(&[&other]));
}

#[test]
fn translation_is_not_seen_from_the_side_that_is_not_translated() {
    let outside: [u8; 16] = [0xaa; 16];
    for original in [key(1), tcp(1), FlowKey { protocol: ip::ICMP, dport: [8, 0], ..key(1) }] {
        let plain = crate::tuple::invert(&original).unwrap();
        let (mut watching, mut masquerading) = (shard(10), shard(10));
        put(&mut watching, original, plain);
        let hidden = match original.protocol {
            ip::ICMP => FlowKey { dst: outside, sport: [7, 7], ..plain },
            _ => FlowKey { dst: outside, dport: [7, 7], ..plain },
        };
        put(&mut masquerading, original, hidden);
        assert_eq!(all(&[&watching]), all(&[&masquerading]), "{original:?}");
        // A port forward: its packets go to the inner address and port.
        let mut forwarding = shard(10);
        let asked = match original.protocol {
            ip::ICMP => FlowKey { dst: outside, ..original },
            _ => FlowKey { dst: outside, dport: [8, 8], ..original },
        };
        put(&mut forwarding, asked, plain);
        assert_eq!(all(&[&watching]), all(&[&forwarding]), "{original:?}");
    }
}

#[test]
fn all_that_is_seen_counts() {
    let mut table = shard(10);
    let mut seen = vec![all(&[&table])];
    let mut differs = |table: &Shard, what: &str| {
        let now = all(&[table]);
        assert!(!seen.contains(&now), "{what}");
        seen.push(now);
    };
    let slot = put(&mut table, tcp(1), back(&tcp(1)));
    differs(&table, "there is a flow");
    table.set_status(slot, Status::SEEN_REPLY);
    differs(&table, "it was answered");
    let mut state: Tcp = zerocopy::transmute!(*table.flow(slot).unwrap().proto());
    state.state = State::Established as u8;
    *table.proto_mut(slot).unwrap() = zerocopy::transmute!(state);
    differs(&table, "it is established");
    table.kill(slot, at(0));
    let changes: [fn(&mut FlowKey); 6] = [
        |key| key.src[15] ^= 1,
        |key| key.dst[0] ^= 1,
        |key| key.sport[1] ^= 1,
        |key| key.dport[0] ^= 1,
        |key| key.zone[1] ^= 1,
        |key| key.protocol = ip::UDP,
    ];
    for (n, change) in changes.into_iter().enumerate() {
        let mut other = tcp(1);
        change(&mut other);
        let slot = put(&mut table, other, back(&other));
        differs(&table, &format!("change {n} of the key"));
        table.kill(slot, at(0));
    }
}

#[test]
fn a_change_is_in_one_part() {
    let (mut table, mut before) = (shard(100), Vec::new());
    for number in 0..50 {
        before.push((add(&mut table, number, 30, at(0)), all(&[&table])));
    }
    let full = all(&[&table]);
    let differing = |one: &Seen, other: &Seen| {
        one.parts().iter().zip(other.parts()).filter(|(one, other)| one != other).count()
    };
    for pair in before.windows(2) {
        assert_eq!(differing(&pair[0].1, &pair[1].1), 1);
    }
    for (slot, _) in before {
        table.set_status(slot, Status::SEEN_REPLY);
        let now = all(&[&table]);
        assert_eq!(flows(&now), 50);
    }
    assert_ne!(all(&[&table]), full);
}

#[test]
fn what_is_a_nodes_own_and_what_is_left_out_do_not_count() {
    let mut table = shard(10);
    add(&mut table, 1, 30, at(0));
    let seen = all(&[&table]);
    let own = table.create(key(2), back(&key(2)), at(0)).unwrap();
    table.set_local(own);
    table.refresh(own, 30, at(0));
    table.confirm(own, at(0)).unwrap();
    assert_eq!(all(&[&table]), seen);
    add(&mut table, 3, 30, at(0));
    assert_ne!(all(&[&table]), seen);
    assert_eq!(everything(&[&table], at(0), &|flow| flow.src == key(3).src), seen);
}
