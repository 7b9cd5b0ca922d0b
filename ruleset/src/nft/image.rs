//! A ruleset as bytes, to be had again at another start: the messages that make it.
//!
//! # Overview
//!
//! [`write()`] dumps a [`State`] as any client could and makes of each answer the request for it; [`restore`] applies them as one
//! batch. So whatever can be listed is kept, userdata, counters and iptables' extensions among it; handles are given anew. Tables
//! that a client owns are left out: they go with it.

use std::collections::HashSet;

use ahash::RandomState;
use nfnetlink::attr::Writer;
use nfnetlink::message::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REQUEST};
use nfnetlink::{Client, Events, Header, Message, Messages, NfGen, Result, Subsystem};

use crate::expr::Ref;
use crate::ids::ChainId;
use crate::model::{Chain, ChainFlags, State};

use super::op::kind;
use super::{NfTables, Query, dump, msg};

/// What an image begins with.
const MAGIC: &[u8] = b"twinwall ruleset 1\n\0\0\0\0\0";
/// Bytes of an image before its messages.
pub const HEAD: usize = MAGIC.len();

/// The name of the table that something is in; likewise of the table itself.
const TABLE: u16 = 1;
/// `NFTA_SET_NAME`, and that of a list of elements.
const SET: u16 = 2;
/// `NFTA_SET_ID`.
const SET_ID: u16 = 10;
/// `NFTA_RULE_CHAIN`, and `NFTA_RULE_COMPAT` with what is in it.
const CHAIN: u16 = 2;
const COMPAT: u16 = 5;
const COMPAT_PROTO: u16 = 1;
const COMPAT_FLAGS: u16 = 2;

/// The commands that list things, in the order in which things can be made, with what their answers have that a request for
/// them must not: handles and positions.
const KINDS: [(u8, &[u16]); 5] = [
    (msg::GETTABLE, &[4, 7]),
    (msg::GETCHAIN, &[2]),
    (msg::GETOBJ, &[6]),
    (msg::GETFLOWTABLE, &[5]),
    (msg::GETSET, &[16]),
];

/// Likewise of rules.
const OF_RULES: &[u16] = &[3, 6];

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
        image.add(state, now, command, (0, &|_| {}), without, &mut |_| {});
        if command == msg::GETSET {
            for (_, set) in state.sets.iter() {
                let of_set = |out: &mut Writer| {
                    out.str(TABLE, &set.table.name);
                    out.str(SET, &set.name);
                };
                let family = set.table.family as u8;
                image.add(state, now, msg::GETSETELEM, (family, &of_set), &[], &mut |_| {});
            }
        }
    }
    let mut done = HashSet::default();
    for (_, chain) in state.chains.iter() {
        image.rules(state, now, chain, &mut done);
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
        beside: &mut dyn FnMut(&mut Writer),
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
            for answer in Messages::new(&answers.buf) {
                self.request(&answer, without, beside);
            }
            answers.buf.clear();
        }
    }

    /// Adds the rules of a chain, those of chains that belong to one of its rules before: once such a chain is in use it takes
    /// no more.
    fn rules(
        &mut self,
        state: &State,
        now: u64,
        chain: &Chain,
        done: &mut HashSet<ChainId, RandomState>,
    ) {
        if !done.insert(chain.id) {
            return;
        }
        for to in chain.jumps.keys() {
            if let Ref::Chain(to) = to
                && let Some(to) = state.chain(*to)
                && to.flags.has(ChainFlags::BINDING)
            {
                self.rules(state, now, to, done);
            }
        }
        let of_chain = |out: &mut Writer| {
            out.str(TABLE, &chain.table.name);
            out.str(CHAIN, &chain.name);
        };
        // What iptables-nft said of a rule's protocol is not listed.
        let mut rules = chain.rules.iter();
        let mut compat = |out: &mut Writer| {
            if let Some(compat) = rules.next().and_then(|rule| rule.compat) {
                out.nest(COMPAT, |out| {
                    out.u32(COMPAT_PROTO, compat.protocol);
                    out.u32(COMPAT_FLAGS, compat.flags);
                });
            }
        };
        let family = chain.table.family as u8;
        self.add(state, now, msg::GETRULE, (family, &of_chain), OF_RULES, &mut compat);
    }

    /// The request for what an answer tells of; `beside` adds what the answer does not tell.
    fn request(
        &mut self,
        answer: &Message<'_>,
        without: &[u16],
        beside: &mut dyn FnMut(&mut Writer),
    ) {
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
            beside(out);
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
    apply(rules, image, false, &mut Events::default())
}

/// Puts the ruleset of an image in the place of all that is in `rules`, in one batch; listeners hear of it by `events`.
///
/// # Errors
///
/// As [`restore`]; then nothing has changed.
pub fn replace(rules: &mut NfTables, image: &[u8], events: &mut Events) -> Result<(), ImageError> {
    apply(rules, image, true, events)
}

fn apply(
    rules: &mut NfTables,
    image: &[u8],
    flush: bool,
    events: &mut Events,
) -> Result<(), ImageError> {
    let client = Client { id: 0, port_id: 0, uid: 0, pid: std::process::id() };
    let refused = |number, command| move |error| ImageError::Refused { number, command, error };
    let bytes = image.strip_prefix(MAGIC).ok_or(ImageError::NotOne)?;
    rules.begin(None, client).map_err(refused(0, 0))?;
    rules.batch.iter_mut().for_each(|batch| batch.listed = true);
    let mut first = Writer::default();
    if flush {
        // Every table of every family.
        let header =
            Header { kind: kind(msg::DELTABLE), flags: NLM_F_REQUEST, ..Header::default() };
        first.message(header, NfGen::default(), |_| {});
    }
    let mut messages = Messages::new(bytes);
    let all = Messages::new(&first.buf).zip(0..).chain(messages.by_ref().zip(1..));
    let mut applied = Ok(());
    for (message, number) in all {
        let done = rules.apply(&message, client, events);
        applied = done.map_err(refused(number, message.command()));
        if applied.is_err() {
            break;
        }
    }
    let whole = applied
        .and_then(|()| if messages.rest().is_empty() { Ok(()) } else { Err(ImageError::NotOne) });
    let done = whole.and_then(|()| rules.commit(client, events).map_err(refused(0, 0)));
    if done.is_err() {
        rules.abort();
    }
    done
}
