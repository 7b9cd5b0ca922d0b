//! A datagram's header: 32 bytes, in the clear and authenticated.
//!
//! ```text
//!  0 2 magic     2 1 version: major << 4 | minor   3 1 type       4 2 cluster   6 1 node    7 1 lane
//!  8 1 key id    9 1 flags                        10 2 payload   12 4 ruleset  16 8 epoch  24 8 seq
//! ```

use crate::ids::{Epoch, Lane, NodeId, Seq};
use crate::wire::cursor::{Get, Put};

/// Bytes of a header.
pub const HEADER: usize = 32;
/// "TW", as it is read from the wire.
const MAGIC: [u8; 2] = *b"TW";
/// Another major version is another protocol.
pub const MAJOR: u8 = 1;
/// Minor versions only add. 0 was never in use: the tests' older version.
pub const MINOR: u8 = 1;

/// What a datagram is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Type {
    /// State, in a lane's sequence.
    Data = 1,
    /// What is missing of a lane.
    Nack = 2,
    /// The sender lives; the highest number that it sent.
    Heartbeat = 3,
    /// Up to where all is there.
    Watermark = 4,
    /// What the sender is, and what it wants.
    Hello = 5,
    /// Digests of a lane's flows.
    Digest = 6,
    /// Of a planned switchover.
    Redirect = 7,
    /// From daemon to daemon; the protocol only seals it.
    Control = 8,
}

impl Type {
    /// How many there are.
    pub const COUNT: usize = 8;

    const ALL: [Self; Self::COUNT] = [
        Self::Data,
        Self::Nack,
        Self::Heartbeat,
        Self::Watermark,
        Self::Hello,
        Self::Digest,
        Self::Redirect,
        Self::Control,
    ];

    /// `None`: there is no such type in this version.
    pub fn new(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }

    /// Its number, from 0 on, to index with.
    pub const fn index(self) -> usize {
        self as usize - 1
    }
}

/// A datagram's flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// Acknowledge its flows as soon as they are in the table.
    pub const WANT_ACK: u8 = 1;
    /// Its records are of a bulk.
    pub const BULK: u8 = 2;
    /// The sender has nothing more to say at the moment.
    pub const LAST_IN_BURST: u8 = 4;

    /// Whether any of these bits is set.
    pub const fn has(self, bits: u8) -> bool {
        self.0 & bits != 0
    }
}

/// A datagram's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The sender's minor version, at most 15.
    pub minor: u8,
    /// What it is for.
    pub kind: Type,
    /// Which cluster.
    pub cluster: u16,
    /// Who sent it.
    pub node: NodeId,
    /// The lane: of the sender, for DATA.
    pub lane: Lane,
    /// Which key it is sealed with; 0: none.
    pub key: u8,
    /// Its flags.
    pub flags: Flags,
    /// Bytes of records.
    pub length: u16,
    /// The low half of the hash of the sender's ruleset.
    pub ruleset: u32,
    /// The sender's incarnation.
    pub epoch: Epoch,
    /// Its number; of other types than DATA: the highest that DATA of this lane had.
    pub seq: Seq,
}

/// Why this is not a header of a datagram for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Shorter than a header.
    #[error("shorter than a header")]
    Short,
    /// Not this protocol.
    #[error("it begins with another number than the protocol's")]
    Magic,
    /// Of another major version.
    #[error("of major version {0}")]
    Major(u8),
    /// A type that there is not.
    #[error("of unknown type {0}")]
    Type(u8),
    /// A node that there is not.
    #[error("of node {0}, which cannot be")]
    Node(u8),
    /// A lane that there is not.
    #[error("of lane {0}, which cannot be")]
    Lane(u8),
}

impl Header {
    /// As it travels.
    pub fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        // It fits: both have fixed lengths, which a test holds equal.
        let _ = self.put(&mut Put::new(&mut bytes));
        bytes
    }

    fn put(&self, put: &mut Put<'_>) -> Result<(), super::Unencodable> {
        put.array(&MAGIC)?;
        put.array(&[MAJOR << 4 | self.minor & 15, self.kind as u8])?;
        put.u16(self.cluster)?;
        put.array(&[self.node.get(), self.lane.get(), self.key, self.flags.0])?;
        put.u16(self.length)?;
        put.u32(self.ruleset)?;
        put.u64(self.epoch.0)?;
        put.u64(self.seq.0)
    }

    /// Reads a header from the beginning of a datagram. Whether the length is right is for whoever knows the trailer.
    ///
    /// # Errors
    /// It is not one of a datagram that this version can read.
    pub fn decode(datagram: &[u8]) -> Result<Self, HeaderError> {
        let mut get = Get::new(datagram);
        let fixed: Option<[u8; HEADER]> = get.array();
        Self::get(&mut Get::new(&fixed.ok_or(HeaderError::Short)?))
            .unwrap_or(Err(HeaderError::Short))
    }

    fn get(get: &mut Get<'_>) -> Option<Result<Self, HeaderError>> {
        let magic: [u8; 2] = get.array()?;
        let [version, number] = get.array()?;
        let cluster = get.u16()?;
        let [node_number, lane_number, key, flags] = get.array()?;
        let (length, ruleset) = (get.u16()?, get.u32()?);
        let (epoch, seq) = (Epoch(get.u64()?), Seq(get.u64()?));
        if magic != MAGIC {
            return Some(Err(HeaderError::Magic));
        }
        if version >> 4 != MAJOR {
            return Some(Err(HeaderError::Major(version >> 4)));
        }
        let Some(kind) = Type::new(number) else { return Some(Err(HeaderError::Type(number))) };
        let Some(node) = NodeId::new(node_number) else {
            return Some(Err(HeaderError::Node(node_number)));
        };
        let Some(lane) = Lane::new(lane_number) else {
            return Some(Err(HeaderError::Lane(lane_number)));
        };
        Some(Ok(Self {
            minor: version & 15,
            kind,
            cluster,
            node,
            lane,
            key,
            flags: Flags(flags),
            length,
            ruleset,
            epoch,
            seq,
        }))
    }
}
