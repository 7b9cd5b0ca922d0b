//! What workers run: an immutable program, adopted at a burst boundary.
//!
//! # Life cycle
//!
//! A commit makes a [`Program`] of the new state, sharing with the old one whatever did not change; the workers adopt it
//! between two bursts and hand the old one back to be dropped on the control side. Here is the seam of the compiler: what it
//! adds to a program is looked up instead of walking rules, and `reference` remains what it is compared with.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::family::{Family, HANDLERS, Hook};
use crate::ids::{ChainId, Generation, ObjectId, SetId};
use crate::model::{Base, Chain, Object, Set, Slots, State, TableFlags};

/// Hooks that a program distinguishes.
const HOOKS: usize = 7;
/// Places for families, by number.
const FAMILIES: usize = 11;

/// A base chain where it is hooked in.
#[derive(Clone, Debug)]
pub struct Hooked {
    /// The chain.
    pub chain: ChainId,
    /// Its table's family.
    pub family: Family,
    /// Its priority and policy.
    pub base: Arc<Base>,
}

/// An immutable program. See the module's overview.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// The generation that it was made of.
    pub generation: Generation,
    chains: Slots<Chain>,
    sets: Slots<Set>,
    objects: Slots<Object>,
    /// By family that handles the packet and by hook: base chains by priority.
    hooks: Arc<[[Box<[Hooked]>; HOOKS]; FAMILIES]>,
}

impl Program {
    /// The program of a state. What `before` has and did not change is shared; `hooks_changed` says whether a base chain
    /// came, went or changed.
    pub fn new(state: &State, before: &Self, hooks_changed: bool) -> Self {
        Self {
            generation: state.generation,
            chains: state.chains.clone(),
            sets: state.sets.clone(),
            objects: state.objects.clone(),
            hooks: if hooks_changed { hooks(state) } else { before.hooks.clone() },
        }
    }

    /// The base chains of a hook, lowest priority first. Empty for most: that is what a packet pays where there are no rules.
    #[inline]
    pub fn hooked(&self, family: Family, hook: Hook) -> &[Hooked] {
        let hooks = self.hooks.get(family as usize).and_then(|hooks| hooks.get(hook as usize));
        hooks.map_or(&[], |hooked| hooked)
    }

    /// Whether any rule could see an IPv4, IPv6, ARP, bridged or device packet anywhere.
    pub fn is_empty(&self) -> bool {
        self.hooks.iter().flatten().all(|hooked| hooked.is_empty())
    }

    /// A chain.
    #[inline]
    pub fn chain(&self, id: ChainId) -> Option<&Chain> {
        self.chains.get(id.0).map(AsRef::as_ref)
    }

    /// A set.
    #[inline]
    pub fn set(&self, id: SetId) -> Option<&Set> {
        self.sets.get(id.0).map(AsRef::as_ref)
    }

    /// An object.
    #[inline]
    pub fn object(&self, id: ObjectId) -> Option<&Object> {
        self.objects.get(id.0).map(AsRef::as_ref)
    }
}

/// Base chains by family and hook. Of equal priorities, what was hooked in last runs first, as in Linux.
fn hooks(state: &State) -> Arc<[[Box<[Hooked]>; HOOKS]; FAMILIES]> {
    let mut all: [[Vec<Hooked>; HOOKS]; FAMILIES] = Default::default();
    let tables = state.tables.values().filter(|table| !table.flags.has(TableFlags::DORMANT));
    for chain in tables.flat_map(|table| table.chains.iter()).filter_map(|id| state.chain(id)) {
        let Some(base) = &chain.base else { continue };
        let family = chain.table.family;
        // A device's chains see its packets whatever is in them.
        let sees: &[Family] = match base.hook {
            Hook::Ingress | Hook::Egress => &[Family::Netdev],
            _ => HANDLERS.iter().find(|h| h.family == family).map_or(&[], |h| h.sees),
        };
        for family in sees {
            if let Some(hooked) =
                all.get_mut(*family as usize).and_then(|h| h.get_mut(base.hook as usize))
            {
                hooked.push(Hooked {
                    chain: chain.id,
                    family: chain.table.family,
                    base: base.clone(),
                });
            }
        }
    }
    Arc::new(all.map(|hooks| {
        hooks.map(|mut hooked| {
            hooked.sort_by_key(|hooked| (hooked.base.priority, Reverse(hooked.base.order)));
            hooked.into_boxed_slice()
        })
    }))
}
