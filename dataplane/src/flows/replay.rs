//! The way of a packet whose flow the rules spoke of before.

use conntrack::track::{self, Input, Place, Tracked};
use nat::Sides;
use packet::{Frame, PacketIo, Tick};

use super::Ct;
use crate::hooks;
use crate::pipeline::{self, Packet, Verdict, View};
use crate::worker::Local;

/// Takes a packet the way that is remembered, if all is still so; `path` is the route of where it goes. Else it meets the rules.
#[inline(never)]
pub(crate) fn replay<Io: PacketIo>(
    view: View<'_>,
    local: &mut Local<Io>,
    mut frame: Io::Frame,
    packet: &mut Packet,
    path: u32,
    now: Tick,
) {
    let walk = hooks::walk::<Io>;
    let Ct::Found(slot, direction) = packet.ct else {
        return walk(view, local, frame, packet, None, now);
    };
    let flows = &mut local.flows;
    // Packets before this one in the burst may have changed the flow, or ended it.
    let (Some(recipe), Some(flow)) =
        (flows.recall(slot, direction, packet.iface), flows.shard.flow(slot))
    else {
        return walk(view, local, frame, packet, None, now);
    };
    if *flow.key(direction) != packet.layers.key {
        return walk(view, local, frame, packet, None, now);
    }
    let (oif, info, translated) = (recipe.oif, recipe.info, recipe.translated);
    let remembered = flows.shard.cached(slot, direction);
    let came = packet.layers.key;
    if translated {
        let back = flow.key(direction.other());
        packet.layers.key.src = back.dst;
        packet.layers.key.dst = back.src;
    }
    let path = view.tables.paths.get(path as usize);
    let verdict = pipeline::decide(view.tables, packet, path);
    packet.layers.key = came;
    let Verdict::Send { to, header, mtu } = verdict else {
        return walk(view, local, frame, packet, None, now);
    };
    if to.iface != oif {
        return walk(view, local, frame, packet, None, now);
    }
    let found = Some((slot, direction));
    let input = Input {
        frame: &frame,
        layers: &packet.layers,
        place: Place::Prerouting,
        zone: [0; 2],
        found,
    };
    match track::packet(&mut flows.shard, &input, now) {
        // A change of the flow's status that this packet brings about drops what is remembered.
        Tracked::Flow { slot: same, info: is }
            if same == slot && is == info && flows.shard.cached(slot, direction) == remembered => {}
        Tracked::Flow { slot, info } => {
            packet.ct = Ct::Flow(slot, info);
            return walk(view, local, frame, packet, None, now);
        }
        Tracked::Invalid | Tracked::Untracked => {
            packet.ct = Ct::None;
            return walk(view, local, frame, packet, None, now);
        }
        Tracked::Drop(reason) => return local.drop(packet.port, reason, frame),
    }
    if translated
        && let Some(flow) = flows.shard.flow(slot)
        && let Err(reason) =
            nat::rewrite(&mut frame, &mut packet.layers, flow, direction, Sides::Both)
    {
        return local.drop(packet.port, reason, frame);
    }
    track::end(&mut flows.shard, slot, now);
    local.link.stats.replayed.add(1);
    let (worker, size) = (local.link.worker, frame.len());
    if let Some(recipe) = flows.recipes.get(remembered.recipe) {
        for counted in &recipe.counters {
            counted.counter.add(worker, counted.bytes(&packet.layers, size));
        }
        packet.meta = recipe.meta;
    }
    pipeline::forward(view, local, frame, packet, to, header, mtu, now);
}
