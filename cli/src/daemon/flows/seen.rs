//! What a bystander can see of all workers' flows, in one walk over every shard: some slots a job, so that no packet waits for it.

use std::sync::Arc;

use conntrack::flow::Slot;
use conntrack::netlink::Shards;
use conntrack::shard::Seen;
use packet::FlowKey;

use super::Flows;

/// Slots that a worker looks at between two bursts.
const SLOTS: usize = 512;

/// The sums over all flows but those of which `but` is true; `None` where a worker does not answer.
pub(in super::super) fn seen(
    flows: &Flows,
    but: &Arc<dyn Fn(&FlowKey) -> bool + Send + Sync>,
) -> Option<Seen> {
    let mut seen = Seen::default();
    for worker in 0..flows.count() {
        let mut from = Some(Slot(0));
        while let Some(at) = from {
            let but = but.clone();
            (seen, from) = flows.ask(worker, move |shard, now| {
                let next = shard.seen(at, SLOTS, now, &*but, &mut seen);
                (seen, next)
            })?;
        }
    }
    Some(seen)
}
