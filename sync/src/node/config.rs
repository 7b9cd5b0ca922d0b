//! What a node is told: at its start, and while it runs.

use packet::Tick;

use crate::ids::{Group, NodeId, Term};

/// Link-layer addresses of ports, by CRC32C of their names.
pub type Ports = Vec<(u32, [u8; 6])>;

/// Nanoseconds of a millisecond.
pub(super) const MS: u64 = 1_000_000;

/// What a node is told at its start. Times are nanoseconds.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which node of the cluster it is.
    pub node: NodeId,
    /// Which cluster.
    pub cluster: u16,
    /// How many nodes share the NAT ports. Nodes that say another number are alarmed about.
    pub nodes: u8,
    /// The unit of ownership that its workers serve. One per node until nodes share traffic.
    pub group: Group,
    /// How many workers it has.
    pub lanes: u8,
    /// How many slots a worker's flow table has.
    pub slots: u32,
    /// It tracks mirrored traffic: it neither forwards nor takes part in replication.
    pub passive: bool,
    /// Who decides that a standby takes over.
    pub takeover: Takeover,
    /// For how long workers may forward after this node was last at work.
    pub lease: u64,
    /// How long a record waits for company.
    pub flush: u64,
    /// What one link may carry.
    pub bytes_per_second: u64,
    /// For how long a promotion is refused while flows are missing and a node lives that has them. 0: it is never refused.
    pub unsynchronised_after: u64,
    /// How many standbys must have a flow before its deferred packets go.
    pub acks: u8,
    /// The ports by which the peers know where to redirect to.
    pub ports: Ports,
    /// How many sent datagrams a lane remembers.
    pub window: usize,
}

/// Who decides that a standby takes over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Takeover {
    /// Another program, by `Command::Promote`.
    #[default]
    External,
    /// The node itself, after the owner was silent for so many nanoseconds.
    Silence(u64),
}

/// What a running node is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Be the owner, at once or a moment later: one that lives is asked to hand over. It is the owner already: nothing to do.
    Promote {
        /// At once, and although flows are missing.
        force: bool,
    },
    /// Hand over to a synchronised standby. It is not the owner: nothing to do.
    Demote,
    /// Ask the owner for all flows again.
    Resync,
    /// Compare all flows with the other nodes'. The result is in the status, after about a second.
    Verify,
    /// This is the ruleset's hash from now on.
    Ruleset(u64),
    /// These are the ports from now on.
    Ports(Ports),
    /// Hand over if there is anyone to hand over to, and say goodbye. Done when the status says `left`.
    Stop,
}

/// Why a node does not do what it is told. The text says what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Flows are missing, and they can still be had.
    #[error(
        "this node does not have all flows yet, and node {peer} lives: wait until `twinwall ha status` says synchronised, \
         try again in {seconds} s, or lose connections with `twinwall ha promote --force`"
    )]
    Unsynchronised {
        /// A node that lives.
        peer: NodeId,
        /// When it will no longer be refused; 0: before one second is over.
        seconds: u64,
    },
    /// It was started a moment ago.
    #[error("this node was just started and listens for others: try again in a moment")]
    Listening,
    /// There is no one to hand over to.
    #[error(
        "no other node that lives has all flows: this node goes on as the owner, until another is promoted or it is stopped"
    )]
    NoStandby,
    /// It is not the owner, and may be in a moment.
    #[error("the owner is handing over, or was asked to a moment ago: try again in a moment")]
    Granting,
    /// It tracks mirrored traffic.
    #[error("this node is passive (`mode = \"passive\"`): it never owns flows")]
    Passive,
    /// It said goodbye.
    #[error("this node is stopping")]
    Stopping,
    /// It is the owner: there is nobody to ask.
    #[error("this node is the owner (term {term}): the others ask it, it asks no one", term = .0.0)]
    Owner(Term),
    /// No owner is known.
    #[error("no owner is known: promote a node first")]
    NoOwner,
    /// The new term is not on disk.
    #[error(
        "the term could not be saved: see the log, and whether the directory of `state` can be written"
    )]
    NotSaved,
}

/// Why a node does not go on with other keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "node {node} seals with key {key} (0: without one), which is not among the new ones, or is another one there: \
     it would not be heard any more. Give it a key that both have first"
)]
pub struct KeyInUse {
    /// A node that lives.
    pub node: NodeId,
    /// The key that it seals with; 0: none.
    pub key: u8,
}

/// The earlier of two moments.
pub(super) fn earlier(a: Tick, b: Option<Tick>) -> Tick {
    b.map_or(a, |b| a.min(b))
}

/// A moment so many nanoseconds later.
pub(super) const fn after(at: Tick, nanoseconds: u64) -> Tick {
    Tick(at.0.saturating_add(nanoseconds))
}
