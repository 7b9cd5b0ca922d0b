//! What a worker of a cluster does beside forwarding: it heeds what its node is to the others, and exchanges flows with them.
//!
//! # Overview
//!
//! ```text
//! Worker::turn   begin        what the node is now (sync::standing); a new owner discards what was received before
//!                receives     held: ports are not polled; standing by: only what is for this node itself goes on (standby)
//! pipeline::run  say          a burst's new flows are in the ring before its packets leave
//!                finish       the replica serves and exports; first packets whose flow a standby has by now leave (defer)
//! transmit_port  holds        past the lease nothing is sent
//! ```
//!
//! # Who may touch what
//!
//! A `Cluster` belongs to its worker. What the sync thread writes it reads through [`sync::worker::Replica`].

mod defer;
mod standby;

use std::sync::Arc;
use std::time::Duration;

use conntrack::shard::Shard;
use packet::wire::ip;
use packet::{BURST, Burst, DropReason, FlowKey, PacketIo, PortIndex, Tick};
use sync::records::Role;
use sync::worker::Replica;

use crate::control::Wake;
use crate::flows::{Around, Flows};
use crate::tables::Tables;
use crate::worker::Local;

pub use defer::Defer;
pub(crate) use defer::Deferred;
pub(crate) use standby::sift;

/// Bursts that a new owner discards of each port at most: more than a receive ring holds.
const DISCARDED: usize = 32_768 / BURST;

/// For how long packets wait to hear where they go on, at most: longer, and this node's own traffic (VRRP) would be missed.
const IN_BETWEEN: Duration = Duration::from_millis(20);

/// The time, where the one that a turn began with may be too old.
pub trait Clock: Send {
    /// Now.
    fn now(&self) -> Tick;
}

/// The share of NAT's ports that a node chooses from: blocks of 16, dealt out in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    index: u16,
    of: u16,
}

impl Share {
    /// All ports: there is nobody to share with.
    pub const ALL: Self = Self { index: 0, of: 1 };

    /// That of a node, where so many share.
    pub const fn new(node: u8, nodes: u8) -> Self {
        let of = if nodes == 0 { 1 } else { nodes as u16 };
        Self { index: node as u16 % of, of }
    }

    /// Whether a port, host order, is in it.
    #[inline(always)]
    pub const fn has(self, port: u16) -> bool {
        (port / 16) % self.of == self.index
    }
}

/// UDP to this is what nodes say to each other, and never tracked: it would breed records of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exempt {
    /// 4 or 6.
    pub family: u8,
    /// IPv4 in the first four bytes.
    pub addr: [u8; 16],
    /// Host order.
    pub port: u16,
}

impl Exempt {
    /// Whether a packet with this key is.
    pub(crate) fn has(&self, key: &FlowKey) -> bool {
        key.protocol == ip::UDP
            && key.family == self.family
            && key.dst == self.addr
            && key.dport == self.port.to_be_bytes()
    }
}

/// A worker's part in a cluster, as the control side makes it.
pub struct ClusterLink {
    /// Exports and imports flows.
    pub replica: Replica,
    /// The time.
    pub clock: Box<dyn Clock>,
    /// Wakes the sync thread.
    pub bell: Arc<dyn Wake>,
    /// Ports that NAT may choose.
    pub share: Share,
    /// Never tracked.
    pub exempt: Vec<Exempt>,
    /// First packets that wait.
    pub defer: Option<Defer>,
}

/// A worker's part in a cluster.
pub(crate) struct Cluster<F> {
    replica: Replica,
    clock: Box<dyn Clock>,
    bell: Arc<dyn Wake>,
    pub(crate) deferred: Option<Deferred<F>>,
    role: Role,
    /// Since when this is the role.
    since: Tick,
    /// By port: the new owner's address there, while packets are passed on to it; empty until it is known.
    onward: Vec<Option<[u8; 6]>>,
}

impl<F> Cluster<F> {
    /// Of a worker whose flows these are.
    pub(crate) fn new(link: ClusterLink, shard: &Shard) -> Self {
        let ClusterLink { replica, clock, bell, defer, .. } = link;
        let deferred = defer.map(|how| Deferred::new(how, shard.capacity()));
        Self {
            replica,
            clock,
            bell,
            deferred,
            role: Role::Standby,
            since: Tick(0),
            onward: Vec::new(),
        }
    }

    /// A turn begins. True where this node has just become the owner without the old one's help: what was received before is to
    /// be discarded, for the old one may have forwarded it.
    pub(crate) fn begin<G>(&mut self, flows: &mut Flows, around: Around<'_, G>, now: Tick) -> bool {
        let (shard, mut beside) = flows.beside(around);
        // What the old owner said last comes before the first packet.
        self.replica.catch_up(shard, &mut beside, now);
        let before = std::mem::replace(&mut self.role, self.replica.may(now).role);
        if self.role != before {
            self.since = now;
        }
        if self.role != Role::Redirecting {
            // The next time it may be another node's, or the same one's with other ports.
            self.onward.clear();
        }
        let handed_over = self.replica.standing_of().was_handed_over();
        self.role == Role::Active && before == Role::Standby && !handed_over
    }

    /// Whether the old owner has handed over since this turn began.
    fn was_granted(&self, now: Tick) -> bool {
        self.role == Role::Standby
            && self.replica.may(now).role == Role::Active
            && self.replica.standing_of().was_handed_over()
    }

    /// Whether the new owner's addresses have not come here yet, and are still to be waited for.
    fn is_in_between(&self, now: Tick) -> bool {
        self.role == Role::Redirecting
            && self.onward.is_empty()
            && now.since(self.since) < IN_BETWEEN
    }

    /// What this node is in this turn.
    pub(crate) fn role(&self) -> Role {
        self.role
    }

    /// Why what is queued must not be sent: the sync thread was not there for so long that another may be the owner by now. That is
    /// looked at for each burst, for this thread may have stood still since the turn began.
    #[inline]
    pub(crate) fn refuses(&self) -> Option<DropReason> {
        match self.role {
            Role::Active if !self.may_send() => Some(DropReason::LeaseOver),
            Role::Passive => Some(DropReason::Passive),
            _ => None,
        }
    }

    /// Whether what was taken in as the owner may leave. Held, this node is still the owner: what it has in hand goes out, and only
    /// what comes from then on waits.
    fn may_send(&self) -> bool {
        let now = self.clock.now();
        let standing = self.replica.standing_of();
        matches!(standing.role(), Role::Active | Role::Held) && now < standing.lease()
    }

    /// A burst was forwarded, and what it changed goes to the sync thread now.
    fn say<G>(&mut self, flows: &mut Flows, around: Around<'_, G>, now: Tick) {
        let (shard, mut beside) = flows.beside(around);
        self.replica.say(shard, &mut beside, now);
        self.ring();
    }

    fn ring(&mut self) {
        if self.replica.wakes() {
            self.bell.wake();
        }
    }

    /// A turn ends: flows are exchanged. Returns how much there was to do.
    pub(crate) fn finish<G>(
        &mut self,
        flows: &mut Flows,
        around: Around<'_, G>,
        now: Tick,
        idle: bool,
    ) -> usize {
        let (shard, mut beside) = flows.beside(around);
        let done = self.replica.turn(shard, &mut beside, now, idle);
        self.ring();
        done
    }

    /// Where packets that come by `port` go on to.
    fn onward(&self, port: PortIndex) -> Option<[u8; 6]> {
        self.onward.get(usize::from(port.0)).copied().flatten()
    }

    /// The new owner's addresses, by port.
    pub(crate) fn pass_on_to(&mut self, onward: Vec<Option<[u8; 6]>>) -> Vec<Option<[u8; 6]>> {
        std::mem::replace(&mut self.onward, onward)
    }
}

impl<Io: PacketIo> Local<Io> {
    /// Says what the burst changed, of which no packet has left yet.
    #[inline]
    pub(crate) fn say(&mut self, tables: &Tables, now: Tick) {
        if let Self { cluster: Some(cluster), flows, link, .. } = self {
            cluster.say(flows, Around { tables, peers: &mut link.peers }, now);
        }
    }

    /// Whether this node gets copies of others' packets, and sends none.
    #[inline]
    pub(crate) fn only_watches(&self) -> bool {
        self.cluster.as_deref().is_some_and(|cluster| cluster.role() == Role::Passive)
    }

    /// What this node is to the others now. It has just become the owner: what was received before is discarded.
    pub(crate) fn heed_role(
        &mut self,
        tables: &Tables,
        burst: &mut Burst<Io::Frame>,
        now: Tick,
    ) -> Role {
        let Self { cluster: Some(cluster), flows, link, .. } = self else { return Role::Active };
        let discard = cluster.begin(flows, Around { tables, peers: &mut link.peers }, now);
        let role = cluster.role();
        if discard {
            for port in (0..tables.ports.len() as u16).map(PortIndex) {
                for _ in 0..DISCARDED {
                    if self.receive(port, burst) == 0 {
                        break;
                    }
                    self.drop_burst(port, DropReason::Standby, burst);
                }
            }
        }
        role
    }

    /// Whether ports are to be left alone, so that what comes waits there: another node takes over, or has, and where its ports are
    /// will be known in a moment.
    pub(crate) fn lets_wait(&self, role: Role, now: Tick) -> bool {
        role == Role::Held
            || self.cluster.as_deref().is_some_and(|cluster| cluster.is_in_between(now))
    }

    /// The role, once more, after a standby received something: the old owner passes packets on from the moment on in which it has
    /// handed over, which may be within this turn.
    pub(crate) fn heed_grant(&mut self, tables: &Tables, role: Role, now: Tick) -> Role {
        let Self { cluster: Some(cluster), flows, link, .. } = self else { return role };
        if !cluster.was_granted(now) {
            return role;
        }
        cluster.begin(flows, Around { tables, peers: &mut link.peers }, now);
        cluster.role()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_do_not_overlap_and_leave_nothing_out() {
        for nodes in 1..=4 {
            for port in 0..=u16::MAX {
                let mine = (1..=nodes).filter(|node| Share::new(*node, nodes).has(port));
                assert_eq!(mine.count(), 1, "{port} of {nodes}");
            }
        }
        assert!((0..=u16::MAX).all(|port| Share::ALL.has(port)));
    }
}
