//! The engine with one client and the program that it published last: batches as nft sends them, then packets through it.
#![allow(dead_code, reason = "no test uses it all")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use nfnetlink::attr::Writer;
use nfnetlink::message::{
    BATCH_BEGIN, BATCH_END, NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REQUEST,
    NLMSG_DONE, NLMSG_ERROR,
};
use nfnetlink::server::Engine;
use nfnetlink::{Header, Message, Messages, NfGen};
use packet::{FlowKey, Layers, VecFrame, checksum, layers};
use ruleset::expr::LogRecord;
use ruleset::family::{Family, Hook};
use ruleset::ids::WorkerId;
use ruleset::nft::{Host, NfTables, SUBSYSTEM, msg};
use ruleset::packet::{
    Connection, Cx, Effects, Env, FibAnswer, FibQuery, Iface, Meta, Place, Recorder, Seen,
    Translate,
};
use ruleset::program::Program;
use ruleset::reference::{Outcome, run};
use ruleset::regs::Regs;
use ruleset::trace::Trace;
use ruleset::verdict::Verdict;

#[path = "link.rs"]
mod link;

pub(crate) use link::*;

pub(crate) const SECOND: u64 = 1_000_000_000;

/// The engine with one client, and the program that was published last.
pub(crate) struct Bed {
    pub(crate) engine: Engine,
    pub(crate) client: u64,
    pub(crate) program: Arc<Mutex<Arc<Program>>>,
    pub(crate) now: Arc<AtomicU64>,
    /// The connection of packets that pass.
    pub(crate) link: Option<Link>,
    /// Connections that are there.
    pub(crate) there: Vec<FlowKey>,
}

/// A message of a batch.
pub(crate) struct Op {
    pub(crate) command: u8,
    pub(crate) family: Family,
    pub(crate) flags: u16,
    pub(crate) attrs: Vec<u8>,
}

pub(crate) fn op(command: u8, family: Family, flags: u16, write: impl FnOnce(&mut Writer)) -> Op {
    let mut attrs = Writer::default();
    write(&mut attrs);
    Op { command, family, flags, attrs: attrs.buf }
}

impl Bed {
    pub(crate) fn new() -> Self {
        let program = Arc::new(Mutex::new(Arc::new(Program::default())));
        let (published, now) = (program.clone(), Arc::new(AtomicU64::new(SECOND)));
        let clock = now.clone();
        let mut engine = Engine::new(64 << 20, 1, Arc::default());
        engine.register(Box::new(NfTables::new(Host {
            workers: 2,
            now: Box::new(move || clock.load(Ordering::Relaxed)),
            publish: Box::new(move |program| *published.lock().unwrap() = program),
        })));
        let client = engine.connect(0, 1, true);
        Self { engine, client, program, now, link: None, there: Vec::new() }
    }

    /// Sends a datagram; error codes and all other messages that come back.
    pub(crate) fn send(&mut self, datagram: &[u8]) -> (Vec<i32>, Vec<Vec<u8>>) {
        self.engine.datagram(self.client, datagram);
        self.take(self.client)
    }

    pub(crate) fn take(&mut self, client: u64) -> (Vec<i32>, Vec<Vec<u8>>) {
        let (mut codes, mut messages) = (Vec::new(), Vec::new());
        while let Some((frame, outgoing)) = self.engine.front(client) {
            for message in Messages::new(&outgoing.bytes) {
                match message.header.kind {
                    NLMSG_ERROR => {
                        let code = message.bytes[16..20].try_into().unwrap();
                        codes.push(-i32::from_ne_bytes(code));
                    }
                    NLMSG_DONE => {}
                    _ => messages.push(message.bytes.to_vec()),
                }
            }
            self.engine.sent(client, frame);
        }
        (codes, messages)
    }

    /// A batch; the code of the first refusal, 0 where there was none.
    pub(crate) fn batch(&mut self, ops: &[Op]) -> i32 {
        let mut out = Writer::default();
        let mut message = |kind: u16, flags: u16, family: u8, res_id: u16, attrs: &[u8]| {
            let header = Header { kind, flags: flags | NLM_F_REQUEST, ..Header::default() };
            out.message(header, NfGen { family, version: 0, res_id }, |out| {
                out.buf.extend_from_slice(attrs);
            });
        };
        message(BATCH_BEGIN, 0, 0, SUBSYSTEM.into(), &[]);
        for op in ops {
            let kind = u16::from(SUBSYSTEM) << 8 | u16::from(op.command);
            message(kind, op.flags | NLM_F_ACK, op.family as u8, 0, &op.attrs);
        }
        message(BATCH_END, 0, 0, SUBSYSTEM.into(), &[]);
        let (codes, _) = self.send(&out.buf);
        codes.into_iter().find(|code| *code != 0).unwrap_or(0)
    }

    /// A table `t` with a base chain `c` whose policy is drop, and a rule of each list of expressions.
    pub(crate) fn rules(&mut self, family: Family, hook: u32, rules: &[&[Expr<'_>]]) -> i32 {
        self.rules_of("filter", family, hook, rules)
    }

    /// The same in a chain of this type.
    pub(crate) fn rules_of(
        &mut self,
        kind: &str,
        family: Family,
        hook: u32,
        rules: &[&[Expr<'_>]],
    ) -> i32 {
        let mut ops = vec![
            op(msg::NEWTABLE, family, NLM_F_CREATE, |out| out.str(1, "t")),
            op(msg::NEWCHAIN, family, NLM_F_CREATE, |out| {
                out.str(1, "t");
                out.str(3, "c");
                out.nest(4, |out| {
                    out.u32(1, hook);
                    out.u32(2, 0);
                    if family == Family::Netdev {
                        out.str(3, "in");
                    }
                });
                out.u32(5, 0);
                out.str(7, kind);
            }),
        ];
        ops.extend(rules.iter().map(|exprs| rule(family, exprs)));
        self.batch(&ops)
    }

    pub(crate) fn dump(&mut self, command: u8) -> Vec<Vec<u8>> {
        let mut out = Writer::default();
        let kind = u16::from(SUBSYSTEM) << 8 | u16::from(command);
        let header = Header { kind, flags: NLM_F_REQUEST | NLM_F_DUMP, ..Header::default() };
        out.message(header, NfGen::default(), |_| {});
        self.send(&out.buf).1
    }

    /// What becomes of a frame that came by the interface `in`.
    pub(crate) fn pass(&self, way: Way, bytes: &[u8]) -> Passed {
        let program = self.program.lock().unwrap().clone();
        let iif = Iface {
            index: 1,
            name: "in",
            kind: 1,
            group: 0,
            link_kind: "tun",
            mac: [2, 0, 0, 0, 0, 1],
        };
        let mut frame = VecFrame::from_bytes(bytes);
        let mut layers = layers::parse(&frame).unwrap();
        let (mut meta, mut effects) = (Meta::default(), Effects::default());
        let (link, there) = (self.link.clone(), self.there.clone());
        let mut world = World { link, there, ..World::default() };
        let place = Place {
            family: way.family,
            hook: way.hook,
            iif: Some(iif),
            oif: (way.hook == Hook::Postrouting).then_some(iif),
            now: self.now.load(Ordering::Relaxed),
            wall: 0,
            worker: WorkerId(way.worker),
        };
        let mut recorder = Recorder::recording();
        let mut cx = Cx {
            regs: Regs::default(),
            bytes: &mut frame,
            layers: &mut layers,
            meta: &mut meta,
            place,
            env: &mut world,
            effects: &mut effects,
            recorder: &mut recorder,
            program: &program,
            transport: None,
        };
        let outcome = run(&mut cx);
        Passed {
            outcome,
            effects,
            meta,
            layers,
            bytes: frame.to_vec(),
            logged: world.logged,
            recorder,
            link: world.link,
            asked: world.asked,
        }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Way {
    pub(crate) family: Family,
    pub(crate) hook: Hook,
    pub(crate) worker: u16,
}

pub(crate) const FORWARD4: Way = Way { family: Family::Ipv4, hook: Hook::Forward, worker: 0 };

pub(crate) struct Passed {
    pub(crate) outcome: Outcome,
    pub(crate) effects: Effects,
    pub(crate) meta: Meta,
    pub(crate) layers: Layers,
    pub(crate) bytes: Vec<u8>,
    pub(crate) logged: Vec<(String, u8, u32)>,
    pub(crate) recorder: Recorder,
    pub(crate) link: Option<Link>,
    pub(crate) asked: Vec<Translate>,
}

#[derive(Default)]
pub(crate) struct World {
    pub(crate) logged: Vec<(String, u8, u32)>,
    pub(crate) link: Option<Link>,
    pub(crate) there: Vec<FlowKey>,
    pub(crate) asked: Vec<Translate>,
}

impl Env for World {
    fn connection(&mut self) -> Option<&mut dyn Connection> {
        self.link.as_mut().map(|link| link as _)
    }

    fn is_connected(&self, key: &FlowKey) -> bool {
        self.there.contains(key)
    }

    fn translate(&mut self, how: &Translate) -> Verdict {
        self.asked.push(*how);
        Verdict::Accept
    }

    fn random(&mut self) -> u32 {
        0
    }

    fn fib(&self, _query: &FibQuery) -> FibAnswer<'_> {
        FibAnswer::default()
    }

    fn listens(&self, _queue: u16) -> bool {
        true
    }

    fn log(&mut self, _seen: &Seen<'_>, record: &LogRecord<'_>) {
        self.logged.push((record.prefix.into(), record.level, record.flags));
    }

    fn trace(&mut self, _seen: &Seen<'_>, _trace: &Trace<'_>) {}

    fn trace_id(&mut self) -> u32 {
        1
    }
}

/// An expression: its name and its attributes.
pub(crate) type Expr<'a> = (&'a str, &'a dyn Fn(&mut Writer));

pub(crate) const ACCEPT: Expr<'static> = ("immediate", &|out| {
    out.u32(1, 0);
    out.nest(2, |out| out.nest(2, |out| out.u32(1, 1)));
});

/// A word into the register of this number.
pub(crate) fn word(reg: u32, value: [u8; 4]) -> impl Fn(&mut Writer) {
    move |out| {
        out.u32(1, reg);
        out.nest(2, |out| out.put(1, &value));
    }
}

pub(crate) fn rule(family: Family, exprs: &[Expr<'_>]) -> Op {
    op(msg::NEWRULE, family, NLM_F_CREATE | NLM_F_APPEND, |out| {
        out.str(1, "t");
        out.str(2, "c");
        out.nest(4, |out| {
            for (name, attrs) in exprs {
                out.nest(1, |out| {
                    out.str(1, name);
                    out.nest(2, attrs);
                });
            }
        });
    })
}

pub(crate) fn object(
    command: u8,
    flags: u16,
    name: &str,
    kind: u32,
    data: impl Fn(&mut Writer),
) -> Op {
    op(command, Family::Ipv4, flags, |out| {
        out.str(1, "t");
        out.str(2, name);
        out.u32(3, kind);
        if command == msg::NEWOBJ {
            out.nest(4, data);
        }
    })
}

/// Attributes of the message that is about a thing of this name.
pub(crate) fn of_name<'m>(messages: &'m [Vec<u8>], name: &str) -> Message<'m> {
    let all = messages.iter().filter_map(|bytes| Messages::new(bytes).next());
    let mut named = all.filter(|message| {
        let found = message.attrs().table::<3>()[2];
        found.is_some_and(|attr| attr.str(255) == Ok(name))
    });
    named.next().unwrap_or_else(|| panic!("{name} is not there"))
}

/// A UDP datagram in an Ethernet frame, 60 bytes of IP packet.
pub(crate) fn udp(source: [u8; 4], destination: [u8; 4], ttl: u8) -> Vec<u8> {
    let mut ip = [0x45, 0, 0, 60, 0, 0, 0, 0, ttl, 17, 0, 0].to_vec();
    ip.extend(source);
    ip.extend(destination);
    let sum = checksum::of(&ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut frame = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 8, 0].to_vec();
    frame.extend(ip);
    frame.extend([0, 10, 0, 20, 0, 40, 0, 0]);
    frame.resize(14 + 60, 0xaa);
    frame
}

pub(crate) fn udp6() -> Vec<u8> {
    let mut frame = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 0x86, 0xdd].to_vec();
    frame.extend([0x60, 0, 0, 0, 0, 8, 17, 64]);
    frame.extend([0xfd; 32]);
    frame.extend([0, 10, 0, 20, 0, 8, 0, 0]);
    frame
}

pub(crate) const A: [u8; 4] = [10, 0, 0, 1];
pub(crate) const B: [u8; 4] = [10, 0, 0, 2];
