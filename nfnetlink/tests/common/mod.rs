//! What the tests share: the toy subsystem, requests, and answers taken apart.
#![allow(dead_code, unreachable_pub, reason = "each test needs a part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

pub mod fuzzed;
pub mod running;
pub mod toy;

use nfnetlink::message::{BATCH_BEGIN, BATCH_END, NLM_F_REQUEST, NLMSG_ERROR};
use nfnetlink::{Engine, Header, Messages, NfGen, Writer, frame};

/// One message with netfilter's header.
pub fn message(kind: u16, flags: u16, seq: u32, inside: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut out = Writer::default();
    let header = Header { kind, flags: flags | NLM_F_REQUEST, seq, pid: 0, len: 0 };
    out.message(header, NfGen { family: 2, version: 0, res_id: 0 }, inside);
    out.buf
}

/// A message whose attributes are these numbers, from type 1 on.
pub fn numbers(kind: u16, flags: u16, seq: u32, numbers: &[u32]) -> Vec<u8> {
    message(kind, flags, seq, |w| {
        for (number, kind) in numbers.iter().zip(1..) {
            w.u32(kind, *number);
        }
    })
}

/// A message about a table.
pub fn table(kind: u16, flags: u16, seq: u32, name: &str) -> Vec<u8> {
    message(kind, flags, seq, |w| w.str(1, name))
}

/// The begin of a batch for a subsystem, built on a generation.
pub fn begin(subsystem: u16, generation: Option<u32>, flags: u16, seq: u32) -> Vec<u8> {
    let mut out = Writer::default();
    let header = Header { kind: BATCH_BEGIN, flags: flags | NLM_F_REQUEST, seq, pid: 0, len: 0 };
    out.message(header, NfGen { family: 0, version: 0, res_id: subsystem }, |w| {
        if let Some(generation) = generation {
            w.u32(1, generation);
        }
    });
    out.buf
}

/// The end of a batch.
pub fn end(flags: u16, seq: u32) -> Vec<u8> {
    let mut out = Writer::default();
    let header = Header { kind: BATCH_END, flags: flags | NLM_F_REQUEST, seq, pid: 0, len: 0 };
    out.message(header, NfGen { family: 0, version: 0, res_id: 10 }, |_| {});
    out.buf
}

/// A batch of nf_tables.
pub fn batch(messages: &[Vec<u8>]) -> Vec<u8> {
    [begin(10, None, 0, 100), messages.concat(), end(0, 101)].concat()
}

/// A datagram as a client would get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    pub group: u32,
    pub overrun: bool,
    pub settled: u32,
    pub bytes: Vec<u8>,
}

impl Got {
    pub fn new(words: [u8; frame::LEN], bytes: &[u8]) -> Self {
        let (first, group) = frame::read(words);
        Self {
            group,
            overrun: first & frame::OVERRUN != 0,
            settled: first >> frame::SETTLED_SHIFT,
            bytes: bytes.to_vec(),
        }
    }

    pub fn headers(&self) -> Vec<Header> {
        Messages::new(&self.bytes).map(|message| message.header).collect()
    }

    /// Sequence number and errno, where it is one error message.
    pub fn error(&self) -> Option<(u32, i32)> {
        let message = Messages::new(&self.bytes).next()?;
        let errno = i32::from_ne_bytes(message.bytes[16..20].try_into().unwrap());
        (message.header.kind == NLMSG_ERROR).then_some((message.header.seq, -errno))
    }
}

/// Everything that waits for a client.
pub fn drain(engine: &mut Engine, id: u64) -> Vec<Got> {
    let mut all = Vec::new();
    while let Some(got) = one(engine, id) {
        all.push(got);
    }
    all
}

/// The next datagram for a client.
pub fn one(engine: &mut Engine, id: u64) -> Option<Got> {
    let (words, outgoing) = engine.front(id)?;
    let got = Got::new(words, &outgoing.bytes);
    engine.sent(id, words);
    Some(got)
}

/// Sequence numbers and errnos of the error messages in answer to a datagram; panics at any other answer.
pub fn errors(engine: &mut Engine, id: u64, datagram: &[u8]) -> Vec<(u32, i32)> {
    engine.datagram(id, datagram);
    drain(engine, id).iter().map(|got| got.error().expect("an error message")).collect()
}
