//! A worker's part: no final state is lost, whatever happens and however small the rings are; and a standby has what its owner has.

mod model;
mod turns;

use std::collections::{BTreeMap, VecDeque};

use conntrack::shard::{Config, Content};
use conntrack::{Direction, Status};
use packet::FlowKey;
use proptest::prelude::*;

use super::*;
use crate::hands::{Cause, Inbound, Outbound};
use crate::ids::{Generation, Term, Version};
use crate::records::{FlowFull, FlowState, Record};
use crate::wire;

fn key(number: u32) -> FlowKey {
    let mut key = FlowKey { protocol: 17, family: 4, ..FlowKey::default() };
    key.src[..4].copy_from_slice(&number.to_be_bytes());
    key.dst[..4].copy_from_slice(&[192, 0, 2, 1]);
    key.dport = 53u16.to_be_bytes();
    key
}

fn back(key: &FlowKey) -> FlowKey {
    FlowKey { src: key.dst, dst: key.src, sport: key.dport, dport: key.sport, ..*key }
}

fn config(node: u8, words: usize) -> WorkerConfig {
    let [node, lane] = [node, 0];
    let config = WorkerConfig::new(NodeId::new(node).unwrap(), Lane::new(lane).unwrap(), Group(3));
    WorkerConfig { urgent: words, lazy: words, inbound: words, ..config }
}

/// A worker with its shard, and the node's ends.
struct Worker {
    replica: Replica,
    shard: Shard,
    ends: NodeEnds,
    standing: Arc<Standing>,
    now: Tick,
}

impl Worker {
    fn new(node: u8, max: u32, role: Role, words: usize) -> Self {
        let standing = Arc::new(Standing::new(role));
        let (replica, ends) = link(config(node, words), Arc::clone(&standing));
        let shard = Shard::new(Config { max, worker: 0 }).unwrap();
        let mut this = Self { replica, shard, ends, standing, now: Tick(1_000_000_000) };
        this.turn();
        this
    }

    fn turn(&mut self) -> usize {
        self.replica.turn(&mut self.shard, &mut (), self.now, false)
    }

    fn become_role(&mut self, role: Role) {
        self.standing.set(role, Term(1), None);
        self.turn();
    }

    fn begin(&mut self, number: u32) -> Option<Slot> {
        let key = key(number);
        let slot = self.shard.create(key, back(&key), self.now).ok()?;
        self.shard.refresh(slot, 30, self.now);
        match self.shard.confirm(slot, self.now) {
            Ok(()) => Some(slot),
            Err(_) => {
                self.shard.discard(slot);
                None
            }
        }
    }

    fn find(&self, number: u32) -> Option<Slot> {
        let key = key(number);
        self.shard.find(&key, self.shard.hash(&key)).map(|(slot, _)| slot)
    }

    fn content(&self) -> Content {
        let (content, next) = self.shard.content(Slot(0), usize::MAX);
        assert_eq!(next, None);
        content
    }
}

/// Which of a slot's flows, of which version, and what it is if it is there.
type Said = (Generation, Version, Option<(FlowFull, FlowState)>);

/// Who hears a worker, and keeps for each slot what was said last, by generation and version.
#[derive(Default)]
struct Listener {
    slots: BTreeMap<u32, Said>,
    marks: Vec<(u64, u32)>,
    heard: usize,
}

impl Listener {
    fn hear(&mut self, message: &Outbound<'_>) {
        match *message {
            Outbound::Record { slot, bytes, .. } => {
                self.heard += 1;
                self.record(slot, &wire::decode(bytes).unwrap());
            }
            Outbound::Mark { token, next } => self.marks.push((token, next)),
            Outbound::Applied { .. } | Outbound::Refused { .. } => panic!("{message:?}"),
        }
    }

    fn record(&mut self, slot: u32, record: &Record<'_>) {
        let (id, version) = match record {
            Record::Full(full) => (full.id, full.version),
            Record::Update { id, version, .. } | Record::Delete { id, version } => (*id, *version),
            other => panic!("{other:?}"),
        };
        assert_eq!(id.slot(), slot);
        let generation = id.generation();
        let entry = self.slots.entry(slot).or_insert((Generation::new(0), Version(0), None));
        match generation.order(entry.0).then(version.cmp(&entry.1)) {
            std::cmp::Ordering::Greater => {}
            std::cmp::Ordering::Less => return,
            std::cmp::Ordering::Equal => panic!("said twice: {record:?}"),
        }
        let flow = match record {
            Record::Full(full) => Some((full.clone(), full.state.clone())),
            Record::Update { state, .. } => {
                assert_eq!(entry.0, generation, "news of a flow that nobody knows");
                let (full, _) = entry.2.take().expect("news of a flow that nobody knows");
                Some((full, state.clone()))
            }
            _ => None,
        };
        *entry = (generation, version, flow);
    }

    /// Hears so many messages of each ring; of the lazy one only when the urgent one is empty, or news would come before what
    /// they are of.
    fn hear_some(&mut self, ends: &mut NodeEnds, urgent: usize, lazy: usize) -> usize {
        let before = self.heard + self.marks.len();
        for _ in 0..urgent {
            let Some(message) = ends.urgent.next() else { break };
            self.hear(&message);
        }
        for _ in 0..lazy {
            if !ends.urgent.is_empty() {
                break;
            }
            let Some(message) = ends.lazy.next() else { break };
            self.hear(&message);
        }
        self.heard + self.marks.len() - before
    }

    /// What it knows is what there is.
    fn check(&self, shard: &Shard) {
        let mut known: BTreeMap<_, _> = self
            .slots
            .iter()
            .filter_map(|(slot, entry)| Some((*slot, (entry.0, entry.2.as_ref()?))))
            .collect();
        shard.walk(Slot(0), usize::MAX, &mut |slot, flow| {
            if flow.is_local() {
                return;
            }
            let (generation, (full, state)) = known.remove(&slot.0).expect("a flow was not said");
            assert_eq!(generation.get(), shard.replica_generation(slot));
            assert_eq!(full.keys[0], *flow.key(Direction::Original));
            assert_eq!(full.keys[1], *flow.key(Direction::Reply));
            assert_eq!(state.mark, flow.mark());
            assert_eq!(u32::from(state.status), flow.status().0 & conntrack::shard::REPLICATED);
        });
        assert!(known.is_empty(), "ends were not said: {known:?}");
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Begin(u32),
    BeginOwn(u32),
    End(u32),
    Mark(u32, u32),
    Reply(u32),
    Packet(u32),
    Wait(u64),
    Turn,
    Hear(usize, usize),
    Export(u32),
    Bulk(u32, u32),
    Flush,
    Demoted,
}

fn step() -> impl Strategy<Value = Step> {
    let number = 0_u32..60;
    prop_oneof![
        20 => number.clone().prop_map(Step::Begin),
        2 => (100_u32..110).prop_map(Step::BeginOwn),
        10 => number.clone().prop_map(Step::End),
        10 => (number.clone(), 1_u32..9).prop_map(|(number, mark)| Step::Mark(number, mark)),
        5 => number.clone().prop_map(Step::Reply),
        10 => number.clone().prop_map(Step::Packet),
        4 => (1_u64..20).prop_map(Step::Wait),
        20 => Just(Step::Turn),
        10 => (0_usize..20, 0_usize..20).prop_map(|(urgent, lazy)| Step::Hear(urgent, lazy)),
        4 => (0_u32..60).prop_map(Step::Export),
        2 => (0_u32..60, 1_u32..80).prop_map(|(from, count)| Step::Bulk(from, count)),
        2 => Just(Step::Flush),
        1 => Just(Step::Demoted),
    ]
}

/// Lets a worker do the steps with a listener that lags, and then lets all be said. The tokens that were asked to be marked.
fn run(worker: &mut Worker, listener: &mut Listener, steps: &[Step]) -> Vec<u64> {
    let mut asked = Vec::new();
    for (n, step) in steps.iter().enumerate() {
        let token = n as u64;
        let mut tell = |worker: &mut Worker, message: Inbound<'_>| {
            if worker.ends.inbound.tell(&message).is_ok() {
                asked.push(token);
            }
        };
        match *step {
            Step::Begin(number) => {
                worker.begin(number);
            }
            Step::BeginOwn(number) => {
                let key = key(number);
                if let Ok(slot) = worker.shard.create(key, back(&key), worker.now) {
                    worker.shard.set_local(slot);
                    if worker.shard.confirm(slot, worker.now).is_err() {
                        worker.shard.discard(slot);
                    }
                }
            }
            Step::End(number) => {
                if let Some(slot) = worker.find(number) {
                    worker.shard.kill(slot, worker.now);
                }
            }
            Step::Mark(number, mark) => {
                if let Some(slot) = worker.find(number) {
                    worker.shard.set_mark(slot, mark);
                }
            }
            Step::Reply(number) => {
                if let Some(slot) = worker.find(number) {
                    worker.shard.set_status(slot, Status::SEEN_REPLY);
                }
            }
            Step::Packet(number) => {
                if let Some(slot) = worker.find(number) {
                    worker.shard.refresh(slot, 30, worker.now);
                }
            }
            Step::Wait(seconds) => {
                worker.now.0 += seconds * 1_000_000_000;
                worker.shard.expire(worker.now, 1000);
            }
            Step::Turn => {
                worker.turn();
            }
            Step::Hear(urgent, lazy) => {
                listener.hear_some(&mut worker.ends, urgent, lazy);
            }
            Step::Export(slot) => {
                let slots = (0..5).map(|n| slot + n * 7).collect();
                tell(worker, Inbound::Export { token, slots });
            }
            Step::Bulk(from, count) => tell(worker, Inbound::Bulk { token, from, count }),
            Step::Flush => tell(worker, Inbound::Flush { token }),
            Step::Demoted => {
                // Nobody believes what it said before, and all flows are said anew.
                settle(worker, listener);
                worker.become_role(Role::Standby);
                worker.become_role(Role::Active);
                listener.slots.clear();
                tell(worker, Inbound::Bulk { token, from: 0, count: u32::MAX });
            }
        }
    }
    settle(worker, listener);
    asked
}

/// All is said and heard.
fn settle(worker: &mut Worker, listener: &mut Listener) {
    for _ in 0..10_000 {
        let done = worker.turn() + listener.hear_some(&mut worker.ends, 3, 2);
        if done == 0 && worker.replica.is_served() {
            return;
        }
    }
    panic!("it never ends");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever happens to flows, however small the rings are and however late they are read: what was said last of each slot is
    /// what there is, and each request is marked once.
    #[test]
    fn no_final_state_is_lost(
        steps in proptest::collection::vec(step(), 1..400),
        words in prop_oneof![Just(1_usize), Just(1 << 14)],
    ) {
        // The least is four times the longest message: a dozen records.
        let mut worker = Worker::new(1, 64, Role::Active, words);
        let mut listener = Listener::default();
        let asked = run(&mut worker, &mut listener, &steps);
        listener.check(&worker.shard);
        let mut marked: Vec<u64> = listener.marks.iter().map(|(token, _)| *token).collect();
        marked.sort_unstable();
        prop_assert_eq!(marked, asked);
    }

    /// What a standby applies makes its table equal to the owner's, which stays so when it takes over; what the owner had said
    /// before is swept when it said all anew.
    #[test]
    fn a_standby_has_what_its_owner_has(
        (first, second) in (
            proptest::collection::vec(step(), 1..200),
            proptest::collection::vec(step(), 1..200),
        ),
    ) {
        let mut owner = Worker::new(1, 64, Role::Active, 1 << 14);
        let mut standby = Worker::new(2, 64, Role::Standby, 1 << 14);
        let mut listener = Listener::default();
        run(&mut owner, &mut listener, &first);
        standby.now = owner.now;
        follow(&listener, &mut standby, 1);
        prop_assert_eq!(standby.content(), owner.content());
        // More happens; the standby hears all of it, in another order of slots.
        run(&mut owner, &mut listener, &second);
        standby.now = owner.now;
        follow(&listener, &mut standby, 2);
        let content = owner.content();
        prop_assert_eq!(standby.content(), content);
        // It takes over, and says all of it to the old owner, which adopts what it has.
        standby.become_role(Role::Active);
        prop_assert_eq!(standby.content(), content);
        let token = 1 << 40;
        standby.ends.inbound.tell(&Inbound::Bulk { token, from: 0, count: u32::MAX }).unwrap();
        let mut heard = Listener::default();
        settle(&mut standby, &mut heard);
        heard.check(&standby.shard);
        owner.become_role(Role::Standby);
        follow(&heard, &mut owner, 3);
        prop_assert_eq!(owner.content(), content);
        prop_assert_eq!(owner.shard.import_counts().adopted, content.flows);
        prop_assert_eq!(owner.shard.import_counts().swept, 0);
    }
}

/// Tells a standby all that a listener knows, in one bulk.
fn follow(listener: &Listener, standby: &mut Worker, stamp: u32) {
    let mut told = VecDeque::new();
    for (slot, (generation, version, flow)) in &listener.slots {
        let mut bytes = [0; wire::FULL_MAX];
        if let Some((full, state)) = flow {
            let full = FlowFull {
                id: FlowId::new(full.id.node(), full.id.lane(), *slot, *generation),
                version: *version,
                state: state.clone(),
                ..full.clone()
            };
            let length = wire::encode(&Record::Full(full), &mut bytes).unwrap();
            told.push_back(bytes[..length].to_vec());
        }
    }
    while let Some(bytes) = told.pop_front() {
        let message = Inbound::Apply { stamp, order: 0, acknowledge: true, bytes: &bytes };
        if standby.ends.inbound.tell(&message).is_err() {
            standby.turn();
            told.push_front(bytes);
        }
        while let Some(message) = standby.ends.urgent.next() {
            assert!(matches!(message, Outbound::Applied { .. }), "{message:?}");
        }
    }
    while !standby.ends.inbound.is_drained() {
        standby.turn();
        while standby.ends.urgent.next().is_some() {}
    }
    standby.ends.inbound.tell(&Inbound::Sweep { stamp }).unwrap();
    while standby.turn() > 0 {
        while standby.ends.urgent.next().is_some() {}
    }
}
