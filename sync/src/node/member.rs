//! The other nodes of the cluster, as this one hears them.
//!
//! # Overview
//!
//! A [`Member`] is made at the first authentic datagram of a node, and made anew when the node comes with a higher epoch: what
//! was known of the old incarnation is not that of the new one.
//!
//! # Life cycle, who may touch what
//!
//! [`super::Node`]'s alone. At most [`NODES`] members of [`LANES`] lanes: nothing here grows with what others send.

use packet::Tick;

use crate::ids::{Epoch, LANES, NODES, NodeId, Seq};
use crate::records::{Hello, Role};

use super::config::{Ports, after};
use super::owner::Claim;

/// Ports of a node that are remembered at most.
pub(super) const PORTS: usize = 64;

/// What a node acknowledged of one of this node's lanes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Acknowledged {
    /// Up to here it has all.
    pub(super) seq: Seq,
    /// Its workers have it in their tables.
    pub(super) applied: bool,
    /// The last bulk that it asked for, by its own count.
    pub(super) request: Option<u32>,
}

/// Another node.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) epoch: Epoch,
    /// The minor version that it speaks. What is sent to all must be of the lowest.
    pub(super) minor: u8,
    pub(super) hello: Option<Hello>,
    pub(super) heard: Tick,
    pub(super) alive: bool,
    /// It said goodbye.
    pub(super) left: bool,
    pub(super) role: Role,
    pub(super) claim: Claim,
    pub(super) ports: Ports,
    pub(super) lanes: [Acknowledged; LANES],
    pub(super) watermark: Option<Tick>,
    /// Since when it acts under a term that has passed.
    pub(super) stale: Option<Tick>,
    /// When it was last told that its term has passed.
    pub(super) told: Option<Tick>,
    /// It was heard since this node found out that it had been stopped.
    pub(super) since_gap: bool,
}

impl Member {
    pub(super) fn new(epoch: Epoch, minor: u8, now: Tick) -> Self {
        Self {
            epoch,
            minor,
            hello: None,
            heard: now,
            alive: true,
            left: false,
            role: Role::Standby,
            claim: Claim::default(),
            ports: Ports::new(),
            lanes: [Acknowledged::default(); LANES],
            watermark: None,
            stale: None,
            told: None,
            since_gap: true,
        }
    }

    pub(super) fn is_synchronised(&self) -> bool {
        self.hello.is_some_and(|hello| hello.synchronised)
    }

    /// A standby that lives and has all flows: the group can be handed over to it.
    pub(super) fn is_heir(&self) -> bool {
        self.alive
            && self.is_synchronised()
            && matches!(self.role, Role::Standby | Role::Redirecting)
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Members {
    nodes: [Option<Box<Member>>; NODES],
}

impl Members {
    pub(super) fn new() -> Self {
        Self { nodes: std::array::from_fn(|_| None) }
    }

    pub(super) fn get(&self, node: NodeId) -> Option<&Member> {
        self.nodes.get(node.index())?.as_deref()
    }

    pub(super) fn get_mut(&mut self, node: NodeId) -> Option<&mut Member> {
        self.nodes.get_mut(node.index())?.as_deref_mut()
    }

    pub(super) fn put(&mut self, node: NodeId, member: Member) {
        if let Some(place) = self.nodes.get_mut(node.index()) {
            *place = Some(Box::new(member));
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (NodeId, &Member)> {
        self.nodes
            .iter()
            .enumerate()
            .filter_map(|(index, member)| Some((NodeId::new(index as u8)?, member.as_deref()?)))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (NodeId, &mut Member)> {
        self.nodes
            .iter_mut()
            .enumerate()
            .filter_map(|(index, member)| Some((NodeId::new(index as u8)?, member.as_deref_mut()?)))
    }

    pub(super) fn alive(&self) -> impl Iterator<Item = (NodeId, &Member)> {
        self.iter().filter(|(_, member)| member.alive)
    }

    /// The next that has been silent for so long; it counts as dead from now on.
    pub(super) fn bury(&mut self, silence: u64, now: Tick) -> Option<NodeId> {
        let (node, member) = self
            .iter_mut()
            .find(|(_, member)| member.alive && after(member.heard, silence) <= now)?;
        member.alive = false;
        Some(node)
    }

    /// When the next would be dead.
    pub(super) fn next(&self, silence: u64) -> Option<Tick> {
        self.alive().map(|(_, member)| after(member.heard, silence)).min()
    }

    /// The heir with the lowest number: whom to hand over to, and its incarnation.
    pub(super) fn heir(&self) -> Option<(NodeId, Epoch)> {
        self.iter().find(|(_, member)| member.is_heir()).map(|(node, member)| (node, member.epoch))
    }

    /// One that lives and has flows, or may have: it did not say yet.
    pub(super) fn with_flows(&self) -> Option<NodeId> {
        self.alive()
            .find(|(_, member)| match member.hello {
                Some(hello) => hello.synchronised,
                None => true,
            })
            .map(|(node, _)| node)
    }
}
