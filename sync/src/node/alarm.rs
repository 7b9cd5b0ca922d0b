//! What an operator should know: said once when it begins, shown in the status while it lasts.

use std::fmt;

use packet::Tick;

use crate::hands::Hands;
use crate::ids::NodeId;

use super::config::{MS, after};

/// An alarm is shown for so long after its cause was last seen.
const SHOWN: u64 = 15_000 * MS;

/// A cause, and the node that it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alarm {
    /// Another node has this node's number.
    Twin,
    /// Its ruleset is another.
    Ruleset(NodeId),
    /// It counts another number of nodes that share the NAT ports.
    Nodes(NodeId),
    /// It has more lanes or slots than this node can follow.
    Size(NodeId),
    /// It says what must be understood and is not.
    Partial(NodeId),
    /// Flows of it do not fit into this node's table.
    Full(NodeId),
    /// It believed that it was the owner, under a term that has passed.
    Two(NodeId),
    /// Flows differed from its digests twice.
    Digest(NodeId),
    /// It did not take over though it was asked to.
    Heir(NodeId),
    /// A term could not be saved.
    Saved,
    /// This node was stopped for longer than its lease.
    Stopped,
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Twin => f.write_str(
                "another node has this node's number: give each node its own `node` in [ha]",
            ),
            Self::Ruleset(node) => write!(
                f,
                "node {node} has another ruleset: load the same on both, or `twinwall ha pull-ruleset {node}`"
            ),
            Self::Nodes(node) => write!(
                f,
                "node {node} has another number of nodes that share the NAT ports: `nodes` in [ha] must be equal"
            ),
            Self::Size(node) => write!(
                f,
                "node {node} has more workers or flows than this node can follow: it cannot be synchronised"
            ),
            Self::Partial(node) => write!(
                f,
                "node {node} says what this version does not understand: run the same version on both"
            ),
            Self::Full(node) => write!(
                f,
                "flows of node {node} do not fit into this node's table: make `flows` as large here as there"
            ),
            Self::Two(node) => {
                write!(f, "node {node} acted as the owner under a term that has passed")
            }
            Self::Digest(node) => {
                write!(f, "flows differed from those of node {node}: they are asked for again")
            }
            Self::Heir(node) => write!(f, "node {node} did not take over in time"),
            Self::Saved => {
                f.write_str("the term could not be saved: look at the directory of `state` in [ha]")
            }
            Self::Stopped => f.write_str("this node was not at work for longer than `lease_ms`"),
        }
    }
}

#[derive(Debug)]
struct Entry {
    alarm: Alarm,
    last: Tick,
}

/// Those of the last moments. Bounded: a cause per node.
#[derive(Debug, Default)]
pub(super) struct Alarms(Vec<Entry>);

impl Alarms {
    /// The cause is there.
    pub(super) fn raise(&mut self, alarm: Alarm, now: Tick, hands: &mut dyn Hands) {
        match self.0.iter_mut().find(|entry| entry.alarm == alarm) {
            Some(entry) => entry.last = now,
            None => {
                hands.alarm(format_args!("{alarm}"));
                self.0.push(Entry { alarm, last: now });
            }
        }
    }

    /// Forgets what is over.
    pub(super) fn expire(&mut self, now: Tick) {
        self.0.retain(|entry| after(entry.last, SHOWN) > now);
    }

    /// What is to be shown.
    pub(super) fn shown(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|entry| entry.alarm.to_string())
    }
}
