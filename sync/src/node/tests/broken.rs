//! That these tests would notice if a node did wrong: each way to break it, and what then comes out otherwise.

use super::net::{Net, config};
use super::replication::pair;
use crate::Mutation;
use crate::mutation;
use crate::node::Command;
use crate::records::Role;
use crate::wire::Type;

/// What a scenario shows, right and broken.
fn shows<T: PartialEq + std::fmt::Debug>(how: Mutation, scenario: fn() -> T, right: T) {
    assert_eq!(scenario(), right);
    assert_ne!(mutation::with(Some(how), scenario), right, "{how:?} goes unnoticed");
}

#[test]
fn without_heartbeats_the_last_datagram_stays_lost() {
    fn arrives() -> bool {
        let mut net = pair();
        net.filter = Box::new(|header| header.kind != Type::Data);
        net.outside(0).packet(60);
        net.run(2);
        net.filter = Box::new(|_| true);
        net.run(1_000);
        net.outside(1).table().contains_key(&60)
    }
    shows(Mutation::NoHeartbeat, arrives, true);
}

#[test]
fn an_old_owner_is_not_followed() {
    fn taken() -> bool {
        let mut net = pair();
        net.cut(1, 0);
        net.command(1, Command::Promote { force: true }).unwrap();
        net.run(10);
        net.outside(0).packet(60);
        net.run(50);
        net.outside(1).role == Role::Active && !net.outside(1).table().contains_key(&60)
    }
    shows(Mutation::OldTermAccepted, taken, true);
}

#[test]
fn a_restarted_node_takes_another_term() {
    fn terms() -> bool {
        let mut net = Net::new(1, config);
        net.promote(0).unwrap();
        let first = net.outside(0).term;
        net.crash(0);
        net.start(0);
        net.run(300);
        net.promote(0).unwrap();
        first < net.outside(0).term
    }
    shows(Mutation::ReuseTerm, terms, true);
}

#[test]
fn a_stopped_owner_holds_still() {
    fn never_forwards_late() -> bool {
        let mut net = pair();
        net.machine(0).stopped = true;
        net.run(500);
        net.promote(1).unwrap();
        net.run(500);
        // Nothing that the other says comes through for a moment.
        net.cut(1, 0);
        net.machine(0).inbox.clear();
        net.machine(0).stopped = false;
        net.run(10);
        let now = net.now;
        net.outside(0).role != Role::Active || net.outside(0).lease < now
    }
    shows(Mutation::LeaseWithoutHearing, never_forwards_late, true);
}

#[test]
fn a_deferred_packet_waits() {
    fn waits() -> bool {
        let mut net = pair();
        net.outside(1).pause(true);
        let id = net.outside(0).deferred(90);
        net.run(10);
        !net.outside(0).released.contains(&id)
    }
    shows(Mutation::ReleaseUnacknowledged, waits, true);
}

#[test]
fn synchronised_means_that_all_is_there() {
    fn honest() -> bool {
        let mut net = pair();
        net.crash(1);
        net.start(1);
        net.outside(1).pause(true);
        net.run(100);
        !net.status(1).synchronised
    }
    shows(Mutation::SynchronisedEarly, honest, true);
}

#[test]
fn an_heir_has_all_before_it_is_the_owner() {
    fn complete() -> bool {
        let mut net = pair();
        net.outside(1).pause(true);
        net.outside(0).packet(70);
        net.command(0, Command::Demote).unwrap();
        net.run(20);
        net.outside(1).role != Role::Active || net.outside(1).table().contains_key(&70)
    }
    shows(Mutation::SkipBarrier, complete, true);
}
