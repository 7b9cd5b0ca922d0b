//! A flowtable: devices between which connections may take the short way.

use std::sync::Arc;

use crate::ids::{FlowtableId, Handle};

use super::{Device, Name, TableKey};

/// A flowtable. The dataplane's flow cache carries every connection, so what it says is kept and told, no more.
#[derive(Clone, Debug)]
pub struct Flowtable {
    /// Its slot.
    pub id: FlowtableId,
    /// Its table.
    pub table: Arc<TableKey>,
    /// Its name.
    pub name: Name,
    /// Its handle in the table.
    pub handle: Handle,
    /// `NFT_FLOWTABLE_…`: 1 by hardware, 2 count packets.
    pub flags: u32,
    /// Its hook's number; ingress is the only one.
    pub hook: u32,
    /// Its place among what is on the hook.
    pub priority: u32,
    /// Its devices.
    pub devices: Vec<Device>,
    /// Rules that use it.
    pub uses: u32,
}
