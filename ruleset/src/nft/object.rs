//! Objects (`NFTA_OBJ_…`).

use std::sync::Arc;

use nfnetlink::attr::Writer;
use nfnetlink::message::{NLM_F_EXCL, NLM_F_REPLACE};
use nfnetlink::{Attr, Dump, Errno, Events, Header, NfGen, Reply, Result};

use crate::expr::{Encode, Ref};
use crate::ids::{Handle, ObjectId};
use crate::model::{Object, ObjectBody, ObjectKind, State, Table};
use crate::object;

use super::chain::at;
use super::dump::Walk;
use super::op::{NAME_LEN, find_table, kind, res_id};
use super::{GROUP, Op, Query, msg, table};

const TABLE: usize = 1;
const NAME: usize = 2;
const KIND: usize = 3;
const DATA: usize = 4;
const USE: u16 = 5;
const HANDLE: usize = 6;
const USERDATA: usize = 8;
const ATTRS: usize = 9;

fn named(table: &Table, kind: ObjectKind, name: &Attr<'_>) -> Result<ObjectId> {
    let found = table.objects.named(&(kind, name.str(NAME_LEN)?.into()));
    found.ok_or_else(|| name.error(Errno::ENOENT))
}

/// `NFT_MSG_NEWOBJ`.
pub(super) fn new(op: &mut Op<'_>) -> Result<()> {
    let attrs = op.attrs::<ATTRS>();
    let (Some(number), Some(name), Some(data)) = (attrs[KIND], attrs[NAME], attrs[DATA]) else {
        return Err(Errno::EINVAL.into());
    };
    let handle = op.table(attrs[TABLE].as_ref()).map_err(at(attrs[TABLE]))?;
    let number = ObjectKind(number.u32()?);
    match named(op.table_ref(handle)?, number, &name) {
        Ok(_) if op.message.has(NLM_F_EXCL) => return Err(name.error(Errno::EEXIST)),
        Ok(_) if op.message.has(NLM_F_REPLACE) => return Err(Errno::EOPNOTSUPP.into()),
        Ok(id) => return update(op, handle, id, &data),
        Err(error) if error.errno != Errno::ENOENT => return Err(error),
        Err(_) => {}
    }
    let body = decode(op, handle, number, &data)?;
    let userdata = table::userdata(attrs[USERDATA].as_ref())?;
    let name: crate::model::Name = name.str(NAME_LEN)?.into();
    let table = op.batch.state.table_mut(handle).ok_or(Errno::ENOENT)?;
    let (key, handle_in_table) = (table.key.clone(), table.next_handle());
    let tracks = body.needs_tracking();
    let id = op.batch.state.objects.insert_with(|slot| Object {
        id: ObjectId(slot),
        table: key.clone(),
        name: name.clone(),
        handle: handle_in_table,
        body,
        uses: 0,
        userdata,
    });
    let id = ObjectId(id);
    if tracks {
        op.batch.link(None, Ref::Tracking(key.family));
    }
    let table = op.batch.state.table_mut(handle).ok_or(Errno::ENOENT)?;
    table.objects.insert((number, name), handle_in_table, id);
    announce(op, id)
}

fn decode(
    op: &Op<'_>,
    table: Handle,
    number: ObjectKind,
    data: &Attr<'_>,
) -> Result<Arc<dyn ObjectBody>> {
    let entry = object::find(number).ok_or(Errno::ENOENT)?;
    let mut decoder = op.decoder(table, None)?;
    // The kernel names no attribute of an object that it refuses.
    let body = (entry.decode)(data, &mut decoder);
    body.map(Arc::from).map_err(|error| nfnetlink::Error { offset: None, ..error })
}

/// An object that is there gets other settings, where its kind can.
fn update(op: &mut Op<'_>, table: Handle, id: ObjectId, data: &Attr<'_>) -> Result<()> {
    let body = op.batch.state.object(id).ok_or(Errno::ENOENT)?.body.clone();
    let new = decode(op, table, body.kind().kind, data)?;
    let Some(updated) = body.updated(&*new) else { return Ok(()) };
    op.batch.state.objects.get_mut(id.0).ok_or(Errno::ENOENT)?.body = updated;
    announce(op, id)
}

/// Tells of an object as it is once the batch is committed; of one that is gone by then, as it was.
fn announce(op: &mut Op<'_>, id: ObjectId) -> Result<()> {
    let made = op.batch.state.object(id).ok_or(Errno::ENOENT)?.clone();
    op.notify(msg::NEWOBJ, op.event_flags(), made.table.family, move |out, cx| {
        let now = cx.state.object(id).filter(|now| now.handle == made.handle);
        write(now.unwrap_or(&made), out, cx);
    });
    Ok(())
}

/// `NFT_MSG_DELOBJ` and `NFT_MSG_DESTROYOBJ`.
pub(super) fn delete(op: &mut Op<'_>) -> Result<()> {
    let attrs = op.attrs::<ATTRS>();
    let number = attrs[KIND].ok_or(Errno::EINVAL)?;
    let attr = attrs[HANDLE].or(attrs[NAME]).ok_or(Errno::EINVAL)?;
    let handle = op.table(attrs[TABLE].as_ref()).map_err(at(attrs[TABLE]))?;
    let number = ObjectKind(number.u32()?);
    let table = op.table_ref(handle)?;
    let of_kind = |id: &ObjectId| {
        op.batch.state.object(*id).is_some_and(|object| object.body.kind().kind == number)
    };
    let found = match attrs[HANDLE] {
        Some(attr) => {
            let found = table.objects.handle(Handle(attr.u64()?)).filter(of_kind);
            found.ok_or_else(|| attr.error(Errno::ENOENT))
        }
        None => named(table, number, &attr),
    };
    let id = match found {
        Err(error) if error.errno == Errno::ENOENT && op.message.command() == msg::DESTROYOBJ => {
            return Ok(());
        }
        found => found?,
    };
    if op.batch.state.object(id).is_some_and(|object| object.uses > 0) {
        return Err(attr.error(Errno::EBUSY));
    }
    remove(op, id)
}

/// Takes an object out that nothing uses, and tells of it.
pub(super) fn remove(op: &mut Op<'_>, id: ObjectId) -> Result<()> {
    let object = op.batch.state.objects.remove(id.0).ok_or(Errno::ENOENT)?;
    if object.body.needs_tracking() {
        op.batch.unlink(None, Ref::Tracking(object.table.family));
    }
    let table = op.batch.state.table_of(&object.table).ok_or(Errno::ENOENT)?.handle;
    let table = op.batch.state.table_mut(table).ok_or(Errno::ENOENT)?;
    table.objects.remove(&(object.body.kind().kind, object.name.clone()), object.handle);
    op.notify(msg::DELOBJ, op.event_flags(), object.table.family, move |out, _| {
        write_short(&object, out);
    });
    Ok(())
}

/// Tells listeners of objects that packets changed: quotas that are used up.
pub(super) fn tell_news(state: &State, now: u64, events: &mut Events) {
    let cx = Encode { state, reset: false, now };
    for (_, object) in state.objects.iter().filter(|(_, object)| object.body.has_news()) {
        let header = Header { kind: kind(msg::NEWOBJ), ..Header::default() };
        let family = object.table.family as u8;
        let nfgen = NfGen { family, version: 0, res_id: res_id(state) };
        events.push(GROUP, None, |out| out.message(header, nfgen, |out| write(object, out, &cx)));
    }
}

fn is_reset(query: &Query<'_>) -> bool {
    query.message.command() == msg::GETOBJ_RESET
}

/// `NFT_MSG_GETOBJ` and `NFT_MSG_GETOBJ_RESET` of one.
pub(super) fn get(query: &Query<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let attrs: [_; ATTRS] = query.message.attrs().table();
    let (Some(name), Some(number)) = (attrs[NAME], attrs[KIND]) else {
        return Err(Errno::EINVAL.into());
    };
    let family = query.message.nfgen()?.family;
    let table = find_table(query.state, family, attrs[TABLE].as_ref());
    let table = table.map_err(at(attrs[TABLE]))?;
    let id = named(table, ObjectKind(number.u32()?), &name)?;
    let object = query.state.object(id).ok_or(Errno::ENOENT)?;
    let cx = Encode { state: query.state, reset: is_reset(query), now: query.now };
    let nfgen = NfGen { family, version: 0, res_id: res_id(query.state) };
    reply.message(kind(msg::NEWOBJ), 0, nfgen, |out| write(object, out, &cx));
    Ok(())
}

/// `NFT_MSG_GETOBJ` and `NFT_MSG_GETOBJ_RESET` of all, of a table, of a kind.
pub(super) fn dump(query: &Query<'_>) -> Result<Box<dyn Dump>> {
    let attrs: [_; ATTRS] = query.message.attrs().table();
    let family = query.message.nfgen()?.family;
    let wanted_table = attrs[TABLE].map(|attr| attr.str(NAME_LEN)).transpose()?;
    let wanted_kind = attrs[KIND].map(|attr| attr.u32()).transpose()?.filter(|kind| *kind != 0);
    let tables = query.state.tables.values().filter(|table| {
        (family == 0 || table.family() as u8 == family)
            && wanted_table.is_none_or(|name| *table.key.name == *name)
    });
    let of_kind = |id: &ObjectId| {
        let object = query.state.object(*id);
        wanted_kind
            .is_none_or(|kind| object.is_some_and(|object| object.body.kind().kind.0 == kind))
    };
    let ids: Vec<ObjectId> =
        tables.flat_map(|table| table.objects.iter()).filter(of_kind).collect();
    let (reset, now) = (is_reset(query), query.now);
    Walk::start(query.state, ids.into_iter(), move |state, id, message| {
        let Some(object) = state.object(id) else { return };
        let cx = Encode { state, reset, now };
        message.append(msg::NEWOBJ, object.table.family as u8, |out| write(object, out, &cx));
    })
}

/// What names it, as an event tells of one that is gone.
fn write_short(object: &Object, out: &mut Writer) {
    out.str(TABLE as u16, &object.table.name);
    out.str(NAME as u16, &object.name);
    out.u32(KIND as u16, object.body.kind().kind.0);
    out.u64(HANDLE as u16, object.handle.0);
}

fn write(object: &Object, out: &mut Writer, cx: &Encode<'_>) {
    write_short(object, out);
    out.u32(USE, object.uses);
    out.nest(DATA as u16, |out| object.body.encode(out, cx));
    if let Some(userdata) = &object.userdata {
        out.put(USERDATA as u16, userdata);
    }
}
