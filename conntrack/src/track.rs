//! A packet gets its flow: `nf_conntrack_in`.
//!
//! # Overview
//!
//! ```text
//! plain TCP and UDP -----------> the flow, whose timeout begins again
//! ICMP error ------------------> error::inner -> the flow that it tells of, related
//! found -> proto::* -----------> accepted, invalid, ended, or over and begun again
//! not found -> proto::* on no words -> create
//! ```
//!
//! What a tracker judges invalid leaves no trace in the table: a flow is made only when its first packet is good, and it is
//! found by others only when that packet has passed ([`Shard::confirm`]).
//!
//! # Where this is not as Linux
//!
//! - Checksums are summed in software only for what begins a flow, and for ICMP; a known flow's packets go by the device's
//!   word, which the parser heeds. Linux sums every packet that the device did not.
//! - Linux puts datagrams together first. Here the first fragment stands for all of them ([`crate::fragments`]); its TCP flow
//!   is not held to its windows from then on, because the length of the rest is not known. Each fragment is a packet in the
//!   flow's accounts, where Linux counts the datagram once.
//! - A packet that begins no flow does not make the table give one up, and is not dropped when the table is full.

use packet::wire::{ip, udp};
use packet::{
    ChecksumStatus, DropReason, FlowKey, FragmentPart, Frame, L3, L4, Layers, Tick, checksum,
    crc32c,
};

use crate::error;
use crate::event;
use crate::flow::{Direction, Info, Slot, Status};
use crate::proto::{self, Context, Outcome, tcp};
use crate::settings::TCP_UNACKNOWLEDGED;
use crate::shard::Shard;
pub use crate::tuple::{invert, lookup_key};

/// Where a packet is tracked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It came in.
    Prerouting,
    /// This node sends it.
    Output,
    /// It crosses a pair of ports.
    Bridge,
}

/// A packet that is to be tracked.
#[derive(Debug)]
pub struct Input<'a, F> {
    /// Its bytes.
    pub frame: &'a F,
    /// Its headers.
    pub layers: &'a Layers,
    /// Where it is.
    pub place: Place,
    /// The zone that rules gave it, by direction.
    pub zone: [u16; 2],
    /// What [`Shard::find`] says now of its [`lookup_key`].
    pub found: Option<(Slot, Direction)>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracked {
    /// It has a flow.
    Flow {
        /// Which.
        slot: Slot,
        /// What it is to it.
        info: Info,
    },
    /// It is of no connection, and goes on as such.
    Invalid,
    /// It is of a kind that is not tracked: neighbour discovery, multicast listeners.
    Untracked,
    /// It must go no further.
    Drop(DropReason),
}

/// Finds or makes the packet's flow, and lets the packet change it.
#[inline]
pub fn packet<F: Frame>(shard: &mut Shard, input: &Input<'_, F>, now: Tick) -> Tracked {
    if let Some(tracked) = plain(shard, input, now) {
        return tracked;
    }
    any(shard, input, now)
}

/// What nearly all packets are: a segment of an assured TCP connection that [`tcp::plain()`] takes, or a datagram of a UDP flow
/// that changes nothing but its timeout. `None`, with nothing changed, where it is another.
#[inline(always)]
fn plain<F: Frame>(shard: &mut Shard, input: &Input<'_, F>, now: Tick) -> Option<Tracked> {
    const ASSURED: u32 = Status::CONFIRMED | Status::SEEN_REPLY | Status::ASSURED;
    const ODD: u32 = Status::FIXED_TIMEOUT | Status::DYING | Status::EXPECTED;
    let layers = input.layers;
    let (slot, direction) = input.found?;
    if !matches!(layers.l4, L4::Tcp | L4::Udp) || input.zone[0] != input.zone[1] {
        return None;
    }
    let (status, late, accounted) = shard.judge(slot, |flow, policies, settings| {
        let status = flow.status();
        if status.has(ODD) || !policies.is_empty() || flow.is_over(now) {
            return None;
        }
        let seconds = if layers.l4 == L4::Tcp {
            if status.0 & ASSURED != ASSURED {
                return None;
            }
            let state = zerocopy::transmute_mut!(&mut flow.shared.proto);
            tcp::plain_frame(state, input.frame, layers, direction, settings)?
        } else {
            let first_back = direction == Direction::Reply && !status.has(Status::SEEN_REPLY);
            if first_back || !status.has(Status::CONFIRMED) || !is_sound(input) {
                return None;
            }
            let context = Context { direction, status, timeouts: &settings.udp, settings, now };
            let state = zerocopy::transmute_mut!(&mut flow.shared.proto);
            let outcome = proto::udp::packet(state, layers.protocol, &context);
            let Outcome::Accept { renew: Some(seconds), assured: false, .. } = outcome else {
                return None;
            };
            seconds
        };
        Some((status, flow.renew(seconds, now), flow.has_accounts()))
    })??;
    if late {
        shard.file_again(slot);
    }
    if accounted {
        shard.account(slot, direction, bytes(layers));
    }
    let info = match direction {
        Direction::Reply => Info::EstablishedReply,
        Direction::Original if status.has(Status::SEEN_REPLY) => Info::Established,
        Direction::Original => Info::New,
    };
    Some(Tracked::Flow { slot, info })
}

/// Any packet.
#[inline(never)]
fn any<F: Frame>(shard: &mut Shard, input: &Input<'_, F>, now: Tick) -> Tracked {
    let layers = input.layers;
    if !is_sound(input) {
        return invalid(shard);
    }
    if !matches!(layers.l4, L4::Tcp | L4::Udp)
        && let Some(tracked) = unusual(shard, input, now)
    {
        return tracked;
    }
    match found(shard, input, now) {
        Some((slot, direction)) => known(shard, input, slot, direction, now),
        None => begin(shard, input, now),
    }
}

/// The packet's flow; its time may be over.
#[inline(always)]
fn found<F>(shard: &mut Shard, input: &Input<'_, F>, now: Tick) -> Option<(Slot, Direction)> {
    if input.zone[0] == input.zone[1] {
        input.found
    } else {
        seek(shard, &lookup_key(input.layers, input.zone), input.zone, now)
    }
}

/// The end of a packet that had a flow: tells what it changed, and ends the flow where the packet did so.
#[inline]
pub fn end(shard: &mut Shard, slot: Slot, now: Tick) {
    if shard.flow(slot).is_some_and(|flow| flow.status().has(Status::DYING)) {
        return shard.kill(slot, now);
    }
    shard.deliver(slot, now);
}

/// A packet of a flow that is there.
#[inline(always)]
fn known<F: Frame>(
    shard: &mut Shard,
    input: &Input<'_, F>,
    slot: Slot,
    direction: Direction,
    now: Tick,
) -> Tracked {
    let layers = input.layers;
    let spared = shard.spares(now);
    let judged = shard.judge(slot, |flow, policies, settings| {
        if flow.is_over_unless(spared, now) {
            return None;
        }
        let status = flow.status();
        let policy = if policies.is_empty() { 0 } else { flow.policy() };
        let timeouts = policies.timeouts(policy, layers.protocol, settings);
        let context = Context { direction, status, timeouts, settings, now };
        let outcome = judge(&mut flow.shared.proto, input.frame, layers, &context);
        let late = match outcome {
            Outcome::Accept { renew: Some(seconds), .. } => flow.renew(seconds, now),
            _ => false,
        };
        Some((status, outcome, late, flow.has_accounts()))
    });
    let Some(Some((status, outcome, late, accounted))) = judged else {
        shard.kill(slot, now);
        return begin(shard, input, now);
    };
    let info = info(direction, status);
    let Outcome::Accept { renew, assured, changed } = outcome else {
        return refused(shard, input, (slot, info), outcome, now);
    };
    if late {
        shard.file_again(slot);
    }
    if accounted && renew.is_some() {
        shard.account(slot, direction, bytes(layers));
    }
    if changed {
        shard.note(slot, event::PROTOINFO);
    }
    if assured {
        shard.set_status(slot, Status::ASSURED);
    }
    if info == Info::EstablishedReply && !status.has(Status::SEEN_REPLY) {
        shard.set_status(slot, Status::SEEN_REPLY);
    }
    Tracked::Flow { slot, info }
}

/// What a packet of a flow that is there is to it.
#[inline(always)]
const fn info(direction: Direction, status: Status) -> Info {
    match direction {
        Direction::Reply => Info::EstablishedReply,
        Direction::Original if status.has(Status::SEEN_REPLY) => Info::Established,
        Direction::Original if status.has(Status::EXPECTED) => Info::Related,
        Direction::Original => Info::New,
    }
}

/// A later fragment: its first one's flow is its own, and changed by that one alone.
fn follow<F>(shard: &mut Shard, input: &Input<'_, F>, now: Tick) -> Option<Tracked> {
    let (slot, direction) = found(shard, input, now)?;
    if !shard.is_alive(slot, now) {
        return None;
    }
    let status = shard.flow(slot)?.status();
    shard.account(slot, direction, bytes(input.layers));
    Some(Tracked::Flow { slot, info: info(direction, status) })
}

/// What does not let its flow go on.
#[cold]
fn refused<F: Frame>(
    shard: &mut Shard,
    input: &Input<'_, F>,
    (slot, info): (Slot, Info),
    outcome: Outcome,
    now: Tick,
) -> Tracked {
    match outcome {
        Outcome::Ends => {
            shard.account(slot, info.direction(), bytes(input.layers));
            // It stays for the rules and the translation of this packet; nobody finds it any more.
            shard.set_status(slot, Status::DYING);
            shard.set_timeout(slot, 0, now);
            return Tracked::Flow { slot, info };
        }
        Outcome::Reopens => {
            shard.kill(slot, now);
            return begin(shard, input, now);
        }
        Outcome::Closing => {
            let remaining = shard.remaining(slot, now);
            let protocol = input.layers.protocol;
            let timeouts = shard.judge(slot, |flow, policies, settings| {
                policies
                    .timeouts(flow.policy(), protocol, settings)
                    .get(TCP_UNACKNOWLEDGED)
                    .copied()
            });
            let short = timeouts.flatten().unwrap_or_default();
            // What is over soon anyway is left alone (nf_tcp_handle_invalid).
            if remaining >= 120_000 && u64::from(remaining) > u64::from(short) * 1000 {
                shard.set_timeout(slot, short, now);
            }
        }
        Outcome::Invalid | Outcome::Accept { .. } => {}
    }
    shard.stats_mut().invalid += 1;
    Tracked::Invalid
}

/// A packet of no flow: it may begin one.
#[cold]
#[inline(never)]
fn begin<F: Frame>(shard: &mut Shard, input: &Input<'_, F>, now: Tick) -> Tracked {
    let layers = input.layers;
    let key = lookup_key(layers, input.zone);
    let Some(mut reply) = invert(&key) else { return invalid(shard) };
    reply.zone = input.zone[1].to_be_bytes();
    if !is_whole(shard, input) {
        return invalid(shard);
    }
    let mut words = [0; 14];
    let settings = shard.settings();
    let context = Context {
        direction: Direction::Original,
        status: Status::default(),
        timeouts: settings.timeouts(layers.protocol),
        settings,
        now,
    };
    let outcome = judge(&mut words, input.frame, layers, &context);
    let Outcome::Accept { renew, changed, .. } = outcome else { return invalid(shard) };
    let Ok(slot) = shard.create(key, reply, now) else {
        return Tracked::Drop(DropReason::FlowTableFull);
    };
    if let Some(proto) = shard.proto_mut(slot) {
        *proto = words;
    }
    shard.refresh(slot, renew.unwrap_or_default(), now);
    shard.account(slot, Direction::Original, bytes(layers));
    if changed {
        shard.note(slot, event::PROTOINFO);
    }
    Tracked::Flow { slot, info: Info::New }
}

#[cold]
fn invalid(shard: &mut Shard) -> Tracked {
    shard.stats_mut().invalid += 1;
    Tracked::Invalid
}

/// What its protocol's tracker says of a packet.
#[inline(always)]
fn judge<F: Frame>(
    words: &mut [u32; 14],
    frame: &F,
    layers: &Layers,
    context: &Context<'_>,
) -> Outcome {
    let [kind, _] = layers.key.dport;
    match layers.l4 {
        L4::Tcp => {
            let state: &mut tcp::Tcp = zerocopy::transmute_mut!(words);
            tcp::frame(state, frame, layers, context)
        }
        L4::Udp => proto::udp::packet(zerocopy::transmute_mut!(words), layers.protocol, context),
        L4::Icmp => proto::icmp::packet(kind, context),
        L4::Icmp6 => proto::icmp6::packet(kind, context),
        L4::Sctp => proto::sctp::packet(zerocopy::transmute_mut!(words), frame, layers, context),
        L4::Gre => proto::gre::packet(zerocopy::transmute_mut!(words), context),
        L4::Other => proto::generic::packet(context),
    }
}

/// Bytes of layer 3.
#[inline(always)]
fn bytes(layers: &Layers) -> u64 {
    u64::from(layers.end.saturating_sub(u32::from(layers.l3_offset)))
}

/// What is neither TCP nor UDP, where that says all; `None`: it is looked up as those are.
fn unusual<F: Frame>(shard: &mut Shard, input: &Input<'_, F>, now: Tick) -> Option<Tracked> {
    let layers = input.layers;
    let [kind, _] = layers.key.dport;
    let error = match layers.l4 {
        L4::Icmp | L4::Icmp6 if !is_whole(shard, input) => None,
        L4::Icmp if kind > proto::icmp::LAST_TYPE => None,
        L4::Icmp if packet::wire::icmp::is_error(kind) => related(shard, input, now),
        L4::Icmp6 if proto::icmp6::is_untracked(kind) => return Some(Tracked::Untracked),
        L4::Icmp6 if packet::wire::icmp6::is_error(kind) => related(shard, input, now),
        L4::Other if !has_tuple(layers) => {
            if layers.fragment == FragmentPart::Later
                && let Some(tracked) = follow(shard, input, now)
            {
                return Some(tracked);
            }
            shard.stats_mut().invalid += 1;
            return Some(Tracked::Invalid);
        }
        _ => return None,
    };
    let Some((slot, direction)) = error else {
        shard.stats_mut().error += 1;
        return Some(Tracked::Invalid);
    };
    let info = match direction {
        Direction::Original => Info::Related,
        Direction::Reply => Info::RelatedReply,
    };
    Some(Tracked::Flow { slot, info })
}

/// Whether what has no transport header has a tuple nevertheless. A later fragment has none, nor has what is cut off, ICMP
/// of the other family, or a header chain that ends in nothing.
fn has_tuple(layers: &Layers) -> bool {
    let cut_off = matches!(
        layers.protocol,
        ip::TCP | ip::UDP | ip::UDP_LITE | ip::SCTP | ip::GRE | ip::ICMP | ip::ICMP6
    );
    let nothing = layers.l3 == L3::Ipv6 && layers.protocol == ip::NO_NEXT;
    let is_ip = matches!(layers.l3, L3::Ipv4 | L3::Ipv6);
    is_ip && !cut_off && !nothing && layers.fragment != FragmentPart::Later
}

/// The flow that an ICMP error tells of, and as which direction's packet it travels (`nf_conntrack_inet_error`).
fn related<F: Frame>(
    shard: &mut Shard,
    input: &Input<'_, F>,
    now: Tick,
) -> Option<(Slot, Direction)> {
    let inner = error::inner(input.frame, input.layers)?;
    let (slot, direction) = seek(shard, &invert(&inner.key)?, input.zone, now)?;
    // Whoever is told must be who sent it: the address that its answers go to.
    let told = shard.flow(slot)?.key(direction).dst;
    (told == input.layers.key.dst).then_some((slot, direction))
}

/// Looks a tuple up in the zones of both directions.
fn seek(
    shard: &mut Shard,
    tuple: &FlowKey,
    zone: [u16; 2],
    now: Tick,
) -> Option<(Slot, Direction)> {
    let [original, reply] = zone.map(u16::to_be_bytes);
    let mut find = |zone: [u8; 2]| {
        let key = FlowKey { zone, ..*tuple };
        let found = shard.find(&key, shard.hash(&key))?;
        shard.is_alive(found.0, now).then_some(found)
    };
    if original == reply {
        return find(original);
    }
    find(original)
        .filter(|(_, direction)| *direction == Direction::Original)
        .or_else(|| find(reply).filter(|(_, direction)| *direction == Direction::Reply))
}

/// Whether a datagram's length is possible. Routed ports take no other; transparent ones take any.
#[inline(always)]
fn is_sound<F: Frame>(input: &Input<'_, F>) -> bool {
    let layers = input.layers;
    if layers.l4 != L4::Udp || input.place != Place::Bridge {
        return true;
    }
    let size = (layers.end as usize).saturating_sub(usize::from(layers.l4_offset));
    let length = usize::from(layers.udp(input.frame).length.get());
    // A first fragment's length is that of the datagram put together.
    let fits = (udp::LEN..=size).contains(&length) || layers.fragment == FragmentPart::First;
    fits || (layers.protocol == ip::UDP_LITE && length == 0)
}

/// Whether the transport checksum is right, as far as it is looked at: of what came in, where the device said nothing.
fn is_whole<F: Frame>(shard: &Shard, input: &Input<'_, F>) -> bool {
    let Input { frame, layers, .. } = *input;
    let at = usize::from(layers.l4_offset);
    if layers.protocol == ip::UDP_LITE
        && layers.l4 == L4::Udp
        && frame.read(at + udp::CHECKSUM_OFFSET) == Some([0; 2])
    {
        // It must have one (RFC 3828, 3.1).
        return false;
    }
    let is_icmp = matches!(layers.l4, L4::Icmp | L4::Icmp6);
    let known = !is_icmp && frame.rx_meta().l4_checksum == ChecksumStatus::Good;
    if !shard.settings().checksum || input.place == Place::Output || known {
        return true;
    }
    if layers.l4 == L4::Sctp && layers.fragment == FragmentPart::Whole {
        let crc = crc32c::sctp(frame, at, layers.end as usize);
        return crc == Some(crc32c::from_wire(layers.sctp(frame).checksum));
    }
    checksum::transport_sum(frame, layers).is_none_or(checksum::Sum::is_valid)
}
