//! Flows: what a worker knows of connections, how packets get theirs, and what rules said of them before.
//!
//! # Overview
//!
//! ```text
//! look_up    pass one: the flows of a burst, in stages that each prefetch what the next reads
//! replay     pass two: the verdict of a packet whose flow is known and was decided on by these rules
//! track      a hook's entry: the packet gets its flow, new or known (conntrack::track)
//! asks …     a hook's entry: NAT of one side (nat::bind, nat::rewrite)
//! confirm    a hook's entry: a new flow is in the table from now on
//! close      a packet's end: a flow that did not come so far is forgotten, events are told, a verdict is remembered
//! ```
//!
//! # Life cycle
//!
//! `Flows` belongs to a worker and lives as long. What was remembered of flows is void in the next *era*: when other rules
//! run, or the interfaces that rules may name have changed.

mod behind;
mod recipe;
mod replay;
mod replicated;
mod translate;

use std::collections::VecDeque;

use conntrack::proto::tcp::{State, Tcp};
use conntrack::shard::Shard;
use conntrack::track::{self, Input, Tracked};
use conntrack::{Direction, Flow, Guess, Hash, Info, Slot, Status};
use nat::{Masquerades, Numbers, Sources, Sweep};
use packet::wire::ip;
use packet::{DropReason, FlowKey, FragmentPart, Frame, L2Kind, Layers, PacketIo, Tick};
use ruleset::family::{Family, Hook};
use ruleset::ids::WorkerId;
use ruleset::packet::Recorder;
use zerocopy::transmute;

use crate::ha::{Exempt, Share};
use crate::hooks::Spot;
use crate::owners::{Owners, Peers};
use crate::pipeline::{Origin, Packet, Step};
use crate::tables::IfaceSlot;
use crate::worker::Local;

pub use recipe::Recipes;
pub(crate) use replay::replay;
pub(crate) use replicated::Around;

/// Flows whose timeout is looked at in a turn: more than can be made in one.
const EXPIRED_PER_TURN: usize = 2 * packet::BURST;
/// Aliases for which there is room from the start.
const ALIENS: usize = 1 << 12;
/// Aliases that are looked after in a turn.
const ALIENS_PER_TURN: usize = 4;

/// A flow of this worker's whose answers come to another one.
#[derive(Clone, Copy, Debug)]
struct Alien {
    slot: Slot,
    generation: u32,
    reply: FlowKey,
}

/// What is known of a packet's flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ct {
    /// Nothing yet.
    #[default]
    Unknown,
    /// The table has it; the packet was not tracked yet.
    Found(Slot, Direction),
    /// It is this flow's.
    Flow(Slot, Info),
    /// It has none: it is invalid, or not to be tracked.
    None,
}

impl Ct {
    /// Of a packet that this one brought about (`nf_conntrack_attach`).
    pub(crate) fn related(self) -> Self {
        match self {
            Self::Flow(slot, info) if info.direction() == Direction::Original => {
                Self::Flow(slot, Info::RelatedReply)
            }
            Self::Flow(slot, _) => Self::Flow(slot, Info::Related),
            Self::Unknown | Self::Found(..) | Self::None => Self::Unknown,
        }
    }
}

/// What a packet on its way through the rules leaves to be remembered.
#[derive(Debug, Default)]
pub(crate) struct Recording {
    /// What the rules say of it.
    pub(crate) recorder: Recorder,
    /// It passed all hooks from this interface to that one.
    pub(crate) way: Option<(IfaceSlot, IfaceSlot)>,
}

/// A worker's flows.
pub(crate) struct Flows {
    pub(crate) shard: Shard,
    /// What NAT takes ports by.
    numbers: Numbers,
    /// Which source was translated to what.
    sources: Sources,
    owners: Owners,
    /// The ports that NAT may choose.
    share: Share,
    /// UDP to these is never tracked: what nodes say to each other.
    exempt: Vec<Exempt>,
    /// An address that an interface loses ends no flows: it goes to the node that takes over, and they with it.
    addresses_move: bool,
    me: WorkerId,
    /// Flows whose reply key looks like another worker's, which was told.
    aliens: VecDeque<Alien>,
    recipes: Recipes,
    /// Counts what makes remembered verdicts void. Never 0, which stands for nothing remembered.
    era: u32,
    /// Verdicts are remembered.
    caching: bool,
    /// When the last packet was tracked: NAT judges by it which flows are over.
    now: Tick,
    /// Which flows are behind the address of an interface.
    behind: Masquerades,
    /// The ends of those whose address is gone.
    sweeps: VecDeque<Sweep>,
}

impl Flows {
    /// Over a table, as the worker `me` of those that own flows.
    pub(crate) fn new(shard: Shard, owners: Owners, me: WorkerId) -> Self {
        let sources = Sources::new();
        Self {
            numbers: Numbers::new(),
            sources,
            owners,
            share: Share::ALL,
            exempt: Vec::new(),
            addresses_move: false,
            me,
            aliens: VecDeque::with_capacity(if owners.workers() > 1 { ALIENS } else { 0 }),
            recipes: Recipes::new(),
            era: 1,
            caching: true,
            now: Tick::default(),
            behind: Masquerades::new(shard.capacity()),
            sweeps: VecDeque::new(),
            shard,
        }
    }

    /// This node is one of a cluster: NAT chooses of its share of ports, what goes to `exempt` is not tracked, and addresses come
    /// and go without their flows.
    pub(crate) fn cluster(&mut self, share: Share, exempt: Vec<Exempt>) {
        (self.share, self.exempt, self.addresses_move) = (share, exempt, true);
    }

    /// Switches the cache on or off: with the same rules and packets, only speed may differ.
    pub(crate) fn cache(&mut self, on: bool) {
        self.caching = on;
    }

    /// Ends some of the flows that are to end: those that expired, and those of a sweep. Looks after some of the aliases.
    pub(crate) fn keep_house<F>(&mut self, peers: &mut Peers<F>, now: Tick) {
        for _ in 0..ALIENS_PER_TURN.min(self.aliens.len()) {
            let Some(alien) = self.aliens.pop_front() else { break };
            let flow = self.shard.flow(alien.slot);
            let lives = flow.is_some_and(|flow| flow.generation() == alien.generation);
            if lives || peers.revoke(&alien.reply).is_err() {
                self.aliens.push_back(alien);
            }
        }
        self.shard.expire(now, EXPIRED_PER_TURN);
        self.sweep(now);
    }

    /// Forgets all verdicts. What they counted in goes to the control side to be dropped.
    pub(crate) fn begin_era(&mut self) -> Recipes {
        self.era = self.era.checked_add(1).unwrap_or(1);
        std::mem::replace(&mut self.recipes, Recipes::new())
    }

    /// Looks the flows of a burst up, all at once: each stage prefetches for the next.
    #[inline(never)]
    pub(crate) fn look_up(&mut self, burst: &mut [(Step, Packet)], replayable: bool) {
        let mut hashes = [Hash::NONE; packet::BURST];
        let asks = |step: &Step| matches!(step, Step::Rules);
        for ((step, packet), hash) in burst.iter_mut().zip(&mut hashes) {
            if asks(step) {
                *hash = self.shard.hash(&track::lookup_key(&packet.layers, [0; 2]));
                self.shard.prefetch_bucket(*hash);
            }
        }
        let mut guesses = [Guess::NONE; packet::BURST];
        for (((step, _), hash), guess) in burst.iter().zip(&hashes).zip(&mut guesses) {
            if asks(step) {
                *guess = self.shard.prefetch_flow(*hash);
            }
        }
        for (((step, packet), hash), guess) in burst.iter_mut().zip(&hashes).zip(&guesses) {
            if !asks(step) {
                continue;
            }
            let key = track::lookup_key(&packet.layers, [0; 2]);
            if let Some((slot, direction)) = self.shard.find_guessed(&key, *hash, *guess) {
                packet.ct = Ct::Found(slot, direction);
                let layers = &packet.layers;
                let plain = layers.fragment == FragmentPart::Whole && !layers.options;
                if replayable
                    && plain
                    && layers.l2_kind == L2Kind::Unicast
                    && let Some(recipe) = self.recall(slot, direction, packet.iface)
                {
                    *step = Step::Replay { translated: recipe.translated };
                }
            }
        }
    }

    /// Whether there is a flow of this key that is not only waiting for its end (`already_closed` of nf_conncount.c).
    pub(crate) fn is_open(&self, key: &FlowKey) -> bool {
        let found = self.shard.find(key, self.shard.hash(key));
        let Some(flow) = found.and_then(|(slot, _)| self.shard.flow(slot)) else { return false };
        let tcp: Tcp = transmute!(*flow.proto());
        let ends = [State::TimeWait as u8, State::Close as u8];
        flow.key(Direction::Original).protocol != ip::TCP || !ends.contains(&tcp.state)
    }

    /// Whether a packet is of a flow that is not this node's own business, but that of whoever owns the flows.
    pub(crate) fn is_shared(&self, layers: &Layers) -> bool {
        let key = track::lookup_key(layers, [0; 2]);
        let found = self.shard.find(&key, self.shard.hash(&key));
        found.is_some_and(|(slot, _)| self.shard.is_shared(slot))
    }

    /// Where a packet to be replayed goes that is translated: where its answers come from.
    #[inline(always)]
    pub(crate) fn destination<'p>(&'p self, packet: &'p Packet) -> &'p [u8; 16] {
        if let Ct::Found(slot, direction) = packet.ct
            && let Some(flow) = self.shard.flow(slot)
        {
            return &flow.key(direction.other()).src;
        }
        &packet.layers.key.dst
    }

    /// The packet gets its flow.
    pub(crate) fn track<F: Frame>(
        &mut self,
        frame: &F,
        packet: &mut Packet,
        spot: Spot<'_>,
        now: Tick,
    ) -> Result<(), DropReason> {
        if packet.meta.untracked {
            packet.ct = Ct::None;
        }
        if matches!(packet.ct, Ct::Flow(..) | Ct::None) {
            return Ok(());
        }
        // What was said before counts now, and no more.
        let zone = std::mem::take(&mut packet.meta.template).zone;
        let found = match packet.ct {
            Ct::Found(slot, direction) if zone == [0; 2] => Some((slot, direction)),
            _ => None,
        };
        // By now an earlier packet of the burst, or a rule that wrote into the headers, may have changed the answer.
        let key = track::lookup_key(&packet.layers, zone);
        let found = found
            .filter(|(slot, way)| self.shard.flow(*slot).is_some_and(|flow| *flow.key(*way) == key))
            .or_else(|| self.shard.find(&key, self.shard.hash(&key)));
        if found.is_none() && self.exempt.iter().any(|exempt| exempt.has(&key)) {
            packet.ct = Ct::None;
            packet.meta.untracked = true;
            return Ok(());
        }
        let place = match (spot.family, spot.hook) {
            (Family::Bridge, _) => track::Place::Bridge,
            (_, Hook::Output) => track::Place::Output,
            _ => track::Place::Prerouting,
        };
        let input = Input { frame, layers: &packet.layers, place, zone, found };
        self.now = now;
        match track::packet(&mut self.shard, &input, now) {
            Tracked::Flow { slot, info } => packet.ct = Ct::Flow(slot, info),
            Tracked::Invalid => packet.ct = Ct::None,
            Tracked::Untracked => {
                packet.ct = Ct::None;
                packet.meta.untracked = true;
            }
            Tracked::Drop(reason) => return Err(reason),
        }
        Ok(())
    }

    /// A new flow whose first packet has come so far is in the table from now on.
    pub(crate) fn confirm<F>(
        &mut self,
        packet: &Packet,
        spot: Spot<'_>,
        peers: &mut Peers<F>,
        now: Tick,
    ) -> Result<(), DropReason> {
        let Some(slot) = self.unconfirmed(packet) else { return Ok(()) };
        if spot.hook == Hook::Input || packet.origin != Origin::Received {
            // It begins or ends at this node, and dies with it.
            self.shard.set_local(slot);
        }
        if let Some(reply) = self.shard.flow(slot).map(|flow| *flow.key(Direction::Reply))
            && self.owners.workers() > 1
            && self.owners.of(&reply) != self.me
        {
            // Whoever gets the answers must know whose they are before there can be any.
            peers.announce(&reply).map_err(|_| DropReason::HandoffFull)?;
            let generation = self.shard.flow(slot).map_or(0, Flow::generation);
            self.aliens.push_back(Alien { slot, generation, reply });
        }
        self.shard.confirm(slot, now).map_err(|_| DropReason::FlowClash)
    }

    /// The flow that the packet begins, where that is not in the table yet. What answers such a packet is of the flow, too, but
    /// neither confirms nor ends it.
    fn unconfirmed(&self, packet: &Packet) -> Option<Slot> {
        let Ct::Flow(slot, info) = packet.ct else { return None };
        let begins = info.direction() == Direction::Original && !self.is_confirmed(slot);
        begins.then_some(slot)
    }

    fn is_confirmed(&self, slot: Slot) -> bool {
        self.shard.flow(slot).is_none_or(|flow| flow.status().has(Status::CONFIRMED))
    }
}

impl<Io: PacketIo> Local<Io> {
    /// The packet's way has ended, or it has left.
    pub(crate) fn close(&mut self, packet: &Packet, now: Tick) {
        let way = self.recording.way.take();
        let Ct::Flow(slot, info) = packet.ct else { return };
        let flows = &mut self.flows;
        if flows.unconfirmed(packet).is_some() {
            return flows.shard.discard(slot);
        }
        if !flows.is_confirmed(slot) {
            return;
        }
        track::end(&mut flows.shard, slot, now);
        if let Some(way) = way {
            flows.record(slot, info, packet, way, &self.recording.recorder);
        }
    }
}
