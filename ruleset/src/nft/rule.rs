//! Rules (`NFTA_RULE_…`).

use std::sync::Arc;

use nfnetlink::attr::Writer;
use nfnetlink::message::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use nfnetlink::{Attr, Dump, Errno, Header, NfGen, Reply, Result};

use crate::expr::{self, Encode, Requires};
use crate::ids::{ChainId, Handle};
use crate::model::{Chain, ChainFlags, Compat, Cursor, Name, Rule, State};

use super::chain::at;
use super::dump::Message;
use super::op::{NAME_LEN, find_table, kind, res_id};
use super::{Op, Query, msg, set, table};

const TABLE: usize = 1;
const CHAIN: usize = 2;
const HANDLE: usize = 3;
const EXPRESSIONS: usize = 4;
const COMPAT: usize = 5;
const POSITION: usize = 6;
const USERDATA: usize = 7;
const ID: usize = 9;
const POSITION_ID: usize = 10;
const CHAIN_ID: usize = 11;
const ATTRS: usize = 12;

/// Where a new rule goes.
enum Place {
    /// In the stead of this one.
    Instead(Cursor),
    /// In front of this one, or behind it (`NLM_F_APPEND`).
    By(Cursor),
    /// First, or last (`NLM_F_APPEND`).
    End,
}

/// `NFT_MSG_NEWRULE`.
pub(super) fn new(op: &mut Op<'_>) -> Result<()> {
    let attrs = op.attrs::<ATTRS>();
    let table = op.table(attrs[TABLE].as_ref()).map_err(at(attrs[TABLE]))?;
    let chain = match (attrs[CHAIN], attrs[CHAIN_ID]) {
        (Some(name), _) => op.decoder(table, None)?.chain_named(&name)?,
        (None, Some(id)) => op.decoder(table, None)?.chain_of_batch(&id)?,
        (None, None) => return Err(Errno::EINVAL.into()),
    };
    let found = op.batch.state.chain(chain).ok_or(Errno::ENOENT)?;
    if found.flags.has(ChainFlags::BINDING) && found.uses > 0 {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let userdata = table::userdata(attrs[USERDATA].as_ref())?;
    let (place, handle) = place(op, table, chain)?;
    let compat = attrs[COMPAT].map(|attr| decode_compat(&attr)).transpose()?;
    let exprs = match attrs[EXPRESSIONS] {
        Some(list) => {
            let mut decoder = op.decoder(table, Some(chain))?;
            decoder.compat = compat;
            expr::decode_list(&list, expr::MAX_EXPRS, &mut decoder)?
        }
        None => Box::default(),
    };
    let rule = Arc::new(Rule { handle, exprs, userdata, compat });
    if let Some(id) = attrs[ID] {
        op.batch.ids.rules.insert((table, id.u32()?), (chain, handle));
    }
    link(op, table, chain, &rule)?;
    let append = op.message.has(NLM_F_APPEND);
    if let Place::Instead(cursor) = place {
        replace(op, chain, cursor, &rule)?;
    } else {
        let rules = &mut op.batch.state.chains.get_mut(chain.0).ok_or(Errno::ENOENT)?.rules;
        match (place, append) {
            (Place::By(cursor), true) => rules.insert_behind(cursor, rule.clone()),
            (Place::By(cursor), false) => rules.insert(cursor, rule.clone()),
            (_, true) => rules.push(rule.clone()),
            (_, false) => rules.push_front(rule.clone()),
        }
    }
    let family = op.family()?;
    let flags = event_flags(op);
    let Some(now) = op.is_heard().then(|| op.batch.state.clone()) else { return Ok(()) };
    op.notify(msg::NEWRULE, flags, family, move |out, cx| {
        // Where the batch deletes the chain again, it is as it was.
        let cx = match cx.state.chain(chain) {
            Some(_) => Encode { ..*cx },
            None => Encode { state: &now, ..*cx },
        };
        if let Some(chain) = cx.state.chain(chain) {
            let before = position_of_event(chain, &rule);
            write(&chain.table.name, &chain.name, &rule, before, out, &cx);
        }
    });
    Ok(())
}

/// Where the rule goes, and its handle.
fn place(op: &mut Op<'_>, table: Handle, chain: ChainId) -> Result<(Place, Handle)> {
    let attrs = op.attrs::<ATTRS>();
    let (replace, create) = (op.message.has(NLM_F_REPLACE), op.message.has(NLM_F_CREATE));
    if let Some(attr) = attrs[HANDLE] {
        let cursor = find(chain_of(op, chain)?, &attr)?;
        if op.message.has(NLM_F_EXCL) {
            return Err(attr.error(Errno::EEXIST));
        }
        if !replace {
            return Err(Errno::EOPNOTSUPP.into());
        }
        return Ok((Place::Instead(cursor), Handle(attr.u64()?)));
    }
    if !create || replace {
        return Err(Errno::EINVAL.into());
    }
    // Also a rule that is refused from here on uses one up, as in the kernel.
    let handle = op.batch.state.table_mut(table).ok_or(Errno::ENOENT)?.next_handle();
    let cursor = match (attrs[POSITION], attrs[POSITION_ID]) {
        (Some(attr), _) => find(chain_of(op, chain)?, &attr)?,
        (None, Some(attr)) => {
            let named = op.batch.ids.rules.get(&(table, attr.u32()?));
            let of_chain = named.filter(|(of, _)| *of == chain);
            let rules = &chain_of(op, chain)?.rules;
            let cursor = of_chain.and_then(|(_, handle)| rules.find(|rule| rule.handle == *handle));
            cursor.ok_or_else(|| attr.error(Errno::ENOENT))?
        }
        (None, None) => return Ok((Place::End, handle)),
    };
    Ok((Place::By(cursor), handle))
}

fn chain_of<'a>(op: &'a Op<'_>, id: ChainId) -> Result<&'a Chain> {
    Ok(op.batch.state.chain(id).ok_or(Errno::ENOENT)?)
}

fn find(chain: &Chain, attr: &Attr<'_>) -> Result<Cursor> {
    let handle = Handle(attr.u64()?);
    chain.rules.find(|rule| rule.handle == handle).ok_or_else(|| attr.error(Errno::ENOENT))
}

fn decode_compat(attr: &Attr<'_>) -> Result<Compat> {
    let [_, protocol, flags] = attr.table::<3>();
    let (Some(protocol), Some(flags)) = (protocol, flags) else {
        return Err(Errno::EINVAL.into());
    };
    Ok(Compat { protocol: protocol.u32()?, flags: flags.u32()? })
}

/// Counts what a rule points at, and notes what its chain has to be checked for.
fn link(op: &mut Op<'_>, table: Handle, chain: ChainId, rule: &Rule) -> Result<()> {
    let mut leads_on = false;
    let batch = &mut *op.batch;
    rule.refs(&mut |to| {
        leads_on |=
            !matches!(to, expr::Ref::Object(_) | expr::Ref::Flowtable(_) | expr::Ref::Tracking(_));
        batch.link(Some(chain), to);
    });
    let requires = rule.requires();
    if requires != Requires::ANYTHING
        && let Some(chain) = batch.state.chains.get_mut(chain.0)
    {
        chain.requires = chain.requires.and(requires);
    }
    if leads_on || requires != Requires::ANYTHING {
        batch.unchecked.entry(table).or_default().push((op.message.header, chain));
    }
    Ok(())
}

/// Takes back what a rule that is gone pointed at.
fn unlink(op: &mut Op<'_>, chain: ChainId, rule: &Rule) {
    let batch = &mut *op.batch;
    rule.refs(&mut |to| batch.unlink(Some(chain), to));
    if rule.requires() != Requires::ANYTHING
        && let Some(chain) = batch.state.chains.get_mut(chain.0)
    {
        chain.stale = true;
    }
}

fn replace(op: &mut Op<'_>, chain: ChainId, cursor: Cursor, rule: &Arc<Rule>) -> Result<()> {
    let entry = op.batch.state.chains.get_mut(chain.0).ok_or(Errno::ENOENT)?;
    let place = entry.rules.get_mut(cursor).ok_or(Errno::ENOENT)?;
    let old = std::mem::replace(place, rule.clone());
    let names = Names::of(op);
    gone(op, chain, old, &names)
}

/// The state in which the names of what deleted rules pointed at can still be looked up; nothing where nobody listens.
struct Names(Option<Arc<State>>);

impl Names {
    fn of(op: &mut Op<'_>) -> Self {
        Self(op.is_heard().then(|| Arc::new(op.batch.state.clone())))
    }
}

/// What an event about a rule repeats of its request's flags (`nf_tables_rule_notify`).
fn event_flags(op: &Op<'_>) -> u16 {
    let append = op.message.has(NLM_F_APPEND) || op.message.has(NLM_F_REPLACE);
    op.event_flags() | if append { NLM_F_APPEND } else { 0 }
}

/// Unlinks a rule that is out of its chain already, and tells of it.
fn gone(op: &mut Op<'_>, chain: ChainId, rule: Arc<Rule>, names: &Names) -> Result<()> {
    let entry = op.batch.state.chain(chain).ok_or(Errno::ENOENT)?;
    let (table, name) = (entry.table.clone(), entry.name.clone());
    unlink(op, chain, &rule);
    if let Names(Some(names)) = names {
        let names = names.clone();
        op.notify(msg::DELRULE, event_flags(op), table.family, move |out, cx| {
            let cx = Encode { state: &names, ..*cx };
            write(&table.name, &name, &rule, None, out, &cx);
        });
    }
    set::remove_unused(op)
}

/// `NFT_MSG_DELRULE` and `NFT_MSG_DESTROYRULE`: a rule, all of a chain, or all of a table.
pub(super) fn delete(op: &mut Op<'_>) -> Result<()> {
    let attrs = op.attrs::<ATTRS>();
    let destroy = op.message.command() == msg::DESTROYRULE;
    match delete_found(op) {
        Err(error)
            if destroy
                && error.errno == Errno::ENOENT
                && (attrs[CHAIN].is_some() || attrs[TABLE].is_some()) =>
        {
            Ok(())
        }
        result => result,
    }
}

fn delete_found(op: &mut Op<'_>) -> Result<()> {
    let attrs = op.attrs::<ATTRS>();
    let table = op.table(attrs[TABLE].as_ref()).map_err(at(attrs[TABLE]))?;
    let Some(name) = attrs[CHAIN] else {
        let chains: Vec<ChainId> = op.table_ref(table)?.chains.iter().collect();
        for id in chains {
            let chain = op.batch.state.chain(id);
            if chain.is_some_and(|chain| !chain.flags.has(ChainFlags::BINDING)) {
                flush(op, id)?;
            }
        }
        return Ok(());
    };
    let id = op.decoder(table, None)?.chain_named(&name)?;
    let chain = op.batch.state.chain(id).ok_or(Errno::ENOENT)?;
    if chain.flags.has(ChainFlags::BINDING) {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let cursor = match (attrs[HANDLE], attrs[ID]) {
        (Some(attr), _) => find(chain, &attr)?,
        (None, Some(attr)) => {
            let handle = op.batch.ids.rules.get(&(table, attr.u32()?)).map(|(_, handle)| *handle);
            let cursor = handle.and_then(|handle| chain.rules.find(|rule| rule.handle == handle));
            cursor.ok_or_else(|| attr.error(Errno::ENOENT))?
        }
        (None, None) => return flush(op, id),
    };
    let chain = op.batch.state.chains.get_mut(id.0).ok_or(Errno::ENOENT)?;
    let rule = chain.rules.remove(cursor).ok_or(Errno::ENOENT)?;
    let names = Names::of(op);
    gone(op, id, rule, &names)
}

/// Deletes all rules of a chain.
pub(super) fn flush(op: &mut Op<'_>, id: ChainId) -> Result<()> {
    let chain = op.batch.state.chains.get_mut(id.0).ok_or(Errno::ENOENT)?;
    let rules = std::mem::take(&mut chain.rules);
    if rules.is_empty() {
        return Ok(());
    }
    let names = Names::of(op);
    for rule in rules.iter() {
        gone(op, id, rule.clone(), &names)?;
    }
    if let Some(chain) = op.batch.state.chains.get_mut(id.0) {
        (chain.requires, chain.stale) = (Requires::ANYTHING, false);
    }
    Ok(())
}

/// `NFT_MSG_GETRULE` and `NFT_MSG_GETRULE_RESET` of one.
pub(super) fn get(query: &Query<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let attrs: [_; ATTRS] = query.message.attrs().table();
    let family = query.message.nfgen()?.family;
    let table = find_table(query.state, family, attrs[TABLE].as_ref())?;
    let name = attrs[CHAIN].ok_or(Errno::EINVAL)?;
    let chain = table.chains.named(name.str(NAME_LEN)?).and_then(|id| query.state.chain(id));
    let chain = chain.ok_or_else(|| name.error(Errno::ENOENT))?;
    let attr = attrs[HANDLE].ok_or(Errno::EINVAL)?;
    let rule = chain.rules.get(find(chain, &attr)?).ok_or(Errno::ENOENT)?;
    let cx = Encode { state: query.state, reset: is_reset(query), now: query.now };
    let nfgen = NfGen { family, version: 0, res_id: res_id(query.state) };
    reply.message(kind(msg::NEWRULE), 0, nfgen, |out| {
        write(&table.key.name, &chain.name, rule, None, out, &cx);
    });
    Ok(())
}

fn is_reset(query: &Query<'_>) -> bool {
    query.message.command() == msg::GETRULE_RESET
}

/// `NFT_MSG_GETRULE` of all, of a table, or of a chain.
pub(super) fn dump(query: &Query<'_>) -> Result<Box<dyn Dump>> {
    let attrs: [_; ATTRS] = query.message.attrs().table();
    let family = query.message.nfgen()?.family;
    let wanted_table = attrs[TABLE].map(|attr| attr.str(NAME_LEN)).transpose()?;
    let wanted_chain = attrs[CHAIN].map(|attr| attr.str(NAME_LEN)).transpose()?;
    let tables = query.state.tables.values().filter(|table| {
        (family == 0 || table.family() as u8 == family)
            && wanted_table.is_none_or(|name| *table.key.name == *name)
    });
    let mut chains = Vec::new();
    for table in tables {
        match wanted_chain.filter(|_| wanted_table.is_some()) {
            Some(name) => chains.extend(table.chains.named(name)),
            None => chains.extend(table.chains.iter()),
        }
    }
    Ok(Box::new(Rules {
        state: query.state.clone(),
        chains: chains.into_iter(),
        chain: None,
        cursor: Cursor::default(),
        before: None,
        reset: is_reset(query),
        now: query.now,
    }))
}

/// A dump of rules: where it is.
struct Rules {
    state: State,
    chains: std::vec::IntoIter<ChainId>,
    chain: Option<ChainId>,
    cursor: Cursor,
    /// The rule in front of the next one.
    before: Option<Handle>,
    reset: bool,
    now: u64,
}

impl Dump for Rules {
    fn next(&mut self, header: Header, room: usize, out: &mut Writer) -> bool {
        let start = out.buf.len();
        let cx = Encode { state: &self.state, reset: self.reset, now: self.now };
        let mut message = Message::new(out, header, &self.state);
        while message.len() - start < room {
            let Some(chain) = self.chain.and_then(|id| self.state.chain(id)) else {
                match self.chains.next() {
                    Some(id) => self.chain = Some(id),
                    None => break,
                }
                (self.cursor, self.before) = (Cursor::default(), None);
                continue;
            };
            let Some(rule) = chain.rules.next(&mut self.cursor) else {
                self.chain = None;
                continue;
            };
            let before = self.before.replace(rule.handle);
            message.append(msg::NEWRULE, chain.table.family as u8, |out| {
                write(&chain.table.name, &chain.name, rule, before, out, &cx);
            });
        }
        message.len() > start
    }
}

/// Events name the rule in front only for a rule in the middle of its chain.
fn position_of_event(chain: &Chain, rule: &Rule) -> Option<Handle> {
    let mut cursor = chain.rules.find(|other| other.handle == rule.handle)?;
    let before = chain.rules.before(cursor).map(|before| before.handle);
    chain.rules.next(&mut cursor)?;
    chain.rules.next(&mut cursor)?;
    before
}

fn write(
    table: &Name,
    chain: &Name,
    rule: &Rule,
    before: Option<Handle>,
    out: &mut Writer,
    cx: &Encode<'_>,
) {
    out.str(TABLE as u16, table);
    out.str(CHAIN as u16, chain);
    out.u64(HANDLE as u16, rule.handle.0);
    if let Some(before) = before {
        out.u64(POSITION as u16, before.0);
    }
    expr::encode_list(&rule.exprs, EXPRESSIONS as u16, out, cx);
    if let Some(userdata) = &rule.userdata {
        out.put(USERDATA as u16, userdata);
    }
}

/// Takes out a chain that belonged to a rule which is gone, with its rules, without a word: nothing names it.
pub(super) fn drop_binding(batch: &mut super::Batch, id: ChainId) {
    let Some(chain) = batch.state.chains.remove(id.0) else { return };
    if let Some(table) = batch.state.table_of(&chain.table).map(|table| table.handle)
        && let Some(table) = batch.state.table_mut(table)
    {
        table.chains.remove(&*chain.name, chain.handle);
    }
    for rule in chain.rules.iter() {
        rule.refs(&mut |to| batch.unlink(None, to));
    }
}
