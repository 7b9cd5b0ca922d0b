//! A set, a map or a verdict map.

use std::sync::Arc;

use crate::ids::{ChainId, Handle, SetId};

use super::{Name, TableKey, Userdata};

/// `NFT_SET_ANONYMOUS`: the set belongs to the one rule that uses it, and goes with it.
pub const ANONYMOUS: u32 = 1;

/// A set: keys, with values where it is a map.
#[derive(Clone, Debug)]
pub struct Set {
    /// Its slot.
    pub id: SetId,
    /// Its table.
    pub table: Arc<TableKey>,
    /// Its name.
    pub name: Name,
    /// Its handle in the table.
    pub handle: Handle,
    /// `NFT_SET_…` flags.
    pub flags: u32,
    /// Rules that use it.
    pub uses: u32,
    /// Chains that its elements lead to, with how many do (verdict maps).
    pub jumps: imbl::OrdMap<ChainId, u32>,
    /// The program's own.
    pub userdata: Option<Userdata>,
}

impl Set {
    /// Whether it belongs to the one rule that uses it.
    pub fn is_anonymous(&self) -> bool {
        self.flags & ANONYMOUS != 0
    }
}
