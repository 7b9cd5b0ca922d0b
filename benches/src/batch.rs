//! Batches as nft sends them: a table `bench` with chains and rules.

use anyhow::{Context, Result, bail};
use nfnetlink::attr::Writer;
use nfnetlink::message::{
    BATCH_BEGIN, BATCH_END, NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_REQUEST,
};
use nfnetlink::server::Engine;
use nfnetlink::{Header, Messages, NfGen};
use ruleset::nft::{SUBSYSTEM, msg};

/// `NFPROTO_IPV4`.
pub const IPV4: u8 = 2;
/// `NFPROTO_INET`.
pub const INET: u8 = 1;
/// `NF_INET_FORWARD`.
pub const FORWARD: u32 = 2;
/// `NF_INET_POST_ROUTING`.
pub const POSTROUTING: u32 = 4;

/// A batch that is being written.
pub struct Batch {
    out: Writer,
    family: u8,
    seq: u32,
}

impl Batch {
    /// An empty one about tables of this family.
    pub fn new(family: u8) -> Self {
        let mut batch = Self { out: Writer::default(), family, seq: 0 };
        batch.edge(BATCH_BEGIN, 0);
        batch
    }

    fn message(&mut self, command: u8, flags: u16, inside: impl FnOnce(&mut Writer)) {
        self.seq += 1;
        let kind = u16::from(SUBSYSTEM) << 8 | u16::from(command);
        let header =
            Header { kind, flags: NLM_F_REQUEST | flags, seq: self.seq, ..Header::default() };
        self.out.message(header, NfGen { family: self.family, version: 0, res_id: 0 }, inside);
    }

    fn edge(&mut self, kind: u16, flags: u16) {
        let header =
            Header { kind, flags: NLM_F_REQUEST | flags, seq: self.seq, ..Header::default() };
        let nfgen = NfGen { family: 0, version: 0, res_id: u16::from(SUBSYSTEM) };
        self.out.message(header, nfgen, |_| {});
    }

    /// Its bytes; its end wants an acknowledgement.
    pub fn end(mut self) -> Vec<u8> {
        self.seq += 1;
        self.edge(BATCH_END, NLM_F_ACK);
        self.out.buf
    }

    /// Makes the table.
    pub fn table(&mut self) {
        self.message(msg::NEWTABLE, NLM_F_CREATE, |out| out.str(1, "bench"));
    }

    /// Makes a chain, in this hook where it is a base chain.
    pub fn chain(&mut self, name: &str, hook: Option<u32>) {
        self.make_chain(name, hook.map(|hook| ("filter", hook, 0)));
    }

    /// Makes a base chain of type nat.
    pub fn nat_chain(&mut self, name: &str, hook: u32, priority: u32) {
        self.make_chain(name, Some(("nat", hook, priority)));
    }

    fn make_chain(&mut self, name: &str, base: Option<(&str, u32, u32)>) {
        self.message(msg::NEWCHAIN, NLM_F_CREATE, |out| {
            out.str(1, "bench");
            out.str(3, name);
            if let Some((kind, hook, priority)) = base {
                out.nest(4, |out| {
                    out.u32(1, hook);
                    out.u32(2, priority);
                });
                out.str(7, kind);
            }
        });
    }

    /// Appends a rule of the expressions that `inside` writes.
    pub fn rule(&mut self, chain: &str, inside: impl FnOnce(&mut Writer)) {
        self.message(msg::NEWRULE, NLM_F_CREATE | NLM_F_APPEND, |out| {
            out.str(1, "bench");
            out.str(2, chain);
            out.nest(4, inside);
        });
    }
}

/// An expression.
pub fn expr(out: &mut Writer, name: &str, inside: impl FnOnce(&mut Writer)) {
    out.nest(1, |out| {
        out.str(1, name);
        out.nest(2, inside);
    });
}

/// Bytes of a header into register 1.
pub fn payload(out: &mut Writer, base: u32, offset: u32, len: u32) {
    expr(out, "payload", |out| {
        [1, base, offset, len].iter().zip(1..).for_each(|(value, kind)| out.u32(kind, *value));
    });
}

/// Register 1 is this.
pub fn cmp(out: &mut Writer, value: &[u8]) {
    expr(out, "cmp", |out| {
        out.u32(1, 1);
        out.u32(2, 0);
        out.nest(3, |out| out.put(1, value));
    });
}

/// A counter.
pub fn counter(out: &mut Writer) {
    expr(out, "counter", |out| {
        out.u64(1, 0);
        out.u64(2, 0);
    });
}

/// A verdict, by its code.
pub fn verdict(out: &mut Writer, code: i32, chain: Option<&str>) {
    expr(out, "immediate", |out| {
        out.u32(1, 0);
        out.nest(2, |out| {
            out.nest(2, |out| {
                out.u32(1, code.cast_unsigned());
                if let Some(chain) = chain {
                    out.str(2, chain);
                }
            });
        });
    });
}

/// Sends a batch.
///
/// # Errors
///
/// When it is refused.
pub fn send(engine: &mut Engine, client: u64, batch: &[u8]) -> Result<()> {
    engine.datagram(client, batch);
    let mut codes = Vec::new();
    while let Some((from, answer)) = engine.front(client) {
        let message = Messages::new(&answer.bytes).next().context("an empty answer")?;
        let code = message.bytes.get(16..).and_then(|rest| rest.first_chunk());
        codes.push(i32::from_ne_bytes(*code.context("a short answer")?));
        engine.sent(client, from);
    }
    match codes[..] {
        [0] => Ok(()),
        _ => bail!("refused: {codes:?}"),
    }
}
