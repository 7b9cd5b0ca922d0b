//! A subsystem for tests that stands where nf_tables does: it has a generation, remembers the names of tables, and makes as
//! many answers, events and dumped messages as it is asked for.
//!
//! Commands beside those of nf_tables that `nft list ruleset` sends:
//! - [`ECHO`]: one answer with the request's attributes.
//! - [`FLOOD`]: attribute 1 says how many answers, attribute 2 how many bytes each has.
//! - [`SHOUT`]: attribute 1 says how many events for the group of attribute 3, attribute 2 how many bytes each has.
//! - [`REFUSE`]: `ERANGE`, with words.
//! - [`MANY`] as a dump: attribute 1 says how many messages, attribute 2 how many bytes each has.

use std::collections::BTreeSet;
use std::sync::Arc;

use nfnetlink::message::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_ECHO, NLM_F_EXCL, NLM_F_REQUEST};
use nfnetlink::{
    Attr, Client, Dump, Engine, Errno, Error, Event, Events, Header, Message, Messages, NfGen,
    Reply, Result, Subsystem, Table, Writer,
};

pub const NFTABLES: u16 = 10 << 8;
pub const NEW_TABLE: u16 = NFTABLES;
pub const GET_TABLE: u16 = NFTABLES | 1;
pub const DEL_TABLE: u16 = NFTABLES | 2;
pub const NEW_GEN: u16 = NFTABLES | 15;
pub const GET_GEN: u16 = NFTABLES | 16;
pub const ECHO: u16 = NFTABLES | 200;
pub const FLOOD: u16 = NFTABLES | 201;
pub const SHOUT: u16 = NFTABLES | 202;
pub const MANY: u16 = NFTABLES | 203;
pub const REFUSE: u16 = NFTABLES | 204;
pub const GROUP: u32 = 7;

const NFGEN: NfGen = NfGen { family: 2, version: 0, res_id: 0 };

/// The tables as they will be, and what changed: the request's header, the table's name.
pub type Pending = (BTreeSet<String>, Vec<(Header, String)>);

#[derive(Default)]
pub struct Toy {
    pub generation: u32,
    pub tables: BTreeSet<String>,
    pub pending: Option<Pending>,
    /// The most messages that are made at once.
    pub most: u32,
    /// Whether `commit` refuses, once, with `EAGAIN`.
    pub replays: u32,
}

impl Toy {
    pub fn new() -> Self {
        Self { generation: 1, most: 1_000_000, ..Self::default() }
    }
}

/// A dump of so many messages of so many bytes; names first.
struct Rows {
    kind: u16,
    names: Vec<String>,
    left: u32,
    bytes: usize,
}

impl Dump for Rows {
    fn next(&mut self, header: Header, room: usize, out: &mut Writer) -> bool {
        let start = out.buf.len();
        loop {
            let before = out.buf.len();
            let header = Header { kind: self.kind, ..header };
            if let Some(name) = self.names.pop() {
                out.message(header, NFGEN, |w| table(w, &name));
            } else if self.left > 0 {
                self.left -= 1;
                out.message(header, NFGEN, |w| w.put(1, &vec![b'x'; self.bytes]));
            } else {
                return before > start;
            }
            let one = out.buf.len() - before;
            if out.buf.len() - start + one > room {
                return true;
            }
        }
    }
}

fn table(w: &mut Writer, name: &str) {
    w.str(1, name);
    w.u32(2, 0);
    w.u32(3, 0);
    w.u64(4, 1);
}

fn number(attr: Option<Attr<'_>>, most: u32) -> Result<u32> {
    let attr = attr.ok_or(Errno::EINVAL)?;
    Some(attr.u32()?).filter(|n| *n <= most).ok_or_else(|| attr.error(Errno::ERANGE))
}

/// A size that a message can have.
fn size(attr: Option<Attr<'_>>) -> Result<usize> {
    Ok(number(attr, 60_000)? as usize)
}

impl Subsystem for Toy {
    fn id(&self) -> u8 {
        10
    }

    fn generation(&self) -> u32 {
        self.generation
    }

    fn request(
        &mut self,
        message: &Message<'_>,
        reply: &mut Reply<'_>,
        events: &mut Events,
    ) -> Result<()> {
        let table: Table<'_, 4> = message.attrs().table();
        match message.header.kind {
            GET_GEN => reply.message(NEW_GEN, 0, NfGen { family: 0, ..NFGEN }, |w| {
                w.u32(1, self.generation);
                w.u32(2, 0);
                w.str(3, "toy");
            }),
            ECHO => reply.message(ECHO, 0, message.nfgen()?, |w| {
                for attr in message.attrs() {
                    w.put(attr.kind, attr.data);
                }
            }),
            FLOOD => {
                for _ in 0..number(table[1], self.most)? {
                    let bytes = vec![b'f'; size(table[2])?];
                    reply.message(FLOOD, 0, NFGEN, |w| w.put(1, &bytes));
                }
            }
            SHOUT => {
                let bytes = vec![b's'; size(table[2])?];
                for n in 0..number(table[1], self.most)? {
                    let mut out = Writer::default();
                    out.message(Header { kind: SHOUT, seq: n, ..Header::default() }, NFGEN, |w| {
                        w.put(1, &bytes)
                    });
                    let echo = message.has(NLM_F_ECHO).then_some(reply.client.id);
                    events.queue.push(Event {
                        group: number(table[3], 64)?,
                        datagram: out.buf,
                        echo,
                    });
                }
            }
            REFUSE => return Err(Error::new(Errno::ERANGE).because("no")),
            _ => return Err(Errno::EINVAL.into()),
        }
        Ok(())
    }

    fn is_dump(&self, message: &Message<'_>) -> bool {
        message.command() != 0
    }

    fn dump(&mut self, message: &Message<'_>, _client: Client) -> Result<Box<dyn Dump>> {
        let table: Table<'_, 4> = message.attrs().table();
        let (mut names, mut left, mut bytes) = (Vec::new(), 0, 0);
        match message.header.kind {
            GET_TABLE => names = self.tables.iter().rev().cloned().collect(),
            MANY => (left, bytes) = (number(table[1], self.most)?, size(table[2])?),
            _ => {}
        }
        let kind = if message.header.kind == MANY { MANY } else { NEW_TABLE };
        Ok(Box::new(Rows { kind, names, left, bytes }))
    }

    fn begin(&mut self, generation: Option<u32>, _client: Client) -> Result<()> {
        assert!(self.pending.is_none(), "a batch begins within another");
        if generation.is_some_and(|generation| generation != self.generation) {
            return Err(Errno::ERESTART.into());
        }
        self.pending = Some((self.tables.clone(), Vec::new()));
        Ok(())
    }

    fn apply(
        &mut self,
        message: &Message<'_>,
        _client: Client,
        _events: &mut Events,
    ) -> Result<()> {
        let (tables, changes) = self.pending.as_mut().expect("apply outside of a batch");
        let attrs: Table<'_, 4> = message.attrs().table();
        let attr = attrs[1].ok_or(Errno::EINVAL)?;
        let name = attr.str(31)?.to_owned();
        match message.header.kind {
            NEW_TABLE if tables.contains(&name) && message.has(NLM_F_EXCL) => {
                return Err(attr.error(Errno::EEXIST));
            }
            NEW_TABLE => tables.insert(name.clone()),
            DEL_TABLE if tables.remove(&name) => true,
            DEL_TABLE => return Err(attr.error(Errno::ENOENT)),
            // Elements and the like: taken and forgotten.
            _ => return Ok(()),
        };
        changes.push((message.header, name));
        Ok(())
    }

    fn commit(&mut self, client: Client, events: &mut Events) -> Result<()> {
        if self.replays > 0 {
            self.replays -= 1;
            return Err(Errno::EAGAIN.into());
        }
        let (tables, changes) = self.pending.take().expect("commit outside of a batch");
        self.tables = tables;
        self.generation += 1;
        // As the kernel: what changed, then the new generation; echoed to who asked for an echo of anything.
        let pid = client.port_id;
        let mut last = (Header::default(), None);
        for (Header { kind, flags, seq, .. }, name) in changes {
            let echo = (flags & NLM_F_ECHO != 0).then_some(client.id);
            let header = Header { kind, flags: flags & NLM_F_CREATE, seq, pid, len: 0 };
            last = (header, last.1.or(echo));
            events.push(GROUP, echo, |w| w.message(header, NFGEN, |w| table(w, &name)));
        }
        let header = Header { kind: NEW_GEN, flags: 0, ..last.0 };
        events.push(GROUP, last.1, |w| {
            w.message(header, NfGen { family: 0, ..NFGEN }, |w| {
                w.u32(1, self.generation);
                w.u32(2, client.pid);
                w.str(3, "toy");
            });
        });
        Ok(())
    }

    fn abort(&mut self) {
        assert!(self.pending.take().is_some(), "abort outside of a batch");
    }
}

/// Any input to an engine with a toy: see [`super::fuzzed::drive`]. The toy itself checks that batches begin and end in turn.
pub fn check_engine(input: &[u8]) {
    let mut engine = Engine::new(100_000, 1, Arc::default());
    engine.register(Box::new(Toy { most: 50, ..Toy::new() }));
    super::fuzzed::drive(&mut engine, input, |engine| {
        let mut request = Writer::default();
        let header =
            Header { kind: GET_TABLE, flags: NLM_F_REQUEST | NLM_F_DUMP, ..Header::default() };
        request.message(header, NFGEN, |_| {});
        let id = engine.connect(0, 1, true);
        engine.datagram(id, &request.buf);
        let mut tables = Vec::new();
        while let Some((words, outgoing)) = engine.front(id) {
            // Without headers: the port id in them is another each time.
            tables
                .extend(Messages::new(&outgoing.bytes).map(|message| message.bytes[16..].to_vec()));
            engine.sent(id, words);
        }
        engine.disconnect(id);
        tables
    });
}
