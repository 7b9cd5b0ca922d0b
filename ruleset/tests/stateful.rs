//! What rules ask of connections and do to them, from the message to the packet, and what of that a flow may remember.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

#[path = "common/bed.rs"]
mod bed;

use bed::*;
use nfnetlink::attr::Writer;
use nfnetlink::message::NLM_F_CREATE;
use ruleset::family::{Family, Hook};
use ruleset::ids::WorkerId;
use ruleset::model::{Hearing, Said};
use ruleset::nft::msg;
use ruleset::packet::{Side, To};
use ruleset::reference::Outcome;

const COUNTER: Expr<'static> = ("counter", &|_| {});
const LENGTH: Expr<'static> = ("meta", &|out| {
    out.u32(1, 1);
    out.u32(2, 0);
});
const MARK_FROM_1: Expr<'static> = ("meta", &|out| {
    out.u32(2, 3);
    out.u32(3, 1);
});

/// Bytes of the network header into register 1.
fn header(offset: u32, len: u32) -> impl Fn(&mut Writer) {
    load(1, offset, len)
}

/// Bytes into register 1 from a base (`NFT_PAYLOAD_…`).
fn load(base: u32, offset: u32, len: u32) -> impl Fn(&mut Writer) {
    move |out| {
        out.u32(1, 1);
        out.u32(2, base);
        out.u32(3, offset);
        out.u32(4, len);
    }
}

/// Register 1 is this.
fn is(value: &[u8]) -> impl Fn(&mut Writer) {
    move |out| {
        out.u32(1, 1);
        out.u32(2, 0);
        out.nest(3, |out| out.put(1, value));
    }
}

#[test]
fn a_flow_may_remember_what_depends_on_its_addresses_alone() {
    let mut bed = Bed::new();
    let (from, is_a, port, is_10) = (header(12, 4), is(&A), load(2, 0, 2), is(&[0, 10]));
    let mark = word(1, 7u32.to_ne_bytes());
    let rules: &[&[Expr<'_>]] = &[
        &[("payload", &from), ("cmp", &is_a), COUNTER, ("immediate", &mark), MARK_FROM_1],
        &[("payload", &port), ("cmp", &is_10), COUNTER, ACCEPT],
        &[LENGTH, ACCEPT],
    ];
    assert_eq!(bed.rules(Family::Ipv4, 2, rules), 0);
    let passed = bed.pass(FORWARD4, &udp(A, B, 64));
    assert_eq!((passed.outcome, passed.meta.mark), (Outcome::Accept, 7));
    assert!(passed.recorder.is_cacheable());
    // Two rules counted; what they counted others of the flow count by what they are long.
    let [one, two] = passed.recorder.counted() else { panic!("{:?}", passed.recorder) };
    assert_ne!(one.counter, two.counter);
    assert_eq!(one.counter.read().bytes, 60);
    let mut longer = passed.layers;
    longer.end += 100;
    assert_eq!(one.bytes(&longer, 1514), 160);
    one.counter.add(WorkerId(1), one.bytes(&longer, 1514));
    assert_eq!(one.counter.read().bytes, 220);
    assert_eq!(two.counter.read().bytes, 60);
}

#[test]
fn a_flow_remembers_nothing_of_what_looks_at_the_packet() {
    let ttl = header(8, 1);
    let (is_64, limit) = (is(&[64]), |out: &mut Writer| {
        out.u64(1, 10);
        out.u64(2, 1);
    });
    let total = header(2, 2);
    let source = header(10, 4);
    let udp_length = load(2, 4, 2);
    let rules: [&[Expr<'_>]; 6] = [
        &[("payload", &ttl), ("cmp", &is_64), COUNTER, ACCEPT],
        &[COUNTER, ("limit", &limit), ACCEPT],
        &[("payload", &total), ACCEPT],
        &[("payload", &source), ACCEPT],
        &[("payload", &udp_length), ACCEPT],
        &[LENGTH, ACCEPT],
    ];
    for rule in rules {
        let mut bed = Bed::new();
        assert_eq!(bed.rules(Family::Ipv4, 2, &[rule]), 0);
        let passed = bed.pass(FORWARD4, &udp(A, B, 64));
        assert_eq!(passed.outcome, Outcome::Accept);
        assert!(!passed.recorder.is_cacheable());
        assert!(passed.recorder.counted().is_empty());
    }
    // A rule that ends before it looks is no hindrance.
    let mut bed = Bed::new();
    let (from, is_b) = (header(12, 4), is(&B));
    let rule: &[Expr<'_>] = &[("payload", &from), ("cmp", &is_b), LENGTH, ACCEPT];
    assert_eq!(bed.rules(Family::Ipv4, 2, &[rule]), 0);
    let passed = bed.pass(FORWARD4, &udp(A, B, 64));
    assert_eq!(passed.outcome, Outcome::Drop);
    assert!(passed.recorder.is_cacheable());
}

#[test]
fn more_counters_than_a_flow_remembers_are_counted_all_the_same() {
    let mut bed = Bed::new();
    let rules: Vec<&[Expr<'_>]> = vec![&[COUNTER]; ruleset::packet::COUNTED + 1];
    assert_eq!(bed.rules(Family::Ipv4, 2, &rules), 0);
    let passed = bed.pass(FORWARD4, &udp(A, B, 64));
    assert!(!passed.recorder.is_cacheable());
    let mut bed = Bed::new();
    assert_eq!(bed.rules(Family::Ipv4, 2, &rules[1..]), 0);
    let passed = bed.pass(FORWARD4, &udp(A, B, 64));
    assert_eq!(passed.recorder.counted().len(), ruleset::packet::COUNTED);
}

/// Reads a key of `enum nft_ct_keys` into register 1.
fn ct(key: u32, direction: Option<u8>) -> impl Fn(&mut Writer) {
    move |out| {
        out.u32(1, 1);
        out.u32(2, key);
        if let Some(direction) = direction {
            out.put(3, &[direction]);
        }
    }
}

/// Sets a key to what register 1 has.
fn set(key: u32, direction: Option<u8>) -> impl Fn(&mut Writer) {
    move |out| {
        out.u32(4, 1);
        out.u32(2, key);
        if let Some(direction) = direction {
            out.put(3, &[direction]);
        }
    }
}

/// Whether `ct KEY` is this of a packet with this connection, or with none.
fn reads(key: u32, direction: Option<u8>, value: &[u8], link: Option<Link>) -> bool {
    let mut bed = Bed::new();
    bed.link = link;
    let (ct, is) = (ct(key, direction), is(value));
    assert_eq!(bed.rules(Family::Inet, 2, &[&[("ct", &ct), ("cmp", &is), ACCEPT]]), 0);
    bed.pass(FORWARD4, &udp(A, B, 64)).outcome == Outcome::Accept
}

#[test]
fn what_is_known_of_a_connection_is_read() {
    let link = Link {
        status: 0x1be,
        mark: 5,
        secmark: 6,
        expires_in: 7000,
        labels: [1; 16],
        accounts: [(2, 300), (1, 60)],
        zones: [0, 9],
        ..Link::udp(REPLY)
    };
    let word = |word: u32| word.to_ne_bytes().to_vec();
    let long = |long: u64| long.to_ne_bytes().to_vec();
    let wide = |addr: [u8; 4]| [&addr[..], &[0; 12]].concat();
    let known: &[(u32, Option<u8>, Vec<u8>)] = &[
        (0, None, word(2)),
        (1, None, vec![1]),
        (2, None, word(0x1be)),
        (3, None, word(5)),
        (4, None, word(6)),
        (5, None, word(7000)),
        (7, None, vec![2]),
        (7, Some(1), vec![2]),
        (8, Some(0), wide(A)),
        (8, Some(1), wide([10, 0, 0, 9])),
        (9, Some(0), wide(B)),
        (9, Some(1), wide(A)),
        (10, None, vec![17]),
        (11, Some(0), vec![0, 10]),
        (11, Some(1), 2020u16.to_be_bytes().to_vec()),
        (12, Some(0), vec![0, 20]),
        (13, None, vec![1; 16]),
        (14, Some(0), long(2)),
        (14, None, long(3)),
        (15, Some(1), long(60)),
        (15, None, long(360)),
        (16, Some(0), long(150)),
        (16, None, long(120)),
        (17, Some(0), vec![0, 0]),
        (17, Some(1), 9u16.to_ne_bytes().to_vec()),
        (17, None, 9u16.to_ne_bytes().to_vec()),
        (19, Some(0), A.to_vec()),
        (20, Some(1), A.to_vec()),
        (23, None, word(0x1d1d)),
    ];
    for (key, direction, value) in known {
        assert!(reads(*key, *direction, value, Some(link.clone())), "{key} {direction:?}");
        let mut other = value.clone();
        other[0] ^= 1;
        assert!(!reads(*key, *direction, &other, Some(link.clone())), "{key} {direction:?}");
        // Nothing but the state is known without a connection.
        assert!(!reads(*key, *direction, value, None) || *key == 0, "{key}");
    }
    // No address of IPv6, no helper.
    assert!(!reads(21, Some(0), &wide(A), Some(link.clone())));
    assert!(!reads(6, None, &[0; 16], Some(link)));
}

#[test]
fn states_are_those_of_linux() {
    let bits = [(ESTABLISHED, 2u32), (RELATED, 4), (NEW, 8), (REPLY, 2), (REPLY + 1, 4)];
    for (info, bit) in bits {
        assert!(reads(0, None, &bit.to_ne_bytes(), Some(Link::udp(info))));
    }
    assert!(reads(0, None, &1u32.to_ne_bytes(), None), "invalid");
}

/// What becomes of a connection by `ct KEY set VALUE`.
fn sets(key: u32, value: &[u8], link: Link) -> (Link, bool) {
    let mut bed = Bed::new();
    bed.link = Some(link);
    let value = value.to_vec();
    let put = |out: &mut Writer| {
        out.u32(1, 1);
        out.nest(2, |out| out.put(1, &value));
    };
    let set = set(key, None);
    assert_eq!(bed.rules(Family::Ipv4, 2, &[&[("immediate", &put), ("ct", &set)]]), 0);
    let passed = bed.pass(FORWARD4, &udp(A, B, 64));
    (passed.link.unwrap(), passed.recorder.is_cacheable())
}

#[test]
fn connections_are_changed_and_then_remembered() {
    let word = 7u32.to_ne_bytes();
    let labels = [&[0, 2][..], &[0; 14]].concat();
    let (link, cacheable) = sets(3, &word, Link::udp(ESTABLISHED));
    assert!(link.mark == 7 && !cacheable, "rules before may have read the old mark");
    let (link, cacheable) = sets(3, &word, link);
    assert!(link.mark == 7 && cacheable);
    let (link, cacheable) = sets(4, &word, link);
    assert!(link.secmark == 7 && !cacheable);
    assert!(sets(4, &word, link.clone()).1);
    let old = Link { labels: [4; 16], ..link };
    let (link, cacheable) = sets(13, &labels, old);
    assert!(link.labels[..3] == [4, 6, 4] && !cacheable, "labels are added");
    assert!(sets(13, &labels, link.clone()).1);
    let (link, cacheable) = sets(18, &word, link);
    assert!(link.event_mask == Some(7) && cacheable);
}

#[test]
fn a_flow_remembers_no_times_and_no_amounts() {
    for (key, cacheable) in [(0, true), (2, false), (3, true), (17, true)]
        .into_iter()
        .chain([5, 14, 15, 16].map(|key| (key, false)))
    {
        let mut bed = Bed::new();
        let ct = ct(key, None);
        assert_eq!(bed.rules(Family::Ipv4, 2, &[&[("ct", &ct)]]), 0);
        bed.link = Some(Link::udp(ESTABLISHED));
        let passed = bed.pass(FORWARD4, &udp(A, B, 64));
        assert_eq!(passed.recorder.is_cacheable(), cacheable, "{key}");
    }
    // The status is what it is once the connection is confirmed.
    let mut bed = Bed::new();
    let status = ct(2, None);
    assert_eq!(bed.rules(Family::Ipv4, 2, &[&[("ct", &status)]]), 0);
    bed.link = Some(Link { status: 8, ..Link::udp(ESTABLISHED) });
    assert!(bed.pass(FORWARD4, &udp(A, B, 64)).recorder.is_cacheable());
    // A fragment does not speak for whole packets: it has no ports.
    let mut bed = Bed::new();
    assert_eq!(bed.rules(Family::Ipv4, 2, &[&[ACCEPT]]), 0);
    let mut fragment = udp(A, B, 64);
    fragment[21] = 8;
    fragment[24..26].fill(0);
    let sum = packet::checksum::of(&fragment[14..34]);
    fragment[24..26].copy_from_slice(&sum.to_be_bytes());
    assert!(!bed.pass(FORWARD4, &fragment).recorder.is_cacheable());
}

const PREROUTING4: Way = Way { hook: Hook::Prerouting, ..FORWARD4 };

#[test]
fn what_is_said_first_of_a_packet_counts_until_it_is_tracked() {
    let notrack: Expr<'_> = ("notrack", &|_| {});
    let (zone, five, nine) = (set(17, None), word(1, [5, 0, 0, 0]), word(1, [9, 0, 0, 0]));
    let (original, read) = (set(17, Some(0)), ct(17, None));
    let run = |rules: &[&[Expr<'_>]], link: Option<Link>| {
        let mut bed = Bed::new();
        bed.link = link;
        assert_eq!(bed.rules(Family::Ipv4, 0, rules), 0);
        bed.pass(PREROUTING4, &udp(A, B, 64))
    };
    let is_5 = is(&[5, 0]);
    let said: &[&[Expr<'_>]] = &[
        &[("immediate", &five), ("ct", &zone)],
        &[("immediate", &nine), ("ct", &zone)],
        &[notrack],
        &[("ct", &read), ("cmp", &is_5), ACCEPT],
    ];
    let passed = run(said, None);
    assert_eq!((passed.outcome, passed.meta.untracked), (Outcome::Accept, false));
    assert_eq!(passed.meta.template.zone, [5, 5]);
    let passed = run(&[&[("immediate", &five), ("ct", &original)]], None);
    assert_eq!(passed.meta.template.zone, [5, 0]);
    // Of the two ways to say it, a zone undoes what `notrack` said.
    let passed = run(&[&[notrack], &[("immediate", &five), ("ct", &zone)]], None);
    assert!(!passed.meta.untracked && passed.meta.template.said);
    // A packet that has a connection is tracked already.
    let passed = run(&[&[notrack], &[("immediate", &five), ("ct", &zone)]], Some(Link::udp(NEW)));
    assert!(!passed.meta.untracked && !passed.meta.template.said);
    assert!(run(&[&[notrack]], None).meta.untracked);
}

#[test]
fn nat_asks_for_addresses_and_ports() {
    let addr = |bytes: [u8; 4]| [&bytes[..], &[0; 12]].concat().try_into().unwrap();
    let ask = |hook: u32, exprs: &[Expr<'_>]| {
        let mut bed = Bed::new();
        bed.link = Some(Link::udp(NEW));
        assert_eq!(bed.rules_of("nat", Family::Inet, hook, &[exprs]), 0);
        let hook = if hook == 0 { Hook::Prerouting } else { Hook::Postrouting };
        let passed = bed.pass(Way { hook, ..FORWARD4 }, &udp(A, B, 64));
        assert!(passed.asked.is_empty() == (passed.outcome == Outcome::Drop));
        passed.asked.first().copied()
    };
    let (first, last) = (word(1, [10, 9, 0, 16]), word(2, [10, 9, 0, 31]));
    let (port, port_last) = (word(3, [0x1f, 0x90, 0, 0]), word(9, [0x1f, 0x9f, 0, 0]));
    let nat = |kind: u32, family: u32, flags: u32, ports: bool| {
        move |out: &mut Writer| {
            out.u32(1, kind);
            out.u32(2, family);
            out.u32(3, 1);
            out.u32(4, 2);
            if ports {
                out.u32(5, 3);
                out.u32(6, 9);
            }
            out.u32(7, flags);
        }
    };
    let registers: [Expr<'_>; 4] = [
        ("immediate", &first),
        ("immediate", &last),
        ("immediate", &port),
        ("immediate", &port_last),
    ];
    let with = |hook: u32, name: &'static str, attrs: &dyn Fn(&mut Writer)| {
        ask(hook, &[&registers[..], &[(name, attrs)]].concat())
    };
    let how = with(4, "nat", &nat(0, 2, 8 | 16, true)).unwrap();
    let range = To::Range(addr([10, 9, 0, 16]), addr([10, 9, 0, 31]));
    assert_eq!((how.side, how.family, how.to), (Side::Source, Family::Ipv4, range));
    assert_eq!((how.ports, how.flags), (Some((8080, 8095)), 24));
    let how = with(0, "nat", &nat(1, 2, 0, false)).unwrap();
    assert_eq!((how.side, how.to, how.ports), (Side::Destination, range, None));
    // Addresses one to one: 10.0.0.2 stands 2 behind the first of 16.
    let how = with(0, "nat", &nat(1, 2, 64, false)).unwrap();
    let mapped = addr([10, 9, 0, 18]);
    assert_eq!(how.to, To::Range(mapped, mapped));
    let ports_only = |out: &mut Writer| {
        out.u32(1, 1);
        out.u32(2, 1);
        out.u32(5, 3);
    };
    let how = with(0, "nat", &ports_only).unwrap();
    assert_eq!((how.to, how.ports), (To::Same, Some((8080, 8080))));
    let masq = |out: &mut Writer| {
        out.u32(1, 2 | 4);
        out.u32(2, 3);
    };
    let how = with(4, "masq", &masq).unwrap();
    assert_eq!((how.side, how.to, how.flags), (Side::Source, To::Leaving, 4));
    assert_eq!(how.ports, Some((8080, 8080)));
    let how = with(0, "redir", &|out| out.u32(1, 3)).unwrap();
    assert_eq!((how.side, how.to), (Side::Destination, To::Here));
    assert_eq!(how.ports, Some((8080, 8080)));
    // IPv6's addresses are not for this packet; the rule goes on to the policy, which drops.
    let long = |out: &mut Writer| {
        out.u32(1, 1);
        out.nest(2, |out| out.put(1, &[1; 16]));
    };
    let nat6 = |out: &mut Writer| {
        out.u32(1, 1);
        out.u32(2, 10);
        out.u32(3, 1);
    };
    assert_eq!(ask(0, &[("immediate", &long), ("nat", &nat6)]), None);
}

#[test]
fn a_timeout_object_is_for_connections_of_its_protocol() {
    let mut bed = Bed::new();
    assert_eq!(bed.rules(Family::Ipv4, 2, &[]), 0);
    let timeout = |protocol: u8| {
        move |out: &mut Writer| {
            out.put(2, &[protocol]);
            out.nest(3, |out| {
                out.u32(1, 11);
                out.u32(2, 12);
            });
        }
    };
    let refer = |name: &'static str| {
        move |out: &mut Writer| {
            out.u32(1, 7);
            out.str(2, name);
        }
    };
    let (udp_timeout, tcp_timeout) = (refer("u"), refer("t"));
    let ops = [
        object(msg::NEWOBJ, NLM_F_CREATE, "u", 7, timeout(17)),
        object(msg::NEWOBJ, NLM_F_CREATE, "t", 7, timeout(6)),
        rule(Family::Ipv4, &[("objref", &tcp_timeout)]),
        rule(Family::Ipv4, &[("objref", &udp_timeout), ACCEPT]),
    ];
    assert_eq!(bed.batch(&ops), 0);
    bed.link = Some(Link::udp(NEW));
    let passed = bed.pass(FORWARD4, &udp(A, B, 64));
    assert_eq!(passed.link.unwrap().timeouts, [11, 12]);
    assert_eq!(passed.outcome, Outcome::Accept);
    bed.link = None;
    assert_eq!(bed.pass(FORWARD4, &udp(A, B, 64)).outcome, Outcome::Accept);
}

#[test]
fn connections_are_counted_while_they_are_there() {
    let flow = |n: u16| {
        let mut link = Link::udp(NEW);
        link.keys[0].sport = n.to_be_bytes();
        link
    };
    let over = |out: &mut Writer| {
        out.u32(1, 3);
        out.u32(2, 1);
    };
    let mut bed = Bed::new();
    assert_eq!(bed.rules(Family::Ipv4, 2, &[&[("connlimit", &over), ACCEPT]]), 0);
    let come = |bed: &mut Bed, n: u16, worker: u16| {
        bed.link = Some(flow(n));
        let over = bed.pass(Way { worker, ..FORWARD4 }, &udp(A, B, 64)).outcome == Outcome::Accept;
        if !over {
            bed.there.push(flow(n).keys[0]);
        }
        over
    };
    assert!((1..=3).all(|n| !come(&mut bed, n, n % 2)), "three are not over three");
    assert!(!come(&mut bed, 2, 0), "which is known");
    assert!(come(&mut bed, 4, 0));
    bed.there.retain(|key| *key != flow(2).keys[0]);
    // It has ended; its worker finds that out, and that the one that was refused never was.
    bed.now.fetch_add(SECOND, std::sync::atomic::Ordering::Relaxed);
    assert!(!come(&mut bed, 5, 0));
    assert!(come(&mut bed, 6, 1), "now there are three again");
    // What the other worker noted, only it looks after.
    bed.there.clear();
    let program = bed.program.lock().unwrap().clone();
    let sweep = |worker: u16| {
        let (mut cursor, mut seen) = (0, 0);
        program.tallies.sweep(WorkerId(worker), &mut cursor, 100, &mut |_| {
            seen += 1;
            false
        });
        seen
    };
    assert!(sweep(0) > 0 && sweep(1) > 0);
    assert_eq!((sweep(0), sweep(1)), (0, 0));
    assert!(!come(&mut bed, 7, 0));
}

#[test]
fn elements_that_count_connections_go_with_the_last_of_them() {
    let limit = |out: &mut Writer| out.nest(2, |out| out.u32(1, 5));
    let of_set = |command: u8, write: &dyn Fn(&mut Writer)| {
        op(command, Family::Ipv4, NLM_F_CREATE, |out| {
            out.str(1, "t");
            out.str(2, "s");
            write(out);
        })
    };
    let set = of_set(msg::NEWSET, &|out| {
        out.u32(3, 0x20);
        out.u32(4, 7);
        out.u32(5, 4);
        out.u32(10, 1);
        out.nest(17, |out| {
            out.str(1, "connlimit");
            limit(out);
        });
    });
    let from = header(12, 4);
    let add = |out: &mut Writer| {
        out.str(1, "s");
        out.u32(3, 0);
        out.u32(4, 1);
    };
    let mut bed = Bed::new();
    assert_eq!(bed.rules(Family::Ipv4, 2, &[]), 0);
    assert_eq!(bed.batch(&[set, rule(Family::Ipv4, &[("payload", &from), ("dynset", &add)])]), 0);
    bed.link = Some(Link::udp(NEW));
    bed.pass(FORWARD4, &udp(A, B, 64));
    let elements = |bed: &Bed| {
        let program = bed.program.lock().unwrap().clone();
        (0..8).filter_map(|id| program.set(ruleset::ids::SetId(id))).map(|set| set.len()).sum()
    };
    let look = |bed: &mut Bed, is_there: bool| -> usize {
        let program = bed.program.lock().unwrap().clone();
        program.tallies.sweep(WorkerId(0), &mut 0, 100, &mut |_| is_there);
        bed.now.fetch_add(10 * SECOND, std::sync::atomic::Ordering::Relaxed);
        bed.engine.tick();
        elements(bed)
    };
    assert_eq!(elements(&bed), 1usize);
    assert_eq!(look(&mut bed, true), 1);
    assert_eq!(look(&mut bed, false), 0);
}

/// Another node told of an element whose limit the rule gives: it has none here before the first packet, and from then on it holds.
#[test]
fn what_another_node_told_of_gets_the_limit_of_its_rule() {
    let set = op(msg::NEWSET, Family::Ipv4, NLM_F_CREATE, |out| {
        out.str(1, "t");
        out.str(2, "s");
        out.u32(3, 0x20);
        out.u32(4, 7);
        out.u32(5, 4);
        out.u32(10, 1);
    });
    let from = header(12, 4);
    // add @s { ip saddr limit rate over 1/hour burst 2 packets }
    let add = |out: &mut Writer| {
        out.str(1, "s");
        out.u32(3, 0);
        out.u32(4, 1);
        out.nest(7, |out| {
            out.str(1, "limit");
            out.nest(2, |out| {
                out.u64(1, 1);
                out.u64(2, 3600);
                out.u32(3, 2);
                out.u32(5, 1);
            });
        });
    };
    let mut bed = Bed::new();
    assert_eq!(bed.rules(Family::Ipv4, 2, &[]), 0);
    let over = rule(Family::Ipv4, &[("payload", &from), ("dynset", &add), ACCEPT]);
    assert_eq!(bed.batch(&[set, over]), 0);
    let program = bed.program.lock().unwrap().clone();
    let set = (0..8).find_map(|id| program.set(ruleset::ids::SetId(id))).unwrap();
    let said = Said::Lives { timeout: 0, left: 0 };
    assert_eq!(set.hear(&A, &[], said, 1, SECOND), Hearing::Taken);
    let exprs = || set.news(SECOND, 9).first().map(|(_, extra)| extra.exprs.len());
    set.untell(u64::MAX);
    assert_eq!(exprs(), Some(0));
    let is_over = |bed: &Bed| bed.pass(FORWARD4, &udp(A, B, 64)).outcome == Outcome::Accept;
    assert_eq!([is_over(&bed), is_over(&bed), is_over(&bed)], [false, false, true]);
    set.untell(u64::MAX);
    assert_eq!((exprs(), set.len()), (Some(1), 1));
}
