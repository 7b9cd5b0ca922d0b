//! Flows that `masquerade` put behind an interface's address end with it.
//!
//! Unlike Linux, an interface that goes down does not end them as long as it has the address: here a lost carrier looks the same.
//! Where nodes are a cluster, a lost address does not end them, either: it has moved to another node, and they go on there.

use conntrack::Slot;
use nat::Sweep;
use packet::{DropReason, Tick};
use ruleset::family::Hook;

use super::{Ct, Flows};
use crate::hooks::{Spot, bytes};
use crate::tables::IfaceEntry;

/// Places that one turn looks at for flows to end.
const SWEPT_PER_TURN: usize = 1024;

impl Flows {
    /// A flow got the address of the interface that its first packet leaves by.
    pub(super) fn is_behind(&mut self, slot: Slot, spot: Spot<'_>) {
        if let Some(oif) = spot.oif {
            self.behind.note(&self.shard, slot, oif.index);
        }
    }

    /// Whether a packet is of a flow that is behind the address of another interface than it leaves by (`nf_nat_oif_changed`).
    /// The flow ends then, and the packet must.
    pub(crate) fn stays_behind(
        &mut self,
        ct: Ct,
        spot: Spot<'_>,
        now: Tick,
    ) -> Result<(), DropReason> {
        let (Ct::Flow(slot, info), Hook::Postrouting, Some(oif)) = (ct, spot.hook, spot.oif) else {
            return Ok(());
        };
        let Some(flow) = self.shard.flow(slot) else { return Ok(()) };
        let original = info.direction() == conntrack::Direction::Original;
        if original && self.behind.has_moved(slot, flow, oif.index) {
            self.shard.kill(slot, now);
            return Err(DropReason::NatMoved);
        }
        Ok(())
    }

    /// The interfaces are others than they were.
    pub(crate) fn interfaces_changed(&mut self, old: &[IfaceEntry], new: &[IfaceEntry]) {
        for was in old {
            let index = was.iface.index;
            match new.iter().find(|entry| entry.iface.index == index) {
                None => self.sweeps.push_back(Sweep::device(index.0)),
                Some(_) if self.addresses_move => {}
                Some(is) => {
                    let lost = was.addresses.iter().filter(|prefix| {
                        !is.addresses.iter().any(|other| other.addr == prefix.addr)
                    });
                    self.sweeps.extend(lost.map(|prefix| {
                        let family = if prefix.addr.is_ipv4() { 4 } else { 6 };
                        Sweep::address(index.0, family, bytes(prefix.addr))
                    }));
                }
            }
        }
    }

    /// Ends some of the flows whose address is gone.
    pub(crate) fn sweep(&mut self, now: Tick) {
        if let Some(sweep) = self.sweeps.front_mut()
            && !sweep.step(&mut self.shard, &self.behind, SWEPT_PER_TURN, now)
        {
            self.sweeps.pop_front();
        }
    }
}
