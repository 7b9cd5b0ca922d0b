//! What a node says of itself to its operator: plain data, made when it is asked for.

use crate::ids::{Epoch, Group, NodeId, Term};
use crate::records::Role;

use super::config::Ports;

/// All that `twinwall ha status` and the metrics show, except what workers and links know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// This node.
    pub node: NodeId,
    /// Its incarnation.
    pub epoch: Epoch,
    /// The group it serves.
    pub group: Group,
    /// What it is to it.
    pub role: Role,
    /// The highest term that it knows.
    pub term: Term,
    /// Whose that is.
    pub owner: Option<NodeId>,
    /// It has all flows that the owner has, or had last. Of the owner: true.
    pub synchronised: bool,
    /// The hash of its ruleset.
    pub ruleset: u64,
    /// How long records were on their way to the slowest standby (owner), in microseconds: half of them, and 99 of 100.
    pub lag_us: [u64; 2],
    /// The bulk that runs: given, or taken.
    pub bulk: Bulk,
    /// What the last `Command::Verify` found.
    pub verify: Option<Verify>,
    /// The hand-over that is going on: to whom.
    pub handing_over: Option<NodeId>,
    /// The goodbye was said: the daemon may end.
    pub left: bool,
    /// All counters by name.
    pub counters: Vec<(&'static str, u64)>,
    /// The other nodes that were heard since the start.
    pub peers: Vec<Peer>,
    /// What an operator should know now.
    pub alarms: Vec<String>,
}

/// How far a bulk is, in slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bulk {
    /// One runs.
    pub running: bool,
    /// Slots that were said.
    pub done: u64,
    /// Slots that there are.
    pub of: u64,
}

/// What comparing all flows found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verify {
    /// Buckets that were compared, by all standbys together.
    pub compared: u64,
    /// Those whose flows differed.
    pub differ: u64,
    /// Those that could not be compared, because changes were on their way.
    pub skipped: u64,
    /// It is still going on.
    pub running: bool,
}

/// Another node, as this one knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Which.
    pub node: NodeId,
    /// Its incarnation.
    pub epoch: Epoch,
    /// It was heard a moment ago.
    pub alive: bool,
    /// It said goodbye.
    pub left: bool,
    /// What it says that it is.
    pub role: Role,
    /// The highest term that it knows.
    pub term: Term,
    /// It says that it has all flows of the owner.
    pub synchronised: bool,
    /// The hash of its ruleset.
    pub ruleset: u64,
    /// That is this node's hash.
    pub ruleset_agrees: bool,
    /// Microseconds since it was last heard.
    pub heard_us: u64,
    /// Microseconds since its last watermark, if this node is the owner.
    pub watermark_age_us: Option<u64>,
    /// Datagrams that it has yet to acknowledge, over all lanes, if this node is the owner.
    pub behind: u64,
    /// Its ports.
    pub ports: Ports,
}
