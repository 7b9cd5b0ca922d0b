//! Statements, objects and flowtables from the message to the packet: batches as nft sends them, then packets through the
//! program that came of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use nfnetlink::attr::Writer;
use nfnetlink::message::{
    BATCH_BEGIN, BATCH_END, NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REQUEST,
    NLMSG_DONE, NLMSG_ERROR,
};
use nfnetlink::server::{Control, Engine};
use nfnetlink::{Header, Message, Messages, NfGen};
use packet::{Layers, VecFrame, checksum, layers};
use ruleset::expr::{LogRecord, RejectWith, SendTo};
use ruleset::family::{Family, Hook};
use ruleset::ids::WorkerId;
use ruleset::nft::{GROUP, Host, NfTables, SUBSYSTEM, msg};
use ruleset::packet::{Cx, Effects, Env, FibAnswer, FibQuery, Iface, Meta, Place, Seen};
use ruleset::program::Program;
use ruleset::reference::{Outcome, run};
use ruleset::regs::Regs;
use ruleset::trace::Trace;
use ruleset::verdict::Queue;

const SECOND: u64 = 1_000_000_000;
const EOPNOTSUPP: i32 = 95;
const EBUSY: i32 = 16;
const EEXIST: i32 = 17;
const ENOENT: i32 = 2;
/// `NFT_OBJECT_…`.
const COUNTER: u32 = 1;
const QUOTA: u32 = 2;
const CT_HELPER: u32 = 3;

/// The engine with one client, and the program that was published last.
struct Bed {
    engine: Engine,
    client: u64,
    program: Arc<Mutex<Arc<Program>>>,
    now: Arc<AtomicU64>,
}

/// A message of a batch.
struct Op {
    command: u8,
    family: Family,
    flags: u16,
    attrs: Vec<u8>,
}

fn op(command: u8, family: Family, flags: u16, write: impl FnOnce(&mut Writer)) -> Op {
    let mut attrs = Writer::default();
    write(&mut attrs);
    Op { command, family, flags, attrs: attrs.buf }
}

impl Bed {
    fn new() -> Self {
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
        Self { engine, client, program, now }
    }

    /// Sends a datagram; error codes and all other messages that come back.
    fn send(&mut self, datagram: &[u8]) -> (Vec<i32>, Vec<Vec<u8>>) {
        self.engine.datagram(self.client, datagram);
        self.take(self.client)
    }

    fn take(&mut self, client: u64) -> (Vec<i32>, Vec<Vec<u8>>) {
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
    fn batch(&mut self, ops: &[Op]) -> i32 {
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
    fn rules(&mut self, family: Family, hook: u32, rules: &[&[Expr<'_>]]) -> i32 {
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
                out.str(7, "filter");
            }),
        ];
        ops.extend(rules.iter().map(|exprs| rule(family, exprs)));
        self.batch(&ops)
    }

    fn dump(&mut self, command: u8) -> Vec<Vec<u8>> {
        let mut out = Writer::default();
        let kind = u16::from(SUBSYSTEM) << 8 | u16::from(command);
        let header = Header { kind, flags: NLM_F_REQUEST | NLM_F_DUMP, ..Header::default() };
        out.message(header, NfGen::default(), |_| {});
        self.send(&out.buf).1
    }

    /// What becomes of a frame that came by the interface `in`.
    fn pass(&self, way: Way, bytes: &[u8]) -> Passed {
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
        let (mut meta, mut effects, mut world) =
            (Meta::default(), Effects::default(), World::default());
        let place = Place {
            family: way.family,
            hook: way.hook,
            iif: Some(iif),
            oif: None,
            now: self.now.load(Ordering::Relaxed),
            wall: 0,
            worker: WorkerId(way.worker),
        };
        let mut cx = Cx {
            regs: Regs::default(),
            bytes: &mut frame,
            layers: &mut layers,
            meta: &mut meta,
            place,
            env: &mut world,
            effects: &mut effects,
            program: &program,
            transport: None,
        };
        let outcome = run(&mut cx);
        Passed { outcome, effects, meta, layers, bytes: frame.to_vec(), logged: world.logged }
    }
}

#[derive(Clone, Copy)]
struct Way {
    family: Family,
    hook: Hook,
    worker: u16,
}

const FORWARD4: Way = Way { family: Family::Ipv4, hook: Hook::Forward, worker: 0 };

struct Passed {
    outcome: Outcome,
    effects: Effects,
    meta: Meta,
    layers: Layers,
    bytes: Vec<u8>,
    logged: Vec<(String, u8, u32)>,
}

#[derive(Default)]
struct World {
    logged: Vec<(String, u8, u32)>,
}

impl Env for World {
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
type Expr<'a> = (&'a str, &'a dyn Fn(&mut Writer));

const ACCEPT: Expr<'static> = ("immediate", &|out| {
    out.u32(1, 0);
    out.nest(2, |out| out.nest(2, |out| out.u32(1, 1)));
});

/// A word into the register of this number.
fn word(reg: u32, value: [u8; 4]) -> impl Fn(&mut Writer) {
    move |out| {
        out.u32(1, reg);
        out.nest(2, |out| out.put(1, &value));
    }
}

fn rule(family: Family, exprs: &[Expr<'_>]) -> Op {
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

fn object(command: u8, flags: u16, name: &str, kind: u32, data: impl Fn(&mut Writer)) -> Op {
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
fn of_name<'m>(messages: &'m [Vec<u8>], name: &str) -> Message<'m> {
    let all = messages.iter().filter_map(|bytes| Messages::new(bytes).next());
    let mut named = all.filter(|message| {
        let found = message.attrs().table::<3>()[2];
        found.is_some_and(|attr| attr.str(255) == Ok(name))
    });
    named.next().unwrap_or_else(|| panic!("{name} is not there"))
}

/// A UDP datagram in an Ethernet frame, 60 bytes of IP packet.
fn udp(source: [u8; 4], destination: [u8; 4], ttl: u8) -> Vec<u8> {
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

fn udp6() -> Vec<u8> {
    let mut frame = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 0x86, 0xdd].to_vec();
    frame.extend([0x60, 0, 0, 0, 0, 8, 17, 64]);
    frame.extend([0xfd; 32]);
    frame.extend([0, 10, 0, 20, 0, 8, 0, 0]);
    frame
}

const A: [u8; 4] = [10, 0, 0, 1];
const B: [u8; 4] = [10, 0, 0, 2];

#[test]
fn a_limit_lets_its_burst_and_then_its_rate_through() {
    let mut bed = Bed::new();
    let limit: Expr<'_> = ("limit", &|out| {
        out.u64(1, 10);
        out.u64(2, 1);
        out.u32(3, 5);
    });
    assert_eq!(bed.rules(Family::Ipv4, 2, &[&[limit, ACCEPT]]), 0);
    let frame = udp(A, B, 64);
    let accepted = |bed: &Bed| {
        let all = (0..20).map(|n| bed.pass(Way { worker: n % 2, ..FORWARD4 }, &frame));
        all.filter(|passed| passed.outcome == Outcome::Accept).count()
    };
    assert_eq!(accepted(&bed), 5);
    bed.now.fetch_add(SECOND / 10, Ordering::Relaxed);
    assert_eq!(accepted(&bed), 1);
    bed.now.fetch_add(60 * SECOND, Ordering::Relaxed);
    assert_eq!(accepted(&bed), 5);
}

#[test]
fn a_shared_quota_is_told_when_used_up_and_goes_on_when_changed() {
    let mut bed = Bed::new();
    let quota =
        |bytes: u64| object(msg::NEWOBJ, NLM_F_CREATE, "q", QUOTA, move |out| out.u64(1, bytes));
    let by_name: Expr<'_> = ("objref", &|out| {
        out.u32(1, QUOTA);
        out.str(2, "q");
    });
    assert_eq!(bed.rules(Family::Ipv4, 2, &[]), 0);
    assert_eq!(bed.batch(&[quota(120), rule(Family::Ipv4, &[by_name, ACCEPT])]), 0);
    let frame = udp(A, B, 64);
    let outcome = |bed: &Bed| bed.pass(FORWARD4, &frame).outcome;
    assert_eq!(
        [outcome(&bed), outcome(&bed), outcome(&bed)],
        [Outcome::Accept, Outcome::Accept, Outcome::Drop]
    );

    // Listeners hear once that it is used up; what is told stays below what is allowed.
    let listener = bed.engine.connect(0, 2, true);
    let bind = Control::Bind { port: 0, groups: 1 << (GROUP - 1) };
    bed.engine.control(listener, bind).unwrap();
    bed.engine.tick();
    let (_, events) = bed.take(listener);
    assert_eq!(events.len(), 1);
    let data = of_name(&events, "q").attrs().table::<5>()[4].unwrap().table::<5>();
    assert_eq!(data[4].unwrap().u64(), Ok(120), "consumed");
    assert_eq!(data[2].unwrap().u32(), Ok(2), "depleted");
    bed.engine.tick();
    assert_eq!(bed.take(listener).1.len(), 0);

    // A larger one goes on from there; a reset begins anew.
    assert_eq!(bed.batch(&[quota(240)]), 0);
    assert_eq!([outcome(&bed), outcome(&bed)], [Outcome::Accept, Outcome::Drop]);
    bed.dump(msg::GETOBJ_RESET);
    assert_eq!(outcome(&bed), Outcome::Accept);
}

#[test]
fn objects_are_kept_as_long_as_they_are_used() {
    let mut bed = Bed::new();
    let counter = |command, flags| {
        object(command, flags, "n", COUNTER, |out| {
            out.u64(1, 7);
            out.u64(2, 1);
        })
    };
    let by_name: Expr<'_> = ("objref", &|out| {
        out.u32(1, COUNTER);
        out.str(2, "n");
    });
    assert_eq!(bed.rules(Family::Ipv4, 2, &[]), 0);
    assert_eq!(bed.batch(&[rule(Family::Ipv4, &[by_name])]), ENOENT);
    let create = counter(msg::NEWOBJ, NLM_F_CREATE);
    assert_eq!(bed.batch(&[create, rule(Family::Ipv4, &[by_name])]), 0);
    assert_eq!(bed.batch(&[counter(msg::NEWOBJ, NLM_F_CREATE | 0x200)]), EEXIST);
    assert_eq!(
        bed.batch(&[counter(msg::NEWOBJ, NLM_F_CREATE)]),
        0,
        "an update that changes nothing"
    );
    assert_eq!(bed.batch(&[counter(msg::DELOBJ, 0)]), EBUSY);
    bed.pass(FORWARD4, &udp(A, B, 64));
    let listed = bed.dump(msg::GETOBJ);
    let found = of_name(&listed, "n").attrs().table::<6>();
    assert_eq!(found[5].unwrap().u32(), Ok(1), "uses");
    let data = found[4].unwrap().table::<3>();
    assert_eq!((data[1].unwrap().u64(), data[2].unwrap().u64()), (Ok(67), Ok(2)));
    let flush = op(msg::DELRULE, Family::Ipv4, 0, |out| out.str(1, "t"));
    assert_eq!(bed.batch(&[flush, counter(msg::DELOBJ, 0)]), 0);
    assert_eq!(bed.dump(msg::GETOBJ).len(), 0);
    assert_eq!(bed.batch(&[counter(msg::DELOBJ, 0)]), ENOENT);
    assert_eq!(bed.batch(&[counter(msg::DESTROYOBJ, 0)]), 0);
}

#[test]
fn a_helper_is_kept_but_no_rule_can_use_it() {
    let mut bed = Bed::new();
    let helper = |name: &'static str| {
        object(msg::NEWOBJ, NLM_F_CREATE, "h", CT_HELPER, move |out| {
            out.str(1, name);
            out.u8(3, 6);
        })
    };
    let by_name: Expr<'_> = ("objref", &|out| {
        out.u32(1, CT_HELPER);
        out.str(2, "h");
    });
    assert_eq!(bed.rules(Family::Ipv4, 2, &[]), 0);
    assert_eq!(bed.batch(&[helper("gopher")]), ENOENT);
    assert_eq!(bed.batch(&[helper("ftp")]), 0);
    assert_eq!(bed.batch(&[rule(Family::Ipv4, &[by_name])]), EOPNOTSUPP);
    assert_eq!(bed.dump(msg::GETOBJ).len(), 1);
}

#[test]
fn reject_answers_in_the_packets_family() {
    let reject = |how: u32, code: Option<u8>| {
        move |out: &mut Writer| {
            out.u32(1, how);
            if let Some(code) = code {
                out.u8(2, code);
            }
        }
    };
    let answer = |family: Family, packet_family: Family, how: u32, code: Option<u8>| {
        let mut bed = Bed::new();
        assert_eq!(bed.rules(family, 2, &[&[("reject", &reject(how, code))]]), 0);
        let frame = if packet_family == Family::Ipv4 { udp(A, B, 64) } else { udp6() };
        let passed = bed.pass(Way { family: packet_family, ..FORWARD4 }, &frame);
        assert_eq!(passed.outcome, Outcome::Drop);
        passed.effects.reject
    };
    use Family::{Inet, Ipv4, Ipv6};
    let unreachable = |code| Some(RejectWith::Unreachable(code));
    for (code, v4, v6) in [(0, 0, 0), (1, 3, 4), (2, 1, 3), (3, 13, 1)] {
        assert_eq!(answer(Inet, Ipv4, 2, Some(code)), unreachable(v4));
        assert_eq!(answer(Inet, Ipv6, 2, Some(code)), unreachable(v6));
    }
    assert_eq!(answer(Ipv4, Ipv4, 0, Some(13)), unreachable(13));
    assert_eq!(answer(Ipv4, Ipv4, 1, None), Some(RejectWith::TcpReset));
    assert_eq!(answer(Ipv4, Ipv4, 2, Some(0)), None, "the ip family drops icmpx in silence");
    // Postrouting is too late.
    let mut bed = Bed::new();
    assert_eq!(bed.rules(Ipv4, 4, &[&[("reject", &reject(1, None))]]), EOPNOTSUPP);
}

#[test]
fn a_queue_is_the_same_for_both_directions() {
    let mut bed = Bed::new();
    let queue: Expr<'_> = ("queue", &|out| {
        out.u16(1, 100);
        out.u16(2, 16);
        out.u16(3, 1);
    });
    assert_eq!(bed.rules(Family::Ipv4, 2, &[&[queue]]), 0);
    let number =
        |source, destination| match bed.pass(FORWARD4, &udp(source, destination, 64)).outcome {
            Outcome::Queue(Queue { number, bypass: true }) => number,
            other => panic!("{other:?}"),
        };
    let mut used = std::collections::BTreeSet::new();
    for n in 0..200 {
        let to = [10, 1, 0, n];
        assert_eq!(number(A, to), number(to, A));
        assert!((100..116).contains(&number(A, to)));
        used.insert(number(A, to));
    }
    assert!(used.len() > 12, "spread over {} of 16", used.len());

    let mut bed = Bed::new();
    let fan: Expr<'_> = ("queue", &|out| {
        out.u16(1, 5);
        out.u16(2, 2);
        out.u16(3, 2);
    });
    assert_eq!(bed.rules(Family::Ipv4, 2, &[&[fan]]), 0);
    for worker in 0..2 {
        let passed = bed.pass(Way { worker, ..FORWARD4 }, &udp(A, B, 64));
        assert_eq!(passed.outcome, Outcome::Queue(Queue { number: 5 + worker, bypass: false }));
    }
}

#[test]
fn log_and_notrack_go_on() {
    let mut bed = Bed::new();
    let log: Expr<'_> = ("log", &|out| {
        out.str(2, "seen: ");
        out.u32(5, 6);
        out.u32(6, 3);
    });
    let group: Expr<'_> = ("log", &|out| out.u16(1, 2));
    let rule: &[Expr<'_>] = &[log, group, ("notrack", &|_| {}), ACCEPT];
    assert_eq!(bed.rules(Family::Ipv4, 2, &[rule]), 0);
    let passed = bed.pass(FORWARD4, &udp(A, B, 64));
    assert_eq!(passed.outcome, Outcome::Accept);
    assert_eq!(passed.logged, [("seen: ".to_owned(), 6, 3)]);
    assert!(passed.meta.untracked);
}

#[test]
fn packets_are_sent_elsewhere_whole_or_as_copies() {
    let mut bed = Bed::new();
    let (dev, addr) = (word(1, 4u32.to_ne_bytes()), word(2, [192, 0, 2, 1]));
    let dup: Expr<'_> = ("dup", &|out| out.u32(2, 1));
    let fwd: Expr<'_> = ("fwd", &|out| {
        out.u32(1, 1);
        out.u32(2, 2);
        out.u32(3, 2);
    });
    let exprs: &[Expr<'_>] = &[("immediate", &dev), ("immediate", &addr), dup, fwd];
    assert_eq!(bed.rules(Family::Netdev, 0, &[exprs]), 0);
    let way = Way { family: Family::Netdev, hook: Hook::Ingress, worker: 0 };
    let passed = bed.pass(way, &udp(A, B, 64));
    assert_eq!(passed.outcome, Outcome::Stolen);
    let mut hop = [0; 16];
    hop[..4].copy_from_slice(&[192, 0, 2, 1]);
    assert_eq!(passed.effects.dups.as_slice(), [SendTo { iface: Some(4), addr: None }]);
    let forward = SendTo { iface: Some(4), addr: Some((Family::Ipv4, hop)) };
    assert_eq!(passed.effects.forward, Some(forward));
    assert_eq!(passed.layers.ttl, 63);
    assert_eq!(checksum::of(&passed.bytes[14..34]), 0, "the header's checksum stays right");
    assert_eq!(bed.pass(way, &udp(A, B, 1)).outcome, Outcome::Drop, "no hop is left");
    let passed = bed.pass(way, &udp6());
    assert_eq!((passed.outcome, passed.effects.forward), (Outcome::Drop, None), "another family");
}

#[test]
fn nat_belongs_in_chains_of_its_type() {
    let mut bed = Bed::new();
    assert_eq!(bed.rules(Family::Ipv4, 4, &[&[("masq", &|_| {})]]), EOPNOTSUPP);
    assert_eq!(bed.rules(Family::Bridge, 4, &[&[("masq", &|_| {})]]), ENOENT);
}

#[test]
fn a_flowtable_has_devices_and_is_kept_as_long_as_it_is_used() {
    let mut bed = Bed::new();
    let table = |command: u8, name: &'static str, devices: &'static [&'static str]| {
        op(command, Family::Inet, NLM_F_CREATE, move |out| {
            out.str(1, "t");
            out.str(2, name);
            if command == msg::NEWFLOWTABLE || !devices.is_empty() {
                out.nest(3, |out| {
                    out.u32(1, 0);
                    out.u32(2, 5);
                    out.nest(3, |out| devices.iter().for_each(|device| out.str(1, device)));
                });
            }
        })
    };
    let devices = |bed: &mut Bed| {
        let listed = bed.dump(msg::GETFLOWTABLE);
        let hook = of_name(&listed, "f").attrs().table::<4>()[3].unwrap();
        let devices = hook.table::<4>()[3].unwrap();
        devices.nested().map(|name| name.str(15).unwrap().to_owned()).collect::<Vec<_>>()
    };
    let offload: Expr<'_> = ("flow_offload", &|out| out.str(1, "f"));
    assert_eq!(bed.rules(Family::Inet, 2, &[]), 0);
    assert_eq!(bed.batch(&[rule(Family::Inet, &[offload])]), ENOENT);
    let new = table(msg::NEWFLOWTABLE, "f", &["a", "b"]);
    assert_eq!(bed.batch(&[new, rule(Family::Inet, &[offload])]), 0);
    assert_eq!(devices(&mut bed), ["a", "b"]);
    assert_eq!(bed.batch(&[table(msg::NEWFLOWTABLE, "g", &["b"])]), EEXIST, "it has a flowtable");
    assert_eq!(bed.batch(&[table(msg::NEWFLOWTABLE, "f", &["b", "c"])]), 0);
    assert_eq!(bed.batch(&[table(msg::DELFLOWTABLE, "f", &["x"])]), ENOENT);
    assert_eq!(bed.batch(&[table(msg::DELFLOWTABLE, "f", &["a"])]), 0);
    assert_eq!(devices(&mut bed), ["b", "c"]);
    assert_eq!(bed.batch(&[table(msg::DELFLOWTABLE, "f", &[])]), EBUSY);
    let flush = op(msg::DELRULE, Family::Inet, 0, |out| out.str(1, "t"));
    assert_eq!(bed.batch(&[flush, table(msg::DELFLOWTABLE, "f", &[])]), 0);
    assert_eq!(bed.dump(msg::GETFLOWTABLE).len(), 0);
}
