//! Promotions, terms, fencing, takeovers by silence, and nodes that were stopped.

use super::net::{Net, by_silence, config, node_id};
use super::replication::pair;
use crate::ids::Term;
use crate::node::config::MS;
use crate::node::{Command, Config, Refused};
use crate::records::Role;
use crate::wire::Type;

fn promote_anyway(net: &mut Net, number: u8) {
    net.command(number, Command::Promote { force: true }).unwrap();
}

/// The owner is silent for longer than one that lives.
fn silent(net: &mut Net) {
    net.run(31);
}

#[test]
fn nobody_is_the_owner_until_told() {
    let mut net = Net::new(2, config);
    net.run(10_000);
    for number in [0, 1] {
        let status = net.status(number);
        assert_eq!((status.role, status.owner, status.term), (Role::Standby, None, Term(0)));
    }
    net.promote(1).unwrap();
    net.promote(1).unwrap();
    assert_eq!(net.outside(1).role, Role::Active);
    net.run(5);
    let status = net.status(0);
    assert_eq!((status.owner, status.term), (Some(node_id(1)), Term(1)));
}

#[test]
fn a_node_that_starts_listens_first() {
    let mut net = Net::dark(2, config);
    net.start(0);
    assert_eq!(net.promote(0), Err(Refused::Listening));
    net.run(251);
    net.promote(0).unwrap();
    net.start(1);
    net.run(251);
    assert!(net.status(1).synchronised, "soon");
    net.promote(1).unwrap();
    net.run(10);
    assert_eq!((net.outside(0).role, net.outside(1).role), (Role::Redirecting, Role::Active));
}

#[test]
fn terms_are_on_disk_before_they_are_needed() {
    let mut net = pair();
    assert_eq!(
        net.outside(0).saved.reserved,
        Term(3),
        "its own, the next, which it may grant, and one more"
    );
    assert_eq!(net.outside(1).saved.reserved, Term(2));
    net.crash(0);
    silent(&mut net);
    let saves = net.outside(1).saves;
    net.outside(1).disk_works = false;
    net.promote(1).unwrap();
    assert_eq!(net.outside(1).role, Role::Active);
    assert_eq!((net.outside(1).term, net.outside(1).saves), (Term(2), saves));
    net.run(3_000);
    assert!(net.status(1).alarms.iter().any(|alarm| alarm.contains("could not be saved")));
    net.outside(1).disk_works = true;
    net.run(30);
    assert_eq!(net.outside(1).saved.reserved, Term(4));
}

#[test]
fn a_term_is_not_taken_twice_by_one_node() {
    let mut net = Net::new(1, config);
    net.promote(0).unwrap();
    let mut last = net.outside(0).term;
    for _ in 0..3 {
        net.crash(0);
        net.start(0);
        net.run(300);
        net.promote(0).unwrap();
        assert!(net.outside(0).term > last);
        last = net.outside(0).term;
    }
}

#[test]
fn the_first_term_needs_the_disk() {
    let mut net = Net::dark(1, config);
    net.start(0);
    net.outside(0).disk_works = false;
    net.run(300);
    assert_eq!(net.promote(0), Err(Refused::NotSaved));
    assert_eq!(net.outside(0).role, Role::Standby);
    promote_anyway(&mut net, 0);
    assert_eq!(net.outside(0).role, Role::Active);
}

#[test]
fn an_unsynchronised_node_is_refused_for_a_time() {
    let mut net = pair();
    net.outside(1).pause(true);
    net.command(1, Command::Resync).unwrap();
    net.run(100);
    let refused = net.promote(1);
    assert_eq!(refused, Err(Refused::Unsynchronised { peer: node_id(0), seconds: 10 }));
    assert!(refused.unwrap_err().to_string().contains("--force"));
    net.run(9_000);
    assert_eq!(net.promote(1), Err(Refused::Unsynchronised { peer: node_id(0), seconds: 1 }));
    net.run(1_001);
    net.promote(1).unwrap();
    assert_eq!(net.outside(1).role, Role::Active);
}

#[test]
fn an_unsynchronised_node_is_promoted_when_no_other_lives_or_by_force() {
    let mut net = pair();
    net.outside(1).pause(true);
    net.command(1, Command::Resync).unwrap();
    net.run(10);
    promote_anyway(&mut net, 1);
    assert_eq!(net.outside(1).term, Term(2));

    let mut net = pair();
    net.outside(1).pause(true);
    net.command(1, Command::Resync).unwrap();
    net.run(10);
    net.crash(0);
    net.run(400);
    net.promote(1).unwrap();
}

#[test]
fn after_a_takeover_all_flows_live_on_here_and_there() {
    let mut net = pair();
    let table = net.outside(0).table();
    net.crash(0);
    silent(&mut net);
    net.promote(1).unwrap();
    assert_eq!(net.outside(1).role, Role::Active, "at once");
    assert_eq!(net.outside(1).handed_over, None, "what it received may have been forwarded");
    assert_eq!(net.outside(1).table(), table);
    net.outside(1).packet(100);
    net.run(500);
    net.start(0);
    net.run(1_000);
    let table = net.outside(1).table();
    assert_eq!(table.len(), 41);
    assert_eq!(net.outside(0).table(), table);
    assert!(net.status(0).synchronised);
    // And back again.
    net.promote(0).unwrap();
    net.run(500);
    assert_eq!((net.outside(0).role, net.outside(1).role), (Role::Active, Role::Redirecting));
    net.outside(0).end(5);
    net.run(500);
    let table = net.outside(0).table();
    assert_eq!(table.len(), 40);
    assert_eq!(net.outside(1).table(), table);
    assert!(net.status(1).synchronised);
}

#[test]
fn other_standbys_follow_the_new_owner() {
    let mut net = Net::new(3, config);
    net.promote(0).unwrap();
    for flow in 1..=10 {
        net.outside(0).packet(flow);
    }
    net.run(500);
    net.crash(0);
    silent(&mut net);
    net.promote(2).unwrap();
    net.outside(2).end(4);
    net.run(500);
    let table = net.outside(2).table();
    assert_eq!(table.len(), 9);
    assert_eq!(net.outside(1).table(), table);
    assert_eq!(net.status(1).owner, Some(node_id(2)));
    assert!(net.status(1).synchronised);
}

#[test]
fn a_cut_owner_steps_down_when_it_hears_of_another() {
    let mut net = pair();
    net.cut(0, 1);
    net.cut(1, 0);
    net.run(500);
    net.promote(1).unwrap();
    net.outside(0).packet(50);
    net.outside(1).packet(51);
    net.run(500);
    assert_eq!((net.outside(0).role, net.outside(1).role), (Role::Active, Role::Active));
    assert_eq!((net.outside(0).term, net.outside(1).term), (Term(1), Term(2)));
    net.mend();
    net.run(110);
    assert_eq!((net.outside(0).role, net.outside(1).role), (Role::Standby, Role::Active));
    net.run(1_000);
    let table = net.outside(1).table();
    assert!(table.contains_key(&51) && !table.contains_key(&50));
    assert_eq!(net.outside(0).table(), table);
    assert!(net.counter(0, "stepped_down") == 1);
}

#[test]
fn the_greater_node_wins_at_the_same_term() {
    let mut net = Net::new(3, config);
    net.cut(0, 1);
    net.cut(1, 0);
    net.promote(0).unwrap();
    net.promote(1).unwrap();
    assert_eq!((net.outside(0).term, net.outside(1).term), (Term(1), Term(1)));
    net.run(300);
    assert_eq!(net.status(2).owner, Some(node_id(1)));
    net.mend();
    net.run(300);
    assert_eq!((net.outside(0).role, net.outside(1).role), (Role::Standby, Role::Active));
}

#[test]
fn a_lower_term_is_answered_and_not_taken() {
    let mut net = pair();
    net.cut(1, 0);
    net.run(10);
    promote_anyway(&mut net, 1);
    net.run(10);
    // The first node does not know: it goes on, and its changes are dropped.
    net.outside(0).packet(60);
    net.run(20);
    assert!(!net.outside(1).table().contains_key(&60));
    assert!(net.counter(1, "fenced") > 0);
    let told = net.counter(1, "lower_terms");
    assert!((1..=4).contains(&told), "answers are few: {told}");
    net.mend();
    net.run(12);
    assert_eq!(net.outside(0).role, Role::Standby, "told by an answer, not by the next HELLO");
}

#[test]
fn a_stopped_owner_forwards_nothing_before_it_has_listened() {
    let mut net = pair();
    net.machine(0).stopped = true;
    net.run(500);
    net.promote(1).unwrap();
    net.run(500);
    let lease = net.outside(0).lease;
    assert!(lease < net.now);
    net.machine(0).stopped = false;
    net.run(60);
    assert_eq!(net.outside(0).role, Role::Standby);
    assert_eq!(net.counter(0, "stops"), 1);
    // It renews as a standby, which forwards nothing.
    let now = net.now;
    assert!(net.outside(0).lease > now);
    assert!(net.outside(0).alarms.iter().any(|alarm| alarm.contains("lease_ms")));
}

#[test]
fn what_lay_in_the_socket_of_a_stopped_owner_is_no_news() {
    let mut net = pair();
    net.machine(0).stopped = true;
    net.run(300);
    // Its socket's buffer is full: what is in it is older than the takeover.
    net.cut(1, 0);
    net.run(200);
    net.promote(1).unwrap();
    net.run(500);
    net.mend();
    net.machine(0).stopped = false;
    let lease = net.outside(0).lease;
    net.until(60, |net| net.outside(0).lease > lease);
    assert_eq!(net.outside(0).role, Role::Standby);
}

#[test]
fn a_stopped_owner_without_a_successor_goes_on_soon() {
    let mut net = pair();
    net.machine(0).stopped = true;
    net.run(200);
    net.machine(0).stopped = false;
    let lease = net.outside(0).lease;
    net.pass();
    assert_eq!(net.outside(0).lease, lease, "not before the sockets are read");
    let took = net.until(60, |net| net.outside(0).lease > lease);
    assert!(took <= 50 * MS);
    assert_eq!(net.outside(0).role, Role::Active);
    // Alone: it waits its time for the peer, and no longer.
    net.crash(1);
    net.machine(0).stopped = true;
    net.run(100);
    net.machine(0).stopped = false;
    let lease = net.outside(0).lease;
    let took = net.until(60, |net| net.outside(0).lease > lease);
    assert!((50 * MS..=51 * MS).contains(&took), "{took}");
}

#[test]
fn by_silence_the_lowest_takes_over() {
    let mut net = Net::new(3, by_silence);
    net.run(500);
    assert_eq!(net.outside(0).role, Role::Active, "nobody was the owner: the lowest");
    net.outside(0).packet(1);
    net.run(500);
    net.crash(0);
    let took = net.until(200, |net| net.outside(1).role == Role::Active);
    assert!((80 * MS..=125 * MS).contains(&took), "{took} ns");
    net.run(300);
    assert_eq!(net.outside(2).role, Role::Standby);
    assert_eq!(net.status(2).owner, Some(node_id(1)));
    assert_eq!(net.outside(2).table().len(), 1);
}

#[test]
fn by_silence_a_goodbye_is_enough() {
    let mut net = Net::new(2, by_silence);
    net.run(500);
    // The standby is not synchronised as far as the owner knows: it cannot hand over.
    net.filter = Box::new(|header| header.kind != Type::Redirect);
    net.cut(1, 0);
    net.run(400);
    net.command(0, Command::Stop).unwrap();
    let took = net.until(50, |net| net.outside(1).role == Role::Active);
    assert!(took <= 12 * MS, "{took} ns");
    net.run(5);
    assert!(net.status(0).left);
    assert_eq!(net.outside(0).role, Role::Standby);
    assert!(net.status(1).peers[0].left);
}

#[test]
fn by_silence_a_node_without_flows_waits_longer() {
    let mut net =
        Net::new(2, |number| Config { unsynchronised_after: 2_000 * MS, ..by_silence(number) });
    net.run(500);
    net.outside(1).pause(true);
    net.command(1, Command::Resync).unwrap();
    net.run(50);
    net.crash(0);
    net.run(1_900);
    assert_eq!(net.outside(1).role, Role::Standby);
    net.run(400);
    assert_eq!(net.outside(1).role, Role::Active);
}

#[test]
fn by_silence_an_own_stop_is_not_the_owners() {
    let mut net = Net::new(2, by_silence);
    net.run(500);
    net.machine(1).stopped = true;
    net.run(5_000);
    net.machine(1).stopped = false;
    net.run(1_000);
    assert_eq!((net.outside(0).role, net.outside(1).role), (Role::Active, Role::Standby));
    assert_eq!(net.status(0).term, Term(1));
}

#[test]
fn an_owner_that_comes_back_empty_does_not_take_the_flows_with_it() {
    let mut net = pair();
    net.crash(0);
    net.start(0);
    net.run(300);
    assert!(net.status(1).synchronised);
    assert_eq!(net.promote(0), Err(Refused::Unsynchronised { peer: node_id(1), seconds: 10 }));
    net.promote(1).unwrap();
    net.run(500);
    assert_eq!(net.outside(0).table().len(), 40);
    assert!(net.status(0).synchronised);
}
