//! Requests that change nothing: one thing, or a dump of all.

use nfnetlink::attr::Writer;
use nfnetlink::message::NLM_F_APPEND;
use nfnetlink::{Dump, Errno, Header, NfGen, Reply, Result};

use crate::model::State;

use super::op::{kind, res_id};
use super::{Query, chain, elem, flowtable, generation, msg, object, rule, set, table};

/// Whether a command gets something.
pub(super) const fn is_get(command: u8) -> bool {
    matches!(
        command,
        msg::GETTABLE
            | msg::GETCHAIN
            | msg::GETRULE
            | msg::GETRULE_RESET
            | msg::GETSET
            | msg::GETSETELEM
            | msg::GETSETELEM_RESET
            | msg::GETOBJ
            | msg::GETOBJ_RESET
            | msg::GETFLOWTABLE
    )
}

/// Answers a request for one thing.
pub(super) fn one(query: &Query<'_>, reply: &mut Reply<'_>) -> Result<()> {
    match query.message.command() {
        msg::GETTABLE => table::get(query, reply),
        msg::GETCHAIN => chain::get(query, reply),
        msg::GETRULE | msg::GETRULE_RESET => rule::get(query, reply),
        msg::GETSET => set::get(query, reply),
        msg::GETSETELEM | msg::GETSETELEM_RESET => elem::get(query, reply),
        msg::GETOBJ | msg::GETOBJ_RESET => object::get(query, reply),
        msg::GETFLOWTABLE => flowtable::get(query, reply),
        msg::GETGEN => generation::get(query, reply),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// Starts a dump.
pub(super) fn all(query: &Query<'_>) -> Result<Box<dyn Dump>> {
    match query.message.command() {
        msg::GETTABLE => table::dump(query),
        msg::GETCHAIN => chain::dump(query),
        msg::GETRULE | msg::GETRULE_RESET => rule::dump(query),
        msg::GETSET => set::dump(query),
        msg::GETSETELEM | msg::GETSETELEM_RESET => elem::dump(query),
        msg::GETOBJ | msg::GETOBJ_RESET => object::dump(query),
        msg::GETFLOWTABLE => flowtable::dump(query),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// A dump of a snapshot, item by item.
pub(super) struct Walk<I, W> {
    /// The state that is dumped.
    state: State,
    items: I,
    write: W,
}

impl<I, W> Walk<I, W>
where
    I: Iterator + Send + 'static,
    W: Fn(&State, I::Item, &mut Message<'_>) + Send + 'static,
{
    /// Dumps `items`, each as the messages that `write` writes.
    pub(super) fn start(state: &State, items: I, write: W) -> Result<Box<dyn Dump>> {
        Ok(Box::new(Self { state: state.clone(), items, write }))
    }
}

impl<I, W> Dump for Walk<I, W>
where
    I: Iterator + Send,
    W: Fn(&State, I::Item, &mut Message<'_>) + Send,
{
    fn next(&mut self, header: Header, room: usize, out: &mut Writer) -> bool {
        let start = out.buf.len();
        while out.buf.len() - start < room {
            let Some(item) = self.items.next() else { break };
            (self.write)(&self.state, item, &mut Message::new(out, header, &self.state));
        }
        out.buf.len() > start
    }
}

/// Where a dump's messages are written.
pub(super) struct Message<'a> {
    out: &'a mut Writer,
    header: Header,
    generation: u16,
}

impl<'a> Message<'a> {
    /// Messages of a dump of `state`.
    pub(super) fn new(out: &'a mut Writer, header: Header, state: &State) -> Self {
        Self { out, header, generation: res_id(state) }
    }

    /// Bytes written so far.
    pub(super) fn len(&self) -> usize {
        self.out.buf.len()
    }

    /// One message that says of itself that it comes behind the one before it: a rule, an
    /// object or a flowtable.
    pub(super) fn append(&mut self, command: u8, family: u8, write: impl FnOnce(&mut Writer)) {
        self.header.flags |= NLM_F_APPEND;
        self.put(command, family, write);
    }

    /// One message.
    pub(super) fn put(&mut self, command: u8, family: u8, write: impl FnOnce(&mut Writer)) {
        let header = Header { kind: kind(command), ..self.header };
        self.out.message(header, NfGen { family, version: 0, res_id: self.generation }, write);
    }
}
