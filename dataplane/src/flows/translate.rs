//! NAT at a hook: whether a flow still asks for it, what a rule's wish becomes, and the change of the packet.
//!
//! As in Linux (nf_nat_inet_fn): the first packet of a flow decides, at the hook of each side; where no rule speaks, it is
//! decided that nothing changes, which still sees to it that no two flows look alike on the way back.

use std::net::IpAddr;

use conntrack::{Info, Slot};
use nat::{Flags, Manip, Numbers, Pick, Range, Sides, Sources};
use packet::{DropReason, FlowKey, Frame, L3, Tick};
use ruleset::family::{Family, Hook};
use ruleset::ids::WorkerId;
use ruleset::packet::{Side, To, Translate};
use ruleset::verdict::Verdict;

use super::{Ct, Flows};
use crate::ha::Share;
use crate::hooks::Spot;
use crate::owners::Owners;
use crate::pipeline::Packet;
use crate::tables::Tables;

/// Which side Linux calls what.
fn manip(side: Side) -> Manip {
    match side {
        Side::Source => Manip::Source,
        Side::Destination => Manip::Destination,
    }
}

/// `NF_NAT_RANGE_MAP_IPS`, `NF_NAT_RANGE_PROTO_SPECIFIED`: said by what stands in a range.
const SAID: u32 = 1 | 2;

/// What NAT chooses by.
struct Chance<'a> {
    numbers: &'a mut Numbers,
    sources: &'a mut Sources,
    /// None where nothing is to be changed for the owner's sake.
    owners: Option<&'a Owners>,
    /// The ports that this node may choose.
    share: Share,
    me: WorkerId,
    now: Tick,
}

impl Pick for Chance<'_> {
    fn random(&mut self) -> u32 {
        self.numbers.draw()
    }

    fn is_mine(&self, reply: &FlowKey) -> bool {
        self.owners.is_none_or(|owners| owners.workers() < 2 || owners.of(reply) == self.me)
    }

    fn is_ours(&self, port: u16) -> bool {
        self.owners.is_none() || self.share.has(port)
    }

    fn nearest(&self, reply: &FlowKey, manip: Manip, port: u16) -> u16 {
        let mut key = *reply;
        match manip {
            Manip::Source => key.dport = port.to_be_bytes(),
            Manip::Destination => key.sport = port.to_be_bytes(),
        }
        self.owners.map_or(port, |owners| owners.port_for(self.me, &key, port))
    }

    fn now(&self) -> Option<Tick> {
        Some(self.now)
    }

    fn sources(&mut self) -> Option<&mut Sources> {
        Some(self.sources)
    }
}

impl Flows {
    /// Whether a packet is to ask the rules what becomes of this side of its flow.
    pub(crate) fn asks(&self, slot: Slot, info: Info, side: Side) -> bool {
        !matches!(info, Info::Established | Info::EstablishedReply) && !self.is_bound(slot, side)
    }

    /// Whether it is decided what becomes of this side of a flow.
    pub(crate) fn is_bound(&self, slot: Slot, side: Side) -> bool {
        self.shard.flow(slot).is_none_or(|flow| nat::is_done(flow, manip(side)))
    }

    /// No rule spoke of this side of a flow: it stays, as far as it can.
    pub(crate) fn bind_none(&mut self, slot: Slot, side: Side) -> Result<(), DropReason> {
        if self.is_bound(slot, side) {
            return Ok(());
        }
        self.bind(slot, side, &Range::default())
    }

    fn bind(&mut self, slot: Slot, side: Side, range: &Range) -> Result<(), DropReason> {
        let Self { shard, numbers, sources, owners, share, me, now, .. } = self;
        // What a rule did not ask to have changed stays, as on Linux: the source's port of a flow whose source is not translated,
        // and a service's. Their answers come by an alias if they must.
        let asked = side == Side::Source && (range.addrs.is_some() || range.ports.is_some());
        let owners = asked.then_some(&*owners);
        let mut pick = Chance { numbers, sources, owners, share: *share, me: *me, now: *now };
        let bound = nat::bind(shard, slot, manip(side), range, &mut pick);
        bound.map(|_| ()).map_err(|_| DropReason::NatExhausted)
    }

    /// Changes one side of a packet as its flow says.
    pub(crate) fn rewrite<F: Frame>(
        &self,
        frame: &mut F,
        packet: &mut Packet,
        (slot, info): (Slot, Info),
        side: Side,
    ) -> Result<(), DropReason> {
        let Some(flow) = self.shard.flow(slot) else { return Ok(()) };
        let sides = match side {
            Side::Source => Sides::Source,
            Side::Destination => Sides::Destination,
        };
        let direction = info.direction();
        if matches!(info, Info::Related | Info::RelatedReply)
            && nat::is_error(frame, &packet.layers)
        {
            return nat::rewrite_error(frame, &mut packet.layers, flow, direction, sides);
        }
        nat::rewrite(frame, &mut packet.layers, flow, direction, sides)
    }

    /// A rule wants a flow translated. [`Verdict::Drop`] where that is impossible.
    pub(crate) fn translate(
        &mut self,
        ct: Ct,
        how: &Translate,
        spot: Spot<'_>,
        tables: &Tables,
    ) -> Verdict {
        let Ct::Flow(slot, _) = ct else { return Verdict::Accept };
        if self.is_bound(slot, how.side) {
            return Verdict::Accept;
        }
        let addrs = match how.to {
            To::Same => None,
            To::Range(min, max) => Some((min, max)),
            To::Leaving | To::Here => match own_address(self, slot, how, spot, tables) {
                Some(addr) => Some((addr, addr)),
                None => return Verdict::Drop,
            },
        };
        let range =
            Range { addrs, ports: how.ports, base: how.base, flags: Flags(how.flags & !SAID) };
        match self.bind(slot, how.side, &range) {
            Ok(()) => {
                if how.to == To::Leaving {
                    self.is_behind(slot, spot);
                }
                Verdict::Accept
            }
            Err(_) => Verdict::Drop,
        }
    }
}

/// The address of this node that stands for the flow: of the interface that it leaves by (`nf_nat_masquerade_ipv4`), or that it
/// came by (`nf_nat_redirect_ipv4`); loopback where it began here.
fn own_address(
    flows: &Flows,
    slot: Slot,
    how: &Translate,
    spot: Spot<'_>,
    tables: &Tables,
) -> Option<[u8; 16]> {
    let family = if spot.family == Family::Ipv6 { L3::Ipv6 } else { L3::Ipv4 };
    if how.to == To::Here && spot.hook == Hook::Output {
        let loopback: IpAddr = match family {
            L3::Ipv6 => std::net::Ipv6Addr::LOCALHOST.into(),
            _ => std::net::Ipv4Addr::LOCALHOST.into(),
        };
        return Some(crate::hooks::bytes(loopback));
    }
    let device = if how.to == To::Leaving { spot.oif } else { spot.iif }?;
    let index = tables.iface_by_index(crate::rib::IfIndex(device.index))?;
    let entry = tables.iface(index)?;
    let reply = flows.shard.flow(slot)?.key(conntrack::Direction::Reply);
    let dst = crate::pipeline::address(&reply.src, family);
    let address = match crate::own::own_way(tables, dst) {
        _ if how.to == To::Here => entry.redirect_for(dst),
        // The address that the next hop can answer.
        Some(way) if way.iface == index && dst.is_ipv4() && way.addr.is_ipv4() => {
            entry.source_for(way.addr)
        }
        _ => entry.source_for(dst),
    };
    address.map(crate::hooks::bytes)
}
