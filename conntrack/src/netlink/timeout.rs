//! `ct timeout` objects by name: the kernel's cttimeout, what `nfct` speaks.
//!
//! # Overview
//!
//! A [`Timeout`] says how long flows of a protocol live in each of their states. [`Timeouts`] is the list of them, shared by
//! [`CtTimeout`], which answers messages, and by rules that look them up. Who uses one holds its `Arc`: that is the
//! reference count which is told (`CTA_TIMEOUT_USE`) and which keeps an object from being deleted.
//!
//! # Who may touch what
//!
//! The nfnetlink server's thread adds, changes and deletes; any thread may look one up.

use std::sync::Arc;

use nfnetlink::message::{NLM_F_EXCL, NLM_F_MULTI, NLM_F_REPLACE};
use nfnetlink::{
    Attr, Client, Dump, Errno, Events, Header, Message, NfGen, Reply, Result, Subsystem, Table,
    Writer,
};
use packet::wire::ip;
use parking_lot::{Mutex, RwLock};

use super::cta::{SUBSYSTEM_TIMEOUT, timeout};
use super::{Shards, ask, kind, nest, text};
use crate::settings::Settings;

/// Bytes of a name without its NUL (`CTNL_TIMEOUT_NAME_MAX`).
const NAME: usize = 31;
/// `IPPROTO_RAW`: what the timeouts of all other protocols go by.
const GENERIC: u8 = 255;

/// One object.
#[derive(Debug)]
pub struct Timeout {
    /// Its name.
    pub name: String,
    /// `NFPROTO_…`, as it was given; nothing looks at it.
    pub family: u16,
    /// Of flows of this protocol; 255 is "generic".
    pub protocol: u8,
    seconds: RwLock<Vec<u32>>,
}

impl Timeout {
    /// How long flows live, by `CTA_TIMEOUT_…` less one, in seconds.
    pub fn seconds(&self) -> Vec<u32> {
        self.seconds.read().clone()
    }
}

/// The list of objects, in the order in which they came.
#[derive(Clone, Debug, Default)]
pub struct Timeouts(Arc<Mutex<Vec<Arc<Timeout>>>>);

impl Timeouts {
    /// The object with a name. It can't be deleted for as long as what is returned lives.
    pub fn get(&self, name: &str) -> Option<Arc<Timeout>> {
        self.0.lock().iter().find(|timeout| timeout.name == name).cloned()
    }
}

/// The cttimeout subsystem.
pub struct CtTimeout {
    list: Timeouts,
    shards: Arc<dyn Shards>,
}

impl CtTimeout {
    /// Objects go to `list`, defaults to the settings of `shards`.
    pub fn new(list: Timeouts, shards: Arc<dyn Shards>) -> Self {
        Self { list, shards }
    }

    fn settings(&self) -> Result<Settings> {
        ask(&*self.shards, 0, |shard, _| *shard.settings())
    }

    fn add(&self, message: &Message<'_>) -> Result<()> {
        let named = Named::parse(message)?;
        let name = named.name.ok_or(Errno::EINVAL)?;
        let (family, protocol) = named.protocol()?;
        let data = named.data.ok_or(Errno::EINVAL)?;
        let found = self.list.get(name);
        if found.is_some() && message.has(NLM_F_EXCL) {
            return Err(Errno::EEXIST.into());
        }
        known(protocol)?;
        let mut seconds = self.settings()?.timeouts(protocol).to_vec();
        let Some(found) = found else {
            read(&data, &mut seconds)?;
            let timeout =
                Timeout { name: name.to_owned(), family, protocol, seconds: RwLock::new(seconds) };
            self.list.0.lock().push(Arc::new(timeout));
            return Ok(());
        };
        if !message.has(NLM_F_REPLACE) {
            return Err(Errno::EBUSY.into());
        }
        if (found.family, found.protocol) != (family, protocol) {
            return Err(Errno::EINVAL.into());
        }
        read(&data, &mut seconds)?;
        *found.seconds.write() = seconds;
        Ok(())
    }

    fn get(&self, message: &Message<'_>, reply: &mut Reply<'_>) -> Result<()> {
        let name = Named::parse(message)?.name.ok_or(Errno::EINVAL)?;
        let list = self.list.0.lock();
        let found = list.iter().find(|timeout| timeout.name == name).ok_or(Errno::ENOENT)?;
        reply.message(
            kind(SUBSYSTEM_TIMEOUT, timeout::MSG_NEW),
            NLM_F_MULTI,
            NfGen::default(),
            |w| {
                tell(w, found);
            },
        );
        Ok(())
    }

    fn delete(&self, message: &Message<'_>) -> Result<()> {
        let name = Named::parse(message)?.name;
        let mut list = self.list.0.lock();
        let Some(name) = name else {
            list.retain(is_used);
            return Ok(());
        };
        let place = list.iter().position(|timeout| timeout.name == name).ok_or(Errno::ENOENT)?;
        if list.get(place).is_some_and(is_used) {
            return Err(Errno::EBUSY.into());
        }
        list.remove(place);
        Ok(())
    }

    fn set_default(&self, message: &Message<'_>) -> Result<()> {
        let named = Named::parse(message)?;
        let (_, protocol) = named.protocol()?;
        let data = named.data.ok_or(Errno::EINVAL)?;
        known(protocol)?;
        let mut seconds = self.settings()?.timeouts(protocol).to_vec();
        read(&data, &mut seconds)?;
        for shard in 0..self.shards.count() {
            let seconds = seconds.clone();
            ask(&*self.shards, shard, move |shard, _| {
                shard.settings_mut().set_timeouts(protocol, &seconds);
            })?;
        }
        Ok(())
    }

    fn get_default(&self, message: &Message<'_>, reply: &mut Reply<'_>) -> Result<()> {
        let (family, protocol) = Named::parse(message)?.protocol()?;
        known(protocol)?;
        let settings = self.settings()?;
        let kind = kind(SUBSYSTEM_TIMEOUT, timeout::MSG_DEFAULT_SET);
        reply.message(kind, NLM_F_MULTI, NfGen::default(), |w| {
            w.u16(timeout::L3PROTO, family);
            w.u8(timeout::L4PROTO, protocol);
            put(w, protocol, settings.timeouts(protocol));
        });
        Ok(())
    }
}

/// Whether somebody beside the list holds it.
fn is_used(timeout: &Arc<Timeout>) -> bool {
    Arc::strong_count(timeout) > 1
}

/// What a message says.
struct Named<'a> {
    name: Option<&'a str>,
    family: Option<u16>,
    protocol: Option<u8>,
    data: Option<Attr<'a>>,
}

impl<'a> Named<'a> {
    fn parse(message: &Message<'a>) -> Result<Self> {
        let [_, name, family, protocol, data]: Table<'a, 5> = message.attrs().table();
        if let Some(data) = data.filter(|data| data.data.len() < nest(data)) {
            return Err(data.error(Errno::ERANGE));
        }
        Ok(Self {
            name: name.map(|name| text(&name, NAME)).transpose()?,
            family: family.map(|family| family.u16()).transpose()?,
            protocol: protocol.map(|protocol| protocol.u8()).transpose()?,
            data,
        })
    }

    fn protocol(&self) -> Result<(u16, u8)> {
        Ok((self.family.ok_or(Errno::EINVAL)?, self.protocol.ok_or(Errno::EINVAL)?))
    }
}

/// # Errors
///
/// `EOPNOTSUPP` for a protocol that has no timeouts of its own.
fn known(protocol: u8) -> Result<()> {
    match protocol {
        ip::ICMP | ip::TCP | ip::UDP | ip::GRE | ip::ICMP6 | ip::SCTP | ip::UDP_LITE | GENERIC => {
            Ok(())
        }
        _ => Err(Errno::EOPNOTSUPP.into()),
    }
}

/// Sets those of `seconds` that an attribute `CTA_TIMEOUT_DATA` names.
fn read(data: &Attr<'_>, seconds: &mut [u32]) -> Result<()> {
    for attr in data.nested() {
        let place = usize::from(attr.kind).checked_sub(1).and_then(|n| seconds.get_mut(n));
        if let Some(place) = place {
            *place = attr.u32()?;
        }
    }
    Ok(())
}

fn put(out: &mut Writer, protocol: u8, seconds: &[u32]) {
    out.nest_marked(timeout::DATA, |out| {
        for (kind, seconds) in (1..).zip(seconds) {
            out.u32(kind, *seconds);
        }
        // CTA_TIMEOUT_SCTP_HEARTBEAT_ACKED, a state that the kernel has given up.
        if protocol == ip::SCTP {
            out.u32(9, 0);
        }
    });
}

fn tell(out: &mut Writer, object: &Arc<Timeout>) {
    out.str(timeout::NAME, &object.name);
    out.u16(timeout::L3PROTO, object.family);
    out.u8(timeout::L4PROTO, object.protocol);
    out.u32(timeout::USE, Arc::strong_count(object) as u32);
    put(out, object.protocol, &object.seconds.read());
}

impl Subsystem for CtTimeout {
    fn id(&self) -> u8 {
        SUBSYSTEM_TIMEOUT
    }

    fn request(
        &mut self,
        message: &Message<'_>,
        reply: &mut Reply<'_>,
        _events: &mut Events,
    ) -> Result<()> {
        match message.command() {
            timeout::MSG_NEW => self.add(message),
            timeout::MSG_GET => self.get(message, reply),
            timeout::MSG_DELETE => self.delete(message),
            timeout::MSG_DEFAULT_SET => self.set_default(message),
            timeout::MSG_DEFAULT_GET => self.get_default(message, reply),
            _ => Err(nfnetlink::subsystem::unknown_command()),
        }
    }

    fn is_dump(&self, message: &Message<'_>) -> bool {
        message.command() == timeout::MSG_GET
    }

    fn dump(&mut self, _message: &Message<'_>, _client: Client) -> Result<Box<dyn Dump>> {
        Ok(Box::new(List { list: self.list.clone(), next: 0 }))
    }
}

/// A dump of the list, one object a datagram.
struct List {
    list: Timeouts,
    next: usize,
}

impl Dump for List {
    fn next(&mut self, header: Header, room: usize, out: &mut Writer) -> bool {
        let list = self.list.0.lock();
        let before = self.next;
        while let Some(object) = list.get(self.next)
            && (self.next == before || out.buf.len() + 256 <= room)
        {
            let header = Header { kind: kind(SUBSYSTEM_TIMEOUT, timeout::MSG_NEW), ..header };
            out.message(header, NfGen::default(), |w| tell(w, object));
            self.next += 1;
        }
        self.next > before
    }
}
