//! Choosing a flow's reply tuple, once for each of its ends, before it is in the table (nf_nat_setup_info).
//!
//! # Overview
//!
//! The reply tuple is all that there is to choose: what packets leave with is its inverse. A tuple is *free* when no flow of
//! the shard has it, and *mine* when the worker that will receive such packets is this one. As in Linux, in this order:
//!
//! 1. the source as it is, if it is in range and free; else as what the same source was translated to before;
//! 2. an address by hash, with the port as it is;
//! 3. ports of the range, or of the class that the port is in, from a random one on: 128, then 64, 32, 16, 8 of them. The
//!    last 32 of a round may be had from TCP flows that are over.
//!
//! Where there is more than one worker, tuples that are not mine come last. They are taken rather than none, and the caller
//! is told.

use conntrack::{Direction, Flow, Shard, Slot, Status};
use packet::wire::ip;
use packet::{FlowKey, Tick};

use crate::address;
use crate::range::{Flags, Manip, Range};
use crate::reuse;
use crate::sources::Sources;

/// Tuples that are looked up in the first round of a search (`NF_NAT_MAX_ATTEMPTS`); each round has half as many.
const ATTEMPTS: u32 = 128;
/// With so few of them a round is the last.
const LAST_ROUND: u32 = 16;
/// Ports a search may step over, for each that it looks up, because they are not this worker's.
const STEPS: u32 = 64;
/// From so many ports on, those that are this worker's are computed, else looked for.
const MANY: u32 = 1 << 14;
/// From so many ports on nodes share them; of fewer, one could be left with none.
const SHARED: u32 = 256;

/// What binding needs of its worker.
pub trait Pick {
    /// A random number.
    fn random(&mut self) -> u32;

    /// Whether packets that have this key will come to this worker.
    fn is_mine(&self, reply: &FlowKey) -> bool;

    /// Whether this port, host order, is one that this node may choose: nodes of a cluster share them, so that even two that
    /// believe they are the owner choose different ones. Not asked where a rule names only a few.
    fn is_ours(&self, port: u16) -> bool {
        let _ = port;
        true
    }

    /// A port, host order, to try instead of `port`, so that the reply is this worker's when this end of the flow has it
    /// ([`packet::toeplitz::Inverse`]). One that already is stays.
    fn nearest(&self, reply: &FlowKey, manip: Manip, port: u16) -> u16 {
        let _ = (reply, manip);
        port
    }

    /// The time, where flows that are over may be ended for their ports.
    fn now(&self) -> Option<Tick> {
        None
    }

    /// The worker's memory of sources, if it has one.
    fn sources(&mut self) -> Option<&mut Sources> {
        None
    }
}

/// A reply tuple was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Packets that have it will come to another worker, which must be told.
    pub alien: bool,
}

/// All that was tried is taken: the flow must not begin. (Linux goes on, and drops the packet when it would be confirmed.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("every address and port that may be used is taken")]
pub struct Exhausted;

/// Whether it is decided what becomes of this end of a flow (`nf_nat_initialized`).
#[inline(always)]
pub fn is_done(flow: &Flow, manip: Manip) -> bool {
    flow.status().has(match manip {
        Manip::Source => Status::SRC_NAT_DONE,
        Manip::Destination => Status::DST_NAT_DONE,
    })
}

/// Decides what becomes of this end of an unconfirmed flow, and says so in its reply key and status. Without effect where it
/// was decided before.
///
/// # Errors
///
/// Nothing is free. Only of a source: a destination whose reply tuple is taken may still get another source.
pub fn bind(
    shard: &mut Shard,
    slot: Slot,
    manip: Manip,
    range: &Range,
    pick: &mut dyn Pick,
) -> Result<Bound, Exhausted> {
    const NOTHING: Result<Bound, Exhausted> = Ok(Bound { alien: false });
    let Some(flow) = shard.flow(slot) else { return NOTHING };
    if flow.status().has(Status::CONFIRMED) || is_done(flow, manip) {
        return NOTHING;
    }
    let old = *flow.key(Direction::Reply);
    let (nat, done) = match manip {
        Manip::Source => (Status::SRC_NAT, Status::SRC_NAT_DONE),
        Manip::Destination => (Status::DST_NAT, Status::DST_NAT_DONE),
    };
    // Most flows, at one end at least.
    if range.is_null() && !shard.is_taken(&old, slot) {
        shard.set_status(slot, done);
        return Ok(Bound { alien: !pick.is_mine(&old) });
    }
    let mapped = range.netmap(address(&old, manip));
    let range = mapped.as_ref().unwrap_or(range);
    let (new, free) = Choice { shard, slot, manip, range, pick }.reply(old);
    if !free && manip == Manip::Source {
        return Err(Exhausted);
    }
    if new == old {
        shard.set_status(slot, done);
    } else {
        shard.set_reply(slot, new);
        shard.set_status(slot, done | nat);
        // What the same source would get anyway is not worth a place.
        let chosen = range.has_choice() || port(&new, manip) != port(&old, manip);
        if chosen
            && manip == Manip::Source
            && let Some(sources) = pick.sources()
        {
            sources.remember(shard, slot);
        }
    }
    Ok(Bound { alien: !pick.is_mine(&new) })
}

/// The address of this end of a flow, in its reply key: what comes back goes where it came from.
pub(crate) fn address(reply: &FlowKey, manip: Manip) -> &[u8; 16] {
    match manip {
        Manip::Source => &reply.dst,
        Manip::Destination => &reply.src,
    }
}

fn address_mut(reply: &mut FlowKey, manip: Manip) -> &mut [u8; 16] {
    match manip {
        Manip::Source => &mut reply.dst,
        Manip::Destination => &mut reply.src,
    }
}

/// Its port; an ICMP query has one identifier for both ends.
fn port(reply: &FlowKey, manip: Manip) -> u16 {
    u16::from_be_bytes(match (reply.protocol, manip) {
        (ip::ICMP | ip::ICMP6, _) | (_, Manip::Destination) => reply.sport,
        (_, Manip::Source) => reply.dport,
    })
}

fn with_port(mut reply: FlowKey, manip: Manip, port: u16) -> FlowKey {
    *match (reply.protocol, manip) {
        (ip::ICMP | ip::ICMP6, _) | (_, Manip::Destination) => &mut reply.sport,
        (_, Manip::Source) => &mut reply.dport,
    } = port.to_be_bytes();
    reply
}

/// Whether a protocol has ports, or what stands for them.
fn has_ports(protocol: u8) -> bool {
    matches!(protocol, ip::ICMP | ip::ICMP6 | ip::GRE | ip::TCP | ip::UDP | ip::UDP_LITE | ip::SCTP)
}

/// One decision.
struct Choice<'a> {
    shard: &'a mut Shard,
    slot: Slot,
    manip: Manip,
    range: &'a Range,
    pick: &'a mut dyn Pick,
}

/// A search found nothing.
struct Nothing {
    /// What was tried last.
    last: FlowKey,
    /// Some tuples would have been another worker's.
    aliens: bool,
}

impl Choice<'_> {
    fn is_free(&self, reply: &FlowKey) -> bool {
        !self.shard.is_taken(reply, self.slot)
    }

    /// Whether this node may choose this tuple's port, if it has one.
    fn is_ours(&self, reply: &FlowKey) -> bool {
        let few = |(min, max): (u16, u16)| u32::from(max.abs_diff(min)) < SHARED;
        !has_ports(reply.protocol)
            || self.range.ports.is_some_and(few)
            || self.pick.is_ours(port(reply, self.manip))
    }

    /// Whether this node and this worker may choose the tuple.
    fn may_choose(&self, reply: &FlowKey) -> bool {
        self.is_ours(reply) && self.pick.is_mine(reply)
    }

    /// Whether a port has to be kept or may be, of a protocol that has some.
    fn port_in_range(&self, reply: &FlowKey) -> bool {
        !has_ports(reply.protocol)
            || self
                .range
                .ports
                .is_none_or(|(min, max)| (min..=max).contains(&port(reply, self.manip)))
    }

    /// The number of the zone that the flow is in, be it by one of its directions only.
    fn zone(&self, reply: &FlowKey) -> u16 {
        let flow = self.shard.flow(self.slot);
        let original = flow.map_or([0; 2], |flow| flow.key(Direction::Original).zone);
        u16::from_be_bytes(if original == [0; 2] { reply.zone } else { original })
    }

    /// The reply key, and whether it is free (get_unique_tuple).
    fn reply(&mut self, old: FlowKey) -> (FlowKey, bool) {
        let random = self.range.flags.random();
        // What nobody asked to be changed is not changed for the sake of which worker gets it.
        let stays = self.range.is_null() || self.manip == Manip::Destination;
        if self.manip == Manip::Source && !random {
            if self.range.has_address(&old.dst) && self.port_in_range(&old) {
                if self.is_free(&old) && (stays || self.may_choose(&old)) {
                    return (old, true);
                }
            } else if let Some(known) = self.known(&old)
                && self.is_free(&known)
                && self.may_choose(&known)
            {
                return (known, true);
            }
        }
        let mut reply = old;
        if let Some(new) = address::choose(&old, self.zone(&old), self.manip, self.range) {
            *address_mut(&mut reply, self.manip) = new;
        }
        if !random {
            // One port that may be is one that must be.
            let fixed = self.range.ports.is_some_and(|(min, max)| min == max);
            let kept = match self.range.ports {
                Some(_) => !self.range.flags.has(Flags::OFFSET) && self.port_in_range(&reply),
                None => true,
            };
            if kept {
                let free = self.is_free(&reply);
                if fixed || (free && (stays || self.may_choose(&reply))) {
                    return (reply, free);
                }
            }
        }
        self.other_port(reply)
    }

    /// This flow's source as one of the same source was translated, if that is in range.
    fn known(&mut self, old: &FlowKey) -> Option<FlowKey> {
        let original = self.shard.flow(self.slot)?.key(Direction::Original);
        let known = self.pick.sources()?.find(self.shard, original)?;
        let mut reply = with_port(*old, Manip::Source, port(known, Manip::Source));
        reply.dst = known.dst;
        (self.range.has_address(&reply.dst) && self.port_in_range(&reply)).then_some(reply)
    }

    /// Another port that makes the tuple unique (nf_nat_l4proto_unique_tuple).
    fn other_port(&mut self, reply: FlowKey) -> (FlowKey, bool) {
        let old = port(&reply, self.manip);
        let (first, last) = match (reply.protocol, self.range.ports) {
            (ip::ICMP | ip::ICMP6, None) => (0, u16::MAX),
            (ip::ICMP | ip::ICMP6 | ip::TCP | ip::UDP | ip::UDP_LITE | ip::SCTP, Some((a, b))) => {
                (a.min(b), a.max(b))
            }
            (ip::TCP | ip::UDP | ip::UDP_LITE | ip::SCTP, None) if self.manip == Manip::Source => {
                match old {
                    // Low ports are credentials to some.
                    0..512 => (1, 511),
                    512..1024 => (600, 1023),
                    1024.. => (1024, u16::MAX),
                }
            }
            // No ports, or none that may change; GRE's keys are another flow's matter (PPTP).
            _ => return (reply, self.is_free(&reply)),
        };
        let flags = self.range.flags;
        let offset = if flags.has(Flags::OFFSET) {
            old.wrapping_sub(self.range.base)
        } else if flags.random() || self.manip == Manip::Source {
            self.pick.random() as u16
        } else {
            0
        };
        let ports = (first, u32::from(last - first) + 1);
        let mut found = self.search(&reply, ports, offset, true);
        if let Err(Nothing { aliens: true, .. }) = found {
            found = self.search(&reply, ports, offset, false);
        }
        match found {
            Ok(reply) => (reply, true),
            Err(Nothing { last, .. }) => (last, false),
        }
    }

    /// Looks for a free port among `size` from `first` on, beginning `offset` behind it: those that are this worker's, or any.
    fn search(
        &mut self,
        reply: &FlowKey,
        (first, size): (u16, u32),
        mut offset: u16,
        mine: bool,
    ) -> Result<FlowKey, Nothing> {
        let mut nothing = Nothing { last: *reply, aliens: false };
        let mut attempts = size.min(ATTEMPTS);
        let hard = self.pick.now().filter(|_| reuse::may_take(self.shard, self.slot));
        loop {
            let mut left = attempts;
            for _ in 0..size.min(attempts * STEPS) {
                let port = first + (u32::from(offset) % size) as u16;
                offset = offset.wrapping_add(1);
                let mut candidate = with_port(*reply, self.manip, port);
                if mine && size >= MANY {
                    let near = self.pick.nearest(&candidate, self.manip, port);
                    if u32::from(near.wrapping_sub(first)) < size {
                        candidate = with_port(*reply, self.manip, near);
                    }
                }
                if !self.is_ours(&candidate) {
                    continue;
                }
                if mine && !self.pick.is_mine(&candidate) {
                    nothing.aliens = true;
                    continue;
                }
                nothing.last = candidate;
                let free = match hard {
                    Some(now) if left <= reuse::HARDER => {
                        reuse::take(self.shard, self.slot, &candidate, now)
                    }
                    _ => self.is_free(&candidate),
                };
                if free {
                    return Ok(candidate);
                }
                left -= 1;
                if left == 0 {
                    break;
                }
            }
            if attempts >= size || attempts < LAST_ROUND {
                return Err(nothing);
            }
            attempts /= 2;
            offset = self.pick.random() as u16;
        }
    }
}
