//! What a turn says, serves, and leaves for the next.

use super::*;

/// The causes that a ring has, in order.
fn causes(heard: &mut Heard) -> Vec<Cause> {
    let mut causes = Vec::new();
    while let Some(message) = heard.next() {
        match message {
            Outbound::Record { cause, .. } => causes.push(cause),
            other => panic!("{other:?}"),
        }
    }
    causes
}

#[test]
fn each_record_says_why() {
    let mut worker = Worker::new(1, 64, Role::Active, 1 << 14);
    let slot = worker.begin(1).unwrap();
    worker.turn();
    worker.shard.set_mark(slot, 1);
    worker.turn();
    let waits = worker.begin(2).unwrap();
    let id = worker.replica.export_now(&mut worker.shard, &(), waits, worker.now).unwrap();
    worker.turn();
    worker.shard.kill(slot, worker.now);
    worker.turn();
    let expected = [Cause::New, Cause::Change, Cause::Deferred, Cause::End];
    assert_eq!(causes(&mut worker.ends.urgent), expected);
    assert_eq!(causes(&mut worker.ends.lazy), []);
    let slots = [waits.0].into_iter().collect();
    worker.ends.inbound.tell(&Inbound::Export { token: 1, slots }).unwrap();
    worker.ends.inbound.tell(&Inbound::Release { id }).unwrap();
    // Of a flow that was there before.
    let generation = Generation::new(id.generation().get() + 1);
    let gone = FlowId::new(id.node(), id.lane(), id.slot(), generation);
    worker.ends.inbound.tell(&Inbound::Release { id: gone }).unwrap();
    worker.turn();
    assert_eq!((worker.replica.released(), worker.replica.released()), (Some(waits), None));
    let Some(Outbound::Record { cause: Cause::Repair, .. }) = worker.ends.lazy.next() else {
        panic!("not repaired")
    };
    let marked = worker.ends.lazy.next();
    assert_eq!(marked, Some(Outbound::Mark { token: 1, next: u32::MAX }));
    assert_eq!(worker.replica.counters().said, [1, 1, 1, 0, 1, 0, 1]);
}

#[test]
fn a_flow_that_lives_on_is_said_lazily() {
    let mut worker = Worker::new(1, 64, Role::Active, 1 << 14);
    let slot = worker.begin(1).unwrap();
    for _ in 0..40 {
        worker.now.0 += 1_000_000_000;
        worker.shard.refresh(slot, 30, worker.now);
        worker.shard.expire(worker.now, 100);
        worker.turn();
    }
    assert_eq!(causes(&mut worker.ends.urgent), [Cause::New]);
    let refreshed = causes(&mut worker.ends.lazy);
    assert!((3..=8).contains(&refreshed.len()), "{refreshed:?}");
    assert!(refreshed.iter().all(|cause| *cause == Cause::Refresh));
}

#[test]
fn a_bulk_says_all_in_pieces_and_says_where_to_go_on() {
    let mut worker = Worker::new(1, 5000, Role::Active, 1 << 16);
    (0..3000).for_each(|number| {
        worker.begin(number);
    });
    let mut listener = Listener::default();
    settle(&mut worker, &mut listener);
    let before = listener.heard;
    let (mut from, mut pieces) = (0, 0);
    while from != u32::MAX {
        worker.ends.inbound.tell(&Inbound::Bulk { token: 5, from, count: 1024 }).unwrap();
        settle(&mut worker, &mut listener);
        let (token, next) = listener.marks.pop().unwrap();
        assert_eq!(token, 5);
        (from, pieces) = (next, pieces + 1);
    }
    assert_eq!((pieces, listener.heard - before), (3, 3000));
}

#[test]
fn who_does_not_own_the_flows_says_nothing_of_them_and_answers() {
    let mut worker = Worker::new(1, 64, Role::Active, 1 << 14);
    worker.begin(1).unwrap();
    for role in [Role::Standby, Role::Redirecting, Role::Passive] {
        worker.become_role(role);
        while worker.ends.urgent.next().is_some() {}
        let tell = |worker: &mut Worker, message| worker.ends.inbound.tell(&message).unwrap();
        tell(&mut worker, Inbound::Flush { token: 1 });
        tell(&mut worker, Inbound::Bulk { token: 2, from: 0, count: 9 });
        let slots = [0].into_iter().collect();
        tell(&mut worker, Inbound::Export { token: 3, slots });
        let slot = worker.begin(5).unwrap();
        worker.shard.kill(slot, worker.now);
        worker.turn();
        let mark = |token| Some(Outbound::Mark { token, next: u32::MAX });
        assert_eq!(worker.ends.urgent.next(), mark(1));
        assert_eq!(worker.ends.urgent.next(), None);
        assert_eq!(worker.ends.lazy.next(), mark(2));
        assert_eq!(worker.ends.lazy.next(), mark(3));
        assert_eq!(worker.ends.lazy.next(), None);
    }
    assert!(!worker.replica.may(Tick(0)).forward);
}

#[test]
fn held_it_still_says_what_changes_and_flushes_it() {
    let mut worker = Worker::new(1, 64, Role::Active, 1 << 14);
    let slot = worker.begin(1).unwrap();
    worker.turn();
    worker.become_role(Role::Held);
    worker.shard.set_mark(slot, 4);
    worker.ends.inbound.tell(&Inbound::Flush { token: 9 }).unwrap();
    worker.turn();
    let mut listener = Listener::default();
    listener.hear_some(&mut worker.ends, 10, 10);
    listener.check(&worker.shard);
    assert_eq!(listener.marks, [(9, u32::MAX)]);
}

#[test]
fn what_cannot_be_applied_is_said() {
    let mut owner = Worker::new(1, 4, Role::Active, 1 << 14);
    let mut standby = Worker::new(2, 1, Role::Standby, 1 << 14);
    for number in 1..=2 {
        let slot = owner.begin(number).unwrap();
        owner.shard.set_status(slot, Status::ASSURED);
        owner.turn();
        owner.shard.set_mark(slot, 1);
        owner.turn();
    }
    let mut answers = Vec::new();
    let mut told = Vec::new();
    while let Some(Outbound::Record { bytes, slot, .. }) = owner.ends.urgent.next() {
        let acknowledge = slot == 0;
        let apply = Inbound::Apply { stamp: 1, order: 0, acknowledge, bytes };
        standby.ends.inbound.tell(&apply).unwrap();
        told.push(wire::flow_id(bytes).unwrap());
        standby.turn();
        while let Some(answer) = standby.ends.urgent.next() {
            answers.push(match answer {
                Outbound::Applied { id, version } => (id, version),
                Outbound::Refused { id } => (id, 0),
                other => panic!("{other:?}"),
            });
        }
    }
    let [first, _, second, _] = told[..] else { panic!("{told:?}") };
    // What is new of a flow that was refused is not refused once more.
    assert_eq!(answers, [(first, 1), (first, 2), (second, 0)]);
    let counters = standby.replica.counters();
    assert_eq!((counters.applied, counters.refused, counters.malformed), (2, 1, 0));
    standby
        .ends
        .inbound
        .tell(&Inbound::Apply { stamp: 1, order: 0, acknowledge: true, bytes: &[9] })
        .unwrap();
    standby.turn();
    assert_eq!(standby.replica.counters().malformed, 1);
}

#[test]
fn requests_are_bounded_and_none_is_lost() {
    let mut worker = Worker::new(1, 64, Role::Active, 1 << 16);
    worker.begin(1).unwrap();
    let mut asked = 0;
    for token in 0..1000 {
        let slots = [0].into_iter().collect();
        asked += u64::from(worker.ends.inbound.tell(&Inbound::Export { token, slots }).is_ok());
        assert!(worker.replica.requests.len() <= serve::REQUESTS);
    }
    let mut listener = Listener::default();
    settle(&mut worker, &mut listener);
    assert_eq!(listener.marks.len() as u64, asked);
    assert_eq!(asked, 1000);
}

#[test]
fn a_turn_is_bounded_and_a_worker_that_has_nothing_to_do_rests() {
    let mut worker = Worker::new(1, 20_000, Role::Active, 1 << 20);
    for number in 0..20_000 {
        worker.begin(number);
    }
    assert_eq!(worker.turn(), 256);
    while worker.turn() > 0 {}
    assert!(worker.replica.wakes() == worker.standing.must_ring());
    assert_eq!(worker.turn(), 0);
}

#[test]
fn the_sync_thread_is_woken_once_for_what_was_pushed() {
    let mut worker = Worker::new(1, 64, Role::Active, 1 << 14);
    worker.begin(1).unwrap();
    worker.turn();
    assert!(!worker.replica.wakes(), "it is awake");
    worker.begin(2).unwrap();
    assert!(worker.standing.may_sleep(|| true));
    worker.turn();
    assert!(worker.replica.wakes());
    assert!(!worker.replica.wakes());
    assert!(!worker.standing.may_sleep(|| worker.ends.urgent.is_empty()));
}

#[test]
fn what_was_on_its_way_at_a_promotion_is_the_new_owners_to_say() {
    let mut owner = Worker::new(1, 64, Role::Active, 1 << 14);
    let mut standby = Worker::new(2, 64, Role::Standby, 1 << 14);
    let say = |owner: &mut Worker, standby: &mut Worker| {
        owner.turn();
        while let Some(Outbound::Record { bytes, .. }) = owner.ends.urgent.next() {
            let apply = Inbound::Apply { stamp: 1, order: 0, acknowledge: false, bytes };
            standby.ends.inbound.tell(&apply).unwrap();
        }
    };
    let known = owner.begin(1).unwrap();
    let gone = owner.begin(2).unwrap();
    say(&mut owner, &mut standby);
    standby.turn();
    // It has said nothing of these yet when these come, after it took over.
    owner.begin(3).unwrap();
    owner.shard.set_timeout(known, 400, owner.now);
    owner.shard.kill(gone, owner.now);
    say(&mut owner, &mut standby);
    standby.standing.set(Role::Active, Term(2), None);
    let mut listener = Listener::default();
    settle(&mut standby, &mut listener);
    let said: Vec<_> =
        listener.slots.values().filter_map(|(_, _, flow)| Some(flow.as_ref()?.0.keys[0])).collect();
    assert!(said.contains(&key(3)) && said.contains(&key(1)), "{said:?}");
    assert_eq!(standby.shard.stats().count, 2);
    // And they age.
    let later = Tick(standby.now.0 + 500_000_000_000);
    standby.shard.expire(later, 1000);
    assert_eq!(standby.shard.stats().count, 0);
}

#[test]
fn nothing_is_allocated_in_a_turn() {
    let mut worker = Worker::new(1, 1000, Role::Active, 1 << 16);
    let mut standby = Worker::new(2, 1000, Role::Standby, 1 << 16);
    let round = |worker: &mut Worker, standby: &mut Worker, order| {
        for number in 0..200 {
            worker.begin(number);
        }
        for number in (0..200).step_by(3) {
            let slot = worker.find(number).unwrap();
            worker.shard.set_mark(slot, order);
        }
        let slots = (0..5).collect();
        worker.ends.inbound.tell(&Inbound::Export { token: 1, slots }).unwrap();
        worker.ends.inbound.tell(&Inbound::Bulk { token: 1, from: 0, count: 1000 }).unwrap();
        worker.ends.inbound.tell(&Inbound::Flush { token: 1 }).unwrap();
        let mut said = 0;
        for _ in 0..50 {
            worker.turn();
            for heard in [&mut worker.ends.urgent, &mut worker.ends.lazy] {
                while let Some(message) = heard.next() {
                    if let Outbound::Record { bytes, .. } = message {
                        let apply = Inbound::Apply { stamp: 1, order, acknowledge: true, bytes };
                        standby.ends.inbound.tell(&apply).unwrap();
                        said += 1;
                    }
                }
            }
            standby.turn();
            while standby.ends.urgent.next().is_some() {}
        }
        standby.ends.inbound.tell(&Inbound::Sweep { stamp: 1 }).unwrap();
        standby.turn();
        for number in 0..200 {
            if let Some(slot) = worker.find(number) {
                worker.shard.kill(slot, worker.now);
            }
        }
        said
    };
    round(&mut worker, &mut standby, 1);
    let mut said = 0;
    let info = allocation_counter::measure(|| said = round(&mut worker, &mut standby, 2));
    assert!(said > 400, "{said}");
    assert_eq!(info.count_total, 0);
    assert!(standby.shard.import_counts().imported >= 200);
}
