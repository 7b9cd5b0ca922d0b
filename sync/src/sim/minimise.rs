//! Makes a schedule that fails as small as it gets: leaves out faults while what is left still fails.

use super::schedule::{Quality, Schedule};
use super::world::{Outcome, World};

/// Runs that one schedule is worth.
const RUNS: usize = 300;

/// A smaller schedule that breaks the same invariant, and how it does.
pub(super) fn minimise(schedule: &Schedule, outcome: &Outcome) -> (Schedule, Outcome) {
    minimise_by(schedule, outcome, &mut World::run)
}

fn minimise_by(
    schedule: &Schedule,
    outcome: &Outcome,
    run: &mut dyn FnMut(&Schedule) -> Outcome,
) -> (Schedule, Outcome) {
    let invariant = |outcome: &Outcome| outcome.violation.as_ref().map(|v| v.invariant);
    let wanted = invariant(outcome);
    let mut best = (schedule.clone(), outcome.clone());
    let mut runs = 0;
    let mut better = |candidate: Schedule, best: &mut (Schedule, Outcome)| {
        runs += 1;
        if runs > RUNS {
            return false;
        }
        let outcome = run(&candidate);
        let fails = invariant(&outcome) == wanted;
        if fails {
            *best = (candidate, outcome);
        }
        fails
    };
    // Nothing that was to happen after it failed matters.
    if let Some(at) = outcome.violation.as_ref().map(|violation| violation.at) {
        let mut candidate = best.0.clone();
        candidate.events.retain(|event| event.at <= at);
        better(candidate, &mut best);
    }
    // Faults, in halves, then quarters, down to one by one, until none can be left out.
    let mut size = best.0.events.len().div_ceil(2).max(1);
    loop {
        let mut at = 0;
        let mut smaller = false;
        while at < best.0.events.len() {
            let mut candidate = best.0.clone();
            let end = (at + size).min(candidate.events.len());
            candidate.events.drain(at..end);
            if better(candidate, &mut best) {
                smaller = true;
            } else {
                at += size;
            }
        }
        if size > 1 {
            size = size.div_ceil(2);
        } else if !smaller {
            break;
        }
    }
    // A better network, link by link and fault by fault.
    for link in 0..best.0.shape.links.len() {
        let changes: [fn(&mut Quality); 3] = [|q| q.loss = 0, |q| q.twice = 0, |q| q.reordered = 0];
        for change in changes {
            let mut candidate = best.0.clone();
            change(&mut candidate.shape.links[link]);
            if candidate.shape.links != best.0.shape.links {
                better(candidate, &mut best);
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::super::invariants::Violation;
    use super::super::schedule::Fault;
    use super::*;

    #[test]
    fn what_does_not_matter_is_left_out() {
        // It fails whenever the third and the last fault are there and the first link loses something.
        let schedule = (0..)
            .map(Schedule::new)
            .find(|s| s.events.len() > 8 && s.shape.links[0].loss > 0 && s.shape.links[0].twice > 0)
            .unwrap();
        let needed = [schedule.events[2], *schedule.events.last().unwrap()];
        let mut run = |schedule: &Schedule| {
            let fails = needed.iter().all(|event| schedule.events.contains(event))
                && schedule.shape.links[0].loss > 0;
            let violation =
                fails.then(|| Violation { invariant: "I1", what: String::new(), at: u64::MAX });
            Outcome { violation, ..Outcome::default() }
        };
        let outcome = run(&schedule);
        let (small, outcome) = minimise_by(&schedule, &outcome, &mut run);
        assert!(outcome.violation.is_some());
        assert_eq!(small.events, needed);
        assert!(small.shape.links[0].loss > 0);
        assert_eq!(small.shape.links[0].twice, 0);
        assert!(small.events.iter().all(|e| !matches!(e.fault, Fault::Disk { lasts: 0, .. })));
    }
}
