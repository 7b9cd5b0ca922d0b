//! Sets and maps: `NFTA_SET_…`.

use nfnetlink::attr::{Table as AttrTable, Writer};
use nfnetlink::message::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use nfnetlink::{Attr, Dump, Errno, Error, NfGen, Reply, Result};

use crate::expr::{Encode, Expr, LIST_ELEM, decode_one, encode_list, encode_one};
use crate::ids::{Handle, SetId};
use crate::model::{
    Layout, Name, NewSet, ObjectKind, Set, SetFlags, SharedSpec, Spec, State, Table, Tuning,
    Values, same_kinds,
};
use crate::regs::MAX_DATA;

use super::op::{NAME_LEN, find_table, kind, res_id};
use super::table::userdata;
use super::{Batch, NLM_F_NONREC, Op, Query, elem, msg};

const TABLE: u16 = 1;
const NAME: u16 = 2;
const FLAGS: u16 = 3;
const KEY_TYPE: u16 = 4;
const KEY_LEN: u16 = 5;
const DATA_TYPE: u16 = 6;
const DATA_LEN: u16 = 7;
const POLICY: u16 = 8;
/// `NFT_SET_POL_MEMORY`: the last of the policies.
const MEMORY: u32 = 1;
const DESC: u16 = 9;
const TIMEOUT: u16 = 11;
const GC_INTERVAL: u16 = 12;
const USERDATA: u16 = 13;
const OBJ_TYPE: u16 = 15;
const HANDLE: u16 = 16;
const EXPR: u16 = 17;
const EXPRESSIONS: u16 = 18;
const TYPE: u16 = 19;
const COUNT: u16 = 20;
const DESC_SIZE: u16 = 1;
const DESC_CONCAT: u16 = 2;
const FIELD_LEN: u16 = 1;

/// `NFT_DATA_VERDICT`; types from here on are reserved.
const VERDICT: u32 = 0xffff_ff00;
/// Bytes that the kernel says a verdict takes.
const VERDICT_LEN: u32 = 16;
/// `NFT_OBJECT_MAX`.
const OBJECT_MAX: u32 = 10;
/// Expressions that a set may have (`NFT_SET_EXPR_MAX`).
pub(super) const MAX_EXPRS: usize = 2;
const NANOS_PER_MILLI: u64 = 1_000_000;

type Attrs<'a> = AttrTable<'a, 21>;

/// `NFT_MSG_NEWSET`.
pub(super) fn new(op: &mut Op<'_>) -> Result<()> {
    let attrs: Attrs<'_> = op.attrs();
    let [_, table, name, _, _, key_len, _, _, _, _, id, ..] = attrs;
    let (Some(name), Some(_), Some(id)) = (name, key_len, id) else {
        return Err(Errno::EINVAL.into());
    };
    let mut wanted = Wanted::read(&attrs)?;
    let table = op.table(table.as_ref())?;
    let flags = op.message.header.flags;
    let found = op.table_ref(table)?.sets.named(name.str(NAME_LEN)?);
    if let Some(set) = found.and_then(|id| op.batch.state.set(id)) {
        if flags & NLM_F_EXCL != 0 {
            return Err(name.error(Errno::EEXIST));
        }
        if flags & NLM_F_REPLACE != 0 || set.is_anonymous() {
            return Err(Errno::EOPNOTSUPP.into());
        }
        let exprs = wanted.exprs(op, table, &attrs)?;
        if !wanted.is_same(&set.spec, &exprs) {
            return Err(name.error(Errno::EEXIST));
        }
        return update(op, set.id, wanted.tuning);
    }
    if flags & NLM_F_CREATE == 0 {
        return Err(Errno::ENOENT.into());
    }
    let has_exprs = at(&attrs, EXPR).or(at(&attrs, EXPRESSIONS)).is_some();
    let layout = wanted.layout(has_exprs)?;
    let name = free_name(&mut op.batch.state, table, name.str(NAME_LEN)?)?;
    let exprs = wanted.exprs(op, table, &attrs)?;
    let spec = wanted.spec(layout, exprs);
    if !spec.can_hold(&spec.exprs) {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let new = Making { table, name, spec: spec.into(), tuning: wanted.tuning };
    let userdata = userdata(at(&attrs, USERDATA).as_ref())?;
    let refs = new.spec.clone();
    let set = new.make(&mut op.batch.state, userdata)?;
    refs.exprs.iter().for_each(|expr| expr.refs(&mut |to| op.batch.link(None, to)));
    op.batch.ids.sets.insert((table, id.u32()?), set);
    if wanted.flags.has(SetFlags::ANONYMOUS) {
        op.batch.unbound.push(set);
    }
    tell_new(op, set);
    Ok(())
}

struct Making {
    table: Handle,
    name: Name,
    spec: SharedSpec,
    tuning: Tuning,
}

impl Making {
    fn make(self, state: &mut State, userdata: Option<std::sync::Arc<[u8]>>) -> Result<SetId> {
        let Self { table: handle, name, spec, tuning } = self;
        let table = state.table_mut(handle).ok_or(Errno::ENOENT)?;
        let handle = table.next_handle();
        let key = table.key.clone();
        let table_handle = table.handle;
        let new = NewSet { table: key, name: name.clone(), handle, spec, tuning, userdata };
        let id = SetId(state.sets.insert_with(|slot| Set::new(SetId(slot), new)));
        let anonymous = state.set(id).is_some_and(Set::is_anonymous);
        if let Some(table) = state.table_mut(table_handle) {
            table.sets.insert(name, handle, id);
            table.anonymous_sets += usize::from(anonymous);
        }
        Ok(id)
    }
}

/// `add set` of one that is there: what may change changes.
fn update(op: &mut Op<'_>, id: SetId, tuning: Tuning) -> Result<()> {
    if let Some(set) = op.batch.state.sets.get_mut(id.0) {
        let size = if tuning.size == 0 { set.tuning.size } else { tuning.size };
        set.tuning = Tuning { size, ..tuning };
    }
    tell_new(op, id);
    Ok(())
}

/// Tells listeners of a set that is new or was changed.
fn tell_new(op: &mut Op<'_>, id: SetId) {
    let Some(family) = op.batch.state.set(id).map(|set| set.table.family) else { return };
    op.notify(msg::NEWSET, op.event_flags(), family, move |out, cx| {
        if let Some(set) = cx.state.set(id) {
            write(set, out, cx);
        }
    });
}

/// What a message wants of a set.
struct Wanted {
    flags: SetFlags,
    key_type: u32,
    key_len: u8,
    values: Values,
    policy: u32,
    fields: Vec<u8>,
    tuning: Tuning,
}

impl Wanted {
    fn read(attrs: &Attrs<'_>) -> Result<Self> {
        let [_, _, _, flags, key_type, key_len, ..] = attrs;
        let [.., data_type, data_len, policy, desc, _, timeout, gc, _, _, object, _, _, _, _, _] =
            attrs;
        let key_type = number(key_type, 0)?;
        if key_type >= VERDICT {
            return Err(Errno::EINVAL.into());
        }
        let key_len = data_length(number(key_len, 0)?)?;
        let flags = SetFlags(number(flags, 0)?);
        check_flags(flags)?;
        let values = match (data_type, flags.has(SetFlags::MAP)) {
            (None, false) => None,
            (None, true) | (Some(_), false) => return Err(Errno::EINVAL.into()),
            (Some(kind), true) => match kind.u32()? {
                VERDICT => Some(Values::Verdicts),
                kind if kind > VERDICT => return Err(Errno::EINVAL.into()),
                kind => Some(Values::Bytes { kind, len: data_length(number(data_len, 0)?)? }),
            },
        };
        let object = match (object, flags.has(SetFlags::OBJECT)) {
            (None, false) => None,
            (None, true) | (Some(_), false) => return Err(Errno::EINVAL.into()),
            (Some(kind), true) => match kind.u32()? {
                kind @ 1..=OBJECT_MAX => Some(Values::Objects(ObjectKind(kind))),
                _ => return Err(Errno::EOPNOTSUPP.into()),
            },
        };
        let mut tuning = Tuning::default();
        for attr in [timeout, gc].into_iter().flatten() {
            match () {
                () if !flags.has(SetFlags::TIMEOUT) => return Err(Errno::EINVAL.into()),
                () if flags.has(SetFlags::ANONYMOUS) => return Err(Errno::EOPNOTSUPP.into()),
                () if attr.kind == TIMEOUT => tuning.timeout = millis(attr)?,
                () => tuning.gc_interval = attr.u32()?,
            }
        }
        let policy = number(policy, 0)?;
        let mut fields = Vec::new();
        if let Some(desc) = desc {
            let [_, size, concat] = desc.table::<3>();
            tuning.size = number(&size, 0)?;
            if let Some(concat) = concat {
                fields = concatenation(&concat, key_len)?;
            }
        }
        if flags.has(SetFlags::CONCAT) != (fields.len() > 1) {
            return Err(Errno::EINVAL.into());
        }
        let values = values.or(object).unwrap_or(Values::None);
        Ok(Self { flags, key_type, key_len, values, policy, fields, tuning })
    }

    /// How such a set is kept (`nft_select_set_ops`).
    fn layout(&self, has_exprs: bool) -> Result<Layout> {
        let flags = self.flags;
        if self.policy > MEMORY {
            return Err(Errno::EOPNOTSUPP.into());
        }
        if flags.has(SetFlags::INTERVAL) {
            return match (flags.has(SetFlags::EVAL), self.fields.len()) {
                (true, _) => Err(Errno::EOPNOTSUPP.into()),
                (false, 0 | 1) => Ok(Layout::Ranges),
                (false, _) => Ok(Layout::Fields),
            };
        }
        let timed = flags.has(SetFlags::TIMEOUT | SetFlags::EVAL);
        Ok(match () {
            () if timed || has_exprs => Layout::Growing,
            () if self.key_len <= 2 && !flags.has(SetFlags::MAP | SetFlags::OBJECT) => {
                Layout::Bitmap
            }
            () if self.tuning.size != 0 => Layout::Fixed,
            () => Layout::Growing,
        })
    }

    /// The expressions of elements.
    fn exprs(&self, op: &Op<'_>, table: Handle, attrs: &Attrs<'_>) -> Result<Box<[Box<dyn Expr>]>> {
        let [.., one, many, _, _] = attrs;
        if one.is_none() && many.is_some() && !self.flags.has(SetFlags::EXPR) {
            return Err(Errno::EINVAL.into());
        }
        // The kernel does not say what it is about them that it refuses.
        stateful(op, table, one.as_ref(), many.as_ref())
            .map_err(|error| Error { offset: None, ..error })
    }

    /// Whether a set is what this wants (`nft_set_is_same`).
    fn is_same(&self, spec: &Spec, exprs: &[Box<dyn Expr>]) -> bool {
        self.flags == spec.flags
            && self.key_type == spec.key_type
            && self.key_len == spec.key_len
            && self.values == spec.values
            && *self.fields == *spec.fields
            && same_kinds(exprs, &spec.exprs)
    }

    fn spec(&mut self, layout: Layout, exprs: Box<[Box<dyn Expr>]>) -> Spec {
        Spec {
            flags: self.flags,
            key_type: self.key_type,
            key_len: self.key_len,
            values: self.values,
            policy: self.policy,
            fields: std::mem::take(&mut self.fields).into(),
            exprs,
            layout,
        }
    }
}

fn check_flags(flags: SetFlags) -> Result<()> {
    let refused = [
        SetFlags::MAP | SetFlags::OBJECT,
        SetFlags::EVAL | SetFlags::OBJECT,
        SetFlags::CONSTANT | SetFlags::TIMEOUT,
    ];
    let bad = flags.0 & !SetFlags::ALL != 0
        || refused.iter().any(|both| flags.has_all(*both))
        || (flags.has_all(SetFlags::ANONYMOUS | SetFlags::TIMEOUT) && !flags.has(SetFlags::EVAL));
    if bad { Err(Errno::EOPNOTSUPP.into()) } else { Ok(()) }
}

/// The attribute of this type.
pub(super) fn at<'a, const N: usize>(attrs: &AttrTable<'a, N>, kind: u16) -> Option<Attr<'a>> {
    attrs.get(usize::from(kind)).copied().flatten()
}

fn number(attr: &Option<Attr<'_>>, default: u32) -> Result<u32> {
    attr.map_or(Ok(default), |attr| attr.u32())
}

/// A length of a key or a value.
fn data_length(len: u32) -> Result<u8> {
    match len {
        1..=64 => Ok(len as u8),
        _ => Err(Errno::EINVAL.into()),
    }
}

const _: () = assert!(MAX_DATA == 64, "the greatest length above");

/// Milliseconds, as nanoseconds (`nf_msecs_to_jiffies64`).
pub(crate) fn millis(attr: &Attr<'_>) -> Result<u64> {
    match attr.u64()? {
        millis if millis < u64::MAX / NANOS_PER_MILLI => Ok(millis * NANOS_PER_MILLI),
        _ => Err(Errno::ERANGE.into()),
    }
}

/// Nanoseconds in whole milliseconds.
pub(crate) const fn to_millis(nanos: u64) -> u64 {
    nanos / NANOS_PER_MILLI
}

/// The lengths of the fields of a concatenation (`nft_set_desc_concat`).
fn concatenation(concat: &Attr<'_>, key_len: u8) -> Result<Vec<u8>> {
    let mut fields = Vec::new();
    for attr in concat.nested() {
        if attr.kind != LIST_ELEM {
            return Err(Errno::EINVAL.into());
        }
        if fields.len() == MAX_DATA / 4 {
            return Err(Errno::E2BIG.into());
        }
        let [_, len] = attr.table::<2>();
        match len.ok_or(Errno::EINVAL)?.u32()? {
            len @ 1..=255 => fields.push(len as u8),
            _ => return Err(Errno::EINVAL.into()),
        }
    }
    let all: usize = fields.iter().map(|len| usize::from(*len).next_multiple_of(4)).sum();
    if all != usize::from(key_len) {
        return Err(Errno::EINVAL.into());
    }
    Ok(fields)
}

/// The expressions of a set or an element: one, or a list.
pub(super) fn stateful(
    op: &Op<'_>,
    table: Handle,
    one: Option<&Attr<'_>>,
    many: Option<&Attr<'_>>,
) -> Result<Box<[Box<dyn Expr>]>> {
    let mut cx = op.decoder(table, None)?;
    let mut exprs = Vec::new();
    let mut add = |attr: &Attr<'_>| -> Result<()> {
        let expr = decode_one(attr, &mut cx)?;
        if !expr.kind().stateful {
            return Err(Errno::EOPNOTSUPP.into());
        }
        exprs.push(expr);
        Ok(())
    };
    if let Some(one) = one {
        add(one)?;
    } else if let Some(many) = many {
        for (n, attr) in many.nested().enumerate() {
            if n == MAX_EXPRS {
                return Err(Errno::E2BIG.into());
            }
            if attr.kind != LIST_ELEM {
                return Err(Errno::EINVAL.into());
            }
            add(&attr)?;
        }
    }
    Ok(exprs.into())
}

/// The name for a set of this name: one with `%d` in it gets the first number that is free.
fn free_name(state: &mut State, table: Handle, pattern: &str) -> Result<Name> {
    let Some((before, behind)) = pattern.split_once('%') else { return Ok(pattern.into()) };
    let behind = behind.strip_prefix('d').filter(|rest| !rest.contains('%'));
    let behind = behind.ok_or(Errno::EINVAL)?;
    let mut number = state.free_number(table, pattern);
    loop {
        let name: Name = format!("{before}{number}{behind}").into();
        let sets = &state.table_by_handle(table).ok_or(Errno::ENOENT)?.sets;
        number += 1;
        if sets.named(&*name).is_none() {
            state.set_free_number(table, pattern, number);
            return Ok(name);
        }
    }
}

/// `NFT_MSG_DELSET`, `NFT_MSG_DESTROYSET`.
pub(super) fn delete(op: &mut Op<'_>) -> Result<()> {
    let attrs: Attrs<'_> = op.attrs();
    let [_, table, name, ..] = attrs;
    if op.family == 0 {
        return Err(Errno::EAFNOSUPPORT.into());
    }
    let table = op.table(table.as_ref())?;
    let by = at(&attrs, HANDLE).or(name);
    let set = match find(op.table_ref(table)?, &op.batch.state, by.as_ref()) {
        Err(error) if error.errno == Errno::ENOENT && op.message.command() == msg::DESTROYSET => {
            return Ok(());
        }
        found => found?,
    };
    let busy = set.uses > 0 || (op.message.has(NLM_F_NONREC) && !set.is_empty());
    if busy {
        return Err(by.map_or(Errno::EBUSY.into(), |by| by.error(Errno::EBUSY)));
    }
    let id = set.id;
    remove(op, id)
}

/// Takes a set out of its table, with what its elements hold, and tells of it.
pub(super) fn remove(op: &mut Op<'_>, id: SetId) -> Result<()> {
    let set = take(op.batch, id).ok_or(Errno::ENOENT)?;
    let family = set.table.family;
    op.notify(msg::DELSET, op.event_flags(), family, move |out, _| write_name(&set, out));
    Ok(())
}

/// Takes out the anonymous sets whose rules are gone.
pub(super) fn remove_unused(op: &mut Op<'_>) -> Result<()> {
    while let Some(id) = op.batch.unused.pop() {
        remove(op, id)?;
    }
    Ok(())
}

/// Takes a set out of its table, with what its elements hold.
pub(super) fn take(batch: &mut Batch, id: SetId) -> Option<std::sync::Arc<Set>> {
    let set = batch.state.sets.remove(id.0)?;
    elem::release_all(batch, &set);
    set.spec.exprs.iter().for_each(|expr| expr.refs(&mut |to| batch.unlink(None, to)));
    if let Some(table) = batch.state.table_of(&set.table).map(|table| table.handle) {
        batch.state.free_name(table, &set.name);
        if let Some(table) = batch.state.table_mut(table) {
            table.sets.remove(&*set.name, set.handle);
            table.anonymous_sets -= usize::from(set.is_anonymous());
        }
    }
    batch.ids.sets.retain(|_, found| *found != id);
    Some(set)
}

/// The set that an attribute names, by handle where it is one.
fn find<'s>(table: &Table, state: &'s State, by: Option<&Attr<'_>>) -> Result<&'s Set> {
    let by = by.ok_or(Errno::EINVAL)?;
    let id = match by.kind {
        HANDLE => table.sets.handle(Handle(by.u64()?)),
        _ => table.sets.named(by.str(NAME_LEN)?),
    };
    id.and_then(|id| state.set(id)).ok_or_else(|| by.error(Errno::ENOENT))
}

/// `NFT_MSG_GETSET`.
pub(super) fn get(query: &Query<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let attrs: Attrs<'_> = query.message.attrs().table();
    let [_, table, name, ..] = attrs;
    let family = query.message.nfgen()?.family;
    let found = match &table {
        Some(_) => Some(find_table(query.state, family, table.as_ref())?),
        None => None,
    };
    if family == 0 {
        return Err(Errno::EAFNOSUPPORT.into());
    }
    let table = found.ok_or(Errno::EINVAL)?;
    let set = find(table, query.state, name.as_ref())?;
    let cx = Encode { state: query.state, reset: false, now: query.now };
    let nfgen = NfGen { family, version: 0, res_id: res_id(query.state) };
    reply.message(kind(msg::NEWSET), 0, nfgen, |out| write(set, out, &cx));
    Ok(())
}

/// A dump of sets: of one table, of one family, or all.
pub(super) fn dump(query: &Query<'_>) -> Result<Box<dyn Dump>> {
    let [_, table] = query.message.attrs().table();
    let family = query.message.nfgen()?.family;
    let only = match &table {
        Some(_) => Some(find_table(query.state, family, table.as_ref())?.handle),
        None => None,
    };
    let tables = query.state.tables.values().filter(move |table| {
        only.is_none_or(|only| only == table.handle)
            && (family == 0 || family == table.family() as u8)
    });
    let sets: Vec<SetId> = tables.flat_map(|table| table.sets.iter()).collect();
    let now = query.now;
    super::dump::Walk::start(query.state, sets.into_iter(), move |state, id, message| {
        let Some(set) = state.set(id) else { return };
        let cx = Encode { state, reset: false, now };
        message.put(msg::NEWSET, set.table.family as u8, |out| write(set, out, &cx));
    })
}

fn write_name(set: &Set, out: &mut Writer) {
    out.str(TABLE, &set.table.name);
    out.str(NAME, &set.name);
    out.u64(HANDLE, set.handle.0);
}

/// Writes a set's attributes.
fn write(set: &Set, out: &mut Writer, cx: &Encode<'_>) {
    let spec = &set.spec;
    write_name(set, out);
    if spec.flags.0 != 0 {
        out.u32(FLAGS, spec.flags.0);
    }
    out.u32(KEY_TYPE, spec.key_type);
    out.u32(KEY_LEN, u32::from(spec.key_len));
    match spec.values {
        Values::None => {}
        Values::Bytes { kind, len } => {
            out.u32(DATA_TYPE, kind);
            out.u32(DATA_LEN, u32::from(len));
        }
        Values::Verdicts => {
            out.u32(DATA_TYPE, VERDICT);
            out.u32(DATA_LEN, VERDICT_LEN);
        }
        Values::Objects(kind) => out.u32(OBJ_TYPE, kind.0),
    }
    if set.tuning.timeout != 0 {
        out.u64(TIMEOUT, to_millis(set.tuning.timeout));
    }
    if set.tuning.gc_interval != 0 {
        out.u32(GC_INTERVAL, set.tuning.gc_interval);
    }
    if spec.policy != 0 {
        out.u32(POLICY, spec.policy);
    }
    if let Some(userdata) = &set.userdata {
        out.put(USERDATA, userdata);
    }
    out.nest(DESC, |out| {
        if set.size() != 0 {
            out.u32(DESC_SIZE, set.size());
        }
        if spec.fields.len() > 1 {
            out.nest(DESC_CONCAT, |out| {
                for len in &spec.fields {
                    out.nest(LIST_ELEM, |out| out.u32(FIELD_LEN, u32::from(*len)));
                }
            });
        }
    });
    out.str(TYPE, layout_name(spec.layout));
    out.u32(COUNT, set.len() as u32);
    match &*spec.exprs {
        [] => {}
        [one] => encode_one(one.as_ref(), EXPR, out, cx),
        many => encode_list(many, EXPRESSIONS, out, cx),
    }
}

/// What the kernel calls such a set.
const fn layout_name(layout: Layout) -> &'static str {
    match layout {
        Layout::Bitmap => "nft_set_bitmap_type",
        Layout::Fixed => "nft_set_hash_type",
        Layout::Growing => "nft_set_rhash_type",
        Layout::Ranges => "nft_set_rbtree_type",
        Layout::Fields => "nft_set_pipapo_type",
    }
}
