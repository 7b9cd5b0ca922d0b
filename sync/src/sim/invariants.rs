//! What must hold at every step, and what has to be remembered to see whether it does.
//!
//! | invariant | when | how |
//! |---|---|---|
//! | I1 | after faults stopped | [`super::world`]: within two seconds all tables are equal, one node is active, all others synchronised |
//! | I2, I13 | whenever a table changed | a flow that left a table does not come back while nobody else became owner |
//! | I3 | whenever a table changed | neither a flow's number of changes nor a TCP window goes back, likewise |
//! | I4 | at each watermark | [`super::wiretap`]: what was sent up to it is in the tables |
//! | I5 | whenever a table changed | no two flows of a worker have one mapping; nor two of a node, once it is synchronised |
//! | I6 | at each packet that is forwarded | one node, and one life of it, by claim; nobody by a claim that it must know is over |
//! | I7 | when a deferred packet goes | so many standbys have had its flow |
//! | I9 | all the time | the cluster comes to rest; messages have the room that was looked for, datagrams a number of their own |
//! | I10 | at each forged datagram | [`super::machine`]: the node did nothing |
//! | I12 | whenever a table changed | what is there is one of the states that the flow had |
//! | I13 | when a node says that it is synchronised | all flows of the owner are there that have been for a while, and none that has long ended |
//!
//! Where a later flow of the same tuple took a flow's place before its end was heard, and has ended too, a datagram of the first
//! that comes late brings it back until its end has been repaired: that is known, and not taken for a violation of I2.
//!
//! I8 is loom's (`crate::ring`), I11 the decoder's (`crate::wire`), I14, I15, I16 are the dataplane's.

use std::collections::{BTreeMap, BTreeSet};

use packet::FlowKey;

use super::view::{Number, View};

/// What was broken.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Violation {
    pub(super) invariant: &'static str,
    pub(super) what: String,
    /// True time.
    pub(super) at: u64,
}

/// What tells a flow's answers from all others'.
fn mapping(view: &View) -> ([[u8; 16]; 2], [[u8; 2]; 3], u8) {
    let FlowKey { src, dst, sport, dport, protocol, zone, .. } = view.keys[1];
    ([src, dst], [sport, dport, zone], protocol)
}

/// Who may forward: term and node.
pub(super) type Claim = (u32, u8);

/// What became of a flow, as whoever owned it knows.
#[derive(Debug, Default)]
struct Truth {
    /// All states that it had on any owner, by the number of changes.
    states: BTreeMap<u8, Vec<View>>,
    began: u64,
    /// When an owner ended it last: another may have had it still.
    ended: Option<u64>,
    /// Nodes that have ever had it.
    had: u8,
}

/// What a node's table was when it was last looked at.
#[derive(Debug, Default)]
struct Table {
    /// With the era in which the state came about.
    flows: BTreeMap<Number, (View, u32)>,
    /// In which era a flow went.
    gone: BTreeMap<Number, u32>,
}

/// Everything that was seen.
#[derive(Debug)]
pub(super) struct Invariants {
    truth: BTreeMap<Number, Truth>,
    /// By node and worker.
    tables: Vec<Vec<Table>>,
    forwarders: BTreeMap<Claim, u32>,
    /// Tables are too small for all: flows may come and go.
    small: bool,
    /// By node: flows that were taken from it. They may come back, and it may not know that they are missing.
    torn: BTreeSet<(usize, Number)>,
    pub(super) violation: Option<Violation>,
}

impl Invariants {
    pub(super) fn new(workers: &[usize], small: bool) -> Self {
        let tables =
            workers.iter().map(|count| (0..*count).map(|_| Table::default()).collect()).collect();
        Self {
            truth: BTreeMap::new(),
            tables,
            forwarders: BTreeMap::new(),
            small,
            torn: BTreeSet::new(),
            violation: None,
        }
    }

    /// A flow was taken from a node.
    pub(super) fn tear(&mut self, node: usize, worker: usize, number: Number) {
        self.tables[node][worker].flows.remove(&number);
        self.torn.insert((node, number));
    }

    /// Whether a flow was taken from a node, and did not come back.
    pub(super) fn is_torn(&self, node: usize, number: Number) -> bool {
        self.torn.contains(&(node, number))
    }

    /// Notes the first violation.
    pub(super) fn fail(&mut self, invariant: &'static str, at: u64, what: impl FnOnce() -> String) {
        if self.violation.is_none() {
            self.violation = Some(Violation { invariant, what: what(), at });
        }
    }

    /// A node lost its memory.
    pub(super) fn forget(&mut self, node: usize) {
        self.tables[node].iter_mut().for_each(|table| *table = Table::default());
    }

    /// An owner made a flow or changed it.
    pub(super) fn wrote(&mut self, node: usize, view: View, now: u64) {
        let truth = self.truth.entry(view.number()).or_default();
        if truth.states.is_empty() {
            truth.began = now;
        }
        truth.had |= 1 << node;
        let states = truth.states.entry(view.change()).or_default();
        if !states.contains(&view) {
            states.push(view);
        }
    }

    /// An owner ended a flow.
    pub(super) fn ended(&mut self, number: Number, now: u64) {
        if let Some(truth) = self.truth.get_mut(&number) {
            truth.ended = Some(now);
        }
    }

    /// Whether an owner has ended a flow.
    pub(super) fn has_ended(&self, number: Number) -> bool {
        self.truth.get(&number).is_none_or(|truth| truth.ended.is_some())
    }

    /// How many nodes have ever had a flow.
    pub(super) fn had(&self, number: Number) -> u32 {
        self.truth.get(&number).map_or(0, |truth| truth.had.count_ones())
    }

    /// A packet was forwarded: I6.
    pub(super) fn forwarded(&mut self, claim: Claim, node: usize, life: u32, now: u64) {
        let first = *self.forwarders.entry(claim).or_insert(life);
        if first != life || usize::from(claim.1) != node {
            self.fail("I6", now, || {
                format!("node {node} in its life {life} forwards by claim {claim:?}, which life {first} had")
            });
        }
    }

    /// A worker's table may have changed: I2, I3, I5, I12.
    pub(super) fn look(
        &mut self,
        (node, worker): (usize, usize),
        era: u32,
        views: Vec<View>,
        now: u64,
    ) {
        let mut flows = BTreeMap::new();
        let mut replies = BTreeMap::new();
        let mut failed = None;
        let table = &mut self.tables[node][worker];
        for view in views {
            let number = view.number();
            let truth = self.truth.entry(number).or_default();
            truth.had |= 1 << node;
            self.torn.remove(&(node, number));
            let known = truth.states.get(&view.change());
            if !known.is_some_and(|states| states.contains(&view)) {
                failed = failed.or(Some(("I12", format!("{view:?} never was: {known:?}"))));
            }
            let mut since = era;
            match table.flows.get(&number) {
                Some((before, then)) => {
                    if *before == view {
                        since = *then;
                    } else if *then == era
                        && (view.change() < before.change() || view.is_behind(before))
                    {
                        failed = failed.or(Some(("I3", format!("{view:?} was {before:?}"))));
                    }
                }
                None if table.gone.get(&number) == Some(&era) && !self.small => {
                    failed = failed
                        .or(Some(("I2", format!("{view:?} is back; it ended {:?}", truth.ended))));
                }
                None => {}
            }
            if let Some(other) = replies.insert(mapping(&view), number) {
                failed =
                    failed.or(Some(("I5", format!("{number:?} and {other:?} have one mapping"))));
            }
            if flows.insert(number, (view, since)).is_some() {
                failed = failed.or(Some(("I5", format!("{number:?} is there twice"))));
            }
        }
        for (number, (view, _)) in table.flows.iter().filter(|(n, _)| !flows.contains_key(n)) {
            let took_its_place = |(other, (that, _)): (&Number, &(View, u32))| {
                !table.flows.contains_key(other)
                    && (that.keys[0] == view.keys[0] || mapping(that) == mapping(view))
            };
            if flows.iter().any(took_its_place) {
                table.gone.remove(number);
            } else {
                table.gone.insert(*number, era);
            }
        }
        table.flows = flows;
        if let Some((invariant, what)) = failed {
            self.fail(invariant, now, || format!("node {node} worker {worker} era {era}: {what}"));
        }
    }

    /// All flows of a node.
    pub(super) fn flows(&self, node: usize) -> BTreeMap<Number, &View> {
        let tables = self.tables[node].iter();
        tables.flat_map(|table| table.flows.iter().map(|(n, (view, _))| (*n, view))).collect()
    }

    /// A node said that it has all flows of the owner, and its workers have applied what they were told: I13 and I5.
    /// `since`: when it last began to hear all of them.
    pub(super) fn synchronised(&mut self, node: usize, owner: usize, since: u64, now: u64) {
        if self.small || self.violation.is_some() {
            return;
        }
        let (mine, theirs) = (self.flows(node), self.flows(owner));
        let old = |number: &Number| self.truth.get(number).is_some_and(|truth| truth.began < since);
        let missing = theirs.keys().find(|number| {
            old(number) && !mine.contains_key(number) && !self.is_torn(node, **number)
        });
        let dead = mine.keys().find(|number| {
            !theirs.contains_key(number)
                && self.truth.get(number).is_some_and(|t| t.ended.is_some_and(|at| at < since))
        });
        let mut replies = BTreeMap::new();
        let twice = mine.iter().find_map(|(number, view)| {
            replies.insert(mapping(view), *number).map(|other| (*number, other))
        });
        let what = match (missing, dead, twice) {
            (Some(number), _, _) => format!("{number:?} of owner {owner} is missing"),
            (_, Some(number), _) => format!("{number:?} is there, and ended long ago"),
            (_, _, Some(pair)) => format!("{pair:?} have one mapping"),
            (None, None, None) => return,
        };
        self.fail("I13", now, || {
            format!("node {node} says it is synchronised since {since}: {what}")
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(number: u32, change: u8, port: u16) -> View {
        let key = |port: u16| FlowKey { sport: port.to_be_bytes(), ..FlowKey::default() };
        let mark = number << 8 | u32::from(change);
        let keys = [key(number as u16), key(port)];
        View { keys, status: 0, mark, labels: None, timeouts: None, tcp: None }
    }

    /// What two nodes of one worker each see: flow 1 was made at node 0 and is in its table.
    fn begun() -> Invariants {
        let mut invariants = Invariants::new(&[1, 1], false);
        invariants.wrote(0, view(1, 0, 9), 5);
        invariants.wrote(0, view(1, 1, 9), 6);
        invariants.look((0, 0), 1, vec![view(1, 1, 9)], 6);
        assert_eq!(invariants.violation, None);
        invariants
    }

    fn broken(invariants: &Invariants) -> Option<&'static str> {
        invariants.violation.as_ref().map(|violation| violation.invariant)
    }

    #[test]
    fn what_comes_back_is_noticed_and_what_goes_back() {
        let mut invariants = begun();
        invariants.look((1, 0), 1, vec![view(1, 1, 9)], 7);
        invariants.look((1, 0), 1, vec![], 8);
        invariants.look((1, 0), 2, vec![view(1, 1, 9)], 9);
        assert_eq!(broken(&invariants), None, "another owner may have it still");
        invariants.look((1, 0), 2, vec![], 8);
        invariants.look((1, 0), 2, vec![view(1, 1, 9)], 9);
        assert_eq!(broken(&invariants), Some("I2"));
        let mut invariants = begun();
        invariants.look((1, 0), 1, vec![view(1, 1, 9)], 7);
        invariants.look((1, 0), 1, vec![view(1, 0, 9)], 8);
        assert_eq!(broken(&invariants), Some("I3"));
    }

    #[test]
    fn what_never_was_is_noticed_and_a_mapping_of_two() {
        let mut invariants = begun();
        invariants.look((1, 0), 1, vec![view(1, 1, 8)], 7);
        assert_eq!(broken(&invariants), Some("I12"));
        let mut invariants = begun();
        invariants.wrote(0, view(2, 0, 9), 7);
        invariants.look((0, 0), 1, vec![view(1, 1, 9), view(2, 0, 9)], 7);
        assert_eq!(broken(&invariants), Some("I5"));
    }

    #[test]
    fn a_claim_of_two_lives_is_noticed() {
        let mut invariants = begun();
        invariants.forwarded((3, 0), 0, 1, 7);
        invariants.forwarded((3, 1), 1, 1, 8);
        assert_eq!(broken(&invariants), None);
        invariants.forwarded((3, 0), 0, 2, 9);
        assert_eq!(broken(&invariants), Some("I6"));
    }

    #[test]
    fn who_is_not_synchronised_and_says_so_is_noticed() {
        let mut invariants = begun();
        invariants.synchronised(1, 0, 5, 9);
        assert_eq!(broken(&invariants), None, "it may be on its way");
        invariants.synchronised(1, 0, 6, 9);
        assert_eq!(broken(&invariants), Some("I13"));
        let mut invariants = begun();
        invariants.look((1, 0), 1, vec![view(1, 1, 9)], 7);
        invariants.ended(Number(1), 8);
        invariants.look((0, 0), 1, vec![], 8);
        invariants.synchronised(1, 0, 9, 10);
        assert_eq!(broken(&invariants), Some("I13"));
    }
}
