//! HELLO, bulks, sweeps, acknowledgements, and what must not do anything.

use super::net::{Machine, Net, config, keys, lane, node_id};
use crate::hands::{Cause, Outbound};
use crate::ids::{Epoch, Seq};
use crate::node::config::MS;
use crate::node::{Command, Config, KeyInUse, Refused};
use crate::records::{Hello, Record, Role, SetElement};
use crate::seal::{Keyring, Sealer, Sending, TRAILER};
use crate::wire::{self, Flags, HEADER, PAYLOAD, Type};

/// Two nodes, of which the first is the owner, with flows 1 to 40.
pub(super) fn pair() -> Net {
    let mut net = Net::new(2, config);
    net.promote(0).unwrap();
    net.run(10);
    for flow in 1..=40 {
        net.outside(0).packet(flow);
    }
    net.run(500);
    net
}

#[test]
fn a_standby_has_what_the_owner_has() {
    let mut net = pair();
    let table = net.outside(0).table();
    assert_eq!(table.len(), 40);
    assert_eq!(net.outside(1).table(), table);
    let status = net.status(1);
    assert!(status.synchronised);
    assert_eq!((status.role, status.owner, status.term.0), (Role::Standby, Some(node_id(0)), 1));
    let owner = net.status(0);
    assert_eq!(owner.role, Role::Active);
    let peer = &owner.peers[0];
    assert!(peer.alive && peer.synchronised && peer.ruleset_agrees);
    assert_eq!(peer.behind, 0);
    assert!(peer.watermark_age_us.unwrap() < 150_000, "{peer:?}");
    net.outside(0).packet(7);
    net.outside(0).end(8);
    net.run(5);
    let table = net.outside(0).table();
    assert_eq!(net.outside(1).table(), table);
}

/// An element of a set, as the control side of node `number` says it.
fn say_element(net: &mut Net, number: u8, key: u8) -> Vec<u8> {
    let element = SetElement {
        family: 1,
        gone: false,
        table: b"t",
        set: b"s",
        key: &[key],
        data: &[],
        remaining: 1,
        timeout: 1,
        version: 1,
    };
    let mut bytes = [0; PAYLOAD];
    let length = wire::encode(&Record::Set(element), &mut bytes).unwrap();
    let (now, bytes) = (net.now, &bytes[..length]);
    let Machine { node, outside, .. } = net.machine(number);
    let record = Outbound::Record { cause: Cause::Change, slot: u32::MAX, bytes };
    node.outbound(lane(), &record, now, outside);
    bytes.to_vec()
}

#[test]
fn what_is_no_flow_arrives_though_datagrams_are_lost() {
    let mut net = pair();
    let mut count = 0;
    net.filter = Box::new(move |header| {
        count += u32::from(header.kind == Type::Data);
        header.kind != Type::Data || count % 3 != 0
    });
    let mut said = Vec::new();
    for key in 0..100 {
        said.push(say_element(&mut net, 0, key));
        net.run(1);
    }
    net.run(500);
    let mut heard = net.outside(1).elsewhere.clone();
    heard.sort();
    heard.dedup();
    assert_eq!(heard, said);
    // Not the owner's word: it was said while this node stepped down.
    let dropped = net.counter(1, "not_owner");
    say_element(&mut net, 1, 0);
    net.run(100);
    assert_eq!(net.counter(1, "not_owner"), dropped + 1);
    assert!(net.outside(0).elsewhere.is_empty());
}

#[test]
fn who_comes_late_asks_for_what_is_no_flow_with_the_flows() {
    let mut net = pair();
    let asked = net.outside(0).wishes;
    assert!(asked >= 1);
    net.run(1_000);
    assert_eq!(net.outside(0).wishes, asked, "nobody came");
    net.crash(1);
    net.start(1);
    net.run(500);
    assert!(net.outside(0).wishes > asked && net.outside(1).wishes == 0);
    let asked = net.outside(0).wishes;
    net.command(1, Command::Resync).unwrap();
    net.run(500);
    assert!(net.outside(0).wishes > asked);
}

#[test]
fn what_no_standby_has_confirmed_is_told_in_changes_of_flows() {
    let mut net = pair();
    assert_eq!(net.status(0).unconfirmed, 0);
    net.cut(0, 1);
    for flow in 50..57 {
        net.outside(0).packet(flow);
    }
    net.run(2);
    let status = net.status(0);
    assert_eq!((status.unconfirmed, net.status(1).unconfirmed), (7, 0));
    assert!((1..7).contains(&status.peers[0].behind), "they share datagrams: {:?}", status.peers);
    net.mend();
    net.run(100);
    assert_eq!(net.status(0).unconfirmed, 0);
}

#[test]
fn a_standby_that_comes_late_has_all_after_a_bulk() {
    let mut net = pair();
    net.crash(1);
    net.run(1_000);
    assert!(!net.status(0).peers[0].alive);
    net.outside(0).end(3);
    net.outside(0).packet(77);
    net.start(1);
    assert!(!net.status(1).synchronised);
    net.run(500);
    let table = net.outside(0).table();
    assert_eq!(net.outside(1).table(), table);
    assert!(net.status(1).synchronised);
    assert!(net.status(0).peers[0].synchronised);
}

/// A key is exchanged as docs/config.md says, one node after the other, and nothing is lost by it. A step that would make a node deaf
/// to another is not taken.
#[test]
fn keys_change_while_flows_are_replicated() {
    let [one, two] = [format!("1 {}", "5a".repeat(32)), format!("2 {}", "a5".repeat(32))];
    let ring = |lines: &[&String]| {
        Keyring::parse(&lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap()
    };
    let mut net = pair();
    let mut flow = 100;
    let mut change = |net: &mut Net, number: u8, keys: Keyring| {
        let done = net.machine(number).node.rekey(keys);
        flow += 1;
        net.outside(0).packet(flow);
        net.run(200);
        let table = net.outside(0).table();
        assert_eq!(net.outside(1).table(), table);
        done
    };
    // The same number for another key: the others still seal with the old one.
    let refused = change(&mut net, 1, ring(&[&one, &two]));
    assert_eq!(refused, Err(KeyInUse { node: node_id(0), key: 1 }));
    let old = "1 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f".to_owned();
    assert_eq!(ring(&[&old]), keys());
    for number in [0, 1] {
        change(&mut net, number, ring(&[&two, &old])).unwrap();
    }
    let refused = change(&mut net, 0, ring(&[&two]));
    assert_eq!(refused, Err(KeyInUse { node: node_id(1), key: 1 }));
    for keys in [ring(&[&old, &two]), ring(&[&two])] {
        for number in [0, 1] {
            change(&mut net, number, keys.clone()).unwrap();
        }
    }
    for number in [0, 1] {
        let [deaf, forged, gaps] =
            ["rejected_key", "rejected_forged", "silences"].map(|name| net.counter(number, name));
        assert_eq!((deaf, forged, gaps), (0, 0, 0));
        assert!(net.status(number).synchronised && net.status(number).alarms.is_empty());
    }
    assert!(change(&mut net, 0, Keyring::unauthenticated()).is_err());
}

#[test]
fn a_gap_is_repaired() {
    let mut net = pair();
    net.filter = Box::new(|header| header.kind != Type::Data);
    for flow in 50..55 {
        net.outside(0).packet(flow);
        net.run(2);
    }
    net.filter = Box::new(|_| true);
    net.run(100);
    let table = net.outside(0).table();
    assert!(table.contains_key(&54));
    assert_eq!(net.outside(1).table(), table);
}

#[test]
fn what_ended_during_a_cut_is_gone_after_it() {
    let mut net = pair();
    net.cut(0, 1);
    for flow in 1..=20 {
        net.outside(0).end(flow);
    }
    net.run(5_000);
    assert_eq!(net.outside(1).table().len(), 40);
    let (bulks, sweeps) = (net.counter(1, "bulks_asked"), net.counter(1, "sweeps"));
    net.mend();
    net.run(3_000);
    let table = net.outside(0).table();
    assert_eq!(net.outside(1).table(), table);
    assert!(net.status(1).synchronised);
    assert_eq!((net.counter(1, "bulks_asked"), net.counter(1, "sweeps")), (bulks, sweeps));
}

#[test]
fn after_a_long_cut_only_what_changed_is_said() {
    let mut net = Net::new(2, |number| Config { window: 16, ..config(number) });
    net.promote(0).unwrap();
    net.run(10);
    for flow in 1..=40 {
        net.outside(0).packet(flow);
    }
    net.run(500);
    let before: Vec<_> =
        ["bulks_asked", "sweeps"].iter().map(|name| net.counter(1, name)).collect();
    let bulk = net.counter(0, "records_bulk");
    net.cut(0, 1);
    for flow in 1..=5 {
        net.outside(0).end(flow);
    }
    for _ in 0..40 {
        net.outside(0).packet(7);
        net.run(2);
    }
    net.run(1_000);
    net.mend();
    net.run(500);
    assert_eq!(net.counter(1, "parts_asked"), 1);
    let after: Vec<_> = ["bulks_asked", "sweeps"].iter().map(|name| net.counter(1, name)).collect();
    assert_eq!(after, before, "other lanes have nothing to do with it, and nothing is swept");
    assert_eq!((net.counter(0, "parts_given"), net.counter(0, "records_bulk")), (1, bulk));
    assert!(net.counter(0, "records_repair") < 20);
    let table = net.outside(0).table();
    assert_eq!(net.outside(1).table(), table);
    assert!(net.status(1).synchronised);
}

#[test]
fn resync_brings_all_again() {
    let mut net = pair();
    assert_eq!(net.command(0, Command::Resync), Err(Refused::Owner(net.status(0).term)));
    let before = net.counter(1, "bulks_asked");
    net.command(1, Command::Resync).unwrap();
    assert!(!net.status(1).synchronised);
    net.run(500);
    assert!(net.status(1).synchronised);
    assert_eq!(net.counter(1, "bulks_asked"), before + 1);
    assert_eq!(net.outside(1).table().len(), 40);
}

#[test]
fn a_full_table_is_not_synchronised() {
    let mut net = Net::new(2, config);
    net.outside(1).capacity = 10;
    net.promote(0).unwrap();
    for flow in 1..=20 {
        net.outside(0).packet(flow);
    }
    net.run(1_000);
    assert!(!net.status(1).synchronised);
    assert_eq!(net.outside(1).table().len(), 10);
    assert!(net.status(1).alarms.iter().any(|alarm| alarm.contains("do not fit")));
    net.outside(1).capacity = 100;
    net.run(11_000);
    assert!(net.status(1).synchronised);
    assert_eq!(net.outside(1).table().len(), 20);
}

#[test]
fn a_full_ring_is_as_if_the_datagram_was_lost() {
    let mut net = pair();
    net.outside(1).ring = 10;
    net.outside(0).packet(60);
    net.run(20);
    assert!(net.counter(1, "no_room") > 0);
    assert!(!net.outside(1).table().contains_key(&60));
    assert_eq!(net.counter(1, "ring_full"), 0);
    net.outside(1).ring = 4096;
    net.run(200);
    assert!(net.outside(1).table().contains_key(&60));
}

#[test]
fn a_deferred_flow_is_released_when_a_standby_has_it() {
    let mut net = pair();
    let id = net.outside(0).deferred(90);
    let took = net.until(20, |net| net.outside(0).released.contains(&id));
    assert!(took <= 2 * MS, "{took} ns");
    assert!(net.outside(1).table().contains_key(&90));
    net.outside(1).pause(true);
    let id = net.outside(0).deferred(91);
    net.run(50);
    assert!(!net.outside(0).released.contains(&id), "nobody has it in its table");
    assert_eq!(net.counter(0, "deferred_expired"), 1);
}

#[test]
fn two_acknowledgements_are_of_two_nodes() {
    let two = |number| Config { acks: 2, ..config(number) };
    let mut net = Net::new(3, two);
    net.promote(0).unwrap();
    net.run(500);
    net.cut(0, 2);
    let id = net.outside(0).deferred(1);
    net.run(15);
    assert!(net.outside(1).table().contains_key(&1));
    assert!(!net.outside(0).released.contains(&id));
    net.mend();
    let id = net.outside(0).deferred(2);
    net.run(15);
    assert!(net.outside(0).released.contains(&id));
}

#[test]
fn verify_finds_all_the_same() {
    let mut net = pair();
    for number in [0, 1] {
        assert_eq!(net.status(number).verify, None);
        net.command(number, Command::Verify).unwrap();
        assert!(net.status(number).verify.unwrap().running);
        net.run(500);
        let verify = net.status(number).verify.unwrap();
        assert_eq!((verify.running, verify.differ), (false, 0));
        assert!(verify.compared >= 1024, "{verify:?}");
    }
}

#[test]
fn what_a_standby_lost_without_noticing_is_back_within_two_hundred_seconds() {
    let mut net = pair();
    let table = net.outside(0).table();
    let bulks = net.counter(1, "bulks_asked");
    let id = net.machine(1).node.tear(17).unwrap();
    net.outside(1).forget(id);
    assert_ne!(net.outside(1).table(), table);
    let bulk = net.counter(0, "records_bulk");
    let repair = net.counter(0, "records_repair");
    // Nothing happens for long; it need not be looked at so closely.
    net.step = MS;
    let took = net.until(200_000, |net| net.counter(1, "digest_alarms") > 0);
    assert!(took > 90_000 * MS, "once is no error yet");
    assert!(net.status(1).alarms.iter().any(|alarm| alarm.contains("differed")));
    net.run(50);
    assert_eq!(net.outside(1).table(), table);
    assert!(net.status(1).synchronised);
    assert_eq!(net.counter(1, "bulks_asked"), bulks);
    assert_eq!((net.counter(1, "parts_asked"), net.counter(0, "records_bulk")), (1, bulk));
    assert_eq!(net.counter(0, "records_repair"), repair + 1, "the bucket has one flow");
}

#[test]
fn a_silent_lane_is_heard() {
    let mut net = pair();
    net.seen.clear();
    net.run(1_000);
    let beats =
        net.seen.iter().filter(|(from, _, header)| *from == 0 && header.kind == Type::Heartbeat);
    assert!((80..=120).contains(&beats.count()));
    let hellos =
        net.seen.iter().filter(|(from, _, header)| *from == 1 && header.kind == Type::Hello);
    assert!((9..=12).contains(&hellos.count()));
    let all = net.seen.iter().filter(|(from, ..)| *from == 1).count();
    assert!(all < 100, "an idle standby sent {all} datagrams in a second");
}

#[test]
fn rulesets_and_ports_are_told() {
    let mut net = pair();
    net.command(0, Command::Ruleset(5)).unwrap();
    net.run(10);
    assert!(!net.status(1).peers[0].ruleset_agrees);
    assert!(net.status(1).alarms.iter().any(|alarm| alarm.contains("another ruleset")));
    net.command(1, Command::Ruleset(5)).unwrap();
    net.run(10);
    assert!(net.status(1).peers[0].ruleset_agrees);
    let ports = config(0).ports;
    assert_eq!(net.machine(1).node.ports(node_id(0)), ports);
    net.command(0, Command::Ports(vec![(1, [9; 6])])).unwrap();
    net.run(10);
    assert_eq!(net.machine(1).node.ports(node_id(0)), [(1, [9; 6])]);
}

/// A datagram as a node of this number and epoch would send it.
fn forge(
    keys: &Keyring,
    number: u8,
    epoch: u64,
    kind: Type,
    seq: u64,
    records: &[Record<'_>],
) -> Vec<u8> {
    let mut bytes = vec![0; HEADER + PAYLOAD + TRAILER];
    let mut length = 0;
    for record in records {
        length += wire::encode(record, &mut bytes[HEADER + length..HEADER + PAYLOAD]).unwrap();
    }
    let what = Sending { kind, lane: lane(), flags: Flags(0), ruleset: 0, seq: Seq(seq) };
    let mut sealer = Sealer::new(keys, 7, node_id(number), Epoch(epoch));
    let whole = sealer.seal(&what, &mut bytes, length).unwrap();
    bytes.truncate(whole);
    bytes
}

fn hello() -> Record<'static> {
    Record::Hello(Hello {
        lanes: 1,
        minor: 0,
        synchronised: false,
        wants_bulk: false,
        capacity: 64,
        ruleset: 0,
        nodes: 2,
    })
}

/// What a node is and has, without its counters.
fn shown(net: &mut Net, number: u8) -> String {
    let mut status = net.status(number);
    status.counters.clear();
    format!("{status:?} {:?}", net.outside(number).table())
}

#[test]
fn what_is_not_authentic_changes_only_counters() {
    let mut net = pair();
    net.run(1);
    let other = Keyring::parse(&format!("1 {}", "ab".repeat(32))).unwrap();
    let role = Record::Role {
        group: crate::ids::Group(0),
        role: Role::Active,
        term: crate::ids::Term(99),
        owner: Some(node_id(3)),
    };
    let forged = forge(&other, 3, 1, Type::Hello, 0, &[hello(), role.clone()]);
    let bare = forge(&Keyring::unauthenticated(), 3, 1, Type::Hello, 0, &[hello(), role]);
    let before = shown(&mut net, 1);
    let now = net.now;
    for datagram in [&forged[..], &bare[..], &forged[..31], &[], b"TW", &[0xff; 2000]] {
        for length in 0..=datagram.len().min(64) {
            let machine = net.machine(1);
            machine.node.received(&mut datagram[..length].to_vec(), now, &mut machine.outside);
        }
        let machine = net.machine(1);
        machine.node.received(&mut datagram.to_vec(), now, &mut machine.outside);
    }
    assert_eq!(shown(&mut net, 1), before);
    assert!(net.counter(1, "rejected_forged") > 0);
    assert!(net.counter(1, "rejected_unauthenticated") > 0);
    assert!(net.outside(1).sent.is_empty());
}

#[test]
fn nodes_with_the_same_number_are_noticed() {
    let mut net = pair();
    let now = net.now;
    let twin = forge(&keys(), 1, 9, Type::Hello, 0, &[hello()]);
    let own = forge(&keys(), 1, 1, Type::Hello, 0, &[hello()]);
    let forged = {
        let other = Keyring::parse(&format!("1 {}", "ab".repeat(32))).unwrap();
        forge(&other, 1, 10, Type::Hello, 0, &[hello()])
    };
    let machine = net.machine(1);
    machine.node.received(&mut own.clone(), now, &mut machine.outside);
    machine.node.received(&mut forged.clone(), now, &mut machine.outside);
    assert!(machine.outside.alarms.is_empty());
    machine.node.received(&mut twin.clone(), now, &mut machine.outside);
    assert_eq!(machine.outside.alarms.len(), 1);
    assert_eq!((net.counter(1, "looped"), net.counter(1, "twins")), (1, 1));
}

#[test]
fn an_old_incarnation_is_not_listened_to() {
    let mut net = pair();
    let old = forge(&keys(), 0, 1, Type::Hello, 0, &[hello()]);
    net.crash(0);
    net.start(0);
    net.run(100);
    let epoch = net.status(1).peers[0].epoch;
    assert_eq!(epoch, Epoch(2));
    let now = net.now;
    let machine = net.machine(1);
    machine.node.received(&mut old.clone(), now, &mut machine.outside);
    let status = net.status(1);
    assert_eq!(status.peers[0].epoch, epoch);
    assert_eq!(net.counter(1, "rejected_epoch"), 1);
    assert!(status.synchronised, "what the old incarnation said is still here");
    assert_eq!(net.outside(1).table().len(), 40);
}

#[test]
fn a_passive_node_takes_part_in_nothing() {
    let passive = |number| Config { passive: number == 1, ..config(number) };
    let mut net = Net::new(2, passive);
    assert_eq!(net.promote(1), Err(Refused::Passive));
    net.promote(0).unwrap();
    net.outside(0).packet(1);
    net.run(200);
    assert_eq!(net.command(0, Command::Demote), Err(Refused::NoStandby));
    assert!(net.outside(1).table().is_empty());
    assert_eq!(net.status(1).role, Role::Passive);
    assert_eq!(net.status(1).owner, Some(node_id(0)));
}

#[test]
fn an_owner_too_large_is_not_followed() {
    let mut net = Net::new(2, |number| Config {
        slots: if number == 0 { 1 << 30 } else { 64 },
        ..config(number)
    });
    net.promote(0).unwrap();
    net.run(200);
    assert!(!net.status(1).synchronised);
    assert!(net.status(1).alarms.iter().any(|alarm| alarm.contains("more workers or flows")));
}
