//! One message, and what it is about.

use nfnetlink::attr::Writer;
use nfnetlink::message::{NLM_F_CREATE, NLM_F_ECHO, NLM_F_EXCL};
use nfnetlink::{Attr, Client, Errno, Events, Header, Message, NfGen, Result};

use crate::expr::{Decode, Encode};
use crate::family::Family;
use crate::ids::{ChainId, Handle};
use crate::model::{Chain, State, Table};

use super::{Batch, GROUP, Host, SUBSYSTEM, msg};

/// Bytes of a table's, chain's, set's or object's name (`NFT_NAME_MAXLEN` with its NUL).
pub(crate) const NAME_LEN: usize = 255;

/// One message of a batch.
pub(crate) struct Op<'a> {
    /// The batch so far.
    pub(crate) batch: &'a mut Batch,
    /// The world.
    pub(crate) host: &'a Host,
    /// The message.
    pub(crate) message: &'a Message<'a>,
    /// The family that it names.
    pub(crate) family: u8,
    /// Who sent it.
    pub(crate) client: Client,
    /// What is told once the batch is committed.
    pub(crate) events: &'a mut Events,
}

impl<'a> Op<'a> {
    /// The message's attributes by type.
    pub(crate) fn attrs<const N: usize>(&self) -> [Option<Attr<'a>>; N] {
        self.message.attrs().table()
    }

    /// The family.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` for one that has no handler.
    pub(crate) fn family(&self) -> Result<Family> {
        Family::from_number(self.family)
    }

    /// The table that `name` names, which this client may change.
    ///
    /// # Errors
    ///
    /// `EINVAL` without a name, `ENOENT` where there is none, `EPERM` where another client owns it.
    pub(crate) fn table(&self, name: Option<&Attr<'a>>) -> Result<Handle> {
        let found = find_table(&self.batch.state, self.family, name)?;
        match found.owner {
            Some((owner, _)) if owner != self.client.id => Err(Errno::EPERM.into()),
            _ => Ok(found.handle),
        }
    }

    /// A table of this batch.
    pub(crate) fn table_ref(&self, handle: Handle) -> Result<&Table> {
        Ok(self.batch.state.table_by_handle(handle).ok_or(Errno::ENOENT)?)
    }

    /// Decodes expressions for `table` (and `chain`, for a rule) by what the batch has made so far.
    pub(crate) fn decoder(&self, table: Handle, chain: Option<ChainId>) -> Result<Decode<'_>> {
        let batch = &*self.batch;
        let chain: Option<&Chain> = chain.and_then(|id| batch.state.chain(id));
        let table = self.table_ref(table)?;
        let mut decode = Decode::new(&batch.state, table, chain, &batch.ids, &batch.counters);
        decode.now = (self.host.now)();
        decode.listed = batch.listed;
        Ok(decode)
    }

    /// Tells of a change once the batch is committed: a message `command`, whose attributes `write` writes from the state
    /// that was committed, as the kernel does. What is gone by then `write` must bring along.
    pub(crate) fn notify(
        &mut self,
        command: u8,
        flags: u16,
        family: Family,
        write: impl FnOnce(&mut Writer, &Encode<'_>) + Send + 'static,
    ) {
        if !self.is_heard() {
            return;
        }
        // Events of elements say no number, as the kernel's.
        let of_element = matches!(command, msg::NEWSETELEM | msg::DELSETELEM);
        self.batch.told.push(Told {
            header: Header {
                len: 0,
                kind: kind(command),
                flags,
                seq: if of_element { 0 } else { self.message.header.seq },
                pid: self.client.port_id,
            },
            family,
            echo: self.message.has(NLM_F_ECHO).then_some(self.client.id),
            write: Box::new(write),
        });
    }

    /// This message changes something. Whether anybody hears of it.
    pub(crate) fn is_heard(&mut self) -> bool {
        self.batch.changed = true;
        self.events.wanted(GROUP, self.message)
    }

    /// The flags of its request that an event repeats (`NLM_F_CREATE`, `NLM_F_EXCL`).
    pub(crate) fn event_flags(&self) -> u16 {
        self.message.header.flags & (NLM_F_CREATE | NLM_F_EXCL)
    }
}

/// What an event's attributes are written by.
type Write = Box<dyn FnOnce(&mut Writer, &Encode<'_>) + Send>;

/// An event of a batch that is not committed yet.
pub(crate) struct Told {
    header: Header,
    family: Family,
    echo: Option<u64>,
    write: Write,
}

impl Told {
    /// Tells it, now that `cx.state` is committed.
    pub(super) fn tell(self, cx: &Encode<'_>, events: &mut Events) {
        let nfgen = NfGen { family: self.family as u8, version: 0, res_id: res_id(cx.state) };
        events.push(GROUP, self.echo, |out| {
            out.message(self.header, nfgen, |out| (self.write)(out, cx));
        });
    }
}

/// A request that changes nothing.
pub(crate) struct Query<'a> {
    /// The state that was committed last.
    pub(crate) state: &'a State,
    /// The request.
    pub(crate) message: &'a Message<'a>,
    /// Nanoseconds since the daemon's start.
    pub(crate) now: u64,
}

/// The type of an nf_tables message.
pub(crate) const fn kind(command: u8) -> u16 {
    (SUBSYSTEM as u16) << 8 | command as u16
}

/// The generation in each message's `res_id`.
pub(crate) fn res_id(state: &State) -> u16 {
    state.generation.0 as u16
}

/// The table of a family's number and a name.
///
/// # Errors
///
/// `EINVAL` without a name, `ENOENT` where there is none.
pub(crate) fn find_table<'s>(
    state: &'s State,
    family: u8,
    name: Option<&Attr<'_>>,
) -> Result<&'s Table> {
    let name = name.ok_or(Errno::EINVAL)?;
    let missing = || name.error(Errno::ENOENT);
    let family = Family::from_number(family).map_err(|_| missing())?;
    state.table(family, name.str(NAME_LEN)?).ok_or_else(missing)
}
