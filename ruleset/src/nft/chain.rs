//! Chains (`NFTA_CHAIN_…`), base chains' hooks (`NFTA_HOOK_…`).

use std::sync::Arc;

use nfnetlink::attr::Writer;
use nfnetlink::message::{NLM_F_EXCL, NLM_F_REPLACE};
use nfnetlink::{Attr, Dump, Errno, Error, NfGen, Reply, Result};

use crate::counters::{Counter, Totals};
use crate::expr::{Encode, Requires};
use crate::family::{ChainType, Family, Hook};
use crate::ids::{ChainId, Handle};
use crate::model::{Base, Chain, ChainFlags, Device, List, Name};
use crate::verdict::{NF_ACCEPT, NF_DROP, Verdict};

use super::dump::Walk;
use super::op::{NAME_LEN, find_table, kind, res_id};
use super::{NLM_F_NONREC, Op, Query, msg, rule, table};

const TABLE: usize = 1;
const HANDLE: usize = 2;
const NAME: usize = 3;
const HOOK: usize = 4;
const POLICY: usize = 5;
const USE: u16 = 6;
const TYPE: usize = 7;
const COUNTERS: usize = 8;
const FLAGS: usize = 10;
const ID: usize = 11;
const USERDATA: usize = 12;
const ATTRS: usize = 13;

const HOOK_NUM: usize = 1;
const HOOK_PRIORITY: usize = 2;
const HOOK_DEV: usize = 3;
const HOOK_DEVS: usize = 4;
const DEVICE_NAME: u16 = 1;
const DEVICE_PREFIX: u16 = 2;
const COUNTER_BYTES: usize = 1;
const COUNTER_PACKETS: usize = 2;

/// Devices of one chain (`NFT_NETDEVICE_MAX`).
const MAX_DEVICES: usize = 256;
/// Bytes of a device's name (`IFNAMSIZ` without its NUL).
pub(super) const DEVICE_LEN: usize = 15;
/// nat chains must come behind connection tracking (`NF_IP_PRI_CONNTRACK`).
const PRIORITY_CONNTRACK: i32 = -200;

/// A base chain as a message asks for it.
struct Wanted {
    kind: ChainType,
    hook: Hook,
    priority: i32,
    devices: Vec<Device>,
}

/// `NFT_MSG_NEWCHAIN`.
pub(super) fn new(op: &mut Op<'_>) -> Result<()> {
    let attrs = op.attrs::<ATTRS>();
    let handle = op.table(attrs[TABLE].as_ref()).map_err(at(attrs[TABLE]))?;
    let there = match (attrs[HANDLE], attrs[NAME]) {
        (Some(attr), _) => Some((by_handle(op, handle, &attr)?, attr)),
        (None, Some(attr)) => {
            op.table_ref(handle)?.chains.named(attr.str(NAME_LEN)?).map(|id| (id, attr))
        }
        (None, None) if attrs[ID].is_some() => None,
        (None, None) => return Err(Errno::EINVAL.into()),
    };
    let old = there.and_then(|(id, _)| op.batch.state.chain(id));
    let policy = match attrs[POLICY] {
        Some(attr) => {
            if old.map_or(attrs[HOOK].is_none(), |chain| chain.base.is_none()) {
                return Err(attr.error(Errno::EOPNOTSUPP));
            }
            match attr.u32()?.cast_signed() {
                NF_DROP => Some(Verdict::Drop),
                NF_ACCEPT => Some(Verdict::Accept),
                _ => return Err(Errno::EINVAL.into()),
            }
        }
        None => None,
    };
    let flags = match (attrs[FLAGS], old) {
        (Some(attr), _) => ChainFlags(attr.u32()?),
        (None, Some(chain)) => chain.flags,
        (None, None) => ChainFlags::default(),
    };
    if flags.0 & !(ChainFlags::BASE | ChainFlags::HW_OFFLOAD | ChainFlags::BINDING) != 0 {
        return Err(Errno::EOPNOTSUPP.into());
    }
    match there {
        Some((id, attr)) => {
            if old.is_some_and(|chain| chain.flags.has(ChainFlags::BINDING)) {
                return Err(Errno::EINVAL.into());
            }
            if op.message.has(NLM_F_EXCL) {
                return Err(attr.error(Errno::EEXIST));
            }
            if op.message.has(NLM_F_REPLACE) {
                return Err(Errno::EOPNOTSUPP.into());
            }
            update(op, handle, id, policy, flags, &attr)
        }
        None => add(op, handle, policy, flags),
    }
}

/// Points a refusal at an attribute, where it points at none yet.
pub(super) fn at<'a>(attr: Option<Attr<'a>>) -> impl FnOnce(Error) -> Error + 'a {
    move |error| match attr {
        Some(attr) => error.at(&attr),
        None => error,
    }
}

fn by_handle(op: &Op<'_>, table: Handle, attr: &Attr<'_>) -> Result<ChainId> {
    let found = op.table_ref(table)?.chains.handle(Handle(attr.u64()?));
    found.ok_or_else(|| attr.error(Errno::ENOENT))
}

fn add(op: &mut Op<'_>, table: Handle, policy: Option<Verdict>, flags: ChainFlags) -> Result<()> {
    let attrs = op.attrs::<ATTRS>();
    let key = op.table_ref(table)?.key.clone();
    let (base, flags) = match attrs[HOOK] {
        Some(hook) => {
            if flags.has(ChainFlags::BINDING | ChainFlags::HW_OFFLOAD) {
                return Err(Errno::EOPNOTSUPP.into());
            }
            let Wanted { kind, hook, priority, devices } =
                parse_hook(key.family, &hook, attrs[TYPE].as_ref(), attrs[NAME].as_ref(), None)?;
            let counter = match attrs[COUNTERS] {
                Some(attr) => Some(op.batch.counters.take(totals(&attr)?)),
                None => None,
            };
            let policy = policy.unwrap_or(Verdict::Accept);
            let order = op.batch.state.next_order();
            let base =
                Base { kind, hook, priority, policy, order, devices: devices.into(), counter };
            (Some(Arc::new(base)), ChainFlags(flags.0 | ChainFlags::BASE))
        }
        None if flags.has(ChainFlags::BASE) => return Err(Errno::EINVAL.into()),
        None if flags.has(ChainFlags::HW_OFFLOAD) => return Err(Errno::EOPNOTSUPP.into()),
        None => (None, flags),
    };
    let userdata = table::userdata(attrs[USERDATA].as_ref())?;
    let state = &mut op.batch.state;
    let entry = state.table_mut(table).ok_or(Errno::ENOENT)?;
    let handle = entry.next_handle();
    let name: Name = match attrs[NAME] {
        Some(name) => name.str(NAME_LEN)?.into(),
        None if flags.has(ChainFlags::BINDING) => format!("__chain{}", handle.0).into(),
        None => return Err(Errno::EINVAL.into()),
    };
    let is_base = base.is_some();
    let family = key.family;
    let slot = state.chains.insert_with(|slot| Chain {
        id: ChainId(slot),
        table: key,
        name: name.clone(),
        handle,
        flags,
        base,
        rules: List::default(),
        uses: 0,
        jumps: imbl::OrdMap::new(),
        requires: Requires::ANYTHING,
        stale: false,
        userdata,
    });
    let id = ChainId(slot);
    if let Some(entry) = state.table_mut(table) {
        entry.chains.insert(name, handle, id);
    }
    if let Some(number) = attrs[ID] {
        op.batch.ids.chains.insert((table, number.u32()?), id);
    }
    op.batch.hooks_changed |= is_base;
    if flags.has(ChainFlags::BINDING) {
        op.batch.unbound_chains.push(id);
    }
    announce(op, id, family);
    Ok(())
}

fn announce(op: &mut Op<'_>, id: ChainId, family: Family) {
    // As it is now, in case that the batch deletes it again.
    let Some(now) = op.is_heard().then(|| op.batch.state.chains.get(id.0).cloned()).flatten()
    else {
        return;
    };
    op.notify(msg::NEWCHAIN, op.event_flags(), family, move |out, cx| {
        write(cx.state.chain(id).unwrap_or(&now), out, cx);
    });
}

/// A chain that is there gets another policy, name, devices or counters.
fn update(
    op: &mut Op<'_>,
    table: Handle,
    id: ChainId,
    policy: Option<Verdict>,
    flags: ChainFlags,
    attr: &Attr<'_>,
) -> Result<()> {
    let attrs = op.attrs::<ATTRS>();
    let old = op.batch.state.chain(id).ok_or(Errno::ENOENT)?;
    let flags = ChainFlags(flags.0 | (old.flags.0 & ChainFlags::BASE));
    if old.flags != flags {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let family = old.table.family;
    let mut base = old.base.as_deref().cloned();
    if let Some(hook) = attrs[HOOK] {
        let Some(base) = &mut base else { return Err(attr.error(Errno::EEXIST)) };
        let wanted = parse_hook(family, &hook, attrs[TYPE].as_ref(), None, Some(base))?;
        if wanted.kind != base.kind || wanted.hook != base.hook || wanted.priority != base.priority
        {
            return Err(attr.error(Errno::EEXIST));
        }
        let new = wanted.devices.into_iter().filter(|name| !base.devices.contains(name));
        base.devices = base.devices.iter().cloned().chain(new.collect::<Vec<_>>()).collect();
    }
    let renamed = match (attrs[HANDLE], attrs[NAME]) {
        (Some(_), Some(name)) => {
            let new: Name = name.str(NAME_LEN)?.into();
            if op.table_ref(table)?.chains.named(&new).is_some() {
                return Err(name.error(Errno::EEXIST));
            }
            Some(new)
        }
        _ => None,
    };
    if let Some(counters) = attrs[COUNTERS] {
        let Some(base) = &mut base else { return Err(Errno::EOPNOTSUPP.into()) };
        base.counter = Some(op.batch.counters.take(totals(&counters)?));
    }
    if let (Some(policy), Some(base)) = (policy, &mut base) {
        base.policy = policy;
    }
    let state = &mut op.batch.state;
    if let Some(new) = &renamed {
        let chain = state.chains.get_mut(id.0).ok_or(Errno::ENOENT)?;
        let (old, handle) = (std::mem::replace(&mut chain.name, new.clone()), chain.handle);
        if let Some(table) = state.table_mut(table) {
            table.chains.remove(&*old, handle);
            table.chains.insert(new.clone(), handle, id);
        }
    }
    if let Some(chain) = state.chains.get_mut(id.0) {
        chain.base = base.map(Arc::new);
        op.batch.hooks_changed |= chain.base.is_some();
    }
    announce(op, id, family);
    Ok(())
}

fn totals(attr: &Attr<'_>) -> Result<Totals> {
    let attrs = attr.table::<4>();
    let packets = attrs[COUNTER_PACKETS].ok_or(Errno::EINVAL)?.u64()?;
    let bytes = attrs[COUNTER_BYTES].ok_or(Errno::EINVAL)?.u64()?;
    Ok(Totals { packets, bytes })
}

/// What a message says of a base chain's hook, taking from `old` what it leaves out.
fn parse_hook(
    family: Family,
    hook: &Attr<'_>,
    kind: Option<&Attr<'_>>,
    name: Option<&Attr<'_>>,
    old: Option<&Base>,
) -> Result<Wanted> {
    let attrs = hook.table::<5>();
    let handler = family.handler();
    let number = attrs[HOOK_NUM].map(|attr| attr.u32()).transpose()?;
    let priority = attrs[HOOK_PRIORITY].map(|attr| attr.u32()).transpose()?;
    let kind = match kind {
        Some(attr) => {
            let name = attr.str(15)?;
            let known = handler.types.iter().find(|known| known.kind.name() == name);
            Some(known.ok_or_else(|| attr.error(Errno::ENOENT))?.kind)
        }
        None => None,
    };
    let named = |number| handler.hooks.iter().find(|(n, _)| *n == number).map(|(_, hook)| *hook);
    let (kind, at, priority) = match old {
        None => {
            let (Some(number), Some(priority)) = (number, priority) else {
                let missing = Errno::ENOENT;
                return Err(name.map_or(missing.into(), |name| name.error(missing)));
            };
            let kind = kind.unwrap_or(ChainType::Filter);
            let place = named(number).ok_or(Errno::EOPNOTSUPP)?;
            let allowed = handler.types.iter().find(|known| known.kind == kind);
            if !allowed.is_some_and(|allowed| allowed.hooks.has(place)) {
                return Err(Errno::EOPNOTSUPP.into());
            }
            let priority = priority.cast_signed();
            if kind == ChainType::Nat && priority <= PRIORITY_CONNTRACK {
                return Err(Errno::EOPNOTSUPP.into());
            }
            (kind, place, priority)
        }
        Some(old) => {
            let other_hook = number.is_some_and(|number| named(number) != Some(old.hook));
            let priority = priority.map_or(old.priority, u32::cast_signed);
            if other_hook || priority != old.priority {
                return Err(Errno::EOPNOTSUPP.into());
            }
            (kind.unwrap_or(old.kind), old.hook, priority)
        }
    };
    let devices = match at {
        Hook::Ingress | Hook::Egress => devices(attrs[HOOK_DEV], attrs[HOOK_DEVS])?,
        _ if attrs[HOOK_DEV].is_some() || attrs[HOOK_DEVS].is_some() => {
            return Err(Errno::EOPNOTSUPP.into());
        }
        _ => Vec::new(),
    };
    Ok(Wanted { kind, hook: at, priority, devices })
}

/// The devices of `NFTA_HOOK_DEV` or `NFTA_HOOK_DEVS` (flowtables have the same).
pub(super) fn devices(one: Option<Attr<'_>>, several: Option<Attr<'_>>) -> Result<Vec<Device>> {
    let mut devices: Vec<Device> = Vec::new();
    if let Some(attr) = one {
        devices.push(Device::Named(attr.str(DEVICE_LEN)?.into()));
    } else {
        for attr in several.into_iter().flat_map(|attr| attr.nested()) {
            let name = match attr.kind {
                DEVICE_NAME => Device::Named(attr.str(DEVICE_LEN)?.into()),
                DEVICE_PREFIX => Device::Prefix(attr.str(DEVICE_LEN)?.into()),
                _ => return Err(Errno::EINVAL.into()),
            };
            if devices.contains(&name) {
                return Err(attr.error(Errno::EEXIST));
            }
            if devices.len() == MAX_DEVICES {
                return Err(Error::new(Errno(27)));
            }
            devices.push(name);
        }
    }
    Ok(devices)
}

/// Writes devices as `devices` reads them; `one` is for one alone.
pub(super) fn write_devices(devices: &[Device], one: Option<u16>, several: u16, out: &mut Writer) {
    out.nest(several, |out| {
        for device in devices {
            match device {
                Device::Named(name) => out.str(DEVICE_NAME, name),
                Device::Prefix(prefix) => out.str(DEVICE_PREFIX, prefix),
            }
        }
    });
    if let ([Device::Named(name)], Some(one)) = (devices, one) {
        out.str(one, name);
    }
}

/// `NFT_MSG_DELCHAIN` and `NFT_MSG_DESTROYCHAIN`; with a hook, devices of a base chain on devices.
pub(super) fn delete(op: &mut Op<'_>) -> Result<()> {
    let attrs = op.attrs::<ATTRS>();
    let destroy = op.message.command() == msg::DESTROYCHAIN;
    let handle = op.table(attrs[TABLE].as_ref()).map_err(at(attrs[TABLE]))?;
    let named = attrs[HANDLE].or(attrs[NAME]).ok_or(Errno::EINVAL)?;
    let found = match attrs[HANDLE] {
        Some(attr) => by_handle(op, handle, &attr),
        None => {
            let found = op.table_ref(handle)?.chains.named(named.str(NAME_LEN)?);
            found.ok_or_else(|| named.error(Errno::ENOENT))
        }
    };
    let id = match found {
        Err(error) if destroy && error.errno == Errno::ENOENT => return Ok(()),
        found => found?,
    };
    let chain = op.batch.state.chain(id).ok_or(Errno::ENOENT)?;
    if chain.flags.has(ChainFlags::BINDING) {
        return Err(Errno::EOPNOTSUPP.into());
    }
    if let (Some(hook), Some(base)) = (attrs[HOOK], &chain.base) {
        if destroy {
            return Err(Errno::EOPNOTSUPP.into());
        }
        if matches!(base.hook, Hook::Ingress | Hook::Egress) {
            return delete_devices(op, id, &hook);
        }
    }
    if op.message.has(NLM_F_NONREC) && chain.uses as usize + chain.rules.len() > 0 {
        return Err(Errno::EBUSY.into());
    }
    rule::flush(op, id)?;
    if op.batch.state.chain(id).is_some_and(|chain| chain.uses > 0) {
        return Err(named.error(Errno::EBUSY));
    }
    remove(op, id)
}

fn delete_devices(op: &mut Op<'_>, id: ChainId, hook: &Attr<'_>) -> Result<()> {
    let attrs = hook.table::<5>();
    let gone = devices(attrs[HOOK_DEV], attrs[HOOK_DEVS])?;
    let chain = op.batch.state.chains.get_mut(id.0).ok_or(Errno::ENOENT)?;
    let family = chain.table.family;
    let Some(base) = &mut chain.base else { return Err(Errno::EOPNOTSUPP.into()) };
    if !gone.iter().all(|name| base.devices.contains(name)) {
        return Err(Errno::ENOENT.into());
    }
    let left = base.devices.iter().filter(|name| !gone.contains(name)).cloned().collect();
    Arc::make_mut(base).devices = left;
    let (base, short) = (base.clone(), Short::of(chain));
    op.batch.hooks_changed = true;
    op.notify(msg::DELCHAIN, 0, family, move |out, _| {
        short.write(out);
        let deleted = Base { devices: gone.into(), ..(*base).clone() };
        write_hook(family, &deleted, out);
    });
    Ok(())
}

/// Takes out a chain that has no rules any more.
pub(super) fn remove(op: &mut Op<'_>, id: ChainId) -> Result<()> {
    let state = &mut op.batch.state;
    let chain = state.chains.remove(id.0).ok_or(Errno::ENOENT)?;
    let table = state.table_of(&chain.table).ok_or(Errno::ENOENT)?.handle;
    if let Some(table) = state.table_mut(table) {
        table.chains.remove(&*chain.name, chain.handle);
    }
    op.batch.hooks_changed |= chain.base.is_some();
    let short = Short::of(&chain);
    op.notify(msg::DELCHAIN, 0, chain.table.family, move |out, _| short.write(out));
    Ok(())
}

/// What names a chain, for events about one that is gone.
struct Short {
    table: Name,
    name: Name,
    handle: Handle,
}

impl Short {
    fn of(chain: &Chain) -> Self {
        Self { table: chain.table.name.clone(), name: chain.name.clone(), handle: chain.handle }
    }

    fn write(&self, out: &mut Writer) {
        out.str(TABLE as u16, &self.table);
        out.str(NAME as u16, &self.name);
        out.u64(HANDLE as u16, self.handle.0);
    }
}

/// `NFT_MSG_GETCHAIN` of one.
pub(super) fn get(query: &Query<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let attrs: [_; ATTRS] = query.message.attrs().table();
    let family = query.message.nfgen()?.family;
    let table = find_table(query.state, family, attrs[TABLE].as_ref())?;
    let name = attrs[NAME].ok_or(Errno::EINVAL)?;
    let id = table.chains.named(name.str(NAME_LEN)?);
    let chain = id.and_then(|id| query.state.chain(id)).ok_or_else(|| name.error(Errno::ENOENT))?;
    let nfgen = NfGen { family, version: 0, res_id: res_id(query.state) };
    let cx = Encode { state: query.state, reset: false, now: query.now };
    reply.message(kind(msg::NEWCHAIN), 0, nfgen, |out| write(chain, out, &cx));
    Ok(())
}

/// `NFT_MSG_GETCHAIN` of all.
pub(super) fn dump(query: &Query<'_>) -> Result<Box<dyn Dump>> {
    let (family, now) = (query.message.nfgen()?.family, query.now);
    let chains = query.state.tables.clone().into_iter().flat_map(move |(_, table)| {
        let wanted = family == 0 || table.family() as u8 == family;
        let chains: Vec<ChainId> = if wanted { table.chains.iter().collect() } else { Vec::new() };
        chains
    });
    Walk::start(query.state, chains, move |state, id, message| {
        if let Some(chain) = state.chain(id) {
            let cx = Encode { state, reset: false, now };
            let family = chain.table.family as u8;
            message.put(msg::NEWCHAIN, family, |out| write(chain, out, &cx));
        }
    })
}

fn write_hook(family: Family, base: &Base, out: &mut Writer) {
    out.nest(HOOK as u16, |out| {
        let hooks = family.handler().hooks;
        let number = hooks.iter().find(|(_, hook)| *hook == base.hook).map_or(0, |(n, _)| *n);
        out.u32(HOOK_NUM as u16, number);
        out.u32(HOOK_PRIORITY as u16, base.priority.cast_unsigned());
        if matches!(base.hook, Hook::Ingress | Hook::Egress) {
            write_devices(&base.devices, Some(HOOK_DEV as u16), HOOK_DEVS as u16, out);
        }
    });
}

fn write(chain: &Chain, out: &mut Writer, cx: &Encode<'_>) {
    Short::of(chain).write(out);
    if let Some(base) = &chain.base {
        write_hook(chain.table.family, base, out);
        out.u32(POLICY as u16, base.policy.code().cast_unsigned());
        out.str(TYPE as u16, base.kind.name());
        if let Some(counter) = &base.counter {
            let read = if cx.reset { Counter::reset } else { Counter::read };
            let Totals { packets, bytes } = read(counter);
            out.nest(COUNTERS as u16, |out| {
                out.u64(COUNTER_PACKETS as u16, packets);
                out.u64(COUNTER_BYTES as u16, bytes);
            });
        }
    }
    if chain.flags.0 != 0 {
        out.u32(FLAGS as u16, chain.flags.0);
    }
    // A rule that has a chain of its own uses it twice (`nf_tables_bind_chain`).
    let bound = u32::from(chain.flags.has(ChainFlags::BINDING) && chain.uses > 0);
    out.u32(USE, chain.uses + bound + chain.rules.len() as u32);
    if let Some(userdata) = &chain.userdata {
        out.put(USERDATA as u16, userdata);
    }
}
