//! Elements that packets put into sets, known to the others as well: who knocked, or is banned, is so for the node that takes over.
//!
//! # Overview
//!
//! The active node looks at what packets changed in sets since it looked last ([`Set::news`], which costs nothing where nothing changed),
//! and says what those elements are now; beside that, every second, all of a 64th of each set. Who hears it puts it into the set of the
//! same names here, beside the workers, if there is one and it has room. Sets and tables go by their names, for two nodes number them as
//! they like. Of elements that `nft` put in nothing is said: they are the ruleset's.
//!
//! # Who may touch what
//!
//! A thread of its own. It reads snapshots of the ruleset; what it changes in sets it changes as packets do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ruleset::family::Family;
use ruleset::model::{Extra, Hearing, Said, Set, State};
use sync::records::{Record, SetElement};
use sync::standing::Standing;
use sync::wire;

use super::super::rules::View;
use super::beside::{Mouth, Silenced, Topic};

/// Bytes of records that are said in a round at most; what is more is the next round's. In a second that is a third of what a lane keeps
/// of such records for repairs, so that they do not take the place of flows there.
const ROUND: usize = 256 << 10;
/// Bytes of a record without its names, key and data.
const RECORD: usize = 28;
/// Between parts of each set that are said whether they are news or not.
const PART: Duration = Duration::from_secs(1);
const MS: u64 = 1_000_000;

/// What was said and heard, in elements.
#[derive(Debug, Default)]
pub(super) struct Counts {
    said: AtomicU64,
    taken: AtomicU64,
    stale: AtomicU64,
    unfit: AtomicU64,
    full: AtomicU64,
    /// Not heard, because too many came at once.
    pub(super) missed: AtomicU64,
}

impl Counts {
    /// All by name.
    pub(super) fn each(&self) -> [(&'static str, u64); 6] {
        [
            ("set_elements_said", &self.said),
            ("set_elements_taken", &self.taken),
            ("set_elements_stale", &self.stale),
            ("set_elements_unfit", &self.unfit),
            ("set_elements_full", &self.full),
            ("set_elements_missed", &self.missed),
        ]
        .map(|(name, count)| (name, count.load(Ordering::Relaxed)))
    }
}

/// See the module's overview.
pub(super) struct Sets {
    rules: Arc<View>,
    standing: Arc<Standing>,
    counts: Arc<Counts>,
    origin: Instant,
    /// Counts rounds: the low half of versions, below the term.
    round: u32,
    /// The part that is said next in any case, and when the last one was.
    part: u32,
    parted: Instant,
}

impl Sets {
    /// `origin`: the daemon's start.
    pub(super) fn new(
        rules: Arc<View>,
        standing: Arc<Standing>,
        counts: Arc<Counts>,
        origin: Instant,
    ) -> Self {
        Self { rules, standing, counts, origin, round: 0, part: 0, parted: Instant::now() }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The parts of each set that are said whether they are news or not, a bit each.
    fn parts(&mut self, all: bool) -> u64 {
        if all {
            return u64::MAX;
        }
        if self.parted.elapsed() < PART {
            return 0;
        }
        self.parted = Instant::now();
        self.part = (self.part + 1) % Set::PARTS;
        1 << self.part
    }
}

impl Topic for Sets {
    const NAME: &'static str = "ha-sets";
    const EVERY: Duration = Duration::from_millis(200);

    fn tell(&mut self, all: bool, mouth: &Mouth) -> Result<(), Silenced> {
        let parts = self.parts(all);
        self.round += 1;
        let version = u64::from(self.standing.term().0.0) << 32 | u64::from(self.round);
        let state = self.rules.state();
        let mut sets: Vec<&Set> = state.dynamic_sets().collect();
        // Another one first each time: where there is always more than goes into a round, none waits for ever.
        let first = self.round as usize % sets.len().max(1);
        sets.rotate_left(first);
        let mut room = ROUND;
        for set in sets {
            if parts != 0 {
                set.untell(parts);
            }
            let (now, each) = (self.now(), longest(set));
            for (key, extra) in set.news(now, room / each) {
                room -= each;
                let said = extra.lifetime.tell(now);
                if let Some(record) =
                    said.and_then(|said| record(set, key.bytes(), &extra, said, version))
                {
                    self.counts.said.fetch_add(1, Ordering::Relaxed);
                    mouth.say(record)?;
                }
            }
        }
        Ok(())
    }

    fn hear(&mut self, records: &[Vec<u8>]) {
        let (state, now) = (self.rules.state(), self.now());
        for record in records {
            let counts = &self.counts;
            let count = match hear(&state, record, now) {
                Hearing::Taken => &counts.taken,
                Hearing::Stale => &counts.stale,
                Hearing::Unfit => &counts.unfit,
                Hearing::Full => &counts.full,
            };
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Bytes of the longest record of a set.
fn longest(set: &Set) -> usize {
    let (names, key) = (set.table.name.len() + set.name.len(), usize::from(set.spec.key_len));
    RECORD + names + key + set.spec.value_len()
}

/// Milliseconds, of which there is one where there are nanoseconds at all.
fn millis(nanos: u64) -> u32 {
    u32::try_from(nanos.div_ceil(MS)).unwrap_or(u32::MAX)
}

/// What is said of an element of a set. `None`: it cannot be said.
fn record(set: &Set, key: &[u8], extra: &Extra, said: Said, version: u64) -> Option<Vec<u8>> {
    let (gone, [timeout, remaining]) = match said {
        Said::Gone => (true, [0, 0]),
        Said::Lives { timeout, left } => (false, [timeout, left].map(millis)),
    };
    let element = SetElement {
        family: set.table.family as u8,
        gone,
        table: set.table.name.as_bytes(),
        set: set.name.as_bytes(),
        key,
        data: if gone { &[] } else { extra.bytes() },
        remaining,
        timeout,
        version,
    };
    let mut bytes = [0; wire::PAYLOAD];
    let len = wire::encode(&Record::Set(element), &mut bytes).ok()?;
    Some(bytes.get(..len)?.to_vec())
}

/// Takes in what a record says.
fn hear(state: &State, record: &[u8], now: u64) -> Hearing {
    let Ok(Record::Set(element)) = wire::decode(record) else { return Hearing::Unfit };
    named(state, &element).map_or(Hearing::Unfit, |set| take(set, &element, now))
}

/// The set of these names here.
fn named<'s>(state: &'s State, element: &SetElement<'_>) -> Option<&'s Set> {
    let family = Family::from_number(element.family).ok()?;
    let [table, set] = [element.table, element.set].map(|name| std::str::from_utf8(name).ok());
    state.set_named(family, table?, set?)
}

fn take(set: &Set, element: &SetElement<'_>, now: u64) -> Hearing {
    let [timeout, left] = [element.timeout, element.remaining].map(|ms| u64::from(ms) * MS);
    let said = if element.gone { Said::Gone } else { Said::Lives { timeout, left } };
    set.hear(element.key, element.data, said, element.version, now)
}

#[cfg(test)]
mod tests {
    use ruleset::data::Data;
    use ruleset::ids::{Handle, SetId};
    use ruleset::model::{Layout, Lifetime, NewSet, SetFlags, Spec, TableKey, Tuning, Values};

    use super::*;

    /// A map from addresses to ports.
    fn map() -> Set {
        let spec = Spec {
            flags: SetFlags(SetFlags::EVAL | SetFlags::TIMEOUT | SetFlags::MAP),
            key_type: 0,
            key_len: 4,
            values: Values::Bytes { kind: 0, len: 2 },
            policy: 0,
            fields: Box::default(),
            exprs: Box::default(),
            layout: Layout::Growing,
        };
        let table = Arc::new(TableKey { family: Family::Inet, name: "filter".into() });
        let (name, handle, spec) = ("seen".into(), Handle(1), Arc::new(spec));
        let tuning = Tuning::default();
        let set = Set::new(SetId(0), NewSet { table, name, handle, spec, tuning, userdata: None });
        set.expect_packets();
        set
    }

    #[test]
    fn an_element_is_heard_as_it_was_said() {
        let (here, there) = (map(), map());
        let second = 1000 * MS;
        let extra = || Extra {
            data: Some(Data::Value([0, 80].as_slice().into())),
            lifetime: Lifetime::new(60 * second, 60 * second, second),
            ..Extra::default()
        };
        here.find_or_insert(&[1; 4], second, extra);
        here.find_or_insert(&[2; 4], second, extra);
        let say = |version, now| {
            let record = |(key, extra): (ruleset::model::Key, Arc<Extra>)| {
                let said = extra.lifetime.tell(now)?;
                record(&here, key.bytes(), &extra, said, version)
            };
            here.news(now, 9).into_iter().filter_map(record).collect::<Vec<_>>()
        };
        let heard = |records: &[Vec<u8>], now| {
            records.iter().all(|record| {
                let Ok(Record::Set(element)) = wire::decode(record) else { panic!() };
                take(&there, &element, now) == Hearing::Taken
            })
        };
        let records = say(1 << 32, 2 * second);
        assert_eq!(records.iter().map(Vec::len).collect::<Vec<_>>(), [longest(&here); 2]);
        assert!(heard(&records, 100 * second));
        let all = |now| {
            let all = there.elements(now).map(|element| {
                let extra = element.rest.unwrap();
                let key = element.key.unwrap().bytes().to_vec();
                (key, extra.bytes().to_vec(), extra.lifetime.timeout(), extra.lifetime.left(now))
            });
            let mut all: Vec<_> = all.collect();
            all.sort();
            all
        };
        let expected = |key: u8| (vec![key; 4], vec![0, 80], 60 * second, 59 * second);
        assert_eq!(all(100 * second), [expected(1), expected(2)]);
        here.end(&[1; 4], 3 * second);
        let records = say(1 << 32 | 1, 3 * second);
        assert!(records.len() == 1 && records[0].len() < longest(&here));
        assert!(heard(&records, 100 * second));
        assert_eq!(all(100 * second), [expected(2)]);
        let nothing = State::default();
        assert_eq!(hear(&nothing, &records[0], 0), Hearing::Unfit, "there is no such set");
        assert_eq!(hear(&nothing, &[], 0), Hearing::Unfit, "it is no record");
    }

    #[test]
    fn less_than_a_millisecond_is_not_for_ever() {
        assert_eq!([0, 1, MS, MS + 1, u64::MAX].map(millis), [0, 1, 1, 2, u32::MAX]);
    }
}
