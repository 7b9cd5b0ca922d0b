//! A ruleset as bytes, to be had again at another start: the messages that make it.
//!
//! # Overview
//!
//! [`write`] dumps a [`State`] as any client could and makes of each answer the request for it; [`restore`] applies them as one
//! batch. So whatever can be listed is kept, userdata, counters and iptables' extensions among it; handles are given anew. Tables
//! that a client owns are left out: they go with it.

use std::collections::HashSet;

use ahash::RandomState;
use nfnetlink::attr::Writer;
use nfnetlink::message::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REQUEST};
use nfnetlink::{Client, Events, Header, Message, Messages, NfGen, Result, Subsystem};

use crate::model::State;

use super::op::kind;
use super::{NfTables, Query, dump, msg};

/// What an image begins with.
const MAGIC: &[u8] = b"twinwall ruleset 1\n\0\0\0\0\0";

/// The name of the table that something is in; likewise of the table itself.
const TABLE: u16 = 1;
/// `NFTA_SET_NAME`, and that of a list of elements.
const SET: u16 = 2;
/// `NFTA_SET_ID`.
const SET_ID: u16 = 10;

/// The commands that list things, in the order in which things can be made, with what their answers have that a request for
/// them must not: handles and positions.
const KINDS: [(u8, &[u16]); 6] = [
    (msg::GETTABLE, &[4, 7]),
    (msg::GETCHAIN, &[2]),
    (msg::GETOBJ, &[6]),
    (msg::GETFLOWTABLE, &[5]),
    (msg::GETSET, &[16]),
    (msg::GETRULE, &[3, 6]),
];

/// Why an image is no ruleset.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// It is something else, or cut short.
    #[error("it is no ruleset that twinwall has written, or not all of it")]
    NotOne,
    /// Something in it is refused.
    #[error("its message {number} (type {command}) is refused: {error:?}")]
    Refused {
        /// Which message, from 1; 0 is the whole.
        number: usize,
        /// Its `NFT_MSG_…`.
        command: u8,
        /// Why.
        error: nfnetlink::Error,
    },
}

/// The messages that make `state`. `now`: nanoseconds since the daemon's start.
pub fn write(state: &State, now: u64) -> Vec<u8> {
    let owned = state.tables.values().filter(|table| table.owner.is_some());
    let owned = owned.map(|table| (table.family() as u8, table.key.name.as_bytes().to_vec()));
    let mut image = Image { out: Writer::default(), owned: owned.collect(), sets: 0 };
    image.out.buf.extend(MAGIC);
    for (command, without) in KINDS {
        image.add(state, now, command, (0, &|_| {}), without);
        if command == msg::GETSET {
            for (_, set) in state.sets.iter() {
                let of_set = |out: &mut Writer| {
                    out.str(TABLE, &set.table.name);
                    out.str(SET, &set.name);
                };
                let family = set.table.family as u8;
                image.add(state, now, msg::GETSETELEM, (family, &of_set), &[]);
            }
        }
    }
    image.out.buf
}

struct Image {
    out: Writer,
    owned: HashSet<(u8, Vec<u8>), RandomState>,
    sets: u32,
}

impl Image {
    /// Adds what a dump of `command` says.
    fn add(
        &mut self,
        state: &State,
        now: u64,
        command: u8,
        (family, select): (u8, &dyn Fn(&mut Writer)),
        without: &[u16],
    ) {
        /// Bytes of one answer of the dump.
        const ROOM: usize = 1 << 16;
        let mut request = Writer::default();
        let flags = NLM_F_REQUEST | NLM_F_DUMP;
        let header = Header { kind: kind(command), flags, ..Header::default() };
        request.message(header, NfGen { family, ..NfGen::default() }, select);
        let Some(message) = Messages::new(&request.buf).next() else { return };
        // All of these can be dumped: nothing is asked for that is not there.
        let Ok(mut dump) = dump::all(&Query { state, message: &message, now }) else { return };
        let mut answers = Writer::default();
        while dump.next(Header::default(), ROOM, &mut answers) {
            Messages::new(&answers.buf).for_each(|answer| self.request(&answer, without));
            answers.buf.clear();
        }
    }

    /// The request for what an answer tells of.
    fn request(&mut self, answer: &Message<'_>, without: &[u16]) {
        let Ok(NfGen { family, .. }) = answer.nfgen() else { return };
        let name = answer.attrs().find(|attr| attr.kind == TABLE);
        let name = name.map_or(&[][..], |name| name.data.strip_suffix(&[0]).unwrap_or(name.data));
        if self.owned.contains(&(family, name.to_vec())) {
            return;
        }
        let behind = if answer.command() == msg::NEWRULE { NLM_F_APPEND } else { 0 };
        let flags = NLM_F_REQUEST | NLM_F_CREATE | behind;
        let header = Header { kind: answer.header.kind, flags, ..Header::default() };
        self.out.message(header, NfGen { family, ..NfGen::default() }, |out| {
            for attr in answer.attrs().filter(|attr| !without.contains(&attr.kind)) {
                out.put(attr.kind, attr.data);
            }
            if answer.command() == msg::NEWSET {
                self.sets += 1;
                out.u32(SET_ID, self.sets);
            }
        });
    }
}

/// Makes the ruleset of an image part of `rules`, in one batch.
///
/// # Errors
///
/// Where it is no image, or something in it is refused; then nothing has changed.
pub fn restore(rules: &mut NfTables, image: &[u8]) -> Result<(), ImageError> {
    let client = Client { id: 0, port_id: 0, uid: 0, pid: std::process::id() };
    let refused = |number, command| move |error| ImageError::Refused { number, command, error };
    let bytes = image.strip_prefix(MAGIC).ok_or(ImageError::NotOne)?;
    let mut events = Events::default();
    rules.begin(None, client).map_err(refused(0, 0))?;
    let mut messages = Messages::new(bytes);
    let applied = messages.by_ref().zip(1..).try_for_each(|(message, number)| {
        let applied = rules.apply(&message, client, &mut events);
        applied.map_err(refused(number, message.command()))
    });
    let whole = applied
        .and_then(|()| if messages.rest().is_empty() { Ok(()) } else { Err(ImageError::NotOne) });
    let done = whole.and_then(|()| rules.commit(client, &mut events).map_err(refused(0, 0)));
    if done.is_err() {
        rules.abort();
    }
    done
}
