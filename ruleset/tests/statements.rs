//! Statements, objects and flowtables from the message to the packet: batches as nft sends them, then packets through the
//! program that came of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

#[path = "common/bed.rs"]
mod bed;

use std::sync::atomic::Ordering;

use bed::*;
use nfnetlink::attr::Writer;
use nfnetlink::message::NLM_F_CREATE;
use nfnetlink::server::Control;
use packet::checksum;
use ruleset::expr::{RejectWith, SendTo};
use ruleset::family::{Family, Hook};
use ruleset::nft::{GROUP, msg};
use ruleset::reference::Outcome;
use ruleset::verdict::Queue;

const EOPNOTSUPP: i32 = 95;
const EBUSY: i32 = 16;
const EEXIST: i32 = 17;
const ENOENT: i32 = 2;
/// `NFT_OBJECT_…`.
const COUNTER: u32 = 1;
const QUOTA: u32 = 2;
const CT_HELPER: u32 = 3;

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
