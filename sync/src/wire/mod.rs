//! How datagrams and records look on the wire: TWS/1, as docs/sync-protocol.md describes it for others.
//!
//! # Overview
//!
//! A datagram is a [`Header`], records, and a trailer that [`crate::seal`] adds. A record is a header of four bytes {type, flags,
//! length of the whole} and a body; all numbers are little-endian and written and read one by one, so that no layout of a struct
//! in memory matters. Addresses and ports of flows stay in wire order, as everywhere.
//!
//! - [`encode`] writes a record, [`records`] reads those of a payload.
//! - [`kind`], [`flow_id`], [`version`] and [`original_key`] look into an encoded record without decoding it.
//!
//! # Additions of later minor versions
//!
//! - A type that is not known is skipped ([`Record::Unknown`]), or, if the sender says that it must be understood, reported
//!   ([`Malformed::NotUnderstood`]); what is behind it can still be read.
//! - A body may be longer than what is known of it: what is behind is not looked at. Bits of `flow` that are not known
//!   announce data behind that of the known ones.
//! - Bytes and flags that have no meaning yet are sent as zero and not looked at.
//!
//! # Life cycle, who may touch what
//!
//! Pure functions over the caller's buffers. Only the lists of a NACK and a DIGEST, which are rare, are allocated, so that all other
//! records are small. No input makes one of them panic.

mod control;
mod cursor;
mod flow;
mod header;

#[cfg(test)]
pub(crate) mod arbitrary;
#[cfg(test)]
mod tests;

use packet::FlowKey;

pub use header::{Flags, HEADER, Header, HeaderError, MAJOR, MINOR, Type};

use crate::ids::{FlowId, Version};
use crate::records::Record;
use cursor::{Get, Put};

/// Bytes of records that a DATA datagram has at most; with IPv6 and all that is around them, 1,496 of an Ethernet frame's 1,500.
/// Other types have eight less: they carry a counter ([`crate::seal`]).
pub const PAYLOAD: usize = 1400;
/// Bytes that a daemon can say to others in one datagram.
pub const CONTROL: usize = PAYLOAD - 8;

/// Bytes of a record's own header.
pub const RECORD_HEADER: usize = 4;

/// Bytes of the longest FLOW_FULL: IPv6, TCP, labels, an interface, and fourteen timeouts.
pub const FULL_MAX: usize = 112 + 32 + 16 + 4 + 4 + 14 * 4;

/// Record flag: whoever does not know this type must not go on as if it had not been there.
pub const MUST_UNDERSTAND: u8 = 1;

/// A record's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kind(pub u8);

impl Kind {
    /// All of a flow.
    pub const FULL: Self = Self(1);
    /// What changed in it.
    pub const UPDATE: Self = Self(2);
    /// It is gone.
    pub const DELETE: Self = Self(3);
    /// Say it again.
    pub const REQUEST: Self = Self(4);
    /// An expectation.
    pub const EXPECT: Self = Self(5);
    /// An element of a set.
    pub const SET: Self = Self(6);
    /// A block of NAT ports.
    pub const NAT_BLOCK: Self = Self(7);
    /// A neighbour.
    pub const NEIGHBOUR: Self = Self(8);
    /// A gap is repaired.
    pub const RESOLVE: Self = Self(9);
    /// A gap cannot be repaired.
    pub const LOST: Self = Self(10);
    /// A deferred packet may go.
    pub const DEFER_ACK: Self = Self(11);
    /// A bulk begins.
    pub const BULK_BEGIN: Self = Self(12);
    /// A bulk has come so far.
    pub const BULK_MARK: Self = Self(13);
    /// A bulk has ended.
    pub const BULK_END: Self = Self(14);
    /// Digests.
    pub const DIGEST: Self = Self(15);
    /// What a node is to a group.
    pub const ROLE: Self = Self(16);
    /// A bulk is wanted.
    pub const BULK_REQUEST: Self = Self(17);
    /// Ranges of missing datagrams.
    pub const MISSING: Self = Self(18);
    /// Up to where all is there.
    pub const WATERMARK: Self = Self(19);
    /// What a node is.
    pub const HELLO: Self = Self(20);
    /// A port's address.
    pub const PORT: Self = Self(21);
    /// A planned switchover asks.
    pub const BARRIER: Self = Self(22);
    /// A planned switchover grants.
    pub const GRANT: Self = Self(23);

    /// What this version sends in a record's flags: only what a receiver can do without is skipped.
    const fn flags(self) -> u8 {
        match self {
            Self::EXPECT | Self::SET | Self::NAT_BLOCK | Self::NEIGHBOUR => 0,
            Self::PORT | Self::DIGEST | Self::WATERMARK => 0,
            _ => MUST_UNDERSTAND,
        }
    }
}

/// Why a record cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unencodable {
    /// There is no room for it, or a part of it is longer than its length can say.
    #[error("the record is longer than the room that there is")]
    TooLong,
    /// It has a value that does not exist on the wire: a flow that is not of IPv4 or IPv6, an IPv4 address with more than four
    /// bytes, a range that ends before it begins, or an unknown record.
    #[error("the record has a value that does not exist on the wire")]
    Unfit,
}

/// What is wrong with a record that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Its header or its length is not within the payload. Nothing behind it can be read.
    #[error("a record goes beyond the end of its datagram")]
    Length,
    /// Its body is too short or has a value that does not exist. What is behind it is not read.
    #[error("a record of type {} has a bad body", .0.0)]
    Body(Kind),
    /// It is of an unknown type and must be understood. What is behind it is read.
    #[error("a record of type {} is not known and must be understood", .0.0)]
    NotUnderstood(Kind),
}

/// Writes a record; the bytes that it takes.
///
/// # Errors
/// There is no room, or the record has values that do not exist on the wire.
pub fn encode(record: &Record<'_>, out: &mut [u8]) -> Result<usize, Unencodable> {
    let room = out.len();
    let (header, body) =
        out.split_first_chunk_mut::<RECORD_HEADER>().ok_or(Unencodable::TooLong)?;
    let mut put = Put::new(body);
    let kind = match record {
        Record::Full(full) => {
            flow::put_full(full, &mut put)?;
            Kind::FULL
        }
        Record::Update { id, version, state } => {
            flow::put_update(*id, *version, state, &mut put)?;
            Kind::UPDATE
        }
        other => control::put(other, &mut put)?,
    };
    let length = room - put.left();
    let [low, high] = u16::try_from(length).map_err(|_| Unencodable::TooLong)?.to_le_bytes();
    *header = [kind.0, kind.flags(), low, high];
    Ok(length)
}

/// The records of a payload, each with all of its bytes. Ends after what is [`Malformed`], unless that was not understood.
pub fn records(payload: &[u8]) -> Records<'_> {
    Records { rest: payload }
}

/// Whether all of a payload's records can be read, before the first is applied.
///
/// # Errors
/// The first that cannot.
pub fn check(payload: &[u8]) -> Result<(), Malformed> {
    records(payload).try_for_each(|record| record.map(|_| ()))
}

/// See [`records`].
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<(Record<'a>, &'a [u8]), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let Some((bytes, rest)) = split(self.rest) else {
            self.rest = &[];
            return Some(Err(Malformed::Length));
        };
        let record = decode(bytes);
        self.rest = match record {
            Err(Malformed::Length | Malformed::Body(_)) => &[],
            Ok(_) | Err(Malformed::NotUnderstood(_)) => rest,
        };
        Some(record.map(|record| (record, bytes)))
    }
}

impl std::iter::FusedIterator for Records<'_> {}

/// The first record's bytes, and what is behind it. `None`: there is none, or it goes beyond the end.
pub fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let [_, _, low, high] = bytes.first_chunk::<RECORD_HEADER>()?;
    let length = usize::from(u16::from_le_bytes([*low, *high]));
    if length < RECORD_HEADER {
        return None;
    }
    bytes.split_at_checked(length)
}

/// One record, of all of its bytes.
///
/// # Errors
/// It cannot be read.
pub fn decode(bytes: &[u8]) -> Result<Record<'_>, Malformed> {
    let ([kind, flags, _, _], body) =
        bytes.split_first_chunk::<RECORD_HEADER>().ok_or(Malformed::Length)?;
    let kind = Kind(*kind);
    let mut get = Get::new(body);
    match kind {
        Kind::FULL => flow::full(&mut get).map(Record::Full),
        Kind::UPDATE => flow::update(&mut get),
        _ => match control::get(kind, &mut get) {
            Some(Record::Unknown(_)) if flags & MUST_UNDERSTAND != 0 => {
                return Err(Malformed::NotUnderstood(kind));
            }
            other => other,
        },
    }
    .ok_or(Malformed::Body(kind))
}

/// An encoded record's type.
pub fn kind(record: &[u8]) -> Option<Kind> {
    record.first().copied().map(Kind)
}

/// The flow of an encoded FLOW_FULL, FLOW_UPD, FLOW_DEL, FLOW_REQ or DEFER_ACK.
pub fn flow_id(record: &[u8]) -> Option<FlowId> {
    match kind(record)? {
        Kind::FULL | Kind::UPDATE | Kind::DELETE | Kind::REQUEST | Kind::DEFER_ACK => {
            let (_, body) = record.split_first_chunk::<RECORD_HEADER>()?;
            body.first_chunk().map(|bytes| FlowId::from_bits(u64::from_le_bytes(*bytes)))
        }
        _ => None,
    }
}

/// The version in an encoded FLOW_FULL, FLOW_UPD, FLOW_DEL or DEFER_ACK.
pub fn version(record: &[u8]) -> Option<Version> {
    match kind(record)? {
        Kind::FULL | Kind::UPDATE | Kind::DELETE | Kind::DEFER_ACK => {
            let (_, from) = record.split_at_checked(12)?;
            from.first_chunk().map(|bytes| Version(u32::from_le_bytes(*bytes)))
        }
        _ => None,
    }
}

/// The original direction's key of an encoded FLOW_FULL.
pub fn original_key(record: &[u8]) -> Option<FlowKey> {
    let (header, body) = record.split_first_chunk::<RECORD_HEADER>()?;
    (kind(header)? == Kind::FULL).then(|| flow::original_key(body)).flatten()
}
