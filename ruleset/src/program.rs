//! What workers run: an immutable program, adopted at a burst boundary.
//!
//! # Life cycle
//!
//! A commit makes a [`Program`] of the new state, sharing with the old one whatever did not change; the workers adopt it
//! between two bursts and hand the old one back to be dropped on the control side. Here is the seam of the compiler: what it
//! adds to a program is looked up instead of walking rules, and `reference` remains what it is compared with.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::family::{ChainType, Family, HANDLERS, Hook};
use crate::ids::{ChainId, Generation, ObjectId, SetId};
use crate::model::{Base, Chain, Object, Set, Slots, State, TableFlags, Tracking};
use crate::packet::Side;
use crate::tally::Tallies;

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

/// What a packet meets at a hook (Linux: `struct nf_hook_entry`).
#[derive(Clone, Debug)]
pub enum Entry {
    /// A base chain.
    Chain(Hooked),
    /// Connection tracking: the packet gets its connection.
    Track,
    /// NAT of one side; a new connection asks these chains, of type nat, what becomes of it.
    Translate(Side, Box<[Hooked]>),
    /// A new connection that has come so far is in the table from now on.
    Confirm,
}

/// Where Linux has conntrack and NAT among the base chains (`enum nf_ip_hook_priorities`).
const TRACK: i32 = -200;
const NAT_DESTINATION: i32 = -100;
const NAT_SOURCE: i32 = 100;
const CONFIRM: i32 = i32::MAX;

/// By family that handles the packet and by hook: what it meets, in order.
type Hooks = [[Box<[Entry]>; HOOKS]; FAMILIES];

/// An immutable program. See the module's overview.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// The generation that it was made of.
    pub generation: Generation,
    /// Which families' packets are tracked.
    pub tracking: Tracking,
    /// What rules count connections by, for the workers to sweep.
    pub tallies: Tallies,
    chains: Slots<Chain>,
    sets: Slots<Set>,
    objects: Slots<Object>,
    hooks: Arc<Hooks>,
}

impl Program {
    /// The program of a state. What `before` has and did not change is shared; `hooks_changed` says whether a base chain
    /// came, went or changed, or a family begins or ceases to be tracked.
    pub fn new(state: &State, before: &Self, hooks_changed: bool, tallies: &Tallies) -> Self {
        Self {
            generation: state.generation,
            tracking: state.tracking,
            tallies: tallies.clone(),
            chains: state.chains.clone(),
            sets: state.sets.clone(),
            objects: state.objects.clone(),
            hooks: if hooks_changed { hooks(state) } else { before.hooks.clone() },
        }
    }

    /// What a packet meets at a hook, lowest priority first. Nothing for most: that is what a packet pays where there are no
    /// rules.
    #[inline]
    pub fn hooked(&self, family: Family, hook: Hook) -> &[Entry] {
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

/// What packets meet by family and hook. Of equal priorities, what was hooked in last runs first, as in Linux.
fn hooks(state: &State) -> Arc<Hooks> {
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
    let mut made = Hooks::default();
    for handler in HANDLERS {
        let family = handler.family;
        let (Some(all), Some(made)) = (all.get_mut(family as usize), made.get_mut(family as usize))
        else {
            continue;
        };
        let is_nat = |hooked: &Hooked| hooked.base.kind == ChainType::Nat;
        let translates = all.iter().flatten().any(is_nat);
        for (n, (hooked, made)) in all.iter_mut().zip(made).enumerate() {
            hooked.sort_by_key(|hooked| (hooked.base.priority, Reverse(hooked.base.order)));
            let mut entries = Vec::new();
            let (nat, others): (Vec<_>, Vec<_>) = hooked.drain(..).partition(is_nat);
            entries.extend(others.into_iter().map(|h| (h.base.priority, Entry::Chain(h))));
            // Among those of one priority they come first: a rule that needs them comes after its chain.
            let mut insert = |priority, entry| {
                let at = entries.partition_point(|(other, _)| *other < priority);
                entries.insert(at, (priority, entry));
            };
            if translates && let Some((priority, side)) = translation(n) {
                insert(priority, Entry::Translate(side, nat.into_boxed_slice()));
            }
            if state.tracking.is_on(family) {
                if n == Hook::Prerouting as usize || n == Hook::Output as usize {
                    insert(TRACK, Entry::Track);
                }
                if n == Hook::Input as usize || n == Hook::Postrouting as usize {
                    insert(CONFIRM, Entry::Confirm);
                }
            }
            *made = entries.into_iter().map(|(_, entry)| entry).collect();
        }
    }
    Arc::new(made)
}

/// Where NAT stands in a hook, and which side it changes there.
fn translation(hook: usize) -> Option<(i32, Side)> {
    const PREROUTING: usize = Hook::Prerouting as usize;
    const OUTPUT: usize = Hook::Output as usize;
    const INPUT: usize = Hook::Input as usize;
    const POSTROUTING: usize = Hook::Postrouting as usize;
    match hook {
        PREROUTING | OUTPUT => Some((NAT_DESTINATION, Side::Destination)),
        INPUT | POSTROUTING => Some((NAT_SOURCE, Side::Source)),
        _ => None,
    }
}
