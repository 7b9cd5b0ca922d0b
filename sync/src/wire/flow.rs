//! FLOW_FULL and FLOW_UPD.
//!
//! # Layout, behind the record's header
//!
//! ```text
//!  0  8 flow id        8  4 version      12  4 milliseconds left      16  2 status      18  2 parts
//! FLOW_FULL, on:      20  4 mark         24  1 group                  25  2 protocols   27  1 families: original, reply << 4
//!                     28  4 rules        32  4 zones                  36    addresses, then ports, 4 × 2
//! ```
//! Zones, addresses and ports are in wire order, the original direction's (source, destination) first. Addresses take 4 × 4 bytes
//! if both keys are of IPv4, else 4 × 16. So FLOW_UPD is 24 bytes long with its header, and FLOW_FULL 64 or 112; the parts
//! that `parts` names follow in the order of its bits.

use packet::FlowKey;

use crate::ids::{FlowId, Group, Version};
use crate::records::{FlowFull, FlowState, Proto, Record, Tcp, TcpSide, Timeouts};
use crate::wire::Unencodable;
use crate::wire::cursor::{Get, Put};

/// What follows. Those behind a bit that is not known are of later versions, and behind all that is known.
mod part {
    /// 32: by direction: end 4, largest end 4, largest window 4, scale 1, flags 1, the state 1 (in the first), nothing 1.
    pub(super) const TCP: u16 = 1;
    /// 4: milliseconds until it is a stream.
    pub(super) const UDP: u16 = 1 << 1;
    /// 12: tags 4 each, state 1, asked 1, nothing 2.
    pub(super) const SCTP: u16 = 1 << 2;
    /// 8: seconds, 4 each.
    pub(super) const GRE: u16 = 1 << 3;
    /// 16.
    pub(super) const LABELS: u16 = 1 << 4;
    /// 4: of FLOW_UPD, whose fixed part has no mark: one that is not zero.
    pub(super) const MARK: u16 = 1 << 5;
    /// 4: of FLOW_FULL: CRC32C of the name of the interface behind whose address it is masqueraded.
    pub(super) const BEHIND: u16 = 1 << 6;
    /// 4 + 4 each: of FLOW_FULL: how many 4, then seconds.
    pub(super) const TIMEOUTS: u16 = 1 << 7;

    /// A flow has at most one of them.
    pub(super) const PROTO: u16 = TCP | UDP | SCTP | GRE;
}

fn state_parts(state: &FlowState) -> u16 {
    let proto = match state.proto {
        Proto::None => 0,
        Proto::Tcp(_) => part::TCP,
        Proto::Udp(_) => part::UDP,
        Proto::Sctp { .. } => part::SCTP,
        Proto::Gre(_) => part::GRE,
    };
    proto | if state.labels.is_some() { part::LABELS } else { 0 }
}

fn put_head(
    id: FlowId,
    version: Version,
    state: &FlowState,
    parts: u16,
    put: &mut Put<'_>,
) -> Result<(), Unencodable> {
    put.u64(id.to_bits())?;
    put.u32(version.0)?;
    put.u32(state.remaining)?;
    put.u16(state.status)?;
    put.u16(parts)
}

fn put_state(state: &FlowState, put: &mut Put<'_>) -> Result<(), Unencodable> {
    match &state.proto {
        Proto::None => {}
        Proto::Tcp(tcp) => {
            let [original, reply] = &tcp.sides;
            put_side(original, tcp.state, put)?;
            put_side(reply, 0, put)?;
        }
        Proto::Udp(stream) => put.u32(*stream)?,
        Proto::Sctp { tags: [original, reply], state, asked } => {
            put.u32(*original)?;
            put.u32(*reply)?;
            put.array(&[*state, *asked, 0, 0])?;
        }
        Proto::Gre([unanswered, from_then]) => {
            put.u32(*unanswered)?;
            put.u32(*from_then)?;
        }
    }
    match &state.labels {
        Some(labels) => put.array(labels),
        None => Ok(()),
    }
}

fn put_side(side: &TcpSide, state: u8, put: &mut Put<'_>) -> Result<(), Unencodable> {
    put.u32(side.end)?;
    put.u32(side.max_end)?;
    put.u32(side.max_window)?;
    put.array(&[side.scale, side.flags, state, 0])
}

pub(super) fn put_update(
    id: FlowId,
    version: Version,
    state: &FlowState,
    put: &mut Put<'_>,
) -> Result<(), Unencodable> {
    let marked = if state.mark != 0 { part::MARK } else { 0 };
    put_head(id, version, state, state_parts(state) | marked, put)?;
    put_state(state, put)?;
    if marked != 0 { put.u32(state.mark) } else { Ok(()) }
}

pub(super) fn put_full(full: &FlowFull, put: &mut Put<'_>) -> Result<(), Unencodable> {
    let [original, reply] = &full.keys;
    if !is_plain(original) || !is_plain(reply) {
        return Err(Unencodable::Unfit);
    }
    let state = &full.state;
    let behind = if full.behind != 0 { part::BEHIND } else { 0 };
    let timeouts = if full.timeouts.is_empty() { 0 } else { part::TIMEOUTS };
    put_head(full.id, full.version, state, state_parts(state) | behind | timeouts, put)?;
    put.u32(state.mark)?;
    let families = original.family | reply.family << 4;
    put.array(&[full.group.0, original.protocol, reply.protocol, families])?;
    put.u32(full.rules)?;
    put.array(&original.zone)?;
    put.array(&reply.zone)?;
    for addr in [&original.src, &original.dst, &reply.src, &reply.dst] {
        if families == BOTH_IPV4 {
            let [a, b, c, d, ..] = addr;
            put.array(&[*a, *b, *c, *d])?;
        } else {
            put.array(addr)?;
        }
    }
    for port in [&original.sport, &original.dport, &reply.sport, &reply.dport] {
        put.array(port)?;
    }
    put_state(state, put)?;
    if behind != 0 {
        put.u32(full.behind)?;
    }
    if timeouts != 0 {
        put.u32(full.timeouts.len() as u32)?;
        for seconds in &full.timeouts {
            put.u32(*seconds)?;
        }
    }
    Ok(())
}

const BOTH_IPV4: u8 = 4 | 4 << 4;

/// Of a family that there is, and with nothing where the family has nothing.
fn is_plain(key: &FlowKey) -> bool {
    match key.family {
        4 => {
            let zero = |addr: &[u8; 16]| u128::from_be_bytes(*addr) << 32 == 0;
            zero(&key.src) && zero(&key.dst)
        }
        6 => true,
        _ => false,
    }
}

struct Head {
    id: FlowId,
    version: Version,
    remaining: u32,
    status: u16,
    parts: u16,
}

fn head(get: &mut Get<'_>) -> Option<Head> {
    Some(Head {
        id: FlowId::from_bits(get.u64()?),
        version: Version(get.u32()?),
        remaining: get.u32()?,
        status: get.u16()?,
        parts: get.u16()?,
    })
}

fn state(head: &Head, mark: u32, get: &mut Get<'_>) -> Option<FlowState> {
    let proto = match head.parts & part::PROTO {
        0 => Proto::None,
        part::TCP => {
            let (original, state) = side(get)?;
            let (reply, _) = side(get)?;
            Proto::Tcp(Tcp { sides: [original, reply], state })
        }
        part::UDP => Proto::Udp(get.u32()?),
        part::SCTP => {
            let tags = [get.u32()?, get.u32()?];
            let [state, asked, _, _] = get.array()?;
            Proto::Sctp { tags, state, asked }
        }
        part::GRE => Proto::Gre([get.u32()?, get.u32()?]),
        _ => return None,
    };
    let labels = if head.parts & part::LABELS != 0 { Some(get.array()?) } else { None };
    Some(FlowState { status: head.status, mark, remaining: head.remaining, proto, labels })
}

fn side(get: &mut Get<'_>) -> Option<(TcpSide, u8)> {
    let (end, max_end, max_window) = (get.u32()?, get.u32()?, get.u32()?);
    let [scale, flags, state, _] = get.array()?;
    Some((TcpSide { end, max_end, max_window, scale, flags }, state))
}

pub(super) fn update<'a>(get: &mut Get<'a>) -> Option<Record<'a>> {
    let head = head(get)?;
    let mut state = state(&head, 0, get)?;
    if head.parts & part::MARK != 0 {
        state.mark = get.u32()?;
    }
    Some(Record::Update { id: head.id, version: head.version, state })
}

pub(super) fn full(get: &mut Get<'_>) -> Option<FlowFull> {
    let head = head(get)?;
    let mark = get.u32()?;
    let (group, keys, rules) = keys(get)?;
    let state = state(&head, mark, get)?;
    // A mark twice: no sender does it, and no reader is to be left in doubt.
    if head.parts & part::MARK != 0 {
        return None;
    }
    let behind = if head.parts & part::BEHIND != 0 { get.u32()? } else { 0 };
    let mut timeouts = Timeouts::new();
    if head.parts & part::TIMEOUTS != 0 {
        for _ in 0..get.u32()? {
            timeouts.try_push(get.u32()?).ok()?;
        }
    }
    let Head { id, version, .. } = head;
    Some(FlowFull { id, version, group, keys, state, rules, behind, timeouts })
}

/// From the group on up to the ports.
fn keys(get: &mut Get<'_>) -> Option<(Group, [FlowKey; 2], u32)> {
    let [group, original_protocol, reply_protocol, families] = get.array()?;
    let rules = get.u32()?;
    let zones: [[u8; 2]; 2] = [get.array()?, get.array()?];
    let mut addr = || {
        if families == BOTH_IPV4 {
            let [a, b, c, d] = get.array()?;
            Some([a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        } else {
            get.array()
        }
    };
    let addresses = [[addr()?, addr()?], [addr()?, addr()?]];
    let ports: [[[u8; 2]; 2]; 2] = [[get.array()?, get.array()?], [get.array()?, get.array()?]];
    let key = |[src, dst]: [[u8; 16]; 2], [sport, dport]: [[u8; 2]; 2], protocol, family, zone| {
        let key = FlowKey { src, dst, sport, dport, protocol, family, zone };
        is_plain(&key).then_some(key)
    };
    let ([a0, a1], [p0, p1], [z0, z1]) = (addresses, ports, zones);
    let original = key(a0, p0, original_protocol, families & 15, z0)?;
    let reply = key(a1, p1, reply_protocol, families >> 4, z1)?;
    Some((Group(group), [original, reply], rules))
}

/// That of FLOW_FULL's body, without what is around it.
pub(super) fn original_key(body: &[u8]) -> Option<FlowKey> {
    let mut get = Get::new(body);
    let _: [u8; 24] = get.array()?;
    let (_, [original, _], _) = keys(&mut get)?;
    Some(original)
}
