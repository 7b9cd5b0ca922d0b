//! Flowtables (`NFTA_FLOWTABLE_…`).

use nfnetlink::attr::Writer;
use nfnetlink::message::NLM_F_EXCL;
use nfnetlink::{Attr, Dump, Errno, NfGen, Reply, Result};

use crate::family::Family;
use crate::ids::{FlowtableId, Handle};
use crate::model::{Device, Flowtable, Name, Table};

use super::chain::{at, devices, write_devices};
use super::dump::Walk;
use super::op::{NAME_LEN, find_table, kind, res_id};
use super::{Op, Query, msg};

const TABLE: usize = 1;
const NAME: usize = 2;
const HOOK: usize = 3;
const USE: u16 = 4;
const HANDLE: usize = 5;
const FLAGS: usize = 7;
const ATTRS: usize = 8;
const HOOK_NUM: usize = 1;
const HOOK_PRIORITY: usize = 2;
const HOOK_DEVS: usize = 3;
/// `NF_NETDEV_INGRESS`.
const INGRESS: u32 = 0;
/// `NFT_FLOWTABLE_HW_OFFLOAD`, `NFT_FLOWTABLE_MASK`.
const BY_HARDWARE: u32 = 1;
const ALL_FLAGS: u32 = 3;

fn named(table: &Table, name: &Attr<'_>) -> Result<FlowtableId> {
    let found = table.flowtables.named(name.str(NAME_LEN)?);
    found.ok_or_else(|| name.error(Errno::ENOENT))
}

/// `NFT_MSG_NEWFLOWTABLE`.
pub(super) fn new(op: &mut Op<'_>) -> Result<()> {
    let attrs = op.attrs::<ATTRS>();
    let (Some(name), Some(hook)) = (attrs[NAME], attrs[HOOK]) else {
        return Err(Errno::EINVAL.into());
    };
    let table = op.table(attrs[TABLE].as_ref()).map_err(at(attrs[TABLE]))?;
    match named(op.table_ref(table)?, &name) {
        Ok(_) if op.message.has(NLM_F_EXCL) => return Err(name.error(Errno::EEXIST)),
        Ok(id) => return update(op, id, &hook),
        Err(error) if error.errno != Errno::ENOENT => return Err(error),
        Err(_) => {}
    }
    if !matches!(op.family()?, Family::Ipv4 | Family::Ipv6 | Family::Inet) {
        return Err(Errno::ENOENT.into());
    }
    let flags = flags(op)?.unwrap_or(0);
    let [_, number, priority, devs] = hook.table::<4>();
    let (Some(number), Some(priority)) = (number, priority) else {
        return Err(name.error(Errno::ENOENT));
    };
    let (hook, priority) = (number.u32()?, priority.u32()?);
    if hook != INGRESS {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let devices = devices(None, devs)?;
    free(op, &devices)?;
    let name: Name = name.str(NAME_LEN)?.into();
    let entry = op.batch.state.table_mut(table).ok_or(Errno::ENOENT)?;
    let (key, handle) = (entry.key.clone(), entry.next_handle());
    let made = |id| Flowtable {
        id: FlowtableId(id),
        table: key,
        name: name.clone(),
        handle,
        flags,
        hook,
        priority,
        devices,
        uses: 0,
    };
    let id = FlowtableId(op.batch.state.flowtables.insert_with(made));
    let entry = op.batch.state.table_mut(table).ok_or(Errno::ENOENT)?;
    entry.flowtables.insert(name, handle, id);
    announce(op, id, None)
}

fn flags(op: &Op<'_>) -> Result<Option<u32>> {
    match op.attrs::<ATTRS>()[FLAGS].map(|attr| attr.u32()).transpose()? {
        Some(flags) if flags & !ALL_FLAGS != 0 => Err(Errno::EOPNOTSUPP.into()),
        flags => Ok(flags),
    }
}

/// A device may be in one flowtable of a family only.
fn free(op: &Op<'_>, devices: &[Device]) -> Result<()> {
    let family = op.family()?;
    let mut others = op.batch.state.flowtables.iter().map(|(_, table)| table);
    let taken = others.any(|other| {
        other.table.family == family && devices.iter().any(|device| other.devices.contains(device))
    });
    if taken { Err(Errno::EEXIST.into()) } else { Ok(()) }
}

/// A flowtable that is there gets more devices, or other flags.
fn update(op: &mut Op<'_>, id: FlowtableId, hook: &Attr<'_>) -> Result<()> {
    let flags = flags(op)?;
    let found = op.batch.state.flowtable(id).ok_or(Errno::ENOENT)?;
    let mut more = devices_of(found, hook)?;
    more.retain(|device| !found.devices.contains(device));
    let flags = flags.unwrap_or(found.flags);
    if (flags ^ found.flags) & BY_HARDWARE != 0 {
        return Err(Errno::EOPNOTSUPP.into());
    }
    free(op, &more)?;
    let found = op.batch.state.flowtables.get_mut(id.0).ok_or(Errno::ENOENT)?;
    found.flags = flags;
    found.devices.extend(more.iter().cloned());
    announce(op, id, Some(more))
}

/// The devices of a hook that must be the flowtable's own, where it is said.
fn devices_of(found: &Flowtable, hook: &Attr<'_>) -> Result<Vec<Device>> {
    let [_, number, priority, devs] = hook.table::<4>();
    let other = |attr: Option<Attr<'_>>, own: u32| -> Result<bool> {
        attr.map_or(Ok(false), |attr| Ok(attr.u32()? != own))
    };
    if other(number, found.hook)? || other(priority, found.priority)? {
        return Err(Errno::EOPNOTSUPP.into());
    }
    devices(None, devs)
}

/// Tells of a flowtable; `devices`, where only some came.
fn announce(op: &mut Op<'_>, id: FlowtableId, devices: Option<Vec<Device>>) -> Result<()> {
    let made = op.batch.state.flowtable(id).ok_or(Errno::ENOENT)?.clone();
    op.notify(msg::NEWFLOWTABLE, op.event_flags(), made.table.family, move |out, cx| {
        let now = cx.state.flowtable(id).filter(|now| now.handle == made.handle);
        let now = now.unwrap_or(&made);
        write(now, devices.as_ref().unwrap_or(&now.devices), out);
    });
    Ok(())
}

/// `NFT_MSG_DELFLOWTABLE` and `NFT_MSG_DESTROYFLOWTABLE`; with a hook, devices of it.
pub(super) fn delete(op: &mut Op<'_>) -> Result<()> {
    let attrs = op.attrs::<ATTRS>();
    let attr = attrs[HANDLE].or(attrs[NAME]).ok_or(Errno::EINVAL)?;
    let table = op.table(attrs[TABLE].as_ref()).map_err(at(attrs[TABLE]))?;
    let table = op.table_ref(table)?;
    let found = match attrs[HANDLE] {
        Some(attr) => {
            let found = table.flowtables.handle(Handle(attr.u64()?));
            found.ok_or_else(|| attr.error(Errno::ENOENT))
        }
        None => named(table, &attr),
    };
    let id = match found {
        Err(error)
            if error.errno == Errno::ENOENT && op.message.command() == msg::DESTROYFLOWTABLE =>
        {
            return Ok(());
        }
        found => found?,
    };
    let found = op.batch.state.flowtable(id).ok_or(Errno::ENOENT)?;
    if let Some(hook) = attrs[HOOK] {
        let gone = devices_of(found, &hook)?;
        if !gone.iter().all(|device| found.devices.contains(device)) {
            return Err(Errno::ENOENT.into());
        }
        let found = op.batch.state.flowtables.get_mut(id.0).ok_or(Errno::ENOENT)?;
        found.devices.retain(|device| !gone.contains(device));
        let found = found.clone();
        let (flags, family) = (op.event_flags(), found.table.family);
        op.notify(msg::DELFLOWTABLE, flags, family, move |out, _| write(&found, &gone, out));
        return Ok(());
    }
    if found.uses > 0 {
        return Err(attr.error(Errno::EBUSY));
    }
    remove(op, id)
}

/// Takes a flowtable out that nothing uses, and tells of it.
pub(super) fn remove(op: &mut Op<'_>, id: FlowtableId) -> Result<()> {
    let found = op.batch.state.flowtables.remove(id.0).ok_or(Errno::ENOENT)?;
    let table = op.batch.state.table_of(&found.table).ok_or(Errno::ENOENT)?.handle;
    let table = op.batch.state.table_mut(table).ok_or(Errno::ENOENT)?;
    table.flowtables.remove(&*found.name, found.handle);
    op.notify(msg::DELFLOWTABLE, op.event_flags(), found.table.family, move |out, _| {
        write_short(&found, out);
    });
    Ok(())
}

/// `NFT_MSG_GETFLOWTABLE` of one.
pub(super) fn get(query: &Query<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let attrs: [_; ATTRS] = query.message.attrs().table();
    let name = attrs[NAME].ok_or(Errno::EINVAL)?;
    let family = query.message.nfgen()?.family;
    let table = find_table(query.state, family, attrs[TABLE].as_ref());
    let table = table.map_err(at(attrs[TABLE]))?;
    let found = query.state.flowtable(named(table, &name)?).ok_or(Errno::ENOENT)?;
    let nfgen = NfGen { family, version: 0, res_id: res_id(query.state) };
    reply.message(kind(msg::NEWFLOWTABLE), 0, nfgen, |out| write(found, &found.devices, out));
    Ok(())
}

/// `NFT_MSG_GETFLOWTABLE` of all, or of a table.
pub(super) fn dump(query: &Query<'_>) -> Result<Box<dyn Dump>> {
    let attrs: [_; ATTRS] = query.message.attrs().table();
    let family = query.message.nfgen()?.family;
    let wanted = attrs[TABLE].map(|attr| attr.str(NAME_LEN)).transpose()?;
    let tables = query.state.tables.values().filter(|table| {
        (family == 0 || table.family() as u8 == family)
            && wanted.is_none_or(|name| *table.key.name == *name)
    });
    let ids: Vec<FlowtableId> = tables.flat_map(|table| table.flowtables.iter()).collect();
    Walk::start(query.state, ids.into_iter(), |state, id, message| {
        let Some(found) = state.flowtable(id) else { return };
        message.append(msg::NEWFLOWTABLE, found.table.family as u8, |out| {
            write(found, &found.devices, out);
        });
    })
}

/// What names it, as an event tells of one that is gone.
fn write_short(found: &Flowtable, out: &mut Writer) {
    out.str(TABLE as u16, &found.table.name);
    out.str(NAME as u16, &found.name);
    out.u64(HANDLE as u16, found.handle.0);
}

fn write(found: &Flowtable, devices: &[Device], out: &mut Writer) {
    write_short(found, out);
    out.u32(USE, found.uses);
    out.u32(FLAGS as u16, found.flags);
    out.nest(HOOK as u16, |out| {
        out.u32(HOOK_NUM as u16, found.hook);
        out.u32(HOOK_PRIORITY as u16, found.priority);
        write_devices(devices, None, HOOK_DEVS as u16, out);
    });
}
