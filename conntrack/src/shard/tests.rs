use super::*;
use std::time::Duration;

pub(super) fn key(number: u32) -> FlowKey {
    let mut key = FlowKey { protocol: 17, family: 4, ..FlowKey::default() };
    key.src[..4].copy_from_slice(&number.to_be_bytes());
    key.dst[..4].copy_from_slice(&[192, 0, 2, 1]);
    key.dport = 53u16.to_be_bytes();
    key
}

pub(super) fn back(key: &FlowKey) -> FlowKey {
    FlowKey { src: key.dst, dst: key.src, sport: key.dport, dport: key.sport, ..*key }
}

pub(super) fn at(seconds: u64) -> Tick {
    Tick::at(Duration::from_secs(seconds))
}

fn shard(max: u32) -> Shard {
    Shard::new(Config { max, worker: 0 }).unwrap()
}

fn add(shard: &mut Shard, number: u32, seconds: u32, now: Tick) -> Slot {
    let slot = shard.create(key(number), back(&key(number)), now).unwrap();
    shard.refresh(slot, seconds, now);
    shard.confirm(slot, now).unwrap();
    slot
}

fn find(shard: &Shard, key: &FlowKey) -> Option<(Slot, Direction)> {
    shard.find(key, shard.hash(key))
}

#[test]
fn a_flow_is_found_by_both_keys_from_its_confirmation_to_its_end() {
    let mut shard = shard(10);
    let slot = shard.create(key(1), back(&key(1)), at(0)).unwrap();
    assert_eq!(find(&shard, &key(1)), None);
    shard.refresh(slot, 30, at(0));
    shard.confirm(slot, at(5)).unwrap();
    assert_eq!(find(&shard, &key(1)), Some((slot, Direction::Original)));
    assert_eq!(find(&shard, &back(&key(1))), Some((slot, Direction::Reply)));
    assert_eq!(shard.expire(at(34), 100), 0);
    assert_eq!(shard.expire(at(36), 100), 1);
    assert_eq!(find(&shard, &key(1)), None);
    assert_eq!(shard.stats().count, 0);
    assert!(shard.flow(slot).is_none());
}

#[test]
fn a_refreshed_flow_lives_on_and_a_shortened_one_does_not() {
    let mut shard = shard(10);
    let long = add(&mut shard, 1, 30, at(0));
    let short = add(&mut shard, 2, 432_000, at(0));
    let fixed = add(&mut shard, 3, 30, at(0));
    shard.set_status(fixed, Status::FIXED_TIMEOUT);
    shard.refresh(long, 30, at(20));
    shard.refresh(short, 10, at(20));
    shard.refresh(fixed, 30, at(20));
    assert_eq!(shard.remaining(short, at(20)) / 1000, 10);
    assert_eq!(shard.expire(at(29), 100), 0);
    assert_eq!(shard.expire(at(31), 100), 2);
    assert!(shard.flow(long).is_some());
    assert_eq!(shard.expire(at(51), 100), 1);
}
