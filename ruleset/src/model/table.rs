//! A table.

use std::sync::Arc;

use crate::family::Family;
use crate::ids::{ChainId, FlowtableId, Handle, ObjectId, SetId};

use super::{Index, Name, ObjectKind, Userdata};

/// What names a table among all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableKey {
    /// Its family.
    pub family: Family,
    /// Its name.
    pub name: Name,
}

/// `NFT_TABLE_F_…`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableFlags(pub u32);

impl TableFlags {
    /// Its base chains are out of the packets' way.
    pub const DORMANT: u32 = 1;
    /// It goes when the client that made it goes, and nobody else may change it.
    pub const OWNER: u32 = 2;
    /// It stays when its owner goes.
    pub const PERSIST: u32 = 4;

    /// Whether this flag is set.
    pub const fn has(self, flag: u32) -> bool {
        self.0 & flag != 0
    }
}

/// A table: a family and a name space for chains, sets, objects and flowtables.
#[derive(Clone, Debug)]
pub struct Table {
    /// Family and name, shared with what is in it.
    pub key: Arc<TableKey>,
    /// Its own handle, unique among tables.
    pub handle: Handle,
    /// Flags.
    pub flags: TableFlags,
    /// The client that owns it, where [`TableFlags::OWNER`] is set and the owner is there: client id and port id.
    pub owner: Option<(u64, u32)>,
    /// The program's own.
    pub userdata: Option<Userdata>,
    /// Its chains.
    pub chains: Index<Name, ChainId>,
    /// Its sets and maps.
    pub sets: Index<Name, SetId>,
    /// How many of them are anonymous: these do not count as use of the table.
    pub anonymous_sets: usize,
    /// Its stateful objects, which are named by kind and name.
    pub objects: Index<(ObjectKind, Name), ObjectId>,
    /// Its flowtables.
    pub flowtables: Index<Name, FlowtableId>,
    /// The last handle that was given to something in it.
    pub last_handle: u64,
}

impl Table {
    /// The next handle for something in it.
    pub fn next_handle(&mut self) -> Handle {
        self.last_handle += 1;
        Handle(self.last_handle)
    }

    /// Its family.
    pub fn family(&self) -> Family {
        self.key.family
    }
}
