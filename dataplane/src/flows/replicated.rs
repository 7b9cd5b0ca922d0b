//! What lies beside a flow in the dataplane, when the flow goes to another node or comes from one.

use conntrack::{Direction, Flow, Shard, Slot};
use nat::Masquerades;
use std::collections::VecDeque;
use sync::worker::Beside;

use super::{Alien, Flows};
use crate::owners::{Owners, Peers};
use crate::tables::Tables;

/// What is around the flows of a worker.
pub(crate) struct Around<'a, F> {
    /// Interfaces and their names.
    pub(crate) tables: &'a Tables,
    /// The other workers.
    pub(crate) peers: &'a mut Peers<F>,
}

/// See the module's overview.
pub(crate) struct Neighbourhood<'a, F> {
    around: Around<'a, F>,
    owners: &'a Owners,
    behind: &'a mut Masquerades,
    aliens: &'a mut VecDeque<Alien>,
}

impl Flows {
    /// The flows, and what lies beside them.
    pub(crate) fn beside<'a, F>(
        &'a mut self,
        around: Around<'a, F>,
    ) -> (&'a mut Shard, Neighbourhood<'a, F>) {
        let Self { shard, owners, behind, aliens, .. } = self;
        (shard, Neighbourhood { around, owners, behind, aliens })
    }
}

/// What stands for an interface between nodes, which number theirs differently.
fn name_hash(name: &str) -> u32 {
    crc32c::crc32c(name.as_bytes())
}

impl<F> Beside for Neighbourhood<'_, F> {
    fn behind(&self, shard: &Shard, slot: Slot) -> u32 {
        let device = shard.flow(slot).and_then(|flow| self.behind.device(slot, flow));
        let iface = device.and_then(|device| {
            self.around.tables.ifaces.iter().find(|entry| entry.iface.index.0 == device)
        });
        iface.map_or(0, |entry| name_hash(&entry.iface.name))
    }

    fn arrived(&mut self, shard: &Shard, slot: Slot, behind: u32) {
        let named = |entry: &&crate::tables::IfaceEntry| name_hash(&entry.iface.name) == behind;
        if behind != 0
            && let Some(entry) = self.around.tables.ifaces.iter().find(named)
        {
            self.behind.note(shard, slot, entry.iface.index.0);
        }
        let Some(flow) = shard.flow(slot) else { return };
        let (reply, generation) = (*flow.key(Direction::Reply), Flow::generation(flow));
        let peers = &mut self.around.peers;
        // The answers come to another worker, which has to know before the first one does. Where its ring is full they are not found; the flow's
        // own packets are.
        if self.owners.workers() > 1
            && self.owners.of(&reply) != peers.me()
            && peers.announce(&reply).is_ok()
        {
            self.aliens.push_back(Alien { slot, generation, reply });
        }
    }
}
