//! The life of flows takes no memory from the allocator once the shard is there.

use conntrack::{Config, Direction, Shard, Status, event};
use packet::{FlowKey, Tick};

#[test]
fn flows_come_and_go_without_the_allocator() {
    let mut shard = Shard::new(Config { max: 1000, worker: 0 }).unwrap();
    shard.settings_mut().acct = true;
    shard.settings_mut().timestamp = true;
    shard.listen(event::LISTEN_NEW | event::LISTEN_UPDATE | event::LISTEN_DESTROY);
    let mut told = 0;
    let taken = allocation_counter::measure(|| {
        for number in 0..20_000u32 {
            let now = Tick(u64::from(number) * 10_000_000);
            let mut key = FlowKey { family: 4, protocol: 17, ..FlowKey::default() };
            key.src[..4].copy_from_slice(&number.to_be_bytes());
            let back = FlowKey { src: key.dst, dst: key.src, ..key };
            let slot = shard.create(key, back, now).unwrap();
            shard.refresh(slot, 30, now);
            shard.set_mark(slot, number);
            shard.confirm(slot, now).unwrap();
            shard.set_status(slot, Status::SEEN_REPLY);
            shard.set_labels(slot, [1; 16], [1; 16]);
            shard.account(slot, Direction::Reply, 40);
            assert!(shard.find(&back, shard.hash(&back)).is_some());
            shard.deliver(slot, now);
            shard.expire(now, 32);
            shard.take_events(&mut |_| told += 1);
        }
    });
    assert!(shard.stats().early_drop > 10_000);
    assert!(told > 30_000);
    assert_eq!(taken.count_total, 0);
}
