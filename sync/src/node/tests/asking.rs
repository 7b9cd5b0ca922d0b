//! Promotions beside an owner that lives: it is asked to hand over.

use std::cell::Cell;
use std::rc::Rc;

use super::net::{Net, config, node_id};
use super::replication::pair;
use crate::ids::Term;
use crate::node::config::MS;
use crate::node::{Command, Refused};
use crate::records::Role;
use crate::wire::Type;

/// Until the second node is active, and never beside the first; how long that took, in nanoseconds.
fn taken(net: &mut Net) -> u64 {
    net.until(50, |net| {
        let both = [0, 1].map(|number| net.outside(number).role);
        assert_ne!(both, [Role::Active; 2]);
        both[1] == Role::Active
    })
}

/// How many questions, and parts of an answer, were sent.
fn redirects(net: &Net, from: u8) -> usize {
    let said = net.seen.iter().filter(|(who, ..)| *who == from);
    said.filter(|(_, _, header)| header.kind == Type::Redirect).count()
}

#[test]
fn an_owner_that_lives_hands_over_all_that_it_has() {
    let mut net = pair();
    for flow in 30..60 {
        net.outside(0).packet(flow);
    }
    let expected = net.outside(0).table();
    net.promote(1).unwrap();
    assert_eq!(net.outside(1).role, Role::Standby, "not before it has all");
    assert!(net.status(1).asking);
    let took = taken(&mut net);
    assert!(took <= 5 * MS, "{took} ns");
    assert_eq!(net.outside(1).handed_over, Some(Role::Standby));
    assert_eq!(net.outside(1).table(), expected);
    net.run(100);
    assert_eq!((net.outside(0).role, net.outside(1).term), (Role::Redirecting, Term(2)));
    let counted = ["stepped_down", "fenced", "switchovers"].map(|name| net.counter(0, name));
    assert_eq!(counted, [0, 0, 1]);
    assert_eq!((net.counter(1, "fenced"), net.counter(1, "handovers_asked")), (0, 1));
    assert!(!net.status(1).asking);

    // A node that still passes packets on is an heir like others.
    net.until(500, |net| net.status(0).synchronised && net.status(1).peers[0].synchronised);
    net.promote(0).unwrap();
    net.run(10);
    assert_eq!((net.outside(0).role, net.outside(1).role), (Role::Active, Role::Redirecting));
    assert_eq!((net.outside(0).term, net.outside(0).table()), (Term(3), expected));
    assert_eq!(net.counter(1, "stepped_down"), 0);
}

#[test]
fn an_owner_that_is_silent_is_not_asked() {
    let mut net = pair();
    net.crash(0);
    net.run(31);
    net.seen.clear();
    net.promote(1).unwrap();
    assert_eq!((net.outside(1).role, net.outside(1).term), (Role::Active, Term(2)));
    assert_eq!((redirects(&net, 1), net.counter(1, "handovers_asked")), (0, 0));
}

#[test]
fn nor_is_it_by_force() {
    let mut net = pair();
    net.command(1, Command::Promote { force: true }).unwrap();
    assert_eq!((net.outside(1).role, net.outside(1).term), (Role::Active, Term(2)));
    net.run(10);
    assert_eq!((net.outside(0).role, net.counter(0, "stepped_down")), (Role::Standby, 1));

    // What is asked for may be taken, too.
    let mut net = pair();
    net.cut(1, 0);
    net.promote(1).unwrap();
    net.command(1, Command::Promote { force: true }).unwrap();
    assert_eq!((net.outside(1).role, net.status(1).asking), (Role::Active, false));
}

#[test]
fn a_question_that_is_lost_is_asked_again() {
    let mut net = pair();
    let asked = Rc::new(Cell::new(0));
    let count = asked.clone();
    net.filter = Box::new(move |header| {
        let first = header.kind == Type::Redirect && header.node == node_id(1) && count.get() < 3;
        count.set(count.get() + u32::from(first));
        !first
    });
    net.promote(1).unwrap();
    let took = taken(&mut net);
    assert!((6 * MS..=10 * MS).contains(&took), "{took} ns");
    assert_eq!(asked.get(), 3);
    net.run(5);
    assert_eq!(net.counter(0, "stepped_down"), 0);
}

#[test]
fn an_owner_that_does_not_answer_is_outbid() {
    let mut net = pair();
    net.cut(1, 0);
    net.seen.clear();
    net.promote(1).unwrap();
    net.run(20);
    // Told again, it does not begin to wait anew.
    net.promote(1).unwrap();
    let took = net.until(50, |net| net.outside(1).role == Role::Active);
    assert!((9 * MS..=11 * MS).contains(&took), "{took} ns");
    assert_eq!((net.outside(1).term, net.outside(1).handed_over), (Term(2), None));
    assert_eq!((redirects(&net, 1), net.counter(1, "handovers_asked")), (15, 1));
    net.mend();
    net.run(200);
    assert_eq!((net.outside(0).role, net.counter(0, "stepped_down")), (Role::Standby, 1));
}

#[test]
fn so_is_one_that_hands_over_too_slowly() {
    let mut net = pair();
    net.outside(0).pause(true);
    net.promote(1).unwrap();
    net.run(25);
    assert_eq!(net.outside(0).role, Role::Held);
    net.run(10);
    assert_eq!((net.outside(1).role, net.outside(1).term), (Role::Active, Term(2)));
    assert_eq!(net.outside(0).role, Role::Redirecting);
}

#[test]
fn an_owner_that_leaves_is_not_waited_for() {
    let mut net = pair();
    // It cannot hand over, and says goodbye.
    net.filter = Box::new(|header| header.kind != Type::Redirect);
    net.cut(1, 0);
    net.run(400);
    net.promote(1).unwrap();
    net.command(0, Command::Stop).unwrap();
    let took = net.until(50, |net| net.outside(1).role == Role::Active);
    assert!(took <= MS, "{took} ns");
}

#[test]
fn an_owner_does_not_hand_over_to_a_node_that_lacks_flows() {
    let mut net = pair();
    net.outside(1).pause(true);
    net.command(1, Command::Resync).unwrap();
    net.run(10);
    assert!(!net.status(1).synchronised);
    net.run(10_001);
    let _ = net.promote(1);
    net.run(10_001);
    net.seen.clear();
    net.promote(1).unwrap();
    assert_eq!((net.outside(1).role, redirects(&net, 1)), (Role::Active, 0), "it does not ask");
}

#[test]
fn a_late_question_is_not_answered() {
    let mut net = pair();
    net.promote(1).unwrap();
    // Its first question comes twice: once more after the group went there and back.
    let late = net.machine(0).inbox.back().unwrap().1.clone();
    net.machine(0).inbox.clear();
    net.run(10);
    assert_eq!(net.outside(1).role, Role::Active);
    net.until(500, |net| net.status(0).synchronised && net.status(1).peers[0].synchronised);
    net.promote(0).unwrap();
    net.run(10);
    assert_eq!(net.outside(0).role, Role::Active);
    net.until(500, |net| net.status(1).synchronised && net.status(0).peers[0].synchronised);
    let heard = net.counter(0, "redirects");
    let now = net.now;
    net.machine(0).inbox.push_back((now, late));
    net.run(1);
    assert_eq!(net.counter(0, "redirects"), heard + 1, "it came");
    assert_eq!(net.outside(0).role, Role::Active);
}

#[test]
fn a_node_that_is_to_stand_by_asks_no_more() {
    let mut net = pair();
    net.cut(1, 0);
    net.promote(1).unwrap();
    assert_eq!(net.command(1, Command::Demote), Err(Refused::Granting));
    assert_eq!(net.command(1, Command::Demote), Ok(()), "there is nothing left to do");
    net.run(50);
    assert_eq!((net.outside(0).role, net.outside(1).role), (Role::Active, Role::Standby));

    // Its question was heard: it gets the group, and has to hand it back.
    let mut net = pair();
    net.outside(0).pause(true);
    net.promote(1).unwrap();
    net.run(2);
    for _ in 0..2 {
        assert_eq!(net.command(1, Command::Demote), Err(Refused::Granting));
    }
    net.outside(0).pause(false);
    net.run(10);
    assert_eq!(net.outside(1).role, Role::Active);
    net.until(500, |net| net.command(1, Command::Demote).is_ok());
    net.run(10);
    assert_eq!((net.outside(0).role, net.outside(1).role), (Role::Active, Role::Redirecting));
}

#[test]
fn whoever_stops_or_follows_another_asks_no_more() {
    let mut net = Net::new(3, config);
    net.promote(0).unwrap();
    net.run(500);
    net.cut(1, 0);
    net.promote(1).unwrap();
    net.run(5);
    net.command(2, Command::Promote { force: true }).unwrap();
    net.run(1);
    assert!(!net.status(1).asking);
    net.run(100);
    assert_eq!(
        [0, 1, 2].map(|number| net.outside(number).role),
        [Role::Standby, Role::Standby, Role::Active]
    );

    let mut net = pair();
    net.cut(1, 0);
    net.promote(1).unwrap();
    net.command(1, Command::Stop).unwrap();
    net.run(50);
    assert_eq!((net.outside(0).role, net.outside(1).role), (Role::Active, Role::Standby));
}
