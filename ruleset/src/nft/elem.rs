//! Set elements: `NFTA_SET_ELEM_LIST_…`, `NFTA_SET_ELEM_…`.

use std::sync::Arc;

use nfnetlink::attr::{Table as AttrTable, Writer};
use nfnetlink::message::NLM_F_EXCL;
use nfnetlink::{Attr, Dump, Errno, Error, Header, NfGen, Reply, Result};

use crate::data::Data;
use crate::expr::{Encode, Expr, Ref, encode_list, encode_one};
use crate::ids::{Handle, SetId};
use crate::model::{
    Ask, Element, Extra, Inserted, Key, Lifetime, Name, Removed, Set, SetFlags, State, TableKey,
    Values,
};

use super::dump::Message;
use super::op::{NAME_LEN, find_table, kind, res_id};
use super::set::{at, millis, stateful, to_millis};
use super::{Batch, Op, Query, msg, table};

const LIST_TABLE: u16 = 1;
const LIST_SET: u16 = 2;
const LIST_ELEMENTS: u16 = 3;
const LIST_ELEM: u16 = crate::expr::LIST_ELEM;

const KEY: u16 = 1;
const DATA: u16 = 2;
const FLAGS: u16 = 3;
const TIMEOUT: u16 = 4;
const EXPIRATION: u16 = 5;
const USERDATA: u16 = 6;
const EXPR: u16 = 7;
const OBJREF: u16 = 9;
const KEY_END: u16 = 10;
const EXPRESSIONS: u16 = 11;
/// `NFTA_DATA_VALUE`.
const VALUE: u16 = 1;

/// `NFT_SET_ELEM_INTERVAL_END`.
const INTERVAL_END: u32 = 1;
/// `NFT_SET_ELEM_CATCHALL`.
const CATCHALL: u32 = 2;

/// Bytes of elements in one message; an attribute holds less than 64 KiB.
const MESSAGE: usize = 32 << 10;

/// An element's attributes.
type Attrs<'a> = AttrTable<'a, 12>;

/// The set that a request to change elements is about.
fn target(op: &Op<'_>, ids: bool) -> Result<(Handle, SetId)> {
    let [_, table, set, _, id] = op.attrs::<5>();
    let handle = op.table(table.as_ref())?;
    let table = op.table_ref(handle)?;
    let name = set.ok_or(Errno::EINVAL)?;
    let named = table.sets.named(name.str(NAME_LEN)?);
    let numbered = match id.filter(|_| ids && named.is_none()) {
        Some(id) => op.batch.ids.sets.get(&(handle, id.u32()?)).copied(),
        None => None,
    };
    let id = named.or(numbered).ok_or_else(|| name.error(Errno::ENOENT))?;
    Ok((handle, id))
}

/// A refusal that points at the element, as the kernel's do, whatever is wrong in it. Only attributes that are too short or too
/// long are pointed at themselves: the kernel looks at these before all else.
fn blame(attr: &Attr<'_>, error: Error) -> Error {
    if error.errno == Errno::ERANGE && error.offset.is_some() {
        return error;
    }
    Error { offset: None, ..error }.at(attr)
}

/// `NFT_MSG_NEWSETELEM`.
pub(super) fn new(op: &mut Op<'_>) -> Result<()> {
    let [_, _, _, elements] = op.attrs::<4>();
    let elements = elements.ok_or(Errno::EINVAL)?;
    let (table, id) = target(op, true)?;
    let set = op.batch.state.set(id).ok_or(Errno::ENOENT)?;
    if set.uses > 0 && set.flags().has(SetFlags::CONSTANT | SetFlags::ANONYMOUS) {
        return Err(Errno::EBUSY.into());
    }
    let now = (op.host.now)();
    for attr in elements.nested() {
        add(op, table, id, &attr, now).map_err(|error| blame(&attr, error))?;
    }
    Ok(())
}

fn add(op: &mut Op<'_>, table: Handle, id: SetId, attr: &Attr<'_>, now: u64) -> Result<()> {
    let set = op.batch.state.set(id).ok_or(Errno::ENOENT)?;
    let (element, wanted) = read(op, table, set, &attr.table(), now)?;
    let hidden = op.batch.is_gone(id, element.key.as_ref());
    let set = op.batch.state.sets.get_mut(id.0).ok_or(Errno::ENOENT)?;
    let course = op.batch.courses.entry(id).or_default();
    match set.insert(element.clone(), &mut Ask { now, hidden, loose: false, course }) {
        Inserted::New { replaced } => {
            replaced.iter().for_each(|element| release(op.batch, id, element));
            hold(op, table, id, &element);
            tell(op, msg::NEWSETELEM, id, element);
            Ok(())
        }
        Inserted::Same(old) => {
            let (new, was) = (element.rest.as_deref(), old.as_deref());
            let data = |extra: Option<&Extra>| extra.and_then(|extra| extra.data.clone());
            let object = |extra: Option<&Extra>| extra.and_then(|extra| extra.object);
            let differs = data(new) != data(was) || object(new) != object(was);
            if differs || op.message.has(NLM_F_EXCL) {
                return Err(Errno::EEXIST.into());
            }
            if let Some(old) = old
                && set.flags().has(SetFlags::TIMEOUT)
            {
                prolong(op, id, element, old, wanted, now);
            }
            Ok(())
        }
        Inserted::Nothing => Ok(()),
        Inserted::Overlaps => Err(Errno::EEXIST.into()),
        Inserted::Invalid => Err(Errno::EINVAL.into()),
        Inserted::Full => Err(Errno::ENFILE.into()),
    }
}

/// Gives an element that is there another timeout, or more or less time, once the batch is committed.
fn prolong(op: &mut Op<'_>, id: SetId, element: Element, old: Arc<Extra>, wanted: Times, now: u64) {
    let Times { timeout, expiration } = wanted;
    let other = timeout != old.lifetime.timeout();
    let left = if other && expiration == 0 { timeout } else { expiration };
    if !other && left == 0 {
        return;
    }
    if let Some(set) = op.batch.state.sets.get_mut(id.0) {
        set.expect_end(now.saturating_add(left));
    }
    let element = Element { rest: Some(old.clone()), ..element };
    op.batch.on_commit.push(Box::new(move || {
        if other {
            old.lifetime.set_timeout(timeout);
        }
        if left != 0 {
            old.lifetime.refresh(left, now);
        }
    }));
    tell(op, msg::NEWSETELEM, id, element);
}

/// How long an element should live, in nanoseconds.
#[derive(Clone, Copy)]
struct Times {
    timeout: u64,
    /// What of it is left; 0: all.
    expiration: u64,
}

/// Reads an element of a set.
fn read(
    op: &Op<'_>,
    table: Handle,
    set: &Set,
    attrs: &Attrs<'_>,
    now: u64,
) -> Result<(Element, Times)> {
    let [_, key, data, _, timeout, expiration, udata, expr, _, object, key_end, exprs] = attrs;
    let flags = flags(set, attrs)?;
    let closes = flags & INTERVAL_END != 0;
    let is_map = set.flags().has(SetFlags::MAP);
    let is_objects = set.flags().has(SetFlags::OBJECT);
    let bad = (flags & CATCHALL != 0 && key.is_some())
        || (is_map && data.is_none() && !closes)
        || (!is_map && data.is_some())
        || (is_objects && object.is_none() && !closes)
        || (!is_objects && object.is_some())
        || !is_valid_end(set, flags, key_end.is_some())
        || (closes
            && [data, object, timeout, expiration, udata, expr, exprs].iter().any(|a| a.is_some()));
    if bad {
        return Err(Errno::EINVAL.into());
    }
    let times = times(set, closes, timeout.as_ref(), expiration.as_ref())?;
    let exprs = element_exprs(op, table, set, closes, expr.as_ref(), exprs.as_ref())?;
    let key = key.as_ref().map(|key| read_key(set, key)).transpose()?;
    let end = key_end.as_ref().map(|key| read_key(set, key)).transpose()?;
    let object = match (object, set.spec.values) {
        (Some(name), Values::Objects(kind)) => {
            let named =
                op.table_ref(table)?.objects.named(&(kind, Name::from(name.str(NAME_LEN)?)));
            Some(named.ok_or(Errno::ENOENT)?)
        }
        _ => None,
    };
    let data = match data {
        Some(data) => Some(read_data(op, table, set, data)?),
        None => None,
    };
    let userdata = table::userdata(udata.as_ref())?;
    let kept = data.is_some() || object.is_some() || userdata.is_some() || !exprs.is_empty();
    let rest = (kept || (set.keeps_all() && !closes)).then(|| {
        let left = if times.expiration == 0 { times.timeout } else { times.expiration };
        let lifetime = Lifetime::new(times.timeout, left, now);
        Arc::new(Extra { data, object, lifetime, exprs, userdata })
    });
    Ok((Element { key, end, closes, rest }, times))
}

/// An element's flags, with a key where they ask for one.
fn flags(set: &Set, attrs: &Attrs<'_>) -> Result<u32> {
    let flags = at(attrs, FLAGS).map_or(Ok(0), |attr| attr.u32())?;
    if flags & !(INTERVAL_END | CATCHALL) != 0 {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let bad = (!set.flags().has(SetFlags::INTERVAL) && flags & INTERVAL_END != 0)
        || flags & (INTERVAL_END | CATCHALL) == INTERVAL_END | CATCHALL
        || (flags & CATCHALL == 0 && at(attrs, KEY).is_none());
    if bad { Err(Errno::EINVAL.into()) } else { Ok(flags) }
}

/// Only ranges of several fields have an end of their own (`nft_setelem_valid_key_end`).
fn is_valid_end(set: &Set, flags: u32, has_end: bool) -> bool {
    if set.flags().has_all(SetFlags::CONCAT | SetFlags::INTERVAL) {
        flags & INTERVAL_END == 0 && !(has_end && flags & CATCHALL != 0)
    } else {
        !has_end
    }
}

fn times(
    set: &Set,
    closes: bool,
    timeout: Option<&Attr<'_>>,
    expiration: Option<&Attr<'_>>,
) -> Result<Times> {
    let timed = set.flags().has(SetFlags::TIMEOUT);
    if !timed && (timeout.is_some() || expiration.is_some()) {
        return Err(Errno::EINVAL.into());
    }
    let timeout = match timeout {
        Some(attr) => millis(attr)?,
        None if timed && !closes => set.tuning.timeout,
        None => 0,
    };
    let expiration = match expiration {
        Some(_) if timeout == 0 => return Err(Errno::EOPNOTSUPP.into()),
        Some(attr) => millis(attr)?,
        None => 0,
    };
    if expiration > timeout {
        return Err(Errno::ERANGE.into());
    }
    Ok(Times { timeout, expiration })
}

/// An element's expressions: its own, of the kinds that the set has, or the set's.
fn element_exprs(
    op: &Op<'_>,
    table: Handle,
    set: &Set,
    closes: bool,
    one: Option<&Attr<'_>>,
    many: Option<&Attr<'_>>,
) -> Result<Box<[Box<dyn Expr>]>> {
    let of_set = &set.spec.exprs;
    if one.is_none() && many.is_none() {
        return Ok(if closes { Box::default() } else { set.spec.fresh_exprs() });
    }
    if one.is_some() && of_set.len() > 1 {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let exprs = stateful(op, table, one, many)?;
    if !of_set.is_empty() && exprs.len() > of_set.len() {
        return Err(Errno::E2BIG.into());
    }
    if !set.spec.allows(&exprs) {
        return Err(Errno::EOPNOTSUPP.into());
    }
    Ok(exprs)
}

fn read_key(set: &Set, attr: &Attr<'_>) -> Result<Key> {
    let [_, value] = attr.table::<2>();
    match value {
        Some(value) if value.data.len() == usize::from(set.spec.key_len) => {
            Ok(Key::new(value.data))
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

fn read_data(op: &Op<'_>, table: Handle, set: &Set, attr: &Attr<'_>) -> Result<Data> {
    let data = Data::decode(attr, &op.decoder(table, None)?)?;
    match (&data, set.spec.values) {
        (Data::Verdict(_), Values::Verdicts) => Ok(data),
        (Data::Value(value), Values::Bytes { len, .. }) if value.len() == usize::from(len) => {
            Ok(data)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

/// Counts what a new element points at.
fn hold(op: &mut Op<'_>, table: Handle, id: SetId, element: &Element) {
    let header = op.message.header;
    let batch = &mut *op.batch;
    element.refs(&mut |to| {
        batch.link(None, to);
        if let Ref::Chain(chain) = to {
            if let Some(set) = batch.state.sets.get_mut(id.0) {
                *set.jumps.entry(chain).or_insert(0) += 1;
            }
            batch.unchecked.entry(table).or_default().push((header, chain));
        }
    });
}

/// Takes back what an element that is gone pointed at.
fn release(batch: &mut Batch, id: SetId, element: &Element) {
    element.refs(&mut |to| {
        batch.unlink(None, to);
        if let Ref::Chain(chain) = to
            && let Some(set) = batch.state.sets.get_mut(id.0)
            && let Some(count) = set.jumps.get_mut(&chain)
        {
            *count -= 1;
            if *count == 0 {
                set.jumps.remove(&chain);
            }
        }
    });
}

/// Takes back what all elements of a set that is gone, or is flushed, pointed at.
pub(super) fn release_all(batch: &mut Batch, set: &Set) {
    for (chain, count) in &set.jumps {
        (0..*count).for_each(|_| batch.unlink(None, Ref::Chain(*chain)));
    }
    if let Values::Objects(_) = set.spec.values {
        let objects = set.elements(0).filter_map(|element| element.rest?.object);
        objects.for_each(|object| batch.unlink(None, Ref::Object(object)));
    }
}

/// `NFT_MSG_DELSETELEM`, `NFT_MSG_DESTROYSETELEM`: some elements, or all.
pub(super) fn delete(op: &mut Op<'_>) -> Result<()> {
    let (_, id) = target(op, false)?;
    let set = op.batch.state.set(id).ok_or(Errno::ENOENT)?;
    if set.is_anonymous() {
        return Err(Errno::EOPNOTSUPP.into());
    }
    if set.uses > 0 && set.flags().has(SetFlags::CONSTANT) {
        return Err(Errno::EBUSY.into());
    }
    let now = (op.host.now)();
    let [_, _, _, elements] = op.attrs::<4>();
    let Some(elements) = elements else { return flush(op, id, now) };
    for attr in elements.nested() {
        match remove(op, id, &attr, now) {
            Err(error)
                if error.errno == Errno::ENOENT && op.message.command() == msg::DESTROYSETELEM => {}
            result => result.map_err(|error| blame(&attr, error))?,
        }
    }
    Ok(())
}

fn remove(op: &mut Op<'_>, id: SetId, attr: &Attr<'_>, now: u64) -> Result<()> {
    let set = op.batch.state.set(id).ok_or(Errno::ENOENT)?;
    let (key, closes) = name(set, attr)?;
    let attrs: Attrs<'_> = attr.table();
    if !is_valid_end(set, flags(set, &attrs)?, at(&attrs, KEY_END).is_some()) {
        return Err(Errno::EINVAL.into());
    }
    let hidden = op.batch.is_gone(id, key.as_ref());
    let set = op.batch.state.sets.get_mut(id.0).ok_or(Errno::ENOENT)?;
    let course = op.batch.courses.entry(id).or_default();
    let mut ask = Ask { now, hidden, loose: false, course };
    let removed = set.remove(key.as_ref().map(Key::bytes), closes, &mut ask);
    let Removed { kept, shared } = removed.ok_or(Errno::ENOENT)?;
    if let Some(element) = &kept {
        release(op.batch, id, element);
    }
    let of_packet = || Element { key: key.clone(), end: None, closes: false, rest: shared.clone() };
    let element = kept.unwrap_or_else(of_packet);
    if let (Some(extra), Some(key)) = (shared, key) {
        let set = op.batch.state.set(id).ok_or(Errno::ENOENT)?;
        op.batch.on_commit.push(Box::new(set.end_later(key.clone(), extra)));
        op.batch.gone.insert((id, key));
    }
    tell(op, msg::DELSETELEM, id, element);
    Ok(())
}

/// The key by which a request names an element, and whether it means the end of a range.
fn name(set: &Set, attr: &Attr<'_>) -> Result<(Option<Key>, bool)> {
    let attrs: Attrs<'_> = attr.table();
    let flags = flags(set, &attrs)?;
    let end = at(&attrs, KEY_END);
    end.map(|end| read_key(set, &end)).transpose()?;
    let key = at(&attrs, KEY).map(|key| read_key(set, &key)).transpose()?;
    let key = key.filter(|_| flags & CATCHALL == 0);
    Ok((key, flags & INTERVAL_END != 0))
}

fn flush(op: &mut Op<'_>, id: SetId, now: u64) -> Result<()> {
    let set = op.batch.state.set(id).ok_or(Errno::ENOENT)?.clone();
    release_all(op.batch, &set);
    let emptied = op.batch.state.sets.get_mut(id.0).ok_or(Errno::ENOENT)?;
    emptied.jumps.clear();
    emptied.flush();
    if op.is_heard() {
        set.elements(now).for_each(|element| tell(op, msg::DELSETELEM, id, element));
    }
    Ok(())
}

/// Tells listeners of an element that came or went.
fn tell(op: &mut Op<'_>, command: u8, id: SetId, element: Element) {
    if !op.is_heard() {
        return;
    }
    let Some(set) = op.batch.state.set(id) else { return };
    let header = SetHeader::of(set);
    let names = Arc::new(op.batch.state.clone());
    let family = header.table.family;
    op.notify(command, op.event_flags(), family, move |out, cx| {
        let cx = Encode { state: &names, ..*cx };
        header.write(out, |out| write(&element, header.timeout, out, &cx));
    });
}

/// What every message of a set's elements says of the set.
struct SetHeader {
    table: Arc<TableKey>,
    name: Name,
    timeout: u64,
}

impl SetHeader {
    fn of(set: &Set) -> Self {
        Self { table: set.table.clone(), name: set.name.clone(), timeout: set.tuning.timeout }
    }

    fn write(&self, out: &mut Writer, elements: impl FnOnce(&mut Writer)) {
        out.str(LIST_TABLE, &self.table.name);
        out.str(LIST_SET, &self.name);
        out.nest(LIST_ELEMENTS, elements);
    }
}

/// Writes an element of a set whose elements live for `set_timeout` where they do not say.
fn write(element: &Element, set_timeout: u64, out: &mut Writer, cx: &Encode<'_>) {
    let value = |out: &mut Writer, kind: u16, key: &Option<Key>| {
        if let Some(key) = key {
            out.nest(kind, |out| out.put(VALUE, key.bytes()));
        }
    };
    out.nest(LIST_ELEM, |out| {
        value(out, KEY, &element.key);
        value(out, KEY_END, &element.end);
        let extra = element.rest.as_deref();
        if let Some(data) = extra.and_then(|extra| extra.data.as_ref()) {
            data.encode(DATA, out, cx.state);
        }
        match extra.map(|extra| &*extra.exprs) {
            None | Some([]) => {}
            Some([one]) => encode_one(one.as_ref(), EXPR, out, cx),
            Some(many) => encode_list(many, EXPRESSIONS, out, cx),
        }
        if let Some(object) = extra.and_then(|extra| cx.state.object(extra.object?)) {
            out.str(OBJREF, &object.name);
        }
        let flags = if element.closes { INTERVAL_END } else { 0 }
            | if element.key.is_none() { CATCHALL } else { 0 };
        if flags != 0 {
            out.u32(FLAGS, flags);
        }
        if element.closes && set_timeout != 0 {
            out.u64(TIMEOUT, 0);
        }
        let Some(Extra { lifetime, userdata, .. }) = extra else { return };
        if lifetime.timeout() != set_timeout {
            out.u64(TIMEOUT, to_millis(lifetime.timeout()));
        }
        if lifetime.timeout() != 0 {
            out.u64(EXPIRATION, to_millis(lifetime.left(cx.now)));
        }
        if let Some(userdata) = userdata {
            out.put(USERDATA, userdata);
        }
    });
}

/// The set that a request for elements is about.
fn wanted<'s>(query: &Query<'s>) -> Result<&'s Set> {
    let [_, table, set] = query.message.attrs().table();
    let table = find_table(query.state, query.message.nfgen()?.family, table.as_ref())?;
    let name = set.ok_or(Errno::EINVAL)?;
    let found = table.sets.named(name.str(NAME_LEN)?).and_then(|id| query.state.set(id));
    found.ok_or_else(|| name.error(Errno::ENOENT))
}

fn is_reset(query: &Query<'_>) -> bool {
    query.message.command() == msg::GETSETELEM_RESET
}

/// `NFT_MSG_GETSETELEM`, `NFT_MSG_GETSETELEM_RESET` of some elements.
pub(super) fn get(query: &Query<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let set = wanted(query)?;
    let [_, _, _, elements] = query.message.attrs().table();
    let cx = Encode { state: query.state, reset: is_reset(query), now: query.now };
    let header = SetHeader::of(set);
    for attr in elements.ok_or(Errno::EINVAL)?.nested() {
        let found = name(set, &attr).and_then(|(key, closes)| {
            let element = set.get(key.as_ref().map(Key::bytes), closes, query.now);
            Ok(element.ok_or(Errno::ENOENT)?)
        });
        // Of a range without an end the kernel says nothing and agrees.
        let Some(element) = found.map_err(|error| blame(&attr, error))? else { continue };
        let family = set.table.family as u8;
        let nfgen = NfGen { family, version: 0, res_id: res_id(query.state) };
        reply.message(kind(msg::NEWSETELEM), 0, nfgen, |out| {
            header.write(out, |out| write(&element, header.timeout, out, &cx));
        });
    }
    Ok(())
}

/// `NFT_MSG_GETSETELEM`, `NFT_MSG_GETSETELEM_RESET` of all.
pub(super) fn dump(query: &Query<'_>) -> Result<Box<dyn Dump>> {
    let set = wanted(query)?;
    Ok(Box::new(Elements {
        state: query.state.clone(),
        header: SetHeader::of(set),
        elements: Box::new(set.elements(query.now)),
        next: None,
        begun: false,
        reset: is_reset(query),
        now: query.now,
    }))
}

/// A dump of elements: what is left of it.
struct Elements {
    state: State,
    header: SetHeader,
    elements: Box<dyn Iterator<Item = Element> + Send>,
    next: Option<Element>,
    begun: bool,
    reset: bool,
    now: u64,
}

impl Dump for Elements {
    fn next(&mut self, header: Header, room: usize, out: &mut Writer) -> bool {
        let cx = Encode { state: &self.state, reset: self.reset, now: self.now };
        self.next = self.next.take().or_else(|| self.elements.next());
        if self.next.is_none() && self.begun {
            return false;
        }
        self.begun = true;
        let most = out.buf.len() + room.min(MESSAGE);
        let (names, timeout) = (&self.header, self.header.timeout);
        let (next, elements) = (&mut self.next, &mut self.elements);
        let mut message = Message::new(out, header, &self.state);
        message.put(msg::NEWSETELEM, names.table.family as u8, |out| {
            names.write(out, |out| {
                while let Some(element) = next.take().or_else(|| elements.next()) {
                    write(&element, timeout, out, &cx);
                    if out.buf.len() >= most {
                        return;
                    }
                }
            });
        });
        true
    }
}

/// Takes out elements that are over. True where something that a program holds went.
pub(super) fn collect(batch: &mut Batch, now: u64) -> bool {
    let due = batch.state.sets.iter().filter(|(_, set)| set.is_due(now));
    let due: Vec<SetId> = due.map(|(id, _)| SetId(id)).collect();
    let mut any = false;
    for id in due {
        let Some(set) = batch.state.sets.get_mut(id.0) else { continue };
        let over = set.collect(now);
        any |= !over.is_empty();
        over.iter().for_each(|element| release(batch, id, element));
    }
    any
}
