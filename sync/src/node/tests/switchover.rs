//! Planned switchovers, and stopping.

use super::net::{Net, config, node_id};
use super::replication::pair;
use crate::ids::Term;
use crate::node::config::MS;
use crate::node::{Command, Refused};
use crate::records::Role;
use crate::wire::Type;

fn forwarders(net: &mut Net) -> usize {
    let count = net.machines.len() as u8;
    (0..count).filter(|number| net.outside(*number).role == Role::Active).count()
}

#[test]
fn a_switchover_loses_nothing_and_never_has_two() {
    let mut net = pair();
    for flow in 30..60 {
        net.outside(0).packet(flow);
    }
    let expected = net.outside(0).table();
    net.command(0, Command::Demote).unwrap();
    assert_eq!(net.outside(0).role, Role::Held);
    assert_eq!(net.status(0).handing_over, Some(node_id(1)));
    let took = net.until(200, |net| {
        assert!(forwarders(net) <= 1);
        net.outside(1).role == Role::Active
    });
    assert!(took <= 5 * MS, "{took} ns");
    assert_eq!(net.outside(1).handed_over, Some(Role::Standby), "told before it is active");
    assert_eq!(net.outside(1).table(), expected);
    net.run(2);
    assert_eq!((net.outside(0).role, net.outside(1).term), (Role::Redirecting, Term(2)));
    net.run(4_900);
    assert_eq!(net.outside(0).role, Role::Redirecting);
    net.run(200);
    assert_eq!(net.outside(0).role, Role::Standby);
    let status = net.status(0);
    assert!(status.synchronised && status.handing_over.is_none());
    assert_eq!(net.outside(0).table(), expected);
    net.command(0, Command::Demote).unwrap();
    assert_eq!(net.outside(0).role, Role::Standby, "nothing to do");
}

/// The heir hears of the barrier, but of no grant: what is sent last before the switchover is there already.
fn without_grants(net: &mut Net) {
    net.filter = Box::new(|header| header.kind != Type::Redirect);
}

#[test]
fn there_must_be_an_heir() {
    let mut net = Net::new(2, config);
    net.crash(1);
    net.promote(0).unwrap();
    net.run(500);
    let refused = net.command(0, Command::Demote).unwrap_err();
    assert_eq!(refused, Refused::NoStandby);
    assert!(refused.to_string().contains("goes on as the owner"));
    assert_eq!(net.outside(0).role, Role::Active);
}

#[test]
fn packets_are_not_held_back_for_long() {
    let mut net = pair();
    net.outside(1).pause(true);
    net.outside(0).packet(70);
    net.run(5);
    net.command(0, Command::Demote).unwrap();
    let took = net.until(300, |net| net.outside(0).role == Role::Active);
    assert!((199 * MS..=202 * MS).contains(&took), "{took} ns");
    assert_eq!((net.outside(1).role, net.outside(0).term), (Role::Standby, Term(1)));
    assert_eq!(net.counter(0, "switchovers_abandoned"), 1);
    assert!(net.outside(0).alarms.iter().any(|alarm| alarm.contains("did not take over")));
    net.outside(1).pause(false);
    net.run(100);
    net.command(0, Command::Demote).unwrap();
    net.run(10);
    assert_eq!(net.outside(1).role, Role::Active);
}

#[test]
fn an_heir_that_dies_before_the_grant_is_no_loss() {
    let mut net = pair();
    net.outside(1).pause(true);
    net.outside(0).packet(3);
    net.run(5);
    net.command(0, Command::Demote).unwrap();
    net.run(5);
    net.crash(1);
    net.run(400);
    assert_eq!((net.outside(0).role, net.outside(0).term), (Role::Active, Term(1)));
}

#[test]
fn an_heir_that_dies_after_the_grant_is_outbid() {
    let mut net = pair();
    without_grants(&mut net);
    net.command(0, Command::Demote).unwrap();
    net.run(20);
    assert_eq!(net.outside(0).role, Role::Held);
    net.crash(1);
    let took = net.until(500, |net| net.outside(0).role == Role::Active);
    assert!(took <= 355 * MS, "{took}");
    assert_eq!(net.outside(0).term, Term(3), "the granted term is not its own to take");
}

/// It has none of the flows that it had when it was chosen, and what was meant for it is still being said.
#[test]
fn an_heir_that_starts_anew_after_the_grant_does_not_take_it() {
    let mut net = pair();
    let table = net.outside(0).table();
    without_grants(&mut net);
    net.command(0, Command::Demote).unwrap();
    net.run(20);
    assert_eq!(net.outside(0).role, Role::Held);
    net.crash(1);
    net.start(1);
    net.filter = Box::new(|_| true);
    let took = net.until(500, |net| {
        assert_ne!(net.outside(1).role, Role::Active);
        net.outside(0).role == Role::Active
    });
    assert!(took <= 150 * MS, "{took}");
    net.run(500);
    assert_eq!((net.outside(0).role, net.outside(0).term), (Role::Active, Term(3)));
    assert!(net.status(1).synchronised);
    assert_eq!(net.outside(1).table(), table);
}

#[test]
fn a_lost_grant_is_said_again() {
    let mut net = pair();
    without_grants(&mut net);
    net.command(0, Command::Demote).unwrap();
    net.run(100);
    assert_eq!((net.outside(0).role, net.outside(1).role), (Role::Held, Role::Standby));
    net.filter = Box::new(|_| true);
    net.run(8);
    assert_eq!((net.outside(0).role, net.outside(1).role), (Role::Redirecting, Role::Active));
}

#[test]
fn a_promotion_ends_a_switchover() {
    let mut net = pair();
    net.outside(1).pause(true);
    net.outside(0).packet(3);
    net.command(0, Command::Demote).unwrap();
    net.run(10);
    net.promote(0).unwrap();
    assert_eq!((net.outside(0).role, net.outside(0).term), (Role::Active, Term(3)));
    net.outside(1).pause(false);
    net.run(500);
    assert_eq!((net.outside(0).role, net.outside(1).role), (Role::Active, Role::Standby));
    assert!(net.status(1).synchronised);
}

#[test]
fn stopping_hands_over_first() {
    let mut net = pair();
    let table = net.outside(0).table();
    net.command(0, Command::Stop).unwrap();
    net.until(100, |net| net.status(0).left);
    assert_eq!(net.outside(1).role, Role::Active);
    assert_eq!(net.outside(1).table(), table);
    net.run(5);
    assert!(net.status(1).peers[0].left && !net.status(1).peers[0].alive);
    assert_eq!(net.promote(0), Err(Refused::Stopping));
    net.seen.clear();
    net.run(500);
    assert!(net.seen.iter().all(|(from, ..)| *from == 1), "who left is silent");
}

#[test]
fn a_standby_leaves_at_once() {
    let mut net = pair();
    net.command(1, Command::Stop).unwrap();
    net.run(3);
    assert!(net.status(1).left);
    let status = net.status(0);
    assert!(status.peers[0].left);
    assert_eq!(status.role, Role::Active);
    assert_eq!(net.command(0, Command::Demote), Err(Refused::NoStandby));
    net.crash(1);
    net.start(1);
    net.run(500);
    assert!(net.status(1).synchronised, "it is welcome again");
}

#[test]
fn the_barrier_is_asked_for_often_and_answered() {
    let mut net = pair();
    net.outside(1).pause(true);
    net.outside(0).packet(3);
    net.run(1);
    net.seen.clear();
    net.command(0, Command::Demote).unwrap();
    net.run(100);
    let asked = net
        .seen
        .iter()
        .filter(|(from, _, header)| *from == 0 && header.kind == Type::Redirect)
        .count();
    assert!((80..=110).contains(&asked), "{asked}");
}
