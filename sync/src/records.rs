//! What nodes say of flows and of themselves, as values. How it looks on the wire is `wire`'s.

use std::fmt;

use arrayvec::ArrayVec;
use packet::FlowKey;

use crate::ids::{Epoch, FlowId, Group, NodeId, Seq, Term, Version};

/// The protocol's part of a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proto {
    /// Nothing but its timeout.
    #[default]
    None,
    /// `conntrack::proto::tcp::Tcp`, without what tells a retransmission.
    Tcp(Tcp),
    /// Milliseconds until it is a stream; 0: it is.
    Udp(u32),
    /// Verification tags by direction, state, and the bits of `Sctp::asked`.
    Sctp {
        /// By direction.
        tags: [u32; 2],
        /// Its state.
        state: u8,
        /// Whose INIT was seen.
        asked: u8,
    },
    /// Timeouts in seconds: unanswered, and from then on.
    Gre([u32; 2]),
}

/// A TCP connection as it is replicated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tcp {
    /// By direction.
    pub sides: [TcpSide; 2],
    /// `conntrack::proto::tcp::State` as a number.
    pub state: u8,
}

/// One direction of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpSide {
    /// Behind the last byte that it sent.
    pub end: u32,
    /// Behind the last byte that the other side will take.
    pub max_end: u32,
    /// The largest window that it offered, scaled.
    pub max_window: u32,
    /// By how many bits it shifts its window.
    pub scale: u8,
    /// `conntrack::proto::tcp::flag`.
    pub flags: u8,
}

/// What changes while a flow lives: FLOW_UPD, and part of FLOW_FULL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowState {
    /// `conntrack::Status` bits that are replicated.
    pub status: u16,
    /// Its mark.
    pub mark: u32,
    /// Milliseconds that it had left when this was said.
    pub remaining: u32,
    /// The protocol's part.
    pub proto: Proto,
    /// Its labels, if it has any.
    pub labels: Option<[u8; 16]>,
}

/// Timeouts of a flow's own, in seconds.
pub type Timeouts = ArrayVec<u32, 14>;

/// All of a flow: FLOW_FULL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowFull {
    /// Its name.
    pub id: FlowId,
    /// Of what is said here.
    pub version: Version,
    /// Whose unit of ownership it is of.
    pub group: Group,
    /// By direction: NAT is the difference between the two. Zones are in them.
    pub keys: [FlowKey; 2],
    /// Its state.
    pub state: FlowState,
    /// The ruleset that decided on it (its hash), where the sender says; 0: it does not. twinwall neither says nor asks.
    pub rules: u32,
    /// CRC32C of the name of the interface behind whose address it is masqueraded; 0: none.
    pub behind: u32,
    /// Timeouts that a rule gave it; empty: those of the settings.
    pub timeouts: Timeouts,
}

/// An element that packets put into a dynamic set, or that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetElement<'a> {
    /// The table's family (`NFPROTO_…`).
    pub family: u8,
    /// True: it is gone.
    pub gone: bool,
    /// Names.
    pub table: &'a [u8],
    /// Names.
    pub set: &'a [u8],
    /// The key, and for maps the data, as registers hold them.
    pub key: &'a [u8],
    /// Data of a map.
    pub data: &'a [u8],
    /// Milliseconds that it has left; 0: no timeout.
    pub remaining: u32,
    /// Milliseconds that it lives for without a refresh; 0: no timeout.
    pub timeout: u32,
    /// Of two words on an element, the one with the greater version is the later.
    pub version: u64,
}

/// A station on a port's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// CRC32C of the port's name.
    pub port: u32,
    /// 4 or 6.
    pub family: u8,
    /// IPv4 in the first four bytes.
    pub addr: [u8; 16],
    /// Its link-layer address.
    pub mac: [u8; 6],
}

/// Tells a lane's bulks apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BulkId {
    /// The low half of the number of the datagram that first had its BULK_BEGIN.
    pub number: u32,
    /// The slot that it began with.
    pub first: u32,
    /// Whose request it answers, and which, if it says what only that node wants. `None`: all flows, for whoever wants them.
    pub whose: Option<(NodeId, u32)>,
}

/// What a receiver still wants of a lane's flows: a bulk that goes on, or the repair of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The slots from this one …
    pub first: u32,
    /// … up to before this one, round the end, were said to it. Both the same: none.
    pub next: u32,
    /// Of these it wants what was said after this datagram. It has all up to there.
    pub inside: Seq,
    /// And of all others what was said after this one; the highest number there is: it misses nothing.
    pub outside: Seq,
    /// It wants all living flows of the others besides.
    pub all: bool,
    /// And whatever is in this bucket of the digests.
    pub bucket: Option<u16>,
}

/// What a node is to a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// Another forwards; this one is ready to.
    #[default]
    Standby = 0,
    /// It forwards.
    Active = 1,
    /// It tracks mirrored traffic and forwards nothing.
    Passive = 2,
    /// It was active and holds packets back until another is.
    Held = 3,
    /// It was active until a moment ago, and passes packets on to the new owner.
    Redirecting = 4,
}

/// It is moved about for each record of each flow: nothing large and rare may lie in it.
const _: () = assert!(size_of::<Record<'_>>() <= 232);

/// Every kind of record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// All of a flow.
    Full(FlowFull),
    /// What changed in it.
    Update {
        /// The flow.
        id: FlowId,
        /// Of what is said here.
        version: Version,
        /// Its state.
        state: FlowState,
    },
    /// It is gone.
    Delete {
        /// The flow.
        id: FlowId,
        /// Of what is said here.
        version: Version,
    },
    /// Say all of this flow again.
    Request(FlowId),
    /// An element of a dynamic set.
    Set(SetElement<'a>),
    /// A neighbour.
    Neighbour(Neighbour),
    /// What `seq` carried has travelled again, from `since` datagrams before this one up to this one.
    Resolve {
        /// What was asked for.
        seq: Seq,
        /// How far back it begins.
        since: u32,
    },
    /// What these carried can only be had by a bulk.
    Lost {
        /// The first.
        from: Seq,
        /// The last.
        to: Seq,
    },
    /// This flow's first packet may go.
    DeferAck {
        /// The flow.
        id: FlowId,
        /// The version that was applied.
        version: Version,
    },
    /// A bulk begins.
    BulkBegin {
        /// Which.
        bulk: BulkId,
        /// How many slots there are to look at.
        slots: u32,
    },
    /// All slots from the bulk's first one up to this one were said.
    BulkMark {
        /// Which.
        bulk: BulkId,
        /// The next slot.
        slot: u32,
    },
    /// All were said.
    BulkEnd {
        /// Which.
        bulk: BulkId,
        /// How many flows it had.
        flows: u32,
    },
    /// Say all flows of this lane (a bulk), or those that are still wanted.
    BulkRequest {
        /// Who asks counts.
        request: u32,
        /// `None`: all.
        part: Option<Part>,
    },
    /// What this and another node are to a group.
    Role {
        /// The group.
        group: Group,
        /// What the sender is.
        role: Role,
        /// The highest term that it knows of.
        term: Term,
        /// Whose that is.
        owner: Option<NodeId>,
    },
    /// Digests of some buckets of a lane's flows.
    Digest {
        /// The first bucket.
        from: u16,
        /// One each.
        buckets: Box<[u64]>,
    },
    /// Ranges of datagrams that are missing, both ends included: NACK.
    Missing(Box<[(Seq, Seq)]>),
    /// Up to where all is there: WATERMARK. Of (node, epoch, lane).
    Watermark {
        /// Whose.
        node: NodeId,
        /// Which lane.
        lane: u8,
        /// Which incarnation.
        epoch: Epoch,
        /// All up to here is reflected.
        seq: Seq,
        /// Nothing waits to be applied by workers.
        applied: bool,
    },
    /// What a node is: HELLO.
    Hello(Hello),
    /// A port and its link-layer address, for a planned switchover.
    Port {
        /// CRC32C of its name.
        name: u32,
        /// Its address.
        mac: [u8; 6],
    },
    /// A planned switchover: are you there yet? Answered by watermarks.
    Barrier {
        /// The group.
        group: Group,
        /// Whom it is for.
        to: NodeId,
    },
    /// The addressed node owns the group from now on. Said by that node itself, to the owner: hand over to me.
    Grant {
        /// The group.
        group: Group,
        /// The new term.
        term: Term,
        /// The new owner.
        to: NodeId,
    },
    /// An expectation; filled when there are helpers.
    Expect(&'a [u8]),
    /// A block of NAT ports; filled when nodes share traffic.
    NatBlock(&'a [u8]),
    /// A record of a later version that may be skipped.
    Unknown(u8),
}

/// What a node says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Lanes that it has.
    pub lanes: u8,
    /// The highest minor version that it speaks.
    pub minor: u8,
    /// It has all flows of the owner.
    pub synchronised: bool,
    /// It wants to hear all flows.
    pub wants_bulk: bool,
    /// Flows that it has room for.
    pub capacity: u32,
    /// The full hash of its ruleset.
    pub ruleset: u64,
    /// How many nodes share the NAT ports.
    pub nodes: u8,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Standby => "standby",
            Self::Active => "active",
            Self::Passive => "passive",
            Self::Held => "held",
            Self::Redirecting => "redirecting",
        })
    }
}
