//! All records but FLOW_FULL and FLOW_UPD. The layouts stand in docs/sync-protocol.md; here each is its `put` and its `get`, side by side
//! in the same order.

use crate::ids::{Epoch, FlowId, Group, NodeId, Seq, Term, Version};
use crate::records::{BulkId, Hello, Neighbour, Part, Record, Role, SetElement};
use crate::wire::cursor::{Get, Put};
use crate::wire::{Kind, Unencodable};

/// An owner that is nobody.
const NOBODY: u8 = 255;

const SYNCHRONISED: u8 = 1;
const WANTS_BULK: u8 = 2;
const GONE: u8 = 1;
const APPLIED: u8 = 1;
/// Buckets of a DIGEST, and ranges of a NACK, at most.
const DIGESTS: u16 = 128;
const RANGES: u32 = 32;

/// Of a part that is wanted: all living flows outside of what was said; and those of a bucket.
const ALL: u8 = 1;
const BUCKET: u8 = 2;

pub(super) fn put(record: &Record<'_>, put: &mut Put<'_>) -> Result<Kind, Unencodable> {
    Ok(match record {
        // `wire::encode` has its own arms for them.
        Record::Full(_) | Record::Update { .. } | Record::Unknown(_) => {
            return Err(Unencodable::Unfit);
        }
        Record::Delete { id, version } => {
            put.u64(id.to_bits())?;
            put.u32(version.0)?;
            put.u32(0)?;
            Kind::DELETE
        }
        Record::Request(id) => {
            put.u64(id.to_bits())?;
            Kind::REQUEST
        }
        Record::Set(element) => {
            put_set(element, put)?;
            Kind::SET
        }
        Record::Neighbour(neighbour) => {
            put.u32(neighbour.port)?;
            put.array(&[neighbour.family, 0])?;
            put.array(&neighbour.mac)?;
            put.array(&neighbour.addr)?;
            Kind::NEIGHBOUR
        }
        Record::Resolve { seq, since } => {
            put.u64(seq.0)?;
            put.u32(*since)?;
            Kind::RESOLVE
        }
        Record::Lost { from, to } => {
            put.u64(from.0)?;
            let more = to.0.checked_sub(from.0).and_then(|more| u32::try_from(more).ok());
            put.u32(more.ok_or(Unencodable::Unfit)?)?;
            Kind::LOST
        }
        Record::DeferAck { id, version } => {
            put.u64(id.to_bits())?;
            put.u32(version.0)?;
            Kind::DEFER_ACK
        }
        Record::BulkBegin { bulk, slots: number } => {
            put_bulk(bulk, *number, Kind::BULK_BEGIN, put)?
        }
        Record::BulkMark { bulk, slot: number } => put_bulk(bulk, *number, Kind::BULK_MARK, put)?,
        Record::BulkEnd { bulk, flows: number } => put_bulk(bulk, *number, Kind::BULK_END, put)?,
        Record::BulkRequest { request, part } => {
            put_request(*request, part.as_ref(), put)?;
            Kind::BULK_REQUEST
        }
        Record::Role { group, role, term, owner } => {
            put.u32(term.0)?;
            put.array(&[group.0, *role as u8, owner.map_or(NOBODY, NodeId::get), 0])?;
            Kind::ROLE
        }
        Record::Digest { from, buckets } => {
            let count = u16::try_from(buckets.len()).ok().filter(|count| *count <= DIGESTS);
            put.u16(*from)?;
            put.u16(count.ok_or(Unencodable::TooLong)?)?;
            for bucket in buckets {
                put.u64(*bucket)?;
            }
            Kind::DIGEST
        }
        Record::Missing(ranges) => {
            let count = u32::try_from(ranges.len()).ok().filter(|count| *count <= RANGES);
            put.u32(count.ok_or(Unencodable::TooLong)?)?;
            for (from, to) in ranges {
                put.u64(from.0)?;
                put.u64(to.0)?;
            }
            Kind::MISSING
        }
        Record::Watermark { node, lane, epoch, seq, applied } => {
            put.array(&[node.get(), *lane, if *applied { APPLIED } else { 0 }, 0])?;
            put.u64(epoch.0)?;
            put.u64(seq.0)?;
            Kind::WATERMARK
        }
        Record::Hello(hello) => {
            put.u32(hello.capacity)?;
            put.u64(hello.ruleset)?;
            let synchronised = if hello.synchronised { SYNCHRONISED } else { 0 };
            let wants_bulk = if hello.wants_bulk { WANTS_BULK } else { 0 };
            put.array(&[hello.lanes, hello.minor, synchronised | wants_bulk, hello.nodes])?;
            Kind::HELLO
        }
        Record::Port { name, mac } => {
            put.u32(*name)?;
            put.array(mac)?;
            put.u16(0)?;
            Kind::PORT
        }
        Record::Barrier { group, to } => {
            put.array(&[group.0, to.get(), 0, 0])?;
            Kind::BARRIER
        }
        Record::Grant { group, term, to } => {
            put.u32(term.0)?;
            put.array(&[group.0, to.get(), 0, 0])?;
            Kind::GRANT
        }
        Record::Expect(bytes) => {
            put.bytes(bytes)?;
            Kind::EXPECT
        }
        Record::NatBlock(bytes) => {
            put.bytes(bytes)?;
            Kind::NAT_BLOCK
        }
    })
}

fn put_bulk(
    bulk: &BulkId,
    number: u32,
    kind: Kind,
    put: &mut Put<'_>,
) -> Result<Kind, Unencodable> {
    let (node, request) = bulk.whose.map_or((NOBODY, 0), |(node, request)| (node.get(), request));
    put.u32(bulk.number)?;
    put.u32(number)?;
    put.u32(bulk.first)?;
    put.u32(request)?;
    // Nobody is 0 here: a sender of an earlier version says nothing, and says all flows.
    put.array(&[node.wrapping_add(1), 0, 0, 0])?;
    Ok(kind)
}

/// A sender of an earlier version reads what is before the part, and says all.
fn put_request(request: u32, part: Option<&Part>, put: &mut Put<'_>) -> Result<(), Unencodable> {
    put.u32(part.map_or(0, |part| part.first))?;
    put.u32(request)?;
    let Some(part) = part else { return Ok(()) };
    let flags = if part.all { ALL } else { 0 } | if part.bucket.is_some() { BUCKET } else { 0 };
    put.u32(part.next)?;
    put.u16(part.bucket.unwrap_or(0))?;
    put.array(&[flags, 0])?;
    put.u64(part.inside.0)?;
    put.u64(part.outside.0)
}

fn put_set(element: &SetElement<'_>, put: &mut Put<'_>) -> Result<(), Unencodable> {
    let short = |bytes: &[u8]| u8::try_from(bytes.len()).map_err(|_| Unencodable::TooLong);
    let long = |bytes: &[u8]| u16::try_from(bytes.len()).map_err(|_| Unencodable::TooLong);
    put.u32(element.remaining)?;
    put.u32(element.timeout)?;
    put.u64(element.version)?;
    let gone = if element.gone { GONE } else { 0 };
    put.array(&[element.family, gone, short(element.table)?, short(element.set)?])?;
    put.u16(long(element.key)?)?;
    put.u16(long(element.data)?)?;
    for bytes in [element.table, element.set, element.key, element.data] {
        put.bytes(bytes)?;
    }
    Ok(())
}

/// `None`: too short, or a value that there is not.
pub(super) fn get<'a>(kind: Kind, get: &mut Get<'a>) -> Option<Record<'a>> {
    Some(match kind {
        Kind::DELETE => {
            let record = Record::Delete { id: flow(get)?, version: Version(get.u32()?) };
            get.u32()?;
            record
        }
        Kind::REQUEST => Record::Request(flow(get)?),
        Kind::SET => Record::Set(set(get)?),
        Kind::NEIGHBOUR => {
            let port = get.u32()?;
            let [family, _] = get.array()?;
            let (mac, addr) = (get.array()?, get.array()?);
            Record::Neighbour(Neighbour { port, family, addr, mac })
        }
        Kind::RESOLVE => Record::Resolve { seq: Seq(get.u64()?), since: get.u32()? },
        Kind::LOST => {
            let from = get.u64()?;
            let to = from.checked_add(u64::from(get.u32()?))?;
            Record::Lost { from: Seq(from), to: Seq(to) }
        }
        Kind::DEFER_ACK => Record::DeferAck { id: flow(get)?, version: Version(get.u32()?) },
        Kind::BULK_BEGIN => {
            let (bulk, slots) = bulk(get)?;
            Record::BulkBegin { bulk, slots }
        }
        Kind::BULK_MARK => {
            let (bulk, slot) = bulk(get)?;
            Record::BulkMark { bulk, slot }
        }
        Kind::BULK_END => {
            let (bulk, flows) = bulk(get)?;
            Record::BulkEnd { bulk, flows }
        }
        Kind::BULK_REQUEST => request(get)?,
        Kind::ROLE => {
            let term = Term(get.u32()?);
            let [group, role, owner, _] = get.array()?;
            let owner = if owner == NOBODY { None } else { Some(NodeId::new(owner)?) };
            Record::Role { group: Group(group), role: role_of(role)?, term, owner }
        }
        Kind::DIGEST => {
            let (from, count) = (get.u16()?, get.u16()?);
            if count > DIGESTS {
                return None;
            }
            let buckets = (0..count).map(|_| get.u64()).collect::<Option<_>>()?;
            Record::Digest { from, buckets }
        }
        Kind::MISSING => {
            let count = get.u32()?;
            if count > RANGES {
                return None;
            }
            let range = |_| Some((Seq(get.u64()?), Seq(get.u64()?)));
            Record::Missing((0..count).map(range).collect::<Option<_>>()?)
        }
        Kind::WATERMARK => {
            let [node, lane, flags, _] = get.array()?;
            Record::Watermark {
                node: NodeId::new(node)?,
                lane,
                epoch: Epoch(get.u64()?),
                seq: Seq(get.u64()?),
                applied: flags & APPLIED != 0,
            }
        }
        Kind::HELLO => {
            let (capacity, ruleset) = (get.u32()?, get.u64()?);
            let [lanes, minor, flags, nodes] = get.array()?;
            let (synchronised, wants_bulk) = (flags & SYNCHRONISED != 0, flags & WANTS_BULK != 0);
            Record::Hello(Hello {
                lanes,
                minor,
                synchronised,
                wants_bulk,
                capacity,
                ruleset,
                nodes,
            })
        }
        Kind::PORT => {
            let record = Record::Port { name: get.u32()?, mac: get.array()? };
            get.u16()?;
            record
        }
        Kind::BARRIER => {
            let [group, to, _, _] = get.array()?;
            Record::Barrier { group: Group(group), to: NodeId::new(to)? }
        }
        Kind::GRANT => {
            let term = Term(get.u32()?);
            let [group, to, _, _] = get.array()?;
            Record::Grant { group: Group(group), term, to: NodeId::new(to)? }
        }
        Kind::EXPECT => Record::Expect(get.rest()),
        Kind::NAT_BLOCK => Record::NatBlock(get.rest()),
        Kind(other) => Record::Unknown(other),
    })
}

fn flow(get: &mut Get<'_>) -> Option<FlowId> {
    get.u64().map(FlowId::from_bits)
}

fn bulk(get: &mut Get<'_>) -> Option<(BulkId, u32)> {
    let [number, other, first, request] = [get.u32()?, get.u32()?, get.u32()?, get.u32()?];
    let [node, _, _, _] = get.array()?;
    let whose = match node.checked_sub(1) {
        Some(node) => Some((NodeId::new(node)?, request)),
        None => None,
    };
    Some((BulkId { number, first, whose }, other))
}

fn request(get: &mut Get<'_>) -> Option<Record<'static>> {
    let (first, request) = (get.u32()?, get.u32()?);
    if get.is_empty() {
        return Some(Record::BulkRequest { request, part: None });
    }
    let (next, bucket) = (get.u32()?, get.u16()?);
    let [flags, _] = get.array()?;
    let (inside, outside) = (Seq(get.u64()?), Seq(get.u64()?));
    let (all, bucket) = (flags & ALL != 0, (flags & BUCKET != 0).then_some(bucket));
    let part = Part { first, next, inside, outside, all, bucket };
    Some(Record::BulkRequest { request, part: Some(part) })
}

fn set<'a>(get: &mut Get<'a>) -> Option<SetElement<'a>> {
    let (remaining, timeout, version) = (get.u32()?, get.u32()?, get.u64()?);
    let [family, flags, table, set] = get.array()?;
    let (key, data) = (get.u16()?, get.u16()?);
    Some(SetElement {
        family,
        gone: flags & GONE != 0,
        table: get.bytes(table.into())?,
        set: get.bytes(set.into())?,
        key: get.bytes(key.into())?,
        data: get.bytes(data.into())?,
        remaining,
        timeout,
        version,
    })
}

fn role_of(number: u8) -> Option<Role> {
    const ROLES: [Role; 5] =
        [Role::Standby, Role::Active, Role::Passive, Role::Held, Role::Redirecting];
    ROLES.get(usize::from(number)).copied()
}
