//! Everything, at one moment.

use std::collections::HashMap;

use ahash::RandomState;

use crate::family::Family;
use crate::ids::{ChainId, FlowtableId, Generation, Handle, ObjectId, SetId};

use super::{Chain, Flowtable, Name, Object, Set, Slots, Table, TableKey};

/// Everything, at one moment. A clone is a snapshot and costs nothing.
#[derive(Clone, Debug)]
pub struct State {
    /// Counts commits.
    pub generation: Generation,
    /// Tables in the order in which they came.
    pub tables: imbl::OrdMap<Handle, std::sync::Arc<Table>>,
    /// Tables by family and name.
    names: imbl::HashMap<TableKey, Handle>,
    /// The last handle given to a table.
    last_table: u64,
    /// Base chains that were hooked in so far.
    hooked: u64,
    /// All chains.
    pub chains: Slots<Chain>,
    /// All sets.
    pub sets: Slots<Set>,
    /// All objects.
    pub objects: Slots<Object>,
    /// All flowtables.
    pub flowtables: Slots<Flowtable>,
    /// How many expressions need connection tracking.
    pub tracking: Tracking,
    /// By table and pattern (`__set%d`): below this number all names of sets are taken.
    numbers: imbl::OrdMap<Handle, imbl::OrdMap<Name, u32>>,
}

/// Expressions that need connection tracking, by family (Linux: `nf_ct_netns_get`). Where there is none, nothing is tracked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tracking {
    ipv4: u32,
    ipv6: u32,
    bridge: u32,
}

impl Tracking {
    /// One more. True if it is the first.
    pub(crate) fn begin(&mut self, family: Family) -> bool {
        let before = *self;
        self.each(family, |uses| *uses += 1);
        Self::differs(before, *self)
    }

    /// One less. True if it was the last.
    pub(crate) fn end(&mut self, family: Family) -> bool {
        let before = *self;
        self.each(family, |uses| *uses = uses.saturating_sub(1));
        Self::differs(before, *self)
    }

    fn each(&mut self, family: Family, change: impl Fn(&mut u32)) {
        match family {
            Family::Inet => {
                change(&mut self.ipv4);
                change(&mut self.ipv6);
            }
            Family::Ipv4 => change(&mut self.ipv4),
            Family::Ipv6 => change(&mut self.ipv6),
            Family::Bridge => {
                // What is bridged may be routed, too.
                change(&mut self.bridge);
                change(&mut self.ipv4);
                change(&mut self.ipv6);
            }
            Family::Arp | Family::Netdev => {}
        }
    }

    fn differs(before: Self, after: Self) -> bool {
        let all = [Family::Ipv4, Family::Ipv6, Family::Bridge];
        all.into_iter().any(|family| before.is_on(family) != after.is_on(family))
    }

    /// Whether packets that this family handles are tracked.
    pub fn is_on(&self, family: Family) -> bool {
        match family {
            Family::Ipv4 => self.ipv4 > 0,
            Family::Ipv6 => self.ipv6 > 0,
            Family::Bridge => self.bridge > 0,
            Family::Inet | Family::Arp | Family::Netdev => false,
        }
    }
}

/// What a batch calls by numbers of its own until it is committed, by table.
#[derive(Debug, Default)]
pub struct BatchIds {
    /// `NFTA_CHAIN_ID`.
    pub chains: HashMap<(Handle, u32), ChainId, RandomState>,
    /// `NFTA_SET_ID`.
    pub sets: HashMap<(Handle, u32), SetId, RandomState>,
    /// `NFTA_RULE_ID`: the rule's chain and handle.
    pub rules: HashMap<(Handle, u32), (ChainId, Handle), RandomState>,
}

impl Default for State {
    /// Nothing, in the generation that a network namespace's ruleset begins with.
    fn default() -> Self {
        Self {
            generation: Generation(1),
            tables: imbl::OrdMap::new(),
            names: imbl::HashMap::new(),
            last_table: 0,
            hooked: 0,
            chains: Slots::default(),
            sets: Slots::default(),
            objects: Slots::default(),
            flowtables: Slots::default(),
            tracking: Tracking::default(),
            numbers: imbl::OrdMap::new(),
        }
    }
}

impl State {
    /// The table of this family and name.
    pub fn table(&self, family: Family, name: &str) -> Option<&Table> {
        let key = TableKey { family, name: Name::from(name) };
        self.tables.get(self.names.get(&key)?).map(AsRef::as_ref)
    }

    /// The table of this handle.
    pub fn table_by_handle(&self, handle: Handle) -> Option<&Table> {
        self.tables.get(&handle).map(AsRef::as_ref)
    }

    /// The table that something says it is in.
    pub fn table_of(&self, key: &TableKey) -> Option<&Table> {
        self.tables.get(self.names.get(key)?).map(AsRef::as_ref)
    }

    /// The same, to change.
    pub fn table_mut(&mut self, handle: Handle) -> Option<&mut Table> {
        self.tables.get_mut(&handle).map(std::sync::Arc::make_mut)
    }

    /// For [`Base::order`](super::Base::order) of a chain that is hooked in now.
    pub fn next_order(&mut self) -> u64 {
        self.hooked += 1;
        self.hooked
    }

    /// Puts a table in; its handle is given here.
    pub fn insert_table(&mut self, make: impl FnOnce(Handle) -> Table) -> Handle {
        self.last_table += 1;
        let handle = Handle(self.last_table);
        let table = make(handle);
        self.names.insert((*table.key).clone(), handle);
        self.tables.insert(handle, std::sync::Arc::new(table));
        handle
    }

    /// Handles that `refused`, a batch on this state, gave are not given again, as in the kernel.
    pub fn skip_handles(&mut self, refused: &Self) {
        self.last_table = self.last_table.max(refused.last_table);
        let moved = refused.tables.iter().filter(|(handle, table)| {
            self.tables.get(*handle).is_some_and(|old| old.last_handle < table.last_handle)
        });
        let moved: Vec<(Handle, u64)> =
            moved.map(|(handle, table)| (*handle, table.last_handle)).collect();
        for (handle, last) in moved {
            if let Some(table) = self.table_mut(handle) {
                table.last_handle = last;
            }
        }
    }

    /// Takes a table out; what was in it must be gone.
    pub fn remove_table(&mut self, handle: Handle) {
        if let Some(table) = self.tables.remove(&handle) {
            self.names.remove(&*table.key);
            self.numbers.remove(&handle);
        }
    }

    /// A number below which all names of this pattern are taken by sets of the table.
    pub fn free_number(&self, table: Handle, pattern: &str) -> u32 {
        self.numbers.get(&table).and_then(|of_table| of_table.get(pattern)).copied().unwrap_or(0)
    }

    /// Notes that all names of this pattern below a number are taken.
    pub fn set_free_number(&mut self, table: Handle, pattern: &str, number: u32) {
        self.numbers.entry(table).or_default().insert(pattern.into(), number);
    }

    /// Notes that a set's name is free again.
    pub fn free_name(&mut self, table: Handle, name: &str) {
        let Some(patterns) = self.numbers.get_mut(&table) else { return };
        let number = |pattern: &str| -> Option<u32> {
            let (before, behind) = pattern.split_once("%d")?;
            name.strip_prefix(before)?.strip_suffix(behind)?.parse().ok()
        };
        let freed = patterns.iter().filter_map(|(pattern, free)| {
            number(pattern).filter(|number| number < free).map(|number| (pattern.clone(), number))
        });
        for (pattern, number) in freed.collect::<Vec<_>>() {
            patterns.insert(pattern, number);
        }
    }

    /// A chain.
    #[inline]
    pub fn chain(&self, id: ChainId) -> Option<&Chain> {
        self.chains.get(id.0).map(AsRef::as_ref)
    }

    /// A set.
    pub fn set(&self, id: SetId) -> Option<&Set> {
        self.sets.get(id.0).map(AsRef::as_ref)
    }

    /// The sets that packets put elements into.
    pub fn dynamic_sets(&self) -> impl Iterator<Item = &Set> {
        self.sets.iter().map(|(_, set)| set.as_ref()).filter(|set| set.is_dynamic())
    }

    /// A set by its table's family and its names.
    pub fn set_named(&self, family: Family, table: &str, set: &str) -> Option<&Set> {
        self.set(self.table(family, table)?.sets.named(set)?)
    }

    /// An object.
    pub fn object(&self, id: ObjectId) -> Option<&Object> {
        self.objects.get(id.0).map(AsRef::as_ref)
    }

    /// A flowtable.
    pub fn flowtable(&self, id: FlowtableId) -> Option<&Flowtable> {
        self.flowtables.get(id.0).map(AsRef::as_ref)
    }
}
