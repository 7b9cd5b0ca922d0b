//! Random commands, cuts, crashes, stops and losses; then calm, in which all has to come right.

use super::net::{Net, by_silence, config};
use crate::node::{Command, Config};
use crate::records::Role;

const NODES: u8 = 3;

fn active(net: &mut Net) -> Vec<u8> {
    (0..NODES).filter(|number| is_active(net, *number)).collect()
}

fn is_active(net: &mut Net, number: u8) -> bool {
    let machine = net.machines[usize::from(number)].as_ref();
    machine.is_some_and(|machine| machine.outside.role == Role::Active)
}

fn one_run(seed: u64, config: fn(u8) -> Config) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut net = Net::new(NODES, config);
    net.promote(0).unwrap();
    let loss = random.u8(0..40);
    let mut chance = random.fork();
    net.filter = Box::new(move |_| chance.u8(0..100) >= loss);
    for _ in 0..40 {
        let number = random.u8(0..NODES);
        let up = net.machines[usize::from(number)].is_some();
        match random.u8(0..20) {
            0 if up => net.crash(number),
            0 | 1 if !up => net.start(number),
            2 if up => drop(net.promote(number)),
            3 if up => drop(net.command(number, Command::Promote { force: true })),
            4 if up => drop(net.command(number, Command::Demote)),
            5 => net.cut(number, (number + random.u8(1..NODES)) % NODES),
            6 | 7 => net.mend(),
            8 if up => net.machine(number).stopped ^= true,
            9 if up => net.outside(number).pause(random.bool()),
            10 if up => drop(net.command(number, Command::Resync)),
            _ => {
                for number in active(&mut net) {
                    for _ in 0..3 {
                        let flow = random.u32(1..30);
                        if random.bool() || !net.outside(number).table().contains_key(&flow) {
                            net.outside(number).packet(flow);
                        } else {
                            net.outside(number).end(flow);
                        }
                    }
                }
            }
        }
        net.run(random.u64(1..120));
    }
    net.mend();
    net.filter = Box::new(|_| true);
    for number in 0..NODES {
        match &mut net.machines[usize::from(number)] {
            Some(machine) => {
                machine.stopped = false;
                machine.outside.pause(false);
            }
            None => net.start(number),
        }
    }
    net.run(1_000);
    if active(&mut net).is_empty() {
        let _ = net.command(0, Command::Promote { force: true });
    }
    net.run(3_000);
    let owners = active(&mut net);
    assert_eq!(owners.len(), 1, "seed {seed}: {owners:?}");
    let table = net.outside(owners[0]).table();
    for number in 0..NODES {
        let status = net.status(number);
        assert!(status.synchronised, "seed {seed}: {status:#?}");
        assert_eq!(status.owner.map(|owner| owner.get()), Some(owners[0]), "seed {seed}");
        assert_eq!(net.outside(number).table(), table, "seed {seed}, node {number}");
    }
}

#[test]
fn all_comes_right_when_told() {
    for seed in 0..5 {
        one_run(seed, config);
    }
}

#[test]
fn all_comes_right_by_silence() {
    for seed in 100..105 {
        one_run(seed, by_silence);
    }
}
