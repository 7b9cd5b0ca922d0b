//! Tables (`NFTA_TABLE_…`).

use std::sync::Arc;

use nfnetlink::attr::Writer;
use nfnetlink::message::{NLM_F_EXCL, NLM_F_REPLACE};
use nfnetlink::{Attr, Client, Dump, Errno, Reply, Result};

use crate::expr::Ref;
use crate::family::Family;
use crate::ids::{Handle, SetId};
use crate::model::{ChainFlags, Index, State, Table, TableFlags, TableKey};

use super::dump::Walk;
use super::op::{NAME_LEN, find_table, kind, res_id};
use super::{NLM_F_NONREC, Op, Query, chain, flowtable, msg, object, rule, set};

const NAME: usize = 1;
const FLAGS: usize = 2;
const USE: u16 = 3;
const HANDLE: usize = 4;
const USERDATA: usize = 6;
const OWNER: u16 = 7;
const ATTRS: usize = 8;

/// Bytes of what a program may keep beside a thing (`NFT_USERDATA_MAXLEN`).
pub(super) const USERDATA_LEN: usize = 256;

/// What a program keeps beside a thing.
pub(super) fn userdata(attr: Option<&Attr<'_>>) -> Result<Option<Arc<[u8]>>> {
    match attr {
        Some(attr) if attr.data.len() > USERDATA_LEN => Err(attr.error(Errno::ERANGE)),
        Some(attr) if !attr.data.is_empty() => Ok(Some(attr.data.into())),
        _ => Ok(None),
    }
}

/// `NFT_MSG_NEWTABLE`.
pub(super) fn new(op: &mut Op<'_>) -> Result<()> {
    let attrs = op.attrs::<ATTRS>();
    let name = attrs[NAME].ok_or(Errno::EINVAL)?;
    let family = op.family()?;
    let flags = match attrs[FLAGS] {
        Some(flags) => Some(TableFlags(flags.u32()?)),
        None => None,
    };
    let known = TableFlags::DORMANT | TableFlags::OWNER | TableFlags::PERSIST;
    if flags.is_some_and(|flags| flags.0 & !known != 0) {
        return Err(Errno::EOPNOTSUPP.into());
    }
    match find_table(&op.batch.state, op.family, Some(&name)) {
        Ok(_) => {
            let handle = op.table(Some(&name))?;
            if op.message.has(NLM_F_EXCL) {
                return Err(name.error(Errno::EEXIST));
            }
            if op.message.has(NLM_F_REPLACE) {
                return Err(Errno::EOPNOTSUPP.into());
            }
            return flags.map_or(Ok(()), |flags| update(op, handle, flags));
        }
        Err(error) if error.errno != Errno::ENOENT => return Err(error),
        Err(_) => {}
    }
    let key = TableKey { family, name: name.str(NAME_LEN)?.into() };
    let flags = flags.unwrap_or_default();
    let userdata = userdata(attrs[USERDATA].as_ref())?;
    let owner = flags.has(TableFlags::OWNER).then_some((op.client.id, op.client.port_id));
    let handle = op.batch.state.insert_table(|handle| Table {
        key: Arc::new(key),
        handle,
        flags,
        owner,
        userdata,
        chains: Index::default(),
        sets: Index::default(),
        anonymous_sets: 0,
        objects: Index::default(),
        flowtables: Index::default(),
        last_handle: 0,
    });
    announce(op, handle, family);
    Ok(())
}

fn announce(op: &mut Op<'_>, handle: Handle, family: Family) {
    // As it is now, in case that the batch deletes it again.
    let now = op.is_heard().then(|| op.batch.state.tables.get(&handle).cloned()).flatten();
    let Some(now) = now else { return };
    op.notify(msg::NEWTABLE, op.event_flags(), family, move |out, cx| {
        write(cx.state.table_by_handle(handle).unwrap_or(&now), out);
    });
}

/// A table that is there gets other flags.
fn update(op: &mut Op<'_>, handle: Handle, flags: TableFlags) -> Result<()> {
    let client = op.client;
    let table = op.batch.state.table_mut(handle).ok_or(Errno::ENOENT)?;
    if table.flags == flags {
        return Ok(());
    }
    let orphan = table.flags.has(TableFlags::OWNER) && table.owner.is_none();
    if (table.owner.is_some() && !flags.has(TableFlags::OWNER))
        || (flags.has(TableFlags::OWNER) && !orphan && table.owner.is_none())
    {
        return Err(Errno::EOPNOTSUPP.into());
    }
    if flags.has(TableFlags::OWNER) && orphan {
        table.owner = Some((client.id, client.port_id));
    }
    let wakes = table.flags.has(TableFlags::DORMANT) && !flags.has(TableFlags::DORMANT);
    table.flags = flags;
    let family = table.family();
    if wakes {
        hook_in(&mut op.batch.state, handle);
    }
    op.batch.hooks_changed = true;
    announce(op, handle, family);
    Ok(())
}

/// The base chains of a table that wakes up are hooked in anew.
fn hook_in(state: &mut State, handle: Handle) {
    let chains: Vec<_> =
        state.table_by_handle(handle).into_iter().flat_map(|table| table.chains.iter()).collect();
    for id in chains {
        let order = state.next_order();
        if let Some(base) = state.chains.get_mut(id.0).and_then(|chain| chain.base.as_mut()) {
            Arc::make_mut(base).order = order;
        }
    }
}

/// `NFT_MSG_DELTABLE` and `NFT_MSG_DESTROYTABLE`. Without a name and a handle: every table of the family, or of all.
pub(super) fn delete(op: &mut Op<'_>) -> Result<()> {
    let attrs = op.attrs::<ATTRS>();
    if op.family == 0 || (attrs[NAME].is_none() && attrs[HANDLE].is_none()) {
        return flush(op);
    }
    let found = match attrs[HANDLE] {
        Some(attr) => by_handle(op, &attr),
        None => op.table(attrs[NAME].as_ref()).map_err(|error| match attrs[NAME] {
            Some(name) => error.at(&name),
            None => error,
        }),
    };
    let handle = match found {
        Err(error) if error.errno == Errno::ENOENT && op.message.command() == msg::DESTROYTABLE => {
            return Ok(());
        }
        found => found?,
    };
    let table = op.table_ref(handle)?;
    if op.message.has(NLM_F_NONREC) && uses(table) > 0 {
        return Err(Errno::EBUSY.into());
    }
    remove(op, handle)
}

fn by_handle(op: &Op<'_>, attr: &Attr<'_>) -> Result<Handle> {
    let handle = Handle(attr.u64()?);
    let table = op.batch.state.table_by_handle(handle).ok_or(attr.error(Errno::ENOENT))?;
    if table.family() as u8 != op.family {
        return Err(attr.error(Errno::ENOENT));
    }
    match table.owner {
        Some((owner, _)) if owner != op.client.id => Err(attr.error(Errno::EPERM)),
        _ => Ok(handle),
    }
}

/// Deletes every table of the message's family (0: of all) that this client may delete; named, only those of the name.
fn flush(op: &mut Op<'_>) -> Result<()> {
    let name = op.attrs::<ATTRS>()[NAME].map(|name| name.str(NAME_LEN)).transpose()?;
    let (family, client) = (op.family, op.client.id);
    let tables = op.batch.state.tables.values().filter(|table| {
        (family == 0 || table.family() as u8 == family)
            && table.owner.is_none_or(|(owner, _)| owner == client)
            && name.is_none_or(|name| *table.key.name == *name)
    });
    let handles: Vec<Handle> = tables.map(|table| table.handle).collect();
    handles.into_iter().try_for_each(|handle| remove(op, handle))
}

/// Deletes a table with everything in it, in the kernel's order.
fn remove(op: &mut Op<'_>, handle: Handle) -> Result<()> {
    let table = op.table_ref(handle)?.clone();
    let named = |op: &Op<'_>| -> Vec<_> {
        let chains = table.chains.iter().filter_map(|id| op.batch.state.chain(id));
        let chains = chains.filter(|chain| !chain.flags.has(ChainFlags::BINDING));
        chains.map(|chain| chain.id).collect()
    };
    for chain in named(op) {
        rule::flush(op, chain)?;
    }
    let sets: Vec<SetId> = table.sets.iter().collect();
    for id in sets {
        if op.batch.state.set(id).is_some_and(|set| !set.is_anonymous()) {
            set::remove(op, id)?;
        }
    }
    for id in table.flowtables.iter() {
        flowtable::remove(op, id)?;
    }
    for id in table.objects.iter() {
        object::remove(op, id)?;
    }
    for id in named(op) {
        chain::remove(op, id)?;
    }
    // What is left belonged to rules of this batch that never were: it goes with the table.
    let family = table.family();
    let snapshot = op.table_ref(handle)?.clone();
    op.batch.hooks_changed = true;
    op.batch.unchecked.remove(&handle);
    op.batch.state.remove_table(handle);
    op.notify(msg::DELTABLE, 0, family, move |out, _| write_short(&snapshot, out));
    Ok(())
}

/// A client is gone: its tables go too, without a word to listeners, unless they are to stay. True if it had any.
pub(super) fn disown(state: &mut State, client: Client) -> bool {
    let owned = |table: &&Arc<Table>| table.owner.is_some_and(|(owner, _)| owner == client.id);
    let owned: Vec<Arc<Table>> = state.tables.values().filter(owned).cloned().collect();
    for table in &owned {
        if table.flags.has(TableFlags::PERSIST) {
            if let Some(table) = state.table_mut(table.handle) {
                table.owner = None;
            }
            continue;
        }
        untrack(state, table);
        table.chains.iter().for_each(|id| drop(state.chains.remove(id.0)));
        table.sets.iter().for_each(|id| drop(state.sets.remove(id.0)));
        table.objects.iter().for_each(|id| drop(state.objects.remove(id.0)));
        table.flowtables.iter().for_each(|id| drop(state.flowtables.remove(id.0)));
        state.remove_table(table.handle);
    }
    !owned.is_empty()
}

/// What is in a table that goes needs no tracking any more.
fn untrack(state: &mut State, table: &Table) {
    let mut ends = Vec::new();
    let mut each = |to| {
        if let Ref::Tracking(family) = to {
            ends.push(family);
        }
    };
    for chain in table.chains.iter().filter_map(|id| state.chain(id)) {
        chain.rules.iter().for_each(|rule| rule.refs(&mut each));
    }
    for set in table.sets.iter().filter_map(|id| state.set(id)) {
        set.spec.exprs.iter().for_each(|expr| expr.refs(&mut each));
    }
    for object in table.objects.iter().filter_map(|id| state.object(id)) {
        if object.body.needs_tracking() {
            each(Ref::Tracking(table.family()));
        }
    }
    for family in ends {
        state.tracking.end(family);
    }
}

/// `NFT_MSG_GETTABLE` of one.
pub(super) fn get(query: &Query<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let attrs: [_; ATTRS] = query.message.attrs().table();
    let family = query.message.nfgen()?.family;
    let table = find_table(query.state, family, attrs[NAME].as_ref())?;
    let nfgen = nfnetlink::NfGen { family, version: 0, res_id: res_id(query.state) };
    reply.message(kind(msg::NEWTABLE), 0, nfgen, |out| write(table, out));
    Ok(())
}

/// `NFT_MSG_GETTABLE` of all.
pub(super) fn dump(query: &Query<'_>) -> Result<Box<dyn Dump>> {
    let family = query.message.nfgen()?.family;
    let tables = query.state.tables.clone().into_iter().map(|(_, table)| table);
    let tables = tables.filter(move |table| family == 0 || table.family() as u8 == family);
    Walk::start(query.state, tables, |_, table, message| {
        message.put(msg::NEWTABLE, table.family() as u8, |out| write(&table, out));
    })
}

/// Things in a table (`NFTA_TABLE_USE`).
fn uses(table: &Table) -> usize {
    let sets = table.sets.len() - table.anonymous_sets;
    table.chains.len() + sets + table.objects.len() + table.flowtables.len()
}

fn write_short(table: &Table, out: &mut Writer) {
    out.str(NAME as u16, &table.key.name);
    out.u32(USE, uses(table) as u32);
    out.u64(HANDLE as u16, table.handle.0);
}

fn write(table: &Table, out: &mut Writer) {
    write_short(table, out);
    out.u32(FLAGS as u16, table.flags.0);
    if let Some((_, port_id)) = table.owner {
        out.u32(OWNER, port_id);
    }
    if let Some(userdata) = &table.userdata {
        out.put(USERDATA as u16, userdata);
    }
}
