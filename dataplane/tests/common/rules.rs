//! Rulesets for tests: batches as nft sends them, through the engine, to a program for the worker.

use std::sync::{Arc, Mutex};

use dataplane::control::{Arrivals, ToWorker};
use ruleset::family::Family;
use ruleset::nfnetlink::message::{
    BATCH_BEGIN, BATCH_END, NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REQUEST,
    NLMSG_ERROR,
};
use ruleset::nfnetlink::server::Engine;
use ruleset::nfnetlink::{Header, Messages, NfGen, Writer};
use ruleset::nft::{Host, NfTables, SUBSYSTEM, msg};
use ruleset::program::Program;

use super::Node;

pub const DROP: i32 = 0;
pub const ACCEPT: i32 = 1;
pub const MARK: u32 = 3;
pub const NFTRACE: u32 = 12;
pub const PKTTYPE: u32 = 19;
pub const LINK: u32 = 0;
pub const NETWORK: u32 = 1;
pub const TRANSPORT: u32 = 2;

/// An engine with one table `t` for each family that has chains.
pub struct Ruleset {
    engine: Engine,
    client: u64,
    program: Arc<Mutex<Arc<Program>>>,
    batch: Writer,
}

/// An expression, encoded.
pub type Expr = Vec<u8>;

pub fn expr(name: &str, write: impl FnOnce(&mut Writer)) -> Expr {
    let mut out = Writer::default();
    out.nest(1, |out| {
        out.str(1, name);
        out.nest(2, write);
    });
    out.buf
}

pub fn verdict(code: i32) -> Expr {
    expr("immediate", |out| {
        out.u32(1, 0);
        out.nest(2, |out| out.nest(2, |out| out.u32(1, code as u32)));
    })
}

pub fn load(base: u32, offset: u32, len: u32) -> Expr {
    expr("payload", |out| {
        out.u32(1, 1);
        out.u32(2, base);
        out.u32(3, offset);
        out.u32(4, len);
    })
}

pub fn is(bytes: &[u8]) -> Expr {
    expr("cmp", |out| {
        out.u32(1, 1);
        out.u32(2, 0);
        out.nest(3, |out| out.put(1, bytes));
    })
}

/// A value into a register: 1 to 4.
pub fn value(reg: u32, bytes: &[u8]) -> Expr {
    expr("immediate", |out| {
        out.u32(1, reg);
        out.nest(2, |out| out.put(1, bytes));
    })
}

/// Writes register 1 into the network header, whose IPv4 checksum stays right.
pub fn store(base: u32, offset: u32, len: u32, checksum: Option<u32>) -> Expr {
    expr("payload", |out| {
        out.u32(2, base);
        out.u32(3, offset);
        out.u32(4, len);
        out.u32(5, 1);
        out.u32(6, u32::from(checksum.is_some()));
        out.u32(7, checksum.unwrap_or(0));
        out.u32(8, u32::from(checksum.is_some()));
    })
}

pub fn meta(key: u32) -> Expr {
    expr("meta", |out| {
        out.u32(1, 1);
        out.u32(2, key);
    })
}

/// Sets metadata to a number in the machine's order.
pub fn set(key: u32, number: u32) -> Vec<Expr> {
    let bytes = number.to_ne_bytes();
    let bytes = if matches!(key, NFTRACE | PKTTYPE) { &bytes[..1] } else { &bytes[..] };
    let set = expr("meta", |out| {
        out.u32(2, key);
        out.u32(3, 1);
    });
    vec![value(1, bytes), set]
}

pub fn reject(kind: u32, code: u8) -> Expr {
    expr("reject", |out| {
        out.u32(1, kind);
        out.u8(2, code);
    })
}

pub fn log(prefix: &str) -> Expr {
    expr("log", |out| out.str(2, prefix))
}

pub fn queue(flags: u16) -> Expr {
    expr("queue", |out| {
        out.u16(1, 3);
        out.u16(2, 1);
        out.u16(3, flags);
    })
}

impl Ruleset {
    pub fn new() -> Self {
        Self::counted_by(1)
    }

    /// For so many workers.
    pub fn counted_by(workers: usize) -> Self {
        let program = Arc::new(Mutex::new(Arc::new(Program::default())));
        let published = program.clone();
        let mut engine = Engine::new(64 << 20, 1, Arc::default());
        engine.register(Box::new(NfTables::new(Host {
            workers,
            now: Box::new(|| 0),
            publish: Box::new(move |program| *published.lock().unwrap() = program),
        })));
        let client = engine.connect(0, 1, true);
        Self { engine, client, program, batch: Writer::default() }
    }

    fn message(&mut self, family: u8, kind: u16, res_id: u16, write: impl FnOnce(&mut Writer)) {
        let ack = if kind < 0x100 { 0 } else { NLM_F_ACK };
        let flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_APPEND | ack;
        let header = Header { kind, flags, ..Header::default() };
        self.batch.message(header, NfGen { family, version: 0, res_id }, write);
    }

    fn op(&mut self, family: Family, command: u8, write: impl FnOnce(&mut Writer)) {
        if self.batch.buf.is_empty() {
            self.message(0, BATCH_BEGIN, SUBSYSTEM.into(), |_| {});
        }
        self.message(family as u8, u16::from(SUBSYSTEM) << 8 | u16::from(command), 0, write);
    }

    /// A base chain in the hook of this number, on these devices where it is on any.
    pub fn base(
        &mut self,
        family: Family,
        name: &str,
        (kind, hook): (&str, u32),
        policy: i32,
        devices: &[&str],
    ) -> &mut Self {
        self.op(family, msg::NEWTABLE, |out| out.str(1, "t"));
        self.op(family, msg::NEWCHAIN, |out| {
            out.str(1, "t");
            out.str(3, name);
            out.nest(4, |out| {
                out.u32(1, hook);
                out.u32(2, 0);
                match devices {
                    [] => {}
                    [one] => out.str(3, one),
                    all => out.nest(4, |out| all.iter().for_each(|name| out.str(1, name))),
                }
            });
            out.u32(5, policy as u32);
            out.str(7, kind);
        });
        self
    }

    pub fn rule(&mut self, family: Family, chain: &str, exprs: &[Expr]) -> &mut Self {
        self.op(family, msg::NEWRULE, |out| {
            out.str(1, "t");
            out.str(2, chain);
            out.nest(4, |out| exprs.iter().for_each(|expr| out.buf.extend_from_slice(expr)));
        });
        self
    }

    /// Takes all tables away again.
    pub fn flush(&mut self) -> &mut Self {
        self.op_any(msg::DELTABLE);
        self
    }

    /// All rules as they are listed, counters among it.
    pub fn dump(&mut self) -> Vec<u8> {
        let mut request = Writer::default();
        let kind = u16::from(SUBSYSTEM) << 8 | u16::from(msg::GETRULE);
        let header = Header { kind, flags: NLM_F_REQUEST | NLM_F_DUMP, ..Header::default() };
        request.message(header, NfGen { family: 0, version: 0, res_id: 0 }, |_| {});
        self.engine.datagram(self.client, &request.buf);
        let mut all = Vec::new();
        while let Some((frame, outgoing)) = self.engine.front(self.client) {
            all.extend_from_slice(&outgoing.bytes);
            self.engine.sent(self.client, frame);
        }
        assert!(all.len() >= 20, "a listing has an end at least");
        all
    }

    fn op_any(&mut self, command: u8) {
        if self.batch.buf.is_empty() {
            self.message(0, BATCH_BEGIN, SUBSYSTEM.into(), |_| {});
        }
        self.message(0, u16::from(SUBSYSTEM) << 8 | u16::from(command), 0, |_| {});
    }

    /// Commits what came since the last time; the program that came of it.
    pub fn commit(&mut self) -> Arc<Program> {
        self.message(0, BATCH_END, SUBSYSTEM.into(), |_| {});
        let batch = std::mem::take(&mut self.batch);
        self.engine.datagram(self.client, &batch.buf);
        while let Some((frame, outgoing)) = self.engine.front(self.client) {
            for message in Messages::new(&outgoing.bytes) {
                assert_eq!(message.header.kind, NLMSG_ERROR);
                let code = i32::from_ne_bytes(message.bytes[16..20].try_into().unwrap());
                assert_eq!(code, 0, "the batch was refused: message {}", message.header.seq);
            }
            self.engine.sent(self.client, frame);
        }
        self.program.lock().unwrap().clone()
    }
}

impl Node {
    /// Commits, and has the worker run it.
    pub fn run(&mut self, ruleset: &mut Ruleset) {
        let program = ruleset.commit();
        let generation = u64::from(program.generation.0);
        let (arrivals, each) = Arrivals::new(1);
        for arrival in each {
            self.handle.control.send(ToWorker::Program(program.clone(), arrival)).unwrap();
        }
        self.turn();
        assert!(arrivals.wait(std::time::Duration::ZERO));
        assert_eq!(self.handle.stats.ruleset.get(), generation);
    }
}
