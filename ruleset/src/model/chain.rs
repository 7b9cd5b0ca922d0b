//! A chain.

use std::sync::Arc;

use crate::counters::Counter;
use crate::expr::{Ref, Requires};
use crate::family::{ChainType, Hook};
use crate::ids::{ChainId, Handle};
use crate::verdict::Verdict;

use super::{Device, List, Name, Rule, TableKey, Userdata};

/// `NFT_CHAIN_…`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChainFlags(pub u32);

impl ChainFlags {
    /// It is a base chain.
    pub const BASE: u32 = 1;
    /// A device should run it.
    pub const HW_OFFLOAD: u32 = 2;
    /// It belongs to the one rule that jumps to it, and goes with it.
    pub const BINDING: u32 = 4;

    /// Whether this flag is set.
    pub const fn has(self, flag: u32) -> bool {
        self.0 & flag != 0
    }
}

/// A chain: rules in order.
#[derive(Clone, Debug)]
pub struct Chain {
    /// Its slot.
    pub id: ChainId,
    /// Its table.
    pub table: Arc<TableKey>,
    /// Its name.
    pub name: Name,
    /// Its handle in the table.
    pub handle: Handle,
    /// Flags.
    pub flags: ChainFlags,
    /// Where it is hooked in, for base chains.
    pub base: Option<Arc<Base>>,
    /// Its rules.
    pub rules: List<Arc<Rule>>,
    /// Jumps and verdict map elements that lead to it.
    pub uses: u32,
    /// Chains that its rules jump to, directly or through verdict maps, with how many do: the graph that is checked for
    /// loops and depth without looking at rules.
    pub jumps: imbl::OrdMap<Ref, u32>,
    /// What all of its rules together ask of the base chains that lead here.
    pub requires: Requires,
    /// A rule that asked for something is gone: `requires` asks too much, and is summed up again when it matters.
    pub stale: bool,
    /// The program's own.
    pub userdata: Option<Userdata>,
}

/// What a base chain has beside rules.
#[derive(Clone, Debug)]
pub struct Base {
    /// Its type.
    pub kind: ChainType,
    /// Its hook.
    pub hook: Hook,
    /// Its place among the base chains of the hook: lower first.
    pub priority: i32,
    /// The verdict when no rule has one: accept or drop.
    pub policy: Verdict,
    /// When it was hooked in: of equal priorities, the last comes first, as in Linux.
    pub order: u64,
    /// For hooks on devices, these.
    pub devices: Arc<[Device]>,
    /// Packets that the policy met (`NFTA_CHAIN_COUNTERS`), where that is counted.
    pub counter: Option<Counter>,
}
