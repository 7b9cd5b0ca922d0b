//! Schedules by the thousand, and that each mutation of the protocol is noticed.

use std::sync::atomic::{AtomicU64, Ordering};

use super::minimise::minimise;
use super::schedule::Schedule;
use super::world::{Outcome, World};
use crate::mutation::{Mutation, with};

/// Runs a seed; a failing one is made small and printed.
fn check(seed: u64) -> Outcome {
    check_one(seed, &Schedule::new(seed))
}

fn check_one(seed: u64, schedule: &Schedule) -> Outcome {
    let outcome = World::run(schedule);
    if outcome.violation.is_some() {
        let (small, outcome) = minimise(schedule, &outcome);
        panic!(
            "seed {seed}: {:?}\n{small}\nrun it again: TWINWALL_SEED={seed} TWINWALL_SCHEDULES=1 make soak",
            outcome.violation
        );
    }
    outcome
}

fn check_all(seeds: std::ops::Range<u64>) {
    let mut sum = Outcome::default();
    for seed in seeds.clone() {
        let outcome = check(seed);
        sum.datagrams += outcome.datagrams;
        sum.forwarded += outcome.forwarded;
        sum.promotions += outcome.promotions;
        sum.handovers += outcome.handovers;
        sum.asked += outcome.asked;
        sum.steps += outcome.steps;
        sum.healed = sum.healed.max(outcome.healed);
    }
    println!("{seeds:?}: {sum:?}");
    assert!(sum.promotions > 0 && sum.forwarded > 0 && sum.handovers > 0 && sum.asked > 0);
}

macro_rules! shards {
    ($($name:ident: $range:expr;)*) => {$(
        #[test]
        fn $name() {
            check_all($range);
        }
    )*};
}

// Several tests, so that they run at the same time.
shards! {
    schedules_0: 0..250;
    schedules_1: 250..500;
    schedules_2: 500..750;
    schedules_3: 750..1000;
    schedules_4: 1000..1250;
    schedules_5: 1250..1500;
    schedules_6: 1500..1750;
    schedules_7: 1750..2000;
}

#[test]
fn crowded_schedules() {
    for seed in 0..100 {
        check_one(seed, &Schedule::crowded(seed));
    }
}

/// What standbys lost without noticing is found by digests, and comes back while all else goes on.
#[test]
fn torn_schedules() {
    let (mut torn, mut alarms, mut healed) = (0, 0, 0);
    for seed in 0..150 {
        let outcome = check_one(seed, &Schedule::torn(seed));
        torn += outcome.torn;
        alarms += outcome.alarms;
        healed = healed.max(outcome.healed);
    }
    println!("{torn} flows lost, {alarms} alarms, healed within {healed} ns");
    assert!(torn > 50 && alarms > 20, "{torn} flows lost, {alarms} alarms");
}

#[test]
fn repaired_without_doubt() {
    let broken = |seed: &u64| {
        let run = || World::run(&Schedule::torn(*seed));
        with(Some(Mutation::RepairWithoutDoubt), run).violation.is_some()
    };
    assert!((0..30).any(|seed| broken(&seed)), "nobody noticed");
}

/// What a soak found once.
#[test]
fn schedules_that_failed() {
    // A lane had gone on with its bulk, and the node called itself synchronised while another lane missed something: that it knew of,
    // and that it did not.
    check(1_001_287);
    check(1_002_339);
    // Flows did not fit into one of several workers' tables.
    check(1_003_795);
}

#[test]
fn a_seed_is_a_run() {
    for seed in 0..20 {
        let [one, other] = [0, 1].map(|_| World::run(&Schedule::new(seed)));
        assert_eq!(one.digest, other.digest, "seed {seed}");
        assert_eq!((one.steps, one.datagrams), (other.steps, other.datagrams), "seed {seed}");
    }
}

/// `make soak`: as many schedules as are asked for, on all cores.
#[test]
fn soak() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let from = number("TWINWALL_SEED").unwrap_or(0);
    let count = number("TWINWALL_SCHEDULES").unwrap_or(20);
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    let seed = from.wrapping_add(number);
                    let torn = seed % 10 == 9;
                    let schedule = if torn { Schedule::torn(seed) } else { Schedule::new(seed) };
                    check_one(seed, &schedule);
                    if number % 1000 == 999 {
                        println!("{} of {count} schedules from seed {from} on", number + 1);
                    }
                }
            });
        }
    });
}

/// How many seeds it takes until a mutation is noticed, and by which invariant.
fn notice(mutation: Mutation, seeds: u64) -> Option<(u64, &'static str)> {
    (0..seeds).find_map(|seed| {
        let crowded = seed % 2 == 1;
        let schedule = if crowded { Schedule::crowded(seed) } else { Schedule::new(seed) };
        let outcome = with(Some(mutation), || World::run(&schedule));
        outcome.violation.map(|violation| (seed, violation.invariant))
    })
}

macro_rules! mutations {
    ($($name:ident: $mutation:ident within $seeds:literal;)*) => {$(
        #[test]
        fn $name() {
            let noticed = notice(Mutation::$mutation, $seeds);
            println!("{:?}: {noticed:?}", Mutation::$mutation);
            assert!(noticed.is_some(), "nobody noticed");
        }
    )*};
}

// With twice the seeds and more that it took when this was written.
mutations! {
    without_heartbeats: NoHeartbeat within 100;
    without_tombstones: NoTombstones within 100;
    without_versions: NoVersionCheck within 100;
    with_lost_ignored: IgnoreLost within 100;
    with_an_early_sweep: SweepEarly within 300;
    with_a_number_used_twice: ReuseSeq within 100;
    with_a_full_ring_forgotten: SkipRingDrain within 300;
    with_gaps_closed_early: ResolveWithoutChain within 200;
    with_gaps_closed_without_repair: ResolveWithoutExport within 100;
    resumed_too_far: ResumeTooFar within 300;
    resumed_without_ends: ForgetEnds within 300;
    with_old_terms_heeded: OldTermAccepted within 100;
    with_a_term_used_twice: ReuseTerm within 100;
    with_ageing_on_standbys: AgeWhileHeld within 100;
    with_nothing_deferred: ReleaseUnacknowledged within 100;
    synchronised_too_early: SynchronisedEarly within 100;
    without_a_barrier: SkipBarrier within 100;
}
