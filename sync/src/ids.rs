//! The protocol's numbers, each with a type of its own, and how they are compared.

use std::cmp::Ordering;
use std::fmt;

/// A node of a cluster: 0–15.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u8);

/// Nodes that a cluster has at most.
pub const NODES: usize = 16;
/// Lanes, and so workers, that a node has at most.
pub const LANES: usize = 64;

impl NodeId {
    /// `None`: there is no such node.
    pub const fn new(id: u8) -> Option<Self> {
        if (id as usize) < NODES { Some(Self(id)) } else { None }
    }

    /// Its number.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// Its number, to index with.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A lane of a node, which is the worker of this number: 0–63.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lane(u8);

impl Lane {
    /// The first, which every node has.
    pub const FIRST: Self = Self(0);

    /// `None`: there is no such lane.
    pub const fn new(lane: u8) -> Option<Self> {
        if (lane as usize) < LANES { Some(Self(lane)) } else { None }
    }

    /// Its number.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// Its number, to index with.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Nodes that share traffic are divided into groups: the unit of ownership.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Group(pub u8);

/// A sender's incarnation: greater at each start of a node. Kept on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u64);

/// A group's fencing token: greater at each change of owner. Kept on disk. 0: nobody was owner yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Term(pub u32);

/// A datagram's number, of DATA of a (node, epoch, lane): 1 is the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Seq(pub u64);

impl Seq {
    /// The next.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Tells a slot's flows apart, in their order: 22 bits that wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Generation(u32);

impl Generation {
    const BITS: u32 = 22;
    const MASK: u32 = (1 << Self::BITS) - 1;

    /// Of the low 22 bits.
    pub const fn new(bits: u32) -> Self {
        Self(bits & Self::MASK)
    }

    /// Its number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// That of the slot's next flow.
    #[must_use]
    pub const fn next(self) -> Self {
        Self::new(self.0 + 1)
    }

    /// Which comes first of two that are less than 2²¹ apart.
    pub const fn order(self, other: Self) -> Ordering {
        let ahead = self.0.wrapping_sub(other.0) & Self::MASK;
        if ahead == 0 {
            Ordering::Equal
        } else if ahead < 1 << (Self::BITS - 1) {
            Ordering::Greater
        } else {
            Ordering::Less
        }
    }
}

/// Counts what was said of a flow, from 1 on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(pub u32);

/// A flow's name in the cluster: node 4 ‖ lane 6 ‖ slot 32 ‖ generation 22 bits, most significant first.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlowId(u64);

impl FlowId {
    /// Of its parts.
    pub const fn new(node: NodeId, lane: Lane, slot: u32, generation: Generation) -> Self {
        Self(
            (node.0 as u64) << 60
                | (lane.0 as u64) << 54
                | (slot as u64) << 22
                | generation.0 as u64,
        )
    }

    /// As it travels.
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// As it travels. All values name a flow.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The node that named it.
    pub const fn node(self) -> NodeId {
        NodeId((self.0 >> 60) as u8)
    }

    /// Its lane there.
    pub const fn lane(self) -> Lane {
        Lane((self.0 >> 54) as u8 & 0x3f)
    }

    /// Its slot there.
    pub const fn slot(self) -> u32 {
        (self.0 >> 22) as u32
    }

    /// Which of the slot's flows.
    pub const fn generation(self) -> Generation {
        Generation::new(self.0 as u32)
    }
}

impl fmt::Debug for FlowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.{}.{}.{}",
            self.node(),
            self.lane().get(),
            self.slot(),
            self.generation().get()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_id_has_its_parts() {
        let (node, lane) = (NodeId::new(15).unwrap(), Lane::new(63).unwrap());
        for (slot, generation) in [(0, 0), (u32::MAX, (1 << 22) - 1), (7, 3)] {
            let id = FlowId::new(node, lane, slot, Generation::new(generation));
            assert_eq!((id.node(), id.lane(), id.slot()), (node, lane, slot));
            assert_eq!(id.generation().get(), generation);
        }
    }

    #[test]
    fn generations_wrap() {
        let last = Generation::new((1 << 22) - 1);
        assert_eq!(last.next().get(), 0);
        assert_eq!(last.next().order(last), Ordering::Greater);
        assert_eq!(last.order(last.next()), Ordering::Less);
        assert_eq!(last.order(last), Ordering::Equal);
    }
}
