//! A batch: all of its messages, or none. As the kernel's `nfnetlink_rcv_batch`.
//!
//! A refused message does not end it: those behind it are tried as well, so that the client hears of every fault. What is
//! refused or wants it is acknowledged when the batch is over. A batch without an end is only checked (`nft -c`).

use std::collections::BTreeMap;

use crate::attr::Table;
use crate::error::{Errno, Error};
use crate::message::{
    BATCH_BEGIN, BATCH_END, HEADER, Message, Messages, NFGEN, NLM_F_ACK, NLM_F_REQUEST,
    NLMSG_MIN_TYPE,
};
use crate::subsystem::{Client, Events, Subsystem};

const ATTR_GENID: usize = 1;
/// Subsystem ids below this exist (`NFNL_SUBSYS_COUNT`).
const SUBSYSTEMS: u16 = 13;
/// `NFNL_SUBSYS_NFTABLES`: old versions of nft write it in the machine's order.
const NFTABLES: u16 = 10;

/// What is to be acknowledged, in order; with an error where it is refused.
pub(super) type Acks<'a> = Vec<(Message<'a>, Option<Error>)>;

/// How the messages of a batch ended.
enum End<'a> {
    /// All were taken, then came the end.
    Complete(Message<'a>),
    /// All were taken, but no end came.
    Open,
    /// Some were refused.
    Refused,
    /// The batch itself is broken; nothing is acknowledged.
    Malformed,
}

/// Runs the batch that `begin` opens, the first message of `bytes`.
pub(super) fn run<'a>(
    subsystems: &mut BTreeMap<u8, Box<dyn Subsystem>>,
    client: Client,
    begin: &Message<'a>,
    bytes: &'a [u8],
    events: &mut Events,
) -> Acks<'a> {
    let refuse = |error: Error| vec![(*begin, Some(error))];
    let Ok(nfgen) = begin.nfgen() else { return Vec::new() };
    let mut table: Table<'_, { ATTR_GENID + 1 }> = begin.attrs().table();
    let generation = match table.get_mut(ATTR_GENID).and_then(Option::take).map(|a| a.u32()) {
        Some(Err(error)) => return refuse(error),
        Some(Ok(generation)) => Some(generation).filter(|generation| *generation != 0),
        None => None,
    };
    let id = match nfgen.res_id {
        id if id == u16::from_be_bytes(NFTABLES.to_ne_bytes()) => NFTABLES,
        id => id,
    };
    if id >= SUBSYSTEMS {
        return refuse(Errno::EINVAL.into());
    }
    let Some(subsystem) = subsystems.get_mut(&(id as u8)) else {
        return refuse(Errno::EOPNOTSUPP.into());
    };
    let mut acks = Acks::new();
    // A subsystem that finds a fault only at the end asks to see the messages once more, to name the one at fault.
    for again in [false, true] {
        if let Err(error) = subsystem.begin(generation, client) {
            return refuse(error);
        }
        acks.clear();
        if begin.has(NLM_F_ACK) {
            acks.push((*begin, None));
        }
        let end = messages(subsystem.as_mut(), client, bytes, &mut acks, events);
        let failed = match end {
            End::Complete(end) => match subsystem.commit(client, events) {
                Ok(()) => {
                    if end.has(NLM_F_ACK) {
                        acks.push((end, None));
                    }
                    return acks;
                }
                Err(error) => Some(error),
            },
            End::Open => subsystem.validate(client).err(),
            End::Refused => None,
            End::Malformed => {
                acks.clear();
                None
            }
        };
        subsystem.abort();
        events.queue.clear();
        match failed {
            Some(error) if error.errno == Errno::EAGAIN && !again => {}
            Some(error) => {
                // Named after the message behind the begin, as the kernel has it.
                let first = Messages::new(bytes).nth(1).unwrap_or(*begin);
                acks.insert(0, (first, Some(error)));
                break;
            }
            None => break,
        }
    }
    acks
}

fn messages<'a>(
    subsystem: &mut dyn Subsystem,
    client: Client,
    bytes: &'a [u8],
    acks: &mut Acks<'a>,
    events: &mut Events,
) -> End<'a> {
    let mut refused = false;
    let mut messages = Messages::new(bytes);
    messages.next();
    loop {
        let Some(message) = messages.next() else {
            // Less than a header is nothing; a header whose length is wrong is a fault.
            return if messages.rest().len() >= HEADER {
                End::Malformed
            } else if refused {
                End::Refused
            } else {
                End::Open
            };
        };
        if message.bytes.len() < HEADER + NFGEN {
            return End::Malformed;
        }
        let result = if !message.has(NLM_F_REQUEST) {
            Err(Errno::EINVAL.into())
        } else {
            match message.header.kind {
                BATCH_BEGIN => return End::Malformed,
                BATCH_END if refused => return End::Refused,
                BATCH_END => return End::Complete(message),
                ..NLMSG_MIN_TYPE => Err(Errno::EINVAL.into()),
                _ if message.subsystem() != subsystem.id() => Err(Errno::EINVAL.into()),
                _ => subsystem.apply(&message, client, events),
            }
        };
        refused |= result.is_err();
        if message.has(NLM_F_ACK) || result.is_err() {
            acks.push((message, result.err()));
        }
    }
}
