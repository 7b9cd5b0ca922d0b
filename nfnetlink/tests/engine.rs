//! The protocol without sockets: what is acknowledged, refused, dumped, told and lost. `tests/kernel.rs` compares it with Linux.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod common;

use std::sync::Arc;

use common::toy::{self, Toy};
use common::{Got, batch, begin, drain, end, errors, message, numbers, one, table};
use nfnetlink::message::{
    NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_ECHO,
    NLM_F_EXCL, NLM_F_MULTI, NLM_F_REQUEST, NLMSG_DONE,
};
use nfnetlink::server::{Control, Stats};
use nfnetlink::{Engine, Errno, Event, Events, frame};

const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const EBUSY: i32 = 16;
const EEXIST: i32 = 17;
const EINVAL: i32 = 22;
const ERANGE: i32 = 34;
const ERESTART: i32 = 85;
const EOPNOTSUPP: i32 = 95;
const NEW: u16 = NLM_F_CREATE;

fn engine() -> (Engine, u64) {
    limited(16 << 20, 256 << 20)
}

fn limited(client: usize, all: usize) -> (Engine, u64) {
    let mut engine = Engine::new(client, 1, Arc::new(Stats::default())).with_limit(all);
    engine.register(Box::new(Toy::new()));
    let id = engine.connect(0, 4711, true);
    (engine, id)
}

fn option(engine: &mut Engine, id: u64, option: u32, value: u32) {
    engine.control(id, Control::Option { option, value }).unwrap();
}

fn names(engine: &mut Engine, id: u64) -> Vec<String> {
    engine.datagram(id, &message(toy::GET_TABLE, NLM_F_DUMP, 9, |_| {}));
    let mut names = Vec::new();
    for got in drain(engine, id) {
        for message in nfnetlink::Messages::new(&got.bytes) {
            if message.header.kind == toy::NEW_TABLE {
                names.push(message.attrs().next().unwrap().str(31).unwrap().to_owned());
            }
        }
    }
    names
}

#[test]
fn a_request_is_answered_and_acknowledged_where_asked() {
    let (mut engine, id) = engine();
    engine.datagram(id, &message(toy::ECHO, 0, 5, |w| w.str(1, "hi")));
    let got = drain(&mut engine, id);
    assert_eq!(got.len(), 1);
    let header = got[0].headers()[0];
    assert_eq!((header.kind, header.seq, header.pid), (toy::ECHO, 5, 4711));
    engine.datagram(id, &message(toy::ECHO, NLM_F_ACK, 6, |w| w.str(1, "hi")));
    let got = drain(&mut engine, id);
    assert_eq!(got.len(), 2, "the answer, then the acknowledgement");
    assert_eq!(got[1].error(), Some((6, 0)));
    assert_eq!(got[1].headers()[0].flags, NLM_F_CAPPED);
}

#[test]
fn several_messages_share_a_datagram() {
    let (mut engine, id) = engine();
    let mut datagram = message(toy::REFUSE, 0, 1, |_| {});
    datagram.extend(message(toy::REFUSE, NLM_F_ACK, 2, |_| {}));
    // A length that is too long ends the datagram.
    datagram.extend(100u32.to_ne_bytes());
    datagram.extend([0; 12]);
    assert_eq!(errors(&mut engine, id, &datagram), [(1, ERANGE), (2, ERANGE)]);
}

#[test]
fn what_is_no_request_is_passed_over() {
    let (mut engine, id) = engine();
    // Not a request; netlink's own type; too short for netfilter's header.
    let mut silent = message(toy::REFUSE, 0, 1, |_| {});
    silent[6] &= !(NLM_F_REQUEST as u8);
    assert_eq!(errors(&mut engine, id, &silent), []);
    silent[6] |= NLM_F_ACK as u8;
    assert_eq!(errors(&mut engine, id, &silent), [(1, 0)]);
    assert_eq!(errors(&mut engine, id, &message(3, NLM_F_ACK, 2, |_| {})), [(2, 0)]);
    let mut short = message(toy::REFUSE, NLM_F_ACK, 3, |_| {});
    short.truncate(16);
    short[0] = 16;
    assert_eq!(errors(&mut engine, id, &short), [(3, 0)]);
    assert_eq!(errors(&mut engine, id, &[]), []);
    assert_eq!(errors(&mut engine, id, &[1, 2, 3]), []);
}

#[test]
fn an_unknown_subsystem_or_command_is_einval() {
    let (mut engine, id) = engine();
    assert_eq!(errors(&mut engine, id, &message(0x0100, 0, 1, |_| {})), [(1, EINVAL)]);
    assert_eq!(errors(&mut engine, id, &message(0xff00, 0, 2, |_| {})), [(2, EINVAL)]);
    assert_eq!(errors(&mut engine, id, &message(toy::NFTABLES | 99, 0, 3, |_| {})), [(3, EINVAL)]);
    // What belongs into a batch is not taken outside of one; the end of a batch is nobody's.
    assert_eq!(errors(&mut engine, id, &end(0, 4)), [(4, EINVAL)]);
}

#[test]
fn an_error_quotes_its_request_unless_capped() {
    let (mut engine, id) = engine();
    let request = message(toy::REFUSE, 0, 1, |w| w.str(1, "quoted"));
    engine.datagram(id, &request);
    let got = one(&mut engine, id).unwrap();
    assert_eq!(got.headers()[0].flags, 0);
    assert_eq!(got.bytes[20..], request);
    option(&mut engine, id, 10, 1);
    engine.datagram(id, &request);
    let got = one(&mut engine, id).unwrap();
    assert_eq!(got.headers()[0].flags, NLM_F_CAPPED);
    assert_eq!(got.bytes[20..], request[..16]);
    option(&mut engine, id, 11, 1);
    engine.datagram(id, &request);
    let got = one(&mut engine, id).unwrap();
    assert_eq!(got.headers()[0].flags, NLM_F_CAPPED | NLM_F_ACK_TLVS);
    assert_eq!(got.bytes[36..], *b"\x07\0\x01\0no\0\0", "NLMSGERR_ATTR_MSG");
}

#[test]
fn an_error_names_the_attribute_at_fault() {
    let (mut engine, id) = engine();
    option(&mut engine, id, 11, 1);
    engine.datagram(id, &batch(&[table(toy::DEL_TABLE, 0, 1, "none")]));
    let got = one(&mut engine, id).unwrap();
    let last = got.bytes.last_chunk::<8>().unwrap();
    assert_eq!(last[..4], [8, 0, 2, 0], "NLMSGERR_ATTR_OFFS");
    assert_eq!(u32::from_ne_bytes(last[4..].try_into().unwrap()), 20);
}

#[test]
fn a_batch_is_all_or_nothing() {
    let (mut engine, id) = engine();
    let good = batch(&[table(toy::NEW_TABLE, NEW, 1, "a"), table(toy::NEW_TABLE, NEW, 2, "b")]);
    assert_eq!(errors(&mut engine, id, &good), []);
    assert_eq!(names(&mut engine, id), ["a", "b"]);
    let bad = batch(&[
        table(toy::NEW_TABLE, NEW, 1, "c"),
        table(toy::DEL_TABLE, 0, 2, "none"),
        table(toy::NEW_TABLE, NEW | NLM_F_ACK, 3, "d"),
        table(toy::NEW_TABLE, NEW | NLM_F_EXCL, 4, "a"),
    ]);
    // Every fault is told, and what asked for an acknowledgement gets it though the whole is refused.
    assert_eq!(errors(&mut engine, id, &bad), [(2, ENOENT), (3, 0), (4, EEXIST)]);
    assert_eq!(names(&mut engine, id), ["a", "b"]);
}

#[test]
fn begin_and_end_are_acknowledged_where_asked() {
    let (mut engine, id) = engine();
    let new = table(toy::NEW_TABLE, NEW | NLM_F_ACK, 2, "a");
    let all = [begin(10, Some(1), NLM_F_ACK, 1), new, end(NLM_F_ACK, 3)].concat();
    assert_eq!(errors(&mut engine, id, &all), [(1, 0), (2, 0), (3, 0)]);
}

#[test]
fn a_batch_on_another_generation_is_refused() {
    let (mut engine, id) = engine();
    let on = |generation| {
        [begin(10, Some(generation), 0, 7), table(toy::NEW_TABLE, NEW, 8, "a"), end(0, 9)].concat()
    };
    assert_eq!(errors(&mut engine, id, &on(5)), [(7, ERESTART)]);
    assert_eq!(errors(&mut engine, id, &on(1)), []);
    assert_eq!(errors(&mut engine, id, &on(1)), [(7, ERESTART)]);
    assert_eq!(errors(&mut engine, id, &on(0)), [], "0 is no generation");
}

#[test]
fn a_batch_is_for_one_subsystem_that_takes_batches() {
    let (mut engine, id) = engine();
    let inside = || table(toy::NEW_TABLE, NEW, 2, "a");
    let of = |subsystem| [begin(subsystem, None, 0, 1), inside(), end(0, 3)].concat();
    assert_eq!(errors(&mut engine, id, &of(13)), [(1, EINVAL)]);
    assert_eq!(errors(&mut engine, id, &of(1)), [(1, EOPNOTSUPP)]);
    assert_eq!(
        errors(&mut engine, id, &of(10u16.swap_bytes())),
        [],
        "as old versions of nft write it"
    );
    let other = batch(&[message(0x0100, 0, 5, |_| {}), message(3, 0, 6, |_| {})]);
    assert_eq!(errors(&mut engine, id, &other), [(5, EINVAL), (6, EINVAL)]);
    let mut silent = table(toy::NEW_TABLE, NEW, 7, "b");
    silent[6] &= !(NLM_F_REQUEST as u8);
    assert_eq!(errors(&mut engine, id, &batch(&[silent])), [(7, EINVAL)]);
}

#[test]
fn a_broken_batch_changes_nothing_and_says_nothing() {
    let (mut engine, id) = engine();
    let new = |seq| table(toy::NEW_TABLE, NEW | NLM_F_ACK, seq, "a");
    let mut long = new(2);
    long[0] = 0xff;
    let mut short = new(2);
    short[0] = 3;
    let mut bare = message(toy::NEW_TABLE, 0, 2, |_| {});
    bare.truncate(16);
    bare[0] = 16;
    for broken in [long, short, bare, begin(10, None, 0, 2)] {
        let all = [begin(10, None, 0, 1), new(1), broken, end(0, 3)].concat();
        assert_eq!(errors(&mut engine, id, &all), []);
        assert_eq!(names(&mut engine, id), [""; 0]);
    }
}

#[test]
fn a_batch_without_end_is_only_checked() {
    let (mut engine, id) = engine();
    let open = [begin(10, None, 0, 1), table(toy::NEW_TABLE, NEW | NLM_F_ACK, 2, "a")].concat();
    assert_eq!(errors(&mut engine, id, &open), [(2, 0)]);
    let bad = [begin(10, None, 0, 1), table(toy::DEL_TABLE, 0, 2, "a")].concat();
    assert_eq!(errors(&mut engine, id, &bad), [(2, ENOENT)]);
    assert_eq!(names(&mut engine, id), [""; 0]);
}

#[test]
fn a_subsystem_may_see_a_batch_twice() {
    for (replays, answer) in [(1, vec![]), (2, vec![(1, 11)])] {
        let mut engine = Engine::new(1 << 20, 1, Arc::new(Stats::default()));
        engine.register(Box::new(Toy { replays, ..Toy::new() }));
        let id = engine.connect(0, 1, true);
        let all = batch(&[table(toy::NEW_TABLE, NEW, 1, "a")]);
        assert_eq!(errors(&mut engine, id, &all), answer);
    }
}

#[test]
fn a_dump_comes_in_parts_and_ends() {
    let (mut engine, id) = engine();
    engine.datagram(id, &numbers(toy::MANY, NLM_F_DUMP | NLM_F_ACK, 5, &[1000, 100]));
    // A second one has to wait; the refusal comes in between.
    engine.datagram(id, &numbers(toy::MANY, NLM_F_DUMP, 6, &[1, 1]));
    assert_eq!(one(&mut engine, id).unwrap().error(), Some((6, EBUSY)));
    let got = drain(&mut engine, id);
    assert!(got.iter().all(|got| got.bytes.len() <= 3776), "what any client reads with");
    let headers: Vec<_> = got.iter().flat_map(Got::headers).collect();
    assert_eq!(headers.len(), 1001);
    assert!(headers.iter().all(|h| h.flags == NLM_F_MULTI && h.seq == 5 && h.pid == 4711));
    assert_eq!(headers.last().unwrap().kind, NLMSG_DONE);
    // With a larger buffer, in fewer parts.
    option(&mut engine, id, frame::OPTION_ROOM, 1 << 20);
    engine.datagram(id, &numbers(toy::MANY, NLM_F_DUMP, 7, &[1000, 100]));
    let large = drain(&mut engine, id);
    assert!(large.len() * 5 < got.len() && large.iter().all(|got| got.bytes.len() <= 32_768));
}

#[test]
fn a_dump_during_which_something_changes_says_so() {
    let (mut engine, id) = engine();
    let other = engine.connect(0, 1, true);
    engine.datagram(id, &numbers(toy::MANY, NLM_F_DUMP, 5, &[100, 100]));
    assert_eq!(one(&mut engine, id).unwrap().headers()[0].flags, NLM_F_MULTI);
    engine.datagram(other, &batch(&[table(toy::NEW_TABLE, NEW, 1, "a")]));
    let rest: Vec<_> = drain(&mut engine, id).iter().flat_map(Got::headers).collect();
    assert!(rest.iter().all(|header| header.flags == NLM_F_MULTI | NLM_F_DUMP_INTR));
}

#[test]
fn port_ids_are_unique_and_the_first_is_the_process() {
    let (mut engine, id) = engine();
    let port = |engine: &mut Engine, id| {
        engine.datagram(id, &message(toy::ECHO, 0, 1, |_| {}));
        one(engine, id).unwrap().headers()[0].pid
    };
    assert_eq!(port(&mut engine, id), 4711);
    let second = engine.connect(0, 4711, true);
    let third = engine.connect(0, 4711, true);
    let (p2, p3) = (port(&mut engine, second), port(&mut engine, third));
    assert!(p2 != 4711 && p3 != 4711 && p2 != p3 && p2 > 1 << 31);
    let bind =
        |engine: &mut Engine, id, port| engine.control(id, Control::Bind { port, groups: 0 });
    let fourth = engine.connect(0, 4711, true);
    assert_eq!(bind(&mut engine, fourth, 4711), Err(Errno::EADDRINUSE));
    engine.disconnect(id);
    assert_eq!(bind(&mut engine, fourth, 0), Ok(()));
    assert_eq!(port(&mut engine, fourth), 4711);
    assert_eq!(bind(&mut engine, fourth, 5), Err(Errno::EINVAL));
    assert_eq!(bind(&mut engine, fourth, 4711), Ok(()));
    let outcome = engine.outcome(fourth, Ok(()));
    assert_eq!(outcome, frame::DONE | 4711 << frame::PORT_SHIFT);
}

#[test]
fn events_go_to_members_and_echoes_to_who_asked() {
    let (mut engine, id) = engine();
    let listener = engine.connect(0, 1, true);
    let idle = engine.connect(0, 2, true);
    engine.control(listener, Control::Bind { port: 0, groups: 1 << (toy::GROUP - 1) }).unwrap();
    option(&mut engine, idle, 1, toy::GROUP);
    option(&mut engine, idle, 2, toy::GROUP);
    let new = |name, flags| batch(&[table(toy::NEW_TABLE, NEW | flags, 1, name)]);
    engine.datagram(id, &new("a", 0));
    assert_eq!(drain(&mut engine, id), []);
    assert_eq!(drain(&mut engine, idle), []);
    let heard = drain(&mut engine, listener);
    assert_eq!((heard.len(), heard[0].group), (1, toy::GROUP));
    engine.datagram(id, &new("b", NLM_F_ECHO | NLM_F_ACK));
    let echoed = drain(&mut engine, id);
    assert_eq!(echoed.len(), 2, "the echo, then the acknowledgement");
    assert_eq!((echoed[0].group, echoed[1].error()), (0, Some((1, 0))));
    assert_eq!(drain(&mut engine, listener).len(), 1);
    // A member that asks for an echo hears it once.
    engine.datagram(listener, &new("c", NLM_F_ECHO));
    let once = drain(&mut engine, listener);
    assert_eq!((once.len(), once[0].group), (1, 0));
    // What was refused is not told.
    let bad = batch(&[table(toy::NEW_TABLE, NEW, 1, "d"), table(toy::DEL_TABLE, 0, 2, "x")]);
    engine.datagram(id, &bad);
    assert_eq!(drain(&mut engine, listener), []);
}

#[test]
fn groups_that_are_not_there_are_refused() {
    let (mut engine, id) = engine();
    for group in [0, 33, u32::MAX] {
        let control = Control::Option { option: 1, value: group };
        assert_eq!(engine.control(id, control), Err(Errno::EINVAL));
    }
    option(&mut engine, id, 1, 32);
    assert!(engine.has_listeners(32) && !engine.has_listeners(31));
    engine.disconnect(id);
    assert!(!engine.has_listeners(32));
}

fn event(bytes: usize) -> Events {
    let event = Event { group: toy::GROUP, datagram: vec![0; bytes], echo: None };
    Events { queue: vec![event], ..Events::default() }
}

#[test]
fn who_is_too_slow_is_told_once_and_hears_again_after() {
    let (mut engine, id) = engine();
    option(&mut engine, id, 1, toy::GROUP);
    option(&mut engine, id, frame::OPTION_RECEIVE_BUFFER, 10_000);
    for _ in 0..100 {
        engine.publish(event(1000));
    }
    let got = drain(&mut engine, id);
    assert_eq!(got.iter().filter(|got| got.overrun).count(), 1);
    assert!(got.last().unwrap().overrun && (5..10).contains(&(got.len() - 1)), "{}", got.len());
    engine.publish(event(1000));
    assert_eq!(drain(&mut engine, id).len(), 1);
    // Until everything is read there is nothing new, as from the kernel.
    for _ in 0..100 {
        engine.publish(event(1000));
    }
    one(&mut engine, id).unwrap();
    engine.publish(event(1000));
    assert!(drain(&mut engine, id).last().unwrap().overrun);
}

#[test]
fn who_does_not_want_to_know_is_not_told() {
    let (mut engine, id) = engine();
    option(&mut engine, id, 1, toy::GROUP);
    option(&mut engine, id, 5, 1);
    option(&mut engine, id, frame::OPTION_RECEIVE_BUFFER, 10_000);
    for _ in 0..100 {
        engine.publish(event(1000));
    }
    let got = drain(&mut engine, id);
    assert!(got.len() < 20 && got.iter().all(|got| !got.overrun));
}

#[test]
fn what_was_lost_on_the_way_is_told() {
    let (mut engine, id) = engine();
    let deaf = engine.connect(0, 1, true);
    option(&mut engine, id, 1, toy::GROUP);
    engine.lost(toy::GROUP);
    assert!(one(&mut engine, id).unwrap().overrun);
    assert_eq!(drain(&mut engine, deaf), []);
}

#[test]
fn answers_are_bounded_for_one_and_for_all() {
    let (mut engine, id) = limited(100_000, 250_000);
    let flood = numbers(toy::FLOOD, 0, 1, &[1000, 1000]);
    engine.datagram(id, &flood);
    let others: Vec<u64> = (0..5).map(|pid| engine.connect(0, pid, true)).collect();
    for other in &others {
        engine.datagram(*other, &flood);
    }
    let got = drain(&mut engine, id);
    assert!(got.len() > 50 && got.iter().map(|got| got.bytes.len()).sum::<usize>() < 100_000);
    assert!(got.last().unwrap().overrun);
    let waiting: usize = others
        .iter()
        .map(|id| drain(&mut engine, *id).iter().map(|got| got.bytes.len()).sum::<usize>())
        .sum();
    assert!(waiting < 250_000, "{waiting}");
    // Gone is gone: there is room again.
    engine.datagram(id, &flood);
    engine.disconnect(id);
    let id = engine.connect(0, 1, true);
    engine.datagram(id, &flood);
    assert!(drain(&mut engine, id).len() > 50);
}

#[test]
fn who_may_not_ask_is_told_so() {
    let (mut engine, _) = engine();
    let id = engine.connect(1000, 5, false);
    let all = batch(&[table(toy::NEW_TABLE, NEW, 1, "a")]);
    assert_eq!(errors(&mut engine, id, &all), [(100, EPERM)]);
    assert_eq!(
        errors(&mut engine, id, &message(toy::GET_TABLE, NLM_F_DUMP, 1, |_| {})),
        [(1, EPERM)]
    );
    let id = engine.connect(1000, 6, false);
    assert_eq!(engine.control(id, Control::Option { option: 1, value: 7 }), Err(Errno::EPERM));
    assert_eq!(engine.control(id, Control::Bind { port: 0, groups: 1 }), Err(Errno::EPERM));
    assert_eq!(engine.control(id, Control::Bind { port: 0, groups: 0 }), Ok(()));
}

#[test]
fn an_outcome_says_whether_more_follows_and_the_last_datagram_settles_it() {
    let (mut engine, id) = engine();
    engine.datagram(id, &numbers(toy::MANY, NLM_F_DUMP, 5, &[200, 100]));
    // The socket took one datagram; then a second request comes.
    one(&mut engine, id).unwrap();
    assert_ne!(engine.outcome(id, Ok(())) & frame::MORE, 0);
    engine.datagram(id, &message(toy::ECHO, 0, 6, |_| {}));
    assert_ne!(engine.outcome(id, Ok(())) & frame::MORE, 0);
    let got = drain(&mut engine, id);
    let settled: Vec<u32> = got.iter().map(|got| got.settled).collect();
    assert_eq!(settled.iter().sum::<u32>(), 2);
    assert_eq!(settled.last(), Some(&2));
    engine.datagram(id, &message(toy::ECHO, 0, 7, |_| {}));
    drain(&mut engine, id);
    assert_eq!(engine.outcome(id, Ok(())) & frame::MORE, 0);
    let refused = engine.outcome(id, Err(Errno::EINVAL));
    assert_eq!(refused >> frame::ERRNO_SHIFT & 0xffff, 22);
}

#[test]
fn another_version_of_the_framing_is_refused() {
    let (mut engine, id) = engine();
    let hello = |version| Control::Hello { version, pid: 1 };
    assert_eq!(engine.control(id, hello(frame::VERSION + 1)), Err(Errno::EPROTO));
    assert_eq!(engine.control(id, hello(frame::VERSION)), Ok(()));
}
