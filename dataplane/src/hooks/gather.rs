//! Fragments of tracked packets: later ones follow their first one.
//!
//! Rules and NAT speak of a datagram when its first fragment passes; the later ones get its key, and so its flow, skip the chains
//! and are changed as it was. Those that came before it wait. Where the first is dropped, so are they. Linux does so too, in
//! effect: it puts datagrams together before rules see them, and cuts them again.

use conntrack::fragments::{Fate, Fragments, Part};
use packet::{DropReason, FlowKey, PacketIo, Tick};

use super::places;
use crate::flows::Ct;
use crate::owners::Handed;
use crate::pipeline::{Packet, View};
use crate::worker::Local;

/// What waits for first fragments at a worker.
pub(crate) type Gathering<F> = Fragments<(F, Packet)>;

/// A fragment, whose family is tracked, has come.
#[inline(never)]
pub(super) fn gather<Io: PacketIo>(
    view: View<'_>,
    local: &mut Local<Io>,
    frame: Io::Frame,
    packet: &mut Packet,
    path: Option<u32>,
    now: Tick,
) {
    let Some(part) = Part::of(&frame, &packet.layers, 0) else {
        return local.drop(packet.port, DropReason::NatTruncated, frame);
    };
    let key = packet.layers.key;
    let fate =
        with(local, |gathering, drop| gathering.take(&part, &key, (frame, *packet), now, drop));
    let (frame, key) = match fate {
        Some(Fate::Goes((frame, _), key)) => (frame, key),
        Some(Fate::Dropped((frame, packet), reason)) => {
            return local.drop(packet.port, reason, frame);
        }
        Some(Fate::Held) | None => return,
    };
    if part.start != 0 {
        return follow(view, local, frame, packet, &key, path, now);
    }
    let here = go(view, local, frame, packet, path, now);
    if here && !packet.passed {
        with(local, |gathering, drop| {
            gathering.refuse(&part.name, DropReason::FragmentRefused, drop);
        });
        return;
    }
    while let Some(Some(((frame, mut packet), key))) =
        with(local, |gathering, _| gathering.next_held(&part.name))
    {
        follow(view, local, frame, &mut packet, &key, None, now);
    }
}

/// A later fragment goes the way of its first one.
fn follow<Io: PacketIo>(
    view: View<'_>,
    local: &mut Local<Io>,
    frame: Io::Frame,
    packet: &mut Packet,
    key: &FlowKey,
    path: Option<u32>,
    now: Tick,
) {
    packet.layers.key = *key;
    packet.follows = true;
    go(view, local, frame, packet, path, now);
}

/// It goes on here, if its flow is here; otherwise to the flow's owner, which gathers again. True: here.
fn go<Io: PacketIo>(
    view: View<'_>,
    local: &mut Local<Io>,
    frame: Io::Frame,
    packet: &mut Packet,
    path: Option<u32>,
    now: Tick,
) -> bool {
    if !local.handed
        && let Some(owner) = local.link.peers.owner_of_key(&packet.layers.key)
    {
        local.hand(owner, Handed::Frame(packet.port, frame));
        return false;
    }
    // It was looked up without its ports.
    packet.ct = if packet.ct == Ct::None { Ct::None } else { Ct::Unknown };
    places::pass(view, local, frame, packet, path, now);
    true
}

/// Does something with the fragments that wait, and drops what that lets go. `None`: they are busy.
fn with<Io: PacketIo, T>(
    local: &mut Local<Io>,
    what: impl FnOnce(&mut Gathering<Io::Frame>, &mut dyn FnMut((Io::Frame, Packet), DropReason)) -> T,
) -> Option<T> {
    let mut gathering = local.gathering.take()?;
    let done = what(&mut gathering, &mut |(frame, packet), reason| {
        local.drop(packet.port, reason, frame);
    });
    local.gathering = Some(gathering);
    Some(done)
}

impl<Io: PacketIo> Local<Io> {
    /// Ends what has waited for too long.
    pub(crate) fn expire_fragments(&mut self, now: Tick) {
        with(self, |gathering, drop| gathering.expire(now, drop));
    }

    /// Frees what waits: the worker stops.
    pub(crate) fn drop_fragments(&mut self) {
        self.expire_fragments(Tick(u64::MAX));
    }
}
